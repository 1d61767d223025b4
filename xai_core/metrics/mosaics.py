"""Pictures whose parts are known: four pictures in one, as in the grid pointing game."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.errors import BadRequest
from xai_core.metrics.placing import Box
from xai_core.models.explainable import ExplainableModel, Picture


def mosaic(model: ExplainableModel, images: Sequence[Picture]) -> tuple[Tensor, list[Box]]:
    """Four pictures of different classes as one (3, H, W) in [0, 1] of the network's size, and the box of each in it.

    Ask about the class of one, and measure the energy pointing game with its box: where the evidence should lie is known
    without a box drawn by hand. Source: Böhle et al. 2021, arXiv:2104.00032 (grid pointing game). Deviation: each picture is
    made half as wide and high, so that any network takes the mosaic; theirs is twice the network's size.
    """
    if len(images) != 4:
        raise BadRequest(f"A mosaic is made of four pictures; these are {len(images)}.")
    pixels = [model.prepare(image).pixels for image in images]
    height, width = pixels[0].shape[1:]
    down, across = (0, height // 2, height), (0, width // 2, width)
    whole, boxes = torch.zeros(3, height, width), []
    for place, one in enumerate(pixels):
        row, column = divmod(place, 2)
        (top, bottom), (left, right) = down[row : row + 2], across[column : column + 2]
        half = F.interpolate(one[None].cpu(), (bottom - top, right - left), mode="bilinear", antialias=True)
        whole[:, top:bottom, left:right] = half[0].clamp(0, 1)
        boxes.append((float(left), float(top), float(right), float(bottom)))
    return whole, boxes
