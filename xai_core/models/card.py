"""What is known of a model before it is loaded: plain records, no torch, so that Home can list them at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xai_core.recipe import Recipe


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights: the file, its official address, the start of its SHA-256 (if published), its preprocessing.

    `package` names the installed package that carries the file; such weights need no download and have no `url`.
    """

    id: str
    file: str
    url: str
    megabytes: int
    recipe: Recipe
    sha256: str = ""
    package: str | None = None


@dataclass(frozen=True)
class Card:
    """One model: what it is, how it was trained, and its checkpoints, the default one first.

    `arguments` go to the library's constructor, beside the architecture's name.
    """

    id: str
    title: str
    family: str
    architecture: str
    supervision: str
    trained_on: str
    paper: str
    licence: str
    checkpoints: tuple[Checkpoint, ...]
    remark: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
