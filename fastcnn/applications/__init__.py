# SPDX-License-Identifier: Apache-2.0
"""Built-in networks, one file per family.

alexnet           AlexNet                                       Krizhevsky et al. 2012 and 2014
densenet          DenseNet121, -161, -169, -201, DenseNetCIFAR  Huang et al. 2016
googlenet         GoogLeNet                                     Szegedy et al. 2014
inception_resnet  InceptionResNetV1, InceptionResNetV2          Szegedy et al. 2016
inception_v3      InceptionV3                                   Szegedy et al. 2015
lecture           LectureC                                      the worked example of a lecture
lecun1989         LeCun1989                                     LeCun et al. 1989, zip codes
lenet             LeNet5                                        LeCun et al. 1998, and as taught
mobilenet         MobileNet                                     Howard et al. 2017
mobilenet_v2      MobileNetV2                                   Sandler et al. 2018
neocognitron      Neocognitron                                  Fukushima 1980, self-organizing
resnet            ResNet18, -34, -50, -101, -152                He et al. 2015
                  ResNeXt50, -101                               Xie et al. 2016
                  WideResNet50_2, -101_2                        Zagoruyko and Komodakis 2016
resnet_cifar      ResNet20, -32, -44, -56, -110                 He et al. 2015, section 4.2
senet             SEResNet50, SEResNeXt50, SENet154             Hu et al. 2017
shufflenet        ShuffleNet                                    Zhang et al. 2017
shufflenet_v2     ShuffleNetV2                                  Ma et al. 2018
tdnn              TDNN                                          Waibel et al. 1989, phonemes
vgg               VGG11, VGG13, VGG16, VGG19                    Simonyan and Zisserman 2014
wide_resnet       WideResNet                                    for CIFAR, in the same paper
xception          Xception                                      Chollet 2016
zfnet             ZFNet                                         Zeiler and Fergus 2013

`blocks` has what they are built from, such as `residual`, for networks of one's own; `table` draws
the networks that are written as tables. `preprocessing` makes of pixels what weights expect, and of
scores the names of ImageNet's classes; a family's own `preprocess_input` knows its weights. Keras'
modules `imagenet_utils`, `inception_resnet_v2`, `resnet50`, `vgg16` and `vgg19` are other names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcnn.applications import imagenet_utils as imagenet_utils
from fastcnn.applications import inception_resnet_v2 as inception_resnet_v2
from fastcnn.applications import resnet50 as resnet50
from fastcnn.applications import vgg16 as vgg16
from fastcnn.applications import vgg19 as vgg19
from fastcnn.applications.alexnet import AlexNet as AlexNet
from fastcnn.applications.densenet import DenseNet121 as DenseNet121
from fastcnn.applications.densenet import DenseNet161 as DenseNet161
from fastcnn.applications.densenet import DenseNet169 as DenseNet169
from fastcnn.applications.densenet import DenseNet201 as DenseNet201
from fastcnn.applications.densenet import DenseNetCIFAR as DenseNetCIFAR
from fastcnn.applications.googlenet import GoogLeNet as GoogLeNet
from fastcnn.applications.inception_resnet import InceptionResNetV1 as InceptionResNetV1
from fastcnn.applications.inception_resnet import InceptionResNetV2 as InceptionResNetV2
from fastcnn.applications.inception_v3 import InceptionV3 as InceptionV3
from fastcnn.applications.lecture import LectureC as LectureC
from fastcnn.applications.lecun1989 import LeCun1989 as LeCun1989
from fastcnn.applications.lenet import LeNet5 as LeNet5
from fastcnn.applications.mobilenet import MobileNet as MobileNet
from fastcnn.applications.mobilenet_v2 import MobileNetV2 as MobileNetV2
from fastcnn.applications.neocognitron import Neocognitron as Neocognitron
from fastcnn.applications.resnet import ResNet18 as ResNet18
from fastcnn.applications.resnet import ResNet34 as ResNet34
from fastcnn.applications.resnet import ResNet50 as ResNet50
from fastcnn.applications.resnet import ResNet101 as ResNet101
from fastcnn.applications.resnet import ResNet152 as ResNet152
from fastcnn.applications.resnet import ResNeXt50 as ResNeXt50
from fastcnn.applications.resnet import ResNeXt101 as ResNeXt101
from fastcnn.applications.resnet import WideResNet50_2 as WideResNet50_2
from fastcnn.applications.resnet import WideResNet101_2 as WideResNet101_2
from fastcnn.applications.resnet_cifar import ResNet20 as ResNet20
from fastcnn.applications.resnet_cifar import ResNet32 as ResNet32
from fastcnn.applications.resnet_cifar import ResNet44 as ResNet44
from fastcnn.applications.resnet_cifar import ResNet56 as ResNet56
from fastcnn.applications.resnet_cifar import ResNet110 as ResNet110
from fastcnn.applications.senet import SENet154 as SENet154
from fastcnn.applications.senet import SEResNet50 as SEResNet50
from fastcnn.applications.senet import SEResNeXt50 as SEResNeXt50
from fastcnn.applications.shufflenet import ShuffleNet as ShuffleNet
from fastcnn.applications.shufflenet_v2 import ShuffleNetV2 as ShuffleNetV2
from fastcnn.applications.tdnn import TDNN as TDNN
from fastcnn.applications.vgg import VGG11 as VGG11
from fastcnn.applications.vgg import VGG13 as VGG13
from fastcnn.applications.vgg import VGG16 as VGG16
from fastcnn.applications.vgg import VGG19 as VGG19
from fastcnn.applications.wide_resnet import WideResNet as WideResNet
from fastcnn.applications.xception import Xception as Xception
from fastcnn.applications.zfnet import ZFNet as ZFNet
from fastcnn.errors import ArgumentError
from fastcnn.models import Model

BY_NAME: dict[str, Callable[..., Model]] = {
    network.__name__: network
    for network in (
        DenseNet121,
        DenseNet161,
        DenseNet169,
        DenseNet201,
        DenseNetCIFAR,
        LectureC,
        LeCun1989,
        LeNet5,
        MobileNet,
        MobileNetV2,
        Neocognitron,
        ResNet18,
        ResNet34,
        ResNet50,
        ResNet101,
        ResNet152,
        ResNeXt50,
        ResNeXt101,
        WideResNet50_2,
        WideResNet101_2,
        ResNet20,
        ResNet32,
        ResNet44,
        ResNet56,
        ResNet110,
        SENet154,
        SEResNet50,
        SEResNeXt50,
        ShuffleNet,
        ShuffleNetV2,
        TDNN,
        WideResNet,
        AlexNet,
        GoogLeNet,
        InceptionResNetV1,
        InceptionResNetV2,
        InceptionV3,
        VGG11,
        VGG13,
        VGG16,
        VGG19,
        Xception,
        ZFNet,
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
