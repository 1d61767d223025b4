"""The labels of pictures whose files are named as in ImageNet: by the name itself, or by the files of the challenge.

`n02123045_tabby.JPEG` begins with its class's WordNet id. `ILSVRC2012_val_00000001.JPEG` has its label in
`LOC_val_solution.csv` (Kaggle), as a WordNet id, or in `ILSVRC2012_validation_ground_truth.txt` (the development kit), as a
number from 1 to 1,000 that only the kit's `meta.mat` explains: it is the order of no list of classes that models use.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from xai_core.core import tables
from xai_core.core.errors import BadRequest
from xai_core.data.label_matching import WNID

VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
SOLUTION, TRUTH, META = "LOC_val_solution.csv", "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
KIT = ("", "ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit_t12", "data")  # where these files lie beside the pictures
MOST_BYTES = 32 * 2**20  # of each of these files, also unpacked; LOC_val_solution.csv has 2 MB
COMPRESSED, HEADER = 15, 128  # in MATLAB's files of version 5: the type of a packed element, and where the first begins

Find = Callable[[str], bytes | None]  # the content of a file beside the pictures by its path; None where there is none


def wnid_of(name: str) -> str:
    """The WordNet id that the name of a picture's file begins with; "" where it does not."""
    found = WNID.match(PurePosixPath(name).name)
    return found[0] if found else ""


def is_validation(name: str) -> bool:
    """Whether this is the name of a picture of ImageNet's validation set."""
    return VALIDATION.fullmatch(PurePosixPath(name).name) is not None


def validation_labels(names: Iterable[str], find: Find) -> dict[str, str]:
    """The WordNet ids of pictures of the validation set by their names, from the files that `find` has; empty where it has
    none of them. Raises BadRequest where such a file does not say which class each picture has."""
    solution, truth = (
        next((data for folder in KIT if (data := find(str(PurePosixPath(folder, file)))) is not None), None)
        for file in (SOLUTION, TRUTH)
    )
    if solution is not None:
        known = _solution(solution)
        return {name: known.get(PurePosixPath(name).stem, "") for name in names}
    if truth is None:
        return {}
    meta = next((data for folder in KIT if (data := find(str(PurePosixPath(folder, META)))) is not None), None)
    if meta is None:
        raise BadRequest(
            f"{TRUTH} gives numbers of classes in the order of the development kit, which only its {META} explains: put "
            f"{META} (from ILSVRC2012_devkit_t12/data) beside it, or use {SOLUTION}."
        )
    classes, numbers = _classes(meta), _numbers(truth)
    labels = {}
    for name in names:
        place = int(VALIDATION.fullmatch(PurePosixPath(name).name)[1])  # type: ignore[index]
        if not 1 <= place <= len(numbers):
            raise BadRequest(f"{TRUTH} has {len(numbers):,} lines, none for {PurePosixPath(name).name}: it is not whole.")
        if numbers[place - 1] not in classes:
            raise BadRequest(f"{TRUTH} names class {numbers[place - 1]} in line {place:,}, which {META} does not know.")
        labels[name] = classes[numbers[place - 1]]
    return labels


def _solution(data: bytes) -> dict[str, str]:
    """WordNet ids by the names of pictures: each row has boxes "n01751748 111 108 230 366 ...", all of one class."""
    table = tables.read_csv(data, texts=True).fillna("")
    if not {"ImageId", "PredictionString"} <= {*table.columns}:
        raise BadRequest(f"{SOLUTION} needs the columns ImageId and PredictionString, as Kaggle gives it.")
    labels: dict[str, str] = {}
    for name, boxes in zip(table["ImageId"], table["PredictionString"], strict=True):
        ids = set(boxes.split()[::5])
        if len(ids) != 1 or not WNID.fullmatch(next(iter(ids))):
            raise BadRequest(f"{SOLUTION} gives no single WordNet id for {name[:60]}: '{boxes[:60]}'.")
        if labels.setdefault(name, *ids) not in ids:
            raise BadRequest(f"{SOLUTION} gives {name[:60]} two classes.")
    return labels


def _numbers(data: bytes) -> list[int]:
    try:
        return [int(line) for line in data.decode("ascii").split()]
    except ValueError:  # also of decoding
        raise BadRequest(f"{TRUTH} must have one number in each line.") from None


def _classes(data: bytes) -> dict[int, str]:
    """WordNet ids by the numbers of the development kit: the synsets of meta.mat that have no children."""
    from scipy.io import loadmat

    try:
        if _unpacked_size(data) > MOST_BYTES:
            raise BadRequest(f"{META} unpacks to more than {MOST_BYTES // 2**20} MB: it is not that of the development kit.")
        synsets = loadmat(io.BytesIO(data), squeeze_me=True, variable_names=["synsets"])["synsets"]
        rows = [(int(one["ILSVRC2012_ID"]), str(one["WNID"]), int(one["num_children"])) for one in synsets.ravel()]
    except BadRequest:
        raise
    except Exception:  # SciPy raises whatever it stumbles over
        raise BadRequest(f"{META} cannot be read as that of ImageNet's development kit.") from None
    classes = {number: wnid for number, wnid, children in rows if children == 0}
    if len(classes) != sum(children == 0 for *_, children in rows) or len({*classes.values()}) != len(classes):
        raise BadRequest(f"{META} gives a number or a WordNet id to several classes.")
    if not all(WNID.fullmatch(wnid) for wnid in classes.values()):
        raise BadRequest(f"{META} names classes by something other than WordNet ids.")
    return classes


def _unpacked_size(data: bytes) -> int:
    """The bytes of a MATLAB file's elements when unpacked, counted up to MOST_BYTES + 1 each."""
    at, size = HEADER, 0
    while at + 8 <= len(data) and size <= MOST_BYTES:
        kind, length = struct.unpack_from("<II", data, at)
        packed = data[at + 8 : at + 8 + length]
        size += len(zlib.decompressobj().decompress(packed, MOST_BYTES + 1)) if kind == COMPRESSED else length
        at += 8 + length
    return size
