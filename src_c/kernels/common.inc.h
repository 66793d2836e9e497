/* SPDX-License-Identifier: Apache-2.0 */
/* What all families share: cutting work into pieces, and the functions of mathematics in verbs. */

static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Number of elements of a tensor. */
static inline int64_t count_of(const fc_tensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= t->dim[i];
    return count;
}

/* n <= FC_LANES floats; whole vectors, the most, take the unmasked way. */
static inline vf load_lanes(const float *p, int64_t n)
{
    return n == FC_LANES ? v_load(p) : v_load_n(p, n);
}
static inline void store_lanes(float *p, vf a, int64_t n)
{
    if (n == FC_LANES)
        v_store(p, a);
    else
        v_store_n(p, a, n);
}

/* The larger of two; a NaN wins, the first one. v_max takes its second where either is NaN: a NaN of
 * `a` must come in, and stay. */
static inline vf v_largest(vf best, vf a)
{
    return v_select(v_eq(best, best), v_max(best, a), best);
}

/* Pixels between the one whose channels are copied and the one whose channels are asked for. */
enum { PIXELS_AHEAD = 8, LINE_FLOATS = 16 };

/* Ask for n floats: where pixels are wide and few of their channels are read, no processor foresees
 * what comes next. */
static inline void expect_floats(const float *p, int64_t n)
{
    for (int64_t i = 0; i < n; i += LINE_FLOATS)
        __builtin_prefetch(p + i);
}

/* Thread `tid`'s share [*begin, *end) of `count` items: contiguous, sizes differing by one at most.
 * Items are cut by shape before they come here; which thread takes one cannot change its bits. */
static inline void share(int64_t count, int tid, int nthreads, int64_t *begin, int64_t *end)
{
    *begin = count * tid / nthreads;
    *end = count * (tid + 1) / nthreads;
}

/* Elements per item of work: large enough to amortise the split, small enough to balance. */
enum { ELEMENTWISE_BLOCK = 1024 };

/* Thread `tid`'s share of `count` elements, cut into whole blocks. */
static inline void share_elements(int64_t count, int tid, int nthreads, int64_t *begin,
                                  int64_t *end)
{
    share(ceil_div(count, ELEMENTWISE_BLOCK), tid, nthreads, begin, end);
    *begin *= ELEMENTWISE_BLOCK;
    *end = min_i64(*end * ELEMENTWISE_BLOCK, count);
}

/* e^x by Cody-Waite reduction and a degree-6 polynomial on [-ln2/2, ln2/2]; 2 ulp.
 * Underflows to 0 below -87.3, overflows to inf above 88.7, keeps NaN. */
static inline vf v_exp(vf x)
{
    const vf hi = v_set1(88.7228f), lo = v_set1(-87.33654f);
    vf bounded = v_min(hi, v_max(lo, x)); /* second operand survives a NaN */
    vf n = v_round(v_mul(bounded, v_set1(1.44269504f)));
    n = v_min(n, v_set1(127.0f));
    vf r = v_fma(n, v_set1(-0.693359375f), bounded);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    vf p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    p = v_fma(p, v_mul(r, r), v_add(r, v_set1(1.0f)));
    vf y = v_ldexp(p, n);
    y = v_select(v_gt(lo, x), v_zero(), y);
    return v_select(v_gt(x, hi), v_set1(INFINITY), y);
}

/* ln x by a degree-8 polynomial on [sqrt(1/2), sqrt(2)]; 2 ulp for normal x > 0.
 * ln 0 = -inf, NaN below zero; denormals count as zero, as everywhere in the kernels. */
static inline vf v_log(vf x)
{
    const vf tiny = v_set1(1.17549435e-38f);
    vf e = v_exponent(v_max(tiny, x));
    vf m = v_mantissa(v_max(tiny, x));
    vm high = v_gt(m, v_set1(1.41421356f));
    m = v_select(high, v_mul(m, v_set1(0.5f)), m);
    e = v_select(high, v_add(e, v_set1(1.0f)), e);
    vf r = v_sub(m, v_set1(1.0f));
    vf p = v_set1(7.0376836292e-2f);
    p = v_fma(p, r, v_set1(-1.1514610310e-1f));
    p = v_fma(p, r, v_set1(1.1676998740e-1f));
    p = v_fma(p, r, v_set1(-1.2420140846e-1f));
    p = v_fma(p, r, v_set1(1.4249322787e-1f));
    p = v_fma(p, r, v_set1(-1.6668057665e-1f));
    p = v_fma(p, r, v_set1(2.0000714765e-1f));
    p = v_fma(p, r, v_set1(-2.4999993993e-1f));
    p = v_fma(p, r, v_set1(3.3333331174e-1f));
    vf r2 = v_mul(r, r);
    vf y = v_mul(v_mul(p, r), r2);
    y = v_fma(e, v_set1(-2.12194440e-4f), y);
    y = v_fma(r2, v_set1(-0.5f), y);
    y = v_fma(e, v_set1(0.693359375f), v_add(r, y));
    y = v_select(v_gt(x, v_set1(3.4028234e38f)), x, y);
    y = v_select(v_gt(tiny, x), v_set1(-INFINITY), y);
    y = v_select(v_gt(v_zero(), x), v_set1(NAN), y);
    return v_select(v_eq(x, x), y, x);
}
