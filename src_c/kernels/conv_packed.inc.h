/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of packed convolutions: as they stand, or behind a norm and an activation.
 */

/* The tensors of a fused convolution: x, filters, a bias and a residual if there are such. */
#define EPILOGUE(call)                                                                             \
    {.bias = (call)->n_in > 2 ? (call)->in[2].data : NULL,                                         \
     .residual = (call)->n_in > 3 ? (call)->in[3].data : NULL,                                     \
     .lower = (float)attrs->lower,                                                                 \
     .upper = (float)attrs->upper}

static struct conv_grid conv_packed_grid(const fc_call *call)
{
    FC_ATTRS(f32_packed_conv2d);
    const fc_tensor *x = call->in, *y = call->out;
    int64_t R = attrs->taps_h, S = attrs->taps_w, G = attrs->groups;
    int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], P = y->dim[1], Q = y->dim[2];
    int64_t x_ld = x->ld, y_ld = y->ld;
    return (struct conv_grid){
        .h = forward_axis(H, R, attrs->stride_h, attrs->pad_top, attrs->dilation_h),
        .w = forward_axis(W, S, attrs->stride_w, attrs->pad_left, attrs->dilation_w),
        .N = x->dim[0],
        .P = P,
        .Q = Q,
        .groups = G,
        .depth = C / G,
        .columns = y->dim[3] / G,
        .a = x->data,
        .a_image = H * W * x_ld,
        .a_row = W * x_ld,
        .a_pixel = x_ld,
        .b = call->in[1].data,
        .b_row = S * (C / G) * PANEL_COLUMNS,
        .b_tap = C / G * PANEL_COLUMNS,
        .b_group = R * S * (C / G) * PANEL_COLUMNS,
        .y = y->data,
        .y_image = P * Q * y_ld,
        .y_row = Q * y_ld,
        .y_pixel = y_ld,
    };
}

FC_DEFINE_PLAN(f32_packed_conv2d)
{
    const struct conv_grid grid = conv_packed_grid(call);
    if (call->n_out > 1)
        return 0;
    if (!conv_is_stem(&grid))
        return conv_narrow_plan(&grid, nthreads);
    const struct stem stem = stem_of(&grid);
    return nthreads * stem_lines(&stem) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_packed_conv2d)
{
    FC_ATTRS(f32_packed_conv2d);
    const struct conv_grid grid = conv_packed_grid(call);
    const struct entrance none = {.scale = NULL};
    const struct epilogue epilogue = EPILOGUE(call);
    float *moments = call->n_out > 1 ? call->out[1].data : NULL;
    if (moments)
        conv_packed_walk(&grid, &none, &epilogue, moments, tid, nthreads);
    else if (conv_is_stem(&grid))
        stem_walk(&grid, &epilogue, (float *)call->scratch, tid, nthreads);
    else
        conv_grid_walk(&grid, &epilogue, call->scratch, tid, nthreads);
    return FCNN_OK;
}

/* Floats of a block's pixels, a multiple of a cache line. */
static int64_t conv_entered(const fc_call *call)
{
    return CONV_TILES * FC_PANEL_ROWS * ceil_div(call->in[0].dim[3], PANEL_COLUMNS) * PANEL_COLUMNS;
}

FC_DEFINE_PLAN(f32_preactivated_conv2d)
{
    return nthreads * conv_entered(call) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_preactivated_conv2d)
{
    FC_ATTRS(f32_preactivated_conv2d);
    const fc_tensor *x = call->in, *y = call->out;
    int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3];
    const struct conv_grid grid = {
        .h = forward_axis(H, 1, 1, 0, 1),
        .w = forward_axis(W, 1, 1, 0, 1),
        .N = x->dim[0],
        .P = H,
        .Q = W,
        .groups = 1,
        .depth = C,
        .columns = y->dim[3],
        .a = x->data,
        .a_image = H * W * x->ld,
        .a_row = W * x->ld,
        .a_pixel = x->ld,
        .b = call->in[1].data,
        .b_row = C * PANEL_COLUMNS,
        .b_tap = C * PANEL_COLUMNS,
        .b_group = C * PANEL_COLUMNS,
        .y = y->data,
        .y_image = H * W * y->ld,
        .y_row = W * y->ld,
        .y_pixel = y->ld,
    };
    const struct entrance entrance = {
        .scale = call->in[3].data,
        .shift = call->in[4].data,
        .lower = (float)attrs->enter_lower,
        .upper = (float)attrs->enter_upper,
        .pixels = (float *)call->scratch + tid * conv_entered(call),
    };
    const struct epilogue epilogue = {
        .bias = call->in[2].data, .lower = (float)attrs->lower, .upper = (float)attrs->upper};
    conv_packed_walk(&grid, &entrance, &epilogue, NULL, tid, nthreads);
    return FCNN_OK;
}
