"""A box on a picture, which the visitor draws or types: around the object, or where the evidence should lie."""

import streamlit as st
from PIL import Image

from xai_core.app.shared import picture_viewer
from xai_core.app.shared.picture_viewer import Panel
from xai_core.app.shared.widgets import LINK
from xai_core.data.box import Box

WIDTH = 300  # of the picture on which the box is drawn, in pixels
SIDES = ("left", "top", "right", "bottom")


def choose(picture: Image.Image, linked: str) -> Box | None:
    """The controls for a box on a picture, and the box in its pixels; None, with a sentence, while it is empty. A box that
    is drawn on another picture that is `linked` by this word is the same box."""
    width, height = picture.size
    with st.expander("The box", expanded=True), st.container(horizontal=True, gap="medium"):
        with st.container(width=220):
            st.caption("Drag over the picture to draw a box, or type its edges in pixels of the picture.")
            limits = {"left": width, "top": height, "right": width, "bottom": height}
            usual = {"left": width // 4, "top": height // 4, "right": 3 * width // 4, "bottom": 3 * height // 4}
            edges = [
                st.number_input(side.capitalize(), 0, limits[side], usual[side], key=f"{side}-{width}x{height}", **LINK)
                for side in SIDES
            ]
        box: Box = (float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3]))
        whole = box[0] < box[2] and box[1] < box[3]
        alt = f"The picture with the box from {box[0]:g}, {box[1]:g} to {box[2]:g}, {box[3]:g} pixels."
        with st.container(width=WIDTH):
            picture_viewer.show(
                picture,
                [Panel("", alt, "picture")],
                "box",
                linked=linked,
                width=WIDTH,
                sliders=False,
                tools=("box",),
                tool="box",
                box=box if whole else None,
                on_drawn=lambda drawn: fill(drawn.box, (width, height)),
            )
    if not whole:
        st.info("The box is empty: left must be less than right, and top less than bottom.")
        return None
    return box


def fill(box: Box | None, size: tuple[int, int]) -> None:
    """Write the edges of a box that was drawn on a picture of this size into the number fields. For callbacks."""
    for side, edge in zip(SIDES, box or (), strict=False):
        st.session_state[f"{side}-{size[0]}x{size[1]}"] = round(edge)
