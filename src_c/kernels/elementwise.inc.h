/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise kernels that move, convert or look at elements; the arithmetic is in
 * elementwise_unary, elementwise_broadcast and elementwise_dropout. */

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

/* Element i of a tensor of integers. */
static inline int64_t integer_at(const fc_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case FCNN_U8:
        return ((const uint8_t *)t->data)[i];
    case FCNN_I32:
        return ((const int32_t *)t->data)[i];
    case FCNN_U32:
        return ((const uint32_t *)t->data)[i];
    default:
        return ((const int64_t *)t->data)[i];
    }
}

FC_DEFINE(f32_cast)
{
    const fc_tensor x = call->in[0];
    float *y = call->out[0].data;
    int64_t begin, end;
    share(count_of(&x), tid, nthreads, &begin, &end);
    if (x.dtype == FCNN_F32 && begin < end)
        memcpy(y + begin, (const float *)x.data + begin, (size_t)(end - begin) * sizeof *y);
    else
        for (int64_t i = begin; i < end; i++)
            y[i] = (float)integer_at(&x, i);
    return FCNN_OK;
}

FC_DEFINE(f32_one_hot)
{
    const fc_tensor *labels = &call->in[0], *out = &call->out[0];
    int64_t classes = out->dim[out->rank - 1], begin, end;
    share(count_of(labels), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        float *row = (float *)out->data + i * classes;
        int64_t label = integer_at(labels, i);
        memset(row, 0, (size_t)classes * sizeof *row);
        if (label >= 0 && label < classes)
            row[label] = 1.0f;
    }
    return FCNN_OK;
}
