"""The link from a class that is explained to the picture that the network would answer with it most strongly."""

import streamlit as st

from xai_core.app.shared import page_links, session
from xai_core.app.shared.widgets import SOURCE
from xai_core.core import markdown
from xai_core.data.label_matching import first_name
from xai_core.explanation.targets import ClassLogit, ClassProbability, Target
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards


def show(model: ExplainableModel, target: Target) -> None:
    """The link, where the target is a class; with the same model, weights and picture."""
    if not isinstance(target, ClassLogit | ClassProbability):
        return
    index = target.classes[0]
    name = markdown.escape(first_name(model.class_name(index)))
    kept = {"picture", session.UPLOAD, *SOURCE, f"{model.id}.weights"}
    settings = {name: value for name, value in st.query_params.to_dict().items() if name in kept}
    settings |= {
        "model": cards()[model.id].title,
        "more": "Synthesis",
        "climb": "Score of a class",
        f"{model.id}.wanted": f"{model.class_name(index)} ({index})",
    }
    page_links.link(
        page_links.PAIRS, f"What would this network most like to see for {name}?", settings,
        icon=":material/auto_awesome:", origin=page_links.SINGLE,
        help="A picture is made whose score of this class is as high as possible, on the page Pairs",
    )  # fmt: skip
