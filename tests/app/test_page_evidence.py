"""The view Evidence of the page Failure analysis, beside figures computed again from the predictions of the app."""

import numpy as np
import pytest
from opened_pages import ROOT, opened, text

from xai_core.app.failures.group_choice import offered
from xai_core.app.shared import predictions
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.failures.class_features import UNUSUAL, carrying_features, unusual_reasoning
from xai_core.failures.error_groups import groups
from xai_core.failures.group_evidence import group_evidence, linear_head
from xai_core.failures.label_triage import triage
from xai_core.models.loading import load_model

PAGE, EVERY = "pages/7_Failure_analysis.py", 15  # of the training pictures, so that the test is quick
FOLDER = ROOT / "data" / "predictions"


@pytest.fixture(scope="module")
def known():
    rows, dataset = read_predictions(FOLDER / "world_planted.parquet"), open_dataset("world:planted")
    metadata = dataset.attributes(rows["path"])
    choices = offered(rows, groups(rows, metadata, np.stack(rows["embedding"].to_list())))
    return rows, choices[0]  # which the page begins with


def training_rows():
    return read_predictions(FOLDER / "training_world_planted.parquet").iloc[::EVERY].reset_index(drop=True)


@pytest.fixture
def few_training_pictures(monkeypatch):
    table = predictions.table

    def few(model, dataset, **options):
        rows = table(model, dataset, **options)
        return training_rows() if dataset.title.endswith(":train") else rows

    monkeypatch.setattr(predictions, "table", few)


def test_the_refit_and_the_labels_that_look_wrong_are_those_of_raw_rows(known, few_training_pictures):
    rows, group = known
    app = opened(PAGE, step="Causes", causes="Evidence")
    training, model = training_rows(), load_model("world_planted")
    judgement = triage(np.stack(training["embedding"].to_list()), training["true"].to_list())
    head = linear_head(model, training)
    expected = group_evidence(training, rows, group.members, judgement, head=head, head_classes=model.class_names)
    refit, words = expected.evidence.refits["influence"], text(app)
    assert f"**{refit.sentence}**" in words
    (table,) = [element.value for element in app.dataframe if "left out" in element.value]
    flagged = judgement.pictures["flagged"].to_numpy(bool)
    assert table["labels look wrong"].tolist() == [flagged[one.removed].sum() for one in expected.evidence.refits.values()]
    means = [one.falls["evidence"].mean() for one in expected.evidence.refits.values()]
    assert table["fall without them"].to_numpy() == pytest.approx(means, abs=1e-6)
    assert words.count("looks wrong:") == flagged[refit.removed].sum()
    assert not app.error


def test_the_features_that_carry_errors_are_those_of_raw_rows(known):
    rows, group = known
    app = opened(PAGE, step="Causes", causes="Evidence", evidence="Features")
    features, head = np.stack(rows["embedding"].to_list()), linear_head(load_model("world_planted"), rows)
    true, predicted = rows["true_index"].to_numpy(), rows["predicted_index"].to_numpy()
    expected = carrying_features(head, features, true, predicted, group.members)
    assert f"**{expected.sentence}**" in text(app)
    first = int(expected.table["feature"].iloc[0])
    largest = rows["path"].iloc[int(features[:, first].argmax())]
    assert any(key and key.startswith("open Feature") and key.endswith(largest) for key in [one.key for one in app.button])


def test_unusual_errors_are_counted_from_raw_rows(known):
    rows, group = known
    app = opened(PAGE, step="Causes", causes="Evidence", evidence="Unusual reasoning")
    features, head = np.stack(rows["embedding"].to_list()), linear_head(load_model("world_planted"), rows)
    expected = unusual_reasoning(head, features, rows["true_index"].to_numpy(), rows["predicted_index"].to_numpy()).pictures
    inside = expected.iloc[group.members]
    wrong = inside[inside["wrong"] & inside["p"].notna()]
    assert f"**{(wrong['p'] <= UNUSUAL).sum()} of {len(wrong)} errors of this group reason unusually**" in text(app)


def test_without_training_pictures_the_page_says_how_to_have_them(monkeypatch):
    app = opened(PAGE, dataset="Sample photographs, changed", step="Causes", causes="Evidence")
    assert any("Choose the pictures that the network was trained on" in one.value for one in app.info)
    assert not app.exception and not app.error
