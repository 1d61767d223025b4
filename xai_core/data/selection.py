"""Which pictures of a dataset a run is about: drawn at random, each once, by what their files hold."""

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.data.datasets import Dataset, Labelled, open_dataset
from xai_core.data.label_matching import WNID
from xai_core.data.samples import SAMPLES, load_sample

SAMPLE_SET = "samples"


def pictures_of(source: str | Path | Dataset) -> Dataset:
    """A dataset by its path, or the samples by the name "samples". Raises BadRequest."""
    if isinstance(source, Dataset):
        return source
    if str(source) != SAMPLE_SET or Path(source).exists():
        return open_dataset(source)

    def read(name: str) -> bytes:
        buffer = io.BytesIO()
        load_sample(name).save(buffer, "BMP")  # the same bytes everywhere, so that digests are
        return buffer.getvalue()

    return Dataset(SAMPLE_SET, tuple(Labelled(name, "") for name in SAMPLES), read, str)


def drawn(dataset: Dataset, count: int | None, seed: int) -> tuple[Labelled, ...]:
    """`count` pictures drawn at random, or all of them in random order. Each picture's place in the order depends on its
    name and the seed alone: more of them begin with the same ones, whatever else comes to lie beside them."""
    if count is not None and count < 1:
        raise BadRequest(f"At least one picture is needed, not {count}.")
    return tuple(sorted(dataset.samples, key=lambda one: bytes_digest(f"{seed} {one.name}".encode()))[:count])


def looked_through(dataset: Dataset, chosen: Sequence[Labelled]) -> tuple[dict[str, Labelled], dict[str, str]]:
    """The pictures by their digests, and the names of those left out with the reason: a file that cannot be read, or one
    that is the same as another (counted twice it would feign certainty)."""
    found: dict[str, Labelled] = {}
    left_out = {}
    for entry in chosen:
        try:
            data = dataset.read(entry.name)
            digest = bytes_digest(data if isinstance(data, bytes) else data.read_bytes())
        except BadPicture as error:
            left_out[entry.name] = str(error)
            continue
        except OSError as error:
            left_out[entry.name] = f"Cannot read it: {error.strerror or error}."
            continue
        if digest in found:
            left_out[entry.name] = f"the same file as {found[digest].name}"
        else:
            found[digest] = entry
    return found, left_out


def label_of(entry: Labelled) -> str:
    """The class that a picture's folder tells, or the WordNet id with which its file's name begins; "" without either."""
    wnid = WNID.match(PurePosixPath(entry.name).name)
    return entry.label or (wnid[0] if wnid else "")
