"""Two views, and why a network finds them similar: the question of contrastive learning."""

import streamlit as st

from xai_core.app.pairs import benchmark_view, part_table, sections, synthesis, tiles, views
from xai_core.app.shared import display, page_setup, widgets
from xai_core.pairs.augment import Augmentation

page_setup.page("Pairs")
st.title("Why are these two similar?")
st.markdown(
    "Each map shows which parts of one view make it similar to the other, for this network. Networks trained without "
    "classes learn only which views come from the same picture, so this is the question to ask them."
)
messages = st.container()
augmentation, seed, other = Augmentation(), 0, None
with st.sidebar:
    source = views.source()
    chosen = widgets.picture(messages)
    if source == views.VIEWS:
        augmentation, seed = views.recipe()
    else:
        other = views.second_picture(messages)
    model = widgets.model(messages, without_classes=True)
if chosen is None or (source == views.PICTURES and other is None):
    st.stop()

with display.errors():
    pair = views.two_pictures(model, chosen, other) if other else views.two_views(model, chosen, augmentation, seed)
    with st.sidebar:
        similarity = tiles.choose_similarity(model, pair.name)
        settings = tiles.settings(model, similarity)
        resolution = st.segmented_control(
            "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **widgets.LINK
        )
    smooth = resolution == "Smooth"
    views.show(pair)
    above = tiles.heading(model, pair, similarity, augmentation)
    if not settings.methods:
        st.info("Choose at least one method on the left.")
        st.stop()
    results = tiles.results(model, pair, settings, above)
    tiles.finding(results, pair)
    tiles.tiles(results, pair, smooth)
    if pair.parts is not None:
        part_table.table(model, pair, pair.parts, settings, results)
    names = ["Matching patches", "Metrics", "Networks", "Invariance", "Synthesis", "Benchmark", "Download"]
    section = st.segmented_control("More", names, default=names[0], required=True, key="more", **widgets.LINK)
    if section == "Matching patches":
        sections.matching(model, pair, settings)
    elif section == "Metrics":
        sections.metrics(model, pair, settings, results)
    elif section == "Networks":
        sections.networks(pair, settings, smooth)
    elif section == "Invariance":
        sections.invariance(model, pair, settings, smooth)
    elif section == "Synthesis":
        synthesis.section(model, pair)
    elif section == "Benchmark":
        benchmark_view.section()
    else:
        sections.downloads(pair, settings, results)
