/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's F(4x4, 3x3) where filters change in every step. Small filters are transformed before the
 * convolution, large ones panel by panel inside it: four times as many numbers as the filters have
 * then never leave the caches.
 */

enum { WINOGRAD_TRAIN_SHARED = 16 << 20 }; /* bytes of V at most */

static struct winograd winograd_train_of(const fc_call *call, int64_t pad_top, int64_t pad_left)
{
    struct winograd g = winograd_of(call, 4, 3, pad_top, pad_left);
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
