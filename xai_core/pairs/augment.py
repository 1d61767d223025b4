"""Augmentation of contrastive training: transforms of tensors (n, 3, H, W) with a seed, and views cut from a picture.

A transform takes pictures and a strength in [0, 1] (1 is the most that training uses); it is torchvision's, and the same
function for equal seeds. A view is a function of (picture, augmentation, seed, number): drawn again, it is the same.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from xai_core.core import torchvision_compat
from xai_core.core.errors import UnknownName

torchvision_compat.ensure_importable()

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torchvision.transforms import functional as tv

from xai_core.core.errors import BadRequest

BLUR_KERNEL, BLUR_SIGMA = 11, 5.0


def blurred(pictures: Tensor, sigma: float = BLUR_SIGMA) -> Tensor:
    """(..., H, W) after a Gaussian of 11 pixels (or as far as a smaller picture allows), the edge mirrored."""
    kernel = min(BLUR_KERNEL, *(2 * side - 1 for side in pictures.shape[-2:]))
    return tv.gaussian_blur(pictures, [kernel, kernel], [sigma, sigma])


def _jitter(pictures: Tensor, strength: float, seed: int) -> Tensor:
    """Brightness, contrast, saturation by up to 0.8 and hue by up to 0.2, as SimCLR; scaled with the strength."""
    draw = np.random.default_rng(seed)
    brightness, contrast, saturation = (max(0.0, 1 + 0.8 * strength * draw.uniform(-1, 1)) for _ in range(3))
    found = tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(pictures, brightness), contrast), saturation)
    return tv.adjust_hue(found.clamp(0, 1), 0.2 * strength * draw.uniform(-1, 1))


def _blur(pictures: Tensor, strength: float, seed: int) -> Tensor:
    return blurred(pictures, BLUR_SIGMA * strength) if strength else pictures


def _grey(pictures: Tensor, strength: float, seed: int) -> Tensor:
    return torch.lerp(pictures, tv.rgb_to_grayscale(pictures, 3), strength)


def _solarise(pictures: Tensor, strength: float, seed: int) -> Tensor:
    """What is brighter than a threshold is inverted: from white (nothing) to middle grey, as in training, at strength 1."""
    return tv.solarize(pictures, 1 - 0.5 * strength) if strength else pictures


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


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a view, in this order; strengths in [0, 1], 0 is never.

    crop        the smallest area of a random crop, as a share of the picture; 1 is no crop. Aspect 3/4 to 4/3, as training
    flip        mirrored left to right, half of the time
    jitter, greyscale, blur, solarise    strengths of these transforms; each happens with the probability of SimCLR or BYOL
    always      each transform that has a strength happens to every view, whatever its probability
    """

    crop: float = 0.2
    flip: bool = True
    jitter: float = 0.5
    greyscale: float = 1.0
    blur: float = 0.4
    solarise: float = 0.0
    always: bool = False

    def __post_init__(self):
        if not 0.01 <= self.crop <= 1 or not all(0 <= getattr(self, name) <= 1 for name, _ in _CHANCES.values()):
            raise BadRequest("A recipe's crop is from 0.01 to 1, its strengths from 0 to 1.")

    @property
    def key(self) -> str:
        return " ".join(f"{name} {value}" for name, value in asdict(self).items())


_CHANCES = {  # transform -> (its strength in the recipe, its probability in training)
    "colour jitter": ("jitter", 0.8),
    "greyscale": ("greyscale", 0.2),
    "blur": ("blur", 0.5),
    "solarise": ("solarise", 0.2),
}


class View(NamedTuple):
    """One view: pixels (3, H, W) in [0, 1]; where they lie in the picture, (left, top, right, bottom) in its pixels (the box
    before mirroring); whether they are mirrored; and what else happened."""

    pixels: Tensor
    box: Box
    mirrored: bool
    done: tuple[str, ...]


def draw_view(picture: Tensor, recipe: Augmentation, seed: int, number: int, size: tuple[int, int] | None = None) -> View:
    """View `number` of seed `seed` of a picture (3, H, W) in [0, 1], at (height, width) `size` (None: the picture's)."""
    draw = np.random.default_rng((seed, number))
    box = _crop(draw, picture.shape[1:], recipe.crop)
    left, top, right, bottom = box
    size = size or tuple(picture.shape[1:])
    part = picture[None, :, top:bottom, left:right]
    pixels = F.interpolate(part, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    mirrored = bool(recipe.flip and draw.random() < 0.5)
    if mirrored:
        pixels = pixels.flip(-1)
    done = []
    for name, (strength, chance) in _CHANCES.items():
        happens, within = draw.random() < chance, int(draw.integers(2**31))
        strength = getattr(recipe, strength)
        if strength and (happens or recipe.always):
            pixels = TRANSFORMS[name](pixels, strength, within).clamp(0, 1)
            done.append(name)
    return View(pixels[0], tuple(map(float, box)), mirrored, tuple(done))


def draw_views(picture: Tensor, recipe: Augmentation, seed: int, count: int) -> Tensor:
    """So many views (count, 3, H, W) of a picture."""
    return torch.stack([draw_view(picture, recipe, seed, number).pixels for number in range(count)])


def _crop(draw: np.random.Generator, size: tuple[int, int], smallest: float) -> tuple[int, int, int, int]:
    """As RandomResizedCrop: area uniform from `smallest` to 1, aspect log-uniform from 3/4 to 4/3; ten tries, then all."""
    height, width = size
    for _ in range(10 if smallest < 1 else 0):
        area = draw.uniform(smallest, 1) * height * width
        aspect = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3)))
        across, down = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(draw.integers(width - across + 1)), int(draw.integers(height - down + 1))
            return left, top, left + across, top + down
    return 0, 0, width, height
