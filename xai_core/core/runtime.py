"""Device, precision, batches that fit into memory, and random draws by seed."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import psutil
import torch
from torch import nn

from xai_core.core import settings
from xai_core.core.errors import BadRequest, OutOfMemory
from xai_core.core.machine import Machine, available_cpus, threads_of_run

PRECISIONS = ("exact", "fast")
# Faster than the default for convolutions, in both precisions, on CPU and GPU. And on the CPU torch (2.13) differentiates a
# batch normalisation wrongly whose input has the default format while the gradient that arrives is channels-last.
MEMORY_FORMAT = torch.channels_last
BYTES_PER_PIXEL = 2000  # of one picture on its way through a ResNet-50 with graph: about 100 MB at 224 x 224

TOO_LARGE = "Not even one picture fits into memory; close other programs or take a smaller picture."
Result = TypeVar("Result")
Track = Callable[[Iterable[Any]], Iterable[Any]]  # as tqdm: yields what it is given, and may report or stop in between


# Asked, one after the other, for memory where not even one row fits. Each lets something go that can be had again (the app:
# the least recently used model) and returns whether it did.
RELEASES: list[Callable[[], bool]] = []
# Of the allocators' own messages: on Linux, on Windows, and where cuBLAS finds no room for what it works with.
FULL = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


@cache
def device() -> torch.device:
    """CUDA where present, else MPS, else CPU; the environment variable XAI_DEVICE overrides. Set up once per process.

    Raises BadRequest where XAI_DEVICE is not a device of this machine.
    """
    torch.set_num_threads(_all_threads())
    torch.backends.cuda.matmul.allow_tf32 = False  # `exact` means float32
    torch.backends.cudnn.allow_tf32 = False
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    chosen = torch.device(settings.DEVICE.value() or best)
    present = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[chosen.type]
    if (chosen.index or 0) >= present:
        raise BadRequest(f"This machine has no device '{chosen}': set XAI_DEVICE to another one, or leave it empty.")
    return chosen


@cache
def _all_threads() -> int:
    return min(torch.get_num_threads(), available_cpus())  # torch counts by OMP_NUM_THREADS, not by quotas


def share_threads(running: int) -> None:
    """Let this thread compute with its share of the threads while so many runs compute; OpenMP counts for each thread."""
    threads = threads_of_run(_all_threads(), running)
    if torch.get_num_threads() != threads:  # asked first: a thread's first question would undo what was set before it
        torch.set_num_threads(threads)


class Memory(NamedTuple):
    """Bytes of a device: what is free for this process, and all it has."""

    free: int
    total: int


def gpu_memory(where: torch.device) -> Memory | None:
    """The memory of a CUDA device; None elsewhere. What torch holds back for its next tensors is free."""
    if where.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(where)
    return Memory(free + torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where), total)


def this_machine() -> Machine:
    """What decides how many runs are done at once here."""
    where, memory = device(), gpu_memory(device())
    return Machine(available_cpus(), psutil.virtual_memory().available, where.type, memory.free if memory else 0)


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
    memory = gpu_memory(where)
    if memory:
        return int(min(256, max(1, memory.free // 2 // each)))
    return int(min(16, max(1, 2**29 // each)))


def each_batch(run: Callable[[range], Result], total: int, size: int, track: Track = iter) -> list[Result]:
    """`run(rows)` for consecutive ranges of at most `size` rows out of `total`; on out-of-memory, in halves.

    `track` wraps the list of ranges. Where a single row does not fit, RELEASES are asked for memory; raises OutOfMemory
    where they have none left.
    """
    results = []
    for start in track(range(0, total, size)):
        results += _run_or_halve(run, range(start, min(start + size, total)))
    return results


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch, on any device, found no room for a tensor; the CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in FULL)


def empty_cache() -> None:
    """Give back what torch holds of a GPU's memory without using it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def channels_last(module: nn.Module) -> nn.Module:
    """The module itself, its convolutions' weights in MEMORY_FORMAT."""
    return module.to(memory_format=MEMORY_FORMAT)  # type: ignore[call-overload,no-any-return]  # not in torch's overloads


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The batches as one tensor; a single one as it is, without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _run_or_halve(run: Callable[[range], Result], rows: range) -> list[Result]:
    try:
        return [run(rows)]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(rows) == 1 and not any(release() for release in RELEASES):
            raise OutOfMemory(TOO_LARGE) from error
    empty_cache()  # not before the error is gone: it holds on to the tensors of its frames
    if len(rows) == 1:
        return _run_or_halve(run, rows)
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
