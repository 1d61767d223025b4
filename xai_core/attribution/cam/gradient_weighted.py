"""Class activation maps: activations at a cut, weighted by the target's gradient there.

All of these read one trunk pass and one forward and backward through the tail (`question.at_cut`), so that the whole
family costs little more than a single forward. Notation: A activations and g = d target / d A, both (C, h, w) for each
picture; sums over positions are over the native grid. The result is that grid's raw map, (n, h, w).

Each function returns its weighted channels (n, C, h, w); the map is their sum. `weighted_sum` adds the options of the
whole family: `relu=True` keeps the positive evidence only, as published, `relu=False` shows what speaks against the
target as well; `eigen` takes the channels' first principal component in place of their sum; `augment` takes the mean over
views of the picture.
"""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.cam.options import CANCELLED, first_component, over_views, weighted_sum
from xai_core.core.options import Range
from xai_core.explanation.question import Question


def plusplus_weights(total: Tensor, g: Tensor, g2: Tensor, g3: Tensor, epsilon: float) -> Tensor:
    """Grad-CAM++'s channel weights (..., C, 1, 1) from the sum of activations and the gradient's first three powers."""
    bottom = 2 * g2 + total * g3 + epsilon
    alpha = torch.where((g2 != 0) & (bottom != 0), g2 / torch.where(bottom == 0, 1.0, bottom), 0.0)
    return (alpha * g.relu()).sum((-2, -1), keepdim=True)


@weighted_sum
def grad_cam(question: Question, images: Tensor) -> Tensor:
    """Grad-CAM: channels weighted by their mean gradient.

    map = ReLU(sum_k w_k A_k), w_k = mean of g_k over positions.
    Source: Selvaraju et al. 2017, arXiv:1610.02391. Sign: non-negative (signed without ReLU). Unit: the target's.
    Deviation: none; the paper's up-sampling and min-max scaling belong to the display and are not done here.

    Why: To see which regions a class score rests on, quickly and for any network with feature maps.
    Who: Analysts and developers; the map most readers know.
    What: Activations at the cut and the target's gradient there.
    How: One forward pass and the gradient of the part behind the cut; a coarse grid.
    When: After training; first, as an overview.
    Where: Classification and similarity; best at the last convolutional stage, or before a transformer's last block.
    Beware: It is as coarse as the grid at the cut. Channels are averaged first, so that it can highlight places the
    network did not use.
    """
    at = question.at_cut(images)
    return at.gradient.mean((2, 3), keepdim=True) * at.activations


Epsilon = Annotated[float, Range(0.0, 1e-3), "stabiliser of the quotient; 0 is the paper's formula"]


@weighted_sum
def grad_cam_plusplus(question: Question, images: Tensor, *, epsilon: Epsilon = 1e-6) -> Tensor:
    """Grad-CAM++: positive gradients weighted position by position, for several objects of one class.

    map = ReLU(sum_k w_k A_k), w_k = sum over positions of a_k ReLU(g_k), a_k = g_k^2 / (2 g_k^2 + S_k g_k^3 + epsilon),
    S_k = sum of A_k over positions, a_k = 0 where g_k = 0.
    Source: Chattopadhay et al. 2018, arXiv:1710.11063, eq. 19 with the exponential of the score, whose second and third
    derivatives are g^2 and g^3. Sign: non-negative. Unit: none (the weights are not linear in the target).
    Deviation: epsilon, which the paper has not; its default is that of the library grad-cam. It matters where gradients
    are small (|g| below 0.001): set 0 for the paper's formula.

    Why: To see all of several objects of the same class.
    Who: Analysts who find that Grad-CAM shows one of two cats.
    What: Activations at the cut and the positive part of the gradient there.
    How: As Grad-CAM, with a weight for each position.
    When: After training; beside Grad-CAM.
    Where: Classification with several objects; last convolutional stage.
    Beware: It keeps only positive gradients, and often looks alike for different classes.
    """
    at = question.at_cut(images)
    g, total = at.gradient, at.activations.sum((2, 3), keepdim=True)
    return plusplus_weights(total, g, g**2, g**3, epsilon) * at.activations


@weighted_sum
def hires_cam(question: Question, images: Tensor) -> Tensor:
    """HiResCAM: activations times gradients, element by element.

    map = ReLU(sum_k g_k A_k). Where pooling and one linear layer follow the cut, the map without ReLU sums to the target
    minus its bias: it shows exactly the places the network used.
    Source: Draelos & Carin 2020, arXiv:2011.08891. Sign: non-negative (signed without ReLU). Unit: the target's.
    Deviation: a map that is smaller everywhere than 1e-4 of sum_k |g_k A_k| is zero, because only rounding is left of it.
    So it is before the last block of a transformer whose class token is read: patches go on through a LayerNorm only,
    which ignores the length of its input, and the sum over channels cancels. Cut one block earlier.

    Why: To see the places that the network really used.
    Who: Reviewers who need a faithful coarse map.
    What: Activations at the cut times the gradient there, place by place.
    How: One forward pass and the gradient of the part behind the cut; a coarse grid.
    When: After training; in place of Grad-CAM where the two differ.
    Where: Exact where only pooling and one linear layer follow the cut, as in ResNet and EfficientNet.
    Beware: It is as coarse as the grid at the cut. Before a transformer's last block its sum cancels out; cut one
    block earlier.
    """
    at = question.at_cut(images)
    terms = at.gradient * at.activations
    cancelled = terms.sum(1).abs().amax((1, 2)) <= CANCELLED * terms.abs().sum(1).amax((1, 2))
    return terms.masked_fill(cancelled[:, None, None, None], 0.0)


@weighted_sum
def layer_cam(question: Question, images: Tensor) -> Tensor:
    """LayerCAM: activations times their positive gradients; finer than Grad-CAM at shallow cuts.

    map = ReLU(sum_k ReLU(g_k) A_k).
    Source: Jiang et al. 2021, doi:10.1109/TIP.2021.3089943. Sign: non-negative. Unit: the target's.
    Deviation: one cut at a time, without the paper's tanh scaling when several layers are fused.

    Why: To see finer detail from earlier layers.
    Who: Analysts who look for small objects or parts.
    What: Activations at the cut times their positive gradients.
    How: One forward pass and the gradient of the part behind the cut; as fine as the chosen grid.
    When: After training; with a sweep over the cuts.
    Where: Any stage of a convolutional network, early ones too.
    Beware: Evidence against the target is left out before summing, and early stages show edges whatever the class.
    """
    at = question.at_cut(images)
    return at.gradient.relu() * at.activations


@weighted_sum
def xgrad_cam(question: Question, images: Tensor) -> Tensor:
    """XGrad-CAM: channels weighted by their gradient, averaged where the channel is active.

    map = ReLU(sum_k w_k A_k), w_k = sum(g_k A_k) / (sum A_k + 1e-7), sums over positions.
    Source: Fu et al. 2020, arXiv:2008.02312 (derived for ReLU networks, A >= 0). Sign: non-negative. Unit: the target's.

    Why: To weight channels as axioms ask for (sensitivity, conservation).
    Who: Researchers who compare CAM variants.
    What: Activations at the cut, and gradients weighted by them.
    How: One forward pass and the gradient of the part behind the cut; a coarse grid.
    When: After training; beside Grad-CAM.
    Where: ReLU networks, last convolutional stage.
    Beware: It divides by the sum of activations: unstable where these may be negative (transformers, SiLU).
    """
    at = question.at_cut(images)
    weights = (at.gradient * at.activations).sum((2, 3)) / (at.activations.sum((2, 3)) + 1e-7)
    return weights[..., None, None] * at.activations


@over_views
def eigen_cam(question: Question, images: Tensor) -> Tensor:
    """Eigen-CAM: the activations' first principal component; knows nothing of the target.

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
    Beware: It does not know what was asked: the same map answers every target.
    """
    activations = question.grid(question.trunk(images)).float()
    return first_component(activations, activations.norm(dim=1))
