# SPDX-License-Identifier: Apache-2.0
"""Layers, in Keras' names and arguments."""

from fastcnn.layers.activation import ELU as ELU
from fastcnn.layers.activation import LeakyReLU as LeakyReLU
from fastcnn.layers.activation import PReLU as PReLU
from fastcnn.layers.activation import ReLU as ReLU
from fastcnn.layers.activation import Softmax as Softmax
from fastcnn.layers.base import Layer as Layer
from fastcnn.layers.conv import Conv1D as Conv1D
from fastcnn.layers.conv import Conv2D as Conv2D
from fastcnn.layers.conv import Conv2DTranspose as Conv2DTranspose
from fastcnn.layers.conv import DepthwiseConv2D as DepthwiseConv2D
from fastcnn.layers.conv import SeparableConv2D as SeparableConv2D
from fastcnn.layers.core import RBF as RBF
from fastcnn.layers.core import Activation as Activation
from fastcnn.layers.core import Bias as Bias
from fastcnn.layers.core import Dense as Dense
from fastcnn.layers.core import Dropout as Dropout
from fastcnn.layers.core import Flatten as Flatten
from fastcnn.layers.core import Identity as Identity
from fastcnn.layers.core import Permute as Permute
from fastcnn.layers.core import Rescaling as Rescaling
from fastcnn.layers.core import Reshape as Reshape
from fastcnn.layers.core import SpatialDropout1D as SpatialDropout1D
from fastcnn.layers.core import SpatialDropout2D as SpatialDropout2D
from fastcnn.layers.input import Input as Input
from fastcnn.layers.input import InputLayer as InputLayer
from fastcnn.layers.merge import Add as Add
from fastcnn.layers.merge import Average as Average
from fastcnn.layers.merge import Concatenate as Concatenate
from fastcnn.layers.merge import Maximum as Maximum
from fastcnn.layers.merge import Minimum as Minimum
from fastcnn.layers.merge import Multiply as Multiply
from fastcnn.layers.merge import Subtract as Subtract
from fastcnn.layers.merge import add as add
from fastcnn.layers.merge import average as average
from fastcnn.layers.merge import concatenate as concatenate
from fastcnn.layers.merge import maximum as maximum
from fastcnn.layers.merge import minimum as minimum
from fastcnn.layers.merge import multiply as multiply
from fastcnn.layers.merge import subtract as subtract
from fastcnn.layers.neocognitron import CCells as CCells
from fastcnn.layers.neocognitron import SCells as SCells
from fastcnn.layers.norm import BatchNormalization as BatchNormalization
from fastcnn.layers.norm import GroupNormalization as GroupNormalization
from fastcnn.layers.norm import LayerNormalization as LayerNormalization
from fastcnn.layers.norm import LocalResponseNormalization as LocalResponseNormalization
from fastcnn.layers.pool import AdaptiveAveragePooling2D as AdaptiveAveragePooling2D
from fastcnn.layers.pool import AdaptiveMaxPooling2D as AdaptiveMaxPooling2D
from fastcnn.layers.pool import AveragePooling1D as AveragePooling1D
from fastcnn.layers.pool import AveragePooling2D as AveragePooling2D
from fastcnn.layers.pool import GlobalAveragePooling1D as GlobalAveragePooling1D
from fastcnn.layers.pool import GlobalAveragePooling2D as GlobalAveragePooling2D
from fastcnn.layers.pool import GlobalMaxPooling1D as GlobalMaxPooling1D
from fastcnn.layers.pool import GlobalMaxPooling2D as GlobalMaxPooling2D
from fastcnn.layers.pool import MaxPooling1D as MaxPooling1D
from fastcnn.layers.pool import MaxPooling2D as MaxPooling2D
from fastcnn.layers.pool import MaxUnpooling2D as MaxUnpooling2D
from fastcnn.layers.pool import Subsampling2D as Subsampling2D
from fastcnn.layers.shape import ChannelShuffle as ChannelShuffle
from fastcnn.layers.shape import Cropping1D as Cropping1D
from fastcnn.layers.shape import Cropping2D as Cropping2D
from fastcnn.layers.shape import Resizing as Resizing
from fastcnn.layers.shape import UpSampling1D as UpSampling1D
from fastcnn.layers.shape import UpSampling2D as UpSampling2D
from fastcnn.layers.shape import ZeroPadding1D as ZeroPadding1D
from fastcnn.layers.shape import ZeroPadding2D as ZeroPadding2D

# Keras' other names of the same layers.
MaxPool1D, MaxPool2D = MaxPooling1D, MaxPooling2D
AvgPool1D, AvgPool2D = AveragePooling1D, AveragePooling2D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalMaxPool1D, GlobalMaxPool2D = GlobalMaxPooling1D, GlobalMaxPooling2D
Convolution1D, Convolution2D = Conv1D, Conv2D
