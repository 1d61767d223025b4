"""The rounds that a visitor may open, and how to make one."""

import streamlit as st
from sqlalchemy import Engine

from xai_core.app.review import access
from xai_core.app.shared import jobs, page_links, session
from xai_core.core import markdown, settings
from xai_core.core.errors import XaiError
from xai_core.review import example, round_files, rounds, votes
from xai_core.review.people import Person
from xai_core.review.rounds import Round

STATES = {rounds.VOTING: "voting", rounds.DISCUSSION: "in discussion", rounds.DONE: "done"}
MOST = 50  # rounds that are listed at once


def show(engine: Engine, person: Person | None) -> None:
    """A card for each round, the newest first, and where rounds are made."""
    known = rounds.listed(engine) if jobs.is_own_computer() else rounds.listed(engine, person) if person else []
    if not known:
        st.info(
            "You take part in no round yet. Make one on the page Misclassifications, or open the link of an invitation."
            if person
            else "Say who you are to see your rounds, or open the link of an invitation."
        )
    pages = -(-len(known) // MOST)
    page = st.pagination(pages, key="rounds") if pages > 1 else 1
    for round in known[MOST * (page - 1) : MOST * page]:
        with st.container(border=True):
            _card(engine, round, person)
    with st.container(horizontal=True, vertical_alignment="center"):
        if example.ID not in [round.id for round in known]:
            st.button(
                "Open the example round",
                key="example round",
                icon=":material/school:",
                on_click=open_round,
                args=(example.ID,),
            )
        if person is not None and not settings.READONLY.value():
            with st.popover("Import a round", icon=":material/upload:"):
                st.file_uploader(
                    "A round that was exported as JSON", type="json", key="imported round", on_change=_import,
                    args=(engine, person),
                )  # fmt: skip
    page_links.link(
        page_links.MISSES, "**Make a round** of a model's errors", {}, icon=":material/add:", origin=page_links.REVIEW,
    )  # fmt: skip


def _card(engine: Engine, round: Round, person: Person | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.button(
            f"**{markdown.escape(round.title)}**", key=f"round {round.id}", type="tertiary",
            icon=":material/how_to_vote:", on_click=open_round, args=(round.id,),
        )  # fmt: skip
        st.badge(STATES[round.state], color="blue" if round.state == rounds.VOTING else "gray")
    line = (
        f"{round.pictures:,} pictures of {markdown.escape(round.settings.dataset_title)}, predictions of "
        f"{markdown.escape(round.settings.model_title)}. Made by {markdown.escape(round.owner.in_words())}, "
        f"{round.made:%Y-%m-%d %H:%M} UTC."
    )
    own = next((entry for entry in _progress(engine, round) if person and entry.person.key == person.key), None)
    if own and round.state == rounds.VOTING:
        line += f" You have judged {own.done:,} of {own.total:,}."
    st.caption(line)


def _import(engine: Engine, person: Person) -> None:
    file = st.session_state["imported round"]
    if file is None:
        return
    try:
        round = round_files.import_json(engine, file.getvalue(), person)
    except XaiError as error:
        session.complain(str(error))
    else:
        open_round(round.id)


def _progress(engine: Engine, round: Round) -> list[votes.Progress]:
    return votes.progress(engine, round, access.items(engine, round)) if round.state == rounds.VOTING else []


def open_round(id: str) -> None:
    """Open a round; its section is the one that its state asks for."""
    for name in ("section", "picture"):
        st.query_params.pop(name, None)
    st.query_params[access.ROUND] = id
