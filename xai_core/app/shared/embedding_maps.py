"""Maps of a model's embeddings, computed once for each model, dataset and projection."""

import numpy as np
import pandas as pd

from xai_core.analysis.embedding_maps import EmbeddingMap, Projection, embedding_map
from xai_core.app.shared import cache, page_links, page_work
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.predictions import subject
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel

SEED = 0
A_SECOND: dict[Projection, int] = {"pca": 20_000, "tsne": 250}  # pictures that are placed in a second, about


def find(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel, projection: Projection) -> EmbeddingMap | None:
    """The map of all pictures in `rows`, in their order; None while it is not computed: the page then shows how that is
    started, or how far it is."""
    key = f"embedding map {subject(model, dataset)} {projection} {SEED}"

    def compute(track: Track) -> None:
        if cache.get(key) is None:  # somebody else may have computed it while this visitor waited for a turn
            points = np.stack(rows["embedding"].to_list())
            cache.put(key, embedding_map(points, projection, SEED, track=track))

    if cache.get(key) is None:
        work = PageWork(
            key, [Part("Placing pictures", len(rows) / A_SECOND[projection], compute)], f"Map of {dataset.title}",
            page_links.shown(), is_upload(dataset), "Make the map",
        )  # fmt: skip
        if not page_work.complete(work):
            return None
    found: EmbeddingMap | None = cache.get(key)
    return found
