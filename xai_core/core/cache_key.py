"""Names by content: digests of files, arrays and texts, and the one key of a computation.

`explanation/request.py` gives a request its key; the cache, the store, the exports and the links use that one.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def bytes_digest(data: bytes) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits: the name under which an upload stands in a link."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8, 64 hexadecimal digits."""
    return bytes_digest(text.encode())


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's shape, type and every value, 64 hexadecimal digits."""
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
    """The key of a computation, 64 hexadecimal digits: equal exactly where every input is equal.

    `picture` is a digest of what the network sees, `weights` a fingerprint of the parameters,
    `target` the target's own key, `version` the method's.
    """
    parts = dict(sorted(locals().items())) | {"options": dict(sorted(options.items()))}
    return text_digest(json.dumps(parts, sort_keys=True))
