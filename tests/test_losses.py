# SPDX-License-Identifier: Apache-2.0
"""Losses: direct formulas on arrays, values and gradients in the graph, bad targets."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastcnn import losses, metrics, ops
from fastcnn.autodiff import gradients
from fastcnn.errors import ArgumentError, DataError, DtypeError, ShapeError
from fastcnn.graph import Spec, placeholder
from fastcnn.plan import Plan

RNG = np.random.default_rng(3)
N, K = 6, 5
LOGITS = RNG.standard_normal((N, K))
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
LABELS = RNG.integers(0, K, N)
ONE_HOT = np.eye(K)[LABELS]
REAL = RNG.standard_normal((N, K))
SIGNS = np.where(RNG.random((N, K)) < 0.5, -1.0, 1.0)
YES = (SIGNS + 1) / 2
Q = 1 / (1 + np.exp(-LOGITS))
E = LOGITS - REAL


def smooth(target, s, other):
    return target * (1 - s) + s * other


# loss, targets, predictions, values per sample
CASES = {
    "mse": (losses.MeanSquaredError(), REAL, LOGITS, (E**2).mean(-1)),
    "mae": (losses.MeanAbsoluteError(), REAL, LOGITS, np.abs(E).mean(-1)),
    "huber": (
        losses.Huber(delta=0.7),
        REAL,
        LOGITS,
        np.where(np.abs(E) <= 0.7, E**2 / 2, 0.7 * np.abs(E) - 0.245).mean(-1),
    ),
    "log_cosh": (losses.LogCosh(), REAL, LOGITS, np.log(np.cosh(E)).mean(-1)),
    "poisson": (losses.Poisson(), YES * 3, P, (P - YES * 3 * np.log(P + 1e-7)).mean(-1)),
    "hinge": (losses.Hinge(), SIGNS, LOGITS, np.maximum(1 - SIGNS * LOGITS, 0).mean(-1)),
    "hinge01": (losses.Hinge(), YES, LOGITS, np.maximum(1 - SIGNS * LOGITS, 0).mean(-1)),
    "squared_hinge": (
        losses.SquaredHinge(),
        SIGNS,
        LOGITS,
        (np.maximum(1 - SIGNS * LOGITS, 0) ** 2).mean(-1),
    ),
    "categorical_hinge": (
        losses.CategoricalHinge(),
        ONE_HOT,
        LOGITS,
        np.maximum(
            ((1 - ONE_HOT) * LOGITS).max(-1) - (ONE_HOT * LOGITS).sum(-1) + 1,
            0,
        ),
    ),
    "kl": (
        losses.KLDivergence(),
        smooth(ONE_HOT, 0.2, 0.2),
        P,
        (smooth(ONE_HOT, 0.2, 0.2) * np.log(smooth(ONE_HOT, 0.2, 0.2) / P)).sum(-1),
    ),
    "categorical": (losses.CategoricalCrossentropy(), ONE_HOT, P, -(ONE_HOT * np.log(P)).sum(-1)),
    "categorical_smooth": (
        losses.CategoricalCrossentropy(True, 0.1),
        ONE_HOT,
        LOGITS,
        -(smooth(ONE_HOT, 0.1, 1 / K) * np.log(P)).sum(-1),
    ),
    "categorical_axis": (
        losses.CategoricalCrossentropy(axis=1),
        ONE_HOT.reshape(3, 2, K).transpose(0, 2, 1),
        P.reshape(3, 2, K).transpose(0, 2, 1),
        -(ONE_HOT * np.log(P)).sum(-1).reshape(3, 2),
    ),
    "sparse": (losses.SparseCategoricalCrossentropy(), LABELS, P, -np.log(P[range(N), LABELS])),
    "sparse_logits": (
        losses.SparseCategoricalCrossentropy(True),
        LABELS[:, None],
        LOGITS,
        -np.log(P[range(N), LABELS]),
    ),
    "sparse_smooth": (
        losses.SparseCategoricalCrossentropy(True, label_smoothing=0.1),
        LABELS,
        LOGITS,
        -(smooth(ONE_HOT, 0.1, 1 / K) * np.log(P)).sum(-1),
    ),
    "sparse_axis": (
        losses.SparseCategoricalCrossentropy(axis=1),
        LABELS.reshape(3, 2),
        P.reshape(3, 2, K).transpose(0, 2, 1),
        -np.log(P[range(N), LABELS]).reshape(3, 2),
    ),
    "sparse_dense": (
        losses.SparseCategoricalCrossentropy(),
        LABELS.reshape(2, 1, 3),
        P.reshape(2, 1, 3, K),
        -np.log(P[range(N), LABELS]).reshape(2, 1, 3),
    ),
    "binary": (
        losses.BinaryCrossentropy(),
        YES,
        Q,
        -(YES * np.log(Q) + (1 - YES) * np.log(1 - Q)).mean(-1),
    ),
    "binary_smooth": (
        losses.BinaryCrossentropy(True, 0.2),
        YES,
        LOGITS,
        -(smooth(YES, 0.2, 0.5) * np.log(Q) + (1 - smooth(YES, 0.2, 0.5)) * np.log(1 - Q)).mean(-1),
    ),
    "binary_column": (
        losses.BinaryCrossentropy(),
        YES[:, 0],
        Q[:, :1],
        -(YES[:, 0] * np.log(Q[:, 0]) + (1 - YES[:, 0]) * np.log(1 - Q[:, 0])),
    ),
    "flat": (losses.MeanSquaredError(), REAL[:, :1], LOGITS[:, 0], E[:, 0] ** 2),
}


def run_graph(loss, y_true, y_pred, weights=None, transform=None, dtype="float64"):
    """Loss and its gradient with respect to the predictions, as a model would run them."""
    y_pred = np.asarray(y_pred, dtype)
    spec = Spec(y_pred.shape, dtype)
    target = loss.check_target(y_true, y_pred.shape, "here", dtype)
    leaf = placeholder(y_pred.shape, dtype)
    target_spec = loss.target_spec(spec, np.shape(y_true))
    assert (target_spec.shape, target_spec.dtype) == (target.shape, target.dtype.name)
    inputs = [leaf, placeholder(target_spec.shape, target_spec.dtype)]
    arrays = [y_pred, target]
    if weights is not None:
        inputs.append(placeholder(weights.shape, dtype))
        arrays.append(weights.astype(dtype))
    output = leaf if transform is None else transform(leaf)
    value = loss(inputs[1], output, inputs[2] if weights is not None else None)
    backend = "cpu" if dtype == "float32" else "reference"
    plan = Plan(inputs, [value, gradients(value, [leaf])[0]], backend=backend)
    return plan.run(*arrays)


@pytest.mark.parametrize("case", CASES)
def test_values_on_arrays(case):
    loss, y_true, y_pred, expected = CASES[case]
    assert loss(y_true, y_pred) == pytest.approx(expected.mean(), rel=2e-6)
    assert isinstance(loss(y_true, y_pred), float)
    assert loss(y_true, y_pred.astype("float32")) == pytest.approx(expected.mean(), rel=2e-5)
    unreduced = type(loss).from_config({**loss.get_config(), "reduction": None})
    np.testing.assert_allclose(unreduced(y_true, y_pred), expected, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_in_the_graph(case):
    loss, y_true, y_pred, expected = CASES[case]
    value, gradient = run_graph(loss, y_true, y_pred)
    assert float(value) == pytest.approx(expected.mean(), rel=2e-6)
    numeric = np.zeros_like(y_pred)
    for i in np.ndindex(*y_pred.shape):
        step = np.zeros_like(y_pred)
        step[i] = 1e-6
        numeric[i] = (loss(y_true, y_pred + step) - loss(y_true, y_pred - step)) / 2e-6
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-7)
    value32, gradient32 = run_graph(loss, y_true, y_pred, dtype="float32")
    assert float(value32) == pytest.approx(float(value), rel=2e-5)
    np.testing.assert_allclose(gradient32, gradient, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("reduction", "combine"),
    [
        ("sum_over_batch_size", lambda v, w: (v * w).sum() / v.size),
        ("mean", lambda v, w: (v * w).sum() / v.size),
        ("mean_with_sample_weight", lambda v, w: (v * w).sum() / w.sum()),
        ("sum", lambda v, w: (v * w).sum()),
    ],
)
def test_weights_and_reductions(reduction, combine):
    weights = RNG.random(N)
    values = -np.log(P[range(N), LABELS])
    loss = losses.SparseCategoricalCrossentropy(reduction=reduction)
    expected = combine(values, weights)
    assert loss(LABELS, P, weights) == pytest.approx(expected, rel=1e-6)
    assert loss(LABELS, P, weights[:, None]) == pytest.approx(expected, rel=1e-6)
    assert float(run_graph(loss, LABELS, P, weights)[0]) == pytest.approx(expected, rel=1e-6)
    assert loss(LABELS, P) == pytest.approx(combine(values, np.ones(N)), rel=1e-6)
    # Weights of samples spread over the positions of each.
    dense = loss(LABELS.reshape(2, 3), P.reshape(2, 3, K), weights[:2])
    spread = np.repeat(weights[:2], 3)
    assert dense == pytest.approx(combine(values, spread), rel=1e-6)


@pytest.mark.parametrize("ignored", [-1, 2, 255])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ignored_labels(ignored, smoothing):
    labels = np.array([0, ignored, 1, 4, ignored, 3])
    kept = labels != ignored
    loss = losses.SparseCategoricalCrossentropy(True, ignored, label_smoothing=smoothing)
    plain = losses.SparseCategoricalCrossentropy(True, label_smoothing=smoothing)
    expected = plain(labels[kept], LOGITS[kept])
    assert loss(labels, LOGITS) == pytest.approx(expected, rel=1e-6)
    value, gradient = run_graph(loss, labels, LOGITS)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert not gradient[~kept].any()
    np.testing.assert_allclose(
        gradient[kept], run_graph(plain, labels[kept], LOGITS[kept])[1], rtol=1e-6
    )


def test_published_values():
    # The examples of Keras' documentation.
    y_pred = [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]
    assert losses.SparseCategoricalCrossentropy()([1, 2], y_pred) == pytest.approx(1.177, abs=5e-4)
    weighted = losses.SparseCategoricalCrossentropy()([1, 2], y_pred, [0.3, 0.7])
    assert weighted == pytest.approx(0.814, abs=5e-4)
    values = losses.sparse_categorical_crossentropy(np.array([1, 2]), np.array(y_pred))
    np.testing.assert_allclose(values, [0.0513, 2.303], rtol=1e-3)


def test_a_softmax_is_looked_through():
    # From probabilities of 0 the clipped loss has no gradient; from the logits behind it has.
    far = np.array([[200.0, 0.0]])
    loss = losses.SparseCategoricalCrossentropy()
    value, gradient = run_graph(loss, [1], far, transform=ops.softmax)
    assert float(value) == pytest.approx(200.0)
    np.testing.assert_allclose(gradient, [[1.0, -1.0]])
    loss = losses.BinaryCrossentropy()
    value, gradient = run_graph(loss, [[0.0]], [[200.0]], transform=ops.sigmoid)
    assert float(value) == pytest.approx(200.0)
    assert float(gradient[0, 0]) == pytest.approx(1.0)


def test_logits_out_of_a_softmax_are_warned_of():
    leaf = placeholder((2, 3))
    with pytest.warns(UserWarning, match="from_logits=True"):
        losses.SparseCategoricalCrossentropy(True)(np.array([0, 1]), ops.softmax(leaf))
    with pytest.warns(UserWarning, match="sigmoid"):
        losses.BinaryCrossentropy(True)(np.zeros((2, 3)), ops.sigmoid(leaf))


def test_extreme_probabilities_stay_finite():
    assert losses.CategoricalCrossentropy()([[1.0, 0.0]], [[0.0, 1.0]]) == pytest.approx(
        16.118, abs=1e-3
    )
    assert losses.BinaryCrossentropy()([[1.0]], [[0.0]]) == pytest.approx(16.118, abs=1e-3)
    assert losses.KLDivergence()([[1.0, 0.0]], [[0.0, 1.0]]) == pytest.approx(16.118, abs=1e-3)


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_names_configs_and_functions(name):
    loss = losses.get(name)
    assert type(loss) is losses.LOSSES[name]
    copy = losses.get(json.loads(json.dumps(losses.serialize(loss))))
    assert copy.get_config() == loss.get_config()


def test_get_takes_functions():
    assert isinstance(losses.get(losses.huber), losses.Huber)
    assert isinstance(losses.get("kld"), losses.KLDivergence)

    def own(y_true, y_pred):
        return ops.sum(ops.multiply(y_true, y_pred), axis=-1)

    loss = losses.get(own)
    assert loss.name == "own"
    assert loss([[1, 2]], [[3.0, 4.0]]) == 11.0
    assert loss.target_spec(Spec((4, 3)), (4, 7)) == Spec((4, 7))
    with pytest.raises(ArgumentError, match="own"):
        loss.get_config()


@pytest.mark.parametrize("identifier", ["crossentropi", 3, None, {"class_name": "Nope"}])
def test_unknown_losses_list_what_exists(identifier):
    with pytest.raises(ArgumentError, match="sparse_categorical_crossentropy"):
        losses.get(identifier)


def test_bad_arguments():
    for make in (
        lambda: losses.CategoricalCrossentropy(label_smoothing=1.5),
        lambda: losses.Huber(delta=0),
        lambda: losses.MeanSquaredError(reduction="average"),
    ):
        with pytest.raises(ArgumentError, match="found"):
            make()


SPARSE = losses.SparseCategoricalCrossentropy()
ONE_HOT_LOSS = losses.CategoricalCrossentropy()


@pytest.mark.parametrize(
    ("loss", "target", "error", "message"),
    [
        (
            SPARSE,
            [0, 10],
            DataError,
            r"labels run from 0 to 10 but the model has 10 outputs.*0 to 9",
        ),
        (SPARSE, [1, 10], DataError, "subtract 1"),
        (SPARSE, [-1, 3], DataError, "labels run from -1"),
        (SPARSE, [0.5, 1.0], DtypeError, "label of 0.5"),
        (SPARSE, [0.0, np.nan], DataError, r"target of nan at position \(1,\)"),
        (SPARSE, [1, 2, 3], ShapeError, r"\(3,\)"),
        (SPARSE, np.eye(10)[:2], ShapeError, "categorical_crossentropy"),
        (SPARSE, ["a", "b"], DtypeError, "encode them"),
        (ONE_HOT_LOSS, [1, 2], ShapeError, "sparse_categorical_crossentropy"),
        (ONE_HOT_LOSS, np.full((2, 10), 3), DataError, "targets run from 3 to 3"),
        (losses.MeanSquaredError(), np.zeros((2, 9)), ShapeError, "same shape"),
        (losses.MeanSquaredError(), np.full((2, 10), np.inf), DataError, "target of inf"),
        (losses.BinaryCrossentropy(), np.full((2, 10), -1.0), DataError, "expected 0 to 1"),
        (losses.Hinge(), np.full((2, 10), 0.5), DataError, "-1 and 1"),
        (losses.KLDivergence(), np.full((2, 10), 2.0), DataError, "expected 0 to 1"),
    ],
)
def test_bad_targets(loss, target, error, message):
    with pytest.raises(error, match="^output 'a': .*" + message):
        loss.check_target(np.asarray(target), (2, 10), "output 'a'")


def test_targets_take_the_type_of_the_spec():
    assert SPARSE.check_target(np.array([3.0, 4.0]), (2, 10), "a").dtype == np.int32
    assert SPARSE.check_target(np.array([[3], [4]], np.uint8), (2, 10), "a").shape == (2,)
    target = losses.MeanSquaredError().check_target(np.array([True, False]), (2, 1), "a", "float64")
    assert target.dtype == np.float64
    assert target.shape == (2, 1)


def test_weights_of_a_wrong_shape():
    with pytest.raises(ShapeError, match="one weight per sample"):
        SPARSE(LABELS, P, np.ones(N + 1))


def test_loss_and_metric_agree():
    for name in ("sparse_categorical_crossentropy", "mean_squared_error"):
        y_true = LABELS if name.startswith("sparse") else REAL
        assert losses.get(name)(y_true, P) == pytest.approx(metrics.get(name)(y_true, P), rel=1e-6)
