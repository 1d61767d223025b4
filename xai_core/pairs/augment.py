"""Augmentations of contrastive training: transforms of pictures (n, 3, H, W), and random views of a picture.

A transform takes pictures, a strength in [0, 1] (1 is the strongest that training uses) and a seed; equal seeds give equal
results. The operations are torchvision's. A view depends on (picture, augmentation, seed, number) alone.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core import torchvision_compat
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.explanation.heatmaps import size_of

BLUR_KERNEL, BLUR_SIGMA = 11, 5.0
Box = tuple[float, float, float, float]


@cache
def _torchvision() -> Any:
    """torchvision's operations, imported when a picture is first changed: the import takes more than a second."""
    torchvision_compat.ensure_importable()
    from torchvision.transforms import functional

    return functional


def blurred(pictures: Tensor, sigma: float = BLUR_SIGMA) -> Tensor:
    """Pictures (..., H, W) blurred by a Gaussian of 11 pixels (fewer for smaller pictures), with mirrored edges."""
    kernel = min(BLUR_KERNEL, *(2 * side - 1 for side in pictures.shape[-2:]))
    result: Tensor = _torchvision().gaussian_blur(pictures, [kernel, kernel], [sigma, sigma])
    return result


def _jitter(pictures: Tensor, strength: float, seed: int) -> Tensor:
    """Brightness, contrast and saturation changed by up to 0.8 and hue by up to 0.2, as in SimCLR, times the strength."""
    draw = np.random.default_rng(seed)
    brightness, contrast, saturation = (max(0.0, 1 + 0.8 * strength * draw.uniform(-1, 1)) for _ in range(3))
    tv = _torchvision()
    pictures = tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(pictures, brightness), contrast), saturation)
    jittered: Tensor = tv.adjust_hue(pictures.clamp(0, 1), 0.2 * strength * draw.uniform(-1, 1))
    return jittered


def _blur(pictures: Tensor, strength: float, seed: int) -> Tensor:
    return blurred(pictures, BLUR_SIGMA * strength) if strength else pictures


def _grey(pictures: Tensor, strength: float, seed: int) -> Tensor:
    return torch.lerp(pictures, _torchvision().rgb_to_grayscale(pictures, 3), strength)


def _solarise(pictures: Tensor, strength: float, seed: int) -> Tensor:
    """Invert values above a threshold: 1 (no change) at strength 0, falling to 0.5, as in training, at strength 1."""
    return _torchvision().solarize(pictures, 1 - 0.5 * strength) if strength else pictures


def _combined(pictures: Tensor, strength: float, seed: int) -> Tensor:
    """Colour jitter, then grey and blur, at half their strength each."""
    return _blur(_grey(_jitter(pictures, strength, seed), strength / 2, seed), strength / 2, seed)


TRANSFORMS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "colour jitter": _jitter,
    "blur": _blur,
    "greyscale": _grey,
    "solarise": _solarise,
    "combined": _combined,
}


def transformed(pictures: Tensor, name: str, seed: int = 0, strength: float = 1.0) -> Tensor:
    """Pictures (n, 3, H, W) in [0, 1] after one transform. Raises UnknownName."""
    if name not in TRANSFORMS:
        raise UnknownName("transform", name, TRANSFORMS)
    return TRANSFORMS[name](pictures, strength, seed).clamp(0, 1)


@dataclass(frozen=True)
class Augmentation:
    """The random changes of a view, in this order; strengths are in [0, 1], 0 switches a transform off.

    crop        smallest area of a random crop, as a share of the picture; 1 is no crop. Aspect 3/4 to 4/3, as in training
    flip        whether half of the views are mirrored left to right
    jitter, greyscale, blur, solarise    strengths of these transforms, each applied with its probability in SimCLR or BYOL
    always      whether each transform with a strength is applied to every view

    Raises BadRequest for values out of range.
    """

    crop: float = 0.2
    flip: bool = True
    jitter: float = 0.5
    greyscale: float = 1.0
    blur: float = 0.4
    solarise: float = 0.0
    always: bool = False

    def __post_init__(self) -> None:
        if not 0.01 <= self.crop <= 1 or not all(0 <= getattr(self, name) <= 1 for name, _ in _CHANCES.values()):
            raise BadRequest("An augmentation's crop must be from 0.01 to 1, and its strengths from 0 to 1.")

    @property
    def key(self) -> str:
        return " ".join(f"{name} {value}" for name, value in asdict(self).items())


_CHANCES = {  # transform: the name of its strength in an Augmentation, its probability in training
    "colour jitter": ("jitter", 0.8),
    "greyscale": ("greyscale", 0.2),
    "blur": ("blur", 0.5),
    "solarise": ("solarise", 0.2),
}


class AugmentedView(NamedTuple):
    """A random view of a picture.

    pixels      (3, H, W) in [0, 1]
    box         the part of the picture that it shows, (left, top, right, bottom) in the picture's pixels, before mirroring
    mirrored    whether it is mirrored left to right
    transforms  the names of the transforms that were applied
    """

    pixels: Tensor
    box: Box
    mirrored: bool
    transforms: tuple[str, ...]


def draw_view(
    picture: Tensor, recipe: Augmentation, seed: int, number: int, size: tuple[int, int] | None = None
) -> AugmentedView:
    """View `number` of seed `seed` of a picture (3, H, W) in [0, 1], at (height, width) `size` (None: the picture's)."""
    draw = np.random.default_rng((seed, number))
    left, top, right, bottom = _crop(draw, size_of(picture), recipe.crop)
    box = (float(left), float(top), float(right), float(bottom))
    mirrored = bool(recipe.flip and draw.random() < 0.5)
    pixels = cut_out(picture, box, mirrored, size or size_of(picture))[None]
    transforms = []
    for name, (field, chance) in _CHANCES.items():
        chosen, transform_seed = draw.random() < chance, int(draw.integers(2**31))
        strength = getattr(recipe, field)
        if strength and (chosen or recipe.always):
            pixels = TRANSFORMS[name](pixels, strength, transform_seed).clamp(0, 1)
            transforms.append(name)
    return AugmentedView(pixels[0], box, mirrored, tuple(transforms))


def cut_out(planes: Tensor, box: Box, mirrored: bool, size: tuple[int, int]) -> Tensor:
    """A view without its colour changes: the box, in whole pixels, of planes (n, H, W) in [0, 1], at (height, width)."""
    left, top, right, bottom = (int(edge) for edge in box)
    part = planes[None, :, top:bottom, left:right]
    shown = F.interpolate(part, size, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
    return shown.flip(-1) if mirrored else shown


def draw_views(picture: Tensor, recipe: Augmentation, seed: int, count: int) -> Tensor:
    """Views number 0 ... count - 1 of a picture (3, H, W), as (count, 3, H, W)."""
    return torch.stack([draw_view(picture, recipe, seed, number).pixels for number in range(count)])


def _crop(draw: np.random.Generator, size: tuple[int, int], smallest: float) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) as by RandomResizedCrop: area uniform from `smallest` to 1, aspect log-uniform from 3/4 to
    4/3; the whole picture where ten tries give no crop that fits."""
    height, width = size
    for _ in range(10 if smallest < 1 else 0):
        area = draw.uniform(smallest, 1) * height * width
        aspect = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3)))
        across, down = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(draw.integers(width - across + 1)), int(draw.integers(height - down + 1))
            return left, top, left + across, top + down
    return 0, 0, width, height
