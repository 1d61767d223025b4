"""Which maps tell the truth about the network: measurements beside controls."""

import streamlit as st

from xai_core.app.metrics import image_tab, run_tab
from xai_core.app.shared import display, page_setup, session, widgets

page_setup.page("Faithfulness metrics")
by_link = session.opened_by_link()
st.title("Faithfulness metrics")
st.markdown("Which of these maps tell the truth about the network? Measured, beside maps that know nothing of it.")
one, run = st.tabs(["One image", "A run"], key="view", on_change="rerun", **widgets.LINK)
if one.open:
    with one, display.errors():
        image_tab.page(by_link)
if run.open:
    with run, display.errors():
        run_tab.show()
