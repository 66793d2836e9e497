# SPDX-License-Identifier: Apache-2.0
"""Lessons: their numbers against loops written here, what frames say, and the files."""

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastcnn import Input, Sequential, layers, ops, teach
from fastcnn.errors import (
    ArgumentError,
    DtypeError,
    FileError,
    MissingDependencyError,
    ShapeError,
)
from fastcnn.teach.grids import number

X = np.array(
    [[2, 9, 1, 3, 0], [4, 5, 8, 2, 7], [1, 3, 6, 4, 2], [0, 7, 2, 9, 1], [5, 2, 4, 3, 6]], float
)
DY = np.array([[1, 2, -1], [3, 1, 2], [2, -3, 4]], float)
KERNEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], float)


def window(p, q, size, strides, dilation=(1, 1)):
    """Rows and columns, in the padded plane, that a window reads; counted by hand."""
    rows = [p * strides[0] + r * dilation[0] for r in range(size[0])]
    columns = [q * strides[1] + s * dilation[1] for s in range(size[1])]
    return list(itertools.product(rows, columns))


def pool_by_hand(x, size, strides, pad, dy_of):
    """y, positions and the running dx of a max pooling over one plane."""
    H, W = x.shape
    padded = np.pad(x, pad, constant_values=-np.inf)
    P, Q = (1 + (n + 2 * pad - k) // s for n, k, s in zip((H, W), size, strides, strict=True))
    y, at, running = np.zeros((P, Q)), np.zeros((P, Q), int), []
    for p, q in np.ndindex(P, Q):
        best = max(window(p, q, size, strides), key=lambda cell: padded[cell])
        y[p, q], at[p, q] = padded[best], (best[0] - pad) * W + best[1] - pad
    dx, dy = np.zeros(H * W), dy_of((P, Q))
    for p, q in np.ndindex(P, Q):
        dx[at[p, q]] += dy[p, q]
        running.append(dx.reshape(H, W).copy())
    return y, at, dy, running


class TestMaxpool:
    def test_the_winners_of_an_example(self):
        lesson = teach.maxpool(X, 3, 1, dy=DY)
        assert lesson.arrays["y"].tolist() == [[9, 9, 8], [8, 9, 9], [7, 9, 9]]
        assert lesson.arrays["indices"].tolist() == [[1, 1, 7], [7, 18, 18], [16, 18, 18]]
        # 9 at (0, 1) won two windows: 1 + 2; 8 at (1, 2) two: -1 + 3; 9 at (3, 3) four.
        dx = np.zeros((5, 5))
        dx[0, 1], dx[1, 2], dx[3, 3], dx[3, 1] = 3, 2, 1 + 2 - 3 + 4, 2
        assert np.array_equal(lesson.arrays["dx"], dx)

    @settings(deadline=None, max_examples=40)
    @given(st.data())
    def test_every_step_of_any_pooling(self, data):
        H, W = (data.draw(st.integers(1, 6)) for _ in range(2))
        pad = data.draw(st.integers(0, 1))
        size = tuple(data.draw(st.integers(1 + pad, min(n + 2 * pad, 4))) for n in (H, W))
        strides = tuple(data.draw(st.integers(1, 3)) for _ in range(2))
        random = np.random.default_rng(data.draw(st.integers(0, 99)))
        # Few different values: ties are common.
        x = random.integers(-3, 4, (H, W)).astype(float)
        y, at, dy, running = pool_by_hand(
            x, size, strides, pad, lambda shape: random.integers(-3, 4, shape).astype(float)
        )
        lesson = teach.maxpool(x, size, strides, pad, dy)
        assert np.array_equal(lesson.arrays["y"], y)
        assert np.array_equal(lesson.arrays["indices"], at)
        assert np.array_equal(lesson.arrays["dx"], running[-1])
        forward, backward = lesson.frames[1 : 1 + y.size], lesson.frames[1 + y.size :]
        assert len(forward) == len(backward) == len(running) == y.size
        for step, (p, q) in enumerate(np.ndindex(y.shape)):
            ((inputs,), (outputs, positions)) = forward[step].columns
            cells = window(p, q, size, strides)
            assert list(map(tuple, np.argwhere(inputs.window))) == cells
            row, column = divmod(int(at[p, q]), W)
            assert np.argwhere(inputs.chosen).tolist() == [[row + pad, column + pad]]
            assert outputs.known.sum() == positions.known.sum() == step + 1
            ((arriving,), (gradients,)) = backward[step].columns
            assert np.argwhere(arriving.chosen).tolist() == [[p, q]]
            inner = gradients.values[pad : pad + H, pad : pad + W]
            assert np.array_equal(inner, running[step])
            assert np.array_equal(gradients.small[~gradients.padding], x.ravel())

    def test_the_same_as_the_engine_for_every_padding(self):
        x = np.random.default_rng(0).standard_normal((5, 6, 2)).astype(np.float32)
        for padding in ("valid", "same", "same_lower", 1, ((1, 0), (0, 1))):
            lesson = teach.maxpool(x, 3, 2, padding)
            y, at = ops.max_pool2d(x[None], 3, 2, padding, return_indices=True)
            (dx,) = ops.gradient(lambda x, p=padding: ops.max_pool2d(x, 3, 2, p), x[None])
            assert lesson.arrays["y"].tobytes() == y[0].tobytes()
            assert lesson.arrays["indices"].tobytes() == at[0].tobytes()
            assert np.allclose(lesson.arrays["dx"], dx[0])
            assert len(lesson.frames) == 1 + 2 * y.size

    def test_captions_do_the_arithmetic(self):
        frames = teach.maxpool(X, 3, 1, dy=DY).frames
        assert frames[0].caption == "⌊(5 − 3) / 1⌋ + 1 = 3 rows and as many columns."
        assert frames[1].title == "forward, window 1 of 9"
        assert frames[1].caption == (
            "max(2, 9, 1, 4, 5, 8, 1, 3, 6) = 9, found in row 0, column 1: position 0 · 5 + 1 = 1."
        )
        assert frames[11].title == "backward, window 2 of 9"
        assert frames[11].caption == ("dy = 2 goes to the winner 9 in row 0, column 1: 1 + 2 = 3.")
        assert frames[12].caption.endswith("0 + (−1) = −1.")

    def test_says_which_of_equal_values_wins(self):
        first = teach.maxpool(np.ones((2, 2)), 2).frames[1]
        assert "row 0, column 0, the first of 4 equal ones" in first.caption

    def test_without_dy_it_is_ones(self):
        lesson = teach.maxpool(X, 2)
        assert lesson.arrays["dy"].tolist() == [[1, 1], [1, 1]]
        assert lesson.arrays["dx"].sum() == 4

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"x": np.ones(3)}, ShapeError, r"x has shape \(3,\), expected \(H, W\)"),
            ({"x": [["a"]]}, DtypeError, "expected numbers"),
            ({"x": np.ones((0, 3))}, ShapeError, "expected"),
            ({"pool_size": 6}, ShapeError, "larger than the input"),
            ({"pool_size": 0}, ArgumentError, "pool_size"),
            ({"padding": "some"}, ArgumentError, "padding"),
            ({"dy": np.ones((2, 3))}, ShapeError, r"expected \(3, 3\), that of the output"),
            ({"dy": [["a"] * 3] * 3}, DtypeError, "dy"),
            ({"x": np.ones((40, 40)), "pool_size": 1}, ArgumentError, "at most 1,000"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, words):
        with pytest.raises(error, match=words):
            teach.maxpool(**{"x": X, "pool_size": 3, "strides": 1, **arguments})


def conv_by_hand(x, kernel, strides, pad, dilation, dy_of):
    """y and the running dx and dkernel of a convolution (H, W, C) with (R, S, C, K)."""
    H, W, _ = x.shape
    R, S, _, K = kernel.shape
    padded = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    reach = [(n - 1) * d + 1 for n, d in zip((R, S), dilation, strict=True)]
    P, Q = (1 + (n + 2 * pad - r) // s for n, r, s in zip((H, W), reach, strides, strict=True))
    y = np.zeros((P, Q, K))
    dy = dy_of((P, Q, K))
    dx, dkernel, running = np.zeros_like(padded), np.zeros_like(kernel), []
    for k, p, q in np.ndindex(K, P, Q):
        for (row, column), (r, s) in zip(
            window(p, q, (R, S), strides, dilation), np.ndindex(R, S), strict=True
        ):
            y[p, q, k] += padded[row, column] @ kernel[r, s, :, k]
            dx[row, column] += dy[p, q, k] * kernel[r, s, :, k]
            dkernel[r, s, :, k] += dy[p, q, k] * padded[row, column]
        running.append((dx[pad : pad + H, pad : pad + W].copy(), dkernel.copy()))
    return y, dy, running


class TestConv:
    def test_an_edge_filter(self):
        lesson = teach.conv(X, KERNEL, strides=2, padding=1)
        assert lesson.frames[0].caption == (
            "⌊(5 + 1 + 1 − 3) / 2⌋ + 1 = 3 rows and as many columns."
        )
        assert lesson.arrays["y"].shape == (3, 3)
        assert lesson.frames[5].caption == (
            "5·1 + 8·0 + 2·(−1) + 3·2 + 6·0 + 4·(−2) + 7·1 + 2·0 + 9·(−1) = −1."
        )
        assert lesson.arrays["y"][1, 1] == -1

    def test_dilation_in_the_formula(self):
        lesson = teach.conv(X, np.ones((2, 2)), dilation_rate=3)
        formula = "⌊(5 − ((2 − 1) · 3 + 1)) / 1⌋ + 1 = 2 rows and as many columns."
        assert lesson.frames[0].caption == formula

    @settings(deadline=None, max_examples=30)
    @given(st.data())
    def test_every_step_of_any_convolution(self, data):
        def draw(low, high):
            return data.draw(st.integers(low, high))

        H, W, C, K, pad = draw(1, 5), draw(1, 5), draw(1, 2), draw(1, 2), draw(0, 2)
        dilation = draw(1, 2), draw(1, 2)
        R, S = (
            draw(1, min(3, (n + 2 * pad - 1) // d + 1))
            for n, d in zip((H, W), dilation, strict=True)
        )
        strides = draw(1, 3), draw(1, 3)
        random = np.random.default_rng(draw(0, 99))
        x = random.integers(-3, 4, (H, W, C)).astype(float)
        kernel = random.integers(-3, 4, (R, S, C, K)).astype(float)
        y, dy, running = conv_by_hand(
            x, kernel, strides, pad, dilation, lambda s: random.integers(-3, 4, s).astype(float)
        )
        lesson = teach.conv(x, kernel, strides, pad, dilation, dy)
        assert np.array_equal(lesson.arrays["y"], y)
        assert np.array_equal(lesson.arrays["dx"], running[-1][0])
        assert np.array_equal(lesson.arrays["dkernel"], running[-1][1])
        steps = list(np.ndindex(K, *y.shape[:2]))
        forward, backward = lesson.frames[1 : 1 + y.size], lesson.frames[1 + y.size :]
        for (k, p, q), ahead, back, (dx, dkernel) in zip(
            steps, forward, backward, running, strict=True
        ):
            inputs, kernels, (outputs,) = ahead.columns
            cells = window(p, q, (R, S), strides, dilation)
            assert all(list(map(tuple, np.argwhere(i.window))) == cells for i in inputs)
            assert [plane.values.tolist() for plane in kernels] == [
                kernel[:, :, c, k].tolist() for c in range(C)
            ]
            assert outputs.values[outputs.chosen].tolist() == [y[p, q, k]]
            _, gradients, kernel_gradients = back.columns
            for c in range(C):
                inner = gradients[c].values[pad : pad + H, pad : pad + W]
                assert np.array_equal(inner, dx[..., c])
                assert np.array_equal(kernel_gradients[c].values, dkernel[:, :, c, k])

    def test_planes_come_back_as_planes(self):
        lesson = teach.conv(X, KERNEL, padding="same")
        shapes = {name: array.shape for name, array in lesson.arrays.items()}
        assert shapes == {"y": (5, 5), "dy": (5, 5), "dx": (5, 5), "dkernel": (3, 3)}

    def test_float64_stays(self):
        lesson = teach.conv(X.astype(np.float32), KERNEL / 3)
        assert {array.dtype.name for array in lesson.arrays.values()} == {"float64"}
        assert {a.dtype.name for a in teach.maxpool(X, 2).arrays.values()} == {"float64", "int32"}

    def test_many_products_are_not_listed(self):
        caption = teach.conv(np.ones((4, 4)), np.ones((4, 4))).frames[1].caption
        assert caption == "The sum of 16 products, window times kernel: 16."

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"kernel": np.ones((3, 3, 1, 1))}, ShapeError, r"kernel .* expected \(R, S\)$"),
            ({"x": np.ones((5, 5, 3))}, ShapeError, r"expected \(R, S, C, K\)"),
            (
                {"x": np.ones((5, 5, 3)), "kernel": np.ones((3, 3, 2, 1))},
                ShapeError,
                r"x has 3 channels .* takes 2; give a kernel of shape \(R, S, 3, K\)",
            ),
            ({"kernel": np.ones((6, 6))}, ShapeError, "larger than the input"),
            ({"strides": 0}, ArgumentError, "strides"),
            ({"dilation_rate": (1, 2, 3)}, ArgumentError, "dilation_rate"),
            ({"dy": 1.0}, ShapeError, "dy has shape"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, words):
        with pytest.raises(error, match=words):
            teach.conv(**{"x": X, "kernel": KERNEL, **arguments})


def field_by_formula(kernel_size, strides, dilation):
    """1 + the sum of (k - 1) d times the strides below."""
    size, jump, sizes = 1, 1, []
    for k, s, d in zip(kernel_size, strides, dilation, strict=True):
        size += (k - 1) * d * jump
        jump *= s
        sizes.append(size)
    return sizes


class TestReceptiveField:
    @pytest.mark.parametrize(
        ("arguments", "sizes"),
        [
            ({}, [3, 5, 7]),
            ({"dilation_rate": (1, 2, 4)}, [3, 7, 15]),
            ({"kernel_size": (3, 3), "strides": 2}, [3, 7]),
            ({"kernel_size": (3, 3), "strides": 2, "padding": 1, "inputs": 5}, [3, 7]),
        ],
    )
    def test_of_the_lecture(self, arguments, sizes):
        assert teach.receptive_field(**arguments).arrays["sizes"].tolist() == sizes

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.tuples(*[st.integers(1, 3)] * 3), min_size=1, max_size=4))
    def test_is_what_the_formula_says(self, layers):
        kernel_size, strides, dilation = zip(*layers, strict=True)
        expected = field_by_formula(*zip(*layers, strict=True))
        if expected[-1] + 2 * np.prod(strides) > 128:
            with pytest.raises(ArgumentError, match="at most 12 over 128"):
                teach.receptive_field(kernel_size, strides, dilation)
            return
        lesson = teach.receptive_field(kernel_size, strides, dilation)
        assert lesson.arrays["sizes"].tolist() == expected
        assert (lesson.arrays["counts"] <= lesson.arrays["sizes"]).all()
        # One frame per layer and level below it; the last level is the inputs.
        assert len(lesson.frames) == sum(range(1, len(layers) + 1))
        reached = np.flatnonzero(lesson.frames[-1].reached[0])
        assert reached[-1] - reached[0] + 1 == expected[-1]
        assert len(reached) == lesson.arrays["counts"][-1]

    def test_dilation_without_a_dense_layer_leaves_gaps(self):
        lesson = teach.receptive_field((3, 3), 1, 2)
        assert lesson.arrays["sizes"].tolist() == [5, 9]
        assert lesson.arrays["counts"].tolist() == [3, 5]
        assert "depends on 3 inputs" in lesson.frames[0].caption
        assert "with gaps, which span 5: its receptive field is 5" in lesson.frames[0].caption

    def test_says_what_lies_in_the_padding(self):
        lesson = teach.receptive_field((3, 3), 2, 1, 1, inputs=5)
        assert lesson.frames[-1].caption == (
            "One unit of layer 2 depends on 4 inputs, 0 to 3: its receptive field is 7, of which "
            "3 lie in the padding."
        )

    def test_draws_what_dilation_skips(self):
        dense, dilated = (teach.receptive_field((3,), 1, d).frames[0] for d in (1, 2))
        assert [list(frame._skipped(0)) for frame in (dense, dilated)] == [[], [(1, 2), (1, 4)]]
        assert dilated.caption.endswith("Dotted: what dilation skips.")
        assert "Dotted" not in dense.caption

    def test_as_text(self):
        text = teach.receptive_field((3, 3), inputs=5).frames[-1].text()
        assert text.splitlines() == [
            "layer 2, unit 0: down to the inputs",
            "layer 2        ●",
            "layer 1     ●  ●  ●",
            "inputs   ●  ●  ●  ●  ●",
            "One unit of layer 2 depends on 5 inputs, 0 to 4: its receptive field is 5.",
        ]

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"kernel_size": ()}, ArgumentError, "kernel_size"),
            ({"kernel_size": (3, 0)}, ArgumentError, "kernel_size"),
            ({"strides": (1, 2)}, ArgumentError, "found 2 numbers in strides, expected one, or"),
            ({"inputs": 4}, ShapeError, "layer 2: .* larger than the input"),
            ({"unit": 3}, ArgumentError, "found unit=3, expected at most 2 in layer 3"),
            ({"inputs": 200}, ArgumentError, "200 inputs, expected at most"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, words):
        with pytest.raises(error, match=words):
            teach.receptive_field(**arguments)


LESSON = teach.maxpool(X[:2, :3], 2, 1)


class TestFiles:
    def test_text(self, tmp_path):
        path = LESSON.save(tmp_path / "new" / "pool.txt")
        assert path.read_text() == str(LESSON)
        blocks = str(LESSON).split("\n\n")
        assert blocks[0] == "max pooling 2×2, stride 1, no padding"
        assert blocks[2].splitlines()[:4] == [
            "forward, window 1 of 2",
            "x            y",
            "(2)[9] 1     [9] .",
            "(4)(5) 8",
        ]

    def test_gif_has_all_frames(self, tmp_path):
        with Image.open(LESSON.save(tmp_path / "pool.gif", milliseconds=500)) as animation:
            assert animation.n_frames == len(LESSON.frames) == 5
            durations = []
            for number_ in range(5):
                animation.seek(number_)
                durations.append(animation.info["duration"])
                assert animation.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert durations == [500] * 4 + [1500]
        assert animation.info["loop"] == 0

    def test_gif_shows_what_png_shows(self, tmp_path):
        """Animations keep only what changes from frame to frame; nothing may get lost."""
        with (
            Image.open(LESSON.save(tmp_path / "pool.gif")) as animation,
            Image.open(LESSON.save(tmp_path / "pool.png", columns=1)) as sheet,
        ):
            pictures = np.array_split(np.asarray(sheet.convert("RGB")), len(LESSON.frames))
            for number_, picture in enumerate(pictures):
                animation.seek(number_)
                assert np.array_equal(np.asarray(animation.convert("RGB")), picture)

    def test_png_is_a_sheet_or_one_frame(self, tmp_path):
        sizes = {}
        for name, arguments in {
            "row": {"columns": 5},
            "column": {"columns": 1},
            "last": {"frame": -1},
            "two": {"frame": (0, 4), "columns": 5},
        }.items():
            with Image.open(LESSON.save(tmp_path / f"{name}.png", **arguments)) as image:
                sizes[name] = image.size
        assert sizes["row"][0] == 5 * sizes["column"][0]
        assert sizes["column"][1] == 5 * sizes["row"][1]
        assert sizes["two"][0] == 2 * sizes["last"][0]
        assert sizes["last"][1] <= sizes["row"][1]

    def test_text_stays_inside(self, tmp_path):
        """The border of every frame is white: nothing is cut off."""
        wide = teach.conv(X[:2, :3], np.full((2, 2), -0.3333), 2, 1, 2)
        for lesson in (wide, teach.receptive_field((3, 3), 1, (1, 2))):
            with Image.open(lesson.save(tmp_path / "sheet.png", columns=1)) as image:
                pixels = np.asarray(image.convert("RGB"))
            assert (pixels[:, :4] == 255).all()
            assert (pixels[:, -4:] == 255).all()
            assert (pixels[:4] == 255).all()
            assert (pixels[-4:] == 255).all()
            assert (pixels < 128).any()

    def test_the_same_file_twice(self, tmp_path):
        files = [LESSON.save(tmp_path / f"{i}.gif").read_bytes() for i in range(2)]
        assert files[0] == files[1]

    def test_notebooks_show_the_animation(self):
        html = LESSON._repr_html_()
        assert html.startswith('<img alt="max pooling 2×2')
        assert "data:image/gif;base64,R0lGOD" in html

    @pytest.mark.parametrize(
        ("name", "arguments", "words"),
        [
            ("pool.bmp", {}, "expected one of '.txt', '.png', '.gif'"),
            ("pool", {}, "found ending=''"),
            ("pool.png", {"frame": 5}, "found frame=5, expected -5 to 4"),
            ("pool.png", {"frame": "all"}, "frame"),
            ("pool.png", {"columns": 0}, "columns"),
            ("pool.gif", {"milliseconds": 0}, "milliseconds"),
        ],
    )
    def test_wrong_arguments_write_nothing(self, tmp_path, name, arguments, words):
        with pytest.raises(ArgumentError, match=words):
            LESSON.save(tmp_path / name, **arguments)
        assert not list(tmp_path.iterdir())

    def test_sheets_have_an_end(self, tmp_path):
        lesson = teach.maxpool(np.ones((6, 6)), 1)
        with pytest.raises(ArgumentError, match=r"73 frames .* at most 60; choose some"):
            lesson.save(tmp_path / "sheet.png")
        assert lesson.save(tmp_path / "few.png", frame=range(3)).exists()

    def test_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FileError, match="cannot make the folder"):
            LESSON.save(tmp_path / "file" / "pool.txt")

    def test_without_matplotlib(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(MissingDependencyError, match=r'pip install "fastcnn\[plot\]"'):
            LESSON.save(tmp_path / "pool.png")
        assert LESSON.save(tmp_path / "pool.txt").exists()

    def test_importing_brings_no_matplotlib(self):
        code = "import sys, fastcnn.teach; assert not {'matplotlib', 'PIL'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_are_short():
    values = [2.0, -0.0, -1.5, 1 / 3, 12345.678, float("nan")]
    assert [number(v) for v in values] == ["2", "0", "−1.5", "0.3333", "1.235e+04", "nan"]


def test_planes_do_not_move_while_numbers_grow():
    """Cells have the width of the longest number of all frames."""
    kernel = np.array([[0.1, -123.4], [1, 1 / 3]])
    for lesson in (teach.conv(X, kernel), teach.maxpool(X / 3, 3, 1, dy=DY / 7)):
        half = len(lesson.frames) // 2
        for frames in (lesson.frames[: half + 1], lesson.frames[half + 1 :]):
            sizes = {tuple(p.size() for column in f.columns for p in column) for f in frames}
            assert len(sizes) == 1
    wide, narrow = (teach.conv(x, kernel).frames[0].columns[0][0] for x in (X / 3, X))
    assert wide.cell()[0] > narrow.cell()[0]


def test_layers_of_one_dimension_see_as_much():
    """The same numbers as the analysis of a network."""
    lesson = teach.receptive_field((3, 5, 2), (1, 2, 1), (2, 1, 3))
    network = Sequential(
        [
            Input((40, 1)),
            layers.Conv1D(1, 3, dilation_rate=2, name="c1"),
            layers.Conv1D(1, 5, strides=2, name="c2"),
            layers.Conv1D(1, 2, dilation_rate=3, name="c3"),
        ]
    )
    sizes = [network.receptive_field(f"c{i}").size[0] for i in (1, 2, 3)]
    assert lesson.arrays["sizes"].tolist() == sizes


def test_pictures_keep_white_and_marks():
    """The palette has the colours that fill the most."""
    from fastcnn.teach import pictures
    from fastcnn.teach.grids import CHOSEN_TINT, WINDOW_TINT

    images = pictures.render(LESSON.title, LESSON.frames)
    assert len({image.shape for image in images}) == 1
    with Image.open(io.BytesIO(pictures.png(images[1]))) as image:
        colours = {f"#{r:02X}{g:02X}{b:02X}" for _, (r, g, b) in image.convert("RGB").getcolors()}
    assert {"#FFFFFF", WINDOW_TINT, CHOSEN_TINT} <= colours
