"""From a picture to what a network sees, (3, H, W) in [0, 1], and which part of the picture that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from xai_core.core.cache_key import array_digest, text_digest
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data.image_io import open_picture, to_rgb
from xai_core.data.recipe import Recipe

MAX_RESIZED = 100  # sides; a longer picture (1 x 60,000 pixels) is cut before it is resized, which saves memory
BASELINES = ("black", "white", "grey", "mean", "blur")
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Prepared:
    """One picture as the network sees it.

    `pixels` is (3, H, W) in [0, 1]; `box` the part of the picture it shows, (left, top, right, bottom) in the
    picture's pixels; `size` the picture's (width, height); `digest` is of all three: two pictures
    with the same middle have different digests, because a map lies at different places in them.
    """

    pixels: Tensor
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    digest: str


def prepare(image: Image.Image | Tensor | str | Path | bytes, recipe: Recipe, in_range: bool = True) -> Prepared:
    """A PIL picture by the model's recipe; a float tensor (3, H, W) in [0, 1] as it is. A file is opened first.

    The shorter side is resized and the middle cut out, with the roundings of torchvision: the pixels equal those of its
    Resize and CenterCrop. A PIL picture is not turned by its EXIF data; `open_picture` makes files upright.
    `in_range=False` takes tensors of any range, for a network that normalises nothing.
    """
    if isinstance(image, Tensor):
        return _prepare_tensor(image, in_range)
    image = to_rgb(image) if isinstance(image, Image.Image) else open_picture(image)
    side, shorter, (width, height) = recipe.input_size, recipe.shorter_side, image.size
    across, down = (shorter if recipe.squash else int(shorter * length / min(width, height)) for length in (width, height))
    left, top = round((across - side) / 2), round((down - side) / 2)
    inside = (left, top, left + side, top + side)
    scales = zip(inside, image.size * 2, (across, down) * 2, strict=True)
    x0, y0, x1, y1 = (edge * length / resized for edge, length, resized in scales)
    box = (x0, y0, x1, y1)
    resampling = _RESAMPLING[recipe.interpolation]
    if max(across, down) <= MAX_RESIZED * shorter:
        shown = image.resize((across, down), resampling).crop(inside)
    else:
        shown = image.resize((side, side), resampling, box=box)
    pixels = torch.from_numpy(np.array(shown)).permute(2, 0, 1).float().div_(255)
    digest = text_digest(f"{array_digest(np.asarray(shown))} {box} {image.size}")
    return Prepared(pixels, box, image.size, digest)


def _prepare_tensor(image: Tensor, in_range: bool) -> Prepared:
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0 or not image.is_floating_point():
        raise BadRequest(
            f"An image tensor is float (3, H, W); this one is {str(image.dtype).split('.')[-1]} {tuple(image.shape)}."
        )
    pixels = image.detach().float()
    low, high = (float(value) for value in torch.aminmax(pixels))
    if in_range and not (low >= -1e-6 and high <= 1 + 1e-6):
        raise BadRequest(
            f"An image tensor is in [0, 1]; this one runs from {low:.3g} to {high:.3g}. "
            "Normalisation happens inside the model: pass the picture without it."
        )
    height, width = pixels.shape[1:]
    whole = (0.0, 0.0, float(width), float(height))
    return Prepared(pixels, whole, (width, height), array_digest(pixels.cpu().numpy()))


def stack(prepared: Sequence[Prepared], device: torch.device) -> Tensor:
    """(n, 3, H, W) on the device; raises BadRequest where the sizes differ."""
    sizes = {tuple(one.pixels.shape[1:]) for one in prepared}
    if len(sizes) != 1:
        raise BadRequest(f"Images of one call have one size; these have {sorted(sizes)}.")
    return torch.stack([one.pixels.to(device) for one in prepared])


def baseline_images(images: Tensor, kind: str) -> Tensor:
    """Images without content, (n, 3, H, W) in [0, 1], to compare with or to put in place of parts.

    `black`, `white`, `grey` (0.5) are constants; `mean` is each picture's own mean colour; `blur` the picture after a
    Gaussian of sigma = a tenth of its shorter side, which removes the content and keeps the colours in place.
    """
    constants = {"black": 0.0, "white": 1.0, "grey": 0.5}
    if kind in constants:
        return torch.full_like(images, constants[kind])
    if kind == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    if kind != "blur":
        raise UnknownName("baseline", kind, BASELINES)
    return blurred(images, sigma=min(images.shape[2:]) / 10)


def blurred(images: Tensor, sigma: float, radius: int | None = None) -> Tensor:
    """Pictures (n, C, H, W) after a Gaussian of `sigma` pixels, cut at `radius` (None: three sigma); beyond an edge its
    pixels are repeated."""
    radius = int(3 * sigma) if radius is None else radius
    positions = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(positions**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    flat = images.flatten(0, 1).unsqueeze(1)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return flat.view_as(images)
