# SPDX-License-Identifier: Apache-2.0
"""The explanations under the names and arguments of Captum, with images (N, H, W, C).

    Saliency(model).attribute(x, target=3)

Source of the names: N. Kokhlikyan et al., "Captum", arXiv:2009.07896.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from fastcnn.errors import ArgumentError
from fastcnn.explain import layers, occluding, pixels
from fastcnn.graph import Array
from fastcnn.models import Model


class Attribution:
    """An explanation of a model; abstract."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def attribute(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Attributions of the score `target` of each image."""
        raise NotImplementedError


@final
class Saliency(Attribution):
    """`explain.saliency`: sizes of the gradient, or with `abs=False` the gradient."""

    def attribute(self, inputs: Any, target: Any = None, abs: bool = True) -> Array:
        """(N, H, W, C)."""
        found = pixels.saliency(self.model, inputs, target, None)
        sizes: Array = np.abs(found)
        return sizes if abs else found


@final
class InputXGradient(Attribution):
    """`explain.input_x_gradient`."""

    def attribute(self, inputs: Any, target: Any = None) -> Array:
        """(N, H, W, C)."""
        return pixels.input_x_gradient(self.model, inputs, target)


@final
class GuidedBackprop(Attribution):
    """`explain.guided_backprop`."""

    def attribute(self, inputs: Any, target: Any = None) -> Array:
        """(N, H, W, C)."""
        return pixels.guided_backprop(self.model, inputs, target)


@final
class Deconvolution(Attribution):
    """`explain.deconvolution`."""

    def attribute(self, inputs: Any, target: Any = None) -> Array:
        """(N, H, W, C)."""
        return pixels.deconvolution(self.model, inputs, target)


@final
class LRP(Attribution):
    """`explain.lrp`."""

    def attribute(self, inputs: Any, target: Any = None, epsilon: float = 1e-9) -> Array:
        """(N, H, W, C)."""
        return pixels.lrp(self.model, inputs, target, epsilon=epsilon)


@final
class IntegratedGradients(Attribution):
    """`explain.integrated_gradients`."""

    def attribute(
        self,
        inputs: Any,
        baselines: Any = 0.0,
        target: Any = None,
        n_steps: int = 50,
        return_convergence_delta: bool = False,
    ) -> Any:
        """(N, H, W, C), and the relative error of each image's sum where asked for."""
        return pixels.integrated_gradients(
            self.model,
            inputs,
            target,
            baseline=0.0 if baselines is None else baselines,
            steps=n_steps,
            return_completeness=return_convergence_delta,
        )


@final
class Occlusion(Attribution):
    """`explain.occlusion`."""

    def attribute(
        self,
        inputs: Any,
        sliding_window_shapes: Any,
        strides: Any = None,
        baselines: Any = 0.0,
        target: Any = None,
    ) -> Array:
        """(N, H, W, C); windows and strides are (height, width, channels), of all channels."""
        channels = np.shape(inputs)[-1]
        window = _of_all_channels("sliding_window_shapes", sliding_window_shapes, channels)
        steps = (1, 1) if strides is None else _steps(strides)
        return occluding.occlusion(
            self.model,
            inputs,
            target,
            window=window,
            strides=steps,
            baseline=0.0 if baselines is None else baselines,
        )


def _of_all_channels(name: str, shape: Any, channels: int) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 3 or shape[2] != channels:
        raise ArgumentError(
            f"explain.Occlusion: found {name}={shape!r}, expected (height, width, {channels})"
        )
    return shape[0], shape[1]


def _steps(strides: Any) -> tuple[int, int]:
    if isinstance(strides, (tuple, list)):
        return strides[0], strides[1]
    return strides, strides


class LayerAttribution(Attribution):
    """An explanation at a layer; abstract."""

    def __init__(self, model: Model, layer: Any) -> None:
        super().__init__(model)
        self.layer = layer


@final
class LayerGradCam(LayerAttribution):
    """`explain.grad_cam`, at the layer's size and signed as in Captum."""

    def attribute(self, inputs: Any, target: Any = None, relu_attributions: bool = False) -> Array:
        """(N, P, Q, 1)."""
        found = layers.grad_cam(
            self.model, inputs, target, self.layer, resize=False, relu=relu_attributions
        )
        return found[..., None]


@final
class GuidedGradCam(LayerAttribution):
    """`explain.guided_grad_cam`."""

    def attribute(self, inputs: Any, target: Any = None) -> Array:
        """(N, H, W, C)."""
        return layers.guided_grad_cam(self.model, inputs, target, self.layer)


@final
class NoiseTunnel:
    """Another explanation over noisy copies of the images; of Saliency, `explain.smooth_grad`."""

    def __init__(self, attribution_method: Attribution) -> None:
        self.method = attribution_method

    def attribute(
        self,
        inputs: Any,
        nt_type: str = "smoothgrad",
        nt_samples: int = 5,
        stdevs: float = 1.0,
        target: Any = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> Array:
        """Mean, mean square or variance ("smoothgrad", "smoothgrad_sq", "vargrad") of maps."""
        x = np.asarray(inputs)
        x = x if x.dtype.kind == "f" else x.astype(np.float32)
        maps = (
            self.method.attribute(noisy, target=target, **kwargs)
            for noisy in pixels.noisy_copies(x, stdevs, nt_samples, seed)
        )
        return pixels.over_samples(maps, nt_type)
