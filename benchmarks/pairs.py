"""What measuring pairs costs beside the forwards it is made of: `python -m benchmarks.pairs [--out FILE] [--step N]`.

SI, SD, CI, CD and the four drops of several methods are one stream; against it stand as many plain forward passes in batches
of the same size, through the same embedding. Random weights: they cost what trained ones do. At the published step of 224
pixels a method takes 902 passes; a larger step has the same ratio in less time.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.paired import report, row, timed
from xai_core import PAIR_METRICS, evaluate_pair, explain_pair, load_model
from xai_core.core import runtime

CURVES = [metric for metric in PAIR_METRICS if metric != "MS"]
METHODS = ("grad_cam", "interaction_cam_mean", "input_x_gradient")


class Counter:
    """Stands before the first stage and counts pictures."""

    def __init__(self, normalise):
        self.normalise, self.pictures = normalise, 0

    def __call__(self, images):
        self.pictures += len(images)
        return self.normalise(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pairs.json")
    parser.add_argument("--models", default="efficientnet_lite0,resnet50")
    parser.add_argument("--step", type=int, default=1792)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows = [one for name in given.models.split(",") for one in measured(name, given.step, given.rounds)]
    report(rows, given.out)


def measured(name: str, step: int, rounds: int) -> list[dict]:
    model = load_model(name, weights="random")
    draw = torch.Generator().manual_seed(0)
    view1, view2 = torch.rand(2, 3, 224, 224, generator=draw)
    maps = {method: explain_pair(model, view1, view2, method) for method in METHODS}
    counter = Counter(model.network.normalise)
    counted = replace(model, network=replace(model.network, normalise=counter))
    evaluate_pair(counted, view1, view2, maps, CURVES, step=step)
    passes, size = counter.pictures, runtime.inner_batch(224 * 224, model.device)
    batch = torch.rand(size, 3, 224, 224, generator=draw).to(model.device)

    def forwards():
        with torch.no_grad():
            for start in range(0, passes, size):
                _ = model.network.outputs(batch[: min(size, passes - start)]).embedding

    works = {
        "metrics": lambda: evaluate_pair(model, view1, view2, maps, CURVES, step=step),
        "forwards": forwards,
    }
    for method in METHODS:
        works[method] = lambda method=method: explain_pair(model, view1, view2, method)
    found = timed(works, rounds)
    told = {"passes": passes, "passes_per_method": passes / len(METHODS), "step": step}
    rows = [
        row(
            f"8 metrics of {len(METHODS)} methods, {name}", found["metrics"], found["forwards"], f"{passes} forwards", **told
        )
    ]
    for method in METHODS:
        rows.append(row(f"{method}, {name}", found[method], found["forwards"] / passes, "one forward"))
    return rows


if __name__ == "__main__":
    main()
