/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 3x3 convolutions in groups, as many filters as channels, with bias and bounds in their stores.
 *
 * Lanes are filters. Lines of the source are packed first, one vector of channels after the other,
 * with padding: no tap asks where it is, and pixels follow each other however many channels an image
 * has. A tile is some outputs of a row times a vector of filters; a channel of a source pixel, once
 * it is in all lanes of its group, goes to all the outputs of the row that it reaches. Groups of
 * less than a vector are spread from a vector, channels of larger ones come from memory in all lanes.
 */
enum {
    GROUPED_PIXELS = 256,  /* outputs of an item of work, about */
    GROUPED_CHANNELS = 64, /* of an item, where groups are no larger */
    GROUPED_COLUMNS = 10,  /* as many as leave room for three taps, a value and what spreads it */
};

/* How channels of a group meet the lanes of a vector. */
struct grouped_lanes {
    int64_t each;    /* channels of a group */
    int64_t vectors; /* of channels, that a vector of filters reads */
    int64_t within;  /* channels of each of these that it reads */
    int64_t chunk;   /* channels packed at once: whole groups in whole vectors */
};

static inline int grouped_fits(int64_t each)
{
    return FC_LANES % each == 0 || each % FC_LANES == 0;
}

static inline struct grouped_lanes grouped_lanes_of(int64_t each)
{
    int64_t run = max_i64(each, FC_LANES);
    return (struct grouped_lanes){.each = each,
                                  .vectors = run / FC_LANES,
                                  .within = min_i64(each, FC_LANES),
                                  .chunk = run * max_i64(1, GROUPED_CHANNELS / run)};
}

/* The first vector of channels that vector `v` of filters reads. */
static inline int64_t grouped_first(const struct grouped_lanes *lanes, int64_t v)
{
    return v / lanes->vectors * lanes->vectors;
}

static void grouped_pack(const struct lines *l, float *to) { lines_copy(l, FC_LANES, to); }

/* Channel c of a packed pixel in all lanes of its group. */
FC_INLINE vf grouped_value(const float *pixel, int64_t each, int64_t c, const int spread)
{
    return spread ? v_spread(v_load(pixel), each, c) : v_set1(pixel[c]);
}

/* Outputs of one row, for one vector of filters. */
struct grouped_tile {
    struct grouped_lanes lanes;
    int64_t R;            /* not a constant: unrolled, what is spread would be kept for all rows */
    const float *x;       /* what the first output reads first */
    int64_t line, vector; /* from one packed line, one packed vector to the next */
    const float *filter;  /* (each, 3, 3, FC_LANES) */
    const float *bias;    /* or NULL */
    float *y;
    int64_t y_pixel, n; /* filters that there are */
    float lower, upper;
};

FC_INLINE void grouped_body(const struct grouped_tile *t, const int columns, const int stride,
                            const int spread)
{
    const int64_t each = t->lanes.each, vectors = t->lanes.vectors, within = t->lanes.within;
    const int64_t R = t->R, y_pixel = t->y_pixel, n = t->n;
    const float *filter = t->filter;
    const vf lower = v_set1(t->lower), upper = v_set1(t->upper);
    const vf bias = t->bias ? load_lanes(t->bias, n) : v_zero();
    float *y = t->y;
    vf acc[GROUPED_COLUMNS]; /* of `columns`, it would lie in memory */
#pragma GCC unroll 16
    for (int j = 0; j < columns; j++) {
        acc[j] = bias;
        __builtin_prefetch(y + j * y_pixel, 1);
    }
    for (int64_t v = 0; v < vectors; v++)
        for (int64_t c = 0; c < within; c++) {
            const float *x = t->x + v * t->vector;
            for (int64_t r = 0; r < R; r++, x += t->line, filter += 3 * FC_LANES) {
                const vf taps[3] = {v_load(filter), v_load(filter + FC_LANES),
                                    v_load(filter + 2 * FC_LANES)};
#pragma GCC unroll 32
                for (int j = 0; j < (columns - 1) * stride + 3; j++) {
                    const vf value = grouped_value(x + j * FC_LANES, each, c, spread);
#pragma GCC unroll 3
                    for (int s = 0; s < 3; s++)
                        if (j >= s && (j - s) % stride == 0 && (j - s) / stride < columns)
                            acc[(j - s) / stride] = v_fma(value, taps[s], acc[(j - s) / stride]);
                }
            }
        }
#pragma GCC unroll 16
    for (int j = 0; j < columns; j++)
        store_lanes(y + j * y_pixel, v_min(upper, v_max(lower, acc[j])), n);
}

#define FC_FOR_GROUPED_COLUMNS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10)
#define FC_GROUPED(columns)                                                                        \
    static void grouped_tile_##columns(const struct grouped_tile *t, int64_t stride)               \
    {                                                                                              \
        int spread = t->lanes.each < FC_LANES;                                                     \
        if (stride == 1 && spread)                                                                 \
            grouped_body(t, columns, 1, 1);                                                        \
        else if (stride == 1)                                                                      \
            grouped_body(t, columns, 1, 0);                                                        \
        else if (spread)                                                                           \
            grouped_body(t, columns, 2, 1);                                                        \
        else                                                                                       \
            grouped_body(t, columns, 2, 0);                                                        \
    }
FC_FOR_GROUPED_COLUMNS(FC_GROUPED)
#undef FC_GROUPED

typedef void (*grouped_fn)(const struct grouped_tile *, int64_t stride);
#define FC_GROUPED(columns) [columns] = grouped_tile_##columns,
static const grouped_fn grouped_tiles[GROUPED_COLUMNS + 1] = {FC_FOR_GROUPED_COLUMNS(FC_GROUPED)};
#undef FC_GROUPED

/* The convolution `d` by items: some rows of one image, a chunk of channels. */
struct grouped {
    struct grouped_lanes lanes;
    int64_t parts, lines, columns; /* items of an image; packed for one of them at most */
    int64_t filters, lines_floats; /* scratch: packed filters, then each thread's lines */
};

static struct grouped grouped_of(const struct depthwise *d)
{
    struct grouped g = {.lanes = grouped_lanes_of(d->each)};
    g.parts = ceil_div(d->P, max_i64(1, GROUPED_PIXELS / max_i64(d->Q, 1)));
    g.lines = (ceil_div(d->P, max_i64(g.parts, 1)) - 1) * d->stride_h + 3;
    g.columns = (d->Q - 1) * d->stride_w + 3;
    g.filters = ceil_div(d->C, FC_LANES) * FC_LANES * 9 * d->each;
    g.lines_floats = g.lanes.chunk * g.lines * g.columns;
    return g;
}

/* Whether tiles are compiled for this filter. */
static int grouped_tiled(const struct depthwise *d)
{
    return d->R == 3 && d->S == 3 && d->dilation_h == 1 && d->dilation_w == 1 &&
           d->stride_h == d->stride_w && d->stride_h <= 2 && grouped_fits(d->each);
}

/* Bytes of scratch; -1 where no tile is compiled for these filters. */
static int64_t grouped_plan(const struct depthwise *d, int nthreads)
{
    if (!grouped_tiled(d))
        return -1;
    const struct grouped g = grouped_of(d);
    return (g.filters + nthreads * g.lines_floats) * (int64_t)sizeof(float);
}

/* Filters as [vectors][each][3][3][FC_LANES], zero beyond the last. Turned: taps from last to first,
 * inputs and outputs of a group exchanged. */
static void grouped_pack_filters(const struct depthwise *d, int turned, float *to, int tid,
                                 int nthreads)
{
    const int64_t each = d->each, C = d->C;
    int64_t begin, end;
    share(ceil_div(C, FC_LANES) * each * 9, tid, nthreads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        int64_t tap = row % 9, one = row / 9 % each, k = row / 9 / each * FC_LANES;
        int64_t n = min_i64(FC_LANES, C - k);
        float *out = to + row * FC_LANES;
        if (!turned) {
            v_store(out, load_lanes(d->filter + (tap * each + one) * C + k, n));
            continue;
        }
        for (int64_t i = 0; i < FC_LANES; i++) {
            int64_t in = (k + i) % each, first = k + i - in;
            out[i] = i < n ? d->filter[((8 - tap) * each + in) * C + first + one] : 0.0f;
        }
    }
}

/* One row of outputs, cut into tiles of about the same number of columns. */
static void grouped_row(const struct depthwise *d, struct grouped_tile *t)
{
    int64_t blocks = ceil_div(d->Q, GROUPED_COLUMNS), begin, end;
    const float *x = t->x;
    float *y = t->y;
    for (int64_t b = 0; b < blocks; b++) {
        share(d->Q, (int)b, (int)blocks, &begin, &end);
        t->x = x + begin * d->stride_w * FC_LANES;
        t->y = y + begin * d->y_pixel;
        grouped_tiles[end - begin](t, d->stride_w);
    }
}

/* Rows [p, last) of image n, channels from c on. */
static void grouped_item(const struct depthwise *d, const struct grouped *g, int64_t n, int64_t p,
                         int64_t last, int64_t c, const float *filters, float *packed)
{
    const struct lines lines = {.image = d->x + n * d->H * d->W * d->x_pixel + c,
                                .H = d->H,
                                .W = d->W,
                                .pixel = d->x_pixel,
                                .h = p * d->stride_h - d->pad_top,
                                .w = -d->pad_left,
                                .lines = (last - p - 1) * d->stride_h + 3,
                                .columns = g->columns,
                                .channels = min_i64(g->lanes.chunk, d->C - c)};
    struct grouped_tile t = {.lanes = g->lanes,
                             .R = d->R,
                             .line = lines.columns * FC_LANES,
                             .vector = lines.lines * lines.columns * FC_LANES,
                             .y_pixel = d->y_pixel,
                             .lower = d->lower,
                             .upper = d->upper};
    grouped_pack(&lines, packed);
    for (int64_t row = p; row < last; row++)
        for (int64_t v = 0; v * FC_LANES < lines.channels; v++) {
            int64_t k = c + v * FC_LANES;
            t.x = packed + grouped_first(&t.lanes, v) * t.vector + (row - p) * d->stride_h * t.line;
            t.filter = filters + k * 9 * d->each;
            t.bias = d->bias ? d->bias + k : NULL;
            t.y = d->y + (n * d->P + row) * d->Q * d->y_pixel + k;
            t.n = min_i64(FC_LANES, d->C - k);
            grouped_row(d, &t);
        }
}

/* The convolution, with turned filters where it is a gradient for the input. */
static void grouped_run(const fc_call *call, const struct depthwise *d, int turned, int tid,
                        int nthreads)
{
    const struct grouped g = grouped_of(d);
    int64_t chunks = ceil_div(d->C, g.lanes.chunk), p, last;
    float *filters = (float *)call->scratch, *packed = filters + g.filters + tid * g.lines_floats;
    grouped_pack_filters(d, turned, filters, tid, nthreads);
    fc_sync(call);
    fc_work work = fc_open(d->N * g.parts * chunks, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t part = item / chunks % g.parts, n = item / chunks / g.parts;
            share(d->P, (int)part, (int)g.parts, &p, &last);
            grouped_item(d, &g, n, p, last, item % chunks * g.lanes.chunk, filters, packed);
        }
}

FC_DEFINE_PLAN(f32_fused_grouped_conv2d)
{
    FC_ATTRS(f32_fused_grouped_conv2d);
    const struct depthwise d = DEPTHWISE(call, call->in[1].dim[2]);
    return grouped_plan(&d, nthreads);
}

FC_DEFINE(f32_fused_grouped_conv2d)
{
    FC_ATTRS(f32_fused_grouped_conv2d);
    const struct depthwise d = DEPTHWISE(call, call->in[1].dim[2]);
    grouped_run(call, &d, 0, tid, nthreads);
    return FCNN_OK;
}
