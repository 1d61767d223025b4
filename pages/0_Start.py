"""Home: what each page answers, how far to trust a map, which models are ready. Imports no torch, so that it opens fast."""

import streamlit as st

from xai_core.app import home
from xai_core.app.shared import page_links, page_setup

page_setup.page(page_links.HOME)
st.title("Why did the model decide this?")
st.markdown(
    "Ask an image classifier where it looked, what would change its decision, and what differs between networks and "
    "methods. Everything runs on this machine, with pictures and a model that come with the installation."
)
page_links.link(
    page_links.SINGLE,
    "**Start: why is this astronaut a football helmet?**",
    {},
    icon=":material/play_arrow:",
    origin=page_links.HOME,
)

pages, status = st.columns([1.7, 1], gap="large")
with pages:
    home.pages()
    home.examples()
    home.datasets()
    home.limits()
with status:
    home.status()
    home.bring()
