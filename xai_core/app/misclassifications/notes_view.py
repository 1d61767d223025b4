"""The view of all notes on a dataset: a table, export and import."""

import pandas as pd
import streamlit as st

from xai_core.app.misclassifications import drawer
from xai_core.app.misclassifications.predictions import FilteredRows
from xai_core.app.shared import display, session
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.data.datasets import Dataset
from xai_core.review import notes


def show(rows: FilteredRows, dataset: Dataset) -> None:
    """All notes of the dataset, each with a button that opens its picture; export and import of notes."""
    complaint = session.complaint()
    if complaint:
        st.error(error_text(complaint))
    stored = notes.load(dataset)
    if stored:
        lines = [{"path": path, "tags": ", ".join(note.tags), "note": note.text} for path, note in sorted(stored.items())]
        known = set(rows.every["path"])
        group = drawer.Group("Pictures with notes", tuple(line["path"] for line in lines if line["path"] in known))
        drawer.offer([group])
        drawer.table(
            pd.DataFrame(lines), "all notes", lambda row: (group, lines[row]["path"]),
            openable=[line["path"] in known for line in lines],
        )  # fmt: skip
        display.downloads(
            {
                "CSV": ("notes.csv", "text/csv", notes.to_csv(stored)),
                "JSON": ("notes.json", "application/json", notes.to_json(stored)),
            }
        )
    else:
        st.info("No picture of this dataset has a tag or a note yet. To write one, open a picture.")
    st.file_uploader(
        "Import notes (CSV or JSON); they are added to the notes stored here", type=["csv", "json"], key="notes",
        on_change=_import, args=(dataset,),
    )  # fmt: skip
    file = markdown.escape(notes.place(dataset).name)
    st.caption(f"Stored in {file} on the server, for all visitors. Export notes to keep a copy.")


def _import(dataset: Dataset) -> None:
    file = st.session_state["notes"]
    if file is None:
        return
    try:
        notes.add(dataset, notes.read(file.name, file.getvalue()))
    except XaiError as error:
        session.complain(str(error))
