# SPDX-License-Identifier: Apache-2.0
"""Inference of the networks that are compared with other engines, and of their layers."""

from __future__ import annotations

from fastcnn.drawing import add_node

from . import kernels, zoo
from .common import uniform, use_threads

THREADS = 2


class Network:
    params = [zoo.NAMES, [1, 8]]
    param_names = ["network", "batch"]
    timeout = 300

    def setup(self, network: str, count: int) -> None:
        use_threads(THREADS)
        self.model = zoo.network(network)
        self.x = uniform(count, *zoo.IMAGE)
        self.model.predict_on_batch(self.x)  # plans and packs

    def time_predict_on_batch(self, network: str, count: int) -> None:
        self.model.predict_on_batch(self.x)


class Convolution:
    """Each with bias and ReLU as inference has it, one image, weights packed beforehand."""

    params = [list(zoo.convolutions())]
    param_names = ["shape"]
    # Hundreds of them: a tenth of a second each is enough to see what has changed.
    rounds = 1
    repeat = (2, 10, 0.1)
    warmup_time = 0.01
    sample_time = 0.01

    def setup(self, shape: str) -> None:
        use_threads(THREADS)
        found = zoo.convolutions()[shape]
        self.model = zoo.alone(found)
        self.x = uniform(1, *found.image)
        self.model.predict_on_batch(self.x)

    def time_predict_on_batch(self, shape: str) -> None:
        self.model.predict_on_batch(self.x)


class _Layer:
    """One image."""

    kinds: tuple[str, ...] = ()
    param_names = ["shape"]
    repeat = (2, 10, 0.2)
    warmup_time = 0.01
    sample_time = 0.01

    def setup(self, shape: str) -> None:
        use_threads(THREADS)
        found = zoo.layers(*self.kinds)[shape]
        self.model = zoo.alone(found)
        self.x = uniform(1, *found.image)
        self.model.predict_on_batch(self.x)

    def time_predict_on_batch(self, shape: str) -> None:
        self.model.predict_on_batch(self.x)


class Dense(_Layer):
    kinds = ("Dense",)
    params = [list(zoo.layers(*kinds))]


class Pooling(_Layer):
    kinds = zoo.POOLINGS
    params = [list(zoo.layers(*kinds))]


class SeparableBlock:
    """A depthwise convolution and the 1x1 convolutions around it, as one kernel, of one image."""

    params = [list(zoo.blocks())]
    param_names = ["block"]
    repeat = (2, 10, 0.2)
    warmup_time = 0.01
    sample_time = 0.01

    def setup(self, block: str) -> None:
        use_threads(THREADS)
        node = zoo.blocks()[block]
        leaves = [kernels.leaf(*t.spec.sizes) for t in node.inputs]
        self.run = kernels.plan_of_graph(add_node(node.op, leaves).outputs, None).run

    def time_run(self, block: str) -> None:
        self.run()
