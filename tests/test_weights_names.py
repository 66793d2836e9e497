# SPDX-License-Identifier: Apache-2.0
"""Whose names are whose: dialects on real lists of names, and what `match` says of misfits."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from fastcnn import weights
from fastcnn.errors import ShapeError
from fastcnn.weights import WeightsFile, dialects
from weight_files import DATA

PAIRS = sorted(path.name.removesuffix(".txt.gz") for path in (DATA / "names").iterdir())


def pairs(network):
    """(foreign name, its shape, our name, its shape) of each tensor."""
    text = gzip.decompress((DATA / "names" / f"{network}.txt.gz").read_bytes()).decode()

    def shape(sizes):
        return tuple(map(int, sizes.split("x")))

    rows = [line.split(" ") for line in text.splitlines()]
    return [(name, shape(a), ours, shape(b)) for name, a, ours, b in rows]


def zeros(shape):
    """An array that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def file_of(shapes, kind="torch"):
    return WeightsFile(Path("x.pth"), kind, {name: zeros(s) for name, s in shapes.items()})


def match(shapes, expected, kind="torch", **kwargs):
    torch = expected if kind != "keras" else {}
    own = expected if kind == "keras" else {}
    return weights.match(file_of(shapes, kind), torch, own, **kwargs)


# --- every dialect -------------------------------------------------------------------------------


@pytest.mark.parametrize("network", PAIRS)
def test_real_names(network):
    """Each tensor of a public network gets the name that it has here."""
    rows = pairs(network)
    kind = "keras" if network.startswith("keras") else "torch"
    file = file_of({name: a for name, a, _, _ in rows}, kind)
    expected = {ours: b for _, _, ours, b in rows}
    found = weights.match(
        file, expected if kind == "torch" else {}, expected if kind == "keras" else {}
    )
    assert found.layout == kind
    assert found.dialect not in ("state_dict names", "fastcnn's own names")
    assert set(found.tensors) == set(expected)
    rename = next(d.rename for d in dialects.ALL if d.name == found.dialect)
    renamed = rename([name for name, *_ in rows])
    assert {n: renamed.get(n, n) for n, *_ in rows} == {n: ours for n, _, ours, _ in rows}


@pytest.mark.parametrize("network", PAIRS)
def test_our_own_names_stay(network):
    """What a network's own file says is never taken for a foreign dialect."""
    kind = "keras" if network.startswith("keras") else "torch"
    expected = {ours: shape for _, _, ours, shape in pairs(network)}
    found = match(expected, expected, kind)
    assert found.dialect == ("fastcnn's own names" if kind == "keras" else "state_dict names")


@pytest.mark.parametrize("network", ["timm_seresnet50", "timm_senet154"])
def test_legacy_senet_names_become_new_ones(network):
    rows = pairs(network)
    old = {ours: shape for _, _, ours, shape in rows}
    new = {name: shape for name, shape, _, _ in rows}
    found = match(old, new)
    assert found.dialect == "timm's legacy names of SENet"
    assert set(found.tensors) == set(new)


@pytest.mark.parametrize(
    ("foreign", "ours", "dialect"),
    [
        ("features.denseblock1.denselayer2.norm.1", None, "torchvision's old names of DenseNet"),
        ("features.denseblock4.denselayer16.conv.2", None, "torchvision's old names of DenseNet"),
        ("last_linear", "fc", "Cadène's names of Xception"),
        ("last_linear", "classif", "Cadène's names of Inception-ResNet-v2"),
        ("resnet.encoder.stages.3.layers.2.layer.1.convolution", "layer4.2.conv2", "Hugging Face"),
        ("encoder.stages.0.layers.0.shortcut.normalization", "layer1.0.downsample.1", "Hugging"),
        ("embedder.embedder.convolution", "conv1", "Hugging Face's names of ResNet"),
    ],
)
def test_single_names(foreign, ours, dialect):
    ours = ours or re.sub(r"\.([12])$", r"\1", foreign)
    shapes = {f"{ours}.weight": (8,), "conv0.weight": (8,)}
    found = match({f"{foreign}.weight": (8,), "conv0.weight": (8,)}, shapes)
    assert set(found.tensors) == set(shapes)
    assert found.dialect.startswith(dialect)


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("bn_conv1", "bn1"),
        ("res2a_branch2a", "layer1.0.conv1"),
        ("res2a_branch1", "layer1.0.downsample.0"),
        ("bn2a_branch1", "layer1.0.downsample.1"),
        ("bn4f_branch2c", "layer3.5.bn3"),
        ("fc1000", "fc"),
    ],
)
def test_first_keras_names_of_resnet(foreign, ours):
    assert dialects.resnet.KERAS.rename([f"{foreign}.x"]) == {f"{foreign}.x": f"{ours}.x"}


def test_layers_numbered_from_anywhere():
    """The second model of a process begins with conv2d_94."""
    rows = pairs("keras_InceptionV3")

    def later(name):
        return re.sub(
            r"^(conv2d|batch_normalization)(?:_(\d+))?(?=\.)",
            lambda m: f"{m[1]}_{int(m[2] or 0) + 94}",
            name,
        )

    expected = {ours: shape for _, _, ours, shape in rows}
    found = match({later(name): shape for name, shape, _, _ in rows}, expected, "keras")
    assert found.dialect == "Keras' names of InceptionV3"
    assert set(found.tensors) == set(expected)


def test_automatic_names_of_a_users_keras_model():
    file = {"conv2d_7.kernel": (1, 1, 2, 3), "conv2d_9.kernel": (1, 1, 3, 4), "out.bias": (2,)}
    expected = {"conv2d.kernel": (1, 1, 2, 3), "conv2d_1.kernel": (1, 1, 3, 4), "out.bias": (2,)}
    assert set(match(file, expected, "keras").tensors) == set(expected)


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "shape", "expected"),
    [
        ("torch", "fc.weight", (5, 3, 1, 1), (5, 3)),
        ("torch", "fc.weight", (5, 3), (5, 3, 1, 1)),
        ("torch", "fc.weight", (5, 3, 2, 2), (5, 12)),
        ("torch", "fc.weight", (5, 12), (5, 3, 2, 2)),
        ("keras", "fc.kernel", (1, 1, 3, 5), (3, 5)),
        ("keras", "fc.kernel", (3, 5), (1, 1, 3, 5)),
        ("keras", "fc.kernel", (2, 2, 3, 5), (12, 5)),
    ],
)
def test_dense_layers_and_convolutions(kind, name, shape, expected):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    file = WeightsFile(Path("x"), kind, {name: array})
    shapes = {name: expected}
    found = weights.match(
        file, shapes if kind == "torch" else {}, shapes if kind == "keras" else {}
    )
    np.testing.assert_array_equal(found.tensors[name], array.reshape(expected), strict=True)


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 5), (5, 3)), ((6, 2, 1, 1), (3, 4)), ((12,), (3, 4))]
)
def test_other_shapes_do_not_fit(shape, expected):
    with pytest.raises(ShapeError):
        match({"fc.weight": shape, "a": (1,)}, {"fc.weight": expected, "a": (1,)})


def test_mobilenets_last_convolution_is_our_dense_layer():
    file = {"conv_preds.kernel": (1, 1, 8, 4), "conv1_bn.beta": (4,)}
    found = match(file, {"classifier.kernel": (8, 4), "bn1.beta": (4,)}, "keras")
    assert found.tensors["classifier.kernel"].shape == (8, 4)


# --- what Keras' networks have and ours do not, and the reverse ----------------------------------


def _keras_resnet():
    draw = np.random.default_rng(0)
    names = {f"conv1_bn.{n}": (4,) for n in ("gamma", "beta", "moving_mean", "moving_variance")}
    shapes = {"conv1_conv.kernel": (3, 3, 1, 4), "conv1_conv.bias": (4,), **names}
    return {n: draw.uniform(0.5, 1.5, s).astype(np.float32) for n, s in shapes.items()}


def test_biases_move_into_running_means():
    """Normalizing y + b around m is normalizing y around m - b."""
    tensors = _keras_resnet()
    ours = {"conv1.kernel": (3, 3, 1, 4)}
    ours |= {f"bn1.{n}": (4,) for n in ("gamma", "beta", "moving_mean", "moving_variance")}
    found = weights.match(WeightsFile(Path("x"), "keras", tensors), {}, ours).tensors
    assert set(found) == set(ours)
    np.testing.assert_array_equal(
        found["bn1.moving_mean"], tensors["conv1_bn.moving_mean"] - tensors["conv1_conv.bias"]
    )
    np.testing.assert_array_equal(found["bn1.beta"], tensors["conv1_bn.beta"])


def test_biases_stay_where_ours_has_them_too():
    tensors = _keras_resnet()
    ours = {"conv1.kernel": (3, 3, 1, 4), "conv1.bias": (4,)}
    ours |= {f"bn1.{n}": (4,) for n in ("gamma", "beta", "moving_mean", "moving_variance")}
    found = weights.match(WeightsFile(Path("x"), "keras", tensors), {}, ours).tensors
    np.testing.assert_array_equal(found["bn1.moving_mean"], tensors["conv1_bn.moving_mean"])
    np.testing.assert_array_equal(found["conv1.bias"], tensors["conv1_conv.bias"])


def test_scales_of_one_where_keras_has_none():
    rows = pairs("keras_InceptionV3")
    expected = {ours: shape for _, _, ours, shape in rows}
    gammas = {n.replace(".beta", ".gamma"): s for n, s in expected.items() if n.endswith("bn.beta")}
    found = match({name: shape for name, shape, _, _ in rows}, expected | gammas, "keras").tensors
    assert set(found) == set(expected | gammas)
    assert len(gammas) == 94
    assert all((found[name] == 1).all() and found[name].shape == gammas[name] for name in gammas)


# --- misfits -------------------------------------------------------------------------------------

NET = {"conv1.weight": (8, 3, 3, 3), "bn1.weight": (8,), "fc.weight": (10, 8), "fc.bias": (10,)}


def test_counters_and_ignored_tensors_are_passed_over():
    file = NET | {"bn1.num_batches_tracked": (), "aux1.conv.weight": (1,), "aux2.fc.bias": (1,)}
    found = match(file, NET, ignore=("aux1.", "aux2."))
    assert set(found.tensors) == set(NET)


def test_fastcnn_file():
    file = file_of(
        {f"weights/{n}": s for n, s in NET.items()} | {"optimizer/fc.m": (1,)}, "fastcnn"
    )
    found = weights.match(file, {}, NET)
    assert (found.layout, set(found.tensors)) == ("keras", set(NET))


def test_everything_is_reported_at_once():
    file = {"conv1.weight": (8, 1, 3, 3), "fc.weight": (10, 8), "fc.bias": (10,), "extra": (1,)}
    with pytest.raises(ShapeError) as caught:
        match(file, NET, where="model 'net'")
    assert str(caught.value) == (
        "model 'net' cannot take the weights of 'x.pth' (read as state_dict names): 1 missing: "
        "'bn1.weight'; 1 unexpected: 'extra'; 1 of a wrong shape or dtype: 'conv1.weight' of "
        "float32 (8, 1, 3, 3) where float (8, 3, 3, 3) is expected; nothing was changed, and "
        "load_weights(path, skip_mismatch=True) takes what fits"
    )


def test_dialect_of_a_misfit_is_named():
    rows = pairs("timm_mobilenetv2_100")
    expected = {ours: shape for _, _, ours, shape in rows} | {"classifier.1.weight": (7, 1280)}
    with pytest.raises(ShapeError, match=r"timm's names of MobileNetV2\): 1 of a wrong shape"):
        match({name: shape for name, shape, _, _ in rows}, expected)


def test_another_networks_file():
    vgg = {name: shape for name, shape, _, _ in pairs("timm_vgg16")}
    resnet = {ours: shape for _, _, ours, shape in pairs("timm_seresnet50")}
    with pytest.raises(ShapeError, match=r"not one of its 32 tensors.*another network's"):
        match(vgg, resnet)


def test_long_lists_are_cut():
    names = {f"layer{i}.weight": (1,) for i in range(50)}
    with pytest.raises(
        ShapeError, match=r"50 missing: 'layer0.weight'.*'layer7.weight' and 42 more"
    ):
        match(NET, NET | names)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_are_no_weights(dtype):
    file = WeightsFile(Path("x"), "torch", {"a": np.ones(3, np.float32), "b": np.ones(3, dtype)})
    with pytest.raises(ShapeError, match=r"'b' of (int64|uint8|bool)"):
        weights.match(file, {"a": (3,), "b": (3,)}, {})


def test_empty_files_and_networks():
    with pytest.raises(ShapeError):
        match({}, NET)
    with pytest.raises(ShapeError):
        match(NET, {})


def test_skip_mismatch_takes_what_fits():
    found = match(NET | {"fc.weight": (5, 8), "extra": (1,)}, NET, skip_mismatch=True)
    assert set(found.tensors) == set(NET) - {"fc.weight"}
    with pytest.raises(ShapeError, match="another network's"):
        match({"extra": (1,)}, NET, skip_mismatch=True)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_prefixes_are_taken_off(prefix):
    assert set(match({prefix + n: s for n, s in NET.items()}, NET).tensors) == set(NET)
    rows = pairs("timm_mobilenetv2_100")
    expected = {ours: shape for _, _, ours, shape in rows}
    found = match({prefix + name: shape for name, shape, _, _ in rows}, expected)
    assert set(found.tensors) == set(expected)


def test_prefixes_that_are_ours_stay():
    ours = {f"model.{name}": shape for name, shape in NET.items()}
    assert set(match(ours, ours).tensors) == set(ours)


def test_surplus_is_passed_over_where_it_may_be():
    expected = {name: shape for name, shape in NET.items() if not name.startswith("fc.")}
    with pytest.raises(ShapeError, match="2 unexpected"):
        match(NET, expected)
    assert set(match(NET, expected, surplus=True).tensors) == set(expected)
    with pytest.raises(ShapeError, match=r"1 missing: 'conv2.weight'"):
        match(NET, expected | {"conv2.weight": (1,)}, surplus=True)


def test_two_tensors_never_share_a_name():
    """A file with old and new names of one tensor is not translated half."""
    old = "features.denseblock1.denselayer1.norm.1.weight"
    new = "features.denseblock1.denselayer1.norm1.weight"
    with pytest.raises(ShapeError, match="unexpected"):
        match({old: (4,), new: (4,)}, {new: (4,)})
