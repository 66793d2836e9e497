/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution of images of few channels, which is what networks begin with. All taps of a row are one
 * sum of S * C products, too short to look for addresses or padding in between: a thread copies the
 * lines that a row of outputs reads, with their padding, into a buffer of its own, and walks along.
 */
enum {
    STEM_CHANNELS = 8,
    STEM_AHEAD = 4, /* tiles that stores are expected ahead */
};

struct stem {
    const struct conv_grid *grid;
    int64_t depth, pixel;      /* floats of a row of taps, and from one pixel's to the next's */
    int64_t line;              /* floats of a line */
    int64_t at[FC_PANEL_ROWS]; /* where pixels lie, from the first one's output on */
    float *lines;              /* of one thread: (taps of h, line) */
    const float *next;         /* what the row below reads besides, */
    int64_t part;              /* and how many floats of it each tile asks for */
};

/* Whether taps of a row follow each other, and are so few that they should be one sum. */
static int conv_is_stem(const struct conv_grid *g)
{
    return g->groups == 1 && g->w.taps > 1 && g->depth <= STEM_CHANNELS && conv_merges(g);
}

static struct stem stem_of(const struct conv_grid *g)
{
    struct stem s = {
        .grid = g,
        .depth = g->w.taps * g->depth,
        .pixel = g->w.stride * g->depth,
        .line = ((g->Q - 1) * g->w.stride + g->w.taps) * g->depth,
    };
    for (int i = 0; i < FC_PANEL_ROWS; i++)
        s.at[i] = i * g->y_pixel;
    return s;
}

/* Floats of the lines of one thread, whole lines of the cache. */
static int64_t stem_lines(const struct stem *s)
{
    return ceil_div(s->grid->h.taps * s->line, PANEL_COLUMNS) * PANEL_COLUMNS;
}

/* The lines that row p of the outputs of image n reads. */
static void stem_fill(const struct stem *s, int64_t n, int64_t p)
{
    const struct conv_grid *g = s->grid;
    int64_t left = min_i64(-g->w.offset * g->depth, s->line);
    int64_t there = min_i64(g->w.size * g->depth, s->line - left);
    for (int64_t r = 0; r < g->h.taps; r++) {
        int64_t h = p * g->h.stride + g->h.offset + r * g->h.shift;
        float *to = s->lines + r * s->line;
        if (h < 0 || h >= g->h.size) {
            memset(to, 0, (size_t)s->line * sizeof(float));
            continue;
        }
        memset(to, 0, (size_t)left * sizeof(float));
        memcpy(to + left, g->a + n * g->a_image + h * g->a_row, (size_t)there * sizeof(float));
        memset(to + left + there, 0, (size_t)(s->line - left - there) * sizeof(float));
    }
}

/* `tiles` times `rows` pixels side by side, from `source` in the lines and y on. */
FC_INLINE void stem_tiles(const struct stem *s, const struct epilogue *epilogue,
                          const float *source, const float *filters, float *y, int64_t columns,
                          int64_t tiles, const int rows, const int vectors)
{
    const int64_t taps = s->grid->h.taps, depth = s->depth, pixel = s->pixel, line = s->line;
    const int64_t second = panel_second(taps * depth), y_pixel = s->grid->y_pixel;
    const float *next = s->next;
    struct epilogue e = *epilogue;
    for (; tiles > 0; tiles--, next += s->part) {
        vf acc[FC_PANEL_ROWS][2];
        const float *b = filters, *from = source;
        panel_zero(acc, rows);
        panel_expect(&e, y, s->at, STEM_AHEAD * rows * y_pixel, rows, vectors);
        expect_floats(next, s->part);
        for (int64_t r = 0; r < taps; r++, from += line, b += depth * PANEL_COLUMNS) {
            const float *a[FC_PANEL_ROWS];
            for (int i = 0; i < rows; i++)
                a[i] = from + i * pixel;
            panel_multiply(acc, a, b, second, depth, 0, rows, vectors);
        }
        panel_store(acc, &e, y, s->at, columns, rows, vectors);
        source += rows * pixel;
        y += rows * y_pixel;
        if (e.residual)
            e.residual += rows * y_pixel;
    }
}

#define FC_STEM_TILES(rows)                                                                        \
    static void stem_tiles_##rows(const struct stem *s, const struct epilogue *epilogue,           \
                                  const float *source, const float *filters, float *y,             \
                                  int64_t columns, int64_t tiles)                                  \
    {                                                                                              \
        if (columns > FC_LANES)                                                                    \
            stem_tiles(s, epilogue, source, filters, y, columns, tiles, rows, 2);                  \
        else                                                                                       \
            stem_tiles(s, epilogue, source, filters, y, columns, tiles, rows, 1);                  \
    }
FC_FOR_PANEL_ROWS(FC_STEM_TILES)
#undef FC_STEM_TILES

typedef void (*stem_fn)(const struct stem *, const struct epilogue *, const float *source,
                        const float *filters, float *y, int64_t columns, int64_t tiles);
#define FC_STEM_TILES(rows) [rows] = stem_tiles_##rows,
static const stem_fn stem_tiles_of[FC_PANEL_ROWS + 1] = {FC_FOR_PANEL_ROWS(FC_STEM_TILES)};
#undef FC_STEM_TILES

/* What the row below row p reads besides is asked for, tile by tile: images come from memory. */
static void stem_look_ahead(struct stem *s, int64_t n, int64_t p, int64_t tiles)
{
    const struct conv_grid *g = s->grid;
    int64_t h = p * g->h.stride + g->h.offset + (g->h.taps - 1) * g->h.shift + 1;
    h = min_i64(max_i64(h, 0), g->h.size);
    int64_t lines = min_i64(g->h.stride, g->h.size - h);
    s->next = g->a + n * g->a_image + h * g->a_row;
    s->part = ceil_div(lines * g->a_row, tiles);
}

/* Row (n, p) of y, strip by strip; its tiles are of two sizes, which differ by one pixel. */
static void stem_row(struct stem *s, const struct epilogue *epilogue, int64_t n, int64_t p)
{
    const struct conv_grid *g = s->grid;
    int64_t tiles = ceil_div(g->Q, FC_PANEL_ROWS), least = g->Q / tiles, larger = g->Q % tiles;
    int64_t split = larger * (least + 1), row = n * g->y_image + p * g->y_row;
    stem_fill(s, n, p);
    stem_look_ahead(s, n, p, tiles);
    for (int64_t k = 0; k < g->columns; k += PANEL_STRIP) {
        const float *filters = g->b + k / PANEL_COLUMNS * g->b_group + k % PANEL_COLUMNS;
        int64_t at = row + k, columns = min_i64(PANEL_STRIP, g->columns - k);
        struct epilogue e = *epilogue;
        e.bias = e.bias ? e.bias + k : NULL;
        e.residual = e.residual ? e.residual + at : NULL;
        if (larger)
            stem_tiles_of[least + 1](s, &e, s->lines, filters, g->y + at, columns, larger);
        s->next += larger * s->part;
        e.residual = e.residual ? e.residual + split * g->y_pixel : NULL;
        stem_tiles_of[least](s, &e, s->lines + split * s->pixel, filters,
                             g->y + at + split * g->y_pixel, columns, tiles - larger);
        s->part = 0; /* the first strip has asked */
    }
}

static void stem_walk(const struct conv_grid *g, const struct epilogue *epilogue, float *scratch,
                      int tid, int nthreads)
{
    struct stem s = stem_of(g);
    s.lines = scratch + tid * stem_lines(&s);
    fc_work work = fc_open(g->N * g->P, tid, nthreads);
    while (fc_take(&work))
        for (int64_t row = work.begin; row < work.end; row++)
            stem_row(&s, epilogue, row / g->P, row % g->P);
}
