# SPDX-License-Identifier: Apache-2.0
"""Metrics against figures worked out by hand or by a direct formula, and against wrong input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastcnn import metrics
from fastcnn.errors import ArgumentError, DataError, ShapeError

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3]], np.float32)
LABELS = np.array([1, 1, 2, 0])
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


class Logits:
    """Stands for a loss on logits."""

    from_logits = True
    ignore_class = None


class Ignoring:
    """Stands for a loss that ignores a class."""

    from_logits = False
    ignore_class = 255


def test_accuracies():
    assert metrics.SparseCategoricalAccuracy()(LABELS, SCORES) == 0.5
    assert metrics.SparseCategoricalAccuracy()(LABELS[:, None], SCORES) == 0.5
    assert metrics.CategoricalAccuracy()(ONE_HOT, SCORES) == 0.5
    assert metrics.Accuracy()([1, 2, 3, 4], [1, 2, 0, 4]) == 0.75
    assert metrics.BinaryAccuracy()([[1], [0], [1]], [[0.9], [0.4], [0.5]]) == pytest.approx(2 / 3)
    assert metrics.BinaryAccuracy(threshold=0.3)([1, 0], [0.4, 0.4]) == 0.5


def test_weights_and_batches_accumulate():
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(LABELS[:3], SCORES[:3], [1.0, 2.0, 3.0])
    metric.update_state(LABELS[3:], SCORES[3:], [4.0])
    assert metric.result() == pytest.approx((1 + 3) / 10)
    metric.reset_state()
    assert metric.result() == 0.0


def test_dense_prediction_counts_every_position():
    scores = np.stack([SCORES, SCORES[::-1]])  # (2, 4, 3)
    labels = np.stack([LABELS, LABELS])
    expected = (labels == scores.argmax(-1)).mean()
    assert metrics.SparseCategoricalAccuracy()(labels, scores) == expected
    per_sample = (labels == scores.argmax(-1)).mean(-1)
    weighted = metrics.SparseCategoricalAccuracy()(labels, scores, [1.0, 3.0])
    assert weighted == pytest.approx((per_sample * [1, 3]).sum() / 4)


def test_ignored_labels_do_not_count():
    labels = np.array([1, 255, 255, 0])
    assert metrics.SparseCategoricalAccuracy(ignore_class=255)(labels, SCORES) == 0.5
    loss = metrics.SparseCategoricalCrossentropy(ignore_class=255)(labels, SCORES)
    assert loss == pytest.approx(-(np.log(0.7) + np.log(0.3)) / 2, rel=1e-6)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.5), (2, 1.0), (3, 1.0), (9, 1.0)])
def test_top_k(k, expected):
    # Scores level with the right one do not push it out.
    assert metrics.SparseTopKCategoricalAccuracy(k)(LABELS, SCORES) == expected
    assert metrics.TopKCategoricalAccuracy(k)(ONE_HOT, SCORES) == expected


def test_precision_and_recall():
    true = np.array([0, 1, 1, 1, 0])
    score = np.array([0.6, 0.7, 0.2, 0.8, 0.1])
    assert metrics.Precision()(true, score) == pytest.approx(2 / 3)
    assert metrics.Recall()(true, score) == pytest.approx(2 / 3)
    np.testing.assert_allclose(metrics.Recall([0.1, 0.75])(true, score), [1.0, 1 / 3])
    assert metrics.Precision()(true, score, [0, 1, 1, 1, 1]) == 1.0
    assert metrics.Precision()([0, 1], [0.1, 0.2]) == 0.0
    assert metrics.Precision(top_k=1)(ONE_HOT, SCORES) == 0.5
    assert metrics.Recall(top_k=2)(ONE_HOT, SCORES) == 1.0
    assert metrics.Recall(class_id=1, thresholds=0.35)(ONE_HOT, SCORES) == 0.5


def test_regression():
    true = np.array([[0.0, 1.0], [2.0, 3.0]])
    pred = np.array([[0.5, 1.0], [2.0, 1.0]])
    assert metrics.MeanSquaredError()(true, pred) == pytest.approx((0.25 + 4) / 4)
    assert metrics.MeanAbsoluteError()(true, pred) == pytest.approx(2.5 / 4)
    assert metrics.RootMeanSquaredError()(true, pred) == pytest.approx(np.sqrt(4.25 / 4))
    assert metrics.MeanSquaredError()(true[:, 0], pred[:, :1]) == pytest.approx(0.125)


def test_crossentropies():
    own = SCORES[np.arange(4), LABELS].astype(np.float64)
    expected = -np.log(own).mean()
    logits = np.log(SCORES) + 3.0
    assert metrics.SparseCategoricalCrossentropy()(LABELS, SCORES) == pytest.approx(expected)
    assert metrics.CategoricalCrossentropy()(ONE_HOT, SCORES) == pytest.approx(expected)
    for cls, target in (
        (metrics.SparseCategoricalCrossentropy, LABELS),
        (metrics.CategoricalCrossentropy, ONE_HOT),
    ):
        assert cls(from_logits=True)(target, logits) == pytest.approx(expected, rel=1e-5)
    smooth = ONE_HOT * 0.7 + 0.1
    expected = -(smooth * np.log(SCORES)).sum(-1).mean()
    assert metrics.CategoricalCrossentropy(label_smoothing=0.3)(ONE_HOT, SCORES) == pytest.approx(
        expected, rel=1e-6
    )
    p = np.array([0.2, 0.9, 0.6])
    y = np.array([0.0, 1.0, 0.0])
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert metrics.BinaryCrossentropy()(y, p) == pytest.approx(expected)
    logits = np.log(p / (1 - p))
    assert metrics.BinaryCrossentropy(from_logits=True)(y, logits) == pytest.approx(expected)
    assert np.isfinite(metrics.BinaryCrossentropy()([1.0], [0.0]))
    moved = metrics.SparseCategoricalCrossentropy(axis=1)(LABELS.reshape(1, 4), SCORES.T[None])
    assert moved == pytest.approx(-np.log(own).mean())


def test_means():
    mean = metrics.Mean()
    mean.update_state([1.0, 3.0], [1.0, 3.0])
    assert mean.result() == 2.5
    loss = metrics.LossMean()
    loss.update_state(1.0, 32)
    loss.update_state(4.0, 16)
    assert loss.result() == 2.0


def test_functions_become_metrics():
    def distance(y_true, y_pred):
        return np.abs(y_true - y_pred).sum(-1)

    metric = metrics.get(distance)
    assert metric.name == "distance"
    assert metric(np.zeros((2, 3)), np.ones((2, 3))) == 3.0
    with pytest.raises(ArgumentError, match="distance"):
        metric.get_config()


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_names_and_configs_round_trip(name):
    metric = metrics.get(name)
    assert type(metric) is metrics.METRICS[name]
    copy = metrics.get(json.loads(json.dumps(metrics.serialize(metric))))
    assert copy.get_config() == metric.get_config()


@pytest.mark.parametrize("word", ["accuracy", "acc", "crossentropy", "ce"])
@pytest.mark.parametrize(
    ("y_true", "y_pred", "kind"),
    [
        ((None, 1), (None, 1), "Binary"),
        ((None,), (None, 1), "Binary"),
        ((None,), (None, 10), "SparseCategorical"),
        ((None, 1), (None, 10), "SparseCategorical"),
        ((None, 8, 8), (None, 8, 8, 10), "SparseCategorical"),
        ((None, 10), (None, 10), "Categorical"),
    ],
)
def test_words_resolve_by_shapes(word, y_true, y_pred, kind):
    metric = metrics.resolve(word, None, y_true, y_pred)
    suffix = "Accuracy" if word.startswith("acc") else "Crossentropy"
    assert type(metric).__name__ == kind + suffix
    assert metric.name == word


def test_words_follow_the_loss():
    assert metrics.resolve("accuracy", Logits(), (None, 1), (None, 1)).threshold == 0.0
    assert metrics.resolve("ce", Logits(), (None,), (None, 5)).from_logits
    assert metrics.resolve("accuracy", Ignoring(), (None,), (None, 5)).ignore_class == 255
    assert metrics.resolve("mse", None, (None, 1), (None, 1)).name == "mse"
    own = metrics.CategoricalAccuracy(name="mine")
    assert metrics.resolve(own, None, (None, 3), (None, 3)) is own
    assert own.name == "mine"


def test_confusion_matrix():
    matrix = metrics.confusion_matrix(LABELS, SCORES)
    np.testing.assert_array_equal(matrix, [[0, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(metrics.confusion_matrix(ONE_HOT, SCORES), matrix)
    assert metrics.confusion_matrix([0], [1], num_classes=4).shape == (4, 4)
    assert metrics.confusion_matrix([], []).shape == (0, 0)
    with pytest.raises(DataError, match="0 to 2"):
        metrics.confusion_matrix([3], [1], num_classes=3)
    with pytest.raises(ShapeError, match="2 true and 1"):
        metrics.confusion_matrix([0, 1], [1])


@pytest.mark.parametrize("identifier", ["acuracy", 4, {"class_name": "Nope"}])
def test_unknown_metrics_list_what_exists(identifier):
    with pytest.raises(ArgumentError, match="top_k_categorical_accuracy"):
        metrics.get(identifier)


def test_wrong_input_leaves_the_state():
    metric = metrics.SparseCategoricalAccuracy()
    metric.update_state(LABELS, SCORES)
    with pytest.raises(DataError, match="labels run from 0 to 3 but predictions have 3"):
        metric.update_state([0, 3], SCORES[:2])
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        metric.update_state(LABELS[:3], SCORES)
    with pytest.raises(ShapeError, match="one weight per sample"):
        metric.update_state(LABELS, SCORES, [1.0, 2.0])
    assert metric.result() == 0.5
    with pytest.raises(ShapeError, match="same shape"):
        metrics.MeanSquaredError()(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ArgumentError, match="thresholds"):
        metrics.Precision(thresholds=1.5)
    with pytest.raises(ArgumentError, match="top_k"):
        metrics.Precision(thresholds=0.5, top_k=2)
    with pytest.raises(ArgumentError, match="k=0"):
        metrics.TopKCategoricalAccuracy(k=0)
