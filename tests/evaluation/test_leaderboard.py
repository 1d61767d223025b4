"""The leaderboard of methods on drawn pictures says what the shipped run holds."""

import json

import numpy as np
import pytest

from benchmarks import leaderboard
from xai_core.evaluation.runner import evaluate
from xai_core.evaluation.store import open_run
from xai_core.evaluation.summary import is_control

RESULTS = json.loads(leaderboard.FILE.read_text())


@pytest.fixture(scope="module")
def run():
    return open_run(leaderboard.RUN)


@pytest.fixture(scope="module")
def means(run):
    """The mean of each model, metric and method, and of how many pictures."""
    rows = run.table().astype({"model": str, "metric": str, "method": str})
    return rows.groupby(["model", "metric", "method"])["value"].agg(["mean", "count"])


@pytest.mark.parametrize("model", leaderboard.UNTRAINED)
def test_untrained_twins_can_be_measured(model, tmp_path):
    run = evaluate([model], ["grad_cam", "layerwise_relevance"], [leaderboard.TRUTH], leaderboard.WORLD, tmp_path, count=2)
    values = run.table()
    assert values.value.notna().all() and values.picture.nunique() == 2
    assert values.model.astype(str).unique().tolist() == [model]


@pytest.mark.parametrize("model", RESULTS["models"])
def test_the_table_has_the_means_of_the_run(means, model):
    for method, metrics in RESULTS["models"][model]["maps"].items():
        for metric, entry in metrics.items():
            mean, n = means.loc[(model, metric, method)]
            assert entry["n"] == n and (entry["mean"] == pytest.approx(mean) or np.isnan(mean))
            assert np.isnan(mean) or n < 2 or entry["low"] <= entry["mean"] <= entry["high"]


@pytest.mark.parametrize("model", [name for name in RESULTS["models"] if RESULTS["models"][name]["foretelling"]])
def test_a_metric_foretells_as_far_as_its_order_of_the_methods_agrees(run, means, model):
    truth = means.loc[(model, leaderboard.TRUTH)]["mean"].dropna()
    truth = truth[[name for name in truth.index if not is_control(name)]]
    for metric, entry in RESULTS["models"][model]["foretelling"].items():
        sign = -1 if run.manifest["metrics"][metric]["direction"] == "lower" else 1
        values = sign * means.loc[(model, metric)]["mean"].reindex(truth.index)
        expected = tau(truth.to_numpy(), values.to_numpy())
        assert entry["value"] == pytest.approx(expected, abs=1e-9) or (np.isnan(expected) and np.isnan(entry["value"]))


def tau(a, b):
    """Kendall's tau-b by its definition; values closer than a millionth of the largest are tied."""
    signs = []
    for values in (a, b):
        least = 1e-6 * np.nanmax(np.abs(values))
        pairs = [values[i] - values[j] for i in range(len(values)) for j in range(i)]
        signs.append([np.nan if np.isnan(apart) else 0 if abs(apart) <= least else np.sign(apart) for apart in pairs])
    known = [(x, y) for x, y in zip(*signs, strict=True) if not np.isnan(x + y)]
    untied = [sum(pair[side] != 0 for pair in known) for side in (0, 1)]
    return sum(x * y for x, y in known) / np.sqrt(untied[0] * untied[1]) if all(untied) else np.nan


def test_the_document_is_made_of_the_results(run):
    assert leaderboard.DOCUMENT.read_text(encoding="utf-8") == leaderboard.document(RESULTS, leaderboard.titles(run))
