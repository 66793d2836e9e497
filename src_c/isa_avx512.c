/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of sixteen floats in AVX-512 (F, BW, DQ, VL). */
#include "kernel.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define FC_ISA avx512
#define FC_LANES 16
#define FC_DEPTHWISE_ROWS 2 /* of outputs of a depthwise convolution at once */
#define FC_TILE_ROWS 8      /* rows of the register tile of two vectors */
#define FC_PANEL_ROWS 14    /* the same, of packed products */
#define FC_FOR_PANEL_ROWS(X)                                                                       \
    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define FC_HALVES 1             /* whether half a vector may cost less than a whole one */
#define FC_NEAR_CACHE (1 << 20) /* bytes of a core's second-level cache, at least */

typedef __m512 vf;
typedef __mmask16 vm;

static inline __mmask16 first_lanes(int64_t n) { return (__mmask16)((1u << n) - 1u); }

static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf v_load_n(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
static inline vf v_load_or(const float *p, int64_t n, vf a)
{
    return _mm512_mask_loadu_ps(a, first_lanes(n), p);
}
static inline void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline void v_store_n(float *p, vf a, int64_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), a);
}
static inline vf v_set1(float a) { return _mm512_set1_ps(a); }
static inline vf v_zero(void) { return _mm512_setzero_ps(); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* Of the lower half of the lanes, which some processors do in half the time; the others are lost. */
static inline vf v_fma_low(vf a, vf b, vf c)
{
    return _mm512_castps256_ps512(_mm256_fmadd_ps(
        _mm512_castps512_ps256(a), _mm512_castps512_ps256(b), _mm512_castps512_ps256(c)));
}
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf v_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf v_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vm v_gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline vm v_ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline vm v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline vm v_unless(vm m, vm k) { return (vm)(m & ~k); }
static inline vf v_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
static inline vf v_and_mask(vm m, vf a) { return _mm512_maskz_mov_ps(m, a); }
static inline float v_sum(vf a) { return _mm512_reduce_add_ps(a); }
static inline float v_hmax(vf a) { return _mm512_reduce_max_ps(a); }
static inline vf v_spread(vf a, int64_t each, int64_t c)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i first = _mm512_and_si512(lane, _mm512_set1_epi32(-(int)each));
    return _mm512_permutexvar_ps(_mm512_add_epi32(first, _mm512_set1_epi32((int)c)), a);
}
static inline void v_interleave(vf a, vf b, vf *low, vf *high)
{
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *low = _mm512_permutex2var_ps(a, first, b);
    *high = _mm512_permutex2var_ps(a, _mm512_add_epi32(first, _mm512_set1_epi32(8)), b);
}
static inline vf v_ldexp(vf a, vf e) { return _mm512_scalef_ps(a, e); }
static inline vf v_exponent(vf a) { return _mm512_getexp_ps(a); }
static inline vf v_mantissa(vf a)
{
    return _mm512_getmant_ps(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
}

static inline vf v_load_u8_n(const uint8_t *p, int64_t n)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_lanes(n), p)));
}
static inline void v_store_u8_n(uint8_t *p, vf a, int64_t n)
{
    _mm512_mask_cvtepi32_storeu_epi8(p, first_lanes(n), _mm512_cvtps_epi32(a));
}
static inline vf v_load_i32_n(const int32_t *p, int64_t n)
{
    return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(first_lanes(n), p));
}
static inline void v_store_i32_n(int32_t *p, vf a, int64_t n)
{
    _mm512_mask_storeu_epi32(p, first_lanes(n), _mm512_cvtps_epi32(a));
}

#include "isa.inc.h"
