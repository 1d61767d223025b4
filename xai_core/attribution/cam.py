"""Class activation maps: activations at a cut, weighted by the target's gradient there.

All of these read one trunk pass and one forward and backward through the tail (`question.at_cut`), so that the whole
family costs little more than a single forward. Notation: A activations and g = d target / d A, both (C, h, w) for each
picture; sums over positions are over the native grid. The result is that grid's raw map, (n, h, w).

`relu=True` keeps the positive evidence only, as published; `relu=False` shows what speaks against the target as well.
"""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.options import Range
from xai_core.question import Question

Relu = Annotated[bool, "keep only the evidence for the target, as published"]


def _evidence(maps: Tensor, relu: bool) -> Tensor:
    return maps.relu() if relu else maps


def _weighted(activations: Tensor, weights: Tensor) -> Tensor:
    """sum_k w_k A_k for activations (n, C, h, w) and weights (n, C)."""
    return torch.einsum("nc,nchw->nhw", weights, activations)


def grad_cam(question: Question, images: Tensor, *, relu: Relu = True) -> Tensor:
    """Grad-CAM: channels weighted by their mean gradient.

    map = ReLU(sum_k w_k A_k), w_k = mean of g_k over positions.
    Source: Selvaraju et al. 2017, arXiv:1610.02391. Sign: non-negative (signed without ReLU). Unit: the target's.
    Deviation: none; the paper's up-sampling and min-max scaling belong to the display and are not done here.
    """
    at = question.at_cut(images)
    return _evidence(_weighted(at.activations, at.gradient.mean((2, 3))), relu)


def grad_cam_plusplus(
    question: Question,
    images: Tensor,
    *,
    relu: Relu = True,
    epsilon: Annotated[float, Range(0.0, 1e-3), "stabiliser of the quotient; 0 is the paper's formula"] = 1e-6,
) -> Tensor:
    """Grad-CAM++: positive gradients weighted position by position, for several objects of one class.

    map = ReLU(sum_k w_k A_k), w_k = sum over positions of a_k ReLU(g_k), a_k = g_k^2 / (2 g_k^2 + S_k g_k^3 + epsilon),
    S_k = sum of A_k over positions, a_k = 0 where g_k = 0.
    Source: Chattopadhay et al. 2018, arXiv:1710.11063, eq. 19 with the exponential of the score, whose second and third
    derivatives are g^2 and g^3. Sign: non-negative. Unit: none (the weights are not linear in the target).
    Deviation: epsilon, which the paper has not; its default is that of the library grad-cam. It matters where gradients
    are small (|g| below 0.001): set 0 for the paper's formula.
    """
    at = question.at_cut(images)
    g, total = at.gradient, at.activations.sum((2, 3), keepdim=True)
    bottom = 2 * g**2 + total * g**3 + epsilon
    alpha = torch.where((g != 0) & (bottom != 0), g**2 / torch.where(bottom == 0, 1.0, bottom), 0.0)
    return _evidence(_weighted(at.activations, (alpha * g.relu()).sum((2, 3))), relu)


def hires_cam(question: Question, images: Tensor, *, relu: Relu = True) -> Tensor:
    """HiResCAM: activations times gradients, element by element.

    map = ReLU(sum_k g_k A_k). Where pooling and one linear layer follow the cut, the map without ReLU sums to the target
    minus its bias: it shows exactly the places the network used.
    Source: Draelos & Carin 2020, arXiv:2011.08891. Sign: non-negative (signed without ReLU). Unit: the target's.
    Deviation: a map that is smaller everywhere than 1e-4 of sum_k |g_k A_k| is zero, because only rounding is left of it.
    So it is before the last block of a transformer whose class token is read: patches go on through a LayerNorm only,
    which ignores the length of its input, and the sum over channels cancels. Cut one block earlier.
    """
    at = question.at_cut(images)
    terms = at.gradient * at.activations
    maps = terms.sum(1)
    cancelled = maps.abs().amax((1, 2)) <= 1e-4 * terms.abs().sum(1).amax((1, 2))
    return _evidence(maps.masked_fill(cancelled[:, None, None], 0.0), relu)


def layer_cam(question: Question, images: Tensor, *, relu: Relu = True) -> Tensor:
    """LayerCAM: activations times their positive gradients; finer than Grad-CAM at shallow cuts.

    map = ReLU(sum_k ReLU(g_k) A_k).
    Source: Jiang et al. 2021, doi:10.1109/TIP.2021.3089943. Sign: non-negative. Unit: the target's.
    Deviation: one cut at a time, without the paper's tanh scaling when several layers are fused.
    """
    at = question.at_cut(images)
    return _evidence((at.gradient.relu() * at.activations).sum(1), relu)


def xgrad_cam(question: Question, images: Tensor, *, relu: Relu = True) -> Tensor:
    """XGrad-CAM: channels weighted by their gradient, averaged where the channel is active.

    map = ReLU(sum_k w_k A_k), w_k = sum(g_k A_k) / (sum A_k + 1e-7), sums over positions.
    Source: Fu et al. 2020, arXiv:2008.02312 (derived for ReLU networks, A >= 0). Sign: non-negative. Unit: the target's.
    Beware: where activations may be negative (transformers, SiLU), the denominator can vanish and one channel dominate.
    """
    at = question.at_cut(images)
    weights = (at.gradient * at.activations).sum((2, 3)) / (at.activations.sum((2, 3)) + 1e-7)
    return _evidence(_weighted(at.activations, weights), relu)


def eigen_cam(question: Question, images: Tensor) -> Tensor:
    """Eigen-CAM: the activations' first principal component; knows nothing of the target.

    map = B v, with B the activations as (positions, channels) minus their mean over positions, v its first right
    singular vector.
    Source: Muhammad & Yeasin 2020, arXiv:2008.00299. Sign: signed; unit: that of the activations.
    Deviation: the sign of a singular vector is arbitrary; here positive is where the activations are strong (the map's
    covariance with their norm at each position is not negative).
    """
    maps = question.grid(question.trunk(images)).float()
    n, channels, height, width = maps.shape
    positions = maps.flatten(2).transpose(1, 2)
    where = "cpu" if maps.device.type == "mps" else maps.device  # MPS has no float64
    centred = (positions - positions.mean(1, keepdim=True)).to(where, torch.float64)
    if channels <= height * width:
        direction = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -1:]
        projection = (centred @ direction)[..., 0]
    else:  # the same from the smaller Gram matrix: B v = s u
        found = torch.linalg.eigh(centred @ centred.mT)
        projection = found.eigenvectors[..., -1] * found.eigenvalues[..., -1:].clamp(min=0).sqrt()
    strength = positions.norm(dim=2).to(projection)
    covariance = (projection * (strength - strength.mean(1, keepdim=True))).sum(1, keepdim=True)
    signed = torch.where(covariance < 0, -projection, projection)
    return signed.view(n, height, width).to(maps.device, torch.float32)
