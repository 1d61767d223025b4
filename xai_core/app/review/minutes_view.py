"""The section Minutes: the document of a round, and its votes and verdicts as files.

A file is made when its button is pressed.
"""

from collections.abc import Callable
from functools import partial

import streamlit as st
from sqlalchemy import Engine

from xai_core.app.review import discussion
from xai_core.app.shared import display
from xai_core.app.shared.display import File
from xai_core.app.shared.error_text import error_text
from xai_core.core.errors import BadRequest
from xai_core.review import minutes, minutes_document, round_files, rounds
from xai_core.review.minutes import Minutes
from xai_core.review.people import Person
from xai_core.review.rounds import Round


def show(engine: Engine, round: Round, person: Person | None, role: str) -> None:
    """What is still open, and the downloads."""
    if round.state == rounds.VOTING:
        st.info("The minutes can be downloaded when the owner has closed the voting.")
        return
    with display.errors():
        state = discussion.load(engine, round)
        rest = round.pictures - len(state.settled)
        st.markdown(
            f"**{len(state.settled):,}** of {round.pictures:,} pictures are settled. "
            + (f"The other **{rest:,}** are in the minutes as open questions. " if rest else "")
            + ("" if round.state == rounds.DONE else "The round is not done: what is decided later is not in these files.")
        )
        st.subheader("Minutes")
        st.caption(
            "The settings of the round, agreement, counts with intervals, every picture with its verdict, votes and maps, "
            f"and lists of what to do. Small copies and maps: of the first {minutes.MOST_WITH_PICTURES:,} pictures."
        )
        display.downloads(documents(engine, round))
        st.subheader("Votes and verdicts")
        st.caption(
            "CSV is for spreadsheets. The corrected labels are a table that opens as a dataset where it lies beside the "
            "pictures. JSON holds the whole round with its small pictures and maps; it can be opened again as a round."
        )
        display.downloads(tables(engine, round))
        try:
            round_files.check_size(engine, round)
        except BadRequest as error:
            st.caption(error_text(error))
        else:
            display.downloads(whole_round(engine, round))


def documents(engine: Engine, round: Round) -> dict[str, File]:
    """The minutes in each format, by the label of its button."""
    formats: dict[str, tuple[str, str, Callable[[Minutes], bytes | str]]] = {
        "HTML": ("html", "text/html", minutes_document.to_html),
        "PDF": ("pdf", "application/pdf", minutes_document.to_pdf),
        "Markdown": ("md", "text/markdown", minutes_document.to_markdown),
    }
    return {
        label: (f"review_{round.id}.{suffix}", mime, partial(_document, engine, round, write))
        for label, (suffix, mime, write) in formats.items()
    }


def tables(engine: Engine, round: Round) -> dict[str, File]:
    """The tables for spreadsheets and for `classify`, by the labels of their buttons."""
    contents = {
        "Votes (CSV)": ("votes", round_files.votes_csv),
        "Verdicts (CSV)": ("verdicts", round_files.verdicts_csv),
        "Corrected labels (CSV)": ("relabelled", round_files.relabelled_csv),
    }
    return {
        label: (f"review_{round.id}_{name}.csv", "text/csv", partial(make, engine, round))
        for label, (name, make) in contents.items()
    }


def whole_round(engine: Engine, round: Round) -> dict[str, File]:
    """The file out of which a round can be made again, by the label of its button."""
    return {
        "Whole round (JSON)": (
            f"review_{round.id}.json", "application/json", partial(round_files.export_json, engine, round)
        )
    }  # fmt: skip


def _document(engine: Engine, round: Round, write: Callable[[Minutes], bytes | str]) -> bytes | str:
    return write(minutes.minutes(engine, round))
