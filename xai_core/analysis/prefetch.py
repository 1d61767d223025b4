"""A dataset's pictures as a model sees them, decoded by threads while something else goes on."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from xai_core.core import runtime
from xai_core.core.errors import BadPicture
from xai_core.data.datasets import Dataset, Labelled
from xai_core.data.preprocessing import Prepared
from xai_core.models.explainable import ExplainableModel

Unreadable = tuple[str, str]  # name, reason


class Decoder:
    """Pictures decoded by threads, in order, at most `ahead` of what was taken."""

    def __init__(self, model: ExplainableModel, dataset: Dataset, samples: Sequence[Labelled], ahead: int):
        self.prepare, self.left, self.ahead = partial(_prepared, model, dataset), iter(samples), ahead
        self.pool = ThreadPoolExecutor(min(4, runtime.available_cpus()), thread_name_prefix="decoding")
        self.waiting: deque[tuple[Labelled, Future]] = deque()
        self.failed: list[Unreadable] = []

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def take(self, count: int) -> list[tuple[Labelled, Prepared | BadPicture]]:
        self._fill()
        taken = []
        for _ in range(count):
            sample, future = self.waiting.popleft()
            taken.append((sample, future.result()))
            self._fill()
        self.failed += [(sample.name, str(shown)) for sample, shown in taken if isinstance(shown, BadPicture)]
        return taken

    def unreadable(self) -> list[Unreadable]:
        """Those since the last call."""
        found, self.failed = self.failed, []
        return found

    def _fill(self) -> None:
        while len(self.waiting) < self.ahead and (sample := next(self.left, None)) is not None:
            self.waiting.append((sample, self.pool.submit(self.prepare, sample.name)))


def _prepared(model: ExplainableModel, dataset: Dataset, name: str) -> Prepared | BadPicture:
    try:
        return model.prepare(dataset.open(name))
    except BadPicture as error:
        return error
