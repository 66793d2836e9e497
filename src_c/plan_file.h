/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a plan, as `fastcnn/deploy/writing.py` writes it:
 *
 *     header | calls | candidates | tensors | ports | attributes | text | weights
 *
 * Numbers are little-endian; weights begin at a multiple of 4096, each of them at one of FC_ALIGN.
 * What kernels want packed lies packed, in layouts that are the same for every instruction set.
 */
#ifndef FC_PLAN_FILE_H
#define FC_PLAN_FILE_H

#include "kernel.h"

#define FC_BUILD_CHARS 16
#define FC_AGAIN "; export the model again"

/* Buffers by number: these, then inputs, then outputs. */
enum { FC_ARENA, FC_WEIGHTS, FC_PORTS };

typedef struct {
    char magic[8];
    uint32_t format, checksum;  /* CRC-32 of all before the weights, its own place being 0 */
    char build[FC_BUILD_CHARS]; /* of the kernels whose layouts these are */
    int64_t arena_bytes, weights_at, weights_bytes;
    int32_t calls, candidates, tensors, inputs, outputs, attribute_bytes, text_bytes, unused;
} fc_plan_header;

typedef struct {
    int32_t candidate, candidates; /* the first, and how many */
    int32_t tensor, n_in, n_out;   /* the first; outputs stand behind inputs */
    int32_t threads;
} fc_call_record;

typedef struct {
    int32_t name, attributes; /* of a kernel, at a byte of the text; at a byte of the attributes */
} fc_candidate_record;

typedef struct {
    int32_t buffer, name, dtype, rank;
    int64_t offset, ld; /* bytes; elements */
    int64_t dim[FCNN_MAX_RANK];
} fc_tensor_record;

/* The file and what stands where in it. */
typedef struct {
    const char *bytes;
    int64_t nbytes;
    const fc_plan_header *head;
    const fc_call_record *calls;
    const fc_candidate_record *candidates;
    const fc_tensor_record *tensors, *ports;
    const char *attributes, *text;
    char *reason;
} fc_plan_file;

/* Map and check a file; 0: `reason` says why not. */
int fc_open_plan(fc_plan_file *f, const char *path);
void fc_close_plan(fc_plan_file *f);
/* Write the rest of a sentence that begins with the path into `reason`; 0. */
int fc_refuse(const fc_plan_file *f, const char *format, ...);
/* Bytes from the first element to the last; -1 where they cannot be. */
int64_t fc_extent(const fc_tensor_record *t);
/* Bytes of a kernel's attributes. */
int64_t fc_attribute_bytes(const fc_kernel *kernel);

#endif
