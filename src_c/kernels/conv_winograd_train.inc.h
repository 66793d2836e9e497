/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's F(4x4, 3x3) where filters change in every step: they are transformed in float, forward
 * or with inputs and outputs exchanged for the gradient of the input. Small filters are transformed
 * before the convolution, large ones panel by panel inside it: four times as many numbers as the
 * filters have then never leave the caches.
 */

/* G g for three values of a filter: see winograd_g. */
FC_INLINE void winograd_values(const vf g[3], vf u[6])
{
    vf even = v_mul(v_set1(1.0f / 6), v_fma(v_set1(2.0f), g[2], g[0]));
    vf odd = v_mul(v_set1(SQRT2 / 6), g[1]);
    vf even2 = v_mul(v_set1(-1.0f / 3), v_fma(v_set1(2.0f), g[0], g[2]));
    vf odd2 = v_mul(v_set1(SQRT2 / 3), g[1]);
    u[0] = g[0];
    u[1] = v_add(even, odd);
    u[2] = v_sub(even, odd);
    u[3] = v_sub(even2, odd2);
    u[4] = v_add(even2, odd2);
    u[5] = g[2];
}

enum { FILTER_BLOCK = FILTER_ROWS * PANEL_COLUMNS };

/* U = G g G' of FC_LANES filters of a block. */
FC_INLINE void winograd_transform(const float *g, float *u)
{
    vf t[3][6];
#pragma GCC unroll 3
    for (int s = 0; s < 3; s++) {
        const vf column[3] = {v_load(g + s * FILTER_BLOCK), v_load(g + (3 + s) * FILTER_BLOCK),
                              v_load(g + (6 + s) * FILTER_BLOCK)};
        winograd_values(column, t[s]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        const vf row[3] = {t[0][i], t[1][i], t[2][i]};
        vf values[6];
        winograd_values(row, values);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++)
            v_store(u + (6 * i + j) * FILTER_BLOCK, values[j]);
    }
}

/* Filters (3, 3, C, K) as a convolution sees them: depth inputs, columns outputs. Exchanged, it is
 * the other way round and the taps go from last to first. */
struct winograd_kernel {
    const float *filters;
    int64_t C, K, depth, columns;
    int exchanged;
};

static struct winograd_kernel winograd_kernel(const fc_tensor *w, int64_t exchanged)
{
    int64_t C = w->dim[2], K = w->dim[3];
    return (struct winograd_kernel){w->data,       C, K, exchanged ? K : C, exchanged ? C : K,
                                    (int)exchanged};
}

/* Rows [row, row + FILTER_ROWS) of a panel's U; those of plane xi go to u + xi * plane. */
static void winograd_transform_block(const struct winograd_kernel *w, int64_t panel, int64_t row,
                                     float *u, int64_t plane)
{
    float from[9][FILTER_ROWS][PANEL_COLUMNS], to[WINOGRAD_POINTS][FILTER_ROWS][PANEL_COLUMNS];
    int64_t row_step = w->exchanged ? 1 : w->K, column_step = w->exchanged ? w->K : 1;
    int64_t column = panel * PANEL_COLUMNS, columns = min_i64(PANEL_COLUMNS, w->columns - column);
    int64_t rows = min_i64(FILTER_ROWS, w->depth - row);
    const float *first = w->filters + row * row_step + column * column_step;
    for (int tap = 0; tap < 9; tap++)
        gather_filters(from[w->exchanged ? 8 - tap : tap], first + tap * w->C * w->K, rows, columns,
                       row_step, column_step);
    for (int64_t i = 0; i < rows * PANEL_COLUMNS; i += FC_LANES)
        winograd_transform(&from[0][0][0] + i, &to[0][0][0] + i);
    /* Planes lie powers of two apart, which fall on one set of a cache: whole rows at a time. */
    for (int xi = 0; xi < WINOGRAD_POINTS; xi++)
        memcpy(u + xi * plane, to[xi], (size_t)rows * sizeof to[0][0]);
}

/* u[36][panels][depth][PANEL_COLUMNS] */
FC_DEFINE(f32_transform_filters)
{
    FC_ATTRS(f32_transform_filters);
    const struct winograd_kernel w = winograd_kernel(call->in, attrs->exchanged);
    int64_t panels = ceil_div(w.columns, PANEL_COLUMNS), blocks = ceil_div(w.depth, FILTER_ROWS);
    int64_t begin, end;
    float *u = call->out[0].data;
    share(panels * blocks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item % blocks * FILTER_ROWS, panel = item / blocks;
        winograd_transform_block(&w, panel, row, u + (panel * w.depth + row) * PANEL_COLUMNS,
                                 panels * w.depth * PANEL_COLUMNS);
    }
    return FCNN_OK;
}

enum { WINOGRAD_TRAIN_SHARED = 16 << 20 }; /* bytes of V at most */

static int64_t winograd_train_tiles(const struct winograd *g)
{
    int64_t block = WINOGRAD_POINTS * WINOGRAD_TILES * g->v_row * (int64_t)sizeof(float);
    int64_t blocks = max_i64(1, WINOGRAD_TRAIN_SHARED / block);
    return min_i64(blocks, ceil_div(g->tiles, WINOGRAD_TILES)) * WINOGRAD_TILES;
}

/* Floats of one thread: a panel of U, then M. */
static int64_t winograd_train_own(const struct winograd *g)
{
    return WINOGRAD_POINTS * (g->C * PANEL_COLUMNS + g->m_plane);
}

FC_DEFINE_PLAN(f32_winograd_train_conv2d)
{
    FC_ATTRS(f32_winograd_train_conv2d);
    const struct winograd g = winograd_of(call, attrs->pad_top, attrs->pad_left);
    int64_t v = WINOGRAD_POINTS * winograd_v_plane(&g, winograd_train_tiles(&g));
    return (v + nthreads * winograd_train_own(&g)) * (int64_t)sizeof(float);
}

/* All patches at hand with one panel of filters, which is made here. */
static void winograd_train_panel(const struct winograd *g, const struct winograd_kernel *w,
                                 int64_t panel, int64_t base, int64_t tiles, const float *v,
                                 float *u, float *m)
{
    struct winograd one = *g;
    one.u = u;
    one.panels = 1;
    for (int64_t row = 0; row < w->depth; row += FILTER_ROWS)
        winograd_transform_block(w, panel, row, u + row * PANEL_COLUMNS, w->depth * PANEL_COLUMNS);
    for (int64_t t = 0; t < tiles; t += WINOGRAD_TILES) {
        int64_t count = min_i64(WINOGRAD_TILES, tiles - t), begin = panel * PANEL_COLUMNS;
        winograd_multiply(&one, v + t * g->v_row, count, 0, 1, m);
        for (int64_t i = 0; i < count; i++) {
            struct winograd_patch at = winograd_patch(g, base + t + i);
            int64_t pixel = ((at.n * g->P + at.h) * g->Q + at.w) * g->K;
            for (int64_t k = begin; k < min_i64(begin + PANEL_COLUMNS, g->K); k += FC_LANES)
                winograd_patch_out(g, m + i * WINOGRAD_COLUMNS + k - begin, at.h, at.w, pixel + k,
                                   k, min_i64(FC_LANES, g->K - k));
        }
    }
}

FC_DEFINE(f32_winograd_train_conv2d)
{
    FC_ATTRS(f32_winograd_train_conv2d);
    struct winograd g = winograd_of(call, attrs->pad_top, attrs->pad_left);
    const struct winograd_kernel w = winograd_kernel(call->in + 1, attrs->exchanged);
    g.epilogue = (struct epilogue)EPILOGUE(call);
    int64_t at_once = winograd_train_tiles(&g), begin, end;
    g.v_plane = winograd_v_plane(&g, at_once);
    float *v = (float *)call->scratch;
    float *u = v + WINOGRAD_POINTS * g.v_plane + tid * winograd_train_own(&g);
    float *m = u + WINOGRAD_POINTS * g.C * PANEL_COLUMNS;
    for (int64_t base = 0; base < g.tiles; base += at_once) {
        int64_t tiles = min_i64(at_once, g.tiles - base);
        share(tiles, tid, nthreads, &begin, &end);
        winograd_input(&g, base + begin, end - begin, v + begin * g.v_row);
        fc_sync(call);
        share(g.panels, tid, nthreads, &begin, &end);
        for (int64_t panel = begin; panel < end; panel++)
            winograd_train_panel(&g, &w, panel, base, tiles, v, u, m);
        fc_sync(call);
    }
    return FCNN_OK;
}
