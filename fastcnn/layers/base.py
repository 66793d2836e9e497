# SPDX-License-Identifier: Apache-2.0
"""The layer: weights with a name, and a `call` that composes ops.

Calling a layer on symbolic tensors draws it: its nodes carry the call, so that a model can call the
same layer again on other shapes or in training. Calling it on arrays runs it at once.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from fastcnn import activations, arguments, config, initializers, ops, regularizers
from fastcnn.configurable import plain
from fastcnn.drawing import (
    Trace,
    assign,
    current_call,
    current_scope,
    current_trace,
    drawing_apart,
    scope,
    tracing,
)
from fastcnn.errors import ArgumentError, DtypeError, FastcnnError, ShapeError, located
from fastcnn.graph import (
    Array,
    Node,
    Parameter,
    Pending,
    Spec,
    Tensor,
    numbers_of,
    placeholder,
)
from fastcnn.layers.call import LayerCall
from fastcnn.layers.foreign import Foreign
from fastcnn.ops.shape import Reshape
from fastcnn.plan import Plan
from fastcnn.structure import flatten, map_structure, pack_as
from fastcnn.utils.naming import local_names, unique_name
from fastcnn.utils.turn import wait_turn

_BASE_ARGUMENTS = ("name", "trainable", "dtype", "input_shape", "activity_regularizer")

# Keras' arguments that fastcnn lacks, with the values that ask for nothing; so do `*_constraint`.
_LACKING: dict[str, tuple[Any, ...]] = {
    "antialias": (False,),
    "autocast": (True,),
    "crop_to_aspect_ratio": (False,),
    "fill_mode": ("constant",),
    "fill_value": (0.0, 0),
    "lora_alpha": (None,),
    "lora_rank": (None,),
    "pad_to_aspect_ratio": (False,),
    "quantization_config": (None,),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (0.99,),
    "synchronized": (False,),
}

_training: contextvars.ContextVar[bool] = contextvars.ContextVar("training", default=False)


@contextlib.contextmanager
def training_phase(training: bool) -> Iterator[None]:
    """Layers called inside without an explicit `training` take this one."""
    token = _training.set(training)
    try:
        yield
    finally:
        _training.reset(token)


class Layer(ABC):
    """Base of all layers.

    Subclasses give `call`, and `build` where they have weights. Other layers kept in attributes
    (also in lists and dicts) are found as sublayers.

    Args:
        name: letters, digits and underscores; automatic when None.
        trainable: whether training changes the weights.
        dtype: float type of the weights; `config.floatx()` when None.
        input_shape: shape of one sample; lets a Sequential begin without an Input.
        activity_regularizer: adds a penalty of the outputs, over the batch size, to the loss.

    Raises:
        ArgumentError: an argument that the layer does not take, or one of Keras that fastcnn lacks
            with anything but its default.
    """

    # How `state_dict` calls and lays out the weights that are named otherwise in PyTorch.
    foreign: ClassVar[Mapping[str, Foreign]] = {}

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
        input_shape: tuple[int | None, ...] | None = None,
        activity_regularizer: Any = None,
        **unknown: Any,
    ) -> None:
        _refuse(type(self), unknown)
        self.name = unique_name(type(self).__name__) if name is None else _checked_name(name)
        self.dtype = config.floatx() if dtype is None else dtype
        arguments.one_of(type(self).__name__, "dtype", self.dtype, ("float32", "float64"))
        self.built = False
        self.declared_input_shape = input_shape
        if input_shape is not None:
            where = f"{type(self).__name__}: input_shape"
            self.declared_input_shape = arguments.shape(where, input_shape)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = trainable
        self._weights: list[Parameter] = []
        self._calls: list[LayerCall] = []

    # --- to be given by subclasses ---------------------------------------------------------------

    def build(self, input_shape: Any) -> None:  # noqa: B027 - optional, not abstract
        """Make the weights; `input_shape` is a shape or a structure of shapes."""

    @abstractmethod
    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs for symbolic inputs, by composing `fastcnn.ops`."""

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again, as JSON types.

        Every argument of `__init__` that is kept as an attribute of its name is taken from there.
        """
        names = [n for n in _argument_names(type(self)) if n not in _BASE_ARGUMENTS]
        own = {n: plain(getattr(self, n)) for n in names if hasattr(self, n)}
        if "activation" in own:
            own["activation"] = activations.serialize(own["activation"])
        if self.activity_regularizer is not None:
            own["activity_regularizer"] = plain(self.activity_regularizer)
        return {"name": self.name, "trainable": self._trainable, "dtype": self.dtype, **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """The layer that `get_config` describes."""
        return cls(**{k: tuples(v) for k, v in config.items()})

    # --- weights ---------------------------------------------------------------------------------

    def add_weight(
        self,
        shape: Any = None,
        initializer: Any = None,
        dtype: str | None = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str = "none",
        name: str | None = None,
    ) -> Parameter:
        """A new weight of this layer.

        Args:
            shape: its sizes, all positive; a single number when None.
            initializer: name, config or callable of (shape, dtype); "glorot_uniform" when None.
            dtype: float type; the layer's when None.
            trainable: False for statistics that training does not optimise.
            autocast, constraint, aggregation: only as they are by default.
            regularizer: name, config or callable that adds to the loss.
            name: unique within the layer; "weight", "weight_1", ... when None.
        """
        where = f"layer '{self.name}': add_weight"
        arguments.only_default(where, "autocast", autocast, True)
        arguments.only_default(where, "constraint", constraint, None)
        arguments.only_default(where, "aggregation", aggregation, "none")
        sizes = (shape,) if isinstance(shape, int) else tuple(shape or ())
        name = name or _next_name([p.name for p in self._weights])
        initializer = "glorot_uniform" if initializer is None else initializer
        if not all(isinstance(d, (int, np.integer)) and d > 0 for d in sizes):
            raise ShapeError(
                f"layer '{self.name}': weight '{name}' would have shape {sizes}, expected positive "
                "sizes; give the layer an input whose sizes (other than the batch) are known"
            )
        dtype = self.dtype if dtype is None else dtype
        value = _first_value(initializers.get(initializer), sizes, dtype)
        parameter = Parameter(name, value, trainable, regularizers.get(regularizer))
        self._weights.append(parameter)
        return parameter

    def assign(self, parameter: Parameter, value: Tensor) -> None:
        """Have the run store `value` in `parameter` when it is done."""
        assign(parameter, value)

    def add_loss(self, loss: Tensor) -> None:
        """Add a symbolic scalar to the training loss."""
        trace = current_trace()
        if trace is not None:
            trace.losses.append(loss)

    @property
    def sublayers(self) -> list[Layer]:
        """Layers held in attributes, in the order they were set."""
        found: list[Layer] = []
        for key, value in vars(self).items():
            if key not in ("_calls", "_weights"):
                found += [v for v in flatten(value) if isinstance(v, Layer) and v not in found]
        return found

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it also sets all sublayers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.sublayers:
            layer.trainable = value

    def named_weights(self) -> dict[str, Parameter]:
        """All weights by dotted path below this layer, each once, own ones first."""
        return {prefix + p.name: p for prefix, _, p in self.owned_weights()}

    def owned_weights(self) -> list[tuple[str, Layer, Parameter]]:
        """All weights, each once, with the layer that holds them and its path ("a.b.")."""
        names = [p.name for p in self._weights]
        if len(set(names)) < len(names):
            raise ArgumentError(f"layer '{self.name}' has two weights of one name: {names}")
        found: list[tuple[str, Layer, Parameter]] = [("", self, p) for p in self._weights]
        known = {id(p) for p in self._weights}
        sublayers = self.sublayers
        for name, layer in zip(local_names(sublayers), sublayers, strict=True):
            for prefix, owner, parameter in layer.owned_weights():
                if id(parameter) not in known:
                    known.add(id(parameter))
                    found.append((f"{name}.{prefix}", owner, parameter))
        return found

    @property
    def weights(self) -> list[Parameter]:
        """All weights, trainable or not."""
        return list(self.named_weights().values())

    @property
    def trainable_weights(self) -> list[Parameter]:
        """Weights that training changes."""
        if not self._trainable:
            return []
        own = [p for p in self._weights if p.trainable]
        return _unique([*own, *(p for s in self.sublayers for p in s.trainable_weights)])

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        """Statistics and frozen weights."""
        trainable = {id(p) for p in self.trainable_weights}
        return [p for p in self.weights if id(p) not in trainable]

    # Keras' other words for the same lists.
    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        return [p.numpy() for p in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        """Overwrite all weights, or none: a ShapeError leaves them as they were."""
        parameters = self.weights
        if not isinstance(weights, (list, tuple)):
            raise DtypeError(
                f"layer '{self.name}': found weights of type {type(weights).__name__}, expected a "
                "list of arrays; pass what get_weights() returns"
            )
        arrays = [numbers_of(w, f"layer '{self.name}': set_weights") for w in weights]
        found, expected = [a.shape for a in arrays], [p.shape for p in parameters]
        if found != expected:
            raise ShapeError(
                f"layer '{self.name}': found weights of shapes {found}, expected {expected}; "
                "pass what get_weights() returns, in its order"
            )
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.assign(array)

    def count_params(self, buffers: bool = False) -> int:
        """Number of weights, biases, gammas and betas; with `buffers` also running statistics."""
        return sum(p.size for p in self.weights if p.trainable or buffers)

    # --- calling ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Draw the layer on symbolic tensors, or run it on arrays."""
        leaves = flatten([args, kwargs])
        if any(isinstance(leaf, Tensor) for leaf in leaves):
            return self._draw(args, kwargs)
        if any(isinstance(leaf, (np.ndarray, list)) for leaf in leaves):
            return self._run(args, kwargs)
        raise ArgumentError(
            f"layer '{self.name}' was called without a tensor or array; call it on one, e.g. on "
            "fastcnn.Input(shape=...)"
        )

    def _draw(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = LayerCall(self, args, dict(kwargs))
        with scope(self.name, call), _located_errors(current_scope()):
            self._ensure_built(args, kwargs)
            phase = kwargs.pop("training", None)
            phase = _training.get() if phase is None else phase
            if takes_training(type(self)):
                kwargs = {**kwargs, "training": phase}
            with training_phase(phase):
                outputs = self.call(*args, **kwargs)
                self._regularize(outputs)
            call.outputs = map_structure(lambda t: self._own(t, call), outputs)
            self._note(call)
        return call.outputs

    def _regularize(self, outputs: Any) -> None:
        if self.activity_regularizer is None or current_trace() is None:
            return
        for output in flatten(outputs):
            if output.shape[0] is not None:
                self.add_loss(ops.divide(self.activity_regularizer(output), float(output.shape[0])))

    def _note(self, call: LayerCall) -> None:
        trace = current_trace()
        if trace is not None:
            trace.outputs[current_scope()] = call.flat_outputs
        elif current_call() is call:
            self._calls.append(call)

    def _own(self, tensor: Any, call: LayerCall) -> Tensor:
        """The output itself, or a view of it where the layer passed an input through."""
        if not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"layer '{self.name}': call returned {type(tensor).__name__}, expected symbolic "
                "tensors; compose fastcnn.ops in call"
            )
        if any(tensor == given for given in call.flat_inputs):
            return Node(
                Reshape(tensor.shape),
                (tensor,),
                (tensor.spec,),
                current_scope(),
                "",
                current_call(),
            ).outputs[0]
        return tensor

    def _ensure_built(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.built:
            return
        first = args[0] if args else next(iter(kwargs.values()))
        before = list(self._weights)
        try:
            with drawing_apart():  # a model of layers draws itself when it is built
                self.build(map_structure(lambda t: getattr(t, "shape", None), first))
        except BaseException:
            self._weights = before
            raise
        self.built = True

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run at once: lower for these shapes, compile, run."""
        wait_turn()
        training = kwargs.pop("training", False)
        arrays: list[Array] = []

        def lift(leaf: Any) -> Any:
            if not isinstance(leaf, np.ndarray):
                return leaf
            arrays.append(leaf if leaf.dtype != np.float64 else leaf.astype(self.dtype))
            return placeholder(arrays[-1].shape, arrays[-1].dtype.name, f"input_{len(arrays)}")

        args, kwargs = map_structure(lift, args), map_structure(lift, kwargs)
        inputs = [t for t in flatten([args, kwargs]) if isinstance(t, Tensor)]
        with tracing(Trace()) as trace, training_phase(training):
            outputs = self._draw(args, kwargs)
        state = np.random.default_rng().integers(0, 2**32, 4, np.uint32)
        plan = Plan(
            [*inputs, trace.rng],
            flatten(outputs),
            trace.updates,
            backend="cpu" if self.dtype == "float32" else "reference",
        )
        return pack_as(outputs, plan.run(*arrays, state))

    # --- what was drawn --------------------------------------------------------------------------

    @property
    def output(self) -> Any:
        """Symbolic output of the layer's only call."""
        return self._only_call().outputs

    @property
    def input(self) -> Any:
        """Symbolic input of the layer's only call."""
        return self._only_call().args[0]

    @property
    def output_shape(self) -> Any:
        """Shape of `output`."""
        return map_structure(lambda t: t.shape, self.output)

    def _only_call(self) -> LayerCall:
        if len(self._calls) != 1:
            raise ArgumentError(
                f"layer '{self.name}' was called {len(self._calls)} times, expected once; keep the "
                "tensor that a call returned instead"
            )
        return self._calls[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input of that shape; builds the layer."""
        is_shape = isinstance(input_shape, tuple) and all(
            d is None or isinstance(d, int) for d in input_shape
        )
        shapes = [input_shape] if is_shape else list(input_shape)
        leaves = [placeholder(shape, self.dtype) for shape in shapes]
        with tracing(Trace()):
            outputs = self(leaves[0] if is_shape else leaves)
        return map_structure(lambda t: t.shape, outputs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"


@contextlib.contextmanager
def _located_errors(path: str) -> Iterator[None]:
    """Errors raised inside name the layer, unless a layer below has done so."""
    try:
        yield
    except FastcnnError as error:
        if str(error).startswith("layer '"):
            raise
        raise located(error, f"layer '{path}'") from None


def tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def _refuse(cls: type, unknown: dict[str, Any]) -> None:
    data_format = unknown.pop("data_format", None)
    if data_format not in (None, "channels_last"):
        raise ArgumentError(
            f"{cls.__name__}: found data_format={data_format!r}, expected 'channels_last' (NHWC); "
            "transpose the images: x.transpose(0, 2, 3, 1)"
        )
    strange = [name for name in unknown if name not in _LACKING and "_constraint" not in name]
    if strange:
        raise ArgumentError(
            f"{cls.__name__} does not take {sorted(strange)}; it takes {_argument_names(cls)}"
        )
    for name, value in unknown.items():
        arguments.only_default(cls.__name__, name, value, *_LACKING.get(name, (None,)))


def _next_name(taken: list[str]) -> str:
    names = ("weight", *(f"weight_{i}" for i in range(1, len(taken) + 1)))
    return next(name for name in names if name not in taken)


def _first_value(initializer: Any, sizes: tuple[int, ...], dtype: str) -> Array | Pending:
    if isinstance(initializer, initializers.Initializer):
        return Pending(Spec(sizes, dtype), initializer.later(sizes, dtype))
    return np.ascontiguousarray(initializer(sizes, dtype=dtype), dtype=dtype)


def _unique(parameters: list[Parameter]) -> list[Parameter]:
    return list({id(p): p for p in parameters}.values())


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[^/\s]+", name):
        raise ArgumentError(
            f"layer name {name!r} is not usable; use letters, digits and underscores"
        )
    return name


@functools.cache
def takes_training(cls: type[Layer]) -> bool:
    """Whether the class' `call` has an argument `training`."""
    parameters: dict[str, inspect.Parameter] = dict(inspect.signature(cls.call).parameters)
    return "training" in parameters


def _argument_names(cls: type) -> list[str]:
    found: dict[str, None] = {}
    for base in cls.__mro__:
        init: Callable[..., Any] | None = base.__dict__.get("__init__")
        if init is not None:
            names = inspect.signature(init).parameters
            found.update(dict.fromkeys(n for n, p in names.items() if p.kind != p.VAR_KEYWORD))
    return [n for n in found if n not in ("self", "args", "kwargs", "unknown")]
