"""What is known of the networks that come with the project before they are built.

`known_networks.json` holds the structure of each by a key of everything that determines it: the digest of its weights'
files, its family and architecture, and the names of its tensors. A file with another content is not found there. The test
tests/models/test_known_networks.py holds the records to the built networks; run as a script it writes them anew.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from xai_core.core.cache_key import text_digest
from xai_core.models.card import Card, Checkpoint
from xai_core.models.staged import Attention, Inside, Stage, StagedNetwork, Step

FILE = resources.files("xai_core.models") / "known_networks.json"


@dataclass(frozen=True)
class KnownNetwork:
    """The structure of a network without attention. The names are those of `StagedNetwork`; `projects` and `classifies` tell
    whether it has these parts, `normalises` whether pictures are normalised first, and `nbytes` is what its parameters
    take."""

    cuts: tuple[str, ...]
    default_cut: str
    projects: bool
    classifies: bool
    normalises: bool
    has_linear_head: bool
    nbytes: int


def key(card: Card, checkpoint: Checkpoint, digest: str) -> str:
    """A name for all that the structure depends on. `digest` is that of the weights' files."""
    names = [(tuple(file.names.items()), file.ordered, file.optional) for file in checkpoint.files]
    classes = card.classes if isinstance(card.classes, str) else len(card.classes)
    parts = digest, card.family, card.architecture, sorted(card.arguments.items()), classes, names, checkpoint.recipe
    return text_digest(repr(parts))


def find(card: Card, checkpoint: Checkpoint, digest: str) -> KnownNetwork | None:
    """What is recorded of a network with these weights; None where nothing is."""
    return _records().get(key(card, checkpoint, digest))


@cache
def _records() -> dict[str, KnownNetwork]:
    records = json.loads(FILE.read_text("utf-8"))
    return {key: KnownNetwork(**{**record, "cuts": tuple(record["cuts"])}) for key, record in records.items()}


class Unbuilt(StagedNetwork):
    """A network that `build` makes when a part of it is first used; what is recorded of it is known before. Any thread may
    use it. `dataclasses.replace` makes a built network of it."""

    _known: KnownNetwork
    _build: Callable[[], StagedNetwork]

    def __new__(cls, known: KnownNetwork | None = None, build: object = None, **parts: Any) -> Any:
        return super().__new__(cls) if known is not None else StagedNetwork(**parts)  # `replace` gives all parts

    def __init__(self, known: KnownNetwork, build: Callable[[], StagedNetwork]) -> None:
        # Not the attributes of the class alone: an instance of a frozen dataclass has its own in `vars`.
        vars(self).update(_known=known, _build=build, _lock=threading.Lock(), _network=None)
        vars(self).update(default_cut=known.default_cut, has_linear_head=known.has_linear_head)

    def _built(self) -> StagedNetwork:
        own = vars(self)
        with own["_lock"]:
            if own["_network"] is None:
                own["_network"] = self._build()
            network: StagedNetwork = own["_network"]
            return network

    @property
    def is_built(self) -> bool:
        return vars(self)["_network"] is not None

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._built().stages

    @property
    def pool(self) -> Step:
        return self._built().pool

    @property
    def project(self) -> Step | None:
        return self._built().project

    @property
    def classify(self) -> Step | None:
        return self._built().classify

    @property
    def normalise(self) -> Step | None:
        return self._built().normalise

    @property
    def inside(self) -> Inside | None:
        return self._built().inside

    @property
    def cuts(self) -> tuple[str, ...]:
        return self._known.cuts

    @property
    def projects(self) -> bool:
        return self._known.projects

    @property
    def classifies(self) -> bool:
        return self._known.classifies

    @property
    def normalises(self) -> bool:
        return self._known.normalises


def record_of(network: StagedNetwork, nbytes: int) -> KnownNetwork | None:
    """What a built network is recorded as; None for one with attention, a fixed size of its input, or cuts
    inside its stages."""
    if network.attention != Attention() or network.input_size is not None or network.inside is not None:
        return None
    return KnownNetwork(
        cuts=network.cuts,
        default_cut=network.default_cut,
        projects=network.projects,
        classifies=network.classifies,
        normalises=network.normalises,
        has_linear_head=network.has_linear_head,
        nbytes=nbytes,
    )


def as_json(records: dict[str, KnownNetwork]) -> str:
    """The text of the file."""
    return json.dumps({key: asdict(record) for key, record in sorted(records.items())}, indent=1) + "\n"
