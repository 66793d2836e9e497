/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient of a 3x3 convolution for its kernel in Winograd's domain. Forward is y = A' M A with
 * M = (G g G') * (B' d B) for every patch, so that by transposition
 *
 *   dg = G' (sum over patches of (B' d B) * (A dy A')) G
 *
 * and 36 sums of outer products, each over the patches that have the point, stand for nine over pixels,
 * sixteen times as many. Only their total comes back, once per filter.
 *
 * All threads transform a block of patches together. Then each takes panels of channels and of
 * filters; what it sums stays in its cache. Blocks follow from the shape, and so do the bits.
 *
 *   v  [36][C panels][tiles][GRAD_PANEL]     B' d B
 *   z  [36][K strips][tiles][PANEL_STRIP]    A dy A'
 *   w  [36][GRAD_PANEL][GRAD_COLUMNS]       their products, for one panel of either
 */
enum {
    GRAD_PANEL = 48,       /* channels: whole vectors, whole tiles of AVX2 */
    GRAD_TILES = 128,      /* whose v and z are multiplied at once */
    GRAD_WHOLE = 12 << 20, /* bytes of v and z that may wait together for their only use */
    GRAD_SHARED = 6 << 20, /* bytes of them in a block where there are more */
    GRAD_POINTS = 36,
    GRAD_COLUMNS = 32, /* filters: one strip of AVX-512 */
    GRAD_W = GRAD_PANEL * GRAD_COLUMNS,
};

struct winograd_grad {
    struct winograd x; /* patches of the input */
    const float *dy;
    float *dw;
    int64_t K, c_panels, k_panels, at_once, blocks;
    int64_t v_plane, z_plane; /* floats */
};

static struct winograd_grad winograd_grad_of(const fc_call *call, int64_t pad_top, int64_t pad_left)
{
    const fc_tensor *x = call->in, *dy = call->in + 1;
    struct winograd_grad g = {
        .x = {.N = x->dim[0],
              .H = x->dim[1],
              .W = x->dim[2],
              .C = x->dim[3],
              .P = dy->dim[1],
              .Q = dy->dim[2],
              .pad_top = pad_top,
              .pad_left = pad_left,
              .m = 4,
              .r = 3,
              .x_pixel = x->dim[3],
              .x = x->data},
        .dy = dy->data,
        .dw = call->out[0].data,
        .K = dy->dim[3],
    };
    winograd_lay(&g.x);
    g.c_panels = ceil_div(g.x.C, GRAD_PANEL);
    g.k_panels = ceil_div(g.K, GRAD_COLUMNS);
    int64_t wide = g.c_panels * GRAD_PANEL + g.k_panels * GRAD_COLUMNS;
    int64_t tile = GRAD_POINTS * wide * (int64_t)sizeof(float);
    int64_t most = max_i64(1, GRAD_SHARED / tile / GRAD_TILES) * GRAD_TILES;
    int whole = g.x.tiles * tile <= GRAD_WHOLE || g.x.tiles <= most;
    g.at_once = whole ? max_i64(1, g.x.tiles) : most;
    g.blocks = ceil_div(g.x.tiles, g.at_once);
    g.v_plane = g.c_panels * g.at_once * GRAD_PANEL + WINOGRAD_SKEW;
    g.z_plane = g.k_panels * g.at_once * GRAD_COLUMNS + WINOGRAD_SKEW;
    g.x.v_plane = g.v_plane;
    g.x.v_row = GRAD_PANEL;
    return g;
}

/* Patches of the input to places i and on of v. */
static void winograd_grad_input(const struct winograd_grad *g, struct winograd_patches patches,
                                int64_t i, float *v)
{
    while (patches.count > 0) {
        const struct winograd_run run = winograd_run(&g->x, patches);
        for (int64_t c = 0; c < g->x.C; c += GRAD_PANEL) {
            float *to = v + (c / GRAD_PANEL * g->at_once + i) * GRAD_PANEL;
            winograd_run_in(&g->x, &run, c, min_i64(GRAD_PANEL, g->x.C - c), to, 4, 6);
        }
        i += run.count;
        patches.tile += run.count;
        patches.count -= run.count;
    }
}

/* z = A y for four values, zero where a short patch has fewer, of which `last` is the last that it has:
 * the value at infinity. The transpose of winograd_inverse. */
FC_INLINE void winograd_spread(const vf y[4], vf last, vf z[6])
{
    vf even = v_fma(v_set1(2.0f), y[2], y[0]), even2 = v_fma(v_set1(0.5f), y[2], y[0]);
    vf odd = v_mul(v_set1(SQRT2), v_fma(v_set1(2.0f), y[3], y[1]));
    vf odd2 = v_mul(v_set1(SQRT2 / 2), v_fma(v_set1(0.5f), y[3], y[1]));
    z[0] = y[0];
    z[1] = v_add(even, odd);
    z[2] = v_sub(even, odd);
    z[3] = v_add(even2, odd2);
    z[4] = v_sub(even2, odd2);
    z[5] = last;
}

/* A dy A' of n filters' pixels, 4x4 if whole; to points at the first of 36 planes, those it has, two
 * more each way than pixels. Of short patches, few where they cost much, y and t are indexed in memory. */
FC_INLINE void winograd_patch_back(const struct winograd_grad *g, const float *dy, int64_t rows,
                                   int64_t columns, const int whole, int64_t n, float *to)
{
    vf t[6][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vf y[4], column[6];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            int there = whole || (i < rows && j < columns);
            y[i] = there ? load_lanes(dy + (i * g->x.Q + j) * g->K, n) : v_zero();
        }
        winograd_spread(y, whole ? y[3] : y[rows - 1], column);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
            t[i][j] = column[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        vf row[6];
        if (!whole && !winograd_has(i, rows + 2, 6))
            continue;
        winograd_spread(t[i], whole ? t[i][3] : t[i][columns - 1], row);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++)
            if (whole || winograd_has(j, columns + 2, 6))
                v_store(to + (6 * i + j) * g->z_plane, row[j]);
    }
}

/* Outputs of patch `tile` to place i of z; lanes beyond the last filter become zero. */
static void winograd_grad_output(const struct winograd_grad *g, int64_t tile, int64_t i, float *z)
{
    struct winograd_patch at = winograd_patch(&g->x, tile);
    int64_t rows = at.tall - g->x.r + 1, columns = at.wide - g->x.r + 1;
    const float *dy = g->dy + ((at.n * g->x.P + at.h) * g->x.Q + at.w) * g->K;
    for (int64_t k = 0; k < g->k_panels * GRAD_COLUMNS; k += FC_LANES) {
        float *to = z + (k / PANEL_STRIP * g->at_once + i) * PANEL_STRIP + k % PANEL_STRIP;
        int64_t n = max_i64(0, min_i64(FC_LANES, g->K - k));
        if (rows == 4 && columns == 4 && n == FC_LANES)
            winograd_patch_back(g, dy + k, 4, 4, 1, FC_LANES, to);
        else
            winograd_patch_back(g, n > 0 ? dy + k : dy, rows, columns, 0, n, to);
    }
}

/* w[rows][PANEL_STRIP] of one plane (+)= sum over `count` tiles of v[rows] z[PANEL_STRIP]. */
struct winograd_sum {
    const float *v, *z;
    float *w;
    int64_t count;
    int accumulate;
};

FC_INLINE void winograd_sum_body(const struct winograd_sum *p, const int rows)
{
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
    const float *a = p->v, *b = p->z;
#pragma GCC unroll 2
    for (int64_t t = 0; t < p->count; t++) {
        vf b0 = v_load(b), b1 = v_load(b + FC_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            vf value = v_set1(a[i]);
            acc[i][0] = v_fma(value, b0, acc[i][0]);
            acc[i][1] = v_fma(value, b1, acc[i][1]);
        }
        a += GRAD_PANEL;
        b += PANEL_STRIP;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            float *to = p->w + i * GRAD_COLUMNS + v * FC_LANES;
            v_store(to, p->accumulate ? v_add(v_load(to), acc[i][v]) : acc[i][v]);
        }
}

#define FC_WINOGRAD_SUM(rows)                                                                      \
    static void winograd_sum_##rows(const struct winograd_sum *p) { winograd_sum_body(p, rows); }
FC_FOR_PANEL_ROWS(FC_WINOGRAD_SUM)
#undef FC_WINOGRAD_SUM

typedef void (*winograd_sum_fn)(const struct winograd_sum *);
#define FC_WINOGRAD_SUM(rows) [rows] = winograd_sum_##rows,
static const winograd_sum_fn winograd_sums[FC_PANEL_ROWS + 1] = {
    FC_FOR_PANEL_ROWS(FC_WINOGRAD_SUM)};
#undef FC_WINOGRAD_SUM

/* One panel of channels times one of filters over the patches at hand. */
static void winograd_grad_panel(const struct winograd_grad *g, int64_t c_panel, int64_t k_panel,
                                struct winograd_patches all, const float *v, const float *z,
                                float *w)
{
    int64_t C = min_i64(GRAD_PANEL, g->x.C - c_panel * GRAD_PANEL);
    for (int64_t t = 0; t < all.count; t += GRAD_TILES) {
        const struct winograd_patches block = {all.tile + t, min_i64(GRAD_TILES, all.count - t)};
        for (int64_t xi = 0; xi < GRAD_POINTS; xi++) {
            const struct winograd_patches here = winograd_of_point(&g->x, xi, block);
            int64_t i = here.tile - all.tile;
            for (int64_t k = 0; k < GRAD_COLUMNS; k += PANEL_STRIP) {
                int64_t strip = (k_panel * GRAD_COLUMNS + k) / PANEL_STRIP;
                for (int64_t c = 0; c < C; c += FC_PANEL_ROWS) {
                    const struct winograd_sum sum = {
                        .v = v + xi * g->v_plane + (c_panel * g->at_once + i) * GRAD_PANEL + c,
                        .z = z + xi * g->z_plane + (strip * g->at_once + i) * PANEL_STRIP,
                        .w = w + xi * GRAD_W + c * GRAD_COLUMNS + k,
                        .count = here.count,
                        .accumulate = block.tile > 0,
                    };
                    winograd_sums[min_i64(FC_PANEL_ROWS, C - c)](&sum);
                }
            }
        }
    }
}

/* g = G' w for six values: the transpose of winograd_values. */
FC_INLINE void winograd_gather(const vf w[6], vf g[3])
{
    vf sum = v_mul(v_set1(1.0f / 6), v_add(w[1], w[2]));
    vf sum2 = v_mul(v_set1(-1.0f / 3), v_add(w[3], w[4]));
    vf difference = v_mul(v_set1(SQRT2 / 6), v_sub(w[1], w[2]));
    vf difference2 = v_mul(v_set1(SQRT2 / 3), v_sub(w[4], w[3]));
    g[0] = v_add(w[0], v_fma(v_set1(2.0f), sum2, sum));
    g[1] = v_add(difference, difference2);
    g[2] = v_add(w[5], v_fma(v_set1(2.0f), sum, sum2));
}

/* dw of one panel of channels and one of filters from its sums. */
static void winograd_grad_finish(const struct winograd_grad *g, int64_t c_panel, int64_t k_panel,
                                 const float *w)
{
    int64_t c0 = c_panel * GRAD_PANEL, C = min_i64(GRAD_PANEL, g->x.C - c0);
    int64_t k0 = k_panel * GRAD_COLUMNS, K = min_i64(GRAD_COLUMNS, g->K - k0);
    for (int64_t c = 0; c < C; c++)
        for (int64_t k = 0; k < K; k += FC_LANES) {
            const float *from = w + c * GRAD_COLUMNS + k;
            vf t[3][6];
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) {
                vf column[6], rows[3];
#pragma GCC unroll 6
                for (int i = 0; i < 6; i++)
                    column[i] = v_load(from + (6 * i + j) * GRAD_W);
                winograd_gather(column, rows);
#pragma GCC unroll 3
                for (int r = 0; r < 3; r++)
                    t[r][j] = rows[r];
            }
#pragma GCC unroll 3
            for (int r = 0; r < 3; r++) {
                vf taps[3];
                winograd_gather(t[r], taps);
#pragma GCC unroll 3
                for (int s = 0; s < 3; s++)
                    store_lanes(g->dw + ((3 * r + s) * g->x.C + c0 + c) * g->K + k0 + k, taps[s],
                                min_i64(FC_LANES, K - k));
            }
        }
}

/* Sums of one thread, if it is done with a panel at once; else those of all panels. */
static int64_t winograd_grad_sums(const struct winograd_grad *g, int nthreads)
{
    return g->blocks == 1 ? nthreads : g->c_panels * g->k_panels;
}

FC_DEFINE_PLAN(f32_winograd_conv2d_grad_kernel)
{
    FC_ATTRS(f32_winograd_conv2d_grad_kernel);
    if (count_of(call->in) == 0 || count_of(call->in + 1) == 0)
        return -1;
    const struct winograd_grad g = winograd_grad_of(call, attrs->pad_top, attrs->pad_left);
    int64_t floats = g.v_plane + g.z_plane + winograd_grad_sums(&g, nthreads) * GRAD_W;
    return GRAD_POINTS * floats * (int64_t)sizeof(float);
}

FC_DEFINE(f32_winograd_conv2d_grad_kernel)
{
    FC_ATTRS(f32_winograd_conv2d_grad_kernel);
    const struct winograd_grad g = winograd_grad_of(call, attrs->pad_top, attrs->pad_left);
    float *v = (float *)call->scratch, *z = v + GRAD_POINTS * g.v_plane;
    float *w = z + GRAD_POINTS * g.z_plane;
    for (int64_t base = 0; base < g.x.tiles; base += g.at_once) {
        const struct winograd_patches all = {base, min_i64(g.at_once, g.x.tiles - base)};
        fc_work work = fc_open(all.count, tid, nthreads);
        while (fc_take(&work)) {
            const int64_t count = work.end - work.begin;
            winograd_grad_input(&g, (struct winograd_patches){base + work.begin, count}, work.begin,
                                v);
            for (int64_t i = work.begin; i < work.end; i++)
                winograd_grad_output(&g, base + i, i, z);
        }
        fc_sync(call);
        work = fc_open(g.c_panels * g.k_panels, tid, nthreads);
        while (fc_take(&work))
            for (int64_t item = work.begin; item < work.end; item++) {
                int64_t c_panel = item % g.c_panels, k_panel = item / g.c_panels;
                float *sums = w + (g.blocks == 1 ? tid : item) * GRAD_POINTS * GRAD_W;
                winograd_grad_panel(&g, c_panel, k_panel, all, v, z, sums);
                if (base + all.count == g.x.tiles)
                    winograd_grad_finish(&g, c_panel, k_panel, sums);
            }
        fc_sync(call);
    }
    return FCNN_OK;
}
