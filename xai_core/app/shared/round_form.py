"""The form "Make a review round": opened by a button wherever a page lists pictures, shown once by that page.

`offer` puts the button. `show` is called at the end of the page and shows the form over it; `show_progress` shows the job
that makes the round, with a link to the voting as soon as that can begin.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import streamlit as st
from sqlalchemy import Engine

from xai_core.app.shared import (
    display,
    explanations,
    identity,
    job_view,
    jobs,
    loaded_models,
    page_links,
    review_store,
    round_job,
    sample_detail,
    server_job,
    session,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.round_job import NewRound
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.data.datasets import Dataset
from xai_core.data.held_predictions import HeldPredictions
from xai_core.data.predictions import COLUMNS
from xai_core.explanation.rendering import duration
from xai_core.explanation.request import Request
from xai_core.models.explainable import ExplainableModel
from xai_core.review import rounds, selection
from xai_core.review.people import Person
from xai_core.review.rounds import LONGEST_TITLE, MOST_ITEMS, NOTHING_WRONG, VERDICTS, Round, RoundSettings, VerdictKind
from xai_core.review.selection import Selection

WIDTH = 860  # pixels
USUAL = 50  # pictures of a round, of many
_WANTED, _MADE = "pictures of a round", "round being made"  # in the session
EVERY, CONFIDENT, SAMPLE = "All of them", "The most confident errors", "A random sample"
BLIND = {
    "Until they have voted on a picture": rounds.UNTIL_VOTED,
    "Until the voting is closed": rounds.UNTIL_CLOSED,
}
MAPS = {"Always": rounds.ALWAYS, "Never": rounds.NEVER, "On half of the pictures, at random": rounds.RANDOM}


class RoundPictures(NamedTuple):
    """The pictures that a round is offered of, by their names in the dataset; `what` says which they are, and `first` how
    many of them the form takes at first."""

    paths: Sequence[str]
    what: str
    first: str = EVERY


def offer(pictures: RoundPictures, key: str, label: str = "") -> None:
    """A button that opens the form for these pictures."""
    label = label or f"Review {'this picture' if len(pictures.paths) == 1 else f'these {len(pictures.paths):,} pictures'}"
    st.button(
        label, key=f"round of {key}", icon=":material/how_to_vote:", disabled=not len(pictures.paths), help=HELP,
        on_click=begin, args=(pictures,),
    )  # fmt: skip


HELP = "Makes a round in which several people judge these pictures, each without seeing the others' votes."


def begin(pictures: RoundPictures) -> None:
    """Open the form. Where this is no callback, run the page again afterwards."""
    st.session_state[_WANTED] = pictures
    st.session_state.pop(_MADE, None)


def _close() -> None:
    for name in (_WANTED, _MADE):
        st.session_state.pop(name, None)


def show_progress() -> bool:
    """The round that the form has asked for, over the page; returns whether there is one. Called before anything that may
    end the page's run: its pictures may be gone meanwhile."""
    id: str | None = st.session_state.get(_MADE)
    if id is None:
        return False
    _over_the_page(lambda: _progress(review_store.engine(), id))
    return True


def show(held: HeldPredictions, dataset: Dataset, model: ExplainableModel) -> bool:
    """The form over the page where one is open; returns whether it is. `held` are all predictions of the dataset."""
    pictures: RoundPictures | None = st.session_state.get(_WANTED)
    if pictures is None:
        return False
    if len(held.of_names(pictures.paths)) < len(pictures.paths):  # of another dataset, which was chosen before
        _close()
        return False
    _over_the_page(lambda: _ask(pictures, held.whole(held.rows, COLUMNS), dataset, model))
    return True


def _over_the_page(content: Callable[[], None]) -> None:
    def guarded() -> None:
        with display.errors():
            content()

    st.dialog("Make a review round", width=WIDTH, on_dismiss=_close)(guarded)()


def _ask(pictures: RoundPictures, every: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The form, for who may make a round; then the job is started."""
    review_store.say_where(review_store.engine())
    if settings.READONLY.value():
        return
    person = identity.show(page_links.shown())
    if person is None:
        return
    new = _form(pictures, every, dataset, model, person)
    if new is not None:
        round_job.start(new, dataset, model)
        st.session_state.pop(_WANTED)
        st.session_state[_MADE] = new.id
        st.rerun()


def _form(
    pictures: RoundPictures, every: pd.DataFrame, dataset: Dataset, model: ExplainableModel, person: Person
) -> NewRound | None:
    """The settings of the round; None until the visitor asks for it."""
    title = st.text_input("Title", pictures.what[:LONGEST_TITLE], max_chars=LONGEST_TITLE, key="round.title")
    chosen = _pictures(pictures, every)
    with st.expander("More options", icon=":material/tune:", key="round-options"):
        options = _options(dataset, model, chosen.source)
    wrong = int((chosen.rows["true"] != chosen.rows["predicted"]).sum())
    total = len(chosen.rows)
    words = f"**{counted(total, 'picture')}**: {wrong:,} wrong, {total - wrong:,} right. "
    fault, requests = "", {}
    try:
        _check(options, total)
        if options.maps != rounds.NEVER:
            requests = _requests(chosen.rows, dataset, model)
    except XaiError as error:
        fault = str(error)
    if requests:
        maps = 3 * wrong + (total - wrong)
        seconds = maps * explanations.estimate(next(iter(requests.values())))
        words += f"Their {maps:,} maps take about {duration(max(seconds, 1.0))}; the voting can begin before that."
    st.markdown(words)
    st.caption(STORED)
    if fault:
        st.error(error_text(fault))
    pressed = st.button(
        "Make the round", key="round.make", type="primary", icon=":material/how_to_vote:", disabled=bool(fault)
    )
    if not pressed or fault:
        return None
    method = next(iter(requests.values()), None)
    return NewRound(
        rounds.new_id(), title, person, _with_method(options, method), chosen.rows[round_job.COLUMNS],
        st.session_state["dataset"], loaded_models.checkpoint_of(model),
    )  # fmt: skip


STORED = (
    "The round holds a small copy of each picture, its prediction and its maps. Those who take part see them, also when the "
    "dataset has changed or is gone. The settings of a round cannot be changed after it is made."
)


def _pictures(pictures: RoundPictures, every: pd.DataFrame) -> Selection:
    """The controls that choose which of the pictures, and how many right ones as a control; and what they choose."""
    listed = selection.chosen(every, pictures.paths, pictures.what)
    wrong = int((listed.rows["true"] != listed.rows["predicted"]).sum())
    kinds = [EVERY, CONFIDENT, SAMPLE] if wrong else [EVERY, SAMPLE]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.selectbox(
            f"Of the {len(listed.rows):,} pictures", kinds, kinds.index(pictures.first) if pictures.first in kinds else 0,
            key="round.which", width=280,
        )  # fmt: skip
        most = wrong if kind == CONFIDENT else len(listed.rows)
        if kind != EVERY:
            count = st.number_input("How many", 1, most, min(USUAL, most), key=f"round.count of {kind}", width=140)
        right = int((every["true"] == every["predicted"]).sum())
        controls = st.number_input("Right ones as a control", 0, right, 0, key="round.controls", width=200, help=CONTROLS)
    seed = int(st.session_state.get("round.seed", 0))
    if kind == EVERY:
        chosen = listed
    else:
        part = (
            selection.most_confident_errors(listed.rows, count)
            if kind == CONFIDENT
            else selection.sample(listed.rows, count, seed)
        )
        chosen = Selection(part.rows, f"{listed.source} Of these: {part.source}")
    return selection.together([chosen, selection.controls(every, controls, seed)], seed) if controls else chosen


CONTROLS = (
    "Pictures of the dataset that are predicted correctly, drawn at random and mixed among the others: they show what "
    "reviewers say where there is no error."
)


def _options(dataset: Dataset, model: ExplainableModel, source: str) -> RoundSettings:
    """The controls of how the round is voted on."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        votes_each = st.number_input("People who judge each picture (0: all)", 0, 100, 0, key="round.votes", width=300)
        repeats = st.slider("Hidden repeats, %", 0, 50, 0, 5, key="round.repeats", help=REPEATS, width=300)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        maps = MAPS[st.selectbox("Reviewers see maps", MAPS, key="round.maps", help=MAPS_HELP, width=300)]
        fitting = [id for id, method in METHODS.items() if method.misfit(model) is None and method.family != "control"]
        st.selectbox(
            "Method of the maps", fitting, fitting.index("hires_cam") if "hires_cam" in fitting else 0,
            format_func=lambda id: METHODS[id].title, key="round.method", disabled=maps == rounds.NEVER, width=300,
        )  # fmt: skip
    blind = BLIND[st.selectbox("Reviewers do not see others' votes", BLIND, key="round.blind", width=300)]
    random_order = st.toggle("Each reviewer has a random order of their own", True, key="round.order")
    reveal = st.toggle("Show the prediction only after the vote", key="round.reveal")
    anonymous = st.toggle("Leave out the names of reviewers", key="round.anonymous")
    seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="round.seed", width=140, help=SEED)
    st.markdown("Verdicts, in the order of the keys 1 to 9")
    table = st.data_editor(
        pd.DataFrame(VERDICTS, columns=VerdictKind._fields), num_rows="dynamic", hide_index=True, key="round.verdicts",
        column_config={
            "id": st.column_config.TextColumn("Id", max_chars=40, required=True, help="In files and tables"),
            "title": st.column_config.TextColumn("Title", max_chars=60, required=True),
            "definition": st.column_config.TextColumn("Definition", width="large", required=True),
        },
    )  # fmt: skip
    verdicts = _verdicts(table)
    if st.session_state.get("round.controls") and st.toggle(
        f"Add the verdict '{NOTHING_WRONG.title}'", True, key="round.nothing_wrong", help=NOTHING_WRONG_HELP
    ):
        verdicts = (*verdicts, NOTHING_WRONG)
    return RoundSettings(
        model.id, model.title, model.fingerprint, dataset.digest, dataset.title, source, verdicts=verdicts,
        classes=tuple(model.class_names), votes_each=votes_each, random_order=random_order, blind=blind,
        repeats=repeats / 100, maps=maps, reveal_after_vote=reveal, anonymous=anonymous, seed=seed,
    )  # fmt: skip


REPEATS = (
    "The share of the pictures that everybody sees a second time, later and unannounced: how consistent is each person?"
)
MAPS_HELP = (
    "Maps of the predicted class, of the true one, and of their difference. With the third choice each reviewer sees maps "
    "on half of the pictures, drawn by chance for each: the result then says whether maps helped."
)
NOTHING_WRONG_HELP = (
    "The round has right pictures as a control; without this verdict nothing fits them. Its key is the last one."
)
SEED = "Of the samples, the orders, the repeats and the choice of pictures with maps."


def _verdicts(table: pd.DataFrame) -> tuple[VerdictKind, ...]:
    """The verdicts in the table; empty cells are empty texts, and empty rows are left out."""
    cells = table.fillna("").astype(str).apply(lambda column: column.str.strip())
    return tuple(VerdictKind(*row) for row in cells.itertuples(index=False, name=None) if any(row))


def _check(options: RoundSettings, total: int) -> None:
    """Raises BadRequest where no such round can be made."""
    options.check()
    if not 0 < total <= MOST_ITEMS:
        raise BadRequest(f"A round has 1 to {MOST_ITEMS:,} pictures, not {total:,}. Choose a part of them above.")


def _requests(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> dict[str, Request]:
    """The requests for the maps of the first picture that can be read: all others have the same method and options."""
    for _, row in rows.iterrows():
        try:
            picture = dataset.open(row["path"])
        except rounds.UNREADABLE:
            continue
        return sample_detail.requests_for(row, model, picture, st.session_state["round.method"])
    raise BadRequest("None of these pictures can be read any more, so that no round can be made of them.")


def _with_method(options: RoundSettings, request: Request | None) -> RoundSettings:
    """The settings with the method of the maps, as the page's drawer computes them."""
    if request is None:
        return options
    return replace(
        options, method=request.method, options=dict(request.options), cut=request.cut, precision=request.precision
    )


def _progress(store: Engine, id: str) -> None:
    """The round as far as it is made, with a link to its voting, and the job that makes it."""
    complaint = session.complaint()
    if complaint:
        st.error(error_text(complaint))
    round, job = round_job.made(store, id), jobs.find(round_job.key(id))
    if round is not None:
        _ready(store, round)
    if job is None:
        return
    if job.unfinished:
        job_view.show(job)
    elif job.state != server_job.DONE:
        st.error(error_text(f"{job_view.in_words(job).capitalize()}. {job.error}"))
        st.caption("The round and the maps made so far are kept." if round else "The round was not made; nothing is stored.")
        if job.resumable and jobs.may_change(job):
            job_view.resume_button(job)
    if len(job.log) > 1 and not job.unfinished:
        with st.expander("Log"):
            st.text("\n".join(job.log))


def _ready(store: Engine, round: Round) -> None:
    pictures = counted(round.pictures, "picture")
    with_maps = len(rounds.positions_with_maps(store, round))
    maps = "" if round.settings.maps == rounds.NEVER else f" {with_maps:,} of {round.pictures:,} have maps."
    st.success(f"The round **{markdown.escape(round.title)}** has {pictures}: the voting can begin.{maps}")
    if round.settings.left_out:
        st.warning(f"{len(round.settings.left_out):,} pictures could not be read and were left out.")
    page_links.link(
        page_links.REVIEW, "Open the round", round_job.address(round.id), icon=":material/how_to_vote:",
        origin=page_links.shown(),
    )  # fmt: skip
