"""Small versions of datasets' pictures, ready for the browser: a picture is opened, made small and encoded once, or read
from the thumbnails that `classify` has stored beside its predictions.

Those of the offered datasets are held by the server for all visitors; those of a visitor's own ZIP in the session alone.
"""

import io
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cachetools
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.app.shared import opened_datasets
from xai_core.core.errors import BadRequest
from xai_core.data import thumbnail_file
from xai_core.data.datasets import Dataset
from xai_core.explanation import rendering

SIDE = thumbnail_file.SIDE  # pixels of the longer side
SERVER_BYTES = 96 * 2**20  # of all thumbnails that the server holds: more than 10,000
SESSION_BYTES = 16 * 2**20  # of those that one session holds: about 2,000
Files = cachetools.LRUCache[str, bytes]


@dataclass
class _Held:
    files: Files
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _of_server() -> _Held:
    return _Held(cachetools.LRUCache(SERVER_BYTES, len))


def _of_session() -> _Held:
    held: _Held = st.session_state.setdefault("thumbnails", _Held(cachetools.LRUCache(SESSION_BYTES, len)))
    return held


def _held_for(dataset: Dataset) -> _Held:
    return _of_session() if opened_datasets.is_upload(dataset) else _of_server()


def file(dataset: Dataset, path: str) -> bytes:
    """A dataset's picture as a JPEG file with no side longer than SIDE. Raises BadPicture.

    It is known by the picture's content (`Dataset.content`), so that a file that was changed or removed is noticed.
    """
    held = _held_for(dataset)
    key = f"{dataset.content(path)} {path}"
    with held.lock:
        known = held.files.get(key)
    if known is not None:
        return known
    picture = dataset.open(path)
    picture.thumbnail((SIDE, SIDE))
    made = rendering.encoded(picture)
    with held.lock:
        held.files[key] = made
    return made


def stored(dataset: Dataset, predictions: Path | None, rows: pd.DataFrame) -> dict[str, bytes]:
    """The pictures of some rows of a file of predictions (`place` in the file, `path`), by path, as `file` makes them, but
    read at once from the thumbnails that lie beside the file: no picture is opened. Those that are not there are left out;
    all of them where there are none of this dataset, or they cannot be read. They are those of the dataset's digest."""
    if predictions is None:
        return {}
    thumbnails = thumbnail_file.file_beside(predictions)
    try:
        changed = thumbnails.stat().st_mtime_ns
    except OSError:  # there is none
        return {}
    held = _held_for(dataset)
    keys = {path: f"{changed} {dataset.digest} {path}" for path in rows["path"]}
    with held.lock:
        found = {path: known for path, key in keys.items() if (known := held.files.get(key)) is not None}
    lacking = rows[~rows["path"].isin(list(found))]
    if len(lacking):
        made = _read(str(thumbnails), changed, dataset.digest, lacking["place"].tolist(), lacking["path"].tolist())
        with held.lock:
            held.files.update({keys[path]: small for path, small in made.items()})
        found |= made
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _opened(path: str, changed: int, digest: str) -> thumbnail_file.Thumbnails | None:
    try:
        return thumbnail_file.opened(Path(path), digest)
    except BadRequest:  # the pictures themselves are shown then
        return None


def _read(path: str, changed: int, digest: str, places: list[int], names: list[str]) -> dict[str, bytes]:
    """The stored thumbnails of these pictures as JPEG files: Streamlit would encode WebP again in each run of a page."""
    thumbnails = _opened(path, changed, digest)
    try:
        files = thumbnails.read(places, names) if thumbnails else {}
    except BadRequest:
        return {}
    return dict(_as_jpeg(files.items()))


def _as_jpeg(files: Iterable[tuple[str, bytes]]) -> Iterable[tuple[str, bytes]]:
    for name, data in files:
        try:
            with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
                yield name, rendering.encoded(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError):  # damaged
            continue
