"""A drawn scene: what is in it, and the picture of it."""

import io
import zlib
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_core.core.errors import UnknownName
from xai_core.data.world.backgrounds import BACKGROUNDS, PLAIN, light_of, place
from xai_core.data.world.canvas import Array, Colour, Layer, Shape, box, ellipse, paint, polygon
from xai_core.data.world.things import COLOURS, DARK, FORMS, STONE, THINGS, WOOD, Thing

SIZE = 128
BACKGROUND, MARK = "background", "mark"  # names of parts


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
    form: str = ""  # one of FORMS, if the thing does not have the usual form of its class


@dataclass(frozen=True)
class Scene:
    """Everything that a picture is drawn from: equal scenes give equal pictures."""

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
    matrix = np.array(
        [[cos * (-1 if placed.mirrored else 1), -sin], [sin * (-1 if placed.mirrored else 1), cos]], np.float32
    )
    offset = np.array([placed.x, placed.y], np.float32)
    frame = None if shape.frame is None else shape.frame @ matrix.T + offset
    return replace(shape, points=shape.points @ matrix.T + offset, frame=frame)


def _bush(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    balls = ((-0.5, -0.3, 0.4, 0.9), (0.5, -0.28, 0.38, 1.0), (0.0, -0.45, 0.5, 1.1))
    leaves = [
        Shape(ellipse(x, y, r), (0.20 * tone, 0.36 * tone, 0.16 * tone), "sphere", "leaves") for x, y, r, tone in balls
    ]
    return [Layer("bush", tuple(leaves))]


def _rock(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    turns = np.sort(rng.uniform(0, np.pi, 7))
    outline = [(float(np.cos(turn)), float(-np.sin(turn) * 0.8)) for turn in turns]
    return [Layer("rock", (Shape(polygon((1.0, 0.0), *outline, (-1.0, 0.0)), STONE, "sphere", "rough"),))]


def _post(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    board = polygon((-0.75, -1.85), (0.55, -1.85), (0.85, -1.6), (0.55, -1.35), (-0.75, -1.35))
    return [Layer("post", (Shape(box(-0.12, -1.9, 0.12, 0), WOOD, "round"), Shape(board, colour, texture="planks")))]


def _barrel(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    body = polygon((-0.5, 0), (-0.62, -0.6), (-0.5, -1.2), (0.5, -1.2), (0.62, -0.6), (0.5, 0))
    hoops = [Shape(box(-0.6, top, 0.6, top + 0.1), DARK, "round") for top in (-0.95, -0.35)]
    return [Layer("barrel", (Shape(body, colour, "round", "boards"), *hoops))]


def _fence(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    rails = [Shape(box(-1.6, y - 0.06, 1.6, y + 0.06), (0.80, 0.76, 0.68)) for y in (-0.75, -0.35)]
    pales = [
        Shape(polygon((x - 0.1, 0), (x - 0.1, -1.0), (x, -1.15), (x + 0.1, -1.0), (x + 0.1, 0)), (0.86, 0.82, 0.74))
        for x in np.arange(-1.5, 1.6, 0.5).tolist()
    ]
    return [Layer("fence", (*rails, *pales))]


DISTRACTORS = {"bush": _bush, "rock": _rock, "post": _post, "barrel": _barrel, "fence": _fence}


def parts(scene: Scene) -> list[str]:
    """The names of what `without` can take away, in the order in which it is drawn; the background comes first."""
    return [BACKGROUND, *(part.name for part in _parts(scene))]


def thing_parts(scene: Scene) -> frozenset[str]:
    """The names of the parts of the thing or things that the picture is of."""
    return frozenset(part.name for part in _parts(scene) if part.thing == scene.things[0])


def without(scene: Scene, *names: str) -> Scene:
    """The same scene with these parts taken away, and nothing else changed: "background" leaves plain grey ground. Where a
    scene is compressed as JPEG, pixels beside a part change a little too. Raises UnknownName for what is not in it."""
    known = parts(scene)
    for name in names:
        if name not in known:
            raise UnknownName("part of this picture", name, known)
    return replace(scene, without=scene.without | {*names})


class _Part(NamedTuple):
    """One part of a scene: its name, its shapes in the coordinates of the picture, and the thing whose shadow it shares."""

    name: str
    shapes: tuple[Shape, ...]
    thing: Placed | None


def _parts(scene: Scene) -> list[_Part]:
    """What is drawn over the background, in order."""
    listed: list[_Part] = []
    for number, placed in enumerate(scene.distractors, 1):
        shapes = _shapes(scene, placed, DISTRACTORS[placed.kind], f"distractor {number}")
        listed += [_Part(f"distractor {number}", part, placed) for part in shapes.values()]
    for number, placed in enumerate(scene.things):
        prefix = f"{placed.kind}: " if number else ""
        make = FORMS[placed.form][1] if placed.form else THINGS[placed.kind]
        shapes = _shapes(scene, placed, make, prefix)
        listed += [_Part(prefix + name, part, placed) for name, part in shapes.items()]
    if scene.occluder:
        shapes = _shapes(scene, scene.occluder, DISTRACTORS[scene.occluder.kind], "occluder")
        listed += [_Part("occluder", part, None) for part in shapes.values()]
    if scene.mark:
        listed.append(_Part(MARK, _mark(_rng(scene, MARK)), None))
    return listed


def _shapes(scene: Scene, placed: Placed, make: Thing, stream: str) -> dict[str, tuple[Shape, ...]]:
    """The shapes of each layer of a thing where it stands; `stream` names its random draws."""
    layers = make(COLOURS[placed.colour], _rng(scene, f"{stream}{placed.kind}"))
    return {layer.name: tuple(_moved(shape, placed) for shape in layer.shapes) for layer in layers}


def _mark(rng: np.random.Generator) -> tuple[Shape, ...]:
    x, y = rng.uniform(0.82, 0.90), rng.uniform(0.82, 0.90)
    return (
        Shape(ellipse(x, y, 0.084), (0.95, 0.95, 0.90), light=1.0),
        Shape(ellipse(x, y, 0.068), (0.55, 0.10, 0.45), light=1.0),
        Shape(polygon((x - 0.03, y - 0.04), (x + 0.046, y), (x - 0.03, y + 0.04)), (0.95, 0.95, 0.90), light=1.0),
    )


def draw(scene: Scene, size: int = SIZE) -> tuple[NDArray[np.uint8], dict[str, Array]]:
    """The picture (size, size, 3) and the mask of every layer (size, size), 0 to 1: how much of each pixel it is seen in."""
    pixels = np.empty((size, size, 3), np.float32)
    light = light_of(scene.time, _rng(scene, "light"))
    background = PLAIN if BACKGROUND in scene.without else BACKGROUNDS[scene.background]
    background(pixels, scene.horizon, scene.time, light, _rng(scene, "background"))
    present = [part for part in _parts(scene) if part.name not in scene.without]
    for placed in dict.fromkeys(part.thing for part in present):
        if placed is not None and placed.kind != "balloon":
            _shadow(pixels, placed)
    masks: dict[str, Array] = {}
    for name, shapes, _ in present:
        rng = _rng(scene, f"grain {name}")
        mask = masks.setdefault(name, np.zeros((size, size), np.float32))
        for shape in shapes:
            painted = paint(pixels, shape, light, place(rng))
            if painted is None:
                continue
            alpha, (top, left) = painted
            area = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
            for below in masks.values():
                below[area] *= 1 - alpha
            mask[area] += alpha
    return _finished(pixels, scene), masks


def _shadow(pixels: Array, placed: Placed) -> None:
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
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=scene.jpeg)
        image = np.asarray(Image.open(file))
    return image
