"""A report on models and methods for download: what they are, how they were trained, how far maps can be trusted."""

import streamlit as st

from xai_core.analysis import report
from xai_core.app.shared import display, page_setup
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards

DEFAULT_METHODS = ["grad_cam", "integrated_gradients", "occlusion", "lime", "random_map"]

page_setup.page("Report")
st.title("Report")
st.markdown(
    "The cards of models and methods in one document, for readers who have to judge what a map is worth: how each model was "
    "trained, how each map is computed, and what it can and cannot show."
)
models_by_id = cards()
ready = [id for id, card in models_by_id.items() if any(locate.find(checkpoint) for checkpoint in card.checkpoints)]
models = st.multiselect("Models", models_by_id, ready, format_func=lambda id: models_by_id[id].title, key="models", **LINK)
methods = st.multiselect(
    "Methods", METHODS, DEFAULT_METHODS, format_func=lambda id: METHODS[id].title, key="methods", **LINK
)
if not models or not methods:
    st.info("Choose at least one model and one method.")
    st.stop()

text = report.report([models_by_id[id] for id in models], [METHODS[id] for id in methods])
display.downloads(
    {
        "Markdown": ("report.md", "text/markdown", text),
        "PDF": ("report.pdf", "application/pdf", lambda: report.to_pdf(text)),
    }
)
st.html(
    "<style>[data-testid='stMarkdownContainer'] { overflow-x: auto; overflow-wrap: anywhere; }</style>"
)  # narrow screens
with st.container(border=True):
    st.markdown(text.split("\n", 1)[1])  # without its title, which the page has already
