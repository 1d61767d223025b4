"""One training: how each sample's prediction moved over the epochs."""

import streamlit as st

from xai_core.app import evolution, evolution_sections, evolution_view, frame, show

frame.page("Training evolution")
st.title("Training evolution")
st.markdown(
    "How each sample's prediction moved while the network learned: what it knew early, what it forgot, what it never got."
)
with show.errors():
    with st.sidebar:
        chosen = evolution.runs()
    if chosen is None:
        evolution.nothing_yet()
        st.stop()
    with st.sidebar:
        view = evolution_view.view(chosen.run, chosen.other)
    evolution.facts(view)
    evolution.detail(view, *evolution.overview(view))
    evolution_sections.more(view)
