"""Labelled pictures and a model: its confusion matrix, and why it is wrong on single pictures."""

import streamlit as st

from xai_core.app.misclassifications import confusion, export, round_buttons
from xai_core.app.shared import display, drawer, page_setup, predictions, round_form, widgets

VIEWS = {
    "Confusion": confusion.confusion,
    "Groups": page_setup.view("misclassifications.attributes:show", takes=2),
    "Map": page_setup.view("misclassifications.embedding_map_view:show"),
    "Clusters": page_setup.view("misclassifications.clusters:show"),
    "Calibration": page_setup.view("misclassifications.class_scores:calibration", takes=2),
    "Per class": page_setup.view("misclassifications.class_scores:per_class", takes=1),
    "Most confused": page_setup.view("misclassifications.class_scores:most_confused", takes=2),
    "Two models": page_setup.view("misclassifications.two_models:two_models"),
    "Notes": page_setup.view("misclassifications.notes_view:show", takes=2),
}

page_setup.page("Misclassifications")
st.title("Where is the model wrong, and why?")
making_round = round_form.show_progress()
say = st.container()
dataset, model = predictions.dataset_and_model(say)

with display.errors():
    held = predictions.held(model, dataset)
    if held is None:
        st.stop()
    with st.sidebar:
        rows = predictions.filtered(held, dataset)
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
    if not making_round and not round_form.show(held, dataset, model):
        drawer.show(rows, dataset, model)
