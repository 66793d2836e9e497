/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of mathematics built on v_exp and v_log. All keep NaN; polynomials are minimax fits of
 * our own in the form stated. */

/* a within [lo, hi]; NaN stays NaN. */
static inline vf v_clamp(vf a, float lo, float hi)
{
    return v_min(v_set1(hi), v_max(v_set1(lo), a));
}

static inline vf v_negate(vf a) { return v_sub(v_set1(-0.0f), a); }

/* 1 where true, else 0. */
static inline vf v_one_where(vm m) { return v_and_mask(m, v_set1(1.0f)); }

static inline vf v_sign(vf a)
{
    vf negative = v_select(v_gt(v_zero(), a), v_set1(-1.0f), a);
    return v_select(v_gt(a, v_zero()), v_set1(1.0f), negative);
}

/* e^x - 1 for x <= 0, as (2^n - 1) + 2^n (e^r - 1): no cancellation near 0. */
static inline vf v_expm1(vf x)
{
    vf bounded = v_max(v_set1(-87.0f), x);
    vf n = v_round(v_mul(bounded, v_set1(1.44269504f)));
    vf r = v_fma(n, v_set1(-0.693359375f), bounded);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    vf p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    p = v_fma(p, v_mul(r, r), r);
    vf power = v_ldexp(v_set1(1.0f), n);
    return v_fma(power, p, v_sub(power, v_set1(1.0f)));
}

/* ln(1 + u) for u in [0, 1]; the second term is what rounding 1 + u lost. */
static inline vf v_log1p(vf u)
{
    vf w = v_add(v_set1(1.0f), u);
    return v_add(v_log(w), v_div(v_sub(u, v_sub(w, v_set1(1.0f))), w));
}

/* 1 / (1 + e^-x), with full relative accuracy on both sides. */
static inline vf v_sigmoid(vf x)
{
    return v_div(v_set1(1.0f), v_add(v_set1(1.0f), v_exp(v_negate(x))));
}

/* ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|). */
static inline vf v_softplus(vf x)
{
    return v_add(v_max(v_zero(), x), v_log1p(v_exp(v_negate(v_abs(x)))));
}

/* x P(z) / Q(z), z = x^2, relative error 2e-8 and 3 ulp with rounding; 1 with the sign of x where
 * float32 has nothing nearer. */
static inline vf v_tanh(vf x)
{
    vf near = v_clamp(x, -9.02f, 9.02f), z = v_mul(near, near);
    vf p = v_set1(1.3388315345252977e-8f);
    p = v_fma(p, z, v_set1(2.0637458874261938e-5f));
    p = v_fma(p, z, v_set1(3.497486235573888e-3f));
    p = v_fma(p, z, v_set1(1.338268667459488e-1f));
    p = v_fma(p, z, v_set1(1.0f));
    vf q = v_set1(7.791554139657819e-7f);
    q = v_fma(q, z, v_set1(3.288616135250777e-4f));
    q = v_fma(q, z, v_set1(2.5884391739964485e-2f));
    q = v_fma(q, z, v_set1(4.6716007590293884e-1f));
    q = v_fma(q, z, v_set1(1.0f));
    return v_clamp(v_div(v_mul(near, p), q), -1.0f, 1.0f);
}

/* erfc(t) for t >= 0 as e^-t^2 u Q(u), u = 1 / (1 + t/2); relative error 5e-7 where it matters. */
static inline vf v_erfc(vf t)
{
    vf u = v_div(v_set1(1.0f), v_fma(t, v_set1(0.5f), v_set1(1.0f)));
    vf q = v_set1(-5.919333174824715e-2f);
    q = v_fma(q, u, v_set1(2.851828336715698e-1f));
    q = v_fma(q, u, v_set1(-4.88460898399353e-1f));
    q = v_fma(q, u, v_set1(2.795126140117645e-1f));
    q = v_fma(q, u, v_set1(-2.7623455971479416e-2f));
    q = v_fma(q, u, v_set1(2.0310993492603302e-1f));
    q = v_fma(q, u, v_set1(2.4299661815166473e-1f));
    q = v_fma(q, u, v_set1(2.823900580406189e-1f));
    q = v_fma(q, u, v_set1(2.820855677127838e-1f));
    return v_mul(v_exp(v_negate(v_mul(t, t))), v_mul(q, u));
}

/* The largest whole number not above a. */
static inline vf v_floor(vf a)
{
    vf near = v_round(a);
    return v_sub(near, v_one_where(v_gt(near, a)));
}

/* erf x: x P(x^2) for |x| < 1, 1 - erfc|x| with the sign of x beyond. */
static inline vf v_erf(vf x)
{
    vf size = v_min(v_set1(10.0f), v_abs(x)), z = v_mul(x, x);
    vf p = v_set1(7.882497448008507e-05f);
    p = v_fma(p, z, v_set1(-8.018855005502701e-4f));
    p = v_fma(p, z, v_set1(5.189312156289816e-3f));
    p = v_fma(p, z, v_set1(-2.685432881116867e-2f));
    p = v_fma(p, z, v_set1(1.1283597350120544e-1f));
    p = v_fma(p, z, v_set1(-3.761262595653534e-1f));
    p = v_fma(p, z, v_set1(1.1283791065216064f));
    vf far = v_sub(v_set1(1.0f), v_erfc(size));
    far = v_select(v_gt(v_zero(), x), v_negate(far), far);
    return v_select(v_gt(v_set1(1.0f), size), v_mul(x, p), far);
}

/* x^n by squaring. */
static inline vf v_power_whole(vf x, int n)
{
    vf y = v_set1(1.0f);
    for (int rest = n < 0 ? -n : n; rest > 0; rest >>= 1, x = v_mul(x, x))
        if (rest & 1)
            y = v_mul(y, x);
    return n < 0 ? v_div(v_set1(1.0f), y) : y;
}

/* x^p: by squaring for whole p up to 64, else e^(p ln x), which is NaN for x < 0. */
static inline vf v_power(vf x, double p)
{
    if (p == rint(p) && fabs(p) <= 64)
        return v_power_whole(x, (int)p);
    return v_exp(v_mul(v_set1((float)p), v_log(x)));
}
