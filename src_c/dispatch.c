/* SPDX-License-Identifier: Apache-2.0 */
/* Which instruction sets are compiled in, and which of them this processor runs. */
#include "kernel.h"

extern const fc_table fc_table__scalar;
#ifdef FC_HAVE_AVX2
extern const fc_table fc_table__avx2;
#endif
#ifdef FC_HAVE_AVX512
extern const fc_table fc_table__avx512;
#endif

static int always(void) { return 1; }

#ifdef FC_HAVE_AVX2
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#ifdef FC_HAVE_AVX512
static int has_avx512(void)
{
#ifdef FC_EMULATE_AVX512
    return has_avx2();
#endif
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

static const struct {
    const fc_table *table;
    int (*runs_here)(void);
} isas[] = {
    {&fc_table__scalar, always},
#ifdef FC_HAVE_AVX2
    {&fc_table__avx2, has_avx2},
#endif
#ifdef FC_HAVE_AVX512
    {&fc_table__avx512, has_avx512},
#endif
};

int fc_isa_count(void) { return (int)(sizeof isas / sizeof isas[0]); }
const fc_table *fc_isa_table(int i) { return isas[i].table; }
int fc_isa_runs_here(int i) { return isas[i].runs_here(); }
