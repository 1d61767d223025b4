"""The question about a pair of views: how similar are their embeddings, and what in each view makes them so?"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_core.core import runtime
from xai_core.core.autodiff.gradients import value_and_gradient
from xai_core.core.runtime import Track
from xai_core.explanation.question import Tally
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.models.explainable import ExplainableModel

Mode = Callable[[], AbstractContextManager[Any]]


class PlainLayout(TorchFunctionMode):
    """Inside a `with`, convolutions run on contiguous tensors (channel after channel in memory) instead of the project's
    channels-last layout. Values differ by rounding only; but where a unit is zero within rounding, its gradient is either
    passed or not, and an average over few noisy copies then differs visibly from published results."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__name__", "") == "conv2d":
            args = tuple(_contiguous(argument) for argument in args)
        return function(*args, **(kwargs or {}))


def _contiguous(argument: Any) -> Any:
    """A tensor (n, C, h, w) with strides in the order of its dimensions, also those of size 1; anything else unchanged."""
    if not isinstance(argument, Tensor) or argument.ndim != 4:
        return argument
    _, channels, height, width = argument.shape
    ordered = argument.stride() == (channels * height * width, height * width, width, 1)
    return argument if ordered else argument.clone(memory_format=torch.contiguous_format)


class PairAtCut(NamedTuple):
    """Activations and the similarity's gradient at the cut, both (2, C, h, w), and the embeddings (2, E)."""

    activations: Tensor
    gradient: Tensor
    embeddings: Tensor


@dataclass(frozen=True)
class PairQuestion:
    """'Why does this model find these two views similar?'

    Belongs to one call in one thread. It keeps the embeddings and the gradient at the cut, which all methods share. Views
    are (2, 3, H, W), as the network sees them, on the model's device. All is computed in float32.
    """

    model: ExplainableModel
    views: Tensor
    similarity: Similarity = COSINE
    cut: str = ""
    tally: Tally = field(default_factory=Tally, repr=False)

    def embed(self, pictures: Callable[[range], Tensor], total: int, track: Track = iter) -> Tensor:
        """Embeddings (total, E) of pictures made a few at a time by `pictures(rows)`; no graph."""
        return runtime.joined(self.each_embedding(pictures, lambda embeddings, rows: embeddings, total, 1, track))

    def each_embedding(
        self,
        pictures: Callable[[range], Tensor],
        read: Callable[[Tensor, range], Tensor],
        total: int,
        ways: int = 2,
        track: Track = iter,
    ) -> list[Tensor]:
        """`read(embeddings, rows)` of each inner batch, where each of `total` rows stands for `ways` pictures in sequence.

        Embeddings are not kept: those of heads with 8,192 dimensions would fill the memory.
        """

        def part(rows: range) -> Tensor:
            with torch.no_grad():
                values = read(self._embedding(pictures(rows)), rows)
            self.tally.forward += ways * len(rows)
            return values

        return runtime.each_batch(part, total, self._batch(ways), track)

    def _batch(self, ways: int, graph: bool = False) -> int:
        return max(1, runtime.inner_batch(self.views[0, 0].numel(), self.model.device, graph) // ways)

    def _embedding(self, pictures: Tensor, mode: Mode = nullcontext) -> Tensor:
        with runtime.autocast("exact", self.model.device), mode():
            return self.model.network.outputs(pictures).embedding

    @cached_property
    def embeddings(self) -> Tensor:
        """The embeddings of the two views, (2, E), without a graph."""
        if "at_cut" in vars(self):
            return self.at_cut.embeddings
        return self.embed(lambda rows: self.views[rows.start : rows.stop], 2)

    @cached_property
    def value(self) -> float:
        """The similarity of the two views."""
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
                embeddings = self._embedding(pairs.flatten(0, 1), mode)
            return self.similarity(embeddings[0::2], embeddings[1::2])

        def part(rows: range) -> Tensor:
            gradient = value_and_gradient(of_pairs, points(rows))[1]
            self.tally.forward += 2 * len(rows)
            self.tally.backward += 2 * len(rows)
            return gradient.sum(0)

        sums = runtime.each_batch(part, total, self._batch(2, graph=True), track)
        return reduce(torch.add, sums) / total

    @cached_property
    def at_cut(self) -> PairAtCut:
        """One trunk pass, and one tail forward and back, for both views."""
        network = self.model.network
        embeddings: list[Tensor] = []

        def tail(activations: Tensor) -> Tensor:
            both = network.tail(activations, self.cut).embedding
            embeddings.append(both.detach())
            return self.similarity(both[:1], both[1:])

        with runtime.autocast("exact", self.model.device), PlainLayout():
            with torch.no_grad():
                activations = network.trunk(self.views, self.cut)
            _, gradient = value_and_gradient(tail, activations)
        self.tally.forward += 2
        self.tally.tail += 2
        return PairAtCut(
            network.grid(activations, self.cut).float(), network.grid(gradient, self.cut).float(), embeddings[0]
        )
