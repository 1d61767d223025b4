"""More class activation maps: other weights for the channels, or another way to put them together.

As in `cam`: A activations and g = d target / d A at the cut, both (C, h, w) for each picture; each function returns its
weighted channels, and the map is their sum on the native grid.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.cam.gradient_weighted import Epsilon, plusplus_weights
from xai_core.attribution.cam.options import (
    Replicated,
    first_component,
    first_coordinate,
    oriented,
    over_views,
    precise,
    weighted_sum,
    without_cancelled,
)
from xai_core.attribution.sampling import PrecisionGoal
from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question
from xai_core.explanation.targets import against_similar

MOST_POSITIONS = 1024  # of kernel principal components: the kernel is a number for each pair of positions


@weighted_sum
def cam(question: Question, images: Tensor) -> Tensor:
    """CAM: the channels of the last stage, weighted as the classifier weights them.

    map = ReLU(sum_k w_k A_k), w_k = d target / d feature k: for a logit the class's row of the classifier, for a margin
    the difference of two rows.
    Source: Zhou et al. 2016, arXiv:1512.04150. Sign: non-negative (signed without ReLU). Unit: the target's; the mean of
    the signed map over positions is the logit minus its bias.
    Deviation: targets that are not linear in the features (probability, similarity), of which the paper does not speak,
    take the gradient at this picture's features; ReLU is the family's, the paper has none.

    Why: To see the evidence that a classifier sums up, exactly as it does.
    Who: Analysts and reviewers: nothing is estimated in it.
    What: Activations of the last stage, and the classifier's weights.
    How: One forward pass; a coarse grid.
    When: After training; where the network allows it.
    Where: Networks that end in global average pooling and one linear layer, cut behind their last stage.
    Beware: It is as coarse as the last grid, where each cell has seen much of the picture.
    """
    network = question.model.network
    if question.cut != network.cuts[-1]:
        raise BadRequest(f"CAM looks behind the last stage only; choose the cut '{network.cuts[-1]}'.")
    at = question.at_cut(images)
    return at.gradient.sum((2, 3), keepdim=True) * at.activations  # behind a mean over positions, g_k is w_k / (h w)


@weighted_sum
def elementwise_grad_cam(question: Question, images: Tensor) -> Tensor:
    """Element-wise Grad-CAM: activations times gradients, place by place and channel by channel, the positive ones only.

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
    When: After training; beside Eigen-CAM, which does not know the class.
    Where: Any network with feature maps.
    Beware: The mean over positions is taken off: zero is an average place, not one without evidence.
    """
    at = question.at_cut(images)
    terms = at.gradient * at.activations
    return first_component(terms, without_cancelled(terms), terms.norm(dim=1))


@over_views
def kpca_cam(
    question: Question,
    images: Tensor,
    *,
    kernel: Annotated[str, Choice(("sigmoid", "gaussian")), "what makes two places alike"] = "sigmoid",
    scale: Annotated[float, Range(0.1, 10.0, 0.1), "of the kernel's coefficient 1 / channels"] = 1.0,
) -> Tensor:
    """KPCA-CAM: the activations' first kernel principal component; knows nothing of the target.

    map = s u, with (s^2, u) the first eigenpair of the centred kernel matrix over positions; for activations a, b minus
    their mean, k(a, b) = tanh(c a.b + 1) or exp(-c |a - b|^2), c = scale / channels.
    Source: Karmani et al. 2024, arXiv:2410.00267. Sign: signed. Unit: none.
    Deviation: the sign is arbitrary in the paper; here positive is where the activations are strong, as in Eigen-CAM.
    Grids of more than 1,024 positions are refused.

    Why: To see what stands out to the network where it does not lie along a line.
    Who: Developers who compare it with Eigen-CAM.
    What: Activations at the cut alone.
    How: One forward pass and an eigenvalue decomposition; a coarse signed grid.
    When: During and after training, with or without a classifier.
    Where: Late stages of any network with feature maps.
    Beware: It does not know what was asked, and the kernel's scale decides what it shows.
    """
    activations = question.grid(question.trunk(images)).float()
    channels, count = activations.shape[1], activations[0, 0].numel()
    if count > MOST_POSITIONS:
        raise BadRequest(f"KPCA-CAM takes at most {MOST_POSITIONS:,} positions, this cut has {count:,}; choose a later one.")
    positions = precise(activations.flatten(2).transpose(1, 2))
    centred = positions - positions.mean(1, keepdim=True)
    alike = centred @ centred.mT
    if kernel == "gaussian":
        squares = alike.diagonal(dim1=1, dim2=2)
        alike = (scale / channels * (2 * alike - squares[:, :, None] - squares[:, None])).exp()
    else:
        alike = (scale / channels * alike + 1).tanh()
    gram = alike - alike.mean(1, keepdim=True) - alike.mean(2, keepdim=True) + alike.mean((1, 2), keepdim=True)
    return oriented(first_coordinate(gram), activations.norm(dim=1))


@weighted_sum
def fem(
    question: Question,
    images: Tensor,
    *,
    sigmas: Annotated[float, Range(0.0, 4.0, 0.25), "standard deviations above its mean from which a place is kept"] = 2.0,
    kept: Annotated[str, Choice(("activations", "places")), "what is summed: activations, or kept places"] = "activations",
) -> Tensor:
    """FEM: where channels are unusually active; knows nothing of the target.

    Places of channel k are kept where A_k > mean + sigmas * standard deviation of A_k over positions. kept=activations:
    map = ReLU(sum_k s_k A_k), s_k the share of places kept. kept=places: map = ReLU(sum_k m_k [kept]), m_k = mean of A_k.
    Source: Fuad et al. 2020, doi:10.1109/IPTA50016.2020.9286629. Sign: non-negative. Unit: that of the activations.
    Deviation: two readings are in use; `activations` is the library grad-cam's, `places` that of Xplique.

    Why: To see rare, strong features without asking about a class.
    Who: Developers who check what a backbone picks out.
    What: Activations at the cut alone.
    How: One forward pass; a coarse grid.
    When: During and after training, with or without a classifier.
    Where: Any network with feature maps; late stages.
    Beware: It does not know what was asked: the same map answers every target.
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
    """Random-CAM: channels weighted at random; the control that every other map has to beat.

    map = ReLU(sum_k w_k A_k), w_k uniform in [-1, 1].
    Source: the library grad-cam (Gildenblat 2021); on such controls Adebayo et al. 2018, arXiv:1810.03292.
    Sign: non-negative (signed without ReLU). Unit: that of the activations.
    Deviation: one draw for each seed, the same for all pictures, so that a picture's map does not depend on its batch.

    Why: To know how good a map looks that explains nothing.
    Who: Everyone who compares methods: a number is worth what it is above this one.
    What: Activations at the cut alone.
    How: One forward pass; a coarse grid.
    When: In every comparison and every evaluation.
    Where: Any network with feature maps.
    Beware: It explains nothing, and often still falls on the object, because activations are strong there.
    """
    activations = question.grid(question.trunk(images)).float()
    normal = runtime.normal_draw(seed, 0, (activations.shape[1],))
    return torch.erf(normal / math.sqrt(2)).to(activations)[:, None, None] * activations  # uniform in [-1, 1]


@weighted_sum
def shapley_cam(question: Question, images: Tensor) -> Tensor:
    """Shapley-CAM: Grad-CAM with the target's curvature, for targets that are not linear behind the cut.

    map = ReLU(sum_k w_k A_k), w_k = mean over positions of (g - 1/2 H A)_k, with H the target's second derivative at the
    cut: the second-order Shapley value of the activations.
    Source: Cai 2025, arXiv:2501.06261. Sign: non-negative (signed without ReLU). Unit: the target's.
    Deviation: the target is the one that was asked; the paper's is a logit plus its log-probability. H A takes in tokens
    outside the grid, as in grad-cam.

    Why: To share the score out fairly among channels that work together.
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


@weighted_sum
def finer_cam(
    question: Question,
    images: Tensor,
    *,
    similar: Annotated[int, Range(1, 10), "classes it is compared with: those whose logits are nearest"] = 3,
    strength: Annotated[float, Range(0.0, 1.0, 0.05), "how much of their evidence is taken off"] = 1.0,
) -> Tensor:
    """Finer-CAM: what speaks for this class and not for those most like it.

    Grad-CAM of logit_c - strength * sum_j p_j logit_j / sum_j p_j, over the `similar` classes j whose logits are nearest
    to logit_c; p is the softmax. Asked about 'this and not that', the one class j is the rival.
    Source: Zhang et al. 2025, arXiv:2501.11309. Sign: non-negative (signed without ReLU). Unit: the target's (logits).
    Deviation: p-weighted as in the library grad-cam, whose gradient passes through p; the paper takes one class or a plain
    mean. A probability is explained by its logit. Without a class (similarity) it is refused.

    Why: To see the detail that tells one class from its look-alikes.
    Who: Analysts of fine-grained classes and of confusions.
    What: Activations at the cut and the gradient of a difference of logits there.
    How: One forward pass and the gradient of the part behind the cut; a coarse grid.
    When: After training; when Grad-CAM shows the same for several classes.
    Where: Classification with many similar classes.
    Beware: Which classes are similar is this picture's matter: two pictures of one class may be compared with others.
    """
    contrast = against_similar(question.target, question.outputs_at_cut(images), similar, strength)
    at = question.changed(target=contrast).at_cut(images)
    return at.gradient.mean((2, 3), keepdim=True) * at.activations


@weighted_sum
def smooth_grad_cam_plusplus(
    question: Question,
    images: Tensor,
    *,
    samples: Annotated[int, Range(2, 50), "noisy copies of the picture"] = 10,
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

    Why: To see all objects of a class, with the chance of a single gradient averaged out.
    Who: Analysts who find Grad-CAM++ jumpy.
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
        means = (sum(g**exponent for g in gradients) / len(gradients) for exponent in (1, 2, 3))
        return plusplus_weights(total[row], *means, epsilon) * activations[row]

    found = Replicated(weighted, [[] for _ in images])
    for s in track(range(count)):
        drawn = (runtime.normal_draw(seed, s, shape) if noise is None else noise[s]).to(images)
        wanted = [row for row in range(len(images)) if not found.good_enough(row, precision_goal)]
        if not wanted:
            break
        gradient = question.changed().at_cut(images + spread * drawn).gradient
        for row in wanted:
            found.samples[row].append(gradient[row])
    return found
