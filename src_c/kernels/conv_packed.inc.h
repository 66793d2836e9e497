/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution by taps with packed filters, and what follows it in its stores: bias, a residual,
 * bounds. The walk is that of conv.inc.h; a tile is FC_PANEL_ROWS pixels times a strip of filters.
 */

/* Up to PANEL_STRIP filters; source, outputs and epilogue from their first channel on. */
struct conv_strip {
    const struct conv_grid *grid;
    const float *source, *filters; /* filters (taps, depth, PANEL_COLUMNS) */
    float *y;
    struct epilogue epilogue;
    int64_t columns;
};

FC_INLINE void conv_strip_body(const struct conv_strip *strip, int64_t first, const int rows,
                               const int vectors)
{
    const struct conv_grid *g = strip->grid;
    struct conv_pixels px;
    conv_locate(g, first, rows, rows, &px);
    int64_t taps = g->w.taps, depth = g->depth;
    if (px.inside && conv_merges(g)) {
        depth *= taps;
        taps = min_i64(taps, 1);
    }
    int64_t chunk = px.inside ? depth : min_i64(depth, CONV_ZEROS);
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
    for (int64_t r = 0; r < g->h.taps; r++)
        for (int64_t s = 0; s < taps; s++) {
            int64_t dh = g->h.offset + r * g->h.shift, dw = g->w.offset + s * g->w.shift;
            if (!px.inside && !conv_reach(g, &px, dh, dw, rows))
                continue;
            int64_t shift = dh * g->a_row + dw * g->a_pixel;
            const float *b = strip->filters + r * g->b_row + s * g->b_tap;
            for (int64_t c = 0; c < depth; c += chunk) {
                const float *a[FC_PANEL_ROWS];
                for (int i = 0; i < rows; i++)
                    a[i] = px.reads[i] ? strip->source + (px.source[i] + shift + c) : conv_zeros;
                panel_multiply(acc, a, b + c * PANEL_COLUMNS, min_i64(chunk, depth - c), rows,
                               vectors);
            }
        }
    panel_store(acc, &strip->epilogue, strip->y, px.y, strip->columns, rows, vectors);
}

#define FC_CONV_STRIP(rows)                                                                        \
    static void conv_strip_##rows(const struct conv_strip *strip, int64_t first)                   \
    {                                                                                              \
        if (strip->columns > FC_LANES)                                                             \
            conv_strip_body(strip, first, rows, 2);                                                \
        else                                                                                       \
            conv_strip_body(strip, first, rows, 1);                                                \
    }
FC_FOR_PANEL_ROWS(FC_CONV_STRIP)
#undef FC_CONV_STRIP

typedef void (*conv_strip_fn)(const struct conv_strip *, int64_t first);
#define FC_CONV_STRIP(rows) [rows] = conv_strip_##rows,
static const conv_strip_fn conv_strip_rows[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_CONV_STRIP)};
#undef FC_CONV_STRIP

enum { CONV_PIXELS = 4 * FC_PANEL_ROWS }; /* pixels of one item of work */

/* Panel `panel` of all groups' panels, for the pixels of one item of work. */
static void conv_panel(const struct conv_grid *g, const struct epilogue *epilogue, int64_t panel,
                       int64_t first, int64_t last)
{
    int64_t panels = ceil_div(g->columns, PANEL_COLUMNS), group = panel / panels;
    int64_t column = panel % panels * PANEL_COLUMNS, k = group * g->columns + column;
    int64_t columns = min_i64(PANEL_COLUMNS, g->columns - column);
    for (int64_t at = 0; at < columns; at += PANEL_STRIP) {
        const struct conv_strip strip = {
            .grid = g,
            .source = g->a + group * g->depth,
            .filters = g->b + panel * g->b_group + at,
            .y = g->y + k + at,
            .epilogue = {epilogue->bias ? epilogue->bias + k + at : NULL,
                         epilogue->residual ? epilogue->residual + k + at : NULL, epilogue->lower,
                         epilogue->upper},
            .columns = min_i64(PANEL_STRIP, columns - at),
        };
        for (int64_t pixel = first; pixel < last; pixel += FC_PANEL_ROWS)
            conv_strip_rows[min_i64(FC_PANEL_ROWS, last - pixel)](&strip, pixel);
    }
}

static void conv_packed_walk(const struct conv_grid *g, const struct epilogue *epilogue, int tid,
                             int nthreads)
{
    int64_t pixels = g->N * g->P * g->Q, blocks = ceil_div(pixels, CONV_PIXELS), begin, end;
    int64_t panels = ceil_div(g->columns, PANEL_COLUMNS) * g->groups;
    /* The larger of the two is walked once: filters in the outer loop if they outweigh the image. */
    int filters_outside = panels * g->b_group > g->N * g->a_image;
    share(blocks * panels, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t block = filters_outside ? item % blocks : item / panels;
        int64_t panel = filters_outside ? item / blocks : item % panels;
        conv_panel(g, epilogue, panel, block * CONV_PIXELS,
                   min_i64((block + 1) * CONV_PIXELS, pixels));
    }
}

/* The tensors of a fused convolution: x, filters, bias, and a residual if there is one. */
#define EPILOGUE(call)                                                                             \
    {.bias = (call)->in[2].data,                                                                   \
     .residual = (call)->n_in > 3 ? (call)->in[3].data : NULL,                                     \
     .lower = (float)attrs->lower,                                                                 \
     .upper = (float)attrs->upper}

FC_DEFINE(f32_packed_conv2d)
{
    FC_ATTRS(f32_packed_conv2d);
    const fc_tensor *x = call->in, *y = call->out;
    int64_t R = attrs->taps_h, S = attrs->taps_w, G = attrs->groups;
    int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], P = y->dim[1], Q = y->dim[2];
    const struct conv_grid grid = {
        .h = forward_axis(H, R, attrs->stride_h, attrs->pad_top, attrs->dilation_h),
        .w = forward_axis(W, S, attrs->stride_w, attrs->pad_left, attrs->dilation_w),
        .N = x->dim[0],
        .P = P,
        .Q = Q,
        .groups = G,
        .depth = C / G,
        .columns = y->dim[3] / G,
        .a = x->data,
        .a_image = H * W * C,
        .a_row = W * C,
        .a_pixel = C,
        .b = call->in[1].data,
        .b_row = S * (C / G) * PANEL_COLUMNS,
        .b_tap = C / G * PANEL_COLUMNS,
        .b_group = R * S * (C / G) * PANEL_COLUMNS,
        .y = y->data,
        .y_image = P * Q * y->dim[3],
        .y_row = Q * y->dim[3],
        .y_pixel = y->dim[3],
    };
    const struct epilogue epilogue = EPILOGUE(call);
    conv_packed_walk(&grid, &epilogue, tid, nthreads);
    return FCNN_OK;
}
