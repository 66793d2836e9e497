/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient of a convolution for an input of few channels. Gathered, as by conv_grad_input, dx has too
 * few columns for a strip. Here every pixel of dy gives its products with a row of taps, which lie side
 * by side as (tap, channel), and these are added where the pixels of dx that they belong to lie side by
 * side as well. An image is summed by one thread, with its padding, in the order of rows of taps.
 */
enum {
    SCATTER_CHANNELS = 8,    /* of dx, at most: half a panel */
    SCATTER_IMAGES = 8,      /* at least, since a thread takes whole ones */
    SCATTER_FLOATS = 8 << 10 /* of an image, at most, that a core's nearest cache holds */
};

struct scatter {
    struct conv_shape d;
    int64_t columns, panels; /* of a row of taps */
    int64_t rows, row;       /* of the padded image, and floats of one */
    int64_t filters, image;  /* floats in scratch */
    int64_t tile_step;       /* floats from a row of outputs to the next */
    int64_t dy_pixel;        /* floats from a pixel of dy to the next */
};

static struct scatter scatter_of(const fc_call *call)
{
    FC_ATTRS(f32_scattered_conv2d_grad_input);
    const fc_tensor *dy = call->in, *dx = call->out;
    struct scatter s = {.d = {
                            .N = dx->dim[0],
                            .H = dx->dim[1],
                            .W = dx->dim[2],
                            .C = dx->dim[3],
                            .K = dy->dim[3],
                            .R = attrs->taps_h,
                            .S = attrs->taps_w,
                            .P = dy->dim[1],
                            .Q = dy->dim[2],
                            .G = attrs->groups,
                            .stride_h = attrs->stride_h,
                            .stride_w = attrs->stride_w,
                            .pad_top = attrs->pad_top,
                            .pad_left = attrs->pad_left,
                            .dilation_h = attrs->dilation_h,
                            .dilation_w = attrs->dilation_w,
                        }};
    const struct conv_shape *d = &s.d;
    int64_t reached = (d->P - 1) * d->stride_h + (d->R - 1) * d->dilation_h + 1;
    s.columns = d->S * d->C;
    s.panels = ceil_div(s.columns, PANEL_COLUMNS);
    s.rows = max_i64(reached, d->H + d->pad_top);
    s.row = max_i64((d->Q - 1) * d->stride_w + d->S, d->W + d->pad_left) * d->C;
    s.filters = d->R * s.panels * d->K * PANEL_COLUMNS;
    s.image = s.rows * s.row + PANEL_STRIP; /* whole vectors are added */
    s.tile_step = d->stride_h * s.row;
    s.dy_pixel = dy->ld;
    return s;
}

/* to[r][panel][k][column] = panels[(r, s)][k][c] at column (s, c), zero beyond the last tap. */
static void scatter_filters(const struct scatter *s, const float *panels, float *to, int tid,
                            int nthreads)
{
    int64_t C = s->d.C, K = s->d.K, begin, end;
    int64_t step_h = phase_step(s->d.stride_h, s->d.dilation_h);
    int64_t step_w = phase_step(s->d.stride_w, s->d.dilation_w);
    share(s->d.R * s->panels * K, tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        int64_t k = i % K, first = i / K % s->panels * PANEL_COLUMNS, r = i / K / s->panels;
        for (int64_t j = 0; j < PANEL_COLUMNS; j++) {
            int64_t c = (first + j) % C, tap = (first + j) / C;
            to[i * PANEL_COLUMNS + j] = 0.0f;
            if (first + j >= s->columns)
                continue;
            int64_t place = tap_place(s->d.R, s->d.S, step_h, step_w, r, tap);
            to[i * PANEL_COLUMNS + j] = panels[(place * K + k) * PANEL_COLUMNS + c];
        }
    }
}

/* One strip of a row of taps for a column of up to FC_PANEL_ROWS pixels of dy: their sums lie in rows
 * of the image, where none waits for what another has just stored. */
struct scatter_tile {
    const struct scatter *s;
    const float *dy, *filters;
    float *image;
    int64_t columns;
};

FC_INLINE void scatter_body(const struct scatter_tile *t, const int rows, const int vectors)
{
    static const float lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int64_t K = t->s->d.K, step = t->s->tile_step;
    const float *a[FC_PANEL_ROWS];
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
    for (int i = 0; i < rows; i++)
        a[i] = t->dy + i * t->s->d.Q * t->s->dy_pixel;
    panel_multiply(acc, a, t->filters, panel_second(K), K, 0, rows, vectors);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        /* Beyond the last tap a NaN of dy would make more of it. */
        vm holds = v_gt(v_set1((float)(t->columns - v * FC_LANES)), v_load(lanes));
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            float *to = t->image + i * step + v * FC_LANES;
            v_store(to, v_add(v_load(to), v_and_mask(holds, acc[i][v])));
        }
    }
}

#define FC_SCATTER(rows)                                                                           \
    static void scatter_##rows(const struct scatter_tile *t)                                       \
    {                                                                                              \
        if (t->columns > FC_LANES)                                                                 \
            scatter_body(t, rows, 2);                                                              \
        else                                                                                       \
            scatter_body(t, rows, 1);                                                              \
    }
FC_FOR_PANEL_ROWS(FC_SCATTER)
#undef FC_SCATTER

typedef void (*scatter_fn)(const struct scatter_tile *);
#define FC_SCATTER(rows) [rows] = scatter_##rows,
static const scatter_fn scatter_rows[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_SCATTER)};
#undef FC_SCATTER

/* Rows [p, p + rows) of one image's dy. */
static void scatter_pixels(const struct scatter *s, const float *dy, const float *filters,
                           float *image, int64_t p, int64_t rows)
{
    const struct conv_shape *d = &s->d;
    for (int64_t r = 0; r < d->R; r++)
        for (int64_t q = 0; q < d->Q; q++)
            for (int64_t at = 0; at < s->columns; at += PANEL_STRIP) {
                int64_t panel = r * s->panels + at / PANEL_COLUMNS;
                const struct scatter_tile tile = {
                    .s = s,
                    .dy = dy + (p * d->Q + q) * s->dy_pixel,
                    .filters = filters + panel * d->K * PANEL_COLUMNS + at % PANEL_COLUMNS,
                    .image = image + p * s->tile_step + r * d->dilation_h * s->row +
                             q * d->stride_w * d->C + at,
                    .columns = min_i64(PANEL_STRIP, s->columns - at),
                };
                scatter_rows[rows](&tile);
            }
}

/* dx (H, W, C) from dy (P, Q, K) of one image. */
static void scatter_image(const struct scatter *s, const float *dy, const float *filters,
                          float *image, float *dx)
{
    const struct conv_shape *d = &s->d;
    int64_t tiles = ceil_div(d->P, FC_PANEL_ROWS), first, last;
    memset(image, 0, (size_t)s->image * sizeof *image);
    for (int64_t tile = 0; tile < tiles; tile++) {
        share(d->P, (int)tile, (int)tiles, &first, &last);
        scatter_pixels(s, dy, filters, image, first, last - first);
    }
    for (int64_t h = 0; h < d->H; h++)
        memcpy(dx + h * d->W * d->C, image + (h + d->pad_top) * s->row + d->pad_left * d->C,
               (size_t)(d->W * d->C) * sizeof *dx);
}

FC_DEFINE_PLAN(f32_scattered_conv2d_grad_input)
{
    const struct scatter s = scatter_of(call);
    const struct conv_shape *d = &s.d;
    if (call->n_in > 2) /* stores are those of packed panels */
        return -1;
    if (d->G > 1 || d->C > SCATTER_CHANNELS || d->S == 1 || d->dilation_w > 1)
        return -1;
    if (d->N < SCATTER_IMAGES || s.image > SCATTER_FLOATS || count_of(call->in) == 0)
        return -1;
    return (s.filters + nthreads * s.image) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_scattered_conv2d_grad_input)
{
    const struct scatter s = scatter_of(call);
    const struct conv_shape *d = &s.d;
    float *filters = (float *)call->scratch, *image = filters + s.filters + tid * s.image;
    const float *dy = call->in[0].data;
    float *dx = call->out[0].data;
    scatter_filters(&s, call->in[1].data, filters, tid, nthreads);
    fc_sync(call);
    fc_work work = fc_open(d->N, tid, nthreads);
    while (fc_take(&work))
        for (int64_t n = work.begin; n < work.end; n++)
            scatter_image(&s, dy + n * d->P * d->Q * s.dy_pixel, filters, image,
                          dx + n * d->H * d->W * d->C);
    return FCNN_OK;
}
