"""A job of the server as pages read it: what it is, its state, and how far its work is."""

import json
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from xai_core.app.shared.page_links import PlaceToReturn
from xai_core.core.cache_key import text_digest

MOST_LOG = 100  # sentences in a job's log

WAITING, RUNNING, DONE, CANCELLED, INTERRUPTED, FAILED = (
    "waiting", "running", "done", "cancelled", "interrupted", "failed",
)  # fmt: skip
UNFINISHED = (WAITING, RUNNING)
ENDED_EARLY = (CANCELLED, INTERRUPTED, FAILED)


@dataclass
class ServerJob:
    """A job as pages read it. Written by `jobs` and `job_records` alone.

    `place` shows its result. `done` of `total` pieces are complete, and `words` say so with what is left; `error` says why
    it failed. `preview` is a picture of what there is so far, and `stored` counts the results that pages show already.
    `upload`: the work is on a file that the server holds only as long as the visitor's session.
    """

    key: str
    title: str
    place: PlaceToReturn
    visitor: str = ""
    private: bool = False
    upload: bool = False
    kind: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    state: str = WAITING
    cancelling: bool = False
    elsewhere: bool = False  # another server on this machine runs it
    done: int = 0
    total: int = 0
    words: str = ""
    error: str = ""
    result: Any = None
    preview: Image.Image | None = None
    stored: int = 0
    began: float = field(default_factory=time.time)
    ended: float = 0.0
    log: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LOG))
    future: Future[None] | None = None

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    @property
    def share(self) -> float:
        """How much of the work is complete, between 0 and 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def resumable(self) -> bool:
        """Whether the job can be started again from its settings."""
        return bool(self.kind) and self.state in ENDED_EARLY

    @property
    def page_starts_it_again(self) -> bool:
        """Whether the page of the job, opened by its address, can start the same work again."""
        return not self.kind and not self.upload and self.state in ENDED_EARLY


def key_of(kind: str, settings: Mapping[str, Any]) -> str:
    """The key of a stored job."""
    return text_digest(f"{kind} {json.dumps(settings, sort_keys=True)}")
