/* SPDX-License-Identifier: Apache-2.0 */
/* Squares of pixels that become channels of one pixel. */

/* n floats; of constant sizes, which first layers have, without a call. */
static inline void copy_run(float *to, const float *from, int64_t n)
{
    if (n == 6)
        memcpy(to, from, 6 * sizeof *to);
    else if (n == 12)
        memcpy(to, from, 12 * sizeof *to);
    else
        memcpy(to, from, (size_t)n * sizeof *to);
}

/* y[Q][block][run] gets floats [begin, begin + Q run) of a row of x, `width` long and zero beyond it or
 * where there is none; y points to one of the `block` rows. */
static void depth_row(float *y, int64_t Q, int64_t pixel, int64_t run, const float *x,
                      int64_t begin, int64_t width)
{
    for (int64_t q = 0; q < Q; q++, y += pixel, begin += run) {
        if (x && begin >= 0 && begin + run <= width) {
            copy_run(y, x + begin, run);
            continue;
        }
        for (int64_t i = 0; i < run; i++)
            y[i] = x && begin + i >= 0 && begin + i < width ? x[begin + i] : 0.0f;
    }
}

FC_DEFINE(f32_space_to_depth)
{
    FC_ATTRS(f32_space_to_depth);
    const fc_tensor *x = call->in, *y = call->out;
    int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], P = y->dim[1], Q = y->dim[2];
    int64_t block = attrs->block, run = block * C, begin, end;
    share(y->dim[0] * P, tid, nthreads, &begin, &end);
    for (int64_t row = begin; row < end; row++)
        for (int64_t i = 0; i < block; i++) {
            int64_t h = row % P * block + i - attrs->before_h;
            const float *image = (const float *)x->data + row / P * H * W * C;
            depth_row((float *)y->data + row * Q * block * run + i * run, Q, block * run, run,
                      h >= 0 && h < H ? image + h * W * C : NULL, -attrs->before_w * C, W * C);
        }
    return FCNN_OK;
}
