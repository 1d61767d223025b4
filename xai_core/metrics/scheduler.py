"""Runs many metrics at once: the images that they ask about go through the network as one stream of batches."""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xai_core.attribution.repeated_passes import ROUND, one_bar
from xai_core.core import runtime
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.explanation.question import Question
from xai_core.metrics.metric import Case, MetricGenerator, MetricResult, ScoreQuery, Scores
from xai_core.models.outputs import Outputs

UNFINISHED = MetricResult(float("nan"))


@dataclass
class Job:
    """One metric of one map.

    name     (metric, map)
    start    starts the metric
    queries  what it waits for now
    result   its result once it is finished; NaN with a note where it failed
    """

    name: tuple[str, str]
    start: Callable[[], MetricGenerator | MetricResult]
    running: MetricGenerator | None = None
    queries: Sequence[ScoreQuery] = ()
    result: MetricResult = UNFINISHED
    finished: bool = False
    passes: int = 0
    seconds: float = 0

    def advance(self, scores: list[Scores] | None = None) -> bool:
        """Run the metric to its next queries (true) or to its end (false). The first call starts it and takes no scores."""
        began = time.perf_counter()
        try:
            if self.running is None:
                started = self.start()
                if isinstance(started, MetricResult):
                    self._finish(started)
                    return False
                self.running = started
            self.queries = next(self.running) if scores is None else self.running.send(scores)
            self.passes += self.count
        except StopIteration as end:
            self._finish(end.value)
        except XaiError as error:  # concerns this map alone: the other jobs continue
            self._finish(MetricResult(float("nan"), note=str(error)))
        finally:
            self.seconds += time.perf_counter() - began
        return not self.finished

    @property
    def count(self) -> int:
        """How many images its queries have."""
        return sum(query.count for query in self.queries)

    def _finish(self, result: MetricResult) -> None:
        self.result, self.finished = result, True


def run_jobs(question: Question, case: Case, jobs: Sequence[Job], expected: int, track: Track) -> Iterator[Job]:
    """The jobs in the order in which they finish.

    A job is started only when the current round has room for its images, so that memory does not grow with the number of
    jobs. `expected` is the number of images that `track` is told about.
    """
    batch = runtime.inner_batch(case.image[0, 0].numel(), question.model.device)
    report = one_bar(track, math.ceil(expected / batch))
    unstarted: deque[Job] = deque(jobs)
    running: deque[Job] = deque()
    while unstarted or running:
        group, total = [], 0
        while total < ROUND and (running or unstarted):
            job = running.popleft() if running else unstarted.popleft()
            if job.queries or job.advance():
                group.append(job)
                total += job.count
            else:
                yield job
        if group:
            answers = _answers(question, case, group, report)
            for job, scores in zip(group, answers, strict=True):
                if job.advance(scores):
                    running.append(job)
                else:
                    yield job


def _answers(question: Question, case: Case, jobs: Sequence[Job], track: Track) -> list[list[Scores]]:
    """The scores of every query of these jobs, computed in one sweep; a query with a key is computed once for a picture."""
    began = time.perf_counter()
    pending: dict[Hashable, ScoreQuery] = {}
    for job in jobs:
        for number, query in enumerate(job.queries):
            if _cache_key(job, number, query) not in case.cache:
                pending.setdefault(_cache_key(job, number, query), query)
    scores = dict(zip(pending, _swept(question, case, list(pending.values()), track), strict=True))
    case.cache |= {key: values for key, values in scores.items() if pending[key].key is not None}
    total, spent = sum(job.count for job in jobs), time.perf_counter() - began
    answers = []
    for job in jobs:
        keys = [_cache_key(job, number, query) for number, query in enumerate(job.queries)]
        answers.append([scores[key] if key in scores else case.cache[key] for key in keys])
        job.seconds += spent * job.count / total
    return answers


def _cache_key(job: Job, number: int, query: ScoreQuery) -> Hashable:
    return ("score", query.key, query.target.key(0)) if query.key is not None else (id(job), number)


def _swept(question: Question, case: Case, queries: Sequence[ScoreQuery], track: Track) -> list[Scores]:
    """The scores (count,) of each query; images of several queries share batches."""
    ends = np.cumsum([0, *(query.count for query in queries)])
    if not ends[-1]:
        return [np.empty(0) for _ in queries]

    def parts(rows: range) -> Iterator[tuple[int, range]]:
        """The queries that these rows of the stream belong to, each with its own rows."""
        first = int(np.searchsorted(ends, rows.start, side="right")) - 1
        for number in range(first, len(queries)):
            own = range(max(rows.start, ends[number]) - ends[number], min(rows.stop, ends[number + 1]) - ends[number])
            if ends[number] >= rows.stop:
                break
            if own:
                yield number, own

    def images(rows: range) -> Tensor:
        return torch.cat([queries[number].make(own) for number, own in parts(rows)])

    def read(outputs: Outputs, rows: range) -> Tensor:
        by_target: dict[str, Tensor] = {}
        values, start = [], 0
        for number, own in parts(rows):
            target = queries[number].target
            if target.key(0) not in by_target:
                by_target[target.key(0)] = target(outputs)
            values.append(by_target[target.key(0)][start : start + len(own)])
            start += len(own)
        return torch.cat(values)

    scores = question.sweep_scores(images, read, int(ends[-1]), case.size, track).cpu().double().numpy()
    return np.split(scores, ends[1:-1])
