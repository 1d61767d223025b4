"""The same methods as other people's code computes them, on the library's own ResNet-50: what ours is measured beside.

The peers' module has the weights of ours and lies in the memory format that is fastest for it; batches are those of the
goal, or those that suit the machine.
"""

import math

import captum.attr
import numpy as np
import pytorch_grad_cam
import torch
import torch.nn.functional as F
from lime.lime_image import LimeImageExplainer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from xai_core.models.building import random_module
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import freeze
from xai_core.models.zoo.catalog import CARDS

CLASS = 281
EIGHT_CAMS = {
    "grad_cam": pytorch_grad_cam.GradCAM,
    "grad_cam_plusplus": pytorch_grad_cam.GradCAMPlusPlus,
    "xgrad_cam": pytorch_grad_cam.XGradCAM,
    "layer_cam": pytorch_grad_cam.LayerCAM,
    "eigen_cam": pytorch_grad_cam.EigenCAM,
    "eigen_grad_cam": pytorch_grad_cam.EigenGradCAM,
    "full_grad": pytorch_grad_cam.FullGrad,
    "ablation_cam": pytorch_grad_cam.AblationCAM,
}


class Peers:
    """grad-cam, captum, lime and the published RISE loop, asked about class 281 of pictures (n, 3, H, W) in [0, 1]."""

    def __init__(self, model: ExplainableModel):
        self.normalise = model.network.normalise
        self.module = freeze(random_module(CARDS["resnet50"], 0)).to(model.device)
        for part in self.module.modules():  # as the peers have it
            part.requires_grad_(True)

    def cam(self, kind: type, images: Tensor, batch: int | None = None, at_once: int = 16) -> np.ndarray:
        """One of grad-cam's methods; `batch` is its own batch size, `at_once` how many pictures are given to it."""
        layers = [] if kind is pytorch_grad_cam.FullGrad else [self.module.layer4[-1]]
        with kind(self.module, layers) as cam:
            if batch:
                cam.batch_size = batch
            parts = self.normalise(images).split(at_once)
            return np.concatenate([cam(part, [ClassifierOutputTarget(CLASS)] * len(part)) for part in parts])

    def occlusion(self, images: Tensor, window: int, stride: int) -> Tensor:
        return captum.attr.Occlusion(self.module).attribute(
            self.normalise(images), (3, window, window), (3, stride, stride), target=CLASS, perturbations_per_eval=16
        )

    def saliency(self, images: Tensor) -> Tensor:
        return captum.attr.Saliency(self.module).attribute(self.normalise(images).requires_grad_(), CLASS)

    def integrated_gradients(self, images: Tensor, steps: int) -> Tensor:
        method = captum.attr.IntegratedGradients(self.module)
        return method.attribute(self.normalise(images), target=CLASS, n_steps=steps, internal_batch_size=10)

    def smooth_grad(self, images: Tensor, samples: int) -> Tensor:
        method = captum.attr.NoiseTunnel(captum.attr.Saliency(self.module))
        return method.attribute(self.normalise(images), nt_samples=samples, nt_samples_batch_size=10, target=CLASS)

    def lime(self, images: Tensor, samples: int):
        def probabilities(pictures: list[np.ndarray]) -> np.ndarray:
            batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(images)
            with torch.no_grad():
                return self.module(self.normalise(batch)).softmax(1).cpu().numpy()

        picture = images[0].permute(1, 2, 0).cpu().numpy()
        given = {"labels": (CLASS,), "top_labels": None, "num_samples": samples, "batch_size": 10, "random_seed": 0}
        return LimeImageExplainer(random_state=0).explain_instance(picture, probabilities, **given)

    @torch.no_grad()
    def rise(self, images: Tensor, samples: int, grid: int = 7, share: float = 0.5, batch: int = 10) -> Tensor:
        """RISE as published: masked pictures in small batches, then all classes by one product, (classes, H, W)."""
        height, width = images.shape[2:]
        cells = [math.ceil(side / grid) for side in (height, width)]
        draw = torch.Generator().manual_seed(0)
        masks, scores = torch.empty(samples, height, width), []
        for index in range(samples):
            shown = (torch.rand(1, 1, grid, grid, generator=draw) < share).float()
            large = F.interpolate(shown, [(grid + 1) * cell for cell in cells], mode="bilinear", align_corners=False)
            top, left = (int(torch.randint(0, cell, (1,), generator=draw)) for cell in cells)
            masks[index] = large[0, 0, top : top + height, left : left + width]
        picture = self.normalise(images)
        for part in masks.to(images).split(batch):
            scores.append(self.module(picture * part[:, None]).softmax(1))
        found = torch.cat(scores).T @ masks.to(images).flatten(1)
        return found.view(-1, height, width) / samples / share
