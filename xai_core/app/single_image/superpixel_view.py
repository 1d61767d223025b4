"""The strongest superpixels of a map that has one weight for each, outlined on what the network saw."""

import streamlit as st

from xai_core.app.shared import cache, display
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.perturbation.superpixel_figure import (
    METHODS,
    SIDES,
    StrongestSuperpixels,
    strongest_superpixels,
    superpixels,
)
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import export, rendering
from xai_core.explanation.result import Explanation

MOST, USUAL = 50, 5  # superpixels that can be outlined
WIDTH = 480  # pixels
SCALE, EXPORTED_SCALE = 3, 4  # pixels of the figure for each that the network saw


def section(result: Explanation | XaiError | None, prepared: Prepared, chosen: Chosen) -> None:
    """The figure and its controls; nothing for a map without superpixels, or one that was not computed."""
    if isinstance(result, Explanation) and result.method in METHODS:
        _figure(result, prepared, chosen)


@st.fragment
def _figure(explanation: Explanation, prepared: Prepared, chosen: Chosen) -> None:
    st.markdown("#### The strongest superpixels")
    first, second, third = st.columns([1.2, 1.2, 1])
    number = first.slider("Superpixels", 1, MOST, USUAL, key="strongest", help=NUMBER, **LINK)
    side = second.segmented_control(
        "Evidence", [side.capitalize() for side in SIDES], default="Both", required=True, key="strongest_side", **LINK
    ).lower()
    fade = third.toggle("Fade the rest", key="strongest_fade", **LINK)
    with display.errors():
        key = f"superpixels {explanation.picture} {explanation.options['segmentation']} {explanation.options['segments']}"
        segments = cache.get_or_compute(key, lambda: superpixels(explanation, prepared))
        found = strongest_superpixels(explanation, prepared, number, side, segments=segments)
        with st.container(width=WIDTH):
            display.picture(
                rendering.encoded(found.picture(SCALE, fade=fade), "PNG"),
                f"{chosen.name}, what the network saw. {found.words}",
                caption=f"{found.words} {rendering.caption(explanation)}",
                what="the strongest superpixels",
                key="superpixels",
                width="stretch",
            )
        st.caption(markdown.escape(found.words))
        stem = f"{chosen.name}_{explanation.model}_{explanation.method}_superpixels_{side}_{number}"
        display.downloads(
            {"Superpixels with caption (PNG)": (f"{stem}.png", "image/png", lambda: exported(found, fade=fade))}
        )


def exported(found: StrongestSuperpixels, *, fade: bool) -> bytes:
    """The figure as PNG, with its words and the map's caption below it, and all settings in the text entry `xai_core`."""
    picture = found.picture(EXPORTED_SCALE, fade=fade)
    sheet = rendering.captioned(picture, [found.words, rendering.caption(found.explanation)])
    return export.png_with(sheet, export.strict_json(found.settings()))


NUMBER = "How many of the superpixels with the largest weights are outlined; of one side fewer may exist."
