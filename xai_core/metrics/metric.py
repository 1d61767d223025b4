"""The record of one metric, as the catalogue lists it, and what a metric is given and asks for.

A metric is a generator: it yields lists of the pictures whose scores it wants, is sent those scores, and returns a Score.
Whoever runs it decides how: `measuring` takes the pictures of many maps and metrics as one stream of batches.

    def drop(case, candidate, *, substrate: Substrate = "zero"):
        plain, masked = yield [case.plain(target), Pictures(1, lambda rows: ..., target)]
        return Score(...)
"""

import inspect
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.options import options_of
from xai_core.explanation.targets import Target
from xai_core.models.explainable import ExplainableModel

HIGHER, LOWER, NEITHER = "higher", "lower", ""


class Again(NamedTuple):
    """How a map was made, for the metrics that make it again: the method's id, its options, cut, seed and precision."""

    method: str
    options: Mapping[str, Any]
    cut: str | None = None
    seed: int = 0
    precision: str = "exact"


@dataclass(frozen=True)
class Candidate:
    """A map that is measured: `values` (H, W) float64 at the network's resolution, `raw` (h, w) as the method made it, and
    how it was made, where that is known."""

    name: str
    values: NDArray[np.float64]
    raw: NDArray[np.float32]
    again: Again | None = None


@dataclass(frozen=True)
class Pictures:
    """Pictures that a metric wants scored: `make(rows)` gives (len(rows), 3, H, W), `target` reads (count,) values.

    Those with the same `key` and target are scored once for a picture, whoever asks.
    """

    count: int
    make: Callable[[range], Tensor]
    target: Target
    key: Hashable = None


class Score(NamedTuple):
    """What a metric returns: its value (NaN where undefined, with a note that says why), its curve (n, 2), facts beside the
    value, and the passes that making maps again took."""

    value: float
    curve: NDArray[np.float64] | None = None
    facts: Mapping[str, float] = {}
    note: str = ""
    passes: float = 0


Asking = Generator[Sequence[Pictures], list[NDArray[np.float64]], Score]


class Cost(NamedTuple):
    """Forward passes for each map, those that all maps of one picture share, and how often a map is made again."""

    own: int = 0
    shared: int = 0
    maps: int = 0


NEEDS = {
    "box": "a box around what should be found",
    "method": "the method that made the map, to make it again: give an Explanation instead of an array",
    "classifier": "a classifier, which this model has not got",
}


@dataclass(frozen=True)
class Metric:
    """One metric.

    run        (case, candidate, *, options): a generator as above, or a plain function that returns a Score where the
               network is not asked; its docstring holds formula and deviations
    direction  "higher" or "lower" is better; "" where neither is
    range      (low, high) of its values, infinite where there is no bound
    cost       options -> Cost
    needs      names of NEEDS
    source     the paper, with its address
    sentence   what the number means, in one sentence
    axes       what a curve's x and y are; None for a metric without one
    version    raised whenever the numbers change
    """

    id: str
    title: str
    family: str
    run: Callable[..., Asking | Score]
    direction: str
    range: tuple[float, float]
    cost: Callable[[Mapping[str, Any]], Cost]
    source: str
    sentence: str
    needs: frozenset[str] = frozenset()
    axes: tuple[str, str] | None = None
    version: int = 1

    def named(self, options: Mapping[str, Any]) -> str:
        """The title with the variant that was measured: 'Deletion (zero, 16 steps)'."""
        said = []
        for option in options_of(self.run):
            value = options.get(option.name, option.default)
            if option.kind is str:
                said.append(value)
            elif value and option.kind is not bool:
                said.append(f"{value:g} {option.name}")
        return f"{self.title} ({', '.join(said)})" if said else self.title

    @property
    def definition(self) -> str:
        """Formula, options, deviations from the source."""
        return inspect.getdoc(self.run)

    @property
    def arrow(self) -> str:
        return {HIGHER: "↑", LOWER: "↓"}.get(self.direction, "")


@dataclass
class Case:
    """One picture before one network, and what is asked of it: what all metrics of this picture share.

    image    (1, 3, H, W) in [0, 1]
    asked    the target that the maps explain
    inside   (H, W) bool, where the box lies in what the network sees; None without a box
    remake   (again, images (n,3,H,W), of=None, target=None) -> maps (n,h,w) float32 and passes: makes maps again, of
             another model or target where one is given
    twin     seed -> the model with random parameters
    """

    image: Tensor
    asked: Target
    seed: int
    inside: NDArray[np.bool_] | None
    remake: Callable[..., tuple[NDArray[np.float32], float]]
    model: ExplainableModel
    twin: Callable[[int], ExplainableModel]
    memory: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.image.shape[2:])

    def plain(self, target: Target) -> Pictures:
        """The picture itself, scored once for all."""
        return Pictures(1, lambda rows: self.image, target, key="plain")

    def remembered(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """What does not depend on the map: computed once for a picture."""
        if key not in self.memory:
            self.memory[key] = compute()
        return self.memory[key]
