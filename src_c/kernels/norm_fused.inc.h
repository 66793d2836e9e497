/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch normalisation of a training step with a sum and bounds behind it, and its gradients, over the
 * shapes, the scratch and the passes of norm.inc.h and norm_grad.inc.h. Without a sum the gradient
 * normalises x again to see where the bounds held: x and dy are all that it reads. Behind a sum it
 * asks y, and hands out what arrived there, which the other summand wants as well.
 */

/* This thread's rows; `residual` may be NULL. */
static void fused_share(const fc_call *call, norm_shape s, norm_map m, const fc_tensor *residual,
                        double lower, double upper, int tid, int nthreads)
{
    int64_t first, last;
    m.x = call->in[0].data, m.ldx = call->in[0].ld;
    m.y = call->out[0].data, m.ldy = call->out[0].ld;
    m.residual = residual ? residual->data : NULL;
    m.channels = s.channels;
    m.lower = v_set1((float)lower), m.upper = v_set1((float)upper);
    share(s.rows, tid, nthreads, &first, &last);
    apply_map(&m, first, last);
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
    int64_t first, last;
    fill_tables(call, s, attrs->epsilon, 1, tid, nthreads);
    norm_map m = {.center = norm_table(call, s, CENTER, 0),
                  .scale = norm_table(call, s, SCALE, 0),
                  .offset = norm_table(call, s, OFFSET, 0)};
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++) {
        ((float *)call->out[3].data)[c] = m.scale[c];
        ((float *)call->out[4].data)[c] = m.offset[c];
    }
    const fc_tensor *residual = call->n_in - !!attrs->block > 3 ? &call->in[3] : NULL;
    fused_share(call, s, m, residual, attrs->lower, attrs->upper, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE(f32_fused_batch_norm_again)
{
    FC_ATTRS(f32_fused_batch_norm_again);
    norm_map m = {
        .center = call->in[1].data, .scale = call->in[2].data, .offset = call->in[3].data};
    fused_share(call, batch_norm_shape(&call->in[0]), m, call->n_in > 4 ? &call->in[4] : NULL,
                attrs->lower, attrs->upper, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_fused_batch_norm_grad)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

FC_DEFINE(f32_fused_batch_norm_grad)
{
    FC_ATTRS(f32_fused_batch_norm_grad);
    norm_gate gate = {.kind = GATE_BY_X,
                      .beta = call->in[5].data,
                      .residual = call->n_in > 6 ? &call->in[6] : NULL,
                      .lower = v_set1((float)attrs->lower),
                      .upper = v_set1((float)attrs->upper)};
    norm_gradient(call, batch_norm_shape(&call->in[0]), gate, attrs->epsilon, 1, 1, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_fused_batch_norm_sum_grad)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

FC_DEFINE(f32_fused_batch_norm_sum_grad)
{
    FC_ATTRS(f32_fused_batch_norm_sum_grad);
    norm_gate gate = {.kind = GATE_BY_Y,
                      .y = &call->in[5],
                      .arrived = call->out[3].data,
                      .lower = v_set1((float)attrs->lower),
                      .upper = v_set1((float)attrs->upper)};
    norm_gradient(call, batch_norm_shape(&call->in[0]), gate, attrs->epsilon, 1, 1, tid, nthreads);
    return FCNN_OK;
}
