"""One visitor's work at a time, so that a small machine stays responsive; long work lets others in between its pieces.

This is fairness only: the models themselves may be used by any number of threads.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.core.runtime import Track
from xai_core.explanation import rendering

Result = TypeVar("Result")


@st.cache_resource(show_spinner=False)
def _gate() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore()


def _wait(bar: DeltaGenerator, share: float) -> None:
    """Wait until no other visitor's work is running; the gate must be released afterwards. The bar stays at `share`."""
    while not _gate().acquire(timeout=0.2):
        bar.progress(share, text="Waiting for another visitor's computation to finish")


def in_turn(work: Callable[[Track], Result], bar: DeltaGenerator, title: str) -> Result:
    """Call `work(track)` when no other visitor's work is running. It moves `bar`, and can be cancelled at every batch."""
    bar.progress(0.0, text=f"{title}: starting")
    _wait(bar, 0.0)
    try:
        return work(lambda batches: _reported(batches, bar, title))
    finally:
        _gate().release()


def _reported(batches: Iterable[Any], bar: DeltaGenerator, title: str) -> Iterator[Any]:
    """Move the bar with every batch. Streamlit stops a cancelled run at such a write to the page."""
    batches = list(batches)
    start, total = time.perf_counter(), len(batches)
    for done, batch in enumerate(batches):
        seconds = time.perf_counter() - start
        left = f", about {seconds / done * (total - done):.0f} s left" if done else ""
        bar.progress(done / total, text=f"{title}: {done} of {total} batches, {seconds:.0f} s{left}")
        yield batch


@contextmanager
def in_turns(bar: DeltaGenerator, unit: str) -> Iterator[tuple[Track, Track]]:
    """Two tracks for long work: one over its pieces, the other over the batches within a piece.

    Other visitors have their turns between two pieces. The work can be cancelled at every batch. `unit` names the pieces
    in the bar's text.
    """
    opened: list[_Turns] = []

    def pieces(items: Iterable[Any]) -> Iterator[Any]:
        opened.append(_Turns(bar, list(items), unit))
        return opened[-1].pieces

    def within(batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            opened[-1].report()
            yield batch

    try:
        yield pieces, within
    finally:
        for turns in opened:
            turns.pieces.close()


class _Turns:
    """Iterates over pieces of work, each in a turn of its own; `report` moves the bar, where a cancelled run stops."""

    def __init__(self, bar: DeltaGenerator, items: Sequence[Any], unit: str):
        self._bar, self._total, self._unit, self._done = bar, len(items), unit, 0
        self._start = time.perf_counter()
        self.pieces = self._iterate(items)

    def report(self) -> None:
        seconds = time.perf_counter() - self._start
        left = seconds / self._done * (self._total - self._done) if self._done else None
        ahead = f", about {rendering.duration(left)} left" if left else ""
        text = f"{self._done:,} of {self._total:,} {self._unit}, {rendering.duration(seconds)}{ahead}"
        self._bar.progress(self._done / self._total, text=text)

    def _iterate(self, items: Sequence[Any]) -> Generator[Any, None, None]:
        for self._done, piece in enumerate(items):
            self.report()
            _wait(self._bar, self._done / self._total)
            try:
                yield piece
            finally:
                _gate().release()
