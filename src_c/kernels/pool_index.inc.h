/* SPDX-License-Identifier: Apache-2.0 */
/* Winners' positions: from window taps to the plane, and unpooling, which writes values back there.
 * Whole numbers only move here; there is no arithmetic to vectorise. */

static inline int64_t tap_at(const fc_tensor *index, int64_t i)
{
    return index->dtype == FCNN_U8 ? ((const uint8_t *)index->data)[i]
                                   : ((const int32_t *)index->data)[i];
}

/* Input: taps r * S + s (N, P, Q, C). Output: h * W + w. */
FC_DEFINE(f32_window_to_flat)
{
    FC_ATTRS(f32_window_to_flat);
    const fc_tensor *index = &call->in[0];
    int32_t *flat = call->out[0].data;
    int64_t P = index->dim[1], Q = index->dim[2], C = index->dim[3], first, last;
    share(index->dim[0] * P, tid, nthreads, &first, &last);
    for (int64_t i = first * Q; i < last * Q; i++) {
        int64_t top = i / Q % P * attrs->stride_h - attrs->pad_top;
        int64_t left = i % Q * attrs->stride_w - attrs->pad_left;
        for (int64_t at = i * C; at < (i + 1) * C; at++) {
            int64_t tap = tap_at(index, at);
            flat[at] =
                (int32_t)((top + tap / attrs->pool_w) * attrs->width + left + tap % attrs->pool_w);
        }
    }
    return FCNN_OK;
}

enum { UNPOOL_CHANNELS = 16 };

/* One item: a sample's plane of at most UNPOOL_CHANNELS channels, in which writers may collide. */
typedef struct {
    int64_t small, large; /* pixels of the planes */
    int64_t C, chunks, items;
} unpool_shape;

static unpool_shape unpool_shape_of(const fc_tensor *small, const fc_tensor *large)
{
    int64_t C = small->dim[3], chunks = ceil_div(C, UNPOOL_CHANNELS);
    return (unpool_shape){small->dim[1] * small->dim[2], large->dim[1] * large->dim[2], C, chunks,
                          small->dim[0] * chunks};
}

/* Inputs: x (N, P, Q, C), flat positions. The last writer in row order stays. */
FC_DEFINE(f32_max_unpool2d)
{
    unpool_shape s = unpool_shape_of(&call->in[0], &call->out[0]);
    int64_t first, last;
    share(s.items, tid, nthreads, &first, &last);
    for (int64_t item = first; item < last; item++) {
        int64_t sample = item / s.chunks, c0 = item % s.chunks * UNPOOL_CHANNELS;
        int64_t width = min_i64(UNPOOL_CHANNELS, s.C - c0);
        const float *x = (const float *)call->in[0].data + sample * s.small * s.C + c0;
        const int32_t *flat = (const int32_t *)call->in[1].data + sample * s.small * s.C + c0;
        float *y = (float *)call->out[0].data + sample * s.large * s.C + c0;
        for (int64_t i = 0; i < s.large; i++)
            memset(y + i * s.C, 0, (size_t)width * sizeof(float));
        for (int64_t i = 0; i < s.small; i++)
            for (int64_t c = 0; c < width; c++)
                if (flat[i * s.C + c] >= 0 && flat[i * s.C + c] < s.large)
                    y[flat[i * s.C + c] * s.C + c] = x[i * s.C + c];
    }
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_max_unpool2d_grad)
{
    unpool_shape s = unpool_shape_of(&call->in[1], &call->in[0]);
    return nthreads * s.large * UNPOOL_CHANNELS;
}

/* Inputs: dy (N, H, W, C), flat positions. Walks writers backwards: the first met at a position is
 * the one that stayed; those it overwrote get zero. */
FC_DEFINE(f32_max_unpool2d_grad)
{
    unpool_shape s = unpool_shape_of(&call->in[1], &call->in[0]);
    char *taken = call->scratch + tid * s.large * UNPOOL_CHANNELS; /* [H * W][UNPOOL_CHANNELS] */
    int64_t first, last;
    share(s.items, tid, nthreads, &first, &last);
    for (int64_t item = first; item < last; item++) {
        int64_t sample = item / s.chunks, c0 = item % s.chunks * UNPOOL_CHANNELS;
        int64_t width = min_i64(UNPOOL_CHANNELS, s.C - c0);
        const float *dy = (const float *)call->in[0].data + sample * s.large * s.C + c0;
        const int32_t *flat = (const int32_t *)call->in[1].data + sample * s.small * s.C + c0;
        float *dx = (float *)call->out[0].data + sample * s.small * s.C + c0;
        memset(taken, 0, (size_t)(s.large * UNPOOL_CHANNELS));
        for (int64_t i = s.small - 1; i >= 0; i--)
            for (int64_t c = 0; c < width; c++) {
                int64_t at = flat[i * s.C + c];
                int inside = at >= 0 && at < s.large;
                int stayed = inside && !taken[at * UNPOOL_CHANNELS + c];
                dx[i * s.C + c] = stayed ? dy[at * s.C + c] : 0.0f;
                if (inside)
                    taken[at * UNPOOL_CHANNELS + c] = 1;
            }
    }
    return FCNN_OK;
}
