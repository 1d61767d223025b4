"""How a region of a picture is hidden from a network: by the picture's blur, by its mean colour, or by inpainting."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from xai_core.core.errors import UnknownName
from xai_core.core.options import Choice
from xai_core.data.preprocessing import baseline_images
from xai_core.metrics.faithfulness.imputation import imputed

HIDINGS = ("blur", "mean", "inpainted")
Hiding = Annotated[
    str,
    Choice(HIDINGS),
    "what a hidden region shows: the picture's blur, its mean colour, or an estimate from the pixels around it",
]
Hider = Callable[[Tensor], Tensor]


def hider(image: Tensor, hiding: str) -> Hider:
    """A function from regions (n, H, W), bool, to pictures (n, 3, H, W) like `image` (1, 3, H, W) with these hidden.

    blur, mean    the picture after a Gaussian of a tenth of its shorter side; its mean colour
    inpainted     estimated from the pixels around the region (ROAD's linear imputation); a picture that is hidden as a whole
                  has its mean colour

    Raises UnknownName for another hiding.
    """
    if hiding not in HIDINGS:
        raise UnknownName("hiding", hiding, HIDINGS)
    if hiding == "inpainted":
        return partial(_inpainted, image)
    return partial(_covered, image, baseline_images(image, hiding))


def _covered(image: Tensor, cover: Tensor, regions: Tensor) -> Tensor:
    return torch.where(regions.to(image.device)[:, None], cover, image)


def _inpainted(image: Tensor, regions: Tensor) -> Tensor:
    whole = regions.flatten(1).all(1)
    pictures = baseline_images(image, "mean").repeat(len(regions), 1, 1, 1)
    if not whole.all():
        pictures[~whole.to(image.device)] = imputed(image, regions[~whole].cpu().numpy())
    return pictures
