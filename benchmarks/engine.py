"""What workers of Ray gain, and what a picture costs: the figures behind the times and prices in docs/deployment.md.

    OMP_NUM_THREADS=1 python -m benchmarks.engine [--only PART] [--pictures N] [--out FILE]

workers    Occlusion by EfficientNet-Lite0: one worker of one CPU, and two such workers on the same pictures
processes  the same without Ray, by one process, and by two that have half of the pictures each: what the machine gives
picture    seconds of one CPU that a picture takes: opening and preparing a photograph of ImageNet's usual size, and the work
           of two networks on it (one has random weights, which take what trained ones do)

Other work on the machine takes processors from two workers sooner than from one. So three figures are written of the speed
of two as a share of twice the speed of one: by the clock of the whole work, and from the first result on; and by what does
not depend on other work so much, the seconds of the processors for a picture, times the share of the time in which workers
had a task.
"""

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.paired import machine, spread
from xai_core import evaluate, load_model, load_sample
from xai_core.analysis import predict
from xai_core.attribution.explain import explain
from xai_core.core import runtime
from xai_core.data.datasets import open_dataset
from xai_core.data.label_matching import match_classes
from xai_core.evaluation.runner import load_named
from xai_core.models.explainable import ExplainableModel
from xai_core.models.ray_workers import RayWorkers

logging.disable(logging.WARNING)

MODEL, METHOD, METRICS = "efficientnet_lite0", "occlusion@stride=56", ("sparseness",)
GOAL = 0.9  # of the speed that two workers would have if they did not disturb each other
IMAGENET = 1_281_167  # pictures to which the figures are extrapolated
SIDES, QUALITY = (500, 375), 90  # the sides of a usual photograph of ImageNet; cuts of few photographs make smaller files
ROUNDS = 5


def pictures(folder: Path, count: int) -> Path:
    """That many photographs, cut from the samples."""
    draw = np.random.default_rng(0)
    whole = [load_sample(name).resize((768, 768)) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    folder.mkdir()
    for number in range(count):
        left, top = int(draw.integers(0, 768 - SIDES[0])), int(draw.integers(0, 768 - SIDES[1]))
        cut = whole[number % len(whole)].crop((left, top, left + SIDES[0], top + SIDES[1]))
        cut.save(folder / f"{number:04}.jpg", quality=QUALITY)
    return folder


def _measure(folder: Path, out: Path, **more: Any) -> None:
    evaluate([MODEL], [METHOD], METRICS, folder, out, thumbnails=False, **more)


@dataclass(frozen=True)
class TimedWorkers(RayWorkers):
    """Workers that note when each task began and ended, and in which process."""

    spans: list[tuple[int, float, float]] = field(default_factory=list)

    def results(self, prepare: Callable[[], Any], tasks: Any, track: Any = iter) -> Iterator[tuple[int, Any]]:
        for number, (result, span) in super().results(partial(_timed, prepare), tasks, track):
            self.spans.append(span)
            yield number, result

    def at_work(self) -> float:
        """The share of the time from the first task to the last one in which a worker had a task: the mean of workers."""
        own = [[span for span in self.spans if span[0] == pid] for pid in {pid for pid, _, _ in self.spans}]
        shares = [sum(end - start for _, start, end in one) / (one[-1][2] - one[0][1]) for one in own]
        return sum(shares) / len(shares)


def _timed(prepare: Callable[[], Any]) -> Callable[[Any], Any]:
    work = prepare()

    def timed(task: Any) -> Any:
        began = time.monotonic()
        result = work(task)
        return result, (os.getpid(), began, time.monotonic())

    return timed


def by_ray(folder: Path, out: Path, count: int) -> dict[str, Any]:
    """One run by so many workers, with the seconds of the processors that they took from the first result to the last."""
    moments: list[tuple[float, float]] = []  # at some results: the clock, and what the workers have taken
    total = len([*folder.iterdir()])

    def taken() -> float:
        children = psutil.Process().children(recursive=True)
        times = [one.cpu_times() for one in children if "MapWorker" in "".join(one.cmdline())]
        return sum(one.user + one.system for one in times)

    def watched(tasks: Iterable) -> Iterator:
        for number, task in enumerate(tasks):
            if number in (1, total - 1):
                moments.append((time.monotonic(), taken()))
            yield task
        moments.append((time.monotonic(), 0.0))

    began = time.monotonic()
    workers = TimedWorkers(partial(open_dataset, str(folder)), load_named, count, pictures=1)
    _measure(folder, out, workers=workers, track=watched)
    (first, cpu_first), (near, cpu_near), (last, _) = moments
    return {
        "seconds": time.monotonic() - began,
        "each": (last - first) / (total - 1),
        "processors": (cpu_near - cpu_first) / (total - 2),
        "of a CPU": (cpu_near - cpu_first) / (near - first) / count,
        "at work": workers.at_work(),
    }


def _plain(folder: Path, out: Path, times: Any) -> None:
    torch.set_num_threads(1)
    moments = []

    def watched(blocks: Iterable) -> Iterator:
        for number, block in enumerate(blocks):
            if number == 1:
                moments.append((time.monotonic(), sum(os.times()[:2])))
            yield block
        moments.append((time.monotonic(), sum(os.times()[:2])))

    _measure(folder, out, track=watched)
    times.put(moments)


def by_processes(folders: list[Path], outs: list[Path]) -> dict[str, Any]:
    """The same without Ray: a process for each folder, all at once."""
    context = multiprocessing.get_context("spawn")
    times, total = context.Queue(), sum(len([*folder.iterdir()]) for folder in folders)
    began = time.monotonic()
    processes = [context.Process(target=_plain, args=(*pair, times)) for pair in zip(folders, outs, strict=True)]
    for process in processes:
        process.start()
    moments = [times.get() for _ in processes]
    for process in processes:
        process.join()
    first, last = max(one[0][0] for one in moments), max(one[1][0] for one in moments)
    done = total - len(processes)
    processors = sum(after[1] - before[1] for before, after in moments) / done
    return {"seconds": time.monotonic() - began, "each": (last - first) / done, "processors": processors}


def workers(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        whole = pictures(place / "whole", count)
        runs = (lambda: by_ray(whole, place / "one", 1), lambda: by_ray(whole, place / "two", 2))
        return _compared(count, *runs)


def processes(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        whole = pictures(place / "whole", count)
        halves = [place / "half0", place / "half1"]
        for number, file in enumerate(sorted(whole.iterdir())):
            half = halves[number % 2]
            half.mkdir(exist_ok=True)
            (half / file.name).symlink_to(file)
        one = partial(by_processes, [whole], [place / "one"])
        return _compared(count, one, partial(by_processes, halves, [place / "both0", place / "both1"]))


Run = Callable[[], dict[str, Any]]


def _compared(count: int, one: Run, two: Run) -> dict[str, Any]:
    """One and then two at work, and the speed of the two as a share of twice the speed of the one."""
    found: dict[str, Any] = {"pictures": count, "method": METHOD, "load": os.getloadavg()[0]}
    for name, run in (("one", one), ("two", two)):
        found[name] = run()
        print(name, {key: round(value, 3) for key, value in found[name].items()}, flush=True)
    one, two = found["one"], found["two"]
    efficiency = {name: one[name] / (2 * two[name]) for name in ("seconds", "each")}
    efficiency["processors"] = one["processors"] / two["processors"] * two.get("at work", 1.0) / one.get("at work", 1.0)
    print("efficiency", efficiency, flush=True)
    return {**found, "efficiency": efficiency, "goal": GOAL, "met": efficiency["processors"] >= GOAL}


def _seconds(work: Callable[[], Any], pictures: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Seconds of the processor for each picture: median and quartiles of the rounds."""
    work()
    found = []
    for _ in range(rounds):
        before = sum(os.times()[:2])
        work()
        found.append((sum(os.times()[:2]) - before) / pictures)
    return {**spread(np.array(found)), "rounds": rounds}


def picture(count: int = 16) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pictures(Path(name) / "pictures", count)
        found: dict[str, Any] = {"bytes": sum(file.stat().st_size for file in folder.iterdir()) / count}
        for id, weights in ((MODEL, None), ("resnet50", "random")):
            for kind, seconds in _of_model(load_model(id, weights), folder).items():
                found[f"{id}, {kind}"] = seconds
                print(id, kind, seconds, flush=True)
    return found


def _of_model(model: ExplainableModel, folder: Path) -> dict[str, Any]:
    dataset = open_dataset(folder)
    files = [folder / sample.name for sample in dataset.samples]
    matching = match_classes((), model)

    def prepared() -> list[Any]:
        return [(sample, model.prepare(dataset.open(sample.name))) for sample in dataset.samples]

    ready = prepared()
    return {
        "open": _seconds(prepared, len(files)),
        "classify": _seconds(lambda: predict.rows_of(model, ready, matching, True, "exact"), len(files)),
        "grad_cam": _seconds(lambda: [explain(model, file, "grad_cam") for file in files[:4]], 4),
        "occlusion": _seconds(lambda: explain(model, files[0], "occlusion"), 1, 2),
    }


PARTS = {"workers": workers, "processes": processes, "picture": lambda count: picture()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="of workers and processes (default: 200)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "engine.json")
    given = parser.parse_args()
    runtime.device()
    written = json.loads(given.out.read_text()) if given.out.exists() else {}
    parts = written.get("parts", {})
    for name in [given.only] if given.only else PARTS:
        parts[name] = PARTS[name](given.pictures)
        given.out.write_text(json.dumps({"machine": machine(), "imagenet": IMAGENET, "parts": parts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
