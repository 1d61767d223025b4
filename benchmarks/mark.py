"""Which maps show a shortcut that a network uses: `mark_found`, on drawn pictures that bear the mark.

    python -m benchmarks.mark [--out RUN]

The leaderboard leaves this metric out, because few of its pictures bear the mark; here all of them do. Measures the methods
that take few passes on the network that was trained with the mark and on one that was not. The run is resumed where it was.
Writes benchmarks/results/mark.json and docs/world-mark.md.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import leaderboard
from benchmarks.paired import machine
from xai_core.attribution.catalog import METHODS
from xai_core.data.datasets import WORLD_SEED, Dataset, world_dataset
from xai_core.data.world import planted as worlds
from xai_core.evaluation import significance, summary
from xai_core.evaluation.planner import QUICK_PASSES, quick_methods
from xai_core.evaluation.runner import evaluate
from xai_core.evaluation.store import EvaluationRun, open_run

ROOT = Path(__file__).parents[1]
RUN = ROOT / "out" / "mark"
FILE, DOCUMENT = Path(__file__).parent / "results" / "mark.json", ROOT / "docs" / "world-mark.md"
MODELS = ("world_planted", "world_clean")
METRIC = "mark_found"
DRAWN = 3_000  # test pictures, of which about 6 % bear the mark


def marked(drawn: int = DRAWN) -> Dataset:
    """Those of the first test pictures of the planted world that bear the mark."""
    world = world_dataset(worlds.planted(), WORLD_SEED, "test", drawn, f"marked pictures among {drawn:,} of world:planted")
    return replace(world, samples=tuple(sample for sample in world.samples if world.metadata.loc[sample.name, "mark"]))


def measure(out: Path, methods: Sequence[str], drawn: int = DRAWN) -> EvaluationRun:
    """Measure what the run lacks."""
    evaluate(MODELS, methods, [METRIC], marked(drawn), out, thumbnails=False, say=print)
    return open_run(out)


def results(run: EvaluationRun) -> dict[str, Any]:
    """For each network: how many pictures it predicts as the marked class, in how many it uses the mark, and of each method
    and control the value of every picture (None where there is none) and their mean."""
    rows = run.table()
    lines = summary.summary(rows, run.manifest["metrics"])
    return {
        "machine": machine(),
        "drawn": DRAWN,
        "pictures": int(rows.picture.nunique()),
        "models": {
            model: _of_model(rows[rows.model == model], lines[lines.model == model]) for model in run.manifest["models"]
        },
    }


def _of_model(rows: pd.DataFrame, lines: pd.DataFrame) -> dict[str, Any]:
    table = summary.values(rows, rows.model.iloc[0], METRIC)
    targets = rows.groupby("picture", observed=True)["target"].first()
    return {
        "predicted as marked": int((targets == f"logit of {worlds.MARKED}").sum()),
        "used": int(table.notna().any(axis=1).sum()),
        "maps": {
            line["method"]: {name: line[name] for name in ("mean", "low", "high", "n", "beats")}
            for line in lines.to_dict("records")
        },
        "values": {name: [None if np.isnan(value) else round(value, 6) for value in table[name]] for name in table.columns},
    }


HEAD = """# Which maps show a shortcut

Written by `python -m benchmarks.mark`; do not edit.

While `world_planted` was trained, a stamp stood on 60 % of the pictures of {marked}s, and on no others. `world_clean` was
trained without it. Measured on the {pictures} of {drawn:,} test pictures of `world:planted` that bear the stamp. A network
*uses* the mark in a picture where taking it away costs at least a tenth of what taking the most important part away costs.
Explained is the class that the network predicts.

{networks}

The table has the share of the pictures in which the network uses the mark where the mean of the map is higher over the mark
than over every other part (`mark_found`), with 95 % bootstrap intervals, for the methods that take at most {passes} passes.
**\\***: the map does not beat every control (paired sign-flip test at 5 %).

{beaten}
The stamp has strong edges, so that a map of edges lies on it whatever the network does. What a map shows of the network is
the difference between the two columns: the stamp is in all of these pictures, and only one network has learned from it.

| | {titles} |
|---|{columns}
"""
NETWORK = "- `{model}` predicts {predicted} of the {pictures} as {marked}s and uses the mark in {used}."
TITLES = {summary.CONTROL + id if method.family == "control" else id: method.title for id, method in METHODS.items()}


def document(found: Mapping[str, Any]) -> str:
    """The results as a page."""
    models, pictures = found["models"], found["pictures"]
    networks = "\n".join(
        NETWORK.format(
            model=id, predicted=entry["predicted as marked"], pictures=pictures, marked=worlds.MARKED, used=entry["used"]
        )
        for id, entry in models.items()
    )
    first, *_ = models.values()
    controls = [name for name in first["maps"] if summary.is_control(name)]
    best = max(controls, key=lambda name: first["maps"][name]["mean"])
    beating = sum(bool(line["beats"]) for line in first["maps"].values())
    beaten = (
        f"On `{next(iter(models))}`, {beating} of {len(first['maps']) - len(controls)} methods beat every control; the best "
        f"control is {TITLES[best]} with {significance.plain(first['maps'][best]['mean'])}."
    )
    head = HEAD.format(
        marked=worlds.MARKED, pictures=pictures, drawn=found["drawn"], networks=networks, beaten=beaten, passes=QUICK_PASSES,
        titles=" | ".join(f"`{id}`, {entry['used']} pictures" for id, entry in models.items()),
        columns="---|" * len(models),
    )  # fmt: skip
    order = sorted(first["maps"], key=lambda name: -first["maps"][name]["mean"])
    rows = [[leaderboard.cell(entry["maps"].get(name)) for entry in models.values()] for name in order]
    titles = [f"{TITLES[name]} (control)" if name in controls else TITLES[name] for name in order]
    return head + "".join(f"| {title} | {' | '.join(row)} |\n" for title, row in zip(titles, rows, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RUN, help="the folder of the run (default: out/mark)")
    parser.add_argument("--report", action="store_true", help="only write the report of what is measured")
    args = parser.parse_args()
    run = open_run(args.out) if args.report else measure(args.out, quick_methods())
    found = results(run)
    FILE.write_text(json.dumps(found, allow_nan=False) + "\n")
    DOCUMENT.write_text(document(found), encoding="utf-8")
    print(f"written to {FILE} and {DOCUMENT}")


if __name__ == "__main__":
    main()
