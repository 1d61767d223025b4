"""The places in which things stand, at three times of day: what fills the picture before anything is drawn on it."""

from collections.abc import Callable

import numpy as np

from xai_core.data.world.canvas import TILE, Array, Colour, Light, Shape, box, ellipse, noise, paint, patch, polygon

Rng = np.random.Generator

SKIES: dict[str, tuple[Colour, Colour]] = {  # at the top, at the horizon
    "day": ((0.30, 0.54, 0.86), (0.80, 0.90, 0.96)),
    "dusk": ((0.30, 0.26, 0.50), (0.98, 0.58, 0.34)),
    "night": ((0.03, 0.04, 0.13), (0.13, 0.18, 0.34)),
}
TINTS: dict[str, Colour] = {"day": (1.0, 1.0, 1.0), "dusk": (0.92, 0.66, 0.54), "night": (0.40, 0.46, 0.68)}
TIMES = tuple(SKIES)
BLOOMS: tuple[Colour, ...] = ((0.95, 0.85, 0.3), (0.95, 0.95, 0.95), (0.85, 0.45, 0.6))


def light_of(time: str, rng: Rng) -> Light:
    """The light of a time of day; the sun, or the moon, stands left or right."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    return Light(side * rng.uniform(0.6, 1.0), TINTS[time], {"day": 1.0, "dusk": 0.9, "night": 0.6}[time], time == "night")


def place(rng: Rng) -> tuple[int, int]:
    return int(rng.integers(TILE)), int(rng.integers(TILE))


def _blend(pixels: Array, colour: Colour, alpha: Array | float) -> None:
    """Lay a colour over pixels (h, w, 3), in place; `alpha` (h, w) or one number."""
    weight = np.asarray(alpha, np.float32)[..., None]
    pixels += weight * (np.array(colour, np.float32) - pixels)


def _lit(colour: Colour, light: Light) -> Colour:
    """A colour in this light."""
    red, green, blue = (part * tint for part, tint in zip(colour, light.tint, strict=True))
    return red, green, blue


def _sky(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    height, width = pixels.shape[:2]
    top, low = (np.array(colour, np.float32) for colour in SKIES[time])
    t = np.clip((np.arange(height, dtype=np.float32) + 0.5) / (horizon * height), 0, 1)[:, None, None] ** 1.4
    pixels[:] = top + t * (low - top)
    if time == "night":
        sky = pixels[: int(horizon * height * 0.9)]
        stars = rng.random(sky.shape[:2], np.float32) > 0.996
        sky += stars[..., None] * np.float32(0.55)
    clouds = patch(noise(1.3, 3), height, width, place(rng))
    cover = np.clip((clouds - rng.uniform(0.2, 1.2)) * 0.55, 0, 0.8) * np.clip(1.2 - t[..., 0], 0, 1)
    _blend(pixels, {"day": (1, 1, 1), "dusk": (0.95, 0.62, 0.52), "night": (0.14, 0.17, 0.27)}[time], cover)
    x, y = 0.5 * width / height * (1 + 0.8 * light.direction), rng.uniform(0.08, 0.2)
    if time != "day" or rng.random() < 0.4:
        disc: Colour = (1.0, 0.96, 0.80) if time != "night" else (0.90, 0.92, 0.96)
        yy = (np.arange(height, dtype=np.float32)[:, None] / height - y) ** 2
        distance = np.sqrt(yy + (np.arange(width, dtype=np.float32)[None] / height - x) ** 2)
        _blend(pixels, disc, 0.35 * np.exp(-distance * 9))
        paint(pixels, Shape(ellipse(x, y, 0.045), disc), Light(0, (1, 1, 1), 0, False), (0, 0))


def _ground(pixels: Array, horizon: float, near: Colour, far: Colour, light: Light, rough: Array, strength: float) -> None:
    """Ground below the horizon whose colour goes from far to near, with texture that grows towards the viewer."""
    height = pixels.shape[0]
    top = int(horizon * height)
    rows = height - top
    t = ((np.arange(rows, dtype=np.float32) + 0.5) / rows)[:, None, None]
    tint = np.array(light.tint, np.float32)
    colour = (np.array(far, np.float32) + t * (np.array(near, np.float32) - np.array(far, np.float32))) * tint
    pixels[top:] = colour * (1 + strength * (0.35 + 0.65 * t) * rough[:rows, :, None])


def _ridge(width: float, base: float, height: float, rng: Rng, steps: int = 9, rough: float = 1.0) -> Array:
    """The outline of hills: a polygon from the left to the right edge, down to `base`."""
    x = np.linspace(-0.05, width + 0.05, steps * 4)
    y = sum(np.sin(x * k * 2.3 + rng.uniform(0, 6.3)) / k for k in (1, 2, 3.7)) / 1.8
    y = base - height * (0.55 + 0.45 * y) - rough * height * 0.06 * rng.standard_normal(len(x))
    return np.concatenate([np.stack([x, y], 1), [[width + 0.05, base + 0.02], [-0.05, base + 0.02]]]).astype(np.float32)


def _sea(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    height, width = pixels.shape[:2]
    _sky(pixels, horizon, time, light, rng)
    if rng.random() < 0.5:
        paint(pixels, Shape(_ridge(width / height, horizon, 0.06, rng), (0.42, 0.50, 0.58)), light, place(rng))
    waves = patch(noise(0.7, 8), height, width, place(rng))
    far: Colour = (0.34, 0.55, 0.68) if time != "dusk" else (0.62, 0.50, 0.50)
    _ground(pixels, horizon, (0.08, 0.28, 0.44), far, light, waves, 0.20)
    top = int(horizon * height)
    crests = np.clip(waves[: height - top] - 1.5, 0, 1) * np.linspace(0.2, 1, height - top, dtype=np.float32)[:, None]
    _blend(pixels[top:], _lit((0.9, 0.9, 0.9), light), 0.6 * crests)


def _meadow(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    height, width = pixels.shape[:2]
    _sky(pixels, horizon, time, light, rng)
    paint(
        pixels,
        Shape(_ridge(width / height, horizon + 0.02, 0.10, rng, rough=0.2), (0.40, 0.58, 0.36), texture="rough"),
        light,
        place(rng),
    )
    grass = patch(noise(0.8), height, width, place(rng))
    _ground(pixels, horizon, (0.30, 0.50, 0.16), (0.48, 0.66, 0.30), light, grass, 0.16)
    bloom = BLOOMS[int(rng.integers(len(BLOOMS)))]
    top = int(horizon * height) + 3
    dots = rng.random((height - top, width), np.float32) > 0.994
    _blend(pixels[top:], _lit(bloom, light), 0.85 * dots)


def _forest(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    height, width = pixels.shape[:2]
    _sky(pixels, horizon, time, light, rng)
    wide = width / height
    for depth, (count, tall, tone) in enumerate(((16, 0.30, 0.80), (12, 0.38, 0.60), (8, 0.44, 0.42))):
        for x in np.linspace(0, wide, count) + rng.uniform(-0.05, 0.05, count):
            top = horizon + 0.015 * depth - tall * rng.uniform(0.75, 1.05)
            base = horizon + 0.02 + 0.012 * depth
            half = 0.055 + 0.012 * depth
            steps = [
                (x - half * f, top + (base - top) * g)
                for f, g in ((0, 0), (0.45, 0.38), (0.25, 0.38), (0.8, 0.70), (0.5, 0.70), (1, 1))
            ]
            outline = steps + [(2 * x - a, b) for a, b in reversed(steps)]
            green = (0.20 * tone, 0.42 * tone, 0.26 * tone)
            paint(pixels, Shape(polygon(*outline), green, texture="leaves"), light, place(rng))
    _ground(
        pixels,
        horizon + 0.03,
        (0.24, 0.22, 0.12),
        (0.20, 0.28, 0.14),
        light,
        patch(noise(0.9), height, width, place(rng)),
        0.2,
    )


def _street(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    height, width = pixels.shape[:2]
    _sky(pixels, horizon, time, light, rng)
    x, wide = -0.05, width / height
    facades: list[Colour] = [
        (0.70, 0.58, 0.48),
        (0.62, 0.62, 0.66),
        (0.74, 0.68, 0.56),
        (0.56, 0.44, 0.40),
        (0.66, 0.70, 0.70),
    ]
    while x < wide:
        step = rng.uniform(0.16, 0.28)
        top = horizon - rng.uniform(0.20, 0.42)
        paint(
            pixels,
            Shape(box(x, top, x + step, horizon + 0.02), facades[int(rng.integers(5))], texture="rough"),
            light,
            place(rng),
        )
        columns, floors = max(2, int(step / 0.055)), max(2, int((horizon - top) / 0.075))
        left = x + step * (np.arange(columns) + 0.28) / columns
        above = top + 0.02 + (horizon - top - 0.03) * np.arange(floors) / floors
        corner = np.stack(np.meshgrid(left, above), -1).reshape(-1, 1, 2)
        panes = (corner + box(0, 0, step * 0.5 / columns, 0.038)).astype(np.float32)
        lit = (rng.random(len(panes)) < 0.45) & (time != "day")
        for group, colour, glow in ((panes[~lit], (0.28, 0.33, 0.40), 0.0), (panes[lit], (0.98, 0.82, 0.46), 0.9)):
            if len(group):
                paint(pixels, Shape(group, colour, light=glow), light, (0, 0))
        x += step
    _ground(
        pixels,
        horizon + 0.01,
        (0.36, 0.36, 0.38),
        (0.50, 0.50, 0.51),
        light,
        patch(noise(0.7), height, width, place(rng)),
        0.07,
    )
    paint(pixels, Shape(box(-0.05, horizon + 0.01, wide + 0.05, horizon + 0.05), (0.68, 0.66, 0.62)), light, place(rng))
    y = rng.uniform(0.90, 0.95)
    for start in np.arange(-0.1, wide, 0.26) + rng.uniform(0, 0.2):
        paint(
            pixels,
            Shape(
                polygon((start, y), (start + 0.14, y), (start + 0.15, y + 0.018), (start + 0.005, y + 0.018)),
                (0.90, 0.88, 0.80),
            ),
            light,
            (0, 0),
        )


def _mountain(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    height, width = pixels.shape[:2]
    _sky(pixels, horizon, time, light, rng)
    wide = width / height
    for depth, tone in enumerate((1.15, 0.85)):
        for _ in range(3):
            x, top = rng.uniform(-0.1, wide + 0.1), horizon - rng.uniform(0.22, 0.45) * (1 - 0.3 * depth)
            half = rng.uniform(0.35, 0.55)
            rock = (0.46 * tone, 0.46 * tone, 0.52 * tone)
            base = horizon + 0.02
            paint(
                pixels,
                Shape(polygon((x - half, base), (x, top), (x + half, base)), rock, texture="rough"),
                light,
                place(rng),
            )
            shaded = polygon(
                (x, top), (x - np.sign(light.direction) * half, base), (x - np.sign(light.direction) * half * 0.15, base)
            )
            paint(
                pixels, Shape(shaded, (rock[0] * 0.72, rock[1] * 0.72, rock[2] * 0.78), texture="rough"), light, place(rng)
            )
            drop = (horizon - top) * 0.30
            zig = [
                (x + half * drop / (base - top) * f, top + drop * g)
                for f, g in ((1, 1.0), (0.5, 0.75), (0.2, 1.1), (-0.2, 0.8), (-0.6, 1.1), (-1, 1.0))
            ]
            paint(pixels, Shape(polygon((x, top), *zig), (0.95, 0.96, 0.98)), light, place(rng))
    _ground(
        pixels,
        horizon + 0.01,
        (0.40, 0.40, 0.36),
        (0.52, 0.54, 0.46),
        light,
        patch(noise(1.0), height, width, place(rng)),
        0.15,
    )


def _desert(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    height, width = pixels.shape[:2]
    _sky(pixels, horizon, time, light, rng)
    _ground(
        pixels, horizon, (0.86, 0.66, 0.40), (0.93, 0.80, 0.58), light, patch(noise(0.9, 4), height, width, place(rng)), 0.05
    )
    for k, tone in enumerate((1.04, 0.95, 0.90)):
        base = horizon + 0.05 + 0.14 * k
        outline = _ridge(width / height, base, 0.10 + 0.03 * k, rng, rough=0.0)
        outline[-2:, 1] = 1.05
        paint(pixels, Shape(outline, (0.90 * tone, 0.71 * tone, 0.45 * tone), "flat", "rough"), light, place(rng))


def _plain(pixels: Array, horizon: float, time: str, light: Light, rng: Rng) -> None:
    """Grey above and grey below: what takes the place of a background that is taken away."""
    pixels[:] = np.array(SKIES[time][1], np.float32).mean()
    height, width = pixels.shape[:2]
    grain = patch(noise(0.5), height, width, place(rng))
    _ground(pixels, horizon, (0.46, 0.46, 0.46), (0.60, 0.60, 0.60), light, grain, 0.05)


Background = Callable[[Array, float, str, Light, Rng], None]
BACKGROUNDS: dict[str, Background] = {
    "sea": _sea,
    "meadow": _meadow,
    "forest": _forest,
    "street": _street,
    "mountain": _mountain,
    "desert": _desert,
}
PLAIN = _plain
