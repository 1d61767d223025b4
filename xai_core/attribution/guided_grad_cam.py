"""Guided Grad-CAM: the product of guided backpropagation and Grad-CAM, from two families of methods."""

import torch.nn.functional as F
from torch import Tensor

from xai_core.attribution.cam.gradient_weighted import grad_cam
from xai_core.attribution.method import Maps, heatmap_of
from xai_core.attribution.propagation import guided_backprop
from xai_core.explanation.question import Question


def guided_grad_cam(question: Question, images: Tensor) -> Maps:
    """Guided Grad-CAM: guided backpropagation, kept where Grad-CAM shows evidence.

    map = max over RGB of |guided gradient| times Grad-CAM at the cut, stretched bilinearly to the picture. Resolution:
    pixels (H, W), whatever the cut.
    Source: Selvaraju et al. 2017, arXiv:1610.02391. Sign: non-negative. Unit: none (a product).
    Deviation: none; captum stretches by the nearest value by default.

    Why: To see fine detail at the places that speak for the class.
    Who: Readers of figures.
    What: The guided gradient, and Grad-CAM at the cut.
    How: A forward and a backward pass beside those of Grad-CAM; a fine map without a sign.
    When: After training; for display.
    Where: ReLU networks, and with the same rule those with GELU or SiLU; the last convolutional stage.
    Beware: Its detail is that of guided backpropagation, which shows edges whatever the network has learnt: only the
    coarse outline is evidence.
    """
    guided = guided_backprop(question, images)
    coarse = heatmap_of(grad_cam(question, images))[:, None]
    stretched = F.interpolate(coarse, list(images.shape[2:]), mode="bilinear")[:, 0]
    return Maps(guided.heatmap * stretched, facts=guided.facts)
