"""One training: how each sample's prediction moved over the epochs."""

import streamlit as st

from xai_core.app.evolution import overview, sections, selection
from xai_core.app.shared import display, page_setup

page_setup.page("Training evolution")
st.title("Training evolution")
st.markdown(
    "How each sample's prediction moved while the network learned: what it knew early, what it forgot, what it never got."
)
with display.errors():
    with st.sidebar:
        chosen = overview.runs()
    if chosen is None:
        overview.nothing_yet()
        st.stop()
    with st.sidebar:
        view = selection.view(chosen.run, chosen.other)
    overview.facts(view)
    overview.detail(view, *overview.overview(view))
    sections.more(view)
