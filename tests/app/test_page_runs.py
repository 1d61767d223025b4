"""The part "A run" of the metrics page in Streamlit's own test harness."""

import json
import os
import shutil
from urllib.parse import parse_qs

import pandas as pd
import pyarrow as pa
import pytest
import small_runs
from opened_pages import cancelled_after_the_first, chart_tables, finished, opened, pick_mark, text
from scipy import stats

from xai_core.app.metrics import new_run, opened_run, run_sections, run_tab
from xai_core.app.shared import jobs, server_job
from xai_core.app.shared.jobs import JobHandle
from xai_core.attribution.catalog import METHODS
from xai_core.core import part_store, settings
from xai_core.core.errors import XaiError
from xai_core.data.samples import SAMPLES
from xai_core.evaluation import runner, store
from xai_core.metrics.catalog import find_metric

PAGE = "pages/4_Faithfulness_metrics.py"
SMALL = "made/small"
DATA = settings.RESOURCES / "data"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two small models over eight pictures, with a variant of a metric."""
    root = tmp_path_factory.mktemp("runs") / "made"
    runner.evaluate(
        ["small", "small/random"], ("grad_cam", "saliency", "layer_cam"), ("deletion", "sparseness", "deletion@mean"),
        small_runs.pictures(8), root / "small", load=small_runs.small_model,
    )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run over drawn pictures, with a metric that knows what their parts do."""
    root = tmp_path_factory.mktemp("runs") / "drawn"
    runner.evaluate(
        ["world_planted"], ("grad_cam", "saliency", "layer_cam", "input_x_gradient"),
        ("part_correlation", "top_part", "deletion", "sparseness"), "world:planted", root / "drawn", count=8,
    )  # fmt: skip
    return root


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """A copy that a test may spoil, under an allowed folder."""
    shutil.copytree(made, tmp_path / "made")
    monkeypatch.setenv("XAI_RUNS", os.pathsep.join([str(tmp_path / "made"), str(DATA)]))
    return tmp_path / "made"


def a_run(**query):
    return opened(PAGE, view="A run", **query)


def test_the_bundled_run_is_there_at_the_first_start():
    app = a_run()
    assert app.selectbox(key="run").value == "quick" and not app.error and not app.warning
    said = text(app)
    assert "8 pictures of 'samples'" in said and "EfficientNet-Lite0" in said and "does not beat every" in said
    assert len(app.get("vega_lite_chart")) >= 1
    assert {"Grad-CAM", "Uniform (control)"} <= set(app.dataframe[0].value.method)


@pytest.mark.parametrize("section", run_tab.SECTIONS)
@pytest.mark.parametrize("run", ["quick", SMALL])
def test_every_section_opens(root, run, section):
    app = a_run(run=run, look=section)
    assert not app.error and not app.exception
    assert len(app.get("vega_lite_chart")) >= (section not in ("Pictures", "Ground truth", "Download"))


def test_a_point_of_the_spread_shows_its_picture_with_a_link(root):
    app = a_run(run="quick", look="Spread")
    assert not app.main.get("page_link")  # in the sidebar may be one to the jobs of other tests
    opened_run = store.open_run(DATA / "runs" / "quick")
    row = opened_run.table().query("method == 'grad_cam'").iloc[3]
    app = pick_mark(app, "spread", "cell", picture=row["picture"], method="Grad-CAM")
    (link,) = app.main.get("page_link")
    settings = parse_qs(parse_qs(link.proto.query_string)["open"][0])
    assert settings["method"] == ["Grad-CAM"] and settings["picture"] == [SAMPLES[row["name"]].title]
    assert SAMPLES[row["name"]].title in text(app)


def test_what_did_not_change_is_not_drawn_or_hashed_again(root, monkeypatch):
    drawn, hashed, real_means, real_digest = [], [], run_sections.runs.means, part_store.hashlib.file_digest
    monkeypatch.setattr(run_sections.runs, "means", lambda *args: drawn.append(args) or real_means(*args))
    monkeypatch.setattr(part_store.hashlib, "file_digest", lambda *args: hashed.append(args) or real_digest(*args))
    app = a_run(run=SMALL)
    charts = [element.proto.spec for element in app.get("vega_lite_chart")]
    drawn.clear(), hashed.clear()
    app.run()
    assert not drawn and not hashed
    assert [element.proto.spec for element in app.get("vega_lite_chart")] == charts
    app.toggle(key="run-controls").set_value(False).run()
    assert len(drawn) == len(charts) and not hashed, "another choice of rows is another chart"
    drawn.clear()
    os.utime(next((root / "small" / "parts").iterdir()))
    app.run()
    assert drawn and hashed, "a part of another time of change is read again"


def quick_values(metric, model="efficientnet_lite0"):
    """The raw rows of one model and metric of the bundled run, pictures x methods."""
    rows = pd.concat([pd.read_parquet(part) for part in store.open_run(DATA / "runs" / "quick").parts])
    rows = rows[(rows.model.astype(str) == model) & (rows.metric.astype(str) == metric)]
    return rows.astype({"picture": str, "method": str}).pivot(index="picture", columns="method", values="value")


def test_means_and_ranks_are_of_all_pictures_with_a_value(root):
    app, manifest = a_run(run="quick"), store.open_run(DATA / "runs" / "quick").manifest
    drawn = chart_tables(app, {"method", "metric", "mean", "rank", "n", "missing"})[0]
    drawn = drawn[drawn.model == "efficientnet_lite0"]
    for metric in ("deletion", "average_drop"):
        values = quick_values(metric)
        means = values.mean().rename(lambda id: opened_title(manifest, id))
        cells = drawn[drawn.metric == manifest["metrics"][metric]["title"] + " ↓"].set_index("method")
        assert set(cells.index) == set(means.index) and (cells.n + cells.missing == len(values)).all()
        for title, cell in cells.iterrows():
            assert cell["mean"] == pytest.approx(means[title])
            assert cell["rank"] == 1 + (means < means[title]).sum(), "lower is better; equal means share the better rank"


def opened_title(manifest, id):
    control = id.removeprefix("control:")
    return manifest["methods"][id]["title"] if control == id else f"{METHODS[control].title} (control)"


@pytest.mark.parametrize("metric", ["average_drop", "deletion", "insertion"])
def test_the_best_of_a_spread_is_the_best_of_all_maps_the_controls_too(root, metric):
    manifest = store.open_run(DATA / "runs" / "quick").manifest
    means = quick_values(metric).mean()
    higher = metric == "insertion"
    title = f"{manifest['metrics'][metric]['title']} {'↑' if higher else '↓'}"
    best = [opened_title(manifest, id) for id in means.index[means == (means.max() if higher else means.min())]]
    app = a_run(run="quick", look="Spread", **{"run-metric": title})
    alt = next(chart.proto.alt for chart in app.get("vega_lite_chart"))
    assert alt.startswith(title) and alt.endswith(f"best mean: {', '.join(best)}.")


def test_curves_say_of_how_many_pictures_they_are(root, monkeypatch):
    """A method may have failed on some pictures: its curve is a mean over fewer pictures than the others."""
    assert "Means over 8 pictures. The number" in text(a_run(run=SMALL, look="Curves"))
    every = store.EvaluationRun.curves_in_parts

    def some(run, model, metric):
        rows = pa.concat_tables(every(run, model, metric, columns=("picture", "method", *store.CURVES))).to_pandas()
        rows = rows[(rows.method != "saliency") | rows.picture.isin(sorted(rows.picture.unique())[2:])]
        return [pa.Table.from_pandas(rows)]

    monkeypatch.setattr(store.EvaluationRun, "curves_in_parts", some)
    opened_run._computed.clear()
    assert "Means over 6 to 8 pictures, because some have no value." in text(a_run(run=SMALL, look="Curves"))


def test_a_spread_and_the_downloads_of_a_large_run_say_what_they_hold(root, monkeypatch):
    monkeypatch.setattr(run_sections.runs, "MOST_POINTS", 3)
    monkeypatch.setattr(run_sections, "MOST_PLAIN", 10)
    app = a_run(run=SMALL, look="Spread")
    assert "Points are 3 of the 8 pictures, drawn at random, and those at the ends" in text(app)
    labels = [element.proto.label for element in a_run(run=SMALL, look="Download").get("download_button")]
    assert "All rows (CSV, gzip)" in labels and "All rows (CSV)" not in labels


def test_methods_are_compared_in_words(root):
    said = text(a_run(run=SMALL, look="Methods"))
    assert "differences are significant at 5 %" in said and "n = 8" in said and "Friedman" in said
    assert " beats " in said or "no difference shown" in said


def test_the_marks_of_ranks_and_the_differences_do_not_contradict_each_other():
    """Each test is named with n and its correction, and where the two disagree the page says so and why."""
    app = a_run(run="quick", look="Methods")
    said, pairs = text(app), app.dataframe[0].value
    assert "every two of 30 methods on the same pictures (n = 8), with correction for all 435 comparisons" in said
    assert "Paired sign-flip test of the mean difference (two-sided, n = 8, Holm's correction for 435 comparisons)" in said
    assert (
        f"{(pairs['p (Holm)'] < 0.05).sum()} of 435 differences are significant at 5 %. With n = 8 no difference can be"
        in said
    )
    assert (pairs.low > 0).any() and "can exclude zero where the test shows no difference" in said
    as_good = app.get("vega_lite_chart")[0].proto.alt.removesuffix(".").split("from the best rank: ")[1].split(", ")
    expected = (
        f"{30 - len(as_good)} of 29 methods are significantly worse than {as_good[0]}; by the differences below, 0 are"
    )
    assert len(as_good) < 30 and expected in said


def test_best_and_worst_pictures_lead_to_the_single_image_page():
    app = a_run(run="quick", look="Pictures")
    app.selectbox(key="run-method").set_value("layer_cam").run()
    app.selectbox(key="run-metric").set_value("deletion").run()
    assert len(app.image) == 8 and {title.split("** ")[1] for title in shown(app)} == {s.title for s in SAMPLES.values()}
    values = [float(title.split("**")[1]) for title in shown(app)]
    assert values[:4] == sorted(values[:4]) and values[4:] == sorted(values[4:], reverse=True), "lower is better"
    links = [link.proto for link in app.get("page_link") if link.proto.label.startswith("Open **")]
    settings = [parse_qs(parse_qs(link.query_string)["open"][0]) for link in links]
    assert len(links) == 8 and all(one["model"] == ["EfficientNet-Lite0"] for one in settings)
    cat = {"picture": ["Chelsea the cat"], "class": ["tiger cat (282)"], "method": ["LayerCAM"]}
    assert any(cat.items() <= one.items() for one in settings)


def shown(app):
    return [one.value for one in app.markdown if one.value.startswith("**") and "** " in one.value and "by" not in one.value]


def test_other_pictures_have_small_copies_and_are_asked_for_by_their_digest(root):
    app = a_run(run=SMALL, look="Pictures")
    assert len(app.image) == 8
    row = {"name": "a.png", "picture": "ab" * 32, "model": "resnet50/IMAGENET1K_V1", "method": "control:random_map"}
    row |= {"target": "logit of tench", "target_key": "logit 0"}
    settings = run_sections.settings_of(row)
    expected = {"model": "ResNet-50", "upload": "ab" * 32, "resnet50.weights": "IMAGENET1K_V1", "method": "Random map"}
    assert expected.items() <= settings.items()
    assert run_sections.settings_of(row | {"model": "resnet50/random"}) is None


def test_rank_stability_tries_variants_models_and_pictures(root):
    app = a_run(run=SMALL, look="Stability")
    alt = app.get("vega_lite_chart")[0].proto.alt
    assert "Deletion (mean" in alt and "untrained" in alt and "two random halves" in alt


def test_the_truth_orders_the_methods_and_the_metrics_that_foretell_it(drawn, monkeypatch):
    monkeypatch.setenv("XAI_RUNS", os.pathsep.join([str(drawn), str(DATA)]))
    app = a_run(run="drawn/drawn", look="Ground truth")
    rows = store.open_run(drawn / "drawn").table().astype({"picture": str, "method": str, "metric": str})
    means = rows.groupby(["metric", "method"])["value"].mean()
    truth, foretold = chart_tables(app, {"name", "kind", "value", "low", "high", "n"})
    assert truth["value"].tolist() == pytest.approx(means["part_correlation"].sort_values(ascending=False).dropna().tolist())
    assert set(truth["kind"]) == {"method", "control"}
    names = ["grad_cam", "saliency", "layer_cam", "input_x_gradient"]
    for metric, sign in (("deletion", -1), ("sparseness", 1)):
        expected = stats.kendalltau(means["part_correlation"][names], sign * means[metric][names]).statistic
        row = foretold[foretold["name"].str.startswith(find_metric(metric).title)].iloc[0]
        assert row["value"] == pytest.approx(expected) and row["low"] <= row["value"] <= row["high"] and row["n"] == 8
    assert len(foretold) == 2, "metrics that know the truth foretell nothing"
    assert "by its means over 8 pictures" in text(app)
    assert "known for drawn pictures only" in a_run(run="quick", look="Ground truth").info[0].value


def test_groups_of_models_are_set_against_each_other(root):
    said = text(a_run(run=SMALL, look="Groups of models"))
    assert "Other minus untrained" in said and "1 other, 1 untrained" in said
    (root / "small" / "manifest.json").write_text(
        (root / "small" / "manifest.json").read_text().replace("Untrained", "Other")
    )
    assert "of one group" in a_run(run=SMALL, look="Groups of models").info[0].value


def test_a_run_that_is_being_written_can_be_watched(root):
    with store.open_for_writing(root / "small", store.open_run(root / "small").manifest) as writer:
        writer.describe(rows=1000)
        app = a_run(run=SMALL)
        assert app.toggle(key="follow") and not app.error and len(app.get("vega_lite_chart")) == 2
    app = a_run(run=SMALL)
    assert "ended early" in app.warning[0].value and "resume it" in app.warning[0].value


def test_what_is_wrong_with_a_run_is_said(root):
    part = store.open_run(root / "small").parts[0]
    part.write_bytes(part.read_bytes()[:-9])
    app = a_run(run=SMALL)
    assert "This run has no measurements, and no process is working on it" in app.info[0].value
    file = root / "small" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    assert "run of format 99" in a_run(run=SMALL).error[0].value
    file.write_text("{")
    assert "cannot be read" in a_run(run=SMALL).error[0].value


def test_one_picture_has_no_interval_and_says_why(root):
    runner.evaluate(
        ["small"], ("grad_cam", "saliency", "layer_cam"), ("deletion", "sparseness"), small_runs.pictures(1), root / "one",
        load=small_runs.small_model,
    )  # fmt: skip
    for section in run_tab.SECTIONS:
        app = a_run(run="made/one", look=section)
        assert (
            not app.error
            and not app.exception
            and "This run has one picture. Intervals and tests need several" in app.info[0].value
        )


def test_pictures_left_out_are_listed(root):
    runner.evaluate(
        ["small"], ("saliency",), ("sparseness",), small_runs.dataset({"a.png": small_runs.png(1), "b.png": b"none"}),
        root / "two", load=small_runs.small_model,
    )  # fmt: skip
    app = a_run(run="made/two")
    assert not app.warning and "1 picture left out" in {one.label for one in app.expander} and "- b.png: " in text(app)


def test_without_any_run_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_RUNS", str(tmp_path))
    app = a_run()
    assert "python -m xai_core evaluate" in app.info[0].value and not app.exception


@pytest.mark.parametrize(
    "query",
    [
        {"run": "../../etc"}, {"look": "Everything"}, {"look": "Pictures", "run-metric": "beauty"},
        {"look": "Pictures", "run-method": "<script>"}, {"run-sort": "chance"}, {"look": "Methods", "run-model": "x" * 999},
    ],
    ids=str,
)  # fmt: skip
def test_a_nonsensical_link_falls_back_to_defaults(query):
    app = a_run(**query)
    assert not app.exception and not app.error and len(app.get("vega_lite_chart")) + len(app.image) > 0


def test_a_link_never_leads_out_of_the_allowed_folders(root, tmp_path):
    shutil.copytree(root / "small", tmp_path / "secret")
    for name in ("../secret", str(tmp_path / "secret"), "made/../secret"):
        assert a_run(run=name).selectbox(key="run").value in ("quick", SMALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where runs that are made on the page lie, seen by it."""
    monkeypatch.setenv("XAI_RUNS", os.pathsep.join([str(tmp_path), str(DATA)]))
    return tmp_path / "made"


def planned(name="first", count=2):
    app = a_run()
    app.text_input(key="new.name").set_value(name)
    app.number_input(key="new.count").set_value(count)
    app.multiselect(key="new.networks").set_value(["Slim ResNet-18, scenes from scratch (scenes_supervised)"])
    app.multiselect(key="new.methods").set_value(["grad_cam", "saliency"])
    app.multiselect(key="new.metrics").set_value(["sparseness"]).run()
    return app.button(key="plan").click().run()


def test_a_run_is_planned_made_shown_and_gone_on_with(place):
    app = planned()
    assert "2 pictures, 12 rows to measure" in text(app) and "here." in text(app) and not place.exists()
    assert any("python -m xai_core evaluate samples" in one.value and "--images 2" in one.value for one in app.code)
    finished(app.button(key="start").click().run())
    assert not app.exception and not app.error and app.selectbox(key="run").value.endswith("made/first")
    assert "2 pictures of 'samples'" in text(app)
    assert len(store.open_run(place / "first").table()) == 12
    app = planned(count=3)
    assert "6 rows to measure" in text(app)  # what is there is not measured again
    finished(app.button(key="start").click().run())
    assert len(store.open_run(place / "first").table()) == 18


def test_a_run_cannot_be_planned_outside_its_folder_or_without_end(place, monkeypatch):
    app = a_run()
    for name in ("../quick", "", "a" * 41, "a b"):
        app.text_input(key="new.name").set_value(name).run()
        assert any("A name has" in one.value for one in app.info) and "plan" not in {one.key for one in app.button}
    monkeypatch.setattr(new_run, "MOST_RUNS", 1)
    (place / "other").mkdir(parents=True)
    assert "already: remove one" in planned().error[0].value


def test_a_visitor_with_too_many_jobs_is_told_so(place, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_OF_VISITOR", 0)
    app = planned().button(key="start").click().run()
    assert "You already have 0 jobs waiting or running, which is the limit" in app.error[0].value and not place.exists()


def test_a_run_that_ended_early_says_so_and_is_resumed_with_one_click(place, monkeypatch):
    app = planned("early")
    with cancelled_after_the_first():
        finished(app.button(key="start").click().run())
    said = " ".join(info.value for info in app.info)
    assert (
        "Run early: cancelled after 1 of 2 pictures. Measurements made so far are stored" in said
        and "written now" not in said
    )
    assert len(store.open_run(place / "early").table()) == 6
    (resume,) = [button for button in app.button if button.label == "Resume"]
    finished(resume.click().run())
    assert len(store.open_run(place / "early").table()) == 12 and not [b for b in app.button if b.label == "Resume"]


@pytest.mark.parametrize(
    "change", [{"name": "../../etc"}, {"count": 10**9}, {"pictures": "../secret"}, {"methods": 3}, {"networks": ["none"]}]
)
def test_stored_settings_that_the_form_does_not_allow_are_refused(place, change):
    new = new_run.NewRun("x", new_run.SAMPLES, 2, ("scenes_supervised",), ("saliency",), ("sparseness",), "predicted", 0)
    settings = new_run._settings(new, 10.0)
    settings["new"] |= change
    with pytest.raises((XaiError, TypeError)):
        new_run.work(settings)(JobHandle(server_job.ServerJob("", "", jobs.PlaceToReturn("", ""))))
    assert not place.exists() or not [*place.glob("*/*.json")]


def test_a_run_with_other_settings_is_not_mixed_into_one_that_is_there(place):
    finished(planned().button(key="start").click().run())
    app = a_run()
    app.number_input(key="new.seed").set_value(1)
    app.number_input(key="new.count").set_value(2).run()
    app.button(key="plan").click().run()
    assert "has other settings (seed 0, not 1)" in app.error[0].value and not app.exception
    assert "start" not in {one.key for one in app.button}


def test_by_default_the_models_of_a_comparison_know_the_same_classes():
    app = a_run(run="quick", look="Groups of models")
    assert app.multiselect(key="run-models").value == ["scenes_supervised", "scenes_barlow"]
    assert "1 supervised, 1 self-supervised" in text(app) and "of 8 differences are significant" in text(app)
    app.multiselect(key="run-models").set_value([]).run()
    assert "Choose the models" in app.info[0].value


def test_the_run_that_comes_with_the_installation_describes_its_metrics_as_the_catalogue_does():
    metrics = store.open_run(DATA / "runs" / "quick").manifest["metrics"]
    assert len(metrics) > 5
    assert {about["sentence"] for about in metrics.values()} == {find_metric(name).sentence for name in metrics}
