"""One training: how each sample's prediction changed over the epochs."""

import streamlit as st

from xai_core.app.evolution import overview, sections, selection
from xai_core.app.shared import display, page_setup

page_setup.page("Training evolution")
st.title("Training evolution")
st.markdown(
    "How each sample's prediction changed during training: which samples were learned early, which were forgotten, and "
    "which were never right."
)
with display.errors():
    with st.sidebar:
        chosen = overview.choose()
    if chosen is None:
        overview.no_runs()
        st.stop()
    with st.sidebar:
        view = selection.select(chosen.run, chosen.other)
    overview.facts(view)
    overview.figure(view)
    overview.changes_and_classes(view)
    overview.detail(view, *overview.overview(view))
    sections.more(view)
