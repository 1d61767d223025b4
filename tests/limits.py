"""Bounds on what a test may take: ten seconds and one gigabyte, for files that are made to hang or to fill the memory."""

import contextlib
import signal
from pathlib import Path

SECONDS, MEGABYTES = 10, 1000


@contextlib.contextmanager
def limited():
    """Fails where the block takes longer or more memory (the peak above what the process held before; Linux)."""

    def stop(*_):
        raise AssertionError(f"it took more than {SECONDS} s")

    before = _peak()
    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    assert _peak(reset=False) - before < MEGABYTES, "it took more than a gigabyte"


def _peak(reset: bool = True) -> float:
    """The most that this process held since the last reset, in MB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


def one_sentence(error: Exception) -> bool:
    """Whether the message of an error is one line that ends like a sentence."""
    message = str(error)
    return "\n" not in message and message.endswith((".", "?")) and len(message) < 1500 and "Error(" not in message
