# SPDX-License-Identifier: Apache-2.0
"""Receptive fields: published numbers, and boxes held against what changing pixels changes.

Models under test have positive weights, so that more at any pixel that matters is more everywhere:
a pixel matters if and only if raising it changes the unit.
"""

import math

import numpy as np
import pytest

from fastcnn import Input, Model, Sequential, analysis, applications, config, layers, ops
from fastcnn.analysis.boxes import boxes
from fastcnn.analysis.dependence import steps
from fastcnn.analysis.lines import Line, lines
from fastcnn.autodiff import evaluate
from fastcnn.errors import ArgumentError, FastcnnError, ShapeError
from fastcnn.graph import placeholder
from fastcnn.initializers import RandomUniform
from fastcnn.ops.registry import BY_NAME

# No layer draws these: they stand in for others in plans.
MADE_BY_PASSES = (
    "packed",
    "fused",
    "winograd",
    "filters",
    "preactivated",
    "_values",
    "copy_",
    "interleave_",
    "space_to_depth",
)

POSITIVE = RandomUniform(0.5, 1.5, seed=1)


def chain(*stages, shape=(40, 1)):
    return Sequential([Input(shape), *stages])


# --- published numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variant", "size"),
    [
        ("VGG16", None, 212),
        ("AlexNet", None, 195),
        ("MobileNet", None, 315),
        ("ResNet50", "paper", 483),
        ("ResNet101", "paper", 1027),
        ("ResNet152", "paper", 1507),
        ("ResNet50", "torchvision", 427),
        ("ResNet101", "torchvision", 971),
        ("ResNet152", "torchvision", 1451),
        ("ResNet18", None, 435),
        ("ResNet34", None, 899),
        ("InceptionV3", None, 1311),
        ("InceptionResNetV2", None, 3039),
    ],
)
def test_networks_see_what_papers_say(name, variant, size):
    kwargs = {} if variant is None else {"variant": variant}
    network = applications.get(name)(include_top=False, **kwargs)
    field = network.receptive_field(input_shape=(224, 224, 3))
    assert field.size == (size, size)
    assert field.stride == (32, 32)


def test_vgg16_before_its_last_pooling_and_behind_all():
    network = applications.VGG16()
    assert network.receptive_field("features.28").size == (196, 196)
    whole = network.receptive_field("classifier.6")
    assert (whole.size, whole.stride, whole.padding) == ((224, 224), (0, 0), (0, 0))
    assert whole.box() == (slice(0, 224), slice(0, 224))


def test_the_slides():
    def sizes(*stages):
        model = chain(*stages)
        return [model.receptive_field(layer).size[0] for layer in model.layers if layer.weights]

    conv = layers.Conv1D
    assert sizes(conv(1, 3), conv(1, 3), conv(1, 3)) == [3, 5, 7]
    dilated = [conv(1, 3, dilation_rate=d) for d in (1, 2, 4)]
    assert sizes(*dilated) == [3, 7, 15]
    assert sizes(conv(1, 3, strides=2), conv(1, 3, strides=2)) == [3, 7]


# --- numbers by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "size", "stride", "padding", "center"),
    [
        ([layers.Conv1D(1, 5, strides=2, padding="same")], 5, 2, 1, 1.0),
        ([layers.Conv1D(1, 3, padding="causal")], 3, 1, 2, -1.0),
        ([layers.MaxPooling1D(2), layers.Conv1D(1, 3)], 6, 2, 0, 2.5),
        ([layers.ZeroPadding1D((4, 1)), layers.Conv1D(1, 3)], 3, 1, 4, -3.0),
        ([layers.Cropping1D((3, 2))], 1, 1, -3, 3.0),
        ([layers.UpSampling1D(2)], 1, 0.5, 0, 0.0),
        ([layers.UpSampling1D(2), layers.Conv1D(1, 3)], 2, 0.5, 0, 0.5),
        ([layers.GlobalAveragePooling1D()], 40, 0, 0, 19.5),
        ([layers.Flatten(), layers.Dense(2)], 40, 0, 0, 19.5),
        ([layers.Conv1D(1, 3, strides=2), layers.BatchNormalization(), layers.ReLU()], 3, 2, 0, 1),
    ],
)
def test_one_axis_by_hand(stages, size, stride, padding, center):
    field = chain(*stages).receptive_field()
    found = (field.size, field.stride, field.padding, field.center)
    assert found == ((size,), (stride,), (padding,), (center,))


def test_transposed_convolution_sees_one_or_two():
    """With three taps and stride 2, odd units lie under two filters, even ones under one."""
    model = chain(layers.Conv2DTranspose(1, 3, strides=2, padding="same"), shape=(6, 6, 1))
    field = model.receptive_field()
    assert (field.size, field.stride) == ((2, 2), (0.5, 0.5))
    assert [field.box((4, q))[1] for q in (4, 5, 6)] == [slice(1, 3), slice(2, 3), slice(2, 4)]


def test_branches_see_the_union_and_axes_differ():
    x = Input((30, 40, 2))
    wide = layers.Conv2D(3, (1, 7), padding="same")(x)
    tall = layers.Conv2D(3, (5, 1), padding="same", dilation_rate=(2, 1))(x)
    for joined in (layers.Add()([wide, tall]), layers.Concatenate()([wide, tall])):
        field = Model(x, joined).receptive_field()
        assert (field.size, field.padding) == ((9, 7), (4, 3))
        assert field.box((0, 39)) == (slice(0, 5), slice(36, 40))


def test_squeeze_and_excitation_sees_all():
    x = Input((8, 9, 2))
    y = layers.Conv2D(4, 3, padding="same")(x)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(y)
    field = Model(x, layers.Multiply()([y, squeezed])).receptive_field()
    assert (field.size, field.stride) == ((8, 9), (0, 0))
    assert field.box((2, 3)) == (slice(0, 8), slice(0, 9))


def test_fields_that_move_by_no_rule():
    """A branch of stride 2 joined with one of stride 1: numbers are those of this input."""
    x = Input((12, 1))
    fast = layers.Conv1D(1, 2, strides=2)(x)
    slow = layers.Cropping1D((0, 6))(x)
    field = Model(x, layers.Add()([fast, slow])).receptive_field()
    assert math.isnan(field.stride[0])
    assert field.size == (7,)
    assert field.box(5) == (slice(5, 12),)


def test_units_of_a_flattened_map_have_boxes_of_their_own():
    model = chain(layers.Conv2D(2, 3), layers.Flatten(), shape=(5, 6, 1))
    field = model.receptive_field()
    assert field.output_size == ()
    assert field.box() == (slice(0, 5), slice(0, 6))
    assert field.box((2 * (4 * 1 + 2),)) == (slice(1, 4), slice(2, 5))


def test_max_unpooling_sees_its_windows_and_no_more():
    x = Input((8, 8, 1))
    y, indices = layers.MaxPooling2D(2, return_indices=True)(x)
    field = Model(x, layers.MaxUnpooling2D(8)([y, indices])).receptive_field()
    assert field.box((3, 5)) == (slice(2, 4), slice(4, 6))


def test_layers_inside_models_and_of_several_inputs():
    inner = chain(layers.Conv2D(2, 3, name="a"), layers.Conv2D(2, 3, name="b"), shape=(9, 9, 1))
    x, other = Input((9, 9, 1), name="x"), Input((9, 9, 1), name="other")
    pooled = layers.MaxPooling2D(3, name="pooled")(other)
    y = layers.Concatenate(name="both")(
        [layers.MaxPooling2D(2)(inner(x)), layers.Cropping2D(((0, 1), (1, 0)))(pooled)]
    )
    model = Model([x, other], y)
    assert model.receptive_field("a").size == (3, 3)
    assert model.receptive_field(inner.layers[-1]).size == (5, 5)
    assert model.receptive_field(f"{inner.name}/b").layer == f"{inner.name}/b"
    assert model.receptive_field("both").size == (6, 6)
    assert model.receptive_field("both", input="other").size == (3, 3)
    assert model.receptive_field("x").box((4, 4)) == (slice(4, 5), slice(4, 5))
    nothing = model.receptive_field("pooled")
    assert nothing.size == (0, 0)
    assert nothing.box() == (slice(0, 0), slice(0, 0))


def test_ops_without_a_layer_count_too():
    x = Input((9, 9, 1))
    inner = ops.crop(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = ops.add(ops.max_pool2d(x, 3, 1), inner)
    assert Model(x, y).receptive_field().box((0, 0)) == (slice(0, 3), slice(0, 3))


def test_forward_ops_have_rules():
    """Only gradients, losses, updates and what passes make may depend on everything."""
    default = steps.dispatch(object)
    without = {name for name, op in BY_NAME.items() if steps.dispatch(op) is default}
    words = ("_grad", "_update", "cross_entropy", *MADE_BY_PASSES)
    assert [name for name in sorted(without) if not any(word in name for word in words)] == []


# --- perturbation ---------------------------------------------------------------------------------


def edges(box):
    """The box's first and last slice along each axis, as boxes."""
    for axis, side in enumerate(box):
        for place in {side.start, side.stop - 1}:
            yield tuple(slice(place, place + 1) if i == axis else s for i, s in enumerate(box))


def hold_against_changes(model, field, unit, x, run):
    """Raising all that is outside of the box changes nothing; raising any edge does."""
    box = field.box(unit)
    everywhere = np.zeros(x.shape[:-1], bool)
    inside = everywhere.copy()
    inside[box] = True
    changed = [x, np.where(inside[..., None], x, x + 1e6)]
    for edge in edges(box) if inside.any() else ():
        raised = everywhere.copy()
        raised[edge] = True
        changed.append(np.where(raised[..., None], x + 1e6, x))
    y = np.array([out[unit] for out in run(np.stack(changed))])
    assert (y[1] == y[0]).all(), (unit, box)
    for edge, values in zip(edges(box), y[2:], strict=True) if len(y) > 2 else ():
        assert (values != y[0]).any(), (unit, box, edge)


def some(rng, options):
    return options[rng.integers(len(options))]


def random_stage(rng, t):
    """A random layer on `t`, of any geometry."""
    kernel, strides = (
        (int(rng.integers(1, 5)), int(rng.integers(1, 5))),
        tuple(rng.integers(1, 4, 2)),
    )
    padding = some(rng, ["valid", "same", "same_lower", 1, ((0, 2), (1, 0))])
    dilation = tuple(rng.integers(1, 4, 2))
    filters = int(rng.integers(1, 3))
    conv = {"padding": padding, "kernel_initializer": POSITIVE}
    stages = [
        lambda: layers.Conv2D(filters, kernel, strides, dilation_rate=dilation, **conv),
        lambda: layers.Conv2D(filters, kernel, dilation_rate=dilation, activation="relu", **conv),
        lambda: layers.DepthwiseConv2D(kernel, strides, padding, depthwise_initializer=POSITIVE),
        lambda: layers.Conv2DTranspose(
            filters, kernel, strides, "same", kernel_initializer=POSITIVE
        ),
        lambda: layers.Conv2DTranspose(filters, kernel, (2, 1), kernel_initializer=POSITIVE),
        lambda: layers.MaxPooling2D(kernel, strides, "same"),
        lambda: layers.MaxPooling2D(kernel, strides, ceil_mode=True),
        lambda: layers.AveragePooling2D(kernel, strides, "same"),
        lambda: layers.UpSampling2D((2, 1), interpolation=some(rng, ["nearest", "bilinear"])),
        lambda: layers.ZeroPadding2D(((0, 2), (1, 3))),
        lambda: layers.Cropping2D(((1, 0), (0, 2))),
        lambda: layers.AdaptiveAveragePooling2D((4, 5)),
        lambda: layers.Resizing(7, 6, some(rng, ["nearest", "bilinear"])),
        layers.BatchNormalization,
    ]
    return some(rng, stages)()(t)


def random_joint(rng, a, b):
    """Two tensors of any sizes as one: resized, then added or concatenated."""
    _, height, width, channels = a.shape
    if b.shape[1:3] != (height, width):
        b = layers.Resizing(height, width, some(rng, ["nearest", "bilinear"]))(b)
    if rng.random() < 0.5:
        return layers.Concatenate()([a, b])
    b = layers.Conv2D(channels, 1, kernel_initializer=POSITIVE)(b)
    if rng.random() < 0.3:
        b = layers.GlobalMaxPooling2D(keepdims=True)(b)
    return layers.Add()([a, b])


def random_model(seed):
    rng = np.random.default_rng(seed)
    x = Input((int(rng.integers(7, 16)), int(rng.integers(7, 16)), int(rng.integers(1, 3))))
    known = [x]
    while len(known) < 7:
        try:
            y = random_stage(rng, some(rng, known[-3:]))
            if rng.random() < 0.4:
                y = random_joint(rng, y, some(rng, known))
        except FastcnnError:
            continue  # too large a window
        if max(y.shape[1:3]) <= 24:
            known.append(y)
    return Model(x, known[-1]), rng


@pytest.fixture
def float64():
    config.set_floatx("float64")
    yield
    config.set_floatx("float32")


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_depend_on_their_boxes_and_nothing_else(seed, float64):
    model, rng = random_model(seed)
    field = model.receptive_field()
    x = rng.random(model.inputs[0].shape[1:])
    P, Q = field.output_size
    units = {(0, 0), (P - 1, Q - 1), (P // 2, Q // 2), (0, Q // 2)}
    for unit in sorted(units):
        hold_against_changes(model, field, unit, x, model.predict_on_batch)
    low, high = field.boxes()
    for unit in np.ndindex(P, Q):
        sides = [
            slice(a, b + 1) if a <= b else slice(0, 0)
            for a, b in zip(low[unit], high[unit], strict=True)
        ]
        assert tuple(sides) == field.box(unit)


@pytest.mark.parametrize("seed", range(20, 40))
def test_boxes_lie_in_the_fields_of_an_image_without_borders(seed, float64):
    """Borders cut boxes and add nothing."""
    model, _ = random_model(seed)
    graph = model.graph()
    tensors = [outputs[0] for outputs in graph.trace.outputs.values()]
    found = boxes(graph.inputs[0], tensors)
    for axis in range(2):
        paths = lines(graph.inputs[0], 1 + axis, tensors)
        for line, box in zip(paths, found, strict=True):
            if isinstance(line, Line):
                low, high = (np.moveaxis(b[axis], line.axis, 0) for b in (box.low, box.high))
                periods, place = np.divmod(np.arange(len(low)), line.period)
                seen = low <= high
                begin, end = (b[place] + periods * line.jump for b in (line.low, line.high))
                column = (-1, *[1] * (low.ndim - 1))
                assert (low >= begin.reshape(column))[seen].all()
                assert (high <= end.reshape(column))[seen].all()


def positive(model, rows):
    """Random positive weights whose sums over a row of taps are about 1."""
    rng = np.random.default_rng(0)
    for parameter in model.trainable_weights:
        if len(parameter.shape) > 1:
            fan_in = math.prod(parameter.shape[:-1])
            if parameter.shape[-1] == 1:  # depthwise: each channel has its own
                fan_in = math.prod(parameter.shape[:2])
            taps = parameter.shape[0] if rows == 1 else 1
            value = rng.random(parameter.shape, np.float32) + np.float32(0.5)
            parameter.assign(value * np.float32(taps / fan_in))


@pytest.mark.parametrize(
    ("name", "kwargs", "rows", "columns"),
    [
        ("VGG16", {}, 32, 320),
        ("AlexNet", {}, 63, 255),
        ("MobileNet", {"alpha": 0.25}, 32, 352),
        ("ResNet18", {}, 1, 500),
        ("ResNet50", {"variant": "paper"}, 1, 544),
        ("ResNet152", {}, 1, 1504),
    ],
)
def test_networks_depend_on_their_boxes_and_nothing_else(name, kwargs, rows, columns, monkeypatch):
    """On a strip as wide as the field, in direct sums: Winograd's patches leak by rounding."""
    monkeypatch.setenv("FASTCNN_EXACT", "1")
    shape = (rows, columns, 3)
    network = applications.get(name)(include_top=False, **kwargs)
    positive(network, rows)
    field = network.receptive_field(input_shape=shape)
    unit = tuple(d // 2 for d in field.output_size)
    box = field.box(unit)
    assert box[1].stop - box[1].start == field.size[1]
    x = np.zeros((2, *shape), np.float32)
    x[0] = 1
    x[0, box[0], box[1]] = 0
    x[1, :, box[1].start] = 1
    beside, first = network.predict_on_batch(x)[(slice(None), *unit)]
    x[:] = 0
    x[0, :, box[1].stop - 1] = 1
    last, nothing = network.predict_on_batch(x)[(slice(None), *unit)]
    assert (beside == 0).all()
    assert (nothing == 0).all()
    assert (first > 0).all()
    assert (last > 0).all()


# --- rules of single ops --------------------------------------------------------------------------


def norm_weights(*shape):
    return np.ones(shape), np.zeros(shape)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.take(x, np.array([4, 0, 4]), axis=1),
        lambda x: ops.transpose(x, (0, 2, 1, 3)),
        lambda x: ops.transpose(ops.conv2d(ops.transpose(x, (0, 2, 1, 3)), np.ones((1, 3, 2, 2)))),
        lambda x: ops.reshape(x, (1, 15, 2, 2)),
        lambda x: ops.reshape(x, (1, 5, 6, 1, 2)),
        lambda x: ops.slice(x, (0, 1, 2, 0), (1, 3, 2, 2)),
        lambda x: ops.concatenate([x, ops.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))], axis=1),
        lambda x: ops.stack([x, x], axis=2),
        lambda x: ops.sum(x, axis=2),
        lambda x: ops.max(x, axis=(1, 3), keepdims=True),
        lambda x: ops.mean(x, axis=(1, 2, 3)),
        lambda x: ops.add(x, ops.mean(x, axis=1, keepdims=True)),
        lambda x: ops.softmax(ops.squeeze(ops.sum(x, axis=3), 0)),
        lambda x: ops.matmul(ops.transpose(x, (0, 3, 1, 2)), np.ones((1, 2, 6, 3))),
        lambda x: ops.local_response_norm(x, 3),
        lambda x: ops.channel_shuffle(x, 2),
        lambda x: ops.group_norm(x, *norm_weights(2), 1),
        lambda x: ops.layer_norm(x, *norm_weights(6, 2), axis=(-2, -1)),
        lambda x: ops.adaptive_avg_pool2d(x, (2, 4)),
        lambda x: ops.adaptive_max_pool2d(x, (1, 3)),
        lambda x: ops.resize(x, (3, 4)),
        lambda x: ops.resize(x, (7, 4), align_corners=True),
        lambda x: ops.resize(x, (8, 3), interpolation="nearest"),
        lambda x: ops.conv2d(x, np.ones((3, 3, 2, 1)), padding=2, dilation_rate=(2, 1)),
        lambda x: ops.conv2d(x, np.ones((1, 1, 2, 1)), padding=1, strides=2),
        lambda x: ops.depthwise_conv2d(x, np.ones((2, 3, 2, 2)), None, (1, 2), "same_lower"),
        lambda x: ops.conv2d_transpose(x, np.ones((1, 2, 1, 2)), strides=(2, 3)),
        lambda x: ops.max_pool2d(x, (3, 2), (2, 1), "same", ceil_mode=True),
        lambda x: ops.avg_pool2d(x, 3, 3, 1, ceil_mode=True),
    ],
)
def test_rules_of_ops_are_what_changes_show(function):
    """For every element of the output: the smallest box around all pixels that change it."""
    shape = (1, 5, 6, 2)
    source = placeholder(shape, "float64")
    tensor = function(source)
    x = np.random.default_rng(0).random(shape) + 0.5
    before = evaluate([tensor], {source: x})[0]
    low = np.full((2, *before.shape), np.iinfo(np.int64).max)
    high = np.full((2, *before.shape), -1)
    for pixel in np.ndindex(5, 6):
        for channel in range(2):
            raised = x.copy()
            raised[(0, *pixel, channel)] += 50
            changed = evaluate([tensor], {source: raised})[0] != before
            for axis in range(2):
                low[axis][changed] = np.minimum(low[axis][changed], pixel[axis])
                high[axis][changed] = np.maximum(high[axis][changed], pixel[axis])
    (found,) = boxes(source, [tensor])
    if found.shape and found.shape[-1] == 1:  # channels share a box
        low, high = low.min(axis=-1, keepdims=True), high.max(axis=-1, keepdims=True)
    np.testing.assert_array_equal(np.broadcast_to(found.low, low.shape), low)
    np.testing.assert_array_equal(np.broadcast_to(found.high, high.shape), high)


# --- effective field ------------------------------------------------------------------------------


def test_effective_field_of_equal_weights_is_the_binomial():
    """k layers of three equal taps: the influence is that of k throws of a three-sided die."""
    ones = {"kernel_initializer": "ones", "use_bias": False}
    model = chain(*(layers.Conv1D(1, 3, **ones) for _ in range(4)), shape=(21, 1))
    found = analysis.effective_receptive_field(model, unit=(6,))
    expected = np.array([1.0])
    for _ in range(4):
        expected = np.convolve(expected, np.ones(3))
    assert found.box == (slice(6, 15),)
    np.testing.assert_allclose(found.influence[6:15], expected / expected.max(), rtol=1e-6)
    assert found.influence[:6].max() == found.influence[15:].max() == 0
    assert found.size == (found.influence > 1 - 0.9545).sum()
    assert found.share == found.size / 9


def test_effective_field_lies_in_the_box_and_reaches_its_edges():
    x = Input((24, 20, 2))
    y = layers.Conv2D(6, 5, strides=2, padding="same", activation="tanh")(x)
    y = layers.Conv2D(4, 3, dilation_rate=2, activation="tanh")(y)
    model = Model(x, layers.Dense(3)(layers.Flatten()(y)))
    found = analysis.effective_receptive_field(model, model.layers[2], (3, 2), samples=3)
    outside = np.ones((24, 20), bool)
    outside[found.box] = False
    assert (found.influence[outside] == 0).all()
    for edge in edges(found.box):
        assert found.influence[edge].max() > 0
    assert found.influence.max() == 1
    assert 0 < found.share <= 1
    again = analysis.effective_receptive_field(model, model.layers[2], (3, 2), samples=3)
    assert (again.influence == found.influence).all()


def test_effective_field_on_images_given():
    """Behind a relu that an image never passes, nothing moves the unit."""
    model = chain(
        layers.Conv2D(1, 3, activation="relu", kernel_initializer="ones"), shape=(7, 7, 1)
    )
    dark = analysis.effective_receptive_field(model, images=-np.ones((2, 7, 7, 1)))
    assert (dark.influence == 0).all()
    assert (dark.size, dark.share) == (0, 0)
    light = analysis.effective_receptive_field(model, images=np.ones((2, 7, 7, 1)))
    assert light.influence[light.box].min() == 1


# --- pictures -------------------------------------------------------------------------------------


def test_pictures(tmp_path):
    model = chain(layers.Conv2D(2, 3), layers.MaxPooling2D(2), shape=(16, 12, 3))
    field = model.receptive_field()
    image = np.random.default_rng(0).random((16, 12, 3))
    written = analysis.draw_receptive_field(field, tmp_path / "field.png", image, [(0, 0), None])
    assert written.read_bytes().startswith(b"\x89PNG")
    effective = analysis.effective_receptive_field(model, samples=1)
    for name, picture in (("effective.png", None), ("over.png", image[..., 0])):
        written = analysis.draw_effective_receptive_field(effective, tmp_path / name, picture)
        assert written.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ShapeError, match=r"\(4, 4, 3\).*\(16, 12\)"):
        analysis.draw_receptive_field(field, tmp_path / "no.png", np.ones((4, 4, 3)))
    assert not (tmp_path / "no.png").exists()


def test_pictures_of_one_axis(tmp_path):
    model = chain(layers.Conv1D(1, 3), layers.Conv1D(1, 3))
    drawn = analysis.draw_receptive_field(model.receptive_field(), tmp_path / "a.png", units=[0, 9])
    effective = analysis.effective_receptive_field(model)
    drawn_too = analysis.draw_effective_receptive_field(effective, tmp_path / "b.png")
    assert drawn.stat().st_size > 0
    assert drawn_too.stat().st_size > 0


# --- errors ---------------------------------------------------------------------------------------


def test_errors():
    model = chain(layers.Conv2D(2, 3, name="a"), layers.Conv2D(2, 3, name="b"), shape=(9, 9, 1))
    with pytest.raises(ArgumentError, match=r"no layer 'c'.*'a'"):
        model.receptive_field("c")
    with pytest.raises(ArgumentError, match=r"no input 1"):
        model.receptive_field("a", input=1)
    with pytest.raises(ArgumentError, match=r"no unit \(7, 0\).*\(7, 7\)"):
        model.receptive_field("a").box((7, 0))
    with pytest.raises(ArgumentError, match=r"no unit 3"):
        model.receptive_field("a").box(3)
    with pytest.raises(ArgumentError, match=r"input_shape"):
        chain(layers.Conv2D(2, 3), shape=(None, None, 1)).receptive_field()
    with pytest.raises(ArgumentError, match=r"no rows or columns"):
        chain(layers.Dense(2), shape=(4,)).receptive_field()
    with pytest.raises(ArgumentError, match=r"found 0 samples"):
        analysis.effective_receptive_field(model, samples=0)


def test_it_says_what_it_found():
    text = str(
        chain(layers.Conv2D(2, 3, strides=2, name="a"), shape=(9, 9, 1)).receptive_field("a")
    )
    assert text == "layer 'a' sees 3 x 3 pixels, stride 2 x 2, padding 0 x 0, center 1 x 1"
