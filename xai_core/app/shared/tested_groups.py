"""The groups of errors of a model's predictions: found on one half of the pictures, tested on the other."""

import numpy as np
import pandas as pd

from xai_core.app.shared import cache
from xai_core.app.shared.predictions import subject
from xai_core.data.datasets import Dataset
from xai_core.failures.error_groups import ErrorGroups, groups
from xai_core.models.explainable import ExplainableModel

SEED = 0


def tested_groups(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> ErrorGroups:
    """The groups of errors, computed once for these predictions."""
    key = f"error groups {subject(model, dataset)} {SEED}"
    result: ErrorGroups | None = cache.get(key)
    if result is None:
        known = dataset.metadata.loc[rows["path"]].reset_index(drop=True) if len(dataset.metadata.columns) else None
        result = groups(rows, known, np.stack(rows["embedding"].to_list()), seed=SEED)
        cache.put(key, result)
    return result
