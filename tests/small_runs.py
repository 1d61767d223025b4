"""Evaluations that take a moment: the small custom network, pictures in memory, and a program that is killed many times.

Run as a program, it evaluates into the folder it is given in child processes that are killed at random moments, until one
of them comes to its end; it prints how many were killed.
"""

import io
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from small_models import custom

from xai_core.data.datasets import Dataset
from xai_core.data.sample_list import Labelled
from xai_core.evaluation import runner

METHODS, METRICS = ("grad_cam", "saliency"), ("deletion", "sparseness")
CONTROLS = 4


def png(number: int) -> bytes:
    """A picture of its own for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (50, 60, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(n: int) -> Dataset:
    return dataset({f"{number}.png": png(number) for number in range(n)})


def dataset(files: dict[str, bytes]) -> Dataset:
    """Pictures in memory, without labels."""
    return Dataset("made", tuple(Labelled(name, "") for name in files), files.__getitem__)


def small_model(name: str):
    return custom().model


def evaluate(out: Path, n: int = 3, methods=METHODS, metrics=METRICS, images=None, **more):
    """A run of the small network over n pictures."""
    images = pictures(n) if images is None else images
    return runner.evaluate(["small"], methods, metrics, images, out, **{"load": small_model} | more)


def killed_until_done(out: Path, n: int) -> int:
    """Evaluate in children that die by SIGKILL, later and later, until one lives to the end."""
    runner.FLUSH_SECONDS = 0.0
    evaluate(out / "warm", 1)  # everything is imported and set up before the first child
    one = min(_seconds(out / f"timed {number}") for number in range(3))  # what another process slows down does not count
    draws, killed = random.Random(0), 0
    while True:
        child = os.fork()
        if child == 0:
            evaluate(out / "run", n)
            os._exit(0)
        time.sleep(draws.uniform(0.0, (1 + 0.5 * max(0, killed - 5)) * one))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a child failed instead of being killed"
            return killed
        killed += 1


def _seconds(out: Path) -> float:
    began = time.perf_counter()
    evaluate(out, 1)
    return time.perf_counter() - began


if __name__ == "__main__":
    import torch

    from xai_core.core import runtime

    runtime.device()  # sets the number of threads, once per process
    torch.set_num_threads(1)  # threads of an OpenMP pool do not survive a fork
    print(killed_until_done(Path(sys.argv[1]), int(sys.argv[2])))
