"""Thumbnails of a dataset's pictures in one file beside its predictions: `p.thumbnails.parquet` beside `p.parquet`.

It has a row for each row of the predictions, in their order:

    path        str, the picture's name in the dataset
    thumbnail   bytes of a WebP file: Pillow's `thumbnail` to SIDE pixels, encoded with QUALITY

and a shard's file the column `place` as well, as its predictions. The rows lie in row groups of GROUP, so that a page of a
gallery is read without the rest. The file's metadata (ENTRY) hold the digest of the dataset: it is used for no other one.
`xai_core.analysis.predict` writes it.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.files import open_regular, parse_json

ENTRY = b"xai_core_thumbnails"  # of the file's metadata
FORMAT = 1
SIDE = 128  # pixels of the longer side
QUALITY = 80  # of WebP
GROUP = 256  # rows of a row group, about a megabyte
ENDING = ".thumbnails.parquet"
MOST_BYTES = 256 * 2**10  # of one thumbnail; noise of SIDE x SIDE pixels takes 20 kB
MOST_IN_GROUP = 16 * GROUP  # rows of a row group that is read
SCHEMA = pa.schema({"path": pa.string(), "thumbnail": pa.binary()})
PLACED = SCHEMA.append(pa.field("place", pa.int64()))


def file_beside(predictions: Path) -> Path:
    """The file of thumbnails that belongs to a file of predictions."""
    return predictions.with_name(f"{predictions.stem}{ENDING}")


def is_thumbnails(path: Path) -> bool:
    """Whether a file has the name of a file of thumbnails."""
    return path.name.endswith(ENDING)


def encoded(picture: Image.Image) -> bytes:
    """The thumbnail of a picture, as the bytes of a WebP file."""
    small, buffer = picture.copy(), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def settings_for(predictions: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of itself, for predictions with these settings."""
    of_dataset = {name: predictions[name] for name in ("dataset", "dataset_digest", "pictures")}
    shard = predictions.get("shard")
    number = {"shard": [shard["number"], shard["count"]]} if shard else {}
    return {"format": FORMAT, "side": SIDE, "quality": QUALITY, **of_dataset, **number}


def is_beside(predictions: Path, settings: Mapping[str, Any]) -> bool:
    """Whether there is a file of thumbnails beside a file of predictions, of the dataset of these settings."""
    try:
        return settings_of(file_beside(predictions)) == settings_for(settings)
    except BadRequest:
        return False


def write(rows: Iterable[pa.Table], out: Path, settings: Mapping[str, Any], schema: pa.Schema = SCHEMA) -> None:
    """Write tables with SCHEMA (PLACED for a shard), one at a time in memory. The file appears when it is complete. Raises
    XaiError."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    described = schema.with_metadata({ENTRY: json.dumps(settings)})
    try:
        with pq.ParquetWriter(
            unfinished, described, compression={"path": "zstd", "thumbnail": "none", "place": "zstd"},
            use_dictionary=False, write_statistics=False, write_page_checksum=True,
        ) as writer:  # fmt: skip
            for table in rows:
                writer.write_table(table.cast(schema).replace_schema_metadata(described.metadata), GROUP)
        unfinished.replace(out)
    except OSError as error:
        raise XaiError(f"Cannot write {out}: {error.strerror or error}.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def settings_of(file: Path) -> dict[str, Any]:
    """The settings that a file of thumbnails was written with. Raises BadRequest where it is none."""
    return _settings(file, _metadata(file))


@dataclass(frozen=True)
class Thumbnails:
    """A file of thumbnails that is open for reading, without its rows."""

    file: Path
    metadata: pq.FileMetaData
    starts: NDArray[np.int64]  # the first row of each row group, and the number of all rows

    def read(self, places: Sequence[int], names: Sequence[str]) -> dict[str, bytes]:
        """The thumbnails of the pictures with these names, which lie at these rows; those that are not there, or are no
        intact thumbnail, are left out. Raises BadRequest where the file is damaged."""
        wanted = {place: name for place, name in zip(places, names, strict=True) if 0 <= place < self.starts[-1]}
        groups = np.unique(np.searchsorted(self.starts, [*wanted], "right") - 1)
        try:
            with open_regular(self.file) as opened:
                reader = pq.ParquetFile(opened, metadata=self.metadata, page_checksum_verification=True)
                found: dict[str, bytes] = {}
                for group in groups.tolist():  # one after the other: a page's rows may lie far apart
                    rows = reader.read_row_group(group, SCHEMA.names)
                    start = int(self.starts[group])
                    inside = [place for place in wanted if start <= place < start + len(rows)]
                    taken = rows.take(pa.array([place - start for place in inside], pa.int64())).cast(SCHEMA)
                    for place, row in zip(inside, taken.to_pylist(), strict=True):
                        if row["path"] == wanted[place] and _is_thumbnail(row["thumbnail"]):
                            found[row["path"]] = row["thumbnail"]
                return found
        except (OSError, pa.ArrowException, MemoryError) as error:
            raise _damaged(self.file, error) from None


def opened(file: Path, digest: str) -> Thumbnails | None:
    """A file of thumbnails, for the dataset with this digest; None where there is none, or it is another dataset's.

    Raises BadRequest where the file is damaged, or none of thumbnails."""
    if not file.is_file():
        return None
    metadata = _metadata(file)
    if _settings(file, metadata).get("dataset_digest") != digest:
        return None
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if max(rows, default=0) > MOST_IN_GROUP:
        raise BadRequest(f"{file.name} has row groups of {max(rows):,} rows: it was not written by `classify --thumbnails`.")
    return Thumbnails(file, metadata, np.concatenate([[0], np.cumsum(rows, dtype=np.int64)]).astype(np.int64))


def _metadata(file: Path) -> pq.FileMetaData:
    try:
        with open_regular(file) as source:
            return pq.read_metadata(source)
    except (OSError, pa.ArrowException, MemoryError) as error:
        raise _damaged(file, error) from None


def _settings(file: Path, metadata: pq.FileMetaData) -> dict[str, Any]:
    try:
        settings = parse_json((metadata.metadata or {}).get(ENTRY, b"null"))
    except ValueError as error:
        raise _damaged(file, error) from None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise BadRequest(f"{file.name} is no file of thumbnails that this version reads: run `classify --thumbnails` again.")
    return settings


def _damaged(file: Path, error: Exception) -> BadRequest:
    reason = " ".join(str(error).split())[:80]
    return BadRequest(f"The thumbnails in {file.name} cannot be read ({reason}): run `classify --thumbnails` again.")


def _is_thumbnail(data: bytes | None) -> bool:
    """Whether these are bytes of a picture that `encoded` may have made; its pixels are not decoded."""
    if not data or len(data) > MOST_BYTES:
        return False
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            return max(picture.size) <= SIDE
    except Exception:  # decoders of damaged files raise errors of any kind
        return False
