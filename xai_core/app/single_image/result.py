"""The network's predictions for a picture, and one explanation: its maps, display controls, caption and downloads."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import streamlit as st
from PIL import Image

from xai_core.app.charts import common
from xai_core.app.shared import display
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.method import Method
from xai_core.core.errors import XaiError
from xai_core.data.label_matching import first_name
from xai_core.explanation import export, heatmaps, rendering
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import Prediction

FIGURE = 960  # pixels of the downloaded picture's longer side
SIZES = {"Small": 220, "Medium": 296, "Large": 480}  # pixels of a panel's width


def heading(title: str, ranked: list[Prediction]) -> None:
    """What the network says, or that it says nothing."""
    if ranked:
        st.markdown(f"#### {title} says **{first_name(ranked[0].name)}**, {ranked[0].probability:.0%}")
    else:
        st.markdown(f"#### {title} names no classes")


def predictions(ranked: list[Prediction], asked: int | None, on_pick) -> None:
    """The top classes as bars; a click on one asks about it (the select box 'Any class' does the same by keyboard)."""
    top = tuple(ranked[:5])
    said = ", ".join(f"{first_name(one.name)} {one.probability:.0%}" for one in top)
    st.vega_lite_chart(
        _bars(top, asked),
        key="bars",
        on_select=on_pick,
        selection_mode="pick",
        alt=f"The five most probable classes: {said}.",
    )


@lru_cache(64)
def _bars(top: tuple[Prediction, ...], asked: int | None) -> dict:
    """The same for every method, and slower to make than to show."""
    return common.spec(common.prediction_bars(top, asked))


def show(found: Explanation | XaiError | None, chosen: Chosen, method: Method) -> None:
    """A result, the reason why there is none, or nothing while nothing was asked."""
    if isinstance(found, XaiError):
        st.error(str(found))
    elif found is not None:
        explanation(found, chosen, method)


@st.fragment
def explanation(found: Explanation, chosen: Chosen, method: Method) -> None:
    """Input, map and overlay with their display controls; changing these computes nothing anew."""
    for trouble in found.health:
        st.warning(trouble)
    panels = st.container(horizontal=True, gap="small")
    shown = _display(found)

    def drawn(width: int) -> Image.Image:
        size = _fitted(chosen.picture.size, width)
        options = {"opacity": shown.opacity, "threshold": shown.threshold, "smooth": shown.smooth}
        return rendering.overlay(found, chosen.picture, shown.scale, size=size, **options)

    with panels:
        with st.container(width=shown.width):
            st.markdown("**Input** – what the network saw")
            st.image(
                rendering.encoded(rendering.seen_part(found, chosen.picture, 2 * found.input_size[1])[1]),
                width="stretch",
                output_format="JPEG",
                alt=f"{chosen.name}: the part of it the network saw",
            )
        with st.container(width=shown.width):
            st.markdown("**Map** – point at it to read values")
            st.vega_lite_chart(
                common.spec(common.readable_map(found, _map(found, shown.scale, shown.smooth), shown.scale, shown.width)),
                width="content",
                alt=rendering.alt_text(found, "Map"),
                key="map",
            )
        with st.container(width=shown.width):
            st.markdown("**Overlay** – on the whole picture")
            kind = "JPEG" if shown.smooth else "PNG"
            st.image(
                rendering.encoded(drawn(2 * shown.width), kind),
                width="stretch",
                output_format=kind,
                alt=rendering.alt_text(found, "Overlay"),
            )
    st.caption(rendering.caption(found, shown.scale))
    _reading(found, method)
    _downloads(found, drawn, shown.scale, chosen.name)


class Display(NamedTuple):
    """How a map is to be shown."""

    scale: rendering.Scale
    opacity: float
    threshold: float
    smooth: bool
    width: int


def _display(found: Explanation) -> Display:
    """The display controls; none of them computes anything of the map anew."""
    kind = "diverging" if found.signed else "sequential"
    first, second, third, fourth = st.columns([1, 1, 1, 1.2])
    opacity = first.slider("Opacity", 0.0, 1.0, 0.8, 0.05, key="opacity", **LINK)
    threshold = second.slider(
        "Hide below",
        0.0,
        0.95,
        0.0,
        0.05,
        key="threshold",
        help="As a share of the colour scale; overlay only.",
        **LINK,
    )
    modes = heatmaps.sensible_ranges(found.heatmap, found.signed)
    mode = third.selectbox(
        "Colour range", modes, format_func=str.capitalize, key=f"range-{kind}", help=_ranges(modes), **LINK
    )
    smooth = fourth.segmented_control(
        "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", help=GRID, **LINK
    )
    custom, clip = None, None
    with st.expander("More display settings"):
        size = st.segmented_control("Size", SIZES, default="Medium", required=True, key="size", **LINK)
        palette = st.selectbox("Palette", rendering.PALETTES[kind], key=f"palette-{kind}", **LINK)
        fine = max(found.heatmap.shape) > 64
        clip = st.slider(
            "Clip at percentile",
            90.0,
            100.0,
            99.0 if fine else 100.0,
            0.5,
            key=f"clip-{'fine' if fine else 'coarse'}",
            **LINK,
        )
        if mode == "custom":
            reach = float(abs(found.heatmap).max()) or 1.0
            low = st.number_input("Lower limit", value=-reach if found.signed else 0.0, format="%.4g", key="low", **LINK)
            high = st.number_input("Upper limit", value=reach, format="%.4g", key="high", **LINK)
            custom = (low, high)
            if low >= high:
                st.info("The lower limit must be below the upper one; showing the map's own range.")
                mode, custom = modes[0], None
    scale = rendering.scale_of(found, mode=mode, clip=clip, palette=palette, custom=custom)
    return Display(scale, opacity, threshold, smooth == "Smooth", SIZES[size])


GRID = "The native grid is what the method computed; smooth interpolates between its cells, for the eye only."


def _ranges(modes: list[str]) -> str:
    return "  \n".join(f"**{mode.capitalize()}**: {heatmaps.RANGE_MODES[mode]}." for mode in modes)


def _reading(found: Explanation, method: Method) -> None:
    with st.expander("What to read into this, and what not", icon=":material/menu_book:"):
        sign = (
            "Warm colours speak for the target, cool ones against it; pale is neither."
            if found.signed
            else "Only how much, never for or against: this map has no sign."
        )
        card = "\n\n".join(f"**{question}**: {answer}" for question, answer in method.card.items())
        st.markdown(
            f"{card}\n\n**Colours**: {sign}\n\n"
            "**Always:** it shows what this network used, not what is in the picture, and not what a person would use. "
            "A plausible map is no proof that the map is right: compare methods, change the target, and look at the "
            "native grid before you believe an edge."
        )
        st.code(method.definition, language=None, wrap_lines=True)


def _downloads(found: Explanation, drawn: Callable[[int], Image.Image], scale: rendering.Scale, name: str) -> None:
    stem = f"{name}_{found.model}_{found.method}"
    st.caption("To share exactly this view, copy the address of this page; to keep it, download:")
    display.downloads(
        {
            "Picture with caption (PNG)": (
                f"{stem}.png", "image/png",
                lambda: export.png_bytes(rendering.figure(found, drawn(FIGURE), scale), found),
            ),
            "Raw map (NPZ)": (f"{stem}.npz", "application/octet-stream", lambda: export.npz_bytes(found)),
            "Settings (JSON)": (f"{stem}.json", "application/json", lambda: export.json_text(found)),
        }
    )  # fmt: skip


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _map(found: Explanation, scale: rendering.Scale, smooth: bool) -> Image.Image:
    """The network's crop alone, at twice its resolution."""
    height, width = found.input_size
    return Image.fromarray(scale.colours(heatmaps.resize(found.heatmap, (2 * height, 2 * width), smooth)))
