/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution by taps with packed filters, and what follows it in its stores: bias, a residual,
 * bounds. The walk is that of conv.inc.h; a tile is FC_PANEL_ROWS pixels times a strip of filters.
 */

enum {
    CONV_RUNS = 256,
    CONV_TILES = 4,          /* of pixels in one item of work */
    MOMENT_PIXELS = 24,      /* in one whose moments are wanted */
    CONV_MOST_TILES = 6,     /* that these are cut into */
    CONV_NEAR = 64 << 10,    /* floats of filters that a core's own cache holds beside all else, */
    CONV_NEAREST = 16 << 10, /* and of an image that hardly leaves the nearest */
};

/* Taps of which none reads padding: where each run of channels begins, from a pixel's source on.
 * Filters lie as runs follow each other. */
struct conv_runs {
    int64_t count, depth; /* runs, and channels in each */
    int64_t shift[CONV_RUNS];
};

/* No runs where there would be too many: then every pixel is taken as one at a border. */
static void conv_find_runs(const struct conv_grid *g, struct conv_runs *runs)
{
    int merges = conv_merges(g);
    int64_t taps = merges ? min_i64(g->w.taps, 1) : g->w.taps;
    /* Filters of runs are read one after the other; phases of a gradient leave some out. */
    int dense = (g->w.taps <= 1 || g->b_tap == g->depth * PANEL_COLUMNS) &&
                (g->h.taps <= 1 || g->b_row == g->w.taps * g->depth * PANEL_COLUMNS);
    runs->count = dense && g->h.taps * taps <= CONV_RUNS ? g->h.taps * taps : 0;
    runs->depth = merges ? g->depth * g->w.taps : g->depth;
    for (int64_t i = 0; i < runs->count; i++) {
        int64_t dh = g->h.offset + i / taps * g->h.shift, dw = g->w.offset + i % taps * g->w.shift;
        runs->shift[i] = dh * g->a_row + dw * g->a_pixel;
    }
}

/* Into how many parts, at most 16, that many tiles divide the filters that they fetch: as few lines
 * at a time as can be, since a core waits for some 20 at once and has others to ask for. */
static int64_t conv_parts(int64_t tiles) { return tiles < 8 ? 4 : tiles < 16 ? 8 : 16; }

/* Floats of a strip's filters that one tile fetches. */
static int64_t conv_part(const struct conv_runs *runs, int64_t parts)
{
    return runs->count * (runs->depth / parts * PANEL_COLUMNS);
}

/* Up to PANEL_STRIP filters; source, outputs and epilogue from their first channel on. */
struct conv_strip {
    const float *source, *filters; /* filters (taps, depth, PANEL_COLUMNS) */
    float *y;
    struct epilogue epilogue;
    struct growing_moments moments;
    int64_t columns, second; /* from the first vector of filters to the second */
    int64_t ahead;           /* floats of y and the residual until the pixels that come next */
    const float *next;       /* the filters that follow, where they are to be fetched from far */
    int64_t parts;           /* that tiles fetch them in */
    const struct conv_runs *runs;
    const struct conv_grid *grid;
};

/* Pixels none of whose taps reads padding: a run moves all of them alike. */
FC_INLINE void conv_strip_inside(const struct conv_strip *strip, const struct conv_pixels *px,
                                 const float *next, const int rows, const int vectors,
                                 const int half)
{
    int64_t depth = strip->runs->depth;
    const float *b = strip->filters;
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
    panel_expect(&strip->epilogue, strip->y, px->y, strip->ahead, rows, vectors);
    for (int64_t run = 0; run < strip->runs->count; run++) {
        const float *from = strip->source + strip->runs->shift[run], *a[FC_PANEL_ROWS];
        for (int i = 0; i < rows; i++)
            a[i] = from + px->source[i];
        if (next) {
            panel_multiply_fetching(acc, a, b, strip->second, depth, next, strip->parts, rows,
                                    vectors);
            next += depth / strip->parts * PANEL_COLUMNS;
        } else {
            panel_multiply_lanes(acc, a, b, strip->second, depth, 0, rows, vectors, half);
        }
        b += depth * PANEL_COLUMNS;
    }
    panel_store(acc, &strip->epilogue, strip->y, px->y, strip->columns, rows, vectors);
    if (strip->moments.mean)
        moments_grow(&strip->moments, acc, strip->columns, rows, vectors);
}

/* Pixels at a border: for taps that read padding there are zeros. */
FC_INLINE void conv_strip_border(const struct conv_strip *strip, const struct conv_pixels *at,
                                 const int rows, const int vectors)
{
    const struct conv_grid *g = strip->grid;
    struct conv_pixels px = *at;
    vf acc[FC_PANEL_ROWS][2];
    panel_zero(acc, rows);
    panel_expect(&strip->epilogue, strip->y, px.y, 0, rows, vectors);
    for (int64_t r = 0; r < g->h.taps; r++)
        for (int64_t s = 0; s < g->w.taps; s++) {
            int64_t dh = g->h.offset + r * g->h.shift, dw = g->w.offset + s * g->w.shift;
            if (!conv_reach(g, &px, dh, dw, rows))
                continue;
            int64_t shift = dh * g->a_row + dw * g->a_pixel;
            const float *b = strip->filters + r * g->b_row + s * g->b_tap;
            for (int64_t c = 0; c < g->depth; c += CONV_ZEROS) {
                const float *a[FC_PANEL_ROWS];
                for (int i = 0; i < rows; i++)
                    a[i] = px.reads[i] ? strip->source + (px.source[i] + shift + c) : conv_zeros;
                panel_multiply(acc, a, b + c * PANEL_COLUMNS, strip->second,
                               min_i64(CONV_ZEROS, g->depth - c), 0, rows, vectors);
            }
        }
    panel_store(acc, &strip->epilogue, strip->y, px.y, strip->columns, rows, vectors);
    if (strip->moments.mean)
        moments_grow(&strip->moments, acc, strip->columns, rows, vectors);
}

/* Of 1 to FC_PANEL_ROWS pixels, by whether they lie inside; `part` of what is to be fetched. */
#define FC_CONV_STRIP(rows)                                                                        \
    static void conv_strip_inside_##rows(const struct conv_strip *strip,                           \
                                         const struct conv_pixels *px, int64_t part)               \
    {                                                                                              \
        if (strip->columns > FC_LANES && strip->next)                                              \
            conv_strip_inside(                                                                     \
                strip, px, strip->next + part * conv_part(strip->runs, strip->parts), rows, 2, 0); \
        else if (FC_HALVES && strip->columns > FC_LANES &&                                         \
                 strip->columns <= FC_LANES + FC_LANES / 2)                                        \
            conv_strip_inside(strip, px, NULL, rows, 2, 1);                                        \
        else if (strip->columns > FC_LANES)                                                        \
            conv_strip_inside(strip, px, NULL, rows, 2, 0);                                        \
        else                                                                                       \
            conv_strip_inside(strip, px, NULL, rows, 1, 0);                                        \
    }                                                                                              \
    static void conv_strip_border_##rows(const struct conv_strip *strip,                           \
                                         const struct conv_pixels *px, int64_t part)               \
    {                                                                                              \
        (void)part;                                                                                \
        if (strip->columns > FC_LANES)                                                             \
            conv_strip_border(strip, px, rows, 2);                                                 \
        else                                                                                       \
            conv_strip_border(strip, px, rows, 1);                                                 \
    }
FC_FOR_PANEL_ROWS(FC_CONV_STRIP)
#undef FC_CONV_STRIP

typedef void (*conv_strip_fn)(const struct conv_strip *, const struct conv_pixels *, int64_t part);
#define FC_CONV_STRIP(rows) [rows] = {conv_strip_border_##rows, conv_strip_inside_##rows},
static const conv_strip_fn conv_strip_rows[FC_PANEL_ROWS + 1][2] = {
    FC_FOR_PANEL_ROWS(FC_CONV_STRIP)};
#undef FC_CONV_STRIP

/* The tiles of one item: where their pixels lie, and how many there are in each. */
struct conv_block {
    int64_t first; /* of all tiles */
    int tiles, rows[CONV_MOST_TILES];
    struct conv_pixels pixels[CONV_MOST_TILES];
};

static int64_t conv_tile_rows(const struct conv_grid *g)
{
    return g->a_pixel * g->w.stride % 1024 == 0 ? PANEL_ROWS_APART : FC_PANEL_ROWS;
}

/* `pixels` pixels from `from` on are cut into `tiles` of nearly the same size; those from `first` on. */
static void conv_locate_tiles(const struct conv_grid *g, int64_t from, int64_t pixels,
                              int64_t tiles, int64_t first, struct conv_block *block)
{
    int64_t begin, end;
    for (int i = 0; i < block->tiles; i++) {
        share(pixels, (int)first + i, (int)tiles, &begin, &end);
        block->rows[i] = (int)(end - begin);
        conv_locate(g, from + begin, end - begin, block->rows[i], &block->pixels[i]);
    }
}

/* The tiles of block `item` of `blocks`. */
static void conv_locate_block(const struct conv_grid *g, int64_t item, int64_t blocks,
                              struct conv_block *block)
{
    int64_t pixels = g->N * g->P * g->Q, tiles = ceil_div(pixels, conv_tile_rows(g)), last;
    share(tiles, (int)item, (int)blocks, &block->first, &last);
    block->tiles = (int)(last - block->first);
    conv_locate_tiles(g, 0, pixels, tiles, block->first, block);
}

/* The same where moments of blocks are wanted, which must be the same for any instruction set. */
static void conv_locate_moments(const struct conv_grid *g, int64_t item, struct conv_block *block)
{
    int64_t from = item * MOMENT_PIXELS, pixels = g->N * g->P * g->Q - from;
    pixels = min_i64(pixels, MOMENT_PIXELS);
    block->first = item * ceil_div(MOMENT_PIXELS, conv_tile_rows(g));
    block->tiles = (int)ceil_div(pixels, conv_tile_rows(g));
    conv_locate_tiles(g, from, pixels, block->tiles, 0, block);
}

/* The strips of filters of one group, and of all. */
static int64_t conv_strips(const struct conv_grid *g) { return ceil_div(g->columns, PANEL_STRIP); }

/* What happens to a source before it is multiplied: min(max(x * scale + shift, lower), upper). */
struct entrance {
    const float *scale, *shift; /* (C), or NULL: nothing */
    float lower, upper;
    float *pixels; /* of a block, as they go in */
};

/* Let the pixels of a block through the entrance; they are read from there from then on. */
static void conv_enter(const struct conv_grid *g, const struct entrance *e,
                       struct conv_block *block)
{
    const vf lower = v_set1(e->lower), upper = v_set1(e->upper);
    int64_t C = g->depth, to = 0;
    for (int tile = 0; tile < block->tiles; tile++)
        for (int i = 0; i < block->rows[tile]; i++, to += C) {
            const float *from = g->a + block->pixels[tile].source[i];
            for (int64_t c = 0; c < C; c += FC_LANES) {
                int64_t n = min_i64(FC_LANES, C - c);
                __builtin_prefetch(from + PIXELS_AHEAD * g->a_pixel + c);
                vf x = v_fma(load_lanes(from + c, n), load_lanes(e->scale + c, n),
                             load_lanes(e->shift + c, n));
                store_lanes(e->pixels + to + c, v_min(upper, v_max(lower, x)), n);
            }
            block->pixels[tile].source[i] = to;
        }
}

/* Which filters come from far and are fetched meanwhile: so many strips ahead, a part by each tile;
 * parts = 0: none. */
struct conv_fetch {
    int64_t strips, parts;
};

/* Strip `item` of all groups' strips, for the pixels of one block, whose moments go to [2][K]. */
static void conv_strip_of_block(const struct conv_grid *g, const struct conv_runs *runs,
                                const struct entrance *entrance, const struct epilogue *epilogue,
                                int64_t item, struct conv_fetch fetch,
                                const struct conv_block *block, float *moments)
{
    int64_t group = item / conv_strips(g), at = item % conv_strips(g) * PANEL_STRIP;
    int64_t k = group * g->columns + at;
    int64_t panel = group * ceil_div(g->columns, PANEL_COLUMNS) + at / PANEL_COLUMNS;
    int64_t next = panel + fetch.strips * PANEL_STRIP / PANEL_COLUMNS;
    struct conv_strip strip = {
        .grid = g,
        .runs = runs,
        .source = entrance->scale ? entrance->pixels : g->a + group * g->depth,
        .filters = g->b + panel * g->b_group + at % PANEL_COLUMNS,
        .y = g->y + k,
        .epilogue = {.bias = epilogue->bias ? epilogue->bias + k : NULL,
                     .residual = epilogue->residual ? epilogue->residual + k : NULL,
                     .lower = epilogue->lower,
                     .upper = epilogue->upper},
        .moments = {.mean = moments ? moments + k : NULL,
                    .m2 = moments ? moments + g->columns * g->groups + k : NULL},
        .columns = min_i64(PANEL_STRIP, g->columns - at),
        .second = panel_second(g->b_group / PANEL_COLUMNS),
        .ahead = CONV_TILES * FC_PANEL_ROWS * g->y_pixel,
        .next = fetch.parts ? g->b + next * g->b_group : NULL,
        .parts = max_i64(fetch.parts, 1),
    };
    int64_t before = 0;
    for (int i = 0; i < block->tiles; before += block->rows[i++]) {
        const struct conv_pixels *px = &block->pixels[i];
        if (moments)
            moments_expect(&strip.moments, before, block->rows[i]);
        conv_strip_rows[block->rows[i]][px->inside && runs->count > 0](
            &strip, px, (block->first + i) % strip.parts);
    }
}

/* Strips of filters that a block of pixels meets before the next block comes. What no near cache holds
 * should pass by seldom: all strips for every block, where they are less than the image, or what goes
 * in is made for a block at a time; else a band of strips that stays there, with the band that is
 * fetched meanwhile, or one after the other while a small image stays. */
static int64_t conv_band(const struct conv_grid *g, const struct entrance *entrance)
{
    int64_t strips = conv_strips(g) * g->groups, strip = g->b_group * PANEL_STRIP / PANEL_COLUMNS;
    int64_t filters = strips * strip, image = g->N * g->a_image;
    if (entrance->scale || filters <= CONV_NEAR || filters <= image)
        return strips;
    return image <= CONV_NEAREST ? 1 : max_i64(1, CONV_NEAR / 2 / strip);
}

/* What a strip fetches, in bands of `most`: the next one while the first band is met for the first time,
 * `done` items after a thread began; its place in the next band then. */
static struct conv_fetch conv_fetch(int64_t strip, int64_t strips, int64_t most, int64_t done,
                                    int64_t tiles)
{
    if (most == strips)
        return (struct conv_fetch){0, 0};
    if (done + 1 < most)
        return (struct conv_fetch){1, CONV_TILES};
    if (strip + most >= strips)
        return (struct conv_fetch){0, 0};
    return (struct conv_fetch){most, conv_parts(tiles)};
}

/* Blocks of pixels: smaller ones where there are few items, and threads would have unlike shares of
 * them, or each would let all pixels through the entrance. */
static int64_t conv_blocks(const struct entrance *entrance, int64_t tiles, int64_t strips,
                           int nthreads)
{
    int64_t blocks = ceil_div(tiles, CONV_TILES);
    for (; blocks * 2 <= tiles; blocks *= 2) {
        int64_t items = blocks * strips;
        int uneven = items < 4 * nthreads && items % nthreads;
        if (!uneven && !(entrance->scale && blocks < nthreads))
            break;
    }
    return blocks;
}

/* With an entrance the grid has one tap, so that every pixel of a block is its own source. Moments are
 * (blocks, 2, K), or NULL where nobody wants them. */
static void conv_packed_walk(const struct conv_grid *g, const struct entrance *entrance,
                             const struct epilogue *epilogue, float *moments, int tid, int nthreads)
{
    int64_t pixels = g->N * g->P * g->Q, tiles = ceil_div(pixels, conv_tile_rows(g)), located = -1;
    int64_t strips = conv_strips(g) * g->groups, most = conv_band(g, entrance);
    int64_t blocks =
        moments ? ceil_div(pixels, MOMENT_PIXELS) : conv_blocks(entrance, tiles, strips, nthreads);
    struct conv_block at;
    struct conv_runs runs;
    conv_find_runs(g, &runs);
    fc_work work = fc_open(blocks * strips, tid, nthreads);
    while (fc_take(&work))
        for (int64_t item = work.begin; item < work.end; item++) {
            int64_t first = item / (blocks * most) * most, band = min_i64(most, strips - first);
            int64_t in_band = item - first * blocks, block = in_band / band;
            int64_t strip = first + in_band % band;
            if (block != located && moments)
                conv_locate_moments(g, block, &at);
            else if (block != located)
                conv_locate_block(g, block, blocks, &at);
            if (block != located && entrance->scale)
                conv_enter(g, entrance, &at);
            located = block;
            conv_strip_of_block(g, &runs, entrance, epilogue, strip,
                                conv_fetch(strip, strips, most, item - work.begin, tiles), &at,
                                moments ? moments + block * 2 * g->columns * g->groups : NULL);
        }
}
