/* SPDX-License-Identifier: Apache-2.0 */
/* Dropout by counters: the bits of an element follow from (seed, step, salt, element) alone. */

enum {
    PHILOX_BLOCKS = 16,              /* counters that are run side by side */
    PHILOX_WORDS = 4 * PHILOX_BLOCKS /* of 32 bits */
};

/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11) of the
 * counters (first + j, salt, step): words[4j : 4j + 4]. rng: seed and step, low words first. */
static void philox(const uint32_t rng[4], uint32_t salt, uint32_t first,
                   uint32_t words[PHILOX_WORDS])
{
    uint32_t c0[PHILOX_BLOCKS], c1[PHILOX_BLOCKS], c2[PHILOX_BLOCKS], c3[PHILOX_BLOCKS];
    uint32_t k0 = rng[0], k1 = rng[1];
    for (int j = 0; j < PHILOX_BLOCKS; j++) {
        c0[j] = first + (uint32_t)j;
        c1[j] = salt;
        c2[j] = rng[2];
        c3[j] = rng[3];
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        for (int j = 0; j < PHILOX_BLOCKS; j++) {
            uint64_t a = (uint64_t)c0[j] * 0xD2511F53u, b = (uint64_t)c2[j] * 0xCD9E8D57u;
            c0[j] = (uint32_t)(b >> 32) ^ c1[j] ^ k0;
            c1[j] = (uint32_t)b;
            c2[j] = (uint32_t)(a >> 32) ^ c3[j] ^ k1;
            c3[j] = (uint32_t)a;
        }
    }
    for (int j = 0; j < PHILOX_BLOCKS; j++) {
        words[4 * j + 0] = c0[j];
        words[4 * j + 1] = c1[j];
        words[4 * j + 2] = c2[j];
        words[4 * j + 3] = c3[j];
    }
}

typedef struct {
    const uint32_t *rng; /* [4] */
    uint32_t salt;
    uint32_t threshold; /* of 2^24: words whose upper 24 bits lie below it drop their element */
    float scale;        /* of what is kept */
} dropout_noise;

/* noise[0:n], 0 or scale, for elements [start, start + n); start is a multiple of PHILOX_WORDS. */
static void fill_noise(const dropout_noise *d, int64_t start, int64_t n, float *noise)
{
    uint32_t words[PHILOX_WORDS];
    for (int64_t i = 0; i < n; i += PHILOX_WORDS) {
        philox(d->rng, d->salt, (uint32_t)((start + i) / 4), words);
        int64_t stop = min_i64(PHILOX_WORDS, n - i);
        for (int64_t j = 0; j < stop; j++)
            noise[i + j] = (words[j] >> 8) >= d->threshold ? d->scale : 0.0f;
    }
}

/* y = x * noise, 0 where the noise is 0 even for x that is not finite. */
static void row_dropout(float *y, const float *const x[], const int64_t step[], int64_t n)
{
    for (int64_t i = 0; i < n; i += FC_LANES) {
        int64_t lanes = min_i64(FC_LANES, n - i);
        vf noise = take_n(x[1], step[1], i, lanes);
        vf kept = v_mul(take_n(x[0], step[0], i, lanes), noise);
        v_store_n(y + i, v_and_mask(v_gt(noise, v_zero()), kept), lanes);
    }
}

/* Elements of the noise, whose axes in `shared` have size 1. */
static int64_t noise_count(const fc_tensor *x, int64_t shared)
{
    int64_t count = 1;
    for (int axis = 0; axis < x->rank; axis++)
        count *= shared >> axis & 1 ? 1 : x->dim[axis];
    return count;
}

FC_DEFINE_PLAN(f32_dropout)
{
    FC_ATTRS(f32_dropout);
    (void)nthreads;
    return attrs->shared ? noise_count(&call->in[0], attrs->shared) * (int64_t)sizeof(float) : 0;
}

/* Noise of its own for every element: made on the stack, block by block. */
static void dropout_each(const fc_call *call, const dropout_noise *d, int tid, int nthreads)
{
    static const int64_t together[2] = {1, 1};
    const float *x = call->in[0].data;
    float *y = call->out[0].data, noise[ELEMENTWISE_BLOCK];
    int64_t begin, end;
    share_elements(count_of(&call->out[0]), tid, nthreads, &begin, &end);
    for (int64_t i = begin; i < end; i += ELEMENTWISE_BLOCK) {
        int64_t n = min_i64(ELEMENTWISE_BLOCK, end - i);
        fill_noise(d, i, n, noise);
        row_dropout(y + i, (const float *const[]){x + i, noise}, together, n);
    }
}

/* Noise shared along axes: made once in scratch, then broadcast. */
static void dropout_shared(const fc_call *call, const dropout_noise *d, int64_t shared, int tid,
                           int nthreads)
{
    float *noise = (float *)call->scratch;
    int64_t begin, end;
    share_elements(noise_count(&call->in[0], shared), tid, nthreads, &begin, &end);
    if (begin < end)
        fill_noise(d, begin, end - begin, noise + begin);
    fc_sync(call);
    fc_tensor shape = call->in[0];
    shape.data = noise;
    for (int axis = 0; axis < shape.rank; axis++)
        shape.dim[axis] = shared >> axis & 1 ? 1 : shape.dim[axis];
    fc_call product = *call;
    product.in = (const fc_tensor[]){call->in[0], shape};
    broadcast_nest nest = broadcast_inputs(&product);
    walk_rows(&nest, row_dropout, tid, nthreads);
}

FC_DEFINE(f32_dropout)
{
    FC_ATTRS(f32_dropout);
    const dropout_noise d = {call->in[1].data, (uint32_t)attrs->salt, (uint32_t)attrs->threshold,
                             (float)attrs->scale};
    if (attrs->shared)
        dropout_shared(call, &d, attrs->shared, tid, nthreads);
    else
        dropout_each(call, &d, tid, nthreads);
    return FCNN_OK;
}
