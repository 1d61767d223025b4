"""What whole methods cost on a ResNet-50 at 224 pixels, each beside its peer, and the goals set for them.

    python -m benchmarks.methods [--only ROW] [--rounds N] [--out FILE]

A row is measured in turns with its peer and written into the file at once, so that the table can be made in parts. Random
weights: they cost what trained ones do. `fast` stands beside `exact`, with the rank correlation of the two maps. A goal
that was missed comes with how fast the arithmetic ran, and how fast a large matrix product runs on the same machine.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_grad_cam
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.paired import Work, machine, row, spread, timed
from benchmarks.peers import CLASS, EIGHT_CAMS, Peers
from xai_core import METHODS, ClassLogit, Question, explain, explain_methods, load_model, load_sample
from xai_core.attribution.perturbation.random_masks import rise_all
from xai_core.explanation.agreement import rank_correlation
from xai_core.explanation.result import Explanation


class Ours(NamedTuple):
    """Our way of doing the work in one precision: `goal` times as fast as the peer, maps as (n, h, w)."""

    work: Callable[[], np.ndarray]
    goal: float


class Row(NamedTuple):
    """One piece of work, ours in one or both precisions beside the peer's; `rounds` at most, where the peer is slow."""

    name: str
    against: str
    peer: Work
    ours: Mapping[str, Ours]
    rounds: int
    agreement: float = 0.98  # goal for the rank correlation of fast with exact


def maps(found: Explanation | list[Explanation]) -> np.ndarray:
    return np.stack([one.heatmap for one in (found if isinstance(found, list) else [found])])


def all_rows() -> dict[str, Row]:
    """The rows by the name that --only takes."""
    model = load_model("resnet50", weights="random")
    peers, cut = Peers(model), model.network.cut_name(None)
    photograph = model.prepare(load_sample("chelsea")).pixels.to(model.device)
    one = photograph[None]
    blobs = torch.rand(64, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    many = F.interpolate(blobs, 224, mode="bicubic").clamp(0, 1).to(model.device)

    def ask(method: str, exact: float, fast: float | None = None, images=photograph, **options: Any) -> dict[str, Ours]:
        def work(precision: str) -> Callable[[], np.ndarray]:
            if precision == "fast" and not METHODS[method].offers_fast(model, cut):  # then the agreement says why
                question = Question(model, ClassLogit((CLASS,)), cut, precision)
                return lambda: METHODS[method](question, images[None], seed=0, **options).heatmap.cpu().numpy()
            return lambda: maps(explain(model, images, method, target=CLASS, precision=precision, **options))

        goals = {"exact": exact, "fast": fast}
        return {precision: Ours(work(precision), goal) for precision, goal in goals.items() if goal}

    def family() -> np.ndarray:
        found = explain_methods(model, photograph, {name: {} for name in EIGHT_CAMS}, target=CLASS)
        return np.stack([why.to_input() for _, why in found])

    def rise(precision: str) -> Callable[[], np.ndarray]:
        def work() -> np.ndarray:
            question = Question(model, ClassLogit((0,)), cut, precision)
            found = rise_all(question, one, [ClassLogit((index,)) for index in range(1000)], samples=2000)
            return torch.cat([one.heatmap for one in found[:: 1000 // 20]]).numpy()

        return work

    def eight() -> None:
        for kind in EIGHT_CAMS.values():
            peers.cam(kind, one)

    rows = {
        "eight_cams": Row("Eight CAMs, one call", "grad-cam, one by one", eight, {"exact": Ours(family, 20)}, 1),
        "ablation_cam": Row(
            "Ablation-CAM, 2,048 channels", "grad-cam", lambda: peers.cam(pytorch_grad_cam.AblationCAM, one),
            ask("ablation_cam", 300), 1,
        ),
        "score_cam": Row(
            "Score-CAM, 2,048 channels", "grad-cam, batches of 32",
            lambda: peers.cam(pytorch_grad_cam.ScoreCAM, one, batch=32), ask("score_cam", 1, 3), 1, 0.99,
        ),
        "occlusion": Row(
            "Occlusion, 64 / 8 pixels", "captum, 16 at once", lambda: peers.occlusion(one, 64, 8),
            ask("occlusion", 1.5, 3, window=64, stride=8), 3,
        ),
        "integrated_gradients": Row(
            "Integrated gradients, 50 steps", "captum, 10 at once", lambda: peers.integrated_gradients(one, 50),
            ask("integrated_gradients", 1, 2.5, steps=50), 5,
        ),
        "smooth_grad": Row(
            "SmoothGrad, 50 samples", "captum, 10 at once", lambda: peers.smooth_grad(one, 50),
            ask("smooth_grad", 1, 2.5, samples=50), 5,
        ),
        "lime": Row(
            "LIME, 1,000 samples", "lime, batches of 10", lambda: peers.lime(one, 1000),
            ask("lime", 2.5, 2.5, samples=1000), 2,
        ),
        "rise": Row(
            "RISE, 2,000 masks, all classes", "the published loop", lambda: peers.rise(one, 2000),
            {precision: Ours(rise(precision), 3) for precision in ("exact", "fast")}, 1,
        ),
        "batch": Row(
            "Grad-CAM of 64 pictures", "grad-cam, 16 at once", lambda: peers.cam(pytorch_grad_cam.GradCAM, many),
            ask("grad_cam", 3.5, 8, images=many), 5,
        ),
    }  # fmt: skip
    return rows


def measured(one: Row, rounds: int) -> Iterator[dict[str, Any]]:
    """The lines of a row, one for each precision."""
    rounds, latest = min(rounds, one.rounds), {}

    def kept(precision: str, work: Callable[[], np.ndarray]) -> Work:
        def run() -> None:
            latest[precision] = work()

        return run

    works = {precision: kept(precision, ours.work) for precision, ours in one.ours.items()}
    found = timed({"peer": one.peer, **works}, rounds, warm_up=1 if rounds > 1 else 0)
    for precision, ours in one.ours.items():
        line = row(f"{one.name}, {precision}", found[precision], found["peer"], one.against, rounds=rounds)
        line |= {"faster": spread(found["peer"] / found[precision]), "goal": ours.goal}
        line["met"] = line["faster"]["median"] >= ours.goal
        if precision == "fast" and "exact" in latest:
            agrees = min(rank_correlation(a, b) for a, b in zip(latest["exact"], latest["fast"], strict=True))
            line |= {"spearman": agrees, "met": line["met"] and agrees >= one.agreement}
        if not line["met"]:
            with Flops() as counter:  # in a run of its own: counting takes time
                ours.work()
            achieved = counter.total / line["ours"]["median"]
            line |= {"tflops": achieved / 1e12, "peak_tflops": peak(precision) / 1e12}
        yield line


class Flops(TorchDispatchMode):
    """Counts the floating-point operations of convolutions and matrix products (FlopCounterMode refuses autograd.grad)."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=found) if count else 0
        return found


def peak(precision: str, side: int = 4096) -> float:
    """Floating-point operations per second of a large matrix product: as many as this machine is seen to do."""
    kind = torch.float32 if precision == "exact" else torch.float16
    factor = torch.rand(side, side).to(load_model("resnet50", weights="random").device, kind)
    seconds = timed({"product": lambda: factor @ factor}, rounds=5)["product"]
    return 2 * side**3 / seconds.min()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "methods.json")
    parser.add_argument("--rounds", type=int, default=5, help="at most; rows with slow peers take fewer")
    rows = all_rows()
    parser.add_argument("--only", choices=rows, action="append", metavar="ROW", help=f"one of {', '.join(rows)}; repeatable")
    given = parser.parse_args()

    here = machine()
    written = json.loads(given.out.read_text()) if given.out.exists() else {}
    lines = written["rows"] if written.get("machine") == here else {}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for name in given.only or rows:
        lines[name] = list(measured(rows[name], given.rounds))
        given.out.write_text(json.dumps({"machine": here, "rows": lines}, indent=2) + "\n")
    show([line for name in rows for line in lines.get(name, [])])
    print(f"written to {given.out}")


def show(lines: list[dict[str, Any]]) -> None:
    print(f"{'work':<38}{'against':<25}{'ours':>9}{'peer':>10}  {'times as fast':<25}{'goal':<8}{'':<9}with exact")
    for one in lines:
        low, high = one["faster"]["quartiles"]
        seconds = f"{one['ours']['median']:>8.2f}s{one['peer']['median']:>9.2f}s"
        faster = f"{one['faster']['median']:.2f} ({low:.2f} to {high:.2f})"
        met = "met" if one["met"] else "missed"
        agrees = f"{one['spearman']:.4f}" if "spearman" in one else ""
        print(f"{one['work']:<38}{one['against']:<25}{seconds}  {faster:<25}{one['goal']:<8}{met:<9}{agrees}", end="")
        print(f"  {one['tflops']:.3f} of {one['peak_tflops']:.3f} TFLOP/s" if "tflops" in one else "")


if __name__ == "__main__":
    main()
