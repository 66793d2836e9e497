# SPDX-License-Identifier: Apache-2.0
"""Initial values: moments, fans, seeds, configs; and the stream of seeds they draw from."""

from __future__ import annotations

import json
import random as python_random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import initializers, layers, random
from fastcnn.errors import ArgumentError, DtypeError, ShapeError

KERNEL = (5, 3, 16, 40)  # receptive field 15, fan-in 240, fan-out 600

UNIFORM_LIMITS = [
    (initializers.GlorotUniform, np.sqrt(6 / 840)),
    (initializers.HeUniform, np.sqrt(6 / 240)),
    (initializers.LecunUniform, np.sqrt(3 / 240)),
]
NORMAL_DEVIATIONS = [
    (initializers.GlorotNormal, np.sqrt(2 / 840)),
    (initializers.HeNormal, np.sqrt(2 / 240)),
    (initializers.LecunNormal, np.sqrt(1 / 240)),
]


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((), (1, 1)), ((7,), (7, 7)), ((3, 4), (3, 4)), ((5, 3, 16, 40), (240, 600))],
)
def test_fans_count_the_receptive_field(shape, fans):
    assert initializers.compute_fans(shape) == fans


@pytest.mark.parametrize(("cls", "limit"), UNIFORM_LIMITS)
def test_uniform_fills_its_interval(cls, limit):
    values = cls(seed=1)(KERNEL)
    assert values.dtype == np.float32
    assert 0.99 * limit < np.abs(values).max() <= limit
    assert abs(values.mean()) < 0.02 * limit
    assert values.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize(("cls", "deviation"), NORMAL_DEVIATIONS)
def test_truncated_normal_keeps_the_variance_and_the_cut(cls, deviation):
    values = cls(seed=2)(KERNEL)
    assert values.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(values).max() <= 2 * deviation / 0.87962566103423978 + 1e-6


def test_variance_scaling_modes_and_distributions():
    for mode, fan in (("fan_in", 240), ("fan_out", 600), ("fan_avg", 420)):
        for distribution in ("truncated_normal", "untruncated_normal", "uniform"):
            values = initializers.VarianceScaling(3.0, mode, distribution, seed=3)(KERNEL)
            assert values.var() == pytest.approx(3.0 / fan, rel=0.04)


def test_random_normal_and_uniform():
    values = initializers.RandomNormal(1.0, 2.0, seed=4)((200, 100))
    assert values.mean() == pytest.approx(1.0, abs=0.05)
    assert values.std() == pytest.approx(2.0, rel=0.02)
    values = initializers.RandomUniform(2.0, 3.0, seed=4)((200, 100))
    assert values.min() >= 2.0
    assert values.max() <= 3.0
    values = initializers.TruncatedNormal(1.0, 0.5, seed=4)((200, 100))
    assert np.abs(values - 1.0).max() <= 1.0 + 1e-6


@pytest.mark.parametrize("shape", [(3, 3, 4, 10), (2, 2, 2, 50), (6, 6)])
def test_orthogonal_rows_or_columns(shape):
    matrix = initializers.Orthogonal(gain=2.0, seed=5)(shape, "float64").reshape(-1, shape[-1])
    small = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
    np.testing.assert_allclose(small @ small.T, 4.0 * np.eye(len(small)), atol=1e-12)


def test_constants():
    assert not initializers.Zeros()((2, 3)).any()
    assert (initializers.Ones()((2, 3)) == 1).all()
    assert (initializers.Constant(0.25)((2, 3), "float64") == 0.25).all()
    assert (initializers.Constant([1, 2, 3])((2, 3)) == [1, 2, 3]).all()
    np.testing.assert_array_equal(initializers.Identity(3.0)((2, 3)), [[3, 0, 0], [0, 3, 0]])


def test_seeded_calls_repeat_and_unseeded_do_not():
    seeded = initializers.HeNormal(seed=7)
    np.testing.assert_array_equal(seeded((4, 4)), seeded((4, 4)))
    unseeded = initializers.HeNormal()
    assert (unseeded((4, 4)) != unseeded((4, 4))).any()
    random.set_random_seed(11)
    first = unseeded((4, 4))
    random.set_random_seed(11)
    np.testing.assert_array_equal(first, unseeded((4, 4)))


@pytest.mark.parametrize("name", sorted(initializers.INITIALIZERS))
def test_names_and_configs_round_trip(name):
    initializer = initializers.get(name)
    assert type(initializer) is initializers.INITIALIZERS[name]
    described = json.loads(json.dumps(initializers.serialize(initializer)))
    copy = initializers.get(described)
    assert type(copy) is type(initializer)
    assert copy.get_config() == initializer.get_config()


def test_config_keeps_arguments():
    config = initializers.VarianceScaling(2.0, "fan_out", "uniform", seed=9).get_config()
    assert config == {"scale": 2.0, "mode": "fan_out", "distribution": "uniform", "seed": 9}
    copy = initializers.VarianceScaling.from_config(config)
    original = initializers.VarianceScaling(**config)
    np.testing.assert_array_equal(copy((3, 4)), original((3, 4)))
    assert initializers.HeNormal(seed=3).get_config() == {"seed": 3}
    assert initializers.Constant(np.float32(0.5)).get_config() == {"value": 0.5}


def test_get_takes_names_classes_and_callables():
    assert isinstance(initializers.get("HeNormal"), initializers.HeNormal)
    assert isinstance(initializers.get("zero"), initializers.Zeros)
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)

    def own(shape, dtype="float32"):
        return np.full(shape, 3, dtype)

    assert initializers.get(own) is own


@pytest.mark.parametrize(
    "identifier", ["he_norml", 3, None, {"class_name": "Nope", "config": {}}, {"config": {}}]
)
def test_unknown_identifiers_list_what_exists(identifier):
    with pytest.raises(ArgumentError, match="glorot_uniform"):
        initializers.get(identifier)


def test_wrong_config_names_the_arguments():
    with pytest.raises(ArgumentError, match="it takes seed"):
        initializers.get({"class_name": "HeNormal", "config": {"sede": 1}})
    with pytest.raises(ArgumentError, match="abstract"):
        initializers.get(initializers.Initializer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: initializers.VarianceScaling(scale=0),
        lambda: initializers.VarianceScaling(mode="fan"),
        lambda: initializers.VarianceScaling(distribution="normal"),
        lambda: initializers.RandomNormal(stddev=-1),
        lambda: initializers.RandomUniform(1, 0),
        lambda: initializers.HeNormal(seed=-1),
        lambda: initializers.HeNormal(seed=1.5),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(ArgumentError):
        make()


def test_bad_shapes_and_dtypes():
    with pytest.raises(ShapeError, match="matrix"):
        initializers.Identity()((2, 2, 2))
    with pytest.raises(ShapeError, match="two dimensions"):
        initializers.Orthogonal()((5,))
    with pytest.raises(ShapeError, match="does not fill"):
        initializers.Constant([1, 2])((3,))
    with pytest.raises(ShapeError, match="non-negative"):
        initializers.Zeros()((2, -1))
    with pytest.raises(DtypeError, match="int32"):
        initializers.HeNormal()((2, 2), "int32")


def test_seed_stream_repeats_and_continues():
    random.set_random_seed(5)
    first = [random.next_seed() for _ in range(5)]
    state = random.get_state()
    later = [random.next_seed() for _ in range(5)]
    assert len(set(first + later)) == 10
    assert all(0 <= s < 2**31 for s in first)
    random.set_state(json.loads(json.dumps(state)))
    assert [random.next_seed() for _ in range(5)] == later
    random.set_random_seed(5)
    assert [random.next_seed() for _ in range(5)] == first
    random.set_random_seed(6)
    assert random.next_seed() not in first


def test_set_random_seed_covers_python_and_numpy():
    draws = []
    for _ in range(2):
        random.set_random_seed(3)
        draws.append((python_random.random(), np.random.rand()))  # noqa: NPY002
    assert draws[0] == draws[1]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", None])
def test_bad_random_seed(seed):
    state = random.get_state()
    with pytest.raises(ArgumentError):
        random.set_random_seed(seed)
    assert random.get_state() == state
    with pytest.raises(ArgumentError):
        random.set_state({"key": 1})
    assert random.get_state() == state


def test_generator_is_keyed_by_its_seed():
    assert random.generator(8).random() == random.generator(8).random()
    assert random.generator(8).random() != random.generator(9).random()


def test_weights_are_drawn_when_they_are_first_seen():
    fastcnn.set_random_seed(3)
    first = [layers.Dense(4), layers.Dense(4)]
    for layer in first:
        layer.build((None, 5))
    backwards = [layer.kernel.numpy() for layer in reversed(first)]
    fastcnn.set_random_seed(3)
    second = [layers.Dense(4), layers.Dense(4)]
    for layer in second:
        layer.build((None, 5))
    for a, b in zip(reversed(backwards), second, strict=True):
        np.testing.assert_array_equal(a, b.kernel.value)


def test_weights_that_are_assigned_are_never_drawn():
    drawn = []

    class Spy(initializers.RandomInitializer):
        def _draw(self, rng, shape):
            drawn.append(shape)
            return rng.random(shape)

    layer = layers.Dense(4, kernel_initializer=Spy())
    layer.build((None, 5))
    assert layer.count_params() == 24
    assert not drawn
    layer.kernel.assign(np.ones((5, 4)))
    assert layer.kernel.value.sum() == 20
    assert not drawn


def test_a_seed_is_taken_when_it_is_asked_for_not_when_it_is_worked_out() -> None:
    random.set_state({"key": 5, "count": 0})
    first, second, third = (random.next_seed() for _ in range(3))
    random.set_state({"key": 5, "count": 0})
    later = random.next_seed_later()
    assert random.next_seed() == second
    assert (later(), later(), random.next_seed()) == (first, first, third)


def test_reading_a_model_does_not_import_numpys_generators(tmp_path: Path) -> None:
    """They take longer to import than all layers; an older NumPy brings them with it."""
    path = tmp_path / "m.fastcnn"
    fastcnn.Sequential([fastcnn.Input((4,)), layers.Dense(2)]).save(path)
    code = f"""
import sys, numpy
if "numpy.random" not in sys.modules:
    import fastcnn
    fastcnn.models.load_model({str(path)!r}).predict(numpy.ones((1, 4), "float32"), verbose=0)
    print("numpy.random" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout in ("False\n", "")
