"""One picture, one question: where did the network look?"""

import streamlit as st

from xai_core.app import compute, frame, pickers, session, show

frame.page("Single image")
by_link = session.opened_by_link()
session.take_over()
st.title("Explain one picture")
say = st.container()
with st.sidebar:
    chosen = pickers.picture(say)
    model = pickers.model(say)
if chosen is None:
    st.stop()

with show.errors():
    prepared = model.prepare(chosen.picture)
    ranked = compute.ranked(model, prepared)
    with st.sidebar:
        target = pickers.question(model, ranked, chosen.true_class, say)
        method = pickers.method(model)
    show.heading(model.title, ranked)
    if chosen.remark:
        st.caption(chosen.remark)
    if ranked:
        show.predictions(ranked, getattr(target, "classes", (None,))[0], pickers.pick_bar)
    if target is None:
        st.stop()

    st.markdown(f"#### Why? {method.method.title} for the {target.label(0, model.class_name)}")
    misfit = method.method.misfit(model)
    if misfit:
        st.info(f"{misfit} Choose another method or another model.")
        st.stop()
    run = compute.Run(model, chosen.picture, prepared, target, *method)
    found = compute.known(run)
    if found is None and compute.wanted(run.key, run.estimate, at_once=by_link):
        with compute.progress(run.key) as bar:
            found = compute.compute(run, bar)
    show.result(found, chosen, method.method)
