"""What is known of a model before it is loaded: plain records, no torch, so that Home can list them at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xai_core.data.recipe import Recipe

IMAGENET = "imagenet-1k"  # its 1,000 names are read from timm when a model is loaded
FAMILIES = ("resnet", "efficientnet", "vit", "swin", "xcit", "cait")  # a card names one; `models.families` cuts its networks
CUSTOM = "custom"  # the family of a network that is given by its stages, or takes itself apart
LIBRARIES = TIMM, TORCHVISION, HUB = "timm", "torchvision", "hf-hub"


@dataclass(frozen=True)
class File:
    """One file of weights: its name, its official address, the start of its SHA-256 where that is published.

    url         empty where no direct address is published: the file is then put into the folder by hand
    package     the installed package that carries the file; such weights need no download
    names       where names of tensors begin in the file -> in the network; the first that fits counts. A slash is one
                level of nesting: "model/module." stands for {"model": {"module.conv1.weight": ...}}. What lies outside
                the nests named here (an optimizer's state) is left alone
    ordered     the same entries in the same order, under other names
    optional    what may be missing, because the network makes it itself
    hub         the repository of the Hugging Face Hub that has the file, whose client then says where it is
    """

    name: str
    url: str
    megabytes: int
    sha256: str = ""
    package: str | None = None
    names: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    ordered: bool = False
    optional: tuple[str, ...] = ()
    hub: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights: its files (a backbone and its linear probe often come apart), and its preprocessing."""

    id: str
    files: tuple[File, ...]
    recipe: Recipe

    @property
    def megabytes(self) -> int:
        return sum(file.megabytes for file in self.files)


@dataclass(frozen=True)
class Card:
    """One model: what it is, how it was trained, and its checkpoints, the default one first.

    licence     the terms of the weights as their authors state them, an SPDX identifier where there is one; empty where
                none is stated
    page        the official page of the weights
    arguments   go to the constructor, beside the architecture's name
    classes     the names of its classes, or the name of a list of timm's, mostly IMAGENET; empty where it has no classifier
                and answers only questions about similarity
    base        the model whose features a linear probe reads, the last file of each checkpoint; empty for all others
    pairs       options of methods for pairs, by the method's id, where the paper takes others for this model; those of
                `feature_visualisation` are depth and regularisation
    prompts     whether that last file holds texts in place of a probe (`models.prompts`)
    library     one of LIBRARIES where the library's own loader fills the network; empty where it is filled here
    renaming    one of `weights.renaming.RENAMINGS`, for files whose names a table of prefixes cannot turn into the network's
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
    page: str = ""
    remark: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    classes: str | tuple[str, ...] = IMAGENET
    base: str = ""
    prompts: bool = False
    pairs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    library: str = ""
    renaming: str = ""
