/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution for inference, one filter a channel, with bias and bounds in its stores. Of
 * any other grouped convolution, the plain sum.
 *
 * Lanes are channels. A block of outputs, FC_DEPTHWISE_ROWS x DEPTHWISE_COLUMNS pixels of one
 * vector, is held in registers with its filter; every source pixel is loaded once and goes to all
 * the outputs that it reaches. A body is compiled for each usual size of filter.
 */
enum { DEPTHWISE_COLUMNS = 7, DEPTHWISE_VECTORS = 8, DEPTHWISE_MOST_TAPS = 7 * 7 };

struct depthwise {
    int64_t N, H, W, C, P, Q, R, S;
    int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t x_pixel, y_pixel;       /* from one pixel to the next, in floats */
    int64_t each;                   /* channels of a group */
    const float *x, *filter, *bias; /* filter (R, S, each, C) */
    float *y;
    float lower, upper;
    float *moments; /* of every line of y, (N, P, 2, C), or NULL */
};

/* Outputs [p, p + rows) x [q, q + columns) of one image, n channels from c on, where `image` and `y`
 * begin. */
struct depthwise_at {
    const float *image;
    float *y;
    int64_t p, q, c, n;
};

/* Blocks of `rows` x `columns` outputs, side by side from `at` on; only one unless `inside`. */
FC_INLINE void depthwise_blocks(const struct depthwise *g, const struct depthwise_at *at,
                                int64_t blocks, const int rows, const int columns, const int R,
                                const int S, const int stride, const int inside, const int whole)
{
    /* What lies in memory is read once: a store of floats may change any of it, for all C knows. */
    const int64_t n = whole ? FC_LANES : at->n, c = at->c, C = g->C, H = g->H, W = g->W;
    const int64_t h0 = at->p * stride - g->pad_top, w0 = at->q * stride - g->pad_left;
    const int64_t x_pixel = g->x_pixel, x_row = W * x_pixel;
    const int64_t y_pixel = g->y_pixel, y_row = g->Q * y_pixel;
    const vf lower = v_set1(g->lower), upper = v_set1(g->upper);
    const float *source = at->image + h0 * x_row + w0 * x_pixel, *filters = g->filter + c;
    float *y = at->y + at->p * y_row + at->q * y_pixel;
    vf filter[DEPTHWISE_MOST_TAPS], acc[FC_DEPTHWISE_ROWS][DEPTHWISE_COLUMNS];
    const vf bias = load_lanes(g->bias + c, n);
    /* Two rows of outputs share the rows of the filter, so all of it stays in registers. For one,
     * a row of it at a time leaves registers for more columns. */
    if (rows > 1)
#pragma GCC unroll 49
        for (int tap = 0; tap < R * S; tap++)
            filter[tap] = load_lanes(filters + tap * C, n);
    for (; blocks > 0; blocks--, source += columns * stride * x_pixel, y += columns * y_pixel) {
#pragma GCC unroll 2
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++)
                acc[i][j] = bias;
#pragma GCC unroll 16
        for (int i = 0; i < (rows - 1) * stride + R; i++) {
            if (!inside && (uint64_t)(h0 + i) >= (uint64_t)H)
                continue;
            const float *line = source + i * x_row;
            if (rows == 1)
#pragma GCC unroll 8
                for (int s = 0; s < S; s++)
                    filter[i * S + s] = load_lanes(filters + (i * S + s) * C, n);
#pragma GCC unroll 32
            for (int j = 0; j < (columns - 1) * stride + S; j++) {
                if (!inside && (uint64_t)(w0 + j) >= (uint64_t)W)
                    continue;
                const vf value = load_lanes(line + j * x_pixel, n);
#pragma GCC unroll 8
                for (int r = 0; r < R; r++)
#pragma GCC unroll 8
                    for (int s = 0; s < S; s++) {
                        int a = i - r, b = j - s;
                        if (a >= 0 && b >= 0 && a % stride == 0 && b % stride == 0 &&
                            a / stride < rows && b / stride < columns)
                            acc[a / stride][b / stride] =
                                v_fma(value, filter[r * S + s], acc[a / stride][b / stride]);
                    }
            }
        }
#pragma GCC unroll 2
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++)
                store_lanes(y + i * y_row + j * y_pixel, v_min(upper, v_max(lower, acc[i][j])), n);
    }
}

/* The blocks, by whether they read padding and whether their vector is whole. */
#define DEPTHWISE_BLOCK(R, S, stride, rows, columns)                                               \
    static void depthwise_##R##x##S##_##stride##_##rows##x##columns(                               \
        const struct depthwise *g, const struct depthwise_at *at, int64_t blocks, int inside)      \
    {                                                                                              \
        if (at->n < FC_LANES)                                                                      \
            depthwise_blocks(g, at, 1, rows, columns, R, S, stride, 0, 0);                         \
        else if (inside)                                                                           \
            depthwise_blocks(g, at, blocks, rows, columns, R, S, stride, 1, 1);                    \
        else                                                                                       \
            depthwise_blocks(g, at, 1, rows, columns, R, S, stride, 0, 1);                         \
    }
#define DEPTHWISE_BLOCKS(R, S, stride, rows)                                                       \
    DEPTHWISE_BLOCK(R, S, stride, rows, 1)                                                         \
    DEPTHWISE_BLOCK(R, S, stride, rows, 7)
DEPTHWISE_BLOCKS(3, 3, 1, 1)
DEPTHWISE_BLOCKS(3, 3, 2, 1)
DEPTHWISE_BLOCKS(5, 5, 1, 1)
DEPTHWISE_BLOCKS(5, 5, 2, 1)
DEPTHWISE_BLOCKS(7, 7, 1, 1)
#if FC_DEPTHWISE_ROWS == 2
DEPTHWISE_BLOCKS(3, 3, 1, 2)
DEPTHWISE_BLOCKS(3, 3, 2, 2)
#endif

typedef void (*depthwise_fn)(const struct depthwise *, const struct depthwise_at *, int64_t blocks,
                             int inside);

/* Functions for one size of filter: of one and of two rows, of one and of several columns. */
struct depthwise_family {
    int R, S, stride, rows;
    depthwise_fn block[2][2];
};

/* clang-format off */
#define ONE_ROW(R, S, stride)                                                                \
    {R, S, stride, 1, {{depthwise_##R##x##S##_##stride##_1x1, depthwise_##R##x##S##_##stride##_1x7}}}
#if FC_DEPTHWISE_ROWS == 2
#define ROWS(R, S, stride)                                                                   \
    {R, S, stride, 2, {{depthwise_##R##x##S##_##stride##_1x1, depthwise_##R##x##S##_##stride##_1x7},     \
                       {depthwise_##R##x##S##_##stride##_2x1, depthwise_##R##x##S##_##stride##_2x7}}}
#else
#define ROWS ONE_ROW
#endif
static const struct depthwise_family depthwise_families[] = {
    ROWS(3, 3, 1),    ROWS(3, 3, 2),    ONE_ROW(5, 5, 1),
    ONE_ROW(5, 5, 2), ONE_ROW(7, 7, 1), {0},
};
#undef ONE_ROW
#undef ROWS
/* clang-format on */

/* The functions for this filter, if there are such. */
static const struct depthwise_family *depthwise_family_of(const struct depthwise *g)
{
    const struct depthwise_family *f = depthwise_families;
    if (g->stride_h != g->stride_w || g->dilation_h != 1 || g->dilation_w != 1 || g->each > 1)
        return NULL;
    for (; f->R; f++)
        if (f->R == g->R && f->S == g->S && f->stride == g->stride_h)
            return f;
    return NULL;
}

/* `rows` rows of outputs from p on, for the vector of channels of `at`. */
static void depthwise_line(const struct depthwise *g, const struct depthwise_family *f,
                           struct depthwise_at *at, int64_t rows)
{
    int64_t h0 = at->p * f->stride - g->pad_top;
    int rows_inside = h0 >= 0 && h0 + (rows - 1) * f->stride + f->R <= g->H;
    /* Outputs whose taps all read the image, as far as columns go: [first, last). */
    int64_t first = ceil_div(g->pad_left, f->stride);
    int64_t last = min_i64(g->Q, (g->W + g->pad_left - f->S + f->stride) / f->stride);
    for (int64_t q = 0, blocks; q < g->Q;) {
        int64_t columns = g->Q - q >= DEPTHWISE_COLUMNS ? DEPTHWISE_COLUMNS : 1;
        int inside = rows_inside && at->n == FC_LANES && q >= first && q + columns <= last;
        blocks = inside ? (last - q) / columns : 1;
        at->q = q;
        f->block[rows - 1][columns > 1](g, at, blocks, inside);
        q += blocks * columns;
    }
}

/* One output pixel and channel by any filter. */
static float depthwise_one(const struct depthwise *g, const struct depthwise_at *at, int64_t k)
{
    float sum = g->bias[k];
    for (int64_t r = 0; r < g->R; r++)
        for (int64_t s = 0; s < g->S; s++) {
            int64_t h = at->p * g->stride_h + r * g->dilation_h - g->pad_top;
            int64_t w = at->q * g->stride_w + s * g->dilation_w - g->pad_left;
            if ((uint64_t)h >= (uint64_t)g->H || (uint64_t)w >= (uint64_t)g->W)
                continue;
            const float *x =
                at->image + (h * g->W + w) * g->x_pixel + k / g->each * g->each - at->c;
            const float *filter = g->filter + (r * g->S + s) * g->each * g->C + k;
            for (int64_t c = 0; c < g->each; c++)
                sum += x[c] * filter[c * g->C];
        }
    return sum;
}

/* A vector of channels of one output pixel by any filter. */
static void depthwise_any(const struct depthwise *g, const struct depthwise_at *at)
{
    float sums[FC_LANES];
    for (int64_t i = 0; i < at->n; i++)
        sums[i] = depthwise_one(g, at, at->c + i);
    vf y = v_min(v_set1(g->upper), v_max(v_set1(g->lower), load_lanes(sums, at->n)));
    store_lanes(at->y + (at->p * g->Q + at->q) * g->y_pixel, y, at->n);
}

/* Rows [p, last) of outputs for the vector of channels of `at`. */
static void depthwise_rows(const struct depthwise *g, const struct depthwise_family *f,
                           struct depthwise_at *at, int64_t p, int64_t last)
{
    for (at->p = p; at->p < last; at->p += f ? f->rows : 1) {
        if (f)
            depthwise_line(g, f, at, min_i64(f->rows, last - at->p));
        else
            for (at->q = 0; at->q < g->Q; at->q++)
                depthwise_any(g, at);
    }
}

/* Moments of channels [c, last) in row p of image n, which has just been stored. */
static void depthwise_moments(const struct depthwise *g, int64_t n, int64_t p, int64_t c,
                              int64_t last)
{
    int64_t line = n * g->P + p;
    float *mean = g->moments + line * 2 * g->C + c;
    block_moments_of(g->y + line * g->Q * g->y_pixel + c, g->Q, g->y_pixel, last - c, NULL, mean,
                     mean + g->C);
}

static void depthwise_fused(const struct depthwise *g, int tid, int nthreads)
{
    const struct depthwise_family *family = depthwise_family_of(g);
    int64_t step = family ? family->rows : 1, lines = ceil_div(g->P, step);
    int64_t chunks = ceil_div(g->C, DEPTHWISE_VECTORS * FC_LANES);
    fc_work work = fc_open(g->N * lines * chunks, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t n = item / chunks / lines, p = item / chunks % lines * step;
            int64_t first = item % chunks * DEPTHWISE_VECTORS * FC_LANES;
            int64_t last = min_i64(first + DEPTHWISE_VECTORS * FC_LANES, g->C);
            for (int64_t c = first; c < last; c += FC_LANES) {
                struct depthwise_at at = {.image = g->x + n * g->H * g->W * g->x_pixel + c,
                                          .y = g->y + n * g->P * g->Q * g->y_pixel + c,
                                          .c = c,
                                          .n = min_i64(FC_LANES, last - c)};
                depthwise_rows(g, family, &at, p, min_i64(p + step, g->P));
            }
            for (int64_t row = p; g->moments && row < min_i64(p + step, g->P); row++)
                depthwise_moments(g, n, row, first, last);
        }
}

#define DEPTHWISE(call, channels_of_a_group)                                                       \
    {.N = (call)->in[0].dim[0],                                                                    \
     .H = (call)->in[0].dim[1],                                                                    \
     .W = (call)->in[0].dim[2],                                                                    \
     .C = (call)->in[0].dim[3],                                                                    \
     .P = (call)->out[0].dim[1],                                                                   \
     .Q = (call)->out[0].dim[2],                                                                   \
     .R = (call)->in[1].dim[0],                                                                    \
     .S = (call)->in[1].dim[1],                                                                    \
     .stride_h = attrs->stride_h,                                                                  \
     .stride_w = attrs->stride_w,                                                                  \
     .dilation_h = attrs->dilation_h,                                                              \
     .dilation_w = attrs->dilation_w,                                                              \
     .pad_top = attrs->pad_top,                                                                    \
     .pad_left = attrs->pad_left,                                                                  \
     .x_pixel = (call)->in[0].ld,                                                                  \
     .y_pixel = (call)->out[0].ld,                                                                 \
     .each = (channels_of_a_group),                                                                \
     .x = (call)->in[0].data,                                                                      \
     .filter = (call)->in[1].data,                                                                 \
     .bias = (call)->in[2].data,                                                                   \
     .y = (call)->out[0].data,                                                                     \
     .lower = (float)attrs->lower,                                                                 \
     .upper = (float)attrs->upper,                                                                 \
     .moments = (call)->n_out > 1 ? (call)->out[1].data : NULL}

FC_DEFINE(f32_fused_depthwise_conv2d)
{
    FC_ATTRS(f32_fused_depthwise_conv2d);
    const struct depthwise g = DEPTHWISE(call, 1);
    depthwise_fused(&g, tid, nthreads);
    return FCNN_OK;
}
