"""Select a run's images: a seeded sample of a dataset, without duplicates (found by hash)."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.files import read_regular
from xai_core.core.shards import Shard
from xai_core.data.datasets import Dataset, open_dataset
from xai_core.data.image_io import MAX_BYTES
from xai_core.data.label_matching import WNID
from xai_core.data.sample_list import Labelled
from xai_core.data.samples import SAMPLES, load_sample

SAMPLE_SET = "samples"
COPY_OF = "the same file as "  # the beginning of the reason why a copy is left out


def open_images(source: str | Path | Dataset) -> Dataset:
    """A dataset by its path, or the samples by the name "samples". Raises BadRequest."""
    if isinstance(source, Dataset):
        return source
    if str(source) != SAMPLE_SET or Path(source).exists():
        return open_dataset(source)

    def read(name: str) -> bytes:
        buffer = io.BytesIO()
        load_sample(name).save(buffer, "BMP")  # the same bytes on every machine, and so the same digests
        return buffer.getvalue()

    return Dataset(SAMPLE_SET, tuple(Labelled(name, "") for name in SAMPLES), read, str)


def sample_images(dataset: Dataset, count: int | None, seed: int) -> tuple[Labelled, ...]:
    """`count` images drawn at random without replacement; None: all of them, in random order.

    An image's place in the order depends on its name and the seed alone: a larger sample begins with the smaller one, and
    files that are added to the dataset do not change the order of the others. Raises BadRequest for a count below 1.
    """
    if count is not None and count < 1:
        raise BadRequest(f"At least one picture is needed, not {count}.")
    return tuple(in_drawn_order(dataset.samples, seed)[:count])


def in_drawn_order(samples: Iterable[Labelled], seed: int) -> list[Labelled]:
    """The images in the random order of `sample_images`."""
    return sorted(samples, key=lambda sample: bytes_digest(f"{seed} {sample.name}".encode()))


def shard_images(samples: Sequence[Labelled], shard: Shard | None) -> tuple[Labelled, ...]:
    """Those of the images that belong to a shard, in the same order; None: all of them."""
    return tuple(samples) if shard is None else tuple(sample for sample in samples if shard.holds(sample.name))


def unique_images(dataset: Dataset, samples: Sequence[Labelled]) -> tuple[dict[str, Labelled], dict[str, str]]:
    """(the samples by the SHA-256 of their files, the reasons by the name of each sample that is left out).

    Left out are files that cannot be read, and copies of an earlier one: counted twice they would narrow the intervals.
    """
    unique: dict[str, Labelled] = {}
    left_out: dict[str, str] = {}
    for sample in samples:
        try:
            data = dataset.read(sample.name)
            digest = bytes_digest(data if isinstance(data, bytes) else read_regular(data, MAX_BYTES))
        except BadPicture as error:
            left_out[sample.name] = str(error)
            continue
        except OSError as error:
            left_out[sample.name] = f"Cannot read it: {error.strerror or error}."
            continue
        if digest in unique:
            left_out[sample.name] = f"{COPY_OF}{unique[digest].name}"
        else:
            unique[digest] = sample
    return unique, left_out


def label_of(entry: Labelled) -> str:
    """The class of a picture's folder, or the WordNet id with which its file's name begins; "" without either."""
    wnid = WNID.match(PurePosixPath(entry.name).name)
    return entry.label or (wnid[0] if wnid else "")
