/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of few channels, which are a narrow part of wide pixels: lines of the cache that lie kilobytes
 * apart drive each other out of it, and every tap is a sum of its own that is soon over. Some rows
 * of a few groups are copied first, dense and with their padding. Then a row of taps is one sum, no
 * pixel lies at a border, and the walk is that of one small image and one group.
 */
enum {
    NARROW_CHANNELS = 64,    /* of a group at most, and copied at once */
    NARROW_PIXELS = 112,     /* outputs of an item of work, about, */
    NARROW_FLOATS = 1 << 18, /* and its copies at most: long lines stay where they are */
};

struct narrow {
    const struct conv_grid *grid;
    int64_t parts, rows;   /* items of a plane, and rows of outputs in one at most */
    int64_t chunk, chunks; /* groups of an item, and items of them */
    int64_t width;         /* pixels of a line that is copied */
    float *copies;         /* of one thread: (chunk, lines, width, depth) */
};

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
    s.width = (g->Q - 1) * g->w.stride + g->w.taps;
    return s;
}

/* Floats of a thread's copies, whole lines of the cache. */
static int64_t narrow_floats(const struct narrow *s)
{
    int64_t all = s->chunk * narrow_lines(s->grid, s->rows) * s->width * s->grid->depth;
    return ceil_div(all, PANEL_COLUMNS) * PANEL_COLUMNS;
}

static int conv_is_narrow(const struct conv_grid *g)
{
    if (g->groups == 1 || g->depth > NARROW_CHANNELS || g->h.taps * g->w.taps <= 1 ||
        g->w.shift != 1 || g->h.shift < 1)
        return 0;
    const struct narrow s = narrow_of(g);
    return narrow_floats(&s) <= NARROW_FLOATS;
}

/* Bytes of scratch. */
static int64_t conv_narrow_plan(const struct conv_grid *g, int nthreads)
{
    if (!conv_is_narrow(g))
        return 0;
    const struct narrow s = narrow_of(g);
    return nthreads * narrow_floats(&s) * (int64_t)sizeof(float);
}

/* Of a chunk of groups from `group` on, what rows p and on of the outputs of image n read. */
static struct lines narrow_lines_of(const struct narrow *s, int64_t n, int64_t p, int64_t rows,
                                    int64_t group)
{
    const struct conv_grid *g = s->grid;
    return (struct lines){.image = g->a + n * g->a_image + group * g->depth,
                          .H = g->h.size,
                          .W = g->w.size,
                          .pixel = g->a_pixel,
                          .h = p * g->h.stride + g->h.offset,
                          .w = g->w.offset,
                          .lines = narrow_lines(g, rows),
                          .columns = s->width,
                          .channels = min_i64(s->chunk, g->groups - group) * g->depth};
}

/* The convolution of one image that is these lines. */
static struct conv_grid narrow_grid(const struct conv_grid *g, const struct lines *lines,
                                    int64_t rows)
{
    struct conv_grid grid = *g;
    grid.h.size = lines->lines;
    grid.w.size = lines->columns;
    grid.h.offset = grid.w.offset = 0;
    grid.N = grid.groups = 1;
    grid.P = rows;
    grid.a_pixel = g->depth;
    grid.a_row = lines->columns * g->depth;
    grid.a_image = lines->lines * grid.a_row;
    return grid;
}

/* Rows [p, p + rows) of image n, a chunk of groups from `group` on. */
static void narrow_item(const struct narrow *s, const struct epilogue *epilogue, int64_t n,
                        int64_t p, int64_t rows, int64_t group)
{
    const struct conv_grid *g = s->grid;
    const struct entrance none = {.scale = NULL};
    const struct conv_fetch nothing = {0, 0};
    const struct lines lines = narrow_lines_of(s, n, p, rows, group);
    struct conv_grid grid = narrow_grid(g, &lines, rows);
    int64_t groups = lines.channels / g->depth, strips = conv_strips(g);
    int64_t filters = ceil_div(g->columns, PANEL_COLUMNS) * g->b_group;
    int64_t blocks = ceil_div(ceil_div(rows * g->Q, conv_tile_rows(&grid)), CONV_TILES);
    int64_t first = n * g->y_image + p * g->y_row;
    struct conv_runs runs;
    struct conv_block block;
    conv_find_runs(&grid, &runs);
    lines_copy(&lines, g->depth, s->copies);
    for (int64_t b = 0; b < blocks; b++) {
        conv_locate_block(&grid, b, blocks, &block);
        for (int64_t c = 0; c < groups; c++) {
            int64_t k = (group + c) * g->columns;
            struct epilogue e = *epilogue;
            e.bias = e.bias ? e.bias + k : NULL;
            e.residual = e.residual ? e.residual + first + k : NULL;
            grid.a = s->copies + c * grid.a_image;
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
