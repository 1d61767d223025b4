"""Gradients of the target to the pixels. Maps are at the network's resolution, (n, H, W).

Pixels are RGB in [0, 1]; a gradient is the target's change per unit of a channel, so 0 is black and a gradient says what
adding light would do. (In libraries that differentiate behind the normalisation, the same map is larger by the std.)
"""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from xai_core.attribution.gradient.averaging import summed
from xai_core.attribution.method import Maps
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.question import Question


def _strongest_channel(gradients: Tensor) -> Tensor:
    return gradients.abs().amax(1)


def saliency(question: Question, images: Tensor) -> Tensor:
    """Saliency (vanilla gradient): how much the target changes with each pixel, whatever the direction.

    map = max over RGB of |df/dx|.
    Source: Simonyan et al. 2013, arXiv:1312.6034. Sign: non-negative. Unit: target per unit of intensity.

    Why: To see which pixels the answer is most sensitive to.
    Who: Developers and researchers; the baseline of gradient methods.
    What: The gradient of the target to the pixels.
    How: One forward and one backward pass; a fine, noisy map without a sign.
    When: After training; as a baseline for smoother methods.
    Where: Any differentiable network.
    Beware: Sensitivity is not importance: a saturated network has small gradients where it is most certain.
    """
    return _strongest_channel(question.gradient(images)[1])


def input_x_gradient(question: Question, images: Tensor) -> Tensor:
    """Input x gradient: the first-order estimate of what each pixel adds, compared with black.

    map = sum over RGB of x df/dx.
    Source: Shrikumar et al. 2016, arXiv:1605.01713. Sign: signed. Unit: the target's. For a network that is linear
    without bias, the map sums to the target.

    Why: To share the score out among the pixels, at the price of one gradient.
    Who: Developers who want signs and a quick estimate.
    What: Pixels times their gradients.
    How: One forward and one backward pass; a fine signed map.
    When: After training; before paying for integrated gradients.
    Where: Any differentiable network.
    Beware: Dark pixels get little whatever they mean, and the estimate holds only near this picture.
    """
    return (images * question.gradient(images)[1]).sum(1)


def integrated_gradients(
    question: Question,
    images: Tensor,
    *,
    steps: Annotated[int, Range(5, 300), "points on the path from baseline to picture"] = 50,
    baseline: Annotated[str, Choice(BASELINES), "what stands for 'nothing to see'"] = "black",
    track: Track = iter,
) -> Maps:
    """Integrated gradients: the target's change from a baseline to the picture, shared out among the pixels.

    map = sum over RGB of (x - b) integral over a in [0, 1] of df/dx at b + a (x - b), by Gauss-Legendre quadrature.
    Source: Sundararajan et al. 2017, arXiv:1703.01365. Sign: signed. Unit: the target's.
    Completeness: the map sums to f(x) - f(b) up to the quadrature's error, which is reported as `completeness gap`,
    a share of |f(x) - f(b)|.

    Why: To share the change of the score from a baseline out among the pixels, completely.
    Who: Reviewers and researchers who want an axiom to hold on to.
    What: Gradients along the path from a baseline to the picture.
    How: As many forward and backward passes as steps; a fine signed map whose sum is the change.
    When: After training; when a number for each pixel must add up.
    Where: Any differentiable network.
    Beware: It depends on the baseline: what looks like the baseline gets nothing. Take more steps where the
    completeness gap is large.
    """
    nodes, node_weights = np.polynomial.legendre.leggauss(steps)
    at = torch.tensor((nodes + 1) / 2, dtype=images.dtype, device=images.device)
    start = baseline_images(images, baseline)
    difference = images - start

    def points(which: Tensor, step: Tensor) -> Tensor:
        return start[which] + at[step.to(at.device)][:, None, None, None] * difference[which]

    weights = torch.tensor(node_weights / 2, dtype=images.dtype, device=images.device)

    def weighted(gradients: Tensor, which: Tensor, step: Tensor) -> Tensor:
        return gradients * weights[step.to(weights.device)][:, None, None, None]

    maps = (difference * summed(question, images, points, steps, weighted, track)).sum(1)
    change = question.values(images) - question.scores(start)
    gap = (maps.sum((1, 2)) - change).abs() / change.abs().clamp(min=1e-12)
    return Maps(maps, facts={"completeness gap": gap})
