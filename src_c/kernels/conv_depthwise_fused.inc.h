/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution for inference, one filter a channel, with bias and bounds in its stores.
 *
 * Lanes are channels. A block of outputs, FC_DEPTHWISE_ROWS x DEPTHWISE_COLUMNS pixels of one
 * vector, is held in registers with its filter; every source pixel is loaded once and goes to all
 * the outputs that it reaches. A body is compiled for each usual size of filter; any other filter
 * goes over a block tap by tap.
 *
 * A dilated convolution is several that are not: outputs that lie dilation / common apart, where
 * `common` is the greatest divisor that dilation and stride have in common, read pixels that lie
 * whole dilations apart, stride / common of them from output to output. So a block is no different:
 * only its pixels are further from each other.
 */
enum { DEPTHWISE_COLUMNS = 7, DEPTHWISE_FEW = 4, DEPTHWISE_VECTORS = 8, DEPTHWISE_FILTER = 3 * 3 };

struct depthwise {
    int64_t N, H, W, C, P, Q, R, S;
    int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t x_pixel, y_pixel;       /* from one pixel to the next, in floats */
    int64_t each;                   /* channels of a group */
    const float *x, *filter, *bias; /* filter (R, S, each, C) */
    float *y;
    float lower, upper;
    float *moments; /* of every line of y, (N, P, 2, C), or NULL */
    int far;        /* x lies in no near cache */
};

/* Outputs of rows p, p + 1, ... and columns q, q + apart, ... of one image, n channels from c on,
 * where `image` and `y` begin. */
struct depthwise_at {
    const float *image;
    float *y;
    int64_t p, q, apart, c, n;
    int64_t w, W; /* of the pixels that they read: the first one's place, and how many there are */
};

/* How the outputs of a block read a line of the source: lanes, floats from tap to tap and from
 * output to output, and as above. */
struct depthwise_reads {
    int64_t n, tap, next, w, W;
};

/* A line of the source with the rows of a filter that outputs meet in it, i lines below the first. */
FC_INLINE void depthwise_slide(vf acc[FC_DEPTHWISE_ROWS][DEPTHWISE_COLUMNS], const vf *filter,
                               const float *source, const struct depthwise_reads *l, const int i,
                               const int rows, const int columns, const int R, const int S,
                               const int stride, const int inside)
{
#pragma GCC unroll 32
    for (int j = 0; j < (columns - 1) * stride + S; j++) {
        if (!inside && (uint64_t)(l->w + j) >= (uint64_t)l->W)
            continue;
        const vf value = load_lanes(source + j * l->tap, l->n);
#pragma GCC unroll 2
        for (int a = 0; a < rows; a++)
#pragma GCC unroll 8
            for (int s = 0; s < S; s++) {
                const int r = i - a * stride, b = j - s;
                if (r >= 0 && r < R && b >= 0 && b % stride == 0 && b / stride < columns)
                    acc[a][b / stride] = v_fma(value, filter[r * S + s], acc[a][b / stride]);
            }
    }
}

/* A line of the source with a row of S taps of any filter. */
FC_INLINE void depthwise_taps(vf acc[DEPTHWISE_COLUMNS], const float *filter, int64_t C, int64_t S,
                              const float *source, const struct depthwise_reads *l, int64_t stride,
                              int64_t dilation, const int columns, const int inside)
{
    for (int64_t s = 0; s < S; s++, source += l->tap, filter += C) {
        const vf weight = load_lanes(filter, l->n);
        const int64_t w = l->w + s * dilation;
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++)
            if (inside || (uint64_t)(w + j * stride) < (uint64_t)l->W)
                acc[j] = v_fma(load_lanes(source + j * l->next, l->n), weight, acc[j]);
    }
}

/* Ask for what the block below will be the first to read: `lines` lines from `source` on. */
FC_INLINE void depthwise_expect(const float *source, int64_t line, int64_t tap, const int lines,
                                const int columns, const int stride)
{
    for (int i = 0; i < lines; i++, source += line)
#pragma GCC unroll 16
        for (int j = 0; j < columns * stride; j++)
            __builtin_prefetch(source + j * tap);
}

/* Blocks of `rows` x `columns` outputs, side by side from `at` on; only one unless `inside`. Filters
 * of S x S taps; of any size where S is 0. */
FC_INLINE void depthwise_blocks(const struct depthwise *g, const struct depthwise_at *at,
                                int64_t blocks, const int rows, const int columns, const int S,
                                const int stride, const int inside, const int whole)
{
    /* What lies in memory is read once: a store of floats may change any of it, for all C knows. */
    const int64_t n = whole ? FC_LANES : at->n, C = g->C, H = g->H, R = g->R, any = g->S;
    const int64_t down = g->dilation_h, h0 = at->p * g->stride_h - g->pad_top;
    const int64_t x_pixel = g->x_pixel, x_row = g->W * x_pixel, stride_w = g->stride_w;
    const int64_t y_pixel = at->apart * g->y_pixel, y_row = g->Q * g->y_pixel;
    const int64_t w0 = at->q * stride_w - g->pad_left, right = g->dilation_w;
    const struct depthwise_reads line = {n, right * x_pixel, at->apart * stride_w * x_pixel, at->w,
                                         at->W};
    const vf lower = v_set1(g->lower), upper = v_set1(g->upper);
    const float *source = at->image + h0 * x_row + w0 * x_pixel, *filters = g->filter + at->c;
    float *y = at->y + at->p * y_row + at->q * g->y_pixel;
    vf filter[DEPTHWISE_FILTER], acc[FC_DEPTHWISE_ROWS][DEPTHWISE_COLUMNS];
    const vf bias = load_lanes(g->bias + at->c, n);
    /* Two rows of outputs share the rows of the filter, so all of it stays in registers. For one,
     * a row of it at a time leaves registers for more columns. */
    if (rows > 1)
#pragma GCC unroll 9
        for (int tap = 0; tap < S * S; tap++)
            filter[tap] = load_lanes(filters + tap * C, n);
    for (; blocks > 0; blocks--, source += columns * line.next, y += columns * y_pixel) {
#pragma GCC unroll 2
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++)
                acc[i][j] = bias;
        if (inside && g->far)
            depthwise_expect(source + ((rows - 1) * stride + R) * down * x_row, down * x_row,
                             line.tap, rows * stride, columns, stride);
        for (int64_t r = 0; S == 0 && r < R; r++)
            if (inside || (uint64_t)(h0 + r * down) < (uint64_t)H)
                depthwise_taps(acc[0], filters + r * any * C, C, any, source + r * down * x_row,
                               &line, stride_w, right, columns, inside);
#pragma GCC unroll 16
        for (int i = 0; i < (rows - 1) * stride + S; i++) {
            if (!inside && (uint64_t)(h0 + i * down) >= (uint64_t)H)
                continue;
            if (rows > 1) {
                depthwise_slide(acc, filter, source + i * down * x_row, &line, i, rows, columns, S,
                                S, stride, inside);
                continue;
            }
#pragma GCC unroll 8
            for (int s = 0; s < S; s++)
                filter[s] = load_lanes(filters + (i * S + s) * C, n);
            depthwise_slide(acc, filter, source + i * down * x_row, &line, 0, 1, columns, 1, S,
                            stride, inside);
        }
#pragma GCC unroll 2
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++)
                store_lanes(y + i * y_row + j * y_pixel, v_min(upper, v_max(lower, acc[i][j])), n);
    }
}

/* The blocks, by whether they read padding and whether their vector is whole. */
#define DEPTHWISE_BLOCK(S, stride, rows, columns)                                                  \
    static void depthwise_##S##_##stride##_##rows##x##columns(                                     \
        const struct depthwise *g, const struct depthwise_at *at, int64_t blocks, int inside)      \
    {                                                                                              \
        if (at->n < FC_LANES)                                                                      \
            depthwise_blocks(g, at, 1, rows, columns, S, stride, 0, 0);                            \
        else if (inside)                                                                           \
            depthwise_blocks(g, at, blocks, rows, columns, S, stride, 1, 1);                       \
        else                                                                                       \
            depthwise_blocks(g, at, 1, rows, columns, S, stride, 0, 1);                            \
    }
#define DEPTHWISE_BLOCKS(S, stride, rows)                                                          \
    DEPTHWISE_BLOCK(S, stride, rows, 1)                                                            \
    DEPTHWISE_BLOCK(S, stride, rows, 4)                                                            \
    DEPTHWISE_BLOCK(S, stride, rows, 7)
DEPTHWISE_BLOCKS(3, 1, 1)
DEPTHWISE_BLOCKS(3, 2, 1)
DEPTHWISE_BLOCKS(5, 1, 1)
DEPTHWISE_BLOCKS(5, 2, 1)
DEPTHWISE_BLOCKS(7, 1, 1)
DEPTHWISE_BLOCKS(7, 2, 1)
DEPTHWISE_BLOCKS(0, 0, 1)
#if FC_DEPTHWISE_ROWS == 2
DEPTHWISE_BLOCKS(3, 1, 2)
DEPTHWISE_BLOCKS(3, 2, 2)
#endif

typedef void (*depthwise_fn)(const struct depthwise *, const struct depthwise_at *, int64_t blocks,
                             int inside);

/* Functions for filters of S x S taps: of one and of two rows, by their columns. */
struct depthwise_family {
    int S, stride, rows;
    depthwise_fn block[2][DEPTHWISE_COLUMNS + 1];
};

/* clang-format off */
#define BY_COLUMNS(S, stride, rows)                                                          \
    {[1] = depthwise_##S##_##stride##_##rows##x1,                                            \
     [DEPTHWISE_FEW] = depthwise_##S##_##stride##_##rows##x4,                                \
     [DEPTHWISE_COLUMNS] = depthwise_##S##_##stride##_##rows##x7}
#define ONE_ROW(S, stride) {S, stride, 1, {BY_COLUMNS(S, stride, 1)}}
#if FC_DEPTHWISE_ROWS == 2
#define ROWS(S, stride) {S, stride, 2, {BY_COLUMNS(S, stride, 1), BY_COLUMNS(S, stride, 2)}}
#else
#define ROWS ONE_ROW
#endif
/* The last does any filter. */
static const struct depthwise_family depthwise_families[] = {
    ROWS(3, 1),    ROWS(3, 2),    ONE_ROW(5, 1), ONE_ROW(5, 2),
    ONE_ROW(7, 1), ONE_ROW(7, 2), ONE_ROW(0, 0),
};
#undef BY_COLUMNS
#undef ONE_ROW
#undef ROWS
/* clang-format on */

/* How a convolution is done: by which functions, how many rows at once, outputs how far apart; and
 * how far apart the pixels are that a block reads. */
struct depthwise_way {
    const struct depthwise_family *family;
    int64_t rows, apart, unit;
    int64_t step; /* of those pixels, from output to output */
};

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static struct depthwise_way depthwise_way_of(const struct depthwise *g)
{
    int64_t common_h = common_divisor(g->stride_h, g->dilation_h);
    int64_t common_w = common_divisor(g->stride_w, g->dilation_w);
    int64_t stride = g->stride_w / common_w, apart = g->dilation_w / common_w;
    const struct depthwise_family *f = depthwise_families;
    while (f->S && (f->S != g->R || f->S != g->S || f->stride != stride))
        f++;
    /* Outputs so far apart that there is no block of them: tap by tap they may be neighbours. */
    if (apart > 1 && g->Q < DEPTHWISE_COLUMNS * apart)
        while (f->S)
            f++;
    if (!f->S)
        return (struct depthwise_way){f, 1, 1, 1, g->stride_w};
    int alike = g->dilation_h == common_h && g->stride_h == stride * common_h;
    return (struct depthwise_way){f, alike ? f->rows : 1, apart, g->dilation_w, stride};
}

/* The outputs of a row that lie `apart` from q on, and the pixels that they read, every `unit`th. */
struct depthwise_phase {
    int64_t q, all;      /* the first, and how many */
    int64_t w, W;        /* place of the first one's first pixel, and how many there are */
    int64_t first, last; /* all that those in [first, last) read lies in the image */
};

static struct depthwise_phase depthwise_phase_of(const struct depthwise *g,
                                                 const struct depthwise_way *way, int64_t q)
{
    const int64_t unit = way->unit, step = way->step;
    const int64_t w = q * g->stride_w - g->pad_left, rest = (w % unit + unit) % unit;
    struct depthwise_phase phase = {.q = q,
                                    .all = ceil_div(g->Q - q, way->apart),
                                    .w = (w - rest) / unit,
                                    .W = ceil_div(g->W - rest, unit)};
    int64_t room = phase.W - phase.w - (g->S - 1) * g->dilation_w / unit;
    phase.first = max_i64(0, ceil_div(-phase.w, step));
    phase.last = min_i64(phase.all, ceil_div(max_i64(0, room), step));
    return phase;
}

/* Columns of a block where `left` of `all` outputs are left; more than that where it is worth to do
 * the last ones before them once more. */
static inline int64_t depthwise_columns(int64_t left, int64_t all)
{
    if (left >= DEPTHWISE_COLUMNS || (left > DEPTHWISE_FEW && all >= DEPTHWISE_COLUMNS))
        return DEPTHWISE_COLUMNS;
    return left > 1 && all >= DEPTHWISE_FEW ? DEPTHWISE_FEW : 1;
}

/* `rows` rows of outputs from p on, for the vector of channels of `at`. */
static void depthwise_line(const struct depthwise *g, const struct depthwise_way *way,
                           const struct depthwise_phase *phase, struct depthwise_at *at,
                           int64_t rows)
{
    const int64_t h0 = at->p * g->stride_h - g->pad_top;
    int rows_inside = h0 >= 0 && h0 + (rows - 1) * g->stride_h + (g->R - 1) * g->dilation_h < g->H;
    for (int64_t done = 0; done < phase->all;) {
        int64_t columns = depthwise_columns(phase->all - done, phase->all), blocks = 1;
        done = min_i64(done, phase->all - columns);
        int inside = rows_inside && at->n == FC_LANES && done >= phase->first &&
                     done + columns <= phase->last;
        if (inside && columns == DEPTHWISE_COLUMNS)
            blocks = (phase->last - done) / DEPTHWISE_COLUMNS;
        at->q = phase->q + done * way->apart;
        at->w = phase->w + done * way->step;
        way->family->block[rows - 1][columns](g, at, blocks, inside);
        done += blocks * columns;
    }
}

/* Rows [p, last) of outputs, `channels` channels from those of `at` on. */
static void depthwise_rows(const struct depthwise *g, const struct depthwise_way *way,
                           const struct depthwise_at *at, int64_t channels, int64_t p, int64_t last)
{
    for (int64_t q = 0; q < min_i64(way->apart, g->Q); q++) {
        const struct depthwise_phase phase = depthwise_phase_of(g, way, q);
        for (int64_t c = 0; c < channels; c += FC_LANES) {
            struct depthwise_at one = {.image = at->image + c,
                                       .y = at->y + c,
                                       .apart = way->apart,
                                       .c = at->c + c,
                                       .n = min_i64(FC_LANES, channels - c),
                                       .W = phase.W};
            for (one.p = p; one.p < last; one.p += way->rows)
                depthwise_line(g, way, &phase, &one, min_i64(way->rows, last - one.p));
        }
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
    const struct depthwise_way way = depthwise_way_of(g);
    int64_t step = way.rows, lines = ceil_div(g->P, step);
    int64_t chunks = ceil_div(g->C, DEPTHWISE_VECTORS * FC_LANES);
    fc_work work = fc_open(g->N * lines * chunks, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t n = item / chunks / lines, p = item / chunks % lines * step;
            int64_t first = item % chunks * DEPTHWISE_VECTORS * FC_LANES;
            int64_t last = min_i64(first + DEPTHWISE_VECTORS * FC_LANES, g->C);
            const struct depthwise_at at = {.image = g->x + n * g->H * g->W * g->x_pixel + first,
                                            .y = g->y + n * g->P * g->Q * g->y_pixel + first,
                                            .c = first};
            depthwise_rows(g, &way, &at, last - first, p, min_i64(p + step, g->P));
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
     .moments = (call)->n_out > 1 ? (call)->out[1].data : NULL,                                    \
     .far = 1}

FC_DEFINE(f32_fused_depthwise_conv2d)
{
    FC_ATTRS(f32_fused_depthwise_conv2d);
    const struct depthwise g = DEPTHWISE(call, 1);
    depthwise_fused(&g, tid, nthreads);
    return FCNN_OK;
}
