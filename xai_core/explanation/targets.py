"""Targets: small frozen records that read one number per picture from a network's outputs, which is then explained.

A target holds one value per picture (a class, a pair of classes, an embedding). Called with n pictures it needs n values;
`rows` selects others, so that an inner batch may repeat a picture. A single value serves any number of pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from xai_core.core.cache_key import array_digest, text_digest
from xai_core.core.errors import BadRequest
from xai_core.data.label_matching import first_name
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.models.outputs import Outputs, top_classes

ClassName = Callable[[int], str]


@runtime_checkable
class Target(Protocol):
    """One number per picture, (n,), as a differentiable function of the outputs."""

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor: ...

    def __len__(self) -> int: ...

    def select(self, rows: Sequence[int]) -> "Target":
        """The same question about some of the pictures."""
        ...

    def label(self, row: int, class_name: ClassName) -> str:
        """What is asked of one picture, in words."""
        ...

    def key(self, row: int) -> str:
        """What is asked of one picture, for `run_key()`."""
        ...


def check_length(values: Target | Sequence[int], n: int) -> None:
    """Raises BadRequest unless there is one value for each of n pictures, or one for all."""
    if len(values) not in (1, n):
        raise BadRequest(f"The target holds {len(values)} values for {n} pictures; give one for each, or one for all.")


def _indices(numbers: Sequence[int], n: int, rows: Tensor | None, like: Tensor) -> Tensor:
    """The number of each of n rows as an index tensor (n,): one for all, `rows` of them, or exactly n."""
    values = torch.tensor(numbers, device=like.device)
    if len(values) == 1:
        return values.expand(n)
    if rows is not None:
        return values[rows.to(values.device)]
    check_length(numbers, n)
    return values


def _pick(scores: Tensor, classes: Sequence[int], rows: Tensor | None) -> Tensor:
    own = _indices(classes, len(scores), rows, scores)
    unknown = [index for index in classes if not 0 <= index < scores.shape[1]]
    if unknown:
        raise BadRequest(f"There is no class {unknown[0]}; this model's classes are 0 to {scores.shape[1] - 1}.")
    return scores.gather(1, own[:, None])[:, 0]


@dataclass(frozen=True)
class ClassLogit:
    """The logit of a class: the score before the softmax, unbounded."""

    classes: tuple[int, ...]

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        return _pick(outputs.logits, self.classes, rows)

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, rows: Sequence[int]) -> "ClassLogit":
        return ClassLogit(tuple(self.classes[row] for row in rows))

    def label(self, row: int, class_name: ClassName) -> str:
        return f"logit of {class_name(self.classes[row])}"

    def key(self, row: int) -> str:
        return f"logit {self.classes[row]}"


@dataclass(frozen=True)
class ClassProbability:
    """The softmax probability of a class, in [0, 1]. It also falls where the logit of another class rises."""

    classes: tuple[int, ...]

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        return _pick(outputs.logits.softmax(1), self.classes, rows)

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, rows: Sequence[int]) -> "ClassProbability":
        return ClassProbability(tuple(self.classes[row] for row in rows))

    def label(self, row: int, class_name: ClassName) -> str:
        return f"probability of {class_name(self.classes[row])}"

    def key(self, row: int) -> str:
        return f"probability {self.classes[row]}"


@dataclass(frozen=True)
class ClassMargin:
    """The logit of a class minus the logit of its rival: 'why this and not that'. Positive where the class is ahead."""

    classes: tuple[int, ...]
    rivals: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.rivals):
            raise BadRequest(f"{len(self.classes)} classes have {len(self.rivals)} rivals; each needs one.")
        if any(a == b for a, b in zip(self.classes, self.rivals, strict=True)):
            raise BadRequest("A class cannot be its own rival: choose two different classes.")

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        return _pick(outputs.logits, self.classes, rows) - _pick(outputs.logits, self.rivals, rows)

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, rows: Sequence[int]) -> "ClassMargin":
        return ClassMargin(tuple(self.classes[row] for row in rows), tuple(self.rivals[row] for row in rows))

    def label(self, row: int, class_name: ClassName) -> str:
        return f"{class_name(self.classes[row])} and not {class_name(self.rivals[row])} (difference of logits)"

    def key(self, row: int) -> str:
        return f"margin {self.classes[row]} {self.rivals[row]}"


@dataclass(frozen=True)
class ClassContrast:
    """The logit of a class minus `strength` times the mean logit of similar classes, weighted by their probabilities: 'why
    this and not those like it'. The weights are part of the function: gradients pass through them."""

    classes: tuple[int, ...]
    similar: tuple[tuple[int, ...], ...]
    strength: float = 1.0

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        own = _pick(outputs.logits, self.classes, rows)
        which = _indices(range(len(self.similar)), len(own), rows, own)
        others = outputs.logits.gather(1, torch.tensor(self.similar, device=own.device)[which])
        return own - self.strength * (others.softmax(1) * others).sum(1)

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, rows: Sequence[int]) -> "ClassContrast":
        return ClassContrast(
            tuple(self.classes[row] for row in rows), tuple(self.similar[row] for row in rows), self.strength
        )

    def label(self, row: int, class_name: ClassName) -> str:
        others = ", ".join(class_name(index) for index in self.similar[row])
        return f"{class_name(self.classes[row])} and not {others} (difference of logits)"

    def key(self, row: int) -> str:
        return f"contrast {self.classes[row]} {self.similar[row]} {self.strength}"


def against_similar(target: Target, outputs: Outputs, count: int, strength: float) -> ClassContrast:
    """The target's class against the `count` classes whose logits are nearest to its own in each picture, or against its
    rival where it has one. Raises BadRequest where the target has no class, or the model no other class."""
    if not isinstance(target, ClassLogit | ClassProbability | ClassMargin | ClassContrast) or outputs.logits.shape[1] < 2:
        raise BadRequest("Only a class can be compared with similar classes: ask about a class of a model with several.")
    logits = outputs.logits
    each = len(logits) // len(target)
    classes = target.classes * each
    if isinstance(target, ClassMargin):
        return ClassContrast(classes, tuple((rival,) for rival in target.rivals * each), strength)
    own = _indices(classes, len(logits), None, logits)[:, None]
    distance = (logits - logits.gather(1, own)).abs().scatter(1, own, float("inf"))
    nearest = top_classes(-distance, min(count, logits.shape[1] - 1))
    return ClassContrast(classes, tuple(map(tuple, nearest.tolist())), strength)


@dataclass(frozen=True, eq=False)
class SimilarityTo:
    """The similarity of a picture's embedding to a reference embedding (n, E) or (1, E): by default the cosine, in [-1, 1].

    For a network without classes, targets of this kind are the only ones. No gradient flows into the reference.
    """

    reference: Tensor
    similarity: Similarity = COSINE

    def __post_init__(self) -> None:
        if self.reference.ndim != 2:
            raise BadRequest(
                f"A reference must be (n, E), with one embedding in each row; this one is {tuple(self.reference.shape)}."
            )

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        return self.similarity(outputs.embedding, _constant(self.reference, outputs.embedding, rows))

    def __len__(self) -> int:
        return len(self.reference)

    def select(self, rows: Sequence[int]) -> "SimilarityTo":
        return replace(self, reference=self.reference[list(rows)])

    def label(self, row: int, class_name: ClassName) -> str:
        measure = "similarity" if self.similarity == COSINE else self.similarity.words
        return f"{measure} to the reference"

    def key(self, row: int) -> str:
        measure = "" if self.similarity == COSINE else f" {self.similarity.key}"
        return f"similarity {_digest(self.reference[row])}{measure}"


@dataclass(frozen=True, eq=False)
class SimilarityToText(SimilarityTo):
    """The cosine of a picture's embedding with the vectors (n, E) or (1, E) of `texts`, in [-1, 1]: 'what is like these
    words?', for the image tower of a network that was trained with texts."""

    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.texts) != len(self.reference):
            raise BadRequest(f"{len(self.reference)} vectors have {len(self.texts)} texts; each needs one.")

    def select(self, rows: Sequence[int]) -> "SimilarityToText":
        return SimilarityToText(self.reference[list(rows)], self.similarity, tuple(self.texts[row] for row in rows))

    def label(self, row: int, class_name: ClassName) -> str:
        return f"similarity to the words '{self.texts[row]}'"

    def key(self, row: int) -> str:
        return f"{super().key(row)} {text_digest(self.texts[row])[:16]}"


@dataclass(frozen=True, eq=False)
class SimilarityMargin:
    """Cosine similarity to a reference embedding minus that to a rival's, in [-2, 2], each (n, E) or (1, E): 'why nearer to
    this one than to that one'. Positive where the reference is nearer."""

    reference: Tensor
    rival: Tensor

    def __post_init__(self) -> None:
        if self.reference.ndim != 2 or self.reference.shape != self.rival.shape:
            raise BadRequest(
                "Reference and rival must both be (n, E), with one embedding in each row; "
                f"these are {tuple(self.reference.shape)} and {tuple(self.rival.shape)}."
            )

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        own = outputs.embedding
        reference, rival = (_constant(embeddings, own, rows) for embeddings in (self.reference, self.rival))
        return COSINE(own, reference) - COSINE(own, rival)

    def __len__(self) -> int:
        return len(self.reference)

    def select(self, rows: Sequence[int]) -> "SimilarityMargin":
        return SimilarityMargin(self.reference[list(rows)], self.rival[list(rows)])

    def label(self, row: int, class_name: ClassName) -> str:
        return "similarity to the reference and not to its rival (difference of cosines)"

    def key(self, row: int) -> str:
        return f"similarity margin {_digest(self.reference[row])} {_digest(self.rival[row])}"


def _constant(references: Tensor, embedding: Tensor, rows: Tensor | None) -> Tensor:
    """The reference embedding of each row, as a constant."""
    if embedding.shape[1] != references.shape[1]:
        raise BadRequest(
            f"The reference has {references.shape[1]} dimensions and this model's embedding {embedding.shape[1]}; "
            "embed the reference with this model."
        )
    return references.detach().to(embedding)[_indices(range(len(references)), len(embedding), rows, embedding)]


def _digest(embedding: Tensor) -> str:
    return array_digest(embedding.detach().float().cpu().numpy())


@dataclass(frozen=True)
class PairProbability(ClassMargin):
    """The probability of a class against its rival alone, in [0, 1]: the sigmoid of the margin."""

    def __call__(self, outputs: Outputs, rows: Tensor | None = None) -> Tensor:
        return super().__call__(outputs, rows).sigmoid()

    def select(self, rows: Sequence[int]) -> "PairProbability":
        margin = super().select(rows)
        return PairProbability(margin.classes, margin.rivals)

    def label(self, row: int, class_name: ClassName) -> str:
        return f"probability of {class_name(self.classes[row])} and not {class_name(self.rivals[row])}"

    def key(self, row: int) -> str:
        return f"pair probability {self.classes[row]} {self.rivals[row]}"


def sides(target: Target, row: int, class_name: ClassName) -> tuple[str, str]:
    """What positive and negative values of a map of this target speak for, in few words: the subject and the rival. The
    rival is empty where negative values speak against the subject."""
    if isinstance(target, ClassMargin):
        return first_name(class_name(target.classes[row])), first_name(class_name(target.rivals[row]))
    if isinstance(target, ClassContrast):
        return first_name(class_name(target.classes[row])), " or ".join(
            first_name(class_name(index)) for index in target.similar[row]
        )
    if isinstance(target, ClassLogit | ClassProbability):
        return first_name(class_name(target.classes[row])), ""
    if isinstance(target, SimilarityMargin):
        return "the reference", "its rival"
    return ("the similarity" if isinstance(target, SimilarityTo) else "the target"), ""


def confidence(target: Target) -> Target:
    """The target on a scale from 0 to 1, where it has one: a class's softmax probability, or for a margin the probability
    against the rival. Any other target is returned as it is."""
    if isinstance(target, ClassLogit):
        return ClassProbability(target.classes)
    return PairProbability(target.classes, target.rivals) if type(target) is ClassMargin else target


def target_of_key(key: str) -> Target | None:
    """The class target that has this key; None where the key does not hold the whole target (similarity)."""
    kind, *numbers = key.split()
    targets: dict[str, Callable[..., Target]] = {
        "logit": ClassLogit,
        "probability": ClassProbability,
        "margin": ClassMargin,
    }
    return targets[kind](*((int(number),) for number in numbers)) if kind in targets else None
