/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution of images of one channel with packed filters. Its sums are as short as the taps of a
 * row, so here lanes are pixels of a row, whose sources lie side by side, and a tile is two vectors of
 * pixels times up to FC_PANEL_ROWS filters, whose numbers are broadcast.
 */
struct gray_tile {
    const struct conv_grid *grid;
    const float *source, *filters; /* of the row's first pixel, of the first filter */
    float *y;
    int64_t first, second; /* pixels that the vectors begin at */
    struct epilogue epilogue;
};

/* y[pixel][filter] of FC_LANES pixels from sums[filter] of them. Filters are laid side by side two at a
 * time, which halves the moves. */
FC_INLINE void gray_store(const vf sums[], float *y, int64_t y_pixel, const int filters)
{
    enum { PAIRS = (FC_PANEL_ROWS + 1) / 2 };
    float pairs[PAIRS][2 * FC_LANES];
#pragma GCC unroll 16
    for (int k = 0; k < filters; k += 2) {
        vf low, high;
        v_interleave(sums[k], sums[k + 1 < filters ? k + 1 : k], &low, &high);
        v_store(pairs[k / 2], low);
        v_store(pairs[k / 2] + FC_LANES, high);
    }
    for (int i = 0; i < FC_LANES; i++, y += y_pixel)
#pragma GCC unroll 16
        for (int k = 0; k < filters; k += 2)
            memcpy(y + k, pairs[k / 2] + 2 * i, (k + 1 < filters ? 2 : 1) * sizeof *y);
}

FC_INLINE void gray_body(const struct gray_tile *t, const int filters)
{
    const struct conv_grid *g = t->grid;
    const vf lower = v_set1(t->epilogue.lower), upper = v_set1(t->epilogue.upper);
    vf first[FC_PANEL_ROWS], second[FC_PANEL_ROWS];
#pragma GCC unroll 16
    for (int k = 0; k < filters; k++)
        first[k] = second[k] = v_zero();
    for (int64_t r = 0; r < g->h.taps; r++) {
        const float *x = t->source + r * g->h.shift * g->a_row, *b = t->filters + r * g->b_row;
        for (int64_t s = 0; s < g->w.taps; s++, x += g->w.shift, b += PANEL_COLUMNS) {
            vf x0 = v_load(x + t->first), x1 = v_load(x + t->second);
#pragma GCC unroll 16
            for (int k = 0; k < filters; k++) {
                vf value = v_set1(b[k]);
                first[k] = v_fma(value, x0, first[k]);
                second[k] = v_fma(value, x1, second[k]);
            }
        }
    }
#pragma GCC unroll 16
    for (int k = 0; k < filters; k++) {
        vf bias = v_set1(t->epilogue.bias[k]);
        first[k] = v_min(upper, v_max(lower, v_add(first[k], bias)));
        second[k] = v_min(upper, v_max(lower, v_add(second[k], bias)));
    }
    gray_store(first, t->y + t->first * g->y_pixel, g->y_pixel, filters);
    gray_store(second, t->y + t->second * g->y_pixel, g->y_pixel, filters);
}

#define FC_GRAY(filters)                                                                           \
    static void gray_##filters(const struct gray_tile *t) { gray_body(t, filters); }
FC_FOR_PANEL_ROWS(FC_GRAY)
#undef FC_GRAY

typedef void (*gray_fn)(const struct gray_tile *);
#define FC_GRAY(filters) [filters] = gray_##filters,
static const gray_fn gray_filters[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_GRAY)};
#undef FC_GRAY

/* Row (n, p) of y for the filters of one panel, which are cut evenly. */
static void gray_row(const struct conv_grid *g, const struct epilogue *e, int64_t row,
                     int64_t panel)
{
    int64_t at = panel * PANEL_COLUMNS, K = min_i64(PANEL_COLUMNS, g->columns - at), begin, end;
    int64_t tiles = ceil_div(K, FC_PANEL_ROWS), n = row / g->P, p = row % g->P;
    for (int64_t tile = 0; tile < tiles; tile++) {
        share(K, (int)tile, (int)tiles, &begin, &end);
        for (int64_t q = 0; q < g->Q; q += 2 * FC_LANES) {
            /* The last vectors of a row end with it, over pixels that others have as well. */
            const struct gray_tile t = {
                .grid = g,
                .source = g->a + n * g->a_image + p * g->h.stride * g->a_row,
                .filters = g->b + panel * g->b_group + begin,
                .y = g->y + n * g->y_image + p * g->y_row + at + begin,
                .first = min_i64(q, g->Q - FC_LANES),
                .second = min_i64(q + FC_LANES, g->Q - FC_LANES),
                .epilogue = {e->bias + at + begin, NULL, e->lower, e->upper},
            };
            gray_filters[end - begin](&t);
        }
    }
}

/* The image as far as taps reach, with its padding. */
struct gray_padded {
    int64_t top, left, H, W;
};

static struct gray_padded gray_reached(const struct conv_grid *g)
{
    return (struct gray_padded){
        .top = -g->h.offset,
        .left = -g->w.offset,
        .H = (g->P - 1) * g->h.stride + (g->h.taps - 1) * g->h.shift + 1,
        .W = (g->Q - 1) * g->w.stride + (g->w.taps - 1) * g->w.shift + 1,
    };
}

static int gray_pads(const struct conv_grid *g, const struct gray_padded *pad)
{
    return pad->top > 0 || pad->left > 0 || pad->H > g->h.size || pad->W > g->w.size;
}

/* to (N, H, W) with x in it and zeros around. */
static void gray_pad(const fc_tensor *x, const struct gray_padded *pad, float *to, int tid,
                     int nthreads)
{
    int64_t H = x->dim[1], W = x->dim[2], begin, end;
    const float *from = x->data;
    share(x->dim[0] * pad->H, tid, nthreads, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        int64_t n = row / pad->H, h = row % pad->H - pad->top;
        float *line = to + row * pad->W;
        int there = h >= 0 && h < H;
        int64_t left = min_i64(pad->left, pad->W), width = there ? min_i64(W, pad->W - left) : 0;
        memset(line, 0, (size_t)left * sizeof(float));
        if (width > 0)
            memcpy(line + left, from + (n * H + h) * W, (size_t)width * sizeof(float));
        width = max_i64(width, 0);
        memset(line + left + width, 0, (size_t)(pad->W - left - width) * sizeof(float));
    }
}

/* Where there is padding, copy the image with it and let the grid read the copy. */
static void gray_enter(const fc_call *call, struct conv_grid *g, int tid, int nthreads)
{
    const struct gray_padded pad = gray_reached(g);
    if (!gray_pads(g, &pad))
        return;
    gray_pad(call->in, &pad, (float *)call->scratch, tid, nthreads);
    fc_sync(call);
    g->a = (float *)call->scratch;
    g->a_row = pad.W;
    g->a_image = pad.H * g->a_row;
    g->h.offset = g->w.offset = 0;
    g->h.size = pad.H;
    g->w.size = pad.W;
}

FC_DEFINE_PLAN(f32_gray_conv2d)
{
    (void)nthreads;
    const struct conv_grid grid = conv_packed_grid(call);
    const struct gray_padded pad = gray_reached(&grid);
    int pads = gray_pads(&grid, &pad);
    if (call->in[0].dim[3] > 1 || call->in[0].ld > 1 || call->n_in > 3 || call->n_out > 1)
        return -1;
    if (grid.w.stride > 1 || grid.Q < FC_LANES || (pads && !conv_is_stem(&grid)))
        return -1;
    return pads ? grid.N * pad.H * pad.W * (int64_t)sizeof(float) : 0;
}

FC_DEFINE(f32_gray_conv2d)
{
    FC_ATTRS(f32_gray_conv2d);
    struct conv_grid grid = conv_packed_grid(call);
    const struct epilogue epilogue = EPILOGUE(call);
    int64_t panels = ceil_div(grid.columns, PANEL_COLUMNS);
    gray_enter(call, &grid, tid, nthreads);
    fc_work work = fc_open(grid.N * grid.P * panels, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++)
            gray_row(&grid, &epilogue, item / panels, item % panels);
    return FCNN_OK;
}
