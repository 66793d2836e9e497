/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient of a convolution for its kernel: for one filter row r, a matrix product whose rows are
 * (tap s, input channel), whose columns are output channels and whose depth runs over pixels.
 *
 * The rows (n, p) of pixels are cut into slices and the tiles of dw into parts, by shape alone.
 * A slice sums into a copy of dw of its own; the copies are added in order.
 */

enum {
    GRAD_SLICES = 8,
    GRAD_SLICE_PIXELS = 1024,    /* at least, for one slice */
    GRAD_BLOCK_PIXELS = 512,     /* what x and dy of one block hold, to stay in cache */
    GRAD_UNITS = 32,             /* slices * parts, about */
    GRAD_COPIES_FLOATS = 1 << 22 /* at most, for all copies of dw */
};

/* Copies of a dw of `count` floats, for `rows` rows of Q pixels. */
static int64_t grad_slices(int64_t rows, int64_t Q, int64_t count)
{
    int64_t slices = min_i64(min_i64(GRAD_SLICES, rows), ceil_div(rows * Q, GRAD_SLICE_PIXELS));
    return max_i64(1, min_i64(slices, GRAD_COPIES_FLOATS / max_i64(count, 1)));
}

/* dw = copy 0 + copy 1 + ..., after all of them are done. */
static void add_copies(float *dw, const float *copies, int64_t slices, int64_t count, int tid,
                       int nthreads)
{
    int64_t begin, end;
    share(ceil_div(count, FC_LANES), tid, nthreads, &begin, &end);
    for (int64_t i = begin * FC_LANES; i < min_i64(end * FC_LANES, count); i += FC_LANES) {
        int64_t n = min_i64(FC_LANES, count - i);
        vf sum = v_load_n(copies + i, n);
        for (int64_t slice = 1; slice < slices; slice++)
            sum = v_add(sum, v_load_n(copies + slice * count + i, n));
        v_store_n(dw + i, sum, n);
    }
}

/* Outputs [*begin, *end) along an axis that read the source, not padding, through `tap`. */
static inline void tap_range(int64_t size, int64_t outputs, int64_t stride, int64_t pad,
                             int64_t shift, int64_t *begin, int64_t *end)
{
    int64_t last = size - 1 + pad - shift; /* position * stride is at most this */
    *begin = shift >= pad ? 0 : ceil_div(pad - shift, stride);
    *end = last < 0 ? 0 : min_i64(last / stride + 1, outputs);
}

/* Rows m = s * C + c of dw at filter row r, for FC_TILE_ROWS of them from `first` on. */
struct grad_taps {
    int64_t source[FC_TILE_ROWS], shift[FC_TILE_ROWS], dw[FC_TILE_ROWS];
    int64_t any_begin, all_begin, all_end, any_end; /* q that some, that all of the rows read */
};

static void grad_locate(const struct conv_shape *d, int64_t first, int64_t rows,
                        struct grad_taps *t)
{
    int64_t C = d->C / d->G, s0 = first / C, s1 = (first + rows - 1) / C;
    for (int i = 0; i < FC_TILE_ROWS; i++) {
        int64_t m = first + min_i64(i, rows - 1);
        t->shift[i] = m / C * d->dilation_w;
        t->source[i] = t->shift[i] * d->C + m % C;
        t->dw[i] = m * d->K;
    }
    tap_range(d->W, d->Q, d->stride_w, d->pad_left, s0 * d->dilation_w, &t->all_begin, &t->any_end);
    tap_range(d->W, d->Q, d->stride_w, d->pad_left, s1 * d->dilation_w, &t->any_begin, &t->all_end);
}

/* One tile of dw at filter row r, from pixel rows [begin, end). x and dy start at the group's
 * channels, dw at its columns of filter row r. */
FC_INLINE void grad_tile_body(const struct conv_shape *d, const float *x, const float *dy,
                              float *dw, int64_t r, int64_t first, int64_t rows, int64_t begin,
                              int64_t end, int accumulate, int64_t columns, const int vectors,
                              const int masked)
{
    struct grad_taps t;
    grad_locate(d, first, rows, &t);
    int64_t step = d->stride_w * d->C;
    vf acc[FC_TILE_ROWS][2];
    tile_zero(acc);
    for (int64_t row = begin; row < end; row++) {
        int64_t n = row / d->P, h = row % d->P * d->stride_h - d->pad_top + r * d->dilation_h;
        if (h < 0 || h >= d->H)
            continue;
        const float *line = x + (n * d->H + h) * d->W * d->C;
        for (int64_t q = t.any_begin, run; q < t.any_end; q += run) {
            int all = q >= t.all_begin && q < t.all_end;
            int64_t w = q * d->stride_w - d->pad_left;
            run = all ? t.all_end - q : 1;
            const float *a[FC_TILE_ROWS];
            for (int i = 0; i < FC_TILE_ROWS; i++)
                a[i] = all || (uint64_t)(w + t.shift[i]) < (uint64_t)d->W
                           ? line + (w * d->C + t.source[i])
                           : conv_zeros;
            tile_multiply(acc, a, step, dy + (row * d->Q + q) * d->K, d->K, run, columns, vectors,
                          masked);
        }
    }
    float *out[FC_TILE_ROWS];
    for (int i = 0; i < FC_TILE_ROWS; i++)
        out[i] = dw + t.dw[i];
    tile_store(acc, out, rows, accumulate, columns, vectors, masked);
}

static void grad_tile(const struct conv_shape *d, const float *x, const float *dy, float *dw,
                      int64_t r, int64_t first, int64_t rows, int64_t begin, int64_t end,
                      int accumulate, int64_t columns)
{
    FC_BY_COLUMNS(columns, grad_tile_body, d, x, dy, dw, r, first, rows, begin, end, accumulate,
                  columns);
}

/* Tiles [first, last) of dw, counted over (group, column tile, filter row, row tile), from pixel
 * rows [begin, end): block by block, so that a block of x and dy serves many tiles from cache. */
static void grad_part(const struct conv_shape *d, const float *x, const float *dy, float *dw,
                      int64_t first, int64_t last, int64_t begin, int64_t end)
{
    int64_t C = d->C / d->G, K = d->K / d->G, length = d->S * C;
    int64_t row_tiles = ceil_div(length, FC_TILE_ROWS), column_tiles = ceil_div(K, TILE_COLUMNS);
    int64_t block = max_i64(1, GRAD_BLOCK_PIXELS / d->Q), row = begin;
    do { /* once even without pixels: dw is zero then */
        int64_t stop = min_i64(row + block, end);
        for (int64_t tile = first; tile < last; tile++) {
            int64_t m = tile % row_tiles * FC_TILE_ROWS, r = tile / row_tiles % d->R;
            int64_t column = tile / row_tiles / d->R % column_tiles * TILE_COLUMNS;
            int64_t group = tile / row_tiles / d->R / column_tiles, k = group * K + column;
            grad_tile(d, x + group * C, dy + k, dw + r * length * d->K + k, r, m,
                      min_i64(FC_TILE_ROWS, length - m), row, stop, row > begin,
                      min_i64(TILE_COLUMNS, K - column));
        }
        row = stop;
    } while (row < end);
}

FC_DEFINE_PLAN(f32_conv2d_grad_kernel_direct)
{
    const fc_tensor *dy = &call->in[1];
    int64_t count = count_of(&call->out[0]);
    int64_t slices = grad_slices(dy->dim[0] * dy->dim[1], dy->dim[2], count);
    (void)nthreads;
    return slices > 1 ? slices * count * (int64_t)sizeof(float) : 0;
}

FC_DEFINE(f32_conv2d_grad_kernel_direct)
{
    FC_ATTRS(f32_conv2d_grad_kernel_direct);
    const struct conv_shape d = CONV_SHAPE(call->in, call->out, call->in + 1, attrs->groups);
    int64_t rows = d.N * d.P, count = count_of(&call->out[0]), begin, end;
    int64_t slices = grad_slices(rows, d.Q, count);
    int64_t tiles =
        d.G * ceil_div(d.K / d.G, TILE_COLUMNS) * d.R * ceil_div(d.S * (d.C / d.G), FC_TILE_ROWS);
    int64_t parts = min_i64(tiles, GRAD_UNITS / slices);
    float *dw = call->out[0].data, *copies = slices > 1 ? (float *)call->scratch : dw;
    share(slices * parts, tid, nthreads, &begin, &end);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t row, last_row, tile, last_tile;
        share(rows, (int)(unit / parts), (int)slices, &row, &last_row);
        share(tiles, (int)(unit % parts), (int)parts, &tile, &last_tile);
        grad_part(&d, call->in[0].data, call->in[1].data, copies + unit / parts * count, tile,
                  last_tile, row, last_row);
    }
    if (slices > 1) {
        fc_sync(call);
        add_copies(dw, copies, slices, count, tid, nthreads);
    }
    return FCNN_OK;
}
