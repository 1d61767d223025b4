"""What measuring costs on a ResNet-50 at 224 pixels, and the goals set for it.

    python -m benchmarks.metrics [--only ROW] [--rounds N] [--out FILE]

Curves stand beside the same number of batched forward passes of ready pictures (what cannot be saved), and beside a loop of
single passes (how published code does it); ROAD beside grad-cam's. Work is timed in turns. Random weights: they cost what
trained ones do.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

from benchmarks.paired import Work, machine, peak_megabytes, row, spread, timed
from benchmarks.peers import CLASS, Peers
from xai_core import ClassLogit, load_model, load_sample, measure_all
from xai_core.explanation.question import Question
from xai_core.metrics.catalog import QUICK
from xai_core.metrics.measure import total_cost

A_STEP, COARSE_STEP, TEN = 224, 1024, 10


class Row(NamedTuple):
    """One piece of work beside another: `goal` is the most (at_most) or least that ours divided into the peer may be."""

    name: str
    against: str
    ours: Work
    peer: Work
    goal: float
    at_most: bool
    rounds: int


def all_rows() -> dict[str, Row]:
    """The rows by the name that --only takes."""
    model = load_model("resnet50", weights="random")
    photograph = model.prepare(load_sample("chelsea")).pixels.to(model.device)
    target = ClassLogit((CLASS,))
    maps = {str(index): np.random.default_rng(index).random((14, 14)).astype(np.float32) for index in range(TEN)}
    peers = Peers(model)

    def curves(count: int, a_step: int, precision: str = "exact") -> Work:
        metrics = {name: {"pixels": a_step} for name in ("insertion", "deletion")}
        some = dict(list(maps.items())[:count])
        asked = {"target": target, "precision": precision, "controls": False}
        return lambda: list(measure_all(model, photograph, some, metrics, **asked))

    def forwards(count: int, a_step: int, precision: str = "exact") -> Work:
        """As many pictures as the curves have, ready in memory, in the same batches."""
        games = {name: {"pixels": a_step} for name in ("insertion", "deletion")}
        own = sum(total_cost(games, {"saliency": {}}, controls=False)) - 4
        total = own * count + 3  # the plain picture and both substrates are shared
        ready = photograph.repeat(16, 1, 1, 1)
        question = Question(model, target, model.network.cut_name(None), precision)
        return lambda: question.sweep_scores(
            lambda rows: ready[: len(rows)], lambda outputs, rows: outputs.logits.softmax(1)[:, CLASS], total, (224, 224)
        )

    def single_passes(a_step: int) -> Work:
        """The published loop: one pixel set more, one pass, for both games."""

        @torch.no_grad()
        def run() -> None:
            order = np.argsort(-np.kron(maps["0"], np.ones((16, 16))), axis=None)
            normalised = peers.normalise(photograph[None])
            for start, end in ((normalised, torch.zeros_like(normalised)), (torch.zeros_like(normalised), normalised)):
                shown = start.clone()
                flat, source = shown.view(1, 3, -1), end.reshape(1, 3, -1)
                for first in range(0, order.size + a_step, a_step):
                    peers.module(shown).softmax(1)[0, CLASS].item()
                    flat[:, :, order[first : first + a_step]] = source[:, :, order[first : first + a_step]]

        return run

    def road() -> None:
        list(measure_all(model, photograph, {"0": maps["0"]}, ["road"], target=target, controls=False))

    def their_road() -> None:
        fine = torch.nn.functional.interpolate(torch.from_numpy(maps["0"])[None, None], (224, 224), mode="bilinear")
        given = peers.normalise(photograph[None]), fine[0].numpy()
        ROADCombined()(*given, [ClassifierOutputSoftmaxTarget(CLASS)], peers.module)

    loop, one, one_fast = single_passes(A_STEP), curves(1, A_STEP), curves(1, A_STEP, "fast")
    said, ten = "as many batched passes", f"Ten maps, {COARSE_STEP} pixels a step"
    both = f"Insertion + deletion, {A_STEP} pixels"
    return {
        "curves": Row(both, said, one, forwards(1, A_STEP), 1.1, True, 3),
        "curves_fast": Row(f"{both}, fast", said, one_fast, forwards(1, A_STEP, "fast"), 1.1, True, 3),
        "loop_fast": Row(f"{both}, fast", "a loop of single passes", one_fast, loop, 2, False, 2),
        "ten": Row(ten, said, curves(TEN, COARSE_STEP), forwards(TEN, COARSE_STEP), 1.1, True, 1),
        "road": Row("ROAD combined, 9 percentiles", "grad-cam", road, their_road, 2, False, 3),
    }


def measured(one: Row, rounds: int) -> dict[str, Any]:
    rounds = min(rounds, one.rounds)
    found = timed({"ours": one.ours, "peer": one.peer}, rounds, warm_up=0 if rounds == 1 else 1)
    line = row(one.name, found["ours"], found["peer"], one.against, rounds=rounds, goal=one.goal, at_most=one.at_most)
    line["faster"] = spread(found["peer"] / found["ours"])
    kept = line["ratio"]["median"] <= one.goal if one.at_most else line["faster"]["median"] >= one.goal
    return line | {"met": bool(kept)}


def memory() -> dict[str, Any]:
    """How much more ten maps need than two, once the process has seen two: what is held at once, in a process whose
    allocator gives back what is freed. (As it comes, the C library keeps freed blocks of many sizes for later: `kept` is
    the same difference with those, after which it no longer grows.)"""
    found = {}
    for name, more in {"held": {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}, "kept": {}}.items():
        command = [sys.executable, "-c", "from benchmarks.metrics import print_peaks; print_peaks()"]
        said = subprocess.run(command, env=os.environ | more, capture_output=True, text=True, check=True).stdout
        found[name] = [float(peak) for peak in said.split()]
    (two, ten), (kept_two, kept_ten) = found.values()
    return {
        "work": "Memory of ten maps beyond two",
        "two": two,
        "ten": ten,
        "more": ten - two,
        "kept": kept_ten - kept_two,
        "goal": 50,
        "met": ten - two <= 50,
    }


def print_peaks() -> None:
    """The peak after two maps, and after ten, in MB."""
    model = load_model("resnet50", weights="random")
    photograph = model.prepare(load_sample("chelsea")).pixels.to(model.device)
    peak_megabytes()
    for count in (2, TEN):
        maps = {str(index): np.random.default_rng(index).random((14, 14)) for index in range(count)}
        metrics = {"insertion": {"steps": 32}, "deletion": {"steps": 32}}
        list(measure_all(model, photograph, maps, metrics, target=ClassLogit((CLASS,)), controls=False))
        print(peak_megabytes())


def quick() -> dict[str, Any]:
    """Passes of the quick preset for one map."""
    passes = sum(total_cost(list(QUICK), {"grad_cam": {}}, controls=False))
    return {"work": "Quick preset, passes a map", "passes": passes, "goal": 60, "met": passes < 60}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "metrics.json")
    parser.add_argument("--rounds", type=int, default=3, help="at most; long rows take fewer")
    rows = all_rows()
    works: dict[str, Callable[[int], dict[str, Any]]] = {
        "memory": lambda rounds: memory(),
        "quick": lambda rounds: quick(),
        **{name: lambda rounds, one=one: measured(one, rounds) for name, one in rows.items()},
    }
    parser.add_argument(
        "--only", choices=works, action="append", metavar="ROW", help=f"one of {', '.join(works)}; repeatable"
    )
    given = parser.parse_args()
    here = machine()
    written = json.loads(given.out.read_text()) if given.out.exists() else {}
    lines = written["rows"] if written.get("machine") == here else {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for name in given.only or works:
        lines[name] = works[name](given.rounds)
        given.out.write_text(json.dumps({"machine": here, "rows": lines}, indent=2) + "\n")
        print(said(lines[name]), flush=True)
    print(f"written to {given.out}")


def said(line: dict[str, Any]) -> str:
    met = "met" if line["met"] else "MISSED"
    if "ours" not in line:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in line.items() if isinstance(value, int | float))
        return f"{line['work']:<44}{numbers}: {met}"
    seconds = f"{line['ours']['median']:.2f} s, theirs {line['peer']['median']:.2f} s"
    number = line["ratio"]["median"] if line["at_most"] else line["faster"]["median"]
    goal = f"{'at most' if line['at_most'] else 'at least'} {line['goal']}x"
    return f"{line['work']:<44}{line['against']:<26}{seconds}: {number:.2f}x, goal {goal}: {met}"


if __name__ == "__main__":
    main()
