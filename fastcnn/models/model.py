# SPDX-License-Identifier: Apache-2.0
"""The model: a layer that can be trained, evaluated, run, described and saved."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastcnn import arguments
from fastcnn.backends import isas, threads
from fastcnn.data.arrays import as_array
from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.graph import Array, Spec, Tensor, spec_of
from fastcnn.layers.base import Layer
from fastcnn.models import loop, saving, state
from fastcnn.models.choices import measured_choices
from fastcnn.models.derived import DerivedWeights
from fastcnn.models.lowering import InferencePlan, Lowered, PlanCache, lower, sample_specs
from fastcnn.models.summary import summary
from fastcnn.passes.algorithms import Algorithms, Choices, exact_by_environment
from fastcnn.structure import flatten, map_structure, pack_as
from fastcnn.utils.turn import wait_turn

if TYPE_CHECKING:
    from fastcnn.analysis import ReceptiveField
    from fastcnn.metrics import Metric
    from fastcnn.models.trainer import Trainer

# Plans hold arenas, so only a few input shapes are kept ready.
PLANS_KEPT = 8

T = TypeVar("T")


class Model(Layer):
    """`Model(inputs, outputs)` from tensors, or the base of a model with its own `call`.

    Args:
        inputs: symbolic tensor, or a list or dict of them, from `fastcnn.Input`.
        outputs: symbolic tensors computed from them.
        name: name of the model.

    Attributes:
        exact: True forbids Winograd's algorithm, whose convolutions differ from direct sums by
            about 1e-6 of the largest output: in every plan made from then on, of prediction,
            training and explanation. FASTCNN_EXACT=1 forbids it for all models; of nested models,
            the outermost counts.
    """

    exact: bool = False

    input_structure: Any = None
    output_structure: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Model:
        """A functional model when called as `Model(inputs, outputs)`."""
        if cls is Model and (args or "inputs" in kwargs):
            from fastcnn.models.functional import Functional

            return super().__new__(Functional)
        if cls is Model:
            raise ArgumentError(
                "Model found no inputs and outputs; call it as Model(inputs, outputs), or derive a "
                "class with a call of its own"
            )
        return super().__new__(cls)

    def __init__(self, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.stop_training = False
        # Epoch and batch that fit begins with; a callback may set it when training begins.
        self.resume_at = (0, 0)
        self.history: Any = None
        self._trainer: Trainer | None = None
        self._plans: PlanCache[InferencePlan] = PlanCache(PLANS_KEPT)
        self._other_plans: PlanCache[Any] = PlanCache(PLANS_KEPT)

    # --- training --------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        backend: str | None = None,
        gradient_accumulation_steps: int | None = None,
        recompute: str | None = None,
        exact: bool | None = None,
    ) -> None:
        """Choose what `fit` and `evaluate` use. Weights stay as they are.

        Args:
            optimizer: name, config or `optimizers.Optimizer`.
            loss: name, config, `losses.Loss` or function of (y_true, y_pred); a list or a dict by
                output name for several outputs.
            loss_weights: factor of each output's loss.
            metrics: names, configs, `metrics.Metric`s; a list or dict of lists for several outputs.
            weighted_metrics: the same, weighted by sample_weight and class_weight.
            run_eagerly, steps_per_execution, auto_scale_loss: only as they are by default.
            jit_compile: "auto" or True: a model always runs as a compiled plan.
            backend: "cpu" or "reference"; by the model's dtype when None.
            gradient_accumulation_steps: the optimizer's argument of this name, for optimizers that
                are given by name: one update for so many batches.
            recompute: "auto" trades time for memory: normalizations, activations, sums and pooling
                are made again, to the same bits, where gradients read them, instead of kept.
            exact: what `model.exact` becomes; as it is when None.
        """
        from fastcnn.models.compiling import check_identifiers, check_weights
        from fastcnn.models.trainer import Trainer

        where = f"model '{self.name}': compile"
        arguments.only_default(where, "run_eagerly", run_eagerly, False)
        arguments.only_default(where, "steps_per_execution", steps_per_execution, 1)
        arguments.only_default(where, "jit_compile", jit_compile, "auto", True)
        arguments.only_default(where, "auto_scale_loss", auto_scale_loss, True)
        arguments.one_of(where, "recompute", recompute, (None, "auto"))
        arguments.one_of(where, "exact", exact, (None, True, False))
        check_identifiers(loss, metrics, weighted_metrics)
        check_weights(loss_weights, where)
        trainer = Trainer(
            self, optimizer, loss, loss_weights, metrics, weighted_metrics, backend, recompute
        )
        if gradient_accumulation_steps is not None:
            trainer.optimizer.accumulate(gradient_accumulation_steps)
        if exact is not None:
            self.exact = exact
        self._trainer = trainer

    def compile_as_saved(self, config: dict[str, Any]) -> None:
        """`compile`, but a loss or metric that is not known only matters once it is needed."""
        from fastcnn.models.trainer import Trainer

        names = ("optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "backend")
        # Older files know neither recompute nor exact.
        given = [*(config[name] for name in names), config.get("recompute")]
        self._trainer = Trainer(self, *given)
        self.exact = config.get("exact") is True

    @property
    def trainer(self) -> Trainer:
        """What `compile` made."""
        if self._trainer is None:
            raise ArgumentError(
                f"model '{self.name}' is not compiled; call compile(optimizer=..., loss=...) first"
            )
        return self._trainer

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._trainer is not None

    @property
    def optimizer(self) -> Any:
        """The compiled optimizer."""
        return self.trainer.optimizer

    @property
    def loss(self) -> Any:
        """The loss as given to `compile`."""
        return self.trainer.loss_argument

    @property
    def metrics_names(self) -> list[str]:
        """Names of the values that `evaluate` returns."""
        return self.trainer.names()

    @property
    def metrics(self) -> list[Metric]:
        """The mean of the loss and the metrics; those of `compile` once data has been seen."""
        return [] if self._trainer is None else self._trainer.metric_objects()

    def reset_metrics(self) -> None:
        """Begin the running means anew."""
        self.trainer.reset_metrics()

    fit = loop.fit
    evaluate = loop.evaluate
    predict = loop.predict

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One update. Returns the loss of the batch before it, and the metrics on the batch.

        Raises:
            NonFiniteError: the loss is NaN or infinite; weights and optimizer are unchanged.
        """
        batch = loop.one_batch(self, x, y, sample_weight, class_weight)
        self.trainer.reset_metrics()
        return self.trainer.results(self.trainer.train(batch), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch."""
        batch = loop.one_batch(self, x, y, sample_weight, None)
        self.trainer.reset_metrics()
        return self.trainer.results(self.trainer.test(batch), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs for one batch: arrays in the nesting of the model's outputs."""
        arrays = [as_array(a, "x") for a in self.order_inputs(x)]
        # Checking inputs and naming types takes longer than a small network.
        short = tuple((a.shape, a.dtype) for a in arrays)
        specs = self._plans.remembered(short, lambda: tuple(self.check_inputs(arrays)))
        plan = self.inference_plan(specs)
        return pack_as(plan.structure, plan.run(arrays))

    @property
    def inputs(self) -> list[Tensor]:
        """Symbolic inputs of a model drawn from tensors; none otherwise."""
        return []

    @property
    def outputs(self) -> list[Tensor]:
        """Symbolic outputs of a model drawn from tensors; none otherwise."""
        return []

    @property
    def input(self) -> Any:
        """Symbolic inputs in their nesting; of a model with its own `call`, those of its call."""
        if not self.inputs:
            return super().input
        return self.input_structure_for(self.inputs)

    @property
    def output(self) -> Any:
        """Symbolic outputs in their nesting; of a model with its own `call`, those of its call."""
        if not self.outputs:
            return super().output
        return self.outputs[0] if self.output_structure is None else self.output_structure

    @property
    def input_shape(self) -> Any:
        """Shape of `input`, with the batch."""
        return map_structure(lambda t: t.shape, self.input)

    # --- inputs ----------------------------------------------------------------------------------

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, as in a dict of arrays."""
        return [t.node.layer for t in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the layers that make the outputs."""
        return [t.node.layer.partition("/")[0] or t.node.op.name for t in self.outputs]

    def input_structure_for(self, inputs: Sequence[Tensor]) -> Any:
        """Nesting in which `call` takes these inputs."""
        if self.input_structure is not None:
            return self.input_structure
        return inputs[0] if len(inputs) == 1 else list(inputs)

    def order_inputs(self, x: Any) -> list[Any]:
        """Leaves of `x` in the order of the model's inputs."""
        if not isinstance(x, dict):
            return flatten(x) if isinstance(x, (list, tuple)) and self._many() else [x]
        keys = list(self.input_structure) if isinstance(self.input_structure, dict) else None
        keys = keys or self.input_names
        if sorted(keys) != sorted(x):
            raise ArgumentError(f"model '{self.name}' has the inputs {keys}, found {sorted(x)}")
        return [x[key] for key in keys]

    def _many(self) -> bool:
        return len(self.inputs) > 1 or isinstance(self.input_structure, (list, tuple, dict))

    def check_inputs(self, arrays: Sequence[Array]) -> list[Spec]:
        """Specs of a batch, or an error naming the input that does not fit."""
        if self.inputs and len(arrays) != len(self.inputs):
            raise ArgumentError(
                f"model '{self.name}' takes {len(self.inputs)} inputs {self.input_names}, "
                f"found {len(arrays)}"
            )
        specs = [spec_of(a) for a in arrays]
        for i, spec in enumerate(specs):
            wanted = self.inputs[i].spec if self.inputs else Spec((None,) * spec.rank, self.dtype)
            name = self.input_names[i] if self.inputs else f"input_{i}"
            specs[i] = _fitting(spec, wanted, f"model '{self.name}', input '{name}'")
        return specs

    def ensure_built(self, inputs: Sequence[Spec]) -> None:
        """Build a model that has not seen a shape yet."""
        if not self.built:
            self.build(inputs[0].shape if len(inputs) == 1 else [s.shape for s in inputs])
            self.built = True

    def default_backend(self) -> str:
        """The cpu backend has float32 kernels; float64 models run on the references."""
        return "cpu" if self.dtype == "float32" else "reference"

    def inference_backend(self) -> str:
        """The backend that `predict` uses: that of `compile`, else by the model's dtype."""
        return self._trainer.backend if self._trainer else self.default_backend()

    def inference_plan(self, specs: Sequence[Spec]) -> InferencePlan:
        """The plan that `predict` runs for these input specs; kept for the last few shapes."""
        backend = self.inference_backend()
        key = self._circumstances(backend, specs)

        def make() -> InferencePlan:
            derived = self._derived_weights(backend)
            return InferencePlan(self, specs, backend, derived, key.algorithms)

        return self._plans.get(key, make)

    def keep_plan(
        self,
        kind: Hashable,
        specs: Sequence[Spec],
        make: Callable[[str, DerivedWeights, Algorithms], T],
    ) -> T:
        """A plan of another kind over this model, kept as those of `predict` are.

        Args:
            kind: what tells it from others of the same input specs.
            specs: of the model's inputs.
            make: makes it, given the backend, the weights that all plans of the model share and
                the algorithms that its convolutions may have.
        """
        backend = self.inference_backend()
        key = self._circumstances(backend, specs)
        kept: T = self._other_plans.get(
            (kind, key), lambda: make(backend, self._derived_weights(backend), key.algorithms)
        )
        return kept

    def algorithms(self) -> Algorithms:
        """Algorithms that the model's convolutions may have now, nothing having been measured."""
        return Algorithms(self.exact or exact_by_environment())

    def forget_plans(self) -> None:
        """Drop all plans: the model is another one now."""
        self._plans.clear()
        self._other_plans.clear()

    def _circumstances(self, backend: str, specs: Sequence[Spec]) -> _Circumstances:
        wait_turn()
        isa = isas.default_isa() if backend == "cpu" else ""
        exact = self.exact or exact_by_environment()
        measured = measured_choices(isa) if isa else frozenset()
        count = threads.get_num_threads()
        return _Circumstances(tuple(specs), backend, isa, count, exact, measured)

    def _derived_weights(self, backend: str) -> DerivedWeights:
        isa = isas.default_isa() if backend == "cpu" else ""
        return self._plans.shared((backend, isa), lambda: DerivedWeights(backend))

    # --- looking ---------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        return self.sublayers

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by name or position."""
        if index is not None and (name is not None or not hasattr(index, "__index__")):
            raise ArgumentError(
                f"model '{self.name}': get_layer found name={name!r} and index={index!r}, expected "
                "a name or an integer"
            )
        if index is not None and -len(self.layers) <= index < len(self.layers):
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ArgumentError(
            f"model '{self.name}' has no layer {name if index is None else index!r}; it has "
            f"{[layer.name for layer in self.layers]}"
        )

    summary = summary

    def graph(self, input_shape: Any = None, training: bool = False, batch: int = 1) -> Lowered:
        """The model as one flat graph of ops, with the outputs of every layer.

        Args:
            input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when
                None.
            training: as it runs in training.
            batch: number of samples.
        """
        return lower(self, sample_specs(self, input_shape, batch), training)

    def receptive_field(
        self, layer: Any = None, input_shape: Any = None, input: int | str = 0
    ) -> ReceptiveField:
        """What the units of a layer see of the input: see `analysis.receptive_field`."""
        from fastcnn import analysis  # here, so that whoever trains does not wait for it

        return analysis.receptive_field(self, layer, input_shape, input)

    def count_macs(self, input_shape: Any = None) -> int:
        """Multiply-accumulates of one sample through convolutions and matrix products.

        Args:
            input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when
                None.
        """
        from fastcnn.analysis import counts

        return counts.count_macs(self, input_shape)

    def count_flops(self, input_shape: Any = None) -> int:
        """Floating-point operations of one sample: 2 per MAC, and what all other ops do.

        An elementwise function counts 1 per number, a batch normalization 2, a maximum of n numbers
        n - 1, a mean n; `fastcnn.analysis.flops` has the rule of every op.

        Args:
            input_shape: shape of one sample (H, W, C), or a list of shapes; the model's own when
                None.
        """
        from fastcnn.analysis import counts

        return counts.count_flops(self, input_shape)

    def plan(self, input_shape: Any, training: bool = False) -> Any:
        """The printable inference plan for arrays of `input_shape`, the batch included."""
        shapes = [input_shape] if isinstance(input_shape[0], int) else input_shape
        specs = [Spec(tuple(shape), self.dtype) for shape in shapes]
        return self.inference_plan(specs).plan

    # --- weights and files -----------------------------------------------------------------------

    state_dict = state.state_dict
    load_state_dict = state.load_state_dict
    save = saving.save_model
    export = saving.export_model
    save_weights = saving.save_weights
    load_weights = saving.load_weights
    save_state = saving.save_state
    load_state = saving.load_state


class _Circumstances(NamedTuple):
    """All that a plan depends on, beside the model."""

    specs: tuple[Spec, ...]
    backend: str
    isa: str
    threads: int
    exact: bool
    measured: Choices

    @property
    def algorithms(self) -> Algorithms:
        return Algorithms(self.exact, self.measured)


def _fitting(spec: Spec, wanted: Spec, where: str) -> Spec:
    """The spec a batch will have once float64 is rounded to float32; errors otherwise."""
    floats = ("float16", "float32", "float64")
    if spec.dtype != wanted.dtype and not (spec.dtype in floats and wanted.dtype in floats):
        raise DtypeError(
            f"{where}: found dtype {spec.dtype}, expected {wanted.dtype}; convert it, e.g. "
            f"x.astype('{wanted.dtype}') / 255 for images"
        )
    fits = spec.rank == wanted.rank and all(
        w is None or w == f for f, w in zip(spec.shape, wanted.shape, strict=True)
    )
    if not fits or (spec.shape and spec.shape[0] == 0):
        raise ShapeError(
            f"{where}: found shape {spec.shape}, expected {wanted.shape} (None: any size); "
            "the first axis is the batch and channels come last"
        )
    return Spec(spec.shape, wanted.dtype)
