/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient for the input of a depthwise convolution of stride 1, and of one in groups of few
 * channels: the same convolution over dy with turned filters, by the blocks of
 * conv_depthwise_fused.inc.h. Strides and other sizes of filter are left to the plain kernels.
 *
 * Scratch: filters (R, S, each, C), then a bias of zeros (C).
 */
struct turned {
    int64_t R, S, each, C, pad_top, pad_left;
};

/* w is (R, S, C, 1) where each == 1 and (R, S, each, C) elsewhere; the same floats either way. */
static struct depthwise turned_of(const fc_call *call, const struct turned *t)
{
    const fc_tensor *dy = call->in, *dx = call->out;
    float *filters = (float *)call->scratch;
    return (struct depthwise){
        .N = dy->dim[0],
        .H = dy->dim[1],
        .W = dy->dim[2],
        .C = t->C,
        .P = dx->dim[1],
        .Q = dx->dim[2],
        .R = t->R,
        .S = t->S,
        .stride_h = 1,
        .stride_w = 1,
        .dilation_h = 1,
        .dilation_w = 1,
        .x_pixel = t->C,
        .y_pixel = t->C,
        .pad_top = t->R - 1 - t->pad_top,
        .pad_left = t->S - 1 - t->pad_left,
        .each = t->each,
        .x = dy->data,
        .filter = filters,
        .bias = filters + t->R * t->S * t->each * t->C,
        .y = dx->data,
        .lower = -INFINITY,
        .upper = INFINITY,
    };
}

/* Bytes of scratch, or -1 where no block is compiled for these filters. */
static int64_t turned_plan(const fc_call *call, const struct turned *t, int64_t strides,
                           int64_t dilations)
{
    const struct depthwise g = turned_of(call, t);
    if (strides != 1 || dilations != 1 || g.C != call->in->dim[3] || g.pad_top < 0 ||
        g.pad_left < 0 || !depthwise_family_of(&g))
        return -1;
    return (t->R * t->S * t->each + 1) * t->C * (int64_t)sizeof(float);
}

/* Taps from last to first; within a group, inputs and outputs exchanged. */
static void turn_filters(const fc_call *call, const struct turned *t, int tid, int nthreads)
{
    const float *from = call->in[1].data;
    float *to = (float *)call->scratch;
    int64_t taps = t->R * t->S, begin, end;
    share(taps * t->each + 1, tid, nthreads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        int64_t tap = row / t->each, k = row % t->each;
        for (int64_t c = 0; c < t->C; c++) {
            int64_t first = c / t->each * t->each, at = c % t->each * t->C + first + k;
            to[row * t->C + c] = tap < taps ? from[(taps - 1 - tap) * t->each * t->C + at] : 0.0f;
        }
    }
}

static void turned_run(const fc_call *call, const struct turned *t, int tid, int nthreads)
{
    const struct depthwise g = turned_of(call, t);
    turn_filters(call, t, tid, nthreads);
    fc_sync(call);
    depthwise_fused(&g, tid, nthreads);
}

/* The filter (R, S, C, 1), or that of each group. */
#define TURNED(channels_of_a_group)                                                                \
    {.R = call->in[1].dim[0],                                                                      \
     .S = call->in[1].dim[1],                                                                      \
     .each = (channels_of_a_group),                                                                \
     .C = call->out[0].dim[3],                                                                     \
     .pad_top = attrs->pad_top,                                                                    \
     .pad_left = attrs->pad_left}

FC_DEFINE_PLAN(f32_depthwise_conv2d_grad_input_turned)
{
    FC_ATTRS(f32_depthwise_conv2d_grad_input_turned);
    const struct turned t = TURNED(1);
    (void)nthreads;
    return turned_plan(call, &t, attrs->stride_h * attrs->stride_w,
                       attrs->dilation_h * attrs->dilation_w);
}

FC_DEFINE(f32_depthwise_conv2d_grad_input_turned)
{
    FC_ATTRS(f32_depthwise_conv2d_grad_input_turned);
    const struct turned t = TURNED(1);
    turned_run(call, &t, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_conv2d_grad_input_turned)
{
    FC_ATTRS(f32_conv2d_grad_input_turned);
    const struct turned t = TURNED(call->in[1].dim[2]);
    (void)nthreads;
    if (attrs->groups == 1)
        return -1;
    return turned_plan(call, &t, attrs->stride_h * attrs->stride_w,
                       attrs->dilation_h * attrs->dilation_w);
}

FC_DEFINE(f32_conv2d_grad_input_turned)
{
    FC_ATTRS(f32_conv2d_grad_input_turned);
    const struct turned t = TURNED(call->in[1].dim[2]);
    turned_run(call, &t, tid, nthreads);
    return FCNN_OK;
}
