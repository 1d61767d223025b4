"""What ships for the first views fits what the pages ask, is true, is marked, and can be computed anew."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from opened_pages import opened, text
from pandas.testing import assert_frame_equal

from xai_core import load_sample, measure
from xai_core.analysis.compare_models import Answer
from xai_core.app.pairs import views
from xai_core.app.shared import cache, jobs, loaded_models, page_links, progress, shipped_results
from xai_core.attribution.explain import explain
from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.explanation.result import Explanation
from xai_core.failures.label_triage import Triage
from xai_core.metrics.catalog import METRICS, PRESETS
from xai_core.metrics.measure import Measurement
from xai_core.models.explainable import Prediction
from xai_core.pairs.augment import Augmentation, AugmentedView, draw_view
from xai_core.pairs.reference import RandomPairs

FILE = settings.RESOURCES / "data" / "first_views.npz"
MARK = "Shipped with the project: computed on "
WORK = {  # the first part of each page's work, by its button
    page_links.SINGLE: "Explain",
    page_links.METHODS: "Compare",
    page_links.MODELS: "Compare",
    page_links.PAIRS: "Explain",
    page_links.EVOLUTION: "Explain",
    page_links.FAILURES: "Judge the labels",
    page_links.METRICS: "Measure",
}
WRITE = "Write the file anew: python -m xai_core.app.first_views"


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    """The pages of a new server that has the file."""
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "SHIPPED", FILE)
    jobs._registry.clear()
    loaded_models._loaded().models.clear()
    cache.clear()
    cache._store().shipped = None
    yield
    cache.clear()
    cache._store().shipped = None


def test_a_slow_machine_shows_the_first_views_without_a_click(monkeypatch):
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 0.0)
    for title, work in WORK.items():
        app = opened(page_links.FILES[title], asks=True)
        assert work not in [button.label for button in app.button], f"{title} asks first. {WRITE}"
        assert MARK in text(app), title
        assert len(app.get("bidi_component")) or len(app.dataframe), title
        if title != page_links.METRICS:  # which measures how long a pass takes
            built = [model.id for model in loaded_models._loaded().models.values() if model.network.is_built]
            assert not built, f"{title} builds {built}, which imports timm and torchvision."
    assert not {*cache.stored()} & {*shipped_results.read(FILE).entries}  # nothing was computed


def test_compute_anew_computes_the_same_here_and_the_mark_is_gone():
    app = opened(page_links.FILES[page_links.SINGLE])
    before = {*cache.stored()}
    (anew,) = (button for button in app.button if button.label == "Compute anew")
    anew.click().run()
    assert not app.exception and MARK not in text(app)
    (key,) = ({*cache.stored()} - before) & {*shipped_results.read(FILE).entries}
    assert np.abs(cache.get(key).heatmap - shipped_results.read(FILE).find(key).heatmap).max() < 1e-4


def test_long_work_begins_with_one_click_and_the_rest_stays(monkeypatch):
    begun = []
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "start", lambda key, title, *rest, **more: begun.append(title))
    app = opened(page_links.FILES[page_links.METHODS], asks=True)
    next(button for button in app.button if button.label == "Compute anew").click().run()
    assert not app.exception and begun == ["Compare 6 methods on astronaut"]
    app.run()
    assert len(begun) == 1  # once for each click


def test_maps_measurements_and_logits_are_those_of_this_code(lite0):
    """Each map, all measurements of one map, and the logits are computed again. Another processor rounds otherwise: maps and
    logits within 1e-3 of their largest value, metrics within 1e-3."""
    results, picture = shipped_results.read(FILE), load_sample("astronaut")
    found = [results.find(key) for key in results.entries]
    maps = [result for result in found if isinstance(result, Explanation) and result.model == "efficientnet_lite0"]
    assert {one.method for one in maps} >= {"grad_cam", "saliency"}
    for one in maps:
        again = explain(lite0, picture, one.method)
        assert again.version == one.version and again.target == one.target
        assert np.abs(again.heatmap - one.heatmap).max() < 1e-3 * np.abs(again.heatmap).max(), WRITE
    values = np.array([result.value for result in found if isinstance(result, Measurement)])
    metrics = [name for name in PRESETS["quick"] if "box" not in METRICS[name].needs]
    assert len(values) == len(metrics) * (len(maps) + 4), WRITE
    for metric in metrics:
        assert np.abs(values - measure(lite0, picture, maps[0], metric).value).min() < 1e-3, (metric, WRITE)
    (logits,) = (result for result in found if isinstance(result, np.ndarray) and result.ndim == 1)
    with torch.no_grad():
        again = lite0.outputs(lite0.prepare(picture).pixels[None]).logits[0].cpu().numpy()
    assert np.abs(again - logits).max() < 1e-3 * np.abs(again).max(), WRITE


def test_what_other_pages_ship_is_what_they_compute(tmp_path, monkeypatch):
    """Model comparison, Pairs, Failure analysis and Training evolution compute everything but the two views again, within
    1e-3 of the largest value of each result; the tables are equal in all texts."""
    shipped = shipped_results.read(FILE)
    drawn = {key: view for key in shipped.entries if isinstance(view := shipped.find(key), AugmentedView)}
    assert len(drawn) == 2
    for number, view in enumerate(drawn.values()):
        side = view.pixels.shape[1]
        picture, recipe = views.tensor(load_sample("astronaut")), Augmentation(0.3, True, 0.5, 0.0, 0.3)
        again = draw_view(picture, recipe, seed=0, number=number, size=(side, side))
        assert again._replace(pixels=None) == view._replace(pixels=None), WRITE
        assert (again.pixels - view.pixels).abs().max() < 1e-3, WRITE
    shipped_results.write(tmp_path / "views.npz", "here", drawn)
    monkeypatch.setattr(cache, "SHIPPED", tmp_path / "views.npz")
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 1e6)
    kinds = []
    for title in (page_links.MODELS, page_links.PAIRS, page_links.FAILURES, page_links.EVOLUTION):
        opened(page_links.FILES[title])
    for key, result in cache.stored().items():
        if key in shipped.entries:
            kinds.append(type(result))
            assert_same(shipped.find(key), result)
    assert {kind: kinds.count(kind) for kind in kinds} == {
        Answer: 2, float: 1, RandomPairs: 1, tuple: 3, np.ndarray: 1, Explanation: 3, Triage: 1
    }, WRITE  # fmt: skip


def assert_same(shipped, computed):
    if isinstance(computed, Answer):
        assert [one.name for one in shipped.predictions] == [one.name for one in computed.predictions], WRITE
        assert_same(
            tuple(one.probability for one in shipped.predictions), tuple(one.probability for one in computed.predictions)
        )
        assert (shipped.title, shipped.nbytes) == (computed.title, computed.nbytes), WRITE
        assert_same(shipped.explanation, computed.explanation)
    elif isinstance(computed, Explanation):
        assert (shipped.key, shipped.target, shipped.passes) == (computed.key, computed.target, computed.passes), WRITE
        assert_same(shipped.target_value, computed.target_value)
        assert_same(shipped.heatmap, computed.heatmap)
    elif isinstance(computed, Triage):
        for table in ("pictures", "duplicates"):
            assert_frame_equal(getattr(shipped, table), getattr(computed, table), rtol=1e-3)
        assert (shipped.classes, shipped.reasons) == (computed.classes, computed.reasons), WRITE
        assert (shipped.joint == computed.joint).all(), WRITE
    elif isinstance(computed, tuple):
        assert type(shipped) is type(computed) and len(shipped) == len(computed), WRITE
        for one, other in zip(shipped, computed, strict=True):
            assert_same(one, other)
    else:
        assert np.abs(np.subtract(shipped, computed)).max() <= 1e-3 * np.abs(computed).max(), WRITE


def test_what_is_written_is_read_and_another_file_is_refused(tmp_path):
    curve = np.array([[0.0, 0.5], [1.0, 0.25]])
    one = Measurement(float("nan"), curve, facts={"ties": np.float32(0.5)}, note="flat")
    shipped_results.write(tmp_path / "file.npz", "today", {"a": one, "b": replace(one, value=0.1, curve=None)})
    results = shipped_results.read(tmp_path / "file.npz")
    first, second = results.find("a"), results.find("b")
    assert results.made == "today" and results.find("c") is None
    assert np.isnan(first.value) and first.note == "flat" and first.facts == {"ties": 0.5} and (first.curve == curve).all()
    assert second.value == 0.1 and second.curve is None
    answer = Answer("a", "A", (Prediction(3, "cat", 0.5),), BadRequest("none"), 8)
    with pytest.raises(TypeError, match="cannot hold a BadRequest"):
        shipped_results.write(tmp_path / "file.npz", "today", {"a": answer})
    answer = replace(answer, explanation=one)
    shipped_results.write(tmp_path / "file.npz", "today", {"a": (answer, None, [0.5, "b"])})
    found, nothing, listed = shipped_results.read(tmp_path / "file.npz").find("a")
    assert found.predictions == answer.predictions and isinstance(found.predictions[0], Prediction)
    assert found.explanation.note == "flat" and nothing is None and listed == [0.5, "b"]
    table = pd.DataFrame({"name": ["a", None], "as object": np.array(["a", ""], object), "score": [0.5, np.nan],
                          "flag": [True, False], "count": [1, 2]})  # fmt: skip
    shipped_results.write(tmp_path / "file.npz", "today", {"full": table, "empty": table.head(0)})
    assert_frame_equal(shipped_results.read(tmp_path / "file.npz").find("full"), table)
    assert_frame_equal(shipped_results.read(tmp_path / "file.npz").find("empty"), table.head(0))
    assert not shipped_results.read(tmp_path / "none.npz").entries
    (tmp_path / "other.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(BadRequest, match="holds no shipped results"):
        shipped_results.read(tmp_path / "other.npz")
