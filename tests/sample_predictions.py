"""The predictions for the changed photographs of the page Misclassifications, as a page reads them and as a test does."""

import pandas as pd
import pytest
from opened_pages import opened
from streamlit.testing.v1 import AppTest

from xai_core.analysis.predict import classify
from xai_core.app.shared import predictions
from xai_core.app.shared.opened_datasets import SAMPLES
from xai_core.data.corrupted_samples import changed_samples
from xai_core.models.loading import load_model


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch, tmp_path_factory):
    """Notes of its own for each test; predictions are made once."""
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/review.sqlite")
    monkeypatch.setattr(predictions, "folder", lambda: tmp_path_factory.getbasetemp() / "predictions")


def opened_on_samples(page: str, **query: str | list[str] | bool) -> AppTest:
    """The page with the changed photographs and the embedded model, unless `query` names others."""
    usual = {} if "dataset" in query else {"dataset": SAMPLES}
    return opened(page, **usual, **query)


def raw_rows() -> pd.DataFrame:
    """The predictions that the page reads, straight from their file; a test that runs alone computes them first."""
    model, dataset = load_model("efficientnet_lite0"), changed_samples()
    file = predictions.file_of(model, dataset)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        for _ in classify(model, dataset, file, embeddings=True):
            pass
    table = pd.read_parquet(file)
    return table[table["true_index"] >= 0]


def first_error(sort: str = "confidence") -> pd.Series:
    """The first picture of the cell that the page begins with: of the most confused pair, the most confident error."""
    rows = raw_rows()
    wrong = rows[rows["true"] != rows["predicted"]]
    sizes = wrong.groupby(["true", "predicted"])["path"].transform("size")
    return wrong[sizes == sizes.max()].sort_values(sort, ascending=False).iloc[0]
