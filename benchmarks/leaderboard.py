"""Which method tells the truth where the truth is known, and which metric foretells it: measured on drawn pictures.

    python -m benchmarks.leaderboard [--pictures N] [--few N] [--out RUN]

Measures every method that fits on the networks of drawn worlds and untrained twins, by the metrics that know what each
part of a picture does, and on fewer pictures by the metrics that know nothing of it. The run is resumed where it was. Writes
the run (shown on the page Faithfulness metrics), benchmarks/results/leaderboard.json and docs/leaderboard.md.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmarks.paired import machine
from xai_core.attribution.catalog import METHODS
from xai_core.core import part_store
from xai_core.core.options import check_options
from xai_core.core.part_store import PARTS
from xai_core.evaluation import ranking, significance, summary
from xai_core.evaluation.planner import Given, quick_methods
from xai_core.evaluation.runner import evaluate
from xai_core.evaluation.store import PICTURES as PICTURES_SCHEMA
from xai_core.evaluation.store import ROWS, THUMBNAILS, EvaluationRun, open_run
from xai_core.metrics.catalog import METRICS, find_metric

ROOT = Path(__file__).parents[1]
RUN = ROOT / "data" / "runs" / "truth"
FILE, DOCUMENT = Path(__file__).parent / "results" / "leaderboard.json", ROOT / "docs" / "leaderboard.md"
TRAINED = ("world_planted", "world_clean", "world_barlow")
UNTRAINED = ("world_planted/random", "world_barlow/random")
MODELS = (*TRAINED, *UNTRAINED)
WORLD = "world:planted"
TRUTH = "part_correlation"  # the metric that orders the leaderboard
PICTURES, FEW = 200, 24
A_PART = 25_000  # rows
FAMILY = "ground truth"
FEWER_PASSES = {"rise": {"samples": 1000}, "sobol": {"designs": 16}}  # of the methods that take most: a quarter, a half


def methods() -> dict[str, dict[str, Any]]:
    """Every method that is no control, with its options."""
    return {id: FEWER_PASSES.get(id, {}) for id, method in METHODS.items() if method.family != "control"}


def steps(pictures: int, few: int) -> Iterator[tuple[Sequence[str], Given, list[str], int]]:
    """(networks, methods, metrics, pictures) of each step: the truth on all pictures, then what must do without it.

    The methods that take few passes come first, so that a run that is stopped early has them on all pictures. Metrics that
    compute each map again are measured for these methods alone. Few of these pictures bear the mark: `benchmarks/mark.py`
    measures `mark_found`.
    """
    truth = [id for id, metric in METRICS.items() if metric.family == FAMILY and id != "mark_found"]
    blind = [id for id, metric in METRICS.items() if metric.family != FAMILY]
    remaking = [id for id in blind if METRICS[id].cost(check_options(METRICS[id].run, {})).maps]
    quick, every = {id: options for id, options in methods().items() if id in quick_methods()}, methods()
    yield MODELS, quick, truth, pictures
    yield TRAINED[:1], every, truth, pictures // 2
    yield TRAINED[:1], every, [id for id in blind if id not in remaking], few
    yield TRAINED[:1], quick, remaking, few // 2
    yield TRAINED, every, truth, pictures


def measure(out: Path, pictures: int, few: int, budget: float | None = None) -> EvaluationRun:
    """Measure what the run lacks, or as much of it as the budget (seconds of each step) allows."""
    for models, names, metrics, count in steps(pictures, few):
        evaluate(models, names, metrics, WORLD, out, count=count, budget=budget, thumbnails=count == pictures, say=print)
    return open_run(out)


def join_parts(run: EvaluationRun) -> None:
    """Write a run's many small parts again as a few, in an order that compresses well, and each small copy once."""
    rows = part_store.read_rows(run.folder / PARTS, ROWS, ROWS.names)
    rows = rows.sort_by([(name, "ascending") for name in ("model", "metric", "picture", "method")])
    copies = part_store.read_rows(run.folder / THUMBNAILS, PICTURES_SCHEMA, PICTURES_SCHEMA.names).to_pandas()
    copies = pa.Table.from_pandas(copies.drop_duplicates("picture"), PICTURES_SCHEMA, preserve_index=False)
    with part_store.locked(run.folder, f"Another evaluation is writing to {run.folder}."):
        for folder, table in ((PARTS, rows), (THUMBNAILS, copies)):
            old = part_store.find_parts(run.folder / folder)
            for start in range(0, len(table), A_PART):
                part_store.write_part(run.folder / folder, table.slice(start, A_PART), compression_level=19)
            for part in old:
                part.unlink()


def results(run: EvaluationRun) -> dict[str, Any]:
    """The leaderboard of each network, and how well each metric foretells its order by TRUTH."""
    rows, metrics = run.table(), run.manifest["metrics"]
    lines = summary.summary(
        rows[rows.metric.isin([name for name in metrics if find_metric(name).family == FAMILY])], metrics
    )
    return {
        "machine": machine(),
        "data": run.manifest["asked"]["data"],
        "seed": run.manifest["asked"]["seed"],
        "models": {model: _of_model(rows, lines[lines.model == model], metrics, model) for model in run.manifest["models"]},
    }


def _of_model(
    rows: pd.DataFrame, lines: pd.DataFrame, metrics: Mapping[str, Mapping[str, Any]], model: str
) -> dict[str, Any]:
    def better(metric: str) -> pd.DataFrame:
        values = summary.values(rows, model, metric)
        values = values[[name for name in values.columns if not summary.is_control(name)]]
        return significance.oriented(values, metrics[metric]["direction"])

    truth = better(TRUTH)
    blind = [
        name for name in rows.metric[rows.model == model].unique()
        if find_metric(name).family != FAMILY and metrics[name]["direction"]
    ]  # fmt: skip
    compared = truth.dropna(axis=1, how="all")
    ranks = ranking.ranks(compared, "higher")
    foretold = ranking.foretelling(truth, {name: better(name) for name in blind})
    return {
        "ranks": {"n": ranks.n, "critical difference": ranks.critical, "mean": ranks.mean,
                  "as good as the best": [name for name in ranks.mean if name not in ranks.worse]},
        "maps": {
            str(method): {
                str(line.metric): {"mean": line.mean, "low": line.low, "high": line.high, "n": line.n, "beats": line.beats}
                for line in of_method.drop(columns="mean").assign(mean=of_method["mean"]).itertuples()
            }
            for method, of_method in lines.groupby("method", sort=False)
        },
        "foretelling": {name: estimate._asdict() for name, estimate in foretold.items()},
    }  # fmt: skip


HEAD = """# Which method tells the truth, where the truth is known

Written by `python -m benchmarks.leaderboard`; do not edit. The run is shipped: choose `truth` on the page Faithfulness
metrics, section *Ground truth*.

Pictures of `world:planted` are drawn, so each part of them can be taken away and the rest drawn again. The fall of the score
is what that part does: no pixels are covered or blurred. A method tells the truth where its map orders the parts as their
effects do. Target: the class that the network predicts. Brackets hold 95 % bootstrap intervals over pictures.

- **Correlation**: Spearman's rank correlation of the map's mass in each part with the part's effect.
- **Top part**: how often the part with most of the map is the one with the largest effect.
- **Evidence**: the share of the map's positive evidence in the parts that matter.
- **\\***: the map does not beat every control (paired sign-flip test at 5 %). *Untrained* is the same network with random
  weights, asked about its own prediction.

RISE takes 1,000 samples here and Sobol indices 16 designs; all else has its default options. *Pictures*: those with a
correlation; methods that take many passes were measured on fewer.

This ranking is of drawn things and of one small architecture. It says how methods do where the truth can be known, not how
they do on photographs.

"""
COLUMNS = {"part_correlation": "Correlation", "top_part": "Top part", "evidence_in_what_matters": "Evidence"}


def document(results: Mapping[str, Any], title: Mapping[str, str]) -> str:
    """The results as a page. `title` gives the titles of networks, methods, controls and metrics by their ids."""
    parts = [HEAD, f"Pictures of `{results['data']}`, seed {results['seed']}.\n"]
    for model, found in results["models"].items():
        ranks, maps = found["ranks"], found["maps"]
        order = sorted(maps, key=lambda name: -_number(maps[name].get(TRUTH, {}).get("mean")))
        as_good = ", ".join(title[name] for name in order if name in ranks["as good as the best"])
        parts.append(
            f"\n## {title[model]}\n\nMean ranks by correlation over {ranks['n']} pictures, critical difference "
            f"{ranks['critical difference']:.2f} (Nemenyi, 5 %): no significant difference from the best: {as_good}.\n\n"
            f"| | {' | '.join(COLUMNS.values())} | Pictures |\n|---|{'---|' * len(COLUMNS)}---|\n"
        )
        for name in order:
            cells = [cell(maps[name].get(metric)) for metric in COLUMNS]
            parts.append(f"| {title[name]} | {' | '.join(cells)} | {maps[name].get(TRUTH, {}).get('n', 0)} |\n")
        if found["foretelling"]:
            parts.append(_foretelling(found["foretelling"], title))
    return "".join(parts)


def _foretelling(foretelling: Mapping[str, Mapping[str, Any]], title: Mapping[str, str]) -> str:
    order = sorted(foretelling, key=lambda name: -_number(foretelling[name]["value"]))
    rows = [
        f"| {title[name]} | {significance.Estimate(**foretelling[name])} | {foretelling[name]['n']} |\n" for name in order
    ]
    return (
        "\nHow well a metric that knows nothing of the truth foretells this order: Kendall's tau between the two orders of "
        "methods (1: the same, 0: unrelated).\n\n| metric | tau | pictures |\n|---|---|---|\n" + "".join(rows)
    )


def cell(entry: Mapping[str, Any] | None) -> str:
    """A mean with its interval, and an asterisk where the map does not beat every control; a dash where nothing is known."""
    if entry is None or not entry["n"]:
        return "–"
    estimate = significance.Estimate(entry["mean"], entry["low"], entry["high"], entry["n"])
    return f"{estimate}{'*' if entry['beats'] is False else ''}"


def _number(value: float | None) -> float:
    return -2.0 if value is None or value != value else value


def titles(run: EvaluationRun) -> dict[str, str]:
    """The titles of everything in the run, by id."""
    manifest = run.manifest
    entries = {**manifest["models"], **manifest["methods"], **manifest["metrics"]}
    controls = {
        f"{summary.CONTROL}{id}": f"{METHODS[id].title} (control)" for id in METHODS if METHODS[id].family == "control"
    }
    return controls | {name: entry["title"] for name, entry in entries.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pictures", type=int, default=PICTURES, help=f"for the metrics that know the truth (default: {PICTURES})"
    )
    parser.add_argument("--few", type=int, default=FEW, help=f"for the other metrics (default: {FEW})")
    parser.add_argument("--out", type=Path, default=RUN, help="the folder of the run (default: data/runs/truth)")
    parser.add_argument("--budget", type=float, help="seconds for each step; the next call goes on")
    parser.add_argument("--report", action="store_true", help="only write the report of what is measured")
    args = parser.parse_args()
    if not args.report:
        join_parts(measure(args.out, args.pictures, args.few, args.budget))
    run = open_run(args.out)
    found = results(run)
    FILE.write_text(json.dumps(found, indent=1, allow_nan=True) + "\n")
    DOCUMENT.write_text(document(found, titles(run)), encoding="utf-8")
    print(f"written to {FILE} and {DOCUMENT}")


if __name__ == "__main__":
    main()
