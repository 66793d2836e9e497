/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included once by each isa_<name>.c after it has defined its verbs. Compiles every kernel family in
 * those verbs and emits this instruction set's table. Everything here is static but the table, so
 * no copy built for a newer processor can be linked into an older one's path.
 *
 * The verbs, for vectors `vf` of FC_LANES floats (u: unaligned, n: first n lanes only, 1 <= n <=
 * FC_LANES; v_load_n fills the rest with zero):
 *   v_load v_load_n v_load_or(p,n,a: fills the rest with a) v_store v_store_n v_set1 v_zero
 *   v_add v_sub v_mul v_div v_fma(a,b,c)=a*b+c  v_max v_min v_abs v_sqrt v_round(nearest even)
 *   v_max(a,b), v_min(a,b): b when either is NaN
 *   v_gt v_ge v_eq -> vm (mask), v_unless(m,k) = m and not k
 *   v_select(m,a,b) = m ? a : b, v_and_mask(m,a) = m ? a : 0
 *   v_sum v_hmax: horizontal, in one fixed tree
 *   v_spread(a,each,c): lane c of every run of `each` < FC_LANES lanes in all lanes of that run
 *   v_interleave(a,b,&low,&high): a[0] b[0] a[1] b[1] ... in two vectors
 *   v_ldexp(a,e): a * 2^e for whole e in [-126, 127];  v_exponent, v_mantissa: a = m * 2^e, for
 *   normal a > 0, with m in [1, 2)
 *   v_load_u8_n v_store_u8_n v_load_i32_n v_store_i32_n: whole numbers up to 255 or 2^24 as floats
 */
#define FC_PASTE_(a, b) a##b
#define FC_PASTE(a, b) FC_PASTE_(a, b)
#define FC_STRING_(...) #__VA_ARGS__
#define FC_STRING(...) FC_STRING_(__VA_ARGS__)

/* fc_f32_relu__avx2: what, then where. */
#define FC_SYMBOL(kernel) FC_PASTE(fc_##kernel##__, FC_ISA)
#define FC_PLAN_SYMBOL(kernel) FC_PASTE(fc_##kernel##_plan__, FC_ISA)

#define FC_DEFINE(kernel)                                                                          \
    static fcnn_status FC_SYMBOL(kernel)(const fc_call *call, int tid, int nthreads)
#define FC_DEFINE_PLAN(kernel)                                                                     \
    static int64_t FC_PLAN_SYMBOL(kernel)(const fc_call *call, int nthreads)
#define FC_ATTRS(kernel) const struct fc_##kernel##_attrs *attrs = call->attrs

#define FC_KERNEL(kernel, op, ...)                                                                 \
    struct fc_##kernel##_attrs {                                                                   \
        __VA_ARGS__                                                                                \
    };
#define FC_KERNEL_PLANNED FC_KERNEL
#include "kernels.def"
#undef FC_KERNEL
#undef FC_KERNEL_PLANNED

#include "kernels/common.inc.h"
#include "kernels/common_functions.inc.h"
#include "kernels/tile.inc.h"
#include "kernels/moments.inc.h"
#include "kernels/lines.inc.h"
#include "kernels/panel.inc.h"

#include "kernels/elementwise.inc.h"
#include "kernels/elementwise_unary.inc.h"
#include "kernels/elementwise_broadcast.inc.h"
#include "kernels/elementwise_dropout.inc.h"
#include "kernels/reduce.inc.h"
#include "kernels/dense.inc.h"
#include "kernels/conv.inc.h"
#include "kernels/conv_stem.inc.h"
#include "kernels/conv_packed_walk.inc.h"
#include "kernels/conv_packed_narrow.inc.h"
#include "kernels/conv_packed.inc.h"
#include "kernels/conv_gray.inc.h"
#include "kernels/conv_winograd_product.inc.h"
#include "kernels/conv_winograd_input.inc.h"
#include "kernels/conv_winograd.inc.h"
#include "kernels/conv_grad_input.inc.h"
#include "kernels/conv_grad_scatter.inc.h"
#include "kernels/conv_winograd_filters.inc.h"
#include "kernels/conv_winograd_train.inc.h"
#include "kernels/conv_grad_kernel.inc.h"
#include "kernels/conv_grad_packed.inc.h"
#include "kernels/conv_winograd_grad.inc.h"
#include "kernels/conv_depthwise.inc.h"
#include "kernels/conv_depthwise_lines.inc.h"
#include "kernels/conv_depthwise_fused.inc.h"
#include "kernels/conv_separable.inc.h"
#include "kernels/conv_grad_depthwise.inc.h"
#include "kernels/conv_grouped.inc.h"
#include "kernels/conv_grad_grouped.inc.h"
#include "kernels/pool.inc.h"
#include "kernels/pool_average.inc.h"
#include "kernels/pool_index.inc.h"
#include "kernels/norm.inc.h"
#include "kernels/norm_grad.inc.h"
#include "kernels/norm_fused.inc.h"
#include "kernels/norm_layer.inc.h"
#include "kernels/norm_local.inc.h"
#include "kernels/loss.inc.h"
#include "kernels/shape.inc.h"
#include "kernels/shape_depth.inc.h"
#include "kernels/shape_resize.inc.h"
#include "kernels/update.inc.h"

#include "peak.inc.h"

/* A kernel without a plan half does every call of its op, without scratch. */
static int64_t plan_always(const fc_call *call, int nthreads)
{
    (void)call;
    (void)nthreads;
    return 0;
}

#define FC_KERNEL(kernel, op, ...)                                                                 \
    {#kernel, #op, FC_STRING(__VA_ARGS__), FC_SYMBOL(kernel), plan_always},
#define FC_KERNEL_PLANNED(kernel, op, ...)                                                         \
    {#kernel, #op, FC_STRING(__VA_ARGS__), FC_SYMBOL(kernel), FC_PLAN_SYMBOL(kernel)},
static const fc_kernel kernels[] = {
#include "kernels.def"
};
#undef FC_KERNEL
#undef FC_KERNEL_PLANNED

const fc_table FC_PASTE(fc_table__, FC_ISA) = {
    FC_STRING(FC_ISA), FC_LANES, (int)(sizeof kernels / sizeof kernels[0]), kernels, multiply_adds};
