/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient for the input of a depthwise convolution of stride 1: the same convolution over dy with
 * turned filters, by the blocks of conv_depthwise_fused.inc.h. Strides are left to the plain kernel.
 *
 * Scratch: filters (R, S, C), then a bias of zeros (C), then each thread's lines.
 */
/* The convolution over dy that makes dx, without filters and bias. */
#define TURNED(call, channels_of_a_group)                                                          \
    {.N = (call)->in[0].dim[0],                                                                    \
     .H = (call)->in[0].dim[1],                                                                    \
     .W = (call)->in[0].dim[2],                                                                    \
     .C = (call)->out[0].dim[3],                                                                   \
     .P = (call)->out[0].dim[1],                                                                   \
     .Q = (call)->out[0].dim[2],                                                                   \
     .R = (call)->in[1].dim[0],                                                                    \
     .S = (call)->in[1].dim[1],                                                                    \
     .stride_h = 1,                                                                                \
     .stride_w = 1,                                                                                \
     .dilation_h = attrs->dilation_h,                                                              \
     .dilation_w = attrs->dilation_w,                                                              \
     .pad_top = ((call)->in[1].dim[0] - 1) * attrs->dilation_h - attrs->pad_top,                   \
     .pad_left = ((call)->in[1].dim[1] - 1) * attrs->dilation_w - attrs->pad_left,                 \
     .x_pixel = (call)->in[0].dim[3],                                                              \
     .y_pixel = (call)->out[0].dim[3],                                                             \
     .each = (channels_of_a_group),                                                                \
     .x = (call)->in[0].data,                                                                      \
     .y = (call)->out[0].data,                                                                     \
     .lower = -INFINITY,                                                                           \
     .upper = INFINITY}

static struct depthwise turned_of(const fc_call *call)
{
    FC_ATTRS(f32_depthwise_conv2d_grad_input_turned);
    struct depthwise d = TURNED(call, 1);
    d.filter = (const float *)call->scratch;
    d.bias = d.filter + d.R * d.S * d.C;
    return d;
}

/* Of filters and bias, whole lines of the cache. */
static int64_t turned_floats(const struct depthwise *d)
{
    return ceil_div((d->R * d->S + 1) * d->C, LINE_FLOATS) * LINE_FLOATS;
}

/* -1 where there are strides, or several filters a channel. */
FC_DEFINE_PLAN(f32_depthwise_conv2d_grad_input_turned)
{
    FC_ATTRS(f32_depthwise_conv2d_grad_input_turned);
    const struct depthwise g = turned_of(call);
    if (attrs->stride_h * attrs->stride_w != 1 || g.C != call->in->dim[3])
        return -1;
    return (turned_floats(&g) + nthreads * depthwise_cut_of(&g).floats) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_depthwise_conv2d_grad_input_turned)
{
    const struct depthwise g = turned_of(call);
    const float *from = call->in[1].data;
    float *to = (float *)call->scratch;
    int64_t taps = g.R * g.S, begin, end;
    share(taps + 1, tid, nthreads, &begin, &end);
    for (int64_t tap = begin; tap < end; tap++)
        for (int64_t c = 0; c < g.C; c++)
            to[tap * g.C + c] = tap < taps ? from[(taps - 1 - tap) * g.C + c] : 0.0f;
    fc_sync(call);
    depthwise_fused(&g, to + turned_floats(&g), tid, nthreads);
    return FCNN_OK;
}
