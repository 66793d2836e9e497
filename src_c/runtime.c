/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner: all threads walk the same list of calls. A call is done by a team, the first few of
 * them or all, and between two calls those meet at a barrier that do either.
 *
 * Within a call every thread begins with a share of the items. One that is done takes from what others
 * have left: cores differ in speed, for good or while another program or a twin core runs.
 *
 * One pool, of threads that stay, serves one run at a time. A run that finds it taken goes alone,
 * since a result has the same bits on any team: no run waits for another. Whoever waits spins as
 * long as that has lately paid, then sleeps; a yield would give away a whole slice of time.
 * A forked child has no threads but its own; it starts a pool anew.
 */
#include "kernel.h"

#include <pthread.h>
#include <signal.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    SPINS_MIN = 64,    /* about a microsecond, */
    SPINS_MAX = 20000, /* and some tenths of a millisecond, what a piece of work may take */
    SPINS_TRIED = 64,  /* sleeps after which a long spin is tried again */
    MAX_TEAMS = 11,    /* of 1, 2, 4, ... threads, and of all */
    MAX_THREADS = 1 << (MAX_TEAMS - 1)
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

/* The threads 0 ... size-1 of a run. */
struct fc_team {
    int size;
    _Alignas(FC_ALIGN) atomic_int arrived; /* at the barrier */
    gate barrier;
};

typedef struct {
    fc_call *calls;
    int count;
    _Alignas(FC_ALIGN) atomic_int status; /* of the call that failed */
    atomic_int failed;
} run;

/* Items that are left of a thread's share, as one word: opened in (32 bits), begin (16), end (16). */
typedef struct {
    _Alignas(FC_ALIGN) _Atomic uint64_t word;
} rest;

/* Its memory is never given back: who leaves a gate last may still look at it. */
static struct {
    atomic_flag taken;
    int workers; /* threads started; worker t is thread t of a run, the caller is thread 0 */
    run run;
    fc_team teams[MAX_TEAMS];
    _Alignas(FC_ALIGN) atomic_int running; /* workers that have not left the run */
    gate left;                             /* moves when the last one has */
    gate start[MAX_THREADS];               /* of worker t */
    atomic_uint opened;                    /* moves between any two openings */
    rest rests[MAX_THREADS];               /* of thread t */
} pool = {.taken = ATOMIC_FLAG_INIT};

static fc_team alone = {.size = 1};

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
        atomic_fetch_add_explicit(&pool.opened, 1, memory_order_relaxed);
        gate_open(&team->barrier);
    } else {
        gate_wait(&team->barrier, seen);
    }
}

void fc_sync(const fc_call *call) { barrier(call->team); }

enum { MAX_UNITS = UINT16_MAX, PIECES = 4 };

/* So many items are taken together that their number fits a word. */
static int64_t items_of_unit(const fc_work *w) { return w->count / MAX_UNITS + 1; }

static uint64_t rest_word(unsigned opened, uint64_t begin, uint64_t end)
{
    return (uint64_t)opened << 32 | begin << 16 | end;
}

/* What is left of thread t's share, in *word. As long as it has not come, that is all of it. */
static uint64_t rest_of(const fc_work *w, int t, unsigned opened, uint64_t *word)
{
    *word = atomic_load_explicit(&pool.rests[t].word, memory_order_relaxed);
    if (*word >> 32 == opened)
        return *word;
    int64_t each = items_of_unit(w), units = (w->count + each - 1) / each;
    return rest_word(opened, (uint64_t)(units * t / w->nthreads),
                     (uint64_t)(units * (t + 1) / w->nthreads));
}

/* Take units of thread t's share: some of the first if it is one's own, half of them otherwise, which
 * are the last. */
static int take_from(fc_work *w, int t, unsigned opened)
{
    for (;;) {
        uint64_t word, left = rest_of(w, t, opened, &word);
        uint64_t begin = left >> 16 & MAX_UNITS, end = left & MAX_UNITS;
        if (begin == end)
            return 0;
        uint64_t piece = (end - begin + PIECES - 1) / PIECES, first = begin;
        if (t == w->tid) {
            begin += piece;
        } else {
            piece = (end - begin + 1) / 2;
            first = end -= piece;
        }
        if (!atomic_compare_exchange_weak_explicit(&pool.rests[t].word, &word,
                                                   rest_word(opened, begin, end),
                                                   memory_order_relaxed, memory_order_relaxed))
            continue;
        int64_t each = items_of_unit(w), last = (int64_t)(first + piece) * each;
        w->begin = (int64_t)first * each;
        w->end = last < w->count ? last : w->count;
        return 1;
    }
}

fc_work fc_open(int64_t count, int tid, int nthreads)
{
    return (fc_work){.count = count, .tid = tid, .nthreads = nthreads};
}

int fc_take(fc_work *w)
{
    if (w->nthreads == 1) {
        w->begin = w->end;
        w->end = w->count;
        return w->begin < w->end;
    }
    /* It stands still while any thread of the team is between two barriers. */
    unsigned opened = atomic_load_explicit(&pool.opened, memory_order_relaxed);
    for (int i = 0; i < w->nthreads; i++)
        if (take_from(w, (w->tid + i) % w->nthreads, opened))
            return 1;
    return 0;
}

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

/* Whether a call before number `i` has failed: the rest of the list is only walked through. */
static int stopped_before(run *r, int i)
{
    return atomic_load(&r->status) != FCNN_OK && atomic_load(&r->failed) < i;
}

/* Thread 0 is in every team, so what it has seen done is done for whoever meets it. */
static void walk(run *r, int tid)
{
    unsigned saved = flush_denormals();
    for (int i = 0; i < r->count; i++) {
        fc_call *call = &r->calls[i];
        fc_team *team = call->team;
        if (tid < team->size && !stopped_before(r, i)) {
            fcnn_status status = call->run(call, tid, team->size);
            if (status != FCNN_OK) {
                atomic_store(&r->failed, i);
                atomic_store(&r->status, (int)status);
            }
        }
        if (i + 1 == r->count)
            break;
        if (call[1].team->size > team->size)
            team = call[1].team;
        if (tid < team->size)
            barrier(team);
    }
    restore_denormals(saved);
}

static void *work(void *own_gate)
{
    gate *start = own_gate;
    int tid = (int)(start - pool.start);
    for (unsigned seen = 0;; seen++) {
        gate_wait(start, seen);
        walk(&pool.run, tid);
        if (atomic_fetch_sub(&pool.running, 1) == 1)
            gate_open(&pool.left);
    }
    return NULL;
}

static void forget_pool(void)
{
    pool.workers = 0;
    atomic_flag_clear(&pool.taken);
}

static void prepare_pool(void) { pthread_atfork(NULL, NULL, forget_pool); }

/* Start workers until there are `wanted`, or the system has no more to give. */
static void hire(int wanted)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t all, before;
    pthread_once(&once, prepare_pool);
    if (pool.workers == 0) {
        for (int k = 0; k < MAX_TEAMS; k++)
            gate_init(&pool.teams[k].barrier);
        gate_init(&pool.left);
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

/* Teams of a pool of `size` threads; the last one, whose number is returned, has them all. */
static int form_teams(int size)
{
    for (int k = 0;; k++) {
        pool.teams[k].size = 1 << k < size ? 1 << k : size;
        atomic_store(&pool.teams[k].arrived, 0);
        if (pool.teams[k].size == size)
            return k;
    }
}

/* Give every call its team, at most number `last`; the size of the largest. */
static int assign_teams(fc_call *calls, int count, int last)
{
    int largest = 1;
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < last && calls[i].threads >= pool.teams[k + 1].size)
            k++;
        calls[i].team = &pool.teams[k];
        if (pool.teams[k].size > largest)
            largest = pool.teams[k].size;
    }
    return largest;
}

static void run_alone(run *r)
{
    for (int i = 0; i < r->count; i++)
        r->calls[i].team = &alone;
    walk(r, 0);
}

static void run_together(run *r, int nthreads)
{
    nthreads = nthreads < MAX_THREADS ? nthreads : MAX_THREADS;
    if (pool.workers < nthreads - 1)
        hire(nthreads - 1);
    if (pool.workers < nthreads - 1)
        nthreads = pool.workers + 1;
    int size = assign_teams(r->calls, r->count, form_teams(nthreads));
    unsigned seen = gate_word(&pool.left);
    atomic_fetch_add_explicit(&pool.opened, 1, memory_order_relaxed);
    atomic_store(&pool.running, size - 1);
    for (int t = 1; t < size; t++)
        gate_open(&pool.start[t]);
    walk(r, 0);
    if (size > 1)
        gate_wait(&pool.left, seen);
}

/* Threads that any of the calls is worth. */
static int widest(const fc_call *calls, int count)
{
    int most = 1;
    for (int i = 0; i < count; i++)
        most = calls[i].threads > most ? calls[i].threads : most;
    return most;
}

fcnn_status fc_run(fc_call *calls, int count, int nthreads, int *failed)
{
    run own, *r = &own;
    int most = widest(calls, count);
    nthreads = most < nthreads ? most : nthreads;
    int together = nthreads > 1 && !atomic_flag_test_and_set(&pool.taken);
    if (together)
        r = &pool.run;
    r->calls = calls;
    r->count = count;
    atomic_store(&r->failed, 0);
    atomic_store(&r->status, FCNN_OK);
    if (together)
        run_together(r, nthreads);
    else
        run_alone(r);
    *failed = atomic_load(&r->failed);
    fcnn_status status = (fcnn_status)atomic_load(&r->status);
    if (together)
        atomic_flag_clear(&pool.taken);
    return status;
}
