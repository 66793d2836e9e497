# SPDX-License-Identifier: Apache-2.0
"""Networks written as tables: names of layers and, beside each, what stands there.

An inception module (Szegedy et al. 2014) is a table within the table: the branches that read the
same maps, joined along the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from fastcnn.applications.blocks import Norm, conv_bn_relu
from fastcnn.graph import Tensor
from fastcnn.layers import Activation, Concatenate, Conv2D, Dense, Layer


@final
@dataclass(frozen=True)
class Conv:
    """A convolution: K filters of R x S.

    `padding` None keeps the size of the maps where the stride is 1, and is "valid" otherwise.
    """

    filters: int
    kernel_size: int | tuple[int, int] = 1
    strides: int = 1
    padding: int | str | None = None
    groups: int = 1

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Conv2D`."""
        padding = self.padding
        if padding is None:
            padding = "same" if self.strides == 1 else "valid"
        return {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": padding,
            "groups": self.groups,
        }


@final
@dataclass(frozen=True)
class Fork:
    """Two convolutions of the same maps, `<name>a` and `<name>b`, joined along the channels."""

    a: Conv
    b: Conv


@final
@dataclass(frozen=True)
class Module:
    """Branches that read the same maps, joined along the channels."""

    branches: tuple[Table, ...]


# Beside convolutions and modules, a row makes a layer: MaxPooling2D, LRN, relu, Dropout, ...
Step = Conv | Fork | Module | Callable[..., Layer]
Table = Mapping[str, Step]
Unit = Callable[[Tensor, str, Conv], Tensor]

RELU = partial(Activation, "relu")


def follow(x: Tensor, table: Table, unit: Unit, prefix: str = "") -> dict[str, Tensor]:
    """What every row of `table` makes of the row above it, by name; the first reads `x`.

    Args:
        x: maps (N, H, W, C).
        table: names, each with its step.
        unit: draws a convolution and what always follows it.
        prefix: stands before all names of layers.
    """
    outputs: dict[str, Tensor] = {}
    for name, step in table.items():
        x = outputs[name] = _draw(x, prefix + name, step, unit)
    return outputs


def _draw(x: Tensor, name: str, step: Step, unit: Unit) -> Tensor:
    if isinstance(step, Conv):
        return unit(x, name, step)
    if isinstance(step, Fork):
        ends = [unit(x, f"{name}a", step.a), unit(x, f"{name}b", step.b)]
    elif isinstance(step, Module):
        ends = [last(follow(x, branch, unit, f"{name}.")) for branch in step.branches]
    else:
        layer: Tensor = step(name=name)(x)
        return layer
    joined: Tensor = Concatenate(name=f"{name}.cat")(ends)
    return joined


def last(outputs: Mapping[str, Tensor]) -> Tensor:
    """The output of a table's last row."""
    return list(outputs.values())[-1]


def biased(x: Tensor, name: str, conv: Conv) -> Tensor:
    """The convolution `name` with its bias, nothing behind it."""
    y: Tensor = Conv2D(**conv.arguments, kernel_initializer="he_normal", name=name)(x)
    return y


def biased_relu(x: Tensor, name: str, conv: Conv) -> Tensor:
    """The convolution `<name>.conv` with its bias, then relu."""
    y: Tensor = RELU(name=f"{name}.relu")(biased(x, f"{name}.conv", conv))
    return y


def normalized(norm: Norm) -> Unit:
    """The unit of the inception networks: `<name>.conv`, `<name>.bn`, relu."""

    def unit(x: Tensor, name: str, conv: Conv) -> Tensor:
        names = (f"{name}.conv", f"{name}.bn")
        relu = f"{name}.relu"
        return conv_bn_relu(x, **conv.arguments, names=names, norm=norm, activation_name=relu)

    return unit


def hidden(units: int) -> Callable[..., Layer]:
    """A row of a table: a Dense layer that stands before a relu."""
    return partial(Dense, units, kernel_initializer="he_normal")


def numbered(prefix: str, steps: Sequence[Step]) -> dict[str, Step]:
    """A table whose rows are called `<prefix>0`, `<prefix>1`, ..."""
    return {f"{prefix}{i}": step for i, step in enumerate(steps)}


def branch(name: str, *steps: Step) -> dict[str, Step]:
    """A branch of a module: `name` if it has one step, else `<name>.0`, `<name>.1`, ..."""
    return {name: steps[0]} if len(steps) == 1 else numbered(f"{name}.", steps)
