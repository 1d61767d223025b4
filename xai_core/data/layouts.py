"""How a dataset lies as it was downloaded: folders around the classes, and parts such as train and test.

Known by the names of its folders and files alone, on the disk and in an archive. A **part** is a folder whose name says so
(train, seg_test, val), where one part at least holds folders of classes, or there are no other folders:
`seg_train/seg_train/buildings/1.jpg` is the picture `buildings/1.jpg` of the part `seg_train`. A class may be called "train"
all the same: its folder holds pictures.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath

from xai_core.data.image_io import SUFFIXES

PART = re.compile(
    r"(.*[_-])?(train(ing)?|test(ing)?|val|valid(ation)?|dev|pred(ict(ion)?)?)([_-]?(set|data|images))?", re.IGNORECASE
)
DEEPEST = 8  # folders around the classes
TOP = PurePosixPath()


@dataclass(frozen=True)
class Tree:
    """A folder, on the disk or in an archive. A place in it is a relative path; TOP is the folder itself.

    folders         the names of the folders at a place, in order, without hidden ones
    holds_pictures  whether there is a picture directly at a place
    """

    folders: Callable[[PurePosixPath], list[str]]
    holds_pictures: Callable[[PurePosixPath], bool]


def is_picture(path: PurePath) -> bool:
    """Whether the name is that of a picture to be shown: not hidden, no leftover of a Mac, and it leads nowhere else."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not {"__MACOSX", ".."} & {*path.parts}


def of_folder(root: Path) -> Tree:
    """A folder on the disk; what cannot be read is empty. Its content is listed anew each time, no further than needed."""

    def folders(at: PurePosixPath) -> list[str]:
        try:
            with os.scandir(root / at) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and not _is_hidden(entry.name))
        except OSError:
            return []

    def holds_pictures(at: PurePosixPath) -> bool:
        try:
            with os.scandir(root / at) as entries:
                return any(is_picture(PurePosixPath(entry.name)) and entry.is_file() for entry in entries)
        except OSError:
            return False

    return Tree(folders, holds_pictures)


def of_names(pictures: Iterable[PurePosixPath]) -> Tree:
    """The folder that holds these pictures, given by their paths in it."""
    below: dict[PurePosixPath, set[str]] = defaultdict(set)
    direct = {path.parent for path in pictures}
    for folder in direct:
        while folder != TOP and folder.name not in below[folder.parent]:
            below[folder.parent].add(folder.name)
            folder = folder.parent
    return Tree(lambda at: sorted(name for name in below.get(at, ()) if not _is_hidden(name)), lambda at: at in direct)


def unwrapped(tree: Tree, at: PurePosixPath = TOP) -> PurePosixPath:
    """The place where the pictures or the folders of their classes lie: below folders that hold nothing but one other."""
    for _ in range(DEEPEST):
        inner = [] if tree.holds_pictures(at) else list(islice(_holders(tree, at), 2))
        if len(inner) != 1 or (tree.holds_pictures(at / inner[0]) and not PART.fullmatch(inner[0])):
            break
        at = at / inner[0]
    return at


def parts_of(tree: Tree) -> dict[str, PurePosixPath]:
    """The parts of a dataset, by the names of their folders, and where they lie; empty where it has none."""
    at = unwrapped(tree)
    if tree.holds_pictures(at):
        return {}
    names = tree.folders(at)
    found = [name for name in names if PART.fullmatch(name) and _leads_to_pictures(tree, at / name)]
    if len(found) < 2:
        return {}
    with_classes = any(not tree.holds_pictures(unwrapped(tree, at / name)) for name in found)
    others = any(name not in found and _leads_to_pictures(tree, at / name) for name in names)
    return {name: at / name for name in found} if with_classes or not others else {}


def _holders(tree: Tree, at: PurePosixPath) -> Iterable[str]:
    return (name for name in tree.folders(at) if _leads_to_pictures(tree, at / name))


def _leads_to_pictures(tree: Tree, at: PurePosixPath, depth: int = DEEPEST) -> bool:
    if tree.holds_pictures(at):
        return True
    return depth > 0 and any(_leads_to_pictures(tree, at / name, depth - 1) for name in tree.folders(at))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "..")
