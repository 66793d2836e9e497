/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner: every thread of a team walks the same list of calls, with a barrier between them.
 *
 * One team, of threads that stay, serves one run at a time. A run that finds it taken goes alone,
 * since a result has the same bits on any team: no run waits for another. Whoever waits spins as
 * long as that has lately paid, then sleeps; a yield would give away a whole slice of time.
 * A forked child has no threads but its own; it starts a team anew.
 */
#include "fastcnn.h"

#include <pthread.h>
#include <signal.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    SPINS_MIN = 64,   /* about a microsecond, */
    SPINS_MAX = 2000, /* and as long as it takes to be woken */
    SPINS_TRIED = 64, /* sleeps after which a long spin is tried again */
    MAX_TEAM = 1024
};

/* A word that moves on, and those that wait for it to. */
typedef struct {
    _Alignas(FC_ALIGN) atomic_uint word;
    atomic_int sleepers;
    atomic_int spins; /* before sleep: few where they do not pay, as where threads share a core */
    atomic_int sleeps;
    pthread_mutex_t lock;
    pthread_cond_t moved;
} gate;

struct fc_team {
    int size;
    fc_call *calls;
    int count;
    _Alignas(FC_ALIGN) atomic_int arrived; /* at the barrier */
    gate barrier;
    _Alignas(FC_ALIGN) atomic_int running; /* workers that have not left the run */
    gate left;                             /* moves when the last one has */
    _Alignas(FC_ALIGN) atomic_int status;  /* of the first call that failed */
    atomic_int failed;
};

/* The team's memory is never given back: who leaves a gate last may still look at it. */
static struct {
    atomic_flag taken;
    int workers; /* threads started; worker t is thread t of a run, the caller is thread 0 */
    fc_team team;
    gate start[MAX_TEAM]; /* of worker t */
} pool = {.taken = ATOMIC_FLAG_INIT};

static void gate_init(gate *g)
{
    atomic_init(&g->word, 0);
    atomic_init(&g->sleepers, 0);
    atomic_init(&g->spins, SPINS_MAX);
    atomic_init(&g->sleeps, 0);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->moved, NULL);
}

static unsigned gate_word(gate *g) { return atomic_load_explicit(&g->word, memory_order_acquire); }

static void gate_open(gate *g)
{
    atomic_fetch_add(&g->word, 1);
    /* A sleeper counts itself before its last look at the word, so one of us sees the other. */
    if (atomic_load(&g->sleepers) == 0)
        return;
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

static void relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

/* Whether the word moves from `seen` while we spin. */
static int gate_spin(gate *g, unsigned seen)
{
    if (gate_word(g) != seen)
        return 1;
    int limit = atomic_load_explicit(&g->spins, memory_order_relaxed);
    for (int spins = 0; spins < limit; spins++) {
        relax();
        if (gate_word(g) != seen) {
            atomic_store_explicit(&g->spins, SPINS_MAX, memory_order_relaxed);
            return 1;
        }
    }
    int sleeps = atomic_fetch_add_explicit(&g->sleeps, 1, memory_order_relaxed);
    limit = sleeps % SPINS_TRIED ? limit / 4 : SPINS_MAX;
    atomic_store_explicit(&g->spins, limit > SPINS_MIN ? limit : SPINS_MIN, memory_order_relaxed);
    return 0;
}

/* Wait until the word is no longer `seen`. */
static void gate_wait(gate *g, unsigned seen)
{
    if (gate_spin(g, seen))
        return;
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->word) == seen)
        pthread_cond_wait(&g->moved, &g->lock);
    atomic_fetch_sub(&g->sleepers, 1);
    pthread_mutex_unlock(&g->lock);
}

static void barrier(fc_team *team)
{
    if (team->size == 1)
        return;
    unsigned seen = gate_word(&team->barrier);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == team->size - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        gate_open(&team->barrier);
    } else {
        gate_wait(&team->barrier, seen);
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

static void walk(fc_team *team, int tid)
{
    unsigned saved = flush_denormals();
    for (int i = 0; i < team->count; i++) {
        fcnn_status status = team->calls[i].run(&team->calls[i], tid, team->size);
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

static void *work(void *own_gate)
{
    gate *start = own_gate;
    int tid = (int)(start - pool.start);
    for (unsigned seen = 0;; seen++) {
        gate_wait(start, seen);
        walk(&pool.team, tid);
        if (atomic_fetch_sub(&pool.team.running, 1) == 1)
            gate_open(&pool.team.left);
    }
    return NULL;
}

static void forget_team(void)
{
    pool.workers = 0;
    atomic_flag_clear(&pool.taken);
}

static void prepare_team(void) { pthread_atfork(NULL, NULL, forget_team); }

/* Start workers until there are `wanted`, or the system has no more to give. */
static void hire(int wanted)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t all, before;
    pthread_once(&once, prepare_team);
    if (pool.workers == 0) {
        gate_init(&pool.team.barrier);
        gate_init(&pool.team.left);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads of Python */
    while (pool.workers < wanted) {
        gate *start = &pool.start[pool.workers + 1];
        pthread_t thread;
        gate_init(start);
        if (pthread_create(&thread, NULL, work, start) != 0)
            break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Thread 0's side of a run on the pool's team. */
static void lead(fc_team *team)
{
    unsigned seen = gate_word(&team->left);
    atomic_store(&team->running, team->size - 1);
    for (int t = 1; t < team->size; t++)
        gate_open(&pool.start[t]);
    walk(team, 0);
    if (team->size > 1)
        gate_wait(&team->left, seen);
}

fcnn_status fc_run(fc_call *calls, int count, int nthreads, int *failed)
{
    fc_team alone = {.size = 1}, *team = &alone;
    int together = nthreads > 1 && !atomic_flag_test_and_set(&pool.taken);
    if (together) {
        nthreads = nthreads < MAX_TEAM ? nthreads : MAX_TEAM;
        if (pool.workers < nthreads - 1)
            hire(nthreads - 1);
        team = &pool.team;
        team->size = nthreads - 1 < pool.workers ? nthreads : pool.workers + 1;
    }
    team->calls = calls;
    team->count = count;
    atomic_store(&team->arrived, 0);
    atomic_store(&team->failed, 0);
    atomic_store(&team->status, FCNN_OK);
    for (int i = 0; i < count; i++)
        calls[i].team = team;
    lead(team);
    *failed = atomic_load(&team->failed);
    fcnn_status status = (fcnn_status)atomic_load(&team->status);
    if (together)
        atomic_flag_clear(&pool.taken);
    return status;
}
