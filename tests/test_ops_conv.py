# SPDX-License-Identifier: Apache-2.0
"""Convolutions as users call them: values by hand, geometry, transposition, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.autodiff import gradient
from fastcnn.drawing import scope
from fastcnn.errors import ArgumentError, DtypeError, FastcnnError, ShapeError
from fastcnn.graph import Spec, placeholder
from fastcnn.ops.conv import Conv2D, Conv2DGradInput, Conv2DGradKernel
from fastcnn.ops.conv_depthwise import DepthwiseConv2D
from fastcnn.ops.geometry import normalize_padding, pair

Array = np.ndarray[Any, Any]


def ramp(*shape: int) -> Array:
    """1, 2, 3, ... as float32."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def delta(size: int, at: tuple[int, int]) -> Array:
    """A size x size filter that passes one tap of one channel on."""
    kernel = np.zeros((size, size, 1, 1), np.float32)
    kernel[at] = 1
    return kernel


def filters(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# --- values -------------------------------------------------------------------------------------


def test_values_by_hand() -> None:
    x = ramp(1, 3, 3, 1)
    kernel = np.array([[1, 0], [0, -1]], np.float32).reshape(2, 2, 1, 1)
    np.testing.assert_array_equal(ops.conv2d(x, kernel)[0, :, :, 0], [[-4, -4], [-4, -4]])


def test_lecture_chain_from_5_to_3_to_2() -> None:
    x, kernel = ramp(1, 5, 5, 1), np.ones((3, 3, 1, 1), np.float32)
    middle = ops.conv2d(x, kernel, strides=2, padding=1)
    assert middle.shape == (1, 3, 3, 1)
    assert middle[0, 0, 0, 0] == 1 + 2 + 6 + 7
    assert middle[0, 1, 1, 0] == 9 * 13
    last = ops.conv2d(middle, kernel, strides=2, padding=1)
    assert last.shape == (1, 2, 2, 1)
    assert last[0, 0, 0, 0] == middle[0, :2, :2].sum()


def test_delta_in_the_middle_is_the_identity() -> None:
    x = ramp(2, 4, 6, 1)
    np.testing.assert_array_equal(ops.conv2d(x, delta(3, (1, 1)), padding="same"), x)


def test_delta_shifts_and_padding_is_zero() -> None:
    x = ramp(1, 3, 3, 1)
    shifted = ops.conv2d(x, delta(3, (0, 2)), padding=1)[0, :, :, 0]
    np.testing.assert_array_equal(shifted, [[0, 0, 0], [2, 3, 0], [5, 6, 0]])


def test_same_and_same_lower_differ_by_the_odd_pixel() -> None:
    x, centre = ramp(1, 4, 4, 1), delta(3, (1, 1))
    upper = ops.conv2d(x, centre, strides=2, padding="same")[0, :, :, 0]
    lower = ops.conv2d(x, centre, strides=2, padding="same_lower")[0, :, :, 0]
    np.testing.assert_array_equal(upper, x[0, 1::2, 1::2, 0])
    np.testing.assert_array_equal(lower, x[0, ::2, ::2, 0])


@pytest.mark.parametrize("padding", ["valid", "same", "same_lower", 2, ((0, 1), (2, 3))])
@pytest.mark.parametrize("strides", [1, 2, (3, 1)])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
def test_padding_equals_padding_by_hand(padding: Any, strides: Any, dilation: Any) -> None:
    x, kernel = noise(2, 9, 8, 3), noise(3, 2, 3, 4, seed=1)
    op = Conv2D(
        strides=pair(strides, "strides"),
        padding=normalize_padding(padding),
        dilations=pair(dilation, "dilation_rate"),
    )
    top, bottom, left, right = op.pads((9, 8), (3, 2))
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    keywords = {"strides": strides, "dilation_rate": dilation}
    found = ops.conv2d(x, kernel, padding=padding, **keywords)
    np.testing.assert_allclose(found, ops.conv2d(padded, kernel, **keywords), atol=1e-12)


def test_dilation_equals_a_filter_with_holes() -> None:
    x, kernel = noise(1, 11, 9, 2), noise(3, 2, 2, 3, seed=1)
    holes = np.zeros((5, 4, 2, 3))
    holes[::2, ::3] = kernel
    found = ops.conv2d(x, kernel, dilation_rate=(2, 3), strides=2, padding=1)
    np.testing.assert_allclose(found, ops.conv2d(x, holes, strides=2, padding=1), atol=1e-12)


def test_groups_equal_separate_convolutions() -> None:
    x, kernel = noise(2, 6, 5, 6), noise(3, 3, 2, 9, seed=1)
    parts = [
        ops.conv2d(x[..., 2 * g : 2 * g + 2], kernel[..., 3 * g : 3 * g + 3]) for g in range(3)
    ]
    np.testing.assert_allclose(
        ops.conv2d(x, kernel, groups=3), np.concatenate(parts, axis=-1), atol=1e-12
    )


def test_depthwise_equals_as_many_groups_as_channels() -> None:
    x, kernel = noise(2, 6, 5, 4), noise(3, 2, 4, 3, seed=1)
    grouped = ops.conv2d(x, kernel.reshape(3, 2, 1, 12), groups=4, padding="same", strides=2)
    found = ops.depthwise_conv2d(x, kernel, padding="same", strides=2)
    np.testing.assert_allclose(found, grouped, atol=1e-12)


def test_float32_kernels_agree_with_the_reference() -> None:
    x, kernel = noise(2, 17, 13, 20), noise(3, 3, 20, 33, seed=1)
    exact = ops.conv2d(x, kernel, strides=2, padding="same")
    found = ops.conv2d(x.astype("float32"), kernel.astype("float32"), strides=2, padding="same")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)


def test_bias_is_added_to_every_pixel() -> None:
    x, bias = ramp(1, 3, 3, 2), np.array([10, 20, 30], np.float32)
    for function, kernel in (
        (ops.conv2d, noise(2, 2, 2, 3).astype("float32")),
        (ops.conv2d_transpose, noise(2, 2, 3, 2).astype("float32")),
    ):
        np.testing.assert_allclose(function(x, kernel, bias), function(x, kernel) + bias, rtol=1e-6)
    wide = noise(2, 2, 2, 2).astype("float32")
    bias = np.array([1, 2, 3, 4], np.float32)
    plain = ops.depthwise_conv2d(x, wide)
    np.testing.assert_allclose(ops.depthwise_conv2d(x, wide, bias), plain + bias, rtol=1e-6)


def test_an_empty_batch_gives_an_empty_batch() -> None:
    kernel = np.ones((3, 3, 2, 5), np.float32)
    assert ops.conv2d(np.zeros((0, 4, 4, 2), np.float32), kernel).shape == (0, 2, 2, 5)


# --- transposed convolution ---------------------------------------------------------------------


def scatter(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Every input pixel stamps its filter on the output, nothing cut off."""
    N, h, w, _ = x.shape
    R, S, K, _ = kernel.shape
    shape = [(n - 1) * stride + (k - 1) * dilation + 1 for n, k in ((h, R), (w, S))]
    y = np.zeros((N, *shape, K))
    for i in range(h):
        for j in range(w):
            stamp = np.einsum("nc,rskc->nrsk", x[:, i, j], kernel)
            top, left = i * stride, j * stride
            rows = slice(top, top + (R - 1) * dilation + 1, dilation)
            y[:, rows, left : left + (S - 1) * dilation + 1 : dilation] += stamp
    return y


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_transposed_valid_is_the_full_scatter(stride: int, taps: int, dilation: int) -> None:
    x, kernel = noise(2, 4, 3, 2), noise(taps, taps, 3, 2, seed=1)
    full = scatter(x, kernel, stride, dilation)
    found = ops.conv2d_transpose(x, kernel, strides=stride, dilation_rate=dilation)
    reach = (taps - 1) * dilation + 1
    assert found.shape == (2, *((n - 1) * stride + max(reach, stride) for n in (4, 3)), 3)
    inner = found[:, : full.shape[1], : full.shape[2]]
    np.testing.assert_allclose(inner, full, atol=1e-12)
    assert found.sum() == pytest.approx(full.sum()), "what lies beyond the scatter is zero"


def keras_same(size: int, taps: int, stride: int, extra: int | None) -> tuple[int, int]:
    """Keras' rule for "same": (output size, pixels cut off before)."""
    before_full = taps - 1
    if extra is None:
        length, pad = size * stride, stride + taps - 2
    else:
        length = (size - 1) * stride + taps % 2 + extra
        pad = taps + taps % 2 - 2 + extra
    return length, before_full - min(-(-pad // 2), taps - 1)


@pytest.mark.parametrize("extra", [None, 0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_transposed_same_cuts_as_keras(
    extra: int | None, stride: int, taps: int, dilation: int
) -> None:
    if extra is not None and extra >= stride:
        with pytest.raises(ArgumentError, match="less than the strides"):
            ops.conv2d_transpose(
                noise(1, 2, 2, 1), noise(1, 1, 1, 1), strides=stride, output_padding=extra
            )
        return
    x, kernel = noise(1, 4, 3, 2), noise(taps, taps, 3, 2, seed=1)
    found = ops.conv2d_transpose(
        x, kernel, strides=stride, padding="same", output_padding=extra, dilation_rate=dilation
    )
    reach = (taps - 1) * dilation + 1
    (H, top), (W, left) = (keras_same(n, reach, stride, extra) for n in (4, 3))
    full = np.pad(scatter(x, kernel, stride, dilation), ((0, 0), (0, H), (0, W), (0, 0)))
    np.testing.assert_allclose(found, full[:, top : top + H, left : left + W], atol=1e-12)


def test_transposed_output_padding_adds_zero_pixels_to_valid() -> None:
    x, kernel = noise(1, 3, 3, 2), noise(3, 3, 4, 2, seed=1)
    plain = ops.conv2d_transpose(x, kernel, strides=2)
    extended = ops.conv2d_transpose(x, kernel, strides=2, output_padding=(1, 0))
    assert plain.shape == (1, 7, 7, 4)
    assert extended.shape == (1, 8, 7, 4)
    np.testing.assert_array_equal(extended[:, :7], plain)
    assert not extended[:, 7].any()


def test_transposed_padding_in_pixels_cuts_them_off() -> None:
    x, kernel = noise(1, 4, 4, 2), noise(3, 3, 3, 2, seed=1)
    full = ops.conv2d_transpose(x, kernel, strides=2)
    cut = ops.conv2d_transpose(x, kernel, strides=2, padding=((1, 0), (0, 2)))
    np.testing.assert_allclose(cut, full[:, 1:, :-2], atol=1e-12)


def test_transposed_is_the_adjoint_of_convolution() -> None:
    x, y = noise(1, 8, 6, 3), noise(1, 4, 3, 5, seed=1)
    kernel = noise(3, 3, 3, 5, seed=2)
    forward = ops.conv2d(x, kernel, strides=2, padding="same")
    backward = ops.conv2d_transpose(y, kernel, strides=2, padding="same")
    assert (forward * y).sum() == pytest.approx((x * backward).sum())


def test_transposed_convolution_has_gradients() -> None:
    x, kernel = noise(1, 3, 3, 2), noise(3, 3, 4, 2, seed=1)

    def total(x: Any, kernel: Any) -> Any:
        y = ops.conv2d_transpose(x, kernel, strides=2, padding="same")
        return ops.multiply(y, y)

    dx, dw = gradient(total, x, kernel)
    step = 1e-6
    for array, found in ((x, dx), (kernel, dw)):
        flat, slopes = array.reshape(-1), found.reshape(-1)
        for i in range(0, flat.size, 5):
            value, sums = flat[i], []
            for sign in (1, -1):
                flat[i] = value + sign * step
                y = ops.conv2d_transpose(x, kernel, strides=2, padding="same")
                sums.append((y * y).sum())
            flat[i] = value
            assert slopes[i] == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-5, abs=1e-5)


# --- while a model is drawn ---------------------------------------------------------------------


def test_unknown_sizes_stay_unknown() -> None:
    x, kernel = placeholder((None, None, 9, 3)), filters(3, 3, 3, 5)
    assert ops.conv2d(x, kernel, padding=1, strides=2).shape == (None, None, 5, 5)
    assert ops.depthwise_conv2d(x, kernel).shape == (None, None, 7, 15)
    transposed = ops.conv2d_transpose(x, filters(3, 3, 4, 3), strides=2, padding="same")
    assert transposed.shape == (None, None, 18, 4)


def test_macs() -> None:
    x, kernel, y = Spec((2, 8, 8, 6)), Spec((3, 3, 2, 9)), Spec((2, 6, 6, 9))
    wanted = 2 * 6 * 6 * 9 * 3 * 3 * 2
    assert Conv2D(groups=3).macs(x, kernel) == wanted
    assert Conv2DGradInput(input_size=(8, 8), groups=3).macs(y, kernel) == wanted
    assert Conv2DGradKernel(kernel_size=(3, 3), groups=3).macs(x, y) == wanted
    assert DepthwiseConv2D().macs(x, Spec((3, 3, 6, 2))) == 2 * 6 * 6 * 12 * 9


# --- bad input ----------------------------------------------------------------------------------

IMAGE = np.zeros((1, 8, 8, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: ops.conv2d(IMAGE[0], filters(3, 3, 4, 2)), ShapeError, r"rank 3, expected rank 4"),
        (lambda: ops.conv2d(IMAGE, filters(3, 3, 4)), ShapeError, r"the kernel has shape .*rank 4"),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 3, 2)),
            ShapeError,
            r"input has 4 channels but the kernel .* takes 3 .* shape \(3, 3, 4, 2\)",
        ),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 1, 6), groups=3),
            ShapeError,
            r"groups \(=3\) must divide input channels \(=4\); try groups=2",
        ),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 2, 3), groups=2),
            ShapeError,
            r"groups \(=2\) must divide filters \(=3\)",
        ),
        (lambda: ops.conv2d(IMAGE, filters(3, 3, 0, 2)), ShapeError, r"sizes of at least 1"),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 9, 4, 2)),
            ShapeError,
            r"kernel's width 9 is larger than the input's 8",
        ),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 4, 2), dilation_rate=4),
            ShapeError,
            r"height 3 \(9 with dilation 4\)",
        ),
        (
            lambda: ops.conv2d(IMAGE[:, :0], filters(1, 1, 4, 2)),
            ShapeError,
            r"input's height is 0, expected at least 1",
        ),
        (lambda: ops.conv2d(IMAGE, filters(3, 3, 4, 2), strides=0), ArgumentError, r"strides is 0"),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 4, 2), padding=-1),
            ArgumentError,
            r"padding is -1",
        ),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 4, 2), dilation_rate=(1, -2)),
            ArgumentError,
            r"dilation_rate is \(1, -2\)",
        ),
        (lambda: ops.conv2d(IMAGE, filters(3, 3, 4, 2), groups=0), ArgumentError, r"groups is 0"),
        (
            lambda: ops.conv2d(IMAGE.astype(int), filters(3, 3, 4, 2)),
            DtypeError,
            r"found int64 for input 0",
        ),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 4, 2).astype(float)),
            DtypeError,
            r"float32 and float64",
        ),
        (
            lambda: ops.conv2d(IMAGE, filters(3, 3, 4, 2), filters(3)),
            ShapeError,
            r"bias has shape \(3,\), expected \(2,\)",
        ),
        (
            lambda: ops.depthwise_conv2d(IMAGE, filters(3, 3, 3, 2)),
            ShapeError,
            r"input has 4 channels but the kernel .* filters for 3",
        ),
        (
            lambda: ops.conv2d_transpose(IMAGE, filters(3, 3, 4, 2)),
            ShapeError,
            r"input has 4 channels but the kernel .* takes 2",
        ),
        (
            lambda: ops.conv2d_transpose(IMAGE, filters(3, 3, 4, 4), strides=2, output_padding=2),
            ArgumentError,
            r"output_padding is 2",
        ),
        (
            lambda: ops.conv2d_transpose(IMAGE, filters(3, 3, 4, 4), padding=5),
            ShapeError,
            r"leave an output of 0",
        ),
    ],
)
def test_errors_say_what_was_found_and_expected(
    call: Any, error: type[FastcnnError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        call()
    assert str(raised.value).startswith("ops.")


def test_errors_name_the_layer() -> None:
    x = placeholder((None, 8, 8, 4))
    with scope("stem"), pytest.raises(ShapeError, match=r"^layer 'stem' \(conv2d\): .*width 9"):
        ops.conv2d(x, filters(3, 9, 4, 2))
    with scope("stem"), pytest.raises(ArgumentError, match=r"^layer 'stem' \(conv2d\): strides"):
        ops.conv2d(x, filters(3, 3, 4, 2), strides=0)


def test_gradients_of_other_sizes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"dy has height 6, but a 3x3 filter .* 9x8 gives 7"):
        Conv2DGradInput(input_size=(9, 8)).infer(Spec((1, 6, 6, 2)), Spec((3, 3, 4, 2)))
    with pytest.raises(ShapeError, match="x has batch 2 but dy 1"):
        Conv2DGradKernel(kernel_size=(3, 3)).infer(Spec((2, 8, 8, 4)), Spec((1, 6, 6, 2)))
