"""What all class activation maps share: a sum over channels, and the options relu, eigen and augment.

A method of the family returns its channels; the decorators add the options to its signature, where the page and the
command line read them.

    @weighted_sum    a function that returns weighted channels (n, C, h, w); the map is their sum: adds relu, eigen, augment
    @over_views      a function that returns maps (n, h, w) or Maps: adds augment
"""

import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from xai_core.attribution.added_options import declare
from xai_core.attribution.method import Maps, heatmap_of
from xai_core.attribution.repeated_passes import good_enough
from xai_core.explanation.question import Question

Relu = Annotated[bool, "keep only the evidence for the target, as published"]
Eigen = Annotated[bool, "take the first principal component of the weighted channels instead of their sum"]
Augment = Annotated[bool, "take the mean over the picture and its mirror image, each at brightness 0.9, 1 and 1.1"]

VIEWS = [(mirrored, brightness) for mirrored in (False, True) for brightness in (1.0, 0.9, 1.1)]
FEWEST = 4  # samples from which an error is estimated
CANCELLED = 1e-4  # below this share of the sum of its terms' magnitudes, a sum is only rounding error


class Replicated(NamedTuple):
    """Weighted channels computed from random samples, of which each picture has a list: `weighted(row, samples)` returns the
    channels (C, h, w) of one picture."""

    weighted: Callable[[int, list[Tensor]], Tensor]
    samples: list[list[Tensor]]

    def estimate(self) -> Tensor:
        """The channels (n, C, h, w)."""
        return torch.stack([self.weighted(row, samples) for row, samples in enumerate(self.samples)])

    def error(self, row: int, one_map: Callable[[Tensor], Tensor]) -> Tensor:
        """The jackknife's standard error of a picture's map (h, w): sqrt((S - 1) / S sum_s (m_s - mean)^2), m_s the map
        without sample s."""
        samples = self.samples[row]
        without = [self.weighted(row, samples[:s] + samples[s + 1 :]) for s in range(len(samples))]
        return one_map(torch.stack(without)).std(0, correction=0) * math.sqrt(len(samples) - 1)

    def good_enough(self, row: int, goal: float) -> bool:
        """Whether the mean standard error of a picture's map is below `goal` of its range."""
        if goal == 0 or len(self.samples[row]) < FEWEST:
            return False
        heatmap = self.weighted(row, self.samples[row]).sum(0)
        return good_enough(heatmap, self.error(row, lambda channels: channels.sum(1)), goal)


def weighted_sum(channels: Callable[..., Tensor | Replicated]) -> Callable[..., Tensor | Maps]:
    """The method whose map is the sum over the weighted channels (n, C, h, w) that the function returns. (`Replicated`
    channels give a standard error as well.)

    relu     negative sums are set to zero
    eigen    the first principal component of the weighted channels in place of their sum. Its sign is the sum's: their
             covariance over positions is not negative; where the sum cancels out, positive is where channels are strong
    augment  see `over_views`
    """

    def summed_up(terms: Tensor, relu: bool, eigen: bool) -> Tensor:
        summed = first_component(terms, without_cancelled(terms), terms.norm(dim=1)) if eigen else terms.sum(1)
        return summed.relu() if relu else summed

    @functools.wraps(channels)
    def maps(question: Question, images: Tensor, *, relu: bool = True, eigen: bool = False, **options: Any) -> Tensor | Maps:
        terms = channels(question, images, **options)
        if not isinstance(terms, Replicated):
            return summed_up(terms, relu, eigen)
        errors = [terms.error(row, lambda replicas: summed_up(replicas, relu, eigen)) for row in range(len(images))]
        counts = torch.tensor([float(len(samples)) for samples in terms.samples])
        return Maps(summed_up(terms.estimate(), relu, eigen), torch.stack(errors), {"samples": counts})

    declare(maps, channels, first={"relu": (Relu, True)}, last={"eigen": (Eigen, False)})
    return over_views(maps)


def over_views(maps: Callable[..., Tensor | Maps]) -> Callable[..., Tensor | Maps]:
    """The method with the option `augment`: the mean of its maps over six views of the picture; maps of mirrored views are
    mirrored back.

    Brightness multiplies pixels in [0, 1], and nothing is clipped. Facts are those of the picture itself.
    """

    @functools.wraps(maps)
    def run(question: Question, images: Tensor, *, augment: bool = False, **options: Any) -> Tensor | Maps:
        result = maps(question, images, **options)
        if not augment:
            return result
        facts = result.facts if isinstance(result, Maps) else {}
        total = heatmap_of(result)
        for mirrored, brightness in VIEWS[1:]:
            view = (images.flip(3) if mirrored else images) * brightness
            heatmap = heatmap_of(maps(question.changed(), view, **options))
            total = total + (heatmap.flip(2) if mirrored else heatmap)
        return Maps(total / len(VIEWS), facts=facts)  # no standard error: the errors of the views are not independent

    declare(run, maps, first={}, last={"augment": (Augment, False)})
    return run


def without_cancelled(terms: Tensor) -> Tensor:
    """sum_k terms_k, (n, h, w); zero for a map that is nowhere larger than 1e-4 of the maximum of sum_k |terms_k|, because
    only rounding is left of it."""
    maps = terms.sum(1)
    cancelled = maps.abs().amax((1, 2)) <= CANCELLED * terms.abs().sum(1).amax((1, 2))
    return maps.masked_fill(cancelled[:, None, None], 0.0)


def precise(values: Tensor) -> Tensor:
    """The values in float64; on the CPU where the device does not compute in float64."""
    return values.to("cpu" if values.device.type == "mps" else values.device, torch.float64)


def first_component(maps: Tensor, *directions: Tensor) -> Tensor:
    """Projection (n, h, w) of the channels of (n, C, h, w), centred over positions, on their first principal component.

    Its sign is arbitrary: see `oriented`.
    """
    positions = precise(maps.flatten(2).transpose(1, 2))
    centred = positions - positions.mean(1, keepdim=True)
    if centred.shape[2] <= centred.shape[1]:
        direction = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -1:]
        projection = (centred @ direction)[..., 0]
    else:  # the same from the smaller Gram matrix: B v = s u
        projection = first_coordinate(centred @ centred.mT)
    return oriented(projection, *directions)


def first_coordinate(gram: Tensor) -> Tensor:
    """s u, (n, N): the first principal coordinate of a centred Gram matrix (n, N, N) with first eigenpair (s^2, u)."""
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    coordinate: Tensor = eigenvectors[..., -1] * eigenvalues[..., -1:].clamp(min=0).sqrt()
    return coordinate


def oriented(projection: Tensor, *directions: Tensor) -> Tensor:
    """A projection (n, N) as float32 maps in the shape of the directions (n, h, w), with the sign changed where its
    covariance with a direction is negative. The first direction with a covariance other than 0 decides."""
    sign = torch.zeros_like(projection[:, :1])
    for direction in directions:
        flat = direction.flatten(1).to(projection)
        covariance = (projection * (flat - flat.mean(1, keepdim=True))).sum(1, keepdim=True)
        sign = torch.where(sign == 0, covariance.sign(), sign)
    signed = torch.where(sign < 0, -projection, projection)
    return signed.view(directions[0].shape).to(directions[0].device, torch.float32)
