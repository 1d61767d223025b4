"""What one visitor's session holds beside its widgets, by name.

Widgets keep their own state: each has `bind="query-params"`, so that the address of the page is a link to what it shows.
"""

import time
from collections.abc import Container
from typing import Any, NamedTuple

import cachetools
import streamlit as st
from PIL import Image

from xai_core.core.cache_key import bytes_digest
from xai_core.data.image_io import open_picture

DECODED_BYTES = 128 * 2**20  # decoded uploads that one session holds
UPLOAD = "upload"  # also the name of the upload's SHA-256 in the address
RETRY_SECONDS = 120


class Upload(NamedTuple):
    """A picture the visitor brought: its SHA-256, its bytes (which stay in this session), and whether a link that was
    opened here asked for another one."""

    digest: str
    data: bytes
    not_the_linked: bool


def upload() -> Upload | None:
    return st.session_state.get("uploaded")


def keep_upload(digest: str, data: bytes, not_the_linked: bool) -> None:
    st.session_state["uploaded"] = Upload(digest, data, not_the_linked)


def decoded(data: bytes) -> Image.Image:
    """The picture in an uploaded file, decoded once in this session. Raises BadPicture.

    It is held in the session's own state: no other visitor can reach it, and it is gone when the session ends.
    """
    pictures = st.session_state.setdefault("decoded", cachetools.LRUCache(DECODED_BYTES, _picture_bytes))
    digest = bytes_digest(data)
    if digest in pictures:
        picture: Image.Image = pictures[digest]
        return picture
    picture = open_picture(data)
    if _picture_bytes(picture) <= DECODED_BYTES:
        pictures[digest] = picture
    return picture


def _picture_bytes(picture: Image.Image) -> int:
    return picture.width * picture.height * len(picture.getbands())


def hand_over(settings: dict[str, tuple[Any, str]]) -> None:
    """What the widgets of the page that is opened next are set to, by their keys: the value, and how the address says it.
    (A link inside a session would lose the settings that both pages have.)"""
    st.session_state["handed over"] = settings


def take_over() -> None:
    """Set this page's widgets as the page before said, and its address too; before any is made."""
    settings = st.session_state.pop("handed over", {})
    for name, (value, words) in settings.items():
        st.session_state[name] = value
        st.query_params[name] = words


def keep_among(key: str, options: Container, otherwise: Any) -> None:
    """Before a widget whose options changed is made: what it holds stays if it is still one of them.

    It is written, not forgotten: of a key that is popped the browser goes on to show the old value."""
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = otherwise


def complain(message: str) -> None:
    """Say something in the next run, once."""
    st.session_state["complaint"] = message


def complaint() -> str | None:
    return st.session_state.pop("complaint", None)


def opened_by_link() -> bool:
    """Whether this is the first run of a session whose address carries settings: a link someone was sent."""
    first = "visited" not in st.session_state
    st.session_state["visited"] = True
    return first and bool(st.query_params)


def cancelled(key: str) -> bool:
    """Whether the visitor cancelled this very run, and has not asked for it again."""
    return st.session_state.get("cancelled") == key


def cancel(key: str | None) -> None:
    st.session_state["cancelled"] = key


def planned(key: str) -> bool:
    """Whether the visitor has asked for this very plan."""
    return st.session_state.get("planned") == key


def plan(key: str | None) -> None:
    """Ask for a plan, or for none; what was cancelled before no longer counts."""
    cancel(None)
    st.session_state["planned"] = key


def failure(name: str) -> str | None:
    """Why a model could not be loaded, where that was tried a moment ago."""
    message, when = st.session_state.get("failures", {}).get(name, (None, 0.0))
    return message if time.time() - when < RETRY_SECONDS else None


def remember_failure(name: str, message: str) -> None:
    st.session_state.setdefault("failures", {})[name] = (message, time.time())


def forget_failures() -> None:
    st.session_state.pop("failures", None)
