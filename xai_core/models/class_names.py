"""The names of a model's classes, and how a class is found by what somebody calls it. Needs no network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from xai_core.core.errors import BadRequest, UnknownName


@dataclass(frozen=True)
class ClassNames:
    """`class_names` by index; `wnids` are their WordNet ids, empty for classes that are not ImageNet's."""

    class_names: Sequence[str]
    wnids: Sequence[str] = ()

    def class_name(self, index: int) -> str:
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    def class_index(self, given: int | str) -> int:
        """A class by its index, its name, one of the synonyms in its name ('tabby'), or its WordNet id.

        A string that is a class's name means that class, also where the name is a number; a number is an index where it is
        an int, or a string that names no class. Raises UnknownName, BadRequest where a name fits several classes (it lists
        them) or an index none.
        """
        if not isinstance(given, str):
            return self._existing(given)
        indices, wanted = self.classes_called(given), given.strip().lower()
        if not indices and wanted in self.wnids:
            return self.wnids.index(wanted)
        if not indices and re.fullmatch("-?[0-9]+", wanted):
            return self._existing(int(wanted))
        if len(indices) > 1:
            listed = ", ".join(f"{index} ({self.class_names[index]})" for index in indices)
            raise BadRequest(f"'{given}' fits several classes; choose one by its index: {listed}.")
        if not indices:
            raise UnknownName("class", given, self._by_name)
        return indices[0]

    def _existing(self, index: int) -> int:
        if self.class_names and not 0 <= index < len(self.class_names):
            raise BadRequest(f"There is no class {index}; this model's classes are 0 to {len(self.class_names) - 1}.")
        return index

    def classes_called(self, name: str) -> list[int]:
        """The classes of exactly this name; else those that have it as a name or a synonym, whatever its case; else none."""
        return self._by_exact_name.get(name) or self._by_name.get(name.strip().lower(), [])

    @cached_property
    def _by_exact_name(self) -> dict[str, list[int]]:
        by_name: dict[str, list[int]] = {}
        for index, name in enumerate(self.class_names):
            by_name.setdefault(name, []).append(index)
        return by_name

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        by_name: dict[str, list[int]] = {}
        for index, name in enumerate(self.class_names):
            plain = re.sub(r" \(.*\)$", "", name)  # 'crane (bird)' is also called crane
            for spoken in {name.lower(), *(part.strip().lower() for part in plain.split(","))}:
                by_name.setdefault(spoken, []).append(index)
        return by_name
