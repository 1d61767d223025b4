"""The pictures of a dataset by name and label, in little memory however many they are.

Names and labels are columns of Arrow; the object of a picture is made when it is asked for. A name is found by halving the
list of places in alphabetical order, so that no table of hashes is held.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest

CHUNK = 8_192  # pictures that are made at once
FEW = 2_000  # names up to which each is looked for alone


@dataclass(frozen=True, slots=True)
class Labelled:
    """One picture: its name in the dataset (class/file.jpg), unique there; its class, "" where none is given."""

    name: str
    label: str


class SampleList(Sequence[Labelled]):
    """Pictures in an order. `names` and `labels` are columns of as many texts; those of `labels` are a dictionary."""

    def __init__(self, names: pa.Array, labels: pa.Array) -> None:
        self.column, self._labels, self._next = names, labels, 0

    @classmethod
    def of(cls, samples: Iterable[Labelled]) -> "SampleList":
        """The same pictures in little memory. Raises BadRequest where a name or label is no text of Unicode."""
        if isinstance(samples, SampleList):
            return samples
        names, labels, samples = [], [], iter(samples)
        while some := [sample for _, sample in zip(range(CHUNK), samples, strict=False)]:
            names.append(_texts([sample.name for sample in some]))
            labels.append(_texts([sample.label for sample in some]))
        return cls.of_columns(pa.chunked_array(names, pa.large_string()), pa.chunked_array(labels, pa.large_string()))

    @classmethod
    def of_columns(cls, names: pa.ChunkedArray, labels: pa.ChunkedArray) -> "SampleList":
        """Pictures with these names and labels, columns of texts without a gap."""
        coded = labels.dictionary_encode().unify_dictionaries().combine_chunks()
        return cls(names.combine_chunks(), coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded)

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, index: int) -> Labelled: ...
    @overload
    def __getitem__(self, index: slice) -> "SampleList": ...
    def __getitem__(self, index: int | slice) -> "Labelled | SampleList":
        if isinstance(index, slice):
            places = np.arange(*index.indices(len(self)))
            return SampleList(self.column.take(pa.array(places)), self._labels.take(pa.array(places)))
        if not -len(self) <= index < len(self):
            raise IndexError(f"There are {len(self):,} pictures: none has the place {index:,}.")
        place = int(index) % len(self)
        return Labelled(self.column[place].as_py(), self._labels[place].as_py())

    def __iter__(self) -> Iterator[Labelled]:
        for start in range(0, len(self), CHUNK):
            names, labels = (column.slice(start, CHUNK).to_pylist() for column in (self.column, self._labels))
            yield from map(Labelled, names, labels)

    def __eq__(self, other: object) -> bool:
        """Equal to any sequence of the same pictures."""
        if isinstance(other, SampleList):
            return bool(self.column.equals(other.column)) and self.labels() == other.labels()
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(one == same for one, same in zip(self, other, strict=True))
        )

    def labels(self) -> list[str]:
        """The label of each picture; pictures of one class share one text."""
        known = self._labels.dictionary.to_pylist()
        return [known[code] for code in self._labels.indices.to_numpy()]

    def counts(self) -> dict[str, int]:
        """How many pictures have each label that occurs."""
        known = self._labels.dictionary.to_pylist()
        counts = np.bincount(self._labels.indices.to_numpy(), minlength=len(known)).tolist()
        return {label: count for label, count in zip(known, counts, strict=True) if count}

    @property
    def names(self) -> "NameSet":
        return NameSet(self)

    @cached_property
    def _order(self) -> NDArray[np.int32]:
        """The places in alphabetical order of the names."""
        order: NDArray[np.int32] = pc.sort_indices(self.column).to_numpy().astype(np.int32)
        return order

    def place(self, name: str) -> int | None:
        """The place of the picture of this name; None where there is none. Pictures are mostly asked for in their order,
        so that the one after the last is looked at first."""
        place = self._next
        if place >= len(self) or self.column[place].as_py() != name:
            order = self._order
            at = bisect_left(order, name, key=lambda place: self.column[int(place)].as_py())
            if at == len(order) or self.column[int(order[at])].as_py() != name:
                return None
            place = int(order[at])
        self._next = place + 1
        return place

    def places(self, names: Collection[str]) -> NDArray[np.int64]:
        """The places of the pictures of these names. Raises KeyError for a name that no picture has."""
        if len(names) <= FEW:
            known = np.array([-1 if (place := self.place(name)) is None else place for name in names], np.int64)
        else:
            asked = pa.array(list(names), pa.large_string())
            known = pc.index_in(asked, value_set=self.column).fill_null(-1).to_numpy(zero_copy_only=False)
        if (known < 0).any():
            raise KeyError(list(names)[int(np.flatnonzero(known < 0)[0])])
        return known.astype(np.int64)

    def twice(self) -> list[str]:
        """The names that more than one picture has, in the order of their first pictures."""
        ordered = self.column.take(pa.array(self._order))
        if not pc.any(pc.equal(ordered[1:], ordered[:-1])).as_py():
            return []
        return [name for name, count in Counter(sample.name for sample in self).items() if count > 1]

    def as_index(self) -> "pd.Index[str]":
        """The names as the index of a table, in the same memory."""
        index: pd.Index[str] = pd.Index(pd.array(self.column, dtype="str"))
        return index


class NameSet(Set[str]):
    """The names of pictures as a set."""

    def __init__(self, samples: SampleList) -> None:
        self._samples = samples

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._samples.place(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (sample.name for sample in self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    _from_iterable = frozenset  # what `&` and the like return


def _texts(values: list[str]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError as error:
        shown = str(error.object)[:100].encode("ascii", "backslashreplace").decode()
        raise BadRequest(f"The name {shown} is no text of Unicode: rename the file or folder.") from None
