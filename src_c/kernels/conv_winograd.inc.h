/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's F(m x m, r x r) on NHWC: m x m outputs of a convolution of r x r taps from (m + r - 1)^2
 * products. F(4x4, 3x3) takes 36 where the sum has 144, F(3x3, 4x4) too, F(2x2, 5x5) 36 for 100 and
 * F(2x2, 3x3) 16 for 36 (A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015).
 *
 *   V = B' d B   of every patch d, of m + r - 1 pixels squared, per channel  (input transform)
 *   M = U V      one matrix product over the channels for every point  (with panels of panel.inc.h)
 *   y = A' M A   m x m pixels, then bias, residual, bounds             (output transform)
 *
 * of whole patches; the last row and column of them have fewer (conv_winograd_input.inc.h). Stored are all,
 * or the largest of every 2 x 2 pixels, where a pool of such windows is all that would read them.
 *
 * The points are 0, +-sqrt(2), +-1/sqrt(2) and infinity where there are six, which lose least to
 * rounding, and 0, +-1 and infinity where there are four. Work goes in blocks of patches whose V and M
 * stay in a core's cache.
 */
enum {
    WINOGRAD_TILES = 4,         /* of rows in a block of a thread's own at most, and 2 at least, */
    WINOGRAD_CACHE = 256 << 10, /* between which V and M fill so many bytes */
    WINOGRAD_SHARED = 4 << 20,  /* bytes of V that threads share at most, */
    WINOGRAD_ROWS = 36,         /* and about how many rows of it a block takes */
    WINOGRAD_ITEMS = 4,         /* and how many blocks of a group each thread finds at least */
    WINOGRAD_OWN = 48,          /* patches of a thread at least that keeps them to itself */
    WINOGRAD_SKEW = 16,         /* floats between planes: strides off powers of two */
};

/* y = A' a for m outputs; points that a short patch lacks are zero. */
FC_INLINE void winograd_inverse(const vf *a, vf *y, const int m, const int edge)
{
    vf sum = v_add(a[1], a[2]), difference = v_sub(a[1], a[2]);
    if (edge == 4) {
        y[0] = v_add(a[0], sum);
        if (m == 2)
            y[1] = difference;
        y[m - 1] = v_add(y[m - 1], a[3]);
        return;
    }
    vf sum2 = v_add(a[3], a[4]);
    vf difference2 = v_mul(v_set1(SQRT2 / 2), v_sub(a[3], a[4]));
    difference = v_mul(v_set1(SQRT2), difference);
    y[0] = v_add(a[0], v_add(sum, sum2));
    if (m > 1)
        y[1] = v_add(difference, difference2);
    if (m > 2)
        y[2] = v_fma(v_set1(2.0f), sum, v_mul(v_set1(0.5f), sum2));
    if (m == 4)
        y[3] = v_fma(v_set1(2.0f), difference, v_fma(v_set1(0.5f), difference2, a[5]));
    else
        y[m - 1] = v_add(y[m - 1], a[5]);
}

/* Products of one point with `columns` filters; v and u of p are the point's, and m. V of the next point
 * is asked for meanwhile where it is given; p tells of filters. */
static void winograd_plane(struct winograd_product p, int64_t count, int64_t columns,
                           const float *v_next)
{
    int64_t panel = p.depth * PANEL_COLUMNS;
    const float *u = p.u;
    float *m = p.m;
    for (int64_t k = 0; k < columns; k += PANEL_STRIP) {
        p.u = u + k / PANEL_COLUMNS * panel + k % PANEL_COLUMNS;
        p.v_next = k + PANEL_STRIP >= columns ? v_next : NULL;
        p.u_next = p.lines ? p.u + max_i64(1, PANEL_STRIP / PANEL_COLUMNS) * panel : NULL;
        p.m = m + k;
        p.vectors = columns - k > FC_LANES ? 2 : 1;
        winograd_strip(&p, count);
    }
}

/* How far a block's outputs have been asked for: rows of pixels, patch by patch. */
struct winograd_expected {
    struct winograd_patch at;
    int64_t row, done;
};

/* Ask for what the block's outputs of a group will touch, as far as `until` rows. */
static void winograd_expect_outputs(const struct winograd *g, int64_t group, int64_t until,
                                    struct winograd_expected *e)
{
    const float *residual = g->epilogue.residual;
    const int half = g->pool == 2;
    int64_t k = group * WINOGRAD_COLUMNS, columns = min_i64(WINOGRAD_COLUMNS, g->K - k);
    int64_t side = g->m >> half, P = g->P >> half, Q = g->Q >> half;
    for (; e->done < until; e->done++) {
        int64_t h = (e->at.h >> half) + e->row, first = e->at.w >> half;
        int64_t last = h < P ? min_i64(first + side, Q) : 0;
        for (int64_t w = first; w < last; w++)
            for (int64_t i = 0; i < columns; i += LINE_FLOATS) {
                int64_t to = ((e->at.n * P + h) * Q + w) * g->y_pixel + k + i;
                __builtin_prefetch(g->y + to, 1);
                if (residual && residual != g->y)
                    __builtin_prefetch(residual + to);
            }
        if (++e->row < side)
            continue;
        e->row = 0;
        winograd_step(g, &e->at);
    }
}

/* Floats of the filters of one group at one point. */
static int64_t winograd_filters_of_plane(const struct winograd *g)
{
    return WINOGRAD_PANELS * g->C * PANEL_COLUMNS;
}

/* m[points][count][WINOGRAD_COLUMNS] of a block's patches for one group of panels, that at u. Meanwhile
 * its outputs are asked for. `far` tells that no near cache holds v and u. */
static void winograd_multiply(const struct winograd *g, const float *v, const float *u,
                              struct winograd_patches block, int64_t group, int far, float *m)
{
    int64_t columns = min_i64(WINOGRAD_COLUMNS, g->K - group * WINOGRAD_COLUMNS);
    int64_t rows = block.count * (g->m / g->pool), filters = winograd_filters_of_plane(g);
    struct winograd_expected expected = {.at = winograd_patch(g, block.tile)};
    struct winograd_product product = {.v_row = g->v_row, .m_row = WINOGRAD_COLUMNS, .depth = g->C};
    struct winograd_patches here = winograd_of_point(g, 0, block), next;
    for (int64_t xi = 0; xi < g->points; xi++, here = next) {
        const float *v_next = NULL;
        int64_t first = here.tile - block.tile;
        next = winograd_of_point(g, xi + 1, block);
        winograd_expect_outputs(g, group, rows * (xi + 1) / g->points, &expected);
        product.v = v + first * g->v_row;
        product.u = u;
        product.m = m + first * WINOGRAD_COLUMNS;
        if (far) {
            int64_t tiles = max_i64(1, ceil_div(here.count, FC_PANEL_ROWS));
            product.part = g->C / tiles * PANEL_COLUMNS;
            product.lines = ceil_div(WINOGRAD_FETCH, tiles);
            v_next = v + g->v_plane + (next.tile - block.tile) * g->v_row;
        }
        winograd_plane(product, here.count, columns, v_next);
        v += g->v_plane;
        u += filters;
        m += g->m_plane;
    }
}

/* t[m][edge] = A' M of one patch, zero for points that it lacks; `from` is its first product. */
FC_INLINE void winograd_out_columns(const struct winograd *g, const float *from, int64_t tall,
                                    int64_t wide, vf t[4][6], const int m, const int edge)
{
#pragma GCC unroll 6
    for (int j = 0; j < edge; j++) {
        vf column[6], outputs[4];
#pragma GCC unroll 6
        for (int i = 0; i < edge; i++) {
            int there = winograd_has(i, tall, edge) && winograd_has(j, wide, edge);
            column[i] = there ? v_load(from + (edge * i + j) * g->m_plane) : v_zero();
        }
        winograd_inverse(column, outputs, m, edge);
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
            t[i][j] = outputs[i];
    }
}

/* `rows` rows of its m pixels, or the largest of every 2 x 2, n channels from k on, at y + at. */
FC_INLINE void winograd_out_rows(const struct winograd *g, vf t[4][6], int64_t at, int64_t k,
                                 int64_t n, int64_t rows, const int m, const int edge,
                                 const int pool)
{
    const struct epilogue *e = &g->epilogue;
    const vf lower = v_set1(e->lower), upper = v_set1(e->upper);
    const vf bias = e->bias ? load_lanes(e->bias + k, n) : v_zero();
    const float *residual = e->residual ? e->residual + at : NULL;
    const int64_t y_pixel = g->y_pixel, y_row = g->Q / pool * y_pixel;
    float *y = g->y + at;
    vf best[2] = {v_zero(), v_zero()};
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        vf outputs[4];
        winograd_inverse(t[i], outputs, m, edge);
#pragma GCC unroll 4
        for (int j = 0; j < m; j++) {
            int64_t to = i / pool * y_row + j / pool * y_pixel;
            if (pool == 2) {
                best[j / 2] = i % 2 || j % 2 ? v_largest(best[j / 2], outputs[j]) : outputs[j];
                if (i % 2 == 0 || j % 2 == 0)
                    continue;
            }
            vf value = v_add(pool == 2 ? best[j / 2] : outputs[j], bias);
            if (residual)
                value = v_add(value, load_lanes(residual + to, n));
            store_lanes(y + to, v_min(upper, v_max(lower, value)), n);
        }
    }
}

/* Form(m, edge) with constants, of the numbers of outputs that patches have each way. */
#define FC_WINOGRAD_OUTPUTS(m, edge, form)                                                         \
    do {                                                                                           \
        if (edge == 4 && m == 1)                                                                   \
            form(1, 4);                                                                            \
        else if (edge == 4)                                                                        \
            form(2, 4);                                                                            \
        else if (m == 1)                                                                           \
            form(1, 6);                                                                            \
        else if (m == 2)                                                                           \
            form(2, 6);                                                                            \
        else if (m == 3)                                                                           \
            form(3, 6);                                                                            \
        else                                                                                       \
            form(4, 6);                                                                            \
    } while (0)

/* The outputs of a short patch, n channels from k on. */
FC_APART void winograd_short_out(const struct winograd *g, const struct winograd_patch *patch,
                                 const float *from, int64_t at, int64_t k, int64_t n)
{
    vf t[4][6];
    const int64_t tall = patch->tall, wide = patch->wide;
    const int64_t rows = tall - g->r + 1, columns = wide - g->r + 1;
#define FC_WINOGRAD_COLUMNS(m, edge) winograd_out_columns(g, from, tall, wide, t, m, edge)
    FC_WINOGRAD_OUTPUTS(rows, g->edge, FC_WINOGRAD_COLUMNS);
#undef FC_WINOGRAD_COLUMNS
#define FC_WINOGRAD_ROWS(m, edge) winograd_out_rows(g, t, at, k, n, rows, m, edge, 1)
#define FC_WINOGRAD_POOLED(m, edge) winograd_out_rows(g, t, at, k, n, rows, m, edge, 2)
    if (g->pool == 1)
        FC_WINOGRAD_OUTPUTS(columns, g->edge, FC_WINOGRAD_ROWS);
    else
        FC_WINOGRAD_OUTPUTS(columns, g->edge, FC_WINOGRAD_POOLED);
#undef FC_WINOGRAD_POOLED
#undef FC_WINOGRAD_ROWS
}

/* The outputs of one patch, n channels from k on. */
FC_INLINE void winograd_patch_out(const struct winograd *g, const struct winograd_patch *patch,
                                  const float *from, int64_t at, int64_t k, int64_t n, const int m,
                                  const int edge, const int pool)
{
    if (patch->tall == edge && patch->wide == edge) {
        vf t[4][6];
        winograd_out_columns(g, from, edge, edge, t, m, edge);
        winograd_out_rows(g, t, at, k, n, m, m, edge, pool);
    } else {
        winograd_short_out(g, patch, from, at, k, n);
    }
}

FC_INLINE void winograd_output_body(const struct winograd *g, struct winograd_patches block,
                                    int64_t group, const float *from, const int m, const int edge,
                                    const int pool)
{
    int64_t begin = group * WINOGRAD_COLUMNS, end = min_i64(begin + WINOGRAD_COLUMNS, g->K);
    struct winograd_patch at = winograd_patch(g, block.tile);
    for (int64_t i = 0; i < block.count; i++, from += WINOGRAD_COLUMNS, winograd_step(g, &at)) {
        int64_t row = at.n * (g->P / pool) + at.h / pool;
        int64_t pixel = (row * (g->Q / pool) + at.w / pool) * g->y_pixel;
        for (int64_t k = begin; k < end; k += FC_LANES) {
            if (end - k >= FC_LANES)
                winograd_patch_out(g, &at, from + k - begin, pixel + k, k, FC_LANES, m, edge, pool);
            else
                winograd_patch_out(g, &at, from + k - begin, pixel + k, k, end - k, m, edge, pool);
        }
    }
}

#define FC_WINOGRAD_OUTPUT(m, r)                                                                   \
    static void winograd_output_##m##_##r(const struct winograd *g, struct winograd_patches block, \
                                          int64_t group, const float *from)                        \
    {                                                                                              \
        if (m % 2 == 0 && g->pool == 2)                                                            \
            winograd_output_body(g, block, group, from, m, m + r - 1, 2);                          \
        else                                                                                       \
            winograd_output_body(g, block, group, from, m, m + r - 1, 1);                          \
    }
FC_FOR_WINOGRAD(FC_WINOGRAD_OUTPUT)
#undef FC_WINOGRAD_OUTPUT

typedef void (*winograd_output_fn)(const struct winograd *, struct winograd_patches, int64_t group,
                                   const float *from);
#define FC_WINOGRAD_OUTPUT(m, r) [m][r] = winograd_output_##m##_##r,
static const winograd_output_fn winograd_outputs[WINOGRAD_M + 1][WINOGRAD_R + 1] = {
    FC_FOR_WINOGRAD(FC_WINOGRAD_OUTPUT)};
#undef FC_WINOGRAD_OUTPUT

static void winograd_output(const struct winograd *g, struct winograd_patches block, int64_t group,
                            const float *from)
{
    winograd_outputs[g->m][g->r](g, block, group, from);
}

/* Of P outputs, odd behind a pool: a last patch of one that no window takes is left out, and a longer one
 * is cut as if all were stored, so that the others round as they would. */
static int64_t winograd_pooled(int64_t P, int64_t m) { return P % m == 1 ? P - 1 : P; }

/* For y; winograd_planned knows of pools. */
static struct winograd winograd_of(const fc_call *call, int64_t m, int64_t r, int64_t pad_top,
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
        .m = m,
        .r = r,
        .pool = 1,
        .x_pixel = x->ld,
        .y_pixel = y->ld,
        .x = x->data,
        .u = call->in[1].data,
        .y = y->data,
    };
    winograd_lay(&g);
    g.groups = ceil_div(g.K, WINOGRAD_COLUMNS);
    /* Rows 4 KB apart would fall on one set of the cache. */
    g.v_row = ceil_div(g.C, FC_LANES) * FC_LANES + (g.C % 512 == 0 ? WINOGRAD_SKEW : 0);
    return g;
}

/* With few patches or filters too large for a core's cache all threads transform patches together,
 * so that a core can take a range of filters; otherwise each keeps its own patches. */
static int winograd_shares(const struct winograd *g, int nthreads)
{
    return g->tiles < nthreads * WINOGRAD_OWN || g->C * g->K > 192 * 192;
}

/* Cut into blocks of whole tiles of rows: alone, as many as leave V and M in a small L2; where V is
 * shared and comes from far anyway, so many that filters come seldom. */
static void winograd_cut(struct winograd *g, int shares)
{
    int64_t row = g->points * g->v_row * (int64_t)sizeof(float);
    int64_t bytes = g->points * (g->C + WINOGRAD_COLUMNS) * (int64_t)sizeof(float);
    int64_t fit = max_i64(2, WINOGRAD_CACHE / bytes / FC_PANEL_ROWS);
    int64_t tiles = shares ? ceil_div(WINOGRAD_ROWS, FC_PANEL_ROWS) : min_i64(fit, WINOGRAD_TILES);
    g->block = FC_PANEL_ROWS * tiles;
    g->m_plane = g->block * WINOGRAD_COLUMNS + WINOGRAD_SKEW;
    g->at_once = g->block;
    if (shares) {
        int64_t blocks = max_i64(1, WINOGRAD_SHARED / (g->block * row));
        g->at_once *= min_i64(blocks, ceil_div(g->tiles, g->block));
    }
    g->v_plane = g->at_once * g->v_row + WINOGRAD_SKEW;
}

/* Smaller blocks, of nearly the same size, where there are few of them for so many threads; less than
 * a whole tile of rows only where a thread would stand still. */
static int64_t winograd_block(const struct winograd *g, int64_t tiles, int nthreads)
{
    int64_t all = ceil_div(tiles, FC_PANEL_ROWS), most = g->block / FC_PANEL_ROWS;
    int64_t wanted = ceil_div(WINOGRAD_ITEMS * nthreads, g->groups);
    int64_t blocks = max_i64(ceil_div(all, most), min_i64(wanted, ceil_div(all, 2)));
    int64_t block = min_i64(tiles, FC_PANEL_ROWS * ceil_div(all, blocks));
    int64_t items = g->groups * ceil_div(tiles, block);
    while (items < 2 * nthreads && items % nthreads && block >= 2 * WINOGRAD_LEAST) {
        block = ceil_div(block, 2);
        items = g->groups * ceil_div(tiles, block);
    }
    return block;
}

/* Filters have as many points as a patch has pixels, (m + r - 1)^2: 6 x 6 or 4 x 4. */
static struct winograd winograd_planned(const fc_call *call)
{
    FC_ATTRS(f32_winograd_conv2d);
    int64_t edge = call->in[1].dim[1] == 36 ? 6 : 4, m = attrs->tile;
    struct winograd g = winograd_of(call, m, edge - m + 1, attrs->pad_top, attrs->pad_left);
    if (attrs->pool == 2) {
        g.pool = 2;
        g.P = winograd_pooled(2 * g.P + attrs->odd_h, m);
        g.Q = winograd_pooled(2 * g.Q + attrs->odd_w, m);
        winograd_lay(&g);
    }
    return g;
}

FC_DEFINE_PLAN(f32_winograd_conv2d)
{
    struct winograd g = winograd_planned(call);
    int64_t alone, shared; /* a run may have fewer threads than planned for, and choose otherwise */
    winograd_cut(&g, 0);
    alone = nthreads * (g.v_plane + g.m_plane);
    winograd_cut(&g, 1);
    shared = g.v_plane + nthreads * g.m_plane;
    return g.points * max_i64(alone, shared) * (int64_t)sizeof(float);
}

static void winograd_alone(const struct winograd *g, float *v, float *m, int tid, int nthreads)
{
    fc_work work = fc_open(ceil_div(g->tiles, FC_PANEL_ROWS), tid, nthreads);
    while (fc_take(&work)) {
        int64_t rows = work.end - work.begin, most = g->block / FC_PANEL_ROWS;
        int64_t blocks = ceil_div(rows, most);
        for (int64_t i = 0; i < blocks; i++) {
            int64_t begin = (work.begin + rows * i / blocks) * FC_PANEL_ROWS;
            int64_t end = (work.begin + rows * (i + 1) / blocks) * FC_PANEL_ROWS;
            const struct winograd_patches block = {begin, min_i64(end, g->tiles) - begin};
            winograd_input(g, block, v);
            for (int64_t group = 0; group < g->groups; group++) {
                const float *u = g->u + group * g->points * winograd_filters_of_plane(g);
                winograd_multiply(g, v, u, block, group, 0, m);
                winograd_output(g, block, group, m);
            }
        }
    }
}

static void winograd_together(const fc_call *call, const struct winograd *g, float *v, float *m,
                              int tid, int nthreads)
{
    for (int64_t base = 0; base < g->tiles; base += g->at_once) {
        int64_t tiles = min_i64(g->at_once, g->tiles - base);
        int64_t block = winograd_block(g, tiles, nthreads), blocks = ceil_div(tiles, block);
        fc_work work = fc_open(tiles, tid, nthreads);
        while (fc_take(&work))
            winograd_input(g, (struct winograd_patches){base + work.begin, work.end - work.begin},
                           v + work.begin * g->v_row);
        fc_sync(call);
        work = fc_open(g->groups * blocks, tid, nthreads);
        while (fc_take(&work))
            for (int64_t item = work.begin; item < work.end; item++) {
                int64_t group = item / blocks, t = item % blocks * block;
                const struct winograd_patches at = {base + t, min_i64(block, tiles - t)};
                const float *u = g->u + group * g->points * winograd_filters_of_plane(g);
                winograd_multiply(g, v + t * g->v_row, u, at, group, 1, m);
                winograd_output(g, at, group, m);
            }
        fc_sync(call);
    }
}

FC_DEFINE(f32_winograd_conv2d)
{
    FC_ATTRS(f32_winograd_conv2d);
    struct winograd g = winograd_planned(call);
    int shares = winograd_shares(&g, nthreads);
    winograd_cut(&g, shares);
    g.epilogue = (struct epilogue)EPILOGUE(call);
    float *m = (float *)call->scratch + tid * g.points * g.m_plane;
    float *v = (float *)call->scratch + nthreads * g.points * g.m_plane;
    if (shares)
        winograd_together(call, &g, v, m, tid, nthreads);
    else
        winograd_alone(&g, v + tid * g.points * g.v_plane, m, tid, nthreads);
    return FCNN_OK;
}
