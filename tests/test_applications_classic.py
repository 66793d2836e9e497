# SPDX-License-Identifier: Apache-2.0
"""Networks before 2012: the papers' counts layer by layer, and that they learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import applications, datasets, models, optimizers
from fastcnn.applications import lecun1989, lenet, neocognitron
from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.layers import RBF, Bias, Conv2D, Dense, Subsampling2D


def params(model: Any, *names: str) -> list[int]:
    return [model.get_layer(name).count_params() for name in names]


def connections(model: Any) -> int:
    """What the papers call connections: every use of a weight or a bias by a unit.

    A shared filter and its bias are used by every unit of its map, a unit's own bias once, a
    subsampling unit has its window and a bias, and a distance one connection per component.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, (Conv2D, Dense)):
            total += layer.count_params() * int(np.prod(layer.output_shape[1:-1]))
        elif isinstance(layer, Bias):
            total += layer.count_params()
        elif isinstance(layer, Subsampling2D):
            total += int(np.prod(layer.output_shape[1:])) * (int(np.prod(layer.pool_size)) + 1)
        elif isinstance(layer, RBF):
            total += layer.centers.size
    return total


def digits(size: int) -> Any:
    """Training and test digits with ink 1 on a ground of -1."""
    (x, y), (x_test, y_test) = datasets.digits.load_data(image_size=size)
    return x * 2 - 1, y, x_test * 2 - 1, y_test


# --- LeNet-5 -------------------------------------------------------------------------------------


def test_lenet5_of_1998_layer_by_layer() -> None:
    model = applications.LeNet5(variant="1998")
    names = ("c1", "s2", "c3", "s4", "c5", "f6", "output")
    assert params(model, *names) == [156, 12, 1_516, 32, 48_120, 10_164, 0]
    assert model.count_params() == 60_000
    assert connections(model) == 340_908
    shapes = [model.get_layer(name).output_shape[1:] for name in names]
    assert shapes[:4] == [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16)]
    assert shapes[4:] == [(1, 1, 120), (84,), (10,)]


def test_wiring_of_c3_is_the_papers() -> None:
    """Six maps see 3 neighbours, six 4 neighbours, three 4 others, one all of them."""
    table = np.array(lenet.C3_CONNECTIONS)
    assert table.sum(axis=0).tolist() == [3] * 6 + [4] * 9 + [6]
    for k in range(6):
        assert set(np.flatnonzero(table[:, k])) == {(k + i) % 6 for i in range(3)}
        assert set(np.flatnonzero(table[:, 6 + k])) == {(k + i) % 6 for i in range(4)}
    for k in range(3):
        assert set(np.flatnonzero(table[:, 12 + k])) == {(k + i) % 6 for i in (0, 1, 3, 4)}


def test_bitmaps_are_ten_different_pictures() -> None:
    bitmaps = lenet.bitmaps()
    assert bitmaps.shape == (10, 7 * 12)
    assert set(bitmaps.ravel()) == {-1, 1}
    different = (bitmaps[:, None] != bitmaps).sum(axis=2)
    assert different[np.triu_indices(10, 1)].min() >= 10


def test_the_smallest_distance_wins() -> None:
    model = applications.LeNet5(variant="1998", classifier_activation=None)
    logits = model.predict(np.random.default_rng(0).random((4, 32, 32, 1), np.float32), verbose=0)
    f6 = models.Functional(model.inputs[0], model.get_layer("f6").output)
    shown = f6.predict(np.random.default_rng(0).random((4, 32, 32, 1), np.float32), verbose=0)
    distances = ((shown[:, None] - lenet.bitmaps()) ** 2).sum(axis=2)
    np.testing.assert_allclose(logits, -distances, rtol=1e-4)
    np.testing.assert_array_equal(logits.argmax(axis=1), distances.argmin(axis=1))


def test_lenet5_of_1998_learns_digits_and_keeps_its_bitmaps() -> None:
    fastcnn.set_random_seed(0)
    x, y, x_test, y_test = digits(32)
    model = applications.LeNet5(variant="1998")
    model.compile(optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=4, verbose=0)
    assert model.evaluate(x_test, y_test, verbose=0)[1] > 0.88
    centers = model.get_layer("output").get_weights()[0]
    np.testing.assert_array_equal(centers, lenet.bitmaps())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"variant": "2012"}, "'taught', '1998'"),
        ({"variant": "1998", "classes": 11}, "ten digits"),
        ({"variant": "1998", "input_shape": (28, 28, 1)}, "at least 32"),
    ],
)
def test_impossible_arguments_of_lenet5(arguments: Any, word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        applications.LeNet5(**arguments)


def test_lenet5_of_1998_without_top_and_from_a_file(tmp_path: Any) -> None:
    features = applications.LeNet5(variant="1998", include_top=False, input_shape=(28, 28, 1))
    assert features.outputs[0].shape == (None, 4, 4, 16)
    model = applications.LeNet5(variant="1998")
    model.save_weights(tmp_path / "w.fastcnn")
    again = applications.LeNet5(variant="1998", weights=tmp_path / "w.fastcnn")
    x = np.random.default_rng(1).random((2, 32, 32, 1), np.float32)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.raises(ShapeError, match="connected_kernel"):
        applications.LeNet5(weights=tmp_path / "w.fastcnn")


# --- LeCun et al. 1989 ---------------------------------------------------------------------------


def test_lecun1989_layer_by_layer() -> None:
    model = applications.LeCun1989()
    names = ("h1", "h1.units", "h2", "h2.units", "h3", "output")
    h1, h1_units, h2, h2_units, h3, output = params(model, *names)
    assert (h1 + h1_units, h2 + h2_units, h3, output) == (1_068, 2_592, 5_790, 310)
    assert connections(model) == 64_660
    assert model.get_layer("h1").output_shape == (None, 8, 8, 12)
    assert model.get_layer("h2").output_shape == (None, 4, 4, 12)


def test_each_map_of_h2_sees_eight_of_h1_and_each_of_h1_is_seen() -> None:
    table = np.array(lecun1989.H2_CONNECTIONS)
    assert table.shape == (12, 12)
    assert table.sum(axis=0).tolist() == table.sum(axis=1).tolist() == [8] * 12


def test_beyond_the_edge_is_background() -> None:
    """On an image of background every unit of H1 sees the same, also at the edges."""
    model = applications.LeCun1989()
    h1 = models.Functional(model.inputs[0], model.get_layer("h1.units").output)
    y = h1.predict(np.full((1, 16, 16, 1), -1, np.float32), verbose=0)
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1, :1], y.shape), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse"])
def test_lecun1989_learns_digits(loss: str) -> None:
    """By cross-entropy, and as in the paper by squared errors to targets of -1 and 1."""
    fastcnn.set_random_seed(1)
    x, y, x_test, y_test = digits(16)
    of_paper = loss == "mse"
    model = applications.LeCun1989(classifier_activation="scaled_tanh" if of_paper else "softmax")
    model.compile(optimizers.Adam(3e-3), loss)
    model.fit(x, np.eye(10, dtype=np.float32)[y] * 2 - 1 if of_paper else y, epochs=6, verbose=0)
    assert (model.predict(x_test, verbose=0).argmax(axis=1) == y_test).mean() > 0.91


# --- TDNN ----------------------------------------------------------------------------------------


def sounds(count: int, begins: list[int], seed: int) -> Any:
    """Glides up and down and level tones of 5 frames that begin at one of the frames `begins`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.1, (count, 15, 16, 1)).astype(np.float32)
    y = np.arange(count) % 3
    paths = np.array([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5], [7, 7, 7, 7, 7]])
    begin = rng.choice(begins, count)
    for i in range(count):
        x[i, begin[i] + np.arange(5), paths[y[i]], 0] += 1
    return x, y.astype(np.int32)


def test_tdnn_layer_by_layer() -> None:
    model = applications.TDNN()
    assert params(model, "hidden1", "hidden2", "output") == [392, 123, 0]
    shapes = [model.get_layer(name).output_shape for name in ("hidden1", "hidden2", "output")]
    assert shapes == [(None, 13, 1, 8), (None, 9, 1, 3), (None, 3)]


def test_tdnn_knows_a_sound_where_it_never_heard_one() -> None:
    fastcnn.set_random_seed(0)
    model = applications.TDNN()
    model.compile(optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*sounds(600, [1, 2, 8, 9], seed=0), epochs=30, verbose=0)
    assert model.evaluate(*sounds(150, [4, 5, 6], seed=1), verbose=0)[1] > 0.95


def test_tdnn_of_a_shifted_sound_is_the_same() -> None:
    model = applications.TDNN(classifier_activation=None)
    x = np.zeros((2, 15, 16, 1), np.float32)
    x[0, 6:8] = x[1, 7:9] = np.random.default_rng(2).random((2, 16, 1))
    early, late = model.predict(x, verbose=0)
    np.testing.assert_allclose(early, late, rtol=1e-5)


def test_tdnn_takes_any_number_of_frames() -> None:
    model = applications.TDNN(input_shape=(None, 16, 1), classes=4)
    assert model.predict(np.zeros((2, 40, 16, 1), np.float32), verbose=0).shape == (2, 4)
    with pytest.raises(ArgumentError, match="number of coefficients"):
        applications.TDNN(input_shape=(15, None, 1))
    with pytest.raises(ShapeError, match="hidden2"):
        applications.TDNN(input_shape=(6, 16, 1))


# --- neocognitron --------------------------------------------------------------------------------

STROKES = {
    "0": "..####.. .#....#. #......# #......# #......# #......# #......# .#....#. ..####..",
    "1": "...##... ..#.#... ....#... ....#... ....#... ....#... ....#... ....#... ..#####.",
    "2": ".#####.. #.....#. .......# .......# ......#. ....##.. ..##.... .#...... ########",
    "3": ".#####.. #.....#. .......# ......#. ..####.. ......#. .......# #.....#. .#####..",
    "4": ".....#.. ....##.. ...#.#.. ..#..#.. .#...#.. #....#.. ######## .....#.. .....#..",
    "X": "#......# .#....#. ..#..#.. ...##... ...##... ..#..#.. .#....#. #......#",
    "Y": "#......# .#....#. ..#..#.. ...##... ...##... ...##... ...##... ...##...",
    "T": "######## ...##... ...##... ...##... ...##... ...##... ...##... ...##...",
    "Z": "######## ......#. .....#.. ....#... ...#.... ..#..... .#...... ########",
}


def drawn(words: str, top: int = 3, left: int = 4) -> Any:
    """Images 16x16 of the patterns named, drawn at a place."""
    images = np.zeros((len(words), 16, 16, 1), np.float32)
    for image, word in zip(images, words, strict=True):
        ink = np.array([list(row) for row in STROKES[word].split()]) == "#"
        image[top : top + ink.shape[0], left : left + ink.shape[1], 0] = ink
    return images


def winners(model: Any, images: Any) -> Any:
    fired = model.predict(images, verbose=0)
    assert (fired.max(axis=1) > 0).all()
    return fired.argmax(axis=1)


def test_neocognitron_has_the_papers_sizes() -> None:
    model = applications.Neocognitron()
    shapes = [layer.output_shape[1:] for layer in model.layers[1:7]]
    planes = [(16, 16), (10, 10), (8, 8), (6, 6), (2, 2), (1, 1)]
    assert shapes == [(*size, 24) for size in planes]
    assert params(model, "us1", "us2", "us3") == [624, 14_424, 14_424]


@pytest.fixture(scope="module")
def organized() -> Any:
    """A neocognitron that has seen the paper's five patterns 20 times each."""
    model = applications.Neocognitron()
    neocognitron.self_organize(model, drawn("01234"), epochs=20)
    return model


def test_each_pattern_gets_a_cell_of_its_own(organized: Any) -> None:
    fired = organized.predict(drawn("01234"), verbose=0)
    own = fired.argmax(axis=1)
    assert len(set(own)) == 5
    # And, as in the paper, no other pattern excites that cell.
    others = fired[:, own][~np.eye(5, dtype=bool)]
    assert fired.max(axis=1).min() > 0.3
    assert others.max() < 0.01


def test_before_it_has_seen_anything_it_cannot_tell_patterns_apart() -> None:
    fired = applications.Neocognitron().predict(drawn("01234"), verbose=0)
    assert fired.max() < 0.1


def test_shifted_patterns_excite_the_same_cells(organized: Any) -> None:
    own = winners(organized, drawn("01234"))
    places = [(top, left) for top in range(1, 6) for left in range(2, 7)]
    same = [winners(organized, drawn("01234", *place)) == own for place in places]
    assert np.mean(same) > 0.95


def test_noise_and_lost_pixels_do_not_matter(organized: Any) -> None:
    rng = np.random.default_rng(0)
    images = drawn("01234")
    lost = images * (rng.random(images.shape) > 0.05)
    own = winners(organized, images)
    np.testing.assert_array_equal(winners(organized, lost.astype(np.float32)), own)


def test_patterns_that_resemble_each_other() -> None:
    """The paper's second experiment, but for one pair: Y and T share a cell here."""
    model = applications.Neocognitron()
    neocognitron.self_organize(model, drawn("XYTZ"), epochs=20)
    assert len(set(winners(model, drawn("XYTZ")))) >= 3


def test_representatives_are_the_best_of_their_columns_and_planes() -> None:
    fired = np.zeros((6, 6, 3), np.float32)
    fired[0, 0, 0], fired[5, 5, 0], fired[4, 4, 1] = 0.5, 0.9, 0.8
    # Plane 0 has two candidates; plane 1's is in a column without the stronger cell.
    assert neocognitron.representatives(fired, 2) == [(5, 5, 0), (4, 4, 1)]
    # A column that is the whole layer has one candidate.
    assert neocognitron.representatives(fired, 6) == [(5, 5, 0)]
    assert neocognitron.representatives(np.zeros((6, 6, 3)), 2) == []


def test_reinforcement_is_the_papers_rule() -> None:
    """One image with one dot: plane k gains q c(v) where the dot is, and q/2 sqrt(c) in b."""
    model = applications.Neocognitron()
    layer = model.get_layer("us1")
    image = np.zeros((1, 16, 16, 1), np.float32)
    image[0, 8, 8, 0] = 1.0
    fired = models.Functional(model.inputs[0], layer.output).predict(image, verbose=0)[0]
    before_a, before_b = layer.get_weights()
    neocognitron.self_organize(model, image, epochs=1)
    gained_a, gained_b = (
        new - old for new, old in zip(layer.get_weights(), (before_a, before_b), strict=True)
    )
    chosen = neocognitron.representatives(fired, 5)
    assert chosen
    assert set(np.flatnonzero(gained_b)) == {k for _, _, k in chosen}
    for h, w, k in chosen:
        v = (8 - h + 2, 8 - w + 2)
        c = layer.fixed[(*v, 0, 0)]
        np.testing.assert_allclose(gained_b[k], np.sqrt(c) / 2, rtol=1e-5)
        expected = np.zeros((5, 5))
        expected[v] = c
        np.testing.assert_allclose(gained_a[:, :, 0, k], expected, atol=1e-7)


def test_self_organisation_does_not_depend_on_chance_and_is_saved(
    organized: Any, tmp_path: Any
) -> None:
    again = applications.Neocognitron()
    neocognitron.self_organize(again, drawn("01234"), epochs=20)
    for a, b in zip(again.get_weights(), organized.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    organized.save(tmp_path / "m.fastcnn")
    loaded = models.load_model(tmp_path / "m.fastcnn")
    x = drawn("01234")
    expected = organized.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    neocognitron.self_organize(loaded, x, epochs=1)
    assert not np.array_equal(loaded.predict(x, verbose=0), expected)


def test_errors_of_self_organisation_leave_the_weights() -> None:
    model = applications.Neocognitron()
    before = model.get_weights()
    with pytest.raises(ShapeError, match=r"\(5, 16, 15, 1\)"):
        neocognitron.self_organize(model, drawn("01234")[:, :, :15])
    with pytest.raises(DtypeError):
        neocognitron.self_organize(model, drawn("01234").astype(np.uint8))
    with pytest.raises(ArgumentError, match="epochs=0"):
        neocognitron.self_organize(model, drawn("0"), epochs=0)
    with pytest.raises(ArgumentError, match=r"0 layers of S-cells.*Neocognitron"):
        neocognitron.self_organize(applications.LeNet5(), drawn("0"))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_neocognitron_of_other_sizes_and_outputs() -> None:
    model = applications.Neocognitron(input_shape=(24, 20, 1), classes=7)
    assert model.outputs[0].shape == (None, 3 * 2 * 7)
    y = model.predict(np.random.default_rng(0).random((2, 24, 20, 1), np.float32), verbose=0)
    assert y.shape == (2, 42)
    features = applications.Neocognitron(include_top=False, pooling="max")
    assert features.outputs[0].shape == (None, 24)
    with pytest.raises(ArgumentError, match="classes"):
        applications.Neocognitron(classes=0)
