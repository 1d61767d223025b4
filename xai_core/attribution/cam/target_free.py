"""Class activation maps that do not depend on the target: made of the activations at the cut alone.

Notation: A activations at the cut, (C, h, w) for each picture. A map is on the native grid, (n, h, w).
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.cam.options import (
    first_component,
    first_coordinate,
    oriented,
    over_views,
    precise,
    weighted_sum,
)
from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.explanation.question import Question

MOST_POSITIONS = 1024  # of KPCA-CAM, whose kernel matrix holds a number for each pair of positions


@over_views
def eigen_cam(question: Question, images: Tensor) -> Tensor:
    """Eigen-CAM: the activations' first principal component; does not depend on the target.

    map = B v, with B the activations as (positions, channels) minus their mean over positions, v its first right
    singular vector.
    Source: Muhammad & Yeasin 2020, arXiv:2008.00299. Sign: signed; unit: that of the activations.
    Deviation: the sign of a singular vector is arbitrary; here positive is where the activations are strong (the map's
    covariance with their norm at each position is not negative).

    Why: To see what stands out to the network, without asking about a class.
    Who: Developers who check what a backbone attends to.
    What: Activations at the cut alone.
    How: One forward pass and a singular value decomposition; a coarse signed grid.
    When: During and after training, with or without a classifier.
    Where: Any network with feature maps, self-supervised ones too.
    Beware: It does not depend on the target: the same map answers every question.
    """
    activations = question.grid(question.trunk(images)).float()
    return first_component(activations, activations.norm(dim=1))


@over_views
def kpca_cam(
    question: Question,
    images: Tensor,
    *,
    kernel: Annotated[
        str, Choice(("sigmoid", "gaussian")), "the kernel that measures how similar two positions are"
    ] = "sigmoid",
    scale: Annotated[
        float, Range(0.1, 10.0, 0.1), "the kernel's coefficient is this number divided by the number of channels"
    ] = 1.0,
) -> Tensor:
    """KPCA-CAM: the activations' first kernel principal component; does not depend on the target.

    map = s u, with (s^2, u) the first eigenpair of the centred kernel matrix over positions; for activations a, b minus
    their mean, k(a, b) = tanh(c a.b + 1) or exp(-c |a - b|^2), c = scale / channels.
    Source: Karmani et al. 2024, arXiv:2410.00267. Sign: signed. Unit: none.
    Deviation: the sign is arbitrary in the paper; here positive is where the activations are strong, as in Eigen-CAM.
    Grids of more than 1,024 positions are refused.

    Why: To see what stands out to the network, also where the structure is not linear.
    Who: Developers who compare it with Eigen-CAM.
    What: Activations at the cut alone.
    How: One forward pass and an eigenvalue decomposition; a coarse signed grid.
    When: During and after training, with or without a classifier.
    Where: Late stages of any network with feature maps.
    Beware: It does not depend on the target, and the kernel's scale decides what it shows.
    """
    activations = question.grid(question.trunk(images)).float()
    channels, count = activations.shape[1], activations[0, 0].numel()
    if count > MOST_POSITIONS:
        raise BadRequest(f"KPCA-CAM takes at most {MOST_POSITIONS:,} positions, this cut has {count:,}; choose a later one.")
    positions = precise(activations.flatten(2).transpose(1, 2))
    centred = positions - positions.mean(1, keepdim=True)
    kernels = centred @ centred.mT
    if kernel == "gaussian":
        squares = kernels.diagonal(dim1=1, dim2=2)
        kernels = (scale / channels * (2 * kernels - squares[:, :, None] - squares[:, None])).exp()
    else:
        kernels = (scale / channels * kernels + 1).tanh()
    gram = kernels - kernels.mean(1, keepdim=True) - kernels.mean(2, keepdim=True) + kernels.mean((1, 2), keepdim=True)
    return oriented(first_coordinate(gram), activations.norm(dim=1))


@weighted_sum
def fem(
    question: Question,
    images: Tensor,
    *,
    sigmas: Annotated[
        float, Range(0.0, 4.0, 0.25), "keep positions at least this many standard deviations above the mean"
    ] = 2.0,
    kept: Annotated[
        str,
        Choice(("activations", "places")),
        "what is summed over the channels: their activations, or the places that are kept",
    ] = "activations",
) -> Tensor:
    """FEM: where channels are unusually active; does not depend on the target.

    Positions of channel k are kept where A_k > mean + sigmas * standard deviation of A_k over positions. kept=activations:
    map = ReLU(sum_k s_k A_k), s_k the share of positions kept. kept=places: map = ReLU(sum_k m_k [kept]), m_k = mean of A_k.
    Source: Fuad et al. 2020, doi:10.1109/IPTA50016.2020.9286629. Sign: non-negative. Unit: that of the activations.
    Deviation: two readings are in use; `activations` is the library grad-cam's, `places` that of Xplique.

    Why: To see rare, strong features without asking about a class.
    Who: Developers who check what a backbone picks out.
    What: Activations at the cut alone.
    How: One forward pass; a coarse grid.
    When: During and after training, with or without a classifier.
    Where: Any network with feature maps; late stages.
    Beware: It does not depend on the target: the same map answers every question.
    """
    activations = question.grid(question.trunk(images)).float()
    exact = precise(activations)
    mean = exact.mean((2, 3), keepdim=True)
    unusual = exact > mean + sigmas * exact.var((2, 3), correction=0, keepdim=True).sqrt()
    if kept == "places":
        return (mean * unusual).to(activations)
    return unusual.float().mean((2, 3), keepdim=True).to(activations) * activations


@weighted_sum
def random_cam(question: Question, images: Tensor, *, seed: int = 0) -> Tensor:
    """Random-CAM: channels weighted at random; a control that every other map should beat.

    map = ReLU(sum_k w_k A_k), w_k uniform in [-1, 1].
    Source: the library grad-cam (Gildenblat 2021); on such controls Adebayo et al. 2018, arXiv:1810.03292.
    Sign: non-negative (signed without ReLU). Unit: that of the activations.
    Deviation: one draw for each seed, the same for all pictures, so that a picture's map does not depend on its batch.

    Why: To know how good a map that explains nothing can look.
    Who: Everyone who compares methods: only a score above that of this map means something.
    What: Activations at the cut alone.
    How: One forward pass; a coarse grid.
    When: In every comparison and every evaluation.
    Where: Any network with feature maps.
    Beware: It explains nothing, and often still falls on the object, because activations are strong there.
    """
    activations = question.grid(question.trunk(images)).float()
    normal = runtime.normal_draw(seed, 0, (activations.shape[1],))
    return torch.erf(normal / math.sqrt(2)).to(activations)[:, None, None] * activations  # uniform in [-1, 1]
