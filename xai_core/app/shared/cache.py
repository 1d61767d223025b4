"""Results shared by all visitors of this process, by key and bounded by bytes; and the bundled pictures.

What was not computed here is looked for among the results that ship with the project.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import cachetools
import pandas as pd
import streamlit as st
from PIL import Image

from xai_core.core import settings
from xai_core.data.samples import load_sample

if TYPE_CHECKING:
    from xai_core.app.shared.shipped_results import ShippedResults

SHIPPED = settings.RESOURCES / "data" / "first_views.npz"  # written by xai_core/app/first_views.py
RESULT_BYTES = 200 * 2**20
Result = TypeVar("Result")


def _nbytes(result: Any) -> int:
    """Approximate size of a result in bytes: exact for its arrays, a flat amount for the rest."""
    from xai_core.explanation.result import Explanation

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
    shipped: ShippedResults | None = None  # once a result was looked for
    refused: set[str] = field(default_factory=set)  # keys of shipped results that a visitor wants computed anew


@st.cache_resource(show_spinner=False)
def _store() -> _Store:
    return _Store()


def get(key: str) -> Any:
    """The result stored under a key, or the one that ships with the project; None if there is none."""
    store = _store()
    with store.lock:
        result = store.results.get(key)
        return _shipped(store).find(key) if result is None and key not in store.refused else result


def _shipped(store: _Store) -> ShippedResults:
    if store.shipped is None:
        from xai_core.app.shared import shipped_results

        store.shipped = shipped_results.read(SHIPPED)
    return store.shipped


def made_elsewhere(keys: Iterable[str]) -> str:
    """Where and when the shipped results were computed, if one of those under these keys is what `get` returns; else ""."""
    store = _store()
    with store.lock:
        shipped = _shipped(store)
        shown = (key in shipped.entries and key not in store.results and key not in store.refused for key in keys)
        return shipped.made if any(shown) else ""


def compute_anew(keys: Iterable[str]) -> None:
    """No longer return the shipped results under these keys, so that they are computed here, for all sessions."""
    store = _store()
    with store.lock:
        store.refused |= {*keys}


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


def stored() -> dict[str, Any]:
    """Every stored result by its key, without those that ship with the project."""
    store = _store()
    with store.lock:
        return dict(store.results)


def clear() -> None:
    """Remove every stored result; those that ship with the project are found again."""
    store = _store()
    with store.lock:
        store.results.clear()
        store.refused.clear()


@st.cache_data(max_entries=16, show_spinner=False)
def sample(name: str) -> Image.Image:
    """A bundled picture, by its id. Raises UnknownName."""
    return load_sample(name)
