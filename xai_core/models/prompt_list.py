"""What a file of texts says of itself, read without torch: the names of the classes, and how their vectors were made."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from xai_core.core.errors import BadRequest
from xai_core.core.files import parse_json

FORMAT = "xai-core prompts 1"
ABOUT = "about"  # the key of the header's metadata
HEADER_BYTES = 2**24
MOST = 25_000  # texts: ImageNet-21k has 21,841 classes


@dataclass(frozen=True)
class PromptList:
    """
    names      of the classes, one for each vector
    controls   texts without a meaning, drawn from `seed`, one for each vector of the controls
    scale      what the cosine is multiplied with, and `bias` what is added to it (SigLIP): together the logit
    tower      the text tower that made the vectors, and its weights
    templates  the sentences that a name or control is put into in place of {}; the vectors of several are averaged
    seed       of the controls
    width      E, the numbers in a vector
    """

    names: tuple[str, ...]
    controls: tuple[str, ...]
    scale: float
    bias: float
    tower: str
    templates: tuple[str, ...]
    seed: int
    width: int

    def metadata(self) -> dict[str, str]:
        """As the metadata of a safetensors file."""
        return {"format": FORMAT, ABOUT: json.dumps(asdict(self))}


def described(path: Path) -> PromptList:
    """What the file at `path` says of itself. Raises BadRequest where it is another file, or cannot be read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= HEADER_BYTES:
                raise ValueError("no header")
            header = parse_json(file.read(length).decode("utf-8"))
        metadata = header["__metadata__"]
        if metadata["format"] != FORMAT:
            raise ValueError("another format")
        about = parse_json(metadata[ABOUT])
        given: dict[str, Any] = {field.name: about[field.name] for field in fields(PromptList)}
        record: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        result = PromptList(**record)
        shapes = [header[name]["shape"] for name in ("vectors", "controls")]
    except OSError as error:
        raise BadRequest(f"The file of texts {path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadRequest(f"{path.name} is no file of texts that `prompts` has made.") from error
    _check(path, result, shapes)
    return result


def _check(path: Path, about: PromptList, shapes: list[list[int]]) -> None:
    texts = (*about.names, *about.controls, *about.templates, about.tower)
    numbers = (about.scale, about.bias)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(number, int | float) for number in numbers):
        raise BadRequest(f"{path.name} is no file of texts that `prompts` has made.")
    if not 2 <= len(about.names) <= MOST:
        raise BadRequest(f"{path.name} has {len(about.names):,} texts; 2 to {MOST:,} can be compared.")
    if len(set(about.names)) != len(about.names):
        raise BadRequest(f"{path.name} has the same text twice.")
    if shapes != [[len(about.names), about.width], [len(about.controls), about.width]]:
        raise BadRequest(f"{path.name} has vectors of the shapes {shapes}, which do not fit its list of texts.")
