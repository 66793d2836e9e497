/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolutions read their source from lines: a strip of its rows, copied some channels at
 * a time, dense and padded. So memory is read once and in its order, no tap asks where it is, and
 * pixels that lie whole pages apart cannot drive each other out of the near cache. Filters are copied
 * as well.
 */
enum {
    DEPTHWISE_GROUP = PANEL_STRIP > PANEL_COLUMNS ? PANEL_STRIP : PANEL_COLUMNS, /* channels */
    DEPTHWISE_GROUPS = 64 / DEPTHWISE_GROUP, /* copied at once: 256 bytes of a pixel */
};

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

/* Rows [p, last) of the outputs of an image, for n channels from c on. */
struct depthwise_strip {
    int64_t p, last, c, n;
    int64_t lines, width; /* of a group of channels: how many, and their pixels */
    int64_t unit;         /* pixels that lie so far apart follow each other; divides width */
    float *x; /* (groups, lines, width, DEPTHWISE_GROUP), from row p * stride_h - pad_top on */
    float *filters; /* (groups, R, S, DEPTHWISE_GROUP) */
    float *y;       /* at row p, channel c */
};

/* Rows of the source that `rows` rows of outputs reach. */
static int64_t depthwise_reach(const struct depthwise *g, int64_t rows)
{
    return (rows - 1) * g->stride_h + (g->R - 1) * g->dilation_h + 1;
}

/* Pixels that a row of outputs reaches. */
static int64_t depthwise_span(const struct depthwise *g)
{
    return (g->Q - 1) * g->stride_w + (g->S - 1) * g->dilation_w + 1;
}

/* Where pixel w of a line, counted with its padding, lies in it. */
static inline int64_t depthwise_place(const struct depthwise_strip *s, int64_t w)
{
    return s->unit == 1 ? w : w % s->unit * (s->width / s->unit) + w / s->unit;
}

/* n <= DEPTHWISE_GROUP floats. */
FC_INLINE void depthwise_copy(float *to, const float *from, int64_t n)
{
    if (n == DEPTHWISE_GROUP) {
#pragma GCC unroll 16
        for (int c = 0; c < DEPTHWISE_GROUP; c += FC_LANES)
            v_store(to + c, v_load(from + c));
        return;
    }
    for (int64_t c = 0; c < n; c += FC_LANES)
        v_store(to + c, load_lanes(from + c, min_i64(FC_LANES, n - c)));
}

/* Pixels [*begin, *end) of a line that lie in the image, counted with the padding in front. */
static void depthwise_inside(const struct depthwise *g, int64_t width, int64_t *begin, int64_t *end)
{
    *begin = min_i64(max_i64(g->pad_left, 0), width);
    *end = max_i64(*begin, min_i64(g->pad_left + g->W, width));
}

/* Rows [h, end) of the source that there are; `image` lies at the strip's first channel. */
static void depthwise_pack(const struct depthwise *g, const struct depthwise_strip *s,
                           const float *image, int64_t h, int64_t end)
{
    const int64_t first = s->p * g->stride_h - g->pad_top, x_pixel = g->x_pixel, n = s->n;
    const int64_t group = s->lines * s->width; /* from channel to channel of different groups */
    int64_t left, right;
    depthwise_inside(g, s->width, &left, &right);
    for (h = max_i64(h, 0); h < min_i64(end, g->H); h++) {
        const float *from = image + (h * g->W + left - g->pad_left) * x_pixel;
        float *line = s->x + (h - first) * s->width * DEPTHWISE_GROUP;
        for (int64_t w = left; w < right; w++, from += x_pixel) {
            float *to = line + depthwise_place(s, w) * DEPTHWISE_GROUP;
            expect_floats(from + PIXELS_AHEAD * x_pixel, n);
            for (int64_t c = 0; c < n; c += DEPTHWISE_GROUP)
                depthwise_copy(to + c * group, from + c, min_i64(DEPTHWISE_GROUP, n - c));
        }
    }
}

/* Zeros beside the image, in all lines of so many groups and for all strips. */
static void depthwise_pad(const struct depthwise *g, const struct depthwise_strip *s,
                          int64_t groups)
{
    int64_t left, right;
    depthwise_inside(g, s->width, &left, &right);
    for (int64_t i = 0; i < groups * s->lines; i++) {
        float *line = s->x + i * s->width * DEPTHWISE_GROUP;
        for (int64_t w = 0; w < s->width; w = w + 1 == left ? right : w + 1)
            memset(line + depthwise_place(s, w) * DEPTHWISE_GROUP, 0,
                   DEPTHWISE_GROUP * sizeof(float));
    }
}

static void depthwise_pack_filters(const struct depthwise *g, const struct depthwise_strip *s)
{
    const int64_t taps = g->R * g->S, C = g->C, n = s->n;
    const float *from = g->filter + s->c;
    for (int64_t tap = 0; tap < taps; tap++, from += C)
        for (int64_t c = 0; c < n; c += DEPTHWISE_GROUP)
            depthwise_copy(s->filters + c * taps + tap * DEPTHWISE_GROUP, from + c,
                           min_i64(DEPTHWISE_GROUP, n - c));
}
