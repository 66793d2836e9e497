/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h - what every kernel, the runner and the Python binding agree on.
 *
 * Dimensions, everywhere in fastcnn:
 *   N batch   H W input size   C input channels   K output channels
 *   R S filter size   P Q output size   G groups   M depth multiplier
 * Activations are NHWC, filters HWIO (R, S, C/G, K), depthwise filters (R, S, C, M).
 *
 * A kernel is SPMD: all threads of the team call it with the same `fc_call` and their own `tid`.
 * It cuts its work by shape, never by thread count, so results have the same bits for any team, and
 * whichever thread takes a piece.
 * Kernels never allocate, never open threads, never fail for a reason Python could have known.
 */
#ifndef FC_KERNEL_H
#define FC_KERNEL_H

#include "fastcnn.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FC_ALIGN 64

/* A dense row-major view. Pixels may lie further apart than their channels need: the address of
 * (..., i, c) moves by `ld` elements per i, where ld >= dim[rank-1]. */
typedef struct {
    void *data;
    int64_t ld;
    int32_t rank;
    int32_t dtype; /* fcnn_dtype */
    int64_t dim[FCNN_MAX_RANK];
} fc_tensor;

typedef struct fc_team fc_team; /* the threads of one call, and their barrier */
typedef struct fc_call fc_call;

typedef fcnn_status (*fc_kernel_fn)(const fc_call *call, int tid, int nthreads);
/* Scratch bytes this call needs on a team of up to `nthreads`, or -1: the kernel cannot do it. */
typedef int64_t (*fc_plan_fn)(const fc_call *call, int nthreads);

struct fc_call {
    fc_kernel_fn run;
    const fc_tensor *in;  /* [n_in] */
    const fc_tensor *out; /* [n_out] */
    const void *attrs;    /* struct fc_<kernel>_attrs */
    char *scratch;        /* FC_ALIGN-aligned, shared by the team, not initialised */
    fc_team *team;
    int32_t n_in, n_out;
    int32_t threads; /* that the call is worth; thread 0 alone does what is worth 1 */
};

typedef struct {
    const char *name;  /* f32_relu */
    const char *op;    /* relu */
    const char *attrs; /* the attribute struct's members, as written in kernels.def */
    fc_kernel_fn run;
    fc_plan_fn plan;
} fc_kernel;

typedef struct {
    const char *isa;
    int vector_floats; /* lanes of one vector */
    int count;
    const fc_kernel *kernels;                             /* in order of preference within an op */
    int64_t (*multiply_adds)(int64_t rounds, float *sum); /* see peak.inc.h */
} fc_table;

/* memory.c */
void *
fc_allocate(size_t nbytes); /* FC_ALIGN-aligned, not initialised; for free(). NULL: none left */

/* dispatch.c */
int fc_isa_count(void); /* tables compiled in, best last */
const fc_table *fc_isa_table(int i);
int fc_isa_runs_here(int i);

/* Work of a call that its threads take piece by piece. */
typedef struct {
    int64_t begin, end; /* the items taken last */
    int64_t count;
    int tid, nthreads;
} fc_work;

/* runtime.c */
void fc_sync(const fc_call *call); /* every thread of the team must come; a full barrier */
/* Items [0, count): every thread begins with a contiguous share of its own, and helps others when
 * that is done. All threads of the team open the same items, with an fc_sync between two openings
 * of one call. */
fc_work fc_open(int64_t count, int tid, int nthreads);
int fc_take(fc_work *work); /* more items, in [begin, end); 0: all are taken */
/* Run calls[0..count) in order on a team of at most `nthreads`. Other threads may run other calls
 * at the same time. On failure returns the status and the call's index in *failed. */
fcnn_status fc_run(fc_call *calls, int count, int nthreads, int *failed);

#endif
