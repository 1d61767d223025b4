"""Confusion evolution in one figure: how long a shipped run, and one of 50,000 samples, take on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.evolution [--rounds N] [--out FILE]

`svg` is the figure's text from the recorded run, `png` the file of pixels from this text; both are seconds of the processor,
which depend less on what else the machine does than those of the clock.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.paired import machine, spread
from xai_core.training.dynamics.analysis import RecordedRun
from xai_core.training.dynamics.figure import as_png, by_class, confusion_evolution
from xai_core.training.dynamics.readers import find_run, read_run


def large(samples: int = 50_000, epochs: int = 100, classes: int = 100) -> RecordedRun:
    """A run that learns: a sample's prediction is right from an epoch on that is drawn for it, before that any class."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, classes, samples)
    learned = draw.integers(0, epochs + 10, samples)[:, None] <= np.arange(epochs)
    predicted = np.where(learned, true[:, None], draw.integers(0, classes, (samples, epochs)))
    names, ids = tuple(f"class {number}" for number in range(classes)), np.array([f"s{row}" for row in range(samples)])
    numbers = np.arange(1, epochs + 1)
    curves = pd.DataFrame({"epoch": numbers, "train_loss": 1 / numbers})
    return RecordedRun("large", names, numbers, ids, true, predicted, np.full(predicted.shape, 0.5, np.float32), curves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="where to write the figures (default: only printed)")
    args = parser.parse_args()
    file = find_run("scenes_supervised")
    rows = []
    for run in (read_run(file.read_bytes(), file.name), large()):
        seconds: dict[str, list[float]] = {"svg": [], "png": []}
        for _ in range(args.rounds + 1):
            began = time.process_time()
            svg = confusion_evolution(by_class(run))
            drawn = time.process_time()
            as_png(svg)
            seconds["svg"].append(drawn - began)
            seconds["png"].append(time.process_time() - drawn)
        first = {kind: values[0] for kind, values in seconds.items()}
        again = {kind: spread(np.array(values[1:])) for kind, values in seconds.items()}
        rows.append(
            {"run": run.title, "samples": len(run.samples), "epochs": len(run.epochs), "first": first, "seconds": again}
        )
    text = json.dumps({"machine": machine(), "rounds": args.rounds, "rows": rows}, indent=1) + "\n"
    if args.out:
        args.out.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
