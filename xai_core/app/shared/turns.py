"""Long work in many pieces, with turns for other visitors between two of them."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from streamlit.delta_generator import DeltaGenerator

from xai_core.app.shared import cache
from xai_core.core.runtime import Track
from xai_core.explanation import rendering


@contextmanager
def in_turns(bar: DeltaGenerator, what: str) -> Iterator[tuple[Track, Track]]:
    """Two tracks: of the pieces, between which other visitors have their turns, and of the batches within a piece, at each
    of which the work can be cancelled."""
    opened: list[_Turns] = []

    def pieces(given: Iterable) -> Iterator:
        opened.append(_Turns(bar, list(given), what))
        return opened[-1].pieces

    def within(batches: Iterable) -> Iterator:
        for batch in batches:
            opened[-1].say()
            yield batch

    try:
        yield pieces, within
    finally:
        for one in opened:
            one.pieces.close()


class _Turns:
    """Pieces of work on their way; `say` writes how far they are, which is where Streamlit stops a cancelled run."""

    def __init__(self, bar: DeltaGenerator, given: Sequence, what: str):
        self._bar, self._total, self._what, self._done = bar, len(given), what, 0
        self._began = time.perf_counter()
        self.pieces = self._taken(given)

    def say(self) -> None:
        taken = time.perf_counter() - self._began
        left = taken / self._done * (self._total - self._done) if self._done else None
        ahead = f", about {rendering.duration(left)} left" if left else ""
        said = f"{self._done:,} of {self._total:,} {self._what}, {rendering.duration(taken)}{ahead}"
        self._bar.progress(self._done / self._total, text=said)

    def _taken(self, given: Sequence) -> Iterator:
        for self._done, piece in enumerate(given):
            self.say()
            cache.wait_for_turn(self._bar, self._done / self._total)
            try:
                yield piece
            finally:
                cache.end_turn()
