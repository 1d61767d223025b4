"""How OpenMP's threads should wait, and how many there should be: on an idle machine and beside busy processes.

    python -m benchmarks.threads [--rounds N] [--only SETTING] [--out FILE]

Threads that spin while they wait for each other are the fastest on an idle machine and the slowest on a busy one, where they
take the processor from the thread that they wait for. libgomp reads its variables when it is loaded, so each setting has a
process of its own. The settings take turns within a round, at each number of busy processes beside them.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
SETTINGS: dict[str, dict[str, str]] = {
    "300000 spins": {"GOMP_SPINCOUNT": "300000"},  # libgomp's own choice where nothing is set
    "10000 spins": {"GOMP_SPINCOUNT": "10000"},
    "2000 spins": {"GOMP_SPINCOUNT": "2000"},
    "500 spins": {"GOMP_SPINCOUNT": "500"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BUSY = (0, 1, 2, 4)  # processes that do nothing but compute
SECONDS = 2.0  # that each piece of work is repeated


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure() -> dict[str, float]:
    """Median seconds of each piece of work in this process."""
    import torch

    from xai_core import explain, load_model, load_sample
    from xai_core.core import runtime

    runtime.device()
    lite0, small = load_model("efficientnet_lite0"), load_model("scenes_supervised")
    resnet = load_model("resnet50", "random")
    picture = load_sample("chelsea")

    def forward(model: Any, count: int) -> Any:
        images = torch.rand(count, 3, 224, 224)
        return lambda: model.outputs(images).logits

    works = {
        "Lite0, one picture": forward(lite0, 1),
        "Lite0, 16 pictures": forward(lite0, 16),
        "ResNet-50, one picture": forward(resnet, 1),
        "small network, one picture": forward(small, 1),
        "Grad-CAM, Lite0": lambda: explain(lite0, picture, "grad_cam"),
    }
    medians = {}
    with torch.inference_mode():
        for name, work in works.items():
            if name.startswith("Grad"):
                continue
            medians[name] = _median(work)
    medians["Grad-CAM, Lite0"] = _median(works["Grad-CAM, Lite0"])
    return medians


def _median(work: Any) -> float:
    work()
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < 3 or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def table(rows: list[dict[str, Any]]) -> str:
    """Milliseconds, the median over the rounds: a line for each piece of work and number of busy processes."""
    lines = [f"{'work':<28}{'busy':>5}" + "".join(f"{name:>14}" for name in SETTINGS)]
    for work in dict.fromkeys(row["work"] for row in rows):
        for count in BUSY:
            medians = {
                row["setting"]: np.median(row["seconds"]) * 1e3
                for row in rows
                if row["work"] == work and row["busy"] == count
            }
            if medians:
                cells = "".join(f"{medians[name]:>14.1f}" if name in medians else f"{'':>14}" for name in SETTINGS)
                lines.append(f"{work:<28}{count:>5}{cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=SETTINGS, action="append", metavar="SETTING", help=f"one of {', '.join(SETTINGS)}")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "threads.json")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure()))
        return
    from benchmarks.paired import machine

    seconds: dict[tuple[str, int, str], list[float]] = {}
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    for _ in range(arguments.rounds):
        for count in BUSY:
            for setting in arguments.only or SETTINGS:
                with busy(count):
                    process = subprocess.run(
                        [sys.executable, "-m", "benchmarks.threads", "--measure"],
                        env={**others, **SETTINGS[setting]}, stdout=subprocess.PIPE, text=True, check=True,
                    )  # fmt: skip
                for work, median in json.loads(process.stdout.splitlines()[-1]).items():
                    seconds.setdefault((work, count, setting), []).append(median)
    rows = [
        {"work": work, "busy": count, "setting": setting, "seconds": medians}
        for (work, count, setting), medians in seconds.items()
    ]
    print(table(rows))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
