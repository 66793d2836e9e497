/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradient of a convolution for its kernel from packed blocks: dw[r, s, c, :] sums x[c] * dy[:] over
 * pixels, an outer product for each of them. A tile of dw, FC_PANEL_ROWS channels times a strip of
 * filters, stays in registers while it walks a block of pixels; both operands lie as it reads them:
 *
 *   x   [panels][rows][columns][wide]          with padding, so that no tap asks where it is
 *   dy  [strips][pixels][PANEL_STRIP]          beyond the last filter whatever follows
 *
 * A panel of x is FC_PANEL_ROWS channels wide. Few channels are one panel as wide as they are: the
 * taps of a row follow each other without a gap, and rows of a tile run over (tap, channel).
 *
 * Blocks of whole pixel rows, their grouping into slices with a copy of dw each, and the order in
 * which copies are added follow from the shape alone. How tiles are cut into parts does not matter
 * to the bits.
 */
enum {
    GRAD_PACKED_PIXELS = 256, /* of a block, about */
    GRAD_PACKED_UNITS = 16,   /* slices * parts, where there is so much to do */
    GRAD_PACKED_SLICE = 512,  /* pixels of a slice at least */
    GRAD_PACKED_PART = 64,    /* channels and filters of a part, at least */
    GRAD_PACKED_MOST = 256,   /* and at most */
    GRAD_PACKED_MERGED = 32,  /* channels that lie in one panel */
};

struct grad_packed {
    struct conv_shape d;
    int64_t C, K;               /* of a group */
    int merged;                 /* one panel of x, `wide` channels */
    int64_t wide, columns;      /* of x when packed: floats of a pixel, pixels of a row */
    int64_t rows;               /* of all blocks' x at most */
    int64_t step_h, step_w;     /* pixels of the packed x from one output to the next */
    int64_t images, parts_of_P; /* a block is so many images, or such a part of one */
    int64_t block_rows;         /* rows of outputs in a block at most */
    int64_t blocks, slices;
    int64_t c_part, k_part, c_parts, k_parts;
    int64_t x_floats, dy_floats; /* of one part's panels */
};

/* Slices with copies of dw of their own, as long as these are small beside x and dy. */
static int64_t grad_packed_slices(const struct grad_packed *g)
{
    const struct conv_shape *d = &g->d;
    int64_t dw = d->R * d->S * g->C * d->K, pixels = d->N * d->P * d->Q;
    int64_t slices = (d->N * d->H * d->W * d->C + pixels * d->K) / (4 * dw);
    slices = min_i64(min_i64(slices, pixels / GRAD_PACKED_SLICE), GRAD_PACKED_UNITS / d->G);
    return max_i64(1, min_i64(slices, g->blocks));
}

/* Slices first; then channels and filters are cut, the larger of both, until there is work for all:
 * each cut packs the other operand once more. */
static void grad_packed_parts(struct grad_packed *g)
{
    g->slices = grad_packed_slices(g);
    g->c_part = g->merged ? g->C : min_i64(g->C, GRAD_PACKED_MOST);
    g->k_part = min_i64(g->K, GRAD_PACKED_MOST);
    for (;;) {
        if (!g->merged)
            g->c_part = ceil_div(g->c_part, FC_PANEL_ROWS) * FC_PANEL_ROWS;
        g->k_part = ceil_div(g->k_part, PANEL_STRIP) * PANEL_STRIP;
        g->c_parts = g->merged ? 1 : ceil_div(g->C, g->c_part);
        g->k_parts = ceil_div(g->K, g->k_part);
        int cut_c = !g->merged && g->c_part > GRAD_PACKED_PART + FC_PANEL_ROWS;
        int cut_k = g->k_part > GRAD_PACKED_PART;
        if (g->slices * g->d.G * g->c_parts * g->k_parts >= GRAD_PACKED_UNITS || (!cut_c && !cut_k))
            return;
        if (cut_k && (!cut_c || g->k_part >= g->c_part))
            g->k_part = ceil_div(g->k_part, 2);
        else
            g->c_part = ceil_div(g->c_part, 2);
    }
}

static struct grad_packed grad_packed_of(const fc_call *call)
{
    FC_ATTRS(f32_conv2d_grad_kernel_packed);
    const struct conv_shape d = CONV_SHAPE(call->in, call->out, call->in + 1, attrs->groups);
    struct grad_packed g = {.d = d, .C = d.C / d.G, .K = d.K / d.G};
    g.merged = g.C <= GRAD_PACKED_MERGED && (d.dilation_w == 1 || d.S == 1);
    g.wide = g.merged ? g.C : FC_PANEL_ROWS;
    /* Where only one tap lies along an axis, the pixels between those that it reads are left out. */
    g.step_h = d.R == 1 ? 1 : d.stride_h;
    g.step_w = d.S == 1 ? 1 : d.stride_w;
    g.columns = (d.Q - 1) * g.step_w + (d.S - 1) * d.dilation_w + 1;
    int64_t rows = max_i64(1, GRAD_PACKED_PIXELS / d.Q);
    g.images = max_i64(1, rows / d.P);
    g.parts_of_P = rows >= d.P ? 1 : ceil_div(d.P, rows);
    int64_t part_rows = ceil_div(d.P, g.parts_of_P);
    g.block_rows = g.images * part_rows;
    g.rows = g.images * ((part_rows - 1) * g.step_h + (d.R - 1) * d.dilation_h + 1);
    g.blocks = ceil_div(d.N, g.images) * g.parts_of_P;
    grad_packed_parts(&g);
    int64_t x_panels = g.merged ? 1 : ceil_div(g.c_part, FC_PANEL_ROWS);
    g.x_floats = x_panels * g.rows * g.columns * g.wide + FC_LANES;
    g.dy_floats = g.k_part * g.block_rows * d.Q;
    return g;
}

/* What one thread packs: outputs [first, first + count) rows of the flattened (n, p), and where in
 * the packed x the first tap of each of these rows lies. */
struct grad_packed_block {
    float *x, *dy;
    int64_t first, count, packed_rows;
    int64_t at[GRAD_PACKED_PIXELS];
};

/* `C` channels of a row of x to `panels` panels of `wide`, panel_step apart. */
static void grad_pack_row(const struct grad_packed *g, const float *line, int64_t C, float *to,
                          int64_t panel_step)
{
    const struct conv_shape *d = &g->d;
    int64_t across = d->S == 1 ? d->stride_w : 1;
    if (line && g->merged && C == d->C && across == 1) {
        /* Pixels follow each other here as they do there. */
        int64_t left = min_i64(d->pad_left, g->columns), right = min_i64(g->columns - left, d->W);
        memset(to, 0, (size_t)(left * C) * sizeof(float));
        memcpy(to + left * C, line, (size_t)(right * C) * sizeof(float));
        left += right;
        memset(to + left * C, 0, (size_t)((g->columns - left) * C) * sizeof(float));
        return;
    }
    for (int64_t j = 0; j < g->columns; j++) {
        int64_t w = j * across - d->pad_left;
        int there = line && (uint64_t)w < (uint64_t)d->W;
        const float *pixel = there ? line + w * d->C : NULL;
        if (line)
            expect_floats(line + (w + PIXELS_AHEAD * across) * d->C, C);
        float *out = to + j * g->wide;
        int64_t c = 0;
        if (there && !g->merged)
            for (; c + FC_PANEL_ROWS <= C; c += FC_PANEL_ROWS, out += panel_step)
                memcpy(out, pixel + c, FC_PANEL_ROWS * sizeof(float));
        if (there && c < C)
            memcpy(out, pixel + c, (size_t)(C - c) * sizeof(float));
        for (; !there && c < C; c += g->wide, out += panel_step)
            memset(out, 0, (size_t)min_i64(g->wide, C - c) * sizeof(float));
    }
}

/* Channels [c, c + C) of x, for all taps of block `b`. */
static void grad_pack_x(const struct grad_packed *g, const float *x, int64_t c, int64_t C,
                        int64_t b, struct grad_packed_block *block)
{
    const struct conv_shape *d = &g->d;
    int64_t n = b / g->parts_of_P * g->images, part = b % g->parts_of_P, p0, p1;
    int64_t images = min_i64(g->images, d->N - n), down = d->R == 1 ? d->stride_h : 1;
    share(d->P, (int)part, (int)g->parts_of_P, &p0, &p1);
    int64_t rows = (p1 - p0 - 1) * g->step_h + (d->R - 1) * d->dilation_h + 1;
    block->first = n * d->P + p0;
    block->count = images * (p1 - p0);
    block->packed_rows = images * rows;
    for (int64_t i = 0; i < block->count; i++)
        block->at[i] = i / (p1 - p0) * rows + i % (p1 - p0) * g->step_h;
    for (int64_t i = 0; i < block->packed_rows; i++) {
        int64_t image = n + i / rows;
        int64_t h = p0 * d->stride_h - d->pad_top + i % rows * down;
        int there = (uint64_t)h < (uint64_t)d->H;
        const float *line = there ? x + (image * d->H + h) * d->W * d->C + c : NULL;
        grad_pack_row(g, line, C, block->x + i * g->columns * g->wide,
                      block->packed_rows * g->columns * g->wide);
    }
}

/* Filters [k, k + K) of dy, for the block's pixels. */
static void grad_pack_dy(const struct grad_packed *g, const float *dy, int64_t k, int64_t K,
                         struct grad_packed_block *block)
{
    int64_t pixels = block->count * g->d.Q;
    const float *from = dy + block->first * g->d.Q * g->d.K + k;
    const float *end = dy + g->d.N * g->d.P * g->d.Q * g->d.K;
    for (int64_t i = 0; i < pixels; i++, from += g->d.K) {
        float *to = block->dy + i * PANEL_STRIP;
        int64_t column = 0;
        expect_floats(from + PIXELS_AHEAD * g->d.K, K);
        for (; column + PANEL_STRIP <= K; column += PANEL_STRIP, to += pixels * PANEL_STRIP) {
            v_store(to, v_load(from + column));
            v_store(to + FC_LANES, v_load(from + column + FC_LANES));
        }
        for (; column < K; column += FC_LANES, to += FC_LANES) {
            int inside = from + column + FC_LANES <= end;
            v_store(to, load_lanes(from + column, inside ? FC_LANES : K - column));
        }
    }
}

/* One tile of dw over the pixels of a block. */
struct grad_packed_tile {
    const struct grad_packed_block *block;
    const float *x, *dy;  /* at the tile's first channel and tap, and first filter */
    float *dw;            /* rows ld apart */
    int64_t ld, columns;  /* of dw */
    int64_t row, step, Q; /* floats: of a packed row, from output to output */
    int accumulate;
};

/* Sums of one vector of filters, of every other pixel: chains of one would wait for themselves. */
FC_INLINE void grad_packed_pairs(const struct grad_packed_tile *t, vf acc[FC_PANEL_ROWS][2],
                                 const int rows)
{
    const float *b = t->dy;
    for (int64_t i = 0; i < t->block->count; i++) {
        const float *a = t->x + t->block->at[i] * t->row, *next = a + t->step;
        int64_t q = 0;
        for (; q + 2 <= t->Q; q += 2, a += 2 * t->step, next += 2 * t->step, b += 2 * PANEL_STRIP) {
            vf b0 = v_load(b), b1 = v_load(b + PANEL_STRIP);
#pragma GCC unroll 16
            for (int j = 0; j < rows; j++) {
                acc[j][0] = v_fma(v_set1(a[j]), b0, acc[j][0]);
                acc[j][1] = v_fma(v_set1(next[j]), b1, acc[j][1]);
            }
        }
        if (q < t->Q) {
            vf b0 = v_load(b);
#pragma GCC unroll 16
            for (int j = 0; j < rows; j++)
                acc[j][0] = v_fma(v_set1(a[j]), b0, acc[j][0]);
            b += PANEL_STRIP;
        }
    }
#pragma GCC unroll 16
    for (int j = 0; j < rows; j++)
        acc[j][0] = v_add(acc[j][0], acc[j][1]);
}

/* Sums of two vectors of filters. */
FC_INLINE void grad_packed_pixels(const struct grad_packed_tile *t, vf acc[FC_PANEL_ROWS][2],
                                  const int rows)
{
    const float *b = t->dy;
    for (int64_t i = 0; i < t->block->count; i++) {
        const float *a = t->x + t->block->at[i] * t->row;
#pragma GCC unroll 2
        for (int64_t q = 0; q < t->Q; q++) {
            vf b0 = v_load(b), b1 = v_load(b + FC_LANES);
#pragma GCC unroll 16
            for (int j = 0; j < rows; j++) {
                vf value = v_set1(a[j]);
                acc[j][0] = v_fma(value, b0, acc[j][0]);
                acc[j][1] = v_fma(value, b1, acc[j][1]);
            }
            a += t->step;
            b += PANEL_STRIP;
        }
    }
}

FC_INLINE void grad_packed_body(const struct grad_packed_tile *t, const int rows, const int vectors)
{
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
    if (vectors == 2)
        grad_packed_pixels(t, acc, rows);
    else
        grad_packed_pairs(t, acc, rows);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        int64_t n = min_i64(t->columns - v * FC_LANES, FC_LANES);
#pragma GCC unroll 16
        for (int j = 0; j < rows; j++) {
            float *to = t->dw + j * t->ld + v * FC_LANES;
            store_lanes(to, t->accumulate ? v_add(load_lanes(to, n), acc[j][v]) : acc[j][v], n);
        }
    }
}

#define FC_GRAD_TILE(rows)                                                                         \
    static void grad_packed_##rows(const struct grad_packed_tile *t)                               \
    {                                                                                              \
        if (t->columns > FC_LANES)                                                                 \
            grad_packed_body(t, rows, 2);                                                          \
        else                                                                                       \
            grad_packed_body(t, rows, 1);                                                          \
    }
FC_FOR_PANEL_ROWS(FC_GRAD_TILE)
#undef FC_GRAD_TILE

typedef void (*grad_packed_fn)(const struct grad_packed_tile *);
#define FC_GRAD_TILE(rows) [rows] = grad_packed_##rows,
static const grad_packed_fn grad_packed_rows[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_GRAD_TILE)};
#undef FC_GRAD_TILE

/* All tiles of dw for the C channels and the K filters that are packed; dw is at the first of them.
 * A strip of dy serves every tap and channel before the next one comes. */
static void grad_packed_tiles(const struct grad_packed *g, const struct grad_packed_block *block,
                              int64_t C, int64_t K, float *dw, int accumulate)
{
    const struct conv_shape *d = &g->d;
    int64_t row = g->columns * g->wide, panel = block->packed_rows * row;
    int64_t length = g->merged ? d->S * C : C, taps = g->merged ? 1 : d->S;
    for (int64_t k = 0; k < K; k += PANEL_STRIP)
        for (int64_t c = 0; c < length; c += FC_PANEL_ROWS)
            for (int64_t r = 0; r < d->R; r++)
                for (int64_t s = 0; s < taps; s++) {
                    const struct grad_packed_tile tile = {
                        .block = block,
                        .x = block->x + (g->merged ? c : c / FC_PANEL_ROWS * panel) +
                             r * d->dilation_h * row + s * d->dilation_w * g->wide,
                        .dy = block->dy + k * block->count * d->Q,
                        .dw = dw + ((r * d->S + s) * g->C + c) * d->K + k,
                        .ld = d->K,
                        .columns = min_i64(PANEL_STRIP, K - k),
                        .row = row,
                        .step = g->step_w * g->wide,
                        .Q = d->Q,
                        .accumulate = accumulate,
                    };
                    grad_packed_rows[min_i64(FC_PANEL_ROWS, length - c)](&tile);
                }
}

/* One part of dw from the blocks of one slice. */
static void grad_packed_unit(const fc_call *call, const struct grad_packed *g, int64_t unit,
                             float *copies, float *buffer)
{
    int64_t k_part = unit % g->k_parts, c_part = unit / g->k_parts % g->c_parts;
    int64_t group = unit / g->k_parts / g->c_parts % g->d.G;
    int64_t slice = unit / g->k_parts / g->c_parts / g->d.G, begin, end;
    int64_t c = c_part * g->c_part, C = min_i64(g->c_part, g->C - c);
    int64_t k = k_part * g->k_part, K = min_i64(g->k_part, g->K - k);
    float *dw = copies + slice * count_of(call->out) + c * g->d.K + group * g->K + k;
    struct grad_packed_block block = {.x = buffer, .dy = buffer + g->x_floats};
    share(g->blocks, (int)slice, (int)g->slices, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        grad_pack_x(g, call->in[0].data, group * g->C + c, C, b, &block);
        grad_pack_dy(g, call->in[1].data, group * g->K + k, K, &block);
        grad_packed_tiles(g, &block, C, K, dw, b > begin);
    }
}

FC_DEFINE_PLAN(f32_conv2d_grad_kernel_packed)
{
    const fc_tensor *dy = &call->in[1];
    if (count_of(dy) == 0 || count_of(call->in) == 0)
        return -1; /* nothing to sum: the plain kernel writes zeros */
    const struct grad_packed g = grad_packed_of(call);
    if (g.C < 4 && g.d.G > 1)
        return -1; /* tiles of so few rows would mostly wait */
    int64_t copies = g.slices > 1 ? g.slices * count_of(call->out) : 0;
    return (copies + nthreads * (g.x_floats + g.dy_floats)) * (int64_t)sizeof(float);
}

FC_DEFINE(f32_conv2d_grad_kernel_packed)
{
    const struct grad_packed g = grad_packed_of(call);
    int64_t count = count_of(call->out);
    float *dw = call->out[0].data, *scratch = (float *)call->scratch, *copies = dw;
    if (g.slices > 1) {
        copies = scratch;
        scratch += g.slices * count;
    }
    fc_work work = fc_open(g.slices * g.d.G * g.c_parts * g.k_parts, tid, nthreads);
    while (fc_take(&work))
        for (int64_t unit = work.begin; unit < work.end; unit++)
            grad_packed_unit(call, &g, unit, copies, scratch + tid * (g.x_floats + g.dy_floats));
    if (g.slices > 1) {
        fc_sync(call);
        add_copies(dw, copies, g.slices, count, tid, nthreads);
    }
    return FCNN_OK;
}
