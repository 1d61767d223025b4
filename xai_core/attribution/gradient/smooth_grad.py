"""Gradients of noisy copies: means, second moments and variances over random draws, each with its standard error.

Maps are at the network's resolution, (n, H, W). Draw number s of a seed is the same for every picture and in every batch.
The standard error is the sampling error of the map: how far another seed's map would lie from this one.
"""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.attribution.added_options import by_derivative
from xai_core.attribution.gradient.aggregate import Moments, Points, averaged, strongest
from xai_core.attribution.method import Maps
from xai_core.attribution.repeated_passes import PrecisionGoal
from xai_core.core import runtime
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.question import Question

Samples = Annotated[int, Range(2, 200), "number of noisy copies of the picture"]
Sigma = Annotated[float, Range(0.01, 0.5, 0.01), "noise, as a share of the picture's range of values"]


def _noisy(images: Tensor, sigma: float, seed: int, noise: Tensor | None) -> Points:
    """x + sigma (max x - min x) e_s, with the draws e_s from `noise`, or else from the seed."""
    shape = tuple(images.shape[1:])
    spread = sigma * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))

    def points(which: Tensor, step: Tensor) -> Tensor:
        draws = [runtime.normal_draw(seed, int(s), shape) if noise is None else noise[s] for s in step]
        return images[which] + spread[which] * torch.stack(draws).to(images)

    return points


def _itself(gradients: Tensor, which: Tensor, step: Tensor) -> Tensor:
    return gradients


def _squares(gradients: Tensor, which: Tensor, step: Tensor) -> Tensor:
    return gradients**2


def _mean_of_strongest(moments: Moments) -> tuple[Tensor, Tensor]:
    return strongest(moments.mean, moments.error_of_mean)


def _variance_of_strongest(moments: Moments) -> tuple[Tensor, Tensor]:
    return strongest(moments.variance, moments.error_of_variance)


@by_derivative
def smooth_grad(
    question: Question,
    images: Tensor,
    *,
    samples: Samples = 25,
    sigma: Sigma = 0.15,
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    noise: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """SmoothGrad: the gradient averaged over noisy copies of the picture.

    map = max over RGB of |mean over s of df/dx at x + sigma (max x - min x) e_s|, e_s standard normal.
    Source: Smilkov et al. 2017, arXiv:1706.03825. Sign: non-negative. Unit: target per unit of intensity.
    `noise` (samples, 3, H, W) passes the standard normal draws e_s in, the same for every picture; otherwise they come
    from `seed`. Noisy pixels may leave [0, 1], as in the paper. The standard error is that of the strongest channel.

    Why: To see sensitive pixels without the speckle of a plain gradient.
    Who: Analysts and readers of reports: it is easier to look at.
    What: Gradients at noisy copies of the picture.
    How: As many forward and backward passes as samples; a fine map without a sign.
    When: After training; where saliency is too noisy to read.
    Where: Any differentiable network.
    Beware: It answers for noisy pictures, which the network may never have seen.
    """
    count, points = samples if noise is None else len(noise), _noisy(images, sigma, seed, noise)
    return averaged(question, images, points, count, _itself, _mean_of_strongest, precision_goal=precision_goal, track=track)


@by_derivative
def smooth_grad_squared(
    question: Question,
    images: Tensor,
    *,
    samples: Samples = 25,
    sigma: Sigma = 0.15,
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    noise: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """SmoothGrad-squared: the mean of squared gradients over noisy copies of the picture.

    map = max over RGB of mean over s of (df/dx)^2 at x + sigma (max x - min x) e_s, e_s standard normal.
    Source: Hooker et al. 2019, arXiv:1806.10758. Sign: non-negative. Unit: (target per unit of intensity) squared.
    `noise` (samples, 3, H, W) passes the draws e_s in, as in SmoothGrad.

    Why: To rank pixels by sensitivity without letting opposite gradients cancel.
    Who: Researchers who compare rankings by retraining, where it did far better than SmoothGrad.
    What: Gradients at noisy copies of the picture, squared.
    How: As many forward and backward passes as samples; a fine map without a sign, with strong contrasts.
    When: After training; for a ranking of pixels.
    Where: Any differentiable network.
    Beware: It is the squared mean plus the variance: a large value may come from a strong gradient or from a varying one.
    """
    count, points = samples if noise is None else len(noise), _noisy(images, sigma, seed, noise)
    return averaged(
        question, images, points, count, _squares, _mean_of_strongest, precision_goal=precision_goal, track=track
    )


@by_derivative
def var_grad(
    question: Question,
    images: Tensor,
    *,
    samples: Samples = 25,
    sigma: Sigma = 0.15,
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    noise: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """VarGrad: how much the gradient varies over noisy copies of the picture.

    map = max over RGB of the variance over s of df/dx at x + sigma (max x - min x) e_s, e_s standard normal.
    Source: Adebayo et al. 2018, arXiv:1810.03307. Sign: non-negative. Unit: (target per unit of intensity) squared.
    Deviation: the unbiased variance (divided by one less than the samples), so that its size does not depend on their
    number. `noise` (samples, 3, H, W) passes the draws e_s in, as in SmoothGrad.

    Why: To see where the network's response to a pixel depends on the rest of the picture.
    Who: Researchers; it measures the noise that SmoothGrad averages out.
    What: Gradients at noisy copies of the picture, and their variance.
    How: As many forward and backward passes as samples; a fine map without a sign.
    When: After training; for a ranking of pixels, or to check one.
    Where: Any network that is not linear: for a linear one the map is zero.
    Beware: It does not show the gradient itself: a pixel with a strong but constant gradient is dark.
    """
    count, points = samples if noise is None else len(noise), _noisy(images, sigma, seed, noise)
    return averaged(
        question, images, points, count, _itself, _variance_of_strongest,
        powers=4, precision_goal=precision_goal, track=track,
    )  # fmt: skip


@by_derivative
def gradient_shap(
    question: Question,
    images: Tensor,
    *,
    samples: Annotated[int, Range(2, 200), "number of random points between random baselines and the picture"] = 25,
    baseline: Annotated[str, Choice(BASELINES), "the mean of the random baselines"] = "black",
    sigma: Annotated[float, Range(0.0, 0.5, 0.01), "standard deviation of the random baselines around their mean"] = 0.1,
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    noise: Tensor | None = None,
    places: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """GradientSHAP (expected gradients): integrated gradients averaged over random baselines, one random point each.

    map = sum over RGB of mean over s of (x - b_s) df/dx at b_s + a_s (x - b_s), with b_s = baseline + sigma e_s,
    e_s standard normal and a_s uniform in [0, 1). Its expectation sums to f(x) - mean f(b).
    Source: Erion et al. 2021, arXiv:1906.10670; Lundberg & Lee 2017, arXiv:1705.07874. Sign: signed. Unit: the target's.
    Deviation: baselines are black (or another) with noise instead of pictures from the training data, which a wrapped
    network does not bring along; the picture itself is not made noisy, as SHAP's code does. Baselines may leave [0, 1].
    `noise` (samples, 3, H, W) and `places` (samples,) pass e_s and a_s in; otherwise they come from `seed`.

    Why: To distribute the score over the pixels without relying on a single baseline.
    Who: Reviewers and researchers who know Shapley values.
    What: Gradients at random points between random baselines and the picture.
    How: As many forward and backward passes as samples; a fine signed map with its standard error.
    When: After training; where integrated gradients depend on the choice of a baseline.
    Where: Any differentiable network.
    Beware: It is a random estimate: look at the standard error, and take more samples where it is large.
    """
    count, shape = samples if noise is None else len(noise), tuple(images.shape[1:])
    middle = baseline_images(images, baseline)

    def starts(which: Tensor, step: Tensor) -> Tensor:
        draws = [runtime.normal_draw(seed, int(s), shape) if noise is None else noise[s] for s in step]
        return middle[which] + sigma * torch.stack(draws).to(images)

    def points(which: Tensor, step: Tensor) -> Tensor:
        draws = [runtime.uniform_draw(seed, -1 - int(s), (1, 1, 1)) if places is None else places[s] for s in step]
        at = torch.stack([torch.as_tensor(draw).view(1, 1, 1) for draw in draws]).to(images)
        return torch.lerp(starts(which, step), images[which], at)

    def share(gradients: Tensor, which: Tensor, step: Tensor) -> Tensor:
        return ((images[which] - starts(which, step)) * gradients).sum(1)

    def mean(moments: Moments) -> tuple[Tensor, Tensor]:
        return moments.mean, moments.error_of_mean

    return averaged(question, images, points, count, share, mean, precision_goal=precision_goal, track=track)
