"""Timing two or more pieces of work in turns, so that whatever else the machine does falls on all of them alike."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

Work = Callable[[], Any]


def timed(works: Mapping[str, Work], rounds: int, warm_up: int = 1) -> dict[str, np.ndarray]:
    """Seconds of each piece of work in each round; all are run once in every round."""
    for _ in range(warm_up):
        for work in works.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "quartiles": [float(low), float(high)]}


def row(name: str, ours: np.ndarray, peer: np.ndarray, said: str, **more: Any) -> dict[str, Any]:
    """One line of the table: our seconds, the peer's, and the ratio of each round (ours divided by the peer's)."""
    ratio, rounds = spread(ours / peer), len(ours)
    return {
        "work": name,
        "against": said,
        "ours": spread(ours),
        "peer": spread(peer),
        "ratio": ratio,
        "rounds": rounds,
        **more,
    }


def peak_megabytes() -> float:
    """The most that this process held since the last call, in MB (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def report(rows: list[dict[str, Any]], out: Path) -> None:
    """Print the table and write it as JSON."""
    print(f"{'work':<34}{'against':<34}{'ours':>10}{'peer':>10}{'ratio':>8}   quartiles")
    for one in rows:
        low, high = one["ratio"]["quartiles"]
        numbers = f"{one['ours']['median'] * 1e3:>8.1f}ms{one['peer']['median'] * 1e3:>8.1f}ms{one['ratio']['median']:>8.2f}"
        notes = "".join(f"  {name} {value:.4f}" for name, value in one.items() if isinstance(value, float))
        print(f"{one['work']:<34}{one['against']:<34}{numbers}   {low:.2f} to {high:.2f}{notes}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    print(f"written to {out}")
