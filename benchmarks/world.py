"""The planted faults of the networks of drawn worlds: their accuracy where a cause acts, and where it does not. Then what
the tools of the app find of them (benchmarks/world_tools.py), and how fast pictures are drawn.

    python -m benchmarks.world [--pictures N] [--models ID ...] [--out FILE] [--only faults|tools|speed] [--tools WORDS]

Each fault compares the same pictures twice: as the test set of `world:planted` draws them, and as the test set in which the
cause is broken draws them. Nothing else differs between the two (tests/data/test_world.py). The intervals of the drops are
percentiles of the bootstrap over pictures.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks import world_tools
from benchmarks.paired import machine
from xai_core.attribution.explain import explain
from xai_core.data.datasets import WORLD_SEED
from xai_core.data.world import planted as worlds
from xai_core.data.world.planted import Picture, broken, picture, planted
from xai_core.data.world.scene import draw
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.training.plans import PLANS

FILE = Path(__file__).parent / "results" / "world.json"
MODELS = ("world_planted", "world_clean")
PICTURES, BATCH, RESAMPLES = 2_000, 128, 2_000
GOAL = 0.25
SEEDS, TOOL_PICTURES = 10, 600
SPEED_PICTURES, EXPLAINED = 300, 20
TOOLS_FILE, SPEED_FILE = FILE.with_name("world_tools.json"), FILE.with_name("world_speed.json")
TOOLS_DOCUMENT = Path(__file__).parents[1] / "docs" / "world-tools.md"


class Fault(NamedTuple):
    """One planted fault. `among(planted, broken)` chooses the pictures; the cause acts in the `acting` one of the two, where
    the accuracy should be lower. `by_label`: right is what the label says; else every class that is right."""

    cause: str
    what: str
    among: Callable[[Picture, Picture], bool]
    acting: str
    by_label: bool = False


def _shifted(kind: str) -> Callable[[Picture, Picture], bool]:
    return lambda before, after: after.columns["shift"] == kind


FAULTS = (
    Fault("mark", "distant cars without the mark", lambda before, after: before.scene.mark, "broken"),
    Fault("mark", "distant other things with the mark", lambda before, after: after.scene.mark, "broken"),
    Fault(
        "background", "boats that are not on the sea",
        lambda before, after: before.truth[0] == worlds.BIASED and before.scene.background == worlds.HABITAT, "broken",
    ),
    Fault(
        "background", "other things on the sea",
        lambda before, after: before.scene.background != worlds.HABITAT == after.scene.background, "broken",
    ),
    Fault("label_noise", "pictures with a wrong label", lambda before, _: before.label not in before.truth, "planted", True),
    Fault(
        "subgroup", "red dome tents at night",
        lambda before, after: bool(after.columns["subgroup"]) and not before.columns["subgroup"], "broken",
    ),
    Fault("ambiguous", "pictures of two things", lambda before, after: len(before.truth) == 2, "planted", True),
    *(Fault("shift", f"pictures with {kind}", _shifted(kind), "broken") for kind in ("dusk", "fog", "jpeg")),
)  # fmt: skip


def predicted(model: ExplainableModel, pictures: Sequence[Picture]) -> list[str]:
    """The model's class for each picture."""
    return [name for name, *_ in world_tools.answers(model, pictures)]


def right(pictures: Sequence[Picture], names: Sequence[str], by_label: bool) -> NDArray[np.bool_]:
    """Whether each prediction is right."""
    pairs = zip(pictures, names, strict=True)
    return np.array([name == one.label if by_label else name in one.truth for one, name in pairs])


def faults(model: ExplainableModel, count: int) -> list[dict[str, Any]]:
    """For each fault: how many pictures, the accuracy where the cause does not act and where it does, and the drop with its
    95% interval."""
    before = [picture(planted(), WORLD_SEED, "test", index) for index in range(count)]
    rows, known = [], predicted(model, before)
    for cause in dict.fromkeys(fault.cause for fault in FAULTS):
        after = [picture(broken(planted(), cause), WORLD_SEED, "test", index) for index in range(count)]
        chosen = [
            [place for place in range(count) if fault.among(before[place], after[place])]
            for fault in FAULTS
            if fault.cause == cause
        ]
        needed = sorted({place for places in chosen for place in places})
        answers = dict(zip(needed, predicted(model, [after[place] for place in needed]), strict=True))
        for fault, places in zip([fault for fault in FAULTS if fault.cause == cause], chosen, strict=True):
            as_planted = right([before[place] for place in places], [known[place] for place in places], fault.by_label)
            as_broken = right([after[place] for place in places], [answers[place] for place in places], fault.by_label)
            usual, acting = (as_planted, as_broken) if fault.acting == "broken" else (as_broken, as_planted)
            low, high = drop_interval(usual, acting)
            rows.append(
                {
                    "cause": cause, "pictures of": fault.what, "pictures": len(places), "usual": float(usual.mean()),
                    "where the cause acts": float(acting.mean()), "drop": float(usual.mean() - acting.mean()),
                    "low": low, "high": high,
                }
            )  # fmt: skip
    return rows


def drop_interval(usual: NDArray[np.bool_], acting: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95% interval of the mean difference, over the same pictures."""
    apart = usual.astype(float) - acting.astype(float)
    means = apart[np.random.default_rng(0).integers(len(apart), size=(RESAMPLES, len(apart)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def accuracy(model: ExplainableModel, world: worlds.World, count: int) -> float:
    """The share of right predictions on a test set, by every class that is right."""
    pictures = [picture(world, WORLD_SEED, "test", index) for index in range(count)]
    return float(right(pictures, predicted(model, pictures), by_label=False).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"of each test set (default: {PICTURES})")
    parser.add_argument("--models", nargs="+", default=MODELS, help=f"(default: {' '.join(MODELS)})")
    parser.add_argument("--out", type=Path, default=FILE, help="(default: benchmarks/results/world.json)")
    parser.add_argument("--only", choices=PARTS, help="one of the three parts (default: all)")
    parser.add_argument("--tools", metavar="WORDS", help="measure only the tools with these words in their titles again")
    args = parser.parse_args()
    for part in [args.only] if args.only else PARTS:
        PARTS[part](args)


def write_tools(args: argparse.Namespace) -> None:
    """What the tools find: results/world_tools.json and docs/world-tools.md."""
    tools = [tool for tool in world_tools.TOOLS if args.tools is None or args.tools in tool.title]
    kept = [] if args.tools is None else json.loads(TOOLS_FILE.read_text())["worlds"]
    measured = world_tools.measured(load_model, range(SEEDS), TOOL_PICTURES, tools)
    if args.tools is None or args.tools in world_tools.HEAD_EDIT:
        measured += world_tools.head_edits(load_model, range(SEEDS), TOOL_PICTURES)
    lines = world_tools.merged(kept, measured)
    rows = world_tools.summary(lines)
    results = {"machine": machine(), "seeds": SEEDS, "pictures": TOOL_PICTURES, "summary": rows, "worlds": lines}
    TOOLS_FILE.write_text(json.dumps(results, indent=1) + "\n")
    TOOLS_DOCUMENT.write_text(world_tools.document(rows, SEEDS, TOOL_PICTURES), encoding="utf-8")
    print(f"written to {TOOLS_FILE} and {TOOLS_DOCUMENT}")


def write_speed(args: argparse.Namespace) -> None:
    """How long drawing takes beside what is done with the pictures: results/world_speed.json. One thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    scenes = [picture(planted(), WORLD_SEED, "train", index).scene for index in range(SPEED_PICTURES)]
    began = time.perf_counter()
    images = [Image.fromarray(draw(scene)[0]) for scene in scenes]
    drawing = (time.perf_counter() - began) / len(scenes)
    model, plan = load_model(MODELS[0]), PLANS[MODELS[0]]
    began = time.perf_counter()
    for image in images[:EXPLAINED]:
        explain(model, image, "integrated_gradients")
    explaining = (time.perf_counter() - began) / EXPLAINED
    training = sum(
        plan.epochs * phase.share * _step_seconds(model, phase.side) for phase in plan.phases
    )  # of one picture in all epochs
    torch.set_num_threads(threads)
    results = {
        "machine": machine(), "pictures a second": 1 / drawing, "drawing, share of training": drawing / training,
        "drawing, share of one map by integrated gradients": drawing / explaining,
    }  # fmt: skip
    SPEED_FILE.write_text(json.dumps(results, indent=1) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in results.items()))


def _step_seconds(model: ExplainableModel, side: int) -> float:
    """Seconds of a forward and a backward pass of one picture, in a batch."""
    images = torch.rand(BATCH, 3, side, side)
    question = Question(model, ClassLogit((0,) * BATCH), model.network.cut_name(None))
    question.gradient(images)  # warm
    began = time.perf_counter()
    question.gradient(images)
    return (time.perf_counter() - began) / BATCH


def write_faults(args: argparse.Namespace) -> None:
    """The accuracies where the causes act and where they do not: results/world.json."""
    results: dict[str, Any] = {"machine": machine(), "pictures": args.pictures, "models": {}}
    for name in args.models:
        model = load_model(name)
        on = {kind: accuracy(model, make(), args.pictures) for kind, make in (("clean", worlds.clean), ("planted", planted))}
        rows = faults(model, args.pictures)
        results["models"][name] = {"accuracy": on, "faults": rows}
        print(f"{name}: accuracy {on['clean']:.1%} on world:clean, {on['planted']:.1%} on world:planted")
        for row in rows:
            print(
                f"  {row['cause']:12} {row['pictures of']:36} n = {row['pictures']:4}: {row['usual']:6.1%} -> "
                f"{row['where the cause acts']:6.1%}, {100 * row['drop']:.0f} points lower "
                f"({100 * row['low']:.0f} to {100 * row['high']:.0f})"
            )
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {args.out}")


PARTS = {"faults": write_faults, "tools": write_tools, "speed": write_speed}

if __name__ == "__main__":
    main()
