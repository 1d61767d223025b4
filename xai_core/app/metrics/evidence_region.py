"""Where the evidence should lie, for metrics of localisation: in a drawn box, or in a quarter of a mosaic."""

from collections.abc import Mapping
from typing import Any

import streamlit as st
import torch
from PIL import Image, ImageDraw

from xai_core.app.charts.common import HIGHLIGHT
from xai_core.app.shared import box_choice, cache, display, network_outputs
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.core import markdown
from xai_core.data.box import Box
from xai_core.data.label_matching import first_name
from xai_core.data.mosaics import mosaic
from xai_core.data.samples import SAMPLES
from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability, Target
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import Outputs

UNKNOWN, BOX, MOSAIC = "Not known", "In a box", "In a mosaic"
LINKED = "metrics"  # the word by which the pictures with a box are linked
WIDTH = 300  # of the mosaic, in pixels
OTHERS = 3
ABOUT = (
    "Metrics of localisation measure how much of a map lies where the evidence should be. **In a box**: you draw a box "
    "around the object. A true map may still lie elsewhere, where the network uses the background. **In a mosaic**: the "
    "picture becomes one quarter of a mosaic of four pictures of different classes, so its evidence is in that quarter."
)


def choose() -> str:
    """The control that sets how the place of the evidence is known: UNKNOWN, BOX or MOSAIC."""
    region: str = st.segmented_control(
        "Where should the evidence lie?",
        [UNKNOWN, BOX, MOSAIC],
        default=UNKNOWN,
        required=True,
        key="evidence",
        width="stretch",
        help=ABOUT,
        **LINK,
    )
    return region


def place(
    region: str, model: ExplainableModel, chosen: Chosen, target: Target, metrics: Mapping[str, Mapping[str, Any]]
) -> tuple[Chosen, Box | None]:
    """The picture to explain and measure, and the box of the evidence in its pixels; None where it is not known."""
    if region == MOSAIC:
        return _mosaic(model, chosen, target, metrics)
    return chosen, box_choice.choose(chosen.picture, LINKED) if region == BOX else None


def _mosaic(
    model: ExplainableModel, chosen: Chosen, target: Target, metrics: Mapping[str, Mapping[str, Any]]
) -> tuple[Chosen, Box]:
    """The picture in the upper left quarter, beside three others, shown with an explanation."""
    others = _others(model, chosen, target)
    whole, boxes = mosaic([chosen.picture, *(cache.sample(name) for name in others)])
    outlined = whole.copy()
    ImageDraw.Draw(outlined).rectangle(boxes[0], outline=HIGHLIGHT, width=6)
    titles = [SAMPLES[name].title for name in others]
    beside = f"{', '.join(titles[:-1])} and {titles[-1]}"
    with st.expander("The mosaic", expanded=True), st.container(horizontal=True, gap="medium"):
        with st.container(width=WIDTH):
            alt = f"A mosaic: the picture in the upper left quarter, which is outlined, beside {beside}."
            display.picture(outlined, alt, key="mosaic", width="stretch")
        with st.container(width=420):
            st.markdown(
                f"The picture is in the outlined quarter, beside {beside}. The target is the same as for the picture alone: "
                "**a true map lies mostly in the outlined quarter**. A uniform map has about 25% of its evidence there."
            )
            _responses(model, chosen.picture, whole, others, target)
            if metrics.get("pointing_game", {}).get("tolerance"):
                st.caption(
                    "The quarters touch: with a tolerance, the pointing game counts a maximum just outside the quarter as "
                    "a hit. Set the tolerance to 0 under *Options of the metrics*."
                )
    return Chosen(whole, f"{chosen.name}_mosaic", None, ""), boxes[0]


def _others(model: ExplainableModel, chosen: Chosen, target: Target) -> list[str]:
    """The three samples with the weakest response; of other classes, where the model has the classes of the samples."""
    fitting = [name for name in SAMPLES if name != chosen.name]
    if model.wnids:
        fitting = [name for name in fitting if SAMPLES[name].true_class not in (None, chosen.true_class)]
    return sorted(fitting, key=lambda name: _response(model, target, cache.sample(name)))[:OTHERS]


def _class_of(target: Target) -> int | None:
    """The class that is explained; None for a similarity."""
    return target.classes[0] if isinstance(target, ClassLogit | ClassProbability | ClassMargin) else None


def _response(model: ExplainableModel, target: Target, picture: Image.Image) -> float:
    """The network's response to a picture: the probability of the class that is explained, or the similarity."""
    index = _class_of(target)
    if index is None:
        return float(target(Outputs(network_outputs.embedding(model, picture)))[0])
    logits = torch.from_numpy(network_outputs.logits(model, model.prepare(picture)))
    return float(ClassProbability((index,))(Outputs(logits[None], classify=lambda features: features))[0])


def _responses(model: ExplainableModel, picture: Image.Image, whole: Image.Image, others: list[str], target: Target) -> None:
    """The network's responses to the picture, the mosaic, and the other quarters: whether evidence may also lie there."""
    alone, in_mosaic = _response(model, target, picture), _response(model, target, whole)
    most, name = max((_response(model, target, cache.sample(name)), SAMPLES[name].title) for name in others)
    index = _class_of(target)
    known = "" if index is None else markdown.escape(first_name(model.class_name(index)))
    what = f"Probability of {known}" if known else "Similarity to the reference"
    first, second, third = (f"{value:.2f}" if index is None else _percent(value) for value in (alone, in_mosaic, most))
    st.caption(
        f"{what}: {first} for the picture alone, {second} for the mosaic. Of the other three pictures, {name} has the "
        f"highest value: {third}."
    )
    if most > alone / 2:
        st.warning(
            f"The network also responds to {name}, so the evidence lies in more than one quarter, and a true map may leave "
            "the outlined one. Choose a class that the network sees in this picture only."
        )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "under 0.1%"
