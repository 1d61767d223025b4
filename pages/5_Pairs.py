"""Two views, and why a network finds them alike: the question of contrastive learning."""

import streamlit as st

from xai_core.app import frame, pair_sections, pair_synthesis, pair_views, pairs, pickers, session, show

frame.page("Pairs")
by_link = session.opened_by_link()
st.title("Why are these two alike?")
st.markdown(
    "A network that learned without classes knows only which views belong together. Each map shows what in one view makes "
    "it alike to the other."
)
say = st.container()
with st.sidebar:
    kind = pair_views.source()
    chosen = pickers.picture(say)
    if kind == pair_views.VIEWS:
        how, seed = pair_views.recipe()
        other = None
    else:
        how, seed = pair_views.Augmentation(), 0
        other = pair_views.second_picture(say)
    model = pickers.model(say)
if chosen is None or (kind == pair_views.PICTURES and other is None):
    st.stop()

with show.errors():
    two = pair_views.two_pictures(model, chosen, other) if other else pair_views.views(model, chosen, how, seed)
    with st.sidebar:
        measured = pairs.measure(model, two.name)
        asked = pairs.methods(model, measured)
        smooth = st.segmented_control(
            "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **pickers.LINK
        )
    pair_views.source_and_views(two)
    pairs.heading(model, two, measured, how)
    if not asked.methods:
        st.info("Choose at least one method on the left.")
        st.stop()
    found = pairs.explained(model, two, asked, by_link)
    pairs.tiles(found, two, smooth == "Smooth")
    names = ["Matching patches", "Metrics", "Networks", "Invariance", "Synthesis", "Download"]
    section = st.segmented_control("More", names, default=names[0], required=True, key="more", **pickers.LINK)
    if section == "Matching patches":
        pair_sections.matching(model, two, asked)
    elif section == "Metrics":
        pair_sections.metrics(model, two, asked, found)
    elif section == "Networks":
        pair_sections.networks(two, asked, smooth == "Smooth")
    elif section == "Invariance":
        pair_sections.invariance(model, two, asked, smooth == "Smooth")
    elif section == "Synthesis":
        pair_synthesis.section(model, two)
    else:
        pair_sections.downloads(two, asked, found)
