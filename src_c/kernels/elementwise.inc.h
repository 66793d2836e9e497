/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise kernels: y[i] = f(x[i], ...). Tails are masked vectors, so an element has the same
 * bits wherever it falls. */

/* Elements per item of work: large enough to amortise the split, small enough to balance. */
enum { ELEMENTWISE_BLOCK = 1024 };

/* y = expression of vector a (and tensors of the same shape); in-place safe. */
#define FC_UNARY(kernel, expression)                                                               \
    FC_DEFINE(kernel)                                                                              \
    {                                                                                              \
        const float *x = call->in[0].data;                                                         \
        float *y = call->out[0].data;                                                              \
        int64_t count = count_of(&call->out[0]), begin, end;                                       \
        share(ceil_div(count, ELEMENTWISE_BLOCK), tid, nthreads, &begin, &end);                    \
        begin *= ELEMENTWISE_BLOCK;                                                                \
        end = min_i64(end * ELEMENTWISE_BLOCK, count);                                             \
        int64_t i = begin;                                                                         \
        for (; i + FC_LANES <= end; i += FC_LANES) {                                               \
            vf a = v_load(x + i);                                                                  \
            v_store(y + i, expression);                                                            \
        }                                                                                          \
        if (i < end) {                                                                             \
            vf a = v_load_n(x + i, end - i);                                                       \
            v_store_n(y + i, expression, end - i);                                                 \
        }                                                                                          \
        return FCNN_OK;                                                                            \
    }

FC_UNARY(f32_relu, v_max(v_zero(), a))
FC_UNARY(f32_negative, v_sub(v_set1(-0.0f), a))

FC_DEFINE(f32_identity)
{
    static const int64_t bytes_of[] = {4, 8, 1, 4, 4, 8}; /* by fc_dtype */
    int64_t bytes = count_of(&call->out[0]) * bytes_of[call->out[0].dtype], begin, end;
    share(ceil_div(bytes, 4096), tid, nthreads, &begin, &end);
    begin *= 4096;
    end = min_i64(end * 4096, bytes);
    if (begin < end)
        memcpy((char *)call->out[0].data + begin, (const char *)call->in[0].data + begin,
               (size_t)(end - begin));
    return FCNN_OK;
}

FC_DEFINE(f32_check_finite)
{
    const float *x = call->in[0].data;
    int64_t count = count_of(&call->in[0]), begin, end;
    share(count, tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        if (!isfinite(x[i]))
            return FCNN_NONFINITE;
    return FCNN_OK;
}
