"""The upper part of the comparison page: what is compared, how it is shown, and a tile for each method."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from xai_core.app.shared import display, explanations
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import XaiError
from xai_core.data.samples import SAMPLES
from xai_core.explanation import agreement, rendering
from xai_core.explanation.result import Explanation

Results = Mapping[str, Explanation]


class View(NamedTuple):
    """How the tiles are shown."""

    sort: str
    shared_scale: bool
    smooth: bool
    blind: bool


def view() -> View:
    sort = st.selectbox("Order", ORDERS, key="order", **LINK)
    scale = st.segmented_control(
        "Colour scale", ["Each its own", "Common"], default="Each its own", required=True, key="scale", help=SCALE, **LINK
    )
    resolution = st.segmented_control(
        "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **LINK
    )
    blind = st.toggle("Blind vote: hide the names", key="blind", help=BLIND, **LINK)
    return View(sort, scale == "Common", resolution == "Smooth", blind)


AGREEMENT, DELETION = "Agreement", "Deletion (quick)"
ORDERS = {
    "Family": "By family, as in the list of methods.",
    "Cost": "The cheapest first, by the passes through the network that it is expected to take.",
    AGREEMENT: "The method that agrees most with all others first: the mean rank correlation of its map with theirs.",
    DELETION: "The map first whose strongest fifth the target depends on most. The number: how much further the target's "
    "value falls when that fifth is blurred than when a random fifth is; near 0 is no better than chance. One quick look at "
    "one picture, no measurement of a method.",
}
SCALE = (
    "Methods have different units: a common scale compares amounts only among methods of one unit. Signed and unsigned "
    "maps always have scales of their own."
)
BLIND = "Tiles are shuffled and lettered. Mark the best one; only then are the names shown."


def tiles(wanted: Sequence[explanations.Run], chosen: Chosen, how: View, name: str, now: bool) -> Results:
    """The grid; each tile is filled as its map is ready. A failed method has its message in its tile."""
    known = {run.method.id: explanations.find(run) for run in wanted}
    done = {id: one for id, one in known.items() if isinstance(one, Explanation)}
    waiting = now and None in known.values()
    scores = {} if waiting else _scores([run for run in wanted if run.method.id in done], done, how)
    order = _ordered(wanted, scores, how)
    if not how.blind:
        st.caption(f"**{how.sort}**: {ORDERS[how.sort]} Each tile shows the part of the picture that the network saw.")
    bar = st.empty()
    grid = st.container(horizontal=True, gap="small")
    places = {run.key: grid.container(border=True, width=display.TILE + 34) for run in order}
    letters = {run.key: chr(ord("A") + place) for place, run in enumerate(order)} if how.blind else {}
    notes = {}
    for run in order:  # all names at once, so that one sees what is still to come
        places[run.key].markdown(f"**{letters.get(run.key) or run.method.title}**")
        notes[run.key] = places[run.key].empty()
        if known[run.method.id] is None:
            notes[run.key].caption("Waiting for its turn..." if now else "Not computed.")
    found: dict[str, Explanation] = {}
    for run, result in explanations.compute_each(order, name, now, bar):
        if result is None:
            continue
        with places[run.key]:
            notes[run.key].empty()
            if isinstance(result, XaiError):
                st.error(str(result))
            else:
                found[run.method.id] = result
                _tile(result, chosen, how, list(done.values()) or [result], scores.get(run.method.id))
    if waiting and (how.shared_scale or how.sort in (AGREEMENT, DELETION)):
        st.rerun()  # only now is there all that the order and the common scale are made of
    if how.blind and found:
        _vote(order, letters)
    return {run.method.id: found[run.method.id] for run in order if run.method.id in found}


def _scores(runs: Sequence[explanations.Run], done: Results, how: View) -> dict[str, float]:
    """What the tiles are sorted by, where that is a property of the maps."""
    if how.sort == AGREEMENT and len(done) > 1:
        return dict(zip(done, agreement.mean_agreement(list(done.values())), strict=True))
    if how.sort == DELETION and done:
        return dict(zip(done, explanations.quick_deletion(runs, list(done.values())), strict=True))
    return {}


def _ordered(wanted: Sequence[explanations.Run], scores: Mapping[str, float], how: View) -> list[explanations.Run]:
    order = sorted(wanted, key=lambda run: list(METHODS).index(run.method.id))
    if how.sort == "Cost":
        order.sort(key=lambda run: run.estimate)
    order.sort(key=lambda run: -np.nan_to_num(scores.get(run.method.id, -np.inf), nan=-1e30))
    if how.blind:
        order = [order[index] for index in np.random.default_rng(len(order)).permutation(len(order))]
    return order


def _tile(found: Explanation, chosen: Chosen, how: View, all_found: Sequence[Explanation], score: float | None) -> None:
    alike = [one for one in all_found if one.signed == found.signed] if how.shared_scale else [found]
    scale = rendering.scale_of(*(alike or [found]))
    name = "Overlay" if not how.blind else "Overlay of a hidden method"
    display.map_picture(found, chosen, scale, how.smooth, name if how.blind else rendering.alt_text(found, name))
    if how.blind:
        return
    if score is not None:
        st.markdown(f"{how.sort}: " + ("–" if np.isnan(score) else f"**{score:+.2f}**"))
    rows, columns = found.heatmap.shape
    sign = "Signed" if found.signed else "Unsigned"
    words = f"{scale.words[0].upper()}{scale.words[1:]}"
    st.caption(f"{sign}, {rows} x {columns} cells. {words}. Passes: {found.passes}; {rendering.duration(found.seconds)}.")
    for trouble in found.health:
        st.warning(trouble)
    _link_to_single(found, chosen)


def _link_to_single(found: Explanation, chosen: Chosen) -> None:
    """A deep link, in a tab of its own: inside a session, Streamlit drops settings that both pages have from a link."""
    if chosen.name in SAMPLES:  # an upload lives in this session only
        here = {"methods", "order", "scale", "blind", "more", "measure", "sweep"}
        settings = {name: value for name, value in st.query_params.to_dict().items() if name not in here}
        address = f"Single_image?{urlencode(settings | {'method': found.title})}"
        st.link_button("Open", address, icon=":material/open_in_new:", help=f"{found.title} on the single-image page")


def _vote(order: Sequence[explanations.Run], letters: Mapping[str, str]) -> None:
    """Mark the best tile; the names are shown once that is done."""
    best = st.segmented_control("Which map explains best?", [letters[run.key] for run in order], key="best")
    if best:
        names = {letters[run.key]: run.method.title for run in order}
        st.success(
            f"You chose **{names[best]}**. " + ", ".join(f"{letter}: {name}" for letter, name in sorted(names.items()))
        )
