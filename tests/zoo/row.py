# SPDX-License-Identifier: Apache-2.0
"""One network of the zoo, as it must be counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastcnn import applications


@dataclass(frozen=True)
class Row:
    """A network with given arguments, its counts, and the public model it equals.

    Attributes:
        network: name in `fastcnn.applications`.
        parameters: weights, biases, gammas and betas.
        macs: multiply-accumulates of convolutions and matrix products for one image.
        published_macs: as the literature prints them, "15.470 G"; empty where it does not.
        arguments: keywords of the network.
        output: shape of the output.
        total: parameters and running statistics, where Keras publishes that count.
        peer: "torchvision:name" or "timm:name" of the public model with the same tensors.
        peer_arguments: keywords that the public model is made with.
        source: the paper.
        note: what a reader should know.
    """

    network: str
    parameters: int
    macs: int
    published_macs: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    output: tuple[int | None, ...] = (None, 1000)
    total: int | None = None
    peer: str = ""
    peer_arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    note: str = ""

    def __str__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.arguments.items())
        return f"{self.network}({given})"

    def build(self, **arguments: Any) -> Any:
        """The network; `arguments` go before the row's own."""
        return getattr(applications, self.network)(**{**self.arguments, **arguments})
