/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's F(m x m, 3x3) on NHWC, m = 4 or 2: m x m outputs of a 3x3 convolution from (m + 2)^2
 * products, 36 or 16, where the sum has 144 or 36 (A. Lavin, S. Gray, "Fast Algorithms for
 * Convolutional Neural Networks", 2015).
 *
 *   V = B' d B   of every patch d of m + 2 pixels squared, per channel  (input transform)
 *   M = U V      one matrix product over the channels for every point   (with panels of panel.inc.h)
 *   y = A' M A   m x m pixels, then bias, residual, bounds              (output transform)
 *
 * The points are 0, +-sqrt(2), +-1/sqrt(2) and infinity for m = 4, which lose least to rounding, and
 * 0, +-1 and infinity for m = 2. Work goes in blocks of patches whose V and M stay in a core's cache.
 */
enum {
    WINOGRAD_COLUMNS = 64,                /* of M at a time */
    WINOGRAD_PANELS = WINOGRAD_COLUMNS / PANEL_COLUMNS,
    WINOGRAD_CACHE = 256 << 10,           /* bytes of V and M in a block, if it has the least size */
    WINOGRAD_TILES_MAX = 8,               /* tiles of FC_PANEL_ROWS patches in a block */
    WINOGRAD_SKEW = 16,                   /* floats between planes: strides off powers of two */
};

#define SQRT2 1.41421356237309505f

struct winograd {
    int64_t N, H, W, C, K, P, Q, pad_top, pad_left;
    int64_t m, points; /* outputs and products of a patch: m x m and (m + 2) x (m + 2) */
    int64_t tiles_h, tiles_w, tiles, block; /* patches, and how many of them make a block */
    int64_t x_pixel, y_pixel, v_row, v_plane, m_plane; /* strides in floats */
    const float *x, *u; /* u (points, panels, C, PANEL_COLUMNS) */
    float *y;
    int64_t panels;
    struct epilogue epilogue;
};

/* t = B' d for m + 2 values. */
FC_INLINE void winograd_forward(const vf *d, vf *t, const int m)
{
    if (m == 2) {
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

/* y = A' a for m + 2 values. */
FC_INLINE void winograd_inverse(const vf *a, vf *y, const int m)
{
    vf sum = v_add(a[1], a[2]), difference = v_sub(a[1], a[2]);
    if (m == 2) {
        y[0] = v_add(a[0], sum);
        y[1] = v_add(difference, a[3]);
        return;
    }
    vf sum2 = v_add(a[3], a[4]);
    vf difference2 = v_mul(v_set1(SQRT2 / 2), v_sub(a[3], a[4]));
    difference = v_mul(v_set1(SQRT2), difference);
    y[0] = v_add(a[0], v_add(sum, sum2));
    y[1] = v_add(difference, difference2);
    y[2] = v_fma(v_set1(2.0f), sum, v_mul(v_set1(0.5f), sum2));
    y[3] = v_fma(v_set1(2.0f), difference, v_fma(v_set1(0.5f), difference2, a[5]));
}

struct winograd_patch {
    int64_t n, h, w; /* image, and the first row and column of the patch, padding included */
};

static inline struct winograd_patch winograd_patch(const struct winograd *g, int64_t tile)
{
    int64_t w = tile % g->tiles_w, h = tile / g->tiles_w % g->tiles_h;
    return (struct winograd_patch){tile / g->tiles_w / g->tiles_h, g->m * h, g->m * w};
}

/* v[points][lanes] of one patch, channels c to c + n. */
FC_INLINE void winograd_patch_in(const struct winograd *g, const float *image, int64_t h0,
                                 int64_t w0, const int inside, int64_t n, float *v, const int m)
{
    vf t[6][6];
#pragma GCC unroll 6
    for (int j = 0; j < m + 2; j++) {
        vf d[6], column[6];
        int64_t w = w0 + j;
#pragma GCC unroll 6
        for (int i = 0; i < m + 2; i++) {
            int64_t h = h0 + i;
            int there = inside || ((uint64_t)h < (uint64_t)g->H && (uint64_t)w < (uint64_t)g->W);
            const float *pixel = image + (h * g->W + w) * g->x_pixel;
            d[i] = there ? load_lanes(pixel, n) : v_zero();
        }
        winograd_forward(d, column, m);
#pragma GCC unroll 6
        for (int i = 0; i < m + 2; i++)
            t[i][j] = column[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < m + 2; i++) {
        vf row[6];
        winograd_forward(t[i], row, m);
#pragma GCC unroll 6
        for (int j = 0; j < m + 2; j++)
            store_lanes(v + ((m + 2) * i + j) * g->v_plane, row[j], n);
    }
}

/* Patches tile, ... to v[points][..][C], the first of them in row 0 of each plane. */
FC_INLINE void winograd_input_body(const struct winograd *g, int64_t tile, int64_t count, float *v,
                                   const int m)
{
    for (int64_t i = 0; i < count; i++) {
        struct winograd_patch at = winograd_patch(g, tile + i);
        int64_t h = at.h - g->pad_top, w = at.w - g->pad_left;
        int inside = h >= 0 && w >= 0 && h + m + 2 <= g->H && w + m + 2 <= g->W;
        const float *image = g->x + at.n * g->H * g->W * g->x_pixel;
        for (int64_t c = 0; c < g->C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, g->C - c);
            float *to = v + i * g->v_row + c;
            if (inside && n == FC_LANES)
                winograd_patch_in(g, image + c, h, w, 1, FC_LANES, to, m);
            else
                winograd_patch_in(g, image + c, h, w, inside, n, to, m);
        }
    }
}

static void winograd_input(const struct winograd *g, int64_t tile, int64_t count, float *v)
{
    if (g->m == 4)
        winograd_input_body(g, tile, count, v, 4);
    else
        winograd_input_body(g, tile, count, v, 2);
}

/* m[rows][PANEL_STRIP] = v[rows][C] u[C][PANEL_STRIP] for one plane. */
struct winograd_product {
    const float *v, *u;
    float *m;
    int64_t v_row, m_row, depth;
    int vectors;
};

FC_INLINE void winograd_product_body(const struct winograd_product *p, const int rows,
                                     const int vectors)
{
    const float *a[FC_PANEL_ROWS];
    vf acc[FC_PANEL_ROWS][2];
    for (int i = 0; i < rows; i++)
        a[i] = p->v + i * p->v_row;
    panel_zero(acc, rows);
    panel_multiply(acc, a, p->u, panel_second(p->depth), p->depth, rows, vectors);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        v_store(p->m + i * p->m_row, acc[i][0]);
        if (vectors == 2)
            v_store(p->m + i * p->m_row + FC_LANES, acc[i][1]);
    }
}

#define FC_WINOGRAD(rows)                                                                          \
    static void winograd_product_##rows(const struct winograd_product *p)                          \
    {                                                                                              \
        if (FC_LANES < PANEL_COLUMNS || p->vectors == 2)                                           \
            winograd_product_body(p, rows, 2);                                                     \
        else                                                                                       \
            winograd_product_body(p, rows, 1);                                                     \
    }
FC_FOR_PANEL_ROWS(FC_WINOGRAD)
#undef FC_WINOGRAD

typedef void (*winograd_product_fn)(const struct winograd_product *);
#define FC_WINOGRAD(rows) [rows] = winograd_product_##rows,
static const winograd_product_fn winograd_products[FC_PANEL_ROWS + 1] = {
    FC_FOR_PANEL_ROWS(FC_WINOGRAD)};
#undef FC_WINOGRAD

/* m[points][count][WINOGRAD_COLUMNS] for `panels` panels from `first` on. */
static void winograd_multiply(const struct winograd *g, const float *v, int64_t count,
                              int64_t first, int64_t panels, float *m)
{
    for (int64_t xi = 0; xi < g->points; xi++)
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
                    .vectors = panels * PANEL_COLUMNS - k > FC_LANES ? 2 : 1,
                };
                winograd_products[min_i64(FC_PANEL_ROWS, count - t)](&product);
            }
}

/* The m x m pixels of one patch, channels k to k + n; `from` is its first product. */
FC_INLINE void winograd_patch_out(const struct winograd *g, const float *from, int64_t h0,
                                  int64_t w0, int64_t at, int64_t k, int64_t n, const int m)
{
    vf t[4][6];
#pragma GCC unroll 6
    for (int j = 0; j < m + 2; j++) {
        vf column[6], y[4];
#pragma GCC unroll 6
        for (int i = 0; i < m + 2; i++)
            column[i] = v_load(from + ((m + 2) * i + j) * g->m_plane);
        winograd_inverse(column, y, m);
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
            t[i][j] = y[i];
    }
    const struct epilogue *e = &g->epilogue;
    vf bias = e->bias ? load_lanes(e->bias + k, n) : v_zero();
#pragma GCC unroll 4
    for (int i = 0; i < m; i++) {
        vf y[4];
        winograd_inverse(t[i], y, m);
        if (h0 + i >= g->P)
            break;
#pragma GCC unroll 4
        for (int j = 0; j < m; j++) {
            int64_t to = at + (i * g->Q + j) * g->y_pixel;
            if (w0 + j >= g->Q)
                break;
            vf value = v_add(y[j], bias);
            if (e->residual)
                value = v_add(value, load_lanes(e->residual + to, n));
            store_lanes(g->y + to, epilogue_bound(e, value), n);
        }
    }
}

FC_INLINE void winograd_output_body(const struct winograd *g, int64_t tile, int64_t count,
                                    int64_t first, const float *from, const int m)
{
    int64_t begin = first * PANEL_COLUMNS, end = min_i64(begin + WINOGRAD_COLUMNS, g->K);
    for (int64_t i = 0; i < count; i++) {
        struct winograd_patch at = winograd_patch(g, tile + i);
        int64_t pixel = ((at.n * g->P + at.h) * g->Q + at.w) * g->y_pixel;
        for (int64_t k = begin; k < end; k += FC_LANES)
            winograd_patch_out(g, from + i * WINOGRAD_COLUMNS + k - begin, at.h, at.w, pixel + k, k,
                               min_i64(FC_LANES, end - k), m);
    }
}

static void winograd_output(const struct winograd *g, int64_t tile, int64_t count, int64_t first,
                            const float *from)
{
    if (g->m == 4)
        winograd_output_body(g, tile, count, first, from, 4);
    else
        winograd_output_body(g, tile, count, first, from, 2);
}

/* Patches of a block: as many whole tiles of rows as leave V and M in half of a small L2. */
static int64_t winograd_block(const struct winograd *g)
{
    int64_t row = g->points * (g->C + WINOGRAD_COLUMNS) * (int64_t)sizeof(float);
    int64_t tiles = WINOGRAD_CACHE / row / FC_PANEL_ROWS;
    return FC_PANEL_ROWS * max_i64(2, min_i64(tiles, WINOGRAD_TILES_MAX));
}

static struct winograd winograd_of(const fc_call *call, int64_t tile, int64_t pad_top,
                                   int64_t pad_left)
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
        .m = tile,
        .points = (tile + 2) * (tile + 2),
        .x_pixel = x->ld,
        .y_pixel = y->ld,
        .x = x->data,
        .u = call->in[1].data,
        .y = y->data,
    };
    g.tiles_h = ceil_div(g.P, tile);
    g.tiles_w = ceil_div(g.Q, tile);
    g.block = winograd_block(&g);
    g.tiles = g.N * g.tiles_h * g.tiles_w;
    g.panels = ceil_div(g.K, PANEL_COLUMNS);
    /* Rows 4 KB apart would fall on one set of the cache. */
    g.v_row = g.C % 512 == 0 ? g.C + WINOGRAD_SKEW : g.C;
    g.m_plane = g.block * WINOGRAD_COLUMNS + WINOGRAD_SKEW;
    return g;
}

/* With few blocks or filters too large for a core's cache all threads transform patches together,
 * so that a core can take a range of filters; otherwise each keeps its own patches. */
static int winograd_shares(const struct winograd *g, int nthreads)
{
    int64_t blocks = ceil_div(g->tiles, g->block);
    return blocks < 4 * nthreads || g->C * g->K > 192 * 192;
}

enum { WINOGRAD_SHARED = 8 << 20 }; /* bytes of V that threads share at most */

static int64_t winograd_tiles_at_once(const struct winograd *g, int nthreads)
{
    if (!winograd_shares(g, nthreads))
        return g->block;
    int64_t block = g->points * g->block * g->v_row * (int64_t)sizeof(float);
    int64_t blocks = max_i64(1, WINOGRAD_SHARED / block);
    return min_i64(blocks, ceil_div(g->tiles, g->block)) * g->block;
}

static int64_t winograd_v_plane(const struct winograd *g, int64_t tiles)
{
    return tiles * g->v_row + WINOGRAD_SKEW;
}

FC_DEFINE_PLAN(f32_winograd_conv2d)
{
    FC_ATTRS(f32_winograd_conv2d);
    const struct winograd g = winograd_of(call, attrs->tile, attrs->pad_top, attrs->pad_left);
    int64_t v = winograd_v_plane(&g, winograd_tiles_at_once(&g, nthreads));
    /* A run may have fewer threads than planned for, and then share where these would not. */
    int64_t alone = nthreads * winograd_v_plane(&g, g.block);
    int64_t shared = winograd_v_plane(&g, winograd_tiles_at_once(&g, 1));
    v = max_i64(v, max_i64(alone, shared));
    return g.points * (v + nthreads * g.m_plane) * (int64_t)sizeof(float);
}

static void winograd_alone(const struct winograd *g, float *v, float *m, int tid, int nthreads)
{
    int64_t begin, end;
    share(ceil_div(g->tiles, g->block), tid, nthreads, &begin, &end);
    for (int64_t tile = begin * g->block; tile < end * g->block;
         tile += g->block) {
        int64_t count = min_i64(g->block, g->tiles - tile);
        if (count <= 0)
            break;
        winograd_input(g, tile, count, v);
        for (int64_t panel = 0; panel < g->panels; panel += WINOGRAD_PANELS) {
            winograd_multiply(g, v, count, panel, min_i64(WINOGRAD_PANELS, g->panels - panel), m);
            winograd_output(g, tile, count, panel, m);
        }
    }
}

static void winograd_together(const fc_call *call, const struct winograd *g, int64_t at_once,
                              float *v, float *m, int tid, int nthreads)
{
    int64_t begin, end, wide = ceil_div(g->panels, WINOGRAD_PANELS);
    for (int64_t base = 0; base < g->tiles; base += at_once) {
        int64_t tiles = min_i64(at_once, g->tiles - base), blocks = ceil_div(tiles, g->block);
        share(tiles, tid, nthreads, &begin, &end);
        winograd_input(g, base + begin, end - begin, v + begin * g->v_row);
        fc_sync(call);
        share(wide * blocks, tid, nthreads, &begin, &end);
        for (int64_t item = begin; item < end; item++) {
            int64_t panel = item / blocks * WINOGRAD_PANELS, t = item % blocks * g->block;
            int64_t count = min_i64(g->block, tiles - t);
            winograd_multiply(g, v + t * g->v_row, count, panel,
                              min_i64(WINOGRAD_PANELS, g->panels - panel), m);
            winograd_output(g, base + t, count, panel, m);
        }
        fc_sync(call);
    }
}

FC_DEFINE(f32_winograd_conv2d)
{
    FC_ATTRS(f32_winograd_conv2d);
    struct winograd g = winograd_of(call, attrs->tile, attrs->pad_top, attrs->pad_left);
    g.epilogue = (struct epilogue)EPILOGUE(call);
    float *m = (float *)call->scratch + tid * g.points * g.m_plane;
    float *v = (float *)call->scratch + nthreads * g.points * g.m_plane;
    int64_t at_once = winograd_tiles_at_once(&g, nthreads);
    g.v_plane = winograd_v_plane(&g, at_once);
    if (winograd_shares(&g, nthreads))
        winograd_together(call, &g, at_once, v, m, tid, nthreads);
    else
        winograd_alone(&g, v + tid * g.points * g.v_plane, m, tid, nthreads);
    return FCNN_OK;
}

/* Rows of G: a filter's values at the points, scaled so that B' stays free of fractions. */
static const double winograd_g4[6][3] = {
    {1, 0, 0},
    {1.0 / 6, 1.41421356237309505 / 6, 2.0 / 6},
    {1.0 / 6, -1.41421356237309505 / 6, 2.0 / 6},
    {-2.0 / 3, -1.41421356237309505 / 3, -1.0 / 3},
    {-2.0 / 3, 1.41421356237309505 / 3, -1.0 / 3},
    {0, 0, 1},
};
static const double winograd_g2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

/* U = G g G' of PANEL_COLUMNS filters at one channel, in double: it is done once. */
static void winograd_filter(const double (*G)[3], int points, const double g[9][PANEL_COLUMNS],
                            double u[36][PANEL_COLUMNS])
{
    for (int i = 0; i < points; i++) {
        double row[3][PANEL_COLUMNS];
        for (int s = 0; s < 3; s++)
            for (int k = 0; k < PANEL_COLUMNS; k++)
                row[s][k] = G[i][0] * g[s][k] + G[i][1] * g[3 + s][k] + G[i][2] * g[6 + s][k];
        for (int j = 0; j < points; j++)
            for (int k = 0; k < PANEL_COLUMNS; k++)
                u[points * i + j][k] =
                    G[j][0] * row[0][k] + G[j][1] * row[1][k] + G[j][2] * row[2][k];
    }
}

FC_DEFINE(f32_winograd_filters)
{
    FC_ATTRS(f32_winograd_filters);
    const fc_tensor *w = call->in;
    int64_t C = w->dim[2], K = w->dim[3], panels = ceil_div(K, PANEL_COLUMNS), begin, end;
    int points = (int)attrs->tile + 2;
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
        winograd_filter(attrs->tile == 4 ? winograd_g4 : winograd_g2, points,
                        (const double (*)[PANEL_COLUMNS])g, u);
        for (int64_t xi = 0; xi < points * points; xi++)
            for (int64_t k = 0; k < PANEL_COLUMNS; k++)
                to[((xi * panels + panel) * C + c) * PANEL_COLUMNS + k] = (float)u[xi][k];
    }
    return FCNN_OK;
}
