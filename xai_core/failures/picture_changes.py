"""Named changes of pictures (n, 3, H, W) in [0, 1], as a network sees them: light, colour, sharpness, place, background.

A change is a pure function of the pictures, its options and a seed; a picture's result does not depend on the others.
Options that change nothing return the pictures as they are. Beyond an edge its pixels are repeated.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from xai_core.core import runtime, torchvision_compat
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.options import Range, check_options
from xai_core.data.preprocessing import blurred
from xai_core.explanation.heatmaps import size_of


def _torchvision() -> Any:
    """torchvision's functions of pictures. Imported when a picture is changed: torchvision imports torch's compiler, which
    takes longer than torch itself, and pages list the changes before they make any."""
    torchvision_compat.ensure_importable()

    from torchvision.transforms import functional

    return functional


def brightness(
    pictures: Tensor, *, factor: Annotated[float, Range(0.1, 3.0, 0.1), "factor of every value; 1 changes nothing"] = 1.5
) -> Tensor:
    """Every value times the factor."""
    return pictures * factor


def contrast(
    pictures: Tensor,
    *,
    factor: Annotated[float, Range(0.0, 3.0, 0.1), "factor of the distances from the mean grey; 1 changes nothing"] = 0.5,
) -> Tensor:
    """Every value's distance from the picture's mean grey, times the factor."""
    mean = _torchvision().rgb_to_grayscale(pictures).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(pictures), pictures, factor)


def hue(
    pictures: Tensor,
    *,
    turn: Annotated[float, Range(-0.5, 0.5, 0.01), "turn of the colour circle, as a share of it; 0 changes nothing"] = 0.1,
) -> Tensor:
    """All colours moved along the colour circle."""
    turned: Tensor = _torchvision().adjust_hue(pictures, turn) if turn else pictures
    return turned


def grey(
    pictures: Tensor, *, share: Annotated[float, Range(0.0, 1.0, 0.05), "how much of the colour is removed"] = 1.0
) -> Tensor:
    """The picture without its colours, or with a part of them."""
    return torch.lerp(pictures, _torchvision().rgb_to_grayscale(pictures, 3), share)


def blur(
    pictures: Tensor,
    *,
    sigma: Annotated[float, Range(0.0, 0.1, 0.005), "width of the Gaussian, as a share of the shorter side"] = 0.01,
) -> Tensor:
    """The picture after a Gaussian."""
    pixels = sigma * min(size_of(pictures))
    return blurred(pictures, pixels, radius=math.ceil(3 * pixels)) if sigma else pictures


def noise(
    pictures: Tensor,
    *,
    deviation: Annotated[float, Range(0.0, 0.5, 0.01), "standard deviation of the noise"] = 0.1,
    seed: int = 0,
) -> Tensor:
    """Normal noise on every value; equal draws for all pictures of one size."""
    return pictures + deviation * runtime.normal_draw(seed, 0, tuple(pictures.shape[1:])).to(pictures)


def jpeg(pictures: Tensor, *, quality: Annotated[int, Range(1, 95), "quality of the JPEG file"] = 20) -> Tensor:
    """The picture written as a JPEG file of this quality and read again."""
    pixels = (pictures.detach().cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return torch.stack([_through_jpeg(picture, quality) for picture in pixels]).to(pictures)


def _through_jpeg(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def rotation(
    pictures: Tensor, *, degrees: Annotated[float, Range(-180.0, 180.0, 1.0), "angle, counter-clockwise"] = 15.0
) -> Tensor:
    """The picture turned about its middle."""
    if not degrees:
        return pictures
    (height, width), angle = size_of(pictures), math.radians(degrees)
    across = [math.cos(angle), -math.sin(angle) * height / width, 0.0]
    down = [math.sin(angle) * width / height, math.cos(angle), 0.0]
    places = F.affine_grid(pictures.new_tensor([[across, down]]).expand(len(pictures), 2, 3), list(pictures.shape), False)
    return F.grid_sample(pictures, places, "bilinear", padding_mode="border", align_corners=False)


def crop(
    pictures: Tensor, *, share: Annotated[float, Range(0.2, 1.0, 0.05), "share of each side that is shown"] = 0.8
) -> Tensor:
    """The middle of the picture, enlarged to its size."""
    height, width = size_of(pictures)
    inside = [max(1, round(share * side)) for side in (height, width)]
    top, left = (height - inside[0]) // 2, (width - inside[1]) // 2
    part = pictures[..., top : top + inside[0], left : left + inside[1]]
    return pictures if part.shape == pictures.shape else F.interpolate(part, (height, width), mode="bilinear")


def shift(
    pictures: Tensor,
    *,
    across: Annotated[float, Range(-0.5, 0.5, 0.05), "shift to the right, as a share of the width"] = 0.1,
    down: Annotated[float, Range(-0.5, 0.5, 0.05), "shift downwards, as a share of the height"] = 0.0,
) -> Tensor:
    """The picture moved by whole pixels."""
    height, width = size_of(pictures)
    rows = (torch.arange(height) - round(down * height)).clamp(0, height - 1).to(pictures.device)
    columns = (torch.arange(width) - round(across * width)).clamp(0, width - 1).to(pictures.device)
    return pictures[..., rows, :][..., columns]


def mirrored(pictures: Tensor) -> Tensor:
    """Left and right exchanged."""
    return pictures.flip(-1)


def background_blurred(
    pictures: Tensor,
    *,
    sigma: Annotated[float, Range(0.0, 0.1, 0.005), "width of the Gaussian, as a share of the shorter side"] = 0.05,
    masks: Tensor | None = None,
) -> Tensor:
    """The picture blurred outside its mask (n, H, W). Colours of the object reach into the background beside it."""
    return _inside(pictures, masks, blur(pictures, sigma=sigma))


def background_swapped(pictures: Tensor, *, masks: Tensor | None = None, backgrounds: Tensor | None = None) -> Tensor:
    """The picture inside its mask (n, H, W), and another one (`backgrounds`, n or 1 of them, each (3, H, W)) outside. All of
    the other picture is seen there, its own object too."""
    if backgrounds is None:
        raise BadRequest("Swapping the background takes another picture for each picture, or one for all.")
    if tuple(backgrounds.shape) not in {tuple(pictures.shape), (1, *pictures.shape[1:])}:
        raise BadRequest(
            f"Backgrounds must be like the pictures, {tuple(pictures.shape)}, or one for all; these are "
            f"{tuple(backgrounds.shape)}."
        )
    return _inside(pictures, masks, backgrounds.to(pictures))


def _inside(pictures: Tensor, masks: Tensor | None, others: Tensor) -> Tensor:
    """The pictures inside their masks, the others outside. Raises BadRequest where masks are missing or do not fit."""
    if masks is None:
        raise BadRequest("A change of the background takes a mask of what stays as it is for each picture.")
    if masks.shape != (wanted := (len(pictures), *size_of(pictures))):
        raise BadRequest(f"Masks must be (pictures, height, width), here {wanted}; these are {tuple(masks.shape)}.")
    return torch.where(masks.to(pictures.device, torch.bool)[:, None], pictures, others)


CHANGES: dict[str, Callable[..., Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "hue": hue,
    "grey": grey,
    "blur": blur,
    "noise": noise,
    "JPEG": jpeg,
    "rotation": rotation,
    "crop": crop,
    "shift": shift,
    "mirrored": mirrored,
    "background blurred": background_blurred,
    "background swapped": background_swapped,
}
# The values of options that change nothing. What is not here (JPEG, mirrored, background swapped) always changes something.
NEUTRAL: dict[str, dict[str, float]] = {
    "brightness": {"factor": 1},
    "contrast": {"factor": 1},
    "hue": {"turn": 0},
    "grey": {"share": 0},
    "blur": {"sigma": 0},
    "noise": {"deviation": 0},
    "rotation": {"degrees": 0},
    "crop": {"share": 1},
    "shift": {"across": 0, "down": 0},
    "background blurred": {"sigma": 0},
}
_SEEDED, _SWAPPED = {"noise"}, {"background swapped"}
_MASKED = {"background blurred"} | _SWAPPED


@dataclass(frozen=True)
class PictureChange:
    """One change by its name and options. Raises UnknownName and BadRequest for what there is not."""

    name: str
    options: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in CHANGES:
            raise UnknownName("change", self.name, CHANGES)
        object.__setattr__(self, "options", check_options(CHANGES[self.name], self.options))

    @property
    def title(self) -> str:
        """The change in words, with all its options."""
        return ", ".join([self.name, *(f"{name} {value:g}" for name, value in self.options.items())])

    @property
    def needs_masks(self) -> bool:
        return self.name in _MASKED

    @property
    def needs_backgrounds(self) -> bool:
        return self.name in _SWAPPED

    def __call__(
        self, pictures: Tensor, *, seed: int = 0, masks: Tensor | None = None, backgrounds: Tensor | None = None
    ) -> Tensor:
        """The pictures (n, 3, H, W) after the change, in [0, 1]. `masks` (n, H, W): what is no background; `backgrounds`
        (n or 1, 3, H, W): what is to be seen around it."""
        needed = ((_SEEDED, "seed", seed), (_MASKED, "masks", masks), (_SWAPPED, "backgrounds", backgrounds))
        further = {name: value for changes, name, value in needed if self.name in changes}
        return CHANGES[self.name](pictures, **self.options, **further).clamp(0, 1)


def changed(
    pictures: Tensor,
    changes: Sequence[PictureChange],
    *,
    seed: int = 0,
    masks: Tensor | None = None,
    backgrounds: Tensor | None = None,
) -> Tensor:
    """The pictures (n, 3, H, W) after all changes, one after the other. Masks and backgrounds stay where they are: changes
    of the background come before those that move the picture."""
    for change in changes:
        pictures = change(pictures, seed=seed, masks=masks, backgrounds=backgrounds)
    return pictures
