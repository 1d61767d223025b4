"""Anti-aliased polygons with light and texture: what every part of a drawn picture is made of.

Coordinates of pictures are in units of the picture's height, x to the right, y down, so that a scene can be drawn at any
size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.float32]
Colour = tuple[float, float, float]

OVERSAMPLING = 4  # mask pixels along each side of a pixel
TILE = 512  # pixels along a side of a tile of noise
TILE_SEED = 20_413


@dataclass(frozen=True)
class Shape:
    """A closed polygon (n, 2) of one colour, in the coordinates of its thing, or k of them with n corners each (k, n, 2).

    `shading`: "flat"; "round" is a cylinder that stands upright, "sphere" a ball, "lying" a cylinder on its side.
    `texture` is one of TEXTURES. `light` above 0 makes the shape shine by night, as a window does.
    """

    points: Array
    colour: Colour
    shading: str = "flat"
    texture: str = "plain"
    light: float = 0.0
    frame: Array | None = None  # two corners that shading and texture refer to; by default those of the shape itself


@dataclass(frozen=True)
class Layer:
    """Shapes that are drawn together under one name, in the coordinates of the picture."""

    name: str
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Light:
    """Where light comes from, and what it does to colours."""

    direction: float  # -1: from the left, 1: from the right
    tint: Colour
    strength: float  # of shadows on round things, 0 to 1
    night: bool


@lru_cache(maxsize=8)
def noise(roughness: float = 1.0, stretch: int = 1) -> Array:
    """A seamless tile of noise, mean 0, standard deviation 1, whose power falls as frequency ** (2 x `roughness`).

    With `stretch` its spots are that many times as wide as high.
    """
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE) * stretch, np.fft.fftfreq(TILE)))
    frequencies[0, 0] = 1
    white = np.random.default_rng([TILE_SEED, stretch]).standard_normal((TILE, TILE))
    spectrum = np.fft.fft2(white) / np.maximum(frequencies, 2 / TILE) ** roughness
    spectrum[0, 0] = 0
    tile = np.fft.ifft2(spectrum).real
    scaled: Array = (tile / tile.std()).astype(np.float32)
    return scaled


def patch(tile: Array, height: int, width: int, at: tuple[int, int]) -> Array:
    """height x width values of a tile from `at` on; the tile repeats beyond its edges."""
    top, left = at[0] % TILE, at[1] % TILE
    if top + height <= TILE and left + width <= TILE:
        return tile[top : top + height, left : left + width]
    return np.take(np.take(tile, range(top, top + height), 0, mode="wrap"), range(left, left + width), 1, mode="wrap")


def polygon(*points: tuple[float, float]) -> Array:
    return np.array(points, np.float32)


def box(left: float, top: float, right: float, bottom: float) -> Array:
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(x: float, y: float, rx: float, ry: float | None = None, start: float = 0.0, end: float = 1.0) -> Array:
    """An ellipse, or the part of it between two turns (0 is right, 0.25 is down)."""
    turns = np.linspace(start, end, 33, dtype=np.float32) * 2 * np.pi
    return np.stack([x + rx * np.cos(turns), y + (rx if ry is None else ry) * np.sin(turns)], 1).astype(np.float32)


def line(points: Sequence[tuple[float, float]], width: float) -> Array:
    """A polyline as a polygon of that width."""
    path = np.array(points, np.float32)
    along = np.gradient(path, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across *= width / 2 / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    return np.concatenate([path + across, (path - across)[::-1]]).astype(np.float32)


def curve(*points: tuple[float, float], count: int = 16) -> list[tuple[float, float]]:
    """A Bézier curve through the first and the last point."""
    t = np.linspace(0, 1, count)[:, None]
    rows = np.array(points, float)[:, None]
    while len(rows) > 1:
        rows = rows[:-1] * (1 - t) + rows[1:] * t
    return [(float(x), float(y)) for x, y in rows[0]]


def _bricks(u: Array, v: Array, scale: float) -> Array:
    row = np.floor(v * 9 * scale)
    joint = np.minimum(np.abs((v * 9 * scale) % 1 - 0.5), np.abs((u * 5 * scale + 0.5 * (row % 2)) % 1 - 0.5))
    bricks: Array = (1 - 0.22 * (joint > 0.40)).astype(np.float32)
    return bricks


def _planks(u: Array, v: Array, scale: float) -> Array:
    return (1 - 0.18 * ((v * 7 * scale) % 1 > 0.8) + 0 * u).astype(np.float32)


def _boards(u: Array, v: Array, scale: float) -> Array:
    return (1 - 0.18 * ((u * 7 * scale) % 1 > 0.8) + 0 * v).astype(np.float32)


def _gores(u: Array, v: Array, scale: float) -> Array:
    """Seams of a balloon or a tent: closer together where the surface turns away."""
    angle = np.arcsin(np.clip(2 * u - 1, -1, 1)) / np.pi + 0.5
    return (1 - 0.16 * ((angle * 6 * scale) % 1 > 0.86) + 0 * v).astype(np.float32)


def _tiles(u: Array, v: Array, scale: float) -> Array:
    return (0.92 + 0.10 * ((v * 8 * scale) % 1) - 0.06 * (((u * 12 * scale) % 1) > 0.75)).astype(np.float32)


def _plain(u: Array, v: Array, scale: float) -> Array:
    return np.float32(1) + 0 * u * v


Texture = Callable[[Array, Array, float], Array]
TEXTURES: dict[str, tuple[Texture, float]] = {  # pattern, and how rough the material is
    "plain": (_plain, 0.025),
    "rough": (_plain, 0.06),
    "leaves": (_plain, 0.16),
    "bricks": (_bricks, 0.05),
    "planks": (_planks, 0.05),
    "boards": (_boards, 0.05),
    "gores": (_gores, 0.02),
    "tiles": (_tiles, 0.05),
}


def coverage(points: Array, size: tuple[int, int]) -> tuple[Array, tuple[int, int]] | None:
    """How much of each pixel polygons cover, 0 to 1, in the box around them, and where that box begins (top, left).

    `points` are in pixels. None where nothing of it lies in the picture of `size` (height, width).
    """
    corners = points.reshape(-1, 2)
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int), (size[1], size[0]))
    width, height = int(high[0] - low[0]), int(high[1] - low[1])
    if width <= 0 or height <= 0:
        return None
    image = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    pen = ImageDraw.Draw(image)
    for outline in ((points - low) * OVERSAMPLING - 0.5).reshape(-1, points.shape[-2] * 2).tolist():
        pen.polygon(outline, fill=255)
    covered: Array = np.asarray(image.reduce(OVERSAMPLING), np.float32) / np.float32(255)
    return covered, (int(low[1]), int(low[0]))


def paint(pixels: Array, shape: Shape, light: Light, grain: tuple[int, int]) -> tuple[Array, tuple[int, int]] | None:
    """Paint a shape over pixels (h, w, 3), values 0 to 1, in place. Returns its coverage and where that begins.

    `grain` is where the material's texture begins in the tile of noise.
    """
    height, width = pixels.shape[:2]
    points = shape.points * height
    covered = coverage(points, (height, width))
    if covered is None:
        return None
    alpha, (top, left) = covered
    frame = points.reshape(-1, 2) if shape.frame is None else shape.frame * height
    low, high = frame.min(0), frame.max(0)
    rows, columns = alpha.shape
    x = (np.arange(left, left + columns, dtype=np.float32) + 0.5 - low[0]) / max(float(high[0] - low[0]), 1)
    y = ((np.arange(top, top + rows, dtype=np.float32) + 0.5 - low[1]) / max(float(high[1] - low[1]), 1))[:, None]
    u, v = x[None], y
    pattern, roughness = TEXTURES[shape.texture]
    tone = _shade(shape.shading, u, v, light)
    if shape.texture not in ("plain", "rough", "leaves"):
        tone = tone * pattern(u, v, 1.0)
    tone = tone * (1 + roughness * patch(noise(0.8), rows, columns, grain))
    colour = np.array(shape.colour, np.float32)
    lit = colour * np.array(light.tint, np.float32)
    if light.night and shape.light:
        lit = lit * (1 - shape.light) + colour * shape.light * 1.15
    area = pixels[top : top + rows, left : left + columns]
    area += alpha[..., None] * (tone[..., None] * lit - area)
    return alpha, (top, left)


def _shade(shading: str, u: Array, v: Array, light: Light) -> Array:
    """Brightness by the angle to the light, about 1 where it is met."""
    across, down = np.clip(2 * u - 1, -1, 1), np.clip(2 * v - 1, -1, 1)
    strength = np.float32(light.strength)
    tone: Array
    if shading == "flat":
        tone = 1 + strength * np.float32(0.08) * (light.direction * across - down)
    elif shading == "round":
        facing = across * light.direction * np.float32(0.75) + np.sqrt(1 - across * across) * np.float32(0.66)
        tone = 1 + strength * (facing - np.float32(0.75)) * np.float32(0.75) + 0 * v
    elif shading == "lying":
        facing = -down * np.float32(0.8) + np.sqrt(1 - down * down) * np.float32(0.6)
        tone = 1 + strength * (facing - np.float32(0.75)) * np.float32(0.6) + 0 * u
    else:
        depth = np.sqrt(np.maximum(1 - across**2 - down**2, 0))
        facing = across * light.direction * np.float32(0.6) - down * np.float32(0.5) + depth * np.float32(0.6)
        tone = 1 + strength * (facing - np.float32(0.65)) * np.float32(0.7)
    return tone
