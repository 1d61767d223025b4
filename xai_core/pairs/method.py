"""The record of one method for pairs of views, as the catalogue lists it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_core.attribution.method import Maps, MethodRecord
from xai_core.core.errors import UnknownName
from xai_core.core.options import Option, check_options, options_of
from xai_core.pairs.question import PairQuestion

RANDOM_INPUTS = ("noise", "erased", "path", "views", "base", "similarities", "init")  # arguments that replace random draws


def tensor_of(values: Any) -> Tensor:
    """Values passed in from Python as a tensor: a tensor, an array, or a list of them, which is stacked."""
    if isinstance(values, list | tuple):
        return torch.stack([tensor_of(part) for part in values])
    return values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))


@dataclass(frozen=True)
class PairMethod(MethodRecord):
    """A method for pairs: `run(pair, *, options)` returns maps (2, h, w), one for each view, or (1, h, w) where there is
    one in all. `cost` counts the passes of both views together.

    fixed    options with which this entry uses a function that several entries share; they cannot be set otherwise
    cropped  whether the published tables measure it on pairs of random crops (else on a picture and its transform)
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    cropped: bool = True

    def options(self) -> tuple[Option, ...]:
        """The options that can be set."""
        return tuple(option for option in options_of(self.run) if option.name not in self.fixed)

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """All options with checked values, the fixed ones too. Raises UnknownName, BadRequest."""
        for name in values:
            if name in self.fixed and values[name] != self.fixed[name]:
                raise UnknownName("option", name, [option.name for option in self.options()] or ["(this method has none)"])
        return check_options(self.run, {**values, **self.fixed})

    def split(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(options, RANDOM_INPUTS that were passed in), by the parameters of the function."""
        accepted = {name for name in RANDOM_INPUTS if name in inspect.signature(self.run).parameters}
        inputs = {name: value for name, value in arguments.items() if name in accepted and value is not None}
        return {name: value for name, value in arguments.items() if name not in accepted}, inputs

    def __call__(self, pair: PairQuestion, **arguments: Any) -> Maps:
        """Run with those of the arguments that the method takes."""
        maps = self.run(pair, **self.accepted(arguments))
        return maps if isinstance(maps, Maps) else Maps(maps)
