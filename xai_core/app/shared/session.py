"""What one visitor's session holds beside its widgets: uploads and what shows parts of them, messages, cancelled work.

Widgets hold their own state: each has `bind="query-params"`, so that the address of the page is a link to what it shows.
"""

import time
from collections.abc import Callable, Container
from typing import Any, NamedTuple

import cachetools
import streamlit as st
from PIL import Image

from xai_core.core.cache_key import bytes_digest
from xai_core.data.image_io import open_picture

PICTURE_BYTES = 128 * 2**20  # decoded pictures that one session holds
MOST_RESULTS = 64  # results with parts of pictures that one session holds
UPLOAD = "upload"  # also the name of the upload's SHA-256 in the address
RETRY_SECONDS = 120


class Upload(NamedTuple):
    """The picture that the visitor uploaded: its SHA-256 and its bytes.

    `not_the_linked`: the session was opened by a link that was made with another picture.
    """

    digest: str
    data: bytes
    not_the_linked: bool


def upload() -> Upload | None:
    """The session's uploaded picture; None if there is none."""
    upload: Upload | None = st.session_state.get("uploaded")
    return upload


def keep_upload(digest: str, data: bytes, not_the_linked: bool) -> None:
    """Store a picture as the session's upload, in place of the one before."""
    st.session_state["uploaded"] = Upload(digest, data, not_the_linked)


def picture(key: str, make: Callable[[], Image.Image]) -> Image.Image:
    """The picture that this session holds under `key`; if there is none, it is made now and held.

    Pictures that come from uploads are held here and nowhere else: no other visitor can reach them, and they are gone when
    the session ends. The least recently used ones leave when PICTURE_BYTES are exceeded.
    """
    pictures: cachetools.LRUCache[str, Image.Image] = st.session_state.setdefault(
        "session pictures", cachetools.LRUCache(PICTURE_BYTES, _picture_bytes)
    )
    held = pictures.get(key)
    if held is not None:
        return held
    made = make()
    if _picture_bytes(made) <= PICTURE_BYTES:
        pictures[key] = made
    return made


def decoded(data: bytes) -> Image.Image:
    """The picture in an uploaded file, decoded once in this session. Raises BadPicture."""
    return picture(bytes_digest(data), lambda: open_picture(data))


def _picture_bytes(picture: Image.Image) -> int:
    return picture.width * picture.height * len(picture.getbands())


def get(key: str) -> Any:
    """A result that this session alone holds, because it shows parts of a picture; None if there is none."""
    return _results().get(key)


def put(key: str, result: Any) -> None:
    """Hold a result in this session alone. The least recently used ones leave when there are more than MOST_RESULTS."""
    _results()[key] = result


def _results() -> cachetools.LRUCache[str, Any]:
    results: cachetools.LRUCache[str, Any] = st.session_state.setdefault(
        "session results", cachetools.LRUCache(MOST_RESULTS)
    )
    return results


def keep_among(key: str, options: Container[Any], otherwise: Any) -> None:
    """Set a widget to `otherwise` if its value is no longer among its options. Call before creating the widget.

    The value is overwritten and not removed: for a removed key the browser still shows the old value.
    """
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = otherwise


def complain(message: str) -> None:
    """Store a message that the next run of the page shows once."""
    st.session_state["complaint"] = message


def complaint() -> str | None:
    """The message of `complain`, which is removed by reading it; None if there is none."""
    message: str | None = st.session_state.pop("complaint", None)
    return message


def start_again(key: str | None) -> None:
    """Ask the page that is opened next to start the job of this key again (None: no job)."""
    st.session_state["start again"] = key


def starts_again(key: str) -> bool:
    """Whether the job of this key is to be started again; true once for each request."""
    if st.session_state.get("start again") != key:
        return False
    start_again(None)
    return True


def begin_work(begins: bool) -> None:
    """Ask the next run of the page to start the long work that it shows, as if its button were pressed; or no longer."""
    st.session_state["begins work"] = begins


def begins_work() -> bool:
    """Whether this run of the page is to start the long work that it shows."""
    return bool(st.session_state.get("begins work"))


def ask_anew(key: str | None) -> None:
    """Ask the next run of the page to start the long work named `key`, whose button was pressed beside older results; None:
    no longer."""
    st.session_state["anew"] = key


def asked_anew(key: str) -> bool:
    """Whether this run of the page is to start the long work named `key`: once after each `ask_anew`."""
    if st.session_state.get("anew") != key:
        return False
    ask_anew(None)
    return True


def cancelled(key: str) -> bool:
    """Whether the visitor cancelled the work named `key` and has not started it again."""
    return bool(st.session_state.get("cancelled") == key)


def cancel(key: str | None) -> None:
    """Mark the work named `key` as cancelled; None: no work is cancelled."""
    st.session_state["cancelled"] = key


def planned(key: str) -> bool:
    """Whether the visitor requested the plan named `key`."""
    return bool(st.session_state.get("planned") == key)


def plan(key: str | None) -> None:
    """Request the plan named `key` (None: no plan) and forget what was cancelled."""
    cancel(None)
    st.session_state["planned"] = key


def failure(name: str) -> str | None:
    """Why loading a model failed, if that was less than RETRY_SECONDS ago."""
    message: str | None
    message, when = st.session_state.get("failures", {}).get(name, (None, 0.0))
    return message if time.time() - when < RETRY_SECONDS else None


def remember_failure(name: str, message: str) -> None:
    """Store why loading a model failed."""
    st.session_state.setdefault("failures", {})[name] = (message, time.time())


def forget_failures() -> None:
    """Let every model be tried again."""
    st.session_state.pop("failures", None)
