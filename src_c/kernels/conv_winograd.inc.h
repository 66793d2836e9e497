/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's F(4x4, 3x3) on NHWC: 4x4 outputs of a 3x3 convolution from 36 products where the sum
 * has 144 (A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015).
 *
 *   V = B' d B   of every 6x6 patch d, per channel           (input transform)
 *   M = U V      36 matrix products over the channels        (with the panels of panel.inc.h)
 *   y = A' M A   4x4 pixels, then bias, residual, bounds     (output transform)
 *
 * The points are 0, +-sqrt(2), +-1/sqrt(2) and infinity, which lose least to rounding. Work goes in
 * blocks of WINOGRAD_TILES patches whose V and M stay in a core's cache.
 */
enum {
    WINOGRAD_POINTS = 36,
    WINOGRAD_TILES = 2 * FC_PANEL_ROWS,
    WINOGRAD_COLUMNS = 2 * PANEL_COLUMNS, /* of M at a time */
    WINOGRAD_SKEW = 16,                   /* floats between planes: strides off powers of two */
};

#define SQRT2 1.41421356237309505f

struct winograd {
    int64_t N, H, W, C, K, P, Q, pad_top, pad_left;
    int64_t tiles_h, tiles_w, tiles;
    int64_t v_row, v_plane, m_plane; /* strides in floats */
    const float *x, *u;              /* u (36, panels, C, PANEL_COLUMNS) */
    float *y;
    int64_t panels;
    struct epilogue epilogue;
};

/* t = B' d for six values. */
FC_INLINE void winograd_forward(const vf d[6], vf t[6])
{
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

/* y = A' m for six values. */
FC_INLINE void winograd_inverse(const vf m[6], vf y[4])
{
    vf sum = v_add(m[1], m[2]), sum2 = v_add(m[3], m[4]);
    vf difference = v_mul(v_set1(SQRT2), v_sub(m[1], m[2]));
    vf difference2 = v_mul(v_set1(SQRT2 / 2), v_sub(m[3], m[4]));
    y[0] = v_add(m[0], v_add(sum, sum2));
    y[1] = v_add(difference, difference2);
    y[2] = v_fma(v_set1(2.0f), sum, v_mul(v_set1(0.5f), sum2));
    y[3] = v_fma(v_set1(2.0f), difference, v_fma(v_set1(0.5f), difference2, m[5]));
}

struct winograd_patch {
    int64_t n, h, w; /* image, and the first row and column of the patch, padding included */
};

static inline struct winograd_patch winograd_patch(const struct winograd *g, int64_t tile)
{
    int64_t w = tile % g->tiles_w, h = tile / g->tiles_w % g->tiles_h;
    return (struct winograd_patch){tile / g->tiles_w / g->tiles_h, 4 * h, 4 * w};
}

/* v[36][lanes] of one patch, channels c to c + n. */
FC_INLINE void winograd_patch_in(const struct winograd *g, const float *image, int64_t h0,
                                 int64_t w0, const int inside, int64_t n, float *v)
{
    vf t[6][6];
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
        vf d[6], column[6];
        int64_t w = w0 + j;
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) {
            int64_t h = h0 + i;
            int there = inside || ((uint64_t)h < (uint64_t)g->H && (uint64_t)w < (uint64_t)g->W);
            const float *pixel = image + (h * g->W + w) * g->C;
            d[i] = there ? load_lanes(pixel, n) : v_zero();
        }
        winograd_forward(d, column);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            t[i][j] = column[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        vf row[6];
        winograd_forward(t[i], row);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++)
            store_lanes(v + (6 * i + j) * g->v_plane, row[j], n);
    }
}

/* Patches tile, ... to v[36][..][C], the first of them in row `row` of each plane. */
static void winograd_input(const struct winograd *g, int64_t tile, int64_t count, float *v)
{
    for (int64_t i = 0; i < count; i++) {
        struct winograd_patch at = winograd_patch(g, tile + i);
        int64_t h = at.h - g->pad_top, w = at.w - g->pad_left;
        int inside = h >= 0 && w >= 0 && h + 6 <= g->H && w + 6 <= g->W;
        const float *image = g->x + at.n * g->H * g->W * g->C;
        for (int64_t c = 0; c < g->C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, g->C - c);
            float *to = v + i * g->v_row + c;
            if (inside && n == FC_LANES)
                winograd_patch_in(g, image + c, h, w, 1, FC_LANES, to);
            else
                winograd_patch_in(g, image + c, h, w, inside, n, to);
        }
    }
}

/* m[rows][PANEL_STRIP] = v[rows][C] u[C][PANEL_STRIP] for one plane. */
struct winograd_product {
    const float *v, *u;
    float *m;
    int64_t v_row, m_row, depth;
};

FC_INLINE void winograd_product_body(const struct winograd_product *p, const int rows)
{
    const float *a[FC_PANEL_ROWS];
    vf acc[FC_PANEL_ROWS][2];
    for (int i = 0; i < rows; i++)
        a[i] = p->v + i * p->v_row;
    panel_zero(acc, rows);
    panel_multiply(acc, a, p->u, p->depth, rows, 2);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        v_store(p->m + i * p->m_row, acc[i][0]);
        v_store(p->m + i * p->m_row + FC_LANES, acc[i][1]);
    }
}

#define FC_WINOGRAD(rows)                                                                          \
    static void winograd_product_##rows(const struct winograd_product *p)                          \
    {                                                                                              \
        winograd_product_body(p, rows);                                                            \
    }
FC_FOR_PANEL_ROWS(FC_WINOGRAD)
#undef FC_WINOGRAD

typedef void (*winograd_product_fn)(const struct winograd_product *);
#define FC_WINOGRAD(rows) [rows] = winograd_product_##rows,
static const winograd_product_fn winograd_products[FC_PANEL_ROWS + 1] = {
    FC_FOR_PANEL_ROWS(FC_WINOGRAD)};
#undef FC_WINOGRAD

/* m[36][count][WINOGRAD_COLUMNS] for panels first, first + 1. */
static void winograd_multiply(const struct winograd *g, const float *v, int64_t count,
                              int64_t first, int64_t panels, float *m)
{
    for (int64_t xi = 0; xi < WINOGRAD_POINTS; xi++)
        for (int64_t k = 0; k < panels * PANEL_COLUMNS; k += PANEL_STRIP)
            for (int64_t t = 0; t < count; t += FC_PANEL_ROWS) {
                const float *panel =
                    g->u + (xi * g->panels + first + k / PANEL_COLUMNS) * g->C * PANEL_COLUMNS;
                const struct winograd_product product = {
                    .v = v + xi * g->v_plane + t * g->v_row,
                    .u = panel + k % PANEL_COLUMNS,
                    .m = m + xi * g->m_plane + t * WINOGRAD_COLUMNS + k,
                    .v_row = g->v_row,
                    .m_row = WINOGRAD_COLUMNS,
                    .depth = g->C,
                };
                winograd_products[min_i64(FC_PANEL_ROWS, count - t)](&product);
            }
}

/* The 4x4 pixels of one patch, channels k to k + n; m is its first product. */
FC_INLINE void winograd_patch_out(const struct winograd *g, const float *m, int64_t h0, int64_t w0,
                                  int64_t at, int64_t k, int64_t n)
{
    vf t[4][6];
#pragma GCC unroll 6
    for (int j = 0; j < 6; j++) {
        vf column[6], y[4];
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            column[i] = v_load(m + (6 * i + j) * g->m_plane);
        winograd_inverse(column, y);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            t[i][j] = y[i];
    }
    const struct epilogue *e = &g->epilogue;
    vf bias = e->bias ? load_lanes(e->bias + k, n) : v_zero();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vf y[4];
        winograd_inverse(t[i], y);
        if (h0 + i >= g->P)
            break;
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            int64_t to = at + (i * g->Q + j) * g->K;
            if (w0 + j >= g->Q)
                break;
            vf value = v_add(y[j], bias);
            if (e->residual)
                value = v_add(value, load_lanes(e->residual + to, n));
            store_lanes(g->y + to, epilogue_bound(e, value), n);
        }
    }
}

static void winograd_output(const struct winograd *g, int64_t tile, int64_t count, int64_t first,
                            const float *m)
{
    int64_t begin = first * PANEL_COLUMNS, end = min_i64(begin + WINOGRAD_COLUMNS, g->K);
    for (int64_t i = 0; i < count; i++) {
        struct winograd_patch at = winograd_patch(g, tile + i);
        int64_t pixel = ((at.n * g->P + at.h) * g->Q + at.w) * g->K;
        for (int64_t k = begin; k < end; k += FC_LANES)
            winograd_patch_out(g, m + i * WINOGRAD_COLUMNS + k - begin, at.h, at.w, pixel + k, k,
                               min_i64(FC_LANES, end - k));
    }
}

static struct winograd winograd_of(const fc_call *call, int64_t pad_top, int64_t pad_left)
{
    const fc_tensor *x = call->in, *y = call->out;
    struct winograd g = {
        .N = x->dim[0],
        .H = x->dim[1],
        .W = x->dim[2],
        .C = x->dim[3],
        .K = y->dim[3],
        .P = y->dim[1],
        .Q = y->dim[2],
        .pad_top = pad_top,
        .pad_left = pad_left,
        .x = x->data,
        .u = call->in[1].data,
        .y = y->data,
    };
    g.tiles_h = ceil_div(g.P, 4);
    g.tiles_w = ceil_div(g.Q, 4);
    g.tiles = g.N * g.tiles_h * g.tiles_w;
    g.panels = ceil_div(g.K, PANEL_COLUMNS);
    /* Rows 4 KB apart would fall on one set of the cache. */
    g.v_row = g.C % 512 == 0 ? g.C + WINOGRAD_SKEW : g.C;
    g.m_plane = WINOGRAD_TILES * WINOGRAD_COLUMNS + WINOGRAD_SKEW;
    return g;
}

/* With few blocks or filters too large for a core's cache all threads transform patches together,
 * so that a core can take a range of filters; otherwise each keeps its own patches. */
static int winograd_shares(const struct winograd *g, int nthreads)
{
    int64_t blocks = ceil_div(g->tiles, WINOGRAD_TILES);
    return blocks < 4 * nthreads || g->C * g->K > 192 * 192;
}

enum { WINOGRAD_SHARED = 8 << 20 }; /* bytes of V that threads share at most */

static int64_t winograd_tiles_at_once(const struct winograd *g, int nthreads)
{
    if (!winograd_shares(g, nthreads))
        return WINOGRAD_TILES;
    int64_t block = WINOGRAD_POINTS * WINOGRAD_TILES * g->v_row * (int64_t)sizeof(float);
    int64_t blocks = max_i64(1, WINOGRAD_SHARED / block);
    return min_i64(blocks, ceil_div(g->tiles, WINOGRAD_TILES)) * WINOGRAD_TILES;
}

static int64_t winograd_v_plane(const struct winograd *g, int64_t tiles)
{
    return tiles * g->v_row + WINOGRAD_SKEW;
}

FC_DEFINE_PLAN(f32_winograd_conv2d)
{
    FC_ATTRS(f32_winograd_conv2d);
    const struct winograd g = winograd_of(call, attrs->pad_top, attrs->pad_left);
    int64_t v = winograd_v_plane(&g, winograd_tiles_at_once(&g, nthreads));
    /* A run may have fewer threads than planned for, and then share where these would not. */
    int64_t alone = nthreads * winograd_v_plane(&g, WINOGRAD_TILES);
    int64_t shared = winograd_v_plane(&g, winograd_tiles_at_once(&g, 1));
    v = max_i64(v, max_i64(alone, shared));
    return WINOGRAD_POINTS * (v + nthreads * g.m_plane) * (int64_t)sizeof(float);
}

static void winograd_alone(const struct winograd *g, float *v, float *m, int tid, int nthreads)
{
    int64_t begin, end;
    share(ceil_div(g->tiles, WINOGRAD_TILES), tid, nthreads, &begin, &end);
    for (int64_t tile = begin * WINOGRAD_TILES; tile < end * WINOGRAD_TILES;
         tile += WINOGRAD_TILES) {
        int64_t count = min_i64(WINOGRAD_TILES, g->tiles - tile);
        if (count <= 0)
            break;
        winograd_input(g, tile, count, v);
        for (int64_t panel = 0; panel < g->panels; panel += 2) {
            winograd_multiply(g, v, count, panel, min_i64(2, g->panels - panel), m);
            winograd_output(g, tile, count, panel, m);
        }
    }
}

static void winograd_together(const fc_call *call, const struct winograd *g, int64_t at_once,
                              float *v, float *m, int tid, int nthreads)
{
    int64_t begin, end, wide = ceil_div(g->panels, 2);
    for (int64_t base = 0; base < g->tiles; base += at_once) {
        int64_t tiles = min_i64(at_once, g->tiles - base), blocks = ceil_div(tiles, WINOGRAD_TILES);
        share(tiles, tid, nthreads, &begin, &end);
        winograd_input(g, base + begin, end - begin, v + begin * g->v_row);
        fc_sync(call);
        share(wide * blocks, tid, nthreads, &begin, &end);
        for (int64_t item = begin; item < end; item++) {
            int64_t panel = item / blocks * 2, t = item % blocks * WINOGRAD_TILES;
            int64_t count = min_i64(WINOGRAD_TILES, tiles - t);
            winograd_multiply(g, v + t * g->v_row, count, panel, min_i64(2, g->panels - panel), m);
            winograd_output(g, base + t, count, panel, m);
        }
        fc_sync(call);
    }
}

FC_DEFINE(f32_winograd_conv2d)
{
    FC_ATTRS(f32_winograd_conv2d);
    struct winograd g = winograd_of(call, attrs->pad_top, attrs->pad_left);
    g.epilogue = (struct epilogue)EPILOGUE(call);
    float *m = (float *)call->scratch + tid * WINOGRAD_POINTS * g.m_plane;
    float *v = (float *)call->scratch + nthreads * WINOGRAD_POINTS * g.m_plane;
    int64_t at_once = winograd_tiles_at_once(&g, nthreads);
    g.v_plane = winograd_v_plane(&g, at_once);
    if (winograd_shares(&g, nthreads))
        winograd_together(call, &g, at_once, v, m, tid, nthreads);
    else
        winograd_alone(&g, v + tid * WINOGRAD_POINTS * g.v_plane, m, tid, nthreads);
    return FCNN_OK;
}

/* Rows of G: a filter's values at the points, scaled so that B' stays free of fractions. */
static const double winograd_g[6][3] = {
    {1, 0, 0},
    {1.0 / 6, 1.41421356237309505 / 6, 2.0 / 6},
    {1.0 / 6, -1.41421356237309505 / 6, 2.0 / 6},
    {-2.0 / 3, -1.41421356237309505 / 3, -1.0 / 3},
    {-2.0 / 3, 1.41421356237309505 / 3, -1.0 / 3},
    {0, 0, 1},
};

/* U = G g G' of PANEL_COLUMNS filters at one channel, in double: it is done once. */
static void winograd_filter(const double g[9][PANEL_COLUMNS], double u[36][PANEL_COLUMNS])
{
    for (int i = 0; i < 6; i++) {
        double row[3][PANEL_COLUMNS];
        for (int s = 0; s < 3; s++)
            for (int k = 0; k < PANEL_COLUMNS; k++)
                row[s][k] = winograd_g[i][0] * g[s][k] + winograd_g[i][1] * g[3 + s][k] +
                            winograd_g[i][2] * g[6 + s][k];
        for (int j = 0; j < 6; j++)
            for (int k = 0; k < PANEL_COLUMNS; k++)
                u[6 * i + j][k] = winograd_g[j][0] * row[0][k] + winograd_g[j][1] * row[1][k] +
                                  winograd_g[j][2] * row[2][k];
    }
}

FC_DEFINE(f32_winograd_filters)
{
    const fc_tensor *w = call->in;
    int64_t C = w->dim[2], K = w->dim[3], panels = ceil_div(K, PANEL_COLUMNS), begin, end;
    const float *filters = w->data;
    float *to = call->out[0].data;
    double g[9][PANEL_COLUMNS], u[36][PANEL_COLUMNS];
    share(panels * C, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t c = item % C, panel = item / C, k0 = panel * PANEL_COLUMNS;
        int64_t columns = min_i64(PANEL_COLUMNS, K - k0);
        for (int tap = 0; tap < 9; tap++)
            for (int64_t k = 0; k < PANEL_COLUMNS; k++)
                g[tap][k] = k < columns ? filters[(tap * C + c) * K + k0 + k] : 0.0;
        winograd_filter((const double (*)[PANEL_COLUMNS])g, u);
        for (int64_t xi = 0; xi < WINOGRAD_POINTS; xi++)
            for (int64_t k = 0; k < PANEL_COLUMNS; k++)
                to[((xi * panels + panel) * C + c) * PANEL_COLUMNS + k] = (float)u[xi][k];
    }
    return FCNN_OK;
}
