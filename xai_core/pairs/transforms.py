"""What contrastive training does to a picture, as functions of tensors (n, 3, H, W): torchvision's, with a seed.

Each takes pictures and a strength in [0, 1] (1 is what training uses at most), and is the same function for equal seeds.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from xai_core import torchvision_ops
from xai_core.errors import UnknownName

torchvision_ops.ensure_importable()

from torchvision.transforms import functional as tv

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
