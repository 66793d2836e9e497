# SPDX-License-Identifier: Apache-2.0
"""Files: round trips, atomic writing, and errors that change nothing."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Input, Model, Sequential, layers, models, optimizers
from fastcnn.errors import FastcnnError, FileError, ShapeError
from fastcnn.models.saving import read_tensors


def model_of(units: int = 3) -> Sequential:
    return Sequential(
        [
            Input((5, 5, 2)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(units, activation="softmax"),
        ],
        name="small",
    )


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((12, 5, 5, 2)).astype(np.float32), rng.integers(0, 3, 12).astype(
        np.int32
    )


def trained() -> Sequential:
    fastcnn.set_random_seed(0)
    model = model_of()
    schedule = optimizers.schedules.CosineDecay(1e-2, 100, warmup_target=2e-2, warmup_steps=5)
    model.compile(
        optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(*data(), batch_size=4, epochs=2, verbose=0)
    return model


def test_saved_model_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model = trained()
    x, y = data()
    model.save(tmp_path / "m.fastcnn")
    loaded = models.load_model(tmp_path / "m.fastcnn")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.optimizer.iterations == model.optimizer.iterations == 6
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    for one in (model, loaded):
        one.fit(x, y, batch_size=4, epochs=4, initial_epoch=2, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_exact_is_saved_with_what_compile_was_given(tmp_path: Path) -> None:
    for exact in (True, False):
        model = model_of()
        model.compile("sgd", "mse", exact=exact)
        model.save(tmp_path / "m.fastcnn")
        assert models.load_model(tmp_path / "m.fastcnn").exact is exact
    config = {**model.trainer.get_config(), "optimizer": optimizers.SGD()}
    del config["exact"]  # as in a file that is older
    model.exact = True
    model.compile_as_saved(config)
    assert model.exact is False


def test_the_file_is_plain_safetensors_without_code(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    trained().save(tmp_path / "m.fastcnn")
    names = load_file(tmp_path / "m.fastcnn")
    assert {"weights/conv2d.kernel", "weights/batch_normalization.gamma"} <= set(names)
    assert any(n.startswith("optimizer/") for n in names)
    assert b"pickle" not in (tmp_path / "m.fastcnn").read_bytes()


def test_weights_alone_fit_any_model_of_the_same_layers(tmp_path: Path) -> None:
    model, other = trained(), model_of()
    model.save_weights(tmp_path / "w.safetensors")
    other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(other.predict(data()[0]), model.predict(data()[0]))


def test_wrong_weights_are_all_reported_and_change_nothing(tmp_path: Path) -> None:
    model = model_of()
    before = model.state_dict()
    state = dict(before)
    name = next(iter(state))
    last = list(state)[-1]
    state["extra"] = np.zeros(3)
    state[last] = np.zeros(99, np.float32)
    del state[name]
    with pytest.raises(ShapeError) as caught:
        model.load_state_dict(state)
    for word in ("missing", name, "unexpected", "extra", last, "(99,)", "nothing was changed"):
        assert word in str(caught.value)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 0.5, -1])
def test_truncated_files_are_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "m.fastcnn"
    model = trained()
    model.save(path)
    whole = path.read_bytes()
    cut = int(len(whole) * keep) if isinstance(keep, float) else keep
    path.write_bytes(whole[:cut])
    before = model.get_weights()
    with pytest.raises(FileError, match=r"m\.fastcnn"):
        models.load_model(path)
    with pytest.raises(FileError):
        model.load_weights(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    (tmp_path / "a.txt").write_text("hello, I am no model")
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "b.safetensors")
    trained().save_weights(tmp_path / "w.fastcnn")
    with pytest.raises(FileError, match="no known file of weights"):
        models.load_model(tmp_path / "a.txt")
    with pytest.raises(FileError, match=r"not written by Model\.save"):
        models.load_model(tmp_path / "b.safetensors")
    with pytest.raises(FileError, match="holds weights but no layers"):
        models.load_model(tmp_path / "w.fastcnn")
    with pytest.raises(FileError, match="no file"):
        models.load_model(tmp_path / "none.fastcnn")


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "m.fastcnn"
    model = trained()
    model.save(path)
    old = path.read_bytes()
    model.set_weights([w + 1 for w in model.get_weights()])

    def crash(*_: Any) -> None:
        raise OSError("disk full")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, function, crash)
            with pytest.raises(OSError, match="disk full"):
                model.save(path)
        assert path.read_bytes() == old
        assert [p.name for p in tmp_path.iterdir()] == ["m.fastcnn"]


def test_custom_layers_need_to_be_known(tmp_path: Path) -> None:
    class Doubling(layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2.0

    model = Sequential([Input((3,)), Doubling(name="twice")])
    model.save(tmp_path / "m.fastcnn")
    with pytest.raises(FastcnnError, match=r"Doubling.*custom_objects"):
        models.load_model(tmp_path / "m.fastcnn")
    loaded = models.load_model(tmp_path / "m.fastcnn", custom_objects={"Doubling": Doubling})
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(loaded.predict_on_batch(x), 2 * x)


def test_overwrite_false_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.fastcnn"
    path.write_bytes(b"mine")
    with pytest.raises(FileError, match="exists"):
        trained().save(path, overwrite=False)
    assert path.read_bytes() == b"mine"


def test_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="folder"):
        trained().save(tmp_path / "a" / "m.fastcnn")


def distance(y_true: Any, y_pred: Any) -> Any:
    from fastcnn import ops

    return ops.mean(ops.abs(y_pred - y_true), axis=-1)


def test_functions_as_loss_are_found_by_name(tmp_path: Path) -> None:
    model = Sequential([Input((3,)), layers.Dense(2)])
    model.compile("adam", distance)
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)
    model.train_on_batch(x, y)
    model.save(tmp_path / "m.fastcnn")
    loaded = models.load_model(tmp_path / "m.fastcnn", custom_objects={"distance": distance})
    assert loaded.test_on_batch(x, y) == model.test_on_batch(x, y)
    unknown = models.load_model(tmp_path / "m.fastcnn")
    np.testing.assert_array_equal(unknown.predict_on_batch(x), model.predict_on_batch(x))
    with pytest.raises(FastcnnError, match="distance"):
        unknown.train_on_batch(x, y)


def test_a_nameless_loss_does_not_keep_the_network_from_being_saved(tmp_path: Path) -> None:
    model = Sequential([Input((3,)), layers.Dense(2)])
    model.compile("adam", lambda y_true, y_pred: distance(y_true, y_pred))
    with pytest.warns(UserWarning, match="without optimizer and loss"):
        model.save(tmp_path / "m.fastcnn")
    loaded = models.load_model(tmp_path / "m.fastcnn")
    assert not loaded.compiled


def test_skip_mismatch_loads_what_fits(tmp_path: Path) -> None:
    path = tmp_path / "w.fastcnn"
    old, new = model_of(3), model_of(4)
    old.save_weights(path)
    before = new.layers[-1].get_weights()
    new.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(new.layers[0].get_weights()[0], old.layers[0].get_weights()[0])
    np.testing.assert_array_equal(new.layers[-1].get_weights()[0], before[0])


def rewritten(path: Path, **metadata: str | None) -> None:
    """Replace or (None) drop entries of a file's metadata."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    entries = {**header["__metadata__"], **metadata}
    header["__metadata__"] = {k: v for k, v in entries.items() if v is not None}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def replacements(tree: Any) -> Iterator[Any]:
    """`tree` with every entry, in turn, dropped or made something else."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield {k: v for k, v in tree.items() if k != key} if isinstance(tree, dict) else tree[:key]
        inside = replacements(tree[key]) if isinstance(tree[key], (dict, list)) else ()
        for value in (None, 3, "zz", [], {}, *inside):
            changed = tree.copy()
            changed[key] = value
            yield changed


@pytest.mark.parametrize("entry", ["config", "training"])
def test_a_description_that_makes_no_sense_is_an_error_naming_the_file(
    tmp_path: Path, entry: str
) -> None:
    path = tmp_path / "m.fastcnn"
    x = Input((4, 4, 2))
    y = layers.Add()([layers.Conv2D(2, 3, padding="same")(x), x]) * 2.0
    model = Model(x, layers.Dense(2)(layers.Flatten()(y)))
    model.compile("adam", "mse", metrics=["mae"])
    model.save(path)
    _, metadata = read_tensors(path)
    refused = 0
    for changed in replacements(metadata[entry]):
        rewritten(path, **{entry: json.dumps(changed)})
        message = ""
        try:
            models.load_model(path)
        except FastcnnError as error:
            message = str(error)
        assert "m.fastcnn" in message or not message
        refused += bool(message)
    assert refused > 20


@pytest.mark.parametrize(
    "metadata",
    [
        {"version": "abc"},
        {"version": None},
        {"version": "99"},
        {"config": "{"},
        {"config": "null"},
        {"config": '{"class_name": "Dense", "config": {"units": 3}}'},
        {"training": "[1]"},
    ],
    ids=str,
)
def test_damaged_metadata_is_refused(tmp_path: Path, metadata: dict[str, Any]) -> None:
    path = tmp_path / "m.fastcnn"
    trained().save(path)
    rewritten(path, **metadata)
    with pytest.raises(FileError, match=r"m\.fastcnn"):
        models.load_model(path)


def test_only_what_save_state_wrote_is_a_state(tmp_path: Path) -> None:
    model = trained()
    before = model.get_weights()
    model.save(tmp_path / "m")
    model.save_weights(tmp_path / "w")
    for name in "mw":
        with pytest.raises(FileError, match="save_state"):
            model.load_state(tmp_path / name)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("path", [None, 3, "", "a\0b", "a" * 300], ids=repr)
def test_names_that_are_none_of_a_file_are_refused(path: Any) -> None:
    model = model_of()
    for call in (model.save, model.save_weights, model.load_weights, models.load_model):
        with pytest.raises(FastcnnError):
            call(path)


def test_a_sequential_without_input_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "m.fastcnn"
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 3)).astype(np.float32)
    base = Sequential([Input((6, 6, 3)), layers.Conv2D(4, 3)])
    model = Sequential([base, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    y = model.predict(x, verbose=0)
    model.save(path)
    np.testing.assert_array_equal(models.load_model(path).predict(x, verbose=0), y)


def drawn_and_known(layers: list[Any], shape: tuple[int, ...]) -> dict[str, Any]:
    return models.Sequential([Input(shape=shape), *layers]).state_dict()


def test_state_dict_speaks_pytorch() -> None:
    made = drawn_and_known(
        [
            layers.Conv2D(6, (3, 5), groups=2, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.DepthwiseConv2D((2, 3), depth_multiplier=2, name="dw"),
            layers.Conv2DTranspose(5, (2, 3), name="up"),
            layers.Dense(7, name="fc"),
        ],
        (8, 9, 4),
    )
    assert {name: array.shape for name, array in made.items()} == {
        "conv.weight": (6, 2, 3, 5),
        "conv.bias": (6,),
        "bn.weight": (6,),
        "bn.bias": (6,),
        "bn.running_mean": (6,),
        "bn.running_var": (6,),
        "dw.weight": (12, 1, 2, 3),
        "dw.bias": (12,),
        "up.weight": (12, 5, 2, 3),
        "up.bias": (5,),
        "fc.weight": (7, 5),
        "fc.bias": (7,),
    }


def test_state_dict_puts_flattened_inputs_channels_first() -> None:
    model = models.Sequential(
        [
            Input(shape=(2, 3, 4)),
            layers.Flatten(),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.Dense(5, name="first"),
            layers.Dense(24, name="second"),
            layers.Dense(2, name="third"),
        ]
    )
    x = np.random.default_rng(0).random((3, 2, 3, 4), np.float32)
    given = model.state_dict()
    h = np.maximum(x.transpose(0, 3, 1, 2).reshape(3, -1) / np.sqrt(1 + 1e-3), 0)
    for name in ("first", "second", "third"):
        h = h @ given[f"{name}.weight"].T + given[f"{name}.bias"]
    np.testing.assert_allclose(model.predict(x, verbose=0), h, rtol=1e-4, atol=1e-5)

    order = np.arange(24).reshape(4, 2, 3).transpose(1, 2, 0).ravel()
    given["bn.weight"] = np.arange(24, dtype=np.float32)
    model.load_state_dict(given)
    np.testing.assert_array_equal(model.get_layer("bn").gamma.value, order)


def test_load_state_dict_undoes_state_dict() -> None:
    model = models.Sequential(
        [
            Input(shape=(6, 7, 4)),
            layers.SeparableConv2D(6, 3, depth_multiplier=2),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )
    before = model.get_weights()
    given = {**model.state_dict(), "bn.num_batches_tracked": np.array(3)}
    for p in model.weights:
        p.assign(np.zeros(p.shape))
    model.load_state_dict(given)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_loaded_weights_stay_in_the_file_until_they_are_written(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 12, 12, 16), dtype=np.float32)
    y = np.array([1, 0], np.int32)
    chain = [Input((12, 12, 16)), layers.Conv2D(128, 3), layers.BatchNormalization()]
    model = Sequential([*chain, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    model.compile(optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    path = tmp_path / "m.fastcnn"
    model.save(path)
    written = path.read_bytes()
    wanted = model.predict_on_batch(x)
    loaded = models.load_model(path)
    kernel = loaded.weights[0]
    assert kernel.adopted
    np.testing.assert_array_equal(loaded.predict_on_batch(x), wanted)
    loss = loaded.train_on_batch(x, y)
    assert loss == model.train_on_batch(x, y)
    assert not kernel.adopted
    for a, b in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))
    assert path.read_bytes() == written
    loaded.save(path)  # over the file it lies in
    np.testing.assert_array_equal(models.load_model(path).weights[0].value, kernel.value)


def test_a_frozen_weight_of_a_file_takes_part_in_training(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((4, 40), dtype=np.float32)
    model = Sequential([Input((40,)), layers.Dense(60), layers.Dense(3)])
    model.save(tmp_path / "m.fastcnn")
    loaded = models.load_model(tmp_path / "m.fastcnn")
    loaded.layers[0].trainable = False
    loaded.compile("sgd", loss="mse")
    frozen = loaded.layers[0].weights[0]
    before = frozen.numpy()
    loaded.train_on_batch(x, np.ones((4, 3), np.float32))
    assert frozen.adopted
    np.testing.assert_array_equal(frozen.value, before)
