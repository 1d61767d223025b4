"""Lists of classified pictures to take away: a table, and a ZIP with the pictures and their maps."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import pandas as pd

from xai_core.core.errors import BadPicture
from xai_core.core.files import read_regular
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.image_io import MAX_BYTES

MOST_ZIP_BYTES = 100 * 2**20
COLUMNS = ("path", "true", "predicted", "right", "p(predicted)", "p(true)", "margin", "top five", "tags")
Map = tuple[str, bytes]  # the end of its file's name, and the file


class ZipContents(NamedTuple):
    """How many of the pictures a ZIP holds, and the pictures that could not be added, each with the reason."""

    pictures: int
    left_out: dict[str, str]


def table(rows: pd.DataFrame, tags: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """COLUMNS of the rows of a table of predictions, in their order.

    Probabilities and margin lie between 0 and 1; `top five` are names with probabilities, `tags` have commas between.
    """
    top = [
        "; ".join(f"{name} {share:.4f}" for name, share in zip(names, shares, strict=True))
        for names, shares in zip(rows["top5"], rows["top5_probability"], strict=True)
    ]
    return pd.DataFrame(
        {
            "path": rows["path"],
            "true": rows["true"],
            "predicted": rows["predicted"],
            "right": rows["true"] == rows["predicted"],
            "p(predicted)": rows["confidence"],
            "p(true)": rows["true_probability"],
            "margin": rows["margin"],
            "top five": top,
            "tags": [", ".join(tags.get(path, ())) for path in rows["path"]],
        },
        columns=list(COLUMNS),
    )


def write_zip(
    file: IO[bytes],
    listed: pd.DataFrame,
    read: Callable[[str], bytes | Path],
    maps: Callable[[str], Iterable[Map]],
    track: Callable[[Iterable[str]], Iterator[str]],
    most_bytes: int = MOST_ZIP_BYTES,
) -> ZipContents:
    """Write `pictures.csv`, `pictures/<path>` as they are in the dataset, and `maps/<path>-<end>`.

    Pictures are added in the order of the table until the ZIP has `most_bytes`. A picture that cannot be read is left out,
    with the reason; its row stays in the table.
    """
    left_out: dict[str, str] = {}
    added = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("pictures.csv", csv_bytes(listed))
        for path in track(listed["path"].tolist()):
            inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in ("..", "/")))
            try:
                source = read(path)
                data = source if isinstance(source, bytes) else read_regular(source, MAX_BYTES)
                if file.tell() + len(data) > most_bytes:
                    left_out[path] = f"The ZIP would be larger than {most_bytes / 2**20:.3g} MB."
                    continue
                archive.writestr(f"pictures/{inside}", data)
                for end, content in maps(path):
                    archive.writestr(f"maps/{inside}-{end}", content)
            except (BadPicture, OSError) as error:
                left_out[path] = error.strerror or "unreadable" if isinstance(error, OSError) else str(error)
                continue
            added += 1
    return ZipContents(added, left_out)
