# SPDX-License-Identifier: Apache-2.0
"""Why a network gives the score it gives: maps over pixels and layers, and whether to trust them.

pixels      saliency, smooth_grad, integrated_gradients, input_x_gradient, guided_backprop,
            deconvolution, lrp
pictures    show
"""

from fastcnn.explain.pictures import show as show
from fastcnn.explain.pixels import deconvolution as deconvolution
from fastcnn.explain.pixels import guided_backprop as guided_backprop
from fastcnn.explain.pixels import input_x_gradient as input_x_gradient
from fastcnn.explain.pixels import integrated_gradients as integrated_gradients
from fastcnn.explain.pixels import lrp as lrp
from fastcnn.explain.pixels import saliency as saliency
from fastcnn.explain.pixels import smooth_grad as smooth_grad
