"""What all class activation maps share: a sum over channels, and the options relu, eigen and augment.

A method of the family says what its channels are, once; the decorators add the options to its signature, where the page
and the command line find them.

    @weighted_sum    a function to weighted channels (n, C, h, w), whose map is their sum: adds relu, eigen, augment
    @over_views      a function to maps (n, h, w) or Maps of its own making: adds augment
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.attribution.sampling import good_enough
from xai_core.explanation.question import Question

Relu = Annotated[bool, "keep only the evidence for the target, as published"]
Eigen = Annotated[bool, "the weighted channels' first principal component in place of their sum"]
Augment = Annotated[bool, "mean over the picture and its mirror image, each at brightness 0.9, 1 and 1.1"]

VIEWS = [(mirrored, brightness) for mirrored in (False, True) for brightness in (1.0, 0.9, 1.1)]
FEWEST = 4  # samples before an error is trusted
CANCELLED = 1e-4  # a sum that is smaller than this share of its terms is rounding


class Replicated(NamedTuple):
    """Weighted channels that are made from random samples, a list of them for each picture: `weighted(row, its samples)`
    is (C, h, w)."""

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
        found = self.weighted(row, self.samples[row]).sum(0)
        return good_enough(found, self.error(row, lambda channels: channels.sum(1)), goal)


def weighted_sum(channels: Callable[..., Tensor]) -> Callable[..., Tensor | Maps]:
    """The method whose map is the sum over the weighted channels (n, C, h, w) that the function returns.

    relu     negative sums are set to zero
    eigen    the first principal component of the weighted channels in place of their sum. Its sign is the sum's: their
             covariance over positions is not negative; where the sum cancels out, positive is where channels are strong
    augment  see `over_views`
    """

    def one_map(found: Tensor, relu: bool, eigen: bool) -> Tensor:
        if eigen:
            strength = found.norm(dim=1)
            summed = first_component(found, without_cancelled(found), strength)
        else:
            summed = found.sum(1)
        return summed.relu() if relu else summed

    @functools.wraps(channels)
    def maps(question: Question, images: Tensor, *, relu: bool = True, eigen: bool = False, **options: Any) -> Tensor | Maps:
        found = channels(question, images, **options)
        if not isinstance(found, Replicated):
            return one_map(found, relu, eigen)
        errors = [found.error(row, lambda one: one_map(one, relu, eigen)) for row in range(len(images))]
        samples = torch.tensor([float(len(taken)) for taken in found.samples])
        return Maps(one_map(found.estimate(), relu, eigen), torch.stack(errors), {"samples": samples})

    _declare(maps, channels, first={"relu": (Relu, True)}, last={"eigen": (Eigen, False)})
    return over_views(maps)


def over_views(maps: Callable[..., Tensor | Maps]) -> Callable[..., Tensor | Maps]:
    """The method with the option `augment`: the mean of its maps over six views of the picture, mirrored ones turned back.

    Brightness multiplies pixels in [0, 1], and nothing is clipped. Facts are those of the picture itself.
    """

    @functools.wraps(maps)
    def run(question: Question, images: Tensor, *, augment: bool = False, **options: Any) -> Tensor | Maps:
        found = maps(question, images, **options)
        if not augment:
            return found
        facts = found.facts if isinstance(found, Maps) else {}
        total = _heatmap(found)
        for mirrored, brightness in VIEWS[1:]:
            view = (images.flip(3) if mirrored else images) * brightness
            seen = _heatmap(maps(question.changed(), view, **options))
            total = total + (seen.flip(2) if mirrored else seen)
        return Maps(total / len(VIEWS), facts=facts)  # errors of the views are not independent: none is given

    return _declare(run, maps, first={}, last={"augment": (Augment, False)})


def _heatmap(found: Tensor | Maps) -> Tensor:
    return found.heatmap if isinstance(found, Maps) else found


def _declare(run: Callable, inner: Callable, first: dict, last: dict) -> Callable:
    """Give `run` the signature of `inner` with further options {name: (annotation, default)} before and behind its own."""
    signature = inspect.signature(inner)
    pictures = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    own = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    options = [own_ for own_ in own if hasattr(own_.annotation, "__metadata__")]
    added = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in (first | last).items()
    }
    rest = [p for p in own if p not in options]  # seed, noise, track
    ordered = [*pictures, *(added[n] for n in first), *options, *(added[n] for n in last), *rest]
    run.__signature__ = signature.replace(parameters=ordered)
    run.__annotations__ = {p.name: p.annotation for p in ordered} | {"return": signature.return_annotation}
    return run


def without_cancelled(terms: Tensor) -> Tensor:
    """sum_k terms_k, (n, h, w), and zero where the map is nowhere larger than 1e-4 of sum_k |terms_k|: only rounding is
    left of it."""
    maps = terms.sum(1)
    cancelled = maps.abs().amax((1, 2)) <= CANCELLED * terms.abs().sum(1).amax((1, 2))
    return maps.masked_fill(cancelled[:, None, None], 0.0)


def precise(values: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
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
    found = torch.linalg.eigh(gram)
    return found.eigenvectors[..., -1] * found.eigenvalues[..., -1:].clamp(min=0).sqrt()


def oriented(projection: Tensor, *directions: Tensor) -> Tensor:
    """(n, N) as float32 maps in the shape of the directions (n, h, w), turned over where their covariance with the first
    direction that has any is negative."""
    sign = torch.zeros_like(projection[:, :1])
    for direction in directions:
        flat = direction.flatten(1).to(projection)
        covariance = (projection * (flat - flat.mean(1, keepdim=True))).sum(1, keepdim=True)
        sign = torch.where(sign == 0, covariance.sign(), sign)
    signed = torch.where(sign < 0, -projection, projection)
    return signed.view(directions[0].shape).to(directions[0].device, torch.float32)
