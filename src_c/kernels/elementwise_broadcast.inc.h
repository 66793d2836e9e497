/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise kernels of two and three tensors whose shapes broadcast. Axes are joined as far as
 * every operand allows; what remains is a nest of rows in which an operand either moves along with
 * the output or stands still. */

enum { MAX_OPERANDS = 3 };

typedef struct {
    int n_in, rank;
    int64_t dim[FCNN_MAX_RANK];                  /* of the output; dim[rank-1] is the row */
    int64_t stride[MAX_OPERANDS][FCNN_MAX_RANK]; /* 0 where the operand stands still */
    const float *x[MAX_OPERANDS];
    float *y;
} broadcast_nest;

/* y[0:n] from operands that move by step[k], 1 or 0, per element. */
typedef void (*row_fn)(float *y, const float *const x[], const int64_t step[], int64_t n);

/* Append an axis, or join it to the one before where all strides continue. */
static void nest_append(broadcast_nest *nest, int64_t dim, const int64_t stride[])
{
    int last = nest->rank - 1, joins = last >= 0;
    for (int k = 0; joins && k < nest->n_in; k++)
        joins = nest->stride[k][last] == stride[k] * dim;
    int at = joins ? last : nest->rank++;
    nest->dim[at] = joins ? nest->dim[last] * dim : dim;
    for (int k = 0; k < nest->n_in; k++)
        nest->stride[k][at] = stride[k];
}

/* Stride of `axis` of the output in dense tensor t, whose axes are aligned to the right. */
static int64_t broadcast_stride(const fc_tensor *t, int rank, int axis)
{
    int own = axis - (rank - t->rank);
    if (own < 0 || t->dim[own] == 1)
        return 0;
    int64_t stride = 1;
    for (int i = own + 1; i < t->rank; i++)
        stride *= t->dim[i];
    return stride;
}

static broadcast_nest broadcast_inputs(const fc_call *call)
{
    const fc_tensor *out = &call->out[0];
    broadcast_nest nest = {.n_in = call->n_in, .y = out->data};
    for (int k = 0; k < nest.n_in; k++)
        nest.x[k] = call->in[k].data;
    for (int axis = 0; axis < out->rank; axis++) {
        int64_t stride[MAX_OPERANDS];
        for (int k = 0; k < nest.n_in; k++)
            stride[k] = broadcast_stride(&call->in[k], out->rank, axis);
        if (out->dim[axis] != 1)
            nest_append(&nest, out->dim[axis], stride);
    }
    if (nest.rank == 0)
        nest_append(&nest, 1, (const int64_t[MAX_OPERANDS]){0});
    return nest;
}

/* This thread's share of the rows, cut into pieces of at most ELEMENTWISE_BLOCK. */
static void walk_rows(const broadcast_nest *nest, row_fn row, int tid, int nthreads)
{
    int inner = nest->rank - 1;
    int64_t length = nest->dim[inner], pieces = ceil_div(length, ELEMENTWISE_BLOCK), rows = 1;
    int64_t begin, end, step[MAX_OPERANDS];
    for (int axis = 0; axis < inner; axis++)
        rows *= nest->dim[axis];
    for (int k = 0; k < nest->n_in; k++)
        step[k] = nest->stride[k][inner];
    share(rows * pieces, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t rest = item / pieces, start = item % pieces * ELEMENTWISE_BLOCK;
        float *y = nest->y + rest * length + start;
        const float *x[MAX_OPERANDS];
        for (int k = 0; k < nest->n_in; k++)
            x[k] = nest->x[k] + start * step[k];
        for (int axis = inner - 1; axis >= 0; axis--) {
            int64_t index = rest % nest->dim[axis];
            rest /= nest->dim[axis];
            for (int k = 0; k < nest->n_in; k++)
                x[k] += index * nest->stride[k][axis];
        }
        row(y, x, step, min_i64(ELEMENTWISE_BLOCK, length - start));
    }
}

static inline vf take(const float *x, int64_t step, int64_t i)
{
    return step ? v_load(x + i) : v_set1(*x);
}

static inline vf take_n(const float *x, int64_t step, int64_t i, int64_t n)
{
    return step ? v_load_n(x + i, n) : v_set1(*x);
}

#define FC_BROADCAST(kernel, n_operands, expression)                                               \
    static void row_##kernel(float *y, const float *const x[], const int64_t step[], int64_t n)    \
    {                                                                                              \
        enum { second = 1, third = n_operands == 3 ? 2 : 1 };                                      \
        int64_t i = 0;                                                                             \
        for (; i + FC_LANES <= n; i += FC_LANES) {                                                 \
            vf a = take(x[0], step[0], i), b = take(x[second], step[second], i);                   \
            vf c = take(x[third], step[third], i);                                                 \
            (void)c;                                                                               \
            v_store(y + i, expression);                                                            \
        }                                                                                          \
        if (i < n) {                                                                               \
            vf a = take_n(x[0], step[0], i, n - i);                                                \
            vf b = take_n(x[second], step[second], i, n - i);                                      \
            vf c = take_n(x[third], step[third], i, n - i);                                        \
            (void)c;                                                                               \
            v_store_n(y + i, expression, n - i);                                                   \
        }                                                                                          \
    }                                                                                              \
    FC_DEFINE(kernel)                                                                              \
    {                                                                                              \
        broadcast_nest nest = broadcast_inputs(call);                                              \
        walk_rows(&nest, row_##kernel, tid, nthreads);                                             \
        return FCNN_OK;                                                                            \
    }

/* y = expression of a and b, or of a, b and c. In-place safe where the operand has y's shape. */
#define FC_BINARY(kernel, expression) FC_BROADCAST(kernel, 2, expression)
#define FC_TERNARY(kernel, expression) FC_BROADCAST(kernel, 3, expression)

/* Unlike v_max and v_min these keep a NaN of either side. */
static inline vf v_maximum(vf a, vf b) { return v_select(v_eq(a, a), v_max(a, b), a); }
static inline vf v_minimum(vf a, vf b) { return v_select(v_eq(a, a), v_min(a, b), a); }

FC_BINARY(f32_add, v_add(a, b))
FC_BINARY(f32_subtract, v_sub(a, b))
FC_BINARY(f32_multiply, v_mul(a, b))
FC_BINARY(f32_divide, v_div(a, b))
FC_BINARY(f32_maximum, v_maximum(a, b))
FC_BINARY(f32_minimum, v_minimum(a, b))
FC_BINARY(f32_equal, v_and_mask(v_eq(a, b), v_set1(1.0f)))
FC_BINARY(f32_greater, v_and_mask(v_gt(a, b), v_set1(1.0f)))
FC_BINARY(f32_greater_equal, v_and_mask(v_ge(a, b), v_set1(1.0f)))
FC_TERNARY(f32_where, v_select(v_gt(a, v_zero()), b, c))
FC_BINARY(f32_prelu, v_select(v_gt(a, v_zero()), a, v_mul(a, b)))
