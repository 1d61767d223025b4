"""Which class of a model each label of a dataset means, and what did not match."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xai_core.core.errors import BadRequest
from xai_core.core.files import parse_json, read_regular

MAPPING_BYTES = 16 * 2**20
SHOWN = 20  # labels that a report names one by one
WNID = re.compile(r"n\d{8}(?=$|[^0-9a-zA-Z])")


class Classes(Protocol):
    """The names of a model's classes, as `ExplainableModel` gives them."""

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def wnids(self) -> Sequence[str]: ...

    def class_index(self, wanted: int | str) -> int: ...

    def class_name(self, index: int) -> str: ...

    def classes_called(self, name: str) -> list[int]: ...


@dataclass(frozen=True)
class Matching:
    """index   by each label that matched, the model's class
    how        by each of these labels, how it matched: "name", "wnid" or "mapping"
    unmatched  the other labels, each with the reason
    unused     how many of the model's classes no label matched
    """

    index: Mapping[str, int]
    how: Mapping[str, str]
    unmatched: Mapping[str, str]
    unused: int

    def report(self, counts: Mapping[str, int] | None = None) -> str:
        """What matched and what did not, in sentences; with `counts`, how many pictures each unmatched label has."""
        ways = [f"{sum(one == way for one in self.how.values())} by {way}" for way in ("mapping", "wnid", "name")]
        ways = [one for one in ways if not one.startswith("0 ")]
        total = len(self.index) + len(self.unmatched)
        said = [
            f"{len(self.index)} of {total} labels are classes of the model" + (f" ({', '.join(ways)})." if ways else ".")
        ]
        for label, reason in list(self.unmatched.items())[:SHOWN]:
            many = f" ({counts[label]:,} pictures)" if counts and label in counts else ""
            said.append(f"'{label}'{many}: {reason}")
        if len(self.unmatched) > SHOWN:
            said.append(f"And {len(self.unmatched) - SHOWN} more labels that did not match.")
        shared = [label for label, index in self.index.items() if list(self.index.values()).count(index) > 1]
        if shared:
            said.append(f"Several labels mean one class: {', '.join(shared[:8])}.")
        if self.unused and self.index:
            said.append(f"{self.unused} classes of the model have no label here.")
        return "\n".join(said)


def first_name(name: str) -> str:
    """The first of a class's names: ImageNet's classes have several, separated by commas."""
    return name.split(",")[0]


def match_classes(labels: Sequence[str], model: Classes, mapping: Mapping[str, str | int] | None = None) -> Matching:
    """Each label by the mapping, else by the exact name of a class, else by a WordNet id that it begins with, else by a name
    or synonym of a class.

    Case does not count, and '_' and '-' count as spaces. A label that is a number matches only a class of that name; the
    mapping, {label: name, WordNet id or index}, can say which class it means. Raises UnknownName where the mapping
    names no class, BadRequest where it names no label.
    """
    mapping = {str(label): wanted for label, wanted in (mapping or {}).items()}
    strange = sorted(set(mapping) - set(labels))
    if strange:
        raise BadRequest(f"The mapping names labels that are not in the dataset: {', '.join(strange[:5])}.")
    index: dict[str, int] = {}
    how: dict[str, str] = {}
    unmatched: dict[str, str] = {}
    for label in sorted(set(labels) - {""}):
        if label in mapping:
            index[label], how[label] = model.class_index(mapping[label]), "mapping"
        elif label not in model.class_names and (wnid := WNID.match(label)) and wnid[0] in model.wnids:
            index[label], how[label] = model.wnids.index(wnid[0]), "wnid"
        elif len(classes := _called(label, model)) == 1:
            index[label], how[label] = classes[0], "name"
        elif classes:
            listed = ", ".join(f"{one} ({model.class_name(one)})" for one in classes[:5])
            unmatched[label] = f"fits several classes; a mapping can say which one it means: {listed}."
        else:
            unmatched[label] = "no class of the model has this name; a mapping can say which one it means."
    return Matching(index, how, unmatched, len(model.class_names) - len(set(index.values())))


def _called(label: str, model: Classes) -> list[int]:
    """The classes of this name, or else of this name with spaces for '_' and '-'."""
    return model.classes_called(label) or model.classes_called(re.sub(r"[\s_-]+", " ", label))


def read_mapping(path: Path) -> dict[str, str | int]:
    """{label: class} from a JSON object, where a number is an index, or from a CSV with a label and a class in each line.
    Raises BadRequest."""
    import csv

    try:
        text = read_regular(path, MAPPING_BYTES).decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            mapping = parse_json(text)
            if not isinstance(mapping, dict):
                raise ValueError("it is not an object")
            return {str(label): wanted if type(wanted) is int else str(wanted) for label, wanted in mapping.items()}
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if rows and [cell.strip().lower() for cell in rows[0]] == ["label", "class"]:
            rows = rows[1:]
        return {label.strip(): wanted.strip() for label, wanted in rows}
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} is no mapping: give lines 'label,class', or a JSON object ({error}).") from None
