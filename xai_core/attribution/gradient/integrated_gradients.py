"""Integrated gradients: along the straight line, through blurred pictures, and along a path around strong gradients.

map = sum over RGB of the integral of df/dx dx along the path. It sums to f(x) - f(start of the path) up to the error of the
quadrature, which is reported as `completeness gap`, a share of |f(x) - f(start)|. Resolution: pixels (H, W).
"""

import math
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from xai_core.attribution.added_options import by_derivative
from xai_core.attribution.gradient.aggregate import summed
from xai_core.attribution.method import Maps
from xai_core.attribution.repeated_passes import one_bar, one_by_one
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question


def _with_gap(question: Question, images: Tensor, start: Tensor, maps: Tensor) -> Maps:
    change = question.values(images) - question.scores(start)
    gap = (maps.sum((1, 2)) - change).abs() / change.abs().clamp(min=1e-12)
    return Maps(maps, facts={"completeness gap": gap})


@by_derivative
def integrated_gradients(
    question: Question,
    images: Tensor,
    *,
    steps: Annotated[int, Range(5, 300), "points on the path from baseline to picture"] = 50,
    baseline: Annotated[str, Choice(BASELINES), "the baseline: the picture that stands for missing content"] = "black",
    track: Track = iter,
) -> Maps:
    """Integrated gradients: the target's change from a baseline to the picture, distributed over the pixels.

    map = sum over RGB of (x - b) integral over a in [0, 1] of df/dx at b + a (x - b), by Gauss-Legendre quadrature.
    Source: Sundararajan et al. 2017, arXiv:1703.01365. Sign: signed. Unit: the target's.
    Completeness: the map sums to f(x) - f(b) up to the quadrature's error, which is reported as `completeness gap`,
    a share of |f(x) - f(b)|.

    Why: To distribute the whole change of the score from a baseline over the pixels.
    Who: Reviewers and researchers who need a method that satisfies an axiom.
    What: Gradients along the path from a baseline to the picture.
    How: As many forward and backward passes as steps; a fine signed map whose sum is the change.
    When: After training; when a number for each pixel must add up.
    Where: Any differentiable network.
    Beware: It depends on the baseline: pixels that look like the baseline get a value of zero. Take more steps where the
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
    return _with_gap(question, images, start, maps)


def _gaussians(sigmas: Tensor, length: int) -> Tensor:
    """For each sigma (b,) the matrix (b, length, length) that blurs a row of pixels; every row of it sums to one."""
    positions = torch.arange(length, device=sigmas.device, dtype=sigmas.dtype)
    distance = (positions[:, None] - positions) / sigmas.clamp(min=1e-3)[:, None, None]
    return (-(distance**2) / 2).softmax(-1)


def _blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Picture i (3, H, W) blurred by its own sigma i, in pixels."""
    down, across = (_gaussians(sigmas, length)[:, None] for length in size_of(images))
    return down @ images @ across.mT


@by_derivative
def blur_integrated_gradients(
    question: Question,
    images: Tensor,
    *,
    steps: Annotated[int, Range(5, 300), "number of steps from the blurred picture to the sharp one"] = 50,
    max_sigma: Annotated[float, Range(5.0, 100.0, 5.0), "the strongest blur, in pixels"] = 50.0,
    track: Track = iter,
) -> Maps:
    """Blur integrated gradients: the target's change from a blurred picture to the sharp one, distributed over the pixels.

    map = sum over RGB of sum_i df/dx at B(m_i) (B(s_i) - B(s_i+1)), B(s) = picture after a Gaussian of sigma s,
    s_i = max_sigma (i / steps)^2, m_i halfway between s_i and s_i+1.
    Source: Xu et al. 2020, arXiv:2004.03383. Sign: signed. Unit: the target's.
    Completeness: the map sums to f(x) - f(B(max_sigma)) up to the error of the steps, the `completeness gap`.
    Deviation: the authors' code (saliency by PAIR) steps evenly in sigma, takes the gradient at the end of each step and
    estimates dB/ds by a small difference; here steps are finer where the picture is sharper, gradients are taken halfway,
    and differences of pictures are exact, which needs fewer steps. At the edge the Gaussian is cut off and normalised
    instead of running into black, which would draw a frame.

    Why: To distribute the score without a baseline of one colour: the path starts at a blurred picture.
    Who: Analysts of dark objects, to which a black baseline attributes nothing.
    What: Gradients at ever sharper versions of the picture.
    How: As many forward and backward passes as steps; a fine signed map whose sum is the change.
    When: After training; beside integrated gradients, for what depends on texture and edges.
    Where: Any differentiable network.
    Beware: What the blurred picture still shows (large areas, colours) is not explained. Take more steps where the
    completeness gap is large.
    """

    def sigma(step: Tensor) -> Tensor:
        return max_sigma * (step.to(images) / steps) ** 2

    def points(which: Tensor, step: Tensor) -> Tensor:
        return _blurred(images[which], (sigma(step) + sigma(step + 1)) / 2)

    def share(gradients: Tensor, which: Tensor, step: Tensor) -> Tensor:
        return gradients * (_blurred(images[which], sigma(step)) - _blurred(images[which], sigma(step + 1)))

    maps = summed(question, images, points, steps, share, track).sum(1)
    start = _blurred(images, images.new_full((len(images),), max_sigma))
    return _with_gap(question, images, start, maps)


@by_derivative
def guided_integrated_gradients(
    question: Question,
    images: Tensor,
    *,
    steps: Annotated[int, Range(5, 200), "points on the path from baseline to picture"] = 50,
    fraction: Annotated[
        float, Range(0.05, 1.0, 0.05), "share of the values that are changed in one move: those with the weakest gradients"
    ] = 0.25,
    max_dist: Annotated[float, Range(0.0, 1.0, 0.01), "how far a pixel may be from the straight path"] = 0.02,
    baseline: Annotated[str, Choice(BASELINES), "the baseline: the picture that stands for missing content"] = "black",
    track: Track = iter,
) -> Maps:
    """Guided integrated gradients: integrated gradients along a path that avoids strong gradients.

    From the baseline, each step moves the values with the weakest |df/dx| first, until the whole L1 distance to the picture
    has shrunk by 1 / steps; no value may leave the straight line by more than max_dist of its way.
    map = sum over RGB of the sum of df/dx times the move.
    Source: Kapishnikov et al. 2021, arXiv:2106.09788. Sign: signed. Unit: the target's.
    Completeness: the map sums to f(x) - f(b) up to the error of the steps, the `completeness gap`. It is that of the
    authors' code, and more steps need not close it: moves are large where |df/dx| was weak before them (2.35 of
    |f(x) - f(b)| for the bundled rocket with 50 steps, 2.66 with 200).
    Deviation: 50 steps by default instead of 200; with max_dist = 0 it is integrated gradients by a plain sum.

    Why: To get the shares of integrated gradients without the noise that they collect on a straight path.
    Who: Analysts who find integrated gradients too noisy to read.
    What: Gradients along a path of its own for each picture.
    How: As many forward and backward passes as steps, one after another; a fine signed map whose sum is the change.
    When: After training; in place of integrated gradients where their map is noisy.
    Where: Any differentiable network.
    Beware: The path depends on the network, so that two networks are explained along different paths. Where the
    completeness gap is large, the values are no shares of the change.
    """

    def alone(question: Question, image: Tensor, row: int) -> Maps:
        start = baseline_images(image, baseline)
        maps = _guided(question, image, start, steps=steps, fraction=fraction, max_dist=max_dist, track=report)
        return _with_gap(question, image, start, maps)

    report = one_bar(track, steps * len(images))
    return one_by_one(question, images, alone)


def _guided(
    question: Question, image: Tensor, start: Tensor, *, steps: int, fraction: float, max_dist: float, track: Track
) -> Tensor:
    """The map (1, H, W) of one picture. One at a time: the path follows the rank of gradients, which the rounding of another
    batch size could change."""
    begin, end = (picture.cpu().double().flatten() for picture in (start, image))
    at, shares = begin, torch.zeros_like(begin)
    for step in track(range(steps)):
        slopes = question.gradient(at.view_as(image).to(image))[1].cpu().double().flatten()
        done = (step + 1) / steps
        moved = _step(at, slopes.abs(), begin, end, (done - max_dist, done + max_dist), 1 - done, fraction)
        shares += (moved - at) * slopes
        at = moved
    return shares.view_as(image).sum(1).to(image)


def _step(
    at: Tensor, slopes: Tensor, begin: Tensor, end: Tensor, bounds: tuple[float, float], left: float, fraction: float
) -> Tensor:
    """One step of the path, all tensors (D,): `at` moved until the share `left` of the L1 distance to `end` remains.

    `slopes` are the gradients' magnitudes; `bounds` are the smallest and the largest share of its way that each value may
    have covered.
    """
    way = end - begin
    low, high = (begin + way * min(max(bound, 0.0), 1.0) for bound in bounds)
    behind = (at - begin).abs() < (low - begin).abs()
    at = torch.where(behind, low, at)
    remaining, whole = left * way.abs().sum(), float(way.abs().sum())
    slopes = slopes.masked_fill((high - at).abs() <= 1e-12, math.inf)
    while (gap := float((end - at).abs().sum() - remaining)) > 1e-9 * whole:
        threshold = slopes.kthvalue(1 + int(fraction * (len(slopes) - 1))).values
        chosen = (slopes <= threshold) & slopes.isfinite()
        room = float((high - at).abs()[chosen].sum())
        if room == 0:
            break
        at = torch.where(chosen, torch.lerp(at, high, min(gap / room, 1.0)), at)
        slopes = slopes.masked_fill(chosen, math.inf) if gap > room else slopes
        if gap <= room:
            break
    return at
