# SPDX-License-Identifier: Apache-2.0
"""From a model to plans: call it on placeholders of static shape, in training or not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from fastcnn import arguments, passes
from fastcnn.drawing import Trace, tracing
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Shape, Spec, Tensor, placeholder, topological
from fastcnn.layers.base import takes_training, training_phase
from fastcnn.models.derived import DerivedWeights
from fastcnn.plan import Plan
from fastcnn.records import dataclass
from fastcnn.structure import flatten, pack_as

if TYPE_CHECKING:
    from fastcnn.models.model import Model

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Lowered:
    """A model as one flat graph.

    Attributes:
        inputs: placeholders, in the order of the model's inputs.
        outputs: in the order of the model's outputs.
        structure: nesting of the outputs.
        trace: state to store, random state, added losses, outputs of every layer.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    structure: Any
    trace: Trace


def lower(model: Model, specs: Sequence[Spec], training: bool) -> Lowered:
    """The flat graph of `model` for inputs of exactly these specs."""
    model.ensure_built(specs)
    names = model.input_names or [f"input_{i}" for i in range(len(specs))]
    inputs = [placeholder(s.shape, s.dtype, n) for s, n in zip(specs, names, strict=True)]
    with tracing(Trace()) as trace, training_phase(training):
        phase = {"training": training} if takes_training(type(model)) else {}
        outputs = model.call(pack_as(model.input_structure_for(inputs), inputs), **phase)
    return Lowered(inputs, flatten(outputs), outputs, trace)


def sample_specs(model: Model, input_shape: Any = None, batch: int = 1) -> list[Spec]:
    """Specs of a batch of samples.

    Args:
        model: a model.
        input_shape: shape of one sample, or a list of them; the model's own when None.
        batch: number of samples.

    Raises:
        ArgumentError: the model's own sizes are not all known, or too few shapes are given.
    """
    shapes: list[Any] = [t.shape[1:] for t in model.inputs]
    if input_shape is not None:
        shapes = [input_shape] if isinstance(input_shape[0], int) else list(input_shape)
    if not shapes or any(d is None for shape in shapes for d in shape):
        raise ArgumentError(
            f"model '{model.name}' does not fix its input sizes; pass input_shape=(H, W, C)"
        )
    dtypes = [t.dtype for t in model.inputs] or [model.dtype] * len(shapes)
    if len(dtypes) != len(shapes):
        raise ArgumentError(
            f"model '{model.name}' has {len(dtypes)} inputs, found {len(shapes)} shapes; give "
            "input_shape one shape for each of them"
        )
    return [Spec((batch, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]


def batch_specs(model: Model, input_shape: Any, where: str) -> list[Spec]:
    """Specs of the model's inputs; a size of None stays open.

    Args:
        model: a model.
        input_shape: shape of the input with the batch, or a list of shapes; the model's own when
            None.
        where: what errors begin with.

    Raises:
        ArgumentError: the model does not know its input, and no shape is given.
        ShapeError: `input_shape` does not fit.
    """
    own = [t.spec for t in model.inputs]
    if input_shape is None:
        if not own:
            raise ArgumentError(
                f"{where}: the model does not know the shape of its input; give input_shape with "
                "the batch, e.g. input_shape=(None, 224, 224, 3)"
            )
        return own
    many = isinstance(input_shape, (tuple, list)) and any(
        isinstance(shape, (tuple, list)) for shape in input_shape
    )
    given = [arguments.shape(where, s) for s in (input_shape if many else [input_shape])]
    own = own or [Spec((None,) * len(shape), model.dtype) for shape in given]
    fits = len(given) == len(own) and all(map(_fits, given, (s.shape for s in own)))
    if not fits:
        raise ShapeError(
            f"{where}: found input_shape={input_shape}, expected sizes that fit "
            f"{[s.shape for s in own]} with the batch; None fits every size"
        )
    return [Spec(shape, spec.dtype) for shape, spec in zip(given, own, strict=True)]


def _fits(given: Shape, own: Shape) -> bool:
    return len(given) == len(own) and all(
        o is None or o == g for g, o in zip(given, own, strict=True)
    )


class InferencePlan:
    """A model's outputs for one set of input shapes.

    Attributes:
        plan: takes the model's inputs and, if the model `draws` random numbers, their state.
        structure: nesting of the outputs.
    """

    def __init__(
        self,
        model: Model,
        specs: Sequence[Spec],
        backend: str,
        derived: DerivedWeights,
        algorithms: passes.Algorithms,
    ) -> None:
        lowered = lower(model, specs, training=False)
        self.structure = lowered.structure
        outputs = passes.fold_batch_norm(lowered.outputs)
        if backend == "cpu":
            outputs = passes.for_inference(outputs, algorithms)
        outputs = passes.hoist(outputs, derived.stand_in)
        if backend == "cpu":
            outputs = passes.split_batch(outputs)
        self._derived = derived
        self._runs = 0
        rng = lowered.trace.rng
        self.draws = any(node is rng.node for node in topological(outputs))
        inputs = [*lowered.inputs, rng] if self.draws else lowered.inputs
        self._dtypes = [np.dtype(t.dtype) for t in lowered.inputs]
        self.plan = Plan(inputs, outputs, backend=backend)

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Outputs as fresh arrays; inputs of another float type are rounded."""
        cast = [
            a if a.dtype is dtype else a.astype(dtype, copy=False)
            for a, dtype in zip(arrays, self._dtypes, strict=True)
        ]
        return self.plan.run(*self.feeds(cast))

    def refresh_weights(self) -> None:
        """Bring what follows from the model's weights up to date."""
        self._derived.refresh()

    def feeds(self, arrays: Sequence[Array]) -> list[Array]:
        """All arrays that `plan` takes for these inputs; weights are brought up to date."""
        self.refresh_weights()
        if not self.draws:
            return list(arrays)
        # Layers that a model calls with training=True draw anew in every run.
        self._runs += 1
        state = np.array([0, 0, self._runs & 0xFFFFFFFF, self._runs >> 32], np.uint32)
        return [*arrays, state]


# Shapes of inputs that are known to fit a model.
_FOUND_KEPT = 64


class PlanCache(Generic[T]):
    """The last plans used, by key; the least recently used goes when `limit` is passed.

    One thread at a time makes a plan, since that may build the model. A copy begins empty.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._plans: OrderedDict[Hashable, T] = OrderedDict()
        self._found: dict[Hashable, Any] = {}
        self._shared: dict[Hashable, Any] = {}
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[PlanCache[T]], tuple[int]]:
        return PlanCache, (self._limit,)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The plan of `key`, made when it is not there."""
        with self._lock:
            if key not in self._plans:
                self._plans[key] = make()
                if len(self._plans) > self._limit:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(key)
            return self._plans[key]

    def remembered(self, short: Hashable, make: Callable[[], S]) -> S:
        """What `make` finds for inputs like these; the last few findings are kept."""
        found: S | None = self._found.get(short)
        if found is None:
            found = make()
            with self._lock:
                if len(self._found) >= _FOUND_KEPT:
                    self._found.clear()
                self._found[short] = found
        return found

    def shared(self, key: Hashable, make: Callable[[], S]) -> S:
        """What plans have in common under `key`, made when it is not there."""
        with self._lock:
            if key not in self._shared:
                self._shared[key] = make()
            found: S = self._shared[key]
            return found

    def clear(self) -> None:
        """Forget all plans and what they share."""
        with self._lock:
            self._plans.clear()
            self._found.clear()
            self._shared.clear()
