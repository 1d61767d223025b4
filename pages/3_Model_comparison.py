"""One picture, one question, several networks: do they look at the same places, and do they say the same?"""

import streamlit as st

from xai_core.app import compare_models, compute, frame, model_sections, pickers, session, show

frame.page("Model comparison")
by_link = session.opened_by_link()
st.title("Compare networks")
say = st.container()
with st.sidebar:
    chosen = pickers.picture(say)
    networks = compare_models.networks()
    asked = compare_models.question()
    common, smooth = compare_models.view()
if chosen is None:
    st.stop()
if len(networks) < 2:
    st.info("Choose at least two networks on the left.")
    st.stop()

with show.errors():
    st.markdown(f"#### {asked.words[0].upper()}{asked.words[1:]}")
    found = compare_models.known(chosen, networks, asked)
    missing = [network for network in networks if network not in found]
    name = f"networks {networks} {asked} {chosen.name}"
    if missing and compute.wanted(name, compare_models.estimate(missing, asked), by_link, button="Compare"):
        compare_models.ask(chosen, missing, asked, name)
        found = compare_models.known(chosen, networks, asked)
    compare_models.columns(found, chosen, common, smooth)
    if found:
        names = ["Agreement", "Difference", "Many pictures", "Download"]
        section = st.segmented_control("More", names, default="Agreement", required=True, key="more", **pickers.LINK)
        if section == "Agreement":
            model_sections.agreement(found)
        elif section == "Difference":
            model_sections.difference(found, chosen)
        elif section == "Many pictures":
            model_sections.pictures(networks, asked)
        else:
            model_sections.downloads(found, chosen, asked)
