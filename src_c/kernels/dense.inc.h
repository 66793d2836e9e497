/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products Y = op(A) op(B), op transposing the last two axes if asked. */

enum { MATMUL_DEPTH = 256, MATMUL_ROWS = 32, MATMUL_ROWS_PACKED = 256 };

struct matmul_shape {
    int64_t batch, M, N, D;
    int64_t a_row, a_step; /* element (m, d) of op(A) lies at m * a_row + d * a_step */
    int64_t ldb;
    int transpose_b;
};

/* A matrix B multiplies every row of a batched A; a batched B goes matrix by matrix. */
static struct matmul_shape matmul_shape(const fc_call *call)
{
    FC_ATTRS(f32_matmul);
    const fc_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
    struct matmul_shape s = {.batch = 1, .transpose_b = attrs->transpose_b != 0};
    s.N = y->dim[y->rank - 1];
    s.D = a->dim[a->rank - (attrs->transpose_a ? 2 : 1)];
    s.M = y->dim[y->rank - 2];
    for (int i = 0; i < y->rank - 2; i++)
        *(b->rank == 2 ? &s.M : &s.batch) *= y->dim[i];
    s.a_row = attrs->transpose_a ? 1 : s.D;
    s.a_step = attrs->transpose_a ? s.M : 1;
    s.ldb = s.transpose_b ? s.D : s.N;
    return s;
}

#include "dense_few.inc.h"

FC_DEFINE_PLAN(f32_matmul)
{
    const struct matmul_shape s = matmul_shape(call);
    if (few_multiplies(&s))
        return (int64_t)sizeof(float) * few_strips(&s);
    return s.transpose_b ? nthreads * (int64_t)sizeof(float) * MATMUL_DEPTH * TILE_COLUMNS : 0;
}

/* panel[depth][TILE_COLUMNS] = the transpose of b[columns][depth]. */
static void matmul_pack(float *panel, const float *b, int64_t ldb, int64_t depth, int64_t columns)
{
    for (int64_t j = 0; j < columns; j++)
        for (int64_t k = 0; k < depth; k++)
            panel[k * TILE_COLUMNS + j] = b[j * ldb + k];
}

FC_INLINE void matmul_tile_body(const struct matmul_shape *s, const float *a, const float *b,
                                int64_t ldb, float *y, int64_t rows, int64_t depth, int accumulate,
                                int64_t columns, const int vectors, const int masked)
{
    const float *row[FC_TILE_ROWS];
    float *out[FC_TILE_ROWS];
    vf acc[FC_TILE_ROWS][2];
    for (int i = 0; i < FC_TILE_ROWS; i++) {
        int64_t m = min_i64(i, rows - 1); /* rows past the end repeat the last and are not stored */
        row[i] = a + m * s->a_row;
        out[i] = y + m * s->N;
    }
    tile_zero(acc);
    tile_multiply(acc, row, s->a_step, b, ldb, depth, columns, vectors, masked);
    tile_store(acc, out, rows, accumulate, columns, vectors, masked);
}

static void matmul_tile(const struct matmul_shape *s, const float *a, const float *b, int64_t ldb,
                        float *y, int64_t rows, int64_t depth, int accumulate, int64_t columns)
{
    FC_BY_COLUMNS(columns, matmul_tile_body, s, a, b, ldb, y, rows, depth, accumulate, columns);
}

/* Rows [begin, end) of one matrix, columns [n, n + columns). */
static void matmul_block(const struct matmul_shape *s, const float *a, const float *b, float *y,
                         float *panel, int64_t begin, int64_t end, int64_t n, int64_t columns)
{
    int64_t k = 0;
    do {
        int64_t depth = min_i64(MATMUL_DEPTH, s->D - k), ldb = s->ldb;
        const float *part = b + (s->transpose_b ? n * ldb + k : k * ldb + n);
        if (s->transpose_b) {
            matmul_pack(panel, part, ldb, depth, columns);
            part = panel;
            ldb = TILE_COLUMNS;
        }
        for (int64_t m = begin; m < end; m += FC_TILE_ROWS)
            matmul_tile(s, a + m * s->a_row + k * s->a_step, part, ldb, y + m * s->N + n,
                        min_i64(FC_TILE_ROWS, end - m), depth, k > 0, columns);
        k += MATMUL_DEPTH;
    } while (k < s->D);
}

FC_DEFINE(f32_matmul)
{
    const struct matmul_shape s = matmul_shape(call);
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *y = call->out[0].data;
    if (few_multiplies(&s)) {
        few_multiply(&s, a, b, y, (float *)call->scratch, tid, nthreads);
        return FCNN_OK;
    }
    if (few_sums(&s)) {
        few_sum(&s, a, b, y, tid, nthreads);
        return FCNN_OK;
    }
    float *panel = (float *)call->scratch + (int64_t)tid * MATMUL_DEPTH * TILE_COLUMNS;
    int64_t block = s.transpose_b ? MATMUL_ROWS_PACKED : MATMUL_ROWS;
    int64_t blocks = ceil_div(s.M, block), tiles = ceil_div(s.N, TILE_COLUMNS), begin, end;
    share(s.batch * tiles * blocks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t m = item % blocks * block, n = item / blocks % tiles * TILE_COLUMNS;
        int64_t matrix = item / blocks / tiles;
        matmul_block(&s, a + matrix * s.M * s.D, b + matrix * s.D * s.N, y + matrix * s.M * s.N,
                     panel, m, min_i64(m + block, s.M), n, min_i64(TILE_COLUMNS, s.N - n));
    }
    return FCNN_OK;
}
