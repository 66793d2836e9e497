# SPDX-License-Identifier: Apache-2.0
"""Pictures: what they show, that they are written, and what they refuse."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from fastcnn import plots
from fastcnn.errors import DataError, FileError, MissingDependencyError

HISTORY = {"loss": [1.0, 0.5, 0.2], "val_loss": [1.1, 0.6, 0.4], "accuracy": [0.5, 0.8, 0.9]}


@pytest.fixture
def drawn(monkeypatch):
    """The figures drawn, kept instead of written."""
    figures = []
    monkeypatch.setattr(plots, "write_figure", lambda figure, path: figures.append(figure))
    return figures


def texts(figure):
    """All text of a figure in drawing order."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_title(), *(text.get_text() for text in axes.texts)]
    return found


class TestTrainingCurves:
    def test_writes_a_png(self, tmp_path):
        path = plots.training_curves(HISTORY, tmp_path / "new" / "curves.png")
        assert path == tmp_path / "new" / "curves.png"
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_one_panel_per_metric(self, drawn):
        plots.training_curves(HISTORY, "")
        loss, accuracy = drawn[0].axes
        assert [axes.get_title() for axes in (loss, accuracy)] == ["loss", "accuracy"]
        training, validation = loss.lines
        assert training.get_xdata().tolist() == [1, 2, 3]
        assert list(validation.get_ydata()) == [1.1, 0.6, 0.4]
        assert training.get_color() != validation.get_color()
        assert [t.get_text() for t in loss.get_legend().get_texts()] == ["training", "validation"]
        assert accuracy.get_legend() is None

    def test_validation_every_second_epoch(self, drawn):
        plots.training_curves({"loss": [4, 3, 2, 1], "val_loss": [3, 2]}, "")
        assert drawn[0].axes[0].lines[1].get_xdata().tolist() == [2, 4]

    def test_logarithmic_only_where_it_helps(self, drawn):
        wide = {"loss": [2.0, 0.01], "accuracy": [0.5, 0.9], "learning_rate": [1.0, 1e-6]}
        plots.training_curves(wide, "")
        assert [axes.get_yscale() for axes in drawn[0].axes] == ["log", "linear", "linear"]
        assert "logarithmic" in drawn[0].axes[0].get_title()
        plots.training_curves({"loss": [2.0, 0.0]}, "")
        assert drawn[1].axes[0].get_yscale() == "linear"

    def test_validation_alone_and_nan(self, tmp_path):
        plots.training_curves({"val_loss": [1.0], "loss": [np.nan, np.inf]}, tmp_path / "a.png")

    @pytest.mark.parametrize("history", [{}, {"loss": []}])
    def test_nothing_to_draw(self, history, tmp_path):
        with pytest.raises(DataError, match="holds no epoch"):
            plots.training_curves(history, tmp_path / "a.png")
        assert not list(tmp_path.iterdir())


class TestConfusionMatrix:
    def test_counts_and_shares(self, drawn):
        plots.confusion_matrix([0, 0, 0, 0, 1, 2], [0, 0, 0, 1, 1, 1], ["cat", "dog", "fox"], "")
        axes, bar = drawn[0].axes
        assert axes.get_title() == "4 of 6 right (66.7%)"
        cells = {text.get_position(): text.get_text() for text in axes.texts}
        # Positions are (column, row): predicted, true.
        assert cells == {(0, 0): "3", (1, 0): "1", (1, 1): "1", (1, 2): "1"}
        share = np.asarray(axes.images[0].get_array())
        assert share.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 1, 0]]
        assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "dog", "fox"]
        assert axes.get_ylabel() == "true class"
        assert axes.get_xlabel() == "predicted class"
        assert "share" in bar.get_ylabel()

    def test_class_without_samples(self, drawn):
        plots.confusion_matrix([0, 2], [0, 2], None, "")
        share = np.asarray(drawn[0].axes[0].images[0].get_array())
        assert share[1].tolist() == [0, 0, 0]

    @pytest.mark.parametrize("classes", [1, 2, 10, 50, 1000])
    def test_any_number_of_classes(self, tmp_path, classes, drawn):
        numbers = np.arange(classes).repeat(3)
        plots.confusion_matrix(numbers, numbers, [f"class {i}" for i in range(classes)], "")
        axes = drawn[0].axes[0]
        sizes = [text.get_fontsize() for text in axes.texts]
        assert all(size >= 5 for size in sizes)
        assert bool(sizes) == (classes <= 50)
        assert max(drawn[0].get_size_inches()) < 20

    def test_labels_do_not_overlap(self, drawn):
        names = [f"a rather long class name {i}" for i in range(100)]
        plots.confusion_matrix(np.arange(100), np.arange(100), names, "")
        figure = drawn[0]
        figure.draw_without_rendering()
        boxes = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
        boxes.sort(key=lambda box: box.y0)
        assert all(a.y1 <= b.y0 + 1 for a, b in itertools.pairwise(boxes))
        assert min(box.x0 for box in boxes) >= 0

    def test_bad_input(self):
        with pytest.raises(DataError, match="3 and y_pred 2"):
            plots.confusion_matrix([0, 1, 2], [0, 1], None, "a.png")
        with pytest.raises(DataError, match="at least one"):
            plots.confusion_matrix([], [], None, "a.png")
        with pytest.raises(DataError, match="found class 2 but 2 labels"):
            plots.confusion_matrix([0, 2], [0, 1], ["a", "b"], "a.png")
        with pytest.raises(DataError, match="argmax"):
            plots.confusion_matrix([0, 1], np.ones((2, 3)), None, "a.png")
        with pytest.raises(DataError, match="class numbers"):
            plots.confusion_matrix([0, -1], [0, 1], None, "a.png")


class TestWrongPredictions:
    def images(self, n=6, channels=1):
        return np.random.default_rng(0).random((n, 8, 8, channels)).astype("f4")

    def test_surest_mistakes_first(self, drawn):
        probabilities = np.full((6, 3), 0.1)
        probabilities[[1, 3, 4], 2] = [0.5, 0.9, 0.7]
        predicted = [0, 2, 0, 2, 2, 0]
        plots.wrong_predictions(self.images(), np.zeros(6, int), predicted, probabilities, "")
        assert texts(drawn[0]) == [
            "3 of 6 predictions are wrong (50.0%)",
            "predicted 2 (90%)\ntrue 0",
            "predicted 2 (70%)\ntrue 0",
            "predicted 2 (50%)\ntrue 0",
        ]
        shown = np.asarray(drawn[0].axes[0].images[0].get_array())
        np.testing.assert_allclose(shown, self.images()[3, :, :, 0])

    def test_limit_and_names(self, drawn):
        names = ["no", "a name that is much too long to print"]
        images, true, predicted = self.images(), np.zeros(6, int), np.ones(6, int)
        plots.wrong_predictions(images, true, predicted, None, "", limit=2, labels=names)
        headline, first, _ = texts(drawn[0])
        assert headline == "6 of 6 predictions are wrong (100.0%); 2 shown"
        assert first == "predicted a name that is mu…\ntrue no"

    def test_says_when_nothing_is_wrong(self, drawn):
        plots.wrong_predictions(self.images(), np.arange(6), np.arange(6), None, "")
        assert texts(drawn[0]) == ["No wrong prediction: all 6 are right."]

    @pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 7, 1), (2, 5, 7, 3)])
    @pytest.mark.parametrize("kind", ["unit", "bytes", "float bytes", "standardised", "flat"])
    def test_every_range_is_shown_in_full(self, tmp_path, drawn, shape, kind):
        image = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
        image = {
            "unit": image,
            "bytes": (255 * image).astype("u1"),
            "float bytes": 255 * image,
            "standardised": 4 * image - 2,
            "flat": np.zeros(shape),
        }[kind]
        plots.wrong_predictions(image, [0, 0], [1, 1], [0.5, 0.5], "")
        for axes in drawn[0].axes:
            shown = np.asarray(axes.images[0].get_array())
            assert shown.min() >= 0
            assert shown.max() <= 1

    def test_bad_input(self):
        images, classes = self.images(), np.zeros(6, int)
        with pytest.raises(DataError, match="6 images, 5 true"):
            plots.wrong_predictions(images, classes[:5], classes, None, "a.png")
        with pytest.raises(DataError, match=r"\(6, 8, 8, 2\)"):
            plots.wrong_predictions(self.images(channels=2), classes, classes, None, "a.png")
        with pytest.raises(DataError, match="probabilities"):
            plots.wrong_predictions(images, classes, classes, np.ones((5, 3)), "a.png")
        with pytest.raises(DataError, match="at least one"):
            plots.wrong_predictions(images[:0], [], [], None, "a.png")


class TestFiles:
    @pytest.mark.parametrize("name", ["a.unknown", "folder"])
    def test_cannot_be_written(self, tmp_path, name):
        (tmp_path / "folder").mkdir()
        with pytest.raises(FileError, match="cannot write"):
            plots.training_curves(HISTORY, tmp_path / name)

    def test_no_global_state(self, tmp_path):
        code = (
            "import sys; from fastcnn import plots; assert 'matplotlib' not in sys.modules;"
            f"plots.confusion_matrix([0, 1], [0, 1], None, {str(tmp_path / 'a.png')!r});"
            "assert 'matplotlib.pyplot' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_matplotlib_missing(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(MissingDependencyError, match=r'pip install "fastcnn\[plot\]"'):
            plots.training_curves(HISTORY, tmp_path / "a.png")
