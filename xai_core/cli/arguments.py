"""What the commands share: the parser, the arguments of a question, lists of names, progress bars, writing files."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from xai_core.core import remote, settings, shards
from xai_core.core.errors import BadRequest
from xai_core.core.shards import Shard
from xai_core.data import samples
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import id_and_checkpoint

if TYPE_CHECKING:
    from PIL import Image

    from xai_core.analysis.predict import ClassificationProgress
    from xai_core.attribution.method import Method
    from xai_core.data.datasets import Dataset
    from xai_core.data.label_matching import Matching
    from xai_core.models.explainable import ExplainableModel
    from xai_core.models.ray_workers import RayWorkers

Item = TypeVar("Item")
Row = Mapping[str, Any]  # one entry of a catalogue, as JSON takes it


class Parser(argparse.ArgumentParser):
    """A parser that raises BadRequest instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise BadRequest(f"{message} (see: {self.prog} --help)")


MODEL = "id of a model, see: models; or package.module:function of your own"
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
    command.add_argument("--model", default="efficientnet_lite0", help=MODEL)
    add_weights(command)
    command.add_argument("--target", help="a class by name, index or WordNet id (default: the predicted one)")
    command.add_argument("--rival", help="a second class: explain 'target and not rival'")
    add_precision(command)
    command.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    command.add_argument("--out", type=Path, required=out_required, metavar="DIR", help="folder for the files")


def add_dataset(command: argparse.ArgumentParser) -> None:
    """Add the arguments that name a dataset, a model, and how the labels are its classes: for `opened`."""
    command.add_argument(
        "data", metavar="DATA",
        help="a labelled folder, a ZIP of one, a CSV or Parquet (path, label), or world:planted; or the address of a "
        "folder, ZIP or CSV (s3://bucket/folder)",
    )  # fmt: skip
    command.add_argument("--model", default="efficientnet_lite0", help=MODEL)
    add_weights(command)
    command.add_argument("--mapping", type=Path, metavar="FILE", help="label,class in each line (CSV), or a JSON object")


def name_own_code(args: argparse.Namespace) -> None:
    """Add each function among the models of a command to those that may be called: who types it runs his own machine."""
    model, models = getattr(args, "model", None) or [], getattr(args, "models", None) or ""
    typed = [*([model] if isinstance(model, str) else model), *(id_and_checkpoint(name)[0] for name in names(models))]
    functions = [name.partition(own_code.OF_SEVERAL)[0] for name in typed]
    settings.add_models(name for name in functions if settings.MODEL_FUNCTION.fullmatch(name))


def add_weights(command: argparse.ArgumentParser) -> None:
    """Add `--weights`."""
    command.add_argument("--weights", help="one of the model's checkpoints, or 'random' (default: its first)")


def add_precision(command: argparse.ArgumentParser) -> None:
    """Add `--precision`."""
    command.add_argument("--precision", default="exact", help="exact: 32 bits (default); fast: 16 bits")


def add_shard(command: argparse.ArgumentParser) -> None:
    """Add `--shard`: `args.shard` is a Shard or None."""
    command.add_argument(
        "--shard", type=_shard, metavar="I/N",
        help="only share I (from 1) of N of the pictures, written into OUT.shards; when all are done: merge OUT",
    )  # fmt: skip


def _shard(text: str) -> Shard:
    try:
        return shards.parse(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def say_shard(shard: Shard, out: Path) -> None:
    """Print where a shard was written, and what comes next."""
    print(f"Shard {shard} is in {shards.folder_of(out)}; when all are done: {settings.PROGRAM} merge {out}")


RAY = "ray"


def add_engine(command: argparse.ArgumentParser, pictures: int, address: str = "--address") -> None:
    """Add `--engine` and the settings of its workers, for `workers`. `pictures` are in a task unless another number is
    given; `address` names the option for a cluster's address."""
    group = command.add_argument_group("Ray", "Needs the extra xai-core[ray].")
    group.add_argument("--engine", choices=(RAY,), help="share the pictures among workers of Ray")
    group.add_argument(
        address, dest="ray_address", metavar="HOST:PORT",
        help="of a Ray cluster that runs (default: a Ray of this command's own, on this machine)",
    )  # fmt: skip
    group.add_argument("--workers", type=int, metavar="N", help="number of workers (default: as many as Ray has room for)")
    group.add_argument("--worker-cpus", type=int, default=1, metavar="N", help="CPUs of a worker (default: 1)")
    group.add_argument(
        "--worker-gpus",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="GPUs of a worker: 0.5 lets two share one (default: 0)",
    )
    group.add_argument(
        "--per-task", type=int, default=pictures, metavar="N",
        help=f"pictures in a task, which a lost worker loses (default: {pictures})",
    )  # fmt: skip


def workers(
    args: argparse.Namespace, dataset: Dataset, reopen: Callable[[], Dataset], load: Callable[[str], ExplainableModel]
) -> RayWorkers | None:
    """The workers of `add_engine`, which open the dataset and load models by these functions; None without an engine. Raises
    BadRequest."""
    from xai_core.models import ray_workers

    if args.engine is None:
        return None
    return ray_workers.RayWorkers(
        ray_workers.opener(dataset, reopen), load, args.workers, args.worker_cpus, args.worker_gpus, args.per_task,
        args.ray_address,
    )  # fmt: skip


def out_place(text: str) -> str | Path:
    """The value of an `--out` that may be an address: then the text as it is."""
    return text if remote.is_address(text) else Path(text)


def place(args: argparse.Namespace, suffix: str = "") -> str | Path:
    """Where a command with `--shard` writes: `--out`, or the place of its shard beside. Raises BadRequest for a shard and an
    address."""
    if args.shard is None:
        return args.out  # type: ignore[no-any-return]
    if isinstance(args.out, str):
        raise BadRequest("A shard is written on this machine: give --out a path, and copy what `merge` makes of them.")
    return args.shard.place(args.out, suffix)  # type: ignore[no-any-return]


def refuse_addresses(args: argparse.Namespace) -> None:
    """Raises BadRequest where an address was given for what must be a path: as a path it would become a folder "s3:"."""
    for name, value in vars(args).items():
        if isinstance(value, Path) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", value.as_posix()):
            raise BadRequest(
                f"{name} is a path of this machine, not an address. DATA may be an address, and so may --out of classify "
                "and evaluate."
            )


def add_json(command: argparse.ArgumentParser) -> None:
    """Add `--json`, for commands that list something with `print_rows`."""
    command.add_argument("--json", action="store_true", help="print JSON")


def query(args: argparse.Namespace) -> Query:
    """Open the picture and load the model that the arguments of `add_query` name. Raises XaiError."""
    from xai_core.models.loading import load_model

    opened = picture(args.image)
    return Query(opened, load_model(args.model, args.weights), args.target, args.rival, args.precision, args.seed)


def opened(args: argparse.Namespace) -> tuple[Dataset, ExplainableModel, Matching]:
    """Open what the arguments of `add_dataset` name, and say how the labels are matched to the classes. Raises XaiError."""
    from collections import Counter

    from xai_core.data.datasets import open_dataset
    from xai_core.data.label_matching import match_classes, read_mapping
    from xai_core.models.loading import load_model

    dataset = open_dataset(args.data)
    say(dataset.in_words())
    model = load_model(args.model, args.weights)
    matching = match_classes(dataset.classes, model, read_mapping(args.mapping) if args.mapping else None)
    say(matching.report(Counter(sample.label for sample in dataset.samples)))
    return dataset, model, matching


def classify(
    model: ExplainableModel,
    dataset: Dataset,
    file: Path,
    matching: Matching,
    *,
    embeddings: bool = False,
    precision: str = "exact",
    shard: Shard | None = None,
    workers: RayWorkers | None = None,
    thumbnails: bool = False,
) -> ClassificationProgress:
    """Write the predictions to `file` with a progress bar; returns how it ended. Raises XaiError."""
    from tqdm import tqdm

    from xai_core.analysis import predict

    steps = predict.classify(
        model, dataset, file, matching=matching, embeddings=embeddings, precision=precision, shard=shard, workers=workers,
        thumbnails=thumbnails,
    )  # fmt: skip
    with tqdm(leave=False, disable=None, unit="picture") as shown:
        for progress in steps:
            shown.total = progress.total
            shown.update(progress.done - shown.n)
    return progress


def opened_by_workers(args: argparse.Namespace, dataset: Dataset) -> RayWorkers | None:
    """The workers of `add_engine` for what the arguments of `add_dataset` name. Raises BadRequest."""
    from functools import partial

    from xai_core.data.datasets import open_dataset
    from xai_core.models.loading import load_model

    return workers(args, dataset, partial(open_dataset, args.data), partial(load_model, weights=args.weights))


def say_unreadable(progress: ClassificationProgress) -> None:
    """Print each file that could not be read, with the reason."""
    for name, reason in progress.unreadable:
        print(f"left out: {name}: {reason}", file=sys.stderr)


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


def variant(args: argparse.Namespace) -> tuple[Method, dict[str, Any]]:
    """The method that `--method` names, and all of its options, also those of `--option`. A variant's cut and precision
    become those of `args`. Raises BadRequest where the two differ."""
    from xai_core.attribution import variants

    found = variants.parse(args.method)
    checked = found.merged(options(args.option))
    if found.cut and args.cut not in (None, found.cut):
        raise BadRequest(f"{found.name} names a cut: leave --cut {args.cut} out.")
    args.cut, args.precision = found.cut or args.cut, found.precision or args.precision
    return found.method, checked


def print_rows(rows: Sequence[Row], as_json: bool, line: Callable[[Row], str]) -> None:
    """Print rows as one JSON list, or each as the text that `line` makes of it."""
    print(json.dumps(rows, indent=2) if as_json else "\n".join(map(line, rows)))


def say(text: str) -> None:
    """Print at once, also into a pipe: for commands that take long."""
    print(text, flush=True)


def picture(name: str) -> Image.Image:
    """Open a picture by its path or address, or a sample by its name; a file of that name is preferred. Raises BadPicture,
    or BadRequest for an address where there is none."""
    from xai_core.data.image_io import MAX_BYTES, open_picture

    if remote.is_address(name):
        return open_picture(remote.read_whole(remote.place_of(name), MAX_BYTES))
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
