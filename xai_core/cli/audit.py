"""`xai-core audit`: why a model is wrong on a dataset, and what to do, as a folder with a report, tables and pictures."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.failures.audited import TrainingPredictions
    from xai_core.models.explainable import ExplainableModel


def add_to(commands: Commands) -> None:
    """Add the command `audit`."""
    command = commands.add_parser(
        "audit", help="find out why a model is wrong on a dataset: wrong labels, groups of errors, what mends them, actions"
    )
    arguments.add_dataset(command)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or one of an earlier audit")
    command.add_argument("--method", default="grad_cam", help="of the maps in the report, see: methods")
    command.add_argument("--groups", type=int, default=3, help="groups of errors that are looked into, at most")
    command.add_argument(
        "--pictures", type=int, default=200, help="pictures of each that the network is asked again, at most"
    )
    command.add_argument(
        "--no-maps",
        action="store_true",
        help="do not search groups by maps of the errors (the other steps make maps anyhow)",
    )
    command.add_argument(
        "--training", type=Path, metavar="FILE",
        help="predictions of the training pictures, of 'classify --embeddings', for the evidence (default: of a world, "
        "those that come with this package)",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--address", default="http://localhost:8501", help="of the dashboard to which the report's pictures lead"
    )
    arguments.add_shard(command)
    arguments.add_engine(command, pictures=32, address="--ray-address")
    command.set_defaults(run=_audit)


def _audit(args: argparse.Namespace) -> None:
    if args.shard:
        _audit_shard(args)
    else:
        write_audit(args)


# Arguments that decide what an audit finds or writes: those of a shard are kept, and `merge` goes on with them.
KEPT = (
    "data", "model", "weights", "mapping", "method", "groups", "pictures", "no_maps", "training", "seed", "address",
)  # fmt: skip
FILES = ("data", "mapping", "training")


def _audit_shard(args: argparse.Namespace) -> None:
    """What an audit needs of each picture of a shard; the steps of all pictures are taken by `merge`."""
    from tqdm import tqdm

    from xai_core.core.errors import BadRequest
    from xai_core.failures import merged_audit

    if args.engine:
        raise BadRequest("A shard of an audit is one process: leave --engine or --shard out.")
    check_folder(args.out)
    dataset, model, matching = arguments.opened(args)
    _training(args.training, model, None)
    kept = {name: _kept(getattr(args, name), name in FILES) for name in KEPT}
    steps = merged_audit.measure_shard(model, dataset, args.shard.place(args.out), matching, args.shard, kept)
    with tqdm(leave=False, disable=None, unit="picture") as shown:
        for progress in steps:
            shown.total = progress.total
            shown.update(progress.done - shown.n)
    arguments.say_unreadable(progress)
    print(progress.in_words())
    arguments.say_shard(args.shard, args.out)


def _kept(value: Any, is_file: bool) -> Any:
    """An argument as JSON takes it; a file's path is whole, so that another folder does not matter."""
    if value is None or not is_file:
        return value
    return str(Path(value).resolve()) if Path(value).exists() else str(value)


def write_audit(args: argparse.Namespace, measured: pd.DataFrame | None = None) -> None:
    """The whole audit; `measured` are the statistics of its pictures, where shards have measured them. Raises XaiError."""
    from xai_core.analysis import predict
    from xai_core.core.errors import BadRequest
    from xai_core.core.files import write_atomically
    from xai_core.data.datasets import offered
    from xai_core.data.predictions import read_predictions, settings_of
    from xai_core.failures import audit, audit_document
    from xai_core.failures.audited import AuditedPredictions

    check_folder(args.out)
    dataset, model, matching = arguments.opened(args)
    name = next((name for name, source in offered().items() if _same(source, args.data)), None)
    training = _training(args.training, model, name)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / PREDICTIONS
    if measured is None:
        workers = arguments.opened_by_workers(args, dataset)
        arguments.say_unreadable(arguments.classify(model, dataset, file, matching, embeddings=True, workers=workers))
    elif settings_of(file).get("weights") != model.fingerprint:
        raise BadRequest(f"The shards have predictions of other weights than {model.title} has now; classify again.")
    rows = predict.judged(read_predictions(file)).reset_index(drop=True)
    audited = AuditedPredictions(
        model,
        dataset,
        rows,
        args.groups,
        args.pictures,
        args.seed,
        not args.no_maps,
        training,
        arguments.bar,
        measured,
    )
    sections = []
    for section in audit.audit(audited):
        print(f"\n{section.title}", *section.sentences, sep="\n", flush=True)
        sections.append(section)
    links = audit_document.Links(args.address, name) if name else None
    figures = audit_document.pictures_of(audited, sections, args.method, links)
    for folder in audit_document.FOLDERS:  # of an earlier audit
        shutil.rmtree(args.out / folder, ignore_errors=True)
    for path, data in audit_document.files(audited, sections, figures, links).items():
        (args.out / path).parent.mkdir(exist_ok=True)
        write_atomically(args.out / path, data)
    print("", args.out / "report.html", sep="\n")


def _training(file: Path | None, model: ExplainableModel, dataset: str | None) -> TrainingPredictions | None:
    """The predictions of training pictures in a file, or without one those that come with this package for the training
    pictures of an offered world. Raises BadRequest where the file is not of this model, or has no embeddings."""
    from xai_core.analysis import predict
    from xai_core.core.errors import BadRequest
    from xai_core.data.datasets import open_dataset, training_split
    from xai_core.data.predictions import read_predictions, settings_of
    from xai_core.failures.audited import TrainingPredictions

    if file is None:
        name = training_split(dataset) if dataset else None
        file = predict.shipped(model, open_dataset(name)) if name else None
        if file is None:
            return None
    settings = settings_of(file)
    if settings.get("weights") != model.fingerprint:
        raise BadRequest(f"{file} has predictions of another model or other weights than {model.title}; classify again.")
    if not settings.get("embeddings"):
        raise BadRequest(f"{file} has no embeddings; classify the training pictures again with --embeddings.")
    rows = predict.judged(read_predictions(file)).reset_index(drop=True)
    if not len(rows):
        raise BadRequest(f"{file} has no picture whose label is a class of {model.title}.")
    return TrainingPredictions(str(settings.get("dataset", file.stem)), rows)


PREDICTIONS = "predictions.parquet"


def check_folder(folder: Path) -> None:
    """Raises BadRequest where writing an audit would mix it with something else."""
    from xai_core.core.errors import BadRequest

    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    audits = {PREDICTIONS, f".{PREDICTIONS}.parts"} & inside
    if (folder.exists() and not folder.is_dir()) or (inside and not audits):
        raise BadRequest(f"{folder} holds something else; give a new folder, or that of an earlier audit.")


def _same(source: str | Path, data: str) -> bool:
    return str(source) == data or (isinstance(source, Path) and source.resolve() == Path(data).resolve())
