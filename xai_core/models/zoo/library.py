"""The networks of timm, torchvision and the Hugging Face Hub by their names, as cards: `timm/ARCHITECTURE.TAG`,
`torchvision/ARCHITECTURE.WEIGHTS` and `hf-hub:OWNER/NAME`.

What timm and torchvision publish stands in `library_networks.tsv.gz`, so that it can be searched without importing them; a
test holds it to the installed versions. Nothing here imports torch.
"""

import gzip
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from xai_core.core import settings
from xai_core.core.errors import BadCard, UnknownName
from xai_core.core.files import read_regular
from xai_core.data.recipe import Recipe
from xai_core.models.card import CUSTOM, HUB, IMAGENET, TIMM, TORCHVISION, Card, Checkpoint, File

FILE = resources.files("xai_core.models") / "library_networks.tsv.gz"
SAFETENSORS, CONFIG = "model.safetensors", "config.json"
HUB_PREFIX = f"{HUB}:"
CONFIG_BYTES = 2**23  # of a hub's config.json: it may list thousands of classes


class Published(NamedTuple):
    """One set of weights that timm or torchvision publishes.

    family       one of `card.FAMILIES` where the network is taken apart by hand, or CUSTOM
    parameters   how many numbers it has; `megabytes` what they take in 32 bits, which is about the size of the file
    side         of the square pictures that it takes, in pixels
    classes      the list's name ("imagenet-22k"), a number where the classes have no names, empty where it has none
    accuracy     top-1 on ImageNet-1k in percent as the library publishes it; empty where it does not
    source       the repository on the Hugging Face Hub, or the file's address
    usual        1 for the weights that the library takes where only the architecture is named
    refused      why it cannot be used here; empty where it can
    """

    id: str
    family: str
    parameters: str
    megabytes: str
    side: str
    shorter_side: str
    interpolation: str
    squash: str
    mean: str
    std: str
    classes: str
    licence: str
    accuracy: str
    source: str
    usual: str
    refused: str

    @property
    def library(self) -> str:
        return self.id.partition("/")[0]

    @property
    def architecture(self) -> str:
        return self.id.partition("/")[2].partition(".")[0]

    @property
    def tag(self) -> str:
        """The name of the weights among those of the architecture."""
        return self.id.partition("/")[2].partition(".")[2]


@cache
def rows() -> Mapping[str, Published]:
    """Everything that timm and torchvision publish, by id."""
    lines = gzip.decompress(FILE.read_bytes()).decode("utf-8").splitlines()
    return {(row := Published(*line.split("\t"))).id: row for line in lines}


@cache
def _usual() -> Mapping[str, str]:
    return {f"{row.library}/{row.architecture}": id for id, row in rows().items() if row.usual}


def search(text: str) -> list[Published]:
    """The networks whose name holds every word of `text`, whatever its case; names that begin with it come first."""
    words = text.lower().split()
    found = [row for row in rows().values() if all(word in row.id.lower() for word in words)]
    return sorted(found, key=lambda row: not row.id.partition("/")[2].startswith(words[0] if words else ""))


def is_name(id: str) -> bool:
    """Whether a model's id has the form of a library's network."""
    return id.startswith((f"{TIMM}/", f"{TORCHVISION}/", HUB_PREFIX))


def find(id: str) -> Card:
    """The card of a library's network. Raises UnknownName, or BadCard where it cannot be used here."""
    if id.startswith(HUB_PREFIX):
        return _hub_card(id)
    row = rows().get(_usual().get(id, id))
    if row is None:
        raise UnknownName("model", id, [*_usual(), *rows()])
    if row.refused:
        raise BadCard(f"{row.id} cannot be used here: {row.refused}.")
    return _card(row)


def here() -> dict[str, Card]:
    """The networks whose files are in the weights folders, by id."""
    ids = dict.fromkeys(
        id
        for folder in settings.weights_folders()
        for library, pattern in ((TIMM, "*/"), (TORCHVISION, "*/"), (HUB, "*/*/"))
        for path in sorted((folder / library).glob(pattern))
        for id in [_id_of(path.relative_to(folder).parts)]
        if id
    )
    found = {}
    for id in ids:
        try:
            card = find(id)
        except (UnknownName, BadCard):
            continue
        if any(all((folder / file.name).is_file() for file in _files(card)) for folder in settings.weights_folders()):
            found[card.id] = card
    return found


def _files(card: Card) -> tuple[File, ...]:
    return card.checkpoints[0].files


def _id_of(parts: tuple[str, ...]) -> str:
    library, *name = parts
    return f"{HUB_PREFIX}{'/'.join(name)}" if library == HUB else f"{library}/{name[0]}"


def _card(row: Published) -> Card:
    hub = row.library == TIMM and not row.source.startswith("https:")
    url = f"https://huggingface.co/{row.source}/resolve/main/{SAFETENSORS}" if hub else row.source
    name = url.rpartition("/")[2]
    digest = re.search(r"-([0-9a-f]{8,})\.", name)
    classes: str | tuple[str, ...] = row.classes
    if row.classes.isdigit():
        classes = unnamed(int(row.classes))
    return Card(
        id=row.id,
        title=row.id,
        family=row.family,
        architecture=row.architecture,
        supervision=_supervision(row.tag, bool(row.classes)),
        trained_on=_trained_on(row.tag),
        paper="",
        licence=row.licence,
        page=f"https://huggingface.co/{row.source}" if hub else "",
        remark=in_words(row),
        classes=classes or (),
        library=row.library,
        checkpoints=(
            Checkpoint(
                row.tag,
                (
                    File(
                        f"{row.id}/{name}",
                        url,
                        round(float(row.megabytes)),
                        sha256=digest[1] if digest else "",
                        hub=row.source if hub else "",
                    ),
                ),
                Recipe(
                    int(row.side), int(row.shorter_side), row.interpolation,
                    _three(row.mean), _three(row.std), squash=row.squash == "1",
                ),
            ),
        ),
    )  # fmt: skip


def _three(text: str) -> tuple[float, float, float]:
    red, green, blue = map(float, text.split(","))
    return red, green, blue


def unnamed(count: int) -> tuple[str, ...]:
    """Names for classes that have none."""
    return tuple(f"class {index}" for index in range(count))


def in_words(row: Published) -> str:
    """Parameters, size, pictures and accuracy of a network, as a sentence."""
    accuracy = (
        f"published top-1 accuracy on ImageNet-1k {float(row.accuracy):.1f}%" if row.accuracy else "no published accuracy"
    )
    return (
        f"{int(row.parameters) / 1e6:,.1f} million parameters, {float(row.megabytes):,.0f} MB, pictures of "
        f"{row.side} pixels; {accuracy}."
    )


DATA = {  # what a tag says of the pictures
    "in1k": "ImageNet-1k", "imagenet1k": "ImageNet-1k", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k", "openai": "OpenAI's pictures with captions", "laion2b": "LAION-2B", "laion400m": "LAION-400M",
    "laiona": "LAION-A", "lvd142m": "LVD-142M", "lvd1689m": "LVD-1689M", "sat493m": "SAT-493M", "webli": "WebLI",
    "datacompxl": "DataComp-XL", "datacomp1b": "DataComp-1B", "yfcc15m": "YFCC-15M", "cc12m": "CC-12M", "m30m": "Merged-30M",
    "m38m": "Merged-38M", "merged2b": "Merged-2B", "dfn2b": "DFN-2B", "dfn5b": "DFN-5B", "ig1b": "IG-1B",
}  # fmt: skip
WITHOUT_LABELS = re.compile(r"dino|mae|ijepa|byol|seer|lvd|sat493m")
WITH_CAPTIONS = re.compile(r"clip|laion|openai|webli|datacomp|dfn|yfcc|cc12m|merged2b")


def _trained_on(tag: str) -> str:
    named = [DATA[word] for word in tag.lower().split("_") if word in DATA]
    return ", then ".join(dict.fromkeys(named)) or f"see its tag, {tag}"


def _supervision(tag: str, has_classes: bool) -> str:
    tuned = has_classes and bool(re.search("ft_in1k|swag", tag.lower()))
    if WITHOUT_LABELS.search(tag) and not tuned:
        return "self-supervised"
    return "trained with captions" if WITH_CAPTIONS.search(tag) and not has_classes else "supervised"


# ---------------------------------------------------------------------------------------------------- the hub


def _hub_card(id: str) -> Card:
    """The card of a repository of the Hugging Face Hub: what its config.json says, where that is here already."""
    repository = id.removeprefix(HUB_PREFIX)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*", repository):
        raise UnknownName("model", id, [f"{HUB_PREFIX}OWNER/NAME"])
    folder = f"{HUB}/{repository}"
    path = next((path for root in settings.weights_folders() if (path := root / folder / CONFIG).is_file()), None)
    config = read_config(path) if path else {}
    cfg = config.get("pretrained_cfg", config)
    classes, recipe = (_hub_classes(config, cfg), _hub_recipe(config, cfg)) if config else ((), Recipe())
    address = f"https://huggingface.co/{repository}/resolve/main"
    return Card(
        id=id,
        title=id,
        family=_family_of(str(config.get("architecture", ""))),
        architecture=str(config.get("architecture", "")),
        supervision="supervised" if classes else "see its page",
        trained_on="see its page",
        paper="",
        licence=str(cfg.get("license") or "") if config else "",
        page=f"https://huggingface.co/{repository}",
        classes=classes,
        library=HUB,
        checkpoints=(
            Checkpoint(
                "main",
                (
                    File(f"{folder}/{CONFIG}", f"{address}/{CONFIG}", 0, hub=repository),
                    File(f"{folder}/{SAFETENSORS}", f"{address}/{SAFETENSORS}", 0, hub=repository),
                ),
                recipe,
            ),
        ),
    )


def read_config(path: Path) -> dict[str, Any]:
    """A repository's config.json. Raises BadCard where it does not describe a network of timm."""
    try:
        config = json.loads(read_regular(path, CONFIG_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadCard(f"{path} cannot be read as the description of a network.") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise BadCard(f"{path} does not describe a network of timm: it states no architecture.")
    if not isinstance(config.get("pretrained_cfg", {}), dict) or config.get("pretrained_cfg", {}).get("custom_load"):
        raise BadCard(f"{path} asks for a way of loading that is not used here.")
    return config


def _hub_classes(config: Mapping[str, Any], cfg: Mapping[str, Any]) -> str | tuple[str, ...]:
    count = config.get("num_classes", cfg.get("num_classes", 1000))
    names = config.get("label_names") or cfg.get("label_names") or config.get("labels") or cfg.get("labels")
    if not count:
        return ()
    if isinstance(names, list) and len(names) == count:
        described = config.get("label_descriptions") or cfg.get("label_descriptions")
        shown = described if isinstance(described, dict) else {}
        return tuple(str(shown.get(name, name)) for name in names)
    return IMAGENET if count == 1000 and not names else unnamed(int(count))


def _hub_recipe(config: Mapping[str, Any], cfg: Mapping[str, Any]) -> Recipe:
    try:
        usual = Recipe()
        size = cfg.get("input_size") or (3, 224, 224)
        arguments = config.get("model_args") or {}
        side = arguments.get("img_size") or size[-1]
        side = int(side[-1] if isinstance(side, list) else side)
        given: tuple[tuple[str, Any], ...] = (("mean", usual.mean), ("std", usual.std))
        mean, std = (tuple(map(float, cfg.get(key) or known)) for key, known in given)
        mode = cfg.get("crop_mode") or "center"
        interpolation = cfg.get("interpolation") or "bicubic"
        if mode not in ("center", "squash") or interpolation not in ("bilinear", "bicubic") or size[-1] != size[-2]:
            raise BadCard("The description of the network asks for a preparation of pictures that is not known here.")
        shorter = int(side / float(cfg.get("crop_pct") or 0.875))
        return Recipe(side, shorter, interpolation, mean, std, squash=mode == "squash")  # type: ignore[arg-type]
    except (TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise BadCard("The description of the network does not say how pictures are prepared.") from error


@cache
def _families() -> Mapping[str, str]:
    return {row.architecture: row.family for row in rows().values() if row.library == TIMM}


def _family_of(architecture: str) -> str:
    return _families().get(architecture.partition(".")[0], CUSTOM)
