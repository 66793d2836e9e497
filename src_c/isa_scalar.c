/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of one float in plain C: the build that runs anywhere. */
#include "kernel.h"

#include <math.h>
#include <string.h>

#define FC_ISA scalar
#define FC_LANES 1
#define FC_DEPTHWISE_ROWS 1 /* of outputs of a depthwise convolution at once */
#define FC_TILE_ROWS 4      /* rows of the register tile of two vectors */
#define FC_PANEL_ROWS 4     /* the same, of packed products */
#define FC_FOR_PANEL_ROWS(X) X(1) X(2) X(3) X(4)
#define FC_HALVES 0
#define FC_NEAR_CACHE (512 << 10) /* bytes of a core's second-level cache, at least */

typedef float vf;
typedef int vm;

static inline vf v_load(const float *p) { return *p; }
static inline vf v_load_n(const float *p, int64_t n) { return n > 0 ? *p : 0.0f; }
static inline vf v_load_or(const float *p, int64_t n, vf a) { return n > 0 ? *p : a; }
static inline void v_store(float *p, vf a) { *p = a; }
static inline void v_store_n(float *p, vf a, int64_t n)
{
    if (n > 0)
        *p = a;
}
static inline vf v_set1(float a) { return a; }
static inline vf v_zero(void) { return 0.0f; }
static inline vf v_add(vf a, vf b) { return a + b; }
static inline vf v_sub(vf a, vf b) { return a - b; }
static inline vf v_mul(vf a, vf b) { return a * b; }
static inline vf v_div(vf a, vf b) { return a / b; }
/* Contraction is the compiler's choice here: baseline processors have no fused multiply-add. */
static inline vf v_fma(vf a, vf b, vf c) { return a * b + c; }
static inline vf v_fma_low(vf a, vf b, vf c) { return v_fma(a, b, c); }
static inline vf v_max(vf a, vf b) { return a > b ? a : b; }
static inline vf v_min(vf a, vf b) { return a < b ? a : b; }
static inline vf v_abs(vf a) { return fabsf(a); }
static inline vf v_sqrt(vf a) { return sqrtf(a); }
static inline vf v_round(vf a) { return rintf(a); }
static inline vm v_gt(vf a, vf b) { return a > b; }
static inline vm v_ge(vf a, vf b) { return a >= b; }
static inline vm v_eq(vf a, vf b) { return a == b; }
static inline vm v_unless(vm m, vm k) { return m && !k; }
static inline vf v_select(vm m, vf a, vf b) { return m ? a : b; }
static inline vf v_and_mask(vm m, vf a) { return m ? a : 0.0f; }
static inline float v_sum(vf a) { return a; }
static inline float v_hmax(vf a) { return a; }

static inline int32_t bits_of(float a)
{
    int32_t i;
    memcpy(&i, &a, sizeof i);
    return i;
}
static inline float float_of(int32_t i)
{
    float a;
    memcpy(&a, &i, sizeof a);
    return a;
}
static inline vf v_spread(vf a, int64_t each, int64_t c)
{
    (void)each;
    (void)c;
    return a;
}
static inline void v_interleave(vf a, vf b, vf *low, vf *high)
{
    *low = a;
    *high = b;
}
static inline vf v_ldexp(vf a, vf e) { return a * float_of(((int32_t)e + 127) << 23); }
static inline vf v_exponent(vf a) { return (float)((bits_of(a) >> 23) - 127); }
static inline vf v_mantissa(vf a) { return float_of((bits_of(a) & 0x007fffff) | 0x3f800000); }

static inline vf v_load_u8_n(const uint8_t *p, int64_t n) { return n > 0 ? (float)*p : 0.0f; }
static inline void v_store_u8_n(uint8_t *p, vf a, int64_t n)
{
    if (n > 0)
        *p = (uint8_t)a;
}
static inline vf v_load_i32_n(const int32_t *p, int64_t n) { return n > 0 ? (float)*p : 0.0f; }
static inline void v_store_i32_n(int32_t *p, vf a, int64_t n)
{
    if (n > 0)
        *p = (int32_t)a;
}

#include "isa.inc.h"
