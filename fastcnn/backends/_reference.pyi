# SPDX-License-Identifier: Apache-2.0
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Floating = TypeVar("Floating", np.float32, np.float64)
Pair: TypeAlias = tuple[int, int]
Pads: TypeAlias = tuple[int, int, int, int]

def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def conv2d(
    x: NDArray[Floating],
    kernel: NDArray[Floating],
    strides: Pair,
    pads: Pads,
    dilations: Pair,
    groups: int,
) -> NDArray[Floating]: ...
def conv2d_grad_input(
    dy: NDArray[Floating],
    kernel: NDArray[Floating],
    input_size: Pair,
    strides: Pair,
    pads: Pads,
    dilations: Pair,
    groups: int,
) -> NDArray[Floating]: ...
def conv2d_grad_kernel(
    x: NDArray[Floating],
    dy: NDArray[Floating],
    kernel_size: Pair,
    strides: Pair,
    pads: Pads,
    dilations: Pair,
    groups: int,
) -> NDArray[Floating]: ...
def depthwise_conv2d(
    x: NDArray[Floating],
    kernel: NDArray[Floating],
    strides: Pair,
    pads: Pads,
    dilations: Pair,
) -> NDArray[Floating]: ...
def depthwise_conv2d_grad_input(
    dy: NDArray[Floating],
    kernel: NDArray[Floating],
    input_size: Pair,
    strides: Pair,
    pads: Pads,
    dilations: Pair,
) -> NDArray[Floating]: ...
def depthwise_conv2d_grad_kernel(
    x: NDArray[Floating],
    dy: NDArray[Floating],
    kernel_size: Pair,
    strides: Pair,
    pads: Pads,
    dilations: Pair,
) -> NDArray[Floating]: ...
def max_pool2d(
    x: NDArray[Floating],
    pool_size: Pair,
    strides: Pair,
    pads: Pads,
    output_size: Pair,
) -> tuple[NDArray[Floating], NDArray[Any]]: ...
def max_pool2d_grad(
    dy: NDArray[Floating],
    index: NDArray[Any],
    input_size: Pair,
    pool_size: Pair,
    strides: Pair,
    pads: Pads,
) -> NDArray[Floating]: ...
