# SPDX-License-Identifier: Apache-2.0
"""Built-in networks, one file per family.

neocognitron  Neocognitron                             Fukushima 1980, with its rule of learning
lecun1989     LeCun1989                                LeCun et al. 1989, zip codes
tdnn          TDNN                                     Waibel et al. 1989, phonemes
lenet         LeNet5                                   LeCun et al. 1998, and as it is taught
lecture       LectureC                                 the worked example of a lecture on CNNs
resnet_cifar  ResNet20, ResNet32, ResNet44, ResNet56   He et al. 2015, section 4.2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcnn.applications.lecture import LectureC as LectureC
from fastcnn.applications.lecun1989 import LeCun1989 as LeCun1989
from fastcnn.applications.lenet import LeNet5 as LeNet5
from fastcnn.applications.neocognitron import Neocognitron as Neocognitron
from fastcnn.applications.resnet_cifar import ResNet20 as ResNet20
from fastcnn.applications.resnet_cifar import ResNet32 as ResNet32
from fastcnn.applications.resnet_cifar import ResNet44 as ResNet44
from fastcnn.applications.resnet_cifar import ResNet56 as ResNet56
from fastcnn.applications.tdnn import TDNN as TDNN
from fastcnn.errors import ArgumentError
from fastcnn.models import Model

BY_NAME: dict[str, Callable[..., Model]] = {
    network.__name__: network
    for network in (
        Neocognitron,
        LeCun1989,
        TDNN,
        LeNet5,
        LectureC,
        ResNet20,
        ResNet32,
        ResNet44,
        ResNet56,
    )
}


def get(name: str) -> Callable[..., Model]:
    """The function that makes the network `name`; upper and lower case are the same.

    Raises:
        ArgumentError: there is no such network.
    """
    folded = {known.lower(): network for known, network in BY_NAME.items()}
    found: Any = folded.get(str(name).lower())
    if found is None:
        raise ArgumentError(f"there is no network '{name}'; choose one of {', '.join(BY_NAME)}")
    network: Callable[..., Model] = found
    return network
