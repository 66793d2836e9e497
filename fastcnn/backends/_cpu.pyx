# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False
"""The binding of src_c: what kernels exist, and one function that runs a list of calls.

Nothing here is written per op. A `Program` is the C form of a list of `Call` records: tensors point
into numbered buffers, whose addresses may be bound anew before any run.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free

import re

import numpy as np


cdef extern from "fastcnn.h":
    enum: FC_MAX_RANK
    enum: FC_ALIGN
    ctypedef enum fcnn_status:
        FCNN_OK
        FCNN_NONFINITE

    ctypedef struct fc_tensor:
        void *data
        int64_t ld
        int32_t rank
        int32_t dtype
        int64_t dim[6]

    ctypedef struct fc_call
    ctypedef fcnn_status (*fc_kernel_fn)(const fc_call *, int, int) noexcept nogil
    ctypedef int64_t (*fc_plan_fn)(const fc_call *, int) noexcept nogil

    ctypedef struct fc_call:
        fc_kernel_fn run
        const fc_tensor *in_ "in"
        const fc_tensor *out
        const void *attrs
        char *scratch
        int32_t n_in
        int32_t n_out
        int32_t threads

    ctypedef struct fc_kernel:
        const char *name
        const char *op
        const char *attrs
        fc_kernel_fn run
        fc_plan_fn plan

    ctypedef struct fc_table:
        const char *isa
        int vector_floats
        int count
        const fc_kernel *kernels
        int64_t (*multiply_adds)(int64_t rounds, float *sum) noexcept nogil

    int fc_isa_count() nogil
    const fc_table *fc_isa_table(int i) nogil
    bint fc_isa_runs_here(int i) nogil
    fcnn_status fc_run(fc_call *calls, int count, int nthreads, int *failed) noexcept nogil


DTYPES = {"float32": 0, "float64": 1, "uint8": 2, "int32": 3, "uint32": 4, "int64": 5}
STATUS = ("ok", "nonfinite", "isa absent")


def isas():
    """Names of the compiled instruction sets, best last, each with whether it runs here."""
    return {
        fc_isa_table(i).isa.decode(): bool(fc_isa_runs_here(i)) for i in range(fc_isa_count())
    }


cdef const fc_table *table_of(str isa) except NULL:
    cdef int i
    for i in range(fc_isa_count()):
        if fc_isa_table(i).isa.decode() == isa:
            return fc_isa_table(i)
    raise KeyError(isa)


def vector_floats(str isa):
    """Floats in one vector of `isa`."""
    return table_of(isa).vector_floats


def multiply_adds(str isa, int64_t rounds):
    """Do so many rounds of independent multiply-adds in the vectors of `isa`, without the GIL.

    Returns the floating-point operations done. Divided by the seconds that took, they are the peak
    of this processor, of which benchmarks give the share that a kernel reaches.
    """
    cdef const fc_table *table = table_of(isa)
    cdef int64_t operations
    cdef float sum_
    with nogil:
        operations = table.multiply_adds(rounds, &sum_)
    return operations


def attribute_types(str text):
    """[(name, 'q' or 'd')] from struct members as written in kernels.def."""
    found = []
    for declaration in text.split(";"):
        match = re.match(r"\s*(int64_t|double)\s+(.*)", declaration, re.DOTALL)
        if match:
            kind = "q" if match[1] == "int64_t" else "d"
            found += [(name.strip(), kind) for name in match[2].split(",")]
        elif declaration.strip():
            raise ValueError(f"kernels.def: attributes are int64_t or double, not '{declaration}'")
    return found


def kernels(str isa):
    """The list of kernels.def as [(name, op, attribute types)], in order of preference."""
    cdef const fc_table *table = table_of(isa)
    cdef int i
    return [
        (
            table.kernels[i].name.decode(),
            table.kernels[i].op.decode(),
            attribute_types(table.kernels[i].attrs.decode()),
        )
        for i in range(table.count)
    ]


cdef class Program:
    """Calls in C form. `calls`: [(candidate kernel indices, packed attributes of each, inputs,
    outputs, threads it is worth)], a tensor being (buffer, byte offset, shape, dtype name, ld).

    After construction `chosen[i]` is the index of the kernel that took call i, or None where all
    candidates refused; such a program cannot run.
    """

    cdef fc_call *calls
    cdef fc_tensor *tensors
    cdef int64_t *offsets
    cdef int32_t *next  # tensor in the same buffer, or -1
    cdef dict first  # tensor in each buffer
    cdef int n_calls, n_tensors, max_threads
    cdef bint complete  # every call has a kernel
    cdef list keep
    cdef readonly list chosen
    cdef readonly int64_t scratch_bytes
    cdef readonly str isa

    def __cinit__(self, str isa, list calls, int max_threads):
        cdef int i, t = 0
        self.isa = isa
        self.n_calls = len(calls)
        self.n_tensors = sum(len(call[2]) + len(call[3]) for call in calls)
        self.max_threads = max_threads
        self.keep = []
        self.chosen = []
        self.first = {}
        self.calls = <fc_call *>calloc(max(self.n_calls, 1), sizeof(fc_call))
        self.tensors = <fc_tensor *>calloc(max(self.n_tensors, 1), sizeof(fc_tensor))
        self.offsets = <int64_t *>calloc(max(self.n_tensors, 1), sizeof(int64_t))
        self.next = <int32_t *>calloc(max(self.n_tensors, 1), sizeof(int32_t))
        if not (self.calls and self.tensors and self.offsets and self.next):
            raise MemoryError
        for i in range(self.n_calls):
            candidates, attrs, inputs, outputs, threads = calls[i]
            self.calls[i].threads = threads
            self.calls[i].in_ = &self.tensors[t]
            self.calls[i].n_in = len(inputs)
            self.calls[i].n_out = len(outputs)
            for slot in inputs:
                self.set_tensor(t, slot)
                t += 1
            self.calls[i].out = &self.tensors[t]
            for slot in outputs:
                self.set_tensor(t, slot)
                t += 1
            self.choose(i, candidates, attrs)
        self.complete = None not in self.chosen
        self.allocate_scratch()

    def __dealloc__(self):
        free(self.calls)
        free(self.tensors)
        free(self.offsets)
        free(self.next)

    cdef void set_tensor(self, int t, object slot) except *:
        cdef int d
        buffer, offset, shape, dtype, ld = slot
        if len(shape) > FC_MAX_RANK:
            raise ValueError(f"rank {len(shape)} is above the {FC_MAX_RANK} of the C kernels")
        self.next[t] = self.first.get(buffer, -1)
        self.first[buffer] = t
        self.offsets[t] = offset
        self.tensors[t].rank = len(shape)
        self.tensors[t].dtype = DTYPES[dtype]
        for d in range(len(shape)):
            self.tensors[t].dim[d] = shape[d]
        self.tensors[t].ld = ld or (shape[len(shape) - 1] if shape else 1)

    cdef void choose(self, int i, list candidates, list attrs) except *:
        """Take the first candidate whose plan half agrees."""
        cdef const fc_table *table = table_of(self.isa)
        cdef int64_t need
        cdef int k
        for candidate, packed in zip(candidates, attrs):
            k = candidate
            self.calls[i].attrs = <const void *><const char *>packed
            need = table.kernels[k].plan(&self.calls[i], self.max_threads)
            if need >= 0:
                self.calls[i].run = table.kernels[k].run
                self.keep.append(packed)
                self.scratch_bytes = max(self.scratch_bytes, need)
                self.chosen.append(candidate)
                return
        self.chosen.append(None)

    cdef void allocate_scratch(self) except *:
        cdef int i
        cdef uintptr_t base
        scratch = np.empty(self.scratch_bytes + FC_ALIGN, np.uint8)
        self.keep.append(scratch)
        base = scratch.ctypes.data
        base = (base + FC_ALIGN - 1) // FC_ALIGN * FC_ALIGN
        for i in range(self.n_calls):
            self.calls[i].scratch = <char *>base

    def fill_scratch(self, int byte):
        """Overwrite the scratch: the tests poison it, since kernels must not read it first."""
        self.keep[len(self.keep) - 1].fill(byte)

    def bind(self, int buffer, object array):
        """Point every tensor of `buffer` into the memory of `array`, which is C-contiguous."""
        cdef Py_buffer view
        cdef int t = self.first.get(buffer, -1)
        PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
        while t >= 0:
            self.tensors[t].data = <char *>view.buf + self.offsets[t]
            t = self.next[t]
        PyBuffer_Release(&view)

    def run(self, int start, int stop, int nthreads):
        """Run calls [start, stop) on a team; (status name, index of the call that failed)."""
        cdef int failed = 0
        cdef fcnn_status status
        if not self.complete:
            raise RuntimeError("the program has calls without a kernel")
        nthreads = max(1, min(nthreads, self.max_threads))
        with nogil:
            status = fc_run(self.calls + start, stop - start, nthreads, &failed)
        return STATUS[<int>status], start + failed
