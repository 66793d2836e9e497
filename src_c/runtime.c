/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner: one parallel region per run. Every thread walks the same list of calls, with a
 * spin-then-yield barrier between them.
 */
#include "fastcnn.h"

#include <sched.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { SPINS_BEFORE_YIELD = 2000 };

struct fc_team {
    int size;
    _Alignas(FC_ALIGN) atomic_int arrived;
    _Alignas(FC_ALIGN) atomic_int generation;
    _Alignas(FC_ALIGN) atomic_int status; /* of the first call that failed */
    atomic_int failed;
};

static void relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

/* The last to arrive opens the next generation; the others wait for the number to change. */
static void barrier(fc_team *team)
{
    if (team->size == 1)
        return;
    int generation = atomic_load_explicit(&team->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == team->size - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->generation, generation + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&team->generation, memory_order_acquire) == generation;
         spins++) {
        if (spins < SPINS_BEFORE_YIELD)
            relax();
        else
            sched_yield();
    }
}

void fc_sync(const fc_call *call) { barrier(call->team); }

/* Denormals cost a factor of 5-40 in convolutions and carry no information: flush them. */
static unsigned flush_denormals(void)
{
#if defined(__x86_64__)
    unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | 0x8040); /* FTZ | DAZ */
    return saved;
#else
    return 0;
#endif
}

static void restore_denormals(unsigned saved)
{
#if defined(__x86_64__)
    _mm_setcsr(saved);
#else
    (void)saved;
#endif
}

static void walk(fc_call *calls, int count, fc_team *team, int tid)
{
    unsigned saved = flush_denormals();
    for (int i = 0; i < count; i++) {
        fcnn_status status = calls[i].run(&calls[i], tid, team->size);
        if (status != FCNN_OK) {
            atomic_store(&team->failed, i);
            atomic_store(&team->status, (int)status);
        }
        barrier(team);
        /* A faster thread may already have failed in the next call: only then go on to meet it. */
        if (atomic_load(&team->status) != FCNN_OK && atomic_load(&team->failed) <= i)
            break;
    }
    restore_denormals(saved);
}

fcnn_status fc_run(fc_call *calls, int count, int nthreads, int *failed)
{
    fc_team team = {.size = 1};
    for (int i = 0; i < count; i++)
        calls[i].team = &team;
#ifdef _OPENMP
    if (nthreads > 1) {
#pragma omp parallel num_threads(nthreads)
        {
#pragma omp single
            team.size = omp_get_num_threads(); /* OpenMP may give fewer than asked */
            walk(calls, count, &team, omp_get_thread_num());
        }
    } else
#endif
        walk(calls, count, &team, 0);
    (void)nthreads;
    *failed = atomic_load(&team.failed);
    return (fcnn_status)atomic_load(&team.status);
}

int fc_max_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

int fc_openmp(void)
{
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}
