# SPDX-License-Identifier: Apache-2.0
"""Why a network gives the score it gives: maps over pixels and layers, and whether to trust them.

pixels      saliency, smooth_grad, integrated_gradients, input_x_gradient, guided_backprop,
            deconvolution, lrp; scores
occluding   occlusion
layers      grad_cam, grad_cam_plus_plus, guided_grad_cam, deconvnet
filters     filter_grid, grid, maximize_activation, top_patches
health      check
pictures    show
captum      Saliency, IntegratedGradients, ...: the same with `.attribute(x, target=)`
"""

from fastcnn.explain.captum import LRP as LRP
from fastcnn.explain.captum import Deconvolution as Deconvolution
from fastcnn.explain.captum import GuidedBackprop as GuidedBackprop
from fastcnn.explain.captum import GuidedGradCam as GuidedGradCam
from fastcnn.explain.captum import InputXGradient as InputXGradient
from fastcnn.explain.captum import IntegratedGradients as IntegratedGradients
from fastcnn.explain.captum import LayerGradCam as LayerGradCam
from fastcnn.explain.captum import NoiseTunnel as NoiseTunnel
from fastcnn.explain.captum import Occlusion as Occlusion
from fastcnn.explain.captum import Saliency as Saliency
from fastcnn.explain.filters import Patch as Patch
from fastcnn.explain.filters import filter_grid as filter_grid
from fastcnn.explain.filters import grid as grid
from fastcnn.explain.filters import maximize_activation as maximize_activation
from fastcnn.explain.filters import top_patches as top_patches
from fastcnn.explain.health import Finding as Finding
from fastcnn.explain.health import Health as Health
from fastcnn.explain.health import check as check
from fastcnn.explain.layers import deconvnet as deconvnet
from fastcnn.explain.layers import grad_cam as grad_cam
from fastcnn.explain.layers import grad_cam_plus_plus as grad_cam_plus_plus
from fastcnn.explain.layers import guided_grad_cam as guided_grad_cam
from fastcnn.explain.occluding import occlusion as occlusion
from fastcnn.explain.pictures import show as show
from fastcnn.explain.pixels import deconvolution as deconvolution
from fastcnn.explain.pixels import guided_backprop as guided_backprop
from fastcnn.explain.pixels import input_x_gradient as input_x_gradient
from fastcnn.explain.pixels import integrated_gradients as integrated_gradients
from fastcnn.explain.pixels import lrp as lrp
from fastcnn.explain.pixels import saliency as saliency
from fastcnn.explain.pixels import scores as scores
from fastcnn.explain.pixels import smooth_grad as smooth_grad
