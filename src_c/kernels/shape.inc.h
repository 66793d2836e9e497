/* SPDX-License-Identifier: Apache-2.0 */
/* The shape family: elements of any dtype are moved in runs as long as the shapes allow. Axes that
 * are whole are merged with their outer neighbour first, so few long axes remain. */

/* Elements per item of work. */
enum { SHAPE_BLOCK = 4096 };

static inline int64_t element_bytes(const fc_tensor *t)
{
    static const int64_t bytes_of[] = {4, 8, 1, 4, 4, 8}; /* by fc_dtype */
    return bytes_of[t->dtype];
}

/* A small box inside a big one, after merging. Rows run along the last axis. */
typedef struct {
    int rank;
    int64_t big[FCNN_MAX_RANK], small[FCNN_MAX_RANK], begin[FCNN_MAX_RANK];
} fc_box;

static fc_box box_of(const fc_tensor *big, const fc_tensor *small, const int64_t *begin)
{
    fc_box box = {.rank = 1, .big = {1}, .small = {1}};
    for (int i = 0; i < big->rank; i++) {
        int64_t whole = big->dim[i], part = small->dim[i];
        if (i > 0 && whole != part)
            box.rank++;
        int last = box.rank - 1;
        if (i == 0 || whole != part) {
            box.big[last] = whole;
            box.small[last] = part;
            box.begin[last] = begin[i];
        } else {
            box.big[last] *= whole;
            box.small[last] *= part;
            box.begin[last] *= whole;
        }
    }
    return box;
}

static inline int64_t rows_of(const int64_t *dim, int rank)
{
    int64_t rows = 1;
    for (int i = 0; i < rank - 1; i++)
        rows *= dim[i];
    return rows;
}

/* Where row `row` of the small box starts in the big one, in elements. */
static inline int64_t row_in_big(const fc_box *box, int64_t row)
{
    int last = box->rank - 1;
    int64_t offset = box->begin[last], stride = box->big[last];
    for (int i = last - 1; i >= 0; i--) {
        offset += (box->begin[i] + row % box->small[i]) * stride;
        row /= box->small[i];
        stride *= box->big[i];
    }
    return offset;
}

/* Where row `row` of the big box starts in the small one, or -1: it lies outside. */
static inline int64_t row_in_small(const fc_box *box, int64_t row)
{
    int last = box->rank - 1;
    int64_t offset = 0, stride = box->small[last];
    for (int i = last - 1; i >= 0; i--) {
        int64_t at = row % box->big[i] - box->begin[i];
        if (at < 0 || at >= box->small[i])
            return -1;
        offset += at * stride;
        row /= box->big[i];
        stride *= box->small[i];
    }
    return offset;
}

/* y[rows, run] = the block of x that starts at attrs begin. */
FC_DEFINE(f32_slice)
{
    const char *x = call->in[0].data;
    char *y = call->out[0].data;
    fc_box box = box_of(&call->in[0], &call->out[0], call->attrs);
    int64_t bytes = element_bytes(&call->out[0]), run = box.small[box.rank - 1];
    int64_t parts = ceil_div(run, SHAPE_BLOCK), begin, end;
    share(rows_of(box.small, box.rank) * parts, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item / parts, from = item % parts * SHAPE_BLOCK;
        int64_t count = min_i64(run - from, SHAPE_BLOCK);
        memcpy(y + (row * run + from) * bytes, x + (row_in_big(&box, row) + from) * bytes,
               (size_t)(count * bytes));
    }
    return FCNN_OK;
}

/* `value` as one element of `dtype`. */
static void to_element(double value, int32_t dtype, char element[8])
{
    float f32 = (float)value;
    uint8_t u8 = dtype == FCNN_U8 ? (uint8_t)value : 0;
    int32_t i32 = dtype == FCNN_I32 ? (int32_t)value : 0;
    uint32_t u32 = dtype == FCNN_U32 ? (uint32_t)value : 0;
    int64_t i64 = dtype == FCNN_I64 ? (int64_t)value : 0;
    const void *source[] = {&f32, &value, &u8, &i32, &u32, &i64}; /* by fc_dtype */
    static const size_t bytes_of[] = {4, 8, 1, 4, 4, 8};
    memcpy(element, source[dtype], bytes_of[dtype]);
}

static void fill_elements(char *out, const char *element, int64_t bytes, int64_t count)
{
    if (bytes == 1) {
        memset(out, *(const unsigned char *)element, (size_t)count);
    } else if (bytes == 4) {
        for (int64_t i = 0; i < count; i++)
            memcpy(out + 4 * i, element, 4);
    } else {
        for (int64_t i = 0; i < count; i++)
            memcpy(out + 8 * i, element, 8);
    }
}

/* Elements [from, to) of one padded row: `inside` is where the row's own elements lie, or NULL. */
static void pad_run(char *row, const char *inside, int64_t from, int64_t to, int64_t begin,
                    int64_t size, const char *element, int64_t bytes)
{
    int64_t first = inside ? min_i64(max_i64(begin, from), to) : to;
    int64_t last = inside ? min_i64(max_i64(begin + size, first), to) : to;
    fill_elements(row + from * bytes, element, bytes, first - from);
    if (last > first)
        memcpy(row + first * bytes, inside + (first - begin) * bytes,
               (size_t)((last - first) * bytes));
    fill_elements(row + last * bytes, element, bytes, to - last);
}

FC_DEFINE(f32_pad)
{
    FC_ATTRS(f32_pad);
    const char *x = call->in[0].data;
    char *y = call->out[0].data, element[8];
    fc_box box = box_of(&call->out[0], &call->in[0], call->attrs);
    int last = box.rank - 1;
    int64_t bytes = element_bytes(&call->out[0]), run = box.big[last];
    int64_t parts = ceil_div(run, SHAPE_BLOCK), begin, end;
    to_element(attrs->value, call->out[0].dtype, element);
    share(rows_of(box.big, box.rank) * parts, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item / parts, from = item % parts * SHAPE_BLOCK;
        int64_t source = row_in_small(&box, row);
        pad_run(y + row * run * bytes, source < 0 ? NULL : x + source * bytes, from,
                min_i64(from + SHAPE_BLOCK, run), box.begin[last], box.small[last], element, bytes);
    }
    return FCNN_OK;
}

/* Bytes of one row of input i: its axes from the joined one on. */
static inline int64_t concat_run(const fc_tensor *t, int64_t axis)
{
    int64_t bytes = element_bytes(t);
    for (int i = (int)axis; i < t->rank; i++)
        bytes *= t->dim[i];
    return bytes;
}

/* Fills bytes [begin, end) of y, whose rows are the inputs' rows one after the other. */
static void concat_bytes(const fc_call *call, int64_t axis, int64_t begin, int64_t end)
{
    int64_t row_bytes = concat_run(&call->out[0], axis);
    int64_t row = begin / row_bytes, at = begin % row_bytes;
    char *y = call->out[0].data;
    while (begin < end) {
        for (int i = 0; i < call->n_in && begin < end; i++) {
            int64_t run = concat_run(&call->in[i], axis);
            if (at >= run) {
                at -= run;
                continue;
            }
            int64_t count = min_i64(run - at, end - begin);
            memcpy(y + begin, (const char *)call->in[i].data + row * run + at, (size_t)count);
            begin += count;
            at = 0;
        }
        row++;
    }
}

/* Pixels of floats, `ld` apart on either side. */
FC_DEFINE(f32_copy_pixels)
{
    const fc_tensor *x = call->in, *y = call->out;
    int64_t C = x->dim[x->rank - 1], begin, end;
    share(C ? count_of(x) / C : 0, tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        memcpy((float *)y->data + i * y->ld, (const float *)x->data + i * x->ld,
               (size_t)C * sizeof(float));
    return FCNN_OK;
}

FC_DEFINE(f32_concat)
{
    FC_ATTRS(f32_concat);
    int64_t block = SHAPE_BLOCK * 4, begin, end;
    int64_t bytes = count_of(&call->out[0]) * element_bytes(&call->out[0]);
    share(ceil_div(bytes, block), tid, nthreads, &begin, &end);
    if (begin < end) /* rows of an empty output have no length to divide by */
        concat_bytes(call, attrs->axis, begin * block, min_i64(end * block, bytes));
    return FCNN_OK;
}

/* An output's axes, innermost first, with the input's step along each (0: repeated). */
typedef struct {
    int rank;
    int64_t dim[FCNN_MAX_RANK], step[FCNN_MAX_RANK];
} fc_spread;

static fc_spread spread_of(const fc_tensor *in, const fc_tensor *out)
{
    fc_spread s = {.rank = 1, .dim = {1}, .step = {1}};
    int64_t stride = 1;
    for (int i = 0; i < out->rank; i++) {
        int64_t dim = out->dim[out->rank - 1 - i];
        int64_t from = i < in->rank ? in->dim[in->rank - 1 - i] : 1;
        int64_t step = from == dim ? stride : 0;
        stride *= from;
        if (dim == 1)
            continue;
        int last = s.rank - 1;
        if (s.dim[last] != 1 && (step == 0) != (s.step[last] == 0))
            last = s.rank++;
        if (s.dim[last] <= 1) {
            s.dim[last] = dim;
            s.step[last] = step;
        } else {
            s.dim[last] *= dim;
        }
    }
    return s;
}

FC_DEFINE(f32_broadcast_to)
{
    const char *x = call->in[0].data;
    char *y = call->out[0].data;
    fc_spread s = spread_of(&call->in[0], &call->out[0]);
    int64_t bytes = element_bytes(&call->out[0]), run = s.dim[0], begin, end;
    int64_t parts = ceil_div(run, SHAPE_BLOCK);
    int64_t rows = run ? count_of(&call->out[0]) / run : 0;
    share(rows * parts, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item / parts, from = item % parts * SHAPE_BLOCK, source = 0, rest = row;
        int64_t count = min_i64(run - from, SHAPE_BLOCK);
        for (int i = 1; i < s.rank; i++) {
            source += rest % s.dim[i] * s.step[i];
            rest /= s.dim[i];
        }
        char *target = y + (row * run + from) * bytes;
        if (s.step[0])
            memcpy(target, x + (source + from) * bytes, (size_t)(count * bytes));
        else
            fill_elements(target, x + source * bytes, bytes, count);
    }
    return FCNN_OK;
}

/* A transposition after merging: output sizes, and the input's stride along each output axis. */
typedef struct {
    int rank, row; /* axis `row` of the output is the input's last: its stride is 1 */
    int64_t dim[FCNN_MAX_RANK], stride[FCNN_MAX_RANK];
} fc_transposition;

static fc_transposition transposition_of(const fc_tensor *x, const int64_t *axis)
{
    fc_transposition t = {.rank = 1, .dim = {1}, .stride = {1}};
    int64_t stride[FCNN_MAX_RANK], next = 1;
    for (int i = x->rank - 1; i >= 0; i--) {
        stride[i] = next;
        next *= x->dim[i];
    }
    for (int i = 0; i < x->rank; i++) {
        int64_t dim = x->dim[axis[i]], s = stride[axis[i]];
        if (dim == 1)
            continue;
        int last = t.rank - 1;
        if (t.dim[last] == 1)
            t.dim[last] = dim;
        else if (t.stride[last] == s * dim)
            t.dim[last] *= dim;
        else
            t.dim[last = t.rank++] = dim;
        t.stride[last] = s;
    }
    for (int i = 0; i < t.rank; i++)
        if (t.stride[i] == 1)
            t.row = i;
    return t;
}

enum { TRANSPOSE_TILE = 16 };

/* out[r, c] = in[c, r] for r < rows, c < cols, both with strides in elements. */
#define FC_TRANSPOSE_TILE(type)                                                                    \
    static void transpose_##type(const void *in, void *out, int64_t rows, int64_t cols,            \
                                 int64_t in_stride, int64_t out_stride)                            \
    {                                                                                              \
        const type *x = in;                                                                        \
        type *y = out;                                                                             \
        for (int64_t c0 = 0; c0 < cols; c0 += TRANSPOSE_TILE)                                      \
            for (int64_t r = 0; r < rows; r++)                                                     \
                for (int64_t c = c0; c < min_i64(c0 + TRANSPOSE_TILE, cols); c++)                  \
                    y[r * out_stride + c] = x[c * in_stride + r];                                  \
    }
FC_TRANSPOSE_TILE(uint8_t)
FC_TRANSPOSE_TILE(uint32_t)
FC_TRANSPOSE_TILE(uint64_t)

/* Items are a tile of axis t.row at one place of all others but the last. */
FC_DEFINE(f32_transpose)
{
    const char *x = call->in[0].data;
    char *y = call->out[0].data;
    fc_transposition t = transposition_of(&call->in[0], call->attrs);
    int last = t.rank - 1;
    int64_t bytes = element_bytes(&call->in[0]), cols = t.dim[last];
    int64_t rows = t.row == last ? 1 : t.dim[t.row], tiles = ceil_div(rows, TRANSPOSE_TILE);
    int64_t plane = rows * cols, begin, end;
    int64_t count = plane ? count_of(&call->in[0]) / plane * tiles : 0;
    share(count, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t r = item % tiles * TRANSPOSE_TILE, rest = item / tiles, step = cols, row_step = 0;
        int64_t from = 0, to = 0;
        for (int i = last - 1; i >= 0; i--) {
            int64_t at = i == t.row ? r : rest % t.dim[i];
            if (i == t.row)
                row_step = step;
            else
                rest /= t.dim[i];
            from += at * t.stride[i];
            to += at * step;
            step *= t.dim[i];
        }
        const char *source = x + from * bytes;
        char *target = y + to * bytes;
        int64_t height = min_i64(rows - r, TRANSPOSE_TILE);
        if (t.row == last)
            memcpy(target, source, (size_t)(cols * bytes));
        else if (bytes == 1)
            transpose_uint8_t(source, target, height, cols, t.stride[last], row_step);
        else if (bytes == 4)
            transpose_uint32_t(source, target, height, cols, t.stride[last], row_step);
        else
            transpose_uint64_t(source, target, height, cols, t.stride[last], row_step);
    }
    return FCNN_OK;
}

/* y = a[0], b[0], a[1], b[1], ... of `each` elements each. */
static void interleave(float *y, const float *a, const float *b, int64_t each)
{
    int64_t j = 0;
    for (; j + FC_LANES <= each; j += FC_LANES) {
        vf low, high;
        v_interleave(v_load(a + j), v_load(b + j), &low, &high);
        v_store(y + 2 * j, low);
        v_store(y + 2 * j + FC_LANES, high);
    }
    for (; j < each; j++) {
        y[2 * j] = a[j];
        y[2 * j + 1] = b[j];
    }
}

/* y[i, j * G + g] = x[i, g * C/G + j]. */
FC_DEFINE(f32_channel_shuffle)
{
    FC_ATTRS(f32_channel_shuffle);
    int64_t groups = attrs->groups, channels = call->in[0].dim[call->in[0].rank - 1];
    int64_t each = channels / groups, begin, end;
    share(channels ? count_of(&call->in[0]) / channels : 0, tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const float *x = (const float *)call->in[0].data + i * channels;
        float *y = (float *)call->out[0].data + i * channels;
        if (groups == 2) {
            interleave(y, x, x + each, each);
            continue;
        }
        for (int64_t g = 0; g < groups; g++)
            for (int64_t j = 0; j < each; j++)
                y[j * groups + g] = x[g * each + j];
    }
    return FCNN_OK;
}

/* y[i] = a[i][0], b[i][0], a[i][1], ...; pixels `ld` apart. */
FC_DEFINE(f32_interleave_channels)
{
    const fc_tensor *a = call->in, *b = call->in + 1, *y = call->out;
    int64_t C = a->dim[a->rank - 1], begin, end;
    share(C ? count_of(a) / C : 0, tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        interleave((float *)y->data + i * y->ld, (const float *)a->data + i * a->ld,
                   (const float *)b->data + i * b->ld, C);
    return FCNN_OK;
}

/* The sizes of a tensor before, along and behind one axis. */
typedef struct {
    int64_t before, along, behind;
} fc_cut;

static fc_cut cut_at(const fc_tensor *t, int64_t axis)
{
    fc_cut cut = {1, 1, 1};
    for (int i = 0; i < t->rank; i++)
        *(i < axis ? &cut.before : i == axis ? &cut.along : &cut.behind) *= t->dim[i];
    return cut;
}

/* y[b, m, :] = x[b, indices[m], :], zeros where the index lies outside. */
FC_DEFINE(f32_take)
{
    FC_ATTRS(f32_take);
    const char *x = call->in[0].data;
    const int32_t *indices = call->in[1].data;
    char *y = call->out[0].data;
    fc_cut cut = cut_at(&call->in[0], attrs->axis);
    int64_t bytes = element_bytes(&call->out[0]), taken = count_of(&call->in[1]);
    int64_t parts = ceil_div(cut.behind, SHAPE_BLOCK), begin, end;
    share(cut.before * taken * parts, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t row = item / parts, from = item % parts * SHAPE_BLOCK;
        int64_t count = min_i64(cut.behind - from, SHAPE_BLOCK), at = indices[row % taken];
        char *target = y + (row * cut.behind + from) * bytes;
        int64_t source = (row / taken * cut.along + at) * cut.behind + from;
        if (at < 0 || at >= cut.along)
            memset(target, 0, (size_t)(count * bytes));
        else
            memcpy(target, x + source * bytes, (size_t)(count * bytes));
    }
    return FCNN_OK;
}

/* dx[b, indices[m], :] += dy[b, m, :], in the order of m. */
FC_DEFINE(f32_take_grad)
{
    FC_ATTRS(f32_take_grad);
    const float *dy = call->in[0].data;
    const int32_t *indices = call->in[1].data;
    float *dx = call->out[0].data;
    fc_cut cut = cut_at(&call->out[0], attrs->axis);
    int64_t taken = count_of(&call->in[1]), parts = ceil_div(cut.behind, SHAPE_BLOCK), begin, end;
    share(cut.before * parts, tid, nthreads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int64_t b = item / parts, from = item % parts * SHAPE_BLOCK;
        int64_t count = min_i64(cut.behind - from, SHAPE_BLOCK);
        for (int64_t i = 0; i < cut.along; i++)
            memset(dx + (b * cut.along + i) * cut.behind + from, 0, (size_t)count * sizeof *dx);
        for (int64_t m = 0; m < taken; m++) {
            const float *source = dy + (b * taken + m) * cut.behind + from;
            float *target = dx + (b * cut.along + indices[m]) * cut.behind + from;
            if (indices[m] < 0 || indices[m] >= cut.along)
                continue;
            for (int64_t i = 0; i < count; i += FC_LANES) {
                int64_t n = min_i64(count - i, FC_LANES);
                store_lanes(target + i, v_add(load_lanes(target + i, n), load_lanes(source + i, n)),
                            n);
            }
        }
    }
    return FCNN_OK;
}
