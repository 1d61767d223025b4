"""`xai-core pairs-benchmark`: the table of the pairs paper (arXiv:2206.09753) for any model and any pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest

if TYPE_CHECKING:
    from xai_core.pairs.benchmark import BenchmarkPlan, BenchmarkRow


def add_to(commands: Commands) -> None:
    """Add the command `pairs-benchmark`."""
    command = commands.add_parser("pairs-benchmark", help="measure how faithful methods for pairs are, over many pictures")
    command.add_argument("--model", required=True, help=arguments.MODEL)
    arguments.add_weights(command)
    command.add_argument("--data", required=True, metavar="DIR", help="a folder of pictures, a ZIP or a table, or samples")
    command.add_argument(
        "--images", type=int, default=100, metavar="N", help="number of pictures, drawn at random with the seed"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    command.add_argument(
        "--methods",
        default="all",
        help="comma-separated ids or variants (grad_cam@cut=layer3), or all sixteen of the paper (default)",
    )
    command.add_argument("--metrics", default="all", help="comma-separated, from SI, SD, CI, CD, SAD, SIC, CAD, CIC, MS")
    command.add_argument("--step", type=int, default=224, help="pixels from one point of a curve to the next")
    settings = command.add_mutually_exclusive_group()
    settings.add_argument(
        "--published",
        action="store_true",
        help="settings of the paper's code: noise, numbers of samples, guided at those ReLUs that are modules",
    )
    settings.add_argument(
        "--pixel-space", action="store_true", help="compute on pixel values in [0, 1] instead of normalised ones"
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="table.csv; table.md and table.tex are written beside it"
    )
    command.add_argument(
        "--run", type=Path, metavar="DIR", dest="folder",
        help="folder of the measurements, from which a run is resumed (default: beside the table); the page Pairs lists "
        "those under data/runs/",
    )  # fmt: skip
    arguments.add_shard(command)
    arguments.add_engine(command, pictures=1)
    command.set_defaults(run=_benchmark)


def _benchmark(args: argparse.Namespace) -> None:
    from xai_core.data.selection import open_images
    from xai_core.models.loading import load_model
    from xai_core.pairs import benchmark, study
    from xai_core.pairs.catalog import find_pair_variant
    from xai_core.pairs.metrics import PAIR_METRICS, find_metrics

    check_table(args.out)
    if args.step < 1:
        raise BadRequest(f"A step is at least one pixel, not {args.step}.")
    methods = tuple(study.PUBLISHED.values())
    if args.methods != "all":
        methods = tuple(dict.fromkeys(find_pair_variant(name).name for name in arguments.names(args.methods)))
    metrics = list(PAIR_METRICS) if args.metrics == "all" else find_metrics(args.metrics.split(","))
    dataset = open_images(args.data)
    names = benchmark.chosen_pictures(dataset, args.images, args.seed)
    model = load_model(args.model, args.weights)
    methods, misfits = benchmark.fitting(model, methods)
    for misfit in misfits:
        print(f"left out: {misfit}")
    plan = benchmark.BenchmarkPlan(
        methods, metrics=tuple(metrics), seed=args.seed, step=args.step,
        normalised=not args.pixel_space, options=study.options_of(model.id) if args.published else {},
    )  # fmt: skip
    workers = arguments.workers(args, dataset, partial(open_images, args.data), partial(load_model, weights=args.weights))
    if args.shard:
        folder = args.shard.place(args.out)
        rows, failures = benchmark.run(model, dataset, names, plan, folder, arguments.bar, shard=args.shard, workers=workers)
        for line in failures:
            print(f"left out: {line}")
        print(f"{len(rows):,} pictures are measured.")
        arguments.say_shard(args.shard, args.out)
        return
    folder = folder_of(args.out, args.folder)
    rows, failures = benchmark.run(model, dataset, names, plan, folder, arguments.bar, workers=workers)
    write_table(rows, failures, plan, model.id, benchmark.asked_of(model, dataset, names, plan), args.out)


def folder_of(out: Path, given: Path | None) -> Path:
    """The folder of the measurements: the one that was given, or the one beside the table."""
    return given or out.with_name(f"{out.name}.parts")


def check_table(out: Path) -> None:
    """Raises BadRequest where the table would be no CSV file."""
    if out.suffix != ".csv":
        raise BadRequest(f"The table is a file .csv, not {out.name}.")


def write_table(
    rows: Sequence[Sequence[BenchmarkRow]],
    failures: Sequence[str],
    plan: BenchmarkPlan,
    model: str,
    asked: Mapping[str, Any],
    out: Path,
) -> None:
    """Write the table of these pictures as CSV, Markdown and LaTeX, and say what was left out. Raises BadRequest where there
    are no pictures."""
    from xai_core.pairs import benchmark, study

    for line in failures:
        print(f"left out: {line}")
    if not rows:
        raise BadRequest("No picture could be measured.")
    table = benchmark.table(rows, model)
    for name in sorted(set(plan.methods) - {line["method"] for line in table}):
        print(f"left out: {name} does not fit this network on any picture")
    title = f"{asked['title']}, {len(rows)} pictures of {asked['data']}, seed {plan.seed}, {asked['space']}."
    deviations = []
    if model in study.MODELS:
        deviations = study.deviations(benchmark.setup_as_told(model, asked, plan, len(rows)), model)
    markdown = benchmark.as_markdown(table, title, deviations)
    print(markdown)
    files = {
        out.name: benchmark.as_csv(table), out.with_suffix(".md").name: markdown,
        out.with_suffix(".tex").name: benchmark.as_latex(table, title, deviations),
    }  # fmt: skip
    arguments.write({name: text.encode() for name, text in files.items()}, out.parent)
