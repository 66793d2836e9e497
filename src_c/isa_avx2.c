/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of eight floats in AVX2 with FMA. */
#include "kernel.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define FC_ISA avx2
#define FC_LANES 8
#define FC_DEPTHWISE_ROWS 1 /* of outputs of a depthwise convolution at once */
#define FC_TILE_ROWS 6      /* rows of the register tile of two vectors */
#define FC_PANEL_ROWS 6     /* the same, of packed products */
#define FC_FOR_PANEL_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define FC_HALVES 0
#define FC_NEAR_CACHE (512 << 10) /* bytes of a core's second-level cache, at least */

typedef __m256 vf;
typedef __m256 vm;

static inline __m256i first_lanes(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf v_load_n(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}
static inline vf v_load_or(const float *p, int64_t n, vf a)
{
    return _mm256_blendv_ps(a, v_load_n(p, n), _mm256_castsi256_ps(first_lanes(n)));
}
static inline void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
/* By halves: AMD's masked store takes dozens of operations (42 on Zen 3), and what it has written is
 * not forwarded to loads. */
static inline void v_store_n(float *p, vf a, int64_t n)
{
    __m128 rest = _mm256_castps256_ps128(a);
    if (n == FC_LANES) {
        _mm256_storeu_ps(p, a);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, rest);
}
static inline vf v_set1(float a) { return _mm256_set1_ps(a); }
static inline vf v_zero(void) { return _mm256_setzero_ps(); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf v_fma_low(vf a, vf b, vf c) { return v_fma(a, b, c); }
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf v_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vm v_gt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static inline vm v_ge(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline vm v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
static inline vm v_unless(vm m, vm k) { return _mm256_andnot_ps(k, m); }
static inline vf v_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
static inline vf v_and_mask(vm m, vf a) { return _mm256_and_ps(m, a); }
static inline float v_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline float v_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline vf v_spread(vf a, int64_t each, int64_t c)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i first = _mm256_and_si256(lane, _mm256_set1_epi32(-(int)each));
    /* Runs are halves of a register at most. */
    return _mm256_permutevar_ps(a, _mm256_add_epi32(first, _mm256_set1_epi32((int)c)));
}
static inline void v_interleave(vf a, vf b, vf *low, vf *high)
{
    vf even = _mm256_unpacklo_ps(a, b), odd = _mm256_unpackhi_ps(a, b);
    *low = _mm256_permute2f128_ps(even, odd, 0x20);
    *high = _mm256_permute2f128_ps(even, odd, 0x31);
}
static inline vf v_ldexp(vf a, vf e)
{
    __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(e), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23)));
}
static inline vf v_exponent(vf a)
{
    __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(a), 23);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(bits, _mm256_set1_epi32(127)));
}
static inline vf v_mantissa(vf a)
{
    __m256i bits = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x007fffff));
    return _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x3f800000)));
}

static inline vf v_load_u8_n(const uint8_t *p, int64_t n)
{
    int64_t bytes = 0;
    if (n == FC_LANES)
        memcpy(&bytes, p, FC_LANES);
    else
        memcpy(&bytes, p, (size_t)n);
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes)));
}
static inline void v_store_u8_n(uint8_t *p, vf a, int64_t n)
{
    __m256i whole = _mm256_cvtps_epi32(a);
    __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    int64_t bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
    if (n == FC_LANES)
        memcpy(p, &bytes, FC_LANES);
    else
        memcpy(p, &bytes, (size_t)n);
}
static inline vf v_load_i32_n(const int32_t *p, int64_t n)
{
    return _mm256_cvtepi32_ps(_mm256_maskload_epi32(p, first_lanes(n)));
}
static inline void v_store_i32_n(int32_t *p, vf a, int64_t n)
{
    _mm256_maskstore_epi32(p, first_lanes(n), _mm256_cvtps_epi32(a));
}

#include "isa.inc.h"
