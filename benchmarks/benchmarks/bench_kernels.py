# SPDX-License-Identifier: Apache-2.0
"""C kernels by family, each alone in a plan made beforehand, for every instruction set.

Since version 2 convolutions are computed as predictions and training steps do it.
"""

from __future__ import annotations

from . import kernels
from .common import THREADS, use_threads


class _Kernel:
    param_names = ["case", "isa", "threads"]
    # Many and steady: a quarter of a second each, in two rounds.
    rounds = 2
    repeat = (2, 10, 0.2)
    warmup_time = 0.02
    sample_time = 0.01

    def setup(self, case: str, isa: str, threads: int) -> None:
        use_threads(threads)
        self.run = kernels.plan_of(case, kernels.use_isa(isa)).run

    def time_run(self, case: str, isa: str, threads: int) -> None:
        self.run()


class Conv2D(_Kernel):
    version = "2"
    params = [list(kernels.CONV2D), kernels.ISAS, THREADS]


class Conv2DGrad(_Kernel):
    version = "2"
    params = [list(kernels.CONV2D_GRAD), kernels.ISAS, THREADS]


class DepthwiseConv2D(_Kernel):
    version = "2"
    params = [list(kernels.DEPTHWISE), kernels.ISAS, THREADS]


class TrainConv2D(_Kernel):
    params = [list(kernels.TRAIN_CONV2D), kernels.VECTOR_ISAS, THREADS]


class Dense(_Kernel):
    params = [list(kernels.DENSE), kernels.ISAS, THREADS]


class Pool(_Kernel):
    params = [list(kernels.POOL), kernels.ISAS, THREADS]


class Norm(_Kernel):
    params = [list(kernels.NORM), kernels.ISAS, THREADS]


class Elementwise(_Kernel):
    params = [list(kernels.ELEMENTWISE), kernels.ISAS, THREADS]


class Loss(_Kernel):
    params = [list(kernels.LOSS), kernels.ISAS, THREADS]


class Reduce(_Kernel):
    params = [list(kernels.REDUCE), kernels.ISAS, THREADS]


class Shape(_Kernel):
    params = [list(kernels.SHAPE), kernels.ISAS, THREADS]


class Update(_Kernel):
    params = [list(kernels.UPDATE), kernels.ISAS, THREADS]


class FmaPeak:
    """What part of the multiply-adds the machine can do, a kernel does.

    `setup` tries the probe, so that asv leaves out a version that has none.
    """

    params = [list(kernels.COUNTED), kernels.VECTOR_ISAS, THREADS]
    param_names = ["case", "isa", "threads"]
    version = "2"
    unit = "% of FMA peak"

    def setup(self, case: str, isa: str, threads: int) -> None:
        use_threads(threads)
        self.kernel = kernels.plan_of(case, kernels.use_isa(isa))
        kernels.peak_flops(isa, threads)

    def track_share(self, case: str, isa: str, threads: int) -> float:
        measured = kernels.measure(self.kernel, isa, threads, rounds=8, slice_=0.01)
        return 100 * self.kernel.flops / measured.seconds / measured.peak


class Machine:
    """The peak itself: when it moves, the machine has changed and not fastcnn."""

    params = [kernels.VECTOR_ISAS, THREADS]
    param_names = ["isa", "threads"]
    unit = "GFLOP/s"

    def setup(self, isa: str, threads: int) -> None:
        use_threads(threads)
        kernels.peak_flops(kernels.use_isa(isa), threads)

    def track_fma_peak(self, isa: str, threads: int) -> float:
        return max(kernels.peak_flops(isa, threads) for _ in range(20)) / 1e9
