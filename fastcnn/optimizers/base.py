# SPDX-License-Identifier: Apache-2.0
"""The base of optimizers: clipping, weight decay, averages of weights, and the state they keep.

An optimizer emits one update op per weight. What changes from step to step is fed to the graph as
`numbers`, so neither a schedule nor a new learning rate compiles anything anew.
"""

from __future__ import annotations

import inspect
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastcnn import arguments, ops, storage
from fastcnn.configurable import Configurable
from fastcnn.drawing import add_node
from fastcnn.errors import ArgumentError, ShapeError
from fastcnn.graph import Array, Parameter, Tensor
from fastcnn.ops.update import Update
from fastcnn.optimizers import accumulation, schedules

Pairs = Sequence[tuple[Tensor, Parameter]]
Updates = list[tuple[Parameter, Tensor]]


class Optimizer(Configurable):
    """Base of optimizers: implement `update_op`, and `step_size` where it is not the rate itself.

    Args:
        learning_rate: a number, a `LearningRateSchedule`, or a function of the step or of nothing.
        weight_decay: every step first takes away learning_rate · weight_decay of each weight.
        clipnorm: gradients of larger 2-norm are scaled down to it, each weight by itself.
        clipvalue: gradients are cut to [-clipvalue, clipvalue].
        global_clipnorm: all gradients together are scaled down to this 2-norm.
        use_ema: keep moving averages of the weights.
        ema_momentum: share of the old average in the new.
        ema_overwrite_frequency: steps after which the weights take the averages; never when None,
            beside the end of `fit`.
        loss_scale_factor: must be None.
        gradient_accumulation_steps: batches, at least 2, whose gradients are averaged for one
            update; schedules, averages of weights and `iterations` count updates.
        name: for errors and configs.

    Raises:
        ArgumentError: an argument outside its range, or more than one kind of clipping.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or type(self).__name__.lower()
        self.learning_rate = learning_rate
        self.weight_decay = _optional(arguments.non_negative, self, "weight_decay", weight_decay)
        self.clipnorm = _optional(arguments.positive, self, "clipnorm", clipnorm)
        self.clipvalue = _optional(arguments.positive, self, "clipvalue", clipvalue)
        self.global_clipnorm = _optional(
            arguments.positive, self, "global_clipnorm", global_clipnorm
        )
        self._check_clipping()
        self.use_ema = use_ema
        self.ema_momentum = arguments.fraction(self._who, "ema_momentum", ema_momentum)
        self.ema_overwrite_frequency = ema_overwrite_frequency
        if ema_overwrite_frequency is not None:
            arguments.integer(
                self._who, "ema_overwrite_frequency", ema_overwrite_frequency, at_least=1
            )
        arguments.only_default(self._who, "loss_scale_factor", loss_scale_factor, None)
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps: int | None = None
        self._iterations = 0
        self._accumulated = 0
        self._sums: dict[int, Parameter] = {}
        self._parameters: list[Parameter] = []
        self._slots: dict[int, list[Parameter]] = {}
        self._averages: dict[int, Parameter] = {}
        self._averages_in_model = False
        self._no_decay: list[Parameter] = []
        self._no_decay_names: list[str] = []
        if gradient_accumulation_steps is not None:
            self.accumulate(gradient_accumulation_steps)

    @property
    def _who(self) -> str:
        return f"optimizer '{self.name}'"

    def _check_clipping(self) -> None:
        given = {k: getattr(self, k) for k in ("clipnorm", "clipvalue", "global_clipnorm")}
        chosen = {k: v for k, v in given.items() if v is not None}
        if len(chosen) > 1:
            listed = " and ".join(f"{k}={v}" for k, v in chosen.items())
            raise ArgumentError(f"{self._who}: found {listed}; give one kind of clipping")

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__` as plain JSON types.

        Raises:
            ArgumentError: the learning rate is a function.
        """
        if callable(self._learning_rate) and not isinstance(self._learning_rate, Configurable):
            raise ArgumentError(
                f"{self._who}: the learning rate is a function and cannot be saved; derive a class "
                "from LearningRateSchedule"
            )
        return super().get_config()

    # --- what an optimizer is --------------------------------------------------------------------

    @abstractmethod
    def update_op(self, decay: bool) -> Update:
        """The op that updates one weight and its slots; `decay` tells whether the weight decays."""

    def step_size(self, learning_rate: float, step: int) -> float:
        """The first of `numbers` at update number `step`, which counts from 1."""
        return learning_rate

    def initial_slot(self, slot: str) -> float:
        """What a slot is filled with at the start."""
        return 0.0

    # --- numbers ---------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The learning rate: a number, or the schedule that makes it. May be set at any time."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, Mapping):
            value = schedules.deserialize(value)
        if not callable(value):
            value = arguments.non_negative(self._who, "learning_rate", value)
        self._learning_rate = value

    def current_learning_rate(self) -> float:
        """The learning rate of the next step.

        Raises:
            ArgumentError: the schedule returned something that is not a number of at least 0.
        """
        rate = self._learning_rate
        if callable(rate):
            value = rate(self._iterations) if _takes_step(rate) else rate()
            rate = arguments.non_negative(self._who, "learning_rate", value)
        return float(rate)

    @property
    def iterations(self) -> int:
        """Number of updates done; schedules and bias corrections go by it."""
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations = arguments.integer(self._who, "iterations", value)

    @property
    def accumulated(self) -> int:
        """Batches whose gradients wait for the next update; 0 without accumulation."""
        return self._accumulated

    @accumulated.setter
    def accumulated(self, value: int) -> None:
        self._accumulated = self.check_accumulated(value)

    def check_accumulated(self, value: int) -> int:
        """`value` where `accumulated` may take it, or an ArgumentError."""
        found = arguments.integer(self._who, "accumulated", value)
        if found >= (self.gradient_accumulation_steps or 1):
            raise ArgumentError(
                f"{self._who}: found accumulated={found}, expected less than "
                f"gradient_accumulation_steps={self.gradient_accumulation_steps}; make the "
                "optimizer with the settings of the run that goes on"
            )
        return found

    @property
    def batches(self) -> int:
        """Number of batches seen, which keys random draws: every one has its own."""
        return self._iterations * (self.gradient_accumulation_steps or 1) + self._accumulated

    @property
    def completes(self) -> bool:
        """Whether the next batch ends in an update; else its gradients are added to the sums."""
        return self._accumulated + 1 == (self.gradient_accumulation_steps or 1)

    def accumulate(self, steps: int) -> None:
        """Average the gradients of so many batches for one update; to be called before training.

        Raises:
            ArgumentError: `steps` is below 2, or another number was set, or training has begun.
        """
        name = "gradient_accumulation_steps"
        steps = arguments.integer(self._who, name, steps, at_least=2)
        if self.gradient_accumulation_steps == steps:
            return
        if self.gradient_accumulation_steps or self.built:
            raise ArgumentError(
                f"{self._who}: found {name}={steps} where {self.gradient_accumulation_steps} was "
                "chosen before; make a new optimizer with one number"
            )
        self.gradient_accumulation_steps = steps

    def numbers(self) -> Array:
        """(2,) float64: step size and decay of the next step."""
        rate = self.current_learning_rate()
        decay = rate * (self.weight_decay or 0.0)
        return np.array([self.step_size(rate, self._iterations + 1), decay])

    # --- state -----------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the optimizer knows the weights."""
        return bool(self._parameters)

    def build(self, parameters: Sequence[Parameter]) -> None:
        """Make the slots of these weights; slots that exist already keep their values."""
        self._parameters = list(parameters)
        names = self.update_op(False).slots
        for position, parameter in enumerate(self._parameters):
            if id(parameter) in self._slots:
                continue
            path = self._path(parameter, position)
            self._slots[id(parameter)] = [
                _slot(parameter, f"{path}/{name}", self.initial_slot(name)) for name in names
            ]
            if self.use_ema:
                self._averages[id(parameter)] = _slot(parameter, f"{path}/average", parameter.value)
            if self.gradient_accumulation_steps:
                self._sums[id(parameter)] = _slot(parameter, f"{path}/gradient", 0.0)

    def _path(self, parameter: Parameter, position: int) -> str:
        path = parameter.path or parameter.name
        others = [p for p in self._parameters if (p.path or p.name) == path]
        return path if len(others) == 1 else f"{path}_{position}"

    @property
    def variables(self) -> list[Parameter]:
        """All slots, weight by weight."""
        found: list[Parameter] = []
        for parameter in self._parameters:
            found += self._slots[id(parameter)]
            if self.use_ema:
                found.append(self._averages[id(parameter)])
            if self.gradient_accumulation_steps:
                found.append(self._sums[id(parameter)])
        return found

    def state(self) -> dict[str, Array]:
        """Copies of all slots by name; `iterations` and `accumulated` are not among them."""
        return {slot.name: slot.numpy() for slot in self.variables}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Overwrite the slots by what `state()` returned.

        Raises:
            ShapeError: names or shapes do not match; nothing was changed.
        """
        slots = {slot.name: slot for slot in self.variables}
        arrays = {name: np.asarray(value) for name, value in state.items()}
        problems = [f"missing '{n}'" for n in slots if n not in arrays]
        problems += [f"unexpected '{n}'" for n in arrays if n not in slots]
        problems += [
            f"'{n}' has shape {arrays[n].shape} where {s.shape} is expected"
            for n, s in slots.items()
            if n in arrays and arrays[n].shape != s.shape
        ]
        if problems:
            raise ShapeError(
                f"{self._who} cannot take this state: {'; '.join(problems)}; make it with the same "
                "settings and weights (nothing was changed)"
            )
        for name, slot in slots.items():
            slot.assign(arrays[name])

    # --- the graph -------------------------------------------------------------------------------

    def updates(self, pairs: Pairs, numbers: Tensor) -> Updates:
        """New values of the weights, their slots and their averages, as graph.

        Args:
            pairs: gradients and the weights they belong to.
            numbers: symbolic (2,), fed with what `numbers()` returns.

        Raises:
            ArgumentError: the optimizer was not built with one of the weights.
        """
        result: Updates = []
        latest: dict[int, Tensor] = {}
        self._check_known(pairs)
        if self.gradient_accumulation_steps:
            pairs, result = accumulation.close(pairs, self._sums, self.gradient_accumulation_steps)
        for gradient, (_, parameter) in zip(self._clipped(pairs), pairs, strict=True):
            slots = self._slots[id(parameter)]
            op = self.update_op(self._decays(parameter))
            inputs = [numbers, parameter.tensor, gradient, *(slot.tensor for slot in slots)]
            outputs = add_node(op, inputs).outputs
            latest[id(parameter)] = outputs[0]
            result += zip([parameter, *slots], outputs, strict=True)
        if self.use_ema:
            for parameter in self._parameters:
                average = self._averages[id(parameter)]
                value = latest.get(id(parameter), parameter.tensor)
                result.append((average, ops.ema_update(average, value, self.ema_momentum)))
        return result

    def accumulation(self, pairs: Pairs) -> Updates:
        """The sums of gradients with these added, for a batch that ends in no update."""
        self._check_known(pairs)
        return accumulation.add(pairs, self._sums)

    def _check_known(self, pairs: Pairs) -> None:
        for _, parameter in pairs:
            if id(parameter) not in self._slots:
                raise ArgumentError(
                    f"{self._who} does not know weight '{parameter.path or parameter.name}'; call "
                    "build with all weights first"
                )

    def _clipped(self, pairs: Pairs) -> list[Tensor]:
        gradients = [gradient for gradient, _ in pairs]
        if self.clipvalue is not None:
            return [ops.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm is not None:
            return [ops.clip_by_norm(g, self.clipnorm) for g in gradients]
        if self.global_clipnorm is not None:
            return ops.clip_by_global_norm(gradients, self.global_clipnorm)
        return gradients

    def _decays(self, parameter: Parameter) -> bool:
        if not self.weight_decay:
            return False
        path = parameter.path or parameter.name
        named = any(re.search(name, path) for name in self._no_decay_names)
        return not named and all(p is not parameter for p in self._no_decay)

    def exclude_from_weight_decay(
        self, var_list: Sequence[Parameter] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Let some weights not decay; to be called before training.

        Args:
            var_list: the weights.
            var_names: regular expressions that their paths contain.
        """
        self._no_decay += var_list or []
        self._no_decay_names += var_names or []

    # --- after a step ----------------------------------------------------------------------------

    def after_step(self) -> None:
        """Count a batch that has run; averages start as the weights after the first update."""
        if not self.completes:
            self._accumulated += 1
            return
        self._iterations += 1
        self._accumulated = 0
        if not self.use_ema:
            return
        if self._iterations == 1:
            for parameter in self._parameters:
                self._averages[id(parameter)].assign(parameter.value)
        frequency = self.ema_overwrite_frequency
        if frequency is not None and self._iterations % frequency == 0:
            self._take_averages()

    def swap_ema(self) -> None:
        """Exchange the weights and their averages; a second call undoes the first.

        Raises:
            ArgumentError: there are no averages.
        """
        if not self.use_ema:
            raise ArgumentError(f"{self._who} keeps no averages; make it with use_ema=True")
        for parameter in self._parameters:
            average = self._averages[id(parameter)]
            weights = parameter.numpy()
            parameter.assign(average.value)
            average.assign(weights)
        self._averages_in_model = not self._averages_in_model

    def finalize_variable_values(self, var_list: Any = None) -> None:
        """Leave the averages in the model, if there are any: the end of training.

        Args:
            var_list: ignored; all weights are treated.
        """
        if not self.use_ema:
            return
        if self._averages_in_model:
            self.swap_ema()
        self._take_averages()

    def _take_averages(self) -> None:
        for parameter in self._parameters:
            parameter.assign(self._averages[id(parameter)].value)


def _slot(parameter: Parameter, path: str, value: float | Array) -> Parameter:
    """An array beside a weight, of its shape."""
    array = storage.empty(parameter.shape, parameter.dtype)
    array[...] = value
    return Parameter(path, array, trainable=False)


def _takes_step(function: Any) -> bool:
    try:
        inspect.signature(function).bind(0)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def _optional(check: Any, optimizer: Optimizer, name: str, value: Any) -> float | None:
    return None if value is None else float(check(optimizer._who, name, value))
