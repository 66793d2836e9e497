# SPDX-License-Identifier: Apache-2.0
"""Adam and its variant with decoupled weight decay."""

from __future__ import annotations

import math
from typing import Any, final

from fastcnn import arguments
from fastcnn.ops.update import AdamUpdate, Update
from fastcnn.optimizers.base import Optimizer


class _AdamBase(Optimizer):
    beta_1: float
    beta_2: float
    epsilon: float
    amsgrad: bool

    def _set(self, beta_1: float, beta_2: float, epsilon: float, amsgrad: bool) -> None:
        self.beta_1 = arguments.fraction(self._who, "beta_1", beta_1, below_one=True)
        self.beta_2 = arguments.fraction(self._who, "beta_2", beta_2, below_one=True)
        self.epsilon = arguments.non_negative(self._who, "epsilon", epsilon)
        self.amsgrad = amsgrad

    def update_op(self, decay: bool) -> Update:
        """Mean and mean square of the gradient, and the largest of the latter for AMSGrad."""
        return AdamUpdate(self.beta_1, self.beta_2, self.epsilon, self.amsgrad, decay)

    def step_size(self, learning_rate: float, step: int) -> float:
        """The rate with the bias of both means corrected."""
        return learning_rate * math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)


@final
class Adam(_AdamBase):
    """w -= lr·m̂ / (sqrt(v̂) + epsilon), the means of g and g² without bias: Kingma and Ba, 2014.

    As in Keras, epsilon is added to the root of the biased mean ("epsilon hat" in the paper), and
    is 1e-7 where PyTorch has 1e-8.

    Args:
        beta_1: share of the old mean gradient in the new.
        beta_2: share of the old mean square in the new.
        epsilon: keeps the divisor from zero.
        amsgrad: divide by the largest mean square so far (Reddi et al., 2018).
        learning_rate, weight_decay and the rest: see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "adam",
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
        self._set(beta_1, beta_2, epsilon, amsgrad)


@final
class AdamW(_AdamBase):
    """Adam with decoupled weight decay, 0.004 unless told otherwise: Loshchilov and Hutter, 2019.

    Args:
        learning_rate, weight_decay and the rest: see `Optimizer` and `Adam`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "adamw",
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
        self._set(beta_1, beta_2, epsilon, amsgrad)
