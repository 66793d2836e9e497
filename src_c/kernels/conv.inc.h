/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution by taps: every output pixel sums, over the taps of its filter, a source pixel's
 * channels times that tap's matrix. Forward and backward to the input are the same walk over a grid
 * of outputs; only how a tap finds its source differs.
 */

struct conv_shape {
    int64_t N, H, W, C, K, R, S, P, Q, G;
    int64_t stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
};

/* From the tensors x, w, y of a convolution (whichever of them the kernel has) and its attributes. */
#define CONV_SHAPE(x, w, y, groups)                                                                \
    {.N = (x)->dim[0],                                                                             \
     .H = (x)->dim[1],                                                                             \
     .W = (x)->dim[2],                                                                             \
     .C = (x)->dim[3],                                                                             \
     .K = (y)->dim[3],                                                                             \
     .R = (w)->dim[0],                                                                             \
     .S = (w)->dim[1],                                                                             \
     .P = (y)->dim[1],                                                                             \
     .Q = (y)->dim[2],                                                                             \
     .G = (groups),                                                                                \
     .stride_h = attrs->stride_h,                                                                  \
     .stride_w = attrs->stride_w,                                                                  \
     .pad_top = attrs->pad_top,                                                                    \
     .pad_left = attrs->pad_left,                                                                  \
     .dilation_h = attrs->dilation_h,                                                              \
     .dilation_w = attrs->dilation_w}

/* One axis of the walk: output `position` finds through tap first + t * step, t < taps, the source
 * pixel position * stride + offset + t * shift; outside [0, size) there is only padding. */
struct conv_axis {
    int64_t size, stride, taps, first, step, offset, shift;
};

static struct conv_axis forward_axis(int64_t size, int64_t taps, int64_t stride, int64_t pad,
                                     int64_t dilation)
{
    return (struct conv_axis){size, stride, taps, 0, 1, -pad, dilation};
}

/* From one tap to the next that meets the same pixels of dx. */
static int64_t phase_step(int64_t stride, int64_t dilation)
{
    int64_t step = 1;
    while (step * dilation % stride != 0)
        step++;
    return step;
}

/* Backward with a stride, input pixels `phase`, phase + stride, ... share the taps that reach them:
 * output = (phase + pad - tap * dilation) / stride + position, where the division leaves no rest. */
static struct conv_axis backward_axis(int64_t size, int64_t taps, int64_t stride, int64_t pad,
                                      int64_t dilation, int64_t phase)
{
    struct conv_axis axis = {.size = size, .stride = 1};
    int64_t first = 0, step = phase_step(stride, dilation);
    while (first < taps && (phase + pad - first * dilation) % stride != 0)
        first++;
    if (first == taps)
        return axis;
    axis.first = first;
    axis.step = step;
    axis.taps = ceil_div(taps - first, step);
    axis.offset = (phase + pad - first * dilation) / stride;
    axis.shift = -(step * dilation / stride);
    return axis;
}

/* A grid of N x P x Q outputs, its source and its matrices; strides in floats. */
struct conv_grid {
    struct conv_axis h, w;
    int64_t N, P, Q, groups, depth, columns; /* depth and columns of one group */
    const float *a;                          /* source (N, h.size, w.size, groups * depth) */
    int64_t a_image, a_row, a_pixel;
    const float *b; /* matrices (taps, depth, ldb); a group's columns or rows start at b_group */
    int64_t b_row, b_tap, b_group, ldb;
    float *y;
    int64_t y_image, y_row, y_pixel;
};

enum { CONV_ROWS = FC_TILE_ROWS > FC_PANEL_ROWS ? FC_TILE_ROWS : FC_PANEL_ROWS };

/* The output pixels of a tile: where they lie, and where their taps start in the source. */
struct conv_pixels {
    int64_t source[CONV_ROWS], h[CONV_ROWS], w[CONV_ROWS], y[CONV_ROWS];
    int reads[CONV_ROWS]; /* whether the tap at hand reads the source, not padding */
    int inside;           /* no tap of any pixel reads padding */
};

static inline int axis_inside(const struct conv_axis *axis, int64_t at)
{
    int64_t one = at + axis->offset, other = one + (axis->taps - 1) * axis->shift;
    return min_i64(one, other) >= 0 && max_i64(one, other) < axis->size;
}

/* `rows` >= 1 pixels first, first + 1, ... of the flattened grid, the last repeated up to `all`. Those of
 * one row lie equally far apart, and have no padding if its ends have none. */
FC_INLINE void conv_locate(const struct conv_grid *g, int64_t first, int64_t rows, const int all,
                           struct conv_pixels *px)
{
    const int64_t source_step = g->w.stride * g->a_pixel, y_step = g->y_pixel;
    int64_t q = first % g->Q, p = first / g->Q % g->P, n = first / g->Q / g->P;
    px->inside = 1;
    for (int64_t begin = 0, end; begin < rows; begin = end) {
        const int64_t h = p * g->h.stride, w = q * g->w.stride;
        const int64_t source = n * g->a_image + h * g->a_row + w * g->a_pixel;
        const int64_t y = n * g->y_image + p * g->y_row + q * g->y_pixel;
        end = min_i64(rows, begin + g->Q - q);
        px->inside &= axis_inside(&g->h, h) & axis_inside(&g->w, w) &
                      axis_inside(&g->w, w + (end - begin - 1) * g->w.stride);
        for (int64_t i = begin; i < end; i++) {
            px->h[i] = h;
            px->w[i] = w + (i - begin) * g->w.stride;
            px->source[i] = source + (i - begin) * source_step;
            px->y[i] = y + (i - begin) * y_step;
            px->reads[i] = 1;
        }
        q = 0;
        if (++p == g->P) {
            p = 0;
            n++;
        }
    }
    for (int64_t i = rows; i < all; i++) {
        px->h[i] = px->h[rows - 1];
        px->w[i] = px->w[rows - 1];
        px->source[i] = px->source[rows - 1];
        px->y[i] = px->y[rows - 1];
        px->reads[i] = 1;
    }
}

/* Which pixels the tap at offset (dh, dw) reads; 0 when none. */
FC_INLINE int conv_reach(const struct conv_grid *g, struct conv_pixels *px, int64_t dh, int64_t dw,
                         const int rows)
{
    int any = 0;
    for (int i = 0; i < rows; i++) {
        px->reads[i] = (uint64_t)(px->h[i] + dh) < (uint64_t)g->h.size &&
                       (uint64_t)(px->w[i] + dw) < (uint64_t)g->w.size;
        any |= px->reads[i];
    }
    return any;
}

enum { CONV_ZEROS = 256 };
static const float conv_zeros[CONV_ZEROS]; /* padding; times an infinite weight it is NaN */

/* Neighbouring taps whose source channels follow each other without a gap (forward, one group, no
 * dilation): their matrices do too, and the taps of a row are one long sum. */
static inline int conv_merges(const struct conv_grid *g)
{
    return g->w.shift * g->a_pixel == g->depth;
}

FC_INLINE void conv_tile_body(const struct conv_grid *g, const float *source, const float *matrix,
                              float *out, int64_t first, int64_t rows, int64_t columns,
                              const int vectors, const int masked)
{
    struct conv_pixels px;
    conv_locate(g, first, rows, FC_TILE_ROWS, &px);
    int64_t taps = g->w.taps, depth = g->depth;
    if (px.inside && conv_merges(g)) {
        depth *= taps;
        taps = min_i64(taps, 1);
    }
    int64_t chunk = px.inside ? depth : min_i64(depth, CONV_ZEROS);
    vf acc[FC_TILE_ROWS][2];
    tile_zero(acc);
    for (int64_t r = 0; r < g->h.taps; r++)
        for (int64_t s = 0; s < taps; s++) {
            int64_t dh = g->h.offset + r * g->h.shift, dw = g->w.offset + s * g->w.shift;
            if (!px.inside && !conv_reach(g, &px, dh, dw, FC_TILE_ROWS))
                continue;
            int64_t shift = dh * g->a_row + dw * g->a_pixel;
            const float *b = matrix + (g->h.first + r * g->h.step) * g->b_row +
                             (g->w.first + s * g->w.step) * g->b_tap;
            for (int64_t c = 0; c < depth; c += chunk) {
                const float *a[FC_TILE_ROWS];
                for (int i = 0; i < FC_TILE_ROWS; i++)
                    a[i] = px.reads[i] ? source + (px.source[i] + shift + c) : conv_zeros;
                tile_multiply(acc, a, 1, b + c * g->ldb, g->ldb, min_i64(chunk, depth - c), columns,
                              vectors, masked);
            }
        }
    float *y[FC_TILE_ROWS];
    for (int i = 0; i < FC_TILE_ROWS; i++)
        y[i] = out + px.y[i];
    tile_store(acc, y, rows, 0, columns, vectors, masked);
}

static void conv_tile(const struct conv_grid *g, const float *source, const float *matrix,
                      float *out, int64_t first, int64_t rows, int64_t columns)
{
    FC_BY_COLUMNS(columns, conv_tile_body, g, source, matrix, out, first, rows, columns);
}

enum { CONV_BLOCK = 8 * FC_TILE_ROWS }; /* pixels of one item of work */

static void conv_walk(const struct conv_grid *g, int tid, int nthreads)
{
    int64_t pixels = g->N * g->P * g->Q, begin, end;
    int64_t tiles = ceil_div(g->columns, TILE_COLUMNS), panels = tiles * g->groups;
    share(ceil_div(pixels, CONV_BLOCK) * panels, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t column = item % tiles * TILE_COLUMNS, group = item % panels / tiles;
        int64_t first = item / panels * CONV_BLOCK, last = min_i64(first + CONV_BLOCK, pixels);
        const float *source = g->a + group * g->depth;
        const float *matrix = g->b + group * g->b_group + column;
        float *out = g->y + group * g->columns + column;
        for (; first < last; first += FC_TILE_ROWS)
            conv_tile(g, source, matrix, out, first, min_i64(FC_TILE_ROWS, last - first),
                      min_i64(TILE_COLUMNS, g->columns - column));
    }
}

FC_DEFINE(f32_conv2d_direct)
{
    FC_ATTRS(f32_conv2d_direct);
    const struct conv_shape d = CONV_SHAPE(call->in, call->in + 1, call->out, attrs->groups);
    const struct conv_grid grid = {
        .h = forward_axis(d.H, d.R, d.stride_h, d.pad_top, d.dilation_h),
        .w = forward_axis(d.W, d.S, d.stride_w, d.pad_left, d.dilation_w),
        .N = d.N,
        .P = d.P,
        .Q = d.Q,
        .groups = d.G,
        .depth = d.C / d.G,
        .columns = d.K / d.G,
        .a = call->in[0].data,
        .a_image = d.H * d.W * d.C,
        .a_row = d.W * d.C,
        .a_pixel = d.C,
        .b = call->in[1].data,
        .b_row = d.S * (d.C / d.G) * d.K,
        .b_tap = d.C / d.G * d.K,
        .b_group = d.K / d.G,
        .ldb = d.K,
        .y = call->out[0].data,
        .y_image = d.P * d.Q * d.K,
        .y_row = d.Q * d.K,
        .y_pixel = d.K,
    };
    conv_walk(&grid, tid, nthreads);
    return FCNN_OK;
}

/* to[tap][k][c] = from[tap][c][k], in blocks of a cache line. */
static void transpose_filters(float *to, const float *from, int64_t taps, int64_t C, int64_t K,
                              int tid, int nthreads)
{
    enum { BLOCK = 16 };
    int64_t blocks = ceil_div(K, BLOCK), begin, end;
    share(taps * blocks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t tap = item / blocks, k0 = item % blocks * BLOCK, k1 = min_i64(k0 + BLOCK, K);
        for (int64_t c0 = 0; c0 < C; c0 += BLOCK)
            for (int64_t k = k0; k < k1; k++)
                for (int64_t c = c0; c < min_i64(c0 + BLOCK, C); c++)
                    to[(tap * K + k) * C + c] = from[(tap * C + c) * K + k];
    }
}

FC_DEFINE_PLAN(f32_conv2d_grad_input_direct)
{
    (void)nthreads;
    return count_of(&call->in[1]) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_conv2d_grad_input_direct)
{
    FC_ATTRS(f32_conv2d_grad_input_direct);
    const struct conv_shape d = CONV_SHAPE(call->out, call->in + 1, call->in, attrs->groups);
    int64_t C = d.C / d.G;
    float *filters = (float *)call->scratch, *dx = call->out[0].data;
    transpose_filters(filters, call->in[1].data, d.R * d.S, C, d.K, tid, nthreads);
    fc_sync(call);
    struct conv_grid grid = {
        .N = d.N,
        .groups = d.G,
        .depth = d.K / d.G,
        .columns = C,
        .a = call->in[0].data,
        .a_image = d.P * d.Q * d.K,
        .a_row = d.Q * d.K,
        .a_pixel = d.K,
        .b = filters,
        .b_row = d.S * d.K * C,
        .b_tap = d.K * C,
        .b_group = d.K / d.G * C,
        .ldb = C,
        .y_image = d.H * d.W * d.C,
        .y_row = d.stride_h * d.W * d.C,
        .y_pixel = d.stride_w * d.C,
    };
    for (int64_t h = 0; h < min_i64(d.stride_h, d.H); h++)
        for (int64_t w = 0; w < min_i64(d.stride_w, d.W); w++) {
            grid.h = backward_axis(d.P, d.R, d.stride_h, d.pad_top, d.dilation_h, h);
            grid.w = backward_axis(d.Q, d.S, d.stride_w, d.pad_left, d.dilation_w, w);
            grid.P = ceil_div(d.H - h, d.stride_h);
            grid.Q = ceil_div(d.W - w, d.stride_w);
            grid.y = dx + (h * d.W + w) * d.C;
            conv_walk(&grid, tid, nthreads);
        }
    return FCNN_OK;
}
