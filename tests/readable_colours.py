"""Contrast and difference of colours, as people see them: also people who lack one kind of cone."""

from collections.abc import Sequence

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

# Linear RGB as it is, and as seen where one kind of cone lacks: Machado, Oliveira and Fernandes 2009, severity 1.
WAYS = {
    "everybody": np.eye(3),
    "protanomaly": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranomaly": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanomaly": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
APART = 10.0  # CIEDE2000: colours with a meaning of their own differ by this much for everybody; 2.3 are just noticeable
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def contrast(first: str, second: str) -> float:
    """The contrast of WCAG 2.2 between two colours such as "#0072b2", from 1 to 21."""
    dark, light = sorted(float((TO_XYZ @ _linear([colour])[0])[1]) for colour in (first, second))
    return (light + 0.05) / (dark + 0.05)


def seen(colours: Sequence[str], way: str) -> np.ndarray:
    """Colours such as "#0072b2" in CIELAB, as they look to people with this way of seeing: (n, 3)."""
    linear = np.clip(_linear(colours) @ WAYS[way].T, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def difference(first: str, second: str) -> float:
    """The smallest difference of two colours (CIEDE2000) over everybody's way of seeing."""
    return min(float(deltaE_ciede2000(*seen([first, second], way))) for way in WAYS)


def _linear(colours: Sequence[str]) -> np.ndarray:
    values = np.array([[int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] for colour in colours])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def blended(colour: str, page: str, opacity: float) -> str:
    """A colour that lets the page shine through."""
    both = [[int(one[place : place + 2], 16) for place in (1, 3, 5)] for one in (colour, page)]
    return "#" + "".join(f"{round(opacity * above + (1 - opacity) * below):02x}" for above, below in zip(*both, strict=True))
