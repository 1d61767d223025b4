"""Which maps are true to the network: measured for one image or for a run over many pictures."""

import streamlit as st

from xai_core.app.metrics import image_tab
from xai_core.app.shared import display, page_setup, widgets

page_setup.page("Faithfulness metrics")
st.title("Faithfulness metrics")
st.markdown(
    "Which of these maps show what the network really uses? Each map is measured beside controls: maps that do not depend "
    "on the network."
)
image, run = st.tabs(["One image", "A run"], key="view", on_change="rerun", **widgets.LINK)
if image.open:
    with image, display.errors():
        image_tab.page()
if run.open:
    with run, display.errors():
        page_setup.view("metrics.run_tab:show")()
