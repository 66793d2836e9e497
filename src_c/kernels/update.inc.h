/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Optimizer steps, elementwise. Inputs: parameter, gradient, numbers (step size, decay), slots.
 * Outputs: parameter, slots. Each output may be its input: an element is read before it is written.
 */

static inline vf update_in(const fc_call *call, int k, int64_t i, int64_t n)
{
    return load_lanes((const float *)call->in[k].data + i, n);
}

static inline void update_out(const fc_call *call, int k, int64_t i, int64_t n, vf a)
{
    store_lanes((float *)call->out[k].data + i, a, n);
}

static inline vf step_size(const fc_call *call) { return v_set1(((float *)call->in[2].data)[0]); }

/* The parameter, less its decay. */
static inline vf update_parameter(const fc_call *call, int64_t decay, int64_t i, int64_t n)
{
    vf w = update_in(call, 0, i, n);
    return decay ? v_sub(w, v_mul(w, v_set1(((float *)call->in[2].data)[1]))) : w;
}

FC_DEFINE(f32_sgd_update)
{
    FC_ATTRS(f32_sgd_update);
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf step = v_mul(step_size(call), update_in(call, 1, i, n));
        update_out(call, 0, i, n, v_sub(update_parameter(call, attrs->decay, i, n), step));
    }
    return FCNN_OK;
}

FC_DEFINE(f32_momentum_update)
{
    FC_ATTRS(f32_momentum_update);
    vf momentum = v_set1((float)attrs->momentum);
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf step = v_mul(step_size(call), update_in(call, 1, i, n));
        vf velocity = v_sub(v_mul(momentum, update_in(call, 3, i, n)), step);
        vf change = attrs->nesterov ? v_sub(v_mul(momentum, velocity), step) : velocity;
        update_out(call, 0, i, n, v_add(update_parameter(call, attrs->decay, i, n), change));
        update_out(call, 1, i, n, velocity);
    }
    return FCNN_OK;
}

FC_DEFINE(f32_rmsprop_update)
{
    FC_ATTRS(f32_rmsprop_update);
    vf rho = v_set1((float)attrs->rho), rest = v_set1((float)(1.0 - attrs->rho));
    vf momentum = v_set1((float)attrs->momentum), epsilon = v_set1((float)attrs->epsilon);
    int last = call->n_out - 1; /* the momentum slot, where there is one */
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf g = update_in(call, 1, i, n), w = update_parameter(call, attrs->decay, i, n);
        vf square = v_mul(rest, v_mul(g, g));
        square = v_add(v_mul(rho, update_in(call, 3, i, n)), square);
        vf spread = square;
        update_out(call, 1, i, n, square);
        if (attrs->centered) {
            vf mean = v_add(v_mul(rho, update_in(call, 4, i, n)), v_mul(rest, g));
            spread = v_sub(square, v_mul(mean, mean));
            update_out(call, 2, i, n, mean);
        }
        vf step = v_div(v_mul(step_size(call), g), v_sqrt(v_add(spread, epsilon)));
        if (attrs->momentum != 0.0) {
            step = v_add(v_mul(momentum, update_in(call, last + 2, i, n)), step);
            update_out(call, last, i, n, step);
        }
        update_out(call, 0, i, n, v_sub(w, step));
    }
    return FCNN_OK;
}

FC_DEFINE(f32_adam_update)
{
    FC_ATTRS(f32_adam_update);
    vf rest_1 = v_set1((float)(1.0 - attrs->beta_1)), rest_2 = v_set1((float)(1.0 - attrs->beta_2));
    vf epsilon = v_set1((float)attrs->epsilon);
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf g = update_in(call, 1, i, n), w = update_parameter(call, attrs->decay, i, n);
        vf m = update_in(call, 3, i, n), v = update_in(call, 4, i, n);
        m = v_fma(v_sub(g, m), rest_1, m);
        v = v_fma(v_sub(v_mul(g, g), v), rest_2, v);
        update_out(call, 1, i, n, m);
        update_out(call, 2, i, n, v);
        if (attrs->amsgrad) {
            v = v_maximum(update_in(call, 5, i, n), v);
            update_out(call, 3, i, n, v);
        }
        vf step = v_div(v_mul(step_size(call), m), v_add(v_sqrt(v), epsilon));
        update_out(call, 0, i, n, v_sub(w, step));
    }
    return FCNN_OK;
}

FC_DEFINE(f32_adagrad_update)
{
    FC_ATTRS(f32_adagrad_update);
    vf epsilon = v_set1((float)attrs->epsilon);
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf g = update_in(call, 1, i, n), w = update_parameter(call, attrs->decay, i, n);
        vf accumulator = v_fma(g, g, update_in(call, 3, i, n));
        vf step = v_div(v_mul(step_size(call), g), v_sqrt(v_add(accumulator, epsilon)));
        update_out(call, 0, i, n, v_sub(w, step));
        update_out(call, 1, i, n, accumulator);
    }
    return FCNN_OK;
}

FC_DEFINE(f32_ema_update)
{
    FC_ATTRS(f32_ema_update);
    vf momentum = v_set1((float)attrs->momentum), rest = v_set1((float)(1.0 - attrs->momentum));
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += FC_LANES) {
        int64_t n = min_i64(end - i, FC_LANES);
        vf value = v_mul(update_in(call, 1, i, n), rest);
        update_out(call, 0, i, n, v_fma(update_in(call, 0, i, n), momentum, value));
    }
    return FCNN_OK;
}
