# SPDX-License-Identifier: Apache-2.0
"""Optimizers that divide by the size of past gradients."""

from __future__ import annotations

from typing import Any, final

from fastcnn import arguments
from fastcnn.ops.update import AdagradUpdate, RMSpropUpdate, Update
from fastcnn.optimizers.base import Optimizer


@final
class RMSprop(Optimizer):
    """s = rho·s + (1 - rho)·g² and w -= lr·g / sqrt(s + epsilon): Tieleman and Hinton, 2012.

    PyTorch adds epsilon after the root and calls rho alpha.

    Args:
        rho: share of the old mean square in the new.
        momentum: of the steps themselves.
        epsilon: keeps the root from zero.
        centered: divide by an estimate of the variance: s less the squared mean gradient.
        learning_rate, weight_decay and the rest: see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "rmsprop",
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            use_ema,
            ema_momentum,
            ema_overwrite_frequency,
            loss_scale_factor,
            gradient_accumulation_steps,
            name,
        )
        self.rho = arguments.fraction(self._who, "rho", rho)
        self.momentum = arguments.fraction(self._who, "momentum", momentum)
        self.epsilon = arguments.non_negative(self._who, "epsilon", epsilon)
        self.centered = centered

    def update_op(self, decay: bool) -> Update:
        """Mean square, and what centering and momentum need."""
        return RMSpropUpdate(self.rho, self.momentum, self.epsilon, self.centered, decay)


@final
class Adagrad(Optimizer):
    """a += g² and w -= lr·g / sqrt(a + epsilon): Duchi et al., 2011.

    Args:
        initial_accumulator_value: what a begins with.
        epsilon: keeps the root from zero.
        learning_rate, weight_decay and the rest: see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "adagrad",
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            use_ema,
            ema_momentum,
            ema_overwrite_frequency,
            loss_scale_factor,
            gradient_accumulation_steps,
            name,
        )
        self.initial_accumulator_value = arguments.non_negative(
            self._who, "initial_accumulator_value", initial_accumulator_value
        )
        self.epsilon = arguments.non_negative(self._who, "epsilon", epsilon)

    def update_op(self, decay: bool) -> Update:
        """One accumulator."""
        return AdagradUpdate(self.epsilon, decay)

    def initial_slot(self, slot: str) -> float:
        """The accumulator's first value."""
        return self.initial_accumulator_value
