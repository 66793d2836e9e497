/* SPDX-License-Identifier: Apache-2.0 */
/* Layer normalisation: every row of x, seen as (rows, F) with F the normalised features, has its
 * own moments; gamma and beta are (F). Partial sums of rows use merge_sums of norm.inc.h. */

enum { LAYER_SUM = 512 }; /* features summed in float before they join a double */

/* Number of features: all but the dims of `mean`, which are the leading ones. */
static inline int64_t layer_features(const fc_tensor *x, const fc_tensor *mean)
{
    return count_of(x) / max_i64(count_of(mean), 1);
}

/* a in the first n lanes, zero in the others. */
static inline vf v_set1_n(float a, int64_t n)
{
    float lanes[FC_LANES];
    v_store(lanes, v_set1(a));
    return v_load_n(lanes, n);
}

/* Sums of (x - shift) and of its square over a row of F. */
static void layer_sums(const float *x, int64_t F, float shift, double *sum, double *squares)
{
    *sum = *squares = 0;
    for (int64_t begin = 0; begin < F; begin += LAYER_SUM) {
        int64_t end = min_i64(begin + LAYER_SUM, F), f = begin;
        vf total = v_zero(), square = v_zero();
        for (; f < end; f += FC_LANES) {
            int64_t n = min_i64(FC_LANES, end - f);
            vf back = n == FC_LANES ? v_set1(shift) : v_set1_n(shift, n);
            vf d = v_sub(load_lanes(x + f, n), back);
            total = v_add(total, d);
            square = v_fma(d, d, square);
        }
        *sum += (double)v_sum(total);
        *squares += (double)v_sum(square);
    }
}

/* Mean and variance of a row: its mean first, then the moments about the rounded mean. */
static void layer_moments(const float *x, int64_t F, double *mean, double *variance)
{
    double sum, squares;
    layer_sums(x, F, x[0], &sum, &squares);
    float center = (float)((double)x[0] + sum / (double)F);
    layer_sums(x, F, center, &sum, &squares);
    double rest = sum / (double)F;
    *mean = (double)center + rest;
    *variance = squares / (double)F - rest * rest;
    *variance = *variance < 0 ? 0 : *variance;
}

/* y = (x - mean) * rstd * gamma + beta of a row; `rest` is what rounding took from the mean. */
static void layer_apply(const float *x, const float *gamma, const float *beta, int64_t F,
                        float mean, float rest, float rstd, float *y)
{
    for (int64_t f = 0; f < F; f += FC_LANES) {
        int64_t n = min_i64(FC_LANES, F - f);
        vf d = v_sub(v_sub(load_lanes(x + f, n), v_set1(mean)), v_set1(rest));
        vf hat = v_mul(d, v_set1(rstd));
        store_lanes(y + f, v_fma(hat, load_lanes(gamma + f, n), load_lanes(beta + f, n)), n);
    }
}

FC_DEFINE(f32_layer_norm)
{
    FC_ATTRS(f32_layer_norm);
    const float *x = call->in[0].data, *gamma = call->in[1].data, *beta = call->in[2].data;
    float *y = call->out[0].data, *means = call->out[1].data, *rstds = call->out[2].data;
    int64_t F = layer_features(&call->in[0], &call->out[1]), first, last;
    share(count_of(&call->out[1]), tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        double mean, variance;
        layer_moments(x + row * F, F, &mean, &variance);
        means[row] = (float)mean;
        rstds[row] = (float)(1.0 / sqrt(variance + attrs->epsilon));
        layer_apply(x + row * F, gamma, beta, F, means[row], (float)(mean - (double)means[row]),
                    rstds[row], y + row * F);
    }
    return FCNN_OK;
}

/* Means over a row of g = dy * gamma and of g * (x - mean) * rstd. */
static void layer_products(const float *dy, const float *x, const float *gamma, int64_t F,
                           float mean, float rstd, float *level, float *pull)
{
    double sum = 0, products = 0;
    for (int64_t begin = 0; begin < F; begin += LAYER_SUM) {
        int64_t end = min_i64(begin + LAYER_SUM, F);
        vf total = v_zero(), product = v_zero();
        for (int64_t f = begin; f < end; f += FC_LANES) {
            int64_t n = min_i64(FC_LANES, end - f); /* g is zero in the lanes past n */
            vf g = v_mul(load_lanes(dy + f, n), load_lanes(gamma + f, n));
            total = v_add(total, g);
            product = v_fma(g, v_sub(load_lanes(x + f, n), v_set1(mean)), product);
        }
        sum += (double)v_sum(total);
        products += (double)v_sum(product);
    }
    *level = (float)(sum / (double)F);
    *pull = (float)(products * (double)rstd / (double)F);
}

/* dx of a row; dy * hat and dy are added to partial[2][F]. */
static void layer_grad_row(const float *dy, const float *x, const float *gamma, int64_t F,
                           float mean, float rstd, float *dx, float *partial)
{
    float level, pull;
    layer_products(dy, x, gamma, F, mean, rstd, &level, &pull);
    for (int64_t f = 0; f < F; f += FC_LANES) {
        int64_t n = min_i64(FC_LANES, F - f);
        vf d = load_lanes(dy + f, n);
        vf hat = v_mul(v_sub(load_lanes(x + f, n), v_set1(mean)), v_set1(rstd));
        vf back = v_fma(hat, v_set1(pull), v_set1(level));
        vf g = v_sub(v_mul(d, load_lanes(gamma + f, n)), back);
        store_lanes(dx + f, v_mul(g, v_set1(rstd)), n);
        store_lanes(partial + f, v_fma(d, hat, load_lanes(partial + f, n)), n);
        store_lanes(partial + F + f, v_add(d, load_lanes(partial + F + f, n)), n);
    }
}

FC_DEFINE_PLAN(f32_layer_norm_grad)
{
    int64_t rows = count_of(&call->in[3]), F = layer_features(&call->in[0], &call->in[3]);
    (void)nthreads;
    return ceil_div(rows, NORM_ROWS) * 2 * F * (int64_t)sizeof(float);
}

FC_DEFINE(f32_layer_norm_grad)
{
    const float *dy = call->in[0].data, *x = call->in[1].data, *gamma = call->in[2].data;
    const float *mean = call->in[3].data, *rstd = call->in[4].data;
    float *dx = call->out[0].data, *partials = (float *)call->scratch;
    int64_t rows = count_of(&call->in[3]), F = layer_features(&call->in[0], &call->in[3]);
    int64_t blocks = ceil_div(rows, NORM_ROWS), first, last;
    share(blocks, tid, nthreads, &first, &last);
    for (int64_t block = first; block < last; block++) {
        float *partial = partials + block * 2 * F;
        memset(partial, 0, (size_t)(2 * F) * sizeof(float));
        for (int64_t i = block * NORM_ROWS; i < min_i64((block + 1) * NORM_ROWS, rows); i++)
            layer_grad_row(dy + i * F, x + i * F, gamma, F, mean[i], rstd[i], dx + i * F, partial);
    }
    fc_sync(call);
    share(ceil_div(F, FC_LANES), tid, nthreads, &first, &last);
    for (int64_t f = first * FC_LANES; f < min_i64(last * FC_LANES, F); f += FC_LANES) {
        int64_t n = min_i64(FC_LANES, F - f);
        merge_sums(partials, blocks, F, f, n);
        store_lanes((float *)call->out[1].data + f, load_lanes(partials + f, n), n);
        store_lanes((float *)call->out[2].data + f, load_lanes(partials + F + f, n), n);
    }
    return FCNN_OK;
}
