"""The record of one metric in the catalogue, what a metric receives, what it asks the network, and what it returns.

A metric is a generator. It yields lists of ScoreQuery (images, and the target to read of them), is sent one array of scores
for each query, and returns a MetricResult. It never runs the network itself: `scheduler.py` puts the images of many maps and
metrics into the same batches. A metric that needs no scores is a plain function that returns a MetricResult.

    def drop(case: Case, candidate: Candidate, *, substrate: Substrate = "zero") -> MetricGenerator:
        original, masked = yield [case.original(target), ScoreQuery(1, lambda rows: ..., target)]
        return MetricResult(...)
"""

import inspect
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, options_of
from xai_core.data.scene_parts import SceneParts
from xai_core.explanation.targets import Target, confidence
from xai_core.models.explainable import ExplainableModel

HIGHER, LOWER, NEITHER = "higher", "lower", ""
ScoreKind = Annotated[
    str, Choice(("confidence", "asked")), "the probability of the class, or the number that the map explains"
]
OptionValues = Mapping[str, Any]
Value = TypeVar("Value")


class MapOrigin(NamedTuple):
    """How a map was computed, for the metrics that compute it again: the method's id, its options, cut, seed, precision."""

    method: str
    options: OptionValues
    cut: str | None = None
    seed: int = 0
    precision: str = "exact"


@dataclass(frozen=True)
class Candidate:
    """The map that is measured.

    values  (H, W) float64, resized to the network's input
    raw     (h, w) float32, as the method returned it
    origin  how it was computed; None where that is not known
    """

    name: str
    values: NDArray[np.float64]
    raw: NDArray[np.float32]
    origin: MapOrigin | None = None


@dataclass(frozen=True)
class ScoreQuery:
    """Images whose scores a metric asks for: `make(rows)` gives (len(rows), 3, H, W), `target` reads (count,) values.

    Queries with the same `key` and target are scored once for a picture, whichever map or metric asks.
    """

    count: int
    make: Callable[[range], Tensor]
    target: Target
    key: Hashable = None


class MetricResult(NamedTuple):
    """What a metric returns.

    value   NaN where it is undefined, with a note that says why
    curve   (n, 2): x and y of the metric's axes
    facts   further numbers, by name
    passes  forward and backward passes spent on computing maps again
    """

    value: float
    curve: NDArray[np.float64] | None = None
    facts: Mapping[str, float] = {}
    note: str = ""
    passes: float = 0


Scores = NDArray[np.float64]  # (count,) of one query
MetricGenerator = Generator[Sequence[ScoreQuery], list[Scores], MetricResult]


class PassCost(NamedTuple):
    """What a metric costs: forward passes for each map (`own`), forward passes that all maps of a picture share (`shared`),
    and how often each map is computed again (`maps`)."""

    own: int = 0
    shared: int = 0
    maps: int = 0


NEEDS = {
    "box": "a box around what the map should mark",
    "scene": "a picture of a world (such as world:planted), whose parts can be taken away",
    "method": "the method that made the map, to make it again: give an Explanation instead of an array",
    "classifier": "a classifier, which this model has not got",
}


@dataclass(frozen=True)
class Metric:
    """One metric.

    run        function(case, candidate, *, options), a generator or a plain function as described above; its docstring holds
               formula, range, and where the metric deviates from its source
    direction  "higher" or "lower" is better; "" where neither is
    range      (low, high) of its values; infinite where there is no bound
    cost       options -> PassCost
    needs      names of NEEDS
    source     the paper, with its address
    sentence   what the number means, in one sentence
    axes       names of a curve's x and y; None for a metric without a curve
    version    raised whenever the numbers change
    """

    id: str
    title: str
    family: str
    run: Callable[..., MetricGenerator | MetricResult]
    direction: str
    range: tuple[float, float]
    cost: Callable[[OptionValues], PassCost]
    source: str
    sentence: str
    needs: frozenset[str] = frozenset()
    axes: tuple[str, str] | None = None
    version: int = 1

    def variant_title(self, options: OptionValues) -> str:
        """The title with the options that were used: 'Deletion (zero, 16 steps)'."""
        words: list[str] = []
        for option in options_of(self.run):
            value = options.get(option.name, option.default)
            if option.kind is str:
                words.append(value)
            elif value and option.kind is not bool:
                words.append(f"{value:g} {option.name}")
        return f"{self.title} ({', '.join(words)})" if words else self.title

    @property
    def definition(self) -> str:
        """Formula, options, deviations from the source."""
        return inspect.getdoc(self.run) or ""

    @property
    def arrow(self) -> str:
        """The direction as an arrow; empty where there is none."""
        return {HIGHER: "↑", LOWER: "↓"}.get(self.direction, "")


class MapMaker(Protocol):
    """Computes maps of `images` (n, 3, H, W) as `origin` says, of another model or target where one is given. Returns the
    maps (n, h, w) and the passes spent."""

    def __call__(
        self, origin: MapOrigin, images: Tensor, model: ExplainableModel | None = None, target: Target | None = None
    ) -> tuple[NDArray[np.float32], float]: ...


@dataclass
class Case:
    """One picture, one network and one target: what all metrics and all maps of this picture share.

    image      (1, 3, H, W) in [0, 1]
    target     the target that the maps explain
    in_box     (H, W) bool, which pixels lie in the box; None without a box
    parts      the parts of a drawn picture; None for another
    make_maps  computes maps again
    twin       seed -> the model with random parameters
    cache      results that several metrics or maps use
    """

    image: Tensor
    target: Target
    seed: int
    in_box: NDArray[np.bool_] | None
    make_maps: MapMaker
    model: ExplainableModel
    twin: Callable[[int], ExplainableModel]
    parts: SceneParts | None = None
    cache: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        height, width = self.image.shape[2:]
        return height, width

    def score_target(self, kind: str) -> Target:
        """The target of a ScoreKind: the one that the maps explain, or the confidence of its class."""
        return confidence(self.target) if kind == "confidence" else self.target

    def original(self, target: Target) -> ScoreQuery:
        """The unchanged image, scored once for all metrics."""
        return ScoreQuery(1, lambda rows: self.image, target, key="original")

    def box_mask(self) -> NDArray[np.bool_]:
        """(H, W): which pixels lie in the box. Raises BadRequest where there is no box."""
        if self.in_box is None:
            raise BadRequest(f"This metric needs {NEEDS['box']}.")
        return self.in_box

    def scene_parts(self) -> SceneParts:
        """The parts of the picture. Raises BadRequest where it is not a drawn one."""
        if self.parts is None:
            raise BadRequest(f"This metric needs {NEEDS['scene']}.")
        return self.parts

    def recompute(
        self, candidate: Candidate, images: Tensor, *, model: ExplainableModel | None = None, target: Target | None = None
    ) -> tuple[NDArray[np.float32], float]:
        """Maps (n, h, w) of `images` (n, 3, H, W) by the candidate's method, of another model or target where one is given,
        and the passes spent. Raises BadRequest where it is not known how the candidate was computed."""
        if candidate.origin is None:
            raise BadRequest(f"This metric needs {NEEDS['method']}.")
        return self.make_maps(candidate.origin, images, model, target)

    def cached(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        """The result of `compute`, computed once for this picture and key."""
        if key not in self.cache:
            self.cache[key] = compute()
        value: Value = self.cache[key]
        return value
