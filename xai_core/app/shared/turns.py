"""One visitor's work at a time, so that a small machine stays responsive; long work lets others in between its pieces.

This is fairness only: the models themselves may be used by any number of threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.core import markdown

if TYPE_CHECKING:
    from xai_core.core.runtime import Track

WAITING = "Waiting for another computation to finish"
WAIT_SECONDS = 0.2
Result = TypeVar("Result")


@dataclass
class _Queue:
    """Those who want to compute, in the order in which they came; the first one has its turn."""

    tickets: deque[object] = field(default_factory=deque)
    changed: threading.Condition = field(default_factory=threading.Condition)


@st.cache_resource(show_spinner=False)
def _queue() -> _Queue:
    return _Queue()


@contextmanager
def turn(waiting: Callable[[], object]) -> Iterator[None]:
    """One turn, which begins when all who came before have had theirs.

    Until then `waiting` is called every WAIT_SECONDS; what it raises gives up the place.
    """
    queue, ticket = _queue(), object()
    with queue.changed:
        queue.tickets.append(ticket)
    try:
        while True:
            with queue.changed:
                if queue.changed.wait_for(lambda: queue.tickets[0] is ticket, WAIT_SECONDS):
                    break
            waiting()
        yield
    finally:
        with queue.changed:
            queue.tickets.remove(ticket)
            queue.changed.notify_all()


def in_turn(work: Callable[[Track], Result], bar: DeltaGenerator, title: str) -> Result:
    """Call `work(track)` when no other visitor's work is running. It moves `bar`, and can be cancelled at every batch."""
    bar.progress(0.0, text=f"{markdown.escape(title)}: starting")
    with turn(lambda: bar.progress(0.0, text=WAITING)):
        return work(lambda batches: _reported(batches, bar, title))


def _reported(batches: Iterable[Any], bar: DeltaGenerator, title: str) -> Iterator[Any]:
    """Move the bar with every batch. Streamlit stops a cancelled run at such a write to the page."""
    batches = list(batches)
    start, total = time.perf_counter(), len(batches)
    for done, batch in enumerate(batches):
        seconds = time.perf_counter() - start
        left = f", about {seconds / done * (total - done):.0f} s left" if done else ""
        bar.progress(done / total, text=f"{markdown.escape(title)}: {done} of {total} batches, {seconds:.0f} s{left}")
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
        from xai_core.explanation import rendering  # the list of jobs, on pages that load no torch, imports this module

        seconds = time.perf_counter() - self._start
        left = seconds / self._done * (self._total - self._done) if self._done else None
        ahead = f", about {rendering.duration(left)} left" if left else ""
        text = f"{self._done:,} of {self._total:,} {self._unit}, {rendering.duration(seconds)}{ahead}"
        self._bar.progress(self._done / self._total, text=text)

    def _iterate(self, items: Sequence[Any]) -> Generator[Any, None, None]:
        for self._done, piece in enumerate(items):
            self.report()
            with turn(lambda: self._bar.progress(self._done / self._total, text=WAITING)):
                yield piece
