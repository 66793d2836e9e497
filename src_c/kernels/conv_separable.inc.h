/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A depthwise convolution with the 1x1 convolution behind it, and the one in front if there is one,
 * a strip of rows at a time, so that what lies between them never leaves a near cache:
 *
 *   e = bound(x . expand + bias)                  some channels of a strip: `lines`
 *   d = bound(depthwise(e) + bias)                all channels of a strip: `middle`
 *   y = bound(d . project + bias [+ residual])
 *
 * Lines are padded, so that no tap asks whether it reads the image. Rows that a strip has in common
 * with the one before are kept. Without an expansion there are no lines: d is made of x itself.
 *
 * Source of the blocks: M. Sandler et al., "MobileNetV2", arXiv:1801.04381.
 */
enum {
    SEPARABLE_GROUP = PANEL_STRIP > PANEL_COLUMNS ? PANEL_STRIP : PANEL_COLUMNS, /* channels */
    SEPARABLE_MIDDLE = 24 << 10, /* floats of `middle`, about, unless the filters are many more */
};

struct separable {
    int64_t H, W, C, E;           /* of x, and channels in between */
    int64_t strips, pad_top;      /* of an image */
    int64_t width, left, shared;  /* of a line, its padding in front; rows common to two strips */
    const float *x, *expand;      /* (N, H, W, C); panels, or NULL */
    int64_t x_pixel;              /* from one pixel to the next, in floats */
    struct depthwise depthwise;   /* of lines, or of x */
    struct conv_grid project;     /* of `middle` */
    struct epilogue entry, exit;  /* of the 1x1 convolutions */
    float *lines, *kept, *middle; /* of one thread: (rows, width, SEPARABLE_GROUP),
                                     (groups, shared, width, SEPARABLE_GROUP), (rows, Q, E) */
    int64_t *places;              /* in the lines, of the pixels of as many rows of x */
};

/* Rows of x that `rows` rows of outputs reach. */
static int64_t separable_reach(const struct separable *s, int64_t rows)
{
    const struct depthwise *d = &s->depthwise;
    return (rows - 1) * d->stride_h + (d->R - 1) * d->dilation_h + 1;
}

/* Floats of lines, kept rows, middle and places of one thread. */
static void separable_sizes(const struct separable *s, int64_t sizes[4])
{
    int64_t rows = ceil_div(s->depthwise.P, s->strips), line = s->width * SEPARABLE_GROUP;
    sizes[0] = separable_reach(s, rows) * line;
    sizes[1] = ceil_div(s->E, SEPARABLE_GROUP) * s->shared * line;
    sizes[2] = ceil_div(rows * s->depthwise.Q * s->E, PANEL_COLUMNS) * PANEL_COLUMNS;
    int64_t places =
        s->width ? separable_reach(s, rows) * s->W : 0; /* without lines there are none */
    sizes[3] = ceil_div(2 * places, PANEL_COLUMNS) * PANEL_COLUMNS;
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

/* Lines [from, to) of the strip whose first line is row h0 of the image at x. */
static void separable_fill(const struct separable *s, const float *x, int64_t h0, int64_t from,
                           int64_t to, int64_t c, int64_t n)
{
    int64_t line = s->width * SEPARABLE_GROUP;
    int64_t above = min_i64(max_i64(from, -h0), to), below = max_i64(min_i64(to, s->H - h0), above);
    float *there = s->lines + above * line + s->left * SEPARABLE_GROUP;
    x += (h0 + above) * s->W * s->x_pixel;
    memset(s->lines + from * line, 0, (size_t)((above - from) * line) * sizeof(float));
    if (below > above)
        separable_expand(s, x, below - above, c, n, there);
    memset(s->lines + below * line, 0, (size_t)((to - below) * line) * sizeof(float));
}

/* `middle` for outputs [p, last) of the image at x, some channels at a time; the rows shared with the
 * strip before are at hand if it `continues` that one, and are kept for the one that follows if it
 * `goes_on`. */
static void separable_between(const struct separable *s, const float *x, int64_t p, int64_t last,
                              int continues, int goes_on)
{
    struct depthwise d = s->depthwise;
    const struct depthwise_way way = depthwise_way_of(&d);
    int64_t h0 = p * d.stride_h - s->pad_top, line = s->width * SEPARABLE_GROUP;
    float *kept = s->kept;
    d.P = last - p;
    d.H = separable_reach(s, d.P);
    for (int64_t c = 0; c < s->E; c += SEPARABLE_GROUP, kept += s->shared * line) {
        int64_t channels = min_i64(SEPARABLE_GROUP, s->E - c);
        size_t bytes = (size_t)(s->shared * line) * sizeof(float);
        if (continues)
            memcpy(s->lines, kept, bytes);
        separable_fill(s, x, h0, continues ? s->shared : 0, d.H, c, channels);
        if (goes_on)
            memcpy(kept, s->lines + d.P * d.stride_h * line, bytes);
        const struct depthwise_at block = {.image = s->lines, .y = s->middle + c, .c = c};
        depthwise_rows(&d, &way, &block, channels, 0, d.P);
    }
}

/* The same where no convolution stands in front: from the image itself. */
static void separable_begin(const struct separable *s, const float *x, int64_t p, int64_t last)
{
    enum { AT_ONCE = DEPTHWISE_VECTORS * FC_LANES };
    struct depthwise d = s->depthwise;
    const struct depthwise_way way = depthwise_way_of(&d);
    d.P = last - p;
    d.pad_top -= p * d.stride_h;
    for (int64_t row = 0; row < d.P; row += way.rows)
        for (int64_t c = 0; c < s->E; c += AT_ONCE) {
            const struct depthwise_at at = {.image = x + c, .y = s->middle + c, .c = c};
            depthwise_rows(&d, &way, &at, min_i64(AT_ONCE, s->E - c), row,
                           min_i64(row + way.rows, d.P));
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
    int64_t reach = (Q - 1) * attrs->stride_w + (S - 1) * attrs->dilation_w + 1;
    int64_t rows = (kernel->dim[0] - 1) * attrs->dilation_h + 1;
    /* Every strip reads all filters, which may lie far away. */
    int64_t middle = max_i64(SEPARABLE_MIDDLE, E * y->dim[3] / 2);
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
        .pad_top = attrs->pad_top,
        .width = attrs->expands ? max_i64(reach, attrs->pad_left + x->dim[2]) : 0,
        .left = attrs->pad_left,
        .shared = attrs->expands ? max_i64(rows - attrs->stride_h, 0) : 0,
        .x = x->data,
        .x_pixel = x->ld,
        .expand = attrs->expands ? more[0].data : NULL,
        .entry = {attrs->expands ? more[1].data : NULL, NULL, (float)attrs->expand_lower,
                  (float)attrs->expand_upper},
        .exit = {call->in[4].data, residual ? residual->data : NULL, (float)attrs->lower,
                 (float)attrs->upper},
    };
    s.depthwise = (struct depthwise){
        .N = 1,
        .H = s.H,
        .W = attrs->expands ? s.width : s.W,
        .C = E,
        .P = P,
        .Q = Q,
        .R = kernel->dim[0],
        .S = S,
        .stride_h = attrs->stride_h,
        .stride_w = attrs->stride_w,
        .dilation_h = attrs->dilation_h,
        .dilation_w = attrs->dilation_w,
        .pad_top = attrs->expands ? 0 : s.pad_top,
        .pad_left = attrs->expands ? 0 : s.left,
        .x_pixel = attrs->expands ? SEPARABLE_GROUP : s.x_pixel,
        .y_pixel = E,
        .each = 1,
        .filter = kernel->data,
        .bias = call->in[2].data,
        .lower = (float)attrs->depthwise_lower,
        .upper = (float)attrs->depthwise_upper,
        .far = !attrs->expands,
    };
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
    int64_t sizes[4];
    separable_sizes(&s, sizes);
    return nthreads * (sizes[0] + sizes[1] + sizes[2] + sizes[3]) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_fused_separable_conv2d)
{
    struct separable s = separable_of(call);
    int64_t P = call->out[0].dim[1], sizes[4], before = -1;
    separable_sizes(&s, sizes);
    s.lines = (float *)call->scratch + tid * (sizes[0] + sizes[1] + sizes[2] + sizes[3]);
    s.kept = s.lines + sizes[0];
    s.middle = s.kept + sizes[1];
    s.places = (int64_t *)(s.middle + sizes[2]);
    for (int64_t i = 0; s.expand && i < sizes[3] / 2; i++)
        s.places[i] = (i / s.W * s.width + i % s.W) * SEPARABLE_GROUP;
    s.project.a = s.middle;
    memset(s.lines, 0, (size_t)sizes[0] * sizeof(float));
    fc_work work = fc_open(call->in[0].dim[0] * s.strips, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t n = item / s.strips, strip = item % s.strips, p, last;
            const float *x = s.x + n * s.H * s.W * s.x_pixel;
            share(P, (int)strip, (int)s.strips, &p, &last);
            if (s.expand)
                separable_between(&s, x, p, last, item == before + 1 && strip > 0,
                                  strip + 1 < s.strips);
            else
                separable_begin(&s, x, p, last);
            separable_project(&s, n, p, last);
            before = item;
        }
    return FCNN_OK;
}
