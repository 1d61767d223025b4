"""How long triage and groups of errors take from stored features, and the statistics of pictures beside drawing them.

    python -m benchmarks.failures [--rounds N] [--out FILE]

The features are made: of PICTURES pictures with as many features as a ResNet-50 has, of CLASSES classes, with one picture in
ten predicted wrongly, and ATTRIBUTES attributes of which half are numbers. Seconds of the clock depend on what else the
machine does; seconds of the processor, over all threads, are what the work needs.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.paired import Work, machine, spread
from xai_core.data.datasets import open_dataset
from xai_core.data.world.scene import draw
from xai_core.failures.error_groups import groups
from xai_core.failures.label_triage import triage
from xai_core.failures.picture_attributes import light_and_colour, picture_statistics

FILE = Path(__file__).parent / "results" / "failures.json"
PICTURES, FEATURES, CLASSES, ATTRIBUTES = 10_000, 2_048, 100, 12
DRAWN = 200
GOAL = 20.0  # seconds of triage and groups together


def made(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Predictions, attributes and features (PICTURES, FEATURES) that tell the classes apart about as well as real ones."""
    draws = np.random.default_rng(seed)
    true = draws.integers(0, CLASSES, PICTURES)
    centres = draws.normal(size=(CLASSES, FEATURES))
    features = (0.35 * centres[true] + draws.normal(size=(PICTURES, FEATURES))).astype(np.float32)
    predicted = np.where(draws.random(PICTURES) < 0.1, (true + draws.integers(1, 4, PICTURES)) % CLASSES, true)
    names = np.array([f"class {number:03}" for number in range(CLASSES)])
    half = ATTRIBUTES // 2
    known = {f"kind {number}": draws.integers(0, 8, PICTURES).astype(str) for number in range(half)}
    known |= {f"number {number}": draws.normal(size=PICTURES) for number in range(half)}
    rows = {"true": names[true], "predicted": names[predicted], "confidence": draws.uniform(0.2, 1, PICTURES)}
    return pd.DataFrame(rows), pd.DataFrame(known), features


def timed(works: Mapping[str, Work], rounds: int) -> dict[str, dict[str, np.ndarray]]:
    """Seconds of the clock and of the processor, of each piece of work in each round."""
    seconds: dict[str, dict[str, np.ndarray]] = {}
    for name, work in works.items():
        taken = []
        for _ in range(rounds):
            began = time.perf_counter(), time.process_time()
            work()
            taken.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        seconds[name] = dict(zip(("clock", "processor"), np.array(taken).T, strict=True))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--out", type=Path, default=FILE, help="(default: benchmarks/results/failures.json)")
    args = parser.parse_args()
    rows, known, features = made()
    world = open_dataset("world:planted")
    names = [sample.name for sample in world.samples[:DRAWN]]
    assert world.scene is not None
    scenes = [world.scene(name) for name in names]
    drawn = [draw(scene)[0] for scene in scenes]
    seconds = timed(
        {
            "triage": lambda: triage(features, rows["true"].to_list()),
            "groups": lambda: groups(rows, known, features),
            "statistics with drawing": lambda: picture_statistics(world, names),
            "drawing": lambda: [draw(scene) for scene in scenes],
            "statistics": lambda: [light_and_colour(pixels) for pixels in drawn],
        },
        args.rounds,
    )
    each = {
        f"{name}, s of the {kind}": spread(values) for name in ("triage", "groups") for kind, values in seconds[name].items()
    }
    both = {kind: np.median(seconds["triage"][kind] + seconds["groups"][kind]) for kind in ("clock", "processor")}
    pictures = {
        f"{name}, ms of the processor a picture": spread(1_000 * seconds[name]["processor"] / DRAWN)
        for name in ("statistics with drawing", "drawing", "statistics")
    }
    results = {
        "machine": machine(), "pictures": PICTURES, "features": FEATURES, "classes": CLASSES, "attributes": ATTRIBUTES,
        "rounds": args.rounds, **each, "both, s of the processor": float(both["processor"]),
        "both, s of the clock": float(both["clock"]),
        "goal, s": GOAL, **pictures,
    }  # fmt: skip
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in results.items()))


if __name__ == "__main__":
    main()
