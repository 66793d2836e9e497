# SPDX-License-Identifier: Apache-2.0
from fastcnn import activations as activations
from fastcnn import applications as applications
from fastcnn import backends as backends
from fastcnn import callbacks as callbacks
from fastcnn import config as config
from fastcnn import datasets as datasets
from fastcnn import errors as errors
from fastcnn import initializers as initializers
from fastcnn import layers as layers
from fastcnn import losses as losses
from fastcnn import metrics as metrics
from fastcnn import models as models
from fastcnn import onnx as onnx
from fastcnn import ops as ops
from fastcnn import optimizers as optimizers
from fastcnn import regularizers as regularizers
from fastcnn import teach as teach
from fastcnn import utils as utils
from fastcnn import weights as weights
from fastcnn.autodiff import gradients as gradients
from fastcnn.backends.threads import get_num_threads as get_num_threads
from fastcnn.backends.threads import set_num_threads as set_num_threads
from fastcnn.environment import show_config as show_config
from fastcnn.initializers import Initializer as Initializer
from fastcnn.layers import Input as Input
from fastcnn.layers import Layer as Layer
from fastcnn.losses import Loss as Loss
from fastcnn.metrics import Metric as Metric
from fastcnn.models import Functional as Functional
from fastcnn.models import Model as Model
from fastcnn.models import Sequential as Sequential
from fastcnn.optimizers import Optimizer as Optimizer
from fastcnn.plan import Plan as Plan
from fastcnn.random import set_random_seed as set_random_seed
from fastcnn.regularizers import Regularizer as Regularizer

__version__: str
