/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution for inference, one filter a channel, with bias and bounds in its stores.
 *
 * Lanes are channels. A block of outputs, FC_DEPTHWISE_ROWS x DEPTHWISE_COLUMNS pixels of one vector,
 * is held in registers; every pixel of a line is loaded once and goes to all the outputs that it
 * reaches. A body is compiled for each usual size of filter; any other filter goes over a block tap
 * by tap.
 *
 * A dilated convolution is several that are not: outputs that lie dilation / common apart, where
 * `common` is the greatest divisor that dilation and stride have in common, read pixels that lie
 * whole dilations apart, stride / common of them from output to output. Lines are laid out so that
 * these pixels follow each other, and a block is no different.
 */
enum {
    DEPTHWISE_COLUMNS = 7,
    DEPTHWISE_FEW = 4,
    DEPTHWISE_FILTER = 3 * 3,
    DEPTHWISE_LINES = 48 << 10, /* floats of lines, about */
};

/* How the outputs of a block read lines, in floats, and where they are stored. */
struct depthwise_steps {
    int64_t line;         /* from row to row of a filter */
    int64_t tap, next, S; /* of any filter: from tap to tap, from output to output; its taps */
    int64_t y_row, y_pixel, n;
    vf lower, upper;
};

/* A line of the source with the rows of a filter that outputs meet in it, i lines below the first. */
FC_INLINE void depthwise_slide(vf acc[FC_DEPTHWISE_ROWS][DEPTHWISE_COLUMNS], const vf *filter,
                               const float *source, int64_t n, const int i, const int rows,
                               const int columns, const int R, const int S, const int stride)
{
#pragma GCC unroll 32
    for (int j = 0; j < (columns - 1) * stride + S; j++) {
        const vf value = load_lanes(source + j * DEPTHWISE_GROUP, n);
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
FC_INLINE void depthwise_taps(vf acc[DEPTHWISE_COLUMNS], const float *filter, const float *source,
                              const struct depthwise_steps *l, int64_t n, const int columns)
{
    for (int64_t s = 0; s < l->S; s++, source += l->tap, filter += DEPTHWISE_GROUP) {
        const vf weight = load_lanes(filter, n);
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++)
            acc[j] = v_fma(load_lanes(source + j * l->next, n), weight, acc[j]);
    }
}

/* `rows` x `columns` outputs from the lines [begin, end) that there are. */
FC_INLINE void depthwise_block(const struct depthwise_steps *l, const float *source,
                               const float *filters, const float *bias, float *y, int64_t begin,
                               int64_t end, const int rows, const int columns, const int S,
                               const int stride, const int whole)
{
    const int64_t n = whole ? FC_LANES : l->n;
    vf filter[DEPTHWISE_FILTER], acc[FC_DEPTHWISE_ROWS][DEPTHWISE_COLUMNS];
    const vf start = load_lanes(bias, n);
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++)
            acc[i][j] = start;
    /* Two rows of outputs share the rows of the filter, so all of it stays in registers. For one,
     * a row of it at a time leaves registers for more columns. */
    if (rows > 1) {
#pragma GCC unroll 9
        for (int tap = 0; tap < S * S; tap++)
            filter[tap] = load_lanes(filters + tap * DEPTHWISE_GROUP, n);
#pragma GCC unroll 16
        for (int i = 0; i < (rows - 1) * stride + S; i++)
            if (i >= begin && i < end)
                depthwise_slide(acc, filter, source + i * l->line, n, i, rows, columns, S, S,
                                stride);
    } else {
        for (int64_t r = begin; r < end; r++) {
            const float *row = filters + r * (S ? S : l->S) * DEPTHWISE_GROUP;
            if (S == 0) {
                depthwise_taps(acc[0], row, source + r * l->line, l, n, columns);
                continue;
            }
#pragma GCC unroll 8
            for (int s = 0; s < S; s++)
                filter[s] = load_lanes(row + s * DEPTHWISE_GROUP, n);
            depthwise_slide(acc, filter, source + r * l->line, n, 0, 1, columns, 1, S, stride);
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++)
            store_lanes(y + i * l->y_row + j * l->y_pixel,
                        v_min(l->upper, v_max(l->lower, acc[i][j])), n);
}

/* How a convolution is done: by which functions, how many rows at once; how far apart outputs lie
 * whose pixels follow each other, and how far apart these. */
struct depthwise_way {
    const struct depthwise_family *family;
    int64_t rows, apart, unit;
};

/* Columns of a block where `left` of `all` outputs are left; more than that where it is worth to do
 * the last ones before them once more. */
static inline int64_t depthwise_columns(int64_t left, int64_t all)
{
    if (left >= DEPTHWISE_COLUMNS || (left > DEPTHWISE_FEW && all >= DEPTHWISE_COLUMNS))
        return DEPTHWISE_COLUMNS;
    return left > 1 && all >= DEPTHWISE_FEW ? DEPTHWISE_FEW : 1;
}

/* The same block of all channels of a strip. */
FC_INLINE void depthwise_block_of_group(struct depthwise_steps *l, const float *source,
                                        const float *filters, const float *bias, float *y,
                                        int64_t channels, int64_t begin, int64_t end,
                                        const int rows, const int columns, const int S,
                                        const int stride)
{
    /* Stores wait for lines that lie far; those of the rows below come next. */
    for (int j = 0; j < columns; j++)
        __builtin_prefetch(y + rows * l->y_row + j * l->y_pixel, 1);
    for (int64_t c = 0; c < channels; c += FC_LANES) {
        l->n = channels - c;
        if (l->n >= FC_LANES)
            depthwise_block(l, source + c, filters + c, bias + c, y + c, begin, end, rows, columns,
                            S, stride, 1);
        else
            depthwise_block(l, source + c, filters + c, bias + c, y + c, begin, end, rows, columns,
                            S, stride, 0);
    }
}

/* A strip of one group of channels by blocks of `rows` rows, of which it has whole ones. Filters of
 * S x S taps; of any size where S is 0. */
FC_INLINE void depthwise_rows(const struct depthwise *g, const struct depthwise_strip *strip,
                              const int64_t apart, const int rows, const int S, const int stride)
{
    struct depthwise_steps l = {
        .line = g->dilation_h * strip->width * DEPTHWISE_GROUP,
        .tap = g->dilation_w * DEPTHWISE_GROUP,
        .next = g->stride_w * DEPTHWISE_GROUP,
        .y_row = g->Q * g->y_pixel,
        .y_pixel = apart * g->y_pixel,
        .S = g->S,
        .lower = v_set1(g->lower),
        .upper = v_set1(g->upper),
    };
    /* What lies in memory is read once: a store of floats may change any of it, for all C knows. */
    const int64_t n = strip->n, down = g->dilation_h, Q = g->Q, H = g->H;
    const int64_t lines = (rows - 1) * stride + g->R, stride_h = g->stride_h;
    const int64_t stride_w = g->stride_w, step = S ? stride : stride_w, y_pixel = g->y_pixel;
    const int64_t below = rows * stride_h * strip->width * DEPTHWISE_GROUP;
    const float *bias = g->bias + strip->c, *filters = strip->filters, *x = strip->x;
    float *y = strip->y;
    int64_t h = strip->p * stride_h - g->pad_top;
    for (int64_t p = strip->p; p < strip->last; p += rows) {
        const int64_t begin = h < 0 ? ceil_div(-h, down) : 0;
        const int64_t end = min_i64(lines, h < H ? ceil_div(H - h, down) : 0);
        for (int64_t q = 0; q < min_i64(apart, Q); q++) {
            const float *from = x + depthwise_place(strip, q * stride_w) * DEPTHWISE_GROUP;
            const int64_t all = ceil_div(Q - q, apart);
            for (int64_t done = 0, columns; done < all; done += columns) {
                columns = depthwise_columns(all - done, all);
                done = min_i64(done, all - columns);
                const float *a = from + done * step * DEPTHWISE_GROUP;
                float *to = y + q * y_pixel + done * l.y_pixel;
                if (columns == DEPTHWISE_COLUMNS)
                    depthwise_block_of_group(&l, a, filters, bias, to, n, begin, end, rows,
                                             DEPTHWISE_COLUMNS, S, stride);
                else if (columns == DEPTHWISE_FEW)
                    depthwise_block_of_group(&l, a, filters, bias, to, n, begin, end, rows,
                                             DEPTHWISE_FEW, S, stride);
                else
                    depthwise_block_of_group(&l, a, filters, bias, to, n, begin, end, rows, 1, S,
                                             stride);
            }
        }
        h += rows * stride_h;
        x += below;
        y += rows * l.y_row;
    }
}

#define DEPTHWISE_ROWS(S, stride, rows)                                                            \
    static void depthwise_##S##_##stride##_##rows(                                                 \
        const struct depthwise *g, const struct depthwise_strip *strip, int64_t apart)             \
    {                                                                                              \
        depthwise_rows(g, strip, apart, rows, S, stride);                                          \
    }
DEPTHWISE_ROWS(3, 1, 1)
DEPTHWISE_ROWS(3, 2, 1)
DEPTHWISE_ROWS(5, 1, 1)
DEPTHWISE_ROWS(5, 2, 1)
DEPTHWISE_ROWS(7, 1, 1)
DEPTHWISE_ROWS(7, 2, 1)
DEPTHWISE_ROWS(0, 0, 1)
#if FC_DEPTHWISE_ROWS == 2
DEPTHWISE_ROWS(3, 1, 2)
DEPTHWISE_ROWS(3, 2, 2)
#endif

/* Functions for filters of S x S taps: of one and of two rows. */
struct depthwise_family {
    int S, stride, rows;
    void (*strip[2])(const struct depthwise *, const struct depthwise_strip *, int64_t apart);
};

/* clang-format off */
#define ONE_ROW(S, stride) {S, stride, 1, {depthwise_##S##_##stride##_1}}
#if FC_DEPTHWISE_ROWS == 2
#define ROWS(S, stride) {S, stride, 2, {depthwise_##S##_##stride##_1, depthwise_##S##_##stride##_2}}
#else
#define ROWS ONE_ROW
#endif
/* The last does any filter. */
static const struct depthwise_family depthwise_families[] = {
    ROWS(3, 1),    ROWS(3, 2),    ONE_ROW(5, 1), ONE_ROW(5, 2),
    ONE_ROW(7, 1), ONE_ROW(7, 2), ONE_ROW(0, 0),
};
#undef ONE_ROW
#undef ROWS
/* clang-format on */

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
        return (struct depthwise_way){f, 1, 1, 1};
    int alike = g->dilation_h == common_h && g->stride_h == stride * common_h;
    return (struct depthwise_way){f, alike ? f->rows : 1, apart, g->dilation_w};
}

/* The outputs of one group of a strip. */
static void depthwise_outputs_of_group(const struct depthwise *g, const struct depthwise_way *way,
                                       const struct depthwise_strip *group)
{
    struct depthwise_strip part = *group;
    part.last -= (part.last - part.p) % way->rows;
    way->family->strip[way->rows - 1](g, &part, way->apart);
    if (part.last == group->last)
        return;
    int64_t done = part.last - part.p;
    part = *group;
    part.p += done;
    part.x += done * g->stride_h * part.width * DEPTHWISE_GROUP;
    part.y += done * g->Q * g->y_pixel;
    way->family->strip[0](g, &part, way->apart);
}

/* The outputs of a strip whose lines and filters are there. */
static void depthwise_outputs(const struct depthwise *g, const struct depthwise_way *way,
                              const struct depthwise_strip *strip)
{
    for (int64_t c = 0; c < strip->n; c += DEPTHWISE_GROUP) {
        struct depthwise_strip group = *strip;
        group.c += c;
        group.n = min_i64(DEPTHWISE_GROUP, strip->n - c);
        group.x += c * strip->lines * strip->width;
        group.filters += c * g->R * g->S;
        group.y += c;
        depthwise_outputs_of_group(g, way, &group);
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

/* How images are cut: strips, groups of channels in each, floats of a thread's filters and all. */
struct depthwise_cut {
    int64_t strips, groups, lines, width, filters, floats;
};

static struct depthwise_cut depthwise_cut_of(const struct depthwise *g)
{
    const struct depthwise_way way = depthwise_way_of(g);
    const int64_t least = depthwise_reach(g, 1);
    struct depthwise_cut cut = {
        .groups = min_i64(ceil_div(g->C, DEPTHWISE_GROUP), DEPTHWISE_GROUPS),
        .width = ceil_div(depthwise_span(g), way.unit) * way.unit,
    };
    /* Strips have rows in common: rather fewer channels than less than that many rows besides. */
    int64_t lines = DEPTHWISE_LINES / (cut.width * DEPTHWISE_GROUP);
    while (cut.groups > 1 && lines / cut.groups < 2 * least)
        cut.groups /= 2;
    int64_t rows = max_i64(lines / cut.groups - least, least - 1) / g->stride_h + 1;
    cut.strips = max_i64(1, ceil_div(g->P, rows));
    cut.lines = depthwise_reach(g, ceil_div(g->P, cut.strips));
    cut.filters = cut.groups * g->R * g->S * DEPTHWISE_GROUP;
    cut.floats = cut.filters + cut.groups * cut.lines * cut.width * DEPTHWISE_GROUP;
    return cut;
}

/* Scratch: `floats` of each thread. */
static void depthwise_fused(const struct depthwise *g, float *scratch, int tid, int nthreads)
{
    const struct depthwise_cut cut = depthwise_cut_of(g);
    const struct depthwise_way way = depthwise_way_of(g);
    int64_t most = cut.groups * DEPTHWISE_GROUP, chunks = ceil_div(g->C, most);
    struct depthwise_strip s = {.lines = cut.lines,
                                .width = cut.width,
                                .unit = way.unit,
                                .filters = scratch + tid * cut.floats};
    s.x = s.filters + cut.filters;
    depthwise_pad(g, &s, cut.groups);
    fc_work work = fc_open(g->N * cut.strips * chunks, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t n = item / chunks / cut.strips, strip = item / chunks % cut.strips;
            s.c = item % chunks * most;
            s.n = min_i64(most, g->C - s.c);
            share(g->P, (int)strip, (int)cut.strips, &s.p, &s.last);
            s.y = g->y + (n * g->P + s.p) * g->Q * g->y_pixel + s.c;
            int64_t h = s.p * g->stride_h - g->pad_top;
            depthwise_pack_filters(g, &s);
            depthwise_pack(g, &s, g->x + n * g->H * g->W * g->x_pixel + s.c, h,
                           h + depthwise_reach(g, s.last - s.p));
            depthwise_outputs(g, &way, &s);
            for (int64_t row = s.p; g->moments && row < s.last; row++)
                depthwise_moments(g, n, row, s.c, s.c + s.n);
        }
}

/* The convolution of a call whose groups have so many channels. */
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

FC_DEFINE_PLAN(f32_fused_depthwise_conv2d)
{
    FC_ATTRS(f32_fused_depthwise_conv2d);
    const struct depthwise g = DEPTHWISE(call, 1);
    return nthreads * depthwise_cut_of(&g).floats * (int64_t)sizeof(float);
}

FC_DEFINE(f32_fused_depthwise_conv2d)
{
    FC_ATTRS(f32_fused_depthwise_conv2d);
    const struct depthwise g = DEPTHWISE(call, 1);
    depthwise_fused(&g, (float *)call->scratch, tid, nthreads);
    return FCNN_OK;
}
