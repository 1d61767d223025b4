"""The datasets that pages offer: the changed sample photographs, those of the data folders, and a visitor's own ZIP.

Those of the data folders are opened once for all visitors.
"""

import os
from pathlib import Path

import streamlit as st

from xai_core.core.errors import BadRequest
from xai_core.data.corrupted_samples import changed_samples
from xai_core.data.datasets import Dataset, find_offered, open_dataset, place_of

SAMPLES, UPLOADED = "Sample photographs, changed", "Your ZIP"


def open_named(name: str) -> Dataset:
    """The dataset that a page calls `name`. Raises UnknownName, BadRequest."""
    if name == SAMPLES:
        return changed_samples()
    if name != UPLOADED:
        return open_offered(name)
    upload: tuple[str, Dataset] | None = st.session_state.get("unzipped")
    if upload is None:
        raise BadRequest("The ZIP is not in this session any more: upload it again on the page Misclassifications.")
    return upload[1]


def is_upload(dataset: Dataset) -> bool:
    """Whether this is the visitor's own ZIP."""
    return any(dataset is part for part in st.session_state.get("unzipped", ()))


def open_offered(name: str) -> Dataset:
    """An offered dataset, by its name; it is opened again, and its digest computed again, only when it has changed.

    What counts as a change: another time of change of its file, or of its folder or a subfolder of that (pictures added,
    removed or renamed). A picture that is overwritten in place is noticed after a restart. Raises UnknownName, BadRequest.
    """
    source = find_offered(name)
    return _open(str(source), _times(source))


def _times(source: str | Path) -> tuple[int, ...]:
    """Times of change in nanoseconds, and the size of a file. Empty for a world, and where the path has disappeared."""
    if isinstance(source, str):
        return ()
    try:
        path = place_of(source)
        stat = path.stat()
        if not path.is_dir():
            return stat.st_mtime_ns, stat.st_size
        with os.scandir(path) as entries:
            changing = [entry for entry in entries if entry.is_dir() or entry.name.endswith((".parquet", ".arrow"))]
            return stat.st_mtime_ns, *sorted(entry.stat().st_mtime_ns for entry in changing)
    except (OSError, BadRequest):
        return ()


@st.cache_resource(max_entries=12, show_spinner=False)
def _open(path: str, times: tuple[int, ...]) -> Dataset:
    return open_dataset(path)
