/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A depthwise convolution with the 1x1 convolution behind it, and the one in front if there is one,
 * a strip of rows at a time, so that what lies between them never leaves a near cache:
 *
 *   e = bound(x . expand + bias)                  some channels of a strip: `lines`
 *   d = bound(depthwise(e) + bias)                all channels of a strip: `middle`
 *   y = bound(d . project + bias [+ residual])
 *
 * Rows of lines that a strip has in common with the one before are kept. Without an expansion lines
 * are copies of x.
 *
 * Source of the blocks: M. Sandler et al., "MobileNetV2", arXiv:1801.04381.
 */
enum {
    /* Floats of `middle`, about, unless the filters are many more: three sixteenths of a core's own
     * cache. Fewer where copies of x, as large, lie beside it. */
    SEPARABLE_MIDDLE = FC_NEAR_CACHE / 16 * 3 / (int)sizeof(float),
    SEPARABLE_MIDDLE_COPIED = 16 << 10,
};

struct separable {
    int64_t H, W, C, E;          /* of x, and channels in between */
    int64_t strips;              /* of an image */
    int64_t rows, width, shared; /* of lines and their pixels; rows common to two strips */
    int64_t channels;            /* in lines at once */
    const float *x, *expand;     /* (N, H, W, C); panels, or NULL */
    int64_t x_pixel;             /* from one pixel to the next, in floats */
    int expands;                 /* in front; data are not there yet where scratch is planned */
    struct depthwise depthwise;
    struct depthwise_way way;
    struct conv_grid project;    /* of `middle` */
    struct epilogue entry, exit; /* of the 1x1 convolutions */
    float *filters, *lines;      /* of one thread: a strip's */
    float *kept, *middle;        /* (groups, shared, width, DEPTHWISE_GROUP), (rows, Q, E) */
    int64_t *places;             /* in the lines, of the pixels of as many rows of x */
};

/* Floats of filters, lines, kept rows, middle and places of one thread, and of all these. */
struct separable_sizes {
    int64_t filters, lines, kept, middle, places, all;
};

static struct separable_sizes separable_sizes_of(const struct separable *s)
{
    const struct depthwise *d = &s->depthwise;
    int64_t rows = ceil_div(d->P, s->strips);
    struct separable_sizes sizes = {
        .filters = s->channels * d->R * d->S,
        .lines = s->channels * s->rows * s->width,
        .kept = ceil_div(s->E, DEPTHWISE_GROUP) * s->shared * s->width * DEPTHWISE_GROUP,
        .middle = ceil_div(rows * d->Q * s->E, LINE_FLOATS) * LINE_FLOATS,
        .places = s->expands ? ceil_div(2 * s->rows * s->W, LINE_FLOATS) * LINE_FLOATS : 0,
    };
    sizes.all = sizes.filters + sizes.lines + sizes.kept + sizes.middle + sizes.places;
    return sizes;
}

/* Pixels and channels of x one after the other, and where what they become goes to. */
struct separable_pixels {
    const float *x;
    const int64_t *to; /* one for each pixel */
};

/* A strip of channels of up to FC_PANEL_ROWS pixels. */
FC_INLINE void separable_tile(const struct separable *s, const struct separable_pixels *px,
                              const struct epilogue *epilogue, const float *filters, float *lines,
                              int64_t columns, const int rows, const int vectors)
{
    vf acc[FC_PANEL_ROWS][2];
    const float *a[FC_PANEL_ROWS];
    for (int i = 0; i < rows; i++)
        a[i] = px->x + i * s->x_pixel;
    panel_zero(acc, rows);
    panel_multiply(acc, a, filters, panel_second(s->C), s->C, 0, rows, vectors);
    panel_store(acc, epilogue, lines, px->to, columns, rows, vectors);
}

#define FC_SEPARABLE_TILE(rows)                                                                    \
    static void separable_tile_##rows(                                                             \
        const struct separable *s, const struct separable_pixels *px,                              \
        const struct epilogue *epilogue, const float *filters, float *lines, int64_t columns)      \
    {                                                                                              \
        if (columns == PANEL_STRIP)                                                                \
            separable_tile(s, px, epilogue, filters, lines, PANEL_STRIP, rows, 2);                 \
        else if (columns > FC_LANES)                                                               \
            separable_tile(s, px, epilogue, filters, lines, columns, rows, 2);                     \
        else                                                                                       \
            separable_tile(s, px, epilogue, filters, lines, columns, rows, 1);                     \
    }
FC_FOR_PANEL_ROWS(FC_SEPARABLE_TILE)
#undef FC_SEPARABLE_TILE

typedef void (*separable_fn)(const struct separable *, const struct separable_pixels *,
                             const struct epilogue *, const float *filters, float *lines,
                             int64_t columns);
#define FC_SEPARABLE_TILE(rows) [rows] = separable_tile_##rows,
static const separable_fn separable_tiles[FC_PANEL_ROWS + 1] = {
    FC_FOR_PANEL_ROWS(FC_SEPARABLE_TILE)};
#undef FC_SEPARABLE_TILE

/* Channels [c, c + n) of what `rows` rows of x become in front of the depthwise convolution. */
static void separable_expand(const struct separable *s, const float *x, int64_t rows, int64_t c,
                             int64_t n, float *lines)
{
    int64_t pixels = rows * s->W, tiles = ceil_div(pixels, FC_PANEL_ROWS);
    int64_t least = pixels / tiles,
            larger = pixels % tiles; /* tiles of one pixel more come first */
    for (int64_t k = c; k < c + n; k += PANEL_STRIP) {
        const float *panel =
            s->expand + k / PANEL_COLUMNS * s->C * PANEL_COLUMNS + k % PANEL_COLUMNS;
        const struct epilogue epilogue = {s->entry.bias + k, NULL, s->entry.lower, s->entry.upper};
        struct separable_pixels px = {x, s->places};
        for (int64_t tile = 0; tile < tiles; tile++) {
            int64_t count = least + (tile < larger);
            separable_tiles[count](s, &px, &epilogue, panel, lines + (k - c),
                                   min_i64(PANEL_STRIP, c + n - k));
            px.x += count * s->x_pixel;
            px.to += count;
        }
    }
}

/* Rows [h, end) of the source that there are, expanded if they are to be. */
static void separable_fill(const struct separable *s, const struct depthwise_strip *strip,
                           const float *x, int64_t h, int64_t end)
{
    const struct depthwise *d = &s->depthwise;
    if (!s->expands) {
        depthwise_pack(d, strip, x + strip->c, h, end);
        return;
    }
    int64_t first = strip->p * d->stride_h - d->pad_top;
    h = max_i64(h, 0);
    end = min_i64(end, d->H);
    if (h < end)
        separable_expand(s, x + h * s->W * s->x_pixel, end - h, strip->c, strip->n,
                         strip->x + (h - first) * strip->width * DEPTHWISE_GROUP);
}

/* `middle` for outputs [p, last) of the image at x, some channels at a time; the rows shared with the
 * strip before are at hand if it `continues` that one, and are kept for the one that follows if it
 * `goes_on`. */
static void separable_between(const struct separable *s, const float *x, int64_t p, int64_t last,
                              int continues, int goes_on)
{
    const struct depthwise *d = &s->depthwise;
    const int64_t line = s->width * DEPTHWISE_GROUP, h = p * d->stride_h - d->pad_top;
    const size_t bytes = (size_t)(s->shared * line) * sizeof(float);
    struct depthwise_strip strip = {.p = p,
                                    .last = last,
                                    .lines = s->rows,
                                    .width = s->width,
                                    .unit = s->way.unit,
                                    .x = s->lines,
                                    .filters = s->filters};
    float *kept = s->kept;
    for (; strip.c < s->E; strip.c += s->channels, kept += s->shared * line) {
        strip.n = min_i64(s->channels, s->E - strip.c);
        strip.y = s->middle + strip.c;
        if (continues)
            memcpy(s->lines, kept, bytes);
        separable_fill(s, &strip, x, continues ? h + s->shared : h,
                       h + depthwise_reach(d, last - p));
        if (goes_on)
            memcpy(kept, s->lines + (last - p) * d->stride_h * line, bytes);
        depthwise_pack_filters(d, &strip);
        depthwise_outputs(d, &s->way, &strip);
    }
}

/* Outputs [p, last) of image n, whose `middle` has been made. */
static void separable_project(const struct separable *s, int64_t n, int64_t p, int64_t last)
{
    struct conv_grid project = s->project;
    struct epilogue exit = s->exit;
    int64_t at = (n * s->depthwise.P + p) * project.y_row;
    project.Q = project.w.size = (last - p) * s->depthwise.Q;
    project.y += at;
    exit.residual = exit.residual ? exit.residual + at : NULL;
    const struct entrance none = {.scale = NULL};
    conv_packed_walk(&project, &none, &exit, NULL, 0, 1);
}

static struct separable separable_of(const fc_call *call)
{
    FC_ATTRS(f32_fused_separable_conv2d);
    const fc_tensor *x = call->in, *kernel = call->in + 1, *y = call->out;
    int64_t P = y->dim[1], Q = y->dim[2], E = kernel->dim[2], S = kernel->dim[1];
    int64_t rows = (kernel->dim[0] - 1) * attrs->dilation_h + 1;
    /* Every strip reads all filters, which may lie far away. */
    int64_t middle =
        max_i64(attrs->expands ? SEPARABLE_MIDDLE : SEPARABLE_MIDDLE_COPIED, E * y->dim[3] / 2);
    const fc_tensor *more = call->in + 5; /* panels and bias in front, residual */
    const fc_tensor *residual =
        call->n_in > 5 + 2 * attrs->expands ? more + 2 * attrs->expands : NULL;
    struct separable s = {
        .H = x->dim[1],
        .W = x->dim[2],
        .C = x->dim[3],
        .E = E,
        /* An even number of them, as most teams are. */
        .strips = min_i64(P, 2 * ceil_div(P * Q * E, 2 * middle)),
        .shared = attrs->expands ? max_i64(rows - attrs->stride_h, 0) : 0,
        .x = x->data,
        .x_pixel = x->ld,
        .expands = (int)attrs->expands,
        .expand = attrs->expands ? more[0].data : NULL,
        .entry = {attrs->expands ? more[1].data : NULL, NULL, (float)attrs->expand_lower,
                  (float)attrs->expand_upper},
        .exit = {call->in[4].data, residual ? residual->data : NULL, (float)attrs->lower,
                 (float)attrs->upper},
    };
    s.depthwise = (struct depthwise){
        .N = 1,
        .H = s.H,
        .W = s.W,
        .C = E,
        .P = P,
        .Q = Q,
        .R = kernel->dim[0],
        .S = S,
        .stride_h = attrs->stride_h,
        .stride_w = attrs->stride_w,
        .dilation_h = attrs->dilation_h,
        .dilation_w = attrs->dilation_w,
        .pad_top = attrs->pad_top,
        .pad_left = attrs->pad_left,
        .x_pixel = s.x_pixel,
        .y_pixel = E,
        .each = 1,
        .filter = kernel->data,
        .bias = call->in[2].data,
        .lower = (float)attrs->depthwise_lower,
        .upper = (float)attrs->depthwise_upper,
    };
    s.way = depthwise_way_of(&s.depthwise);
    /* All pixels are expanded, even those that no output reaches. */
    s.width =
        max_i64(depthwise_span(&s.depthwise), attrs->expands ? attrs->pad_left + x->dim[2] : 0);
    s.width = ceil_div(s.width, s.way.unit) * s.way.unit;
    s.rows = depthwise_reach(&s.depthwise, ceil_div(P, s.strips));
    s.channels = attrs->expands
                     ? DEPTHWISE_GROUP
                     : min_i64(DEPTHWISE_GROUPS, ceil_div(E, DEPTHWISE_GROUP)) * DEPTHWISE_GROUP;
    s.project = (struct conv_grid){
        .h = forward_axis(1, 1, 1, 0, 1),
        .w = forward_axis(Q, 1, 1, 0, 1),
        .N = 1,
        .P = 1,
        .Q = Q,
        .groups = 1,
        .depth = E,
        .columns = y->dim[3],
        .a_image = ceil_div(P, s.strips) * Q * E,
        .a_pixel = E,
        .b = call->in[3].data,
        .b_row = E * PANEL_COLUMNS,
        .b_tap = E * PANEL_COLUMNS,
        .b_group = E * PANEL_COLUMNS,
        .y = y->data,
        .y_row = Q * y->ld,
        .y_pixel = y->ld,
    };
    return s;
}

FC_DEFINE_PLAN(f32_fused_separable_conv2d)
{
    const struct separable s = separable_of(call);
    return nthreads * separable_sizes_of(&s).all * (int64_t)sizeof(float);
}

FC_DEFINE(f32_fused_separable_conv2d)
{
    struct separable s = separable_of(call);
    const struct separable_sizes sizes = separable_sizes_of(&s);
    int64_t P = call->out[0].dim[1], before = -1;
    s.filters = (float *)call->scratch + tid * sizes.all;
    s.lines = s.filters + sizes.filters;
    s.kept = s.lines + sizes.lines;
    s.middle = s.kept + sizes.kept;
    s.places = (int64_t *)(s.middle + sizes.middle);
    const struct depthwise_strip all = {
        .lines = s.rows, .width = s.width, .unit = s.way.unit, .x = s.lines};
    for (int64_t i = 0; s.expands && i < s.rows * s.W; i++) {
        int64_t place = depthwise_place(&all, s.depthwise.pad_left + i % s.W);
        s.places[i] = (i / s.W * s.width + place) * DEPTHWISE_GROUP;
    }
    s.project.a = s.middle;
    depthwise_pad(&s.depthwise, &all, s.channels / DEPTHWISE_GROUP);
    fc_work work = fc_open(call->in[0].dim[0] * s.strips, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t n = item / s.strips, strip = item % s.strips, p, last;
            const float *x = s.x + n * s.H * s.W * s.x_pixel;
            share(P, (int)strip, (int)s.strips, &p, &last);
            separable_between(&s, x, p, last, item == before + 1 && strip > 0,
                              strip + 1 < s.strips);
            separable_project(&s, n, p, last);
            before = item;
        }
    return FCNN_OK;
}
