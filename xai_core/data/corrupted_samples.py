"""A labelled dataset that needs no download: the sample photographs that have a right class, unchanged and changed.

People recognise the class after every change, so that another prediction is a real misclassification.
"""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from xai_core.data.datasets import Dataset
from xai_core.data.sample_list import Labelled
from xai_core.data.samples import load_sample

LABELS = {
    "chelsea": "tabby",
    "coffee": "espresso",
    "rocket": "missile",
    "camera": "tripod",
    "stereo_motorcycle": "moped",
}


def _noisy(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 40, (picture.height, picture.width, 1))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def _part(left: float, top: float, right: float, bottom: float) -> Callable[[Image.Image], Image.Image]:
    def change(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        return picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))

    return change


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda picture: picture,
    "mirrored": ImageOps.mirror,
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "dark": lambda picture: ImageEnhance.Brightness(picture).enhance(0.3),
    "bright": lambda picture: ImageEnhance.Brightness(picture).enhance(2.2),
    "pale": lambda picture: ImageEnhance.Contrast(picture).enhance(0.3),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 80)),
    "noisy": _noisy,
    "negative": ImageOps.invert,
    "turned": lambda picture: picture.rotate(90, expand=True),
    "upside down": ImageOps.flip,
    "left half": _part(0, 0, 0.5, 1),
    "right half": _part(0.5, 0, 1, 1),
    "lower half": _part(0, 0.5, 1, 1),
    "close": _part(0.25, 0.25, 0.75, 0.75),
    "far": lambda picture: ImageOps.expand(picture, max(picture.size) // 2, (128, 128, 128)),
}


def changed_picture(name: str, change: str) -> bytes:
    """A sample photograph after one of the changes, as PNG."""
    file = io.BytesIO()
    CHANGES[change](load_sample(name)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def changed_samples() -> Dataset:
    """80 pictures in five classes of ImageNet."""
    pictures = {f"{label}/{name}, {change}.png": (name, change) for name, label in LABELS.items() for change in CHANGES}

    def read(wanted: str) -> bytes:
        return changed_picture(*pictures[wanted])

    samples = tuple(Labelled(name, name.partition("/")[0]) for name in pictures)
    attributes = pd.DataFrame(pictures.values(), index=list(pictures), columns=["photograph", "change"])
    return Dataset(
        "Sample photographs, changed", samples, read, checksum=str, metadata=attributes
    )  # the name determines the picture
