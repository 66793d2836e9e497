# SPDX-License-Identifier: Apache-2.0
"""Ops called on arrays, as in a notebook: planned anew and given fresh memory at every call."""

from __future__ import annotations

from fastcnn import ops

from .common import THREADS, uniform, use_threads

# name: (x, kernel, strides, padding, groups)
CONV2D = {
    "stem_224x224x3_7x7_s2": ((1, 224, 224, 3), (7, 7, 3, 64), 2, "same", 1),
    "vgg_56x56x64_3x3": ((1, 56, 56, 64), (3, 3, 64, 64), 1, "same", 1),
    "vgg_28x28x128_3x3": ((1, 28, 28, 128), (3, 3, 128, 128), 1, "same", 1),
    "resnet_14x14x256_3x3": ((1, 14, 14, 256), (3, 3, 256, 256), 1, "same", 1),
    "resnet_7x7x512_3x3": ((1, 7, 7, 512), (3, 3, 512, 512), 1, "same", 1),
    "pointwise_56x56x64_256": ((1, 56, 56, 64), (1, 1, 64, 256), 1, "valid", 1),
    "pointwise_14x14x1024_256": ((1, 14, 14, 1024), (1, 1, 1024, 256), 1, "valid", 1),
    "grouped_28x28x128_g32": ((1, 28, 28, 128), (3, 3, 4, 128), 1, "same", 32),
    "cifar_b32_32x32x16_3x3": ((32, 32, 32, 16), (3, 3, 16, 16), 1, "same", 1),
    "lenet_b32_32x32x1_5x5": ((32, 32, 32, 1), (5, 5, 1, 6), 1, "valid", 1),
}

# name: (x, kernel, strides)
DEPTHWISE = {
    "mobilenet_112x112x32": ((1, 112, 112, 32), (3, 3, 32, 1), 1),
    "mobilenet_56x56x128_s2": ((1, 56, 56, 128), (3, 3, 128, 1), 2),
    "mobilenet_14x14x512": ((1, 14, 14, 512), (3, 3, 512, 1), 1),
    "efficientnet_14x14x480_5x5": ((1, 14, 14, 480), (5, 5, 480, 1), 1),
}

# name: (x, pool size, strides)
POOL = {
    "resnet_112x112x64_3x3_s2": ((1, 112, 112, 64), 3, 2),
    "vgg_224x224x64_2x2": ((1, 224, 224, 64), 2, 2),
    "inception_28x28x192_3x3_s1": ((1, 28, 28, 192), 3, 1),
    "lenet_b32_28x28x6_2x2": ((32, 28, 28, 6), 2, 2),
}

# name: (rows, inputs, outputs)
DENSE = {
    "resnet_head_1x2048x1000": (1, 2048, 1000),
    "vgg_head_1x25088x4096": (1, 25088, 4096),
    "lenet_32x400x120": (32, 400, 120),
    "square_512": (512, 512, 512),
}


class Conv2D:
    params = [list(CONV2D), THREADS]
    param_names = ["case", "threads"]

    def setup(self, case: str, threads: int) -> None:
        use_threads(threads)
        x, kernel, self.strides, self.padding, self.groups = CONV2D[case]
        self.x, self.kernel, self.bias = uniform(*x), uniform(*kernel), uniform(kernel[-1])
        self.time_conv2d(case, threads)  # plans and touches every page

    def time_conv2d(self, case: str, threads: int) -> None:
        ops.conv2d(
            self.x,
            self.kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            groups=self.groups,
        )


class DepthwiseConv2D:
    params = [list(DEPTHWISE), THREADS]
    param_names = ["case", "threads"]

    def setup(self, case: str, threads: int) -> None:
        use_threads(threads)
        x, kernel, self.strides = DEPTHWISE[case]
        self.x, self.kernel = uniform(*x), uniform(*kernel)
        self.time_depthwise_conv2d(case, threads)

    def time_depthwise_conv2d(self, case: str, threads: int) -> None:
        ops.depthwise_conv2d(self.x, self.kernel, strides=self.strides, padding="same")


class Pool2D:
    params = [list(POOL), THREADS]
    param_names = ["case", "threads"]

    def setup(self, case: str, threads: int) -> None:
        use_threads(threads)
        x, self.size, self.strides = POOL[case]
        self.x = uniform(*x)
        self.time_max_pool2d(case, threads)
        self.time_max_pool2d_indices(case, threads)
        self.time_avg_pool2d(case, threads)

    def time_max_pool2d(self, case: str, threads: int) -> None:
        ops.max_pool2d(self.x, self.size, strides=self.strides, padding="same")

    def time_max_pool2d_indices(self, case: str, threads: int) -> None:
        ops.max_pool2d(self.x, self.size, strides=self.strides, padding="same", return_indices=True)

    def time_avg_pool2d(self, case: str, threads: int) -> None:
        ops.avg_pool2d(self.x, self.size, strides=self.strides, padding="same")


class Dense:
    params = [list(DENSE), THREADS]
    param_names = ["case", "threads"]

    def setup(self, case: str, threads: int) -> None:
        use_threads(threads)
        rows, inputs, outputs = DENSE[case]
        self.x, self.kernel = uniform(rows, inputs), uniform(inputs, outputs)
        self.time_matmul(case, threads)

    def time_matmul(self, case: str, threads: int) -> None:
        ops.matmul(self.x, self.kernel)
