"""Explanations made by hand, for tests of what is shown and written: any map, with the settings of no real network."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai_core.explanation.result import Explanation, Passes

SQUARE = {"picture_size": (100, 100), "box": (0.0, 0.0, 100.0, 100.0)}
LANDSCAPE = {"picture_size": (200, 100), "box": (50.0, 0.0, 150.0, 100.0)}  # the network saw the middle


def made(values: Sequence[Sequence[float]] | np.ndarray, signed: bool = True, **changes: Any) -> Explanation:
    """An explanation with this map; everything else can be changed by name."""
    settings = {
        "input_size": (64, 64),
        "picture": "ab" * 32,
        "model": "some_model",
        "weights": "0123abcd",
        "cut": "layer4.2",
        "target": "logit of tabby, tabby cat",
        "target_key": "logit 281",
        "target_value": 12.5,
        "method": "some_method",
        "title": "Some-Method",
        "version": 3,
        "options": {"window": 64, "fill": "grey"},
        "seed": 7,
        "precision": "exact",
        "passes": Passes(forward=3, backward=2),
        "seconds": 0.25,
    }
    return Explanation(heatmap=np.array(values, np.float32), signed=signed, **{**SQUARE, **settings, **changes})


def one_cell(row: int, column: int, value: float = 1.0, side: int = 4) -> np.ndarray:
    """A map that is zero but for one cell."""
    heatmap = np.zeros((side, side), np.float32)
    heatmap[row, column] = value
    return heatmap
