/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Max pooling. Along each axis, output p sees the inputs [window_begin, window_end), and input i is
 * seen by the windows first_window..last_window: everything about strides, padding and adaptive
 * bins is in these four functions. Items of work are rows of outputs, or of inputs for gradients,
 * which gather: no two threads write one element.
 */

typedef struct {
    int64_t in, out;
    int64_t taps, stride, pad; /* taps of 0: adaptive bins, which tile the input evenly */
} pool_axis;

typedef struct {
    int64_t samples, channels;
    pool_axis h, w;
} pool_shape;

/* May lie in the padding. */
static inline int64_t window_begin(pool_axis a, int64_t p)
{
    return a.taps ? p * a.stride - a.pad : p * a.in / a.out;
}

static inline int64_t window_end(pool_axis a, int64_t p)
{
    return a.taps ? window_begin(a, p) + a.taps : ceil_div((p + 1) * a.in, a.out);
}

static inline int64_t first_window(pool_axis a, int64_t i)
{
    if (!a.taps)
        return i * a.out / a.in;
    return ceil_div(max_i64(i + a.pad - a.taps + 1, 0), a.stride);
}

static inline int64_t last_window(pool_axis a, int64_t i)
{
    if (!a.taps)
        return ceil_div((i + 1) * a.out, a.in) - 1;
    return min_i64((i + a.pad) / a.stride, a.out - 1);
}

/* Shape of a pooling from `large` (N, H, W, C) to `small` (N, P, Q, C); adaptive until told. */
static pool_shape pool_shape_of(const fc_tensor *large, const fc_tensor *small)
{
    return (pool_shape){large->dim[0],
                        large->dim[3],
                        {.in = large->dim[1], .out = small->dim[1]},
                        {.in = large->dim[2], .out = small->dim[2]}};
}

#define SLIDING(shape)                                                                             \
    do {                                                                                           \
        (shape).h.taps = attrs->pool_h, (shape).w.taps = attrs->pool_w;                            \
        (shape).h.stride = attrs->stride_h, (shape).w.stride = attrs->stride_w;                    \
        (shape).h.pad = attrs->pad_top, (shape).w.pad = attrs->pad_left;                           \
    } while (0)

/* One window on one plane: its clipped bounds, and position 0 and row length of its taps. */
typedef struct {
    int64_t h0, h1, w0, w1;
    int64_t top, left, taps;
} pool_window;

static inline pool_window window_at(pool_shape s, int64_t p, int64_t q)
{
    int64_t top = window_begin(s.h, p), left = window_begin(s.w, q);
    int64_t bottom = window_end(s.h, p), right = window_end(s.w, q);
    return (pool_window){max_i64(top, 0),
                         min_i64(bottom, s.h.in),
                         max_i64(left, 0),
                         min_i64(right, s.w.in),
                         top,
                         left,
                         right - left};
}

/* Vectors of channels at once: what a tap takes beside them, its place and number, is done once. */
enum { POOL_VECTORS = 4 };

static inline void store_index(const fc_tensor *index, int64_t at, vf tap, int64_t n)
{
    if (index->dtype == FCNN_U8)
        v_store_u8_n((uint8_t *)index->data + at, tap, n);
    else
        v_store_i32_n((int32_t *)index->data + at, tap, n);
}

/* The largest of a window for n channels in each vector, and its tap's number. A tap takes over when
 * it is larger or the first NaN; ties stay with the first in row order, and padding does not
 * compete. Returns how many channels these are. */
FC_INLINE int64_t window_max(const float *x, /* [H][W][C] from the channels' first */
                             pool_shape s, pool_window o, int vectors, int64_t n,
                             float *y,                           /* [vectors * n] */
                             const fc_tensor *index, int64_t at) /* its elements from there on */
{
    vf best[POOL_VECTORS], tap[POOL_VECTORS];
    int empty = o.h0 >= o.h1 || o.w0 >= o.w1; /* nothing but padding, where tap 0 stays */
    int64_t first = empty ? 0 : (o.h0 - o.top) * o.taps + o.w0 - o.left;
    for (int v = 0; v < vectors; v++) {
        best[v] = v_set1(-INFINITY);
        tap[v] = v_set1((float)first);
    }
    for (int64_t h = o.h0; h < o.h1; h++)
        for (int64_t w = o.w0; w < o.w1; w++) {
            vf here = v_set1((float)((h - o.top) * o.taps + w - o.left));
            for (int v = 0; v < vectors; v++) {
                vf a = load_lanes(x + (h * s.w.in + w) * s.channels + v * FC_LANES, n);
                vm takes = v_unless(v_eq(best[v], best[v]), v_ge(best[v], a));
                tap[v] = v_select(takes, here, tap[v]);
                best[v] = v_select(takes, a, best[v]);
            }
        }
    for (int v = 0; v < vectors; v++) {
        store_lanes(y + v * FC_LANES, best[v], n);
        store_index(index, at + v * FC_LANES, tap[v], n);
    }
    return vectors * n;
}

/* Row (n, p) of y and of the winners' taps. */
static void max_pool_row(const fc_call *call, pool_shape s, int64_t row)
{
    int64_t C = s.channels, sample = row / s.h.out;
    const float *x = (const float *)call->in[0].data + sample * s.h.in * s.w.in * C;
    const fc_tensor *index = &call->out[1];
    for (int64_t q = 0; q < s.w.out; q++) {
        pool_window o = window_at(s, row % s.h.out, q);
        int64_t at = (row * s.w.out + q) * C;
        float *y = (float *)call->out[0].data + at;
        for (int64_t c = 0; c < C;)
            if (C - c >= POOL_VECTORS * FC_LANES)
                c += window_max(x + c, s, o, POOL_VECTORS, FC_LANES, y + c, index, at + c);
            else if (C - c >= FC_LANES)
                c += window_max(x + c, s, o, 1, FC_LANES, y + c, index, at + c);
            else
                c += window_max(x + c, s, o, 1, C - c, y + c, index, at + c);
    }
}

FC_DEFINE(f32_max_pool2d)
{
    FC_ATTRS(f32_max_pool2d);
    pool_shape s = pool_shape_of(&call->in[0], &call->out[0]);
    int64_t first, last;
    SLIDING(s);
    share(s.samples * s.h.out, tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++)
        max_pool_row(call, s, row);
    return FCNN_OK;
}

/* The largest of a window, where only its value counts: the first NaN of it, if there is one. */
FC_INLINE vf window_largest(const float *x, int64_t row, int64_t pixel, int64_t rows,
                            int64_t columns, int64_t n)
{
    vf best = v_set1(-INFINITY);
    for (int64_t h = 0; h < rows; h++)
        for (int64_t w = 0; w < columns; w++)
            best = v_largest(best, load_lanes(x + h * row + w * pixel, n));
    return best;
}

FC_DEFINE(f32_max_pool2d_values)
{
    FC_ATTRS(f32_max_pool2d_values);
    const fc_tensor *x = call->in, *y = call->out;
    pool_shape s = pool_shape_of(x, y);
    int64_t C = s.channels, first, last;
    SLIDING(s);
    share(s.samples * s.h.out, tid, nthreads, &first, &last);
    for (int64_t i = first * s.w.out; i < last * s.w.out; i++) {
        int64_t row = i / s.w.out;
        pool_window o = window_at(s, row % s.h.out, i % s.w.out);
        const float *from =
            (const float *)x->data + ((row / s.h.out * s.h.in + o.h0) * s.w.in + o.w0) * x->ld;
        float *to = (float *)y->data + i * y->ld;
        for (int64_t c = 0; c < C; c += FC_LANES) {
            int64_t n = min_i64(FC_LANES, C - c);
            vf best = n == FC_LANES ? window_largest(from + c, s.w.in * x->ld, x->ld, o.h1 - o.h0,
                                                     o.w1 - o.w0, FC_LANES)
                                    : window_largest(from + c, s.w.in * x->ld, x->ld, o.h1 - o.h0,
                                                     o.w1 - o.w0, n);
            store_lanes(to + c, best, n);
        }
    }
    return FCNN_OK;
}

/* Taps of a bin to positions h * W + w in the plane, in place. */
static void taps_to_flat(int32_t *index, int64_t count, pool_window o, int64_t W)
{
    for (int64_t i = 0; i < count; i++)
        index[i] = (int32_t)((o.top + index[i] / o.taps) * W + o.left + index[i] % o.taps);
}

FC_DEFINE(f32_adaptive_max_pool2d)
{
    pool_shape s = pool_shape_of(&call->in[0], &call->out[0]);
    int64_t first, last;
    share(s.samples * s.h.out, tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        max_pool_row(call, s, row);
        for (int64_t q = 0; q < s.w.out; q++)
            taps_to_flat((int32_t *)call->out[1].data + (row * s.w.out + q) * s.channels,
                         s.channels, window_at(s, row % s.h.out, q), s.w.in);
    }
    return FCNN_OK;
}

/* The windows [p0, p1) times [q0, q1) that see a pixel, its tap in the first of them, and by how much
 * that number falls from a window to the one below it, and to the one on its right. */
typedef struct {
    int64_t p0, p1, q0, q1;
    int64_t tap, below, right;
} pixel_windows;

/* Sets the taps of pixel (h, w), whose windows are known; adaptive bins count along the plane. */
static inline void find_tap(pixel_windows *pixel, pool_shape s, int64_t h, int64_t w)
{
    pixel->tap = h * s.w.in + w;
    if (s.h.taps)
        pixel->tap =
            (h - window_begin(s.h, pixel->p0)) * s.w.taps + w - window_begin(s.w, pixel->q0);
    pixel->below = s.h.taps ? s.h.stride * s.w.taps : 0;
    pixel->right = s.h.taps ? s.w.stride : 0;
}

FC_INLINE vf load_index(const void *index, int32_t dtype, int64_t at, int64_t n)
{
    if (dtype == FCNN_U8)
        return v_load_u8_n((const uint8_t *)index + at, n);
    return v_load_i32_n((const int32_t *)index + at, n);
}

/* Sum over the windows that n channels in each vector of a pixel won, in row order of the windows;
 * `at` is where window (0, 0) of its sample has the first of them. Returns how many these are. */
FC_INLINE int64_t won_gradient(const fc_call *call, int32_t dtype, pool_shape s,
                               pixel_windows pixel, int64_t at, int vectors, int64_t n,
                               float *dx) /* [vectors * n] */
{
    const float *dy = (const float *)call->in[0].data + at; /* [P][Q][C] */
    vf sum[POOL_VECTORS];
    for (int v = 0; v < vectors; v++)
        sum[v] = v_zero();
    for (int64_t p = pixel.p0; p < pixel.p1; p++)
        for (int64_t q = pixel.q0; q < pixel.q1; q++) {
            int64_t window = (p * s.w.out + q) * s.channels;
            int64_t below = (p - pixel.p0) * pixel.below, right = (q - pixel.q0) * pixel.right;
            vf tap = v_set1((float)(pixel.tap - below - right));
            for (int v = 0; v < vectors; v++) {
                int64_t i = window + v * FC_LANES;
                vm won = v_eq(load_index(call->in[1].data, dtype, at + i, n), tap);
                sum[v] = v_add(sum[v], v_and_mask(won, load_lanes(dy + i, n)));
            }
        }
    for (int v = 0; v < vectors; v++)
        store_lanes(dx + v * FC_LANES, sum[v], n);
    return vectors * n;
}

/* Row (n, h) of dx. The windows move along with the pixels, as to divide for each of these would take
 * as long as its sums. */
FC_INLINE void max_pool_gradient_row(const fc_call *call, pool_shape s, int64_t row, int32_t dtype)
{
    int64_t C = s.channels, h = row % s.h.in, at = row / s.h.in * s.h.out * s.w.out * C;
    float *dx = (float *)call->out[0].data + row * s.w.in * C;
    pixel_windows pixel = {.p0 = first_window(s.h, h), .p1 = last_window(s.h, h) + 1};
    for (int64_t w = 0; w < s.w.in; w++, dx += C) {
        while (pixel.q0 < s.w.out && window_end(s.w, pixel.q0) <= w)
            pixel.q0++;
        while (pixel.q1 < s.w.out && window_begin(s.w, pixel.q1) <= w)
            pixel.q1++;
        find_tap(&pixel, s, h, w);
        for (int64_t c = 0; c < C;)
            if (C - c >= POOL_VECTORS * FC_LANES)
                c += won_gradient(call, dtype, s, pixel, at + c, POOL_VECTORS, FC_LANES, dx + c);
            else if (C - c >= FC_LANES)
                c += won_gradient(call, dtype, s, pixel, at + c, 1, FC_LANES, dx + c);
            else
                c += won_gradient(call, dtype, s, pixel, at + c, 1, C - c, dx + c);
    }
}

static void max_pool_gradient(const fc_call *call, pool_shape s, int tid, int nthreads)
{
    int64_t first, last;
    share(s.samples * s.h.in, tid, nthreads, &first, &last);
    for (int64_t row = first; row < last; row++)
        if (call->in[1].dtype == FCNN_U8)
            max_pool_gradient_row(call, s, row, FCNN_U8);
        else
            max_pool_gradient_row(call, s, row, FCNN_I32);
}

FC_DEFINE(f32_max_pool2d_grad)
{
    FC_ATTRS(f32_max_pool2d_grad);
    pool_shape s = pool_shape_of(&call->out[0], &call->in[0]);
    SLIDING(s);
    max_pool_gradient(call, s, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE(f32_adaptive_max_pool2d_grad)
{
    max_pool_gradient(call, pool_shape_of(&call->out[0], &call->in[0]), tid, nthreads);
    return FCNN_OK;
}
