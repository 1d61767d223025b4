"""Names for pictures and runs: the cache, the results and the links all use these, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def bytes_digest(data: bytes) -> str:
    """SHA-256 of a file's bytes: the name under which an upload stands in a link."""
    return hashlib.sha256(data).hexdigest()


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's shape, type and every value (none is sampled away)."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


def run_key(
    *,
    picture: str,
    model: str,
    weights: str,
    cut: str,
    target: str,
    method: str,
    version: int,
    options: Mapping[str, Any],
    seed: int,
    precision: str,
) -> str:
    """One name for one computation: equal exactly where every input is equal.

    `picture` is a digest of what the network sees, `weights` a fingerprint of the parameters,
    `target` the target's own key, `version` the method's. Returns 64 hexadecimal digits.
    """
    parts = dict(sorted(locals().items())) | {"options": dict(sorted(options.items()))}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
