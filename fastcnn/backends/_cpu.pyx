# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False
"""The binding of src_c: what kernels exist, and what runs lists of calls.

Nothing here is written per op. A `Program` is the C form of a list of `Call` records: tensors point
into numbered buffers, whose addresses may be bound anew before any run. A `Network` is one that a
file holds. NumPy is not needed.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset


cdef extern from "fastcnn.h":
    enum: FCNN_MAX_RANK
    enum: FCNN_REASON
    ctypedef enum fcnn_status:
        FCNN_OK
        FCNN_NONFINITE

    ctypedef struct fcnn_port:
        const char *name
        int32_t dtype
        int32_t rank
        int64_t dim[6]
        int64_t nbytes

    ctypedef struct fcnn_network

    fcnn_network *fcnn_open(const char *path, const char *isa, int threads, char *reason) nogil
    void fcnn_close(fcnn_network *network) nogil
    int fcnn_inputs(const fcnn_network *network) nogil
    int fcnn_outputs(const fcnn_network *network) nogil
    const fcnn_port *fcnn_input(const fcnn_network *network, int i) nogil
    const fcnn_port *fcnn_output(const fcnn_network *network, int i) nogil
    const char *fcnn_isa(const fcnn_network *network) nogil
    const char *fcnn_build() nogil
    fcnn_status fcnn_run(
        fcnn_network *network, const void *const *inputs, void *const *outputs, int threads
    ) noexcept nogil


cdef extern from "kernel.h":
    enum: FC_ALIGN
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

    void *fc_allocate(size_t nbytes) nogil
    int fc_isa_count() nogil
    const fc_table *fc_isa_table(int i) nogil
    bint fc_isa_runs_here(int i) nogil
    fcnn_status fc_run(fc_call *calls, int count, int nthreads, int *failed) noexcept nogil


DTYPES = {"float32": 0, "float64": 1, "uint8": 2, "int32": 3, "uint32": 4, "int64": 5}
BUILD = fcnn_build().decode()  # fingerprint of the kernels' sources, which exported plans carry
ITEMSIZES = {"float32": 4, "float64": 8, "uint8": 1, "int32": 4, "uint32": 4, "int64": 8}
STATUS = ("ok", "nonfinite")


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
        kind, _, names = declaration.strip().partition(" ")
        if kind in ("int64_t", "double"):
            letter = "q" if kind == "int64_t" else "d"
            found += [(name.strip(), letter) for name in names.split(",")]
        elif kind:
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
    cdef char *scratch
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
        free(self.scratch)
        free(self.calls)
        free(self.tensors)
        free(self.offsets)
        free(self.next)

    cdef void set_tensor(self, int t, object slot) except *:
        cdef int d
        buffer, offset, shape, dtype, ld = slot
        if len(shape) > FCNN_MAX_RANK:
            raise ValueError(f"rank {len(shape)} is above the {FCNN_MAX_RANK} of the C kernels")
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
        self.scratch = <char *>fc_allocate(self.scratch_bytes)
        if not self.scratch:
            raise MemoryError
        for i in range(self.n_calls):
            self.calls[i].scratch = self.scratch

    def fill_scratch(self, int byte):
        """Overwrite the scratch: the tests poison it, since kernels must not read it first."""
        memset(self.scratch, byte, self.scratch_bytes)

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


cdef class Network:
    """A plan in a file, opened for at most so many threads; isa None is the best that runs here.

    `inputs` and `outputs` are [(name, dtype name, shape, bytes)].
    """

    cdef fcnn_network *network
    cdef readonly list inputs
    cdef readonly list outputs

    def __cinit__(self, bytes path, isa, int max_threads):
        cdef char reason[FCNN_REASON]
        cdef const char *at = path
        cdef const char *name = NULL
        if 0 in path:
            raise OSError("cannot be opened (there is a 0 in its name); check the path")
        encoded = None if isa is None else isa.encode()
        if encoded is not None:
            name = encoded
        with nogil:
            self.network = fcnn_open(at, name, max_threads, reason)
        if not self.network:
            raise OSError(reason.decode(errors="replace"))
        self.inputs = [
            described(fcnn_input(self.network, i)) for i in range(fcnn_inputs(self.network))
        ]
        self.outputs = [
            described(fcnn_output(self.network, i)) for i in range(fcnn_outputs(self.network))
        ]

    def __dealloc__(self):
        fcnn_close(self.network)

    @property
    def isa(self):
        """The instruction set whose kernels run."""
        return fcnn_isa(self.network).decode()

    def run(self, list inputs, list outputs, int nthreads):
        """Compute what the buffers `outputs` take of the buffers `inputs`, without the GIL.

        Raises:
            BufferError: a buffer is not contiguous, not aligned, or not as large as its port says.
        """
        assert len(inputs) == len(self.inputs) and len(outputs) == len(self.outputs)
        cdef int n_in = len(inputs), n_out = len(outputs), held = 0
        cdef Py_buffer *views = <Py_buffer *>calloc(n_in + n_out + 1, sizeof(Py_buffer))
        cdef void **data = <void **>calloc(n_in + n_out + 1, sizeof(void *))
        cdef fcnn_status status
        try:
            if not (views and data):
                raise MemoryError
            for array, port in zip(inputs + outputs, self.inputs + self.outputs):
                PyObject_GetBuffer(
                    array, &views[held], PyBUF_SIMPLE if held < n_in else PyBUF_WRITABLE
                )
                data[held] = views[held].buf
                held += 1
                check_buffer(&views[held - 1], port)
            with nogil:
                status = fcnn_run(self.network, <const void *const *>data, &data[n_in], nthreads)
        finally:
            while held:
                held -= 1
                PyBuffer_Release(&views[held])
            free(views)
            free(data)
        return STATUS[<int>status]


cdef described(const fcnn_port *port):
    shape = tuple([port.dim[d] for d in range(port.rank)])
    return port.name.decode(), list(DTYPES)[port.dtype], shape, port.nbytes


cdef void check_buffer(Py_buffer *view, tuple port) except *:
    name, dtype, shape, nbytes = port
    if view.len != nbytes:
        raise BufferError(
            f"'{name}' has {view.len} bytes, expected {nbytes}: {dtype} of shape {shape}"
        )
    if <uintptr_t>view.buf % <uintptr_t>ITEMSIZES[dtype]:
        raise BufferError(f"'{name}' does not lie at a multiple of its {dtype}'s size; copy it")
