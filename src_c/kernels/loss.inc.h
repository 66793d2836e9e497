/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax and the cross-entropies on it, row by row over the last axis of K logits:
 *   z = x - max(x)    log softmax = z - log sum e^z
 * so no e^z overflows. A row belongs to one thread; sums run over vectors in row order.
 */

static inline float log_of(float a)
{
    float y;
    v_store_n(&y, v_log(v_set1(a)), 1);
    return y;
}

static inline float row_max(const float *x, int64_t K)
{
    const vf lowest = v_set1(-INFINITY);
    vf best = lowest;
    for (int64_t k = 0; k < K; k += FC_LANES)
        best = v_max(best, v_load_or(x + k, min_i64(K - k, FC_LANES), lowest));
    return v_hmax(best);
}

/* Sum of e^(x - max); the terms are stored in e[K] unless it is NULL. */
static inline float row_exp_sum(const float *x, float max, float *e, int64_t K)
{
    const vf lowest = v_set1(-INFINITY), top = v_set1(max);
    vf sum = v_zero();
    for (int64_t k = 0; k < K; k += FC_LANES) {
        int64_t n = min_i64(K - k, FC_LANES);
        vf term = v_exp(v_sub(v_load_or(x + k, n, lowest), top));
        sum = v_add(sum, term);
        if (e)
            v_store_n(e + k, term, n);
    }
    return v_sum(sum);
}

/* e[K] /= sum */
static inline void row_divide(float *e, float sum, int64_t K)
{
    for (int64_t k = 0; k < K; k += FC_LANES) {
        int64_t n = min_i64(K - k, FC_LANES);
        v_store_n(e + k, v_div(v_load_n(e + k, n), v_set1(sum)), n);
    }
}

static inline float row_dot(const float *a, const float *b, int64_t K)
{
    vf sum = v_zero();
    for (int64_t k = 0; k < K; k += FC_LANES) {
        int64_t n = min_i64(K - k, FC_LANES);
        sum = v_fma(v_load_n(a + k, n), v_load_n(b + k, n), sum);
    }
    return v_sum(sum);
}

static inline float row_sum(const float *a, int64_t K)
{
    vf sum = v_zero();
    for (int64_t k = 0; k < K; k += FC_LANES)
        sum = v_add(sum, v_load_n(a + k, min_i64(K - k, FC_LANES)));
    return v_sum(sum);
}

/* Sum of (x - max). */
static inline float row_shifted_sum(const float *x, float max, int64_t K)
{
    const vf top = v_set1(max);
    vf sum = v_zero();
    for (int64_t k = 0; k < K; k += FC_LANES)
        sum = v_add(sum, v_sub(v_load_or(x + k, min_i64(K - k, FC_LANES), top), top));
    return v_sum(sum);
}

/* The row length and this thread's rows of `t`. */
static inline int64_t share_rows(const fc_tensor *t, int tid, int nthreads, int64_t *begin,
                                 int64_t *end)
{
    int64_t K = t->dim[t->rank - 1];
    share(K ? count_of(t) / K : 0, tid, nthreads, begin, end);
    return K;
}

FC_DEFINE(f32_softmax)
{
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in[0].data + i * K;
        float *y = (float *)call->out[0].data + i * K;
        row_divide(y, row_exp_sum(x, row_max(x, K), y, K), K);
    }
    return FCNN_OK;
}

/* dx = y (dy - sum y dy) */
FC_DEFINE(f32_softmax_grad)
{
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *y = (const float *)call->in[0].data + i * K;
        const float *dy = (const float *)call->in[1].data + i * K;
        float *dx = (float *)call->out[0].data + i * K;
        vf mean = v_set1(row_dot(y, dy, K));
        for (int64_t k = 0; k < K; k += FC_LANES) {
            int64_t n = min_i64(K - k, FC_LANES);
            vf centred = v_sub(v_load_n(dy + k, n), mean);
            v_store_n(dx + k, v_mul(v_load_n(y + k, n), centred), n);
        }
    }
    return FCNN_OK;
}

FC_DEFINE(f32_log_softmax)
{
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in[0].data + i * K;
        float *y = (float *)call->out[0].data + i * K, max = row_max(x, K);
        vf log_sum = v_set1(log_of(row_exp_sum(x, max, NULL, K)));
        for (int64_t k = 0; k < K; k += FC_LANES) {
            int64_t n = min_i64(K - k, FC_LANES);
            v_store_n(y + k, v_sub(v_sub(v_load_n(x + k, n), v_set1(max)), log_sum), n);
        }
    }
    return FCNN_OK;
}

/* dx = dy - e^y sum dy */
FC_DEFINE(f32_log_softmax_grad)
{
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *y = (const float *)call->in[0].data + i * K;
        const float *dy = (const float *)call->in[1].data + i * K;
        float *dx = (float *)call->out[0].data + i * K;
        vf sum = v_set1(row_sum(dy, K));
        for (int64_t k = 0; k < K; k += FC_LANES) {
            int64_t n = min_i64(K - k, FC_LANES);
            vf share_of_sum = v_mul(v_exp(v_load_n(y + k, n)), sum);
            v_store_n(dx + k, v_sub(v_load_n(dy + k, n), share_of_sum), n);
        }
    }
    return FCNN_OK;
}

/* loss = log sum e^z - (1 - s) z[label] - s / K sum z; NaN where there is no such label.
 * e[K] becomes e^z, whose sum is stored. */
static inline float sparse_loss_row(const float *x, int32_t label, float s, float *e, float *sum,
                                    int64_t K)
{
    float max = row_max(x, K), smooth = 0.0f;
    *sum = row_exp_sum(x, max, e, K);
    if (s != 0.0f)
        smooth = s / (float)K * row_shifted_sum(x, max, K);
    if (label < 0 || label >= K)
        return NAN;
    return log_of(*sum) - (1.0f - s) * (x[label] - max) - smooth;
}

/* dx = (p - (1 - s) [k == label] - s / K) dy, where p = e / sum; dx may be e */
static inline void sparse_grad_row(const float *e, float sum, int32_t label, float s, float dy,
                                   float *dx, int64_t K)
{
    int known = label >= 0 && label < K;
    float at_label = known ? e[label] / sum : 0.0f;
    vf smooth = v_set1(s / (float)K), scale = v_set1(known ? dy : NAN);
    for (int64_t k = 0; k < K; k += FC_LANES) {
        int64_t n = min_i64(K - k, FC_LANES);
        vf p = v_div(v_load_n(e + k, n), v_set1(sum));
        v_store_n(dx + k, v_mul(v_sub(p, smooth), scale), n);
    }
    if (known)
        dx[label] = (at_label - s / (float)K - (1.0f - s)) * dy;
}

FC_DEFINE(f32_sparse_softmax_cross_entropy)
{
    FC_ATTRS(f32_sparse_softmax_cross_entropy);
    const int32_t *labels = call->in[1].data;
    float *loss = call->out[0].data, s = (float)attrs->label_smoothing, sum;
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in[0].data + i * K;
        float *p = (float *)call->out[1].data + i * K;
        loss[i] = sparse_loss_row(x, labels[i], s, p, &sum, K);
        row_divide(p, sum, K);
    }
    return FCNN_OK;
}

FC_DEFINE(f32_sparse_softmax_cross_entropy_grad)
{
    FC_ATTRS(f32_sparse_softmax_cross_entropy_grad);
    const int32_t *labels = call->in[1].data;
    const float *dy = call->in[2].data;
    float s = (float)attrs->label_smoothing;
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *p = (const float *)call->in[0].data + i * K;
        sparse_grad_row(p, 1.0f, labels[i], s, dy[i], (float *)call->out[0].data + i * K, K);
    }
    return FCNN_OK;
}

FC_DEFINE(f32_sparse_softmax_cross_entropy_with_grad)
{
    FC_ATTRS(f32_sparse_softmax_cross_entropy_with_grad);
    const int32_t *labels = call->in[1].data;
    const float *dy = call->in[2].data;
    float *loss = call->out[0].data, s = (float)attrs->label_smoothing, sum;
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in[0].data + i * K;
        float *dx = (float *)call->out[1].data + i * K;
        loss[i] = sparse_loss_row(x, labels[i], s, dx, &sum, K);
        sparse_grad_row(dx, sum, labels[i], s, dy[i], dx, K);
    }
    return FCNN_OK;
}

/* loss = -sum t' log softmax(x), with the smoothed targets t' = (1 - s) t + s / K.
 * e[K] becomes e^z, whose sum is stored. */
static inline float dense_loss_row(const float *x, const float *t, float s, float *e, float *sum,
                                   int64_t K)
{
    float max = row_max(x, K), log_sum, smooth = 0.0f;
    *sum = row_exp_sum(x, max, e, K);
    log_sum = log_of(*sum);
    vf top = v_set1(max), total = v_zero();
    for (int64_t k = 0; k < K; k += FC_LANES) {
        int64_t n = min_i64(K - k, FC_LANES);
        vf z = v_sub(v_load_or(x + k, n, top), top);
        total = v_fma(v_load_n(t + k, n), v_sub(v_set1(log_sum), z), total);
    }
    if (s != 0.0f)
        smooth = s * log_sum - s / (float)K * row_shifted_sum(x, max, K);
    return (1.0f - s) * v_sum(total) + smooth;
}

/* dx = (p sum t' - t') dy, where p = e / sum; dx may be e */
static inline void dense_grad_row(const float *e, float sum, const float *t, float s, float dy,
                                  float *dx, int64_t K)
{
    vf mass = v_set1((1.0f - s) * row_sum(t, K) + s), scale = v_set1(dy);
    for (int64_t k = 0; k < K; k += FC_LANES) {
        int64_t n = min_i64(K - k, FC_LANES);
        vf target = v_fma(v_load_n(t + k, n), v_set1(1.0f - s), v_set1(s / (float)K));
        vf p = v_div(v_load_n(e + k, n), v_set1(sum));
        v_store_n(dx + k, v_mul(v_sub(v_mul(p, mass), target), scale), n);
    }
}

FC_DEFINE(f32_softmax_cross_entropy)
{
    FC_ATTRS(f32_softmax_cross_entropy);
    float *loss = call->out[0].data, s = (float)attrs->label_smoothing, sum;
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in[0].data + i * K;
        const float *t = (const float *)call->in[1].data + i * K;
        float *p = (float *)call->out[1].data + i * K;
        loss[i] = dense_loss_row(x, t, s, p, &sum, K);
        row_divide(p, sum, K);
    }
    return FCNN_OK;
}

FC_DEFINE(f32_softmax_cross_entropy_grad)
{
    FC_ATTRS(f32_softmax_cross_entropy_grad);
    const float *dy = call->in[2].data;
    float s = (float)attrs->label_smoothing;
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *p = (const float *)call->in[0].data + i * K;
        const float *t = (const float *)call->in[1].data + i * K;
        dense_grad_row(p, 1.0f, t, s, dy[i], (float *)call->out[0].data + i * K, K);
    }
    return FCNN_OK;
}

FC_DEFINE(f32_softmax_cross_entropy_with_grad)
{
    FC_ATTRS(f32_softmax_cross_entropy_with_grad);
    const float *dy = call->in[2].data;
    float *loss = call->out[0].data, s = (float)attrs->label_smoothing, sum;
    int64_t begin, end, K = share_rows(&call->in[0], tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in[0].data + i * K;
        const float *t = (const float *)call->in[1].data + i * K;
        float *dx = (float *)call->out[1].data + i * K;
        loss[i] = dense_loss_row(x, t, s, dx, &sum, K);
        dense_grad_row(dx, sum, t, s, dy[i], dx, K);
    }
    return FCNN_OK;
}

/* loss = max(x, 0) - x t + ln(1 + e^-|x|) */
FC_DEFINE(f32_binary_cross_entropy)
{
    const float *logits = call->in[0].data, *targets = call->in[1].data;
    float *loss = call->out[0].data;
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf x = v_load_n(logits + i, n), t = v_load_n(targets + i, n);
        vf tail = v_log1p(v_exp(v_negate(v_abs(x))));
        v_store_n(loss + i, v_add(v_sub(v_max(v_zero(), x), v_mul(x, t)), tail), n);
    }
    return FCNN_OK;
}

/* dx = (sigmoid(x) - t) dy */
FC_DEFINE(f32_binary_cross_entropy_grad)
{
    const float *logits = call->in[0].data, *targets = call->in[1].data, *dy = call->in[2].data;
    float *dx = call->out[0].data;
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf x = v_load_n(logits + i, n), t = v_load_n(targets + i, n);
        v_store_n(dx + i, v_mul(v_sub(v_sigmoid(x), t), v_load_n(dy + i, n)), n);
    }
    return FCNN_OK;
}
