"""How long a pass of a network takes here and now: measured in batches of the size that the work uses, and measured again
when some time has passed, because other processes come and go. Estimates of time are made of this.
"""

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch

from xai_core.core import runtime
from xai_core.models.explainable import ExplainableModel

BATCHES = 3  # timed at most for one measurement, of which the median counts
ENOUGH_SECONDS = 0.5  # after which no further batch is timed
FRESH_SECONDS = 30.0  # for which a measurement holds
FRESH_FACTOR = 20.0  # or for so many times what it took itself, where that is longer
REMEMBERED = 3  # ratios of real to estimated time
Clock = Callable[[], float]
Prepare = Callable[[], tuple[Callable[[], object], float]]


class Timing(NamedTuple):
    """Seconds of one picture's pass, and until when they hold."""

    seconds: float
    until: float


class PassTimes:
    """Measured times of passes of networks, for one process; any thread may ask. `clock` is replaced in tests."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._timings: dict[Hashable, Timing] = {}
        self._latest: dict[str, float] = {}
        self._ratios: dict[Hashable, deque[float]] = {}
        self._lock = threading.Lock()

    def seconds(self, model: ExplainableModel, passes: int = 1, *, again: bool = True) -> float:
        """Seconds of one forward pass of one picture where `passes` of them are made: the median of a few batches of the
        size that they are made in, per picture. The first batch of a size sets things up and is not counted. Without
        `again` an earlier measurement is taken whatever its age."""
        side = model.recipe.input_size
        size = max(1, min(passes, runtime.inner_batch(side * side, model.device)))

        def run() -> None:
            model.outputs(torch.zeros(size, 3, side, side)).features.sum().item()  # `item` waits for a GPU

        seconds = self.measured((model.id, model.fingerprint, size), lambda: (run, size), again=again)
        with self._lock:
            self._latest[model.id] = seconds
        return seconds

    def measured(self, key: Hashable, prepare: Prepare, *, again: bool = True) -> float:
        """Seconds of one picture: the latest measurement of this key, where it still holds, or without `again`. Else
        `prepare` is called, which returns a piece of work and how many pictures it stands for (a part of one, where it is
        less)."""
        with self._lock:
            known = self._timings.get(key)
        began = self._clock()
        if known and (began < known.until or not again):
            return known.seconds
        run, pictures = prepare()
        if not known:
            run()  # sets things up
        durations: list[float] = []
        while len(durations) < BATCHES and sum(durations) < ENOUGH_SECONDS:
            durations.append(self._timed(run))
        seconds, now = statistics.median_low(durations) / pictures, self._clock()
        with self._lock:
            self._timings[key] = Timing(seconds, now + max(FRESH_SECONDS, FRESH_FACTOR * (now - began)))
        return seconds

    def _timed(self, run: Callable[[], object]) -> float:
        began = self._clock()
        run()
        return self._clock() - began

    def latest(self, model_id: str) -> float | None:
        """The latest time of one pass of a network of this id; None where none was measured."""
        with self._lock:
            return self._latest.get(model_id)

    def learn(self, work: Hashable, estimated: float, took: float) -> None:
        """Finished work took so long; `corrected` uses the median ratio of the last few of its kind."""
        if estimated > 0 and took > 0:
            with self._lock:
                self._ratios.setdefault(work, deque(maxlen=REMEMBERED)).append(took / estimated)

    def corrected(self, work: Hashable, estimated: float) -> float:
        """The estimate, times the ratio that was learnt from finished work of this kind."""
        with self._lock:
            ratios = list(self._ratios.get(work, [1.0]))
        return estimated * statistics.median(ratios)
