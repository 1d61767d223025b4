"""One picture, one question, many methods: where do they agree, and does each pass its sanity check?"""

import streamlit as st

from xai_core.app.methods import sections, tiles
from xai_core.app.shared import display, explanations, network_outputs, page_setup, progress, session, widgets

page_setup.page("Method comparison")
by_link = session.opened_by_link()
st.title("Compare methods")
st.markdown("One picture, one question, several methods. Where they agree, trust grows; where they differ, look closer.")
say = st.container()
with st.sidebar:
    chosen = widgets.picture(say)
    model = widgets.model(say)
if chosen is None:
    st.stop()

with display.errors():
    ranked = network_outputs.ranked(model, model.prepare(chosen.picture))
    with st.sidebar:
        target = widgets.question(model, ranked, chosen.true_class, say)
        names = widgets.methods(model)
        how = tiles.view()
    if target is None:
        st.stop()
    if not names:
        st.info("Choose at least one method on the left.")
        st.stop()

    st.markdown(f"#### Explaining the {target.label(0, model.class_name)}")
    runs = explanations.runs(model, chosen, target, names)
    seconds = sum(run.estimate for run in runs if explanations.find(run) is None)
    name = explanations.name_of("comparison", runs)
    now = progress.should_start(name, seconds, at_once=by_link, button="Compare")
    found = tiles.tiles(runs, chosen, how, name, now)
    if found and not how.blind:
        names = ["Agreement", "Consensus", "Sanity check", "Layers", "Download"]
        section = st.segmented_control("More", names, default="Agreement", required=True, key="more", **widgets.LINK)
        if section in ("Agreement", "Consensus") and len(found) < 2:
            st.info("Choose two methods or more to see how far they agree.")
        elif section == "Agreement":
            sections.agreement(found)
        elif section == "Consensus":
            sections.consensus(found, chosen)
        elif section == "Sanity check":
            sections.sanity(runs, found, chosen)
        elif section == "Layers":
            sections.layers(model, chosen, target)
        else:
            sections.downloads(runs, found, chosen)
