/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The register tile under every matrix product: FC_TILE_ROWS rows of up to two vectors of columns.
 * A row's values are broadcast from memory, columns lie in the lanes. Convolutions are products too:
 * a row is a pixel (or a filter tap), the depth runs over channels (or over pixels).
 *
 * Bodies are inlined into one function for each shape of tile, where `vectors` (1 or 2) and `masked`
 * (the last vector is partial) are constants, so that the accumulators live in registers.
 */
#define FC_INLINE static inline __attribute__((always_inline))
/* What is rare, kept out of what is not: its registers and its code. */
#define FC_APART static __attribute__((noinline))

enum { TILE_COLUMNS = 2 * FC_LANES };

/* Call body(..., vectors, masked) for a tile of 1 to TILE_COLUMNS columns. */
#define FC_BY_COLUMNS(columns, body, ...)                                                          \
    do {                                                                                           \
        if ((columns) == TILE_COLUMNS)                                                             \
            body(__VA_ARGS__, 2, 0);                                                               \
        else if ((columns) > FC_LANES)                                                             \
            body(__VA_ARGS__, 2, 1);                                                               \
        else if ((columns) == FC_LANES)                                                            \
            body(__VA_ARGS__, 1, 0);                                                               \
        else                                                                                       \
            body(__VA_ARGS__, 1, 1);                                                               \
    } while (0)

/* Vector `v` of a row of `columns` columns: whole, unless it is the masked last one. */
FC_INLINE vf tile_load(const float *row, int v, int64_t columns, const int vectors,
                       const int masked)
{
    if (masked && v == vectors - 1)
        return v_load_n(row + v * FC_LANES, columns - v * FC_LANES);
    return v_load(row + v * FC_LANES);
}

FC_INLINE void tile_store_vector(float *row, vf value, int v, int64_t columns, const int vectors,
                                 const int masked)
{
    if (masked && v == vectors - 1)
        v_store_n(row + v * FC_LANES, value, columns - v * FC_LANES);
    else
        v_store(row + v * FC_LANES, value);
}

FC_INLINE void tile_zero(vf acc[FC_TILE_ROWS][2])
{
#pragma GCC unroll 16
    for (int i = 0; i < FC_TILE_ROWS; i++)
        acc[i][0] = acc[i][1] = v_zero();
}

/* acc[i][j] += a[i][k * step] * b[k * ldb + j] over k < depth. */
FC_INLINE void tile_multiply(vf acc[FC_TILE_ROWS][2], const float *const a[FC_TILE_ROWS],
                             int64_t step, const float *b, int64_t ldb, int64_t depth,
                             int64_t columns, const int vectors, const int masked)
{
    int64_t at = 0;
    for (int64_t k = 0; k < depth; k++) {
        vf b0 = tile_load(b, 0, columns, vectors, masked);
        vf b1 = vectors == 2 ? tile_load(b, 1, columns, vectors, masked) : v_zero();
#pragma GCC unroll 16
        for (int i = 0; i < FC_TILE_ROWS; i++) {
            vf value = v_set1(a[i][at]);
            acc[i][0] = v_fma(value, b0, acc[i][0]);
            if (vectors == 2)
                acc[i][1] = v_fma(value, b1, acc[i][1]);
        }
        at += step;
        b += ldb;
    }
}

/* The first `rows` rows go to y[i], on top of what is there if `accumulate`. */
FC_INLINE void tile_store(vf acc[FC_TILE_ROWS][2], float *const y[FC_TILE_ROWS], int64_t rows,
                          int accumulate, int64_t columns, const int vectors, const int masked)
{
#pragma GCC unroll 16
    for (int i = 0; i < FC_TILE_ROWS; i++) {
        if (i >= rows)
            break;
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vf value = acc[i][v];
            if (accumulate)
                value = v_add(tile_load(y[i], v, columns, vectors, masked), value);
            tile_store_vector(y[i], value, v, columns, vectors, masked);
        }
    }
}
