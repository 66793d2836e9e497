/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moments of channels over blocks of rows: the mean and the sum of squared deviations from it, [2][C].
 * Normalisations take them of what they read, convolutions of what they have just stored.
 */

enum { MOMENT_VECTORS = 4 }; /* at once: a single sum would wait for itself at every row */

/* Mean and sum of squared deviations of `rows` values in each channel of `vectors` vectors, of n
 * lanes where it is one, in two passes over a block that stays in cache. The mean is relative to
 * `origin`, or to zero where that is NULL. */
FC_INLINE void block_moments(const float *x, /* [rows][ld] */
                             int64_t rows, int64_t ld, const int vectors, int64_t n,
                             const float *origin, float *mean, float *m2)
{
    vf shift[MOMENT_VECTORS], sum[MOMENT_VECTORS], squares[MOMENT_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        shift[v] = load_lanes(x + v * FC_LANES, n);
        sum[v] = squares[v] = v_zero();
    }
    for (int64_t i = 1; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[v] = v_add(sum[v], v_sub(load_lanes(x + i * ld + v * FC_LANES, n), shift[v]));
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
        sum[v] = v_mul(sum[v], v_set1(1.0f / (float)rows));
    for (int64_t i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            vf d = v_sub(v_sub(load_lanes(x + i * ld + v * FC_LANES, n), shift[v]), sum[v]);
            squares[v] = v_fma(d, d, squares[v]);
        }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        vf from = origin ? load_lanes(origin + v * FC_LANES, n) : v_zero();
        store_lanes(mean + v * FC_LANES, v_add(v_sub(shift[v], from), sum[v]), n);
        store_lanes(m2 + v * FC_LANES, squares[v], n);
    }
}

/* The same of channels [0, channels), (channels) means and sums. */
static void block_moments_of(const float *x, int64_t rows, int64_t ld, int64_t channels,
                             const float *origin, float *mean, float *m2)
{
    int64_t c = 0;
    for (; c + MOMENT_VECTORS * FC_LANES <= channels; c += MOMENT_VECTORS * FC_LANES)
        block_moments(x + c, rows, ld, MOMENT_VECTORS, FC_LANES, origin ? origin + c : NULL,
                      mean + c, m2 + c);
    for (; c < channels; c += FC_LANES)
        block_moments(x + c, rows, ld, 1, min_i64(FC_LANES, channels - c),
                      origin ? origin + c : NULL, mean + c, m2 + c);
}

/* Moments of a block whose rows are stored tile by tile. */
struct growing_moments {
    float *mean, *m2; /* of the first column on, or NULL: nobody wants them */
    float weight, cross;
};

/* The next tile has `rows` rows, behind `before` others: what Chan's formula multiplies by. */
static inline void moments_expect(struct growing_moments *m, int64_t before, int64_t rows)
{
    m->weight = (float)rows / (float)(before + rows);
    m->cross = (float)before * m->weight;
}

/* Take in `rows` rows of `columns` columns. */
FC_INLINE void moments_grow(const struct growing_moments *m, vf acc[FC_PANEL_ROWS][2],
                            int64_t columns, const int rows, const int vectors)
{
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        int64_t n = min_i64(columns - v * FC_LANES, FC_LANES);
        float *all_mean = m->mean + v * FC_LANES, *all_m2 = m->m2 + v * FC_LANES;
        vf mean = acc[0][v], m2 = v_zero();
#pragma GCC unroll 16
        for (int i = 1; i < rows; i++)
            mean = v_add(mean, acc[i][v]);
        mean = v_mul(mean, v_set1(1.0f / (float)rows));
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            vf d = v_sub(acc[i][v], mean);
            m2 = v_fma(d, d, m2);
        }
        if (m->cross > 0) {
            vf old = load_lanes(all_mean, n), delta = v_sub(mean, old);
            m2 = v_add(m2, load_lanes(all_m2, n));
            m2 = v_fma(v_mul(delta, delta), v_set1(m->cross), m2);
            mean = v_fma(delta, v_set1(m->weight), old);
        }
        store_lanes(all_mean, mean, n);
        store_lanes(all_m2, m2, n);
    }
}

/* Chan, Golub and LeVeque (1983): the moments of two sets from those of each, n channels. */
static inline void merge_two_moments(float *a, const float *b, /* [2][channels] */
                                     int64_t channels, int64_t n, int64_t rows_a, int64_t rows_b)
{
    double rows = (double)(rows_a + rows_b);
    vf weight = v_set1((float)((double)rows_b / rows));
    vf cross = v_set1((float)((double)rows_a * (double)rows_b / rows));
    vf mean = load_lanes(a, n), delta = v_sub(load_lanes(b, n), mean);
    vf m2 = v_add(load_lanes(a + channels, n), load_lanes(b + channels, n));
    store_lanes(a, v_fma(delta, weight, mean), n);
    store_lanes(a + channels, v_fma(v_mul(delta, delta), cross, m2), n);
}
