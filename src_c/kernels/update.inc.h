/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Optimizer steps, elementwise, of a list of weights. Inputs: numbers (step size, decay), then of
 * each weight the parameter, its gradient and slots. Outputs: of each weight the parameter and slots.
 * Each output may be its input: an element is read before it is written.
 */

enum { UPDATE_BLOCK = 64 };

/* A thread's way along the elements of all weights, one weight after the other. */
typedef struct {
    const fc_tensor *in, *out; /* the weight's own */
    int64_t begin, end;        /* the elements of the weight to be updated */
    const fc_call *call;
    int64_t first, last; /* of all elements, counted from those of the next weight */
    int shared, slots, weight;
} update_walk;

/* `shared` inputs come before those of the weights; a weight has `slots` beside its parameter. */
static inline update_walk walk_weights(const fc_call *call, int shared, int slots, int tid,
                                       int nthreads)
{
    update_walk walk = {.call = call, .shared = shared, .slots = slots};
    int64_t count = 0;
    for (int k = 0; k < call->n_out; k += 1 + slots)
        count += count_of(&call->out[k]);
    share_elements(count, tid, nthreads, &walk.first, &walk.last);
    return walk;
}

/* Where a share that ends before element `i` of a weight of `count` does end: a weight's elements
 * fill the same vectors for any number of threads, and threads write to lines of their own. */
static inline int64_t update_border(int64_t i, int64_t count)
{
    return min_i64(ceil_div(i, UPDATE_BLOCK) * UPDATE_BLOCK, count);
}

/* The next weight of which the thread has elements; 0: there is none. */
static inline int next_weight(update_walk *walk)
{
    const fc_call *call = walk->call;
    while (walk->last > 0 && walk->weight * (1 + walk->slots) < call->n_out) {
        walk->in = call->in + walk->shared + walk->weight * (2 + walk->slots);
        walk->out = call->out + walk->weight * (1 + walk->slots);
        int64_t count = count_of(&walk->out[0]);
        walk->begin = update_border(walk->first, count);
        walk->end = update_border(walk->last, count);
        walk->first = max_i64(walk->first - count, 0);
        walk->last -= count;
        walk->weight++;
        if (walk->begin < walk->end)
            return 1;
    }
    return 0;
}

static inline vf update_in(const update_walk *walk, int k, int64_t i, int64_t n)
{
    return load_lanes((const float *)walk->in[k].data + i, n);
}

static inline void update_out(const update_walk *walk, int k, int64_t i, int64_t n, vf a)
{
    store_lanes((float *)walk->out[k].data + i, a, n);
}

static inline vf step_size(const fc_call *call) { return v_set1(((float *)call->in[0].data)[0]); }

/* The parameter, less its decay. */
static inline vf update_parameter(const update_walk *walk, int64_t decay, int64_t i, int64_t n)
{
    vf w = update_in(walk, 0, i, n);
    return decay ? v_sub(w, v_mul(w, v_set1(((float *)walk->call->in[0].data)[1]))) : w;
}

FC_DEFINE(f32_sgd_update)
{
    FC_ATTRS(f32_sgd_update);
    update_walk walk = walk_weights(call, 1, 0, tid, nthreads);
    while (next_weight(&walk))
        for (int64_t i = walk.begin; i < walk.end; i += FC_LANES) {
            int64_t n = min_i64(walk.end - i, FC_LANES);
            vf step = v_mul(step_size(call), update_in(&walk, 1, i, n));
            update_out(&walk, 0, i, n, v_sub(update_parameter(&walk, attrs->decay, i, n), step));
        }
    return FCNN_OK;
}

FC_DEFINE(f32_momentum_update)
{
    FC_ATTRS(f32_momentum_update);
    vf momentum = v_set1((float)attrs->momentum);
    update_walk walk = walk_weights(call, 1, 1, tid, nthreads);
    while (next_weight(&walk))
        for (int64_t i = walk.begin; i < walk.end; i += FC_LANES) {
            int64_t n = min_i64(walk.end - i, FC_LANES);
            vf step = v_mul(step_size(call), update_in(&walk, 1, i, n));
            vf velocity = v_sub(v_mul(momentum, update_in(&walk, 2, i, n)), step);
            vf change = attrs->nesterov ? v_sub(v_mul(momentum, velocity), step) : velocity;
            update_out(&walk, 0, i, n, v_add(update_parameter(&walk, attrs->decay, i, n), change));
            update_out(&walk, 1, i, n, velocity);
        }
    return FCNN_OK;
}

FC_DEFINE(f32_rmsprop_update)
{
    FC_ATTRS(f32_rmsprop_update);
    vf rho = v_set1((float)attrs->rho), rest = v_set1((float)(1.0 - attrs->rho));
    vf momentum = v_set1((float)attrs->momentum), epsilon = v_set1((float)attrs->epsilon);
    int last = 1 + !!attrs->centered + (attrs->momentum != 0.0); /* slot, momentum's if any */
    update_walk walk = walk_weights(call, 1, last, tid, nthreads);
    while (next_weight(&walk))
        for (int64_t i = walk.begin; i < walk.end; i += FC_LANES) {
            int64_t n = min_i64(walk.end - i, FC_LANES);
            vf g = update_in(&walk, 1, i, n), w = update_parameter(&walk, attrs->decay, i, n);
            vf square = v_mul(rest, v_mul(g, g));
            square = v_add(v_mul(rho, update_in(&walk, 2, i, n)), square);
            vf spread = square;
            update_out(&walk, 1, i, n, square);
            if (attrs->centered) {
                vf mean = v_add(v_mul(rho, update_in(&walk, 3, i, n)), v_mul(rest, g));
                spread = v_sub(square, v_mul(mean, mean));
                update_out(&walk, 2, i, n, mean);
            }
            vf step = v_div(v_mul(step_size(call), g), v_sqrt(v_add(spread, epsilon)));
            if (attrs->momentum != 0.0) {
                step = v_add(v_mul(momentum, update_in(&walk, last + 1, i, n)), step);
                update_out(&walk, last, i, n, step);
            }
            update_out(&walk, 0, i, n, v_sub(w, step));
        }
    return FCNN_OK;
}

FC_DEFINE(f32_adam_update)
{
    FC_ATTRS(f32_adam_update);
    vf rest_1 = v_set1((float)(1.0 - attrs->beta_1)), rest_2 = v_set1((float)(1.0 - attrs->beta_2));
    vf epsilon = v_set1((float)attrs->epsilon);
    update_walk walk = walk_weights(call, 1, attrs->amsgrad ? 3 : 2, tid, nthreads);
    while (next_weight(&walk))
        for (int64_t i = walk.begin; i < walk.end; i += FC_LANES) {
            int64_t n = min_i64(walk.end - i, FC_LANES);
            vf g = update_in(&walk, 1, i, n), w = update_parameter(&walk, attrs->decay, i, n);
            vf m = update_in(&walk, 2, i, n), v = update_in(&walk, 3, i, n);
            m = v_fma(v_sub(g, m), rest_1, m);
            v = v_fma(v_sub(v_mul(g, g), v), rest_2, v);
            update_out(&walk, 1, i, n, m);
            update_out(&walk, 2, i, n, v);
            if (attrs->amsgrad) {
                v = v_maximum(update_in(&walk, 4, i, n), v);
                update_out(&walk, 3, i, n, v);
            }
            vf step = v_div(v_mul(step_size(call), m), v_add(v_sqrt(v), epsilon));
            update_out(&walk, 0, i, n, v_sub(w, step));
        }
    return FCNN_OK;
}

FC_DEFINE(f32_adagrad_update)
{
    FC_ATTRS(f32_adagrad_update);
    vf epsilon = v_set1((float)attrs->epsilon);
    update_walk walk = walk_weights(call, 1, 1, tid, nthreads);
    while (next_weight(&walk))
        for (int64_t i = walk.begin; i < walk.end; i += FC_LANES) {
            int64_t n = min_i64(walk.end - i, FC_LANES);
            vf g = update_in(&walk, 1, i, n), w = update_parameter(&walk, attrs->decay, i, n);
            vf accumulator = v_fma(g, g, update_in(&walk, 2, i, n));
            vf step = v_div(v_mul(step_size(call), g), v_sqrt(v_add(accumulator, epsilon)));
            update_out(&walk, 0, i, n, v_sub(w, step));
            update_out(&walk, 1, i, n, accumulator);
        }
    return FCNN_OK;
}

FC_DEFINE(f32_ema_update)
{
    FC_ATTRS(f32_ema_update);
    vf momentum = v_set1((float)attrs->momentum), rest = v_set1((float)(1.0 - attrs->momentum));
    update_walk walk = walk_weights(call, 0, 0, tid, nthreads);
    while (next_weight(&walk))
        for (int64_t i = walk.begin; i < walk.end; i += FC_LANES) {
            int64_t n = min_i64(walk.end - i, FC_LANES);
            vf value = v_mul(update_in(&walk, 1, i, n), rest);
            update_out(&walk, 0, i, n, v_fma(update_in(&walk, 0, i, n), momentum, value));
        }
    return FCNN_OK;
}
