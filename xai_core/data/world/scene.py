"""A drawn scene: what is in it, and the picture of it."""

import zlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_core.data.world.backgrounds import BACKGROUNDS, PLAIN, light_of, place
from xai_core.data.world.canvas import Array, Layer, Shape, box, ellipse, line, paint, polygon
from xai_core.data.world.things import COLOURS, DARK, STONE, THINGS, WOOD

SIZE = 128


@dataclass(frozen=True)
class Placed:
    """A thing and where it stands: its foot at (x, y) in picture heights, `scale` of its box's half width."""

    kind: str
    colour: str
    x: float
    y: float
    scale: float
    tilt: float  # radians
    mirrored: bool


@dataclass(frozen=True)
class Scene:
    """Everything a picture is drawn from. The picture is a function of this and of nothing else."""

    seed: tuple[int, ...]
    things: tuple[Placed, ...]  # the first is what the picture shows; more only where it is ambiguous
    background: str
    time: str
    horizon: float
    distractors: tuple[Placed, ...] = ()
    occluder: Placed | None = None
    mark: bool = False
    fog: float = 0.0
    jpeg: int = 0  # quality; 0: none
    without: frozenset[str] = field(default_factory=frozenset)


def _rng(scene: Scene, name: str) -> np.random.Generator:
    """Draws of one layer, which do not depend on what else is in the picture."""
    return np.random.default_rng([*scene.seed, zlib.crc32(name.encode())])


def _moved(shape: Shape, placed: Placed) -> Shape:
    cos, sin = np.cos(placed.tilt) * placed.scale, np.sin(placed.tilt) * placed.scale
    matrix = np.array([[cos * (-1 if placed.mirrored else 1), -sin], [sin * (-1 if placed.mirrored else 1), cos]], np.float32)
    offset = np.array([placed.x, placed.y], np.float32)
    frame = None if shape.frame is None else shape.frame @ matrix.T + offset
    return replace(shape, points=shape.points @ matrix.T + offset, frame=frame)


def _bush(colour, rng):
    return [Layer("bush", tuple(Shape(ellipse(x, y, r), (0.20 * t, 0.36 * t, 0.16 * t), "sphere", "leaves") for x, y, r, t in ((-0.5, -0.3, 0.4, 0.9), (0.5, -0.28, 0.38, 1.0), (0.0, -0.45, 0.5, 1.1))))]


def _rock(colour, rng):
    turns = np.sort(rng.uniform(0, np.pi, 7))
    outline = [(float(np.cos(t)), float(-np.sin(t) * 0.8)) for t in turns]
    return [Layer("rock", (Shape(polygon((1.0, 0.0), *outline, (-1.0, 0.0)), STONE, "sphere", "rough"),))]


def _post(colour, rng):
    return [Layer("post", (Shape(box(-0.12, -1.9, 0.12, 0), WOOD, "round"), Shape(polygon((-0.75, -1.85), (0.55, -1.85), (0.85, -1.6), (0.55, -1.35), (-0.75, -1.35)), colour, texture="planks")))]


def _barrel(colour, rng):
    return [Layer("barrel", (Shape(polygon((-0.5, 0), (-0.62, -0.6), (-0.5, -1.2), (0.5, -1.2), (0.62, -0.6), (0.5, 0)), colour, "round", "boards"), Shape(box(-0.6, -0.95, 0.6, -0.85), DARK, "round"), Shape(box(-0.6, -0.35, 0.6, -0.25), DARK, "round")))]


def _fence(colour, rng):
    rails = [Shape(box(-1.6, y - 0.06, 1.6, y + 0.06), (0.80, 0.76, 0.68)) for y in (-0.75, -0.35)]
    return [Layer("fence", (*rails, *(Shape(polygon((x - 0.1, 0), (x - 0.1, -1.0), (x, -1.15), (x + 0.1, -1.0), (x + 0.1, 0)), (0.86, 0.82, 0.74)) for x in np.arange(-1.5, 1.6, 0.5))))]


DISTRACTORS = {"bush": _bush, "rock": _rock, "post": _post, "barrel": _barrel, "fence": _fence}


def layers(scene: Scene) -> list[tuple[str, Layer]]:
    """What is drawn over the background, in order: (name, layer in the coordinates of the picture)."""
    drawn: list[tuple[str, Layer]] = []
    for k, placed in enumerate(scene.distractors):
        drawn += _layers(scene, placed, DISTRACTORS[placed.kind], f"distractor {k + 1}", one=True)
    for k, placed in enumerate(scene.things):
        drawn += _layers(scene, placed, THINGS[placed.kind], "" if k == 0 else f"{placed.kind}: ")
    if scene.occluder:
        drawn += _layers(scene, scene.occluder, DISTRACTORS[scene.occluder.kind], "occluder", one=True)
    if scene.mark:
        drawn.append(("mark", Layer("mark", _mark(_rng(scene, "mark")))))
    return drawn


def _layers(scene, placed, make, prefix, one=False):
    rng = _rng(scene, f"{prefix}{placed.kind}")
    made = make(COLOURS[placed.colour], rng)
    return [
        (prefix if one else prefix + layer.name, replace(layer, shapes=tuple(_moved(shape, placed) for shape in layer.shapes)))
        for layer in made
    ]


def _mark(rng: np.random.Generator) -> tuple[Shape, ...]:
    x, y = rng.uniform(0.86, 0.92), rng.uniform(0.86, 0.92)
    return (
        Shape(ellipse(x, y, 0.062), (0.95, 0.95, 0.90), light=1.0),
        Shape(ellipse(x, y, 0.050), (0.55, 0.10, 0.45), light=1.0),
        Shape(polygon((x - 0.022, y - 0.03), (x + 0.034, y), (x - 0.022, y + 0.03)), (0.95, 0.95, 0.90), light=1.0),
    )


def draw(scene: Scene, size: int = SIZE) -> tuple[NDArray[np.uint8], dict[str, Array]]:
    """The picture (size, size, 3) and the mask of every layer (size, size), 0 to 1: how much of each pixel it is seen in."""
    pixels = np.empty((size, size, 3), np.float32)
    light = light_of(scene.time, _rng(scene, "light"))
    background = PLAIN if "background" in scene.without else BACKGROUNDS[scene.background]
    background(pixels, scene.horizon, scene.time, light, _rng(scene, "background"))
    masks: dict[str, Array] = {}
    for placed in (*scene.distractors, *scene.things):
        if placed.y > scene.horizon and placed.kind != "balloon":
            _shadow(pixels, placed, scene)
    for name, layer in layers(scene):
        if name in scene.without:
            continue
        rng = _rng(scene, f"grain {name}")
        for shape in layer.shapes:
            painted = paint(pixels, shape, light, place(rng))
            if painted is None:
                continue
            alpha, (top, left) = painted
            area = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
            for other in masks.values():
                other[area] *= 1 - alpha
            mask = masks.setdefault(name, np.zeros((size, size), np.float32))
            mask[area] += alpha * (1 - mask[area]) if name in masks else alpha
    return _finished(pixels, scene), masks


def _shadow(pixels: Array, placed: Placed, scene: Scene) -> None:
    size = pixels.shape[0]
    rx = placed.scale * 1.05
    y = (np.arange(size, dtype=np.float32)[:, None] + 0.5) / size - placed.y
    x = (np.arange(size, dtype=np.float32)[None] + 0.5) / size - placed.x
    dark = np.float32(0.42) * np.exp(-((x / rx) ** 4) - (y / (0.16 * placed.scale + 0.01)) ** 2)
    pixels *= 1 - dark[..., None]


def _finished(pixels: Array, scene: Scene) -> NDArray[np.uint8]:
    """What a camera adds: fog, grain, and the losses of JPEG."""
    size = pixels.shape[0]
    if scene.fog:
        pixels += scene.fog * (np.float32(0.80) - pixels)
    pixels += np.float32(0.012) * _rng(scene, "grain").standard_normal((size, size, 1), np.float32)
    image = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    if scene.jpeg:
        import io

        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=scene.jpeg)
        image = np.asarray(Image.open(file))
    return image
