# SPDX-License-Identifier: Apache-2.0
"""Made the files beside it: real ones of PyTorch and Keras, so that tests need neither.

    pip install torch==2.13.0 torchvision timm==1.0.31 keras==3.15.1 transformers h5py
    KERAS_BACKEND=torch python tests/data/weights/make.py

names/<network>.txt.gz has a line for each tensor: foreign name and shape, our name and shape. The
pairs were checked by running both networks on the same weights: the outputs agree to 1e-6.
"""

import argparse
import gzip
import sys
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
import timm
import torch
import torchvision
from keras.src.legacy.saving import legacy_h5_format
from transformers import ResNetConfig, ResNetForImageClassification

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

from fastcnn.weights import dialects  # noqa: E402

COUNTER = "num_batches_tracked"
APPLICATIONS = (
    "DenseNet121",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "ResNet50",
    "VGG16",
    "Xception",
)
BY_PLACE = {
    "timm_vgg16": ("vgg16", torchvision.models.vgg16),
    "timm_mobilenetv2_100": ("mobilenetv2_100", torchvision.models.mobilenet_v2),
    "timm_seresnet50": ("seresnet50", lambda: timm.create_model("legacy_seresnet50")),
    "timm_senet154": ("senet154", lambda: timm.create_model("legacy_senet154")),
}


def write_names(network, rows):
    lines = [
        f"{foreign} {'x'.join(map(str, a))} {ours} {'x'.join(map(str, b))}"
        for foreign, a, ours, b in rows
    ]
    path = HERE / "names" / f"{network}.txt.gz"
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))


def shapes(model):
    return [(n, tuple(t.shape)) for n, t in model.state_dict().items() if not n.endswith(COUNTER)]


def torch_names():
    """Networks of one structure in two vocabularies, whose tensors stand in the same order."""
    for network, (name, ours) in BY_PLACE.items():
        with torch.device("meta"):
            pairs = zip(shapes(timm.create_model(name)), shapes(ours()), strict=True)
            write_names(network, [(*foreign, *own) for foreign, own in pairs])
    with torch.device("meta"):
        model = ResNetForImageClassification(ResNetConfig(num_labels=1000))
        own = dict(shapes(torchvision.models.resnet50()))
    foreign = shapes(model)
    ours = dialects.resnet.HUGGING_FACE.rename([name for name, _ in foreign])
    write_names("hf_resnet50", [(n, s, ours[n], own[ours[n]]) for n, s in foreign])


def families(application):
    """Dialects whose last word begins the application's name."""
    found = [d for d in dialects.ALL if d.name.startswith("Keras' names of")]
    return [d for d in found if application.startswith(d.name.split()[-1])]


def keras_names():
    for application in APPLICATIONS:
        keras.utils.clear_session()
        model = getattr(keras.applications, application)(weights=None)
        shapes = {
            f"{layer.name}.{w.name}": tuple(w.shape)
            for layer in model.layers
            for w in layer.weights
        }
        ours = max((d.rename(list(shapes)) for d in families(application)), key=len)
        rows = [(n, s, ours[n], s) for n, s in shapes.items()]
        write_names(f"keras_{application}", rows)


def torch_files():
    """A little of everything that a state dict may hold; numbers count up."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "float": base,
        "transposed": base.permute(2, 0, 1),
        "part": base[1, :, 1:3],
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "int64": torch.arange(6),
        "uint8": torch.arange(6, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    torch.save(tensors, HERE / "zip.pth")
    torch.save(tensors, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    model.load_state_dict({n: torch.ones_like(t) for n, t in model.state_dict().items()})
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.zeros(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
        "optimizer": optimizer.state_dict(),
        "state_dict": {f"module.{n}": torch.ones_like(t) for n, t in model.state_dict().items()},
    }
    torch.save(checkpoint, HERE / "checkpoint.pth")
    torch.save(checkpoint, HERE / "checkpoint_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(model, HERE / "module.pth")


def keras_files():
    """A model with a nested one, in every layout that Keras writes."""
    inner = keras.Sequential(
        [keras.layers.Conv2D(3, 1, name="one"), keras.layers.BatchNormalization(scale=False)],
        name="inner",
    )
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.SeparableConv2D(2, 3, name="separable"),
            keras.layers.DepthwiseConv2D(2, name="depthwise"),
            inner,
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="dense"),
        ]
    )
    for number, weight in enumerate(model.weights):
        weight.assign(np.full(weight.shape, number, "float32"))
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(Path(folder, "tiny.weights.h5"))
        model.save(Path(folder, "tiny.keras"))
        legacy_h5_format.save_model_to_hdf5(model, Path(folder, "tiny_model.h5"))
        with h5py.File(Path(folder, "tiny.h5"), "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
        for path in Path(folder).iterdir():
            # HDF5 leaves much room empty.
            (HERE / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))


if __name__ == "__main__":
    torch_names()
    keras_names()
    torch_files()
    keras_files()
