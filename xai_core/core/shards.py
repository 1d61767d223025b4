"""Shards: shares of a dataset's pictures, so that n processes do one work, and what is checked before they are joined.

    OUT.shards/2-of-4            what the second of four processes writes: a folder, or a file .parquet of predictions

Nobody writes into another one's shard. A picture's shard follows from its name in the dataset by jump consistent hashing
(Lamping & Veach 2014, arXiv:1406.2294): from n shards to n + 1, one picture in n + 1 moves, to the new shard; pictures that
are added or removed move no other. Its content would be as good a key, but each of n processes would have to read all
pictures to find its own.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xai_core.core.errors import BadRequest

MOST = 10_000  # shards of one work
ENDING = ".shards"  # of the folder beside what the shards make together
_NAME = re.compile(r"(\d+)-of-(\d+)(\.parquet)?")
_UNFINISHED = re.compile(r"\.(\d+-of-\d+\.parquet)\.parts")  # parts of predictions whose file is not there yet


@dataclass(frozen=True)
class Shard:
    """Share `number`, from 1, of `count`. Raises BadRequest where there is no such share."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise BadRequest(f"There are 1 to {MOST:,} shards, not {self.count:,}.")
        if not 1 <= self.number <= self.count:
            raise BadRequest(f"Shards are numbered from 1 to {self.count}: there is no shard {self.number}.")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, name: str) -> bool:
        """Whether the picture of this name belongs to it."""
        return bucket(name, self.count) == self.number - 1

    def place(self, out: Path, suffix: str = "") -> Path:
        """Where the shard of what is written to `out` lies: `suffix` is that of a file, or "" for a folder."""
        return folder_of(out) / f"{self.number}-of-{self.count}{suffix}"


def parse(text: str) -> Shard:
    """'2/4' as a shard. Raises BadRequest."""
    told = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
    if not told:
        raise BadRequest(f"A shard is given as i/n, such as 2/4, not '{text[:40]}'.")
    return Shard(int(told[1]), int(told[2]))


def bucket(name: str, count: int) -> int:
    """Which of `count` buckets, from 0, a name falls into: jump consistent hash of the first 64 bits of its SHA-256."""
    key, found, after = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"), 0, 0
    while after < count:
        found = after
        key = (key * 2862933555777941757 + 1) % 2**64
        after = int((found + 1) * (2**31 / ((key >> 33) + 1)))
    return found


def folder_of(out: Path) -> Path:
    """The folder of the shards of what is written to `out`."""
    return out.with_name(f"{out.name}{ENDING}")


def find(out: Path) -> list[Path]:
    """The shards of `out` by their numbers, also predictions that are unfinished. Raises BadRequest where there are none."""
    folder, found = folder_of(out), {}
    for path in folder.iterdir() if folder.is_dir() else ():
        unfinished = _UNFINISHED.fullmatch(path.name)
        told = _NAME.fullmatch(unfinished[1] if unfinished else path.name)
        if told and (path.is_file() or _is_begun(path)):
            found[int(told[2]), int(told[1]), bool(unfinished)] = path
    if not found:
        raise BadRequest(
            f"There are no shards in {folder}: give the --out of the commands that had --shard, or name the shards."
        )
    done = {(count, number) for count, number, unfinished in found if not unfinished}
    return [found[key] for key in sorted(found) if not (key[2] and key[:2] in done)]


def _is_begun(folder: Path) -> bool:
    """Whether a shard's folder holds more than its writer had made before it was killed at once."""
    return any(path.name != "lock" and not path.name.startswith(".manifest.json.") for path in folder.iterdir())


@dataclass(frozen=True)
class StoredShard:
    """What one process has written, for the checks of `joined`.

    settings    what must be the same in all shards, by words for it
    rows        a text that tells its rows from others
    unfinished  how far it is, where it is not at its end
    """

    path: Path
    shard: Shard
    settings: Mapping[str, Any] = field(repr=False)
    rows: str
    unfinished: str = ""


def joined(shards: Iterable[StoredShard]) -> list[StoredShard]:
    """The shards in order, a copy left out, once all of them are there. Raises BadRequest with what is wrong:
    shares that do not fit together, other settings, a shard twice, unfinished or missing ones."""
    every = sorted(shards, key=lambda one: (one.shard.count, one.shard.number))
    first, found = every[0], dict[int, StoredShard]()
    for one in every:
        if one.shard.count != first.shard.count:
            raise BadRequest(
                f"{first.path} is shard {first.shard} and {one.path} is shard {one.shard}: they overlap. Name those of one "
                "division, or remove the others."
            )
        differences = _differences(first.settings, one.settings)
        if differences:
            raise BadRequest(f"Shards {first.shard} and {one.shard} have different settings ({differences}).")
        other = found.setdefault(one.shard.number, one)
        if other.rows != one.rows:
            raise BadRequest(f"Shard {one.shard} is there twice, with other rows: {other.path} and {one.path}. Name one.")
    for one in found.values():
        if one.unfinished:
            raise BadRequest(f"Shard {one.shard} is not finished: {one.unfinished}. Run its command again.")
    missing = [number for number in range(1, first.shard.count + 1) if number not in found]
    if missing:
        named = (
            f"{', '.join(f'{number}/{first.shard.count}' for number in missing[:10])}{' ...' if len(missing) > 10 else ''}"
        )
        what = f"Shard {named} is" if len(missing) == 1 else f"{len(missing):,} shards are"
        raise BadRequest(f"{what} missing{'' if len(missing) == 1 else f' ({named})'}: run the command with --shard for it.")
    return list(found.values())


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return ", ".join(f"{name}: {_shown(one.get(name))} and {_shown(other.get(name))}" for name in names)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
