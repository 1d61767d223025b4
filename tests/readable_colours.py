"""Contrast and difference of colours, as people see them: also people who lack one kind of cone."""

import numpy as np

EVERYBODY = np.eye(3)
# Linear RGB as seen without the cones for green, or for red (Viénot, Brettel and Mollon 1999).
NO_GREEN = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
NO_RED = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def contrast(first: str, second: str) -> float:
    """The contrast of WCAG 2.2 between two colours such as "#0072b2", from 1 to 21."""
    dark, light = sorted(float((TO_XYZ @ _linear(colour))[1]) for colour in (first, second))
    return (light + 0.05) / (dark + 0.05)


def difference(first: str, second: str) -> float:
    """The smallest distance of two colours in CIELAB, over everybody's way of seeing."""
    ways = EVERYBODY, NO_GREEN, NO_RED
    return min(float(np.linalg.norm(_lab(first, way) - _lab(second, way))) for way in ways)


def _linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _lab(colour: str, way: np.ndarray) -> np.ndarray:
    ratios = TO_XYZ @ np.clip(way @ _linear(colour), 0, 1) / WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def blended(colour: str, page: str, opacity: float) -> str:
    """A colour that lets the page shine through."""
    both = [[int(one[place : place + 2], 16) for place in (1, 3, 5)] for one in (colour, page)]
    return "#" + "".join(f"{round(opacity * above + (1 - opacity) * below):02x}" for above, below in zip(*both, strict=True))
