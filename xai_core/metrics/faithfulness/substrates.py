"""What is put in the place of pixels that are removed."""

from typing import Annotated

import torch
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Choice
from xai_core.data.preprocessing import baseline_images, blurred
from xai_core.metrics.metric import Case

SUBSTRATES = ("zero", "mean", "blur", "noise", "dataset mean", "published blur")
Substrate = Annotated[
    str,
    Choice(SUBSTRATES),
    "what replaces pixels that are removed: black; the picture's mean colour, its blur, noise; the colour that "
    "normalisation makes zero; or the light blur of RISE",
]
_NOISE = 2  # number of the draw


def substrate_image(case: Case, kind: str) -> Tensor:
    """The image (1, 3, H, W) in [0, 1] from which removed pixels are replaced.

    zero            black
    mean, blur      the picture's own mean colour; the picture blurred with a Gaussian of a tenth of its shorter side
    noise           uniform draws of the seed for every pixel and channel
    dataset mean    the colour that the network's normalisation makes zero: 'zero' in code that works on normalised tensors
    published blur  a Gaussian of 11 x 11 pixels, sigma 5, as in the code of RISE; here the edge is repeated outwards
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

    return case.cached(("substrate", kind), compute)


def replaced(start: Tensor, end: Tensor, order: Tensor, counts: Tensor) -> Tensor:
    """`start` with the first counts[i] pixels of the order (H, W) taken from `end`, both (1, 3, H, W): (n, 3, H, W)."""
    return torch.where((order < counts.view(-1, 1, 1))[:, None], end, start)
