"""Labelled pictures and a model: its confusion matrix, and why it is wrong on single pictures."""

import streamlit as st

from xai_core.app.misclassifications import (
    attributes,
    class_scores,
    clusters,
    confusion,
    embedding_map_view,
    export,
    notes_view,
    round_buttons,
    two_models,
)
from xai_core.app.shared import display, drawer, page_setup, predictions, round_form, widgets

VIEWS = {
    "Confusion": confusion.confusion,
    "Groups": lambda rows, dataset, model: attributes.show(rows, dataset),
    "Map": embedding_map_view.show,
    "Clusters": clusters.show,
    "Calibration": lambda rows, dataset, model: class_scores.calibration(rows, dataset),
    "Per class": lambda rows, dataset, model: class_scores.per_class(rows),
    "Most confused": lambda rows, dataset, model: class_scores.most_confused(rows, dataset),
    "Two models": two_models.two_models,
    "Notes": lambda rows, dataset, model: notes_view.show(rows, dataset),
}

page_setup.page("Misclassifications")
st.title("Where is the model wrong, and why?")
making_round = round_form.show_progress()
say = st.container()
dataset, model = predictions.dataset_and_model(say)

with display.errors():
    table = predictions.table(model, dataset)
    if table is None:
        st.stop()
    with st.sidebar:
        rows = predictions.filtered(table, dataset)
    view = st.segmented_control(
        "View", list(VIEWS), default="Confusion", required=True, key="view", label_visibility="collapsed", **widgets.LINK
    )
    if not len(rows.listed):
        st.info("No picture passes the filters on the left. Change or remove some of them.")
        st.stop()
    drawer.begin()
    VIEWS[view](rows, dataset, model)
    round_buttons.show(rows, dataset)
    export.section(rows, dataset, model)
    if not making_round and not round_form.show(rows.every, dataset, model):
        drawer.show(rows, dataset, model)
