"""Which model, which data, which explanations, and how far each can be trusted: a report to take away."""

import streamlit as st

from xai_core import reporting
from xai_core.app import frame
from xai_core.app.pickers import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.models import weights
from xai_core.models.catalog import cards

frame.page("Report")
st.title("Report")
st.markdown(
    "Which model, trained on what, and explained how: the cards of models and methods in one document, for those who "
    "have to judge what a map is worth."
)
known = cards()
ready = [id for id, card in known.items() if any(weights.find(one) for one in card.checkpoints)]
models = st.multiselect("Models", known, ready, format_func=lambda id: known[id].title, key="models", **LINK)
methods = st.multiselect(
    "Methods", METHODS, ["grad_cam", "integrated_gradients", "occlusion", "lime", "random_map"],
    format_func=lambda id: METHODS[id].title, key="methods", **LINK,
)  # fmt: skip
if not models or not methods:
    st.info("Choose at least one model and one method.")
    st.stop()

said = reporting.report([known[id] for id in models], [METHODS[id] for id in methods])
with st.container(horizontal=True):
    for label, name, mime, make in (
        ("Markdown", "report.md", "text/markdown", said.encode),
        ("PDF", "report.pdf", "application/pdf", lambda: reporting.to_pdf(said)),
    ):
        st.download_button(label, make, name, mime, on_click="ignore", icon=":material/download:")
with st.container(border=True):
    st.markdown(said.split("\n", 1)[1])  # the page has a title already
