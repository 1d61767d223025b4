"""The pictures of a group that the network is asked about again."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.errors import BadPicture
from xai_core.data.datasets import Dataset
from xai_core.failures.group_causes import group_sample
from xai_core.models.explainable import ExplainableModel


class GroupPictures(NamedTuple):
    """Predictions with their pictures as the network sees them, (3, H, W). Files that can no longer be read are left out."""

    rows: pd.DataFrame
    pixels: list[Tensor]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self.rows["path"])

    @property
    def classes(self) -> list[int]:
        return [int(index) for index in self.rows["true_index"]]


def sample(rows: pd.DataFrame, members: NDArray[np.int64], seed: int) -> pd.DataFrame:
    """The predictions among `rows` that are looked at for a group with these `members` (places): its errors first, then
    right ones; at most as many as are tested."""
    places = group_sample(rows["true"].tolist(), rows["predicted"].tolist(), members, seed)
    return rows.iloc[places].reset_index(drop=True)


def read(chosen: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> GroupPictures:
    """The pictures of these predictions."""
    pixels: dict[int, Tensor] = {}
    for place, path in enumerate(chosen["path"]):
        try:
            pixels[place] = model.prepare(dataset.open(path)).pixels
        except (BadPicture, OSError):
            continue
    return GroupPictures(chosen.iloc[list(pixels)].reset_index(drop=True), list(pixels.values()))
