"""Long work in many pieces, with turns for other visitors between two of them."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from streamlit.delta_generator import DeltaGenerator

from xai_core import rendering
from xai_core.app import compute
from xai_core.runtime import Track


@contextmanager
def in_turns(bar: DeltaGenerator, what: str) -> Iterator[Track]:
    """A track for long work in many pieces, during which other visitors have their turns between two pieces."""
    opened = []

    def track(pieces: Iterable) -> Iterator:
        opened.append(_in_turns(list(pieces), bar, what))
        return opened[-1]

    try:
        yield track
    finally:
        for one in opened:
            one.close()


def _in_turns(pieces: Sequence, bar: DeltaGenerator, what: str) -> Iterator:
    began, total = time.perf_counter(), len(pieces)
    for done, piece in enumerate(pieces):
        taken = time.perf_counter() - began
        left = f", about {rendering.duration(taken / done * (total - done))} left" if done else ""
        bar.progress(done / total, text=f"{done:,} of {total:,} {what}, {rendering.duration(taken)}{left}")
        compute.wait_for_turn(bar, done / total)
        try:
            yield piece
        finally:
            compute.end_turn()
