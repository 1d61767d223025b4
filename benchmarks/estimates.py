"""How far estimates of time are from the real time: every method, classifying, and a run; alone and beside busy processes.

    python -m benchmarks.estimates [--model ID] [--busy N] [--only WORK] [--out FILE]

Each estimate is made as on the page, by measurements made just before, and nothing is learnt from finished work. The goal is
a factor of two. Rows are written into the file at once, so that the table can be made in parts.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.paired import machine
from benchmarks.threads import busy
from xai_core.analysis import predict
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import explanation_seconds
from xai_core.attribution.explain import answer, request_for, with_method
from xai_core.data.datasets import open_dataset
from xai_core.data.samples import load_sample
from xai_core.data.selection import SAMPLE_SET
from xai_core.evaluation.runner import evaluate
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.models.pass_times import PassTimes

BUSY = (0, 2)  # processes that do nothing but compute
PICTURES = 120  # classified
RUN_METHODS, RUN_METRICS = ("grad_cam", "saliency", "integrated_gradients"), ("deletion", "insertion", "sparseness")
FACTOR = 2.0
SHORT = 0.5  # seconds: of less the page says "about 1 s"


class Work(NamedTuple):
    """`estimate` gives seconds; `run` does the work."""

    estimate: Callable[[], float]
    run: Callable[[], object]


def explaining(model: ExplainableModel, method: str) -> Work:
    request = with_method(request_for(model, [load_sample("chelsea")], target=None), method)
    return Work(lambda: explanation_seconds(request, PassTimes()), lambda: list(answer([request])))


def classifying(model: ExplainableModel, folder: Path) -> Work:
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(PICTURES):
        load_sample("chelsea").rotate(number).save(pictures / f"{number}.jpg")
    dataset = open_dataset(pictures)
    return Work(
        lambda: predict.estimated_seconds(model, dataset, PassTimes()),
        lambda: list(predict.classify(model, dataset, folder / "predictions.parquet")),
    )


def evaluating(model: ExplainableModel, folder: Path) -> Work:
    def evaluated(dry: bool) -> Any:
        return evaluate([model.id], RUN_METHODS, RUN_METRICS, SAMPLE_SET, folder / "run", load=lambda name: model, dry=dry)

    return Work(lambda: float(evaluated(True).total_seconds), lambda: evaluated(False))


def measured(work: Work) -> dict[str, float]:
    estimate = work.estimate()
    began = time.perf_counter()
    work.run()
    real = time.perf_counter() - began
    return {"estimate": estimate, "real": real, "ratio": estimate / real}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--busy", type=int, action="append", metavar="N", help="busy processes beside; 0 and 2 by default")
    parser.add_argument("--only", action="append", metavar="WORK", help="a method, 'classify' or 'run'; repeatable")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "estimates.json")
    arguments = parser.parse_args()

    model = load_model(arguments.model)
    names = [id for id, method in METHODS.items() if method.misfit(model) is None] + ["classify", "run"]
    written = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    rows = written["rows"] if written.get("machine") == machine() else {}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or names:
        for count in arguments.busy or BUSY:
            with tempfile.TemporaryDirectory() as folder, busy(count):
                makers = {"classify": classifying, "run": evaluating}
                work = makers[name](model, Path(folder)) if name in makers else explaining(model, name)
                rows[f"{arguments.model} {name} {count}"] = row = measured(work)
            mark = "" if 1 / FACTOR <= row["ratio"] <= FACTOR or row["real"] < SHORT else "  missed"
            seconds = f"{row['estimate']:>10.2f} s{row['real']:>10.2f} s"
            print(f"{name:<30}{count} busy{seconds}{row['ratio']:>8.2f}{mark}", flush=True)
            arguments.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
