# SPDX-License-Identifier: Apache-2.0
"""Which kernel computes which kind of layer, and how near it comes to what the processor can do:

    python benchmarks/algorithms.py --isa avx2 --threads 1

A line per layer, as Markdown: forward as `predict` runs it, with bias and ReLU over packed filters;
the gradients for input and kernel as training steps run them, filters laid out anew and counted.
A share of the FMA peak, measured in turns with the kernel, is that of the direct sum's
multiply-adds, padding among them, so Winograd's algorithm may be beyond 100. All is warm.
"""

from __future__ import annotations

import argparse
import os
from typing import Any, NamedTuple

import numpy as np

import fastcnn
from benchmarks import kernels
from benchmarks.kernels import Layer, Sizes
from fastcnn import ops
from fastcnn.backends import isas
from fastcnn.graph import Tensor
from machine import cores, plural, processor
from table import heading, row

ROUNDS, SLICE = 5, 0.02


class Case(NamedTuple):
    """One layer of a network, and what is expected of it: shares of the peak on AVX2, or a word."""

    name: str
    layer: Layer
    expected: tuple[str, str, str]  # forward, gradient for the input, for the kernel


def conv(
    name: str, x: Sizes, size: int, filters: int, expected: tuple[str, str, str], **given: Any
) -> Case:
    """A convolution; "same" padding unless something else is given."""
    kernel = (size, size, x[3] // given.get("groups", 1), filters)
    arguments = {"padding": "same", **given}
    return Case(name, Layer(x, kernel, lambda a, w: ops.conv2d(a, w, **arguments)), expected)


def depthwise(name: str, x: Sizes, expected: tuple[str, str, str]) -> Case:
    return Case(name, kernels.depthwise(x, 3), expected)


def transposed(name: str, x: Sizes, filters: int, expected: tuple[str, str, str]) -> Case:
    def draw(a: Tensor, w: Tensor) -> Tensor:
        return ops.conv2d_transpose(a, w, strides=2)

    return Case(name, Layer(x, (2, 2, filters, x[3]), draw), expected)


def dense(name: str, rows: int, expected: tuple[str, str, str]) -> Case:
    return Case(name, Layer((rows, 4096), (4096, 4096), ops.matmul), expected)


STEM, FIRST = ("75-85", "", "55-70"), ("65-80", "", "50-65")
FEW, SOME = ("70-80", "70-80", "60-75"), ("130-170", "130-170", "70-80")
MANY, LARGE = ("180-230", "180-230", "130-200"), ("150-200", "150-200", "75-85")
ONE_IMAGE = ("110-140", "", "")
LAST, LAST_BATCH = ("75-85", "75-85", "65-80"), ("80-140", "80-140", "75-85")
STRIDED, POINT = ("75-85", "70-85", "65-80"), ("80-90", "82-92", "75-88")
NARROW, POINT_STRIDED = ("45-65", "45-65", "50-65"), ("72-85", "", "")
NEAR, FAR = ("40-55", "40-55", "30-50"), ("10-20", "10-20", "")
GROUPS_FEW, GROUPS = ("40-55", "40-55", "35-50"), ("65-80", "65-80", "55-70")
TAPS, TRANSPOSED = ("75-85", "75-85", "65-80"), ("75-85", "75-85", "65-80")
STREAM, PRODUCT = ("bandwidth", "bandwidth", ""), ("80-90", "80-90", "80-90")

CASES = (
    conv("7x7 / 2, 224, 3 to 64", (1, 224, 224, 3), 7, 64, STEM, strides=2),
    conv("11x11 / 4, 224, 3 to 64", (1, 224, 224, 3), 11, 64, STEM, strides=4, padding=2),
    conv("3x3, 224, 3 to 64", (1, 224, 224, 3), 3, 64, FIRST),
    conv("3x3, 32, 16 to 16, batch 8", (8, 32, 32, 16), 3, 16, FEW),
    conv("3x3, 28, 16 to 32", (1, 28, 28, 16), 3, 32, FEW),
    conv("3x3, 56, 32 to 32", (1, 56, 56, 32), 3, 32, SOME),
    conv("3x3, 28, 32 to 96", (1, 28, 28, 32), 3, 96, SOME),
    conv("3x3, 56, 64 to 64", (1, 56, 56, 64), 3, 64, MANY),
    conv("3x3, 28, 128 to 128", (1, 28, 28, 128), 3, 128, MANY),
    conv("3x3, 28, 256 to 256, batch 4", (4, 28, 28, 256), 3, 256, LARGE),
    conv("3x3, 14, 256 to 256, batch 4", (4, 14, 14, 256), 3, 256, LARGE),
    conv("3x3, 14, 256 to 256", (1, 14, 14, 256), 3, 256, ONE_IMAGE),
    conv("3x3, 7, 512 to 512", (1, 7, 7, 512), 3, 512, LAST),
    conv("3x3, 7, 512 to 512, batch 16", (16, 7, 7, 512), 3, 512, LAST_BATCH),
    conv("3x3 / 2, 56, 128 to 128", (1, 56, 56, 128), 3, 128, STRIDED, strides=2),
    conv("3x3 / 2, 28, 256 to 256", (1, 28, 28, 256), 3, 256, STRIDED, strides=2),
    conv("1x1, 56, 64 to 256", (1, 56, 56, 64), 1, 256, POINT),
    conv("1x1, 14, 1024 to 256", (1, 14, 14, 1024), 1, 256, POINT),
    conv("1x1, 112, 16 to 96", (1, 112, 112, 16), 1, 96, NARROW),
    conv("1x1, 112, 32 to 16", (1, 112, 112, 32), 1, 16, NARROW),
    conv("1x1 / 2, 56, 256 to 512", (1, 56, 56, 256), 1, 512, POINT_STRIDED, strides=2),
    depthwise("depthwise 3x3, 14, 384", (1, 14, 14, 384), NEAR),
    depthwise("depthwise 3x3, 112, 64, batch 8", (8, 112, 112, 64), FAR),
    conv("3x3, 56, 128 in groups of 4", (1, 56, 56, 128), 3, 128, GROUPS_FEW, groups=32),
    conv("3x3, 28, 256 in groups of 8", (1, 28, 28, 256), 3, 256, GROUPS_FEW, groups=32),
    conv("3x3, 14, 512 in groups of 16", (1, 14, 14, 512), 3, 512, GROUPS, groups=32),
    conv("3x3, 14, 512 in groups of 32", (1, 14, 14, 512), 3, 512, GROUPS, groups=16),
    conv("5x5, 28, 32 to 96", (1, 28, 28, 32), 5, 96, TAPS),
    conv("5x5, 27, 64 to 192", (1, 27, 27, 64), 5, 192, TAPS),
    conv("3x3 dilated by 2, 28, 256 to 256", (1, 28, 28, 256), 3, 256, TAPS, dilation_rate=2),
    transposed("transposed 2x2 / 2, 28, 256 to 128", (1, 28, 28, 256), 128, TRANSPOSED),
    dense("dense, 4096 to 4096", 1, STREAM),
    dense("dense, 4096 to 4096, batch 8", 8, PRODUCT),
)


def planned(layer: Layer, wanted: str, isa: str) -> kernels.Kernel:
    """What `predict` or a training step does for one tensor of the layer; padding counts."""
    kernel, y = kernels.plan_of_use(kernels.Use(layer, wanted), isa, bounds=True)
    flops = 2 * y.node.op.macs(*(t.spec for t in y.node.inputs))
    return kernel._replace(flops=flops)


def cell(kernel: kernels.Kernel, expected: str, isa: str, threads: int, rounds: int) -> str:
    """Kernels, share of the peak, GB/s where that is what counts, and what is expected."""
    found = kernels.measure(kernel, isa, threads, rounds, SLICE)
    share = f"{100 * kernel.flops / found.seconds / found.peak:.0f} %"
    if expected == "bandwidth":
        share = f"{kernel.nbytes / found.seconds / 1e9:.1f} GB/s"
    return f"{kernel.kernel}: **{share}**" + (f" ({expected})" if expected else "")


def cells(case: Case, isa: str, threads: int, rounds: int) -> list[str]:
    """What the three directions of a layer take; no gradient is wanted for images."""
    directions = (kernels.PREDICTED, kernels.GRAD_INPUT, kernels.GRAD_KERNEL)
    return [
        "none"
        if wanted == kernels.GRAD_INPUT and case.layer.x[-1] == 3
        else cell(planned(case.layer, wanted, isa), expected, isa, threads, rounds)
        for wanted, expected in zip(directions, case.expected, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isa", choices=isas.available_isas(), default=isas.default_isa())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    os.environ["FASTCNN_ISA"] = given.isa
    fastcnn.set_num_threads(given.threads)
    peaks = [kernels.peak_flops(given.isa, given.threads) / 1e9]
    print(f"{processor()}, {cores()} cores; {given.isa}, {plural(given.threads)}")
    heading("layer", "forward", "gradient for the input", "gradient for the kernel")
    for case in CASES:
        row(case.name, *cells(case, given.isa, given.threads, given.rounds))
        peaks.append(kernels.peak_flops(given.isa, given.threads) / 1e9)
    print(f"\nFMA peak: {np.min(peaks):.0f} to {np.max(peaks):.0f} GFLOP/s")


if __name__ == "__main__":
    main()
