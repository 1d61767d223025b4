"""What the commands share: opening the picture that was named, a progress bar, writing files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xai_core import samples


def picture(name: str) -> Any:
    """A picture by its path, or one of the samples by its name; a file of that name comes first."""
    from xai_core.pictures import open_picture

    is_sample = name in samples.SAMPLES and not Path(name).exists()
    return samples.load_sample(name) if is_sample else open_picture(name)


def bar(batches: Iterable) -> Iterable:
    """A progress bar on a terminal; silent where nobody watches."""
    from tqdm import tqdm

    return tqdm(batches, leave=False, disable=None)


def write(files: Mapping[str, bytes], folder: Path, *said: str) -> None:
    """Write the files, then say something and where they are."""
    from xai_core import exporting

    for name, data in files.items():
        exporting.write_atomically(folder / name, data)
    print(*said, *(folder / name for name in files), sep="\n")
