"""What is known of a model before it is loaded: plain records, no torch, so that Home can list them at once."""

from dataclasses import dataclass

from xai_core.recipe import Recipe


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights: the file, its official address, the start of its SHA-256, and its preprocessing.

    `package` names the installed package that carries the file; such weights need no download and have no `url`.
    """

    id: str
    file: str
    url: str
    sha256: str
    megabytes: int
    recipe: Recipe
    package: str | None = None


@dataclass(frozen=True)
class Card:
    """One model: what it is, how it was trained, and its checkpoints, the default one first."""

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
