# SPDX-License-Identifier: Apache-2.0
"""Initial values of weights.

An initializer is called with a shape and a dtype. Kernels are (R, S, C, K) or (C, K): the fan-in is
R·S·C and the fan-out R·S·K. With `seed=None` every call draws a fresh seed from the stream that
`fastcnn.set_random_seed` starts, so one instance may serve several layers; with a number, equal
calls give equal arrays.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from fastcnn import arguments
from fastcnn.configurable import Configurable, folded, plain, resolve
from fastcnn.configurable import serialize as serialize
from fastcnn.errors import ArgumentError, DtypeError, ShapeError
from fastcnn.random import generator, next_seed_later

Array = np.ndarray[Any, Any]

# Standard deviation of a standard normal cut off at two deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978


class Initializer(Configurable):
    """Base of initializers: implement `__call__`."""

    @abstractmethod
    def __call__(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array of `shape`.

        Raises:
            ShapeError: the shape has no such initial value.
            DtypeError: `dtype` is not a float type.
        """

    def later(self, shape: Sequence[int], dtype: str = "float32") -> Callable[[], Array]:
        """What `self(shape, dtype)` gives now, to be had when it is needed; errors come now."""
        value = self(shape, dtype)
        return lambda: value


def _checked_shape(shape: Sequence[int], dtype: str, who: Initializer) -> tuple[int, ...]:
    sizes: tuple[Any, ...] = tuple(shape)
    for size in sizes:
        if not isinstance(size, (int, np.integer)) or size < 0:
            raise ShapeError(
                f"{type(who).__name__}: found shape {sizes}, expected non-negative integers"
            )
    if np.dtype(dtype).kind != "f":
        raise DtypeError(
            f"{type(who).__name__}: found dtype {dtype}, expected a float type such as 'float32'"
        )
    return tuple(int(size) for size in sizes)


@final
class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array of zeros."""
        return np.zeros(_checked_shape(shape, dtype, self), dtype)


@final
class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array of ones."""
        return np.ones(_checked_shape(shape, dtype, self), dtype)


@final
class Constant(Initializer):
    """The same value everywhere, or an array of the shape that is asked for."""

    def __init__(self, value: Any = 0.0) -> None:
        if np.asarray(value).dtype.kind not in "biuf":
            raise ArgumentError(f"Constant: found value={value!r}, expected numbers")
        self.value = plain(value)

    def __call__(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """An array holding `value`, which must broadcast to `shape`."""
        sizes = _checked_shape(shape, dtype, self)
        value = np.asarray(self.value, dtype)
        try:
            return np.broadcast_to(value, sizes).copy()
        except ValueError:
            raise ShapeError(
                f"Constant: a value of shape {value.shape} does not fill shape {sizes}; give a "
                "number or an array of that shape"
            ) from None


@final
class Identity(Initializer):
    """`gain` on the main diagonal of a matrix, zeros elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = arguments.number(type(self).__name__, "gain", gain)

    def __call__(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """A (rows, columns) matrix."""
        sizes = _checked_shape(shape, dtype, self)
        if len(sizes) != 2:
            raise ShapeError(f"Identity: found shape {sizes}, expected a matrix (rows, columns)")
        return self.gain * np.eye(*sizes, dtype=dtype)


class RandomInitializer(Initializer):
    """Base of the initializers that draw: implement `_draw`."""

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None:
            generator(seed)
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: str = "float32") -> Array:
        """Random values of `shape`; drawn in float64, then rounded to `dtype`."""
        return self.later(shape, dtype)()

    def later(self, shape: Sequence[int], dtype: str = "float32") -> Callable[[], Array]:
        """The seed is taken now, so values do not depend on when they are drawn."""
        sizes = _checked_shape(shape, dtype, self)
        self._check(sizes)
        own = self.seed
        seed = next_seed_later() if own is None else lambda: own
        return lambda: self._draw(generator(seed()), sizes).astype(dtype)

    def _check(self, shape: tuple[int, ...]) -> None:
        """Raise a ShapeError where `_draw` would."""

    @abstractmethod
    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Values of `shape` in float64."""


@final
class RandomNormal(RandomInitializer):
    """Normal with the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, arguments.non_negative("RandomNormal", "stddev", stddev)

    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.normal(self.mean, self.stddev, shape)


@final
class TruncatedNormal(RandomInitializer):
    """Normal; values beyond two standard deviations are drawn again."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, arguments.non_negative("TruncatedNormal", "stddev", stddev)

    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return self.mean + self.stddev * _truncated_normal(rng, shape)


@final
class RandomUniform(RandomInitializer):
    """Uniform on [minval, maxval)."""

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        minval = arguments.number("RandomUniform", "minval", minval)
        maxval = arguments.number("RandomUniform", "maxval", maxval)
        if not minval <= maxval:
            raise ArgumentError(
                f"RandomUniform: found minval={minval} above maxval={maxval}; swap them"
            )
        self.minval, self.maxval = minval, maxval

    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.uniform(self.minval, self.maxval, shape)


_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")


class VarianceScaling(RandomInitializer):
    """Zero mean and variance `scale / n`, where n is a fan of the kernel.

    Args:
        scale: positive factor.
        mode: "fan_in", "fan_out" or "fan_avg", their mean.
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
        seed: see the module.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        self.scale = arguments.positive("VarianceScaling", "scale", scale)
        self.mode = arguments.one_of("VarianceScaling", "mode", mode, _MODES)
        self.distribution = arguments.one_of(
            "VarianceScaling", "distribution", distribution, _DISTRIBUTIONS
        )

    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        fan_in, fan_out = compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return rng.normal(0.0, math.sqrt(variance), shape)
        return math.sqrt(variance) / _TRUNCATED_DEVIATION * _truncated_normal(rng, shape)


@final
class GlorotUniform(VarianceScaling):
    """Uniform, limit sqrt(6 / (fan_in + fan_out)): Glorot and Bengio, 2010."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed)


@final
class GlorotNormal(VarianceScaling):
    """Truncated normal, variance 2 / (fan_in + fan_out): Glorot and Bengio, 2010."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


@final
class HeUniform(VarianceScaling):
    """Uniform, limit sqrt(6 / fan_in): He et al., 2015."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed)


@final
class HeNormal(VarianceScaling):
    """Truncated normal, variance 2 / fan_in: He et al., 2015."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


@final
class LecunUniform(VarianceScaling):
    """Uniform, limit sqrt(3 / fan_in): LeCun et al., 1998."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed)


@final
class LecunNormal(VarianceScaling):
    """Truncated normal, variance 1 / fan_in: LeCun et al., 1998."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


@final
class Orthogonal(RandomInitializer):
    """Orthonormal rows or columns of the kernel as a (R·S·C, K) matrix: Saxe et al., 2014."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = arguments.number(type(self).__name__, "gain", gain)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2:
            raise ShapeError(f"Orthogonal: found shape {shape}, expected at least two dimensions")

    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        gaussian = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(gaussian)
        # QR leaves each column's sign open; this choice makes q uniform over orthogonal matrices.
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


def compute_fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: receptive field size times C, and times K."""
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = rng.standard_normal(shape)
    outside = np.abs(values) > 2
    while outside.any():
        values[outside] = rng.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2
    return values


INITIALIZERS: dict[str, type[Initializer]] = {
    "constant": Constant,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "identity": Identity,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "normal": RandomNormal,
    "ones": Ones,
    "orthogonal": Orthogonal,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "zeros": Zeros,
}

_SHORT = {"one": "ones", "zero": "zeros", "orthogonalinitializer": "orthogonal"}


def get(
    identifier: Any, custom_objects: Mapping[str, Any] | None = None
) -> Initializer | Callable[..., Any]:
    """An initializer from its name, config, class or instance; other callables as they are.

    Raises:
        ArgumentError: there is none of that name.
    """
    if isinstance(identifier, str):
        identifier = _SHORT.get(folded(identifier), identifier)
    if callable(identifier) and not isinstance(identifier, (Initializer, type)):
        return identifier  # type: ignore[no-any-return]
    return deserialize(identifier, custom_objects)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Initializer:
    """An initializer from `{"class_name", "config"}`."""
    return resolve(config, "initializer", Initializer, INITIALIZERS, custom_objects)
