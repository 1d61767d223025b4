"""The object that every method and metric takes: a model, the target that is read from its outputs, and the cut.

Tested at every cut of every family:  question(x) == question.tail(question.trunk(x))
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.autodiff.capture import ExplicitAttention
from xai_core.core.autodiff.gradients import value_and_curvature, value_and_gradient
from xai_core.core.autodiff.libra import Libra
from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Result, Track
from xai_core.explanation.result import Passes
from xai_core.explanation.targets import Target, check_length
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import Outputs

# Of a function of (n, ...) at a point (n, ...): its values (n,) and what else is derived from one or two backward passes.
Derivative = Callable[[Callable[[Tensor], Tensor], Tensor], tuple[Tensor, ...]]


DERIVATIVES = ("ordinary", "libra")


class AtCut(NamedTuple):
    """What a CAM is made of: activations and gradient at the cut, both (n, C, h, w), and the target's values (n,)."""

    activations: Tensor
    gradient: Tensor
    values: Tensor


def unravel(rows: range, ways: int) -> tuple[Tensor, Tensor]:
    """For each row of a sweep over `ways` variants of each picture: the index of the picture, and that of the variant."""
    index = torch.arange(rows.start, rows.stop)
    return index // ways, index % ways


@dataclass
class Tally:
    """Counts passes of single pictures, for the caption under a map."""

    forward: int = 0
    backward: int = 0
    tail: int = 0

    def per_image(self, n: int) -> Passes:
        return Passes(self.forward / n, self.backward / n, self.tail / n)


@dataclass(frozen=True)
class Question:
    """'Why does this model give this number to these pictures?'

    Belongs to one call in one thread; it remembers the last pictures' trunk and gradient at the cut, so that all CAMs
    of one picture share one pass. Images are (n, 3, H, W) in [0, 1] on the model's device. `derivative` says what stands for
    the network's derivatives: the ordinary ones, or those of LibraGrad (`core/autodiff/libra.py`); values are the same.
    """

    model: ExplainableModel
    target: Target
    cut: str
    precision: str = "exact"
    derivative: str = "ordinary"
    tally: Tally = field(default_factory=Tally, repr=False)
    _memory: dict[str, tuple[Tensor, Any]] = field(default_factory=dict, repr=False)

    def __call__(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """The target's value of each picture, (n,), differentiable. `rows` says whose target each picture gets."""
        with self._derivatives():
            with self.autocast():
                outputs = self.model.network.outputs(images)
            self.tally.forward += len(images)
            return self.target(outputs, rows)

    def gradient(
        self, images: Tensor, rows: Tensor | None = None, how: Derivative = value_and_gradient
    ) -> tuple[Tensor, Tensor]:
        """Values (n,) and their gradients to the pixels, (n, 3, H, W); or what else `how` makes of one backward pass."""
        values, gradient = self.differentiate(self, images, rows, images, how)
        self.tally.backward += len(images)
        if rows is None:
            self._memory["values"] = (images, values)
        return values, gradient

    def differentiate(
        self,
        function: Callable[[Tensor, Tensor | None], Tensor],
        at: Tensor,
        rows: Tensor | None,
        images: Tensor,
        how: Derivative = value_and_gradient,
    ) -> tuple[Tensor, ...]:
        """`how` (of `core.autodiff.gradients`) applied to `function(at, rows)`: as many rows at once as their graphs fit
        into memory."""
        if rows is None and len(self.target) > 1:
            check_length(self.target, len(images))
            rows = torch.arange(len(images))

        def part(batch: range) -> tuple[Tensor, ...]:
            whose = None if rows is None else rows[batch.start : batch.stop]
            return how(lambda leaf: function(leaf, whose), at[batch.start : batch.stop])

        size = runtime.inner_batch(images[0, 0].numel(), self.model.device, graph=True)
        batches = runtime.each_batch(part, len(images), size)
        return tuple(runtime.joined(tensors) for tensors in zip(*batches, strict=True))

    def sweep(self, pictures: Callable[[range], Tensor], total: int, size: tuple[int, int], track: Track = iter) -> Outputs:
        """Outputs of `total` pictures of (height, width) `size`, made a few at a time by `pictures(rows)`; no graph.

        The features are kept, and any number of targets can be read from them afterwards.
        """

        return self.sweep_features(lambda rows: self.model.network.outputs(pictures(rows)).features, total, size, track)

    def sweep_features(
        self, features: Callable[[range], Tensor], total: int, size: tuple[int, int], track: Track = iter
    ) -> Outputs:
        """As `sweep`, where the caller runs the network: `features(rows)` is called without a graph, in the question's
        precision, and counts as one pass for each row."""

        def part(rows: range) -> Tensor:
            with torch.no_grad(), self.autocast():
                batch_features = features(rows)
            self.tally.forward += len(rows)
            return batch_features

        batch = runtime.inner_batch(size[0] * size[1], self.model.device)
        return self._read(runtime.each_batch(part, total, batch, track))

    def sweep_scores(
        self,
        pictures: Callable[[range], Tensor],
        read: Callable[[Outputs, range], Tensor],
        total: int,
        size: tuple[int, int],
        track: Track = iter,
    ) -> Tensor:
        """As `sweep`, but only the scores (n,) that `read(outputs, rows)` takes from each inner batch are kept."""

        def part(rows: range) -> Tensor:
            with torch.no_grad():
                with self.autocast():
                    outputs = self.model.network.outputs(pictures(rows))
                self.tally.forward += len(rows)
                return read(outputs, rows)

        batch = runtime.inner_batch(size[0] * size[1], self.model.device)
        return runtime.joined(runtime.each_batch(part, total, batch, track))

    def outputs(self, images: Tensor, track: Track = iter) -> Outputs:
        """Outputs of all pictures, without a graph, in inner batches."""
        return self.sweep(
            lambda rows: images[rows.start : rows.stop], len(images), (images.shape[2], images.shape[3]), track
        )

    def scores(self, images: Tensor, rows: Tensor | None = None, track: Track = iter) -> Tensor:
        """The same numbers as `question(images)`, without a graph, in inner batches."""
        with torch.no_grad():
            return self.target(self.outputs(images, track), rows)

    def trunk(self, images: Tensor) -> Tensor:
        """Activations behind the cut, in the network's own layout, without a graph; remembered."""

        def part(rows: range) -> Tensor:
            with torch.no_grad(), self.autocast():
                activations = self.model.network.trunk(images[rows.start : rows.stop], self.cut)
            self.tally.forward += len(rows)
            return activations

        def compute() -> Tensor:
            size = runtime.inner_batch(images[0, 0].numel(), self.model.device)
            return runtime.joined(runtime.each_batch(part, len(images), size))

        return self._remembered("trunk", images, compute)

    def tail(self, activations: Tensor, rows: Tensor | None = None) -> Tensor:
        """The rest of the network, ending in the target: (n,), differentiable."""
        with self._derivatives():
            with self.autocast():
                outputs = self.model.network.tail(activations, self.cut)
            self.tally.tail += len(activations)
            return self.target(outputs, rows)

    def grid(self, activations: Tensor) -> Tensor:
        """Activations behind the cut as (n, C, h, w)."""
        return self.model.network.grid(activations, self.cut)

    def at_cut(self, images: Tensor) -> AtCut:
        """Activations and the target's gradient at the cut, float32: one trunk pass and one tail forward and back."""

        def compute() -> AtCut:
            activations = self.trunk(images)
            values, gradient = self.differentiate(self.tail, activations, None, images)
            self._memory["values"] = (images, values)
            return AtCut(self.grid(activations).float(), self.grid(gradient).float(), values)

        return self._remembered("at_cut", images, compute)

    def curvature_at_cut(self, images: Tensor) -> Tensor:
        """H A, (n, C, h, w): the target's second derivative at the cut times the activations, through the tail alone.

        Attention is written out for it: the fused kernel has no second derivative.
        """
        with ExplicitAttention():
            _, _, product = self.differentiate(self.tail, self.trunk(images), None, images, value_and_curvature)
        return self.grid(product).float()

    def tail_sweep(
        self, images: Tensor, change: Callable[[Tensor, Tensor, Tensor], None], ways: int, track: Track = iter
    ) -> Tensor:
        """The target's values (n, ways) after changing the activations at the cut in so many ways; only the tail is run.

        `change(grid, which, way)` writes into the grid (b, C, h, w) of copies made for it: row i is to become way[i] of
        picture which[i]. Nothing but the grid changes: tokens outside it (class token) stay as they are.
        """
        activations = self.trunk(images)

        def part(rows: range) -> Tensor:
            which, way = (index.to(activations.device) for index in unravel(rows, ways))
            copies = activations[which]
            grid = self.grid(copies)
            if grid.untyped_storage().data_ptr() != copies.untyped_storage().data_ptr():
                raise BadRequest(f"The activations behind '{self.cut}' cannot be changed: their grid is a copy, not a view.")
            change(grid, which, way)
            with torch.no_grad():
                return self.tail(copies, which)

        size = runtime.inner_batch(images[0, 0].numel(), self.model.device)
        return runtime.joined(runtime.each_batch(part, len(images) * ways, size, track)).view(len(images), ways)

    def outputs_at_cut(self, images: Tensor) -> Outputs:
        """Outputs of all pictures without a graph, from the remembered trunk; remembered."""

        def part(rows: range) -> Tensor:
            with torch.no_grad(), self.autocast():
                features = self.model.network.tail(activations[rows.start : rows.stop], self.cut).features
            self.tally.tail += len(rows)
            return features

        def compute() -> Outputs:
            size = runtime.inner_batch(images[0, 0].numel(), self.model.device)
            return self._read(runtime.each_batch(part, len(images), size))

        activations = self.trunk(images)
        return self._remembered("outputs", images, compute)

    def values(self, images: Tensor) -> Tensor:
        """The target's values (n,) without a graph; from what is remembered, else by one pass."""

        def compute() -> Tensor:
            with torch.no_grad():
                return self.target(self.outputs_at_cut(images))

        return self._remembered("values", images, compute)

    def select(self, rows: Sequence[int]) -> "Question":
        """The same question about some of the pictures."""
        return replace(self, target=self.target.select(rows), _memory={})

    def changed(
        self, *, target: Target | None = None, cut: str | None = None, model: ExplainableModel | None = None
    ) -> "Question":
        """The same question with another target, cut or model (None: as it is). Passes are counted together; where only the
        target changes, what does not depend on it is still remembered."""
        reusable = ("trunk", "outputs") if cut is None and model is None else ()
        memory = {name: remembered for name, remembered in self._memory.items() if name in reusable}
        return replace(
            self,
            target=self.target if target is None else target,
            cut=cut or self.cut,
            model=model or self.model,
            _memory=memory,
        )

    def under(self, derivative: str) -> "Question":
        """The same question, differentiated in another way (DERIVATIVES); what does not depend on that is still
        remembered."""
        same = ("trunk", "outputs", "values")
        memory = {name: remembered for name, remembered in self._memory.items() if name in same}
        return self if derivative == self.derivative else replace(self, derivative=derivative, _memory=memory)

    @contextmanager
    def _derivatives(self) -> Iterator[None]:
        """The context in which the network's derivatives are as this question wants them. Raises BadRequest where none of
        its functions has another derivative than the ordinary one."""
        if self.derivative == "ordinary" or not torch.is_grad_enabled():
            yield
            return
        with Libra() as overrides:
            yield
        if not overrides.substituted:
            raise BadRequest(
                "On the way to the target this network has no function whose derivative LibraGrad changes, so that the map "
                "would be the ordinary one. Choose the ordinary derivative."
            )

    def _remembered(self, what: str, images: Tensor, compute: Callable[[], Result]) -> Result:
        """What was computed last for these very pictures, or what `compute` returns now."""
        if what not in self._memory or self._memory[what][0] is not images:
            self._memory[what] = (images, compute())
        result: Result = self._memory[what][1]
        return result

    def _read(self, features: Sequence[Tensor]) -> Outputs:
        return Outputs(runtime.joined(features), self.model.network.project, self.model.network.classify)

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which stages run at this question's precision."""
        return runtime.autocast(self.precision, self.model.device)
