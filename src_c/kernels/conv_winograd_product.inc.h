/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The products of Winograd's convolutions at one point: rows of patches times a strip of filters, and
 * requests for what the next products read.
 */
enum {
    WINOGRAD_AHEAD = 32, /* rows of a panel: a strip serves but the tiles of a block */
    WINOGRAD_FETCH = 16, /* channels between requests for what comes next */
};

/* m[rows][PANEL_STRIP] = v[rows][C] u[C][PANEL_STRIP] for one plane, a tile of rows after the other. */
struct winograd_product {
    const float *v, *u;
    const float *v_next, *u_next; /* to be fetched meanwhile from far, or NULL */
    float *m;
    int64_t v_row, m_row, depth;
    int64_t part;  /* floats of u_next that a tile fetches, */
    int64_t lines; /* and its lines for WINOGRAD_FETCH channels */
    int vectors;
};

/* Ask for what the products of the next strip and the next plane read. Prefetchers follow neither: a
 * tile walks along as many short rows as it has, and pages end a stream. */
FC_INLINE void winograd_fetch(const float *u_next, const float *v_next, int64_t lines,
                              int64_t second, const int rows, const int vectors)
{
    for (int64_t i = 0; i < lines; i++)
        panel_fetch(u_next + i * PANEL_COLUMNS, second, vectors);
    if (!v_next)
        return;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) /* rows lie one behind the other */
        __builtin_prefetch(v_next + i * WINOGRAD_FETCH, 0, 2);
}

FC_INLINE void winograd_product_body(const struct winograd_product *p, int64_t tiles,
                                     const int rows, const int vectors)
{
    const int64_t second = panel_second(p->depth), step = rows * p->v_row;
    const float *v = p->v, *u_next = p->u_next, *v_next = p->v_next;
    float *m = p->m;
    for (; tiles > 0; tiles--, v += step, m += rows * p->m_row) {
        const float *a[FC_PANEL_ROWS], *u = p->u;
        vf acc[FC_PANEL_ROWS][2];
        int64_t c = 0;
        for (int i = 0; i < rows; i++)
            a[i] = v + i * p->v_row;
        panel_zero(acc, rows);
        for (; u_next && c + WINOGRAD_FETCH <= p->depth; c += WINOGRAD_FETCH) {
            winograd_fetch(u_next + c * p->lines, v_next ? v_next + c * rows : NULL, p->lines,
                           second, rows, vectors);
            panel_multiply(acc, a, u, second, WINOGRAD_FETCH, WINOGRAD_AHEAD, rows, vectors);
            u += WINOGRAD_FETCH * PANEL_COLUMNS;
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++)
                a[i] += WINOGRAD_FETCH;
        }
        panel_multiply(acc, a, u, second, p->depth - c, WINOGRAD_AHEAD, rows, vectors);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            v_store(m + i * p->m_row, acc[i][0]);
            if (vectors == 2)
                v_store(m + i * p->m_row + FC_LANES, acc[i][1]);
        }
        u_next = u_next ? u_next + p->part : NULL;
        v_next = v_next ? v_next + step : NULL;
    }
}

#define FC_WINOGRAD(rows)                                                                          \
    static void winograd_product_##rows(const struct winograd_product *p, int64_t tiles)           \
    {                                                                                              \
        if (FC_LANES < PANEL_COLUMNS || p->vectors == 2)                                           \
            winograd_product_body(p, tiles, rows, 2);                                              \
        else                                                                                       \
            winograd_product_body(p, tiles, rows, 1);                                              \
    }
FC_FOR_PANEL_ROWS(FC_WINOGRAD)
#undef FC_WINOGRAD

typedef void (*winograd_product_fn)(const struct winograd_product *, int64_t tiles);
#define FC_WINOGRAD(rows) [rows] = winograd_product_##rows,
static const winograd_product_fn winograd_products[FC_PANEL_ROWS + 1] = {
    FC_FOR_PANEL_ROWS(FC_WINOGRAD)};
#undef FC_WINOGRAD

/* Fewer rows wait for their own sums: so many vectors of two do not. */
enum { WINOGRAD_LEAST = 4 };

/* One strip of one plane, for all rows of a block: whole tiles, and one or two that have the rest. */
static void winograd_strip(const struct winograd_product *p, int64_t count)
{
    int64_t tiles = count / FC_PANEL_ROWS, rest = count % FC_PANEL_ROWS;
    if (rest && rest < WINOGRAD_LEAST && tiles) {
        rest += FC_PANEL_ROWS;
        tiles--;
    }
    if (tiles)
        winograd_products[FC_PANEL_ROWS](p, tiles);
    struct winograd_product last = *p;
    int64_t done = tiles * FC_PANEL_ROWS;
    while (done < count) {
        int64_t rows = rest > FC_PANEL_ROWS ? ceil_div(rest, 2) : rest;
        last.v = p->v + done * p->v_row;
        last.m = p->m + done * p->m_row;
        last.v_next = p->v_next ? p->v_next + done * p->v_row : NULL;
        last.u_next = p->u_next ? p->u_next + tiles * p->part : NULL;
        winograd_products[rows](&last, 1);
        tiles++;
        done += rows;
        rest -= rows;
    }
}
