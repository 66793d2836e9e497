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

FC_INLINE void conv_strip_body(const struct conv_strip *strip, const struct conv_pixels *at,
                               const int rows, const int vectors)
{
    const struct conv_grid *g = strip->grid;
    struct conv_pixels px = *at;
    int64_t taps = g->w.taps, depth = g->depth;
    if (px.inside && conv_merges(g)) {
        depth *= taps;
        taps = min_i64(taps, 1);
    }
    int64_t chunk = px.inside ? depth : min_i64(depth, CONV_ZEROS);
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
    for (int i = 0; i < rows; i++)
        __builtin_prefetch(strip->y + px.y[i], 1);
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
    static void conv_strip_##rows(const struct conv_strip *strip, const struct conv_pixels *px)    \
    {                                                                                              \
        if (strip->columns > FC_LANES)                                                             \
            conv_strip_body(strip, px, rows, 2);                                                   \
        else                                                                                       \
            conv_strip_body(strip, px, rows, 1);                                                   \
    }
FC_FOR_PANEL_ROWS(FC_CONV_STRIP)
#undef FC_CONV_STRIP

typedef void (*conv_strip_fn)(const struct conv_strip *, const struct conv_pixels *);
#define FC_CONV_STRIP(rows) [rows] = conv_strip_##rows,
static const conv_strip_fn conv_strip_rows[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_CONV_STRIP)};
#undef FC_CONV_STRIP

enum { CONV_TILES = 4 }; /* of pixels in one item of work */

/* The tiles of one item: where their pixels lie, and how many there are in each. */
struct conv_block {
    int tiles, rows[CONV_TILES];
    struct conv_pixels pixels[CONV_TILES];
};

/* Rows that lie whole pages apart would fall on one set of a cache of 8 ways. */
static int64_t conv_tile_rows(const struct conv_grid *g)
{
    return g->a_pixel % 1024 == 0 ? min_i64(8, FC_PANEL_ROWS) : FC_PANEL_ROWS;
}

/* The pixels [first, last), in tiles of nearly equal size. */
static void conv_locate_block(const struct conv_grid *g, int64_t first, int64_t last,
                              struct conv_block *block)
{
    int64_t tiles = ceil_div(last - first, conv_tile_rows(g)), begin, end;
    block->tiles = (int)tiles;
    for (int64_t i = 0; i < tiles; i++) {
        share(last - first, (int)i, (int)tiles, &begin, &end);
        block->rows[i] = (int)(end - begin);
        conv_locate(g, first + begin, end - begin, block->rows[i], &block->pixels[i]);
    }
}

/* Panel `panel` of all groups' panels, for the pixels of one item of work. */
static void conv_panel(const struct conv_grid *g, const struct epilogue *epilogue, int64_t panel,
                       const struct conv_block *block)
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
        for (int i = 0; i < block->tiles; i++)
            conv_strip_rows[block->rows[i]](&strip, &block->pixels[i]);
    }
}

static void conv_packed_walk(const struct conv_grid *g, const struct epilogue *epilogue, int tid,
                             int nthreads)
{
    int64_t size = CONV_TILES * conv_tile_rows(g), pixels = g->N * g->P * g->Q;
    int64_t blocks = ceil_div(pixels, size), located = -1, begin, end;
    int64_t panels = ceil_div(g->columns, PANEL_COLUMNS) * g->groups;
    /* The larger of the two is walked once: filters in the outer loop if they outweigh the image. */
    int filters_outside = panels * g->b_group > g->N * g->a_image;
    struct conv_block at;
    share(blocks * panels, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t block = filters_outside ? item % blocks : item / panels;
        int64_t panel = filters_outside ? item / blocks : item % panels;
        if (block != located)
            conv_locate_block(g, block * size, min_i64((block + 1) * size, pixels), &at);
        located = block;
        conv_panel(g, epilogue, panel, &at);
    }
}

/* The tensors of a fused convolution: x, filters, bias, and a residual if there is one. */
#define EPILOGUE(call)                                                                             \
    {.bias = (call)->in[2].data,                                                                   \
     .residual = (call)->n_in > 3 ? (call)->in[3].data : NULL,                                     \
     .lower = (float)attrs->lower,                                                                 \
     .upper = (float)attrs->upper}

/* The image as far as taps reach, with its padding. */
struct conv_padded {
    int64_t top, left, H, W;
};

static struct conv_padded conv_reached(const struct conv_grid *g)
{
    return (struct conv_padded){
        .top = -g->h.offset,
        .left = -g->w.offset,
        .H = (g->P - 1) * g->h.stride + (g->h.taps - 1) * g->h.shift + 1,
        .W = (g->Q - 1) * g->w.stride + (g->w.taps - 1) * g->w.shift + 1,
    };
}

/* Few channels make short sums per tap. Then the image is copied with its padding first, so that
 * the taps of a row are one sum for every pixel. */
static int conv_pads(const struct conv_grid *g)
{
    struct conv_padded pad = conv_reached(g);
    int padded = pad.top > 0 || pad.left > 0 || pad.H > g->h.size || pad.W > g->w.size;
    return padded && conv_merges(g) && g->w.taps > 1 && g->depth <= 8;
}

/* to (N, H, W, C) with x in it and zeros around. */
static void conv_pad(const fc_tensor *x, const struct conv_padded *pad, float *to, int tid,
                     int nthreads)
{
    int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], begin, end;
    const float *from = x->data;
    share(x->dim[0] * pad->H, tid, nthreads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        int64_t n = row / pad->H, h = row % pad->H - pad->top;
        float *line = to + row * pad->W * C;
        int there = h >= 0 && h < H;
        int64_t left = min_i64(pad->left, pad->W), width = there ? min_i64(W, pad->W - left) : 0;
        memset(line, 0, (size_t)(left * C) * sizeof(float));
        if (width > 0)
            memcpy(line + left * C, from + (n * H + h) * W * C,
                   (size_t)(width * C) * sizeof(float));
        width = max_i64(width, 0);
        memset(line + (left + width) * C, 0, (size_t)((pad->W - left - width) * C) * sizeof(float));
    }
}

static struct conv_grid conv_packed_grid(const fc_call *call)
{
    FC_ATTRS(f32_packed_conv2d);
    const fc_tensor *x = call->in, *y = call->out;
    int64_t R = attrs->taps_h, S = attrs->taps_w, G = attrs->groups;
    int64_t H = x->dim[1], W = x->dim[2], C = x->dim[3], P = y->dim[1], Q = y->dim[2];
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
}

FC_DEFINE_PLAN(f32_packed_conv2d)
{
    (void)nthreads;
    const struct conv_grid grid = conv_packed_grid(call);
    const struct conv_padded pad = conv_reached(&grid);
    if (!conv_pads(&grid))
        return 0;
    return grid.N * pad.H * pad.W * grid.a_pixel * (int64_t)sizeof(float);
}

FC_DEFINE(f32_packed_conv2d)
{
    FC_ATTRS(f32_packed_conv2d);
    struct conv_grid grid = conv_packed_grid(call);
    if (conv_pads(&grid)) {
        const struct conv_padded pad = conv_reached(&grid);
        conv_pad(call->in, &pad, (float *)call->scratch, tid, nthreads);
        fc_sync(call);
        grid.a = (float *)call->scratch;
        grid.a_row = pad.W * grid.a_pixel;
        grid.a_image = pad.H * grid.a_row;
        grid.h.offset = grid.w.offset = 0;
        grid.h.size = pad.H;
        grid.w.size = pad.W;
    }
    const struct epilogue epilogue = EPILOGUE(call);
    conv_packed_walk(&grid, &epilogue, tid, nthreads);
    return FCNN_OK;
}
