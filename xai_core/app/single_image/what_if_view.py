"""Changes of one picture by sliders: what the network answers to the changed picture, and its map of it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pandas as pd
import streamlit as st
import torch
from torch import Tensor

from xai_core.app.shared import (
    box_choice,
    cache,
    display,
    explanations,
    network_outputs,
    page_links,
    page_work,
    picture_viewer,
    progress,
    report_items,
    widgets,
)
from xai_core.app.shared.page_work import Part
from xai_core.app.shared.picture_viewer import Panel
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.app.single_image.result import LINKED
from xai_core.core import markdown
from xai_core.core.options import options_of
from xai_core.core.runtime import Track
from xai_core.data.box import inside
from xai_core.data.label_matching import first_name
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import rendering
from xai_core.explanation.request import Request
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import ClassLogit
from xai_core.failures.causes import common_region
from xai_core.failures.picture_changes import CHANGES, NEUTRAL, PictureChange, changed
from xai_core.failures.what_ifs import USUAL_CHANGES, what_if
from xai_core.models.explainable import ExplainableModel, Prediction

WIDTH = 260  # pixels: of a shown picture
GROUPS = {
    "Light and colour": ("brightness", "contrast", "hue", "grey"),
    "Sharpness": ("blur", "noise", "JPEG"),
    "Place": ("rotation", "crop", "shift", "mirrored"),
}
AS_IT_IS, BLURRED, SWAPPED = "As it is", "Blurred", "Swapped"
BACKGROUNDS = {BLURRED: "background blurred", SWAPPED: "background swapped"}
A_BOX, THE_MAP, UNPAINTED = "A box", "The map's own region", "All but what is painted"


class _Changes(NamedTuple):
    """The changes that the sliders make, in their order, and what changes of the background need."""

    changes: list[PictureChange]
    masks: Tensor | None = None
    backgrounds: Tensor | None = None


class PictureToChange(NamedTuple):
    """The picture that is changed, what the model answers to it, and the class `wanted` that the answer should turn to.
    `request` asks for the page's map; None where the method does not fit the model."""

    model: ExplainableModel
    chosen: Chosen
    prepared: Prepared
    ranked: list[Prediction]
    wanted: int
    request: Request | None


def show(asked: PictureToChange) -> None:
    """Usual changes that turn the answer to the class that is wanted, and the sliders."""
    _usual_changes(asked)
    _sliders(asked)


def _usual_changes(asked: PictureToChange) -> None:
    """Which of the usual changes, each made alone, turn the answer."""
    model, chosen, prepared, wanted = asked.model, asked.chosen, asked.prepared, asked.wanted
    key = Request(model, (prepared,), ClassLogit((wanted,)), "usual changes").key

    def compute(track: Track) -> None:
        cache.put(key, what_if(model, [prepared.pixels], [wanted], track=track))

    seconds = network_outputs.pass_seconds(model, 1 + len(USUAL_CHANGES))
    part = Part("Usual changes", seconds, compute)
    rows: pd.DataFrame | None = page_work.stored(
        key, [part], f"Change {chosen.name}", "Try usual changes", private=widgets.is_upload()
    )
    if rows is None:
        return
    rows = rows.sort_values("probability after", ascending=False, kind="stable")
    turned, name = rows[rows["mended"]], first_name(model.class_name(wanted))
    which = f": {'; '.join(turned['change'])}." if len(turned) else "."
    st.markdown(
        markdown.escape(f"{len(turned)} of {len(rows)} usual changes, each made alone, turn the answer to {name}{which}")
    )
    with st.expander("All usual changes"):
        shown = {
            "Change": rows["change"],
            "Answer": [first_name(model.class_name(index)) for index in rows["after"]],
            f"Probability of {name}": rows["probability after"],
            "Without the change": rows["probability before"],
        }
        percent = st.column_config.NumberColumn(format="percent")
        display.table(
            pd.DataFrame(shown), f"What usual changes do to the probability of {name}", hide_index=True, key="usual changes",
            column_config={column: percent for column in list(shown)[2:]},
        )  # fmt: skip


@st.fragment
def _sliders(asked: PictureToChange) -> None:
    """The sliders, and what follows from them. Moving one asks the network again, and leaves the rest of the page."""
    model, chosen, prepared, request = asked.model, asked.chosen, asked.prepared, asked.request
    with display.errors():
        before = explanations.find(request) if request is not None else None
        explained = before if isinstance(before, Explanation) else None
        made = _changes(model, chosen, prepared, explained)
        st.button("Reset", key="reset changes", icon=":material/restart_alt:", on_click=_reset)
        if not made.changes:
            st.info("Nothing is changed yet: move a slider, or change the background.")
            return
        pixels = changed(prepared.pixels[None], made.changes, masks=made.masks, backgrounds=made.backgrounds)[0]
        after = model.prepare(pixels)
        answers = network_outputs.ranked(model, after)
        answer = _answer(model, asked.ranked, answers, asked.wanted)
        st.markdown(answer)
        order = f"Changes of what the network sees, in this order: {'; '.join(change.title for change in made.changes)}."
        st.caption(order)
        said = f"{chosen.name}, changed. {markdown.plain(answer)} {order}"
        _pictures(chosen, after, explained, None if request is None else replace(request, pictures=(after,)), said)


def _answer(model: ExplainableModel, before: list[Prediction], after: list[Prediction], wanted: int) -> str:
    """The answer to the changed picture beside that to the picture, in words, as Markdown."""
    old, new = before[0], after[0]
    name = markdown.escape(first_name(new.name))
    if new.index == old.index:
        words = f"The answer stays **{name}**, {new.probability:.1%} (before {old.probability:.1%})."
    else:
        was = markdown.escape(first_name(old.name))
        words = f"The answer turns to **{name}**, {new.probability:.1%}. Before it was {was}, {old.probability:.1%}."
    shares = [next(one.probability for one in ranked if one.index == wanted) for ranked in (before, after)]
    other = markdown.escape(first_name(model.class_name(wanted)))
    return f"{words} Probability of {other}: {shares[0]:.1%} before, {shares[1]:.1%} now."


def _pictures(chosen: Chosen, after: Prepared, before: Explanation | None, request: Request | None, said: str) -> None:
    """The changed picture, and the map of the picture and of the changed one, on one scale; `said` of them in a report."""
    result = None
    if request is not None and before is not None:
        result = explanations.find(request)
        title = f"Explain {chosen.name}, changed, by {before.title}"
        work = explanations.work(
            [request],
            request.key,
            title,
            page_links.SINGLE,
            private=widgets.is_upload(),
            button="Explain the changed picture",
        )
        if page_work.start_now(work) and result is None:
            with progress.bar(request.key) as bar:
                result = explanations.compute(request, bar)
    seen = rendering.to_pil(after.pixels)
    with st.container(horizontal=True, gap="small"):
        with st.container(width=WIDTH):
            st.markdown("**The changed picture**")
            large = seen.resize((2 * WIDTH, round(2 * WIDTH * seen.height / seen.width)))
            display.picture(
                large, f"{chosen.name}, changed", caption=said, what="the changed picture", key="changed", width="stretch"
            )
        if before is not None and isinstance(result, Explanation):
            scale = rendering.scale_of(before, result)
            drawn = {"The map of it": (result, seen), "The map before": (before, chosen.picture)}
            for heading, (explanation, picture) in drawn.items():
                with st.container(width=WIDTH):
                    st.markdown(f"**{heading}**")
                    st.image(
                        rendering.encoded(display.map_image(explanation, picture, scale, width=WIDTH), "PNG"),
                        width="stretch", output_format="PNG",
                        alt=f"{heading}. {rendering.alt_text(explanation, 'Overlay', scale.palette)}",
                    )  # fmt: skip
                    larger = partial(display.map_image, explanation, picture, scale, width=2 * WIDTH)
                    words = f"{heading}. {said} {rendering.caption(explanation, scale)}"
                    report_items.add_map(explanation, larger, scale, heading, f"{heading} of changes", words)
    if isinstance(result, Explanation) and before is not None:
        st.caption(
            markdown.escape(
                f"{result.title} for the {result.target}: {result.target_value:.4g} now, {before.target_value:.4g} before. "
                f"Colours: {scale.words}."
            )
        )


def _changes(model: ExplainableModel, chosen: Chosen, prepared: Prepared, explained: Explanation | None) -> _Changes:
    """The sliders, and the changes that they make; those of the background come first, as masks do not move."""
    changes: list[PictureChange] = []
    for column, (title, names) in zip(st.columns(len(GROUPS)), GROUPS.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            changes += [change for name in names if (change := _change(name)) is not None]
    background, masks, backgrounds = _background(model, chosen, prepared, explained)
    return _Changes([*background, *changes], masks, backgrounds)


def _change(name: str) -> PictureChange | None:
    """The controls of one change; None where they change nothing."""
    title = name if name.isupper() else name.capitalize()
    if name in NEUTRAL:
        change = PictureChange(name, _options(name, title, NEUTRAL[name]))
        return None if change.options == NEUTRAL[name] else change
    if not st.toggle(title, key=f"change.{name}", **LINK):
        return None
    return PictureChange(name, _options(name, f"{title} quality"))


def _options(name: str, title: str, first: Mapping[str, float] | None = None) -> dict[str, float]:
    """The sliders of one change; before they are moved they have the values of `first`, or the usual ones."""
    declared, first = options_of(CHANGES[name]), first or {}
    return {
        option.name: widgets.control(
            f"change.{name}",
            replace(option, default=first.get(option.name, option.default)),
            title if len(declared) == 1 else f"{title} {option.name}",
        )
        for option in declared
    }


def _background(model: ExplainableModel, chosen: Chosen, prepared: Prepared, explained: Explanation | None) -> _Changes:
    """The controls of the background: what is done with it, and what is not background."""
    how = st.segmented_control(
        "Background", [AS_IT_IS, *BACKGROUNDS], default=AS_IT_IS, required=True, key="background", **LINK
    )
    if how == AS_IT_IS:
        return _Changes([])
    with st.container(width=420):
        change = PictureChange(BACKGROUNDS[how], _options(BACKGROUNDS[how], "Blur of the background"))
        others = widgets.other_pictures()
        other = st.selectbox("Background from", list(others), key="background from", **LINK) if how == SWAPPED else None
        stays = st.radio("What stays", [A_BOX, THE_MAP, UNPAINTED], horizontal=True, key="stays", **LINK)
    if stays == UNPAINTED:
        mask = _unpainted_mask(chosen, prepared)
    else:
        mask = _box_mask(chosen, prepared) if stays == A_BOX else _map_mask(explained)
    if mask is None:
        return _Changes([])
    picture = None if other is None else widgets.other_picture(others[other])
    return _Changes([change], mask[None], None if picture is None else model.prepare(picture).pixels[None])


def _box_mask(chosen: Chosen, prepared: Prepared) -> Tensor | None:
    box = box_choice.choose(chosen.picture, LINKED)
    mask = inside(box, prepared)
    return None if mask is None else torch.from_numpy(mask)


def _unpainted_mask(chosen: Chosen, prepared: Prepared) -> Tensor | None:
    """What the visitor has not painted over; None, with a sentence, while nothing is painted."""
    with st.container(width=WIDTH):
        drawn = picture_viewer.show(
            chosen.picture,
            [Panel("", f"{chosen.name}, to be painted on", "picture")],
            "painting",
            linked=LINKED,
            width=WIDTH,
            sliders=False,
            tools=("brush",),
            tool="brush",
        )
    painted = inside(drawn.mask, prepared)
    if painted is None or not painted.any():
        st.info("Nothing is painted: paint over what is to be hidden, here or on the maps above.")
        return None
    return torch.from_numpy(~painted)


def ask_with(stays: str) -> None:
    """Blur all but what stays. For callbacks."""
    st.session_state.update(background=BLURRED, stays=stays)


def _map_mask(explained: Explanation | None) -> Tensor | None:
    """The part of the picture where the page's map is highest."""
    with st.container(width=420):
        share = st.slider(
            "Share of the picture that stays", 0.05, 0.95, 0.25, 0.05, key="stays.share", format="percent", **LINK
        )
    if explained is None:
        st.info("The page's map is not computed yet: compute it above, or draw a box.")
        return None
    return common_region(torch.from_numpy(explained.to_input())[None], share)


def _reset() -> None:
    """Every slider back to where it changes nothing."""
    for name in (name for names in GROUPS.values() for name in names if name in NEUTRAL):
        for option in options_of(CHANGES[name]):
            st.session_state[f"change.{name}.{option.name}"] = option.kind(NEUTRAL[name][option.name])
    for key, value in {"change.JPEG": False, "change.mirrored": False, "background": AS_IT_IS}.items():
        st.session_state[key] = value
