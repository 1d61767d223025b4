"""The section Benchmark of the page Pairs: figures recomputed from raw rows, runs made and resumed; the space of maps."""

import json
import os
from dataclasses import replace

import numpy as np
import opened_pages
import pandas as pd
import pytest
import torch
from opened_pages import cancelled_after_the_first, finished, opened, text
from scipy import stats

from xai_core.app.pairs import new_benchmark, tiles, views
from xai_core.app.pairs.new_benchmark import NewBenchmark
from xai_core.app.shared import jobs, report_items, run_form, server_job
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.widgets import Chosen
from xai_core.core import settings
from xai_core.core.errors import XaiError
from xai_core.data.samples import SAMPLES, load_sample
from xai_core.evaluation import store
from xai_core.explanation import rendering
from xai_core.explanation.similarity import COSINE
from xai_core.models.loading import load_model
from xai_core.pairs import benchmark, benchmark_runs, study
from xai_core.pairs.augment import Augmentation
from xai_core.pairs.catalog import PAIR_METHODS
from xai_core.pairs.explain import explain_pair
from xai_core.pairs.metrics import PAIR_METRICS

PAIRS = "pages/5_Pairs.py"
DATA = settings.RESOURCES / "data"
EXAMPLE = DATA / "runs" / "pairs_samples"
QUICK = {"pair_methods": "Grad-CAM for similarity", "more": "Benchmark"}


def raw_rows(folder):
    """Every row of a run's parts, read without the code that the page uses."""
    parts = sorted((folder / "parts").glob("*.parquet"))
    return pd.concat([pd.read_parquet(part).assign(picture=number) for number, part in enumerate(parts)])


def table_of(app, first):
    """The table on the page whose first column has this name."""
    return next(element.value for element in app.dataframe if element.value.columns[0] == first)


def test_the_example_is_shown_at_once_and_its_figures_are_those_of_the_raw_rows():
    app = opened(PAIRS, **QUICK)
    assert not app.error and app.selectbox(key="benchmark").value == "pairs_samples"
    rows = raw_rows(EXAMPLE).query("view == 'both'")
    table = table_of(app, "method").set_index(["method", "pairs"])
    assert len(table) == 16 + 2 * 3 and table.shape[1] == 9
    ids = {method.title: id for id, method in PAIR_METHODS.items()}
    ids |= {"Control: random": "class:random_map", "Control: centre": "class:centre_gaussian"}
    ids |= {"Control: edges": "class:edge_detector"}
    names = {id: name for name, id in study.PUBLISHED.items()}
    theirs = pd.read_csv(DATA.parent / "xai_core" / "pairs" / "published.csv").query("model == 'Barlow Twins'")
    theirs = theirs.set_index("method")
    checked = 0
    for (title, pairs), cells in table.iterrows():
        for column, cell in cells.items():
            metric = column.split()[0]
            where = (rows.method == ids[title]) & (rows.pairs == pairs) & (rows.metric == metric)
            values = rows.value[where].dropna()
            if not len(values):
                assert cell == "–" or cell.startswith("– (")
                continue
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
            expected = f"{values.mean():.3f} ± {half:.2g}"
            published = theirs[metric].get(names.get(ids[title], ""), np.nan)
            if not np.isnan(published):
                expected += f" ({published:.3g}, {values.mean() - published:+.3f})"
            assert cell == expected, (title, metric)
            checked += 1
    assert checked == 22 * 9 - 8, "pixel invariance has one map, and four methods no max-sensitivity"
    said = text(app)
    undefined = int(rows.value.isna().sum())
    assert f"{undefined} values were not defined" in said
    deviations = app.table[0].value
    assert f"published figures of Barlow Twins: {len(deviations)}" in said
    assert {"Network", "Pictures", "Crops: smallest area"} <= set(deviations.index)
    assert not any(setting.startswith("Option") for setting in deviations.index), "it was made with --published"

    means = rows.groupby(["pairs", "metric", "method"]).value.mean().unstack()
    means[[not PAIR_METRICS[metric].up for _, metric in means.index]] *= -1
    controls = means.columns.str.startswith("class:")
    methods, highest = means.loc[:, ~controls], means.loc[:, controls].max(axis=1)
    better = int(methods.gt(highest, axis=0).sum().sum())
    assert f"{better} of {int(methods.notna().sum().sum())} means are better than those of all controls" in said
    assert len(app.get("download_button")) == 4
    added = [button.label for button in app.button if button.key.startswith(report_items.KEY)]
    assert sum("on pairs of this kind" in label for label in added) == 2
    assert sum("Means of methods by metrics" in label or "Settings that differ" in label for label in added) == 2

    app.segmented_control(key="benchmark-figures").set_value("simclrv2_r50_2x").run()
    other = table_of(app, "method").set_index(["method", "pairs"])
    assert "(0.798, " in other.loc[("Grad-CAM for similarity", benchmark.CROPPED), "SI ↑"]
    assert "1000" in set(app.table[0].value.published), "pixel invariance has 1,000 steps there"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where runs that are made on the page lie, seen by it."""
    monkeypatch.setenv("XAI_RUNS", os.pathsep.join([str(tmp_path), str(DATA)]))
    return tmp_path / new_benchmark.MADE


def planned(name="mine", count=2):
    app = opened(PAIRS, **QUICK)
    app.text_input(key="pairs-run.name").set_value(name)
    app.number_input(key="pairs-run.count").set_value(count)
    app.segmented_control(key="pairs-run.settings").set_value(new_benchmark.USUAL)
    app.multiselect(key="pairs-run.methods").set_value(["grad_cam"])
    app.multiselect(key="pairs-run.metrics").set_value(["SAD"]).run()
    return opened_pages.button(app, "plan").click().run()


def test_a_run_is_planned_made_cancelled_resumed_and_opened(place, monkeypatch):
    app = planned()
    said = text(app)
    assert "2 pictures, 1 method and 3 controls by 1 metric." in said and "here." in said and not place.exists()
    command = next(one.value for one in app.code if "pairs-benchmark" in one.value)
    assert "--data samples --images 2" in command and "--methods grad_cam --metrics SAD --step 1792" in command
    with cancelled_after_the_first():
        finished(opened_pages.button(app, "start").click().run())
    assert any("Pairs benchmark mine: cancelled after 1 of 2 pictures" in one.value for one in app.info)
    assert len(benchmark_runs.open_benchmark(place / "mine").rows) == 1
    (resume,) = [button for button in app.button if button.label == "Resume"]
    finished(resume.click().run())
    run = benchmark_runs.open_benchmark(place / "mine")
    assert len(run.rows) == 2 and run.plan.methods == ("grad_cam",) and not app.error
    assert app.selectbox(key="benchmark").value.endswith(f"{new_benchmark.MADE}/mine")
    assert "2 of 2 pictures of 'samples'" in text(app)
    assert table_of(app, "method").shape == (4, 3)
    assert place / "mine" not in store.find_runs(settings.runs_folders()), "it is none of the evaluation's"
    assert "Nothing is left to do" in text(planned())
    app = opened(PAIRS, **QUICK)
    app.text_input(key="pairs-run.name").set_value("mine").run()
    assert any("has other settings" in one.value for one in opened_pages.button(app, "plan").click().run().error)


NEW = NewBenchmark("x", run_form.SAMPLES, 2, "scenes_barlow", ("grad_cam",), ("SI",), False, True, 1792, 0)


@pytest.mark.parametrize(
    "change",
    [{"name": "../../etc"}, {"count": 10**9}, {"pictures": "../secret"}, {"methods": ["none"]}, {"network": "none"},
     {"step": 1}, {"metrics": 3}],
    ids=str,
)  # fmt: skip
def test_stored_settings_that_the_form_does_not_allow_are_refused(place, change):
    told = new_benchmark._settings(NEW, 10.0)
    told["new"] |= change
    with pytest.raises((XaiError, TypeError)):
        new_benchmark.work(told)(JobHandle(server_job.ServerJob("", "", jobs.PlaceToReturn("", ""))))
    assert not [*place.glob("*/*.json")]


def test_the_job_of_a_run_follows_from_its_settings():
    told = json.loads(json.dumps(new_benchmark._settings(NEW, 10.0)))
    assert new_benchmark._stored(told["new"]) == NEW
    keys = {new_benchmark._job_key(NEW, 10.0), new_benchmark._job_key(NEW, 11.0)}
    others = {
        "name": "y", "pictures": "z", "count": 3, "network": "b", "methods": ("input_x_gradient",), "metrics": ("SD",),
        "published": True, "normalised": False, "step": 224, "seed": 1,
    }  # fmt: skip
    keys |= {new_benchmark._job_key(replace(NEW, **{name: value}), 10.0) for name, value in others.items()}
    assert len(keys) == 2 + len(others) and set(others) == set(NEW.__dataclass_fields__)


@pytest.mark.parametrize("manifest", ["{}", '{"plans": {}}', '{"plans": [1], "latest": 3, "format": 1}', "["])
def test_a_damaged_benchmark_says_so(tmp_path, manifest):
    (tmp_path / "parts").mkdir()
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(XaiError, match="cannot be read"):
        benchmark_runs.open_benchmark(tmp_path)


def two_views(model, recipe):
    """The views that the page shows at first."""
    name = next(iter(SAMPLES))
    return views.two_views(model, Chosen(load_sample(name), name, None, ""), recipe, 0)


RECIPE = Augmentation(0.3, True, 0.5, 0.0, 0.3)  # of the page at its first start


def test_the_space_is_named_and_switched_by_the_address():
    """Pixel invariance, too, which draws its views in [0, 1]; the maps are computed again with the public functions."""
    titles = ["Input x gradient", "Pixel invariance"]
    query = {"pair_methods": titles, "more": "Metrics", "step": "7168", "pair.pixel_invariance.count": "4"}
    app = opened(PAIRS, **query, space="Normalised values")
    assert not app.error and app.segmented_control(key="space").value == "Normalised values"
    assert "Changed and measured on: values behind the normalisation" in text(app)
    assert "Rank correlation in view 1 of Input x gradient and Pixel invariance: " in text(app)
    model = load_model("scenes_barlow")
    pair = two_views(model, RECIPE)
    asked = tiles.asked(model, pair, tiles.PairSettings({}, COSINE, "", 0, True))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.recipe.mean, model.recipe.std))
    assert torch.allclose(asked.first, (pair.first - mean) / std, atol=1e-5)
    behind = explain_pair(*asked, "input_x_gradient")
    before = explain_pair(model, pair.first, pair.second, "input_x_gradient")
    assert behind[0].target_value == pytest.approx(before[0].target_value, abs=1e-4), "the similarity is the same"

    def scale(both):
        return f"one scale shared by 2 maps, 0 to {rendering.scale_of(*both).words.rsplit(' ', 1)[1]}"

    assert scale(behind) in text(app) and scale(before) not in text(app)
    app.segmented_control(key="space").set_value("Pixels in [0, 1]").run()
    assert "Changed and measured on: pixels in [0, 1]" in text(app) and scale(before) in text(app)


def test_the_sentence_above_the_maps_is_recomputed_from_the_maps():
    methods = ["grad_cam", "input_x_gradient"]
    app = opened(PAIRS, pair_methods=[PAIR_METHODS[id].title for id in methods])
    model = load_model("scenes_barlow")
    pair = two_views(model, RECIPE)
    size = tuple(pair.first.shape[1:])
    seen = [pair.geometry.overlap(view, size) for view in (1, 2)]
    area = np.mean([float(part.float().mean()) for part in seen])
    shares = {}
    for id in methods:
        both = []
        for one, part in zip(explain_pair(model, pair.first, pair.second, id), seen, strict=True):
            grid = torch.from_numpy(one.heatmap)[None, None]
            full = torch.nn.functional.interpolate(grid, size, mode="bilinear")[0, 0].clamp(min=0)
            both.append(float(full[part].sum() / full.sum()))
        shares[PAIR_METHODS[id].title] = np.mean(both)
    most, least = max(shares, key=shares.get), min(shares, key=shares.get)
    assert (
        f"The part that both views show is {area:.0%} of them. {most} has most of the positive values there "
        f"({shares[most]:.0%}), {least} has least ({shares[least]:.0%})."
    ) in text(app)
