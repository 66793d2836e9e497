/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's F(4x4, 3x3) where filters change in every step: they are transformed in float, forward
 * or with inputs and outputs exchanged for the gradient of the input. Small filters are transformed
 * before the convolution, large ones panel by panel inside it: four times as many numbers as the
 * filters have then never leave the caches.
 */

/* G g for three values of a filter: see winograd_g4. */
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

enum { FILTER_BLOCK = FILTER_ROWS * PANEL_COLUMNS, WINOGRAD_TRAIN_POINTS = 36 };

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
    float from[9][FILTER_ROWS][PANEL_COLUMNS],
        to[WINOGRAD_TRAIN_POINTS][FILTER_ROWS][PANEL_COLUMNS];
    int64_t row_step = w->exchanged ? 1 : w->K, column_step = w->exchanged ? w->K : 1;
    int64_t column = panel * PANEL_COLUMNS,
            columns = max_i64(0, min_i64(PANEL_COLUMNS, w->columns - column));
    int64_t rows = min_i64(FILTER_ROWS, w->depth - row);
    const float *first = w->filters + row * row_step + column * column_step;
    for (int tap = 0; tap < 9; tap++)
        gather_filters(from[w->exchanged ? 8 - tap : tap], first + tap * w->C * w->K, rows, columns,
                       row_step, column_step);
    for (int64_t i = 0; i < rows * PANEL_COLUMNS; i += FC_LANES)
        winograd_transform(&from[0][0][0] + i, &to[0][0][0] + i);
    /* Planes lie powers of two apart, which fall on one set of a cache: whole rows at a time. */
    for (int xi = 0; xi < WINOGRAD_TRAIN_POINTS; xi++)
        memcpy(u + xi * plane, to[xi], (size_t)rows * sizeof to[0][0]);
}

/* u[groups][36][WINOGRAD_PANELS][depth][PANEL_COLUMNS] */
FC_DEFINE(f32_transform_filters)
{
    FC_ATTRS(f32_transform_filters);
    const struct winograd_kernel w = winograd_kernel(call->in, attrs->exchanged);
    int64_t panels = ceil_div(w.columns, WINOGRAD_COLUMNS) * WINOGRAD_PANELS, begin, end;
    int64_t blocks = ceil_div(w.depth, FILTER_ROWS), size = w.depth * PANEL_COLUMNS;
    float *u = call->out[0].data;
    share(panels * blocks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item % blocks * FILTER_ROWS, panel = item / blocks;
        int64_t group = panel / WINOGRAD_PANELS, in_group = panel % WINOGRAD_PANELS;
        float *to = u + (group * WINOGRAD_TRAIN_POINTS * WINOGRAD_PANELS + in_group) * size;
        winograd_transform_block(&w, panel, row, to + row * PANEL_COLUMNS, WINOGRAD_PANELS * size);
    }
    return FCNN_OK;
}

enum { WINOGRAD_TRAIN_SHARED = 16 << 20 }; /* bytes of V at most */

static struct winograd winograd_train_of(const fc_call *call, int64_t pad_top, int64_t pad_left)
{
    struct winograd g = winograd_of(call, 4, pad_top, pad_left);
    winograd_cut(&g, 1);
    int64_t block = g.points * g.block * g.v_row * (int64_t)sizeof(float);
    int64_t blocks = max_i64(1, WINOGRAD_TRAIN_SHARED / block);
    g.at_once = g.block * min_i64(blocks, max_i64(1, ceil_div(g.tiles, g.block)));
    g.v_plane = g.at_once * g.v_row + WINOGRAD_SKEW;
    return g;
}

/* Floats of one thread: U of one group of panels, then M. */
static int64_t winograd_train_own(const struct winograd *g)
{
    return g->points * (g->C * WINOGRAD_COLUMNS + g->m_plane);
}

FC_DEFINE_PLAN(f32_winograd_train_conv2d)
{
    FC_ATTRS(f32_winograd_train_conv2d);
    const struct winograd g = winograd_train_of(call, attrs->pad_top, attrs->pad_left);
    return (g.points * g.v_plane + nthreads * winograd_train_own(&g)) * (int64_t)sizeof(float);
}

/* All patches at hand with one group of panels, whose U is made here. */
static void winograd_train_group(const struct winograd *g, const struct winograd_kernel *w,
                                 int64_t group, int64_t base, int64_t tiles, const float *v,
                                 float *u, float *m)
{
    int64_t size = w->depth * PANEL_COLUMNS;
    for (int64_t panel = 0; panel < WINOGRAD_PANELS; panel++)
        for (int64_t row = 0; row < w->depth; row += FILTER_ROWS)
            winograd_transform_block(w, group * WINOGRAD_PANELS + panel, row,
                                     u + panel * size + row * PANEL_COLUMNS,
                                     WINOGRAD_PANELS * size);
    for (int64_t t = 0; t < tiles; t += g->block) {
        const struct winograd_patches at = {base + t, min_i64(g->block, tiles - t)};
        winograd_multiply(g, v + t * g->v_row, u, at, group, 1, m);
        winograd_output(g, at, group, m);
    }
}

FC_DEFINE(f32_winograd_train_conv2d)
{
    FC_ATTRS(f32_winograd_train_conv2d);
    struct winograd g = winograd_train_of(call, attrs->pad_top, attrs->pad_left);
    const struct winograd_kernel w = winograd_kernel(call->in + 1, attrs->exchanged);
    g.epilogue = (struct epilogue)EPILOGUE(call);
    float *v = (float *)call->scratch;
    float *u = v + g.points * g.v_plane + tid * winograd_train_own(&g);
    float *m = u + g.points * g.C * WINOGRAD_COLUMNS;
    for (int64_t base = 0; base < g.tiles; base += g.at_once) {
        int64_t tiles = min_i64(g.at_once, g.tiles - base);
        fc_work work = fc_open(tiles, tid, nthreads);
        while (fc_take(&work))
            winograd_input(&g, (struct winograd_patches){base + work.begin, work.end - work.begin},
                           v + work.begin * g.v_row);
        fc_sync(call);
        work = fc_open(g.groups, tid, nthreads);
        while (fc_take(&work))
            for (int64_t group = work.begin; group < work.end; group++)
                winograd_train_group(&g, &w, group, base, tiles, v, u, m);
        fc_sync(call);
    }
    return FCNN_OK;
}
