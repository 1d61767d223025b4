"""Labelled pictures and a model that gets some of them wrong: from the confusion matrix to the reason."""

import streamlit as st

from xai_core.app.misclassifications import clusters, confusion, predictions
from xai_core.app.shared import display, page_setup, widgets

page_setup.page("Misclassifications")
st.title("Where is the model wrong, and why?")
say = st.container()
with st.sidebar:
    dataset = predictions.dataset(say)
    model = widgets.model(say)
if dataset is None:
    st.stop()

with display.errors():
    table = predictions.table(model, dataset)
    if table is None:
        st.stop()
    with st.sidebar:
        kept = predictions.filtered(table, dataset)
    view = st.segmented_control(
        "View", confusion.VIEWS, default="Confusion", required=True, key="view", label_visibility="collapsed", **widgets.LINK
    )
    if not len(kept):
        st.info("No picture passes the filters on the left. Widen them.")
        st.stop()
    if view == "Confusion":
        confusion.confusion(kept, dataset, model)
    elif view == "Two models":
        confusion.two_models(kept, dataset, model)
    elif view == "Clusters":
        clusters.show(kept, dataset, model)
    elif view == "Notes":
        predictions.notes_of(dataset)
    else:
        confusion.tables(kept)
