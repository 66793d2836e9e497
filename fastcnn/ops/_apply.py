# SPDX-License-Identifier: Apache-2.0
"""From a public function to an op: run at once on arrays, or add a node on symbolic tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import backends
from fastcnn.backends.calls import Call, Slot
from fastcnn.backends.reference import run_reference
from fastcnn.drawing import add_node, read
from fastcnn.errors import DtypeError, ShapeError
from fastcnn.graph import Array, Op, Parameter, Spec, Tensor, constant, infer, native, spec_of

FLOATS = ("float32", "float64")


def is_symbolic(value: Any) -> bool:
    """Whether `value` stands for a tensor of the graph."""
    return isinstance(value, (Tensor, Parameter))


def as_operands(values: Sequence[Any]) -> list[Any]:
    """Tensors as they are, parameters as their symbolic value, the rest as arrays.

    Python and 0-d numbers take the float type of the other operands (float32 alone).
    """
    values = [_readable(v) for v in values]
    typed = [v for v in values if isinstance(v, Tensor) or (isinstance(v, np.ndarray) and v.ndim)]
    floats = [str(v.dtype) for v in typed if str(v.dtype) in FLOATS]
    dtype = "float64" if "float64" in floats else "float32"
    return [v if isinstance(v, Tensor) else _as_array(v, dtype) for v in values]


def _readable(value: Any) -> Any:
    if isinstance(value, Parameter):
        return read(value)
    return native(value) if isinstance(value, np.ndarray) else value


def _as_array(value: Any, dtype: str) -> Array:
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    array = np.asarray(value)
    if array.dtype.kind in "fiub":
        return np.asarray(array, dtype, order="C")
    raise DtypeError(f"found a value of dtype {array.dtype}; expected numbers, try float32 arrays")


def apply(op: Op, *inputs: Any) -> Any:
    """The output of `op` (a tuple where it has several): an array, or a symbolic tensor."""
    operands = as_operands(inputs)
    if any(isinstance(v, Tensor) for v in operands):
        tensors = [v if isinstance(v, Tensor) else constant(v) for v in operands]
        outputs: tuple[Any, ...] = add_node(op, tensors).outputs
    else:
        outputs = run(op, operands)
    return outputs if len(outputs) > 1 else outputs[0]


def run(op: Op, arrays: Sequence[Array]) -> tuple[Array, ...]:
    """Run `op` at once: float32 on the cpu backend, other types by its reference."""
    specs = [spec_of(a) for a in arrays]
    outputs = infer(op, specs)
    if {s.dtype for s in (*specs, *outputs)}.intersection(FLOATS) == {"float32"}:
        return _run_kernel(op, arrays, specs, outputs)
    return run_reference(op.reference, arrays)


def _run_kernel(
    op: Op, arrays: Sequence[Array], specs: Sequence[Spec], outputs: Sequence[Spec]
) -> tuple[Array, ...]:
    results = [np.empty(s.sizes, s.dtype) for s in outputs]
    if op.is_view:
        return (arrays[0].reshape(outputs[0].sizes).copy(),)
    slots = [Slot(i, 0, s.sizes, s.dtype) for i, s in enumerate((*specs, *outputs))]
    inputs, outs = tuple(slots[: len(specs)]), tuple(slots[len(specs) :])
    call = Call(
        op.name, op.attributes(*specs), inputs, outs, op.reference, op.name, op.macs(*specs)
    )
    program = backends.get("cpu").compile([call])
    for i, array in enumerate((*arrays, *results)):
        program.bind(i, array)
    program.run()
    return tuple(results)


def require_float(*specs: Spec) -> str:
    """The float type the inputs share; DtypeError for integers, objects or a mixture."""
    for position, spec in enumerate(specs):
        if spec.dtype not in FLOATS:
            raise DtypeError(
                f"found {spec.dtype} for input {position}, expected float32 (or float64 on the "
                "reference backend); convert it with .astype('float32')"
            )
    dtypes = sorted({spec.dtype for spec in specs})
    if len(dtypes) > 1:
        raise DtypeError(f"found inputs of {' and '.join(dtypes)}; give all of them one float type")
    return dtypes[0]


def require_rank(spec: Spec, rank: int, layout: str, what: str = "the input") -> None:
    """ShapeError unless `spec` has the rank of `layout`, e.g. "(N, H, W, C)"."""
    if spec.rank != rank:
        raise ShapeError(
            f"{what} has shape {spec.shape} of rank {spec.rank}, expected rank {rank} {layout}; "
            "reshape it or add the missing axis"
        )
