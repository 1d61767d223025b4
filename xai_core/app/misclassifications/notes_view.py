"""The view of all notes on a dataset: a table, export and import."""

import pandas as pd
import streamlit as st

from xai_core.app.shared import display, session
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.data.datasets import Dataset
from xai_core.review import notes


def show(dataset: Dataset) -> None:
    """All notes of the dataset, with buttons that export them and a control that imports others."""
    complaint = session.complaint()
    if complaint:
        st.error(markdown.escape(complaint))
    stored = notes.load(dataset)
    if stored:
        rows = [{"path": path, "tags": ", ".join(note.tags), "note": note.text} for path, note in sorted(stored.items())]
        st.dataframe(pd.DataFrame(rows), hide_index=True)
        display.downloads(
            {
                "CSV": ("notes.csv", "text/csv", notes.to_csv(stored)),
                "JSON": ("notes.json", "application/json", notes.to_json(stored)),
            }
        )
    else:
        st.info(
            "No picture of this dataset has a tag or a note yet. To write one, open a picture below the confusion matrix."
        )
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
