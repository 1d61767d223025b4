"""Where the evidence should lie, for metrics of localisation: in a box drawn by hand, or in a quarter of a mosaic."""

from collections.abc import Mapping
from typing import Any

import streamlit as st
import torch
from PIL import Image, ImageDraw

from xai_core.app.charts import metrics as charts_metrics
from xai_core.app.charts.common import HIGHLIGHT
from xai_core.app.shared import cache, network_outputs
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.data.label_matching import first_name
from xai_core.data.mosaics import mosaic
from xai_core.data.samples import SAMPLES
from xai_core.explanation.rendering import encoded
from xai_core.explanation.targets import ClassProbability, SimilarityTo, Target
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import Outputs

UNKNOWN, BOX, MOSAIC = "Not known", "In a box", "In a mosaic"
WIDTH = 300  # pixels of the picture on which the box is seen
SIDES = ("left", "top", "right", "bottom")
OTHERS = 3
ABOUT = (
    "Metrics of localisation ask how much of a map lies where the evidence should be. **In a box**: you draw it round the "
    "object; a map may be true and lie elsewhere, where the network looks at the background. **In a mosaic**: the picture "
    "becomes a quarter of a picture of four, the others of other classes; then its evidence is in that quarter."
)


def asked() -> str:
    """How it is to be known: UNKNOWN, BOX or MOSAIC."""
    return st.segmented_control(
        "Where should the evidence lie?",
        [UNKNOWN, BOX, MOSAIC],
        default=UNKNOWN,
        required=True,
        key="evidence",
        width="stretch",
        help=ABOUT,
        **LINK,
    )


def placed(
    where: str, model: ExplainableModel, chosen: Chosen, target: Target, metrics: Mapping[str, Mapping[str, Any]]
) -> tuple[Chosen, tuple[float, ...] | None]:
    """The picture to explain and measure, and the box in it: None where there is none."""
    if where == MOSAIC:
        return _mosaic(model, chosen, target, metrics)
    return chosen, _box(chosen) if where == BOX else None


def _mosaic(
    model: ExplainableModel, chosen: Chosen, target: Target, metrics: Mapping[str, Mapping[str, Any]]
) -> tuple[Chosen, tuple[float, ...]]:
    """The picture in the upper left quarter, beside three others, shown with what that means."""
    others = _others(model, chosen, target)
    whole, boxes = mosaic([chosen.picture, *(cache.sample(name) for name in others)])
    drawn = whole.copy()
    ImageDraw.Draw(drawn).rectangle(boxes[0], outline=HIGHLIGHT, width=6)
    titles = [SAMPLES[name].title for name in others]
    beside = f"{', '.join(titles[:-1])} and {titles[-1]}"
    with st.expander("The mosaic", expanded=True), st.container(horizontal=True, gap="medium"):
        st.image(
            encoded(drawn),
            width=WIDTH,
            output_format="JPEG",
            alt=f"A mosaic: the picture in the upper left quarter, which is outlined, beside {beside}.",
        )
        with st.container(width=420):
            st.markdown(
                f"The picture stands in the outlined quarter, beside {beside}. The question stays the one asked of the "
                "picture alone: **a true map lies mostly in the outlined quarter**; of a uniform map, about 25% lie there."
            )
            _how_sure(model, chosen.picture, whole, others, target)
            if metrics.get("pointing_game", {}).get("tolerance"):
                st.caption(
                    "The quarters touch: with a tolerance, the pointing game takes the middle for a hit. Set it to 0 "
                    "under *Options of the metrics*."
                )
    return Chosen(whole, f"{chosen.name}_mosaic", None, ""), boxes[0]


def _others(model: ExplainableModel, chosen: Chosen, target: Target) -> list[str]:
    """The three samples that have least of what is asked about: of other classes where the model's are the samples'."""
    fitting = [name for name in SAMPLES if name != chosen.name]
    if model.wnids:
        fitting = [name for name in fitting if SAMPLES[name].true_class not in (None, chosen.true_class)]
    return sorted(fitting, key=lambda name: _said(model, target, cache.sample(name)))[:OTHERS]


def _said(model: ExplainableModel, target: Target, picture: Image.Image) -> float:
    """How much a picture has, to the network, of what is asked about: the class's probability, or the similarity."""
    if isinstance(target, SimilarityTo):
        return float(target(Outputs(network_outputs.embedding(model, picture)))[0])
    logits = torch.from_numpy(network_outputs.logits(model, model.prepare(picture)))
    return float(ClassProbability(target.classes)(Outputs(logits[None], classify=lambda features: features))[0])


def _how_sure(model: ExplainableModel, picture: Image.Image, whole: Image.Image, others: list[str], target: Target) -> None:
    """What the network says of the picture, the mosaic, and the other parts: whether evidence may lie elsewhere, too."""
    alone, among = _said(model, target, picture), _said(model, target, whole)
    most, name = max((_said(model, target, cache.sample(name)), SAMPLES[name].title) for name in others)
    similar = isinstance(target, SimilarityTo)
    what = "Similarity to the reference" if similar else f"Probability of {first_name(model.class_name(target.classes[0]))}"
    first, second, third = (f"{value:.2f}" if similar else _percent(value) for value in (alone, among, most))
    st.caption(
        f"{what}: {first} for the picture alone, {second} for the mosaic. Of the others alone, {name} has most: {third}."
    )
    if most > alone / 2:
        st.warning(
            f"The network finds much of this in {name} too, so that evidence lies in more than one quarter: a true map may "
            "leave the outlined one. Ask about a class that it sees in the picture only."
        )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "under 0.1%"


def _box(chosen: Chosen) -> tuple[float, ...] | None:
    """A box drawn on the picture, or typed; both are the same."""
    width, height = chosen.picture.size
    with st.expander("The box", expanded=True), st.container(horizontal=True, gap="medium"):
        numbers = st.container(width=220)
        with numbers:
            st.caption("Drag over the picture to draw a box, or type its edges, in the picture's pixels.")
            limits = {"left": width, "top": height, "right": width, "bottom": height}
            usual = {"left": width // 4, "top": height // 4, "right": 3 * width // 4, "bottom": 3 * height // 4}
            edges = [
                st.number_input(side.capitalize(), 0, limits[side], usual[side], key=f"{side}-{width}x{height}", **LINK)
                for side in SIDES
            ]
        box = tuple(float(edge) for edge in edges)
        whole = box[0] < box[2] and box[1] < box[3]
        st.altair_chart(
            charts_metrics.box_picker(chosen.picture, box if whole else None, WIDTH),
            width="content",
            key=f"drawing-{width}x{height}",
            on_select=lambda: _take_box(width, height),
            selection_mode="brush",
            alt=f"The picture with the box from {box[0]:g}, {box[1]:g} to {box[2]:g}, {box[3]:g} pixels.",
        )
    if not whole:
        st.info("The box is empty: its left edge must lie before its right one, and its top above its bottom.")
        return None
    return box


def _take_box(width: int, height: int) -> None:
    """What was drawn, as the numbers beside it. (The chart counts y from below.)"""
    drawn = st.session_state[f"drawing-{width}x{height}"]["selection"].get("brush") or {}
    if {"x", "y"} <= drawn.keys():
        across = sorted(min(max(round(edge), 0), width) for edge in drawn["x"])
        down = sorted(min(max(round(height - edge), 0), height) for edge in drawn["y"])
        if across[0] < across[1] and down[0] < down[1]:
            for side, edge in zip(SIDES, (across[0], down[0], across[1], down[1]), strict=True):
                st.session_state[f"{side}-{width}x{height}"] = edge
