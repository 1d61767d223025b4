"""Many metrics at work at once: what they ask for goes through the network as one stream of batches."""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.sampling import ROUND, one_bar
from xai_core.core import runtime
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question
from xai_core.metrics.metric import Asking, Case, Pictures, Score
from xai_core.models.outputs import Outputs


@dataclass
class Job:
    """One metric of one map at work: what it asks for now, and in the end its score, or NaN and why it failed."""

    name: Hashable
    start: Callable[[], Asking | Score]
    running: Asking | None = None
    asks: Sequence[Pictures] = field(default_factory=tuple)
    score: Score | None = None
    passes: float = 0
    seconds: float = 0

    def go_on(self, answers: list[NDArray] | None = None) -> bool:
        """To the next request (true), or to the end. The first call starts it."""
        began = time.perf_counter()
        try:
            if self.running is None:
                started = self.start()
                if isinstance(started, Score):
                    self.score = started
                    return False
                self.running, answers = started, None
            self.asks = self.running.send(answers)
            self.passes += sum(one.count for one in self.asks)
        except StopIteration as end:
            self.score = end.value
        except XaiError as error:  # of this map alone: the others go on
            self.score = Score(float("nan"), note=str(error))
        finally:
            self.seconds += time.perf_counter() - began
        return self.score is None


def run_jobs(question: Question, case: Case, jobs: Sequence[Job], expected: int, track: Track) -> Iterator[Job]:
    """The jobs in the order in which they finish. They are started as the stream has room for them, so that memory does
    not grow with their number; `expected` pictures are announced to `track`."""
    batch = runtime.inner_batch(case.image[0, 0].numel(), question.model.device)
    report = one_bar(track, math.ceil(expected / batch))
    waiting, asking = deque(jobs), deque()
    while waiting or asking:
        room, total = [], 0
        while total < ROUND and (asking or waiting):
            job = asking.popleft() if asking else waiting.popleft()
            if job.asks or job.go_on():
                room.append(job)
                total += sum(one.count for one in job.asks)
            else:
                yield job
        if room:
            answers = _answers(question, case, room, report)
            for job, found in zip(room, answers, strict=True):
                if job.go_on(found):
                    asking.append(job)
                else:
                    yield job


def _answers(question: Question, case: Case, jobs: Sequence[Job], track: Track) -> list[list[NDArray]]:
    """The scores of everything that these jobs ask for, in one sweep; what has a key is scored once for the picture."""
    began = time.perf_counter()
    wanted: dict[Hashable, Pictures] = {}
    for job in jobs:
        for number, ask in enumerate(job.asks):
            if _name(job, number, ask) not in case.memory:
                wanted.setdefault(_name(job, number, ask), ask)
    scores = _swept(question, case, list(wanted.values()), track)
    found = dict(zip(wanted, scores, strict=True))
    case.memory |= {name: values for name, values in found.items() if wanted[name].key is not None}
    whole, spent = sum(one.count for job in jobs for one in job.asks), time.perf_counter() - began
    answers = []
    for job in jobs:
        names = [_name(job, number, ask) for number, ask in enumerate(job.asks)]
        answers.append([found[name] if name in found else case.memory[name] for name in names])
        job.seconds += spent * sum(one.count for one in job.asks) / whole
    return answers


def _name(job: Job, number: int, ask: Pictures) -> Hashable:
    return ("score", ask.key, ask.target.key(0)) if ask.key is not None else (id(job), number)


def _swept(question: Question, case: Case, asks: Sequence[Pictures], track: Track) -> list[NDArray[np.float64]]:
    """The scores of each ask, (count,): pictures of several asks share batches."""
    ends = np.cumsum([0, *(ask.count for ask in asks)])
    if not ends[-1]:
        return [np.empty(0) for _ in asks]

    def parts(rows: range) -> Iterator[tuple[int, range]]:
        """The asks that these rows of the stream belong to, with their own rows."""
        first = int(np.searchsorted(ends, rows.start, side="right")) - 1
        for number in range(first, len(asks)):
            own = range(max(rows.start, ends[number]) - ends[number], min(rows.stop, ends[number + 1]) - ends[number])
            if ends[number] >= rows.stop:
                break
            if own:
                yield number, own

    def pictures(rows: range) -> Tensor:
        return torch.cat([asks[number].make(own) for number, own in parts(rows)])

    def read(outputs: Outputs, rows: range) -> Tensor:
        by_target, values, start = {}, [], 0
        for number, own in parts(rows):
            target = asks[number].target
            if target.key(0) not in by_target:
                by_target[target.key(0)] = target(outputs)
            values.append(by_target[target.key(0)][start : start + len(own)])
            start += len(own)
        return torch.cat(values)

    scores = question.sweep_scores(pictures, read, int(ends[-1]), case.size, track).cpu().double().numpy()
    return np.split(scores, ends[1:-1])
