"""Models that code of the user's own makes, by their ids.

There are two kinds. A function that the server's owner has named (`package.module:function`, in XAI_MODELS or by `--model`)
makes its model when this is first asked for; where it returns several, `package.module:function#name` is one of them. A
script that opens the dashboard on its own models (`give`) hands them over as they are. No other code is ever run: an id from
a page, a link or a file finds what is named or given here, or nothing.

A function runs in a thread of its own, so that nobody waits for one that takes long. What is known of its model afterwards
stands in its card. Imports no torch before a model is made.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from os import getcwd
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core.core import settings
from xai_core.core.errors import BadCard, BadRequest, XaiError
from xai_core.data.recipe import Recipe
from xai_core.models.card import CUSTOM, IMAGENET, Card, Checkpoint

if TYPE_CHECKING:
    from xai_core.models.explainable import ExplainableModel

OF_SEVERAL = "#"  # between a function and the name of one of the models that it returns
GIVEN_NAME = re.compile(r"[^\W_][\w .()-]{0,79}")  # of a model that a script gives: it stands in links and in lists
YOURS = "your own"


@dataclass(frozen=True)
class _Made:
    """What is known of a model that was made: the names of its classes, how it sees pictures, its weights, and the names of
    all models of its function where this returns several."""

    classes: str | tuple[str, ...]
    recipe: Recipe
    fingerprint: str
    siblings: tuple[str, ...] = ()


@dataclass
class _Making:
    """A function that runs: what it will return, and when it began."""

    found: Future[ExplainableModel]
    began: float


_lock = threading.Lock()
_given: dict[str, ExplainableModel] = {}
_made: dict[str, _Made] = {}
_making: dict[str, _Making] = {}
_problems: dict[str, str] = {}


def give(models: Mapping[str, ExplainableModel]) -> None:
    """Put models under these names, for this process; one of the same name is replaced. Raises BadRequest."""
    check_names(models)
    titled = {name: _titled(model, name) for name, model in models.items()}
    with _lock:
        _given.update(titled)
        _made.update({name: _known(model, ()) for name, model in titled.items()})


def check_names(names: Iterable[str]) -> None:
    """Raises BadRequest where a model cannot be given under one of these names."""
    for name in names:
        if not GIVEN_NAME.fullmatch(name):
            raise BadRequest(
                f"The name '{name[:80]}' of a model must begin with a letter or a digit, and hold only letters, digits, "
                "blanks and . _ - ( ), up to 80."
            )


def withdraw(names: tuple[str, ...]) -> None:
    """Remove models that `give` has put there; names that are not there are left out."""
    with _lock:
        for name in names:
            _given.pop(name, None)
            _made.pop(name, None)


def given() -> dict[str, Card]:
    """The cards of the models that a script has given."""
    with _lock:
        names = list(_given)
    return {name: _card(name) for name in names}


def named() -> dict[str, Card]:
    """The cards of the functions that the owner has named, and of the further models of those that return several."""
    cards = {}
    for function in settings.MODELS.value():
        made = _made.get(function)
        several = made.siblings[1:] if made else ()
        for id in (function, *(f"{function}{OF_SEVERAL}{name}" for name in several)):
            cards[id] = _card(id)
    return cards


def find(id: str) -> Card | None:
    """The card of a given model, or of one that a named function makes; None where nothing of this name is here."""
    with _lock:
        is_given = id in _given
    return _card(id) if is_given or id.partition(OF_SEVERAL)[0] in settings.MODELS.value() else None


def is_own(id: str) -> bool:
    """Whether code of the user's own makes the model of that id."""
    return find(id) is not None


def is_unmade(id: str) -> bool:
    """Whether it is not known yet which classes the model of such an id has."""
    return id not in _made and is_own(id)


def state(id: str) -> str:
    """The fingerprint of the model of such an id when it was last made; empty before."""
    made = _made.get(id)
    return made.fingerprint if made else ""


def problems() -> dict[str, str]:
    """What went wrong when a function was last asked for its model, by the function."""
    known = settings.MODELS.value()
    return {id: problem for id, problem in _problems.items() if id.partition(OF_SEVERAL)[0] in known}


def ready(id: str, seconds: float) -> None:
    """Wait until the model can be taken by `take`. Raises BadCard where it is not made within so many seconds (its function
    goes on: ask again later), or with what is wrong."""
    if id in _given:
        return
    making = _started(id)
    try:
        making.found.result(seconds)
    except TimeoutError:
        passed = time.monotonic() - making.began
        raise BadCard(
            f"The function {id} is still making its model, for {passed:,.0f} s so far. Other models can be used meanwhile; "
            "try this one again later."
        ) from None
    except XaiError:
        _forget(id, making)
        raise


def take(id: str) -> ExplainableModel:
    """The model of such an id, made now where it is not. The function is called again when it is next asked for, so that a
    model stays in memory no longer than its holder wants. Raises BadCard."""
    with _lock:
        if id in _given:
            return _given[id]
    making = _started(id)
    try:
        return making.found.result()
    finally:
        _forget(id, making)


def _started(id: str) -> _Making:
    with _lock:
        making = _making.get(id)
        if making is None:
            making = _making[id] = _Making(Future(), time.monotonic())
            threading.Thread(target=_run, args=(id, making.found), name=f"making {id}", daemon=True).start()
        return making


def _forget(id: str, making: _Making) -> None:
    with _lock:
        if _making.get(id) is making:
            del _making[id]


def _run(id: str, found: Future[ExplainableModel]) -> None:
    try:
        model, siblings = _call(id)
        with _lock:
            _made[id] = _known(model, siblings)
            _problems.pop(id, None)
        found.set_result(model)
    except BaseException as error:
        problem = error if isinstance(error, BadCard) else BadCard(f"The model {id} cannot be used: {_words(error)}")
        with _lock:
            _problems[id] = str(problem)
        found.set_exception(problem)


def _call(id: str) -> tuple[ExplainableModel, tuple[str, ...]]:
    """(the model of that id, the names of all that its function returns)."""
    name, _, part = id.partition(OF_SEVERAL)
    function = _function(name)
    try:
        made = function() if callable(function) else function
    except BaseException as error:  # also one that leaves the process: it is a script
        raise BadCard(f"The function {name} raised {_words(error)}") from error
    if not isinstance(made, Mapping):
        if part:
            raise BadCard(f"The function {name} returns one model, and none that is called '{part}'.")
        return _as_model(made, id), ()
    siblings = tuple(map(str, made))
    if not siblings:
        raise BadCard(f"The function {name} returned an empty dict: it must hold models by their names.")
    if part and part not in siblings:
        raise BadCard(f"The function {name} returns no model '{part}'; it returns {', '.join(siblings)}.")
    one = next(model for key, model in made.items() if str(key) == (part or siblings[0]))
    return _as_model(one, f"{name}{OF_SEVERAL}{part or siblings[0]}", id), siblings


def _function(name: str) -> Any:
    """What `package.module:function` names. The folder in which the program was started is looked into first."""
    place, _, path = name.partition(":")
    if getcwd() not in sys.path:
        sys.path.insert(0, getcwd())
    try:
        importlib.invalidate_caches()
        found: Any = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and f"{place}.".startswith(f"{error.name}."):
            raise BadCard(
                f"There is no module {error.name} to make the model {name}: start the program in the folder that holds it, "
                "or install it."
            ) from error
        raise BadCard(f"The model {name} cannot be made: importing {place} raised {_words(error)}") from error
    except BaseException as error:
        raise BadCard(f"The model {name} cannot be made: importing {place} raised {_words(error)}") from error
    for part in path.split("."):
        known = found
        found = getattr(known, part, None)
        if found is None:
            own = [one for one, it in vars(known).items() if inspect.isfunction(it) and it.__module__ == place]
            listed = f"; its functions are {', '.join(own[:20])}" if own else ""
            raise BadCard(f"The module {place} has no function '{part}' to make the model {name}{listed}.")
    return _callable_maker(found)


def _callable_maker(found: Any) -> Any:
    """A function to be called; a network or a dict of some is taken as it is, though torch's modules can be called."""
    from torch import nn

    return (lambda: found) if isinstance(found, nn.Module) else found


def _as_model(made: Any, name: str, id: str | None = None) -> ExplainableModel:
    from torch import nn

    from xai_core.models.explainable import ExplainableModel

    if not isinstance(made, ExplainableModel | nn.Module):
        what = "nothing (None)" if made is None else f"an object of type {type(made).__name__}"
        raise BadCard(f"{name} gave {what}: it must return a torch module, an ExplainableModel, or a dict of these by name.")
    try:
        return _titled(made if isinstance(made, ExplainableModel) else ExplainableModel.from_module(made), name, id)
    except XaiError as error:
        raise BadCard(f"The network of {name} cannot be used: {error}") from error


def _titled(model: ExplainableModel, title: str, id: str | None = None) -> ExplainableModel:
    """The model under its name; classes that have no names get their numbers. Raises BadRequest for unusable answers."""
    from xai_core.models import any_network

    count = any_network.check_stages(model.network, model.recipe.input_size, model.device)
    names = model.class_names or tuple(f"class {number}" for number in range(count))
    if len(names) != count:
        raise BadRequest(f"The network has {count:,} classes, but {len(names):,} class names are given.")
    return replace(model, id=id or title, title=title, class_names=names)


def _known(model: ExplainableModel, siblings: tuple[str, ...]) -> _Made:
    classes = IMAGENET if model.wnids else model.class_names
    return _Made(classes, model.recipe, model.fingerprint, siblings)


def _card(id: str) -> Card:
    made = _made.get(id)
    count = "1,000" if made and made.classes == IMAGENET else f"{len(made.classes):,}" if made else ""
    classes = f"{count} classes" if made and made.classes else "pictures for similarity" if made else "classes of your own"
    several = f" Its function returns {', '.join(made.siblings)}." if made and made.siblings else ""
    maker = "given by the script" if id in _given else f"made by the function {id.partition(OF_SEVERAL)[0]}"
    return Card(
        id=id,
        title=id,
        family=CUSTOM,
        architecture=maker,
        supervision=YOURS,
        trained_on=classes,
        paper="",
        licence=YOURS,
        remark=f"It was {maker}.{several}",
        checkpoints=(Checkpoint("own", (), made.recipe if made else Recipe()),),
        classes=made.classes if made else (),
    )


def _words(error: BaseException) -> str:
    """An error as the end of a sentence: its kind, what it says, and the line of the user's code where it came up."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    said = " ".join(str(error).split())[:500].rstrip(".")
    return f"{type(error).__name__}{f': {said}' if said else ''}{place}."


def _is_users(file: str) -> bool:
    package = str(Path(__file__).parents[2])
    return not (file.startswith((package, "<")) or "site-packages" in file or file.startswith(sys.base_prefix))
