/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution: lanes are channels, and every channel has its own filters.
 *
 * All three kernels work on K = C * M channels with one filter each. For a depth multiplier M > 1
 * the input's channels are first repeated M times in scratch (or, backward, summed by M afterwards).
 */

/* A depthwise kernel's w is (R, S, C, M): the same bytes as (R, S, K, 1). */
enum { DEPTHWISE_PIXELS = 4, DEPTHWISE_TAPS = 3, DEPTHWISE_CHANNELS = 8 * TILE_COLUMNS };

/* to[i][c * M + m] = from[i][c] */
static void repeat_channels(float *to, const float *from, int64_t count, int64_t M, int tid,
                            int nthreads)
{
    int64_t begin, end;
    share(count, tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        for (int64_t m = 0; m < M; m++)
            to[i * M + m] = from[i];
}

/* to[i][c] = sum over m of from[i][c * M + m] */
static void fold_channels(float *to, const float *from, int64_t count, int64_t M, int tid,
                          int nthreads)
{
    int64_t begin, end;
    share(count, tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        float sum = from[i * M];
        for (int64_t m = 1; m < M; m++)
            sum += from[i * M + m];
        to[i] = sum;
    }
}

/* Taps [*begin, *end) of an axis that read the source at output position `at`, times its stride. */
static inline void reaching_taps(const struct conv_axis *axis, int64_t at, int64_t *begin,
                                 int64_t *end)
{
    int64_t first = 0, last = axis->taps;
    while (first < last &&
           (uint64_t)(at + axis->offset + first * axis->shift) >= (uint64_t)axis->size)
        first++;
    while (first < last &&
           (uint64_t)(at + axis->offset + (last - 1) * axis->shift) >= (uint64_t)axis->size)
        last--;
    *begin = first;
    *end = last;
}

/* `pixels` neighbours in a row of outputs; taps [r0, r1) x [s0, s1) of them all read the source. */
FC_INLINE void depthwise_tile_body(const struct conv_grid *g, const float *source,
                                   const float *filters, float *y, int64_t r0, int64_t r1,
                                   int64_t s0, int64_t s1, const int pixels, int64_t columns,
                                   const int vectors, const int masked)
{
    int64_t pixel = g->w.stride * g->a_pixel;
    vf acc[DEPTHWISE_PIXELS][2];
#pragma GCC unroll 4
    for (int i = 0; i < pixels; i++)
        acc[i][0] = acc[i][1] = v_zero();
    for (int64_t r = r0; r < r1; r++)
        for (int64_t s = s0; s < s1; s++) {
            const float *a = source + (g->h.offset + r * g->h.shift) * g->a_row +
                             (g->w.offset + s * g->w.shift) * g->a_pixel;
            const float *b = filters + (g->h.first + r * g->h.step) * g->b_row +
                             (g->w.first + s * g->w.step) * g->b_tap;
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                vf weight = tile_load(b, v, columns, vectors, masked);
#pragma GCC unroll 4
                for (int i = 0; i < pixels; i++)
                    acc[i][v] = v_fma(tile_load(a + i * pixel, v, columns, vectors, masked), weight,
                                      acc[i][v]);
            }
        }
#pragma GCC unroll 4
    for (int i = 0; i < pixels; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            tile_store_vector(y + i * g->y_pixel, acc[i][v], v, columns, vectors, masked);
}

static void depthwise_pixels(const struct conv_grid *g, const float *source, const float *filters,
                             float *y, int64_t r0, int64_t r1, int64_t s0, int64_t s1,
                             int64_t columns)
{
    FC_BY_COLUMNS(columns, depthwise_tile_body, g, source, filters, y, r0, r1, s0, s1,
                  DEPTHWISE_PIXELS, columns);
}

static void depthwise_pixel(const struct conv_grid *g, const float *source, const float *filters,
                            float *y, int64_t r0, int64_t r1, int64_t s0, int64_t s1,
                            int64_t columns)
{
    FC_BY_COLUMNS(columns, depthwise_tile_body, g, source, filters, y, r0, r1, s0, s1, 1, columns);
}

/* Row p of image n, `columns` channels from `c` on. */
static void depthwise_row(const struct conv_grid *g, int64_t n, int64_t p, int64_t c,
                          int64_t columns)
{
    int64_t r0, r1, s0, s1;
    reaching_taps(&g->h, p * g->h.stride, &r0, &r1);
    const float *filters = g->b + c;
    for (int64_t q = 0; q < g->Q;) {
        int64_t source =
            n * g->a_image + p * g->h.stride * g->a_row + c + q * g->w.stride * g->a_pixel;
        float *y = g->y + n * g->y_image + p * g->y_row + q * g->y_pixel + c;
        int64_t last = q + DEPTHWISE_PIXELS - 1;
        for (int64_t ahead = PIXELS_AHEAD; ahead < PIXELS_AHEAD + DEPTHWISE_PIXELS; ahead++) {
            expect_floats(g->a + source + ahead * g->w.stride * g->a_pixel, columns);
            expect_floats(y + ahead * g->y_pixel, columns);
        }
        if (last < g->Q && axis_inside(&g->w, q * g->w.stride) &&
            axis_inside(&g->w, last * g->w.stride)) {
            depthwise_pixels(g, g->a + source, filters, y, r0, r1, 0, g->w.taps, columns);
            q += DEPTHWISE_PIXELS;
        } else {
            reaching_taps(&g->w, q * g->w.stride, &s0, &s1);
            depthwise_pixel(g, g->a + source, filters, y, r0, r1, s0, s1, columns);
            q++;
        }
    }
}

/* Chunk `chunk` of the channels of row p of image n. */
static void depthwise_chunk(const struct conv_grid *g, int64_t n, int64_t p, int64_t chunk)
{
    int64_t first = chunk * DEPTHWISE_CHANNELS;
    int64_t last = min_i64(first + DEPTHWISE_CHANNELS, g->columns);
    for (int64_t c = first; c < last; c += TILE_COLUMNS)
        depthwise_row(g, n, p, c, min_i64(TILE_COLUMNS, last - c));
}

FC_DEFINE_PLAN(f32_depthwise_conv2d_direct)
{
    int64_t M = call->in[1].dim[3];
    (void)nthreads;
    return M > 1 ? count_of(&call->in[0]) * M * (int64_t)sizeof(float) : 0;
}

FC_DEFINE(f32_depthwise_conv2d_direct)
{
    FC_ATTRS(f32_depthwise_conv2d_direct);
    const struct conv_shape d = CONV_SHAPE(call->in, call->in + 1, call->out, 1);
    int64_t M = call->in[1].dim[3];
    const float *x = call->in[0].data;
    if (M > 1) {
        repeat_channels((float *)call->scratch, x, count_of(&call->in[0]), M, tid, nthreads);
        fc_sync(call);
        x = (const float *)call->scratch;
    }
    const struct conv_grid grid = {
        .h = forward_axis(d.H, d.R, d.stride_h, d.pad_top, d.dilation_h),
        .w = forward_axis(d.W, d.S, d.stride_w, d.pad_left, d.dilation_w),
        .N = d.N,
        .P = d.P,
        .Q = d.Q,
        .columns = d.K,
        .a = x,
        .a_image = d.H * d.W * d.K,
        .a_row = d.W * d.K,
        .a_pixel = d.K,
        .b = call->in[1].data,
        .b_row = d.S * d.K,
        .b_tap = d.K,
        .y = call->out[0].data,
        .y_image = d.P * d.Q * d.K,
        .y_row = d.Q * d.K,
        .y_pixel = d.K,
    };
    int64_t chunks = ceil_div(d.K, DEPTHWISE_CHANNELS), begin, end;
    share(d.N * d.P * chunks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++)
        depthwise_chunk(&grid, item / chunks / d.P, item / chunks % d.P, item % chunks);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_depthwise_conv2d_grad_input_direct)
{
    int64_t M = call->in[1].dim[3];
    (void)nthreads;
    return M > 1 ? count_of(&call->out[0]) * M * (int64_t)sizeof(float) : 0;
}

FC_DEFINE(f32_depthwise_conv2d_grad_input_direct)
{
    FC_ATTRS(f32_depthwise_conv2d_grad_input_direct);
    const struct conv_shape d = CONV_SHAPE(call->out, call->in + 1, call->in, 1);
    int64_t M = call->in[1].dim[3];
    float *dx = M > 1 ? (float *)call->scratch : call->out[0].data;
    struct conv_grid grid = {
        .N = d.N,
        .columns = d.K,
        .a = call->in[0].data,
        .a_image = d.P * d.Q * d.K,
        .a_row = d.Q * d.K,
        .a_pixel = d.K,
        .b = call->in[1].data,
        .b_row = d.S * d.K,
        .b_tap = d.K,
        .y_image = d.H * d.W * d.K,
        .y_row = d.stride_h * d.W * d.K,
        .y_pixel = d.stride_w * d.K,
    };
    int64_t chunks = ceil_div(d.K, DEPTHWISE_CHANNELS), begin, end;
    share(d.N * d.H * chunks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t n = item / chunks / d.H, h = item / chunks % d.H;
        grid.h = backward_axis(d.P, d.R, d.stride_h, d.pad_top, d.dilation_h, h % d.stride_h);
        for (int64_t w = 0; w < min_i64(d.stride_w, d.W); w++) {
            grid.w = backward_axis(d.Q, d.S, d.stride_w, d.pad_left, d.dilation_w, w);
            grid.Q = ceil_div(d.W - w, d.stride_w);
            grid.y = dx + (h % d.stride_h * d.W + w) * d.K;
            depthwise_chunk(&grid, n, h / d.stride_h, item % chunks);
        }
    }
    if (M > 1) {
        fc_sync(call);
        fold_channels(call->out[0].data, dx, count_of(&call->out[0]), M, tid, nthreads);
    }
    return FCNN_OK;
}

/* dw of `taps` neighbours in filter row r from pixel rows [begin, end); x and dy start at the tile's
 * channels, dw at the first tap. */
FC_INLINE void depthwise_grad_body(const struct conv_shape *d, const float *x, const float *dy,
                                   float *dw, int64_t r, int64_t s, const int taps, int64_t begin,
                                   int64_t end, int accumulate, int64_t columns, const int vectors,
                                   const int masked)
{
    int64_t shift = s * d->dilation_w, far = shift + (taps - 1) * d->dilation_w;
    int64_t any_begin, all_begin, all_end, any_end;
    tap_range(d->W, d->Q, d->stride_w, d->pad_left, shift, &all_begin, &any_end);
    tap_range(d->W, d->Q, d->stride_w, d->pad_left, far, &any_begin, &all_end);
    vf acc[DEPTHWISE_TAPS][2];
#pragma GCC unroll 3
    for (int i = 0; i < taps; i++)
        acc[i][0] = acc[i][1] = v_zero();
    for (int64_t row = begin; row < end; row++) {
        int64_t n = row / d->P, h = row % d->P * d->stride_h - d->pad_top + r * d->dilation_h;
        if (h < 0 || h >= d->H)
            continue;
        const float *line = x + (n * d->H + h) * d->W * d->K;
        for (int64_t q = any_begin; q < any_end; q++) {
            const float *y = dy + (row * d->Q + q) * d->K, *a[DEPTHWISE_TAPS];
            int all = q >= all_begin && q < all_end;
            int64_t w = q * d->stride_w - d->pad_left + shift;
#pragma GCC unroll 3
            for (int i = 0; i < taps; i++) {
                int64_t at = w + i * d->dilation_w;
                a[i] = all || (uint64_t)at < (uint64_t)d->W ? line + at * d->K : conv_zeros;
            }
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                vf gradient = tile_load(y, v, columns, vectors, masked);
#pragma GCC unroll 3
                for (int i = 0; i < taps; i++)
                    acc[i][v] =
                        v_fma(tile_load(a[i], v, columns, vectors, masked), gradient, acc[i][v]);
            }
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < taps; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *to = dw + i * d->K;
            vf value = acc[i][v];
            if (accumulate)
                value = v_add(tile_load(to, v, columns, vectors, masked), value);
            tile_store_vector(to, value, v, columns, vectors, masked);
        }
}

static void depthwise_grad_taps(const struct conv_shape *d, const float *x, const float *dy,
                                float *dw, int64_t r, int64_t s, int64_t taps, int64_t begin,
                                int64_t end, int accumulate, int64_t columns)
{
    if (taps == 3)
        FC_BY_COLUMNS(columns, depthwise_grad_body, d, x, dy, dw, r, s, 3, begin, end, accumulate,
                      columns);
    else if (taps == 2)
        FC_BY_COLUMNS(columns, depthwise_grad_body, d, x, dy, dw, r, s, 2, begin, end, accumulate,
                      columns);
    else
        FC_BY_COLUMNS(columns, depthwise_grad_body, d, x, dy, dw, r, s, 1, begin, end, accumulate,
                      columns);
}

/* Channels [first, last) of dw from pixel rows [begin, end), block by block. */
static void depthwise_grad_part(const struct conv_shape *d, const float *x, const float *dy,
                                float *dw, int64_t first, int64_t last, int64_t begin, int64_t end)
{
    int64_t block = max_i64(1, GRAD_BLOCK_PIXELS / d->Q), row = begin;
    do {
        int64_t stop = min_i64(row + block, end);
        for (int64_t c = first; c < last; c += TILE_COLUMNS)
            for (int64_t r = 0; r < d->R; r++)
                for (int64_t s = 0, taps; s < d->S; s += taps) {
                    taps = min_i64(d->S - s, DEPTHWISE_TAPS);
                    depthwise_grad_taps(d, x + c, dy + c, dw + (r * d->S + s) * d->K + c, r, s,
                                        taps, row, stop, row > begin,
                                        min_i64(TILE_COLUMNS, last - c));
                }
        row = stop;
    } while (row < end);
}

/* Scratch: the repeated x where M > 1, then the copies of dw. */
static int64_t depthwise_repeated(const fc_call *call)
{
    int64_t M = call->out[0].dim[3];
    return M > 1 ? ceil_div(count_of(&call->in[0]) * M, FC_LANES) * FC_LANES : 0;
}

FC_DEFINE_PLAN(f32_depthwise_conv2d_grad_kernel_direct)
{
    const fc_tensor *dy = &call->in[1];
    int64_t count = count_of(&call->out[0]);
    int64_t slices = grad_slices(dy->dim[0] * dy->dim[1], dy->dim[2], count);
    (void)nthreads;
    return (depthwise_repeated(call) + slices * count) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_depthwise_conv2d_grad_kernel_direct)
{
    FC_ATTRS(f32_depthwise_conv2d_grad_kernel_direct);
    const struct conv_shape d = CONV_SHAPE(call->in, call->out, call->in + 1, 1);
    int64_t M = call->out[0].dim[3], rows = d.N * d.P, count = count_of(&call->out[0]);
    int64_t slices = grad_slices(rows, d.Q, count), begin, end;
    int64_t chunks = ceil_div(d.K, DEPTHWISE_CHANNELS);
    const float *x = call->in[0].data;
    float *copies = (float *)call->scratch + depthwise_repeated(call);
    if (M > 1) {
        repeat_channels((float *)call->scratch, x, count_of(&call->in[0]), M, tid, nthreads);
        fc_sync(call);
        x = (const float *)call->scratch;
    }
    share(slices * chunks, tid, nthreads, &begin, &end);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t first = unit % chunks * DEPTHWISE_CHANNELS, slice = unit / chunks, row, last;
        share(rows, (int)slice, (int)slices, &row, &last);
        depthwise_grad_part(&d, x, call->in[1].data, copies + slice * count, first,
                            min_i64(first + DEPTHWISE_CHANNELS, d.K), row, last);
    }
    fc_sync(call);
    add_copies(call->out[0].data, copies, slices, count, tid, nthreads);
    return FCNN_OK;
}
