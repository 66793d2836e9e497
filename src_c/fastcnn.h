/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fastcnn.h - run a network from C: a plan that Python wrote with model.export("net.plan", "plan").
 *
 *     char reason[FCNN_REASON];
 *     fcnn_network *net = fcnn_open("net.plan", NULL, 2, reason);
 *     if (!net)
 *         return fprintf(stderr, "net.plan %s\n", reason), 1;
 *     const void *inputs[] = {image};
 *     void *outputs[] = {scores};
 *     fcnn_run(net, inputs, outputs, 2);
 *     fcnn_close(net);
 *
 * A network may be used by several threads, which take turns. Results have the same bits for any
 * number of threads. A plan names kernels and places in memory: open none that you do not trust.
 */
#ifndef FASTCNN_H
#define FASTCNN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FCNN_MAX_RANK 6
#define FCNN_REASON 256 /* bytes of the longest reason, its end included */

typedef enum { FCNN_OK = 0, FCNN_NONFINITE = 1 } fcnn_status;

typedef enum {
    FCNN_F32 = 0,
    FCNN_F64 = 1,
    FCNN_U8 = 2,
    FCNN_I32 = 3,
    FCNN_U32 = 4,
    FCNN_I64 = 5
} fcnn_dtype;

/* An input or output: a dense row-major array, images as NHWC. */
typedef struct {
    const char *name;
    int32_t dtype; /* fcnn_dtype */
    int32_t rank;
    int64_t dim[FCNN_MAX_RANK];
    int64_t nbytes;
} fcnn_port;

typedef struct fcnn_network fcnn_network;

/* The network in the file `path`, which stays mapped until the network is closed.
 *   isa      one of "scalar", "avx2", "avx512"; NULL: the best that runs here
 *   threads  most that a run will use
 *   reason   what is wrong, where NULL is returned: the rest of a sentence that begins with the path */
fcnn_network *fcnn_open(const char *path, const char *isa, int threads, char reason[FCNN_REASON]);
void fcnn_close(fcnn_network *network); /* of NULL: nothing */

int fcnn_inputs(const fcnn_network *network);
int fcnn_outputs(const fcnn_network *network);
const fcnn_port *fcnn_input(const fcnn_network *network, int i);
const fcnn_port *fcnn_output(const fcnn_network *network, int i);
const char *fcnn_isa(const fcnn_network *network);
const char *fcnn_build(void); /* fingerprint of the kernels: plans are for one */

/* Compute outputs[i] of inputs[i], each as large as its port says and aligned to its numbers.
 *   threads  1 to what the network was opened for */
fcnn_status fcnn_run(fcnn_network *network, const void *const *inputs, void *const *outputs,
                     int threads);

#ifdef __cplusplus
}
#endif

#endif
