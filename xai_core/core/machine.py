"""How many runs a machine does at once, and how many threads each computes with, from a few facts about it.

Imports no torch. No machine with more than two processors and no GPU was at hand: the numbers for these are choices.
"""

import os
from pathlib import Path
from typing import NamedTuple

MOST_RUNS = 4
CPUS_OF_RUN = 4
CPUS_OF_GPU_RUN = 2  # one makes pictures and masks and starts the device's work, one decodes
BYTES_OF_RUN = 2 * 2**30  # an inner batch takes at most half a gigabyte; beside it stand masks, maps and copies
GPU_BYTES_OF_RUN = 6 * 2**30  # about 60 pictures of 224 pixels with their graphs


class Machine(NamedTuple):
    """What decides how many runs a machine does at once.

    cpus        processors that this process may use
    memory      bytes that are free
    device      type of the device that computes: cpu, cuda or mps
    gpu_memory  bytes of a CUDA device that are free
    """

    cpus: int
    memory: int
    device: str = "cpu"
    gpu_memory: int = 0


def runs_at_once(machine: Machine) -> int:
    """How many runs compute at the same time, 1 to MOST_RUNS; more take turns. Each has at least its processors and its
    memory; a device of type mps shares its memory with the processors and does one run."""
    most = [MOST_RUNS, machine.memory // BYTES_OF_RUN]
    if machine.device == "cuda":
        most += [machine.cpus // CPUS_OF_GPU_RUN, machine.gpu_memory // GPU_BYTES_OF_RUN]
    else:
        most.append(machine.cpus // CPUS_OF_RUN if machine.device == "cpu" else 1)
    return max(1, min(most))


def threads_of_run(threads: int, running: int) -> int:
    """How many of all threads one of so many runs computes with: an equal share, at least one."""
    return max(1, threads // running)


def available_cpus() -> int:
    """Processors this process may use, also inside a container with a quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    quota = quota_file.read_text().split() if quota_file.exists() else ["max"]
    return cpus if quota[0] == "max" else max(1, min(cpus, round(int(quota[0]) / int(quota[1]))))
