"""`xai-core pairs-benchmark`: the table of the pairs paper (arXiv:2206.09753) for any model and any pictures."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest


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
    command.set_defaults(run=_benchmark)


def _benchmark(args: argparse.Namespace) -> None:
    from xai_core.data.selection import open_images
    from xai_core.models.loading import load_model
    from xai_core.pairs import benchmark, study
    from xai_core.pairs.catalog import find_pair_variant
    from xai_core.pairs.metrics import PAIR_METRICS, find_metrics

    if args.out.suffix != ".csv":
        raise BadRequest(f"The table is a file .csv, not {args.out.name}.")
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
    parts = args.folder or args.out.with_name(f"{args.out.name}.parts")
    rows, failures = benchmark.run(model, dataset, names, plan, parts, arguments.bar)
    for line in failures:
        print(f"left out: {line}")
    if not rows:
        raise BadRequest("No picture could be measured.")
    table = benchmark.table(rows, model.id)
    for name in sorted(set(plan.methods) - {line["method"] for line in table}):
        print(f"left out: {name} does not fit this network on any picture")
    space = "behind the normalisation" if plan.normalised and model.network.normalise else "in pixel space"
    title = f"{model.title}, {len(rows)} pictures of {dataset.title}, seed {args.seed}, {space}."
    deviations = []
    if model.id in study.MODELS:
        deviations = study.deviations(benchmark.setup_of(model, dataset, len(rows), plan), model.id)
    markdown = benchmark.as_markdown(table, title, deviations)
    print(markdown)
    files = {
        args.out.name: benchmark.as_csv(table), args.out.with_suffix(".md").name: markdown,
        args.out.with_suffix(".tex").name: benchmark.as_latex(table, title, deviations),
    }  # fmt: skip
    arguments.write({name: text.encode() for name, text in files.items()}, args.out.parent)
