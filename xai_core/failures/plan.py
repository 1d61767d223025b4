"""What to do about a model's errors: a plan of actions, each with its pictures and with what was measured, and its files."""

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import pandas as pd

from xai_core.core import document
from xai_core.core.document import Block, Figure, FigureRow, Heading, Paragraph, TermList
from xai_core.core.errors import BadRequest
from xai_core.core.files import parse_json
from xai_core.core.spreadsheet import csv_bytes
from xai_core.core.version import __version__

ActionKind = Literal["relabel", "collect", "augment", "edit the head", "abstain"]
FORMAT, VERSION = "xai_core plan", 1
LARGEST_FILE = 50 * 2**20  # bytes of a plan as JSON
MOST_ACTIONS, LONGEST_TEXT, LONGEST_NAME = 500, 20_000, 4096  # of a plan that is read; characters of a text, of a path
LISTED = 20  # pictures of an action that a document names; its CSV names all
SHOWN = 8  # pictures of an action that a document shows


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
    about      what tells it from the other actions of its step and kind: the name of its group, for example. It holds no
               figures: an action is known again by it when its figures have changed. "" where there is one such action
    step       the step that found it; "" outside a plan
    """

    kind: ActionKind
    title: str
    reason: str
    estimate: str
    paths: tuple[str, ...]
    columns: Mapping[str, tuple[str | float, ...]] = field(default_factory=dict)
    settings: Mapping[str, str | float] = field(default_factory=dict)
    about: str = ""
    step: str = ""

    @property
    def table(self) -> pd.DataFrame:
        """The list of its pictures: `path`, and the further columns."""
        return pd.DataFrame({"path": self.paths, **self.columns})

    def among(self, known: Collection[str]) -> "PlannedAction":
        """The action with those of its pictures alone that are `known`."""
        places = [place for place, path in enumerate(self.paths) if path in known]
        columns = {name: tuple(values[place] for place in places) for name, values in self.columns.items()}
        return replace(self, paths=tuple(self.paths[place] for place in places), columns=columns)

    @property
    def heading(self) -> str:
        """Its kind and title in one line."""
        return f"{self.kind.capitalize()}: {self.title}"


def identities(actions: Sequence[PlannedAction]) -> list[str]:
    """A name for each action of one step, by which it is known again when its figures have changed."""
    seen: Counter[str] = Counter()
    names = []
    for action in actions:
        name = f"{action.kind}: {action.about}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


@dataclass(frozen=True)
class Plan:
    """The actions for one model on one dataset.

    dataset, dataset_digest    its title, and the digest of its files and labels
    model, fingerprint         its title, and the digest of its weights
    actions                    in the order of the steps that found them
    settings                   what holds for all actions
    not_looked_at              the steps that were not taken, so that nothing here is of them
    """

    title: str
    dataset: str
    dataset_digest: str
    model: str
    fingerprint: str
    actions: tuple[PlannedAction, ...]
    settings: Mapping[str, str | float] = field(default_factory=dict)
    not_looked_at: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The pictures of all actions, each once, in the order of the actions."""
        return tuple(dict.fromkeys(path for action in self.actions for path in action.paths))

    def differs_from(self, dataset: str, digest: str, model: str, fingerprint: str) -> str:
        """What tells this plan from one of this dataset and model, in a sentence; "" where it is of the same pictures,
        labels and weights."""
        parts = []
        if self.dataset_digest != digest:
            parts.append(f"for {self.dataset} (digest {self.dataset_digest[:16]}), not for {dataset} ({digest[:16]})")
        if self.fingerprint != fingerprint:
            parts.append(f"for {self.model} (weights {self.fingerprint}), not for {model} ({fingerprint})")
        return f"This plan was made {', and '.join(parts)}." if parts else ""

    def blocks(self, figures: Mapping[str, Figure] | None = None, *, level: int = 1) -> list[Block]:
        """The document. `figures` are pictures by their names in the dataset; the first SHOWN of each action are shown.
        `level` is that of its title."""
        terms = [
            ("Model", f"{self.model}, weights {self.fingerprint}"),
            ("Dataset", f"{self.dataset}, digest {self.dataset_digest[:16]}"),
            *_terms(self.settings),
            ("Written by", f"xai_core {__version__}"),
        ]
        parts: list[Block] = [Heading(level, self.title), TermList(terms)]
        if self.not_looked_at:
            parts.append(Paragraph(f"Steps that were not taken: {', '.join(self.not_looked_at)}."))
        if not self.actions:
            parts.append(Paragraph("There are no actions in this plan."))
        for number, action in enumerate(self.actions, 1):
            parts += _action_blocks(number, action, figures or {}, level + 1)
        return parts

    def to_html(self, figures: Mapping[str, Figure] | None = None) -> bytes:
        """One file that opens offline."""
        return document.to_html(self.blocks(figures))

    def to_markdown(self, *, level: int = 1) -> str:
        """Markdown, whose title is a heading of this level."""
        return document.to_markdown(self.blocks(level=level))

    def to_pdf(self, figures: Mapping[str, Figure] | None = None) -> bytes:
        return document.to_pdf(self.blocks(figures))

    def to_zip(self, figures: Mapping[str, Figure] | None = None) -> bytes:
        """plan.html, plan.md, plan.json, and actions/NUMBER.csv with the pictures of each action."""
        files = {"plan.html": self.to_html(figures), "plan.md": self.to_markdown().encode(), "plan.json": self.to_json()}
        files |= {f"actions/{number}.csv": csv_bytes(action.table) for number, action in enumerate(self.actions, 1)}
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # no time: equal plans, equal files
        return file.getvalue()

    def to_json(self) -> bytes:
        """The plan, for `from_json`."""
        file = {"format": FORMAT, "version": VERSION, "program": __version__, **asdict(self)}
        return json.dumps(file, ensure_ascii=False, indent=1, default=_plain).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> "Plan":
        """The plan that `to_json` wrote. Raises BadRequest for anything else, with what is wrong."""
        if len(content) > LARGEST_FILE:
            raise BadRequest(f"The file is larger than the {LARGEST_FILE // 2**20} MB that a plan may have.")
        try:
            file = parse_json(content)
        except ValueError as error:
            raise BadRequest(f"This is not a plan: {error}.") from error
        if not isinstance(file, dict) or file.get("format") != FORMAT:
            raise BadRequest("This is not a plan: the file does not say that it is one.")
        if file.get("version") != VERSION:
            raise BadRequest(f"This plan has version {file.get('version')}; this program reads version {VERSION}.")
        names = ("title", "dataset", "dataset_digest", "model", "fingerprint")
        title, dataset, digest, model, fingerprint = (_text(file, name, "The plan") for name in names)
        if not isinstance(file.get("actions"), list):
            raise BadRequest("The plan has no list of actions.")
        if len(file["actions"]) > MOST_ACTIONS:
            raise BadRequest(f"The plan has {len(file['actions']):,} actions; up to {MOST_ACTIONS} are read.")
        actions = tuple(_read_action(number, action) for number, action in enumerate(file["actions"], 1))
        settings = _values(file.get("settings"), "The plan")
        missing = tuple(_texts(file.get("not_looked_at"), "not_looked_at", "The plan"))
        return cls(title, dataset, digest, model, fingerprint, actions, settings, missing)


def _action_blocks(number: int, action: PlannedAction, figures: Mapping[str, Figure], level: int) -> list[Block]:
    parts: list[Block] = [Heading(level, f"{number}. {action.heading}"), Paragraph(action.reason)]
    parts.append(Paragraph(f"Estimate: {action.estimate or 'not measured.'}"))
    if action.settings:
        parts.append(TermList(_terms(action.settings)))
    if action.paths:
        more = f", and {len(action.paths) - LISTED:,} more" if len(action.paths) > LISTED else ""
        parts.append(
            Paragraph(f"Pictures ({len(action.paths):,}; actions/{number}.csv): {', '.join(action.paths[:LISTED])}{more}")
        )
    shown = [figures[path] for path in action.paths[:SHOWN] if path in figures]
    return [*parts, FigureRow(shown)] if shown else parts


def _terms(settings: Mapping[str, str | float]) -> list[tuple[str, str]]:
    return [
        (name[:1].upper() + name[1:], f"{value:g}" if isinstance(value, float) else str(value))
        for name, value in settings.items()
    ]


def _plain(value: Any) -> Any:
    """A number of numpy as Python's."""
    return value.item()


# --- reading ---------------------------------------------------------------------------------------------------------


def _read_action(number: int, row: Any) -> PlannedAction:
    of = f"Action {number} of the plan"
    if not isinstance(row, dict):
        raise BadRequest(f"{of} is not an object.")
    kind: Any = row.get("kind")
    if kind not in get_args(ActionKind):
        raise BadRequest(f"{of} has no known kind; known are {', '.join(get_args(ActionKind))}.")
    title, reason, estimate, about = (_text(row, name, of) for name in ("title", "reason", "estimate", "about"))
    paths = tuple(_texts(row.get("paths"), "paths", of))
    outside = next((path for path in paths if not _is_inside(path)), None)
    if outside is not None:
        raise BadRequest(f"{of}: {outside[:80]!r} is no name of a picture inside a dataset.")
    if len(set(paths)) < len(paths):
        raise BadRequest(f"{of} names a picture twice.")
    if not isinstance(row.get("columns"), dict):
        raise BadRequest(f"{of} has no columns.")
    columns = {}
    for name, values in row["columns"].items():
        if not isinstance(values, list) or len(values) != len(paths) or not all(map(_is_value, values)):
            raise BadRequest(f"{of}: the column {name!r} needs a text or a number for each of {len(paths):,} pictures.")
        columns[name] = tuple(values)
    settings, step = _values(row.get("settings"), of), _text({"step": "", **row}, "step", of)
    return PlannedAction(kind, title, reason, estimate, paths, columns, settings, about, step)


def _text(row: Mapping[str, Any], name: str, of: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise BadRequest(f"{of} has no {name} in words, of up to {LONGEST_TEXT:,} characters.")
    return value


def _is_inside(path: str) -> bool:
    """Whether a path leads to no place outside the folder that it begins at."""
    parts = re.split(r"[/\\]", path)
    return 0 < len(path) <= LONGEST_NAME and bool(parts[0]) and ".." not in parts and not re.match("[A-Za-z]:", path)


def _texts(values: Any, name: str, of: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadRequest(f"{of}: {name} is not a list of texts.")
    return values


def _values(values: Any, of: str) -> dict[str, str | float]:
    if not isinstance(values, dict) or not all(map(_is_value, values.values())):
        raise BadRequest(f"{of}: settings are not texts and numbers with names.")
    return values


def _is_value(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
