"""One visitor's work at a time, so that a small machine stays responsive; long work lets others in between its pieces.

This is fairness only: the models themselves may be used by any number of threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
        words = f"starting, {total} batches to do"
        if done:
            left = f"about {seconds / done * (total - done):.0f} s left"
            words = f"{done} of {total} batches, {seconds:.0f} s, {left}"
        bar.progress(done / total, text=f"{markdown.escape(title)}: {words}")
        yield batch
