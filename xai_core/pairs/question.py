"""The question about a pair: how alike does this model find two views, and what of each view makes it so?"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_core.core import runtime
from xai_core.core.autodiff.gradients import value_and_gradient
from xai_core.core.runtime import Track
from xai_core.explanation.question import Tally
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.models.explainable import ExplainableModel

Mode = Callable[[], AbstractContextManager]


class PlainLayout(TorchFunctionMode):
    """Inside a `with`, convolutions run on plainly laid out tensors, channel after channel, as in code that knows of no
    other layout. Values differ by rounding only; but where a unit stands at zero within rounding, its gradient is all or
    nothing, and an average over few noisy copies then differs visibly from what others publish."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") == "conv2d":
            args = tuple(_plain(one) for one in args)
        return function(*args, **(kwargs or {}))


def _plain(given):
    """A tensor with its dimensions in order in memory, those of size 1 too; anything else as it is."""
    if not isinstance(given, Tensor) or given.ndim != 4:
        return given
    _, channels, height, width = given.shape
    ordered = given.stride() == (channels * height * width, height * width, width, 1)
    return given if ordered else given.clone(memory_format=torch.contiguous_format)


class PairAtCut(NamedTuple):
    """Activations and the similarity's gradient at the cut, both (2, C, h, w), and the embeddings (2, E)."""

    activations: Tensor
    gradient: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class PairQuestion:
    """'Why does this model find these two views alike?'

    Belongs to one call in one thread; remembers the embeddings and the gradient at the cut, which all methods share. Views
    are (2, 3, H, W), as the network sees them, on the model's device. Float32 throughout.
    """

    model: ExplainableModel
    views: Tensor
    similarity: Similarity = COSINE
    cut: str = ""
    tally: Tally = field(default_factory=Tally, repr=False)

    def embed(self, pictures: Callable[[range], Tensor], total: int, track: Track = iter) -> Tensor:
        """Embeddings (total, E) of pictures made a few at a time by `pictures(rows)`; no graph."""
        return runtime.joined(self.each_embedding(pictures, lambda found, rows: found, total, 1, track))

    def each_embedding(
        self,
        pictures: Callable[[range], Tensor],
        read: Callable[[Tensor, range], Tensor],
        total: int,
        ways: int = 2,
        track: Track = iter,
    ) -> list[Tensor]:
        """`read(embeddings, rows)` of each inner batch, where each of `total` rows stands for `ways` pictures in sequence.

        Embeddings are forgotten after they were read: heads of 8,192 dimensions would else fill the memory.
        """

        def part(rows: range) -> Tensor:
            with torch.no_grad():
                found = read(self._embedding(pictures(rows)), rows)
            self.tally.forward += ways * len(rows)
            return found

        return runtime.each_batch(part, total, self._batch(ways), track)

    def _batch(self, ways: int, graph: bool = False) -> int:
        return max(1, runtime.inner_batch(self.views[0, 0].numel(), self.model.device, graph) // ways)

    def _embedding(self, pictures: Tensor, mode: Mode = nullcontext) -> Tensor:
        with runtime.autocast("exact", self.model.device), mode():
            return self.model.network.outputs(pictures).embedding

    @cached_property
    def embeddings(self) -> Tensor:
        """Of the two views, (2, E), without a graph."""
        if "at_cut" in vars(self):
            return self.at_cut.embeddings
        return self.embed(lambda rows: self.views[rows.start : rows.stop], 2)

    @cached_property
    def value(self) -> float:
        """How alike the two views are."""
        with torch.no_grad():
            return float(self.similarity(self.embeddings[:1], self.embeddings[1:]))

    def alike(self, first: Tensor, second: Tensor) -> Tensor:
        """The similarity of embeddings (n, E) and (n, E), or (1, E) for all; (n,), without a graph."""
        with torch.no_grad():
            return self.similarity(*torch.broadcast_tensors(first, second))

    def mean_gradient(
        self, points: Callable[[range], Tensor], total: int, mode: Mode = nullcontext, track: Track = iter
    ) -> Tensor:
        """The similarity's mean gradient to both views, (2, 3, H, W), over `total` pairs `points(rows)` (n, 2, 3, H, W)."""

        def of_pairs(pairs: Tensor) -> Tensor:
            with PlainLayout():
                found = self._embedding(pairs.flatten(0, 1), mode)
            return self.similarity(found[0::2], found[1::2])

        def part(rows: range) -> Tensor:
            gradient = value_and_gradient(of_pairs, points(rows))[1]
            self.tally.forward += 2 * len(rows)
            self.tally.backward += 2 * len(rows)
            return gradient.sum(0)

        return sum(runtime.each_batch(part, total, self._batch(2, graph=True), track)) / total

    @cached_property
    def at_cut(self) -> PairAtCut:
        """One trunk pass, and one tail forward and back, for both views."""
        network, held = self.model.network, []

        def tail(activations: Tensor) -> Tensor:
            found = network.tail(activations, self.cut).embedding
            held.append(found.detach())
            return self.similarity(found[:1], found[1:])

        with runtime.autocast("exact", self.model.device), PlainLayout():
            with torch.no_grad():
                activations = network.trunk(self.views, self.cut)
            _, gradient = value_and_gradient(tail, activations)
        self.tally.forward += 2
        self.tally.tail += 2
        grids = (network.grid(found, self.cut).float() for found in (activations, gradient))
        return PairAtCut(*grids, held[0])
