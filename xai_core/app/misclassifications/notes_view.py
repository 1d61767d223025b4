"""The view of all notes on a dataset: a table, export and import."""

import pandas as pd
import streamlit as st

from xai_core.app.shared import display, drawer, note_form, review_store, session
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.predictions import FilteredRows
from xai_core.core import settings
from xai_core.core.errors import XaiError
from xai_core.data.datasets import Dataset
from xai_core.review import picture_notes
from xai_core.review.picture_notes import StoredNote


def show(rows: FilteredRows, dataset: Dataset) -> None:
    """All notes of the dataset, each with a button that opens its picture; export and import of notes."""
    complaint = session.complaint()
    if complaint:
        st.error(error_text(complaint))
    engine = review_store.engine()
    stored = picture_notes.load(engine, dataset)
    for problem in picture_notes.import_files(engine, dataset):
        st.warning(error_text(problem))
    if stored:
        paths = sorted(stored)
        known = rows.held.places(paths)
        group = drawer.Group("Pictures with notes", tuple(path for path in paths if path in known))
        drawer.offer([group])
        drawer.table(
            pd.DataFrame([_line(path, stored[path]) for path in paths]), "all notes", lambda row: (group, paths[row]),
            openable=[path in known for path in paths], alt="All notes and tags of these pictures",
        )  # fmt: skip
        notes = {path: one.note for path, one in stored.items()}
        display.downloads(
            {
                "CSV": ("notes.csv", "text/csv", picture_notes.to_csv(notes)),
                "JSON": ("notes.json", "application/json", picture_notes.to_json(notes)),
            }
        )
    else:
        st.info("No picture of this dataset has a tag or a note yet. To write one, open a picture.")
    if not settings.READONLY.value():
        st.file_uploader(
            "Import notes (CSV or JSON); they are added to the notes stored here", type=["csv", "json"], key="notes",
            on_change=_import, args=(dataset,),
        )  # fmt: skip
        st.caption("All visitors see these notes and who wrote them. Export notes to keep a copy.")
    review_store.say_where(engine)


def _line(path: str, stored: StoredNote) -> dict[str, object]:
    return {
        "path": path, "tags": ", ".join(stored.note.tags), "note": stored.note.text, "by": stored.person.in_words(),
        "changed (UTC)": stored.at.replace(microsecond=0),
    }  # fmt: skip


def _import(dataset: Dataset) -> None:
    file = st.session_state["notes"]
    if file is None:
        return
    try:
        notes = picture_notes.read(file.name, file.getvalue())
        picture_notes.add(review_store.engine(), dataset, notes, note_form.writer())
    except XaiError as error:
        session.complain(str(error))
