"""The long work of this server: what waits, runs and has ended."""

import streamlit as st

from xai_core.app.jobs import job_list
from xai_core.app.shared import page_setup

page_setup.page("Jobs")
st.title("Jobs")
st.markdown(
    "Long work goes on here when you leave the page that started it. Every visitor sees the jobs on the server's "
    "pictures; only you see the jobs on your uploads. You can cancel the jobs that you started in this browser since it "
    "was opened; on your own computer, you can cancel all of them."
)
job_list.show()
