"""A network as a chain of named stages that can be cut between any two of them.

    images -> stage 1 -> ... -> stage k | -> ... -> stage N -> pool -> features -> head / classifier
              `-------- trunk --------'   `------------------- tail --------------------'

An existing network is taken apart, never rewritten; activations are local variables of the chain, in the network's own
layout. Nothing here writes to the network, so that any number of threads may run it at once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.runtime import MEMORY_FORMAT, channels_last
from xai_core.models.outputs import Outputs

Step = Callable[[Tensor], Tensor]


def infer_grid(activations: Tensor) -> Tensor:
    """The spatial view (n, C, h, w) of activations whose layout nobody declared.

    4-D is taken for (n, C, h, w). 3-D is taken for tokens (n, N, C) of a square grid in reading order, behind 0, 1, 2 or
    5 prefix tokens (class, distillation, registers). Anything else is refused rather than guessed.
    """
    if activations.ndim == 4:
        return activations
    if activations.ndim == 3:
        for prefix in (0, 1, 2, 5):
            side = math.isqrt(max(activations.shape[1] - prefix, 0))
            if side > 1 and side * side == activations.shape[1] - prefix:
                return tokens_grid(prefix, (side, side))(activations)
    raise BadRequest(
        f"Activations of shape {tuple(activations.shape)} have no grid at this cut: "
        "cut where they are (n, C, h, w), or tokens (n, N, C) of a square grid."
    )


def tokens_grid(prefix: int, size: tuple[int, int]) -> Step:
    """The view of tokens (n, prefix + h w, C) as (n, C, h, w)."""

    def grid(tokens: Tensor) -> Tensor:
        squares: Tensor = tokens[:, prefix:].unflatten(1, size)
        return squares.permute(0, 3, 1, 2)

    return grid


@dataclass(frozen=True)
class Stage:
    """One step of the chain; `grid` shows its output as (n, C, h, w). `layout` says in words how that lies, or why it has no
    grid, where this was found out by probing."""

    name: str
    run: Step
    grid: Step = infer_grid
    layout: str = ""


@dataclass(frozen=True)
class Attention:
    """What a network's attention weights say about positions, for the methods that read them.

    blocks    the stages, none of them the first, in which every token attends to every token with rows that sum to 1
    readout   (n, queries, keys) -> (n, keys): the rows that the features are read from (class token, or mean over patches)
    token     whether a class token attends to the patches in the last attention layer
    note      one sentence for the reader on what is missing; empty where nothing is
    """

    blocks: tuple[str, ...] = ()
    readout: Step | None = None
    token: bool = False
    note: str = "It has no attention."


@dataclass(frozen=True)
class InnerCut:
    """A cut inside a stage. Its activations are one tensor for each picture: what is shown at the cut, and behind it what
    else the rest of the stage needs.

    before   how many stages are run before `run`
    run      activations behind those -> activations at this cut
    rest     activations at this cut -> activations behind the first `after` stages; features, where there are not so many
    grid     activations at this cut -> (n, C, h, w), a view
    """

    before: int
    run: Step
    rest: Step
    grid: Step
    after: int


class Inside(Protocol):
    """The cuts inside stages by their names, made when they are asked for."""

    names: tuple[str, ...]

    def __call__(self, name: str, /) -> InnerCut: ...


@dataclass(frozen=True)
class StagedNetwork:
    """Stages, then `pool` (activations -> features), then siblings `project` (head) and `classify`, each optional.

    `normalise` comes before the first stage and is no cut: outside, a picture is RGB in [0, 1]. `input_size` is the only
    (height, width) that the network takes; None where it takes any.
    Law: `tail(trunk(x, cut), cut)` equals `outputs(x)` at every cut.
    """

    stages: tuple[Stage, ...]
    pool: Step
    project: Step | None = None
    classify: Step | None = None
    normalise: Step | None = None
    default_cut: str = ""
    input_size: tuple[int, int] | None = None
    attention: Attention = Attention()
    inside: Inside | None = None

    @property
    def is_built(self) -> bool:
        """Whether its parts are there; `known_networks` has networks that are built when a part is first used."""
        return True

    @property
    def cuts(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def projects(self) -> bool:
        """Whether it has a projection head."""
        return self.project is not None

    @property
    def classifies(self) -> bool:
        return self.classify is not None

    @property
    def normalises(self) -> bool:
        """Whether pictures are normalised before the first stage."""
        return self.normalise is not None

    def cut_name(self, cut: str | None) -> str:
        """The full name of a cut: None is the default, `layer4` the last stage called `layer4.*`. Raises UnknownName."""
        if cut is None:
            return self.default_cut or self.cuts[-1]
        if cut in self.cuts or (self.inside and cut in self.inside.names):
            return cut
        names = [name for name in self.cuts if name.startswith(f"{cut}.")]
        if not names:
            raise UnknownName("cut", cut, self.cuts)
        return names[-1]

    def _index(self, cut: str) -> int:
        return self.cuts.index(cut) + 1

    def _inner(self, cut: str) -> InnerCut | None:
        return None if self.inside is None or cut in self.cuts else self.inside(cut)

    def trunk(self, images: Tensor, cut: str) -> Tensor:
        """(n, 3, H, W) in [0, 1] -> activations behind the cut, in the network's own layout."""
        if self.input_size and tuple(images.shape[2:]) != self.input_size:
            raise BadRequest(
                f"This network takes pictures of {self.input_size[0]} x {self.input_size[1]} pixels only, "
                f"not {images.shape[2]} x {images.shape[3]}."
            )
        activations = images.contiguous(memory_format=MEMORY_FORMAT)
        if self.normalise:
            activations = self.normalise(activations)
        inner = self._inner(cut)
        for stage in self.stages[: inner.before if inner else self._index(cut)]:
            activations = stage.run(activations)
        return inner.run(activations) if inner else activations

    def tail(self, activations: Tensor, cut: str) -> Outputs:
        """The rest of the network. Features are float32 whatever the precision of the stages: the heads are cheap."""
        inner, index = self._inner(cut), 0
        if inner:
            activations, index = inner.rest(activations), inner.after
        else:
            index = self._index(cut)
        for stage in self.stages[index:]:
            activations = stage.run(activations)
        features = activations if index > len(self.stages) else self.pool(activations)
        return Outputs(features.float(), self.project, self.classify)

    def outputs(self, images: Tensor) -> Outputs:
        """(n, 3, H, W) in [0, 1] -> Outputs."""
        return self.tail(self.trunk(images, self.cuts[-1]), self.cuts[-1])

    def grid(self, activations: Tensor, cut: str) -> Tensor:
        """Activations behind the cut as (n, C, h, w)."""
        inner = self._inner(cut)
        return inner.grid(activations) if inner else self.stages[self._index(cut) - 1].grid(activations)

    @cached_property
    def has_linear_head(self) -> bool:
        """Whether one linear layer follows the plain mean over positions: what Class Activation Mapping was made for."""
        if not isinstance(self.classify, nn.Linear):
            return False
        channels, weight = self.classify.in_features, self.classify.weight
        sines = torch.arange(channels * 6, device=weight.device, dtype=weight.dtype).sin()
        return any(self._averages(sines.view(shape), channels) for shape in ((1, channels, 2, 3), (1, 2, 3, channels)))

    def _averages(self, activations: Tensor, channels: int) -> bool:
        """Whether `pool` takes the mean over the grid of the last stage's activations, tried on given ones."""
        try:
            with torch.no_grad():
                grid, pooled = self.stages[-1].grid(activations), self.pool(activations)
        except (RuntimeError, ValueError, IndexError, AssertionError):  # another layout than this network's
            return False
        fits = grid.shape == (1, channels, 2, 3) and pooled.shape == (1, channels)
        return fits and torch.allclose(pooled, grid.mean((2, 3)), atol=1e-5)

    def without_normalisation(self) -> "StagedNetwork":
        """The same chain for images that are already normalised."""
        return replace(self, normalise=None)


def normalisation(mean: tuple[float, ...] | None, std: tuple[float, ...] | None, device: torch.device) -> Step | None:
    """(x - mean) / std per channel, as the step before the first stage; None where both are None."""
    if mean is None and std is None:
        return None
    shift, scale = (Tensor(values).view(1, 3, 1, 1).to(device) for values in (mean or (0.0,) * 3, std or (1.0,) * 3))
    return lambda images: (images - shift) / scale


def freeze(module: nn.Module) -> nn.Module:
    """Make a network safe to share: eval mode, no parameter requires a gradient, nothing works in place.

    (A cut before an in-place ReLU raises under autograd, and silently overwrites the activations without.)
    """
    module.eval().requires_grad_(False)
    for part in module.modules():
        if getattr(part, "inplace", False):
            setattr(part, "inplace", False)  # noqa: B010 (torch types a module's attributes as tensors and modules)
    return channels_last(module)
