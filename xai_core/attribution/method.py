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
    """Maps (n, h, w) of a method, where known with their standard error (n, h, w), and facts about each map, each (n,)."""

    heatmap: Tensor
    error: Tensor | None = None
    facts: Mapping[str, Tensor] = {}


def heatmap_of(maps: Tensor | Maps) -> Tensor:
    """The maps (n, h, w) themselves, of whatever a method returns."""
    return maps.heatmap if isinstance(maps, Maps) else maps


# What a method may need of a model: the check, and what the model lacks, for the message.
# `{note}` stands for the network's note on its attention.
NEEDS: dict[str, tuple[Callable[[ExplainableModel], bool], str]] = {
    "cut": (lambda model: True, "a grid of activations"),
    "classifier": (lambda model: model.has_classifier, "a classifier, which this model does not have"),
    "linear head": (
        lambda model: model.network.has_linear_head,
        "one linear layer right behind global average pooling, which this model does not have",
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

USUAL_SIDE = 224  # of a picture, in pixels
Cost = Callable[[Mapping[str, Any]], tuple[int, int]]
CARD = ("Why", "Who", "What", "How", "When", "Where", "Beware")


@dataclass(frozen=True)
class MethodRecord:
    """What methods for pictures (`Method`) and for pairs of views (`PairMethod`) have in common: a function, and what the
    pages and the command line need to know of it.

    run      the function; its keyword-only parameters with bounds are the options (`core/options.py`). The docstring holds
             formula, source, sign and unit, and a card in the manner of Hohman et al. (2018): lines that begin with Why,
             Who, What, How, When, Where and Beware
    sign     "signed" (evidence for and against) or "non-negative"
    cost     options -> (forward, backward) passes of one picture through the whole network, for the time estimate; beside
             the options it is given the picture's `side` in pixels (see `passes`)
    needs    names in NEEDS
    fast     the families of networks on which `fast` precision gives the same map at the model's default cut: a Spearman
             correlation of at least 0.98 with `exact`, checked by a test. Gradients to the pixels do not reach it: units
             near zero change sides, the more of them the further back a gradient goes
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

    def accepted(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the arguments that the function has a parameter for."""
        parameters = inspect.signature(self.run).parameters
        return {name: value for name, value in arguments.items() if name in parameters}

    def misfit(self, model: ExplainableModel) -> str | None:
        """One sentence on why this method cannot be used on this model; None where it can."""
        for need in sorted(self.needs):
            fits, words = NEEDS[need]
            if not fits(model):
                needed = words.format(note=model.network.attention.note)
                return f"{self.title} needs {needed.rstrip('. ')}."
        return None

    def offers_fast(self, model: ExplainableModel, cut: str) -> bool:
        """Whether `fast` precision is offered for this method on this model, at this cut."""
        return model.family in self.fast and ("cut" not in self.needs or cut == model.network.cut_name(None))

    @property
    def exact_only(self) -> str:
        """One sentence on where `fast` precision is not offered."""
        if not self.fast:
            return f"{self.title} is offered in exact precision only: its map does not survive 16 bits."
        where = f"on networks of the families {', '.join(sorted(self.fast))}"
        where += ", at the network's default cut" if "cut" in self.needs else ""
        return f"{self.title} keeps its map in 16 bits only {where}; elsewhere ask for exact precision."

    def passes(self, options: Mapping[str, Any], side: int = USUAL_SIDE) -> tuple[int, int]:
        """Forward and backward passes of one picture, `side` pixels wide and high."""
        return self.cost({**options, "side": side})

    @property
    def usual_cost(self) -> tuple[int, int]:
        """Forward and backward passes of one picture with the method's default options."""
        return self.passes(check_options(self.run, {}))

    @property
    def random(self) -> bool:
        """Whether the map depends on a seed."""
        return "seed" in inspect.signature(self.run).parameters

    @property
    def documentation(self) -> str:
        return inspect.getdoc(self.run) or ""

    @property
    def summary(self) -> str:
        return self.documentation.split("\n")[0]

    @property
    def definition(self) -> str:
        """Formula, source, sign, unit, deviations: the documentation without its card."""
        return re.split(rf"^(?:{'|'.join(CARD)}): ", self.documentation, maxsplit=1, flags=re.MULTILINE)[0].strip()

    @property
    def source(self) -> str:
        """The source paper, with its arXiv number or DOI; empty where the documentation has none."""
        match = re.search(r"^Source: (.+?(?:arXiv:[\d.]+\d|doi:\S+\w))", self.documentation, re.MULTILINE)
        return match[1] if match else ""

    @property
    def card(self) -> dict[str, str]:
        """The lines Why, Who, What, How, When, Where (Hohman et al. 2018) and Beware, by their first word."""
        lines = r"^({}): (.+?)(?=^\w+: |\Z)".format("|".join(CARD))
        matches = re.findall(lines, self.documentation, re.MULTILINE | re.DOTALL)
        return {name: " ".join(text.split()) for name, text in matches}


@dataclass(frozen=True)
class Method(MethodRecord):
    """A method for pictures: `run(question, images (n, 3, H, W), *, options)` returns maps (n, h, w) or Maps. A batch gives
    the same maps as its pictures one by one."""

    def __call__(self, question: Question, images: Tensor, **arguments: Any) -> Maps:
        """Run with those of the arguments (options, `seed`, `track`, `noise`) that the method takes."""
        maps = self.run(question, images, **self.accepted(arguments))
        return maps if isinstance(maps, Maps) else Maps(maps)
