"""The network's predictions for a picture, and one explanation: its maps, display controls, caption and downloads."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import streamlit as st
from PIL import Image

from xai_core.app.charts import common
from xai_core.app.shared import box_choice, picture_viewer, report_items
from xai_core.app.shared.display import downloads, finding
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.method import Method
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.data.label_matching import first_name
from xai_core.explanation import export, heatmaps, rendering, wording
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.models.explainable import Prediction

TOP = 5  # classes that are shown in any case
FIGURE = 960  # pixels: longer side of the downloaded picture
LINKED = "single image"  # the word by which the page's pictures are linked
SIZES = {"Small": 220, "Medium": 296, "Large": 480}  # pixels: width of a panel


def heading(title: str, ranked: list[Prediction]) -> None:
    """The most probable class, or that the network has no classes."""
    if ranked:
        name = markdown.escape(first_name(ranked[0].name))
        st.markdown(f"#### {markdown.escape(title)} says **{name}**, {ranked[0].probability:.0%}")
    else:
        st.markdown(f"#### {markdown.escape(title)} has no classes")


def predictions(ranked: list[Prediction], target: Target | None, on_pick: Callable[[], None]) -> None:
    """The top classes and those that are asked about as bars. A click on one calls `on_pick` (by keyboard, the select box of
    classes does the same)."""
    explained, rival = getattr(target, "classes", (None,))[0], getattr(target, "rivals", (None,))[0]
    bars = tuple(
        prediction for rank, prediction in enumerate(ranked) if rank < TOP or prediction.index in (explained, rival)
    )
    words = ", ".join(
        f"{first_name(prediction.name)} {prediction.probability:.0%}{_role(prediction.index, explained, rival)}"
        for prediction in bars
    )
    st.vega_lite_chart(
        _bars(bars, explained, rival),
        key="bars",
        on_select=on_pick,
        selection_mode="pick",
        alt=f"The most probable classes: {words}.",
    )
    report_items.add_button(
        lambda: report_items.chart_item(
            common.prediction_bars(bars, explained, rival), f"The most probable classes: {words}."
        ),
        "The most probable classes", "bars",
    )  # fmt: skip


def _role(index: int, explained: int | None, rival: int | None) -> str:
    return " (explained)" if index == explained else " (its rival)" if index == rival else ""


@lru_cache(64)
def _bars(predictions: tuple[Prediction, ...], explained: int | None, rival: int | None) -> dict[str, Any]:
    """The chart is the same for every method, and takes longer to build than to show."""
    return common.spec(common.prediction_bars(predictions, explained, rival))


def show(
    result: Explanation | XaiError | None, chosen: Chosen, method: Method, beside: Mapping[str, Any] | None = None
) -> None:
    """An explanation, or the error that it ended with; nothing if it was not computed. `beside` goes into its JSON."""
    if isinstance(result, XaiError):
        st.error(error_text(result))
    elif result is not None:
        _explanation(result, chosen, method, beside)


@st.fragment
def _explanation(explanation: Explanation, chosen: Chosen, method: Method, beside: Mapping[str, Any] | None) -> None:
    """Input, map and overlay with their display controls. Changing these draws the map again but does not recompute it."""
    for problem in explanation.health:
        st.warning(problem)
    panels = st.container()
    display = _display_controls(explanation)
    opacity, threshold = picture_viewer.opacity(), picture_viewer.threshold()  # a file is made while no page runs

    def overlay(longest: int) -> Image.Image:
        return rendering.overlay(
            explanation, chosen.picture, display.scale, size=_fitted(chosen.picture.size, longest),
            opacity=opacity, threshold=threshold, smooth=display.smooth,
        )  # fmt: skip

    map_of = partial(picture_viewer.Panel, explanation=explanation, scale=display.scale)
    alt = partial(rendering.alt_text, explanation, palette=display.scale.palette)
    with panels:
        picture_viewer.show(
            chosen.picture,
            [
                map_of("Input – what the network saw", f"{chosen.name}: the part that the network saw", "picture"),
                map_of("Map – point at a cell to read its value", alt("Map"), "map"),
                map_of("Overlay – on the whole picture", alt("Overlay"), "overlay", whole=True),
            ],
            "maps",
            linked=LINKED,
            width=display.width,
            smooth=display.smooth,
            tools=("box", "brush"),
            on_drawn=lambda drawn: box_choice.fill(drawn.box, chosen.picture.size),
            whole_page=True,
        )
    finding(wording.answer(explanation, display.scale.palette), bold=True)
    st.caption(markdown.escape(rendering.caption(explanation, display.scale)))
    _reading(explanation, method)
    _downloads(explanation, overlay, display.scale, chosen.name, beside)


class Display(NamedTuple):
    """How a map is drawn; `width` is that of a panel in pixels."""

    scale: rendering.Scale
    smooth: bool
    width: int


def _display_controls(explanation: Explanation) -> Display:
    kind = "diverging" if explanation.signed else "sequential"
    first, second, third = st.columns([1, 1.2, 1])
    modes = heatmaps.sensible_ranges(explanation.heatmap, explanation.signed)
    mode = first.selectbox(
        "Colour range", modes, format_func=str.capitalize, key=f"range-{kind}", help=_ranges(modes), **LINK
    )
    smooth = second.segmented_control(
        "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", help=GRID, **LINK
    )
    custom, clip = None, None
    with third.expander("More display settings"):
        size = st.radio("Size", SIZES, index=1, horizontal=True, key="size", **LINK)
        palette = st.selectbox("Palette", rendering.PALETTES[kind], key=f"palette-{kind}", **LINK)
        fine = max(explanation.heatmap.shape) > 64
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
            reach = float(abs(explanation.heatmap).max()) or 1.0
            low = st.number_input(
                "Lower limit", value=-reach if explanation.signed else 0.0, format="%.4g", key="low", **LINK
            )
            high = st.number_input("Upper limit", value=reach, format="%.4g", key="high", **LINK)
            custom = (low, high)
            if low >= high:
                st.info("The lower limit must be below the upper limit. The map is shown with its own range.")
                mode, custom = modes[0], None
    scale = rendering.scale_of(explanation, mode=mode, clip=clip, palette=palette, custom=custom)
    return Display(scale, smooth == "Smooth", SIZES[size])


GRID = "Native grid: the cells that the method computed. Smooth: interpolated between these cells, for display only."


def _ranges(modes: list[str]) -> str:
    return "  \n".join(f"**{mode.capitalize()}**: {heatmaps.RANGE_MODES[mode]}." for mode in modes)


def _reading(explanation: Explanation, method: Method) -> None:
    with st.expander("How to read this map", icon=":material/menu_book:"):
        sign = (
            "Warm colours are evidence for the target, cool colours evidence against it; pale cells are neither."
            if explanation.signed
            else "This map has no sign: it shows how much a cell matters, not whether it speaks for or against the target."
        )
        card = "\n\n".join(f"**{question}**: {answer}" for question, answer in method.card.items())
        st.markdown(
            f"{card}\n\n**Colours**: {sign}\n\n"
            "**For every map**: it shows what this network used, not what is in the picture, and not what a person would "
            "use. A plausible map can be wrong: compare methods, change the target, and look at the native grid before you "
            "trust an edge."
        )
        st.code(method.definition, language=None, wrap_lines=True)


def _downloads(
    explanation: Explanation,
    overlay: Callable[[int], Image.Image],
    scale: rendering.Scale,
    name: str,
    beside: Mapping[str, Any] | None,
) -> None:
    stem = f"{name}_{explanation.model}_{explanation.method}"
    st.caption("To share this view, copy the address of this page. To keep it, download:")
    downloads(
        {
            "Picture with caption (PNG)": (
                f"{stem}.png", "image/png",
                lambda: export.png_bytes(rendering.figure(explanation, overlay(FIGURE), scale), explanation),
            ),
            "Raw map (NPZ)": (f"{stem}.npz", "application/octet-stream", lambda: export.npz_bytes(explanation)),
            "Settings (JSON)": (f"{stem}.json", "application/json", lambda: export.json_text(explanation, beside)),
        },
        lambda: report_items.add_map(
            explanation, lambda: rendering.with_bar(overlay(FIGURE), scale), scale, f"The map by {explanation.title}", "map"
        ),
    )  # fmt: skip


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
