# SPDX-License-Identifier: Apache-2.0
"""Preprocessing against values that Keras 3.15 gives, and the names of ImageNet's classes."""

import inspect

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, applications
from fastcnn.applications import preprocessing
from fastcnn.applications.preprocessing import (
    PreprocessInput,
    decode_predictions,
    imagenet_classes,
    preprocess_input,
)
from fastcnn.errors import ArgumentError, DtypeError, FileError, ShapeError

PIXELS = np.array([[[[0, 128, 255], [10, 20, 30]]]], np.uint8)
# keras.applications.imagenet_utils.preprocess_input(PIXELS.astype("float32"), mode=...)
KERAS = {
    "torch": [
        [-2.1179039478302, 0.20518219470977783, 2.640000104904175],
        [-1.9466564655303955, -1.6855741739273071, -1.2815686464309692],
    ],
    "tf": [
        [-1.0, 0.003921627998352051, 1.0],
        [-0.9215686321258545, -0.843137264251709, -0.7647058963775635],
    ],
    "caffe": [
        [151.06100463867188, 11.221000671386719, -123.68000030517578],
        [-73.93900299072266, -96.77899932861328, -113.68000030517578],
    ],
}


@pytest.mark.parametrize("mode", KERAS)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "float16"])
def test_values_are_those_of_keras_and_the_input_stays(mode, dtype):
    x = PIXELS.astype(dtype)
    found = preprocess_input(x, mode=mode)
    assert found.dtype == (dtype if dtype.startswith("float") else "float32")
    tolerance = 4e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(found[0, 0], KERAS[mode], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(x, PIXELS)
    assert not np.shares_memory(x, found)
    np.testing.assert_array_equal(preprocess_input(x[0], mode=mode), found[0])


def test_caffe_is_the_default_as_in_keras():
    np.testing.assert_array_equal(preprocess_input(PIXELS), preprocess_input(PIXELS, mode="caffe"))


@pytest.mark.parametrize("mode", KERAS)
def test_it_can_be_part_of_a_model(mode):
    image = Input((None, None, 3))
    model = Model(image, preprocess_input(image, mode=mode))
    found = model.predict_on_batch(PIXELS.astype(np.float32))
    np.testing.assert_allclose(found[0, 0], KERAS[mode], rtol=1e-5, atol=1e-6)


def test_mode_tf_takes_images_of_any_number_of_channels():
    assert preprocess_input(np.full((2, 2, 1), 255), mode="tf").max() == 1


def test_a_family_chooses_by_the_origin_of_its_weights():
    preprocess = PreprocessInput({"torchvision": "torch", "keras": "caffe"})
    np.testing.assert_array_equal(preprocess(PIXELS), preprocess_input(PIXELS, mode="torch"))
    np.testing.assert_array_equal(
        preprocess(PIXELS, variant="keras"), preprocess_input(PIXELS, mode="caffe")
    )
    with pytest.raises(ArgumentError, match=r"variant='paper'.*'torchvision', 'keras'"):
        preprocess(PIXELS, variant="paper")


# What `preprocess_input` of these modules of Keras does.
KERAS_MODULES = {
    "densenet": "torch",
    "imagenet_utils": "caffe",
    "inception_resnet_v2": "tf",
    "inception_v3": "tf",
    "mobilenet": "tf",
    "mobilenet_v2": "tf",
    "resnet": "caffe",
    "resnet50": "caffe",
    "vgg16": "caffe",
    "vgg19": "caffe",
    "xception": "tf",
}


@pytest.mark.parametrize("name", KERAS_MODULES)
def test_modules_of_keras_are_there(name):
    module = getattr(fastcnn.applications, name)
    of_keras = {} if name == "imagenet_utils" else {"variant": "keras"}
    np.testing.assert_allclose(
        module.preprocess_input(PIXELS, **of_keras)[0, 0], KERAS[KERAS_MODULES[name]], rtol=1e-6
    )
    assert module.decode_predictions is decode_predictions


# Its only public weights know faces.
WITHOUT_WEIGHTS = {"InceptionResNetV1"}


@pytest.mark.parametrize("name", sorted(applications.BY_NAME.keys() - WITHOUT_WEIGHTS))
def test_the_default_is_that_of_the_network(name):
    """Weights for a network's default variant get what they want by default."""
    network = applications.get(name)
    preprocess = getattr(inspect.getmodule(network), "preprocess_input", None)
    variant = inspect.signature(network).parameters.get("variant")
    if preprocess is not None and variant is not None:
        assert variant.default == next(iter(preprocess.modes))


def test_what_is_no_image_is_refused():
    with pytest.raises(ArgumentError, match=r"mode='tensorflow'.*'torch', 'tf', 'caffe'"):
        preprocess_input(PIXELS, mode="tensorflow")
    with pytest.raises(ArgumentError, match="data_format"):
        preprocess_input(PIXELS, "channels_first")
    with pytest.raises(ShapeError, match=r"\(1, 3, 4, 4\).*channels come last"):
        preprocess_input(np.zeros((1, 3, 4, 4)))
    with pytest.raises(ShapeError, match=r"\(4, 3\)"):
        preprocess_input(np.zeros((4, 3)), mode="tf")
    with pytest.raises(DtypeError, match="<U3"):
        preprocess_input(np.array([[["cat"]]]))
    with pytest.raises(DtypeError, match="uint8"):
        preprocess_input(Input((4, 4, 3), dtype="uint8"))


def test_classes_have_ids_names_and_their_order():
    classes = imagenet_classes()
    assert len(classes) == len({wnid for wnid, _ in classes}) == 1000
    assert [wnid for wnid, _ in classes] == sorted(wnid for wnid, _ in classes)
    assert classes[0] == ("n01440764", "tench")
    assert classes[281] == ("n02123045", "tabby")
    assert classes[999] == ("n15075141", "toilet_tissue")


def test_decode_predictions_is_keras_list_of_tuples():
    scores = np.zeros((2, 1000), np.float32)
    scores[0, [281, 282, 285]] = 0.5, 0.25, 0.125
    scores[1] = 0.001
    first, second = decode_predictions(scores, top=3)
    assert first == [
        ("n02123045", "tabby", 0.5),
        ("n02123159", "tiger_cat", 0.25),
        ("n02124075", "Egyptian_cat", 0.125),
    ]
    assert [name for _, name, _ in second] == ["tench", "goldfish", "great_white_shark"]
    assert [len(found) for found in decode_predictions(scores)] == [5, 5]
    assert len(decode_predictions(scores, top=2000)[0]) == 1000


def test_predictions_of_other_classes_are_refused():
    for shape in ((1000,), (1, 999), (1, 1, 1000)):
        with pytest.raises(ShapeError, match=r"expected \(N, 1000\)"):
            decode_predictions(np.zeros(shape))
    with pytest.raises(ArgumentError, match="top=0"):
        decode_predictions(np.zeros((1, 1000)), top=0)


def test_a_damaged_list_of_classes_says_how_to_repair_it(monkeypatch, tmp_path):
    monkeypatch.setattr(preprocessing, "__file__", str(tmp_path / "preprocessing.py"))
    imagenet_classes.cache_clear()
    with pytest.raises(FileError, match="force-reinstall"):
        decode_predictions(np.zeros((1, 1000)))
    monkeypatch.undo()
    assert len(imagenet_classes()) == 1000
