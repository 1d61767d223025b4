"""What the benchmarks of large runs share: their arguments, the memory of the process, and how a result is written."""

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def arguments(description: str | None, steps: Sequence[str], pictures: int) -> argparse.Namespace:
    """`what` to do, one of the steps; the `folder`; the number of `pictures` that are made; the file `out`, or None."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("what", choices=steps)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=pictures)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def memory() -> float:
    """MB that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def most_memory() -> float:
    """MB that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(result: dict[str, Any], out: Path | None) -> None:
    """Print the result, and write it to the file `out` where there is one."""
    text = json.dumps(result, indent=1) + "\n"
    if out:
        out.write_text(text)
    sys.stdout.write(text)
