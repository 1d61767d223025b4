"""One picture, one target, many methods: where do they agree, and which of them pass the sanity check?"""

import streamlit as st

from xai_core.app.methods import sections, tiles
from xai_core.app.shared import (
    display,
    explanations,
    network_outputs,
    page_links,
    page_setup,
    page_work,
    variant_form,
    widgets,
)
from xai_core.core import markdown
from xai_core.explanation.request import joint_key

page_setup.page("Method comparison")
st.title("Compare methods")
st.markdown(
    "One picture, one target, several methods. Where methods that work differently agree, a map deserves more trust; where "
    "they differ, look closer."
)
messages = st.container()
with st.sidebar:
    chosen = widgets.picture(messages)
    model = widgets.model(messages)
if chosen is None:
    st.stop()

with display.errors():
    prepared = model.prepare(chosen.picture)
    ranked = network_outputs.ranked(model, prepared)
    with st.sidebar:
        target = widgets.question(model, ranked, chosen, messages)
        methods = variant_form.methods(model)
        view = tiles.view()
    if target is None:
        st.stop()
    if not methods:
        st.info("Choose at least one method on the left.")
        st.stop()

    st.markdown(f"#### Explaining the {markdown.escape(target.label(0, model.class_name))}")
    requests = explanations.requests(model, prepared, target, methods)
    name = joint_key("method comparison", requests)
    now = page_work.start_now(
        explanations.work(
            requests,
            name,
            f"Compare {page_work.counted(len(requests), 'method')} on {chosen.name}",
            page_links.METHODS,
            private=widgets.is_upload(),
            button="Compare",
        )
    )
    maps = tiles.tiles(requests, chosen, view, name, now)
    if maps and not view.blind:
        names = ["Agreement", "Consensus", "Sanity check", "Layers", "Download"]
        section = st.segmented_control("More", names, default="Agreement", required=True, key="more", **widgets.LINK)
        if section in ("Agreement", "Consensus") and len(maps) < 2:
            st.info(
                "This needs at least two maps: choose at least two methods, and compute those that are not computed yet."
            )
        elif section == "Agreement":
            sections.agreement(maps)
        elif section == "Consensus":
            sections.consensus(maps, chosen)
        elif section == "Sanity check":
            sections.sanity(requests, maps, chosen, view.smooth)
        elif section == "Layers":
            sections.layers(model, prepared, target, chosen, view.smooth)
        else:
            sections.downloads(requests, maps, chosen)
