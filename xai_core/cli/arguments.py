"""What the commands share: the parser, the arguments of a question, lists of names, progress bars, writing files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from xai_core.core.errors import BadRequest
from xai_core.data import samples

if TYPE_CHECKING:
    from PIL import Image

    from xai_core.models.explainable import ExplainableModel

Item = TypeVar("Item")
Row = Mapping[str, Any]  # one entry of a catalogue, as JSON takes it


class Parser(argparse.ArgumentParser):
    """A parser that raises BadRequest instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise BadRequest(f"{message} (see: {self.prog} --help)")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # argparse has no public name for it


@dataclass(frozen=True)
class Query:
    """A picture, a model, and what is asked of it, from the arguments of `add_query`."""

    picture: Image.Image
    model: ExplainableModel
    target: str | None
    rival: str | None
    precision: str
    seed: int


def add_query(command: argparse.ArgumentParser, out_required: bool = True) -> None:
    """Add the arguments that say what is asked of which model, and `--out`."""
    command.add_argument("image", metavar="IMAGE", help=f"a picture, or one of the samples: {', '.join(samples.SAMPLES)}")
    command.add_argument("--model", default="efficientnet_lite0", help="id of a model, see: models")
    add_weights(command)
    command.add_argument("--target", help="a class by name, index or WordNet id (default: the predicted one)")
    command.add_argument("--rival", help="a second class: explain 'target and not rival'")
    add_precision(command)
    command.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    command.add_argument("--out", type=Path, required=out_required, metavar="DIR", help="folder for the files")


def add_weights(command: argparse.ArgumentParser) -> None:
    """Add `--weights`."""
    command.add_argument("--weights", help="one of the model's checkpoints, or 'random' (default: its first)")


def add_precision(command: argparse.ArgumentParser) -> None:
    """Add `--precision`."""
    command.add_argument("--precision", default="exact", help="exact: 32 bits (default); fast: 16 bits")


def add_json(command: argparse.ArgumentParser) -> None:
    """Add `--json`, for commands that list something with `print_rows`."""
    command.add_argument("--json", action="store_true", help="print JSON")


def query(args: argparse.Namespace) -> Query:
    """Open the picture and load the model that the arguments of `add_query` name. Raises XaiError."""
    from xai_core.models.loading import load_model

    opened = picture(args.image)
    return Query(opened, load_model(args.model, args.weights), args.target, args.rival, args.precision, args.seed)


def names(text: str) -> list[str]:
    """Names with commas between them; blanks around a name and empty names are dropped."""
    return [name.strip() for name in text.split(",") if name.strip()]


def options(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE arguments as values by name. Raises BadRequest."""
    parts = [text.partition("=") for text in pairs]
    for name, equals, _ in parts:
        if not (name and equals):
            raise BadRequest(f"An option is given as NAME=VALUE, not '{name}'.")
    return {name: value for name, _, value in parts}


def print_rows(rows: Sequence[Row], as_json: bool, line: Callable[[Row], str]) -> None:
    """Print rows as one JSON list, or each as the text that `line` makes of it."""
    print(json.dumps(rows, indent=2) if as_json else "\n".join(map(line, rows)))


def say(text: str) -> None:
    """Print at once, also into a pipe: for commands that take long."""
    print(text, flush=True)


def picture(name: str) -> Image.Image:
    """Open a picture by its path, or a sample by its name; a file of that name is preferred. Raises BadPicture."""
    from xai_core.data.image_io import open_picture

    is_sample = name in samples.SAMPLES and not Path(name).exists()
    return samples.load_sample(name) if is_sample else open_picture(name)


def bar(batches: Iterable[Item]) -> Iterable[Item]:
    """Show a progress bar where the standard error is a terminal."""
    from tqdm import tqdm

    return tqdm(batches, leave=False, disable=None)


def write(files: Mapping[str, bytes], folder: Path, *lines: str) -> None:
    """Write files, by name, into a folder; then print the lines and the paths. Raises XaiError."""
    from xai_core.core.files import write_atomically

    for name, data in files.items():
        write_atomically(folder / name, data)
    print(*lines, *(folder / name for name in files), sep="\n")
