"""One picture, one question: where did the network look?"""

import streamlit as st

from xai_core.app.shared import display, explanations, network_outputs, page_setup, progress, session, widgets
from xai_core.app.single_image import result

page_setup.page("Single image")
by_link = session.opened_by_link()
session.take_over()
st.title("Explain one picture")
say = st.container()
with st.sidebar:
    chosen = widgets.picture(say)
    model = widgets.model(say)
if chosen is None:
    st.stop()

with display.errors():
    prepared = model.prepare(chosen.picture)
    ranked = network_outputs.ranked(model, prepared)
    with st.sidebar:
        target = widgets.question(model, ranked, chosen.true_class, say)
        method = widgets.method(model)
    result.heading(model.title, ranked)
    if chosen.remark:
        st.caption(chosen.remark)
    if ranked:
        result.predictions(ranked, getattr(target, "classes", (None,))[0], widgets.pick_bar)
    if target is None:
        st.stop()

    st.markdown(f"#### Why? {method.method.title} for the {target.label(0, model.class_name)}")
    misfit = method.method.misfit(model)
    if misfit:
        st.info(f"{misfit} Choose another method or another model.")
        st.stop()
    run = explanations.Run(model, chosen.picture, prepared, target, *method)
    found = explanations.find(run)
    if found is None and progress.should_start(run.key, run.estimate, at_once=by_link):
        with progress.bar(run.key) as bar:
            found = explanations.compute(run, bar)
    result.show(found, chosen, method.method)
