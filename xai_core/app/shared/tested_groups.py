"""The groups of errors of a model's predictions: found on one half of the pictures, tested on the other.

They are searched by the dataset's metadata and the model's features, and by what a visitor has had measured: statistics of
the pictures, and maps.
"""

import numpy as np
import pandas as pd

from xai_core.app.shared import cache, network_outputs, progress
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.page_work import Part, stored
from xai_core.app.shared.predictions import subject
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import method_passes
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.failures import error_maps
from xai_core.failures.error_groups import ErrorGroups, groups
from xai_core.failures.picture_attributes import known_attributes, picture_statistics
from xai_core.models.explainable import ExplainableModel

SEED = 0
MEASURED_A_SECOND = 100  # pictures, about


def tested_groups(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> ErrorGroups:
    """The groups of errors, computed once for these predictions and what has been measured."""
    of = subject(model, dataset)
    statistics, maps = cache.get(_statistics_key(dataset)), cache.get(_maps_key(of))
    key = f"error groups {of} {SEED} {statistics is not None} {maps is not None}"
    result: ErrorGroups | None = cache.get(key)
    if result is None:
        known = known_attributes(dataset, rows["path"], statistics)
        result = groups(rows, known, np.stack(rows["embedding"].to_list()), maps, seed=SEED)
        cache.put(key, result)
    return result


def has_statistics(dataset: Dataset) -> bool:
    return cache.get(_statistics_key(dataset)) is not None


def has_maps(dataset: Dataset, model: ExplainableModel) -> bool:
    return cache.get(_maps_key(subject(model, dataset))) is not None


def fits_maps(model: ExplainableModel) -> bool:
    return METHODS[error_maps.METHOD].misfit(model) is None


def measure_statistics(dataset: Dataset) -> bool:
    """Measure the statistics of all pictures, once for all models, or show the button that starts it; returns whether they
    are measured."""
    key = _statistics_key(dataset)

    def compute(track: Track) -> None:
        cache.put(key, picture_statistics(dataset, track=track))

    part = Part("Measuring pictures", len(dataset.samples) / MEASURED_A_SECOND, compute)
    return _done(key, part, "Statistics", dataset, "Search by picture statistics, too")


def make_maps(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> bool:
    """Make the maps of errors and of as many right pictures, or show the button that starts it; returns whether they are
    made."""
    key = _maps_key(subject(model, dataset))

    def compute(track: Track) -> None:
        cache.put(key, error_maps.group_maps(model, dataset, rows, seed=SEED, track=track))

    count, method = len(error_maps.mapped_places(rows, SEED)), error_maps.METHOD
    options = check_options(METHODS[method].run, {})
    passes = count * (1 + method_passes(method, options, model.recipe.input_size, model.family))
    seconds = network_outputs.pass_seconds(model, passes)
    return _done(key, Part("Maps", seconds, compute), "Maps of errors", dataset, "Search by maps, too")


def _done(key: str, part: Part, title: str, dataset: Dataset, button: str) -> bool:
    part = part._replace(seconds=max(part.seconds, progress.AT_ONCE_SECONDS))  # groups change only where that is wanted
    return stored(key, [part], f"{title} of {dataset.title}", button, private=is_upload(dataset)) is not None


def _statistics_key(dataset: Dataset) -> str:
    return f"picture statistics {dataset.digest}"


def _maps_key(of: str) -> str:
    return f"group maps {of} {SEED}"
