/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local response normalisation over channels: y = x * d^-beta with
 * d[c] = k + alpha / size * (sum of x[i]^2 for i in [c - size / 2, c + (size - 1) / 2]).
 * Each thread keeps rows of C terms with zeros on both sides, so that windows need no bounds.
 */

static inline int64_t local_row(int64_t channels, int64_t size) { return channels + size - 1; }

/* terms[before .. before + C) are set by the caller; sums of `size` neighbours, n lanes. */
static inline vf window_sum(const float *terms, int64_t size, int64_t n)
{
    vf sum = v_zero();
    for (int64_t i = 0; i < size; i++)
        sum = v_add(sum, load_lanes(terms + i, n));
    return sum;
}

static inline vf v_pow(vf a, float exponent) { return v_exp(v_mul(v_set1(exponent), v_log(a))); }

/* Squares of a row of C into terms[C + size - 1], zeros around them. */
static void padded_squares(const float *x, int64_t C, int64_t size, float *terms)
{
    memset(terms, 0, (size_t)local_row(C, size) * sizeof(float));
    for (int64_t c = 0; c < C; c += FC_LANES) {
        int64_t n = min_i64(FC_LANES, C - c);
        vf a = load_lanes(x + c, n);
        store_lanes(terms + size / 2 + c, v_mul(a, a), n);
    }
}

FC_DEFINE_PLAN(f32_local_response_norm)
{
    FC_ATTRS(f32_local_response_norm);
    int64_t C = call->in[0].dim[call->in[0].rank - 1];
    return nthreads * local_row(C, attrs->size) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_local_response_norm)
{
    FC_ATTRS(f32_local_response_norm);
    const fc_tensor *in = &call->in[0];
    int64_t C = in->dim[in->rank - 1], size = attrs->size, first, last;
    float *terms = (float *)call->scratch + tid * local_row(C, size);
    vf rate = v_set1((float)(attrs->alpha / (double)size)), k = v_set1((float)attrs->k);
    share(count_of(in) / C, tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *x = (const float *)in->data + row * C;
        float *y = (float *)call->out[0].data + row * C;
        padded_squares(x, C, size, terms);
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c);
            vf d = v_fma(window_sum(terms + c, size, n), rate, k);
            store_lanes(y + c, v_mul(load_lanes(x + c, n), v_pow(d, (float)-attrs->beta)), n);
        }
    }
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_local_response_norm_grad)
{
    FC_ATTRS(f32_local_response_norm_grad);
    int64_t C = call->in[0].dim[call->in[0].rank - 1];
    return 2 * nthreads * local_row(C, attrs->size) * (int64_t)sizeof(float);
}

/* dx = dy * d^-beta, and dy * x * d^(-beta - 1) into terms, zeros around; squares are padded. */
static void local_direct(const float *dy, const float *x, const float *squares, int64_t C,
                         int64_t size, vf rate, vf k, float beta, float *dx, float *terms)
{
    memset(terms, 0, (size_t)local_row(C, size) * sizeof(float));
    for (int64_t c = 0; c < C; c += FC_LANES) {
        int64_t n = min_i64(FC_LANES, C - c);
        vf d = v_fma(window_sum(squares + c, size, n), rate, k);
        vf direct = v_mul(load_lanes(dy + c, n), v_pow(d, -beta));
        store_lanes(dx + c, direct, n);
        store_lanes(terms + (size - 1) / 2 + c, v_div(v_mul(direct, load_lanes(x + c, n)), d), n);
    }
}

/* Inputs: dy, x. Channel i lies in the windows of [i - (size - 1) / 2, i + size / 2]. */
FC_DEFINE(f32_local_response_norm_grad)
{
    FC_ATTRS(f32_local_response_norm_grad);
    const fc_tensor *in = &call->in[0];
    int64_t C = in->dim[in->rank - 1], size = attrs->size, first, last;
    float *squares = (float *)call->scratch + 2 * tid * local_row(C, size);
    float *terms = squares + local_row(C, size);
    vf rate = v_set1((float)(attrs->alpha / (double)size)), k = v_set1((float)attrs->k);
    vf slope = v_set1((float)(-2.0 * attrs->alpha * attrs->beta / (double)size));
    share(count_of(in) / C, tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *dy = (const float *)in->data + row * C;
        const float *x = (const float *)call->in[1].data + row * C;
        float *dx = (float *)call->out[0].data + row * C;
        padded_squares(x, C, size, squares);
        local_direct(dy, x, squares, C, size, rate, k, (float)attrs->beta, dx, terms);
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c);
            vf through = v_mul(v_mul(load_lanes(x + c, n), window_sum(terms + c, size, n)), slope);
            store_lanes(dx + c, v_add(load_lanes(dx + c, n), through), n);
        }
    }
    return FCNN_OK;
}
