"""Photographs that come with scikit-image: something to explain without a download."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from xai_core.core.errors import UnknownName


@dataclass(frozen=True)
class Sample:
    """One photograph: its name on the page, the ImageNet class that is right for it (None where there is none)."""

    title: str
    true_class: int | None
    remark: str


SAMPLES = {
    "astronaut": Sample("Astronaut", None, "ImageNet has no class for a person, so every answer is wrong."),
    "chelsea": Sample("Chelsea the cat", 281, "A tabby; tiger cat and Egyptian cat are close rivals."),
    "coffee": Sample("Coffee", 967, "Espresso in a cup: two classes are right, but the label names one."),
    "rocket": Sample("Rocket", 657, "A launch pad at night; missile and projectile are both classes."),
    "camera": Sample("Cameraman", 872, "Greyscale; the tripod is one of many objects."),
    "stereo_motorcycle": Sample("Motorcycle", 670, "ImageNet knows mopeds and scooters, not motorcycles."),
    "retina": Sample("Retina", None, "A medical picture, far from anything in ImageNet."),
    "hubble_deep_field": Sample("Hubble deep field", None, "Galaxies: ImageNet has no class for them either."),
}


def load_sample(name: str) -> Image.Image:
    """The photograph as an RGB picture. Raises UnknownName."""
    if name not in SAMPLES:
        raise UnknownName("sample picture", name, SAMPLES)
    import skimage.data  # a heavy import, needed only by those who use the samples

    array = getattr(skimage.data, name)()
    if isinstance(array, tuple):  # a stereo pair: left, right, disparity
        array = array[0]
    return Image.fromarray(np.asarray(array)).convert("RGB")
