/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resizing (N, H, W, C) to (N, P, Q, C). Along an axis, output p stands at the exact fraction
 * (step * p + shift) / unit of the input, at 0 where that is negative; `low` is its whole part.
 *   nearest             (2p + 1) H / 2P          takes row low
 *   bilinear            ((2p + 1) H - P) / 2P    mixes rows low and low + 1 by the fraction
 *   with align_corners  p (H - 1) / (P - 1)
 * Gradients gather: low never falls as p grows, so the outputs that used a row are a range.
 */
typedef struct {
    int64_t in, out, step, shift, unit;
} fc_scale;

static fc_scale scale_nearest(int64_t in, int64_t out)
{
    return (fc_scale){in, out, 2 * in, in, 2 * out};
}

static fc_scale scale_bilinear(int64_t in, int64_t out, int64_t align_corners)
{
    if (align_corners)
        return (fc_scale){in, out, in - 1, 0, max_i64(out - 1, 1)};
    return (fc_scale){in, out, 2 * in, in - out, 2 * out};
}

static inline int64_t low_of(const fc_scale *s, int64_t p)
{
    return max_i64(s->step * p + s->shift, 0) / s->unit;
}

static inline float fraction_of(const fc_scale *s, int64_t p)
{
    return (float)((double)(max_i64(s->step * p + s->shift, 0) % s->unit) / (double)s->unit);
}

/* First output whose low is `row` or more, `out` where none is. */
static inline int64_t first_from(const fc_scale *s, int64_t row)
{
    if (row <= 0)
        return 0;
    if (s->step == 0)
        return s->out;
    return min_i64(max_i64(ceil_div(row * s->unit - s->shift, s->step), 0), s->out);
}

/* Share of input `row` in output p. */
static inline float share_of_row(const fc_scale *s, int64_t p, int64_t row)
{
    int64_t low = low_of(s, p), high = min_i64(low + 1, s->in - 1);
    float fraction = fraction_of(s, p);
    return (low == row ? 1.0f - fraction : 0.0f) + (high == row ? fraction : 0.0f);
}

FC_DEFINE(f32_resize_nearest)
{
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    const int64_t *in = call->in[0].dim, *out = call->out[0].dim;
    int64_t W = in[2], C = in[3], P = out[1], Q = out[2], begin, end;
    fc_scale rows = scale_nearest(in[1], P), cols = scale_nearest(W, Q);
    share(out[0] * P, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        const float *row = x + (item / P * in[1] + low_of(&rows, item % P)) * W * C;
        for (int64_t q = 0; q < Q; q++)
            memcpy(y + (item * Q + q) * C, row + low_of(&cols, q) * C, (size_t)C * sizeof *y);
    }
    return FCNN_OK;
}

/* y[C] = (1-b) ((1-a) x00 + a x01) + b ((1-a) x10 + a x11). */
static void mix_pixel(const float *x00, const float *x01, const float *x10, const float *x11,
                      float a, float b, float *y, int64_t C)
{
    vf a1 = v_set1(a), a0 = v_set1(1.0f - a), b1 = v_set1(b), b0 = v_set1(1.0f - b);
    for (int64_t c = 0; c < C; c += FC_LANES) {
        int64_t n = min_i64(C - c, FC_LANES);
        vf top = v_fma(v_load_n(x01 + c, n), a1, v_mul(v_load_n(x00 + c, n), a0));
        vf low = v_fma(v_load_n(x11 + c, n), a1, v_mul(v_load_n(x10 + c, n), a0));
        v_store_n(y + c, v_fma(low, b1, v_mul(top, b0)), n);
    }
}

FC_DEFINE(f32_resize_bilinear)
{
    FC_ATTRS(f32_resize_bilinear);
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    const int64_t *in = call->in[0].dim, *out = call->out[0].dim;
    int64_t H = in[1], W = in[2], C = in[3], P = out[1], Q = out[2], begin, end;
    fc_scale rows = scale_bilinear(H, P, attrs->align_corners);
    fc_scale cols = scale_bilinear(W, Q, attrs->align_corners);
    share(out[0] * P, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t n = item / P, p = item % P, h = low_of(&rows, p);
        const float *top = x + (n * H + h) * W * C;
        const float *low = x + (n * H + min_i64(h + 1, H - 1)) * W * C;
        for (int64_t q = 0; q < Q; q++) {
            int64_t left = low_of(&cols, q) * C, right = min_i64(left + C, (W - 1) * C);
            mix_pixel(top + left, top + right, low + left, low + right, fraction_of(&cols, q),
                      fraction_of(&rows, p), y + (item * Q + q) * C, C);
        }
    }
    return FCNN_OK;
}

/* y[C] += weight * x[C] */
static inline void add_scaled(float *y, const float *x, float weight, int64_t C)
{
    vf w = v_set1(weight);
    for (int64_t c = 0; c < C; c += FC_LANES) {
        int64_t n = min_i64(C - c, FC_LANES);
        v_store_n(y + c, v_fma(v_load_n(x + c, n), w, v_load_n(y + c, n)), n);
    }
}

FC_DEFINE(f32_resize_nearest_grad)
{
    const float *dy = call->in[0].data;
    float *dx = call->out[0].data;
    const int64_t *in = call->in[0].dim, *out = call->out[0].dim;
    int64_t P = in[1], Q = in[2], C = in[3], H = out[1], W = out[2], begin, end;
    fc_scale rows = scale_nearest(H, P), cols = scale_nearest(W, Q);
    share(out[0] * H, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t n = item / H, h = item % H, p_end = first_from(&rows, h + 1);
        for (int64_t w = 0; w < W; w++) {
            float *pixel = dx + (item * W + w) * C;
            int64_t q_begin = first_from(&cols, w), q_end = first_from(&cols, w + 1);
            memset(pixel, 0, (size_t)C * sizeof *pixel);
            for (int64_t p = first_from(&rows, h); p < p_end; p++)
                for (int64_t q = q_begin; q < q_end; q++)
                    add_scaled(pixel, dy + ((n * P + p) * Q + q) * C, 1.0f, C);
        }
    }
    return FCNN_OK;
}

FC_DEFINE(f32_resize_bilinear_grad)
{
    FC_ATTRS(f32_resize_bilinear_grad);
    const float *dy = call->in[0].data;
    float *dx = call->out[0].data;
    const int64_t *in = call->in[0].dim, *out = call->out[0].dim;
    int64_t P = in[1], Q = in[2], C = in[3], H = out[1], W = out[2], begin, end;
    fc_scale rows = scale_bilinear(H, P, attrs->align_corners);
    fc_scale cols = scale_bilinear(W, Q, attrs->align_corners);
    share(out[0] * H, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t n = item / H, h = item % H, p_end = first_from(&rows, h + 1);
        for (int64_t w = 0; w < W; w++) {
            float *pixel = dx + (item * W + w) * C;
            int64_t q_end = first_from(&cols, w + 1);
            memset(pixel, 0, (size_t)C * sizeof *pixel);
            for (int64_t p = first_from(&rows, h - 1); p < p_end; p++) {
                float of_row = share_of_row(&rows, p, h);
                for (int64_t q = first_from(&cols, w - 1); q < q_end; q++)
                    add_scaled(pixel, dy + ((n * P + p) * Q + q) * C,
                               of_row * share_of_row(&cols, q, w), C);
            }
        }
    }
    return FCNN_OK;
}
