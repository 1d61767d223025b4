"""One picture, one question: where did the network look?"""

import streamlit as st

from xai_core.app.shared import cache, display, page_setup, session, widgets

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
    ranked = cache.ranked(model, prepared)
    with st.sidebar:
        target = widgets.question(model, ranked, chosen.true_class, say)
        method = widgets.method(model)
    display.heading(model.title, ranked)
    if chosen.remark:
        st.caption(chosen.remark)
    if ranked:
        display.predictions(ranked, getattr(target, "classes", (None,))[0], widgets.pick_bar)
    if target is None:
        st.stop()

    st.markdown(f"#### Why? {method.method.title} for the {target.label(0, model.class_name)}")
    misfit = method.method.misfit(model)
    if misfit:
        st.info(f"{misfit} Choose another method or another model.")
        st.stop()
    run = cache.Run(model, chosen.picture, prepared, target, *method)
    found = cache.known(run)
    if found is None and cache.wanted(run.key, run.estimate, at_once=by_link):
        with cache.progress(run.key) as bar:
            found = cache.compute(run, bar)
    display.result(found, chosen, method.method)
