"""The record of one attribution method, as the catalogue lists it."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from xai_core.core.options import check_options
from xai_core.explanation.question import Question
from xai_core.models.explainable import ExplainableModel


class Maps(NamedTuple):
    """What a method may say beside its maps (n, h, w): their standard error, and facts of its own, each (n,)."""

    heatmap: Tensor
    error: Tensor | None = None
    facts: Mapping[str, Tensor] = {}


# What a method may need of a model, and the words for a model that has not got it.
# `{note}` is what the network says of its attention.
NEEDS: dict[str, tuple[Callable[[ExplainableModel], bool], str]] = {
    "cut": (lambda model: True, "a grid of activations"),
    "classifier": (lambda model: model.has_classifier, "a classifier, which this model has not got"),
    "linear head": (
        lambda model: model.network.has_linear_head,
        "one linear layer right behind global average pooling, which this model has not got",
    ),
    "attention": (
        lambda model: bool(model.network.attention.blocks),
        "blocks in which every patch attends to every other. {note}",
    ),
    "class token": (
        lambda model: model.network.attention.token,
        "a class token that attends to the patches. {note}",
    ),
}

Cost = Callable[[Mapping[str, Any]], tuple[int, int]]
CARD = ("Why", "Who", "What", "How", "When", "Where", "Beware")


@dataclass(frozen=True)
class Method:
    """One method.

    run      function(question, images (n,3,H,W), *, options) -> maps (n,h,w) or Maps; a batch gives the same maps as
             one by one. Its docstring holds formula, source, sign and unit, and a card in the manner of Hohman et al.
             (2018): lines that begin with Why, Who, What, How, When, Where and Beware
    sign     "signed" (evidence for and against) or "non-negative"
    cost     options -> (forward, backward) passes of one picture through the whole network, for the estimate
    needs    names of NEEDS
    fast     the families on which `fast` precision keeps the map, at the model's default cut: Spearman at least 0.98 to
             `exact`, held by a test (not so gradients to the pixels: units near zero change sides, and the further back a
             gradient goes, the more of them)
    version  part of the run key; raised whenever the numbers change
    """

    id: str
    title: str
    family: str
    run: Callable[..., Tensor | Maps]
    sign: str
    cost: Cost
    needs: frozenset[str] = frozenset()
    fast: frozenset[str] = frozenset()
    version: int = 1

    def __call__(self, question: Question, images: Tensor, **given: Any) -> Maps:
        """Run with options, and with those of `seed`, `track`, `noise` that the method takes."""
        taken = inspect.signature(self.run).parameters
        found = self.run(question, images, **{name: value for name, value in given.items() if name in taken})
        return found if isinstance(found, Maps) else Maps(found)

    def misfit(self, model: ExplainableModel) -> str | None:
        """Why this method does not fit this model, in one sentence; None where it does."""
        for need in sorted(self.needs):
            fits, words = NEEDS[need]
            if not fits(model):
                needed = words.format(note=model.network.attention.note)
                return f"{self.title} needs {needed.rstrip('. ')}."
        return None

    def offers_fast(self, model: ExplainableModel, cut: str) -> bool:
        """Whether this method keeps its map in 16 bits on this model, cut there."""
        return model.family in self.fast and ("cut" not in self.needs or cut == model.network.cut_name(None))

    @property
    def usual_cost(self) -> tuple[int, int]:
        """Forward and backward passes of one picture with the method's default options."""
        return self.cost(check_options(self.run, {}))

    @property
    def random(self) -> bool:
        """Whether the map depends on a seed."""
        return "seed" in inspect.signature(self.run).parameters

    @property
    def documentation(self) -> str:
        return inspect.getdoc(self.run)

    @property
    def summary(self) -> str:
        return self.documentation.split("\n")[0]

    @property
    def definition(self) -> str:
        """Formula, source, sign, unit, deviations: the documentation without its card."""
        return re.split(rf"^(?:{'|'.join(CARD)}): ", self.documentation, maxsplit=1, flags=re.MULTILINE)[0].strip()

    @property
    def source(self) -> str:
        """The paper, with its address."""
        found = re.search(r"^Source: (.+?(?:arXiv:[\d.]+\d|doi:\S+\w))", self.documentation, re.MULTILINE)
        return found[1] if found else ""

    @property
    def card(self) -> dict[str, str]:
        """Why, Who, What, How, When, Where (Hohman et al. 2018) and Beware, in words for readers."""
        lines = r"^({}): (.+?)(?=^\w+: |\Z)".format("|".join(CARD))
        found = re.findall(lines, self.documentation, re.MULTILINE | re.DOTALL)
        return {name: " ".join(text.split()) for name, text in found}
