/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch and group normalisation. Both see x as (segments, rows, C): the whole batch is one segment
 * for batch norm, every sample is one for group norm. Moments are taken per segment, block of rows
 * and channel, merged over blocks in a fixed tree, then over the channels of each group.
 *
 * Scratch: partial[segments][blocks][2][C], then table[NORM_TABLES][segments][C].
 */

enum { NORM_ROWS = 64, NORM_CHANNELS = 256, NORM_TABLES = 4 };

typedef struct {
    int64_t segments, rows, channels; /* of x */
    int64_t block, blocks;            /* rows of a block, and blocks in each segment */
    int64_t groups;                   /* of channels / groups neighbouring channels */
    const float *given;               /* [segments][blocks][2][C] about zero, or NULL: taken of x */
} norm_shape;

static norm_shape norm_shape_of(const fc_tensor *x, int64_t segments, int64_t groups)
{
    int64_t channels = x->dim[x->rank - 1];
    int64_t rows = count_of(x) / max_i64(segments * channels, 1);
    return (norm_shape){.segments = segments,
                        .rows = rows,
                        .channels = channels,
                        .block = NORM_ROWS,
                        .blocks = ceil_div(rows, NORM_ROWS),
                        .groups = groups};
}

static int64_t norm_scratch(norm_shape s)
{
    return (s.segments * s.blocks * 2 + NORM_TABLES * s.segments) * s.channels *
           (int64_t)sizeof(float);
}

/* First of the two rows [2][C] that belong to a block. */
static inline float *norm_partial(const fc_call *call, norm_shape s, int64_t segment, int64_t block)
{
    return (float *)call->scratch + (segment * s.blocks + block) * 2 * s.channels;
}

/* Row [C] of table `which`. */
static inline float *norm_table(const fc_call *call, norm_shape s, int which, int64_t segment)
{
    return norm_partial(call, s, s.segments, 0) + (which * s.segments + segment) * s.channels;
}

static inline int64_t norm_block_rows(norm_shape s, int64_t block)
{
    return min_i64(s.block, s.rows - block * s.block);
}

/* One item of the first phase: a block of rows of some neighbouring channels. */
typedef struct {
    int64_t segment, block, begin, end; /* channels [begin, end) */
} norm_item;

static inline int64_t norm_items(norm_shape s)
{
    return s.segments * s.blocks * ceil_div(s.channels, NORM_CHANNELS);
}

static inline norm_item norm_item_at(norm_shape s, int64_t i)
{
    int64_t chunks = ceil_div(s.channels, NORM_CHANNELS);
    int64_t begin = i % chunks * NORM_CHANNELS;
    return (norm_item){i / chunks / s.blocks, i / chunks % s.blocks, begin,
                       min_i64(begin + NORM_CHANNELS, s.channels)};
}

static void all_block_moments(const fc_call *call, norm_shape s, int tid, int nthreads)
{
    const float *x = call->in[0].data;
    int64_t ld = call->in[0].ld, first, last;
    share(norm_items(s), tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        norm_item it = norm_item_at(s, i);
        const float *origin = x + it.segment * s.rows * ld;
        const float *rows = origin + it.block * s.block * ld;
        float *partial = norm_partial(call, s, it.segment, it.block);
        int64_t c = it.begin, C = s.channels;
        block_moments_of(rows + c, norm_block_rows(s, it.block), ld, it.end - c, origin + c,
                         partial + c, partial + C + c);
    }
}

/* Moments that came with the call, to where they can be merged. */
static void copy_block_moments(const fc_call *call, norm_shape s, int tid, int nthreads)
{
    int64_t first, last;
    share(s.segments * s.blocks * 2 * s.channels, tid, nthreads, &first, &last);
    memcpy(norm_partial(call, s, 0, 0) + first, s.given + first,
           (size_t)(last - first) * sizeof(float));
}

/* Merge all blocks of a segment into its first, for n channels from c. */
static void merge_moments(const fc_call *call, norm_shape s, int64_t segment, int64_t c, int64_t n)
{
    for (int64_t step = 1; step < s.blocks; step *= 2)
        for (int64_t a = 0; a + step < s.blocks; a += 2 * step)
            merge_two_moments(norm_partial(call, s, segment, a) + c,
                              norm_partial(call, s, segment, a + step) + c, s.channels, n,
                              step * s.block,
                              min_i64(step * s.block, s.rows - (a + step) * s.block));
}

/* The same tree for plain sums. `first` is block 0's [2][width]; blocks lie 2 * width apart. */
static void merge_sums(float *first, int64_t blocks, int64_t width, int64_t c, int64_t n)
{
    for (int64_t step = 1; step < blocks; step *= 2)
        for (int64_t block = 0; block + step < blocks; block += 2 * step) {
            float *a = first + block * 2 * width + c, *b = a + step * 2 * width;
            store_lanes(a, v_add(load_lanes(a, n), load_lanes(b, n)), n);
            store_lanes(a + width, v_add(load_lanes(a + width, n), load_lanes(b + width, n)), n);
        }
}

enum { CENTER = 0, SCALE = 1, OFFSET = 2 }; /* tables of y = (x - center) * scale + offset */

/* Mean and variance of one group, in double: few numbers, and offsets may dwarf deviations. */
static void group_moments(const fc_call *call, norm_shape s, int64_t segment, int64_t group,
                          double *mean, double *variance)
{
    const float *x = call->in[0].data, *origin = x + segment * s.rows * call->in[0].ld;
    const float *means = norm_partial(call, s, segment, 0), *m2 = means + s.channels;
    int64_t width = s.channels / s.groups, begin = group * width;
    double sum = 0, squares = 0;
    for (int64_t c = begin; c < begin + width; c++)
        sum += (s.given ? 0.0 : (double)origin[c]) + (double)means[c];
    *mean = sum / (double)width;
    for (int64_t c = begin; c < begin + width; c++) {
        double d = (s.given ? 0.0 : (double)origin[c]) + (double)means[c] - *mean;
        squares += (double)m2[c] + d * d * (double)s.rows;
    }
    *variance = squares / (double)(width * s.rows);
}

/* Outputs 1 and 2 of one group (its mean, and its variance or reciprocal deviation) and its part of
 * the tables. What rounding takes from the mean goes into the offset. */
static void finish_group(const fc_call *call, norm_shape s, int64_t segment, int64_t group,
                         double epsilon, int wants_variance)
{
    const float *gamma = call->in[1].data, *beta = call->in[2].data;
    float *means = call->out[1].data, *spreads = call->out[2].data;
    int64_t width = s.channels / s.groups, at = segment * s.groups + group;
    double mean, variance;
    group_moments(call, s, segment, group, &mean, &variance);
    double rstd = 1.0 / sqrt(variance + epsilon);
    means[at] = (float)mean;
    spreads[at] = (float)(wants_variance ? variance : rstd);
    for (int64_t c = group * width; c < (group + 1) * width; c++) {
        double scale = (double)gamma[c] * rstd;
        norm_table(call, s, CENTER, segment)[c] = (float)mean;
        norm_table(call, s, SCALE, segment)[c] = (float)scale;
        norm_table(call, s, OFFSET, segment)[c] =
            (float)((double)beta[c] - (mean - (double)(float)mean) * scale);
    }
}

/* y = min(max((x - center) * scale + offset + residual, lower), upper). */
typedef struct {
    const float *x;                       /* [rows][ldx] */
    const float *residual;                /* [rows][channels], or NULL */
    float *y;                             /* [rows][ldy] */
    const float *center, *scale, *offset; /* [channels] */
    int64_t ldx, ldy, channels;
    vf lower, upper;
} norm_map;

/* n channels from c on of one row. */
FC_INLINE void map_vector(const norm_map *m, const float *x, const float *residual, float *y,
                          int64_t c, int64_t n)
{
    vf d = v_sub(load_lanes(x + c, n), load_lanes(m->center + c, n));
    vf value = v_fma(d, load_lanes(m->scale + c, n), load_lanes(m->offset + c, n));
    if (residual)
        value = v_add(value, load_lanes(residual + c, n));
    store_lanes(y + c, v_min(m->upper, v_max(m->lower, value)), n);
}

FC_INLINE void map_rows(const norm_map *m, const int has_residual, int64_t first, int64_t last)
{
    for (int64_t row = first; row < last; row++) {
        const float *x = m->x + row * m->ldx;
        const float *residual = has_residual ? m->residual + row * m->channels : NULL;
        float *y = m->y + row * m->ldy;
        int64_t c = 0;
        for (; c + FC_LANES <= m->channels; c += FC_LANES)
            map_vector(m, x, residual, y, c, FC_LANES);
        if (c < m->channels)
            map_vector(m, x, residual, y, c, m->channels - c);
    }
}

static void apply_map(const norm_map *m, int64_t first, int64_t last)
{
    if (m->residual)
        map_rows(m, 1, first, last);
    else
        map_rows(m, 0, first, last);
}

/* This thread's rows of all segments, by each segment's tables. */
static void apply_tables(const fc_call *call, norm_shape s, int tid, int nthreads)
{
    int64_t first, last;
    share(s.segments * s.rows, tid, nthreads, &first, &last);
    while (first < last) {
        int64_t segment = first / s.rows, end = min_i64(last, (segment + 1) * s.rows);
        norm_map m = {.x = call->in[0].data,
                      .y = call->out[0].data,
                      .center = norm_table(call, s, CENTER, segment),
                      .scale = norm_table(call, s, SCALE, segment),
                      .offset = norm_table(call, s, OFFSET, segment),
                      .ldx = call->in[0].ld,
                      .ldy = call->out[0].ld,
                      .channels = s.channels,
                      .lower = v_set1(-INFINITY),
                      .upper = v_set1(INFINITY)};
        apply_map(&m, first, end);
        first = end;
    }
}

/* Moments of x: all outputs but y, and the tables that make y. */
static void fill_tables(const fc_call *call, norm_shape s, double epsilon, int wants_variance,
                        int tid, int nthreads)
{
    int64_t vectors = ceil_div(s.channels, FC_LANES), first, last;
    if (s.given)
        copy_block_moments(call, s, tid, nthreads);
    else
        all_block_moments(call, s, tid, nthreads);
    fc_sync(call);
    share(s.segments * vectors, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        int64_t c = i % vectors * FC_LANES;
        merge_moments(call, s, i / vectors, c, min_i64(FC_LANES, s.channels - c));
    }
    fc_sync(call);
    share(s.segments * s.groups, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++)
        finish_group(call, s, i / s.groups, i % s.groups, epsilon, wants_variance);
    fc_sync(call);
}

static void normalise(const fc_call *call, norm_shape s, double epsilon, int wants_variance,
                      int tid, int nthreads)
{
    fill_tables(call, s, epsilon, wants_variance, tid, nthreads);
    apply_tables(call, s, tid, nthreads);
}

static norm_shape batch_norm_shape(const fc_tensor *x)
{
    return norm_shape_of(x, 1, x->dim[x->rank - 1]);
}

/* `mean` is (N, G). */
static norm_shape group_norm_shape(const fc_call *call, const fc_tensor *mean)
{
    return norm_shape_of(&call->in[0], mean->dim[0], mean->dim[1]);
}

FC_DEFINE_PLAN(f32_batch_norm_train)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

FC_DEFINE(f32_batch_norm_train)
{
    FC_ATTRS(f32_batch_norm_train);
    normalise(call, batch_norm_shape(&call->in[0]), attrs->epsilon, 1, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_group_norm)
{
    (void)nthreads;
    return norm_scratch(group_norm_shape(call, &call->out[1]));
}

FC_DEFINE(f32_group_norm)
{
    FC_ATTRS(f32_group_norm);
    normalise(call, group_norm_shape(call, &call->out[1]), attrs->epsilon, 0, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_batch_norm_inference)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

FC_DEFINE(f32_batch_norm_inference)
{
    FC_ATTRS(f32_batch_norm_inference);
    norm_shape s = batch_norm_shape(&call->in[0]);
    const float *gamma = call->in[1].data, *beta = call->in[2].data;
    const float *mean = call->in[3].data, *variance = call->in[4].data;
    int64_t first, last;
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++) {
        double rstd = 1.0 / sqrt((double)variance[c] + attrs->epsilon);
        norm_table(call, s, CENTER, 0)[c] = mean[c];
        norm_table(call, s, SCALE, 0)[c] = (float)((double)gamma[c] * rstd);
        norm_table(call, s, OFFSET, 0)[c] = beta[c];
    }
    fc_sync(call);
    apply_tables(call, s, tid, nthreads);
    return FCNN_OK;
}
