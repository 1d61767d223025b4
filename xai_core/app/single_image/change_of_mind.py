"""What would change the answer to one picture: the smallest regions that turn or keep it, and changes of the picture."""

from typing import Any

import streamlit as st

from xai_core.app.shared import page_links, page_work, picture_viewer, region_view, widgets
from xai_core.app.shared.page_work import PageWork
from xai_core.app.shared.region_view import Search
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.app.single_image import what_if_view
from xai_core.app.single_image.result import LINKED
from xai_core.core import markdown
from xai_core.core.cache_key import text_digest
from xai_core.core.options import options_of
from xai_core.data.label_matching import first_name
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.request import Request
from xai_core.failures.deciding_regions import flip_region
from xai_core.models.explainable import ExplainableModel, Prediction

REGIONS, WHAT_IFS = region_view.HIDE, "Change the picture"
NEXT = "Next most probable class"
ABOUT = {
    REGIONS: (
        "The picture is cut into segments. The smallest set of segments is searched whose hiding turns the answer to "
        "another class, and the smallest set that keeps the answer when all else is hidden. Each region shown was checked."
    ),
    WHAT_IFS: "The picture is changed, the network is asked again, and its map follows.",
}


def section(
    model: ExplainableModel, chosen: Chosen, prepared: Prepared, ranked: list[Prediction], request: Request | None
) -> None:
    """The whole section; `request` asks for the page's map, None where the method does not fit the model."""
    if len(ranked) < 2:
        return
    st.markdown("#### Would it change its mind?")
    drawn = picture_viewer.selection(chosen.picture, LINKED)
    with st.container(horizontal=True):
        for label, stays, is_drawn in (
            ("Blur all but the box", what_if_view.A_BOX, drawn.box is not None),
            ("Blur what is painted", what_if_view.UNPAINTED, drawn.mask is not None),
        ):
            if is_drawn:
                st.button(label, key=label, icon=":material/blur_on:", on_click=_blur, args=(stays,))
    view = st.segmented_control("What is tried", list(ABOUT), key="mind", label_visibility="collapsed", **LINK)
    if view is None:
        st.caption("Hide regions of the picture, or change its light, colour, place or background, and see what it answers.")
        return
    st.caption(ABOUT[view])
    wanted = _wanted(model, chosen, ranked)
    if view == REGIONS:
        _regions(model, chosen, prepared, wanted)
    else:
        what_if_view.show(what_if_view.PictureToChange(model, chosen, prepared, ranked, wanted, request))


def _blur(stays: str) -> None:
    st.session_state["mind"] = WHAT_IFS
    what_if_view.ask_with(stays)


def _wanted(model: ExplainableModel, chosen: Chosen, ranked: list[Prediction]) -> int:
    """The class that the answer should turn to: before a choice the true class, where it is known and not the answer, else
    the next most probable one."""
    true, by_index = widgets.true_class(model, chosen), {prediction.index: prediction.name for prediction in ranked}
    others = [prediction.index for prediction in ranked[1:]]
    usual: dict[str, int] = {widgets.TRUE: true} if true is not None and true in others else {NEXT: others[0]}
    choices: list[int | str] = [*usual, *others]
    choice = st.selectbox(
        "Towards which class?",
        choices,
        format_func=lambda choice: choice if isinstance(choice, str) else f"{by_index[choice]} ({choice})",
        key="towards",
        help="All classes but the predicted one, the most probable first. Type a name or a number to search.",
        **LINK,
    )
    index = usual[choice] if isinstance(choice, str) else choice
    names = [markdown.escape(first_name(by_index[one])) for one in (ranked[0].index, index)]
    st.markdown(f"The answer is **{names[0]}** ({ranked[0].probability:.0%}). Could it be **{names[1]}**?")
    return index


def _regions(model: ExplainableModel, chosen: Chosen, prepared: Prepared, wanted: int) -> None:
    options = _options()
    searches = [Search(model, prepared, one, options) for one in (wanted, None)]
    missing = region_view.parts(searches)
    name = text_digest(" ".join(search.key for search in searches))
    title = f"Search regions of {chosen.name}"
    page_work.complete(PageWork(name, missing, title, page_links.SINGLE, widgets.is_upload(), button="Search"))
    for search in searches:
        region_view.show(search)


def _options() -> dict[str, Any]:
    declared = {option.name: option for option in options_of(flip_region)}
    with st.container(width=320):
        hiding = widgets.control("region", declared.pop("hiding"), "A hidden region shows")
    with st.expander("Options of the search"):
        further = {name: widgets.control("region", option) for name, option in declared.items()}
    return {"hiding": hiding, **further}
