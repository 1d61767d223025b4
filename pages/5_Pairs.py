"""Two views, and why a network finds them alike: the question of contrastive learning."""

import streamlit as st

from xai_core.app.pairs import sections, synthesis, tiles, views
from xai_core.app.shared import display, page_setup, session, widgets

page_setup.page("Pairs")
by_link = session.opened_by_link()
st.title("Why are these two alike?")
st.markdown(
    "A network that learned without classes knows only which views belong together. Each map shows what in one view makes "
    "it alike to the other."
)
say = st.container()
with st.sidebar:
    kind = views.source()
    chosen = widgets.picture(say)
    if kind == views.VIEWS:
        how, seed = views.recipe()
        other = None
    else:
        how, seed = views.Augmentation(), 0
        other = views.second_picture(say)
    model = widgets.model(say)
if chosen is None or (kind == views.PICTURES and other is None):
    st.stop()

with display.errors():
    two = views.two_pictures(model, chosen, other) if other else views.views(model, chosen, how, seed)
    with st.sidebar:
        measured = tiles.measure(model, two.name)
        asked = tiles.methods(model, measured)
        smooth = st.segmented_control(
            "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **widgets.LINK
        )
    views.source_and_views(two)
    tiles.heading(model, two, measured, how)
    if not asked.methods:
        st.info("Choose at least one method on the left.")
        st.stop()
    found = tiles.explained(model, two, asked, by_link)
    tiles.tiles(found, two, smooth == "Smooth")
    names = ["Matching patches", "Metrics", "Networks", "Invariance", "Synthesis", "Download"]
    section = st.segmented_control("More", names, default=names[0], required=True, key="more", **widgets.LINK)
    if section == "Matching patches":
        sections.matching(model, two, asked)
    elif section == "Metrics":
        sections.metrics(model, two, asked, found)
    elif section == "Networks":
        sections.networks(two, asked, smooth == "Smooth")
    elif section == "Invariance":
        sections.invariance(model, two, asked, smooth == "Smooth")
    elif section == "Synthesis":
        synthesis.section(model, two)
    else:
        sections.downloads(two, asked, found)
