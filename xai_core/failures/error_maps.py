"""Maps of errors and of as many right pictures, by which errors are grouped."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadPicture
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.explanation.clustering import small_map
from xai_core.models.explainable import ExplainableModel

METHOD = "grad_cam"
MOST = 300  # errors that get a map, and as many right pictures


def mapped_places(rows: pd.DataFrame, seed: int = 0) -> NDArray[np.int64]:
    """Which of the predictions `rows` get a map: all errors (a random MOST of them, where there are more) and as many right
    pictures at random, in rising order."""
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    draws = np.random.default_rng(seed)
    count = min(int(wrong.sum()), MOST)
    drawn = [draws.permutation(np.flatnonzero(kind))[:count] for kind in (wrong, ~wrong)]
    return np.sort(np.concatenate(drawn))


def group_maps(
    model: ExplainableModel, dataset: Dataset, rows: pd.DataFrame, *, seed: int = 0, track: Track = iter
) -> Sequence[NDArray[np.float32] | None]:
    """For each of the predictions `rows` (columns `path`, `predicted_index`): the Grad-CAM map of the predicted class on
    16 x 16 cells, divided by its norm; None for pictures that get none or cannot be read. Give them to `groups` as `maps`.

    `track` wraps the places of the pictures. Raises BadRequest for a model that Grad-CAM does not fit.
    """
    maps: list[NDArray[np.float32] | None] = [None] * len(rows)
    paths, classes = rows["path"].to_list(), rows["predicted_index"].to_list()
    for place in track(mapped_places(rows, seed).tolist()):
        try:
            picture = dataset.open(paths[place])
        except BadPicture:
            continue
        maps[place] = small_map(explain(model, picture, METHOD, target=int(classes[place])).heatmap)
    return maps
