/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise functions of one tensor, and their gradients dx = dy * slope. The letter a stands for
 * a vector of x; in a slope for one of x or y, whichever the op's Python class names. Tails are
 * masked vectors, so an element has the same bits wherever it falls. */

#define ATTR(name) v_set1((float)attrs->name)

/* y = expression of a; in-place safe. */
#define FC_UNARY(kernel, expression)                                                               \
    FC_DEFINE(kernel)                                                                              \
    {                                                                                              \
        FC_ATTRS(kernel);                                                                          \
        const float *x = call->in[0].data;                                                         \
        float *y = call->out[0].data;                                                              \
        int64_t i, end;                                                                            \
        (void)attrs;                                                                               \
        share_elements(count_of(&call->out[0]), tid, nthreads, &i, &end);                          \
        for (; i + FC_LANES <= end; i += FC_LANES) {                                               \
            vf a = v_load(x + i);                                                                  \
            v_store(y + i, expression);                                                            \
        }                                                                                          \
        if (i < end) {                                                                             \
            vf a = v_load_n(x + i, end - i);                                                       \
            v_store_n(y + i, expression, end - i);                                                 \
        }                                                                                          \
        return FCNN_OK;                                                                            \
    }

/* dx = dy * slope of a; in-place safe. */
#define FC_UNARY_GRAD(kernel, slope)                                                               \
    FC_DEFINE(kernel)                                                                              \
    {                                                                                              \
        FC_ATTRS(kernel);                                                                          \
        const float *dy = call->in[0].data, *x = call->in[1].data;                                 \
        float *dx = call->out[0].data;                                                             \
        int64_t i, end;                                                                            \
        (void)attrs;                                                                               \
        share_elements(count_of(&call->out[0]), tid, nthreads, &i, &end);                          \
        for (; i + FC_LANES <= end; i += FC_LANES) {                                               \
            vf a = v_load(x + i);                                                                  \
            v_store(dx + i, v_mul(v_load(dy + i), slope));                                         \
        }                                                                                          \
        if (i < end) {                                                                             \
            vf a = v_load_n(x + i, end - i);                                                       \
            v_store_n(dx + i, v_mul(v_load_n(dy + i, end - i), slope), end - i);                   \
        }                                                                                          \
        return FCNN_OK;                                                                            \
    }

/* --- functions of mathematics --- */

FC_UNARY(f32_negative, v_negate(a))
FC_UNARY(f32_sign, v_sign(a))

FC_UNARY(f32_floor, v_floor(a))
FC_UNARY(f32_ceil, v_negate(v_floor(v_negate(a))))
FC_UNARY(f32_round, v_round(a))

FC_UNARY(f32_abs, v_abs(a))
FC_UNARY_GRAD(f32_abs_grad, v_sign(a))

FC_UNARY(f32_square, v_mul(a, a))
FC_UNARY_GRAD(f32_square_grad, v_add(a, a))

FC_UNARY(f32_sqrt, v_sqrt(a))
FC_UNARY_GRAD(f32_sqrt_grad, v_div(v_set1(0.5f), a))

FC_UNARY(f32_rsqrt, v_div(v_set1(1.0f), v_sqrt(a)))
FC_UNARY_GRAD(f32_rsqrt_grad, v_mul(v_mul(a, v_set1(-0.5f)), v_mul(a, a)))

FC_UNARY(f32_reciprocal, v_div(v_set1(1.0f), a))
FC_UNARY_GRAD(f32_reciprocal_grad, v_negate(v_mul(a, a)))

FC_UNARY(f32_exp, v_exp(a))
FC_UNARY_GRAD(f32_exp_grad, a)

FC_UNARY(f32_log, v_log(a))
FC_UNARY_GRAD(f32_log_grad, v_div(v_set1(1.0f), a))

FC_UNARY(f32_erf, v_erf(a))
FC_UNARY_GRAD(f32_erf_grad, v_mul(v_set1(1.1283791670955126f), v_exp(v_negate(v_mul(a, a)))))

FC_UNARY(f32_power, v_power(a, attrs->exponent))
FC_UNARY_GRAD(f32_power_grad, v_mul(ATTR(exponent), v_power(a, attrs->exponent - 1)))

FC_UNARY(f32_clip, v_min(ATTR(x_max), v_max(ATTR(x_min), a)))
FC_UNARY_GRAD(f32_clip_grad, v_and_mask(v_ge(a, ATTR(x_min)), v_one_where(v_ge(ATTR(x_max), a))))

/* --- activations --- */

FC_UNARY(f32_relu, v_max(v_zero(), a))
FC_UNARY_GRAD(f32_relu_grad, v_one_where(v_gt(a, v_zero())))

FC_UNARY(f32_relu6, v_clamp(a, 0.0f, 6.0f))
FC_UNARY_GRAD(f32_relu6_grad, v_and_mask(v_gt(a, v_zero()), v_one_where(v_gt(v_set1(6.0f), a))))

FC_UNARY(f32_leaky_relu, v_select(v_gt(a, v_zero()), a, v_mul(a, ATTR(negative_slope))))
FC_UNARY_GRAD(f32_leaky_relu_grad, v_select(v_gt(a, v_zero()), v_set1(1.0f), ATTR(negative_slope)))

/* min(x, max_value) from the threshold on, negative_slope * (x - threshold) below it. */
static inline vf v_bounded_relu(vf x, vf negative_slope, vf max_value, vf threshold)
{
    vf below = v_mul(v_sub(x, threshold), negative_slope);
    return v_select(v_ge(x, threshold), v_min(max_value, x), below);
}
static inline vf v_bounded_relu_slope(vf x, vf negative_slope, vf max_value, vf threshold)
{
    vf above = v_one_where(v_gt(max_value, x));
    return v_select(v_gt(x, threshold), above, negative_slope);
}
#define BOUNDS ATTR(negative_slope), ATTR(max_value), ATTR(threshold)
FC_UNARY(f32_bounded_relu, v_bounded_relu(a, BOUNDS))
FC_UNARY_GRAD(f32_bounded_relu_grad, v_bounded_relu_slope(a, BOUNDS))
#undef BOUNDS

static inline vf v_elu(vf x, vf alpha)
{
    return v_select(v_gt(x, v_zero()), x, v_mul(alpha, v_expm1(v_min(v_zero(), x))));
}
static inline vf v_elu_slope(vf y, vf alpha)
{
    return v_select(v_gt(y, v_zero()), v_set1(1.0f), v_add(y, alpha));
}
FC_UNARY(f32_elu, v_elu(a, ATTR(alpha)))
FC_UNARY_GRAD(f32_elu_grad, v_elu_slope(a, ATTR(alpha)))

#define SELU_SCALE 1.0507009873554805f
#define SELU_ALPHA 1.6732632423543772f
static inline vf v_selu_slope(vf y)
{
    vf below = v_add(y, v_set1(SELU_SCALE * SELU_ALPHA));
    return v_select(v_gt(y, v_zero()), v_set1(SELU_SCALE), below);
}
FC_UNARY(f32_selu, v_mul(v_set1(SELU_SCALE), v_elu(a, v_set1(SELU_ALPHA))))
FC_UNARY_GRAD(f32_selu_grad, v_selu_slope(a))

FC_UNARY(f32_sigmoid, v_sigmoid(a))
FC_UNARY_GRAD(f32_sigmoid_grad, v_mul(a, v_sub(v_set1(1.0f), a)))

static inline vf v_hard_sigmoid(vf x)
{
    return v_mul(v_clamp(v_add(x, v_set1(3.0f)), 0.0f, 6.0f), v_set1(1.0f / 6.0f));
}
static inline vf v_hard_sigmoid_slope(vf y)
{
    vm above = v_gt(y, v_zero()), below = v_gt(v_set1(1.0f), y);
    return v_and_mask(above, v_and_mask(below, v_set1(1.0f / 6.0f)));
}
FC_UNARY(f32_hard_sigmoid, v_hard_sigmoid(a))
FC_UNARY_GRAD(f32_hard_sigmoid_grad, v_hard_sigmoid_slope(a))

FC_UNARY(f32_tanh, v_tanh(a))
FC_UNARY_GRAD(f32_tanh_grad, v_sub(v_set1(1.0f), v_mul(a, a)))

#define SCALED_TANH 1.7159f
FC_UNARY(f32_scaled_tanh, v_mul(v_set1(SCALED_TANH), v_tanh(v_mul(a, v_set1(2.0f / 3.0f)))))
FC_UNARY_GRAD(f32_scaled_tanh_grad, v_sub(v_set1(SCALED_TANH * 2.0f / 3.0f),
                                          v_mul(v_mul(a, a), v_set1(2.0f / 3.0f / SCALED_TANH))))

FC_UNARY(f32_softplus, v_softplus(a))
FC_UNARY_GRAD(f32_softplus_grad, v_sigmoid(a))

static inline vf v_softsign_slope(vf x)
{
    vf root = v_div(v_set1(1.0f), v_add(v_set1(1.0f), v_abs(x)));
    return v_mul(root, root);
}
FC_UNARY(f32_softsign, v_div(a, v_add(v_set1(1.0f), v_abs(a))))
FC_UNARY_GRAD(f32_softsign_grad, v_softsign_slope(a))

/* x * gate, 0 where the gate is shut even for infinite x. */
static inline vf v_gated(vf x, vf gate)
{
    return v_select(v_eq(gate, v_zero()), v_zero(), v_mul(x, gate));
}

/* Beyond +-GATE_BOUND all gates below are open or shut; slopes are taken within it, where
 * x (1 - gate) cannot become infinity times zero. */
#define GATE_BOUND 100.0f

static inline vf v_silu_slope(vf x)
{
    vf gate = v_sigmoid(x), bounded = v_clamp(x, -GATE_BOUND, GATE_BOUND);
    return v_mul(gate, v_fma(bounded, v_sub(v_set1(1.0f), gate), v_set1(1.0f)));
}
FC_UNARY(f32_silu, v_gated(a, v_sigmoid(a)))
FC_UNARY_GRAD(f32_silu_grad, v_silu_slope(a))

static inline vf v_hard_swish_slope(vf x)
{
    vf inside = v_fma(x, v_set1(1.0f / 3.0f), v_set1(0.5f));
    inside = v_select(v_ge(x, v_set1(3.0f)), v_set1(1.0f), inside);
    return v_select(v_ge(v_set1(-3.0f), x), v_zero(), inside);
}
FC_UNARY(f32_hard_swish, v_gated(a, v_hard_sigmoid(a)))
FC_UNARY_GRAD(f32_hard_swish_grad, v_hard_swish_slope(a))

/* tanh(softplus(x)) = q / (q + 2) with q = e^x (e^x + 2): no cancellation anywhere. */
static inline vf v_mish_q(vf x)
{
    vf power = v_exp(v_min(v_set1(20.0f), x));
    return v_mul(power, v_add(power, v_set1(2.0f)));
}
static inline vf v_mish(vf x)
{
    vf q = v_mish_q(x);
    return v_gated(x, v_div(q, v_add(q, v_set1(2.0f))));
}
/* gate + x sigmoid(x) (1 - gate^2), where 1 - gate^2 = 4 (q + 1) / (q + 2)^2. */
static inline vf v_mish_slope(vf x)
{
    vf q = v_mish_q(x), bounded = v_clamp(x, -GATE_BOUND, 20.0f);
    vf inverse = v_div(v_set1(1.0f), v_add(q, v_set1(2.0f)));
    vf rest = v_mul(v_fma(q, v_set1(4.0f), v_set1(4.0f)), v_mul(inverse, inverse));
    return v_fma(v_mul(bounded, v_sigmoid(x)), rest, v_mul(q, inverse));
}
FC_UNARY(f32_mish, v_mish(a))
FC_UNARY_GRAD(f32_mish_grad, v_mish_slope(a))

#define SQRT_HALF 0.7071067811865476f
#define SQRT_2_PI 0.7978845608028654f /* sqrt(2 / pi) */
#define GELU_CUBIC 0.044715f

/* x Phi(x) = max(x, 0) - |x|/2 erfc(|x| / sqrt 2): accurate in the far negative tail too. */
static inline vf v_gelu(vf x)
{
    vf size = v_clamp(v_abs(x), 0.0f, GATE_BOUND);
    vf tail = v_mul(v_mul(size, v_set1(0.5f)), v_erfc(v_mul(size, v_set1(SQRT_HALF))));
    return v_sub(v_max(v_zero(), x), tail);
}
/* Phi(x) + x phi(x). */
static inline vf v_gelu_slope(vf x)
{
    vf bounded = v_clamp(x, -GATE_BOUND, GATE_BOUND);
    vf half = v_mul(v_set1(0.5f), v_erfc(v_mul(v_abs(bounded), v_set1(SQRT_HALF))));
    vf cdf = v_select(v_gt(x, v_zero()), v_sub(v_set1(1.0f), half), half);
    vf density = v_exp(v_mul(v_mul(bounded, bounded), v_set1(-0.5f)));
    return v_fma(v_mul(bounded, density), v_set1(0.5f * SQRT_2_PI), cdf);
}

/* x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3): the same as x/2 (1 + tanh u). */
static inline vf v_gelu_tanh_gate(vf x)
{
    vf cubic = v_fma(v_mul(x, x), v_set1(2.0f * SQRT_2_PI * GELU_CUBIC), v_set1(2.0f * SQRT_2_PI));
    return v_sigmoid(v_mul(x, cubic));
}
static inline vf v_gelu_tanh_slope(vf x)
{
    vf gate = v_gelu_tanh_gate(x), bounded = v_clamp(x, -GATE_BOUND, GATE_BOUND);
    vf inner = v_fma(v_mul(bounded, bounded), v_set1(6.0f * SQRT_2_PI * GELU_CUBIC),
                     v_set1(2.0f * SQRT_2_PI));
    return v_mul(gate, v_fma(v_mul(bounded, inner), v_sub(v_set1(1.0f), gate), v_set1(1.0f)));
}
FC_UNARY(f32_gelu, attrs->approximate ? v_gated(a, v_gelu_tanh_gate(a)) : v_gelu(a))
FC_UNARY_GRAD(f32_gelu_grad, attrs->approximate ? v_gelu_tanh_slope(a) : v_gelu_slope(a))
