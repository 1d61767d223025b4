"""Pictures of maps: colours with a stated scale, overlays, and figures that contain their caption.

Signed maps get a diverging palette whose neutral colour is always zero; unsigned maps a perceptually uniform one.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from xai_core.data.image_io import open_picture
from xai_core.explanation import heatmaps, wording
from xai_core.explanation.heatmaps import Floats
from xai_core.explanation.result import Explanation

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from torch import Tensor

PALETTES = {
    "diverging": {"red-blue": "RdBu_r", "brown-teal": "BrBG_r", "warm-cool": "coolwarm"},
    "sequential": {"viridis": "viridis", "cividis": "cividis", "magma": "magma", "inferno": "inferno"},
}
OUTLINE = (213, 94, 0)  # Okabe and Ito's vermilion
MAX_TALL = 3  # height of a figure's picture at most, in widths: very narrow pictures would become too tall
Picture: TypeAlias = "Image.Image | Tensor | str"


@dataclass(frozen=True)
class Scale:
    """How values become colours: the limits, the palette, and a description of the limits in words."""

    low: float
    high: float
    palette: str
    signed: bool
    words: str

    def position(self, values: Floats) -> Floats:
        """Positions of values on the palette, in [0, 1]; zero of a signed map is always in the middle."""
        values = np.clip(values, self.low, self.high)
        if self.signed:
            return 0.5 + 0.5 * values / max(abs(self.low), abs(self.high))
        return (values - self.low) / (self.high - self.low)

    def strength(self, values: Floats) -> Floats:
        """Distance of values from zero (of an unsigned map: from the lower limit), in [0, 1], for an overlay's opacity."""
        return np.abs(2 * self.position(values) - 1) if self.signed else self.position(values)

    def colours(self, values: Floats) -> NDArray[np.uint8]:
        """RGB (h, w, 3); NaN (outside the crop) is mid-grey."""
        rgba = self._palette()(self.position(np.nan_to_num(values)), bytes=True)
        return np.where(np.isfinite(values)[..., None], rgba[..., :3], np.uint8(128))

    def palette_colours(self) -> NDArray[np.uint8]:
        """RGB (256, 3) of the whole palette: a value has the colour `int(256 * position)`, at the upper end 255."""
        colours: NDArray[np.uint8] = self._palette()(np.arange(256), bytes=True)[:, :3]
        return colours

    def _palette(self) -> Colormap:
        import matplotlib

        return matplotlib.colormaps[PALETTES["diverging" if self.signed else "sequential"][self.palette]]

    def hex_colours(self, steps: int = 33) -> list[str]:
        """The palette between the limits, for a chart's legend."""
        colours = self.colours(np.linspace(self.low, self.high, steps)[None])[0]
        return [f"#{colour.tobytes().hex()}" for colour in colours]


def scale_of(
    *explanations: Explanation,
    mode: str | None = None,
    clip: float | None = None,
    palette: str | None = None,
    custom: tuple[float, float] | None = None,
) -> Scale:
    """The colour scale of a map, or the common one of several.

    By default signed maps are symmetric about zero and unsigned ones start at zero; maps with more than 64 cells a side
    are clipped at the 99th percentile of their magnitude, because single pixels would otherwise use up the whole scale.
    """
    signed = any(explanation.signed for explanation in explanations)
    values = np.concatenate([explanation.heatmap.ravel() for explanation in explanations])
    mode = mode or ("custom" if custom else "symmetric" if signed else "positive")
    if clip is None:
        clip = 99.0 if max(max(explanation.heatmap.shape) for explanation in explanations) > 64 else 100.0
    low, high = heatmaps.value_range(values, mode, clip, custom)
    if signed:
        low, high = min(low, 0.0), max(high, 0.0)  # else zero would be drawn in the colour of the nearer limit
    known = PALETTES["diverging" if signed else "sequential"]
    limits = {
        "symmetric": "symmetric about zero",
        "positive": "from zero to the maximum",
        "negative": "from the minimum to zero",
        "smaller side": "symmetric, to the smaller side's extreme",
        "full": "from minimum to maximum",
        "custom": "limits set by hand",
    }[mode]
    clipped = f", clipped at the {clip:g}th percentile of the magnitude" if clip < 100 and mode != "custom" else ""
    shared = f"one scale shared by {len(explanations)} maps" if len(explanations) > 1 else "this map's own scale"
    words = f"{limits}{clipped}; {shared}, {low:.3g} to {high:.3g}"
    return Scale(low, high, palette if palette in known else next(iter(known)), signed, words)


def to_pil(image: Picture) -> Image.Image:
    """A picture, a path or a tensor (3, H, W) in [0, 1] as an RGB picture."""
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    from torch import Tensor  # here: most pictures of a page's first view are no tensors

    if isinstance(image, Tensor):
        pixels = image.detach().float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        return Image.fromarray((pixels * 255).round().astype(np.uint8))
    return open_picture(image)


def encoded(picture: Image.Image, kind: str = "JPEG") -> bytes:
    """A picture as bytes for display on a page, ten times as fast as the smallest PNG. "JPEG" has no visible loss (colours
    are not subsampled); use "PNG" for a map on its native grid, whose edges are sharp, and "WEBP" for what is stored."""
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {"compress_level": 1}, "WEBP": {"quality": 85}}[kind]
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def coloured_map(values: Floats) -> Image.Image:
    """A map (h, w), a pixel for each value, on its own colour scale: signed where it is clearly below zero somewhere."""
    largest = float(np.abs(values).max()) or 1.0
    signed = bool((values < -0.05 * largest).any())
    scale = Scale(-largest if signed else 0.0, largest, "red-blue" if signed else "viridis", signed, "")
    return Image.fromarray(scale.colours(values))


def heatmap_picture(
    explanation: Explanation, scale: Scale | None = None, *, size: tuple[int, int] | None = None, smooth: bool = True
) -> Image.Image:
    """The map alone, in the coordinates of the picture: (width, height) `size`, mid-grey outside the crop."""
    scale = scale or scale_of(explanation)
    return Image.fromarray(scale.colours(explanation.to_picture(size, smooth)))


def overlay(
    explanation: Explanation,
    image: Picture,
    scale: Scale | None = None,
    *,
    opacity: float = 0.8,
    threshold: float = 0.0,
    smooth: bool = True,
    size: tuple[int, int] | None = None,
) -> Image.Image:
    """The map over its picture, as an RGB picture of (width, height) `size` (default: the picture's own).

    The picture is drawn in grey, so that every colour belongs to the map. The opacity grows with the square root of the
    value's distance from zero, from 0 to `opacity` at the end of the scale. Places below `threshold`, a share of the scale
    in [0, 1], show the picture alone. What the network did not see (outside its crop) is drawn pale.
    """
    scale = scale or scale_of(explanation)
    picture = to_pil(image)
    picture = picture if size in (None, picture.size) else picture.resize(size, Image.Resampling.LANCZOS)
    values = explanation.to_picture(picture.size, smooth)
    grey = np.asarray(picture.convert("L"), np.float32)[..., None].repeat(3, 2)
    strength = scale.strength(np.nan_to_num(values))
    alpha = np.where(strength >= threshold, np.sqrt(strength), 0.0)[..., None] * opacity
    mixed = grey + alpha * (scale.colours(values) - grey)
    seen = np.isfinite(values)[..., None]
    return Image.fromarray(np.where(seen, mixed, 0.25 * grey + 180).round().astype(np.uint8))


def outlined(image: Picture, region: NDArray[np.bool_], width: int) -> Image.Image:
    """A picture with a region (h, w) of its own pixels outlined, `width` pixels wide: a coloured line inside the region's
    edge, with a white one around it."""
    from scipy import ndimage

    picture = to_pil(image)
    size = width, max(1, round(picture.height * width / picture.width))
    pixels = np.array(picture.resize(size, Image.Resampling.BICUBIC))
    large = np.asarray(Image.fromarray(region).resize(size, Image.Resampling.NEAREST), bool)
    thick = max(2, width // 120)
    pixels[ndimage.binary_dilation(large, iterations=max(1, thick // 2)) & ~large] = 255
    pixels[large & ~ndimage.binary_erosion(large, iterations=thick)] = OUTLINE
    return Image.fromarray(pixels)


def seen_part(explanation: Explanation, image: Picture, width: int) -> tuple[Explanation, Image.Image]:
    """The explanation in coordinates of the part that the network saw, and that part of the picture, `width` pixels wide."""
    picture = to_pil(image)
    left, top, right, bottom = explanation.box
    inside = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    factor = width / (inside[2] - inside[0])
    size = width, max(1, round((inside[3] - inside[1]) * factor))
    left, right = ((edge - inside[0]) * factor for edge in (left, right))
    top, bottom = ((edge - inside[1]) * factor for edge in (top, bottom))
    part = picture.resize(size, Image.Resampling.BICUBIC, box=inside)
    return replace(explanation, box=(left, top, right, bottom), picture_size=size), part


def with_bar(rendered: Image.Image, scale: Scale) -> Image.Image:
    """A drawn map with a colour bar below it, from the lower limit to the upper one; the gap between is transparent."""
    gap, height = rendered.height // 40, rendered.height // 24
    both = Image.new("RGBA", (rendered.width, rendered.height + gap + height))
    both.paste(rendered, (0, 0))
    both.paste(colour_bar(scale, rendered.width, height), (0, rendered.height + gap))
    return both


def colour_bar(scale: Scale, width: int, height: int) -> Image.Image:
    """The colours from the lower limit of a scale to the upper one."""
    return Image.fromarray(scale.colours(np.linspace(scale.low, scale.high, width)[None].repeat(height, 0)))


def figure(explanation: Explanation, rendered: Image.Image, scale: Scale, width: int = 720) -> Image.Image:
    """A drawn map with its colour bar, its answer in words and its caption in one picture, `width` + 24 pixels wide."""
    factor = min(width / rendered.width, MAX_TALL * width / rendered.height)
    size = max(1, round(rendered.width * factor)), max(1, round(rendered.height * factor))
    height = size[1]
    font, small = ImageFont.load_default(17), ImageFont.load_default(14)
    words = wording.answer(explanation, scale.palette), caption(explanation, scale)
    lines = [line for paragraph in words for line in textwrap.wrap(paragraph, width // 8)]
    sheet = Image.new("RGB", (width + 24, height + 74 + 19 * len(lines)), "white")
    sheet.paste(rendered.resize(size, Image.Resampling.LANCZOS), (12, 12))
    sheet.paste(colour_bar(scale, width, 14), (12, height + 20))
    pen = ImageDraw.Draw(sheet)
    pen.text((12, height + 37), f"{scale.low:.3g}", "black", font)
    pen.text((width + 12, height + 37), f"{scale.high:.3g}", "black", font, anchor="ra")
    for number, line in enumerate(lines):
        pen.text((12, height + 63 + 19 * number), line, "black", small)
    return sheet


def captioned(picture: Image.Image, paragraphs: Sequence[str]) -> Image.Image:
    """A picture as it is, with paragraphs of text below it."""
    lines = [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, max(20, picture.width // 8))]
    sheet = Image.new("RGB", (picture.width + 24, picture.height + 36 + 19 * len(lines)), "white")
    sheet.paste(picture, (12, 12))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, line in enumerate(lines):
        pen.text((12, picture.height + 22 + 19 * number), line, "black", font)
    return sheet


def sheet(
    pictures: Mapping[str, Image.Image],
    columns: int = 4,
    width: int = 300,
    below: Mapping[str, Sequence[str]] | None = None,
) -> Image.Image:
    """Several drawn maps in one picture, in a grid, each under its name; `below` has lines that stand under a map."""
    font = ImageFont.load_default(15)
    lines = {name: textwrap.wrap(name, width // 8) for name in pictures}
    under = {
        name: [part for line in (below or {}).get(name, ()) for part in textwrap.wrap(line, width // 8)] for name in pictures
    }
    top = 20 * max(map(len, lines.values())) + 8
    heights = [round(picture.height * width / picture.width) for picture in pictures.values()]
    bottom = 20 * max(map(len, under.values()))
    height = max(heights) + top + bottom + 12
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * (width + 12) + 12, rows * height + 12), "white")
    pen = ImageDraw.Draw(page)
    for number, (name, picture) in enumerate(pictures.items()):
        left, upper = 12 + number % columns * (width + 12), 12 + number // columns * height
        for line, words in enumerate(lines[name]):
            pen.text((left, upper + 20 * line), words, "black", font)
        page.paste(picture.resize((width, heights[number]), Image.Resampling.LANCZOS), (left, upper + top))
        for line, words in enumerate(under[name]):
            pen.text((left, upper + top + heights[number] + 4 + 20 * line), words, "black", font)
    return page


def sheet_of_methods(explanations: Sequence[Explanation], image: Picture) -> Image.Image:
    """The maps of several methods for one picture, beside the picture itself; each with its own scale, stated in words."""
    first = explanations[0]
    pictures = {f"{first.target} = {first.target_value:.4g}, {first.model} ({first.weights})": to_pil(image)}
    for explanation in explanations:
        pictures[f"{explanation.title}: {scale_of(explanation).words}"] = overlay(explanation, image)
    return sheet(pictures)


def duration(seconds: float) -> str:
    """Seconds in words: '1.5 s', '63 ms' below one, '12 min' from two minutes on, '2.5 h' from two hours on."""
    if seconds >= 120:
        return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def caption(explanation: Explanation, scale: Scale | None = None) -> str:
    """Target, model, method and settings of a map, and how to read its colours where it is drawn in those of a scale: one
    paragraph of plain text."""
    options = ", ".join(f"{name} {value}" for name, value in explanation.options.items())
    where = f" at {explanation.cut}" if explanation.cut else ""
    rows, columns = explanation.heatmap.shape
    facts = "".join(f" {name[0].upper()}{name[1:]}: {_fact(name, value)}." for name, value in explanation.facts.items())
    model = f"{explanation.model} ({explanation.weights}){where}"
    method = f"{explanation.title}{f' ({options})' if options else ''}"
    cost = f"{explanation.passes}; {duration(explanation.seconds)}"
    return (
        f"Target: {explanation.target} = {explanation.target_value:.4g}. Model: {model}. "
        f"Method: {method}, {explanation.precision} precision, seed {explanation.seed}. "
        f"Grid: {rows} x {columns}.{f' Colours: {scale.words}.' if scale else ''} Passes: {cost}.{facts}"
    )


def _fact(name: str, value: float) -> str:
    """Shares in percent, counts as whole numbers, everything else in the target's unit."""
    if any(word in name for word in ("gap", "share", "error", "R2")):
        return f"{value:.2%}"
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"


def alt_text(explanation: Explanation, what: str, palette: str = "red-blue") -> str:
    """Alternative text for screen readers: what the picture shows, the map's answer in words, and what is wrong with it.
    `palette` is the one of a signed map."""
    answer = wording.answer(explanation, palette)
    trouble = " ".join(explanation.health)
    return f"{what}: {explanation.title} for the {explanation.target}. {answer} {trouble}".strip()
