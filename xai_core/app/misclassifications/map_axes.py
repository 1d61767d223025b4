"""Two columns as the axes of the map: confidence, margin, or what the dataset says of its pictures."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.analysis import groups
from xai_core.app.misclassifications.point_map import Axis
from xai_core.app.shared import session
from xai_core.app.shared.widgets import LINK
from xai_core.data.datasets import Dataset

CONFIDENCE, MARGIN = "(confidence)", "(margin)"
ACROSS, UP = "map across", "map up"  # keys of the select boxes
MOST_VALUES = 20  # of an axis with names
SPREAD = 0.7  # of the room of a name over which its pictures are spread, so that they do not cover each other
SEED = 0


class Places(NamedTuple):
    """The places (n, 2) of all pictures, not numbers where a column says nothing; the axes; and both in words."""

    points: NDArray[np.float64]
    axes: tuple[Axis, Axis]
    words: str


def choose(rows: pd.DataFrame, dataset: Dataset, on_change: Callable[[], None]) -> tuple[str, str]:
    """The controls of the two columns, in the address."""
    names = [CONFIDENCE, MARGIN, *(str(name) for name in dataset.metadata if is_axis(dataset.metadata[name]))]
    first = next((name for name in names[2:] if name not in dataset.truth), None)
    usual = (first, CONFIDENCE) if first else (CONFIDENCE, MARGIN)
    return _column("Across", ACROSS, names, usual[0], on_change), _column("Up", UP, names, usual[1], on_change)


def _column(label: str, key: str, names: list[str], usual: str, on_change: Callable[[], None]) -> str:
    session.keep_among(key, names, usual)
    return st.selectbox(label, names, names.index(usual), key=key, width=200, on_change=on_change, **LINK)


def is_axis(values: "pd.Series[Any]") -> bool:
    """Whether pictures can be placed by a column: by its numbers, or by its names if they are few."""
    return groups.has_many_numbers(values) or values.nunique() <= MOST_VALUES


def places(rows: pd.DataFrame, dataset: Dataset, columns: tuple[str, str]) -> Places:
    """The places of the pictures in `rows` by two columns."""
    usual = {CONFIDENCE: rows["confidence"], MARGIN: rows["margin"]}
    values = [
        usual[name].reset_index(drop=True) if name in usual else dataset.attribute(rows["path"], name) for name in columns
    ]
    placed = [_axis(one, name.strip("()"), seed) for seed, (one, name) in enumerate(zip(values, columns, strict=True), SEED)]
    points = np.stack([place for place, _ in placed], 1)
    spread = [axis.title for _, axis in placed if axis.ticks]
    words = f"Across: {placed[0][1].title}; up: {placed[1][1].title}."
    if spread:
        words += " Around a name its pictures are spread at random, so that they do not cover each other."
    missing = int(np.isnan(points).any(1).sum())
    if missing:
        words += f" {missing:,} pictures without a value are not on the map."
    return Places(points, (placed[0][1], placed[1][1]), words)


def _axis(values: "pd.Series[Any]", title: str, seed: int) -> tuple[NDArray[np.float64], Axis]:
    """The places of values between -1 and 1, and the axis."""
    if groups.has_many_numbers(values):
        numbers = values.to_numpy(float)
        low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        return 2 * (numbers - low) / (high - low) - 1, Axis(low, high, None, title)
    names = groups.values_of(values)
    count = len(names.cat.categories)
    middles = (2 * np.arange(count) + 1) / count - 1
    draws = np.random.default_rng(seed).uniform(-SPREAD / count, SPREAD / count, len(values))
    ticks = tuple((float(middle), str(name)) for middle, name in zip(middles, names.cat.categories, strict=True))
    return middles[names.cat.codes.to_numpy()] + draws, Axis(ticks=ticks, title=title)
