"""One picture, one question, several networks: do they look at the same places, and do they predict the same?"""

import streamlit as st

from xai_core.app.networks import columns, scores, sections
from xai_core.app.shared import display, network_choice, page_setup, widgets

page_setup.page("Model comparison")
st.title("Compare networks")
st.markdown(
    "One picture, one question, several networks: do they predict the same, and do they look at the same places? An "
    "untrained twin shows what comes from the architecture and the picture alone."
)
messages = st.container()
with st.sidebar:
    chosen = widgets.picture(messages, network_choice.first_picture())
    networks = network_choice.choose(network_choice.of_worlds(), messages)
    question = columns.question(networks)
    common_scale, smooth = columns.view()
    measuring = scores.settings()
if chosen is None:
    st.stop()
if len(networks) < 2:
    st.info("Choose at least two networks on the left.")
    st.stop()

with display.errors():
    with st.container(key="answers"):
        st.markdown(f"#### {question.words[0].upper()}{question.words[1:]}")
        columns.about_mark(chosen, networks)
        answers = columns.answers(chosen, networks, question)
        measured = scores.measured(answers, chosen, question, measuring)
        columns.columns(answers, chosen, common_scale, smooth, lambda network: scores.show(measured.get(network, {})))
        scores.legend(measured)
    if answers:
        names = ["Agreement", "Difference", "Many pictures", "Download"]
        section = st.segmented_control("More", names, default="Agreement", required=True, key="more", **widgets.LINK)
        if section == "Agreement":
            sections.agreement(answers)
        elif section == "Difference":
            sections.difference(answers, chosen)
        elif section == "Many pictures":
            sections.pictures(networks, question)
        else:
            sections.downloads(answers, chosen, question)
