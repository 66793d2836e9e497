/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patches of Winograd's convolutions, and V = B' d B of them. Columns of pixels are transformed
 * once, though neighbours share all but m of them, and wait in the nearest cache until their patch
 * is complete: no loop holds more than the values of one transform in registers.
 *
 * Where m does not divide an image, the last row or column of patches is short: s < m outputs take
 * the values at s + r - 1 points, and any choice of them among a whole patch's will do, with the same
 * filters. Of 14 x 14 outputs, 3 whole patches and 2 pixels each way, 484 products are left of 576.
 * Patches are numbered so that those which have a point lie one behind the other at every point:
 *
 *   short columns (beside) | whole ones | short rows (below) | short both ways
 *
 *   t[edge][edge][WINOGRAD_STRIP]   B' d of a patch's columns, in groups of two, or three if m is
 *                                   three: the last groups are the first ones of the next patch
 */
enum {
    WINOGRAD_PANELS = 2, /* of filters at a time */
    WINOGRAD_COLUMNS = WINOGRAD_PANELS * PANEL_COLUMNS,
    WINOGRAD_STRIP = 64, /* channels whose columns wait at once */
};

#define SQRT2 1.41421356237309505f

/* The algorithms: m outputs of r taps, each way. Transforms are compiled for every one of them. */
#define FC_FOR_WINOGRAD(form) form(4, 3) form(2, 3) form(3, 4) form(2, 5)
enum { WINOGRAD_M = 4, WINOGRAD_R = 5 }; /* the largest of either */

struct winograd {
    int64_t N, H, W, C, K, P, Q, pad_top, pad_left; /* P x Q pixels before pooling */
    int64_t m, r;                                   /* outputs of a patch, and taps, each way */
    int64_t edge, points; /* edge = m + r - 1 inputs of a whole patch each way, edge^2 products */
    int64_t pool;         /* 2: the largest of every 2 x 2 outputs is wanted; 1: all are */
    int64_t whole_h, whole_w; /* whole patches down and across */
    int64_t tall, wide;       /* points of the last patches down and across */
    int64_t part[4], tiles;   /* where the parts begin, and patches in all, */
    int64_t block, at_once;   /* those of a block, and those transformed between barriers */
    int64_t x_pixel, y_pixel, v_row, v_plane, m_plane; /* strides in floats */
    const float *x, *u; /* u (groups, points, WINOGRAD_PANELS, C, PANEL_COLUMNS) */
    float *y;
    int64_t groups; /* of WINOGRAD_PANELS panels */
    struct epilogue epilogue;
};

enum { WINOGRAD_BESIDE, WINOGRAD_WHOLE, WINOGRAD_BELOW, WINOGRAD_CORNER };

struct winograd_patch {
    int64_t n, h, w;    /* image, and the first row and column of the patch, padding included */
    int64_t tall, wide; /* its points each way */
    int64_t tile, left; /* its number, and how many from it on lie side by side */
};

/* Patches [tile, tile + count). */
struct winograd_patches {
    int64_t tile, count;
};

/* Cut P x Q outputs of N images into patches. */
static void winograd_lay(struct winograd *g)
{
    int64_t short_h = g->P % g->m, short_w = g->Q % g->m;
    g->edge = g->m + g->r - 1;
    g->points = g->edge * g->edge;
    g->whole_h = g->P / g->m;
    g->whole_w = g->Q / g->m;
    g->tall = short_h ? short_h + g->r - 1 : g->edge;
    g->wide = short_w ? short_w + g->r - 1 : g->edge;
    g->part[WINOGRAD_BESIDE] = 0;
    g->part[WINOGRAD_WHOLE] = short_w ? g->N * g->whole_h : 0;
    g->part[WINOGRAD_BELOW] = g->part[WINOGRAD_WHOLE] + g->N * g->whole_h * g->whole_w;
    g->part[WINOGRAD_CORNER] = g->part[WINOGRAD_BELOW] + (short_h ? g->N * g->whole_w : 0);
    g->tiles = g->part[WINOGRAD_CORNER] + (short_h && short_w ? g->N : 0);
}

static inline struct winograd_patch winograd_patch(const struct winograd *g, int64_t tile)
{
    int part = (tile >= g->part[WINOGRAD_WHOLE]) + (tile >= g->part[WINOGRAD_BELOW]) +
               (tile >= g->part[WINOGRAD_CORNER]);
    int below = part >= WINOGRAD_BELOW;
    int beside = part == WINOGRAD_BESIDE || part == WINOGRAD_CORNER;
    int64_t down = below ? 1 : g->whole_h, across = beside ? 1 : g->whole_w;
    int64_t row = (tile - g->part[part]) / across, i = (tile - g->part[part]) % across;
    return (struct winograd_patch){
        .n = row / down,
        .h = g->m * (below ? g->whole_h : row % down),
        .w = g->m * (beside ? g->whole_w : i),
        .tall = below ? g->tall : g->edge,
        .wide = beside ? g->wide : g->edge,
        .tile = tile,
        .left = across - i,
    };
}

/* The patch that follows. */
static inline void winograd_step(const struct winograd *g, struct winograd_patch *at)
{
    if (at->left == 1) {
        *at = winograd_patch(g, at->tile + 1);
        return;
    }
    at->tile++;
    at->left--;
    at->w += g->m;
}

/* Whether point i is among the n that a patch has, of `edge`: all of them, or of a short patch infinity,
 * zero if n is even, and points in pairs of either sign, the smallest first. */
FC_INLINE int winograd_has(int64_t i, int64_t n, int64_t edge)
{
    return edge - n == 2 ? i == 0 || i > 2 : i >= edge - n;
}

/* Those of a block's patches that have point xi; none may be any place in the block. */
static inline struct winograd_patches winograd_of_point(const struct winograd *g, int64_t xi,
                                                        struct winograd_patches block)
{
    if (g->tall == g->edge && g->wide == g->edge)
        return block;
    int tall = winograd_has(xi / g->edge, g->tall, g->edge);
    int wide = winograd_has(xi % g->edge, g->wide, g->edge);
    int64_t begin = g->part[wide ? WINOGRAD_BESIDE : WINOGRAD_WHOLE];
    int64_t end = !tall ? g->part[WINOGRAD_BELOW] : wide ? g->tiles : g->part[WINOGRAD_CORNER];
    int64_t block_end = block.tile + block.count;
    begin = min_i64(max_i64(begin, block.tile), block_end);
    return (struct winograd_patches){begin, max_i64(0, min_i64(end, block_end) - begin)};
}

/* t = B' d for the n points of a short patch; those it lacks are left alone. */
FC_INLINE void winograd_forward_short(const vf *d, vf *t, const int n, const int edge)
{
    const vf half = v_set1(0.5f), two = v_set1(2.0f);
    if (edge == 4) {
        t[1] = v_add(d[0], d[1]);
        t[2] = v_sub(d[0], d[1]);
        t[3] = v_sub(d[2], d[0]);
        return;
    }
    if (n == 5) {
        vf even = v_sub(v_mul(two, d[2]), d[0]), even2 = v_sub(v_mul(half, d[2]), d[0]);
        vf odd = v_mul(v_set1(SQRT2), v_sub(d[3], v_mul(half, d[1])));
        vf odd2 = v_mul(v_set1(SQRT2 / 2), v_sub(d[3], v_mul(two, d[1])));
        t[1] = v_add(even, odd);
        t[2] = v_sub(even, odd);
        t[3] = v_add(even2, odd2);
        t[4] = v_sub(even2, odd2);
        t[5] = v_add(d[0], v_sub(d[4], v_mul(v_set1(2.5f), d[2])));
        return;
    }
    vf odd = v_mul(v_set1(0.75f * SQRT2), d[1]);
    vf even = n == 4 ? v_mul(v_set1(-1.5f), d[2]) : v_mul(v_set1(-0.75f), d[0]);
    if (n == 4)
        t[0] = v_sub(d[0], v_mul(two, d[2]));
    t[3] = v_sub(even, odd);
    t[4] = v_add(even, odd);
    t[5] = v_sub(d[n - 1], v_mul(half, d[n - 3]));
}

/* t = B' d. It depends on the points alone, not on how many taps and outputs they serve. */
FC_INLINE void winograd_forward(const vf *d, vf *t, const int n, const int edge)
{
    if (n < edge) {
        winograd_forward_short(d, t, n, edge);
        return;
    }
    if (edge == 4) {
        t[0] = v_sub(d[0], d[2]);
        t[1] = v_add(d[1], d[2]);
        t[2] = v_sub(d[2], d[1]);
        t[3] = v_sub(d[3], d[1]);
        return;
    }
    const vf half = v_set1(0.5f), two = v_set1(2.0f), c = v_set1(2.5f);
    vf even = v_sub(d[4], v_mul(half, d[2]));
    vf odd = v_mul(v_set1(SQRT2), v_sub(d[3], v_mul(half, d[1])));
    vf even2 = v_sub(d[4], v_mul(two, d[2]));
    vf odd2 = v_mul(v_set1(SQRT2 / 2), v_sub(d[3], v_mul(two, d[1])));
    t[0] = v_add(d[0], v_sub(d[4], v_mul(c, d[2])));
    t[1] = v_add(even, odd);
    t[2] = v_sub(even, odd);
    t[3] = v_add(even2, odd2);
    t[4] = v_sub(even2, odd2);
    t[5] = v_add(d[1], v_sub(d[5], v_mul(c, d[3])));
}

/* Form(n, edge) with constants, of the numbers of points that patches have each way. */
#define FC_WINOGRAD_POINTS(n, edge, form)                                                          \
    do {                                                                                           \
        if (edge == 4 && n == 3)                                                                   \
            form(3, 4);                                                                            \
        else if (edge == 4)                                                                        \
            form(4, 4);                                                                            \
        else if (n == 3)                                                                           \
            form(3, 6);                                                                            \
        else if (n == 4)                                                                           \
            form(4, 6);                                                                            \
        else if (n == 5)                                                                           \
            form(5, 6);                                                                            \
        else                                                                                       \
            form(6, 6);                                                                            \
    } while (0)

/* Patches side by side: the rows of the image they lie in, at channel 0 of column 0, or NULL. */
struct winograd_run {
    const float *row[6];
    int64_t w, count;   /* first column, and how many patches */
    int64_t tall, wide; /* points of each */
};

static inline struct winograd_run winograd_run(const struct winograd *g,
                                               struct winograd_patches patches)
{
    struct winograd_patch at = winograd_patch(g, patches.tile);
    struct winograd_run run = {.w = at.w - g->pad_left, .tall = at.tall, .wide = at.wide};
    run.count = min_i64(patches.count, at.left);
    for (int64_t i = 0; i < at.tall; i++) {
        int64_t h = at.h + i - g->pad_top;
        if (h >= 0 && h < g->H)
            run.row[i] = g->x + (at.n * g->H + h) * g->W * g->x_pixel;
    }
    return run;
}

/* A column of pixels, n channels: t[edge][WINOGRAD_STRIP]. */
FC_INLINE void winograd_column_lanes(const float *const d[6], int64_t c, int64_t n, float *t,
                                     const int tall, const int edge)
{
    vf pixel[6], column[6];
#pragma GCC unroll 6
    for (int i = 0; i < tall; i++)
        pixel[i] = load_lanes(d[i] + c, n);
    winograd_forward(pixel, column, tall, edge);
#pragma GCC unroll 6
    for (int i = 0; i < edge; i++)
        if (winograd_has(i, tall, edge))
            v_store(t + i * WINOGRAD_STRIP + c, column[i]);
}

/* The same of `channels` from c0 on at column w of a run, zero beyond the image. Meanwhile what the
 * next patch has at its place is asked for. */
FC_INLINE void winograd_column(const struct winograd *g, const struct winograd_run *run, int64_t w,
                               int64_t c0, int64_t channels, float *t, const int tall,
                               const int edge)
{
    static const float zeros[WINOGRAD_STRIP];
    const float *d[6];
#pragma GCC unroll 6
    for (int i = 0; i < tall; i++)
        d[i] = w >= 0 && w < g->W && run->row[i] ? run->row[i] + w * g->x_pixel + c0 : zeros;
    for (int64_t c = 0; c < channels; c += LINE_FLOATS)
#pragma GCC unroll 6
        for (int i = 0; i < tall; i++)
            __builtin_prefetch(d[i] + g->m * g->x_pixel + c);
    int64_t c = 0;
    for (; c + FC_LANES <= channels; c += FC_LANES)
        winograd_column_lanes(d, c, FC_LANES, t, tall, edge);
    if (c < channels)
        winograd_column_lanes(d, c, channels - c, t, tall, edge);
}

/* Columns of a group: patches begin with a group. */
FC_INLINE int winograd_unit(const int m) { return m == 3 ? 3 : 2; }

/* Row i of V, a vector of channels from c on. */
FC_INLINE void winograd_row_lanes(float *const group[3], int64_t i, int64_t c, float *v,
                                  int64_t v_plane, const int m, const int wide, const int edge)
{
    const int unit = winograd_unit(m);
    vf t[6], row[6];
#pragma GCC unroll 6
    for (int j = 0; j < wide; j++)
        t[j] = v_load(group[j / unit] + (j % unit * edge + i) * WINOGRAD_STRIP + c);
    winograd_forward(t, row, wide, edge);
#pragma GCC unroll 6
    for (int j = 0; j < edge; j++)
        if (winograd_has(j, wide, edge))
            v_store(v + (edge * i + j) * v_plane + c, row[j]);
}

/* One patch: v[edge * edge][channels], of which planes of points that it lacks are left as they were;
 * rows of v hold whole vectors. */
FC_INLINE void winograd_rows(float *const group[3], int64_t channels, float *v, int64_t v_plane,
                             int64_t tall, const int m, const int wide, const int edge)
{
    for (int64_t i = 0; i < edge; i++)
        if (winograd_has(i, tall, edge))
            for (int64_t c = 0; c < channels; c += FC_LANES)
                winograd_row_lanes(group, i, c, v, v_plane, m, wide, edge);
}

/* v[points][run][v_row] of at most WINOGRAD_STRIP channels from c on, of whole patches. */
FC_INLINE void winograd_strip_in(const struct winograd *g, const struct winograd_run *run,
                                 int64_t c, int64_t channels, float *v, const int m, const int edge)
{
    float t[6 * 6 * WINOGRAD_STRIP] __attribute__((aligned(64)));
    const int unit = winograd_unit(m), groups = edge / unit;
    const int64_t column = edge * WINOGRAD_STRIP;
    float *group[3];
    for (int j = 0; j < groups; j++)
        group[j] = t + j * unit * column;
    for (int64_t i = 0; i < run->count; i++, v += g->v_row) {
        for (int j = i > 0 ? edge - m : 0; j < edge; j++)
            winograd_column(g, run, run->w + m * i + j, c, channels,
                            group[j / unit] + j % unit * column, edge, edge);
        winograd_rows(group, channels, v, g->v_plane, edge, m, edge, edge);
        float *const old[3] = {group[0], group[1], groups > 2 ? group[2] : NULL};
        for (int j = 0; j < groups; j++)
            group[j] = old[(j + m / unit) % groups];
    }
}

/* The same of short patches, each for itself. */
FC_APART void winograd_short_in(const struct winograd *g, const struct winograd_run *run, int64_t c,
                                int64_t channels, float *v)
{
    float t[6 * 6 * WINOGRAD_STRIP] __attribute__((aligned(64)));
    const int64_t column = g->edge * WINOGRAD_STRIP;
    float *const group[3] = {t, t + 2 * column, t + 4 * column}; /* as of m = 4 */
    for (int64_t i = 0; i < run->count; i++, v += g->v_row) {
        for (int64_t j = 0; j < run->wide; j++) {
            int64_t w = run->w + g->m * i + j;
#define FC_WINOGRAD_COLUMN(tall, edge)                                                             \
    winograd_column(g, run, w, c, channels, t + j * column, tall, edge)
            FC_WINOGRAD_POINTS(run->tall, g->edge, FC_WINOGRAD_COLUMN);
#undef FC_WINOGRAD_COLUMN
        }
#define FC_WINOGRAD_ROWS(wide, edge)                                                               \
    winograd_rows(group, channels, v, g->v_plane, run->tall, 4, wide, edge)
        FC_WINOGRAD_POINTS(run->wide, g->edge, FC_WINOGRAD_ROWS);
#undef FC_WINOGRAD_ROWS
    }
}

/* Either, of patches side by side. */
FC_INLINE void winograd_run_in(const struct winograd *g, const struct winograd_run *run, int64_t c,
                               int64_t channels, float *v, const int m, const int edge)
{
    if (run->tall == edge && run->wide == edge)
        winograd_strip_in(g, run, c, channels, v, m, edge);
    else
        winograd_short_in(g, run, c, channels, v);
}

/* A block's patches to v[points][..][C], the first of them in row 0 of each plane. */
FC_INLINE void winograd_input_body(const struct winograd *g, struct winograd_patches block,
                                   float *v, const int m, const int edge)
{
    while (block.count > 0) {
        const struct winograd_run run = winograd_run(g, block);
        for (int64_t c = 0; c < g->C; c += WINOGRAD_STRIP)
            winograd_run_in(g, &run, c, min_i64(WINOGRAD_STRIP, g->C - c), v + c, m, edge);
        v += run.count * g->v_row;
        block.tile += run.count;
        block.count -= run.count;
    }
}

#define FC_WINOGRAD_INPUT(m, r)                                                                    \
    static void winograd_input_##m##_##r(const struct winograd *g, struct winograd_patches block,  \
                                         float *v)                                                 \
    {                                                                                              \
        winograd_input_body(g, block, v, m, m + r - 1);                                            \
    }
FC_FOR_WINOGRAD(FC_WINOGRAD_INPUT)
#undef FC_WINOGRAD_INPUT

typedef void (*winograd_input_fn)(const struct winograd *, struct winograd_patches, float *v);
#define FC_WINOGRAD_INPUT(m, r) [m][r] = winograd_input_##m##_##r,
static const winograd_input_fn winograd_inputs[WINOGRAD_M + 1][WINOGRAD_R + 1] = {
    FC_FOR_WINOGRAD(FC_WINOGRAD_INPUT)};
#undef FC_WINOGRAD_INPUT

static void winograd_input(const struct winograd *g, struct winograd_patches block, float *v)
{
    winograd_inputs[g->m][g->r](g, block, v);
}
