/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reductions over any axes. Axes of one kind that lie side by side are joined; what remains is
 *
 *   columns   the last axis is kept: vectors run along it, rows are folded one onto the other
 *   runs      the last axis is reduced: vectors run along it and are folded across at the end
 *
 * Long reductions are cut into slices by shape alone; partial results are folded in slice order.
 * A sum is taken in blocks (FOLD_BLOCK at a time, then the blocks), so its error stays small.
 */

enum {
    FOLD_BLOCK = 64,     /* vectors folded before they are folded into the total */
    RUN_PIECE = 4096,    /* elements of a run that are folded at once */
    COLUMN_VECTORS = 4,  /* columns are taken this many vectors at a time */
    JOINED_COLUMNS = 32, /* of rows that are joined, at most */
    SLICE_MIN = 256,     /* rows or pieces, of which a slice has at least so many ... */
    SLICES_MAX = 64,     /* ... and a reduction at most so many slices */
    WIDE = 64            /* with so many outputs side by side nothing is sliced */
};

typedef struct {
    int n_kept, n_reduced; /* axes beside the innermost */
    int64_t kept[FCNN_MAX_RANK], kept_stride[FCNN_MAX_RANK];
    int64_t reduced[FCNN_MAX_RANK], reduced_stride[FCNN_MAX_RANK];
    int columns;    /* the innermost axis is kept */
    int64_t inner;  /* its length */
    int64_t groups; /* product of kept: outputs, or rows of outputs where columns */
    int64_t folds;  /* product of reduced: rows, or runs where not columns */
    int64_t joined; /* rows that are folded side by side, as one */
    int64_t outputs;
} reduction;

static void append_axis(int *n, int64_t dims[], int64_t strides[], int64_t dim, int64_t stride)
{
    dims[*n] = dim;
    strides[(*n)++] = stride;
}

/* Axes whose bit is set in `axes` are reduced. */
static reduction reduction_of(const fc_tensor *x, int64_t axes)
{
    int64_t dim[FCNN_MAX_RANK + 1], stride = 1;
    int is_reduced[FCNN_MAX_RANK + 1], rank = 0;
    for (int i = 0; i < x->rank; i++) {
        int kind = (int)(axes >> i & 1);
        if (x->dim[i] == 1)
            continue;
        if (rank && is_reduced[rank - 1] == kind) {
            dim[rank - 1] *= x->dim[i];
        } else {
            dim[rank] = x->dim[i];
            is_reduced[rank++] = kind;
        }
    }
    if (rank == 0) {
        dim[0] = 1;
        is_reduced[rank++] = 0;
    }
    reduction r = {.columns = !is_reduced[rank - 1], .inner = dim[rank - 1], .joined = 1};
    r.groups = r.folds = 1;
    int64_t strides[FCNN_MAX_RANK + 1];
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= dim[i];
    }
    for (int i = 0; i < rank - 1; i++) {
        if (is_reduced[i]) {
            append_axis(&r.n_reduced, r.reduced, r.reduced_stride, dim[i], strides[i]);
            r.folds *= dim[i];
        } else {
            append_axis(&r.n_kept, r.kept, r.kept_stride, dim[i], strides[i]);
            r.groups *= dim[i];
        }
    }
    r.outputs = r.groups * (r.columns ? r.inner : 1);
    return r;
}

/* Offset of index `index` over the n axes, in row order. */
static inline int64_t offset_of(int64_t index, int n, const int64_t dim[], const int64_t stride[])
{
    int64_t offset = 0;
    for (int i = n - 1; i > 0; i--) {
        offset += index % dim[i] * stride[i];
        index /= dim[i];
    }
    return n ? offset + index * stride[0] : 0;
}

static inline int64_t kept_offset(const reduction *r, int64_t index)
{
    return offset_of(index, r->n_kept, r->kept, r->kept_stride);
}

static inline int64_t reduced_offset(const reduction *r, int64_t index)
{
    return offset_of(index, r->n_reduced, r->reduced, r->reduced_stride);
}

/* What is folded one after the other for an output: rows, or pieces of runs. */
static int64_t steps_of(const reduction *r)
{
    return r->columns ? r->folds : r->folds * ceil_div(r->inner, RUN_PIECE);
}

static int64_t tiles_of(const reduction *r)
{
    return r->columns ? r->groups * ceil_div(r->inner, COLUMN_VECTORS * FC_LANES) : r->groups;
}

/* Slices of the reduction: a matter of shape, and of nothing that an instruction set decides. */
static int64_t slices_of(const reduction *r)
{
    int64_t outputs = r->columns ? r->groups * ceil_div(r->inner, 64) : r->groups;
    int64_t least = r->columns ? SLICE_MIN : 2;
    if (outputs >= WIDE)
        return 1;
    return max_i64(1, min_i64(SLICES_MAX, steps_of(r) / least));
}

/* Rows of few columns that follow each other without a gap are joined: lanes would stay empty. */
static reduction joined_reduction_of(const fc_tensor *x, int64_t axes)
{
    reduction r = reduction_of(x, axes);
    if (!r.columns || r.n_kept || r.n_reduced != 1 || r.inner == 0)
        return r;
    while (2 * r.inner <= JOINED_COLUMNS && r.folds % 2 == 0) {
        r.joined *= 2;
        r.inner *= 2;
        r.folds /= 2;
    }
    r.reduced[0] = r.folds;
    r.reduced_stride[0] = r.inner;
    return r;
}

/* p[0:n] with the remaining lanes set to `fill`. */
static inline vf load_filled(const float *p, int64_t n, float fill)
{
    float lanes[FC_LANES];
    v_store(lanes, v_set1(fill));
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return v_load(lanes);
}

/* Defines reduce_<word>: fold(a, b) over the axes, beginning with `first`, times `scale`. */
#define FC_REDUCTION(word, fold, first)                                                            \
    /* Lanes folded by halves into the first; the second half of `lanes` is only padding. */       \
    static float across_##word(vf a)                                                               \
    {                                                                                              \
        float lanes[2 * FC_LANES];                                                                 \
        v_store(lanes, a);                                                                         \
        v_store(lanes + FC_LANES, a);                                                              \
        for (int half = FC_LANES / 2; half > 0; half /= 2)                                         \
            v_store(lanes, fold(v_load(lanes), v_load(lanes + half)));                             \
        return lanes[0];                                                                           \
    }                                                                                              \
    /* Rows [begin, end) of one tile of columns, n of them in `vectors` vectors. */                \
    FC_INLINE void rows_##word(const reduction *r, const float *x, int64_t begin, int64_t end,     \
                               int64_t n, float *y, const int vectors)                             \
    {                                                                                              \
        vf total[COLUMN_VECTORS], block[COLUMN_VECTORS];                                           \
        for (int v = 0; v < vectors; v++)                                                          \
            total[v] = v_set1(first);                                                              \
        for (int64_t row = begin; row < end;) {                                                    \
            int64_t stop = min_i64(end, row + FOLD_BLOCK);                                         \
            for (int v = 0; v < vectors; v++)                                                      \
                block[v] = v_set1(first);                                                          \
            for (; row < stop; row++) {                                                            \
                const float *p = x + reduced_offset(r, row);                                       \
                for (int v = 0; v < vectors; v++)                                                  \
                    block[v] = fold(block[v], load_lanes(p + v * FC_LANES,                         \
                                                         min_i64(FC_LANES, n - v * FC_LANES)));    \
            }                                                                                      \
            for (int v = 0; v < vectors; v++)                                                      \
                total[v] = fold(total[v], block[v]);                                               \
        }                                                                                          \
        for (int v = 0; v < vectors; v++)                                                          \
            store_lanes(y + v * FC_LANES, total[v], min_i64(FC_LANES, n - v * FC_LANES));          \
    }                                                                                              \
    static void columns_##word(const reduction *r, const float *x, int64_t begin, int64_t end,     \
                               int64_t n, float *y)                                                \
    {                                                                                              \
        switch (ceil_div(n, FC_LANES)) {                                                           \
        case 1:                                                                                    \
            rows_##word(r, x, begin, end, n, y, 1);                                                \
            break;                                                                                 \
        case 2:                                                                                    \
            rows_##word(r, x, begin, end, n, y, 2);                                                \
            break;                                                                                 \
        case 3:                                                                                    \
            rows_##word(r, x, begin, end, n, y, 3);                                                \
            break;                                                                                 \
        default:                                                                                   \
            rows_##word(r, x, begin, end, n, y, COLUMN_VECTORS);                                   \
        }                                                                                          \
    }                                                                                              \
    /* x[0:n] of one run. */                                                                       \
    static vf piece_##word(const float *x, int64_t n)                                              \
    {                                                                                              \
        vf total = v_set1(first), other = total;                                                   \
        int64_t i = 0;                                                                             \
        while (i + FC_LANES <= n) {                                                                \
            vf block = v_set1(first), second = block;                                              \
            int64_t stop = min_i64(n, i + 2 * FOLD_BLOCK * FC_LANES);                              \
            for (; i + 2 * FC_LANES <= stop; i += 2 * FC_LANES) {                                  \
                block = fold(block, v_load(x + i));                                                \
                second = fold(second, v_load(x + i + FC_LANES));                                   \
            }                                                                                      \
            for (; i + FC_LANES <= stop; i += FC_LANES)                                            \
                block = fold(block, v_load(x + i));                                                \
            total = fold(total, block);                                                            \
            other = fold(other, second);                                                           \
        }                                                                                          \
        if (i < n)                                                                                 \
            other = fold(other, load_filled(x + i, n - i, first));                                 \
        return fold(total, other);                                                                 \
    }                                                                                              \
    static float runs_##word(const reduction *r, const float *x, int64_t begin, int64_t end)       \
    {                                                                                              \
        int64_t pieces = ceil_div(r->inner, RUN_PIECE);                                            \
        vf total = v_set1(first);                                                                  \
        for (int64_t i = begin; i < end; i++) {                                                    \
            int64_t start = i % pieces * RUN_PIECE;                                                \
            const float *p = x + reduced_offset(r, i / pieces) + start;                            \
            total = fold(total, piece_##word(p, min_i64(RUN_PIECE, r->inner - start)));            \
        }                                                                                          \
        return across_##word(total);                                                               \
    }                                                                                              \
    /* One tile of outputs over slice [begin, end) into y[output]. */                              \
    static void tile_##word(const reduction *r, const float *x, int64_t tile, int64_t begin,       \
                            int64_t end, float *y)                                                 \
    {                                                                                              \
        if (!r->columns) {                                                                         \
            y[tile] = runs_##word(r, x + kept_offset(r, tile), begin, end);                        \
            return;                                                                                \
        }                                                                                          \
        int64_t width = COLUMN_VECTORS * FC_LANES, per_group = ceil_div(r->inner, width);          \
        int64_t group = tile / per_group, start = tile % per_group * width;                        \
        columns_##word(r, x + kept_offset(r, group) + start, begin, end,                           \
                       min_i64(width, r->inner - start), y + group * r->inner + start);            \
    }                                                                                              \
    static void fold_slices_##word(const reduction *r, const float *partial, int64_t slices,       \
                                   float scale, float *y, int tid, int nthreads)                   \
    {                                                                                              \
        int64_t begin, end;                                                                        \
        share(ceil_div(r->outputs, FC_LANES), tid, nthreads, &begin, &end);                        \
        for (int64_t i = begin * FC_LANES; i < min_i64(end * FC_LANES, r->outputs);                \
             i += FC_LANES) {                                                                      \
            int64_t n = min_i64(FC_LANES, r->outputs - i);                                         \
            vf total = v_load_n(partial + i, n);                                                   \
            for (int64_t s = 1; s < slices; s++)                                                   \
                total = fold(total, v_load_n(partial + s * r->outputs + i, n));                    \
            v_store_n(y + i, v_mul(total, v_set1(scale)), n);                                      \
        }                                                                                          \
    }                                                                                              \
    static void reduce_##word(const fc_call *call, int64_t axes, float scale, int tid,             \
                              int nthreads)                                                        \
    {                                                                                              \
        reduction r = joined_reduction_of(&call->in[0], axes);                                     \
        int64_t steps = steps_of(&r), slices = slices_of(&r), begin, end;                          \
        float *partial = (float *)call->scratch;                                                   \
        share(tiles_of(&r) * slices, tid, nthreads, &begin, &end);                                 \
        for (int64_t item = begin; item < end; item++) {                                           \
            int64_t slice = item % slices;                                                         \
            tile_##word(&r, call->in[0].data, item / slices, steps * slice / slices,               \
                        steps * (slice + 1) / slices, partial + slice * r.joined * r.outputs);     \
        }                                                                                          \
        fc_sync(call);                                                                             \
        fold_slices_##word(&r, partial, slices * r.joined, scale, call->out[0].data, tid,          \
                           nthreads);                                                              \
    }

FC_REDUCTION(sum, v_add, 0.0f)
FC_REDUCTION(max, v_maximum, -INFINITY)
FC_REDUCTION(min, v_minimum, INFINITY)

/* Room for one result per slice and output. */
static int64_t reduction_scratch(const fc_call *call, int64_t axes)
{
    reduction r = joined_reduction_of(&call->in[0], axes);
    return slices_of(&r) * r.joined * r.outputs * (int64_t)sizeof(float);
}

#define FC_REDUCE(kernel, word, scale)                                                             \
    FC_DEFINE_PLAN(kernel)                                                                         \
    {                                                                                              \
        FC_ATTRS(kernel);                                                                          \
        (void)nthreads;                                                                            \
        return reduction_scratch(call, attrs->axes);                                               \
    }                                                                                              \
    FC_DEFINE(kernel)                                                                              \
    {                                                                                              \
        FC_ATTRS(kernel);                                                                          \
        reduce_##word(call, attrs->axes, scale, tid, nthreads);                                    \
        return FCNN_OK;                                                                            \
    }

FC_REDUCE(f32_reduce_sum, sum, 1.0f)
FC_REDUCE(f32_reduce_mean, sum, (float)attrs->scale)
FC_REDUCE(f32_reduce_max, max, 1.0f)
FC_REDUCE(f32_reduce_min, min, 1.0f)

/* y = scale * x, repeated along `axes` of y. */
FC_DEFINE(f32_broadcast)
{
    FC_ATTRS(f32_broadcast);
    const fc_tensor *out = &call->out[0];
    const float scale = (float)attrs->scale;
    broadcast_nest nest = {.n_in = 2, .x = {call->in[0].data, &scale}, .y = out->data};
    int64_t stride[FCNN_MAX_RANK], next = 1;
    for (int axis = out->rank - 1; axis >= 0; axis--) {
        int repeats = (int)(attrs->axes >> axis & 1);
        stride[axis] = repeats ? 0 : next;
        next *= repeats ? 1 : out->dim[axis];
    }
    for (int axis = 0; axis < out->rank; axis++)
        if (out->dim[axis] != 1)
            nest_append(&nest, out->dim[axis], (const int64_t[MAX_OPERANDS]){stride[axis]});
    if (nest.rank == 0)
        nest_append(&nest, 1, (const int64_t[MAX_OPERANDS]){0});
    walk_rows(&nest, row_f32_multiply, tid, nthreads);
    return FCNN_OK;
}

/* dy at the first element, in row order, that equals its reduction y; zero elsewhere. */
static void mark_first(const reduction *r, const float *dy, const float *x, const float *y,
                       int64_t group, float *dx)
{
    const int64_t base = kept_offset(r, group);
    int found = 0;
    for (int64_t fold = 0; fold < r->folds; fold++) {
        int64_t at = base + reduced_offset(r, fold), i = 0;
        memset(dx + at, 0, (size_t)r->inner * sizeof *dx);
        while (!found && i < r->inner && x[at + i] != y[group])
            i++;
        if (!found && i < r->inner) {
            dx[at + i] = dy[group];
            found = 1;
        }
    }
}

/* The same for a tile of n <= FC_LANES columns. */
static void mark_first_columns(const reduction *r, const float *dy, const float *x, const float *y,
                               int64_t output, int64_t base, int64_t n, float *dx)
{
    const vf target = v_load_n(y + output, n), gradient = v_load_n(dy + output, n);
    vf wanted = v_set1(1.0f);
    for (int64_t fold = 0; fold < r->folds; fold++) {
        int64_t at = base + reduced_offset(r, fold);
        vf hit = v_and_mask(v_eq(v_load_n(x + at, n), target), wanted);
        v_store_n(dx + at, v_and_mask(v_gt(hit, v_zero()), gradient), n);
        wanted = v_sub(wanted, hit);
    }
}

FC_DEFINE(f32_reduce_extremum_grad)
{
    FC_ATTRS(f32_reduce_extremum_grad);
    const float *dy = call->in[0].data, *x = call->in[1].data, *y = call->in[2].data;
    const reduction r = reduction_of(&call->in[1], attrs->axes);
    int64_t tiles = r.columns ? ceil_div(r.inner, FC_LANES) : 1, begin, end;
    share(r.groups * tiles, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t group = item / tiles, start = item % tiles * FC_LANES;
        if (r.columns)
            mark_first_columns(&r, dy, x, y, group * r.inner + start,
                               kept_offset(&r, group) + start, min_i64(FC_LANES, r.inner - start),
                               call->out[0].data);
        else
            mark_first(&r, dy, x, y, group, call->out[0].data);
    }
    return FCNN_OK;
}

/* Position of the first largest element (the first NaN where there is one) of n that lie `stride`
 * apart. */
static int32_t first_largest(const float *x, int64_t n, int64_t stride)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n && x[best * stride] == x[best * stride]; i++)
        if (!(x[i * stride] <= x[best * stride]))
            best = i;
    return (int32_t)best;
}

FC_DEFINE(f32_argmax)
{
    FC_ATTRS(f32_argmax);
    const fc_tensor *in = &call->in[0];
    const float *x = in->data;
    int32_t *y = call->out[0].data;
    int64_t n = in->dim[attrs->axis], inner = 1, begin, end;
    for (int i = (int)attrs->axis + 1; i < in->rank; i++)
        inner *= in->dim[i];
    share(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        y[i] = first_largest(x + i / inner * n * inner + i % inner, n, inner);
    return FCNN_OK;
}
