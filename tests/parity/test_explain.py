# SPDX-License-Identifier: Apache-2.0
"""Saliency beside PyTorch's autograd, and its relatives beside Captum, on the same weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

import fastcnn
import zoo
from fastcnn import explain
from parity import harness, peers
from zoo.row import Row

Array = np.ndarray[Any, Any]

# Small images (H, W), not square: residual blocks; depthwise convolutions and bounded rectifiers;
# norms in front of convolutions and concatenations; shuffled channels; branches and poolings whose
# windows overlap.
NETWORKS = {
    "ResNet18": (64, 48),
    "MobileNetV2": (64, 48),
    "DenseNet121": (64, 48),
    "ShuffleNetV2": (64, 48),
    "GoogLeNet": (64, 48),
}
# Captum replaces derivatives by hooks on modules, which rectifiers called as functions (DenseNet's
# last, GoogLeNet's), used twice (ResNet's) or bounded (MobileNet's) do not have.
WITH_HOOKS = ("ShuffleNetV2",)
BATCHES = 5


@dataclass(frozen=True)
class Pair:
    """A network in both worlds, in float32 and float64, ending in logits."""

    name: str
    peer: nn.Module
    exact_peer: nn.Module
    model: fastcnn.Model
    exact: fastcnn.Model
    size: tuple[int, int]

    def images(self, seed: int) -> Array:
        return harness.images(2, *self.size, seed=seed)


def row_of(name: str) -> Row:
    return next(row for row in zoo.ROWS if row.network == name and row.peer)


@pytest.fixture(scope="module", params=NETWORKS, ids=str)
def pair(request: Any) -> Pair:
    name, size = request.param, NETWORKS[request.param]
    row = row_of(name)
    peer = peers.build(row.peer, row.peer_arguments)
    without_inplace(peer)
    peers.fill(peer, seed=1)
    peers.settle(peer, harness.images(4, 64, 64), seed=2)
    models = []
    for dtype in ("float32", "float64"):
        fastcnn.config.set_floatx(dtype)
        try:
            model = row.build(input_shape=(None, None, 3), classifier_activation="softmax")
            model.load_state_dict(peers.state(peer))
        finally:
            fastcnn.config.set_floatx("float32")
        models.append(model)
    exact_peer = copy.deepcopy(peer).double()
    return Pair(name, peer, exact_peer, *models, size)


def without_inplace(module: nn.Module) -> None:
    """Captum's hooks do not survive operations that overwrite their input; fastcnn's rules do."""
    for part in module.modules():
        if hasattr(part, "inplace"):
            part.inplace = False


def nchw(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def nhwc(x: torch.Tensor) -> Array:
    return np.moveaxis(x.detach().numpy(), 1, -1)


def autograd(module: nn.Module, x: Array, target: list[int]) -> Array:
    image = nchw(x).requires_grad_()
    scores = module(image)
    scores[torch.arange(len(x)), target].sum().backward()
    assert image.grad is not None
    return nhwc(image.grad)


def test_saliency_is_pytorchs_gradient_in_float64(pair: Pair) -> None:
    """Of the logits, within 1e-6 of the largest entry, though the model ends in softmax."""
    x = pair.images(0).astype(np.float64)
    found = explain.saliency(pair.exact, x, [7, 123], None)
    assert found.dtype == np.float64
    expected = autograd(pair.exact_peer, x, [7, 123])
    assert harness.of_largest(found, expected) < 1e-6


def test_saliency_is_pytorchs_gradient_in_float32(pair: Pair) -> None:
    """Within three times the difference between PyTorch's float32 and its float64.

    As for the gradients of weights, rounding moves a kink now and then: one batch must agree.
    """
    own, found = 0.0, []
    for seed in range(BATCHES):
        x = pair.images(seed)
        exact = autograd(pair.exact_peer, x.astype(np.float64), [7, 123])
        found.append(harness.of_largest(explain.saliency(pair.model, x, [7, 123], None), exact))
        own = max(own, harness.of_largest(autograd(pair.peer, x, [7, 123]), exact))
        if min(found) <= 3 * own:
            return
    raise AssertionError(f"maps deviate by {found}, PyTorch's float32 by {own:.1e}")


def captums(kind: str, module: nn.Module) -> Any:
    return getattr(captum.attr, kind)(module)


METHODS: dict[str, Callable[..., Any]] = {
    "Saliency": explain.saliency,
    "InputXGradient": explain.input_x_gradient,
    "GuidedBackprop": explain.guided_backprop,
    "Deconvolution": explain.deconvolution,
    "IntegratedGradients": explain.integrated_gradients,
}


class Small(nn.Module):
    """LeNet with rectifiers; each is a module of its own, which Captum's hooks need."""

    def __init__(self, pool: bool = True) -> None:
        super().__init__()
        self.c1, self.r1 = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.p1: nn.Module = nn.MaxPool2d(2) if pool else nn.AvgPool2d(2)
        self.c2, self.r2 = nn.Conv2d(6, 8, 3), nn.ReLU()
        self.p2: nn.Module = nn.MaxPool2d(2) if pool else nn.AvgPool2d(2)
        self.f1, self.r3 = nn.Linear(8 * 3 * 3, 16), nn.ReLU()
        self.out = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.p1(self.r1(self.c1(x)))
        x = self.p2(self.r2(self.c2(x)))
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.out(self.r3(self.f1(x)))


def ours(module: Small) -> fastcnn.Model:
    layers = fastcnn.layers
    pool = layers.MaxPooling2D if isinstance(module.p1, nn.MaxPool2d) else layers.AveragePooling2D
    fastcnn.config.set_floatx("float64")
    try:
        model = fastcnn.Sequential(
            [
                fastcnn.Input((16, 16, 3)),
                layers.Conv2D(6, 3, padding="same", activation="relu", name="c1"),
                pool(2),
                layers.Conv2D(8, 3, activation="relu", name="c2"),
                pool(2),
                layers.Flatten(),
                layers.Dense(16, activation="relu"),
                layers.Dense(5, activation="softmax"),
            ]
        )
    finally:
        fastcnn.config.set_floatx("float32")
    weights = []
    for part in (module.c1, module.c2, module.f1, module.out):
        kernel = part.weight.detach().numpy()
        weights.append(kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T)
        weights.append(part.bias.detach().numpy())
    model.set_weights(weights)
    return model


@pytest.fixture(scope="module", params=[True, False], ids=["maxima", "means"])
def small(request: Any) -> tuple[Small, fastcnn.Model]:
    torch.manual_seed(3)
    module = Small(request.param).double().eval()
    return module, ours(module)


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(1).standard_normal((3, 16, 16, 3))


TARGET = [4, 0, 2]


@pytest.mark.parametrize("kind", METHODS)
def test_pixels_as_captum(small: Any, x: Array, kind: str) -> None:
    module, model = small
    keywords: dict[str, Any] = {"n_steps": 20} if kind == "IntegratedGradients" else {}
    with ignored_warnings():
        expected = nhwc(captums(kind, module).attribute(nchw(x), target=TARGET, **keywords))
    found = getattr(explain, kind)(model).attribute(x, target=TARGET, **keywords)
    # Captum's weights of steps are float32.
    assert harness.of_largest(found, expected) < (1e-6 if "n_steps" in keywords else 1e-9)
    if kind == "IntegratedGradients":
        same = explain.integrated_gradients(model, x, TARGET, steps=20)
    elif kind == "Saliency":
        same = np.abs(explain.saliency(model, x, TARGET, None))
    else:
        same = METHODS[kind](model, x, TARGET)
    np.testing.assert_array_equal(found, same)


def test_relevance_as_captum(small: Any, x: Array) -> None:
    module, model = small
    with ignored_warnings():
        expected = nhwc(captums("LRP", module).attribute(nchw(x), target=TARGET))
    found = explain.LRP(model).attribute(x, target=TARGET)
    # Captum's epsilon stands once per layer, ours once for the sum with the bias and once before.
    assert harness.of_largest(found, expected) < 1e-5


@pytest.mark.parametrize("window", [(4, 4, 2, 2), (5, 3, 4, 3)], ids=str)
def test_occlusion_as_captum(small: Any, x: Array, window: tuple[int, int, int, int]) -> None:
    module, model = small
    h, w, down, right = window
    method = captums("Occlusion", module)
    expected = nhwc(
        method.attribute(nchw(x), (3, h, w), strides=(3, down, right), target=TARGET, baselines=0.5)
    )
    found = explain.Occlusion(model).attribute(
        x, (h, w, 3), strides=(down, right, 3), target=TARGET, baselines=0.5
    )
    assert harness.of_largest(found, expected) < 1e-6  # Captum adds up in float32


def test_grad_cam_as_captum(small: Any, x: Array) -> None:
    module, model = small
    method = captum.attr.LayerGradCam(module, module.r2)
    expected = nhwc(method.attribute(nchw(x), target=TARGET))
    found = explain.LayerGradCam(model, "c2").attribute(x, target=TARGET)
    assert harness.of_largest(found, expected) < 1e-9
    kept = nhwc(method.attribute(nchw(x), target=TARGET, relu_attributions=True))
    found = explain.grad_cam(model, x, TARGET, "c2", resize=False)
    assert harness.of_largest(found[..., None], kept) < 1e-9


def test_networks_as_captum(pair: Pair) -> None:
    """Guided back-propagation and the rectified way back, through whole networks in float64."""
    if pair.name not in WITH_HOOKS:
        return
    x = pair.images(3).astype(np.float64)
    for kind in ("GuidedBackprop", "Deconvolution"):
        with ignored_warnings():
            expected = nhwc(captums(kind, pair.exact_peer).attribute(nchw(x), target=[7, 123]))
        found = getattr(explain, kind)(pair.exact).attribute(x, target=[7, 123])
        assert harness.of_largest(found, expected) < 1e-6, kind


@contextmanager
def ignored_warnings() -> Iterator[None]:
    """Captum warns of its hooks and of gradients that it switches on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
