"""`xai-core merge`: what the shards of a command have written, joined into what the command writes without `--shard`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from xai_core.cli import arguments, audit, classify, evaluate, pairs_benchmark
from xai_core.cli.arguments import Commands
from xai_core.core import part_store, shards
from xai_core.core.errors import BadRequest


def add_to(commands: Commands) -> None:
    """Add the command `merge`."""
    command = commands.add_parser(
        "merge", help="join the shards of classify, evaluate, audit or pairs-benchmark; an audit then takes its steps"
    )
    command.add_argument("out", type=Path, metavar="OUT", help="the --out of the commands that had --shard")
    command.add_argument(
        "shards", type=Path, nargs="*", metavar="SHARD", help="files or folders of the shards (default: those in OUT.shards)"
    )
    command.add_argument(
        "--run", type=Path, metavar="DIR", dest="folder",
        help="of pairs-benchmark: folder for the measurements (default: beside the table)",
    )  # fmt: skip
    command.set_defaults(run=_merge)


def _merge(args: argparse.Namespace) -> None:
    from xai_core.data import thumbnail_file

    named = [path for path in args.shards if not thumbnail_file.is_thumbnails(path)]  # of OUT.shards/*.parquet
    paths = named or shards.find(args.out)
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise BadRequest(f"There is no shard {missing[0]}.")
    kinds = {_kind(path): path for path in paths}
    if len(kinds) > 1:
        (one, first), (other, second), *_ = kinds.items()
        raise BadRequest(f"{first} is of '{one}' and {second} of '{other}': shards of one command are joined.")
    (kind,) = kinds
    if args.folder and kind != "pairs-benchmark":
        raise BadRequest(f"--run names a folder of pairs-benchmark; these are shards of {kind}.")
    JOIN[kind](paths, args)


def _kind(path: Path) -> str:
    """The command that wrote a shard."""
    from xai_core.failures import merged_audit

    if path.is_file() or path.name.startswith("."):
        return "classify"
    if merged_audit.is_shard(path):
        return "audit"
    return "pairs-benchmark" if part_store.holds_plans(path) else "evaluate"


def _join_predictions(paths: Sequence[Path], args: argparse.Namespace) -> None:
    from xai_core.analysis import merged_predictions, predict

    predict.check_suffix(args.out)
    total, unreadable = merged_predictions.merge(paths, args.out)
    lacking = merged_predictions.without_thumbnails(paths)
    if 0 < len(lacking) < len(paths):
        arguments.say(
            f"{lacking[0]} has no thumbnails of its pictures beside it, so that they were not joined: run its command with "
            "--thumbnails."
        )
    progress = predict.ClassificationProgress(total, total, tuple(unreadable))
    arguments.say_unreadable(progress)
    print(progress.in_words())
    classify.say_right(args.out)
    print(args.out)


def _join_runs(paths: Sequence[Path], args: argparse.Namespace) -> None:
    from xai_core.evaluation import merged_runs

    evaluate.summarise(merged_runs.merge(paths, args.out))
    arguments.say(f"\n{args.out}")


def _join_benchmarks(paths: Sequence[Path], args: argparse.Namespace) -> None:
    from xai_core.pairs import merged_benchmark

    pairs_benchmark.check_table(args.out)
    run, failures = merged_benchmark.merge(paths, pairs_benchmark.folder_of(args.out, args.folder))
    pairs_benchmark.write_table(run.pictures, failures, run.plan, run.model, run.asked, args.out)


def _join_audits(paths: Sequence[Path], args: argparse.Namespace) -> None:
    from xai_core.failures import merged_audit

    audit.check_folder(args.out)
    told, measured = merged_audit.merge(paths, args.out / audit.PREDICTIONS)
    files = {name: Path(told[name]) for name in ("mapping", "training") if told[name]}
    audit.write_audit(argparse.Namespace(**{**told, **files, "out": args.out}), measured)


JOIN = {
    "classify": _join_predictions,
    "evaluate": _join_runs,
    "pairs-benchmark": _join_benchmarks,
    "audit": _join_audits,
}
