"""`python -m xai_core pairs-benchmark`: the table of the pairs paper for any model and any folder of pictures."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.core.errors import BadRequest


def add_to(parsers) -> None:
    ours = parsers.add_parser("pairs-benchmark", help="how faithful methods for pairs are, over many pictures")
    ours.add_argument("--model", required=True, help="see: models")
    ours.add_argument("--weights", help="one of the model's checkpoints, or 'random' (default: its first)")
    ours.add_argument("--data", type=Path, required=True, metavar="DIR", help="a folder of pictures, a ZIP or a table")
    ours.add_argument("--images", type=int, default=100, metavar="N", help="how many of them, drawn by the seed")
    ours.add_argument("--seed", type=int, default=0)
    ours.add_argument("--methods", default="all", help="ids with commas between, or all sixteen of the paper (default)")
    ours.add_argument("--metrics", default="all", help="of SI, SD, CI, CD, SAD, SIC, CAD, CIC, MS, with commas between")
    ours.add_argument("--step", type=int, default=224, help="pixels from one point of a curve to the next")
    ours.add_argument("--pixel-space", action="store_true", help="work in [0, 1], not behind the normalisation as published")
    ours.add_argument("--out", type=Path, required=True, metavar="FILE", help="table.csv; table.md comes beside it")
    ours.set_defaults(run=_benchmark)


def _benchmark(given: argparse.Namespace) -> None:
    from xai_core.data.datasets import open_dataset
    from xai_core.models.loading import load_model
    from xai_core.pairs import benchmark
    from xai_core.pairs.catalog import find_pair_method
    from xai_core.pairs.metrics import PAIR_METRICS, find_metrics

    if given.out.suffix != ".csv":
        raise BadRequest(f"The table is a file .csv, not {given.out.name}.")
    if given.step < 1:
        raise BadRequest(f"A step is at least one pixel, not {given.step}.")
    methods = list(benchmark.PUBLISHED.values())
    if given.methods != "all":
        methods = [find_pair_method(name.strip())[0].id for name in given.methods.split(",")]
    metrics = list(PAIR_METRICS) if given.metrics == "all" else find_metrics(given.metrics.split(","))
    dataset = open_dataset(given.data)
    names = benchmark.chosen_pictures(dataset, given.images, given.seed)
    model = load_model(given.model, given.weights)
    misfits = {name: find_pair_method(name)[0].misfit(model) for name in methods}
    for misfit in filter(None, misfits.values()):
        print(f"left out: {misfit}")
    plan = benchmark.Plan(
        tuple(name for name in methods if misfits[name] is None), metrics=tuple(metrics), seed=given.seed, step=given.step,
        normalised=not given.pixel_space,
    )  # fmt: skip
    parts = given.out.with_name(f"{given.out.name}.parts")
    found, failed = benchmark.run(model, dataset, names, plan, parts, arguments.bar)
    for line in failed:
        print(f"left out: {line}")
    if not found:
        raise BadRequest("No picture could be measured.")
    lines = benchmark.table(found, model.id)
    for name in sorted(set(plan.methods) - {line["method"] for line in lines}):
        print(f"left out: {name} does not fit this network on any picture")
    space = "behind the normalisation" if plan.normalised and model.network.normalise else "in pixel space"
    said = f"{model.title}, {len(found)} pictures of {dataset.title}, seed {given.seed}, {space}."
    markdown = benchmark.as_markdown(lines, said)
    print(markdown)
    files = {given.out.name: benchmark.as_csv(lines).encode(), given.out.with_suffix(".md").name: markdown.encode()}
    arguments.write(files, given.out.parent)
