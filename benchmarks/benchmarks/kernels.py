# SPDX-License-Identifier: Apache-2.0
"""Single kernels in plans made beforehand, and the peak of the machine to hold them against.

A case draws one op at a shape that a known network has. `plan_of` makes a plan of this op alone:
inputs and outputs are state, so a run allocates nothing, copies nothing and does nothing else.
Convolutions go through the passes first, as in `predict` or in a training step, since what computes
them there is not what computes the op alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

import fastcnn
from fastcnn import ops
from fastcnn.backends import isas
from fastcnn.drawing import add_node
from fastcnn.graph import Node, Parameter, Placeholder, Tensor, placeholder, topological

from .common import labels, uniform

ISAS = ["scalar", "avx2", "avx512"]
VECTOR_ISAS = ["avx2", "avx512"]
Draw = Callable[[], Tensor]
Sizes = tuple[int, ...]


def use_isa(isa: str) -> str:
    """`isa`; asv leaves the benchmark out where it does not run."""
    if isa not in isas.available_isas():
        raise NotImplementedError(f"{isa} does not run here")
    return isa


def leaf(*shape: int) -> Tensor:
    """State of this shape."""
    return Parameter("x", uniform(*shape)).tensor


def gradient(draw: Draw, wrt: int) -> Draw:
    """The gradient of what `draw` draws for input number `wrt` of its op."""

    def drawn() -> Tensor:
        y = draw()
        (dx,) = fastcnn.gradients(y, [y.node.inputs[wrt]], leaf(*y.shape))
        return dx

    return drawn


class Layer(NamedTuple):
    """A layer with one weight: sizes of what it reads and of the weight, and how it is drawn."""

    x: Sizes
    kernel: Sizes
    draw: Callable[[Tensor, Tensor], Tensor]


# What of a layer is computed, and for whom: y in `predict`, from filters laid out beforehand; in a
# training step, which lays them out anew, y and the gradients for input and kernel.
PREDICTED, TRAINED, GRAD_INPUT, GRAD_KERNEL = "predicted", "trained", "grad_input", "grad_kernel"
WANTED = (PREDICTED, TRAINED, GRAD_INPUT, GRAD_KERNEL)


class Use(NamedTuple):
    """A layer, and which of its tensors is wanted."""

    layer: Layer
    wanted: str = PREDICTED


def conv(
    x: Sizes, kernel: Sizes, strides: int = 1, padding: Any = "same", groups: int = 1
) -> Layer:
    given = {"strides": strides, "padding": padding, "groups": groups}
    return Layer(x, kernel, lambda a, w: ops.conv2d(a, w, **given))


def depthwise(x: Sizes, size: int, strides: int = 1) -> Layer:
    def draw(a: Tensor, w: Tensor) -> Tensor:
        return ops.depthwise_conv2d(a, w, strides=strides, padding="same")

    return Layer(x, (size, size, x[-1], 1), draw)


def dense(rows: int, inputs: int, outputs: int) -> Draw:
    return lambda: ops.matmul(leaf(rows, inputs), leaf(inputs, outputs))


def max_pool(x: tuple[int, ...], size: int, strides: int) -> Draw:
    return lambda: ops.max_pool2d(leaf(*x), size, strides=strides, padding="same")


def average_pool(x: tuple[int, ...], size: int, strides: int) -> Draw:
    return lambda: ops.avg_pool2d(leaf(*x), size, strides=strides, padding="same")


def batch_norm(*x: int) -> Draw:
    return lambda: ops.batch_norm(leaf(*x), leaf(x[-1]), leaf(x[-1]))[0]


def cross_entropy(rows: int, classes: int) -> Draw:
    targets = labels(rows, classes)
    return lambda: ops.sparse_categorical_crossentropy(targets, leaf(rows, classes))


CIFAR_16 = conv((32, 32, 32, 16), (3, 3, 16, 16))
CIFAR_64 = conv((32, 8, 8, 64), (3, 3, 64, 64))
CIFAR_S2 = conv((32, 32, 32, 16), (3, 3, 16, 32), 2)
RESNET_56 = conv((1, 56, 56, 64), (3, 3, 64, 64))
RESNET_14_1X1 = conv((1, 14, 14, 1024), (1, 1, 1024, 256))
MOBILENET_112 = depthwise((1, 112, 112, 32), 3)
MOBILENET_56_S2 = depthwise((1, 56, 56, 128), 3, 2)
CIFAR_ACTIVATION = (32, 32, 32, 16)

# Names begin with the network and the size of the input.
CONV2D = {
    "lenet_32_b32_5x5x1x6": Use(conv((32, 32, 32, 1), (5, 5, 1, 6), 1, "valid")),
    "lenet_14_b32_5x5x6x16": Use(conv((32, 14, 14, 6), (5, 5, 6, 16), 1, "valid")),
    "cifar_32_b32_3x3x16x16": Use(CIFAR_16),
    "cifar_32_b32_3x3x16x32_s2": Use(CIFAR_S2),
    "cifar_8_b32_3x3x64x64": Use(CIFAR_64),
    "resnet_224_7x7x3x64_s2": Use(conv((1, 224, 224, 3), (7, 7, 3, 64), 2)),
    "resnet_56_3x3x64x64": Use(RESNET_56),
    "resnet_56_3x3x128x128_s2": Use(conv((1, 56, 56, 128), (3, 3, 128, 128), 2)),
    "resnet_14_3x3x256x256": Use(conv((1, 14, 14, 256), (3, 3, 256, 256))),
    "resnet_7_3x3x512x512": Use(conv((1, 7, 7, 512), (3, 3, 512, 512))),
    "resnet_56_1x1x64x256": Use(conv((1, 56, 56, 64), (1, 1, 64, 256))),
    "resnet_14_1x1x1024x256": Use(RESNET_14_1X1),
    "mobilenet_14_1x1x512x512": Use(conv((1, 14, 14, 512), (1, 1, 512, 512))),
}
CONV2D_GRAD = {
    "grad_input_cifar_32_b32_3x3x16x16": Use(CIFAR_16, GRAD_INPUT),
    "grad_input_cifar_32_b32_3x3x16x32_s2": Use(CIFAR_S2, GRAD_INPUT),
    "grad_input_cifar_8_b32_3x3x64x64": Use(CIFAR_64, GRAD_INPUT),
    "grad_input_resnet_56_3x3x64x64": Use(RESNET_56, GRAD_INPUT),
    "grad_input_resnet_14_1x1x1024x256": Use(RESNET_14_1X1, GRAD_INPUT),
    "grad_kernel_cifar_32_b32_3x3x16x16": Use(CIFAR_16, GRAD_KERNEL),
    "grad_kernel_cifar_32_b32_3x3x16x32_s2": Use(CIFAR_S2, GRAD_KERNEL),
    "grad_kernel_cifar_8_b32_3x3x64x64": Use(CIFAR_64, GRAD_KERNEL),
    "grad_kernel_resnet_56_3x3x64x64": Use(RESNET_56, GRAD_KERNEL),
    "grad_kernel_resnet_14_1x1x1024x256": Use(RESNET_14_1X1, GRAD_KERNEL),
}
DEPTHWISE = {
    "mobilenet_112_3x3x32": Use(MOBILENET_112),
    "mobilenet_56_3x3x128_s2": Use(MOBILENET_56_S2),
    "mobilenet_14_3x3x512": Use(depthwise((1, 14, 14, 512), 3)),
    "grad_input_mobilenet_112_3x3x32": Use(MOBILENET_112, GRAD_INPUT),
    "grad_input_mobilenet_56_3x3x128_s2": Use(MOBILENET_56_S2, GRAD_INPUT),
    "grad_kernel_mobilenet_112_3x3x32": Use(MOBILENET_112, GRAD_KERNEL),
    "grad_kernel_mobilenet_56_3x3x128_s2": Use(MOBILENET_56_S2, GRAD_KERNEL),
}
# As the networks have them in training, at the batches of their table: y and both gradients each.
TRAINING = {
    "lenet_14_b64_5x5x6x16": conv((64, 14, 14, 6), (5, 5, 6, 16), 1, "valid"),
    "alexnet_27_b16_5x5x64x192": conv((16, 27, 27, 64), (5, 5, 64, 192), 1, 2),
    "alexnet_13_b16_3x3x384x256": conv((16, 13, 13, 384), (3, 3, 384, 256)),
    "vgg_112_b4_3x3x128x128": conv((4, 112, 112, 128), (3, 3, 128, 128)),
    "googlenet_28_b16_5x5x32x96": conv((16, 28, 28, 32), (5, 5, 32, 96)),
    "resnet_32_b32_3x3x64x64": conv((32, 32, 32, 64), (3, 3, 64, 64)),
    "resnet_56_b16_3x3x64x128_s2": conv((16, 56, 56, 64), (3, 3, 64, 128), 2, 1),
    "resnet_14_b16_3x3x256x256": conv((16, 14, 14, 256), (3, 3, 256, 256)),
    "resnet_7_b16_3x3x512x512": conv((16, 7, 7, 512), (3, 3, 512, 512)),
    "resnet_56_b8_1x1x64x256": conv((8, 56, 56, 64), (1, 1, 64, 256)),
    "resnet_56_b8_1x1x256x512_s2": conv((8, 56, 56, 256), (1, 1, 256, 512), 2),
    "resnext_56_b8_3x3x128_g32": conv((8, 56, 56, 128), (3, 3, 4, 128), 1, 1, 32),
    "resnext_14_b8_3x3x512_g32": conv((8, 14, 14, 512), (3, 3, 16, 512), 1, 1, 32),
    "densenet_28_b8_3x3x128x32": conv((8, 28, 28, 128), (3, 3, 128, 32)),
    "mobilenet_56_b16_1x1x24x144": conv((16, 56, 56, 24), (1, 1, 24, 144)),
    "mobilenet_112_b16_3x3x32": depthwise((16, 112, 112, 32), 3),
    "mobilenet_56_b16_3x3x144_s2": depthwise((16, 56, 56, 144), 3, 2),
    "mobilenet_14_b16_3x3x384": depthwise((16, 14, 14, 384), 3),
}
# Images need no gradient.
STEMS = {
    "lenet_32_b64_5x5x1x6": conv((64, 32, 32, 1), (5, 5, 1, 6), 1, "valid"),
    "alexnet_224_b16_11x11x3x64_s4": conv((16, 224, 224, 3), (11, 11, 3, 64), 4, 2),
    "vgg_224_b4_3x3x3x64": conv((4, 224, 224, 3), (3, 3, 3, 64)),
    "resnet_32_b32_3x3x3x64": conv((32, 32, 32, 3), (3, 3, 3, 64)),
    "resnet_224_b16_7x7x3x64_s2": conv((16, 224, 224, 3), (7, 7, 3, 64), 2, 3),
}
TRAIN_CONV2D = {
    f"{wanted}_{name}": Use(layer, wanted)
    for wanted in (TRAINED, GRAD_INPUT, GRAD_KERNEL)
    for name, layer in {**TRAINING, **STEMS}.items()
    if wanted != GRAD_INPUT or name not in STEMS
}
DENSE = {
    "lenet_b32_400x120": dense(32, 400, 120),
    "resnet_b1_2048x1000": dense(1, 2048, 1000),
    "square_512": dense(512, 512, 512),
    "grad_input_lenet_b32_400x120": gradient(dense(32, 400, 120), 0),
    "grad_kernel_lenet_b32_400x120": gradient(dense(32, 400, 120), 1),
}
POOL = {
    "max_lenet_28_b32_2x2x6": max_pool((32, 28, 28, 6), 2, 2),
    "max_resnet_112_3x3x64_s2": max_pool((1, 112, 112, 64), 3, 2),
    "grad_max_resnet_112_3x3x64_s2": gradient(max_pool((1, 112, 112, 64), 3, 2), 0),
    "average_lenet_28_b32_2x2x6": average_pool((32, 28, 28, 6), 2, 2),
    "grad_average_lenet_28_b32_2x2x6": gradient(average_pool((32, 28, 28, 6), 2, 2), 0),
    "global_average_resnet_7_2048": lambda: ops.global_avg_pool2d(leaf(1, 7, 7, 2048)),
}
NORM = {
    "batch_train_cifar_32_b32_16": batch_norm(*CIFAR_ACTIVATION),
    "batch_train_resnet_56_b4_64": batch_norm(4, 56, 56, 64),
    "grad_batch_cifar_32_b32_16": gradient(batch_norm(*CIFAR_ACTIVATION), 0),
    "grad_batch_resnet_56_b4_64": gradient(batch_norm(4, 56, 56, 64), 0),
}
ELEMENTWISE = {
    "relu_cifar_32_b32_16": lambda: ops.relu(leaf(*CIFAR_ACTIVATION)),
    "grad_relu_cifar_32_b32_16": gradient(lambda: ops.relu(leaf(*CIFAR_ACTIVATION)), 0),
    "tanh_lenet_28_b32_6": lambda: ops.tanh(leaf(32, 28, 28, 6)),
    "add_cifar_32_b32_16": lambda: ops.add(leaf(*CIFAR_ACTIVATION), leaf(*CIFAR_ACTIVATION)),
    "add_bias_lenet_28_b32_6": lambda: ops.add(leaf(32, 28, 28, 6), leaf(6)),
}
LOSS = {
    "cross_entropy_b32_10": cross_entropy(32, 10),
    "cross_entropy_b32_1000": cross_entropy(32, 1000),
    "grad_cross_entropy_b32_1000": gradient(cross_entropy(32, 1000), 0),
    "softmax_b32_1000": lambda: ops.softmax(leaf(32, 1000)),
}
REDUCE = {
    "sum_to_bias_cifar_32_b32_16": lambda: ops.sum(leaf(*CIFAR_ACTIVATION), axis=(0, 1, 2)),
    "mean_loss_b32": lambda: ops.mean(leaf(32)),
}
SHAPE = {
    "concat_densenet_56_64_32": lambda: ops.concat([leaf(1, 56, 56, 64), leaf(1, 56, 56, 32)]),
    "pad_channels_cifar_16_b32_16_32": lambda: ops.pad(
        leaf(32, 16, 16, 16), ((0, 0), (0, 0), (0, 0), (0, 16))
    ),
}
OPTIMIZERS = {
    "adam": lambda: fastcnn.optimizers.Adam(),
    "momentum": lambda: fastcnn.optimizers.SGD(momentum=0.9),
}
# name: (optimizer, weights)
UPDATE = {
    "adam_resnet20_269722": ("adam", 269_722),
    "momentum_resnet20_269722": ("momentum", 269_722),
    "adam_conv_3x3x512x512": ("adam", 3 * 3 * 512 * 512),
}

USES = {**CONV2D, **CONV2D_GRAD, **DEPTHWISE, **TRAIN_CONV2D}
DRAWN = {
    **DENSE,
    **POOL,
    **NORM,
    **ELEMENTWISE,
    **LOSS,
    **REDUCE,
    **SHAPE,
}
CASES = [*CONV2D, *CONV2D_GRAD, *DEPTHWISE, *DRAWN, *UPDATE]
# Cases whose operations are counted, so that a share of the peak can be told.
COUNTED = {**CONV2D, **CONV2D_GRAD, **DEPTHWISE, **DENSE}


class Kernel(NamedTuple):
    """One or a few kernel calls ready to run, and what they have to do."""

    run: Callable[[], object]
    kernel: str  # names joined by " + "
    flops: int  # two per multiply-accumulate, padding left out; 0 where they are not counted
    nbytes: int  # of all inputs and outputs, once


def plan_of(case: str, isa: str) -> Kernel:
    """The plan of a case for `isa`, on as many threads as fastcnn is set to."""
    if case in UPDATE:
        return _plan_of_update(case, isa)
    if case in USES:
        kernel, y = plan_of_use(USES[case], isa)
        flops = 2 * _products(y.node) if case in COUNTED else 0
        return kernel._replace(flops=flops)
    node = DRAWN[case]().node
    flops = 2 * _products(node) if case in COUNTED else 0
    values = fastcnn.Plan([], node.inputs).run()
    leaves = [Parameter("in", value).tensor for value in values]
    return plan_of_graph(add_node(node.op, leaves).outputs, isa)._replace(flops=flops)


def plan_of_use(use: Use, isa: str, bounds: bool = False) -> tuple[Kernel, Tensor]:
    """A layer as the passes leave it, operations not counted, and y as it was drawn.

    With `bounds`, a bias and a ReLU stand behind what is predicted.
    """
    try:
        from fastcnn.models.derived import DerivedWeights
        from fastcnn.passes import fuse_convolutions, fuse_separable, hoist, pack_training, rewrite
    except ImportError:
        raise NotImplementedError("this version computes convolutions as they are drawn") from None
    try:
        from fastcnn.passes import for_inference
    except ImportError:  # in a version that has nothing else for single layers

        def for_inference(outputs: Any) -> Any:
            return fuse_separable(fuse_convolutions(outputs))

    layer, wanted = use
    if wanted not in WANTED:
        raise ValueError(f"of a layer '{wanted}' is wanted; there are {', '.join(WANTED)}")
    x, w = placeholder(layer.x), Parameter("w", uniform(*layer.kernel)).tensor
    y = layer.draw(x, w)
    outputs = [y]
    if wanted == PREDICTED:
        if bounds:
            outputs = [ops.relu(ops.add(y, Parameter("b", uniform(y.spec.sizes[-1])).tensor))]
        derived = DerivedWeights("cpu")
        outputs = hoist(for_inference(outputs), derived.stand_in)
        derived.refresh()
    elif wanted == TRAINED:
        outputs = pack_training(outputs)
    else:
        wrt = x if wanted == GRAD_INPUT else w
        outputs = pack_training(fastcnn.gradients(y, [wrt], placeholder(y.spec.sizes)))
    return plan_of_graph(rewrite(outputs, _inputs_as_state), isa), y


def plan_of_graph(outputs: Sequence[Tensor], isa: str | None) -> Kernel:
    """A graph of state whose outputs become state, run once; operations are not counted."""
    results = [(Parameter("out", np.zeros(t.spec.sizes, t.dtype)), t) for t in outputs]
    plan = fastcnn.Plan([], [], results, isa=isa)
    nodes = [node for node in topological(outputs) if node.inputs]
    read = {t for node in nodes for t in node.inputs}
    made = {t for node in nodes for t in node.outputs}
    nbytes = sum(t.spec.nbytes for t in read ^ made)
    names = " + ".join(name.removeprefix("f32_") for name in plan.kernels)
    return _warm(Kernel(plan.run, names, 0, nbytes))


def _inputs_as_state(node: Node, inputs: list[Tensor]) -> Sequence[Tensor] | None:
    return [leaf(*node.specs[0].sizes)] if isinstance(node.op, Placeholder) else None


def _products(node: Node) -> int:
    """Multiply-accumulates of a linear op: the sum of what it makes of ones, each one of them 1."""
    ones = [Parameter("in", np.ones(t.spec.sizes, np.float32)).tensor for t in node.inputs]
    (result,) = fastcnn.Plan([], add_node(node.op, ones).outputs).run()
    return int(result.sum(dtype=np.float64))


def _plan_of_update(case: str, isa: str) -> Kernel:
    optimizer, count = UPDATE[case]
    weights, gradient_ = Parameter("w", uniform(count)), Parameter("g", uniform(count))
    rule = OPTIMIZERS[optimizer]()
    rule.build([weights])
    numbers = placeholder((2,), name="numbers")
    updates = rule.updates([(gradient_.tensor, weights)], numbers)
    plan = fastcnn.Plan([numbers], [], updates, isa=isa)
    (kernel,) = plan.kernels
    # Weights and slots are read and written, the gradient is read.
    nbytes = 4 * count * (2 * len(updates) + 1)
    values = np.array([1e-3, 0.0], np.float32)
    return _warm(Kernel(lambda: plan.run(values), kernel, 0, nbytes))


def _warm(kernel: Kernel) -> Kernel:
    """The kernel, its pages touched and its threads started."""
    kernel.run()
    return kernel


def seconds_of(run: Callable[[], object], at_least: float) -> float:
    """Seconds of one run, over as many as take `at_least` seconds together."""
    count, begin = 0, time.perf_counter()
    while True:
        run()
        count += 1
        elapsed = time.perf_counter() - begin
        if elapsed >= at_least:
            return elapsed / count


def peak_flops(isa: str, threads: int, seconds: float = 0.003) -> float:
    """Floating-point operations a second of multiply-adds that wait for nothing, on `threads`."""
    try:
        from fastcnn.backends._cpu import multiply_adds
    except ImportError:
        raise NotImplementedError("this version has no peak probe") from None
    rounds = 1 + int(seconds * 3e8)
    if threads == 1:
        begin = time.perf_counter()
        operations = multiply_adds(isa, rounds)
        return operations / (time.perf_counter() - begin)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(time.sleep, [0.001] * threads))  # starts the threads
        begin = time.perf_counter()
        operations = sum(pool.map(lambda _: multiply_adds(isa, rounds), range(threads)))
        return operations / (time.perf_counter() - begin)


class Measured(NamedTuple):
    """The best of several rounds: what the machine can do when nobody disturbs it."""

    seconds: float
    peak: float  # operations a second, of the same rounds


def measure(kernel: Kernel, isa: str, threads: int, rounds: int, slice_: float) -> Measured:
    """Kernel and peak in turns, so that both see the same machine; the best of each."""
    seconds, peak = math.inf, 0.0
    for _ in range(rounds):
        seconds = min(seconds, seconds_of(kernel.run, slice_))
        peak = max(peak, peak_flops(isa, threads))
    return Measured(seconds, peak)
