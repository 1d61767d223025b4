"""One picture, one target, one method: where did the network look?"""

import streamlit as st

from xai_core.app.shared import display, explanations, network_outputs, page_links, page_setup, page_work, progress, widgets
from xai_core.app.single_image import (
    change_of_mind,
    outlying_view,
    result,
    superpixel_view,
    synthesis_link,
    text_controls_view,
)
from xai_core.attribution.explain import request_for, with_method
from xai_core.core import markdown

page_setup.page("Single image")
st.title("Explain one picture")
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
        settings = widgets.method(model)
    result.heading(model.title, ranked)
    if chosen.remark:
        st.caption(chosen.remark)
    if ranked:
        result.predictions(ranked, target, widgets.pick_bar)
    if target is None:
        st.stop()

    method = settings.method
    st.markdown(f"#### Why? {method.title} for the {markdown.escape(target.label(0, model.class_name))}")
    misfit, request = method.misfit(model), None
    if misfit:
        st.info(f"{markdown.escape(misfit)} Choose another method or another model.")
    else:
        question = request_for(
            model, [prepared], target=target, cut=settings.cut, precision=settings.precision, seed=settings.seed
        )
        request = with_method(question, method.id, settings.options)
        explanation = explanations.find(request)
        title = f"Explain {chosen.name} by {method.title}"
        work = explanations.work([request], request.key, title, page_links.SINGLE, private=widgets.is_upload())
        if page_work.start_now(work) and explanation is None:
            with progress.bar(request.key) as bar:
                explanation = explanations.compute(request, bar)
        outlying = outlying_view.find(model, prepared, explanation)
        result.show(explanation, chosen, method, outlying_view.for_export(outlying))
        outlying_view.section(outlying, chosen)
        superpixel_view.section(explanation, prepared, chosen)
        text_controls_view.section(model, prepared, request, chosen)
    change_of_mind.section(model, chosen, prepared, ranked, request)
    synthesis_link.show(model, target)
