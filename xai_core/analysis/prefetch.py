"""A dataset's pictures, decoded and prepared for a model by threads while the network is at work."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from xai_core.core.errors import BadPicture
from xai_core.core.machine import available_cpus
from xai_core.data.datasets import Dataset, Labelled
from xai_core.data.preprocessing import Prepared
from xai_core.models.explainable import ExplainableModel

Unreadable = tuple[str, str]  # name, reason
READERS = 16  # pictures of a server that are read at once; they wait, and one at a time is decoded


class Decoder:
    """Prepares pictures in threads, in order, at most `ahead` pictures before they are taken. Use it in a `with` block."""

    def __init__(self, model: ExplainableModel, dataset: Dataset, samples: Sequence[Labelled], ahead: int):
        self.prepare, self.samples, self.ahead = partial(_prepared, model, dataset), iter(samples), ahead
        threads = READERS if dataset.is_remote else min(4, available_cpus())
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decoding")
        self.waiting: deque[tuple[Labelled, Future[Prepared | BadPicture]]] = deque()
        self.failed: list[Unreadable] = []

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def take(self, count: int) -> list[tuple[Labelled, Prepared | BadPicture]]:
        """The next `count` samples, each with its prepared picture or the reason why it cannot be read."""
        self._fill()
        batch = []
        for _ in range(count):
            sample, future = self.waiting.popleft()
            batch.append((sample, future.result()))
            self._fill()
        self.failed += [(sample.name, str(picture)) for sample, picture in batch if isinstance(picture, BadPicture)]
        return batch

    def unreadable(self) -> list[Unreadable]:
        """The pictures taken since the last call that could not be read."""
        failed, self.failed = self.failed, []
        return failed

    def _fill(self) -> None:
        while len(self.waiting) < self.ahead and (sample := next(self.samples, None)) is not None:
            self.waiting.append((sample, self.pool.submit(self.prepare, sample.name)))


def _prepared(model: ExplainableModel, dataset: Dataset, name: str) -> Prepared | BadPicture:
    try:
        return model.prepare(dataset.open(name))
    except BadPicture as error:
        return error
