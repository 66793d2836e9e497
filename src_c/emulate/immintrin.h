/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX-512 in portable C, so that isa_avx512.c is compiled and tested where no processor runs it:
 * FASTCNN_BUILD_EMULATE=avx512 puts this folder before the compiler's own. SIMDe
 * (https://github.com/simd-everywhere/simde) has most of it; what its releases lack is below, lane
 * by lane as the manual says it. Slow, and never in a wheel.
 */
#ifndef FC_EMULATE_IMMINTRIN_H
#define FC_EMULATE_IMMINTRIN_H

#include_next <immintrin.h>

#include <math.h>
#include <simde/x86/avx512.h>
#include <string.h>

/* The compiler knows these names of types and mask arithmetic without the instructions. */
#define __m512 simde__m512
#define __m512i simde__m512i
#define __mmask16 simde__mmask16

#define _mm512_loadu_ps(p) simde_mm512_loadu_ps(p)
#define _mm512_storeu_ps(p, a) simde_mm512_storeu_ps(p, a)
#define _mm512_set1_ps(a) simde_mm512_set1_ps(a)
#define _mm512_setzero_ps() simde_mm512_setzero_ps()
#define _mm512_add_ps(a, b) simde_mm512_add_ps(a, b)
#define _mm512_sub_ps(a, b) simde_mm512_sub_ps(a, b)
#define _mm512_mul_ps(a, b) simde_mm512_mul_ps(a, b)
#define _mm512_div_ps(a, b) simde_mm512_div_ps(a, b)
#define _mm512_fmadd_ps(a, b, c) simde_mm512_fmadd_ps(a, b, c)
#define _mm512_abs_ps(a) simde_mm512_abs_ps(a)
#define _mm512_sqrt_ps(a) simde_mm512_sqrt_ps(a)
#define _mm512_cmp_ps_mask(a, b, how) simde_mm512_cmp_ps_mask(a, b, how)
#define _mm512_mask_blend_ps(m, a, b) simde_mm512_mask_blend_ps(m, a, b)
#define _mm512_maskz_mov_ps(m, a) simde_mm512_maskz_mov_ps(m, a)
#undef _mm512_setr_epi32
#define _mm512_setr_epi32 simde_mm512_setr_epi32
#define _mm512_set1_epi32(a) simde_mm512_set1_epi32(a)
#define _mm512_and_si512(a, b) simde_mm512_and_si512(a, b)
#define _mm512_add_epi32(a, b) simde_mm512_add_epi32(a, b)
#define _mm512_permutexvar_ps(i, a) simde_mm512_permutexvar_ps(i, a)
#define _mm512_permutex2var_ps(a, i, b) simde_mm512_permutex2var_ps(a, i, b)

/* Defined here, where SIMDe has nothing or differs for NaN and infinity. */
#define _mm512_max_ps fc_max
#define _mm512_min_ps fc_min
#define _mm512_maskz_loadu_ps fc_maskz_loadu
#define _mm512_mask_loadu_ps fc_mask_loadu
#define _mm512_mask_storeu_ps fc_mask_storeu
#define _mm512_reduce_add_ps fc_reduce_add
#define _mm512_reduce_max_ps fc_reduce_max
#define _mm512_roundscale_ps(a, how) fc_round(a)
#define _mm512_scalef_ps fc_scalef
#define _mm512_getexp_ps fc_getexp
#define _mm512_getmant_ps(a, interval, sign) fc_getmant(a)
#define _mm512_cvtepi32_ps fc_floats
#define _mm512_cvtps_epi32 fc_integers
#define _mm512_cvtepu8_epi32 fc_widen
#define _mm_maskz_loadu_epi8 fc_maskz_loadu_bytes
#define _mm512_mask_cvtepi32_storeu_epi8 fc_mask_store_bytes
#define _mm512_maskz_loadu_epi32 fc_maskz_loadu_i32
#define _mm512_mask_storeu_epi32 fc_mask_storeu_i32

typedef struct {
    float lane[16];
} fc_floats16;
typedef struct {
    int32_t lane[16];
} fc_ints16;

static inline fc_floats16 fc_unwrap(__m512 a)
{
    fc_floats16 r;
    memcpy(&r, &a, sizeof r);
    return r;
}
static inline __m512 fc_close(fc_floats16 r)
{
    __m512 a;
    memcpy(&a, &r, sizeof a);
    return a;
}
static inline fc_ints16 fc_open_i(__m512i a)
{
    fc_ints16 r;
    memcpy(&r, &a, sizeof r);
    return r;
}
static inline __m512i fc_close_i(fc_ints16 r)
{
    __m512i a;
    memcpy(&a, &r, sizeof a);
    return a;
}

/* `value` in every lane i of the result, where x and y are the lanes of a and b. */
#define FC_EMULATE_EACH(name, parameters, value)                                                   \
    static inline __m512 name parameters                                                           \
    {                                                                                              \
        fc_floats16 r;                                                                             \
        for (int i = 0; i < 16; i++)                                                               \
            r.lane[i] = (value);                                                                   \
        return fc_close(r);                                                                        \
    }
#define FC_EMULATE_LANE(a) fc_unwrap(a).lane[i]
#define FC_EMULATE_ON(m) ((m) >> i & 1)

/* The second operand where either is NaN, as the instructions have it. */
FC_EMULATE_EACH(fc_max, (__m512 a, __m512 b),
                FC_EMULATE_LANE(a) > FC_EMULATE_LANE(b) ? FC_EMULATE_LANE(a) : FC_EMULATE_LANE(b))
FC_EMULATE_EACH(fc_min, (__m512 a, __m512 b),
                FC_EMULATE_LANE(a) < FC_EMULATE_LANE(b) ? FC_EMULATE_LANE(a) : FC_EMULATE_LANE(b))
FC_EMULATE_EACH(fc_maskz_loadu, (__mmask16 m, const float *p), FC_EMULATE_ON(m) ? p[i] : 0.0f)
FC_EMULATE_EACH(fc_mask_loadu, (__m512 a, __mmask16 m, const float *p),
                FC_EMULATE_ON(m) ? p[i] : FC_EMULATE_LANE(a))
FC_EMULATE_EACH(fc_round, (__m512 a), nearbyintf(FC_EMULATE_LANE(a)))
FC_EMULATE_EACH(fc_floats, (__m512i a), (float)fc_open_i(a).lane[i])

static inline void fc_mask_storeu(float *p, __mmask16 m, __m512 a)
{
    for (int i = 0; i < 16; i++)
        if (FC_EMULATE_ON(m))
            p[i] = FC_EMULATE_LANE(a);
}

/* Halves are joined until one lane is left: the order of the compiler's own sequence. */
#define FC_EMULATE_REDUCE(name, join)                                                              \
    static inline float name(__m512 a)                                                             \
    {                                                                                              \
        fc_floats16 r = fc_unwrap(a);                                                              \
        for (int half = 8; half > 0; half /= 2)                                                    \
            for (int i = 0; i < half; i++) {                                                       \
                float x = r.lane[i], y = r.lane[i + half];                                         \
                r.lane[i] = (join);                                                                \
            }                                                                                      \
        return r.lane[0];                                                                          \
    }
FC_EMULATE_REDUCE(fc_reduce_add, x + y)
FC_EMULATE_REDUCE(fc_reduce_max, x > y ? x : y)

static inline float fc_scalef_lane(float x, float y)
{
    if (isnan(x) || isnan(y))
        return x + y;
    if (isinf(y))
        return y > 0 ? x * INFINITY : x * 0.0f;
    return scalbnf(x, (int)fmaxf(fminf(floorf(y), 1e4f), -1e4f));
}
FC_EMULATE_EACH(fc_scalef, (__m512 a, __m512 b),
                fc_scalef_lane(FC_EMULATE_LANE(a), FC_EMULATE_LANE(b)))

static inline float fc_getexp_lane(float x) { return isfinite(x) ? logbf(x) : x * x; }
FC_EMULATE_EACH(fc_getexp, (__m512 a), fc_getexp_lane(FC_EMULATE_LANE(a)))

/* In [1, 2) with the sign of x; 1 for zero and infinity. */
static inline float fc_getmant_lane(float x)
{
    if (isnan(x))
        return x;
    if (x == 0.0f || isinf(x))
        return copysignf(1.0f, x);
    return scalbnf(x, -ilogbf(x));
}
FC_EMULATE_EACH(fc_getmant, (__m512 a), fc_getmant_lane(FC_EMULATE_LANE(a)))

static inline __m512i fc_integers(__m512 a)
{
    fc_ints16 r;
    for (int i = 0; i < 16; i++) {
        float x = nearbyintf(FC_EMULATE_LANE(a));
        r.lane[i] = x >= -2147483648.0f && x < 2147483648.0f ? (int32_t)x : INT32_MIN;
    }
    return fc_close_i(r);
}

static inline __m512i fc_widen(__m128i a)
{
    uint8_t bytes[16];
    fc_ints16 r;
    memcpy(bytes, &a, sizeof bytes);
    for (int i = 0; i < 16; i++)
        r.lane[i] = bytes[i];
    return fc_close_i(r);
}

static inline __m128i fc_maskz_loadu_bytes(__mmask16 m, const void *p)
{
    uint8_t bytes[16];
    __m128i a;
    for (int i = 0; i < 16; i++)
        bytes[i] = FC_EMULATE_ON(m) ? ((const uint8_t *)p)[i] : 0;
    memcpy(&a, bytes, sizeof a);
    return a;
}

static inline void fc_mask_store_bytes(void *p, __mmask16 m, __m512i a)
{
    for (int i = 0; i < 16; i++)
        if (FC_EMULATE_ON(m))
            ((uint8_t *)p)[i] = (uint8_t)fc_open_i(a).lane[i];
}

static inline __m512i fc_maskz_loadu_i32(__mmask16 m, const void *p)
{
    fc_ints16 r;
    for (int i = 0; i < 16; i++) {
        r.lane[i] = 0;
        if (FC_EMULATE_ON(m))
            memcpy(&r.lane[i], (const int32_t *)p + i, sizeof(int32_t));
    }
    return fc_close_i(r);
}

static inline void fc_mask_storeu_i32(void *p, __mmask16 m, __m512i a)
{
    fc_ints16 r = fc_open_i(a);
    for (int i = 0; i < 16; i++)
        if (FC_EMULATE_ON(m))
            memcpy((int32_t *)p + i, &r.lane[i], sizeof(int32_t));
}

#endif
