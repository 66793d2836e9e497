/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of batch and group normalisation, over the shapes and the scratch of norm.inc.h.
 * Inputs: dy, x, gamma, the mean of each (segment, group), its variance or reciprocal deviation.
 * Pass 1 sums dy and dy * (x - mean) per segment and channel; pass 2 makes dx from both.
 */

enum { SLOPE = 1, PULL = 2, LEVEL = 3 }; /* tables: dx = dy*slope - ((x - center)*pull + level) */

static inline double rstd_at(const fc_call *call, int64_t at, double epsilon, int has_variance)
{
    double spread = ((const float *)call->in[4].data)[at];
    return has_variance ? 1.0 / sqrt(spread + epsilon) : spread;
}

static void fill_centers(const fc_call *call, norm_shape s, int tid, int nthreads)
{
    const float *mean = call->in[3].data;
    int64_t width = s.channels / s.groups, first, last;
    share(s.segments * s.channels, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++)
        norm_table(call, s, CENTER, 0)[i] = mean[i / width];
}

/* partial = sums of dy, then of dy * (x - center), of each block and channel. */
static void all_block_products(const fc_call *call, norm_shape s, int tid, int nthreads)
{
    const float *dy = call->in[0].data, *x = call->in[1].data;
    int64_t first, last, C = s.channels;
    share(norm_items(s), tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        norm_item it = norm_item_at(s, i);
        int64_t start = (it.segment * s.rows + it.block * s.block) * C;
        float *partial = norm_partial(call, s, it.segment, it.block);
        for (int64_t c = it.begin; c < it.end; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, it.end - c);
            vf center = load_lanes(norm_table(call, s, CENTER, it.segment) + c, n);
            vf sum = v_zero(), products = v_zero();
            for (int64_t row = 0; row < norm_block_rows(s, it.block); row++) {
                int64_t at = start + row * C + c;
                vf d = load_lanes(dy + at, n);
                sum = v_add(sum, d);
                products = v_fma(d, v_sub(load_lanes(x + at, n), center), products);
            }
            store_lanes(partial + c, sum, n);
            store_lanes(partial + C + c, products, n);
        }
    }
}

/* Pass 1: after it, block 0 of every segment holds the sums [2][C] over the segment's rows. */
static void segment_products(const fc_call *call, norm_shape s, int tid, int nthreads)
{
    int64_t vectors = ceil_div(s.channels, FC_LANES), first, last;
    fill_centers(call, s, tid, nthreads);
    fc_sync(call);
    all_block_products(call, s, tid, nthreads);
    fc_sync(call);
    share(s.segments * vectors, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        int64_t c = i % vectors * FC_LANES;
        merge_sums(norm_partial(call, s, i / vectors, 0), s.blocks, s.channels, c,
                   min_i64(FC_LANES, s.channels - c));
    }
    fc_sync(call);
}

/* Tables of one group; statistics that do not depend on x pull nothing back. */
static void group_tables(const fc_call *call, norm_shape s, int64_t segment, int64_t group,
                         double rstd, int statistics_depend_on_x)
{
    const float *gamma = call->in[2].data;
    const float *sums = norm_partial(call, s, segment, 0), *products = sums + s.channels;
    int64_t width = s.channels / s.groups, begin = group * width;
    double level = 0, pull = 0;
    for (int64_t c = begin; c < begin + width && statistics_depend_on_x; c++) {
        level += (double)gamma[c] * (double)sums[c];
        pull += (double)gamma[c] * (double)products[c];
    }
    level *= rstd / (double)(width * s.rows);
    pull *= rstd * rstd * rstd / (double)(width * s.rows);
    for (int64_t c = begin; c < begin + width; c++) {
        norm_table(call, s, SLOPE, segment)[c] = (float)((double)gamma[c] * rstd);
        norm_table(call, s, PULL, segment)[c] = (float)pull;
        norm_table(call, s, LEVEL, segment)[c] = (float)level;
    }
}

/* dgamma and dbeta of channel c: over segments, in order. */
static void channel_gradients(const fc_call *call, norm_shape s, int64_t c, double epsilon,
                              int has_variance)
{
    int64_t group = c / (s.channels / s.groups);
    double sum = 0, products = 0;
    for (int64_t segment = 0; segment < s.segments; segment++) {
        const float *partial = norm_partial(call, s, segment, 0);
        sum += (double)partial[c];
        products += (double)partial[s.channels + c] *
                    rstd_at(call, segment * s.groups + group, epsilon, has_variance);
    }
    ((float *)call->out[1].data)[c] = (float)products;
    ((float *)call->out[2].data)[c] = (float)sum;
}

/* Pass 2: dx = dy * slope - ((x - center) * pull + level). */
static void apply_gradient_tables(const fc_call *call, norm_shape s, int tid, int nthreads)
{
    const float *dy = call->in[0].data, *x = call->in[1].data;
    float *dx = call->out[0].data;
    int64_t first, last, C = s.channels;
    share(s.segments * s.rows, tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *center = norm_table(call, s, CENTER, row / s.rows);
        const float *slope = norm_table(call, s, SLOPE, row / s.rows);
        const float *pull = norm_table(call, s, PULL, row / s.rows);
        const float *level = norm_table(call, s, LEVEL, row / s.rows);
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c), at = row * C + c;
            vf d = v_sub(load_lanes(x + at, n), load_lanes(center + c, n));
            vf back = v_fma(d, load_lanes(pull + c, n), load_lanes(level + c, n));
            vf ahead = v_mul(load_lanes(dy + at, n), load_lanes(slope + c, n));
            store_lanes(dx + at, v_sub(ahead, back), n);
        }
    }
}

static void norm_gradient(const fc_call *call, norm_shape s, double epsilon, int has_variance,
                          int statistics_depend_on_x, int tid, int nthreads)
{
    int64_t first, last;
    segment_products(call, s, tid, nthreads);
    share(s.segments * s.groups, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++)
        group_tables(call, s, i / s.groups, i % s.groups, rstd_at(call, i, epsilon, has_variance),
                     statistics_depend_on_x);
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++)
        channel_gradients(call, s, c, epsilon, has_variance);
    fc_sync(call);
    apply_gradient_tables(call, s, tid, nthreads);
}

FC_DEFINE_PLAN(f32_batch_norm_grad)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

FC_DEFINE(f32_batch_norm_grad)
{
    FC_ATTRS(f32_batch_norm_grad);
    norm_gradient(call, batch_norm_shape(&call->in[0]), attrs->epsilon, 1, 1, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_group_norm_grad)
{
    (void)nthreads;
    return norm_scratch(group_norm_shape(call, &call->in[3]));
}

FC_DEFINE(f32_group_norm_grad)
{
    norm_gradient(call, group_norm_shape(call, &call->in[3]), 0.0, 0, 1, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_batch_norm_inference_grad)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

/* Outputs 3 and 4 are the gradients of the given mean and variance. */
FC_DEFINE(f32_batch_norm_inference_grad)
{
    FC_ATTRS(f32_batch_norm_inference_grad);
    norm_shape s = batch_norm_shape(&call->in[0]);
    norm_gradient(call, s, attrs->epsilon, 1, 0, tid, nthreads);
    const float *gamma = call->in[2].data;
    const float *sums = norm_partial(call, s, 0, 0), *products = sums + s.channels;
    float *dmean = call->out[3].data, *dvariance = call->out[4].data;
    int64_t first, last;
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++) {
        double rstd = rstd_at(call, c, attrs->epsilon, 1), slope = (double)gamma[c] * rstd;
        dmean[c] = (float)(-slope * (double)sums[c]);
        dvariance[c] = (float)(-0.5 * slope * rstd * rstd * (double)products[c]);
    }
    return FCNN_OK;
}
