"""Review rounds of what the page is about as a whole: the pictures listed, and the most confident errors."""

import streamlit as st

from xai_core.app.shared import predictions, round_form
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import FilteredRows
from xai_core.app.shared.round_form import CONFIDENT, USUAL, RoundPictures
from xai_core.data.datasets import Dataset


def show(rows: FilteredRows, dataset: Dataset) -> None:
    """A button for the pictures that pass the filters, and one for the errors among all pictures."""
    listed, wrong = rows.listed, rows.every[rows.every["true"] != rows.every["predicted"]]
    with st.container(horizontal=True):
        round_form.offer(
            RoundPictures(rows.names(listed), predictions.with_filters("Pictures listed", dataset)), "listed",
            f"Review the {counted(len(listed), 'picture')} listed",
        )  # fmt: skip
        if len(wrong) > 1:
            most = min(USUAL, len(wrong))
            errors = RoundPictures(rows.names(wrong), "All errors", CONFIDENT)
            round_form.offer(errors, "confident errors", f"Review the {most} most confident errors")
