"""Models of the user's own: `weights/NAME.toml` is a card, and `load_model("NAME")` loads it. README shows one.

Nothing here imports torch. What can be told without it is checked here: a broken card becomes a BadCard that says what
is wrong with it, and the others are listed all the same.
"""

import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai_core.core import settings
from xai_core.core.errors import BadCard, BadRequest, XaiError
from xai_core.core.files import read_regular
from xai_core.data.recipe import Recipe
from xai_core.models.card import CUSTOM, FAMILIES, TIMM, TORCHVISION, Card, Checkpoint, File
from xai_core.models.prompt_list import described
from xai_core.models.zoo import library

INTERPOLATIONS = ("bilinear", "bicubic")


def cards(known: Mapping[str, Card]) -> dict[str, Card | BadCard]:
    """The user's cards by their id, the name of their file, which must not be `known`; the first folder counts most."""
    paths = files()
    return {id: card_at(path, known, paths) for id, path in paths.items()}


def files() -> dict[str, Path]:
    """The files of the user's cards by the cards' ids."""
    return {path.stem: path for folder in reversed(settings.weights_folders()) for path in sorted(folder.glob("*.toml"))}


def card_at(path: Path, known: Mapping[str, Card], others: Mapping[str, Path] | None = None) -> Card | BadCard:
    """The card in a file, or what is wrong with it. `others` are the user's cards that it may have as its base."""
    try:
        if path.stem in known:
            raise _Problem("a model of this project already has this name")
        return _card(path, known, others or {})
    except _Problem as problem:
        return BadCard(f"The model card {path} cannot be used: {problem}.")


class _Problem(Exception):
    """What is wrong with a card, as the end of a sentence."""


def _card(path: Path, known: Mapping[str, Card], others: Mapping[str, Path]) -> Card:
    try:
        state = path.stat()
        given = _read(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise _Problem(f"it cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # tomllib.TOMLDecodeError and UnicodeDecodeError
        raise _Problem(f"it is not TOML ({error})") from error
    except RecursionError as error:
        raise _Problem("it is nested too deeply") from error
    _check(path, given)
    weights_file = _inside(path.parent, given["prompts"] if "prompts" in given else given["file"])
    megabytes = round(weights_file.stat().st_size / 1e6) if weights_file.is_file() else 0
    if "base" in given:
        return _probe(path, given, _base(given["base"], known, others), megabytes)
    plain = Recipe()
    size = given.get("input_size", plain.input_size)
    recipe = Recipe(
        input_size=size,
        shorter_side=given.get("shorter_side", max(size, round(size / 0.875))),
        interpolation=given.get("interpolation", plain.interpolation),
        mean=tuple(given["mean"]) if "mean" in given else plain.mean,
        std=tuple(given["std"]) if "std" in given else plain.std,
    )
    classes = _classes(path.parent, given.get("classes", []))
    file = File(given["file"], url="", megabytes=megabytes, names=given.get("names", {"": ""}))
    return Card(
        id=path.stem,
        title=f"{given['title']} ({path.stem})" if "title" in given else path.stem,  # none is there twice
        family=given.get("family", CUSTOM),
        architecture=given["architecture"],
        supervision=given.get("supervision", "your own"),
        trained_on=given.get("trained_on", f"{len(classes)} classes of your own" if classes else "pictures of your own"),
        paper="",
        licence=given.get("licence", ""),
        remark=given.get("remark", ""),
        arguments={"num_classes": len(classes)},
        classes=classes,
        checkpoints=(Checkpoint("own", (file,), recipe),),
    )


@functools.lru_cache(256)
def _read(path: Path, size: int, mtime_ns: int) -> dict[str, Any]:
    """The content of a card's file, parsed once for each size and time of change: a page asks for cards dozens of times."""
    return tomllib.loads(read_regular(path, CARD_BYTES).decode("utf-8"))


def _base(id: str, known: Mapping[str, Card], others: Mapping[str, Path]) -> Card:
    """The model whose features a card's head reads."""
    if id in known:
        return known[id]
    if library.is_name(id):
        try:
            return library.find(id)
        except XaiError as error:
            raise _Problem(f"its base '{id}' cannot be used ({str(error).rstrip('.')})") from error
    if id not in others:
        raise _Problem(
            f"its base '{id}' is not a model of this project ({', '.join(known)}) or a card in the weights folders"
        )
    base = card_at(others[id], known)
    if isinstance(base, BadCard):
        raise _Problem(f"its base '{id}' cannot be used, or is itself a head on the features of a card of your own")
    return base


def _probe(path: Path, given: Mapping[str, Any], base: Card, megabytes: int) -> Card:
    """A model with a linear head of one's own in place of its classifier: a probe, or its own head after an edit."""
    if base.base:
        raise _Problem(f"its base '{base.id}' is itself a head on the features of '{base.base}': state that one")
    texts = "prompts" in given
    if texts:
        if base.classes:
            raise _Problem(f"its base '{base.id}' has classes already, and is no image tower that shares a space with texts")
        classes: str | tuple[str, ...] = _names_of(_inside(path.parent, given["prompts"]))
    else:
        classes = _classes(path.parent, given["classes"]) if "classes" in given else base.classes
    if not classes:
        raise _Problem("it does not state its classes")
    checkpoints = [one for one in base.checkpoints if one.id == given.get("weights", one.id)]
    if not checkpoints:
        named = ", ".join(one.id for one in base.checkpoints)
        raise _Problem(f"its base has no weights '{given['weights']}'; it has {named}")
    head = File(given["prompts"] if texts else given["file"], url="", megabytes=megabytes)
    count = "1,000" if isinstance(classes, str) else f"{len(classes):,}"
    return replace(
        base,
        id=path.stem,
        title=given.get("title", f"{base.title}, {path.stem}"),
        supervision=given.get(
            "supervision",
            f"{base.supervision}, zero-shot"
            if texts
            else f"{base.supervision.removesuffix(' + linear probe')} + linear probe of your own",
        ),
        trained_on=given.get(
            "trained_on",
            f"{base.trained_on}; {count} classes in words"
            if texts
            else f"{base.trained_on}; the probe with {count} classes of your own",
        ),
        remark=given.get("remark", ""),
        licence=given.get("licence", base.licence),
        classes=classes,
        base=base.id,
        prompts=texts,
        checkpoints=tuple(replace(one, files=(*one.files, head)) for one in checkpoints),
    )


def _names_of(path: Path) -> tuple[str, ...]:
    try:
        return described(path).names
    except BadRequest as error:
        raise _Problem(str(error).rstrip(".")) from error


def _check(path: Path, given: Mapping[str, Any]) -> None:
    """Raises _Problem where the card lacks something, or says what nobody understands."""
    if not re.fullmatch(NAME, path.stem):
        raise _Problem("its name may only hold letters, digits, '.', '_' and '-'")
    needed = ("base", "prompts" if "prompts" in given else "file") if "base" in given else ("architecture", "file")
    if {"prompts", "file"} <= given.keys() or {"prompts", "classes"} <= given.keys():
        raise _Problem("its prompts are its classes: state no file and no classes beside them")
    missing = [key for key in needed if key not in given]
    if missing:
        raise _Problem(f"it does not state its {', '.join(missing)}")
    for key, value in given.items():
        if key not in KEYS:
            raise _Problem(f"'{key}' is not a key of a card; the keys are {', '.join(KEYS)}")
        fits, wanted = KEYS[key]
        if not fits(value):
            raise _Problem(f"{key} must be {wanted}")


NAME = "[A-Za-z0-9_.-]+"
CARD_BYTES = 2**20  # of a card, and of a list of classes


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _hub(value: str) -> bool:
    """Whether it names a network of the Hugging Face Hub, which timm fetches, and the owner of this machine allows that."""
    return bool(re.fullmatch(f"hf-hub:{NAME}/{NAME}", value)) and settings.HUB_CARDS.value()


def _side(value: Any) -> bool:
    return type(value) is int and 8 <= value <= 2048


def _three(low: float) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        return (
            isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) and low <= v <= 1e3 for v in value)
        )

    return fits


def _names(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(ours, str) for ours in value.values())


def _class_list(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and len(value) != 1 and all(map(_text, value)))


KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {  # key -> (whether a value fits, what it must be)
    "title": (_text, "text"),
    "base": (_text, "the id of a model whose features the head reads, for a linear probe or an edited head"),
    "family": (lambda value: value in FAMILIES, f"one of {', '.join(FAMILIES)}"),
    "architecture": (
        lambda value: _text(value) and bool(re.fullmatch(f"(({TIMM}|{TORCHVISION})/)?{NAME}", value) or _hub(value)),
        f"the name of a network of timm or torchvision ('resnet50', 'torchvision/densenet121'), or with "
        f"{settings.HUB_CARDS.name}=1 also 'hf-hub:OWNER/NAME'",
    ),
    "file": (_text, "the name of a file in the folder of the card"),
    "prompts": (_text, "the name of a file of texts in the folder of the card, as the command `prompts` writes it"),
    "classes": (_class_list, "a list of at least two names, or the name of a text file with one a line"),
    "input_size": (_side, "a number of pixels from 8 to 2048"),
    "shorter_side": (_side, "a number of pixels from 8 to 2048"),
    "interpolation": (lambda value: value in INTERPOLATIONS, f"one of {', '.join(INTERPOLATIONS)}"),
    "mean": (_three(-1e3), "three numbers, for red, green and blue"),
    "std": (_three(1e-6), "three numbers above 0, for red, green and blue"),
    "names": (_names, 'a table such as {"state_dict/module." = ""}'),
    "weights": (_text, "the id of the one checkpoint of its base that the head is for"),
    "supervision": (_text, "text"),
    "trained_on": (_text, "text"),
    "remark": (_text, "text"),
    "licence": (_text, "text"),
}


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder, which a card must not lead out of."""
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name no file can have
        raise _Problem(f"{name!r} is not a file name") from error
    if not inside:
        raise _Problem(f"'{name}' lies outside the folder {folder}")
    return path


def _classes(folder: Path, given: str | list[str]) -> tuple[str, ...]:
    if isinstance(given, list):
        return tuple(name.strip() for name in given)
    try:
        lines = read_regular(_inside(folder, given), CARD_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _Problem(f"its list of classes {given} cannot be read") from error
    return tuple(line.strip() for line in lines if line.strip())
