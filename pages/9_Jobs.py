"""The long work of this server: what waits, runs and has ended."""

import streamlit as st

from xai_core.app.jobs import job_list
from xai_core.app.shared import page_setup

page_setup.page("Jobs")
st.title("Jobs")
st.markdown(
    "Long work goes on here when you leave the page that started it. Jobs on the server's pictures can be seen, cancelled "
    "and resumed by every visitor; those on your uploads by you alone, as long as this session lasts."
)
job_list.show()
