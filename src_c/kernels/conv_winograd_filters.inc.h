/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Winograd's filters: U = G g G' of filters g (r, r, C, K), in panels.
 *
 *   u[groups][(m + r - 1)^2][WINOGRAD_PANELS][depth][PANEL_COLUMNS]
 *
 * G is scaled so that B' stays free of fractions. Inference transforms once and in double; where
 * filters change in every step it is done in float, m = 4, forward or with inputs and outputs
 * exchanged for the gradient of the input.
 */

/* G g for three values of a filter. */
FC_INLINE void winograd_values(const vf g[3], vf u[6])
{
    vf even = v_mul(v_set1(1.0f / 6), v_fma(v_set1(2.0f), g[2], g[0]));
    vf odd = v_mul(v_set1(SQRT2 / 6), g[1]);
    vf even2 = v_mul(v_set1(-1.0f / 3), v_fma(v_set1(2.0f), g[0], g[2]));
    vf odd2 = v_mul(v_set1(SQRT2 / 3), g[1]);
    u[0] = g[0];
    u[1] = v_add(even, odd);
    u[2] = v_sub(even, odd);
    u[3] = v_sub(even2, odd2);
    u[4] = v_add(even2, odd2);
    u[5] = g[2];
}

enum { FILTER_BLOCK = FILTER_ROWS * PANEL_COLUMNS, WINOGRAD_TRAIN_POINTS = 36 };

/* U of FC_LANES filters of a block. */
FC_INLINE void winograd_transform_lanes(const float *g, float *u)
{
    vf t[3][6];
#pragma GCC unroll 3
    for (int s = 0; s < 3; s++) {
        const vf column[3] = {v_load(g + s * FILTER_BLOCK), v_load(g + (3 + s) * FILTER_BLOCK),
                              v_load(g + (6 + s) * FILTER_BLOCK)};
        winograd_values(column, t[s]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        const vf row[3] = {t[0][i], t[1][i], t[2][i]};
        vf values[6];
        winograd_values(row, values);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++)
            v_store(u + (6 * i + j) * FILTER_BLOCK, values[j]);
    }
}

/* G g of r taps in double, for patches of m: at a point the value of the polynomial g over the product
 * of the point's distances to all others, at infinity the last coefficient. */
FC_INLINE void winograd_values_double(const double g[5], double u[6], const int m, const int r)
{
    const double sqrt2 = 1.41421356237309505;
    const int edge = m + r - 1;
    u[0] = g[0];
    u[edge - 1] = g[r - 1];
    if (edge == 4) {
        double even = (g[0] + g[2]) * 0.5, odd = g[1] * 0.5;
        u[1] = even + odd;
        u[2] = even - odd;
        return;
    }
    double third = r >= 4 ? g[3] : 0, fourth = r == 5 ? g[4] : 0;
    double even = (g[0] + 2 * g[2] + 4 * fourth) * (1.0 / 6),
           odd = (g[1] + 2 * third) * (sqrt2 / 6);
    double even2 = (2 * g[0] + g[2] + 0.5 * fourth) * (-1.0 / 3);
    double odd2 = (g[1] + 0.5 * third) * (sqrt2 / 3);
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = even2 - odd2;
    u[4] = even2 + odd2;
}

/* U of PANEL_COLUMNS filters of a block. */
FC_INLINE void winograd_transform_double(const float *g, float *u, const int m, const int r)
{
    const int edge = m + r - 1;
    double t[5][6][PANEL_COLUMNS];
    for (int s = 0; s < r; s++)
        for (int k = 0; k < PANEL_COLUMNS; k++) {
            double taps[5], values[6];
            for (int i = 0; i < r; i++)
                taps[i] = g[(r * i + s) * FILTER_BLOCK + k];
            winograd_values_double(taps, values, m, r);
            for (int i = 0; i < edge; i++)
                t[s][i][k] = values[i];
        }
    for (int i = 0; i < edge; i++)
        for (int k = 0; k < PANEL_COLUMNS; k++) {
            double taps[5], values[6];
            for (int s = 0; s < r; s++)
                taps[s] = t[s][i][k];
            winograd_values_double(taps, values, m, r);
            for (int j = 0; j < edge; j++)
                u[(edge * i + j) * FILTER_BLOCK + k] = (float)values[j];
        }
}

/* U of some rows of a block: PANEL_COLUMNS filters each, at one of their inputs. */
typedef void winograd_transform(const float *g, float *u, int64_t rows);

static void winograd_transform_step(const float *g, float *u, int64_t rows)
{
    for (int64_t i = 0; i < rows * PANEL_COLUMNS; i += FC_LANES)
        winograd_transform_lanes(g + i, u + i);
}

#define FC_WINOGRAD_TRANSFORM(m, r)                                                                \
    static void winograd_transform_##m##_##r(const float *g, float *u, int64_t rows)               \
    {                                                                                              \
        for (int64_t i = 0; i < rows * PANEL_COLUMNS; i += PANEL_COLUMNS)                          \
            winograd_transform_double(g + i, u + i, m, r);                                         \
    }
FC_FOR_WINOGRAD(FC_WINOGRAD_TRANSFORM)
#undef FC_WINOGRAD_TRANSFORM

#define FC_WINOGRAD_TRANSFORM(m, r) [m][r] = winograd_transform_##m##_##r,
static winograd_transform *const winograd_transforms[WINOGRAD_M + 1][WINOGRAD_R + 1] = {
    FC_FOR_WINOGRAD(FC_WINOGRAD_TRANSFORM)};
#undef FC_WINOGRAD_TRANSFORM

/* Filters (r, r, C, K) as a convolution sees them: depth inputs, columns outputs. Exchanged, it is
 * the other way round and the taps go from last to first. */
struct winograd_kernel {
    const float *filters;
    int64_t C, K, depth, columns;
    int exchanged, taps, points; /* taps r x r */
    winograd_transform *transform;
};

static struct winograd_kernel winograd_kernel(const fc_tensor *w, int64_t exchanged)
{
    int64_t C = w->dim[2], K = w->dim[3];
    return (struct winograd_kernel){
        .filters = w->data,
        .C = C,
        .K = K,
        .depth = exchanged ? K : C,
        .columns = exchanged ? C : K,
        .exchanged = (int)exchanged,
        .taps = 9,
        .points = WINOGRAD_TRAIN_POINTS,
        .transform = winograd_transform_step,
    };
}

/* Rows [row, row + FILTER_ROWS) of a panel's U; those of plane xi go to u + xi * plane. */
static void winograd_transform_block(const struct winograd_kernel *w, int64_t panel, int64_t row,
                                     float *u, int64_t plane)
{
    float from[25][FILTER_ROWS][PANEL_COLUMNS],
        to[WINOGRAD_TRAIN_POINTS][FILTER_ROWS][PANEL_COLUMNS];
    int64_t row_step = w->exchanged ? 1 : w->K, column_step = w->exchanged ? w->K : 1;
    int64_t column = panel * PANEL_COLUMNS,
            columns = max_i64(0, min_i64(PANEL_COLUMNS, w->columns - column));
    int64_t rows = min_i64(FILTER_ROWS, w->depth - row);
    const float *first = w->filters + row * row_step + column * column_step;
    for (int tap = 0; tap < w->taps; tap++)
        gather_filters(from[w->exchanged ? w->taps - 1 - tap : tap], first + tap * w->C * w->K,
                       rows, columns, row_step, column_step);
    w->transform(from[0][0], to[0][0], rows);
    /* Planes lie powers of two apart, which fall on one set of a cache: whole rows at a time. */
    for (int xi = 0; xi < w->points; xi++)
        memcpy(u + xi * plane, to[xi], (size_t)rows * sizeof to[0][0]);
}

static void winograd_transform_all(const struct winograd_kernel *w, float *u, int tid, int nthreads)
{
    int64_t panels = ceil_div(w->columns, WINOGRAD_COLUMNS) * WINOGRAD_PANELS, begin, end;
    int64_t blocks = ceil_div(w->depth, FILTER_ROWS), size = w->depth * PANEL_COLUMNS;
    share(panels * blocks, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item % blocks * FILTER_ROWS, panel = item / blocks;
        int64_t group = panel / WINOGRAD_PANELS, in_group = panel % WINOGRAD_PANELS;
        float *to = u + (group * w->points * WINOGRAD_PANELS + in_group) * size;
        winograd_transform_block(w, panel, row, to + row * PANEL_COLUMNS, WINOGRAD_PANELS * size);
    }
}

FC_DEFINE(f32_winograd_filters)
{
    FC_ATTRS(f32_winograd_filters);
    struct winograd_kernel w = winograd_kernel(call->in, 0);
    int64_t r = call->in[0].dim[0], edge = attrs->tile + r - 1;
    w.taps = (int)(r * r);
    w.points = (int)(edge * edge);
    w.transform = winograd_transforms[attrs->tile][r];
    winograd_transform_all(&w, call->out[0].data, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE(f32_transform_filters)
{
    FC_ATTRS(f32_transform_filters);
    const struct winograd_kernel w = winograd_kernel(call->in, attrs->exchanged);
    winograd_transform_all(&w, call->out[0].data, tid, nthreads);
    return FCNN_OK;
}
