/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products as a batch of few samples makes them in a dense layer. Each touches a matrix of
 * megabytes once, and does so in the order in which it lies in memory:
 *
 *   forward                  Y (few, N) = A B         reads B some whole rows at a time
 *   gradient for the kernel  Y = A' B, few deep       writes Y some whole rows at a time
 *   gradient for the input   Y (few, N) = A B'        reads rows of B, which are sums along vectors
 *
 * Threads cut the columns of Y; no sum depends on where.
 */

enum {
    FEW_ROWS = 32,     /* of A, or its depth: what stays in near caches */
    FEW_WIDE = 256,    /* columns of Y at least that are worth strips beside Y */
    FEW_DEPTH = 16,    /* rows of B at a time: lines of one set where rows are whole pages apart */
    FEW_ALONG = 512,   /* floats of a row of B' at a time */
    FEW_SUM = 768,     /* floats at least that are worth a sum along vectors */
    FEW_FAR = 1 << 18, /* floats of B that no near cache holds */
};

/* y[i][:] (+)= sum over k of a[k * step + i] * b[k][:], where b has TILE_COLUMNS. */
FC_INLINE void few_tile(const float *a, int64_t step, const float *b, int64_t depth, float *y,
                        int64_t ldy, int accumulate, int64_t columns, const int rows)
{
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
#pragma GCC unroll 2
    for (int64_t k = 0; k < depth; k++, a += step, b += TILE_COLUMNS) {
        vf b0 = v_load(b), b1 = v_load(b + FC_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            vf value = v_set1(a[i]);
            acc[i][0] = v_fma(value, b0, acc[i][0]);
            acc[i][1] = v_fma(value, b1, acc[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            float *to = y + i * ldy + v * FC_LANES;
            if (accumulate)
                acc[i][v] = v_add(v_load(to), acc[i][v]);
            if (columns == TILE_COLUMNS)
                v_store(to, acc[i][v]);
            else if (columns > v * FC_LANES)
                store_lanes(to, acc[i][v], min_i64(columns - v * FC_LANES, FC_LANES));
        }
    }
}

#define FC_FEW_TILE(rows)                                                                          \
    static void few_tile_##rows(const float *a, int64_t step, const float *b, int64_t depth,       \
                                float *y, int64_t ldy, int accumulate, int64_t columns)            \
    {                                                                                              \
        few_tile(a, step, b, depth, y, ldy, accumulate, columns, rows);                            \
    }
FC_FOR_PANEL_ROWS(FC_FEW_TILE)
#undef FC_FEW_TILE

typedef void (*few_tile_fn)(const float *, int64_t, const float *, int64_t, float *, int64_t, int,
                            int64_t);
#define FC_FEW_TILE(rows) [rows] = few_tile_##rows,
static const few_tile_fn few_tile_rows[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_FEW_TILE)};
#undef FC_FEW_TILE

/* Rows [0, rows) of A by `depth`, as tiles read them. */
static void few_pack_a(const struct matmul_shape *s, const float *a, int64_t rows, int64_t depth,
                       float *to)
{
    for (int64_t k = 0; k < depth; k++)
        for (int64_t i = 0; i < rows; i++)
            to[k * rows + i] = a[i * s->a_row + k * s->a_step];
}

/* A strip of B, zero beyond its columns. */
static void few_pack_b(const float *b, int64_t ldb, int64_t depth, int64_t columns, float *to)
{
    for (int64_t k = 0; k < depth; k++, b += ldb, to += TILE_COLUMNS)
        for (int v = 0; v < 2; v++) {
            int64_t n = min_i64(columns - v * FC_LANES, FC_LANES);
            v_store(to + v * FC_LANES, n > 0 ? load_lanes(b + v * FC_LANES, n) : v_zero());
        }
}

/* `rows` rows of Y in one strip, in tiles of nearly the same size. */
static void few_strip(const float *a, int64_t rows, const float *b, int64_t depth, float *y,
                      int64_t ldy, int accumulate, int64_t columns)
{
    int64_t tiles = ceil_div(rows, FC_PANEL_ROWS), i, last;
    for (int64_t tile = 0; tile < tiles; tile++) {
        share(rows, (int)tile, (int)tiles, &i, &last);
        few_tile_rows[last - i](a + i, rows, b, depth, y + i * ldy, ldy, accumulate, columns);
    }
}

/* Few rows: columns [begin, end) of Y grow in strips of (M, TILE_COLUMNS), which lie together. */
static void few_rows(const struct matmul_shape *s, const float *a, const float *b, float *y,
                     float *strips, int64_t begin, int64_t end)
{
    float a_part[FEW_DEPTH * FEW_ROWS], b_part[FEW_DEPTH * TILE_COLUMNS];
    for (int64_t k = 0; k < s->D; k += FEW_DEPTH) {
        int64_t depth = min_i64(FEW_DEPTH, s->D - k);
        few_pack_a(s, a + k * s->a_step, s->M, depth, a_part);
        for (int64_t n = begin; n < end; n += TILE_COLUMNS) {
            int64_t columns = min_i64(TILE_COLUMNS, end - n);
            few_pack_b(b + k * s->ldb + n, s->ldb, depth, columns, b_part);
            few_strip(a_part, s->M, b_part, depth, strips + n * s->M, TILE_COLUMNS, k > 0,
                      TILE_COLUMNS);
        }
    }
    for (int64_t m = 0; m < s->M; m++)
        for (int64_t n = begin; n < end; n += TILE_COLUMNS)
            memcpy(y + m * s->N + n, strips + n * s->M + m * TILE_COLUMNS,
                   (size_t)min_i64(TILE_COLUMNS, end - n) * sizeof(float));
}

/* Few deep: a tile's rows of Y are written from `begin` to `end`. */
static void few_deep(const struct matmul_shape *s, const float *a, const float *b, float *y,
                     float *strips, int64_t begin, int64_t end)
{
    float a_part[FEW_ROWS * FC_PANEL_ROWS];
    for (int64_t n = begin; n < end; n += TILE_COLUMNS)
        few_pack_b(b + n, s->ldb, s->D, min_i64(TILE_COLUMNS, end - n), strips + n * s->D);
    for (int64_t m = 0; m < s->M; m += FC_PANEL_ROWS) {
        int64_t rows = min_i64(FC_PANEL_ROWS, s->M - m);
        few_pack_a(s, a + m * s->a_row, rows, s->D, a_part);
        for (int64_t n = begin; n < end; n += TILE_COLUMNS)
            few_strip(a_part, rows, strips + n * s->D, s->D, y + m * s->N + n, s->N, 0,
                      min_i64(TILE_COLUMNS, end - n));
    }
}

/* Whether few_multiply is for this product. */
static int few_multiplies(const struct matmul_shape *s)
{
    int rows = s->M <= FEW_ROWS && s->N >= FEW_WIDE && s->D * s->N > FEW_FAR;
    int deep = s->D <= min_i64(FEW_ROWS, s->M) && s->N >= FEW_WIDE / 4;
    return s->batch == 1 && !s->transpose_b && s->D > 0 && (rows || deep);
}

/* Floats of all strips. */
static int64_t few_strips(const struct matmul_shape *s)
{
    return min_i64(s->M, s->D) * ceil_div(s->N, TILE_COLUMNS) * TILE_COLUMNS;
}

static void few_multiply(const struct matmul_shape *s, const float *a, const float *b, float *y,
                         float *strips, int tid, int nthreads)
{
    int64_t begin, end;
    share(ceil_div(s->N, TILE_COLUMNS), tid, nthreads, &begin, &end);
    begin *= TILE_COLUMNS;
    end = min_i64(end * TILE_COLUMNS, s->N);
    if (s->D <= s->M)
        few_deep(s, a, b, y, strips, begin, end);
    else
        few_rows(s, a, b, y, strips, begin, end);
}

/* acc[p][i] += a[p] * b[i] in one vector of the depth, or `n` lanes of it. */
FC_INLINE void few_along_vector(vf acc[2][FC_PANEL_ROWS], const float *a, int64_t lda,
                                const float *b, int64_t ldb, int64_t n, const int rows,
                                const int pair)
{
    vf a0 = load_lanes(a, n), a1 = pair == 2 ? load_lanes(a + lda, n) : a0;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        vf value = load_lanes(b + i * ldb, n);
        acc[0][i] = v_fma(a0, value, acc[0][i]);
        if (pair == 2)
            acc[1][i] = v_fma(a1, value, acc[1][i]);
    }
}

/* sum[p][i] += a[p] * b[i], vector by vector, for `rows` rows of B and one or two of A. */
FC_INLINE void few_along(vf sum[2][FC_PANEL_ROWS], const float *a, int64_t lda, const float *b,
                         int64_t ldb, int64_t depth, const int rows, const int pair)
{
    vf acc[2][FC_PANEL_ROWS];
    int64_t k = 0;
#pragma GCC unroll 2
    for (int p = 0; p < pair; p++)
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
            acc[p][i] = sum[p][i];
    for (; k + FC_LANES <= depth; k += FC_LANES)
        few_along_vector(acc, a + k, lda, b + k, ldb, FC_LANES, rows, pair);
    if (k < depth)
        few_along_vector(acc, a + k, lda, b + k, ldb, depth - k, rows, pair);
#pragma GCC unroll 2
    for (int p = 0; p < pair; p++)
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
            sum[p][i] = acc[p][i];
}

#define FC_FEW_ALONG(rows)                                                                         \
    static void few_along_##rows(vf(*sum)[FC_PANEL_ROWS], const float *a, int64_t lda,             \
                                 const float *b, int64_t ldb, int64_t depth, int pair)             \
    {                                                                                              \
        if (pair == 2)                                                                             \
            few_along(sum, a, lda, b, ldb, depth, rows, 2);                                        \
        else                                                                                       \
            few_along(sum, a, lda, b, ldb, depth, rows, 1);                                        \
    }
FC_FOR_PANEL_ROWS(FC_FEW_ALONG)
#undef FC_FEW_ALONG

typedef void (*few_along_fn)(vf (*)[FC_PANEL_ROWS], const float *, int64_t, const float *, int64_t,
                             int64_t, int);
#define FC_FEW_ALONG(rows) [rows] = few_along_##rows,
static const few_along_fn few_along_rows[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_FEW_ALONG)};
#undef FC_FEW_ALONG

/* Whether few_sum is for this product. */
static int few_sums(const struct matmul_shape *s)
{
    return s->batch == 1 && s->transpose_b && s->a_step == 1 && s->M <= FEW_ROWS && s->D >= FEW_SUM;
}

/* Columns [n, n + count) of Y. */
static void few_sum_rows(const struct matmul_shape *s, const float *a, const float *b, float *y,
                         int64_t n, int64_t count)
{
    vf sums[FEW_ROWS][FC_PANEL_ROWS];
    for (int64_t m = 0; m < s->M; m++)
        for (int64_t i = 0; i < count; i++)
            sums[m][i] = v_zero();
    for (int64_t k = 0; k < s->D; k += FEW_ALONG) {
        int64_t depth = min_i64(FEW_ALONG, s->D - k);
        for (int64_t m = 0; m < s->M; m += 2)
            few_along_rows[count](sums + m, a + m * s->a_row + k, s->a_row, b + n * s->ldb + k,
                                  s->ldb, depth, (int)min_i64(2, s->M - m));
    }
    for (int64_t m = 0; m < s->M; m++)
        for (int64_t i = 0; i < count; i++)
            y[m * s->N + n + i] = v_sum(sums[m][i]);
}

static void few_sum(const struct matmul_shape *s, const float *a, const float *b, float *y, int tid,
                    int nthreads)
{
    int64_t tiles = ceil_div(s->N, PANEL_ROWS_APART), begin, end;
    share(tiles, tid, nthreads, &begin, &end);
    for (int64_t tile = begin; tile < end; tile++) {
        int64_t n = tile * PANEL_ROWS_APART;
        few_sum_rows(s, a, b, y, n, min_i64(PANEL_ROWS_APART, s->N - n));
    }
}
