"""The one object that every method and metric takes: a model, what is asked of it, and where it is cut.

law, tested at every cut of every family:  question(x) == question.tail(question.trunk(x))
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from xai_core import runtime
from xai_core.autograd import value_and_gradient
from xai_core.explanation import Passes
from xai_core.models.explainable import ExplainableModel
from xai_core.outputs import Outputs
from xai_core.runtime import Track
from xai_core.targets import Target


class AtCut(NamedTuple):
    """What a CAM is made of: activations and gradient at the cut, both (n, C, h, w), and the target's values (n,)."""

    activations: Tensor
    gradient: Tensor
    values: Tensor


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
    of one picture share one pass. Images are (n, 3, H, W) in [0, 1] on the model's device.
    """

    model: ExplainableModel
    target: Target
    cut: str
    precision: str = "exact"
    tally: Tally = field(default_factory=Tally, repr=False)
    _memory: dict = field(default_factory=dict, repr=False)

    def __call__(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """The target's value of each picture, (n,), differentiable. `rows` says whose target each picture gets."""
        self.tally.forward += len(images)
        with self._autocast():
            outputs = self.model.network.outputs(images)
        return self.target(outputs, rows)

    def gradient(self, images: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Values (n,) and their gradients to the pixels, (n, 3, H, W)."""
        self.tally.backward += len(images)
        return self._differentiate(self, images, rows, images)

    def _differentiate(self, function, at: Tensor, rows: Tensor | None, images: Tensor) -> tuple[Tensor, Tensor]:
        """Values and gradients of `function(at, rows)`, as many rows at once as their graphs fit into memory."""
        rows = torch.arange(len(images)) if rows is None and len(self.target) > 1 else rows

        def part(batch: range) -> tuple[Tensor, Tensor]:
            cut = slice(batch.start, batch.stop)
            whose = None if rows is None else rows[cut]
            return value_and_gradient(lambda leaf: function(leaf, whose), at[cut])

        size = runtime.inner_batch(images[0, 0].numel(), self.model.device, graph=True)
        values, gradients = zip(*runtime.each_batch(part, len(images), size), strict=True)
        return torch.cat(values), torch.cat(gradients)

    def sweep(
        self, pictures: Callable[[range], Tensor], total: int, size: tuple[int, int], track: Track = iter
    ) -> Outputs:
        """Outputs of `total` pictures of (height, width) `size`, made a few at a time by `pictures(rows)`; no graph.

        The features are kept, and any number of targets can be read from them afterwards.
        """

        def features(rows: range) -> Tensor:
            images = pictures(rows)
            self.tally.forward += len(images)
            with torch.no_grad(), self._autocast():
                return self.model.network.outputs(images).features

        network, batch = self.model.network, runtime.inner_batch(size[0] * size[1], self.model.device)
        found = torch.cat(runtime.each_batch(features, total, batch, track))
        return Outputs(found, network.project, network.classify)

    def outputs(self, images: Tensor, track: Track = iter) -> Outputs:
        """Outputs of all pictures, without a graph, in inner batches."""
        return self.sweep(lambda rows: images[rows.start : rows.stop], len(images), images.shape[2:], track)

    def scores(self, images: Tensor, rows: Tensor | None = None, track: Track = iter) -> Tensor:
        """The same numbers as `question(images)`, without a graph, in inner batches."""
        with torch.no_grad():
            return self.target(self.outputs(images, track), rows)

    def trunk(self, images: Tensor) -> Tensor:
        """Activations behind the cut, in the network's own layout, without a graph."""
        remembered = self._memory.get("trunk")
        if remembered is None or remembered[0] is not images:
            self.tally.forward += len(images)
            with torch.no_grad(), self._autocast():
                remembered = (images, self.model.network.trunk(images, self.cut))
            self._memory["trunk"] = remembered
        return remembered[1]

    def tail(self, activations: Tensor, rows: Tensor | None = None) -> Tensor:
        """The rest of the network, ending in the target: (n,), differentiable."""
        self.tally.tail += len(activations)
        with self._autocast():
            outputs = self.model.network.tail(activations, self.cut)
        return self.target(outputs, rows)

    def grid(self, activations: Tensor) -> Tensor:
        """Activations behind the cut as (n, C, h, w)."""
        return self.model.network.grid(activations, self.cut)

    def at_cut(self, images: Tensor) -> AtCut:
        """Activations and the target's gradient at the cut, float32: one trunk pass and one tail forward and back."""
        remembered = self._memory.get("at_cut")
        if remembered is None or remembered[0] is not images:
            activations = self.trunk(images)
            values, gradient = self._differentiate(self.tail, activations, None, images)
            found = AtCut(self.grid(activations).float(), self.grid(gradient).float(), values)
            self._memory["at_cut"] = remembered = (images, found)
        return remembered[1]

    def values(self, images: Tensor) -> Tensor:
        """The target's values (n,) without a graph, from the remembered trunk."""
        if "at_cut" in self._memory and self._memory["at_cut"][0] is images:
            return self._memory["at_cut"][1].values
        with torch.no_grad():
            return self.tail(self.trunk(images))

    def select(self, rows: Sequence[int]) -> "Question":
        """The same question about some of the pictures."""
        return replace(self, target=self.target.select(rows), _memory={})

    def _autocast(self):
        return runtime.autocast(self.precision, self.model.device)
