"""As many visitors' work at a time as the machine can do, so that it stays responsive: one on two processors, several on a
GPU or on many processors (`core/machine.py`). Long work lets others in between its pieces.

This is fairness only: the models themselves may be used by any number of threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.core import machine, markdown

if TYPE_CHECKING:
    from xai_core.core.runtime import Track

WAITING = "Waiting for another computation to finish"
WAIT_SECONDS = 0.2
Result = TypeVar("Result")


@dataclass
class _Queue:
    """Those who want to compute, in the order in which they came; the first `places` of them have their turn."""

    places: int = 1
    tickets: deque[object] = field(default_factory=deque)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def admits(self, ticket: object) -> bool:
        return any(one is ticket for one in islice(self.tickets, self.places))


@st.cache_resource(show_spinner=False)
def _queue() -> _Queue:
    if machine.available_cpus() < 2 * min(machine.CPUS_OF_RUN, machine.CPUS_OF_GPU_RUN):
        return _Queue()  # one run, whatever the device is: torch need not be loaded to find it
    from xai_core.core import runtime

    return _Queue(machine.runs_at_once(runtime.this_machine()))


@contextmanager
def turn(waiting: Callable[[], object]) -> Iterator[None]:
    """One turn, which begins when there is a place for it and all who came before have begun theirs. It computes with its
    share of the threads.

    Until then `waiting` is called every WAIT_SECONDS; what it raises gives up the place.
    """
    queue, ticket = _queue(), object()
    with queue.changed:
        queue.tickets.append(ticket)
    try:
        while True:
            with queue.changed:
                if queue.changed.wait_for(lambda: queue.admits(ticket), WAIT_SECONDS):
                    break
            waiting()
        _share_threads()
        yield
    finally:
        with queue.changed:
            queue.tickets.remove(ticket)
            queue.changed.notify_all()


def _share_threads() -> None:
    """Where several runs may compute at once: give this one its share of the threads, by how many there are now."""
    queue = _queue()
    if queue.places > 1:
        from xai_core.core import runtime

        runtime.share_threads(min(len(queue.tickets), queue.places))


def in_turn(work: Callable[[Track], Result], bar: DeltaGenerator, title: str) -> Result:
    """Call `work(track)` in a turn. It moves `bar`, and can be cancelled at every batch."""
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
        _share_threads()
        yield batch
