"""Which maps tell the truth about the network: measurements beside controls."""

import streamlit as st

from xai_core.app import frame, metrics_image, metrics_run, pickers, session, show

frame.page("Faithfulness metrics")
by_link = session.opened_by_link()
st.title("Faithfulness metrics")
st.markdown("Which of these maps tell the truth about the network? Measured, beside maps that know nothing of it.")
one, run = st.tabs(["One image", "A run"], key="view", on_change="rerun", **pickers.LINK)
if one.open:
    with one, show.errors():
        metrics_image.page(by_link)
if run.open:
    with run, show.errors():
        metrics_run.show()
