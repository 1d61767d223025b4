"""Options of methods and metrics, declared once: the keyword-only parameters whose annotation is `Annotated`.

    def occlusion(question, images, *, window: Annotated[int, Range(8, 112), "side in pixels"] = 64): ...

The pages build their controls from this, the command line its `--option`, and `check_options` its messages.
A parameter without `Annotated` (`track`, `seed`, `noise`) is no option: only callers from Python pass it.
"""

import inspect
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from xai_core.core.errors import BadRequest, UnknownName


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number, and the step of its slider."""

    low: float
    high: float
    step: float | None = None


@dataclass(frozen=True)
class Choice:
    """The values a text option may take."""

    values: tuple[str, ...]


class AddedLater:
    """Marks an option that a method got after results of it had been stored: at its default it is left out of the checked
    options, so that those results keep their keys."""


ADDED_LATER = AddedLater()


@dataclass(frozen=True)
class Option:
    """One option: its name, type, default, bounds and one line of help."""

    name: str
    kind: type
    default: Any
    bounds: Range | Choice | None
    help: str
    added_later: bool = False

    def check(self, given: Any) -> Any:
        """The value in this option's type; text from a command line or a link is converted. Raises BadRequest for a value of
        another type or outside the bounds."""
        try:
            value = _BOOLEANS[str(given).lower()] if self.kind is bool else self.kind(given)
            if self.kind is int and isinstance(given, float) and value != given:
                raise ValueError("int() would cut off the fraction")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadRequest(f"Option {self.name} takes {self._wanted()}, not {reprlib.repr(given)}.") from error
        if not self._inside(value):
            raise BadRequest(f"Option {self.name} takes {self._wanted()}, not {reprlib.repr(given)}.")
        return value

    def _inside(self, value: Any) -> bool:
        if isinstance(self.bounds, Range):
            return bool(self.bounds.low <= value <= self.bounds.high)  # false for NaN
        return self.bounds is None or value in self.bounds.values

    def described(self) -> dict[str, Any]:
        """The option as JSON takes it."""
        bounds = vars(self.bounds) if self.bounds else {}
        return {"name": self.name, "type": self.kind.__name__, "default": self.default, "help": self.help, **bounds}

    def _wanted(self) -> str:
        if isinstance(self.bounds, Choice):
            return "one of " + ", ".join(self.bounds.values)
        kind = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.kind]
        return f"{kind} from {self.bounds.low:g} to {self.bounds.high:g}" if self.bounds else kind


_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@cache
def options_of(function: Callable[..., Any]) -> tuple[Option, ...]:
    """The options that a function declares, in the order of its signature."""
    hints = get_type_hints(function, include_extras=True)
    options = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or not hasattr(hints.get(name), "__metadata__"):
            continue
        kind, *notes = get_args(hints[name])
        bounds = next((note for note in notes if isinstance(note, Range | Choice)), None)
        help_text = next((note for note in notes if isinstance(note, str)), "")
        added_later = any(note is ADDED_LATER for note in notes)
        options.append(Option(name, kind, parameter.default, bounds, help_text, added_later))
    return tuple(options)


def check_options(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of the function with its checked value, defaults filled in (but for those of `AddedLater`).

    Raises UnknownName for an option that the function does not have, BadRequest for a value it does not take.
    """
    declared = {option.name: option for option in options_of(function)}
    for name in given:
        if name not in declared:
            raise UnknownName("option", name, declared or ["(this method has none)"])
    checked = {name: option.check(given.get(name, option.default)) for name, option in declared.items()}
    unsaid = {name for name, option in declared.items() if option.added_later and checked[name] == option.default}
    return {name: value for name, value in checked.items() if name not in unsaid}
