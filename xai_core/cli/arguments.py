"""What the commands share: the arguments of a question, opening the picture that was named, progress, writing files."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from xai_core.core.errors import BadRequest
from xai_core.data import samples


class Parser(argparse.ArgumentParser):
    """A parser that raises BadRequest instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise BadRequest(f"{message} (see: {self.prog} --help)")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # argparse has no public name for it


def add_question(command: argparse.ArgumentParser, out: bool = True) -> None:
    """The arguments that say what is asked of whom; `out` is whether a folder must be given."""
    command.add_argument("image", metavar="IMAGE", help=f"a picture, or one of the samples: {', '.join(samples.SAMPLES)}")
    command.add_argument("--model", default="efficientnet_lite0", help="see: models")
    command.add_argument("--weights", help="one of the model's checkpoints, or 'random' (default: its first)")
    command.add_argument("--target", help="a class by name, index or WordNet id (default: the predicted one)")
    command.add_argument("--rival", help="a second class: explain 'target and not rival'")
    command.add_argument("--precision", default="exact", help="exact or fast")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, required=out, metavar="DIR")


def opened(given: argparse.Namespace) -> tuple[Any, Any, dict[str, Any]]:
    """The picture, the model, and what is asked, from the arguments of `add_question`."""
    from xai_core.models.loading import load_model

    asked = {name: getattr(given, name) for name in ("target", "rival", "precision", "seed")}
    asked["track"] = bar
    return picture(given.image), load_model(given.model, given.weights), asked


def options(given: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE arguments by name. Raises BadRequest."""
    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise BadRequest(f"An option is given as NAME=VALUE, not '{name}'.")
    return {name: value for name, _, value in pairs}


def print_rows(rows: list[dict[str, Any]], as_json: bool, line) -> None:
    """A list as JSON, or each row as the text that `line` makes of it."""
    print(json.dumps(rows, indent=2) if as_json else "\n".join(map(line, rows)))


def picture(name: str) -> Any:
    """A picture by its path, or one of the samples by its name; a file of that name comes first."""
    from xai_core.data.image_io import open_picture

    is_sample = name in samples.SAMPLES and not Path(name).exists()
    return samples.load_sample(name) if is_sample else open_picture(name)


def bar(batches: Iterable) -> Iterable:
    """A progress bar on a terminal; silent where nobody watches."""
    from tqdm import tqdm

    return tqdm(batches, leave=False, disable=None)


def write(files: Mapping[str, bytes], folder: Path, *said: str) -> None:
    """Write the files, then say something and where they are."""
    from xai_core.explanation import export

    for name, data in files.items():
        export.write_atomically(folder / name, data)
    print(*said, *(folder / name for name in files), sep="\n")
