# SPDX-License-Identifier: Apache-2.0
"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any, final

from fastcnn import arguments
from fastcnn.ops.update import MomentumUpdate, SGDUpdate, Update
from fastcnn.optimizers.base import Optimizer


@final
class SGD(Optimizer):
    """w -= lr·g, or with momentum v = momentum·v - lr·g and w += v.

    With `nesterov`, w += momentum·v - lr·g (Sutskever et al., 2013). Where the rate changes this
    differs from PyTorch, whose velocity does not contain it.

    Args:
        momentum: in [0, 1].
        nesterov: look ahead along the velocity.
        learning_rate, weight_decay and the rest: see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "SGD",
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
        self.momentum = arguments.fraction(self._who, "momentum", momentum)
        self.nesterov = nesterov

    def update_op(self, decay: bool) -> Update:
        """Without momentum there is no velocity to keep."""
        if self.momentum == 0:
            return SGDUpdate(decay)
        return MomentumUpdate(self.momentum, self.nesterov, decay)
