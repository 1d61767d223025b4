"""Small versions of datasets' pictures, ready for the browser: a picture is opened, made small and encoded once.

Those of the offered datasets are held by the server for all visitors; those of a visitor's own ZIP in the session alone.
"""

import threading
from dataclasses import dataclass, field

import cachetools
import streamlit as st

from xai_core.app.shared import opened_datasets
from xai_core.data.datasets import Dataset
from xai_core.explanation import rendering

SIDE = 128  # pixels of the longer side
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


def file(dataset: Dataset, path: str) -> bytes:
    """A dataset's picture as a JPEG file with no side longer than SIDE. Raises BadPicture.

    It is known by the picture's content (`Dataset.content`), so that a file that was changed or removed is noticed.
    """
    held = _of_session() if opened_datasets.is_upload(dataset) else _of_server()
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
