"""One request: a model, prepared pictures, what is asked of them, and how it is computed.

Everything that a result depends on stands here, and its key names the result: for the cache, the store, the exports and
the pages alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xai_core.core.cache_key import run_key, text_digest
from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import Prepared, stack
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit, ClassMargin, Target, check_length
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import top_classes


@dataclass(frozen=True)
class PredictedClass:
    """The class that the model predicts for each picture (its largest logit; of equal ones the lowest index), or the margin
    of it over `rivals`.

    It stands in a request until the network was asked: `Request.activate` puts the classes in its place.
    """

    rivals: tuple[int, ...] | None = None

    def of(self, logits: Tensor) -> ClassLogit | ClassMargin:
        """The target, from the logits (n, K) of the pictures."""
        classes = tuple(top_classes(logits)[:, 0].tolist())
        return ClassLogit(classes) if self.rivals is None else ClassMargin(classes, self.rivals)

    def select(self, rows: Sequence[int]) -> "PredictedClass":
        return self if self.rivals is None else PredictedClass(tuple(self.rivals[row] for row in rows))


PREDICTED_CLASS = PredictedClass()


@dataclass(frozen=True, eq=False)
class Request:
    """One question about prepared pictures, and how the answer is computed.

    pictures   as the model's `prepare` returns them, all of one size
    target     one value for each picture or one for all; None for what asks about no output (an embedding, all logits)
    method     id of an attribution method, or the name of another computation
    options    every option of the method, checked
    cut        where the network is cut; "" where the method does not depend on it
    precision  "exact" (float32) or "fast" (16-bit)
    seed       of random draws
    version    of the method: raised whenever its numbers change
    """

    model: ExplainableModel
    pictures: tuple[Prepared, ...]
    target: Target | PredictedClass | None = PREDICTED_CLASS
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    cut: str = ""
    precision: str = "exact"
    seed: int = 0
    version: int = 1

    @cached_property
    def key(self) -> str:
        """The name of the result, 64 hexadecimal digits: equal for two requests exactly where every part is equal.

        A request about several pictures has a key of its own; `rows` gives those of the pictures.
        """
        return run_key(
            picture=" ".join(picture.digest for picture in self.pictures),
            model=self.model.id,
            weights=self.model.fingerprint,
            cut=self.cut,
            target=self.target_key,
            method=self.method,
            version=self.version,
            options=self.options,
            seed=self.seed,
            precision=self.precision,
        )

    @property
    def target_key(self) -> str:
        """What is asked, as a part of the key; "" where nothing is asked about an output."""
        if self.target is None:
            return ""
        if isinstance(self.target, PredictedClass):
            return "predicted class" + (f" and not {self.target.rivals}" if self.target.rivals else "")
        return " ".join(self.target.key(row) for row in range(len(self.target)))

    def rows(self, rows: Sequence[int]) -> "Request":
        """The request about some of the pictures."""
        target, total = self.target, len(self.pictures)
        if isinstance(target, Target):
            check_length(target, total)
            target = target.select([0] * len(rows) if len(target) == 1 else rows)
        elif target is not None:
            target = target.select(rows)
        return replace(self, pictures=tuple(self.pictures[row] for row in rows), target=target)

    def answered_by(self, method: str, options: Mapping[str, Any], cut: str, version: int) -> "Request":
        """The same pictures and target with another method, its checked options, and the cut it depends on ("": none)."""
        return replace(self, method=method, options=dict(options), cut=cut, version=version)

    def computing(self, what: str, version: int = 1, **options: Any) -> "Request":
        """The request for another computation about the same pictures and target, or for one that reads this request's
        result ("deletion of grad_cam"): all else stays, so that its key differs wherever this one's does."""
        if not self.method:
            return replace(self, method=what, version=version, options={**self.options, **options})
        read = {**self.options, "version of the method": self.version}
        return replace(self, method=f"{what} of {self.method}", version=version, options={**read, **options})

    def activate(self) -> "ActiveRequest":
        """The request with its pictures on the model's device, its question, and the predicted classes in their place where
        it asks about them: these take one pass, which the question remembers. Raises BadRequest where nothing is asked."""
        if self.target is None:
            raise BadRequest("This request asks about no output of the network; give it a target.")
        images, cut = stack(self.pictures, self.model.device), self.model.network.cut_name(self.cut or None)
        if isinstance(self.target, PredictedClass):
            question = Question(self.model, ClassLogit((0,)), cut, self.precision)
            with torch.no_grad():
                logits = question.outputs_at_cut(images).logits
            question = question.changed(target=self.target.of(logits))
            return ActiveRequest(replace(self, target=question.target), question, images)
        check_length(self.target, len(self.pictures))
        return ActiveRequest(self, Question(self.model, self.target, cut, self.precision), images)


class ActiveRequest(NamedTuple):
    """A request that is being answered: its question, which remembers what passes have found, and the pictures as the
    network sees them, (n, 3, H, W). All methods and metrics of the pictures can share it. Belongs to one call in one
    thread."""

    request: Request
    question: Question
    images: Tensor


def joint_key(what: str, requests: Iterable[Request]) -> str:
    """A name for what is computed from several requests together, in their order."""
    return text_digest(" ".join([what, *(request.key for request in requests)]))
