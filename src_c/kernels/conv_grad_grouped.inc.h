/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of a 3x3 convolution in groups. For the input, at stride 1: the same convolution over dy
 * with turned filters. For the kernel: lanes are filters, and the sums of all nine taps of one
 * channel stay in registers while they walk over the packed lines of a block of pixels.
 *
 * Blocks of pixels, their grouping into slices with a copy of dw each, and the order in which copies
 * are added follow from the shape alone.
 */
static struct depthwise grouped_turned_of(const fc_call *call)
{
    FC_ATTRS(f32_conv2d_grad_input_turned);
    struct depthwise d = TURNED(call, call->in[1].dim[2]);
    d.filter = call->in[1].data;
    return d;
}

FC_DEFINE_PLAN(f32_conv2d_grad_input_turned)
{
    FC_ATTRS(f32_conv2d_grad_input_turned);
    const struct depthwise d = grouped_turned_of(call);
    if (attrs->groups == 1 || attrs->stride_h * attrs->stride_w != 1 || d.C != call->in->dim[3])
        return -1;
    return grouped_plan(&d, nthreads);
}

FC_DEFINE(f32_conv2d_grad_input_turned)
{
    const struct depthwise d = grouped_turned_of(call);
    grouped_run(call, &d, 1, tid, nthreads);
    return FCNN_OK;
}

enum {
    GRAD_GROUPED_PIXELS = 256, /* of a block, about */
    GRAD_GROUPED_MOST = 8,     /* channels of a group; more fill packed panels */
    GRAD_GROUPED_UNITS = 32,   /* slices * chunks of channels, where there is so much to do */
};

struct grad_grouped {
    struct conv_shape d;
    struct grouped_lanes lanes;
    int64_t parts, lines, columns; /* blocks of an image; packed for one of them at most */
    int64_t chunks, blocks, slices;
    int64_t x_floats, floats; /* scratch of a thread, packed dy last */
};

static struct grad_grouped grad_grouped_of(const fc_call *call)
{
    FC_ATTRS(f32_conv2d_grad_kernel_grouped);
    const struct conv_shape d = CONV_SHAPE(call->in, call->out, call->in + 1, attrs->groups);
    struct grad_grouped g = {.d = d, .lanes = grouped_lanes_of(d.C / d.G)};
    g.parts = ceil_div(d.P, max_i64(1, GRAD_GROUPED_PIXELS / d.Q));
    int64_t rows = ceil_div(d.P, g.parts);
    g.lines = (rows - 1) * d.stride_h + 3;
    g.columns = (d.Q - 1) * d.stride_w + 3;
    g.chunks = ceil_div(d.C, g.lanes.chunk);
    g.blocks = d.N * g.parts;
    /* Copies of dw are small beside x and dy. */
    g.slices = min_i64(GRAD_GROUPED_UNITS / g.chunks, d.N * d.P * d.Q / (18 * g.lanes.each));
    g.slices = max_i64(1, min_i64(g.slices, g.blocks));
    g.x_floats = g.lanes.chunk * g.lines * g.columns;
    g.floats = g.x_floats + g.lanes.chunk * rows * d.Q;
    return g;
}

/* Packed lines of one vector of channels and of one of dy, for some rows of outputs. */
struct grad_grouped_tile {
    const float *x, *dy;
    int64_t rows, Q, line, step; /* packed floats of a line of x, lines from output to output */
    int64_t each, c;
    float *dw; /* of tap (0, 0) */
    int64_t tap, n;
    int accumulate;
};

/* Taps [first, last) of a column of x, whose outputs lie in d. */
FC_INLINE void grad_grouped_column(vf acc[3][3], const struct grad_grouped_tile *t, const float *x,
                                   const vf d[3], const int first, const int last, const int spread)
{
#pragma GCC unroll 3
    for (int r = 0; r < 3; r++) {
        const vf value = grouped_value(x + r * t->line, t->each, t->c, spread);
#pragma GCC unroll 3
        for (int s = first; s < last; s++)
            acc[r][s] = v_fma(value, d[s], acc[r][s]);
    }
}

/* One row of outputs, at least two, of stride 1: a channel of a pixel meets the last three outputs. */
FC_INLINE void grad_grouped_near(vf acc[3][3], const struct grad_grouped_tile *t, const float *x,
                                 const float *dy, const int spread)
{
    const float *end = dy + t->Q * FC_LANES;
    vf d[3] = {v_load(dy)};
    grad_grouped_column(acc, t, x, d, 0, 1, spread);
    d[1] = d[0];
    d[0] = v_load(dy + FC_LANES);
    grad_grouped_column(acc, t, x + FC_LANES, d, 0, 2, spread);
    x += 2 * FC_LANES;
    for (dy += 2 * FC_LANES; dy < end; dy += FC_LANES, x += FC_LANES) {
        d[2] = d[1];
        d[1] = d[0];
        d[0] = v_load(dy);
        grad_grouped_column(acc, t, x, d, 0, 3, spread);
    }
    d[2] = d[1];
    d[1] = d[0];
    grad_grouped_column(acc, t, x, d, 1, 3, spread);
    d[2] = d[1];
    grad_grouped_column(acc, t, x + FC_LANES, d, 2, 3, spread);
}

/* The same with a stride. */
FC_INLINE void grad_grouped_far(vf acc[3][3], const struct grad_grouped_tile *t, const float *x,
                                const float *dy, const int stride, const int spread)
{
    for (int64_t q = 0; q < t->Q; q++) {
        const vf d = v_load(dy + q * FC_LANES);
#pragma GCC unroll 3
        for (int r = 0; r < 3; r++)
#pragma GCC unroll 3
            for (int s = 0; s < 3; s++) {
                const float *pixel = x + r * t->line + (q * stride + s) * FC_LANES;
                acc[r][s] = v_fma(grouped_value(pixel, t->each, t->c, spread), d, acc[r][s]);
            }
    }
}

FC_INLINE void grad_grouped_body(const struct grad_grouped_tile *t, const int stride,
                                 const int spread)
{
    vf acc[3][3];
#pragma GCC unroll 3
    for (int r = 0; r < 3; r++)
        acc[r][0] = acc[r][1] = acc[r][2] = v_zero();
    for (int64_t i = 0; i < t->rows; i++) {
        const float *x = t->x + i * stride * t->line, *dy = t->dy + i * t->Q * FC_LANES;
        if (stride == 1)
            grad_grouped_near(acc, t, x, dy, spread);
        else
            grad_grouped_far(acc, t, x, dy, stride, spread);
    }
#pragma GCC unroll 9
    for (int tap = 0; tap < 9; tap++) {
        float *to = t->dw + tap * t->tap;
        const vf sum = acc[tap / 3][tap % 3];
        store_lanes(to, t->accumulate ? v_add(load_lanes(to, t->n), sum) : sum, t->n);
    }
}

#define FC_GROUPED(stride, spread)                                                                 \
    static void grad_grouped_##stride##_##spread(const struct grad_grouped_tile *t)                \
    {                                                                                              \
        grad_grouped_body(t, stride, spread);                                                      \
    }
FC_GROUPED(1, 0)
FC_GROUPED(1, 1)
FC_GROUPED(2, 0)
FC_GROUPED(2, 1)
#undef FC_GROUPED

typedef void (*grad_grouped_fn)(const struct grad_grouped_tile *);
static const grad_grouped_fn grad_grouped_tiles[2][2] = {
    {grad_grouped_1_0, grad_grouped_1_1},
    {grad_grouped_2_0, grad_grouped_2_1},
};

/* Channels from c on of dw, from block b. */
static void grad_grouped_block(const fc_call *call, const struct grad_grouped *g, int64_t b,
                               int64_t c, float *dw, int accumulate, float *scratch)
{
    const struct conv_shape *d = &g->d;
    int64_t n = b / g->parts, p, last, channels = min_i64(g->lanes.chunk, d->C - c);
    share(d->P, (int)(b % g->parts), (int)g->parts, &p, &last);
    const struct lines x = {.image = (const float *)call->in[0].data + n * d->H * d->W * d->C + c,
                            .H = d->H,
                            .W = d->W,
                            .pixel = d->C,
                            .h = p * d->stride_h - d->pad_top,
                            .w = -d->pad_left,
                            .lines = (last - p - 1) * d->stride_h + 3,
                            .columns = g->columns,
                            .channels = channels};
    const struct lines dy = {.image = (const float *)call->in[1].data + n * d->P * d->Q * d->C + c,
                             .H = d->P,
                             .W = d->Q,
                             .pixel = d->C,
                             .h = p,
                             .lines = last - p,
                             .columns = d->Q,
                             .channels = channels};
    grouped_pack(&x, scratch);
    grouped_pack(&dy, scratch + g->x_floats);
    const grad_grouped_fn tile = grad_grouped_tiles[d->stride_w - 1][g->lanes.each < FC_LANES];
    struct grad_grouped_tile t = {.rows = last - p,
                                  .Q = d->Q,
                                  .line = x.columns * FC_LANES,
                                  .each = g->lanes.each,
                                  .tap = g->lanes.each * d->K,
                                  .accumulate = accumulate};
    for (int64_t v = 0; v * FC_LANES < channels; v++) {
        t.dy = scratch + g->x_floats + v * dy.lines * dy.columns * FC_LANES;
        t.n = min_i64(FC_LANES, channels - v * FC_LANES);
        for (int64_t one = 0; one < g->lanes.each; one++) {
            int64_t from = grouped_first(&g->lanes, v) + one / g->lanes.within;
            t.x = scratch + from * x.lines * t.line;
            t.c = one % g->lanes.within;
            t.dw = dw + one * d->K + c + v * FC_LANES;
            tile(&t);
        }
    }
}

FC_DEFINE_PLAN(f32_conv2d_grad_kernel_grouped)
{
    FC_ATTRS(f32_conv2d_grad_kernel_grouped);
    const struct conv_shape d = CONV_SHAPE(call->in, call->out, call->in + 1, attrs->groups);
    if (d.G == 1 || d.C != d.K || d.R != 3 || d.S != 3 || d.dilation_h * d.dilation_w != 1 ||
        d.stride_h != d.stride_w || d.stride_h > 2 || d.Q < 2 || d.N * d.P * d.H * d.W == 0 ||
        d.C / d.G > GRAD_GROUPED_MOST || !grouped_fits(d.C / d.G))
        return -1;
    const struct grad_grouped g = grad_grouped_of(call);
    int64_t copies = g.slices > 1 ? g.slices * count_of(call->out) : 0;
    return (copies + nthreads * g.floats) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_conv2d_grad_kernel_grouped)
{
    const struct grad_grouped g = grad_grouped_of(call);
    int64_t count = count_of(call->out), block, last;
    float *dw = call->out[0].data, *scratch = (float *)call->scratch, *copies = dw;
    if (g.slices > 1) {
        copies = scratch;
        scratch += g.slices * count;
    }
    fc_work work = fc_open(g.slices * g.chunks, tid, nthreads);
    while (fc_take(&work))
        for (int64_t unit = work.begin; unit < work.end; unit++) {
            int64_t slice = unit / g.chunks, c = unit % g.chunks * g.lanes.chunk;
            share(g.blocks, (int)slice, (int)g.slices, &block, &last);
            for (int64_t b = block; b < last; b++)
                grad_grouped_block(call, &g, b, c, copies + slice * count, b > block,
                                   scratch + tid * g.floats);
        }
    if (g.slices > 1) {
        fc_sync(call);
        add_copies(dw, copies, g.slices, count, tid, nthreads);
    }
    return FCNN_OK;
}
