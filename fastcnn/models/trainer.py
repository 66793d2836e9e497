# SPDX-License-Identifier: Apache-2.0
"""What `compile` makes: losses, metrics and optimizer joined with a model into plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import arguments, losses, metrics, ops, optimizers, passes, random
from fastcnn.autodiff import gradients
from fastcnn.backends import isas, threads
from fastcnn.configurable import plain, serialize
from fastcnn.data import Batch
from fastcnn.drawing import scope, tracing
from fastcnn.errors import ArgumentError, NotDifferentiableError
from fastcnn.graph import Array, Spec, Tensor, placeholder
from fastcnn.losses import Loss
from fastcnn.metrics import Metric
from fastcnn.models.lowering import Lowered, PlanCache, lower
from fastcnn.plan import Arena, Plan
from fastcnn.records import dataclass
from fastcnn.utils.interrupt import uninterrupted
from fastcnn.utils.turn import wait_turn

if TYPE_CHECKING:
    from fastcnn.models.model import Model

# The last batch of an epoch, batches that end in no update and validation have plans of their own.
PLANS_KEPT = 8


@dataclass(frozen=True)
class _Objective:
    """The graph of the loss: its inputs beside the model's, and what it makes."""

    targets: list[Tensor]
    weights: list[Tensor]
    total: Tensor
    parts: list[Tensor]


class _StepPlan:
    """Loss and outputs of one batch shape; with `training`, also the update."""

    def __init__(
        self, trainer: Trainer, batch: Batch, specs: Sequence[Spec], training: bool
    ) -> None:
        model = trainer.model
        lowered = lower(model, specs, training)
        self.outputs = [t.spec for t in lowered.outputs]
        objective = trainer.objective(lowered, batch)
        numbers = placeholder((2,), model.dtype, "numbers")
        updates: list[Any] = []
        if training:
            updates = [*trainer.updates(objective.total, numbers), *lowered.trace.updates]
        outputs = [objective.total, *objective.parts, *lowered.outputs]
        if trainer.backend == "cpu":
            new = [tensor for _, tensor in updates]
            outputs, made = passes.for_training(
                outputs, new, model.algorithms(), trainer.recompute == "auto"
            )
            updates = [(weight, new) for (weight, _), new in zip(updates, made, strict=True)]
        self.plan = Plan(
            [*lowered.inputs, *objective.targets, *objective.weights, numbers, lowered.trace.rng],
            outputs,
            updates,
            guard=outputs[0] if training else None,
            backend=trainer.backend,
            arena=trainer.arena,
        )
        self._parts = len(objective.parts)

    def run(self, arrays: Sequence[Array]) -> tuple[Array, list[Array], list[Array]]:
        """Total loss, loss of each output, outputs."""
        total, *rest = self.plan.run(*arrays)
        return total, rest[: self._parts], rest[self._parts :]


class Trainer:
    """Runs training and test steps of a compiled model, and keeps its metrics."""

    def __init__(
        self,
        model: Model,
        optimizer: Any,
        loss: Any,
        loss_weights: Any,
        metrics_: Any,
        weighted_metrics: Any,
        backend: str | None,
        recompute: str | None = None,
    ) -> None:
        self.model = model
        self.optimizer: optimizers.Optimizer = optimizers.get(optimizer)
        self.loss_argument = loss
        self.backend = backend or model.default_backend()
        self.recompute = recompute
        self.seed = random.next_seed()
        self._loss_weights = loss_weights
        self._metric_arguments = (metrics_, weighted_metrics)
        self._losses: list[losses.Loss | None] | None = None
        self._metrics: list[tuple[str, Metric, int, bool]] | None = None
        self._means: dict[str, metrics.Mean] = {"loss": metrics.Mean("loss")}
        self._trainable = model.trainable_weights if model.built else None
        self._plans: PlanCache[_StepPlan] = PlanCache(PLANS_KEPT)

    def get_config(self) -> dict[str, Any]:
        """Arguments of `compile` as JSON types."""
        given, weighted = self._metric_arguments
        return {
            "optimizer": serialize(self.optimizer),
            "loss": plain(self.loss_argument),
            "loss_weights": plain(self._loss_weights),
            "metrics": plain(given),
            "weighted_metrics": plain(weighted),
            "backend": self.backend,
            "recompute": self.recompute,
            "exact": self.model.exact,
        }

    @property
    def arena(self) -> Arena:
        """What all plans of the trainer share, since one of them runs at a time."""
        return self._plans.shared("arena", Arena)

    # --- steps -----------------------------------------------------------------------------------

    def train(self, batch: Batch) -> dict[str, float]:
        """One batch, and the update it ends in; running means since `reset_metrics`."""
        return self._step(batch, training=True)

    def test(self, batch: Batch) -> dict[str, float]:
        """Loss and metrics of a batch, into the running means."""
        return self._step(batch, training=False)

    def _step(self, batch: Batch, training: bool) -> dict[str, float]:
        specs = self.model.check_inputs(batch.x)
        plan = self._plan(batch, specs, training)
        targets = self.check_targets(batch.y, plan.outputs)
        self._ensure_metrics(batch, plan.outputs)
        arrays = [a.astype(s.dtype, copy=False) for a, s in zip(batch.x, specs, strict=True)]
        weights = [w.astype(self.model.dtype, copy=False) for w in batch.w if w is not None]
        numbers = np.zeros(2, self.model.dtype)
        if training:
            numbers = self.optimizer.numbers().astype(self.model.dtype, copy=False)
        with uninterrupted():
            total, parts, outputs = plan.run(
                [*arrays, *targets, *weights, numbers, self.random_state()]
            )
            if training:
                self.optimizer.after_step()
        return self._record(batch, float(total), parts, outputs)

    def _plan(self, batch: Batch, specs: Sequence[Spec], training: bool) -> _StepPlan:
        shapes = tuple((y.shape, y.dtype.name) for y in batch.y)
        weighted = tuple(None if w is None else w.shape for w in batch.w)
        isa = isas.default_isa() if self.backend == "cpu" else ""
        phase = (training, training and self.optimizer.completes)
        circumstances = isa, threads.get_num_threads(), self.model.algorithms()
        key = (tuple(specs), shapes, weighted, phase, *circumstances)
        return self._plans.get(key, lambda: _StepPlan(self, batch, specs, training))

    def random_state(self) -> Array:
        """uint32 (4,): the seed and the number of the batch, which key all random draws."""
        step = self.optimizer.batches
        words = (self.seed, self.seed >> 32, step, step >> 32)
        return np.array([w & 0xFFFFFFFF for w in words], np.uint32)

    # --- the graph of a step ---------------------------------------------------------------------

    def objective(self, lowered: Lowered, batch: Batch) -> _Objective:
        """Loss over the outputs: sum of weighted losses, regularizers and added losses."""
        found = self.losses(len(lowered.outputs))
        self._check_count(batch.y, found)
        targets, weights, parts, terms = [], [], [], []
        factors = self._factors(len(found))
        y, w = iter(batch.y), iter(batch.w)
        for output, loss, factor in zip(lowered.outputs, found, factors, strict=True):
            if loss is None:
                continue
            target, weight = next(y), next(w, None)
            spec = loss.target_spec(output.spec, target.shape)
            targets.append(placeholder(spec.shape, spec.dtype, "target"))
            weighting = None
            if weight is not None:
                weighting = placeholder(weight.shape, self.model.dtype, "sample_weight")
                weights.append(weighting)
            with scope("loss"):
                parts.append(loss(targets[-1], output, weighting))
                terms.append(parts[-1] if factor == 1.0 else ops.multiply(parts[-1], factor))
        with scope("loss"), tracing(lowered.trace):
            terms += self._regularization()
        terms += lowered.trace.losses
        total = terms[0]
        for term in terms[1:]:
            with scope("loss"):
                total = ops.add(total, term)
        return _Objective(targets, weights, total, parts)

    def _regularization(self) -> list[Tensor]:
        return [p.regularizer(p.tensor) for p in self._trainables() if p.regularizer is not None]

    def _trainables(self) -> list[Any]:
        if self._trainable is None:
            self._trainable = self.model.trainable_weights
        for path, parameter in self.model.named_weights().items():
            parameter.path = path
        return self._trainable

    def build_optimizer(self) -> None:
        """Make the optimizer's slots for the trainable weights."""
        self.optimizer.build(self._trainables())

    def updates(self, total: Tensor, numbers: Tensor) -> list[Any]:
        """Updates of the trainable weights and the optimizer's slots, or of sums of gradients."""
        parameters = self._trainables()
        found = gradients(total, parameters)
        pairs = [(g, p) for g, p in zip(found, parameters, strict=True) if g is not None]
        if not pairs:
            raise NotDifferentiableError(
                f"model '{self.model.name}': the loss depends on none of the {len(parameters)} "
                "trainable weights; check layer.trainable and that the outputs use the layers"
            )
        self.build_optimizer()
        with scope("update"):
            if self.optimizer.completes:
                return self.optimizer.updates(pairs, numbers)
            return self.optimizer.accumulation(pairs)

    # --- losses and targets ----------------------------------------------------------------------

    def losses(self, count: int) -> list[losses.Loss | None]:
        """One loss per output; None where an output has none."""
        if self._losses is None:
            given = self._per_output(self.loss_argument, count, "loss")
            self._losses = [None if g is None else losses.get(g) for g in given]
            if not any(self._losses):
                raise ArgumentError(
                    f"model '{self.model.name}' was compiled without a loss; pass "
                    "loss='sparse_categorical_crossentropy' or another to compile"
                )
        return self._losses

    def _per_output(self, given: Any, count: int, what: str) -> list[Any]:
        """A list with an entry per output from a single value, a list, or a dict by output name."""
        if isinstance(given, dict):
            names = self.model.output_names or [f"output_{i}" for i in range(count)]
            unknown = sorted(set(given) - set(names))
            if unknown:
                raise ArgumentError(f"{what} names the outputs {unknown}; the model has {names}")
            return [given.get(name) for name in names]
        if isinstance(given, (list, tuple)):
            if len(given) != count:
                raise ArgumentError(
                    f"{what} has {len(given)} entries for {count} outputs; match them"
                )
            return list(given)
        return [given] * count

    def _factors(self, count: int) -> list[float]:
        given = self._per_output(self._loss_weights, count, "loss_weights")
        where = f"model '{self.model.name}'"
        return [1.0 if g is None else arguments.number(where, "loss_weights", g) for g in given]

    def order_targets(self, y: list[Array], keys: Sequence[str]) -> list[Array]:
        """Targets given by output name, in the order of the outputs."""
        names = self.model.output_names
        if sorted(keys) != sorted(n for n in names if n in keys):
            raise ArgumentError(f"y has the keys {sorted(keys)}; the model's outputs are {names}")
        return [y[list(keys).index(name)] for name in names if name in keys]

    def _check_count(self, y: Sequence[Array], found: Sequence[Loss | None]) -> None:
        expected = sum(loss is not None for loss in found)
        if len(y) != expected:
            raise ArgumentError(
                f"model '{self.model.name}' has losses for {expected} outputs but y holds "
                f"{len(y)} arrays; give one target for each"
            )

    def check_before(self, batch: Batch, labels: Sequence[Array]) -> None:
        """Find out from one sample and all labels at hand whether training could begin."""
        specs = self.model.check_inputs(batch.x)
        outputs = [t.spec for t in lower(self.model, specs, training=False).outputs]
        self._check_count(labels, self.losses(len(outputs)))
        self.check_targets(labels, [s.with_shape(None, *s.shape[1:]) for s in outputs])
        self._ensure_metrics(batch, outputs)

    def check_targets(self, y: Sequence[Array], outputs: Sequence[Spec]) -> list[Array]:
        """The targets as the losses take them; a batch size of None is that of the targets."""
        found = self.losses(len(outputs))
        names = self.model.output_names or [f"output_{i}" for i in range(len(outputs))]
        pairs = [
            (loss, spec, name)
            for loss, spec, name in zip(found, outputs, names, strict=True)
            if loss is not None
        ]
        return [
            np.ascontiguousarray(
                loss.check_target(
                    target,
                    (spec.shape[0] or len(target), *spec.with_shape(*spec.shape[1:]).sizes),
                    f"model '{self.model.name}', output '{name}'",
                    spec.dtype,
                )
            )
            for target, (loss, spec, name) in zip(y, pairs, strict=True)
        ]

    # --- metrics ---------------------------------------------------------------------------------

    def reset_metrics(self) -> None:
        """Begin the running means anew."""
        wait_turn()
        for mean in self._means.values():
            mean.reset_state()
        for _, metric, _, _ in self._metrics or ():
            metric.reset_state()

    def names(self) -> list[str]:
        """Names of all values, the loss first."""
        return [*self._means, *(name for name, *_ in self._metrics or ())]

    def logs(self) -> dict[str, float]:
        """Running means of loss and metrics."""
        values = {name: float(mean.result()) for name, mean in self._means.items()}
        values.update((name, _result(metric)) for name, metric, *_ in self._metrics or ())
        return values

    def metric_objects(self) -> list[Metric]:
        """All metrics, the mean of the loss first."""
        return [*self._means.values(), *(metric for _, metric, *_ in self._metrics or ())]

    def results(self, logs: dict[str, float], return_dict: bool) -> Any:
        """Logs as Keras returns them: a dict, a list, or the loss alone."""
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    def _record(
        self, batch: Batch, total: float, parts: Sequence[Array], outputs: Sequence[Array]
    ) -> dict[str, float]:
        found = self.losses(len(outputs))
        lossy = [i for i, loss in enumerate(found) if loss is not None]
        self._means["loss"].update_state(total, sample_weight=batch.size)
        if len(found) > 1:
            for i, part in zip(lossy, parts, strict=True):
                name = f"{self._output_name(i)}_loss"
                self._means.setdefault(name, metrics.Mean(name))
                self._means[name].update_state(float(part), sample_weight=batch.size)
        position = {output: k for k, output in enumerate(lossy)}
        for _, metric, output, weighted in self._metrics or ():
            k = position[output]
            weight = batch.w[k] if weighted and k < len(batch.w) else None
            metric.update_state(batch.y[k], outputs[output], sample_weight=weight)
        return self.logs()

    def _output_name(self, index: int) -> str:
        names = self.model.output_names
        return names[index] if names else f"output_{index}"

    def _ensure_metrics(self, batch: Batch, outputs: Sequence[Spec]) -> None:
        if self._metrics is None:
            self._metrics = self._make_metrics(batch, outputs)
            self.reset_metrics()

    def _make_metrics(
        self, batch: Batch, outputs: Sequence[Spec]
    ) -> list[tuple[str, Metric, int, bool]]:
        """(name in the logs, metric, output, weighted) in the order of the outputs."""
        made: list[tuple[str, Metric, int, bool]] = []
        found = self.losses(len(outputs))
        targets = iter(batch.y)
        shapes = [None if loss is None else next(targets).shape for loss in found]
        for argument, weighted in zip(self._metric_arguments, (False, True), strict=True):
            for output, wanted in enumerate(self._metrics_per_output(argument, len(outputs))):
                shape = shapes[output]
                if wanted and shape is None:
                    raise ArgumentError(
                        f"output '{self._output_name(output)}' has metrics but no loss and target"
                    )
                for identifier in wanted:
                    metric = metrics.resolve(
                        identifier, found[output], shape or (), outputs[output].shape
                    )
                    prefix = f"{self._output_name(output)}_" if len(outputs) > 1 else ""
                    name = _free_name(prefix, metric.name, weighted, [n for n, *_ in made])
                    made.append((name, metric, output, weighted))
        return made

    def _metrics_per_output(self, given: Any, count: int) -> list[list[Any]]:
        if given is None:
            return [[] for _ in range(count)]
        if not isinstance(given, (list, tuple, dict)):
            given = [given]
        if count == 1 and not isinstance(given, dict):
            return [list(given[0] if len(given) == 1 and isinstance(given[0], list) else given)]
        per_output = self._per_output(given, count, "metrics")
        return [
            [] if g is None else list(g) if isinstance(g, (list, tuple)) else [g]
            for g in per_output
        ]


def _result(metric: Metric) -> float:
    found = metric.result()
    if np.size(found) != 1 or np.asarray(found).dtype.kind not in "biuf":
        raise ArgumentError(
            f"metric '{metric.name}': result() returned {found!r}, expected one number"
        )
    return float(np.asarray(found).reshape(()))


def _free_name(prefix: str, name: str, weighted: bool, taken: Sequence[str]) -> str:
    """A name for the logs: metrics of one name would hide each other."""
    if weighted and prefix + name in taken:
        name = f"weighted_{name}"
    names = (prefix + name, *(f"{prefix}{name}_{i}" for i in range(1, len(taken) + 1)))
    return next(n for n in names if n not in taken)
