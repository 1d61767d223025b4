"""A dataset's pictures, decoded and prepared for a model by threads while the network is at work."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from xai_core.core.errors import BadPicture
from xai_core.core.machine import available_cpus
from xai_core.data import thumbnail_file
from xai_core.data.datasets import Dataset
from xai_core.data.preprocessing import Prepared
from xai_core.data.sample_list import Labelled
from xai_core.models.explainable import ExplainableModel

Unreadable = tuple[str, str]  # name, reason
READERS = 16  # pictures of a server that are read at once; they wait, and one at a time is decoded


class Decoder:
    """Prepares pictures in threads, in order, at most `ahead` pictures before they are taken. With `small`, it makes their
    thumbnails too. Use it in a `with` block."""

    def __init__(
        self, model: ExplainableModel, dataset: Dataset, samples: Sequence[Labelled], ahead: int, small: bool = False
    ):
        self.prepare, self.samples, self.ahead = partial(_prepared, model, dataset, small), iter(samples), ahead
        threads = READERS if dataset.is_remote else min(4, available_cpus())
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decoding")
        self.waiting: deque[tuple[Labelled, Future[tuple[Prepared | BadPicture, bytes | None]]]] = deque()
        self.failed: list[Unreadable] = []
        self.small: dict[str, bytes] = {}

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
            picture, small = future.result()
            batch.append((sample, picture))
            if small is not None:
                self.small[sample.name] = small
            self._fill()
        self.failed += [(sample.name, str(picture)) for sample, picture in batch if isinstance(picture, BadPicture)]
        return batch

    def unreadable(self) -> list[Unreadable]:
        """The pictures taken since the last call that could not be read."""
        failed, self.failed = self.failed, []
        return failed

    def thumbnails(self) -> dict[str, bytes]:
        """The thumbnails of the pictures taken since the last call, by name."""
        small, self.small = self.small, {}
        return small

    def _fill(self) -> None:
        while len(self.waiting) < self.ahead and (sample := next(self.samples, None)) is not None:
            self.waiting.append((sample, self.pool.submit(self.prepare, sample.name)))


def _prepared(
    model: ExplainableModel, dataset: Dataset, small: bool, name: str
) -> tuple[Prepared | BadPicture, bytes | None]:
    """A picture, opened once, as the model takes it, and its thumbnail if that is wanted."""
    try:
        picture = dataset.open(name)
        return model.prepare(picture), thumbnail_file.encoded(picture) if small else None
    except BadPicture as error:
        return error, None
