/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the arithmetic units can do at most, to say how much of it a kernel reaches: chains of
 * multiply-adds that do not wait for each other and touch no memory. Twelve chains hide a latency of
 * four to six cycles on two units, and with both operands fit the sixteen registers of AVX2.
 */
enum { CHAINS = 12 };

/* Advance every chain `rounds` times; returns the floating-point operations done. The sum goes out
 * so that the work cannot be left out. Each chain tends to 2: no overflow, no denormals. */
static int64_t multiply_adds(int64_t rounds, float *sum)
{
    const vf slope = v_set1(0.5f), shift = v_set1(1.0f);
    vf chain[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        chain[i] = v_set1((float)i);
    for (int64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            chain[i] = v_fma(chain[i], slope, shift);
    }
    for (int i = 1; i < CHAINS; i++)
        chain[0] = v_add(chain[0], chain[i]);
    *sum = v_sum(chain[0]);
    return rounds * CHAINS * FC_LANES * 2;
}
