"""Labelled pictures and a model that gets some of them wrong: from the confusion matrix to the reason."""

import streamlit as st

from xai_core.app import cells, clusters, frame, pickers, predictions, show

frame.page("Misclassifications")
st.title("Where is the model wrong, and why?")
say = st.container()
with st.sidebar:
    dataset = predictions.dataset(say)
    model = pickers.model(say)
if dataset is None:
    st.stop()

with show.errors():
    table = predictions.table(model, dataset)
    if table is None:
        st.stop()
    with st.sidebar:
        kept = predictions.filtered(table, dataset)
    view = st.segmented_control(
        "View", cells.VIEWS, default="Confusion", required=True, key="view", label_visibility="collapsed", **pickers.LINK
    )
    if not len(kept):
        st.info("No picture passes the filters on the left. Widen them.")
        st.stop()
    if view == "Confusion":
        cells.confusion(kept, dataset, model)
    elif view == "Two models":
        cells.two_models(kept, dataset, model)
    elif view == "Clusters":
        clusters.show(kept, dataset, model)
    elif view == "Notes":
        predictions.notes_of(dataset)
    else:
        cells.tables(kept)
