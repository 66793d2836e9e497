/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch normalisation of a training step with a sum and bounds behind it, and its gradient, over the
 * shapes, the scratch and the passes of norm.inc.h and norm_grad.inc.h. The gradient normalises x
 * again to see where the bounds held: x and dy are all that it reads.
 */

/* y = min(max((x - center) * scale + offset + residual, lower), upper) over rows [first, last). */
FC_INLINE void fused_apply(const fc_call *call, int64_t C, const float *center, const float *scale,
                           const float *offset, const float *residual, vf lower, vf upper,
                           int64_t first, int64_t last)
{
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    for (int64_t row = first; row < last; row++)
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c), at = row * C + c;
            vf d = v_sub(load_lanes(x + at, n), load_lanes(center + c, n));
            vf value = v_fma(d, load_lanes(scale + c, n), load_lanes(offset + c, n));
            if (residual)
                value = v_add(value, load_lanes(residual + at, n));
            store_lanes(y + at, v_min(upper, v_max(lower, value)), n);
        }
}

/* This thread's rows; input `after` is the residual, if there is one. */
static void fused_share(const fc_call *call, norm_shape s, const float *center, const float *scale,
                        const float *offset, const fc_tensor *residual, vf lower, vf upper, int tid,
                        int nthreads)
{
    int64_t first, last;
    share(s.rows, tid, nthreads, &first, &last);
    if (residual)
        fused_apply(call, s.channels, center, scale, offset, residual->data, lower, upper, first,
                    last);
    else
        fused_apply(call, s.channels, center, scale, offset, NULL, lower, upper, first, last);
}

/* The last of the inputs are moments of every `block` rows, where that is not 0. */
static norm_shape fused_norm_shape(const fc_call *call)
{
    FC_ATTRS(f32_fused_batch_norm_train);
    norm_shape s = batch_norm_shape(&call->in[0]);
    if (attrs->block) {
        s.block = attrs->block;
        s.blocks = ceil_div(s.rows, s.block);
        s.given = call->in[call->n_in - 1].data;
    }
    return s;
}

FC_DEFINE_PLAN(f32_fused_batch_norm_train)
{
    (void)nthreads;
    return norm_scratch(fused_norm_shape(call));
}

FC_DEFINE(f32_fused_batch_norm_train)
{
    FC_ATTRS(f32_fused_batch_norm_train);
    norm_shape s = fused_norm_shape(call);
    vf lower = v_set1((float)attrs->lower), upper = v_set1((float)attrs->upper);
    int64_t first, last;
    fill_tables(call, s, attrs->epsilon, 1, tid, nthreads);
    const float *scale = norm_table(call, s, SCALE, 0), *offset = norm_table(call, s, OFFSET, 0);
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++) {
        ((float *)call->out[3].data)[c] = scale[c];
        ((float *)call->out[4].data)[c] = offset[c];
    }
    const fc_tensor *residual = call->n_in - !!attrs->block > 3 ? &call->in[3] : NULL;
    fused_share(call, s, norm_table(call, s, CENTER, 0), scale, offset, residual, lower, upper, tid,
                nthreads);
    return FCNN_OK;
}

FC_DEFINE(f32_fused_batch_norm_again)
{
    FC_ATTRS(f32_fused_batch_norm_again);
    vf lower = v_set1((float)attrs->lower), upper = v_set1((float)attrs->upper);
    fused_share(call, batch_norm_shape(&call->in[0]), call->in[1].data, call->in[2].data,
                call->in[3].data, call->n_in > 4 ? &call->in[4] : NULL, lower, upper, tid,
                nthreads);
    return FCNN_OK;
}

/* What the gradient needs of n channels to tell where bounds held. */
struct fused_gate {
    vf center, slope, beta, lower, upper;
};

/* dy where the normalised x lies between the bounds, else 0; d = x - center. */
FC_INLINE vf fused_arrived(const struct fused_gate *gate, vf dy, vf d)
{
    vf value = v_fma(d, gate->slope, gate->beta);
    return v_and_mask(v_gt(value, gate->lower), v_and_mask(v_gt(gate->upper, value), dy));
}

static inline struct fused_gate fused_gate(const fc_call *call, norm_shape s, double lower,
                                           double upper, int64_t c, int64_t n)
{
    return (struct fused_gate){
        .center = load_lanes(norm_table(call, s, CENTER, 0) + c, n),
        .slope = load_lanes(norm_table(call, s, SLOPE, 0) + c, n),
        .beta = load_lanes((const float *)call->in[5].data + c, n),
        .lower = v_set1((float)lower),
        .upper = v_set1((float)upper),
    };
}

enum { FUSED_VECTORS = 2 }; /* at once, with what each of them needs in registers */

/* Rows from `start` on, channels from c on: `vectors` vectors, of n lanes where it is one. */
FC_INLINE void fused_block(const fc_call *call, norm_shape s, double lower, double upper,
                           int64_t start, int64_t rows, int64_t c, const int vectors, int64_t n,
                           float *partial)
{
    const float *dy = (const float *)call->in[0].data + start + c;
    const float *x = (const float *)call->in[1].data + start + c;
    struct fused_gate gate[FUSED_VECTORS];
    vf sum[FUSED_VECTORS], products[FUSED_VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        gate[v] = fused_gate(call, s, lower, upper, c + v * FC_LANES, n);
        sum[v] = products[v] = v_zero();
    }
    for (int64_t row = 0; row < rows; row++, x += s.channels, dy += s.channels)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vf d = v_sub(load_lanes(x + v * FC_LANES, n), gate[v].center);
            vf arrived = fused_arrived(&gate[v], load_lanes(dy + v * FC_LANES, n), d);
            sum[v] = v_add(sum[v], arrived);
            products[v] = v_fma(arrived, d, products[v]);
        }
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        store_lanes(partial + c + v * FC_LANES, sum[v], n);
        store_lanes(partial + s.channels + c + v * FC_LANES, products[v], n);
    }
}

/* Sums of dy and of dy * (x - center), where dy arrives, of each block and channel. */
static void fused_products(const fc_call *call, norm_shape s, double lower, double upper, int tid,
                           int nthreads)
{
    int64_t first, last, C = s.channels;
    share(norm_items(s), tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        norm_item it = norm_item_at(s, i);
        int64_t start = it.block * s.block * C, rows = norm_block_rows(s, it.block);
        float *partial = norm_partial(call, s, 0, it.block);
        int64_t c = it.begin;
        for (; c + FUSED_VECTORS * FC_LANES <= it.end; c += FUSED_VECTORS * FC_LANES)
            fused_block(call, s, lower, upper, start, rows, c, FUSED_VECTORS, FC_LANES, partial);
        for (; c < it.end; c += FC_LANES)
            fused_block(call, s, lower, upper, start, rows, c, 1, min_i64(FC_LANES, it.end - c),
                        partial);
    }
}

/* dx = dy * slope - ((x - center) * pull + level), where dy arrives. */
static void fused_backward(const fc_call *call, norm_shape s, double lower, double upper, int tid,
                           int nthreads)
{
    const float *dy = call->in[0].data, *x = call->in[1].data;
    const float *pull = norm_table(call, s, PULL, 0), *level = norm_table(call, s, LEVEL, 0);
    float *dx = call->out[0].data;
    int64_t first, last, C = s.channels;
    share(s.rows, tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++)
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c), at = row * C + c;
            const struct fused_gate gate = fused_gate(call, s, lower, upper, c, n);
            vf d = v_sub(load_lanes(x + at, n), gate.center);
            vf arrived = fused_arrived(&gate, load_lanes(dy + at, n), d);
            vf back = v_fma(d, load_lanes(pull + c, n), load_lanes(level + c, n));
            store_lanes(dx + at, v_sub(v_mul(arrived, gate.slope), back), n);
        }
}

FC_DEFINE_PLAN(f32_fused_batch_norm_grad)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

FC_DEFINE(f32_fused_batch_norm_grad)
{
    FC_ATTRS(f32_fused_batch_norm_grad);
    norm_shape s = batch_norm_shape(&call->in[0]);
    const float *gamma = call->in[2].data, *mean = call->in[3].data;
    int64_t vectors = ceil_div(s.channels, FC_LANES), first, last;
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++) {
        double rstd = rstd_at(call, c, attrs->epsilon, 1);
        norm_table(call, s, CENTER, 0)[c] = mean[c];
        norm_table(call, s, SLOPE, 0)[c] = (float)((double)gamma[c] * rstd);
    }
    fc_sync(call);
    fused_products(call, s, attrs->lower, attrs->upper, tid, nthreads);
    fc_sync(call);
    share(vectors, tid, nthreads, &first, &last);
    for (int64_t c = first * FC_LANES; c < min_i64(last * FC_LANES, s.channels); c += FC_LANES)
        merge_sums(norm_partial(call, s, 0, 0), s.blocks, s.channels, c,
                   min_i64(FC_LANES, s.channels - c));
    fc_sync(call);
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++) {
        group_tables(call, s, 0, c, rstd_at(call, c, attrs->epsilon, 1), 1);
        channel_gradients(call, s, c, attrs->epsilon, 1);
    }
    fc_sync(call);
    fused_backward(call, s, attrs->lower, attrs->upper, tid, nthreads);
    return FCNN_OK;
}
