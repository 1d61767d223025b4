"""Pixels in the order of a map, and what stands in the place of those that are taken away.

Ties are broken by uniform draws of the seed, one for each pixel. (Maps behind a ReLU are mostly ties; reading order, as in
other code, would take the picture away from the top left.)
"""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Choice
from xai_core.data.preprocessing import baseline_images, blurred
from xai_core.explanation.targets import Target, confidence
from xai_core.metrics.metric import Case

SUBSTRATES = ("zero", "mean", "blur", "noise", "dataset mean", "published blur")
Substrate = Annotated[
    str,
    Choice(SUBSTRATES),
    "what stands where pixels are taken away: black; the picture's mean colour, its blur, noise; the colour that "
    "normalisation makes zero; or the light blur of RISE",
]
Scored = Annotated[str, Choice(("confidence", "asked")), "the probability of the class, or the number that the map explains"]
_TIES, _NOISE = 1, 2  # numbers of draws


def measured(case: Case, score: str) -> Target:
    """The target whose value is followed."""
    return confidence(case.asked) if score == "confidence" else case.asked


def ranks(values: NDArray, seed: int) -> NDArray[np.int64]:
    """The place of each pixel, 0 for the largest value; equal ones in the order of the seed's draws."""
    draws = runtime.uniform_draw(seed, _TIES, values.shape).numpy()
    found = np.empty(values.size, dtype=np.int64)
    found[np.lexsort((draws.ravel(), -values.ravel()))] = np.arange(values.size)
    return found.reshape(values.shape)


def ties(values: NDArray, counts: NDArray) -> tuple[float, NDArray[np.bool_]]:
    """The share of pixels that have an equal, and which of the `counts` strongest sets depend on how ties are broken."""
    ordered = np.sort(values, axis=None)[::-1]
    equal = ordered[1:] == ordered[:-1]
    tied = np.r_[equal, False] | np.r_[False, equal]
    inner = (counts > 0) & (counts < values.size)
    return float(tied.mean()), inner & equal[np.clip(counts - 1, 0, equal.size - 1)]


def substrate_image(case: Case, kind: str) -> Tensor:
    """What stands for 'taken away', (1, 3, H, W) in [0, 1].

    zero            black
    mean, blur      the picture's own mean colour; the picture behind a Gaussian of a tenth of its shorter side
    noise           uniform draws of the seed for every pixel and channel
    dataset mean    what the network's normalisation makes zero: 'zero' in code that works on normalised tensors
    published blur  a Gaussian of 11 x 11 pixels, sigma 5, as in the code of RISE; here the edge is continued outwards
    """

    def compute() -> Tensor:
        image = case.image
        if kind == "noise":
            return runtime.uniform_draw(case.seed, _NOISE, tuple(image.shape)).to(image)
        if kind == "dataset mean":
            mean = case.model.recipe.mean if case.model.network.normalise else None
            return image.new_tensor(mean or (0.0,) * 3).view(1, 3, 1, 1).expand_as(image)
        if kind == "published blur":
            return blurred(image, sigma=5, radius=5)
        return baseline_images(image, "black" if kind == "zero" else kind)

    return case.remembered(("substrate", kind), compute)


def mixed(start: Tensor, end: Tensor, order: Tensor, counts: Tensor) -> Tensor:
    """`start` with the first counts[i] pixels of the order (H, W) taken from `end`, both (1, 3, H, W): (n, 3, H, W)."""
    return torch.where((order < counts.view(-1, 1, 1))[:, None], end, start)
