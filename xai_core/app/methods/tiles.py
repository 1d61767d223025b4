"""The upper part of the page Method comparison: the order of the methods, how maps are shown, and one tile for each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import streamlit as st

from xai_core.app.shared import display, explanations, jobs, page_links, picture_viewer, variant_form
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.explanation import agreement, rendering
from xai_core.explanation.request import Request
from xai_core.explanation.result import Explanation

Explanations = Mapping[str, Explanation]  # by the names of methods and variants
LINKED = "methods"  # the word by which the page's maps are linked


class View(NamedTuple):
    """How the tiles are sorted and drawn. `blind` hides the methods' names until the visitor has voted."""

    order: str
    common_scale: bool
    smooth: bool
    blind: bool


def view() -> View:
    """The controls of the view."""
    order = st.selectbox("Order", list(ORDERS), key="order", **LINK)
    scale = st.segmented_control(
        "Colour scale", ["Each its own", "Common"], default="Each its own", required=True, key="scale", help=SCALE, **LINK
    )
    resolution = st.segmented_control(
        "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **LINK
    )
    blind = st.toggle("Blind vote: hide the names", key="blind", help=BLIND, **LINK)
    return View(order, scale == "Common", resolution == "Smooth", blind)


AGREEMENT, DELETION = "Agreement", "Deletion (quick)"
ORDERS = {
    "Family": "In the order of the list of methods, family by family.",
    "Cost": "The cheapest method first, by its estimated number of passes through the network.",
    AGREEMENT: "The methods that agree most with the others first, by the mean rank correlation of their maps.",
    DELETION: "The maps whose strongest fifth matters most to the target first. The number says how much more the target's "
    "value falls when that fifth is blurred than when a random fifth is blurred; near 0 is no better than chance. This is "
    "a quick check on one picture, not a measurement of a method.",
}
SCALE = (
    "Methods have different units, so a common scale compares amounts only among methods with the same unit. Signed and "
    "unsigned maps always have separate scales."
)
BLIND = "The tiles are shuffled and named by letters. The names are shown after you have marked the best map."


def tiles(requests: Sequence[Request], chosen: Chosen, view: View, name: str, now: bool) -> Explanations:
    """The grid of tiles and the explanations in it, in the order of the tiles.

    Each tile is filled when its map is ready; the tile of a method that failed shows the error. What is not stored is
    computed if `now`; the work is called `name`.
    """
    names = {request.key: explanations.name_of(request) for request in requests}
    stored = {names[request.key]: explanations.find(request) for request in requests}
    maps = {
        names[request.key]: explanations.titled(request, result)
        for request in requests
        if isinstance(result := stored[names[request.key]], Explanation)
    }
    waiting = now and None in stored.values()
    scores = {} if waiting else _scores([request for request in requests if names[request.key] in maps], maps, view)
    order = _ordered(requests, scores, view)
    if not view.blind:
        st.caption(f"**{view.order}**: {ORDERS[view.order]} Each tile shows the part of the picture that the network saw.")
    bar = st.empty()
    picture_viewer.show(chosen.picture, [], "controls of the maps", linked=LINKED)
    grid = st.container(horizontal=True, gap="small")
    places = {request.key: grid.container(border=True, width=display.TILE + 34) for request in order}
    letters = {request.key: chr(ord("A") + place) for place, request in enumerate(order)} if view.blind else {}
    notes = {}
    for request in order:  # all headings first, so that the visitor sees what is still to come
        places[request.key].markdown(f"**{letters.get(request.key) or explanations.title_of(request)}**")
        notes[request.key] = places[request.key].empty()
        if stored[names[request.key]] is None:
            waits = now or jobs.is_unfinished(name)
            notes[request.key].caption("Waiting to be computed..." if waits else "Not computed.")
    results: dict[str, Explanation] = {}
    for request, result in explanations.compute_each(order, name, now, bar):
        if result is None:
            continue
        with places[request.key]:
            notes[request.key].empty()
            if isinstance(result, XaiError):
                st.error(error_text(result))
            else:
                name_here = names[request.key]
                result = results[name_here] = explanations.titled(request, result)
                key = f"map {list(places).index(request.key)}"  # in a blind vote it tells nothing
                said = letters.get(request.key) or explanations.title_of(request)
                drawn = partial(picture_viewer.overlay, chosen.picture, result, key=key, said=said)
                _tile(request, result, drawn, view, list(maps.values()) or [result], scores.get(name_here))
    if waiting and (view.common_scale or view.order in (AGREEMENT, DELETION)):
        st.rerun()  # the order and the common scale depend on all maps, which are there only now
    if view.blind and results:
        _vote(order, letters)
    return {name: results[name] for name in (names[request.key] for request in order) if name in results}


def _scores(requests: Sequence[Request], maps: Explanations, view: View) -> dict[str, float]:
    """What the tiles are sorted by, for the orders that depend on the maps; by method."""
    if view.order == AGREEMENT and len(maps) > 1:
        return dict(zip(maps, agreement.mean_agreement(list(maps.values())), strict=True))
    if view.order == DELETION and maps:
        return dict(zip(maps, explanations.quick_deletion(requests, list(maps.values())), strict=True))
    return {}


def _ordered(requests: Sequence[Request], scores: Mapping[str, float], view: View) -> list[Request]:
    order = sorted(requests, key=lambda request: list(METHODS).index(request.method))
    if view.order == "Cost":
        order.sort(key=explanations.estimate)
    order.sort(key=lambda request: -np.nan_to_num(scores.get(explanations.name_of(request), -np.inf), nan=-1e30))
    if view.blind:
        order = [order[int(index)] for index in np.random.default_rng(len(order)).permutation(len(order))]
    return order


def _tile(
    request: Request,
    explanation: Explanation,
    draw: Callable[..., None],
    view: View,
    maps: Sequence[Explanation],
    score: float | None,
) -> None:
    """One map, which `draw` draws; `maps` are all of them, for the common scale."""
    same_sign = [other for other in maps if other.signed == explanation.signed] if view.common_scale else []
    scale = rendering.scale_of(*(same_sign or [explanation]))
    alt = "Overlay of a hidden method" if view.blind else rendering.alt_text(explanation, "Overlay")
    draw(scale, alt, linked=LINKED, width=display.TILE, smooth=view.smooth, caption=None if view.blind else "")
    if view.blind:
        return
    if score is not None:
        st.markdown(f"{view.order}: " + ("–" if np.isnan(score) else f"**{score:+.2f}**"))
    rows, columns = explanation.heatmap.shape
    sign = "Signed" if explanation.signed else "Unsigned"
    words = f"{scale.words[0].upper()}{scale.words[1:]}"
    cost = f"Passes: {explanation.passes}; {rendering.duration(explanation.seconds)}"
    st.caption(f"{sign}, {rows} x {columns} cells. {words}. {cost}.")
    for problem in explanation.health:
        st.warning(markdown.escape(problem))
    _link_to_single_image(request, explanation)


def _link_to_single_image(request: Request, explanation: Explanation) -> None:
    """A link that opens the same question on the page Single image."""
    variant = variants.of_request(request)
    own_settings = {"methods", variant_form.KEY, "order", "scale", "blind", "more", "measure", "sweep", page_links.BACK}
    settings = {name: value for name, value in st.query_params.to_dict().items() if name not in own_settings}
    settings |= {"method": variant.method.title} | {
        f"{variant.method.id}.{name}": variants.as_text(value) for name, value in variant.options.items()
    }
    settings |= {f"{explanation.model}.cut": variant.cut} if variant.cut else {}
    settings |= {"precision": variant.precision} if variant.precision else {}
    with st.container(key=f"open {variant.name}"):
        page_links.link(
            page_links.SINGLE, f"Open **{explanation.title}**", settings,
            icon=":material/image_search:", origin=page_links.METHODS, help=f"{explanation.title} on the page Single image",
        )  # fmt: skip


def _vote(order: Sequence[Request], letters: Mapping[str, str]) -> None:
    """Vote for the best tile; afterwards the names are shown."""
    best = st.segmented_control("Which map explains best?", [letters[request.key] for request in order], key="best")
    if best:
        titles = {letters[request.key]: explanations.title_of(request) for request in order}
        st.success(
            f"You chose **{titles[best]}**. " + ", ".join(f"{letter}: {title}" for letter, title in sorted(titles.items()))
        )
