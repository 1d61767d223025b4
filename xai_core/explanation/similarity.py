"""Measures of similarity between two embeddings: the scalars that explanations of a contrastive model are about.

Each is a small frozen record that is called with embeddings (n, E) and (n, E). The value (n,) is differentiable in both,
and symmetric in them.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.cache_key import array_digest
from xai_core.core.errors import BadRequest


@runtime_checkable
class Similarity(Protocol):
    """One number for each pair of rows; larger means more similar."""

    def __call__(self, first: Tensor, second: Tensor) -> Tensor: ...

    @property
    def words(self) -> str:
        """The measure's name in sentences."""
        ...

    @property
    def key(self) -> str:
        """The measure and everything it depends on, for `run_key()`."""
        ...


def _digest(references: Tensor) -> str:
    return array_digest(references.detach().float().cpu().numpy())[:16]


def _checked(name: str, references: Tensor, embeddings: Tensor) -> Tensor:
    """The reference embeddings (k, E) as constants, where they fit the model's embeddings."""
    if references.ndim != 2 or references.shape[1] != embeddings.shape[1]:
        raise BadRequest(
            f"{name} must be (k, {embeddings.shape[1]}), with one embedding of this model in each row; "
            f"these are {tuple(references.shape)}."
        )
    return references.detach().to(embeddings)


@dataclass(frozen=True)
class Cosine:
    """The cosine of the angle between them, in [-1, 1]."""

    words = "cosine similarity"
    key = "cosine"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        return F.cosine_similarity(first, second, dim=1)


@dataclass(frozen=True)
class DotProduct:
    """Their dot product: unbounded, and larger for longer embeddings."""

    words = "dot product"
    key = "dot"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum(1)


@dataclass(frozen=True, eq=False)
class InfoNCE:
    """Minus the contrastive loss of the pair among negatives (k, E); at most 0:

    mean over the two anchors a of log( exp(cos(a, other) / t) / (exp(cos(a, other) / t) + sum_k exp(cos(a, n_k) / t)) ).
    Source: van den Oord et al. 2018, arXiv:1807.03748, in SimCLR's symmetric form (Chen et al. 2020, arXiv:2002.05709).
    """

    negatives: Tensor
    temperature: float = 0.1

    @property
    def words(self) -> str:
        return f"InfoNCE against {len(self.negatives)} negatives, temperature {self.temperature:g}"

    @property
    def key(self) -> str:
        return f"infonce {self.temperature} {_digest(self.negatives)}"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        negatives = F.normalize(_checked("Negatives", self.negatives, first), dim=1)
        pair = F.cosine_similarity(first, second, dim=1)[:, None]

        def log_probability(anchor: Tensor) -> Tensor:
            others = F.normalize(anchor, dim=1) @ negatives.T
            return (torch.cat([pair, others], 1) / self.temperature).log_softmax(1)[:, 0]

        return (log_probability(first) + log_probability(second)) / 2


@dataclass(frozen=True, eq=False)
class CrossCorrelation:
    """The pair's contribution to the diagonal of Barlow Twins' cross-correlation matrix: the mean over dimensions of the
    product of the two embeddings, each dimension standardised by its mean and standard deviation over a bank (k, E) of
    other pictures.

    For pairs of equal embeddings from the bank the value is 1 on average; 0 means no correlation.
    Source: Zbontar et al. 2021, arXiv:2103.03230, where the batch is the bank.
    """

    bank: Tensor

    @property
    def words(self) -> str:
        return f"cross-correlation over a bank of {len(self.bank)}"

    @property
    def key(self) -> str:
        return f"correlation {_digest(self.bank)}"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        bank = _checked("The embeddings of a bank", self.bank, first)
        if len(bank) < 2:
            raise BadRequest("A bank needs at least two embeddings: a single one has no standard deviation.")
        mean, deviation = bank.mean(0), bank.std(0, correction=0).clamp(min=1e-6)
        return (((first - mean) / deviation) * ((second - mean) / deviation)).mean(1)


@dataclass(frozen=True, eq=False)
class Contrast:
    """How much more similar the two are to each other than to a hard negative (1, E): the mean of both views' margins,

    cos(a, b) - (cos(a, n) + cos(b, n)) / 2, in [-2, 2]. It answers 'why is this one nearer than that one?'
    """

    negative: Tensor

    words = "cosine similarity minus that to a negative"

    @property
    def key(self) -> str:
        return f"contrast {_digest(self.negative)}"

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        negative = _checked("Negatives", self.negative, first)
        to_negative = F.cosine_similarity(first, negative, dim=1) + F.cosine_similarity(second, negative, dim=1)
        return F.cosine_similarity(first, second, dim=1) - to_negative / 2


COSINE = Cosine()
