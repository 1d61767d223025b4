import streamlit as st

from xai_core.app import frame, metrics_run

frame.page("Scratch")
st.title("Scratch")
metrics_run.show()
