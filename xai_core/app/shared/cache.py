"""Results shared by all visitors of this process, by key and bounded by bytes; and the bundled pictures."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import cachetools
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.data.samples import load_sample
from xai_core.explanation.result import Explanation

RESULT_BYTES = 200 * 2**20
Result = TypeVar("Result")


def _nbytes(result: Any) -> int:
    """Approximate size of a result in bytes: exact for its arrays, a flat amount for the rest."""
    result = getattr(result, "explanation", result)  # a network's answer
    if isinstance(result, Explanation):
        return result.heatmap.nbytes + 2000
    if isinstance(result, pd.DataFrame):
        return int(result.memory_usage(deep=True).sum())
    if hasattr(result, "nbytes"):
        return int(result.nbytes)
    return sum(map(_nbytes, result)) if isinstance(result, tuple | list) else 1000


@dataclass
class _Store:
    results: cachetools.LRUCache[str, Any] = field(default_factory=lambda: cachetools.LRUCache(RESULT_BYTES, _nbytes))
    lock: threading.Lock = field(default_factory=threading.Lock)


@st.cache_resource(show_spinner=False)
def _store() -> _Store:
    return _Store()


def get(key: str) -> Any:
    """The result stored under a key; None if there is none."""
    store = _store()
    with store.lock:
        return store.results.get(key)


def put(key: str, result: Any) -> None:
    """Store a result for all sessions. The least recently used ones leave when `RESULT_BYTES` are exceeded."""
    store = _store()
    with store.lock:
        store.results[key] = result


def get_or_compute(key: str, compute: Callable[[], Result]) -> Result:
    """The result stored under a key; if there is none it is computed now. For work as short as drawing the page."""
    result: Result | None = get(key)
    if result is None:
        result = compute()
        put(key, result)
    return result


def clear() -> None:
    """Remove every stored result."""
    store = _store()
    with store.lock:
        store.results.clear()


@st.cache_data(max_entries=16, show_spinner=False)
def sample(name: str) -> Image.Image:
    """A bundled picture, by its id. Raises UnknownName."""
    return load_sample(name)
