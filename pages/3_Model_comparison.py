"""One picture, one question, several networks: do they look at the same places, and do they say the same?"""

import streamlit as st

from xai_core.app.networks import columns, sections
from xai_core.app.shared import display, network_choice, page_setup, progress, session, widgets

page_setup.page("Model comparison")
by_link = session.opened_by_link()
st.title("Compare networks")
say = st.container()
with st.sidebar:
    chosen = widgets.picture(say)
    networks = network_choice.choose()
    asked = columns.question()
    common, smooth = columns.view()
if chosen is None:
    st.stop()
if len(networks) < 2:
    st.info("Choose at least two networks on the left.")
    st.stop()

with display.errors():
    st.markdown(f"#### {asked.words[0].upper()}{asked.words[1:]}")
    found = columns.known(chosen, networks, asked)
    missing = [network for network in networks if network not in found]
    name = f"networks {networks} {asked} {chosen.name}"
    if missing and progress.should_start(name, columns.estimate(missing, asked), by_link, button="Compare"):
        columns.ask(chosen, missing, asked, name)
        found = columns.known(chosen, networks, asked)
    columns.columns(found, chosen, common, smooth)
    if found:
        names = ["Agreement", "Difference", "Many pictures", "Download"]
        section = st.segmented_control("More", names, default="Agreement", required=True, key="more", **widgets.LINK)
        if section == "Agreement":
            sections.agreement(found)
        elif section == "Difference":
            sections.difference(found, chosen)
        elif section == "Many pictures":
            sections.pictures(networks, asked)
        else:
            sections.downloads(found, chosen, asked)
