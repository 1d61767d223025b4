"""A box on a picture, which the visitor draws or types: around the object, or where the evidence should lie."""

import streamlit as st
from PIL import Image

from xai_core.app.charts.metrics import box_picker
from xai_core.app.shared.widgets import LINK
from xai_core.data.box import Box

WIDTH = 300  # of the picture on which the box is drawn, in pixels
SIDES = ("left", "top", "right", "bottom")


def choose(picture: Image.Image) -> Box | None:
    """The controls for a box on a picture, and the box in its pixels; None, with a sentence, while it is empty."""
    width, height = picture.size
    with st.expander("The box", expanded=True), st.container(horizontal=True, gap="medium"):
        numbers = st.container(width=220)
        with numbers:
            st.caption("Drag over the picture to draw a box, or type its edges in pixels of the picture.")
            limits = {"left": width, "top": height, "right": width, "bottom": height}
            usual = {"left": width // 4, "top": height // 4, "right": 3 * width // 4, "bottom": 3 * height // 4}
            edges = [
                st.number_input(side.capitalize(), 0, limits[side], usual[side], key=f"{side}-{width}x{height}", **LINK)
                for side in SIDES
            ]
        box: Box = (float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3]))
        whole = box[0] < box[2] and box[1] < box[3]
        st.altair_chart(
            box_picker(picture, box if whole else None, WIDTH),
            width="content",
            key=f"drawing-{width}x{height}",
            on_select=lambda: take(width, height),
            selection_mode="brush",
            alt=f"The picture with the box from {box[0]:g}, {box[1]:g} to {box[2]:g}, {box[3]:g} pixels.",
        )
    if not whole:
        st.info("The box is empty: left must be less than right, and top less than bottom.")
        return None
    return box


def take(width: int, height: int) -> None:
    """Write the edges of the drawn box into the number fields. The chart counts y from below."""
    brush = st.session_state[f"drawing-{width}x{height}"]["selection"].get("brush") or {}
    if {"x", "y"} <= brush.keys():
        across = sorted(min(max(round(edge), 0), width) for edge in brush["x"])
        down = sorted(min(max(round(height - edge), 0), height) for edge in brush["y"])
        if across[0] < across[1] and down[0] < down[1]:
            for side, edge in zip(SIDES, (across[0], down[0], across[1], down[1]), strict=True):
                st.session_state[f"{side}-{width}x{height}"] = edge
