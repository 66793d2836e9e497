/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients of batch and group normalisation, over the shapes and the scratch of norm.inc.h.
 * Inputs: dy, x, gamma, the mean of each (segment, group), its variance or reciprocal deviation.
 * Pass 1 sums dy and dy * (x - mean) per segment and channel; pass 2 makes dx from both.
 */

enum { SLOPE = 1, PULL = 2, LEVEL = 3 }; /* tables: dx = dy*slope - ((x - center)*pull + level) */

static inline double rstd_at(const fc_call *call, int64_t at, double epsilon, int has_variance)
{
    double spread = ((const float *)call->in[4].data)[at];
    return has_variance ? 1.0 / sqrt(spread + epsilon) : spread;
}

/* Where dy arrives at the norm: everywhere, or where the bounds behind it did not hold. */
typedef struct {
    enum { GATE_OPEN, GATE_BY_X, GATE_BY_Y } kind;
    const float *beta;         /* [C]; by x: bounds are asked of the normalised x */
    const fc_tensor *y;        /* by y: of the sum that was bounded, */
    float *arrived;            /* [rows][C]; which pass 1 makes and pass 2 reads */
    const fc_tensor *residual; /* by x: what dx is added to, or NULL */
    vf lower, upper;
} norm_gate;

/* Rows of a tensor, some floats apart. */
typedef struct {
    const float *first;
    int64_t ld;
} norm_sheet;

static inline norm_sheet sheet_of(const fc_tensor *t)
{
    return t ? (norm_sheet){t->data, t->ld} : (norm_sheet){NULL, 0};
}

/* One segment, as both passes walk over it. */
typedef struct {
    norm_sheet dy, x, y, residual;
    float *dx, *arrived;                        /* [rows][C] */
    const float *center, *slope, *pull, *level; /* [C] */
    const float *beta;                          /* [C] */
    int64_t channels;
    vf lower, upper;
} gradient_walk;

/* One row of it. */
typedef struct {
    const float *dy, *x, *y, *residual;
    float *dx, *arrived;
} gradient_row;

static gradient_walk gradient_walk_of(const fc_call *call, norm_shape s, norm_gate gate,
                                      int64_t segment)
{
    return (gradient_walk){.dy = sheet_of(&call->in[0]),
                           .x = sheet_of(&call->in[1]),
                           .y = sheet_of(gate.y),
                           .residual = sheet_of(gate.residual),
                           .dx = call->out[0].data,
                           .arrived = gate.arrived,
                           .center = norm_table(call, s, CENTER, segment),
                           .slope = norm_table(call, s, SLOPE, segment),
                           .pull = norm_table(call, s, PULL, segment),
                           .level = norm_table(call, s, LEVEL, segment),
                           .beta = gate.beta,
                           .channels = s.channels,
                           .lower = gate.lower,
                           .upper = gate.upper};
}

FC_INLINE gradient_row gradient_row_at(const gradient_walk *w, int64_t row)
{
    return (gradient_row){.dy = w->dy.first + row * w->dy.ld,
                          .x = w->x.first + row * w->x.ld,
                          .y = w->y.first + row * w->y.ld,
                          .residual = w->residual.first + row * w->residual.ld,
                          .dx = w->dx + row * w->channels,
                          .arrived = w->arrived ? w->arrived + row * w->channels : NULL};
}

/* What is known before pass 1. */
static void fill_centers(const fc_call *call, norm_shape s, double epsilon, int has_variance,
                         int tid, int nthreads)
{
    const float *gamma = call->in[2].data, *mean = call->in[3].data;
    int64_t width = s.channels / s.groups, first, last;
    share(s.segments * s.channels, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        double rstd = rstd_at(call, i / width, epsilon, has_variance);
        norm_table(call, s, CENTER, 0)[i] = mean[i / width];
        norm_table(call, s, SLOPE, 0)[i] = (float)((double)gamma[i % s.channels] * rstd);
    }
}

/* n lanes of dy where they arrive, else 0; `value` is the normalised x or y. */
FC_INLINE vf gate_between(const gradient_walk *w, vf dy, vf value)
{
    return v_and_mask(v_gt(value, w->lower), v_and_mask(v_gt(w->upper, value), dy));
}

/* Adds dy and dy * (x - center) of n channels from c on of a row to sums [2][C]. */
FC_INLINE void product_vector(const gradient_walk *w, const int kind, const gradient_row *at,
                              int64_t c, int64_t n, float *sums)
{
    vf d = v_sub(load_lanes(at->x + c, n), load_lanes(w->center + c, n));
    vf dy = load_lanes(at->dy + c, n);
    if (kind == GATE_BY_X)
        dy = gate_between(w, dy, v_fma(d, load_lanes(w->slope + c, n), load_lanes(w->beta + c, n)));
    if (kind == GATE_BY_Y) {
        dy = gate_between(w, dy, load_lanes(at->y + c, n));
        store_lanes(at->arrived + c, dy, n);
    }
    float *products = sums + w->channels;
    store_lanes(sums + c, v_add(load_lanes(sums + c, n), dy), n);
    store_lanes(products + c, v_fma(dy, d, load_lanes(products + c, n)), n);
}

/* The sums [2][C] of a block of rows from `row` on, channels [begin, end). They grow in the nearest
 * cache, so that rows are read from end to end as memory likes it. */
FC_INLINE void block_products(const gradient_walk *w, const int kind, int64_t row, int64_t rows,
                              int64_t begin, int64_t end, float *sums)
{
    memset(sums + begin, 0, (size_t)(end - begin) * sizeof(float));
    memset(sums + w->channels + begin, 0, (size_t)(end - begin) * sizeof(float));
    for (int64_t last = row + rows; row < last; row++) {
        const gradient_row at = gradient_row_at(w, row);
        int64_t c = begin;
        for (; c + FC_LANES <= end; c += FC_LANES)
            product_vector(w, kind, &at, c, FC_LANES, sums);
        if (c < end)
            product_vector(w, kind, &at, c, end - c, sums);
    }
}

/* partial = sums of what arrives of dy, and of that times (x - center), by block and channel. */
static void all_block_products(const fc_call *call, norm_shape s, norm_gate gate, int tid,
                               int nthreads)
{
    int64_t first, last;
    share(norm_items(s), tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        norm_item it = norm_item_at(s, i);
        gradient_walk w = gradient_walk_of(call, s, gate, it.segment);
        int64_t row = it.segment * s.rows + it.block * s.block;
        int64_t rows = norm_block_rows(s, it.block);
        float *sums = norm_partial(call, s, it.segment, it.block);
        switch (gate.kind) {
        case GATE_OPEN:
            block_products(&w, GATE_OPEN, row, rows, it.begin, it.end, sums);
            break;
        case GATE_BY_X:
            block_products(&w, GATE_BY_X, row, rows, it.begin, it.end, sums);
            break;
        case GATE_BY_Y:
            block_products(&w, GATE_BY_Y, row, rows, it.begin, it.end, sums);
            break;
        }
    }
}

/* Pass 1: after it, block 0 of every segment holds the sums [2][C] over the segment's rows. */
static void segment_products(const fc_call *call, norm_shape s, norm_gate gate, double epsilon,
                             int has_variance, int tid, int nthreads)
{
    int64_t vectors = ceil_div(s.channels, FC_LANES), first, last;
    fill_centers(call, s, epsilon, has_variance, tid, nthreads);
    fc_sync(call);
    all_block_products(call, s, gate, tid, nthreads);
    fc_sync(call);
    share(s.segments * vectors, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++) {
        int64_t c = i % vectors * FC_LANES;
        merge_sums(norm_partial(call, s, i / vectors, 0), s.blocks, s.channels, c,
                   min_i64(FC_LANES, s.channels - c));
    }
    fc_sync(call);
}

/* Tables of one group; statistics that do not depend on x pull nothing back. */
static void group_tables(const fc_call *call, norm_shape s, int64_t segment, int64_t group,
                         double rstd, int statistics_depend_on_x)
{
    const float *gamma = call->in[2].data;
    const float *sums = norm_partial(call, s, segment, 0), *products = sums + s.channels;
    int64_t width = s.channels / s.groups, begin = group * width;
    double level = 0, pull = 0;
    for (int64_t c = begin; c < begin + width && statistics_depend_on_x; c++) {
        level += (double)gamma[c] * (double)sums[c];
        pull += (double)gamma[c] * (double)products[c];
    }
    level *= rstd / (double)(width * s.rows);
    pull *= rstd * rstd * rstd / (double)(width * s.rows);
    for (int64_t c = begin; c < begin + width; c++) {
        norm_table(call, s, PULL, segment)[c] = (float)pull;
        norm_table(call, s, LEVEL, segment)[c] = (float)level;
    }
}

/* dgamma and dbeta of channel c: over segments, in order. */
static void channel_gradients(const fc_call *call, norm_shape s, int64_t c, double epsilon,
                              int has_variance)
{
    int64_t group = c / (s.channels / s.groups);
    double sum = 0, products = 0;
    for (int64_t segment = 0; segment < s.segments; segment++) {
        const float *partial = norm_partial(call, s, segment, 0);
        sum += (double)partial[c];
        products += (double)partial[s.channels + c] *
                    rstd_at(call, segment * s.groups + group, epsilon, has_variance);
    }
    ((float *)call->out[1].data)[c] = (float)products;
    ((float *)call->out[2].data)[c] = (float)sum;
}

/* dx = dy * slope - ((x - center) * pull + level) + residual of n channels from c on of a row. */
FC_INLINE void gradient_vector(const gradient_walk *w, const int kind, const int has_residual,
                               const gradient_row *at, int64_t c, int64_t n)
{
    vf d = v_sub(load_lanes(at->x + c, n), load_lanes(w->center + c, n));
    vf slope = load_lanes(w->slope + c, n), dy = load_lanes(at->dy + c, n);
    if (kind == GATE_BY_X)
        dy = gate_between(w, dy, v_fma(d, slope, load_lanes(w->beta + c, n)));
    vf back = v_fma(d, load_lanes(w->pull + c, n), load_lanes(w->level + c, n));
    vf dx = v_sub(v_mul(dy, slope), back);
    if (has_residual)
        dx = v_add(dx, load_lanes(at->residual + c, n));
    store_lanes(at->dx + c, dx, n);
}

FC_INLINE void gradient_rows(const gradient_walk *w, const int kind, const int has_residual,
                             int64_t first, int64_t last)
{
    for (int64_t row = first; row < last; row++) {
        const gradient_row at = gradient_row_at(w, row);
        int64_t c = 0;
        for (; c + FC_LANES <= w->channels; c += FC_LANES)
            gradient_vector(w, kind, has_residual, &at, c, FC_LANES);
        if (c < w->channels)
            gradient_vector(w, kind, has_residual, &at, c, w->channels - c);
    }
}

/* Pass 2 over this thread's rows of all segments. */
static void apply_gradient_tables(const fc_call *call, norm_shape s, norm_gate gate, int tid,
                                  int nthreads)
{
    int64_t first, last;
    share(s.segments * s.rows, tid, nthreads, &first, &last);
    while (first < last) {
        int64_t segment = first / s.rows, end = min_i64(last, (segment + 1) * s.rows);
        gradient_walk w = gradient_walk_of(call, s, gate, segment);
        if (gate.kind == GATE_BY_Y)
            w.dy = (norm_sheet){gate.arrived, s.channels};
        if (gate.kind == GATE_BY_X && gate.residual)
            gradient_rows(&w, GATE_BY_X, 1, first, end);
        else if (gate.kind == GATE_BY_X)
            gradient_rows(&w, GATE_BY_X, 0, first, end);
        else
            gradient_rows(&w, GATE_OPEN, 0, first, end);
        first = end;
    }
}

static void norm_gradient(const fc_call *call, norm_shape s, norm_gate gate, double epsilon,
                          int has_variance, int statistics_depend_on_x, int tid, int nthreads)
{
    int64_t first, last;
    segment_products(call, s, gate, epsilon, has_variance, tid, nthreads);
    share(s.segments * s.groups, tid, nthreads, &first, &last);
    for (int64_t i = first; i < last; i++)
        group_tables(call, s, i / s.groups, i % s.groups, rstd_at(call, i, epsilon, has_variance),
                     statistics_depend_on_x);
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++)
        channel_gradients(call, s, c, epsilon, has_variance);
    fc_sync(call);
    apply_gradient_tables(call, s, gate, tid, nthreads);
}

static const norm_gate gate_open = {.kind = GATE_OPEN};

FC_DEFINE_PLAN(f32_batch_norm_grad)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

FC_DEFINE(f32_batch_norm_grad)
{
    FC_ATTRS(f32_batch_norm_grad);
    norm_gradient(call, batch_norm_shape(&call->in[0]), gate_open, attrs->epsilon, 1, 1, tid,
                  nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_group_norm_grad)
{
    (void)nthreads;
    return norm_scratch(group_norm_shape(call, &call->in[3]));
}

FC_DEFINE(f32_group_norm_grad)
{
    norm_gradient(call, group_norm_shape(call, &call->in[3]), gate_open, 0.0, 0, 1, tid, nthreads);
    return FCNN_OK;
}

FC_DEFINE_PLAN(f32_batch_norm_inference_grad)
{
    (void)nthreads;
    return norm_scratch(batch_norm_shape(&call->in[0]));
}

/* Outputs 3 and 4 are the gradients of the given mean and variance. */
FC_DEFINE(f32_batch_norm_inference_grad)
{
    FC_ATTRS(f32_batch_norm_inference_grad);
    norm_shape s = batch_norm_shape(&call->in[0]);
    norm_gradient(call, s, gate_open, attrs->epsilon, 1, 0, tid, nthreads);
    const float *gamma = call->in[2].data;
    const float *sums = norm_partial(call, s, 0, 0), *products = sums + s.channels;
    float *dmean = call->out[3].data, *dvariance = call->out[4].data;
    int64_t first, last;
    share(s.channels, tid, nthreads, &first, &last);
    for (int64_t c = first; c < last; c++) {
        double rstd = rstd_at(call, c, attrs->epsilon, 1), slope = (double)gamma[c] * rstd;
        dmean[c] = (float)(-slope * (double)sums[c]);
        dvariance[c] = (float)(-0.5 * slope * rstd * rstd * (double)products[c]);
    }
    return FCNN_OK;
}
