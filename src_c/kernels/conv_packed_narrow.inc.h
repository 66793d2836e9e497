/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of few channels, which are a narrow part of wide pixels: lines of the cache that lie kilobytes
 * apart drive each other out of it, and every tap is a sum of its own that is soon over. Some rows
 * of a few groups are copied first, dense and with their padding. Then a row of taps is one sum, no
 * pixel lies at a border, and the walk is that of one small image and one group.
 */
enum {
    NARROW_CHANNELS = 64, /* of a group at most, and copied at once */
    NARROW_PIXELS = 112,  /* outputs of an item of work, about */
};

struct narrow {
    const struct conv_grid *grid;
    int64_t parts, rows;   /* items of a plane, and rows of outputs in one at most */
    int64_t chunk, chunks; /* groups of an item, and items of them */
    int64_t lines, width;  /* copied of a group, and pixels in each */
    float *copies;         /* of one thread: (chunk, lines, width, depth) */
};

static int conv_is_narrow(const struct conv_grid *g)
{
    return g->groups > 1 && g->depth <= NARROW_CHANNELS && g->h.taps * g->w.taps > 1 &&
           g->w.shift == 1 && g->h.shift > 0;
}

/* Lines that `rows` rows of outputs read. */
static int64_t narrow_lines(const struct conv_grid *g, int64_t rows)
{
    return (rows - 1) * g->h.stride + (g->h.taps - 1) * g->h.shift + 1;
}

static struct narrow narrow_of(const struct conv_grid *g)
{
    struct narrow s = {.grid = g};
    s.parts = ceil_div(g->P, max_i64(1, NARROW_PIXELS / max_i64(1, g->Q)));
    s.rows = ceil_div(g->P, max_i64(1, s.parts));
    s.chunk = min_i64(g->groups, max_i64(1, NARROW_CHANNELS / g->depth));
    s.chunks = ceil_div(g->groups, s.chunk);
    s.lines = narrow_lines(g, s.rows);
    s.width = (g->Q - 1) * g->w.stride + g->w.taps;
    return s;
}

/* Floats of a thread's copies, whole lines of the cache. */
static int64_t narrow_floats(const struct narrow *s)
{
    int64_t all = s->chunk * s->lines * s->width * s->grid->depth;
    return ceil_div(all, PANEL_COLUMNS) * PANEL_COLUMNS;
}

/* Bytes of scratch. */
static int64_t conv_narrow_plan(const struct conv_grid *g, int nthreads)
{
    if (!conv_is_narrow(g))
        return 0;
    const struct narrow s = narrow_of(g);
    return nthreads * narrow_floats(&s) * (int64_t)sizeof(float);
}

FC_INLINE void narrow_pixel(float *to, const float *from, int64_t depth)
{
    int64_t c = 0;
    for (; c + FC_LANES <= depth; c += FC_LANES)
        v_store(to + c, v_load(from + c));
    if (c < depth)
        v_store_n(to + c, v_load_n(from + c, depth - c), depth - c);
}

/* The lines of image n that rows p and on of the outputs read, for `groups` groups from `group` on. */
static void narrow_copy(const struct narrow *s, int64_t n, int64_t p, int64_t lines, int64_t group,
                        int64_t groups)
{
    const struct conv_grid *g = s->grid;
    const int64_t depth = g->depth, plane = s->lines * s->width * depth;
    const size_t pixel = (size_t)depth * sizeof(float);
    int64_t left = min_i64(max_i64(0, -g->w.offset), s->width);
    int64_t right = max_i64(left, min_i64(g->w.size - g->w.offset, s->width));
    for (int64_t i = 0; i < lines; i++) {
        int64_t h = p * g->h.stride + g->h.offset + i, there = h >= 0 && h < g->h.size;
        int64_t begin = there ? left : s->width, end = there ? right : s->width;
        float *line = s->copies + i * s->width * depth;
        for (int64_t c = 0; c < groups; c++) {
            float *to = line + c * plane;
            memset(to, 0, (size_t)begin * pixel);
            memset(to + end * depth, 0, (size_t)(s->width - end) * pixel);
        }
        const float *from = g->a + n * g->a_image + h * g->a_row + group * depth;
        for (int64_t w = begin; w < end; w++) {
            const float *at = from + (w + g->w.offset) * g->a_pixel;
            expect_floats(at + PIXELS_AHEAD * g->a_pixel, groups * depth);
            for (int64_t c = 0; c < groups; c++)
                narrow_pixel(line + c * plane + w * depth, at + c * depth, depth);
        }
    }
}

/* The convolution of rows [p, p + rows) of the copies of one group. */
static struct conv_grid narrow_grid(const struct narrow *s, int64_t rows)
{
    struct conv_grid grid = *s->grid;
    grid.h.size = s->lines;
    grid.w.size = s->width;
    grid.h.offset = grid.w.offset = 0;
    grid.N = grid.groups = 1;
    grid.P = rows;
    grid.a = s->copies;
    grid.a_pixel = grid.depth;
    grid.a_row = s->width * grid.depth;
    return grid;
}

/* Rows [p, p + rows) of image n, a chunk of groups from `group` on. */
static void narrow_item(const struct narrow *s, const struct epilogue *epilogue, int64_t n,
                        int64_t p, int64_t rows, int64_t group)
{
    const struct conv_grid *g = s->grid;
    const struct entrance none = {.scale = NULL};
    const struct conv_fetch nothing = {0, 0};
    struct conv_grid grid = narrow_grid(s, rows);
    int64_t groups = min_i64(s->chunk, g->groups - group), strips = conv_strips(g);
    int64_t filters = ceil_div(g->columns, PANEL_COLUMNS) * g->b_group;
    int64_t blocks = ceil_div(ceil_div(rows * g->Q, conv_tile_rows(&grid)), CONV_TILES);
    int64_t first = n * g->y_image + p * g->y_row;
    struct conv_runs runs;
    struct conv_block block;
    conv_find_runs(&grid, &runs);
    narrow_copy(s, n, p, narrow_lines(g, rows), group, groups);
    for (int64_t b = 0; b < blocks; b++) {
        conv_locate_block(&grid, b, blocks, &block);
        for (int64_t c = 0; c < groups; c++) {
            int64_t k = (group + c) * g->columns;
            struct epilogue e = *epilogue;
            e.bias = e.bias ? e.bias + k : NULL;
            e.residual = e.residual ? e.residual + first + k : NULL;
            grid.a = s->copies + c * s->lines * s->width * g->depth;
            grid.b = g->b + (group + c) * filters;
            grid.y = g->y + first + k;
            for (int64_t strip = 0; strip < strips; strip++)
                conv_strip_of_block(&grid, &runs, &none, &e, strip, nothing, &block, NULL);
        }
    }
}

static void narrow_walk(const struct conv_grid *g, const struct epilogue *epilogue, float *scratch,
                        int tid, int nthreads)
{
    struct narrow s = narrow_of(g);
    int64_t p, last;
    s.copies = scratch + tid * narrow_floats(&s);
    fc_work work = fc_open(g->N * s.parts * s.chunks, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t chunk = item % s.chunks, part = item / s.chunks % s.parts;
            share(g->P, (int)part, (int)s.parts, &p, &last);
            narrow_item(&s, epilogue, item / s.chunks / s.parts, p, last - p, chunk * s.chunk);
        }
}

/* The convolution of a grid, from copies where its groups are narrow. */
static void conv_grid_walk(const struct conv_grid *g, const struct epilogue *epilogue,
                           void *scratch, int tid, int nthreads)
{
    const struct entrance none = {.scale = NULL};
    if (conv_is_narrow(g))
        narrow_walk(g, epilogue, scratch, tid, nthreads);
    else
        conv_packed_walk(g, &none, epilogue, NULL, tid, nthreads);
}
