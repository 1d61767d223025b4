"""Class activation maps: activations at a cut, weighted by the target's gradient there.

All of these share one pass through the trunk and one forward and backward pass through the tail (`question.at_cut`), so
that the whole family costs little more than a single forward pass. Notation: A activations and g = d target / d A, both
(C, h, w) for each picture; sums over positions are over the native grid. A map is on that grid, not rescaled, (n, h, w).

Each function returns its weighted channels (n, C, h, w); the map is their sum. `weighted_sum` adds the options of the
whole family: `relu=True` keeps the positive evidence only, as published, `relu=False` shows evidence against the target
as well; `eigen` takes the channels' first principal component in place of their sum; `augment` takes the mean over six
views of the picture.
"""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.added_options import by_derivative
from xai_core.attribution.cam.options import (
    CANCELLED,
    Replicated,
    first_component,
    over_views,
    weighted_sum,
    without_cancelled,
)
from xai_core.attribution.repeated_passes import PrecisionGoal
from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.options import Range
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question
from xai_core.explanation.targets import against_similar


def plusplus_weights(total: Tensor, g: Tensor, g2: Tensor, g3: Tensor, epsilon: float) -> Tensor:
    """Grad-CAM++'s channel weights (..., C, 1, 1) from the sum of activations and the gradient's first three powers."""
    bottom = 2 * g2 + total * g3 + epsilon
    alpha = torch.where((g2 != 0) & (bottom != 0), g2 / torch.where(bottom == 0, 1.0, bottom), 0.0)
    return (alpha * g.relu()).sum((-2, -1), keepdim=True)


@by_derivative
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


Epsilon = Annotated[float, Range(0.0, 1e-3), "small number that keeps the quotient stable; 0 is the paper's formula"]


@by_derivative
@weighted_sum
def grad_cam_plusplus(question: Question, images: Tensor, *, epsilon: Epsilon = 1e-6) -> Tensor:
    """Grad-CAM++: positive gradients weighted position by position, for several objects of one class.

    map = ReLU(sum_k w_k A_k), w_k = sum over positions of a_k ReLU(g_k), a_k = g_k^2 / (2 g_k^2 + S_k g_k^3 + epsilon),
    S_k = sum of A_k over positions, a_k = 0 where g_k = 0.
    Source: Chattopadhay et al. 2018, arXiv:1710.11063, eq. 19 with the exponential of the score, whose second and third
    derivatives are g^2 and g^3. Sign: non-negative. Unit: none (the weights are not linear in the target).
    Deviation: epsilon, which is not in the paper; its default is that of the library grad-cam. It matters where gradients
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


@by_derivative
@weighted_sum
def hires_cam(question: Question, images: Tensor) -> Tensor:
    """HiResCAM: activations times gradients, element by element.

    map = ReLU(sum_k g_k A_k). Where pooling and one linear layer follow the cut, the map without ReLU sums to the target
    minus its bias: it shows exactly the places the network used.
    Source: Draelos & Carin 2020, arXiv:2011.08891. Sign: non-negative (signed without ReLU). Unit: the target's.
    Deviation: a map that is smaller everywhere than 1e-4 of sum_k |g_k A_k| is zero, because only rounding is left of it.
    This happens before the last block of a transformer whose class token is read: patches pass through a LayerNorm only,
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


@by_derivative
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


@by_derivative
@weighted_sum
def xgrad_cam(question: Question, images: Tensor) -> Tensor:
    """XGrad-CAM: channels weighted by their gradient, averaged where the channel is active.

    map = ReLU(sum_k w_k A_k), w_k = sum(g_k A_k) / (sum A_k + 1e-7), sums over positions.
    Source: Fu et al. 2020, arXiv:2008.02312 (derived for ReLU networks, A >= 0). Sign: non-negative. Unit: the target's.

    Why: To weight channels so that two axioms hold as far as possible (sensitivity, conservation).
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


@weighted_sum
def cam(question: Question, images: Tensor) -> Tensor:
    """CAM: the channels of the last stage, weighted as the classifier weights them.

    map = ReLU(sum_k w_k A_k), w_k = d target / d feature k: for a logit the class's row of the classifier, for a margin
    the difference of two rows.
    Source: Zhou et al. 2016, arXiv:1512.04150. Sign: non-negative (signed without ReLU). Unit: the target's; the mean of
    the signed map over positions is the logit minus its bias.
    Deviation: targets that are not linear in the features (probability, similarity), which the paper does not treat, take
    the gradient at this picture's features; ReLU is the family's, the paper has none.

    Why: To see the evidence that a classifier sums up, exactly as it does.
    Who: Analysts and reviewers: the map is exact, not an estimate.
    What: Activations of the last stage, and the classifier's weights.
    How: One forward pass; a coarse grid.
    When: After training; where the network allows it.
    Where: Networks that end in global average pooling and one linear layer, cut behind their last stage.
    Beware: It is as coarse as the last grid, where each cell has seen much of the picture.
    """
    network = question.model.network
    if question.cut != network.cuts[-1]:
        raise BadRequest(f"CAM can only be computed behind the last stage: choose the cut '{network.cuts[-1]}'.")
    at = question.at_cut(images)
    return at.gradient.sum((2, 3), keepdim=True) * at.activations  # behind a mean over positions, g_k is w_k / (h w)


@by_derivative
@weighted_sum
def elementwise_grad_cam(question: Question, images: Tensor) -> Tensor:
    """Element-wise Grad-CAM: the positive products of activations and gradients, position by position.

    map = sum_k ReLU(g_k A_k).
    Source: the library grad-cam (Gildenblat 2021), after Selvaraju et al. 2017, arXiv:1610.02391. Sign: non-negative.
    Unit: the target's. Deviation: none.

    Why: To see all positive evidence, before negative evidence in other channels takes it away.
    Who: Analysts who compare it with HiResCAM: the difference is what was cancelled.
    What: Activations at the cut times the gradient there.
    How: One forward pass and the gradient of the part behind the cut; a coarse grid.
    When: After training; beside HiResCAM.
    Where: Any network with feature maps.
    Beware: Evidence against the target is left out before summing, so that places look important that are not.
    """
    at = question.at_cut(images)
    return (at.gradient * at.activations).relu()


@weighted_sum
def shapley_cam(question: Question, images: Tensor) -> Tensor:
    """Shapley-CAM: Grad-CAM with the target's curvature, for targets that are not linear behind the cut.

    map = ReLU(sum_k w_k A_k), w_k = mean over positions of (g - 1/2 H A)_k, with H the target's second derivative at the
    cut: the second-order Shapley value of the activations.
    Source: Cai 2025, arXiv:2501.06261. Sign: non-negative (signed without ReLU). Unit: the target's.
    Deviation: the target is the chosen one; in the paper it is a logit plus its log-probability. H A takes in tokens outside
    the grid, as in grad-cam.

    Why: To distribute the score fairly over channels that interact.
    Who: Researchers; analysts who ask about a probability.
    What: Activations at the cut, the gradient there, and one product with the second derivative.
    How: One forward pass and two backward passes through the part behind the cut; a coarse grid.
    When: After training; beside Grad-CAM.
    Where: Probabilities, similarities, transformers.
    Beware: For a logit of a ReLU network it is Grad-CAM itself: such a network has no curvature.
    """
    at = question.at_cut(images)
    weights = (at.gradient - 0.5 * question.curvature_at_cut(images)).mean((2, 3), keepdim=True)
    return weights * at.activations


@by_derivative
@weighted_sum
def finer_cam(
    question: Question,
    images: Tensor,
    *,
    similar: Annotated[int, Range(1, 10), "number of classes to compare with: those whose logits are nearest"] = 3,
    strength: Annotated[float, Range(0.0, 1.0, 0.05), "share of the similar classes' evidence that is subtracted"] = 1.0,
) -> Tensor:
    """Finer-CAM: the evidence for this class that is not evidence for the most similar classes.

    Grad-CAM of logit_c - strength * sum_j p_j logit_j / sum_j p_j, over the `similar` classes j whose logits are nearest
    to logit_c; p is the softmax. For a target 'this and not that', the only class j is the rival.
    Source: Zhang et al. 2025, arXiv:2501.11309. Sign: non-negative (signed without ReLU). Unit: the target's (logits).
    Deviation: p-weighted as in the library grad-cam, whose gradient passes through p; the paper takes one class or a plain
    mean. A probability is explained by its logit. Without a class (similarity) it is refused.

    Why: To see the details that distinguish a class from similar ones.
    Who: Analysts of fine-grained classes and of confusions.
    What: Activations at the cut and the gradient of a difference of logits there.
    How: One forward pass and the gradient of the part behind the cut; a coarse grid.
    When: After training; when Grad-CAM shows the same for several classes.
    Where: Classification with many similar classes.
    Beware: The similar classes depend on the picture: two pictures of one class may be compared with different classes.
    """
    contrast = against_similar(question.target, question.outputs_at_cut(images), similar, strength)
    at = question.changed(target=contrast).at_cut(images)
    return at.gradient.mean((2, 3), keepdim=True) * at.activations


@by_derivative
@weighted_sum
def smooth_grad_cam_plusplus(
    question: Question,
    images: Tensor,
    *,
    samples: Annotated[int, Range(2, 50), "number of noisy copies of the picture"] = 10,
    sigma: Annotated[float, Range(0.01, 0.5, 0.01), "noise, as a share of the picture's range of values"] = 0.15,
    epsilon: Epsilon = 1e-6,
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    noise: Tensor | None = None,
    track: Track = iter,
) -> Replicated:
    """Smooth Grad-CAM++: Grad-CAM++ with its gradients averaged over noisy copies of the picture.

    map = ReLU(sum_k w_k A_k), w_k = sum over positions of a_k ReLU(E g_k), a_k = E g_k^2 / (2 E g_k^2 + S_k E g_k^3 +
    epsilon), S_k = sum of A_k over positions, E the mean over copies x + sigma (max x - min x) e_s, e_s standard normal.
    Source: Omeiza et al. 2019, arXiv:1908.01224. Sign: non-negative. Unit: none.
    Deviation: epsilon, as in Grad-CAM++. (torch-cam takes the last copy's gradient into the ReLU, and sum A g^3.)
    The standard error is the jackknife's over samples; at a `precision_goal`, a picture's sampling ends there.
    `noise` (samples, 3, H, W) passes the draws e_s in, the same for every picture; otherwise they come from `seed`.

    Why: To see all objects of a class, without the noise of a single gradient.
    Who: Analysts who find Grad-CAM++ unstable.
    What: Gradients at the cut for noisy copies, activations of the picture itself.
    How: As many forward passes as samples; a coarse grid.
    When: After training; beside Grad-CAM++.
    Where: Classification with several objects; last convolutional stage.
    Beware: It answers for noisy pictures, which the network may never have seen.
    """
    shape = tuple(images.shape[1:])
    spread = sigma * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    count = samples if noise is None else len(noise)
    activations = question.grid(question.trunk(images)).float()
    total = activations.sum((2, 3), keepdim=True)

    def weighted(row: int, gradients: list[Tensor]) -> Tensor:
        zero = torch.zeros_like(gradients[0])
        g, g2, g3 = (sum((g**power for g in gradients), zero) / len(gradients) for power in (1, 2, 3))
        return plusplus_weights(total[row], g, g2, g3, epsilon) * activations[row]

    channels = Replicated(weighted, [[] for _ in images])
    for s in track(range(count)):
        draw = (runtime.normal_draw(seed, s, shape) if noise is None else noise[s]).to(images)
        unfinished = [row for row in range(len(images)) if not channels.good_enough(row, precision_goal)]
        if not unfinished:
            break
        gradient = question.changed().at_cut(images + spread * draw).gradient
        for row in unfinished:
            channels.samples[row].append(gradient[row])
    return channels


@by_derivative
@over_views
def eigen_grad_cam(question: Question, images: Tensor) -> Tensor:
    """EigenGrad-CAM: the first principal component of activations times gradients.

    map = B v, with B the terms g_k A_k as (positions, channels) minus their mean over positions, v its first right
    singular vector.
    Source: the library grad-cam (Gildenblat 2021), after Muhammad & Yeasin 2020, arXiv:2008.00299. Sign: signed.
    Unit: the target's.
    Deviation: the sign of a singular vector is arbitrary (in grad-cam too); here the map's covariance with sum_k g_k A_k
    is not negative, or, where that sum cancels out (see HiResCAM), with the norm of the terms.

    Why: To see the main pattern of evidence, with the noise of weak channels left out.
    Who: Analysts who find HiResCAM too scattered.
    What: Activations at the cut times the gradient there.
    How: One forward pass, the gradient of the part behind the cut, a singular value decomposition; a coarse signed grid.
    When: After training; beside Eigen-CAM, which does not depend on the class.
    Where: Any network with feature maps.
    Beware: The mean over positions is subtracted: zero means an average place, not a place without evidence.
    """
    at = question.at_cut(images)
    terms = at.gradient * at.activations
    return first_component(terms, without_cancelled(terms), terms.norm(dim=1))
