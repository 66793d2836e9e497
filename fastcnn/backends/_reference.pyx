# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reference kernels for convolution and max-pooling, written to be read.

These loops are the definition the tuned kernels are tested against. They take float32 or float64,
accumulate in the dtype they are given, and run with OpenMP where the compiler has it. Every element
of a result is computed by one thread in one fixed order, so the bits do not depend on the number of
threads.

Dimensions: N batch, H W input size, C input channels, K output channels, R S filter size, P Q
output size, G groups, M depth multiplier. Arrays are C-contiguous NHWC; kernels are (R, S, C/G, K),
depthwise kernels (R, S, C, M). `strides` and `dilations` are (vertical, horizontal), `pads` is
(top, bottom, left, right) in pixels. Shapes are validated by the caller; the assertions here only
keep the loops inside their arrays.

Source: V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning",
arXiv:1603.07285.
"""

import numpy as np

from fastcnn.backends import threads

from cython cimport floating
from cython.parallel cimport prange
from posix.types cimport pid_t
from posix.unistd cimport getpid

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #else
    #define omp_get_max_threads() 1
    #endif
    """
    int omp_get_max_threads() noexcept nogil


cdef int num_threads = omp_get_max_threads()
cdef pid_t home = getpid()


cdef int team() noexcept nogil:
    """Threads of a loop. A forked child has none of OpenMP's, and would wait for them for ever."""
    return num_threads if getpid() == home else 1


def set_num_threads(int n):
    """Set how many threads the kernels of this module use, at least 1."""
    global num_threads
    assert n >= 1, f"set_num_threads: found {n}, expected at least 1"
    num_threads = n


def get_num_threads():
    """Return how many threads the kernels of this module use."""
    return num_threads


threads.follow(set_num_threads)


# How the outputs look at the inputs along one axis. Everything about strides, padding and dilation
# is in `source` and its inverse `target`.
cdef struct Axis:
    Py_ssize_t size_in, size_out, taps, stride, pad, dilation


cdef struct Window:
    Axis h, w


cdef inline Py_ssize_t source(Axis axis, Py_ssize_t out, Py_ssize_t tap) noexcept nogil:
    """Return the input position that output `out` reads through `tap`, or -1 if it is padding."""
    cdef Py_ssize_t position = out * axis.stride - axis.pad + tap * axis.dilation
    return position if 0 <= position < axis.size_in else -1


cdef inline Py_ssize_t target(Axis axis, Py_ssize_t position, Py_ssize_t tap) noexcept nogil:
    """Return the output that reads input `position` through `tap`, or -1 if there is none."""
    cdef Py_ssize_t offset = position + axis.pad - tap * axis.dilation
    if offset < 0 or offset % axis.stride != 0:
        return -1
    return offset // axis.stride if offset // axis.stride < axis.size_out else -1


cdef Axis make_axis(size_in, size_out, taps, stride, before, after, dilation):
    assert taps > 0 and stride > 0 and dilation > 0
    if size_out is None:
        size_out = (size_in + before + after - dilation * (taps - 1) - 1) // stride + 1
    return Axis(size_in, size_out, taps, stride, before, dilation)


cdef Window make_window(input_size, output_size, kernel_size, strides, pads, dilations):
    """Return both axes; an `output_size` of None means wherever the filter fits."""
    P, Q = (None, None) if output_size is None else output_size
    return Window(
        make_axis(input_size[0], P, kernel_size[0], strides[0], pads[0], pads[1], dilations[0]),
        make_axis(input_size[1], Q, kernel_size[1], strides[1], pads[2], pads[3], dilations[1]),
    )


cdef inline void add_scaled(
    floating *total, floating scale, const floating *values, Py_ssize_t count,
) noexcept nogil:
    """Add scale * values to total, over contiguous channels."""
    cdef Py_ssize_t i
    for i in range(count):
        total[i] += scale * values[i]


def conv2d(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] kernel,
    strides, pads, dilations, Py_ssize_t groups,
):
    """Cross-correlate `x` (N, H, W, C) with `kernel` (R, S, C/G, K) into y (N, P, Q, K).

    y[n, p, q, k] is the sum over r, s, c of x[n, h, w, c] * kernel[r, s, c, k] with
    h = p * strides[0] - pads[0] + r * dilations[0], w likewise, and c in the group of k.
    """
    assert groups > 0 and x.shape[3] == kernel.shape[2] * groups and kernel.shape[3] % groups == 0
    cdef Window win = make_window(
        (x.shape[1], x.shape[2]), None, (kernel.shape[0], kernel.shape[1]), strides, pads, dilations
    )
    cdef Py_ssize_t N = x.shape[0], P = win.h.size_out, Q = win.w.size_out, row
    y = np.zeros_like(x, shape=(N, P, Q, kernel.shape[3]), order="C")
    cdef floating[:, :, :, ::1] out = y
    for row in prange(N * P, nogil=True, num_threads=team()):
        conv2d_row(x, kernel, out, win, groups, row // P, row % P)
    return y


cdef void conv2d_row(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] kernel,
    floating[:, :, :, ::1] y, Window win, Py_ssize_t groups, Py_ssize_t n, Py_ssize_t p,
) noexcept nogil:
    cdef Py_ssize_t C = kernel.shape[2], K = kernel.shape[3] // groups  # of one group
    cdef Py_ssize_t q, r, s, h, w, g, c
    for q in range(win.w.size_out):
        for r in range(win.h.taps):
            h = source(win.h, p, r)
            for s in range(win.w.taps):
                w = source(win.w, q, s)
                if h < 0 or w < 0:
                    continue
                for g in range(groups):
                    for c in range(C):
                        add_scaled(
                            &y[n, p, q, g * K], x[n, h, w, g * C + c], &kernel[r, s, c, g * K], K
                        )


def conv2d_grad_input(
    const floating[:, :, :, ::1] dy, const floating[:, :, :, ::1] kernel,
    input_size, strides, pads, dilations, Py_ssize_t groups,
):
    """Return the gradient dx (N, H, W, C) of `conv2d`, from `dy` (N, P, Q, K) and `kernel`.

    `input_size` is (H, W). This is also the transposed convolution of `dy`.
    """
    assert groups > 0 and dy.shape[3] == kernel.shape[3] and kernel.shape[3] % groups == 0
    cdef Window win = make_window(
        input_size, (dy.shape[1], dy.shape[2]), (kernel.shape[0], kernel.shape[1]),
        strides, pads, dilations,
    )
    cdef Py_ssize_t N = dy.shape[0], H = win.h.size_in, W = win.w.size_in, row
    dx = np.zeros_like(dy, shape=(N, H, W, kernel.shape[2] * groups), order="C")
    # (R, S, K, C/G): the channels of dx lie side by side.
    cdef const floating[:, :, :, ::1] swapped = np.ascontiguousarray(np.swapaxes(kernel, 2, 3))
    cdef floating[:, :, :, ::1] out = dx
    for row in prange(N * H, nogil=True, num_threads=team()):
        conv2d_grad_input_row(dy, swapped, out, win, groups, row // H, row % H)
    return dx


cdef void conv2d_grad_input_row(
    const floating[:, :, :, ::1] dy, const floating[:, :, :, ::1] swapped,
    floating[:, :, :, ::1] dx, Window win, Py_ssize_t groups, Py_ssize_t n, Py_ssize_t h,
) noexcept nogil:
    cdef Py_ssize_t C = swapped.shape[3], K = swapped.shape[2] // groups  # of one group
    cdef Py_ssize_t w, r, s, p, q, g, k
    for w in range(win.w.size_in):
        for r in range(win.h.taps):
            p = target(win.h, h, r)
            for s in range(win.w.taps):
                q = target(win.w, w, s)
                if p < 0 or q < 0:
                    continue
                for g in range(groups):
                    for k in range(g * K, (g + 1) * K):
                        add_scaled(&dx[n, h, w, g * C], dy[n, p, q, k], &swapped[r, s, k, 0], C)


def conv2d_grad_kernel(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy,
    kernel_size, strides, pads, dilations, Py_ssize_t groups,
):
    """Return the gradient dw (R, S, C/G, K) of `conv2d`, from `x` and `dy` (N, P, Q, K).

    `kernel_size` is (R, S).
    """
    assert groups > 0 and x.shape[3] % groups == 0 and dy.shape[3] % groups == 0
    assert x.shape[0] == dy.shape[0]
    cdef Window win = make_window(
        (x.shape[1], x.shape[2]), (dy.shape[1], dy.shape[2]), kernel_size, strides, pads, dilations
    )
    cdef Py_ssize_t R = win.h.taps, S = win.w.taps, C = x.shape[3] // groups, row
    dw = np.zeros_like(x, shape=(R, S, C, dy.shape[3]), order="C")
    cdef floating[:, :, :, ::1] out = dw
    for row in prange(R * S * C, nogil=True, num_threads=team()):
        conv2d_grad_kernel_row(x, dy, out, win, groups, row // (S * C), row // C % S, row % C)
    return dw


cdef void conv2d_grad_kernel_row(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy, floating[:, :, :, ::1] dw,
    Window win, Py_ssize_t groups, Py_ssize_t r, Py_ssize_t s, Py_ssize_t c,
) noexcept nogil:
    cdef Py_ssize_t C = dw.shape[2], K = dw.shape[3] // groups  # of one group
    cdef Py_ssize_t n, p, q, h, w, g
    for n in range(x.shape[0]):
        for p in range(win.h.size_out):
            h = source(win.h, p, r)
            for q in range(win.w.size_out):
                w = source(win.w, q, s)
                if h < 0 or w < 0:
                    continue
                for g in range(groups):
                    add_scaled(
                        &dw[r, s, c, g * K], x[n, h, w, g * C + c], &dy[n, p, q, g * K], K
                    )


def depthwise_conv2d(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] kernel, strides, pads, dilations,
):
    """Cross-correlate each channel of `x` (N, H, W, C) with its own filters (R, S, C, M).

    Returns y (N, P, Q, C * M): output channel c * M + m is input channel c through filter m.
    """
    assert x.shape[3] == kernel.shape[2]
    cdef Window win = make_window(
        (x.shape[1], x.shape[2]), None, (kernel.shape[0], kernel.shape[1]), strides, pads, dilations
    )
    cdef Py_ssize_t N = x.shape[0], P = win.h.size_out, Q = win.w.size_out, row
    y = np.zeros_like(x, shape=(N, P, Q, kernel.shape[2] * kernel.shape[3]), order="C")
    cdef floating[:, :, :, ::1] out = y
    for row in prange(N * P, nogil=True, num_threads=team()):
        depthwise_row(x, kernel, out, win, row // P, row % P)
    return y


cdef void depthwise_row(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] kernel,
    floating[:, :, :, ::1] y, Window win, Py_ssize_t n, Py_ssize_t p,
) noexcept nogil:
    cdef Py_ssize_t M = kernel.shape[3], q, r, s, h, w, c, m
    for q in range(win.w.size_out):
        for r in range(win.h.taps):
            h = source(win.h, p, r)
            for s in range(win.w.taps):
                w = source(win.w, q, s)
                if h < 0 or w < 0:
                    continue
                for c in range(x.shape[3]):
                    for m in range(M):
                        y[n, p, q, c * M + m] += x[n, h, w, c] * kernel[r, s, c, m]


def depthwise_conv2d_grad_input(
    const floating[:, :, :, ::1] dy, const floating[:, :, :, ::1] kernel,
    input_size, strides, pads, dilations,
):
    """Return the gradient dx (N, H, W, C) of `depthwise_conv2d`, from `dy` and `kernel`.

    `dy` is (N, P, Q, C * M), `input_size` is (H, W).
    """
    assert dy.shape[3] == kernel.shape[2] * kernel.shape[3]
    cdef Window win = make_window(
        input_size, (dy.shape[1], dy.shape[2]), (kernel.shape[0], kernel.shape[1]),
        strides, pads, dilations,
    )
    cdef Py_ssize_t N = dy.shape[0], H = win.h.size_in, W = win.w.size_in, row
    dx = np.zeros_like(dy, shape=(N, H, W, kernel.shape[2]), order="C")
    cdef floating[:, :, :, ::1] out = dx
    for row in prange(N * H, nogil=True, num_threads=team()):
        depthwise_grad_input_row(dy, kernel, out, win, row // H, row % H)
    return dx


cdef void depthwise_grad_input_row(
    const floating[:, :, :, ::1] dy, const floating[:, :, :, ::1] kernel,
    floating[:, :, :, ::1] dx, Window win, Py_ssize_t n, Py_ssize_t h,
) noexcept nogil:
    cdef Py_ssize_t M = kernel.shape[3], w, r, s, p, q, c, m
    for w in range(win.w.size_in):
        for r in range(win.h.taps):
            p = target(win.h, h, r)
            for s in range(win.w.taps):
                q = target(win.w, w, s)
                if p < 0 or q < 0:
                    continue
                for c in range(dx.shape[3]):
                    for m in range(M):
                        dx[n, h, w, c] += dy[n, p, q, c * M + m] * kernel[r, s, c, m]


def depthwise_conv2d_grad_kernel(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy,
    kernel_size, strides, pads, dilations,
):
    """Return the gradient dw (R, S, C, M) of `depthwise_conv2d`, from `x` and `dy`.

    `dy` is (N, P, Q, C * M), `kernel_size` is (R, S).
    """
    assert x.shape[0] == dy.shape[0] and x.shape[3] > 0 and dy.shape[3] % x.shape[3] == 0
    cdef Window win = make_window(
        (x.shape[1], x.shape[2]), (dy.shape[1], dy.shape[2]), kernel_size, strides, pads, dilations
    )
    cdef Py_ssize_t R = win.h.taps, S = win.w.taps, C = x.shape[3], tap
    dw = np.zeros_like(x, shape=(R, S, C, dy.shape[3] // C), order="C")
    cdef floating[:, :, :, ::1] out = dw
    for tap in prange(R * S, nogil=True, num_threads=team()):
        depthwise_grad_kernel_tap(x, dy, out, win, tap // S, tap % S)
    return dw


cdef void depthwise_grad_kernel_tap(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dy, floating[:, :, :, ::1] dw,
    Window win, Py_ssize_t r, Py_ssize_t s,
) noexcept nogil:
    cdef Py_ssize_t M = dw.shape[3], n, p, q, h, w, c, m
    for n in range(x.shape[0]):
        for p in range(win.h.size_out):
            h = source(win.h, p, r)
            for q in range(win.w.size_out):
                w = source(win.w, q, s)
                if h < 0 or w < 0:
                    continue
                for c in range(x.shape[3]):
                    for m in range(M):
                        dw[r, s, c, m] += x[n, h, w, c] * dy[n, p, q, c * M + m]


def max_pool2d(const floating[:, :, :, ::1] x, pool_size, strides, pads, output_size):
    """Return the largest value of every window of `x` (N, H, W, C) and where it stands.

    Windows are clipped to the input, so padding never wins, and may reach beyond the padded input
    at the bottom and right. Of equal values the first in row order wins; the first NaN wins over
    any number. A window without any input gives -inf and index 0.

    Returns y (N, P, Q, C), where (P, Q) is `output_size`, and the winners' positions r * S + s
    within their windows, in the same shape, uint8 if R * S <= 256 and else int32.
    """
    cdef Window win = make_window(
        (x.shape[1], x.shape[2]), output_size, pool_size, strides, pads, (1, 1)
    )
    cdef Py_ssize_t N = x.shape[0], P = win.h.size_out, Q = win.w.size_out, row
    y = np.full_like(x, -np.inf, shape=(N, P, Q, x.shape[3]), order="C")
    index = np.zeros((N, P, Q, x.shape[3]), dtype=np.int32)
    cdef floating[:, :, :, ::1] out = y
    cdef int[:, :, :, ::1] winner = index
    for row in prange(N * P, nogil=True, num_threads=team()):
        max_pool2d_row(x, out, winner, win, row // P, row % P)
    return y, index.astype(np.uint8) if win.h.taps * win.w.taps <= 256 else index


cdef void max_pool2d_row(
    const floating[:, :, :, ::1] x, floating[:, :, :, ::1] y, int[:, :, :, ::1] index,
    Window win, Py_ssize_t n, Py_ssize_t p,
) noexcept nogil:
    cdef Py_ssize_t q, r, s, h, w, c
    cdef bint first
    for q in range(win.w.size_out):
        first = True
        for r in range(win.h.taps):
            h = source(win.h, p, r)
            for s in range(win.w.taps):
                w = source(win.w, q, s)
                if h < 0 or w < 0:
                    continue
                for c in range(x.shape[3]):
                    if first or beats(x[n, h, w, c], y[n, p, q, c]):
                        y[n, p, q, c] = x[n, h, w, c]
                        index[n, p, q, c] = <int> (r * win.w.taps + s)
                first = False


cdef inline bint beats(floating value, floating best) noexcept nogil:
    """Return whether `value` replaces `best`: a NaN beats any number, and nothing beats a NaN."""
    return best == best and not value <= best


def max_pool2d_grad(
    const floating[:, :, :, ::1] dy, index, input_size, pool_size, strides, pads,
):
    """Return the gradient dx (N, H, W, C) of `max_pool2d`, from `dy` and `index` (N, P, Q, C).

    Every pixel adds up the gradients of the windows it won, in row order of the windows.
    """
    assert np.shape(index) == np.shape(dy)
    cdef Window win = make_window(
        input_size, (dy.shape[1], dy.shape[2]), pool_size, strides, pads, (1, 1)
    )
    cdef Py_ssize_t N = dy.shape[0], H = win.h.size_in, W = win.w.size_in, row
    dx = np.zeros_like(dy, shape=(N, H, W, dy.shape[3]), order="C")
    cdef floating[:, :, :, ::1] out = dx
    cdef const int[:, :, :, ::1] winner = np.ascontiguousarray(index, dtype=np.int32)
    for row in prange(N * H, nogil=True, num_threads=team()):
        max_pool2d_grad_row(dy, winner, out, win, row // H, row % H)
    return dx


cdef void max_pool2d_grad_row(
    const floating[:, :, :, ::1] dy, const int[:, :, :, ::1] index, floating[:, :, :, ::1] dx,
    Window win, Py_ssize_t n, Py_ssize_t h,
) noexcept nogil:
    cdef Py_ssize_t w, r, s, p, q, c
    for w in range(win.w.size_in):
        # The last tap belongs to the first window: descending taps visit the windows in row order.
        for r in range(win.h.taps - 1, -1, -1):
            p = target(win.h, h, r)
            for s in range(win.w.taps - 1, -1, -1):
                q = target(win.w, w, s)
                if p < 0 or q < 0:
                    continue
                for c in range(dx.shape[3]):
                    if index[n, p, q, c] == r * win.w.taps + s:
                        dx[n, h, w, c] += dy[n, p, q, c]
