"""Device, precision, batches that fit into memory, and random draws by seed."""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from xai_core.core import settings
from xai_core.core.errors import BadRequest, OutOfMemory

PRECISIONS = ("exact", "fast")
# Faster than the default for convolutions, in both precisions, on CPU and GPU. And on the CPU torch (2.13) differentiates a
# batch normalisation wrongly whose input has the default format while the gradient that arrives is channels-last.
MEMORY_FORMAT = torch.channels_last
BYTES_PER_PIXEL = 2000  # of one picture on its way through a ResNet-50 with graph: about 100 MB at 224 x 224

TOO_LARGE = "Not even one picture fits into memory; close other programs or take a smaller picture."
Result = TypeVar("Result")
Track = Callable[[Iterable[Any]], Iterable[Any]]  # as tqdm: yields what it is given, and may report or stop in between


def available_cpus() -> int:
    """Processors this process may use, also inside a container with a quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    quota = quota_file.read_text().split() if quota_file.exists() else ["max"]
    return cpus if quota[0] == "max" else max(1, min(cpus, round(int(quota[0]) / int(quota[1]))))


@cache
def device() -> torch.device:
    """CUDA where present, else MPS, else CPU; the environment variable XAI_DEVICE overrides. Set up once per process.

    Raises BadRequest where XAI_DEVICE is not a device of this machine.
    """
    torch.set_num_threads(min(torch.get_num_threads(), available_cpus()))  # torch counts by OMP_NUM_THREADS, not by quotas
    torch.backends.cuda.matmul.allow_tf32 = False  # `exact` means float32
    torch.backends.cudnn.allow_tf32 = False
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    chosen = torch.device(settings.DEVICE.value() or best)
    present = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[chosen.type]
    if (chosen.index or 0) >= present:
        raise BadRequest(f"This machine has no device '{chosen}': set XAI_DEVICE to another one, or leave it empty.")
    return chosen


@cache
def computes_in_16_bits(where: torch.device) -> bool:
    """Whether the device computes in float16 itself: every GPU, and CPUs with AVX-512 FP16."""
    return where.type != "cpu" or torch.cpu.get_capabilities().get("avx512_fp16", False)


def check_precision(precision: str) -> None:
    """Raises BadRequest for what is no precision."""
    if precision not in PRECISIONS:
        raise BadRequest(f"Precision is one of {', '.join(PRECISIONS)}, not '{precision}'.")


def autocast(precision: str, where: torch.device) -> contextlib.AbstractContextManager[None]:
    """The context of one pass: `exact` is float32; `fast` is float16 where the device computes in it, else float32 too.

    (bfloat16 rounds eight times more coarsely: occlusion maps lose up to 0.03 of their rank correlation in it.)
    Autocast is a state of the thread, so that two sessions with different precision do not disturb each other.
    """
    check_precision(precision)
    half = precision == "fast" and computes_in_16_bits(where)
    return torch.autocast(where.type, dtype=torch.float16, enabled=half)


def inner_batch(pixels: int, where: torch.device, graph: bool = False) -> int:
    """How many pictures of so many pixels go through the network at once, with or without a graph for gradients.

    On a CPU at most 16 and half a gigabyte: more is no faster, and one inner batch is what a cancelled run still finishes.
    """
    each = pixels * (BYTES_PER_PIXEL if graph else BYTES_PER_PIXEL // 4)
    if where.type == "cuda":
        return int(min(256, max(1, torch.cuda.mem_get_info(where)[0] // 2 // each)))
    return int(min(16, max(1, 2**29 // each)))


def each_batch(run: Callable[[range], Result], total: int, size: int, track: Track = iter) -> list[Result]:
    """`run(rows)` for consecutive ranges of at most `size` rows out of `total`; on out-of-memory, in halves.

    `track` wraps the list of ranges. Raises OutOfMemory where a single row does not fit.
    """
    results = []
    for start in track(range(0, total, size)):
        results += _run_or_halve(run, range(start, min(start + size, total)))
    return results


def channels_last(module: nn.Module) -> nn.Module:
    """The module itself, its convolutions' weights in MEMORY_FORMAT."""
    return module.to(memory_format=MEMORY_FORMAT)  # type: ignore[call-overload,no-any-return]  # not in torch's overloads


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The batches as one tensor; a single one as it is, without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _run_or_halve(run: Callable[[range], Result], rows: range) -> list[Result]:
    try:
        return [run(rows)]
    except (torch.OutOfMemoryError, RuntimeError) as error:  # the CPU allocator raises a plain RuntimeError
        if not isinstance(error, torch.OutOfMemoryError) and "not enough memory" not in str(error):
            raise
        if len(rows) == 1:
            raise OutOfMemory(TOO_LARGE) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(rows) // 2
    return [*_run_or_halve(run, rows[:middle]), *_run_or_halve(run, rows[middle:])]


def normal_draw(seed: int, index: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw number `index` of seed `seed`: standard normal, on the CPU, the same on every device and in every batch.

    A draw is a pure function of (seed, index): nothing global is seeded, and a batch that is cut into other
    pieces, or tried again after running out of memory, sees the same numbers.
    """
    return torch.randn(shape, generator=_generator(seed, index))


def uniform_draw(seed: int, index: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw number `index` of seed `seed`: uniform in [0, 1), on the CPU; as `normal_draw`."""
    return torch.rand(shape, generator=_generator(seed, index))


def _generator(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
