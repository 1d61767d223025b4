"""Which model, which data, which explanations, and how far each can be trusted: a report to take away."""

import streamlit as st

from xai_core.analysis import report
from xai_core.app.shared import page_setup
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards

page_setup.page("Report")
st.title("Report")
st.markdown(
    "Which model, trained on what, and explained how: the cards of models and methods in one document, for those who "
    "have to judge what a map is worth."
)
known = cards()
ready = [id for id, card in known.items() if any(locate.find(one) for one in card.checkpoints)]
models = st.multiselect("Models", known, ready, format_func=lambda id: known[id].title, key="models", **LINK)
methods = st.multiselect(
    "Methods", METHODS, ["grad_cam", "integrated_gradients", "occlusion", "lime", "random_map"],
    format_func=lambda id: METHODS[id].title, key="methods", **LINK,
)  # fmt: skip
if not models or not methods:
    st.info("Choose at least one model and one method.")
    st.stop()

said = report.report([known[id] for id in models], [METHODS[id] for id in methods])
with st.container(horizontal=True):
    for label, name, mime, make in (
        ("Markdown", "report.md", "text/markdown", said.encode),
        ("PDF", "report.pdf", "application/pdf", lambda: report.to_pdf(said)),
    ):
        st.download_button(label, make, name, mime, on_click="ignore", icon=":material/download:")
with st.container(border=True):
    st.markdown(said.split("\n", 1)[1])  # the page has a title already
