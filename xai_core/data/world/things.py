"""The ten things a world can hold, each built of named parts.

A thing stands in a box of its own: x from -1 to 1, y from -2 (top) to 0 (where it stands), y down. Its parts are drawn in
order; every one of them can be left out.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xai_core.data.world.canvas import Colour, Layer, Shape, box, curve, ellipse, line, polygon

COLOURS: dict[str, Colour] = {
    "red": (0.80, 0.16, 0.14),
    "orange": (0.91, 0.52, 0.14),
    "yellow": (0.93, 0.80, 0.26),
    "green": (0.22, 0.52, 0.28),
    "blue": (0.18, 0.38, 0.72),
    "purple": (0.48, 0.26, 0.58),
    "white": (0.92, 0.90, 0.86),
    "brown": (0.50, 0.33, 0.21),
}
WOOD: Colour = (0.42, 0.29, 0.19)
DARK: Colour = (0.17, 0.16, 0.18)
GLASS: Colour = (0.62, 0.76, 0.86)
LAMP: Colour = (1.0, 0.86, 0.50)
STONE: Colour = (0.62, 0.59, 0.55)
CREAM: Colour = (0.93, 0.89, 0.80)


def house(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    wide, high = rng.uniform(0.78, 0.95), rng.uniform(0.85, 1.05)
    door = rng.choice([-0.35, 0.0, 0.35])
    panes = [x for x in (-0.5, 0.0, 0.5) if abs(x - door) > 0.3]
    roof = (0.55, 0.23, 0.17) if max(colour) - min(colour) < 0.15 or colour[2] > colour[0] else (0.30, 0.30, 0.34)
    windows: list[Shape] = []
    for x in panes:
        left, right = wide * x - 0.17, wide * x + 0.17
        windows += [
            Shape(box(left - 0.03, -0.73 * high, right + 0.03, -0.33 * high), CREAM),
            Shape(box(left, -0.70 * high, right, -0.36 * high), LAMP if rng.random() < 0.6 else GLASS, light=0.9),
            Shape(box(left, -0.54 * high, right, -0.51 * high), CREAM),
        ]
    return [
        Layer("chimney", (Shape(box(0.32, -high - 0.72, 0.52, -high - 0.1), (0.58, 0.32, 0.25), texture="bricks"),)),
        Layer("wall", (Shape(box(-wide, -high, wide, 0), colour, texture=str(rng.choice(["bricks", "planks", "rough"]))),)),
        Layer(
            "roof",
            (
                Shape(
                    polygon(
                        (-wide - 0.14, -high + 0.05), (wide + 0.14, -high + 0.05), (0.5, -high - 0.62), (-0.5, -high - 0.62)
                    ),
                    roof,
                    texture="tiles",
                ),
                Shape(box(-wide - 0.14, -high + 0.01, wide + 0.14, -high + 0.07), (0.35, 0.26, 0.22)),
            ),
        ),
        Layer("windows", tuple(windows)),
        Layer(
            "door",
            (
                Shape(box(wide * door - 0.17, -0.62 * high, wide * door + 0.17, 0), WOOD, texture="boards"),
                Shape(ellipse(wide * door + 0.10, -0.28 * high, 0.03), LAMP),
            ),
        ),
    ]


def boat(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    lean = rng.uniform(-0.06, 0.06)
    sail = CREAM if max(colour) - min(colour) > 0.15 else (0.85, 0.35, 0.25)
    return [
        Layer("mast", (Shape(line([(0.02, -0.3), (0.02 + lean, -1.95)], 0.06), WOOD),)),
        Layer(
            "sail",
            (
                Shape(
                    np.array(
                        [(0.08 + lean, -1.85), *curve((0.08 + lean, -1.85), (0.78, -1.1), (0.86, -0.52)), (0.08, -0.52)],
                        np.float32,
                    ),
                    sail,
                    "round",
                ),
                Shape(line([(0.05, -0.5), (0.9, -0.5)], 0.05), WOOD),
            ),
        ),
        Layer(
            "jib",
            (
                Shape(
                    np.array([*curve((-0.03 + lean, -1.7), (-0.4, -1.0), (-0.82, -0.42)), (-0.05, -0.5)], np.float32),
                    sail,
                    "round",
                ),
            ),
        ),
        Layer(
            "hull",
            (
                Shape(
                    np.array(
                        [
                            (-1.0, -0.40),
                            (1.0, -0.36),
                            *curve((1.0, -0.36), (0.85, -0.02), (0.5, 0.0)),
                            *curve((-0.6, 0.0), (-0.85, -0.05), (-1.0, -0.40)),
                        ],
                        np.float32,
                    ),
                    colour,
                    texture="planks",
                ),
                Shape(polygon((-1.02, -0.43), (1.02, -0.39), (1.0, -0.31), (-0.98, -0.35)), CREAM),
            ),
        ),
        Layer("flag", (Shape(polygon((0.02 + lean, -2.0), (0.36 + lean, -1.92), (0.02 + lean, -1.82)), colour),)),
    ]


def tree(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    blobs = [(0.0, -1.55, 0.48), (-0.45, -1.22, 0.42), (0.45, -1.20, 0.43), (-0.2, -1.0, 0.38), (0.22, -1.02, 0.40)]
    leaf = np.array(colour, float)
    crown = []
    for x, y, r in blobs:
        shift = rng.uniform(-0.05, 0.05, 2)
        tone = leaf * rng.uniform(0.82, 1.08)
        turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        edge = r * (1 + 0.09 * np.sin(turns * rng.integers(6, 10) + rng.uniform(0, 6)))
        points = np.stack([x + shift[0] + edge * np.cos(turns), y + shift[1] + edge * np.sin(turns)], 1)
        crown.append(Shape(points.astype(np.float32), (float(tone[0]), float(tone[1]), float(tone[2])), "sphere", "leaves"))
    fruit = tuple(
        Shape(ellipse(x, y, 0.065), (0.86, 0.20, 0.16), "sphere")
        for x, y in zip(rng.uniform(-0.6, 0.6, 7), rng.uniform(-1.7, -0.95, 7), strict=True)
    )
    return [
        Layer(
            "trunk",
            (
                Shape(
                    np.array(
                        [*curve((-0.26, 0), (-0.10, -0.1), (-0.11, -0.9)), *curve((0.11, -0.9), (0.10, -0.1), (0.26, 0))],
                        np.float32,
                    ),
                    WOOD,
                    "round",
                    "boards",
                ),
                Shape(line([(0.0, -0.7), (0.42, -1.15)], 0.08), WOOD),
                Shape(line([(0.0, -0.6), (-0.40, -1.1)], 0.08), WOOD),
            ),
        ),
        Layer("crown", tuple(crown)),
        Layer("fruit", fruit),
    ]


def car(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    high = rng.uniform(0.98, 1.12)
    wheels: list[Shape] = []
    for x in (-0.56, 0.58):
        wheels += [Shape(ellipse(x, -0.23, 0.235), DARK), Shape(ellipse(x, -0.23, 0.125), (0.72, 0.73, 0.75), "sphere")]
    return [
        Layer(
            "cabin",
            (
                Shape(
                    np.array(
                        [
                            *curve((-0.72, -0.58), (-0.55, -high), (-0.30, -high)),
                            *curve((0.22, -high), (0.45, -high), (0.66, -0.58)),
                        ],
                        np.float32,
                    ),
                    colour,
                ),
                Shape(polygon((-0.60, -0.60), (-0.40, -high + 0.08), (-0.06, -high + 0.08), (-0.06, -0.60)), GLASS),
                Shape(polygon((0.02, -0.60), (0.02, -high + 0.08), (0.24, -high + 0.08), (0.50, -0.60)), GLASS),
            ),
        ),
        Layer(
            "body",
            (
                Shape(
                    np.array(
                        [
                            (-0.98, -0.2),
                            *curve((-1.0, -0.30), (-1.0, -0.60), (-0.70, -0.62)),
                            *curve((0.60, -0.62), (1.0, -0.60), (1.0, -0.30)),
                            (0.98, -0.2),
                        ],
                        np.float32,
                    ),
                    colour,
                    "lying",
                ),
                Shape(line([(-0.06, -0.58), (-0.06, -0.25)], 0.02), DARK),
                Shape(box(0.08, -0.50, 0.22, -0.46), DARK),
            ),
        ),
        Layer("wheels", tuple(wheels)),
        Layer(
            "lamps",
            (
                Shape(ellipse(0.92, -0.44, 0.08, 0.07), LAMP, light=1.0),
                Shape(box(-1.0, -0.50, -0.90, -0.38), (0.75, 0.10, 0.10), light=0.7),
            ),
        ),
    ]


def bird(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    lift = rng.uniform(-0.25, 0.15)
    dark = (colour[0] * 0.72, colour[1] * 0.72, colour[2] * 0.72)
    return [
        Layer(
            "legs",
            tuple(
                Shape(line([(x, -0.5), (x + 0.05, 0.0), (x + 0.18, 0.0)], 0.055), (0.85, 0.55, 0.2)) for x in (-0.12, 0.10)
            ),
        ),
        Layer(
            "tail",
            (
                Shape(
                    np.array(
                        [
                            (-0.35, -0.85),
                            *curve((-0.6, -0.95), (-0.9, -1.0), (-1.0, -0.98 + lift * 0.5)),
                            (-0.96, -0.70 + lift * 0.5),
                            (-0.35, -0.55),
                        ],
                        np.float32,
                    ),
                    dark,
                ),
            ),
        ),
        Layer(
            "body",
            (
                Shape(
                    np.array(
                        [
                            *curve((-0.6, -0.82), (0.1, -1.35), (0.62, -0.95)),
                            *curve((0.62, -0.95), (0.55, -0.25), (-0.15, -0.38)),
                            *curve((-0.15, -0.38), (-0.45, -0.45), (-0.6, -0.82)),
                        ],
                        np.float32,
                    ),
                    colour,
                    "sphere",
                    "rough",
                ),
            ),
        ),
        Layer(
            "head",
            (
                Shape(ellipse(0.55, -1.22, 0.30, 0.28), colour, "sphere", "rough"),
                Shape(ellipse(0.64, -1.28, 0.075), CREAM),
                Shape(ellipse(0.66, -1.28, 0.045), DARK),
            ),
        ),
        Layer("beak", (Shape(polygon((0.80, -1.32), (1.06, -1.20), (0.80, -1.10)), (0.93, 0.62, 0.15)),)),
        Layer(
            "wing",
            (
                Shape(
                    np.array(
                        [
                            *curve((0.30, -0.98), (-0.1, -1.18), (-0.72, -0.80 + lift)),
                            *curve((-0.72, -0.80 + lift), (-0.2, -0.50), (0.30, -0.62)),
                        ],
                        np.float32,
                    ),
                    dark,
                    "lying",
                    "rough",
                ),
            ),
        ),
    ]


def lighthouse(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    def width(y: float) -> float:
        return 0.40 + (0.26 - 0.40) * (-y / 1.5)

    bands = []
    count = int(rng.integers(2, 4))
    for i in range(count):
        low, high = -(0.15 + i * 1.3 / count), -(0.15 + (i + 0.5) * 1.3 / count)
        bands.append(
            Shape(polygon((-width(low), low), (width(low), low), (width(high), high), (-width(high), high)), colour, "round")
        )
    paint = CREAM if max(colour) - min(colour) > 0.15 else (0.45, 0.47, 0.52)
    return [
        Layer(
            "tower",
            (
                Shape(polygon((-0.40, 0), (0.40, 0), (0.26, -1.5), (-0.26, -1.5)), paint, "round", "rough"),
                Shape(box(-0.07, -0.28, 0.07, 0), WOOD),
            ),
        ),
        Layer("bands", tuple(bands)),
        Layer(
            "lantern",
            (
                Shape(box(-0.18, -1.78, 0.18, -1.5), LAMP, light=1.0),
                *(Shape(line([(x, -1.78), (x, -1.5)], 0.03), DARK) for x in (-0.17, -0.06, 0.06, 0.17)),
            ),
        ),
        Layer(
            "gallery",
            (
                Shape(box(-0.38, -1.54, 0.38, -1.46), DARK),
                *(Shape(line([(x, -1.64), (x, -1.5)], 0.025), DARK) for x in (-0.34, -0.26, 0.26, 0.34)),
            ),
        ),
        Layer(
            "dome",
            (
                Shape(
                    np.array(
                        [
                            *curve((-0.23, -1.77), (-0.2, -2.02), (0.0, -2.02)),
                            *curve((0.0, -2.02), (0.2, -2.02), (0.23, -1.77)),
                        ],
                        np.float32,
                    ),
                    colour,
                    "sphere",
                ),
            ),
        ),
    ]


def tent(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    top = rng.uniform(-1.45, -1.2)
    dark = (colour[0] * 0.55, colour[1] * 0.55, colour[2] * 0.55)
    return [
        Layer(
            "poles",
            (
                Shape(line([(-0.09, top - 0.16), (0.98, 0.0)], 0.05), WOOD),
                Shape(line([(0.09, top - 0.16), (-0.98, 0.0)], 0.05), WOOD),
            ),
        ),
        Layer(
            "canvas",
            (
                Shape(
                    np.array(
                        [*curve((-1.0, 0.0), (-0.28, -0.35), (0.0, top)), *curve((0.0, top), (0.28, -0.35), (1.0, 0.0))],
                        np.float32,
                    ),
                    colour,
                    "round",
                    "gores",
                ),
            ),
        ),
        Layer(
            "entrance",
            (
                Shape(np.array([(-0.30, 0.0), (0.0, top * 0.72), (0.30, 0.0)], np.float32), DARK, light=0.0),
                Shape(np.array([(0.02, top * 0.72), (0.44, 0.0), (0.28, 0.0)], np.float32), dark),
            ),
        ),
        Layer("pegs", tuple(Shape(line([(x * 0.72, -0.42), (x * 1.12, 0.02)], 0.03), CREAM) for x in (-1, 1))),
        Layer(
            "pennant",
            (
                Shape(line([(0.0, top), (0.0, top - 0.42)], 0.04), WOOD),
                Shape(polygon((0.0, top - 0.42), (0.34, top - 0.32), (0.0, top - 0.22)), CREAM),
            ),
        ),
    ]


def dome_tent(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    """A tent of another form, which shines by night as if a lamp stood in it."""
    wide, high = rng.uniform(0.92, 1.05), rng.uniform(1.05, 1.2)
    dark = (colour[0] * 0.45, colour[1] * 0.45, colour[2] * 0.45)

    def dome(size: float) -> NDArray[np.float32]:
        return ellipse(0.0, 0.0, wide * size, high, 0.5, 1.0)

    poles = [line([(float(x), float(y)) for x, y in dome(size)], 0.045) for size in (1.0, 0.45)]
    return [
        Layer("canvas", (Shape(dome(1.0), colour, "sphere", "gores", light=0.45),)),
        Layer("poles", tuple(Shape(outline, dark) for outline in poles)),
        Layer("entrance", (Shape(ellipse(0.0, 0.0, 0.30, high * 0.55, 0.5, 1.0), LAMP, light=0.8),)),
        Layer("pegs", tuple(Shape(line([(x * 0.80, -0.50), (x * 1.35, 0.02)], 0.03), CREAM) for x in (-1, 1))),
    ]


def windmill(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    turn = rng.uniform(0, np.pi / 2)
    blades: list[Shape] = []
    for k in range(4):
        a = turn + k * np.pi / 2
        along, across = np.array([np.cos(a), np.sin(a)]), np.array([-np.sin(a), np.cos(a)])
        hub = np.array([0.0, -1.36])
        corners = [hub + along * r + across * s for r, s in ((0.16, 0.03), (0.80, 0.03), (0.80, 0.25), (0.22, 0.25))]
        blades.append(Shape(np.array(corners, np.float32), CREAM, texture="planks"))
        blades.append(Shape(line([tuple(hub), tuple(hub + along * 0.84)], 0.05), WOOD))
    return [
        Layer("tower", (Shape(polygon((-0.46, 0), (0.46, 0), (0.27, -1.25), (-0.27, -1.25)), colour, "round", "bricks"),)),
        Layer(
            "cap",
            (
                Shape(
                    np.array(
                        [
                            *curve((-0.32, -1.22), (-0.30, -1.68), (0.0, -1.68)),
                            *curve((0.0, -1.68), (0.30, -1.68), (0.32, -1.22)),
                        ],
                        np.float32,
                    ),
                    (0.36, 0.28, 0.24),
                    "sphere",
                    "tiles",
                ),
            ),
        ),
        Layer(
            "door",
            (
                Shape(box(-0.12, -0.38, 0.12, 0), WOOD, texture="boards"),
                Shape(box(-0.08, -0.80, 0.08, -0.62), LAMP, light=0.9),
            ),
        ),
        Layer("sails", (*blades, Shape(ellipse(0.0, -1.36, 0.07), DARK))),
    ]


def bridge(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    high = rng.uniform(1.25, 1.55)
    cables = [Shape(line(curve((-0.5, -high), (0.0, -0.15), (0.5, -high)), 0.045), colour)]
    for side in (-1, 1):
        cables.append(Shape(line([(0.5 * side, -high), (1.25 * side, -0.62)], 0.045), colour))
    for x in (-0.33, -0.2, -0.07, 0.07, 0.2, 0.33):
        sag = -0.70 - (high - 0.70) * (x / 0.5) ** 2
        cables.append(Shape(line([(x, min(sag, -0.66)), (x, -0.6)], 0.022), colour))
    pylons: list[Shape] = []
    for x in (-0.5, 0.5):
        pylons += [
            Shape(box(x - 0.07, -high - 0.06, x + 0.07, 0), colour, "round"),
            Shape(box(x - 0.12, -0.16, x + 0.12, 0.02), STONE, "round", "bricks"),
        ]
    return [
        Layer("cables", tuple(cables)),
        Layer("pylons", tuple(pylons)),
        Layer(
            "deck",
            (Shape(box(-1.3, -0.62, 1.3, -0.48), STONE, "lying", "boards"), Shape(box(-1.3, -0.48, 1.3, -0.44), DARK)),
        ),
        Layer(
            "railing",
            (
                Shape(box(-1.3, -0.74, 1.3, -0.71), DARK),
                *(Shape(box(x - 0.012, -0.73, x + 0.012, -0.6), DARK) for x in np.linspace(-1.25, 1.25, 15)),
            ),
        ),
    ]


def balloon(colour: Colour, rng: np.random.Generator) -> list[Layer]:
    second = [CREAM, LAMP, (0.25, 0.30, 0.45)][int(rng.integers(3))]
    if max(abs(a - b) for a, b in zip(second, colour, strict=True)) < 0.25:
        second = (0.25, 0.30, 0.45)

    def gore(left: float, right: float) -> np.ndarray:
        t = np.linspace(0, 1, 24)
        profile = 0.74 * np.sin(np.pi * np.minimum(t * 0.92 + 0.04, 1)) ** 0.62
        profile[t > 0.7] = np.interp(t[t > 0.7], [0.7, 1.0], [profile[t <= 0.7][-1], 0.17])
        y = -2.0 + 1.45 * t
        return np.concatenate([np.stack([left * profile, y], 1), np.stack([right * profile, y], 1)[::-1]]).astype(np.float32)

    stripes = tuple(
        Shape(gore(a, b), second, "sphere", "gores", frame=gore(-1, 1))
        for a, b in ((-0.78, -0.42), (-0.14, 0.14), (0.42, 0.78))
    )
    return [
        Layer("ropes", tuple(Shape(line([(x * 0.15, -0.56), (x * 0.13, -0.26)], 0.025), DARK) for x in (-1, -0.3, 0.3, 1))),
        Layer("envelope", (Shape(gore(-1, 1), colour, "sphere", "gores"),)),
        Layer("stripes", stripes),
        Layer("skirt", (Shape(polygon((-0.17, -0.60), (0.17, -0.60), (0.12, -0.48), (-0.12, -0.48)), DARK),)),
        Layer(
            "basket",
            (
                Shape(box(-0.17, -0.28, 0.17, 0.0), (0.60, 0.42, 0.24), "round", "planks"),
                Shape(box(-0.19, -0.30, 0.19, -0.25), WOOD),
            ),
        ),
    ]


Thing = Callable[[Colour, np.random.Generator], list[Layer]]
THINGS: dict[str, Thing] = {
    "balloon": balloon,
    "bird": bird,
    "boat": boat,
    "bridge": bridge,
    "car": car,
    "house": house,
    "lighthouse": lighthouse,
    "tent": tent,
    "tree": tree,
    "windmill": windmill,
}
FORMS: dict[str, tuple[str, Thing]] = {"dome tent": ("tent", dome_tent)}  # other forms of a class
