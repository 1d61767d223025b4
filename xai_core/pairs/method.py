"""The record of one method for pairs, as the catalogue lists it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_core.attribution.method import Maps, Method
from xai_core.core.errors import UnknownName
from xai_core.core.options import Option, check_options, options_of
from xai_core.pairs.question import PairQuestion

GIVEN = ("noise", "erased", "path", "views", "base", "similarities", "init")  # what is random may be passed in by name


def tensor_of(given: Any) -> Tensor:
    """What was passed in by name, as a tensor: a tensor, an array, or several of them."""
    if isinstance(given, list | tuple):
        return torch.stack([tensor_of(one) for one in given])
    return given.detach() if isinstance(given, Tensor) else torch.from_numpy(np.ascontiguousarray(given))


@dataclass(frozen=True)
class PairMethod(Method):
    """As an attribution method, but `run(pair, *, options)` returns maps (2, h, w), one for each view, or (1, h, w) where
    there is one in all. `cost` counts passes of both views together.

    fixed    options that make this entry of a function that several share; no other value can be given
    cropped  whether the published tables measure it on pairs of random crops, or else on a picture and its transform
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    cropped: bool = True

    def options(self) -> tuple[Option, ...]:
        """What can be given."""
        return tuple(option for option in options_of(self.run) if option.name not in self.fixed)

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options with checked values, the fixed ones too. Raises UnknownName, BadRequest."""
        for name in given:
            if name in self.fixed and given[name] != self.fixed[name]:
                raise UnknownName("option", name, [option.name for option in self.options()] or ["(this method has none)"])
        return check_options(self.run, {**given, **self.fixed})

    def given(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(options, random things passed in by name), told apart by the function's own signature."""
        taken = {name for name in GIVEN if name in inspect.signature(self.run).parameters}
        passed = {name: value for name, value in options.items() if name in taken and value is not None}
        return {name: value for name, value in options.items() if name not in taken}, passed

    def __call__(self, pair: PairQuestion, **given: Any) -> Maps:
        taken = inspect.signature(self.run).parameters
        found = self.run(pair, **{name: value for name, value in given.items() if name in taken})
        return found if isinstance(found, Maps) else Maps(found)
