"""What to do about a model's errors: actions, each with its pictures and with what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ActionKind = Literal["relabel", "collect", "augment", "edit the head", "abstain"]


@dataclass(frozen=True)
class PlannedAction:
    """One thing to do.

    title      what to do, in a few words
    reason     why: what was found, with its figures, in one or two sentences
    estimate   what it gains, as it was measured, with its interval and the pictures that it was measured on; "" where this
               was not measured
    paths      the pictures that it is about, by their names in the dataset, the most urgent one first
    columns    further columns of its list, as long as `paths`: the suggested label of each picture, for example
    settings   everything that the reason and the estimate depend on, for the report
    """

    kind: ActionKind
    title: str
    reason: str
    estimate: str
    paths: tuple[str, ...]
    columns: Mapping[str, tuple[str | float, ...]] = field(default_factory=dict)
    settings: Mapping[str, str | float] = field(default_factory=dict)
