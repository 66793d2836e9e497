# SPDX-License-Identifier: Apache-2.0
"""Draw which pixels of an image speak for a class, as a PNG.

MODEL is a file that `model.save` wrote, or the name of a built-in network (with --weights FILE).
The image is resized to the model's input; --check says in sentences whether the map can be trusted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn import applications, explain
from fastcnn.applications.preprocessing import CLASSES, MODES, imagenet_classes, preprocess_input
from fastcnn.cli.options import network_names
from fastcnn.errors import ArgumentError, FileError, MissingDependencyError
from fastcnn.graph import Array
from fastcnn.models import Model, load_model

METHODS: dict[str, Callable[..., Any]] = {
    "saliency": explain.saliency,
    "smooth-grad": explain.smooth_grad,
    "integrated-gradients": explain.integrated_gradients,
    "input-x-gradient": explain.input_x_gradient,
    "guided-backprop": explain.guided_backprop,
    "deconvolution": explain.deconvolution,
    "lrp": explain.lrp,
    "occlusion": explain.occlusion,
    "grad-cam": explain.grad_cam,
    "grad-cam++": explain.grad_cam_plus_plus,
    "guided-grad-cam": explain.guided_grad_cam,
}
AT_LAYER = ("grad-cam", "grad-cam++", "guided-grad-cam")
SCALES = ("auto", "unit", "none", *MODES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, IMAGE and how to look at them."""
    parser.add_argument("model", metavar="MODEL", help=f"a .fastcnn file, or {network_names()}")
    parser.add_argument("image", metavar="IMAGE", type=Path, help="a picture that Pillow reads")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="saliency",
        metavar="NAME",
        help=f"{', '.join(METHODS)} (%(default)s)",
    )
    parser.add_argument(
        "--target", type=int, metavar="K", help="class number; the highest score by default"
    )
    parser.add_argument(
        "--layer", metavar="NAME", help="for Grad-CAM; the last with maps by default"
    )
    parser.add_argument("--weights", metavar="FILE", help="of a built-in network")
    parser.add_argument(
        "--preprocess",
        choices=SCALES,
        default="auto",
        metavar="HOW",
        help="unit (0 … 1), none (0 … 255), torch, tf or caffe; by default that of a built-in "
        "network, unit for a file",
    )
    parser.add_argument("--check", action="store_true", help="say whether the map can be trusted")
    parser.add_argument(
        "--out",
        metavar="PNG",
        type=Path,
        default=Path("explained.png"),
        help="what to write (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Load, explain, draw."""
    if arguments.layer is not None and arguments.method not in AT_LAYER:
        raise ArgumentError(
            f"--layer belongs to {', '.join(AT_LAYER)}, found --method {arguments.method}; leave "
            "it out"
        )
    model, own = _model(arguments.model, arguments.weights)
    picture = _picture(arguments.image, model)
    x = _prepared(picture, arguments.preprocess, own)[None].astype(model.dtype)
    method = METHODS[arguments.method]
    given = {} if arguments.layer is None else {"layer": arguments.layer}
    scores = explain.scores(model, x)[0]
    target = int(scores.argmax()) if arguments.target is None else arguments.target
    found = method(model, x, target, **given)
    name = _class_name(target, len(scores))
    title = f"{arguments.method}: {name}"
    captions = [f"score {scores[target]:.2f}"]
    explain.show(
        picture[None],
        {arguments.method: found},
        arguments.out,
        captions=captions,
        title=title,
        overlay=True,
    )
    print(f"{arguments.out}: {title}, {captions[0]}.")
    if arguments.check:
        print(explain.check(model, x, target, method, **given))


def _model(name: str, weights: str | None) -> tuple[Model, Callable[..., Any] | None]:
    """The model, and how its network prepares images where that is known."""
    if name.lower() in {known.lower() for known in applications.BY_NAME}:
        network = applications.get(name)
        if weights is None:
            print(f"{name} has random weights: its maps mean nothing; give --weights FILE.")
        keywords = {} if weights is None else {"weights": weights}
        own = getattr(sys.modules[network.__module__], "preprocess_input", None)
        return network(**keywords), own
    if weights is not None:
        raise ArgumentError(f"{name} is a file with its own weights; leave --weights out")
    if not Path(name).is_file():
        raise FileError(
            f"there is no file '{name}' and no network of that name; give a .fastcnn file or one "
            f"of {network_names()}"
        )
    return load_model(name), None


def _picture(path: Path, model: Model) -> Array:
    """The image as bytes (H, W, C), at the size and with the channels that the model takes."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependencyError(
            'reading images needs Pillow, which is not installed; run: pip install "fastcnn[plot]"'
        ) from error
    shape = model.inputs[0].shape if len(model.inputs) == 1 else ()
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ArgumentError(
            f"model '{model.name}' takes {shape or model.input_names}, expected images (N, H, W, "
            "1) or (N, H, W, 3)"
        )
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if shape[3] == 1 else "RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise FileError(f"cannot read the image {path} ({error})") from None
    height, width = shape[1] or image.height, shape[2] or image.width
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.uint8).reshape(height, width, shape[3])


def _prepared(picture: Array, how: str, own: Callable[..., Any] | None) -> Array:
    image = picture.astype(np.float32)
    if how == "none":
        return image
    if how in MODES:
        return np.asarray(preprocess_input(image, mode=how))
    if how == "auto" and own is not None:
        return np.asarray(own(image))
    return image / np.float32(255)


def _class_name(target: int, classes: int) -> str:
    if classes == CLASSES and 0 <= target < CLASSES:
        return f"{imagenet_classes()[target][1].replace('_', ' ')} ({target})"
    return f"class {target}"
