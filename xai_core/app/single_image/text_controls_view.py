"""For a network whose classes are texts: how like texts without a meaning the picture is, and the map of one of them."""

from dataclasses import replace

import streamlit as st

from xai_core.analysis import text_controls
from xai_core.app.shared import cache, display, explanations, page_links, page_work, widgets
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import agreement, rendering
from xai_core.explanation.request import Request
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability
from xai_core.models.explainable import ExplainableModel
from xai_core.models.prompts import texts_of

CLASSES = ClassLogit | ClassProbability | ClassMargin
WIDTH = 320  # pixels of a map


def section(model: ExplainableModel, prepared: Prepared, request: Request | None, chosen: Chosen) -> None:
    """The controls of the words that the target asks about; nothing for a network whose classes are no texts."""
    texts = texts_of(model)
    if texts is None or request is None or not isinstance(request.target, CLASSES):
        return
    st.markdown("#### Does the answer depend on the words?")
    with display.errors():
        key = f"text cosines {model.fingerprint} {prepared.digest}"
        cosines = cache.get_or_compute(key, lambda: text_controls.cosines(model, prepared))
        about, index = texts.about, request.target.classes[0]
        display.finding(cosines.words_of(index, about.names, about.seed))
        st.caption(HOW)
        control = st.selectbox(
            "Map for a text without a meaning", ["None", *about.controls], key="control", help=CONTROL, **LINK
        )
        if control != "None":
            _compare(model, request, about.names[index], control, chosen)


HOW = (
    "The texts without a meaning stand in the same sentences as the words. Where they come as near to the picture as the "
    "words do, the words say nothing about it."
)
CONTROL = "A map that looks the same for words without a meaning shows what is salient to this network, and not the words."


def _compare(model: ExplainableModel, request: Request, words: str, control: str, chosen: Chosen) -> None:
    """The maps of the words and of the control side by side, on one scale, and their rank correlation."""
    asked = [_asked(model, request, text) for text in (words, control)]
    work = explanations.work(
        asked, f"text controls {asked[0].key} {asked[1].key}", f"Words and control of {chosen.name}", page_links.SINGLE,
        private=widgets.is_upload(),
    )  # fmt: skip
    now = page_work.start_now(work)
    results = {request.key: result for request, result in explanations.compute_each(asked, work.key, now, st.empty())}
    for result in results.values():
        if isinstance(result, XaiError):
            st.error(error_text(result))
    maps = [result for one in asked if isinstance(result := results.get(one.key), Explanation)]
    if len(maps) < len(asked):
        return
    scale = rendering.scale_of(*maps)
    with st.container(horizontal=True, gap="small"):
        for text, result in zip((words, control), maps, strict=True):
            with st.container(width=WIDTH):
                st.markdown(f"**{markdown.escape(text)}**")
                display.map_picture(result, chosen, scale, True, f"Map for the words {text}", width=WIDTH)
    display.finding(f"Rank correlation of the maps for '{words}' and '{control}': {agreement.agreement(maps)[0, 1]:.2f}.")
    st.caption(f"Both maps are of the cosine with the text. Colours: {scale.words}.")


def _asked(model: ExplainableModel, request: Request, text: str) -> Request:
    return replace(request, target=text_controls.text_target(model, text))
