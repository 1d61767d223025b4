"""Files of the Hugging Face Hub: huggingface_hub says where a file is and what its digest is, `download` brings it.

The hub's client throws away what came of a broken download; the project's own continues it, also after a restart.
"""

import re
from pathlib import Path
from typing import NamedTuple

from xai_core.models.weights import download
from xai_core.models.weights.download import NotFetched, Progress


class Remote(NamedTuple):
    """Where a file of a repository is now: an address that may soon end, its size in bytes (0: not told) and SHA-256."""

    url: str
    size: int
    sha256: str


def fetch(repository: str, name: str, target: Path, progress: Progress) -> None:
    """Bring a repository's file to `target`. Raises NotFetched."""
    remote = find(repository, name)
    download.fetch(remote.url, target, remote.size / 1e6, remote.sha256, progress)


def find(repository: str, name: str) -> Remote:
    """Ask the hub for a file. Raises NotFetched with the reason, as the end of a sentence."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        url = huggingface_hub.hf_hub_url(repository, name)
        found = huggingface_hub.get_hf_file_metadata(url)
    except errors.GatedRepoError as error:
        raise NotFetched(
            f"is given only to those who have accepted the terms of {repository} and signed in (variable HF_TOKEN)"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise NotFetched(f"cannot be fetched: the Hugging Face Hub has no public repository {repository}") from error
    except errors.EntryNotFoundError as error:
        if name.endswith(".safetensors"):
            raise NotFetched(
                f"is not in the repository {repository}: other files of weights (.bin) may hold code, and are not read here"
            ) from error
        raise NotFetched(f"is not in the repository {repository}, which is then none of timm's networks") from error
    except errors.OfflineModeIsEnabled as error:
        raise NotFetched("cannot be fetched: HF_HUB_OFFLINE is set") from error
    except Exception as error:  # whatever the client's HTTP library raises: no connection, a server in trouble
        said = str(error).strip().splitlines()
        raise NotFetched(
            f"cannot be fetched from the Hugging Face Hub ({said[0] if said else type(error).__name__})"
        ) from error
    digest = found.etag or ""
    return Remote(found.location, found.size or 0, digest if re.fullmatch("[0-9a-f]{64}", digest) else "")
