/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient of a convolution for its input: a convolution over dy with inputs and outputs exchanged,
 * by packed panels. With a stride every phase of dx is a walk of its own, over the taps that reach it.
 * These lie together, the last first, as the pixels of dy that they meet follow each other.
 */
/* Rows of a panel that are laid out at once: a line of the cache, or what 36 points leave room for. */
enum { PACKED_ROWS = 16, FILTER_ROWS = 8 };

/* to[row][column] = a filter's number, for `rows` rows and PANEL_COLUMNS columns of which there are
 * `columns`; rows lie row_step apart and columns column_step. One of these is 1. */
static void gather_filters(float (*to)[PANEL_COLUMNS], const float *from, int64_t rows,
                           int64_t columns, int64_t row_step, int64_t column_step)
{
    if (columns < PANEL_COLUMNS)
        memset(to, 0, (size_t)rows * sizeof *to);
    if (column_step == 1)
        for (int64_t row = 0; row < rows; row++)
            memcpy(to[row], from + row * row_step, (size_t)columns * sizeof(float));
    else
        for (int64_t column = 0; column < columns; column++)
            for (int64_t row = 0; row < rows; row++)
                to[row][column] = from[row * row_step + column * column_step];
}

/* Of an axis of `taps` taps, how many belong to the phases before that which begins with `first`. */
static int64_t taps_before(int64_t taps, int64_t step, int64_t first)
{
    return first * (taps / step) + min_i64(first, taps % step);
}

/* Where the first tap of a phase lies; `rows` of them, in which the phase begins with taps h and w. */
static int64_t phase_place(int64_t R, int64_t S, int64_t step_h, int64_t step_w, int64_t rows,
                           int64_t h, int64_t w)
{
    return taps_before(R, step_h, h) * S + rows * taps_before(S, step_w, w);
}

/* Where tap (r, s) lies. */
static int64_t tap_place(int64_t R, int64_t S, int64_t step_h, int64_t step_w, int64_t r, int64_t s)
{
    int64_t h = r % step_h, w = s % step_w;
    int64_t rows = ceil_div(R - h, step_h), columns = ceil_div(S - w, step_w);
    return phase_place(R, S, step_h, step_w, rows, h, w) + (rows - 1 - r / step_h) * columns +
           (columns - 1 - s / step_w);
}

/* panels[g][panel][place of tap][k][column] =
 * filters[tap][panel * PANEL_COLUMNS + column][g * K/G + k]. */
FC_DEFINE(f32_pack_exchanged_filters)
{
    FC_ATTRS(f32_pack_exchanged_filters);
    const fc_tensor *w = call->in;
    int64_t S = w->dim[1], taps = w->dim[0] * S, C = w->dim[2], all = w->dim[3];
    int64_t K = all / attrs->groups;
    int64_t panels = ceil_div(C, PANEL_COLUMNS), blocks = ceil_div(K, PACKED_ROWS), begin, end;
    float block[PACKED_ROWS][PANEL_COLUMNS], *to = call->out[0].data;
    share(attrs->groups * panels * taps * blocks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t k = item % blocks * PACKED_ROWS, tap = item / blocks % taps;
        int64_t panel = item / blocks / taps % panels, group = item / blocks / taps / panels;
        int64_t c = panel * PANEL_COLUMNS, rows = min_i64(PACKED_ROWS, K - k);
        const float *from = (const float *)w->data + (tap * C + c) * all + group * K + k;
        int64_t place = tap_place(w->dim[0], S, attrs->step_h, attrs->step_w, tap / S, tap % S);
        gather_filters(block, from, rows, min_i64(PANEL_COLUMNS, C - c), 1, all);
        memcpy(to + (((group * panels + panel) * taps + place) * K + k) * PANEL_COLUMNS, block,
               (size_t)rows * sizeof block[0]);
    }
    return FCNN_OK;
}

/* The axis backward over taps whose last comes first. */
static struct conv_axis turned_axis(int64_t size, int64_t taps, int64_t stride, int64_t pad,
                                    int64_t dilation, int64_t phase)
{
    struct conv_axis axis = backward_axis(size, taps, stride, pad, dilation, phase);
    axis.offset += (axis.taps - 1) * axis.shift;
    axis.shift = -axis.shift;
    return axis;
}

/* The walk over one phase of dx: pixels h, h + stride, ... and w, w + stride, ... */
static struct conv_grid grad_input_phase(const fc_call *call, int64_t h, int64_t w)
{
    FC_ATTRS(f32_packed_conv2d_grad_input);
    const fc_tensor *dy = call->in, *dx = call->out;
    int64_t P = dy->dim[1], Q = dy->dim[2], depth = dy->dim[3] / attrs->groups;
    int64_t H = dx->dim[1], W = dx->dim[2], C = dx->dim[3], R = attrs->taps_h, S = attrs->taps_w;
    struct conv_grid grid = {
        .h = turned_axis(P, R, attrs->stride_h, attrs->pad_top, attrs->dilation_h, h),
        .w = turned_axis(Q, S, attrs->stride_w, attrs->pad_left, attrs->dilation_w, w),
        .N = dy->dim[0],
        .P = ceil_div(H - h, attrs->stride_h),
        .Q = ceil_div(W - w, attrs->stride_w),
        .groups = attrs->groups,
        .depth = depth,
        .columns = C / attrs->groups,
        .a = dy->data,
        .a_image = P * Q * dy->ld,
        .a_row = Q * dy->ld,
        .a_pixel = dy->ld,
        .b_group = R * S * depth * PANEL_COLUMNS,
        .y = (float *)dx->data + (h * W + w) * dx->ld,
        .y_image = H * W * dx->ld,
        .y_row = attrs->stride_h * W * dx->ld,
        .y_pixel = attrs->stride_w * dx->ld,
    };
    int64_t place = phase_place(R, S, phase_step(attrs->stride_h, attrs->dilation_h),
                                phase_step(attrs->stride_w, attrs->dilation_w), grid.h.taps,
                                grid.h.first, grid.w.first);
    grid.b = (const float *)call->in[1].data + place * depth * PANEL_COLUMNS;
    grid.b_row = grid.w.taps * depth * PANEL_COLUMNS;
    grid.b_tap = depth * PANEL_COLUMNS;
    return grid;
}

FC_DEFINE_PLAN(f32_packed_conv2d_grad_input)
{
    FC_ATTRS(f32_packed_conv2d_grad_input);
    const fc_tensor *dx = call->out;
    int64_t most = 0;
    for (int64_t h = 0; h < min_i64(attrs->stride_h, dx->dim[1]); h++)
        for (int64_t w = 0; w < min_i64(attrs->stride_w, dx->dim[2]); w++) {
            const struct conv_grid grid = grad_input_phase(call, h, w);
            most = max_i64(most, conv_narrow_plan(&grid, nthreads));
        }
    return most;
}

FC_DEFINE(f32_packed_conv2d_grad_input)
{
    FC_ATTRS(f32_packed_conv2d_grad_input);
    const struct epilogue all = EPILOGUE(call);
    const fc_tensor *dx = call->out;
    for (int64_t h = 0; h < min_i64(attrs->stride_h, dx->dim[1]); h++)
        for (int64_t w = 0; w < min_i64(attrs->stride_w, dx->dim[2]); w++) {
            const struct conv_grid grid = grad_input_phase(call, h, w);
            struct epilogue epilogue = all;
            if (all.residual)
                epilogue.residual += grid.y - (const float *)dx->data;
            if (h + w > 0)
                fc_sync(call); /* between two walks, whose items all threads take */
            conv_grid_walk(&grid, &epilogue, call->scratch, tid, nthreads);
        }
    return FCNN_OK;
}
