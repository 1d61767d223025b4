"""Random parameters that a seed repeats."""

import contextlib
import threading
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def own_draws(seed: int) -> Iterator[None]:
    """Draws from the CPU's global generator, as the initialisers of layers make them: seeded here, unchanged outside.

    One thread at a time, so that no two models mix their draws; no generator of a GPU is touched.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


_DRAWING = threading.Lock()
