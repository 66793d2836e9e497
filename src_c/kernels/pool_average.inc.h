/* SPDX-License-Identifier: Apache-2.0 */
/* Average pooling, over the windows of pool.inc.h. */

/* What a window's sum is divided by: the pixels it covers, with the padding it covers where
 * `padding` says so. A window that reaches beyond the padding (ceil_mode) does not count that. */
typedef struct {
    int include;
    int64_t bottom, right;
} pool_padding;

static inline float window_count(pool_shape s, pool_padding padding, int64_t p, int64_t q)
{
    pool_window o = window_at(s, p, q);
    if (!padding.include)
        return (float)((o.h1 - o.h0) * (o.w1 - o.w0));
    int64_t bottom = min_i64(o.top + s.h.taps, s.h.in + padding.bottom);
    int64_t right = min_i64(o.left + s.w.taps, s.w.in + padding.right);
    return (float)((bottom - o.top) * (right - o.left));
}

/* Windows that neither overlap nor leave the input, one behind the other from its first pixel on. */
static inline int windows_tile(pool_axis a)
{
    return a.taps && a.taps == a.stride && a.pad == 0 && a.taps * a.out <= a.in;
}

/* Lanes to store of n, with `room` elements up to the end of a row that is written in its order: what
 * is too much is overwritten by what follows. */
static inline int64_t lanes_before(int64_t n, int64_t room)
{
    return room >= FC_LANES ? FC_LANES : n;
}

/* Row (n, p) of y where windows of `rows` times `columns` tile x; pixels of both lie side by side. */
FC_INLINE void tiled_average(const float *x, pool_shape s, float *y, int64_t rows, int64_t columns)
{
    int64_t C = s.channels;
    const vf count = v_set1((float)(rows * columns));
    for (int64_t q = 0; q < s.w.out; q++)
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = lanes_before(min_i64(FC_LANES, C - c), (s.w.out - q) * C - c);
            const float *window = x + q * columns * C + c;
            vf sum = v_zero();
            for (int64_t h = 0; h < rows; h++)
                for (int64_t w = 0; w < columns; w++)
                    sum = v_add(sum, load_lanes(window + (h * s.w.in + w) * C, n));
            store_lanes(y + q * C + c, v_div(sum, count), n);
        }
}

/* Row h of dx where windows tile it; dy is the row of its windows, NULL below the last of them. */
FC_INLINE void tiled_gradient(const float *dy, pool_shape s, float *dx, int64_t rows,
                              int64_t columns)
{
    int64_t C = s.channels, reached = dy ? s.w.out * columns * C : 0;
    const vf part = v_set1(1.0f / (float)(rows * columns));
    for (int64_t q = 0; dy && q < s.w.out; q++)
        for (int64_t w = 0; w < columns; w++)
            for (int64_t c = 0; c < C; c += FC_LANES) {
                int64_t n = lanes_before(min_i64(FC_LANES, C - c), (s.w.out - q) * C - c);
                store_lanes(dx + (q * columns + w) * C + c,
                            v_mul(load_lanes(dy + q * C + c, n), part), n);
            }
    memset(dx + reached, 0, (size_t)(s.w.in * C - reached) * sizeof *dx);
}

/* The common size of windows has a copy of its own, without loops over taps. */
static void avg_pool_row(const float *x, pool_shape s, float *y)
{
    if (s.h.taps == 2 && s.w.taps == 2)
        tiled_average(x, s, y, 2, 2);
    else
        tiled_average(x, s, y, s.h.taps, s.w.taps);
}

static void avg_pool_gradient_row(const float *dy, pool_shape s, float *dx)
{
    if (s.h.taps == 2 && s.w.taps == 2)
        tiled_gradient(dy, s, dx, 2, 2);
    else
        tiled_gradient(dy, s, dx, s.h.taps, s.w.taps);
}

static void avg_pool(const fc_call *call, pool_shape s, pool_padding padding, int tid, int nthreads)
{
    int64_t C = s.channels, ld = call->in[0].ld, first, last;
    share(s.samples * s.h.out, tid, nthreads, &first, &last);
    if (windows_tile(s.h) && windows_tile(s.w) && ld == C && call->out[0].ld == C) {
        const float *x = call->in[0].data;
        for (int64_t row = first; row < last; row++) {
            int64_t h = row / s.h.out * s.h.in + row % s.h.out * s.h.taps;
            avg_pool_row(x + h * s.w.in * C, s, (float *)call->out[0].data + row * s.w.out * C);
        }
        return;
    }
    for (int64_t i = first * s.w.out; i < last * s.w.out; i++) {
        int64_t row = i / s.w.out, p = row % s.h.out, q = i % s.w.out;
        const float *x = (const float *)call->in[0].data + row / s.h.out * s.h.in * s.w.in * ld;
        float *y = (float *)call->out[0].data + i * call->out[0].ld;
        pool_window o = window_at(s, p, q);
        vf count = v_set1(window_count(s, padding, p, q));
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c);
            vf sum = v_zero();
            for (int64_t h = o.h0; h < o.h1; h++)
                for (int64_t w = o.w0; w < o.w1; w++)
                    sum = v_add(sum, load_lanes(x + (h * s.w.in + w) * ld + c, n));
            store_lanes(y + c, v_div(sum, count), n);
        }
    }
}

/* dx of n channels of pixel (h, w): the shares of its windows, in their row order. */
static inline vf shared_gradient(const float *dy, /* [P][Q][C] from the channels' first */
                                 pool_shape s, pool_padding padding, int64_t h, int64_t w,
                                 int64_t n)
{
    vf sum = v_zero();
    for (int64_t p = first_window(s.h, h); p <= last_window(s.h, h); p++)
        for (int64_t q = first_window(s.w, w); q <= last_window(s.w, w); q++) {
            vf part = v_set1(1.0f / window_count(s, padding, p, q));
            sum = v_fma(load_lanes(dy + (p * s.w.out + q) * s.channels, n), part, sum);
        }
    return sum;
}

static void avg_pool_gradient(const fc_call *call, pool_shape s, pool_padding padding, int tid,
                              int nthreads)
{
    int64_t C = s.channels, first, last;
    float *dx = call->out[0].data;
    share(s.samples * s.h.in, tid, nthreads, &first, &last);
    if (windows_tile(s.h) && windows_tile(s.w)) {
        const float *dy = call->in[0].data;
        for (int64_t row = first; row < last; row++) {
            int64_t p = row % s.h.in / s.h.taps, from = row / s.h.in * s.h.out + p;
            avg_pool_gradient_row(p < s.h.out ? dy + from * s.w.out * C : NULL, s,
                                  dx + row * s.w.in * C);
        }
        return;
    }
    for (int64_t i = first * s.w.in; i < last * s.w.in; i++) {
        int64_t row = i / s.w.in;
        const float *dy = (const float *)call->in[0].data + row / s.h.in * s.h.out * s.w.out * C;
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c);
            vf sum = shared_gradient(dy + c, s, padding, row % s.h.in, i % s.w.in, n);
            store_lanes(dx + i * C + c, sum, n);
        }
    }
}

FC_DEFINE(f32_avg_pool2d)
{
    FC_ATTRS(f32_avg_pool2d);
    pool_shape s = pool_shape_of(&call->in[0], &call->out[0]);
    pool_padding padding = {(int)attrs->count_include_pad, attrs->pad_bottom, attrs->pad_right};
    SLIDING(s);
    avg_pool(call, s, padding, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE(f32_avg_pool2d_grad)
{
    FC_ATTRS(f32_avg_pool2d_grad);
    pool_shape s = pool_shape_of(&call->out[0], &call->in[0]);
    pool_padding padding = {(int)attrs->count_include_pad, attrs->pad_bottom, attrs->pad_right};
    SLIDING(s);
    avg_pool_gradient(call, s, padding, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE(f32_adaptive_avg_pool2d)
{
    pool_padding none = {0, 0, 0};
    avg_pool(call, pool_shape_of(&call->in[0], &call->out[0]), none, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE(f32_adaptive_avg_pool2d_grad)
{
    pool_padding none = {0, 0, 0};
    avg_pool_gradient(call, pool_shape_of(&call->out[0], &call->in[0]), none, tid, nthreads);
    return FCNN_OK;
}
