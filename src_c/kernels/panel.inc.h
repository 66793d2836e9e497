/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The product under packed convolutions: y[i][:] = sum over k of a[i][k] * b[k][:] for up to
 * FC_PANEL_ROWS rows i and a strip of up to two vectors of columns.
 *
 * A panel is PANEL_COLUMNS columns of a matrix, laid out as it is read, (depth, PANEL_COLUMNS), zero
 * where the matrix has no more columns: loads need no masks, only stores do. It looks the same to all
 * instruction sets, and a row of it is a line of the cache: the strip of AVX-512 is two panels side by
 * side, that of AVX2 one, those of plain C are parts of one. One function is compiled for each number
 * of rows, so that a tail costs what it holds.
 */
enum {
    PANEL_COLUMNS = 16,
    PANEL_STRIP = 2 * FC_LANES,
    PANEL_BATCH = 64, /* rows of a panel, a page of 4 KB */
    /* Rows at a time that lie whole pages apart: as many as a set of the nearest cache has lines. */
    PANEL_ROWS_APART = FC_PANEL_ROWS < 8 ? FC_PANEL_ROWS : 8,
};

/* From the first vector of a strip to its second, in panels of `depth` rows. */
static inline int64_t panel_second(int64_t depth)
{
    return FC_LANES < PANEL_COLUMNS ? FC_LANES : depth * PANEL_COLUMNS;
}

/* acc[i][v] += a[i][k] * b[k][v] over k < depth; the second vector lies `second` behind the first, and
 * of a `half` one the lower lanes alone are wanted. Rows of b are asked for `ahead` of their turn where
 * all of them come from far; where a near cache has them, that would cost more than it gains (0). */
FC_INLINE void panel_multiply_lanes(vf acc[FC_PANEL_ROWS][2], const float *const *a, const float *b,
                                    int64_t second, int64_t depth, const int ahead, const int rows,
                                    const int vectors, const int half)
{
#pragma GCC unroll 4
    for (int64_t k = 0; k < depth; k++) {
        const float *row = b + k * PANEL_COLUMNS;
        vf b0 = v_load(row), b1 = vectors == 2 ? v_load(row + second) : b0;
        if (ahead)
            __builtin_prefetch(row + ahead * PANEL_COLUMNS);
        if (ahead && FC_LANES == PANEL_COLUMNS && vectors == 2)
            __builtin_prefetch(row + second + ahead * PANEL_COLUMNS);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            vf value = v_set1(a[i][k]);
            acc[i][0] = v_fma(value, b0, acc[i][0]);
            if (vectors == 2)
                acc[i][1] = half ? v_fma_low(value, b1, acc[i][1]) : v_fma(value, b1, acc[i][1]);
        }
    }
}

/* The same of whole vectors. */
FC_INLINE void panel_multiply(vf acc[FC_PANEL_ROWS][2], const float *const *a, const float *b,
                              int64_t second, int64_t depth, const int ahead, const int rows,
                              const int vectors)
{
    panel_multiply_lanes(acc, a, b, second, depth, ahead, rows, vectors, 0);
}

/* Ask for one row of a strip that comes from far, whose second vector may be a line of its own. */
FC_INLINE void panel_fetch(const float *row, int64_t second, const int vectors)
{
    __builtin_prefetch(row, 0, 2);
    if (FC_LANES == PANEL_COLUMNS && vectors == 2)
        __builtin_prefetch(row + second, 0, 2);
}

/* The same for a strip that serves many tiles, of which each fetches one part in `parts` of the strip
 * that follows, from `next` on. Prefetchers of processors stop at every page. Lines are asked for in
 * batches, which does not slow down the products in between. */
FC_INLINE void panel_multiply_fetching(vf acc[FC_PANEL_ROWS][2], const float *const *a,
                                       const float *b, int64_t second, int64_t depth,
                                       const float *next, int64_t parts, const int rows,
                                       const int vectors)
{
    for (int64_t k = 0; k < depth; k += PANEL_BATCH) {
        const float *batch[FC_PANEL_ROWS], *line = next + k / parts * PANEL_COLUMNS;
        int64_t count = min_i64(PANEL_BATCH, depth - k);
        for (int64_t i = 0; i < count; i += parts, line += PANEL_COLUMNS)
            panel_fetch(line, second, vectors);
        for (int i = 0; i < rows; i++)
            batch[i] = a[i] + k;
        panel_multiply(acc, batch, b + k * PANEL_COLUMNS, second, count, 0, rows, vectors);
    }
}

FC_INLINE void panel_zero(vf acc[FC_PANEL_ROWS][2], const int rows)
{
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = v_zero();
}

/* What happens to a sum before it is stored: y = min(max(sum + bias + residual, lower), upper), in
 * this order of operands, so that a NaN stays one. */
struct epilogue {
    const float *bias;     /* (K), or NULL */
    const float *residual; /* as y, or NULL */
    float lower, upper;
};

/* Ask for what panel_store will touch when it has come `ahead` floats further: rows of y, and of the
 * residual. A short sum is over before they are there if it asks for its own. */
FC_INLINE void panel_expect(const struct epilogue *e, const float *y, const int64_t *at,
                            int64_t ahead, const int rows, const int vectors)
{
    const int columns = vectors * FC_LANES;
#pragma GCC unroll 2
    for (int c = 0; c < columns; c += PANEL_COLUMNS) /* a line of the cache */
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
            __builtin_prefetch(y + at[i] + ahead + c, 1);
    if (!e->residual)
        return;
#pragma GCC unroll 2
    for (int c = 0; c < columns; c += PANEL_COLUMNS)
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
            __builtin_prefetch(e->residual + at[i] + ahead + c);
}

FC_INLINE void panel_store_body(vf acc[FC_PANEL_ROWS][2], const struct epilogue *e, float *y,
                                const int64_t *at, int64_t columns, const int rows,
                                const int vectors, const int whole)
{
    const vf lower = v_set1(e->lower), upper = v_set1(e->upper);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        int64_t n = whole ? FC_LANES : min_i64(columns - v * FC_LANES, FC_LANES);
        vf bias = e->bias ? load_lanes(e->bias + v * FC_LANES, n) : v_zero();
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
            acc[i][v] = v_add(acc[i][v], bias);
        if (e->residual) {
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++)
                acc[i][v] = v_add(acc[i][v], load_lanes(e->residual + at[i] + v * FC_LANES, n));
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            acc[i][v] = v_min(upper, v_max(lower, acc[i][v]));
            store_lanes(y + at[i] + v * FC_LANES, acc[i][v], n);
        }
    }
}

/* The first `columns` of the rows go to y + at[i]; bias, residual and y begin at this strip. What was
 * stored is left in acc. */
FC_INLINE void panel_store(vf acc[FC_PANEL_ROWS][2], const struct epilogue *e, float *y,
                           const int64_t *at, int64_t columns, const int rows, const int vectors)
{
    if (columns == vectors * FC_LANES)
        panel_store_body(acc, e, y, at, columns, rows, vectors, 1);
    else
        panel_store_body(acc, e, y, at, columns, rows, vectors, 0);
}

/* panels[g][panel][k][column] = filters[k][g * K/G + panel * PANEL_COLUMNS + column], k < depth. */
FC_DEFINE(f32_pack_filters)
{
    FC_ATTRS(f32_pack_filters);
    const fc_tensor *w = call->in;
    int64_t depth = w->dim[0] * w->dim[1] * w->dim[2], K = w->dim[3] / attrs->groups;
    int64_t panels = ceil_div(K, PANEL_COLUMNS), begin, end;
    const float *filters = w->data;
    float *to = call->out[0].data;
    share(attrs->groups * panels * depth, tid, nthreads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        /* Rows of the matrix one after the other: it comes from memory, and panels lie far apart. */
        int64_t k = row / panels % depth, panel = row % panels, group = row / panels / depth;
        int64_t columns = min_i64(K - panel * PANEL_COLUMNS, PANEL_COLUMNS);
        const float *from = filters + k * w->dim[3] + group * K + panel * PANEL_COLUMNS;
        float *line = to + ((group * panels + panel) * depth + k) * PANEL_COLUMNS;
        for (int64_t c = 0; c < PANEL_COLUMNS; c++)
            line[c] = c < columns ? from[c] : 0.0f;
    }
    return FCNN_OK;
}
