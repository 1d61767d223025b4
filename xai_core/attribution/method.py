"""The record of one attribution method, as the catalogue lists it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from xai_core.question import Question


class Maps(NamedTuple):
    """What a method may say beside its maps (n, h, w): their standard error, and facts of its own, each (n,)."""

    heatmap: Tensor
    error: Tensor | None = None
    facts: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Method:
    """One method.

    run      function(question, images (n,3,H,W), *, options) -> maps (n,h,w) or Maps; a batch gives the same maps as
             one by one
    sign     "signed" (evidence for and against) or "non-negative"
    needs    what it wants of model or target: "cut" (activations with a grid)
    cost     options -> (forward, backward) passes of one picture through the whole network, for the estimate
    fast     whether `fast` precision keeps the map: Spearman at least 0.98 to `exact`, held by a test
    version  part of the run key; raised whenever the numbers change
    """

    id: str
    title: str
    family: str
    run: Callable[..., Tensor | Maps]
    sign: str
    cost: Callable[[Mapping[str, Any]], tuple[int, int]]
    paper: str
    tells: str
    beware: str
    needs: frozenset[str] = field(default_factory=frozenset)
    fast: bool = False
    version: int = 1

    def __call__(self, question: Question, images: Tensor, **given: Any) -> Maps:
        """Run with options, and with those of `seed`, `track`, `noise` that the method takes."""
        taken = inspect.signature(self.run).parameters
        found = self.run(question, images, **{name: value for name, value in given.items() if name in taken})
        return found if isinstance(found, Maps) else Maps(found)

    @property
    def random(self) -> bool:
        """Whether the map depends on a seed."""
        return "seed" in inspect.signature(self.run).parameters

    @property
    def summary(self) -> str:
        return inspect.getdoc(self.run).split("\n")[0]

    @property
    def documentation(self) -> str:
        return inspect.getdoc(self.run)
