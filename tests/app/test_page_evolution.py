"""The page of a training in Streamlit's own test harness, and its charts: what is drawn, filtered, ordered, and refused."""

import io
import itertools
import json
import re
import zipfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from opened_pages import chart_tables, followed, opened, pick_mark, press_row, text
from PIL import Image
from small_recordings import NAMES, made, recorded

from xai_core.app.charts import evolution as charts
from xai_core.app.evolution import overview
from xai_core.explanation.rendering import encoded
from xai_core.training.dynamics import figure, readers
from xai_core.training.dynamics.analysis import grouped, rows_of
from xai_core.training.dynamics.recorder import RunRecorder

SHIPPED = Path(__file__).parents[2] / "data" / "runs"
PAGE = "pages/8_Training_evolution.py"
PNG = encoded(Image.new("RGB", (8, 8)), "PNG")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("XAI_DATA", str(tmp_path))
    return tmp_path


def test_it_says_how_to_record_where_there_is_no_run(folder):
    app = opened(PAGE)
    assert "no recorded run yet" in app.info[0].value and "RunRecorder" in app.code[0].value


def test_the_picture_of_many_samples_says_that_it_is_summed_up(folder):
    recorded(folder / "runs" / "first.parquet")
    app = opened(PAGE)
    said = text(app)
    assert "300 samples are shown in" in said and "rows of up to 2" in said and "fainter where fewer of them agree" in said
    assert [one.value for one in app.metric][:2] == ["300", "100.0%"]
    assert "The 2 samples of this row" in said and "predicted as" in said
    first = app.selectbox(key="first.sample").value
    app.selectbox(key="first.row").select_index(3).run()
    assert not app.exception and app.selectbox(key="first.sample").value != first


def test_filters_and_order_are_in_the_link(folder):
    recorded(folder / "runs" / "first.parquet")
    app = opened(PAGE, **{"first.classes": "owl", "sort": "Sample id", "group": "Nothing", "first.epochs": ["2", "4"]})
    run = overview._read.__wrapped__("first.parquet", "", (folder / "runs" / "first.parquet").read_bytes())
    owls = run.samples[run.true == NAMES.index("owl")]
    assert app.metric[0].value == str(len(owls)) and "epoch 4" in app.metric[1].label
    assert app.selectbox(key="first.sample").options == sorted(owls)
    app.selectbox(key="which").set_value("Wrong at the end").run()
    wrong = (run.between(2, 4).last != run.true) & (run.true == NAMES.index("owl"))
    right = run.between(2, 4).rows(run.true == NAMES.index("owl"))
    assert app.metric[0].value == str(wrong.sum()) and app.metric[1].value == f"{(right.last == right.true).mean():.1%}"


@pytest.mark.parametrize("which", ["All", "Wrong at the end", "Wrong at any time", "Changed at any time"])
def test_shares_are_of_all_samples_whatever_is_listed(folder, which):
    """The figures above the picture and those of two runs, from the recorded predictions themselves."""
    for name, seed in (("first", 0), ("second", 1)):
        recorded(folder / "runs" / f"{name}.parquet", seed=seed)
    run, second = (
        overview._read.__wrapped__(f"{name}.parquet", "", (folder / "runs" / f"{name}.parquet").read_bytes())
        for name in ("first", "second")
    )
    run = run.between(1, 3)
    app = opened(PAGE, which=which, run="first", second="second", more="Second run", **{"first.epochs": ["1", "3"]})
    changes = (run.predicted[:, 1:] != run.predicted[:, :-1]).sum(1)
    never = (run.predicted != run.true[:, None]).all(1)
    assert [figure.value for figure in app.metric][1:] == [
        f"{(run.last == run.true).mean():.1%}", f"{changes.mean():.2f}", f"{never.mean():.1%}",
    ]  # fmt: skip
    second, said = second.between(1, 3), text(app)
    common = np.intersect1d(run.samples, second.samples)
    first, other = (one.rows(np.isin(one.samples, common)) for one in (run, second))
    assert f"{len(common)} samples and 3 epochs are in both runs" in said
    assert f"first is right on {(first.last == first.true).mean():.1%}" in said
    assert f"second on {(other.last == other.true).mean():.1%}" in said


@pytest.mark.parametrize("which", ["All", "Wrong at any time"])
def test_the_bars_beside_a_row_are_means_over_its_samples(folder, which):
    """From the recorded predictions, sample by sample. Rows are taken in the order of the page's table."""
    recorded(folder / "runs" / "first.parquet")
    run = overview._read.__wrapped__("first.parquet", "", (folder / "runs" / "first.parquet").read_bytes()).between(1, 3)
    paths = {
        str(name): (true, row)
        for name, true, row in zip(run.samples, run.true.tolist(), run.predicted.tolist(), strict=True)
    }
    app = opened(PAGE, which=which, more="Table", **{"first.epochs": ["1", "3"]})
    order, rows = app.dataframe[-1].value["sample"].tolist(), app.selectbox(key="first.row").options
    measured = {
        name: (
            sum(one != next_one for one, next_one in itertools.pairwise(path)) / (len(path) - 1),
            len(set(path)),
            sum(one != true for one in path) / len(path),
        )
        for name, (true, path) in paths.items()
    }
    groups = [rows_places(row, order) for row in rows]
    assert sum(map(len, groups)) == len(order) and max(map(len, groups)) == 2
    frequency, distinct, wrong = chart_tables(app, {"row", "value", "text"})[:3]
    for place, bars in enumerate((frequency, distinct, wrong)):
        means = [np.mean([measured[name][place] for name in group]) for group in groups]
        np.testing.assert_allclose(bars["value"], means)
    assert distinct["text"][0] == f"{distinct['value'][0]:.3g} of 4 classes ({distinct['value'][0] / 4:.1%})"


def test_samples_that_were_not_recorded_to_the_end_are_told_apart(folder):
    """'once' has no frequency, as there is no second epoch; 'early' ends before the last epoch."""
    paths = {"once": [None, "cat", None], "early": ["cat", "dog", None], "whole": ["cat", "dog", "cat"]}
    rows = [
        {"epoch": epoch, "sample": name, "true": "cat", "predicted": one, "confidence": 0.5}
        for name, path in paths.items()
        for epoch, one in enumerate(path, start=1)
        if one
    ]
    pd.DataFrame(rows).to_csv(folder / "runs" / "holes.csv", index=False)
    app = opened(PAGE, sort="Sample id")
    names, bars = app.selectbox(key="holes.sample").options, chart_tables(app, {"row", "value", "text"})[0]
    by_name = dict(zip(names, zip(bars["value"], bars["text"], strict=True), strict=True))
    assert np.isnan(by_name["once"][0]) and by_name["once"][1] == "recorded in one epoch only"
    assert by_name["early"] == (1.0, "100.0% of the steps between recorded epochs") and by_name["whole"][0] == 1.0
    said = text(app)
    assert "of the 3 samples shown, at epoch 3 (2 of them were last recorded in an earlier epoch" in said
    assert [one.value for one in app.metric][:2] == ["3", "100.0%"], "of the one sample that epoch 3 recorded"


def test_a_sample_recorded_once_has_no_frequency_of_changes(folder):
    (folder / "runs" / "wide.csv").write_text("id,label,1,2,3\na,cat,dog,,\nb,dog,dog,cat,dog\nc,cat,cat,cat,cat\n")
    app = opened(PAGE, group="Frequency of changes")
    frequency, _, wrong = chart_tables(app, {"row", "value", "text"})[:3]
    rows = dict(
        zip(app.selectbox(key="wide.sample").options, zip(frequency["text"], wrong["text"], strict=True), strict=True)
    )
    assert rows == {
        "a": ("recorded in one epoch only", "100.0% of the recorded epochs"),
        "b": ("100.0% of the steps between recorded epochs", "33.3% of the recorded epochs"),
        "c": ("0.0% of the steps between recorded epochs", "0.0% of the recorded epochs"),
    }
    assert app.selectbox(key="wide.sample").options == ["c", "b", "a"], "its group is the last"


def rows_places(row, order):
    """The samples of a row of the heatmap, named 'cat 3–4' or 'cat 5' by their places in the order of all samples."""
    first, _, last = row.rpartition(" ")[2].partition("–")
    return order[int(first) - 1 : int(last or first)]


@pytest.mark.parametrize("by", ["Class at the end", "Misclassification rate", "Frequency of changes", "Distinct classes"])
def test_rows_are_grouped_by_what_is_counted(folder, by):
    recorded(folder / "runs" / "first.parquet", samples=400)
    app = opened(PAGE, group=by)
    rows = app.selectbox(key="first.row").options
    groups = list(dict.fromkeys(one.rpartition(" ")[0] for one in rows))
    expected = {
        "Class at the end": ["cat", "dog", "fox", "owl"],
        "Distinct classes": ["1 class,", "2 classes,", "3 classes,", "4 classes,"],
    }.get(by, ["0%,", "up to 25%,", "up to 50%,", "up to 75%,", "up to 100%,"])
    assert groups == [one for one in expected if one in groups] and len(groups) >= 3  # in this order


def test_filters_that_leave_nothing_say_so(folder):
    recorded(folder / "runs" / "first.parquet", samples=20)
    app = opened(PAGE, which="Wrong at the end")
    assert "No sample passes these filters" in app.error[0].value


def test_two_hundred_classes_are_shown_as_right_or_wrong(folder):
    recorded(folder / "runs" / "wide.parquet", classes=tuple(f"class {number}" for number in range(200)))
    app = opened(PAGE)
    assert app.selectbox(key="wide.colour").value == "Right or wrong" and not app.error


def test_a_second_run_is_laid_over(folder):
    recorded(folder / "runs" / "first.parquet")
    recorded(folder / "runs" / "second.csv", samples=200, epochs=4, seed=1)
    app = opened(PAGE, run="first", second="second", more="Second run")
    assert not app.exception and "share no samples" not in text(app)
    app.selectbox(key="first.colour").set_value("Where the runs differ").run()
    assert not app.exception and not app.error


@pytest.mark.parametrize("which", ["All", "Wrong at the end"])
def test_the_table_of_two_runs_holds_the_samples_that_end_in_different_classes(folder, which):
    for name, seed in (("first", 0), ("second", 1)):
        recorded(folder / "runs" / f"{name}.parquet", seed=seed)
    whole = {
        name: overview._read.__wrapped__(f"{name}.parquet", "", (folder / "runs" / f"{name}.parquet").read_bytes())
        for name in ("first", "second")
    }
    paths = {
        name: {str(sample): row[:3] for sample, row in zip(run.samples, run.predicted.tolist(), strict=True)}
        for name, run in whole.items()
    }
    true = dict(zip(map(str, whole["first"].samples), whole["first"].true.tolist(), strict=True))
    app = opened(PAGE, which=which, run="first", second="second", more="Second run", **{"first.epochs": ["1", "3"]})
    common = paths["first"].keys() & paths["second"].keys()
    assert 0 < len(common) < len(true), "a sample is in one run alone where the runs drew different classes for it"
    expected = {
        sample for sample in common
        if paths["first"][sample][-1] != paths["second"][sample][-1]
        and (which == "All" or paths["first"][sample][-1] != true[sample])
    }  # fmt: skip
    table = app.dataframe[-1].value.set_index("sample")
    assert set(table.index) == expected and f"**{len(expected)} samples end in different classes:**" in text(app)
    for sample, row in table.iterrows():
        one, other = paths["first"][sample], paths["second"][sample]
        assert (row["true"], row["first"], row["second "]) == tuple(NAMES[n] for n in (true[sample], one[-1], other[-1]))
        changes = [sum(a != b for a, b in itertools.pairwise(path)) for path in (one, other)]
        assert [row["changes"], row["changes of the second"]] == changes
        wrong = [sum(n != true[sample] for n in path) / len(path) for path in (one, other)]
        assert row["difference in wrong epochs"] == pytest.approx(wrong[1] - wrong[0])


def test_rows_of_tables_and_cells_of_the_matrix_open_their_samples(folder):
    recorded(folder / "runs" / "first.parquet")
    recorded(folder / "runs" / "second.parquet", epochs=5)
    run = overview._read.__wrapped__("first.parquet", "", (folder / "runs" / "first.parquet").read_bytes()).between(1, 3)
    epochs = {"run": "first", "first.epochs": ["1", "3"]}  # up to the third, where some are wrong
    classes = dict(zip(run.samples.astype(str), np.array(run.classes)[run.last], strict=True))

    def check_open(app, name):
        assert app.selectbox(key="first.sample").value == name
        assert f"**{name}**" in text(app) and f"predicted as **{classes[name]}** at epoch 3" in text(app)

    app = opened(PAGE, more="Table", **epochs)
    name = app.dataframe[-1].value["sample"].iloc[-1]
    check_open(press_row(app, "samples", len(run.samples) - 1), name)

    app = opened(PAGE, more="Second run", second="second", **epochs)
    name = app.dataframe[-1].value["sample"].iloc[5]
    check_open(press_row(app, "different samples", 5), name)

    app = opened(PAGE, more="Confusion matrix", **epochs)
    wrong = np.flatnonzero(run.true != run.last)[0]
    true, predicted = run.classes[run.true[wrong]], run.classes[run.last[wrong]]
    app = pick_mark(app, "final_confusion", "cell", true=true, predicted=predicted)
    listed = app.dataframe[-1].value["sample"].tolist()
    of_cell = (run.true == run.true[wrong]) & (run.last == run.last[wrong])
    assert sorted(listed) == sorted(run.samples[of_cell].astype(str))
    check_open(press_row(app, "cell samples", len(listed) - 1), listed[-1])


def test_the_first_figure_and_what_is_said_of_it_are_of_the_recorded_rows(folder):
    """The chosen epoch is shown first, also where others follow; figures from the raw rows of the file."""
    file = folder / "runs" / "first.parquet"
    recorded(file)
    RunRecorder(file, NAMES, chosen=4)
    rows = pd.read_parquet(file)
    wide = rows.pivot(index="sample", columns="epoch", values="predicted").astype(str)
    true = rows.drop_duplicates("sample").set_index("sample")["true"].astype(str)[wide.index]
    right = wide.eq(true, axis=0)
    app = opened(PAGE)
    assert app.metric[1].label == "Right at epoch 4" and app.metric[1].value == f"{right[4].mean():.1%}"
    said = text(app)
    assert (
        f"{right[1].mean():.1%} of the samples are right at epoch 1, {right[4].mean():.1%} at epoch 4, whose weights were"
        in said
    )
    always, ever = right.loc[:, :4].all(axis=1), right.loc[:, :4].any(axis=1)
    counts = [always.sum(), (right[4] & ~always).sum(), (~right[4] & ever).sum(), (~ever).sum()]
    assert "Of 300 samples up to epoch 4: {} always right, {} right in the end".format(*counts) in said
    assert "{} wrong in the end after a right one, {} never right.".format(*counts[2:]) in said
    changes = pd.Series({epoch: (wide[epoch] != wide[epoch - 1]).mean() for epoch in range(2, 7)})
    assert f"Not stable: epoch 6 still changes {changes[6]:.1%}" in said
    assert f"the most, {changes.max():.1%}, change at epoch {changes.idxmax()}" in said
    (drawn,) = (table for table in chart_tables(app, {"epoch", "value", "part"})[:1])
    np.testing.assert_allclose(drawn["value"], changes)
    means = app.dataframe[0].value.set_index("class")
    for name in NAMES:
        mine = true == name
        steps = (wide[mine].iloc[:, 1:].to_numpy() != wide[mine].iloc[:, :-1].to_numpy()).mean(1)
        assert means.loc[name, "samples"] == mine.sum()
        assert means.loc[name, "recall at epoch 4"] == pytest.approx(right[mine][4].mean())
        assert means.loc[name, "frequency"] == pytest.approx(steps.mean())
        assert means.loc[name, "variability"] == pytest.approx(wide[mine].nunique(axis=1).mean() / 4)
        assert means.loc[name, "wrong"] == pytest.approx(1 - right[mine].to_numpy().mean())
    marks = [table for table in chart_tables(app, {"epoch", "name"}) if len(table.columns) == 2]
    assert [table.to_numpy().tolist() for table in marks] == [[["4", "chosen: 4"]]] * 4, "in each of the four charts"
    panels = [part for part in json.loads(app.get("vega_lite_chart")[1].proto.spec)["concat"] if "layer" in part]
    assert len(panels) == 2 and all('"type": "rule"' in json.dumps(part) for part in panels), "in every curve"
    app.selectbox(key="first.final").set_value(6).run()
    assert app.metric[1].label == "Right at epoch 6" and "samples shown, at epoch 6. Click a cell" in text(app)
    assert "recall at epoch 6" in app.dataframe[0].value


def test_a_filter_by_prediction_chooses_the_rows_of_the_figure_and_no_share(folder):
    recorded(folder / "runs" / "first.parquet")
    run = overview._read.__wrapped__("first.parquet", "", (folder / "runs" / "first.parquet").read_bytes()).between(1, 3)
    with patch.object(overview, "confusion_evolution", wraps=figure.confusion_evolution) as drawn:
        app = opened(PAGE, which="Wrong at the end", **{"first.epochs": ["1", "3"]})
    rows, of = drawn.call_args.args[0], drawn.call_args.kwargs["of"]
    wrong = run.last != run.true
    assert sorted(rows.samples) == sorted(run.samples[wrong]) and len(of.samples) == 300
    assert f"The rows of the figure are the {wrong.sum()} samples listed" in text(app)
    assert f"at epoch 1, {(~wrong).mean():.1%} at epoch 3" in text(app)


def test_epochs_that_were_not_recorded_are_named_and_bridged_by_no_line():
    app = opened(PAGE, run="scenes_barlow")
    assert "5 recorded epochs (1, 5, 10, 15, 18; 13 between them not recorded)" in text(app)
    curves = [table for table in chart_tables(app, {"epoch", "value", "part"}) if len(table)]
    assert len(curves) >= 3
    for table in curves:
        assert (table.groupby(["curve", "part"]).size() == 1).all() and table["alone"].all()
    whole = json.loads(app.get("vega_lite_chart")[1].proto.spec)
    titles = [part["layer"][0]["encoding"]["y"].get("title") for part in whole["concat"] if "layer" in part]
    assert titles == ["accuracy", "training loss", "held-out loss"], "538 and 0.95 share no axis"


def test_a_run_that_is_being_written_is_read_again(folder):
    path = folder / "runs" / "first.parquet"
    recorded(path, epochs=2)
    app = opened(PAGE, live="true")
    assert "Right at epoch 2" in app.metric[1].label
    recorded(path, epochs=4)
    app.run()
    assert "Right at epoch 4" in app.metric[1].label


def test_a_broken_run_is_one_sentence(folder):
    (folder / "runs" / "first.csv").write_text("a,b\n1,2\n")
    app = opened(PAGE)
    assert "is not a recorded run" in app.error[0].value and not app.exception


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_sample_s_picture_comes_from_the_dataset_that_has_it(folder, kind):
    recorded(folder / "runs" / "first.parquet", samples=8)
    app = opened(PAGE)
    assert "Its picture is not here" in text(app)
    sample = app.selectbox(key="first.sample").value
    with zipfile.ZipFile(folder / "a.zip", "w") as other:  # the first in the list has another picture
        other.writestr("cat/other.png", PNG)
    where = folder / "pets" / sample if kind == "folder" else folder / "pets.zip"
    where.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        where.write_bytes(PNG)
    else:
        with zipfile.ZipFile(where, "w") as pets:
            pets.writestr(sample, PNG)
    app.run()
    assert not app.exception and app.selectbox(key="first.pictures").value == where.relative_to(folder).parts[0]
    assert "not here" not in text(app) and "has no picture" not in text(app)


@pytest.mark.parametrize("packed", [False, True])
def test_the_unpacked_intel_scenes_show_the_pictures_of_the_shipped_run(folder, packed):
    names = pd.read_parquet(SHIPPED / "scenes_supervised.parquet", columns=["sample"])["sample"].unique()
    files = [f"seg_test/seg_test/{name}" for name in names] + ["seg_train/seg_train/sea/1.jpg", "seg_pred/seg_pred/3.jpg"]
    (folder / "runs" / "scenes.parquet").symlink_to(SHIPPED / "scenes_supervised.parquet")
    if packed:
        with zipfile.ZipFile(folder / "intel", "w") as archive:
            for name in files:
                archive.writestr(name, PNG)
        (folder / "intel").rename(folder / "intel.zip")
    else:
        for name in files:
            (folder / "intel" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "intel" / name).write_bytes(PNG)
    app = opened(PAGE)
    whole = "intel.zip" if packed else "intel"
    assert not app.exception and app.selectbox(key="scenes.pictures").value == f"{whole}/seg_test"
    assert "not here" not in text(app) and "has no picture" not in text(app)
    app.selectbox(key="scenes.pictures").set_value(f"{whole}/seg_train").run()
    assert "has no picture of this name" in text(app)


def test_a_network_that_knows_the_classes_says_why(folder):
    classes = ("buildings", "forest", "glacier", "mountain", "sea", "street")
    recorded(folder / "runs" / "scenes_supervised.parquet", samples=8, epochs=2, classes=classes)
    for number, name in enumerate(classes):
        for sample in range(8):
            (folder / "scenes" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(sample).integers(0, 255, (64, 64, 3)) // (number + 1)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "scenes" / name / f"{sample}.png")
    app = opened(PAGE, **{"scenes_supervised.epochs": ["1", "1"]}, which="Wrong at the end")
    assert not app.exception and not app.error
    assert app.selectbox(key="explained_by").value == "scenes_supervised"
    assert re.search(r"Why (\w+) \(predicted\)", text(app)) and re.search(r"Why (\w+) and not (\w+)", text(app))
    assert "values in logits" in text(app)
    sample = app.selectbox(key="scenes_supervised.sample").value
    followed(app, "Open on the page Single image")
    assert not app.error and app.selectbox(key="model").value == "scenes_supervised"
    assert (app.selectbox(key="of dataset").value, app.selectbox(key="sample of dataset").value) == ("scenes", sample)
    followed(app, "Back to Training evolution")
    assert not app.error and app.selectbox(key="scenes_supervised.sample").value == sample


def specs(run, colours=None, groups=None):
    groups = groups or grouped(run, rows_of(len(run.samples), 100))
    colours = colours or figure.class_colours(run)
    cells = charts.cells_of_classes(run, groups, [str(one) for one in run.samples], colours)
    bars = [charts.Bars("frequency", [0.5] * len(run.samples), ["50%"] * len(run.samples))]
    both = [charts.accuracies([run]), *charts.losses([run])]
    return cells, charts.heatmap(cells, colours, bars, both, text_title="confidence", width=300).to_dict()


def test_cells_hold_what_was_predicted():
    run = made()
    cells, spec = specs(run)
    assert len(cells) == 20 and cells[cells["row"] == 1]["full"].tolist() == ["cat", "dog", "cat", "dog", "cat"]
    assert cells[cells["name"] == "misses"]["full"].tolist()[1] == charts.NOTHING
    assert set(cells["text"]) == {"50.0%", "unknown"} and len(spec["concat"]) == 4
    assert [one["name"] for one in spec["params"]] == ["row"]


def test_every_class_beyond_the_colours_shares_one():
    names = tuple(f"class {number}" for number in range(30))
    buffer = io.BytesIO()
    pd.DataFrame(
        {"epoch": 1, "sample": range(300), "true": "class 0", "predicted": [names[min(row % 40, 29)] for row in range(300)]}
    ).to_parquet(buffer)
    from xai_core.training.dynamics.readers import read_run

    colours = figure.class_colours(read_run(buffer.getvalue(), "many.parquet"))
    assert len(colours) == 10 and figure.REST in colours and "class 29" in colours  # the most common is among them
    assert len(set(figure.class_colours(made()).values())) == 5  # four classes, and what was not recorded


def test_curves_follow_the_columns_of_the_first_run():
    run = made()
    spec = charts.accuracies([run.between(2, 4), run]).to_dict()
    (table,) = spec["datasets"].values()
    assert {row["epoch"] for row in table} == {"2", "3", "4"}
    assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == ["2", "3", "4"]
    assert charts.losses([run]) == []  # nothing was recorded of it


def test_the_losses_of_two_runs_have_axes_of_their_own(folder):
    """A contrastive loss of hundreds beside a cross entropy of one: on common axes the second is a flat line."""
    recorded(folder / "runs" / "first.parquet")
    recorded(folder / "runs" / "second.parquet", seed=1, loss=500.0)
    first, second = (
        readers.read_run((folder / "runs" / f"{name}.parquet").read_bytes(), f"{name}.parquet")
        for name in ("first", "second")
    )
    charts_of_loss = [chart.to_dict() for chart in charts.losses([first, second])]
    for run, spec in zip((first, second), charts_of_loss, strict=True):
        (table,) = spec["datasets"].values()
        assert {row["run"] for row in table} == {run.title}
        assert spec["layer"][0]["encoding"]["strokeDash"]["scale"]["domain"] == ["first", "second"], (
            "the second is dashed in all charts"
        )
    app = opened(PAGE, run="first", second="second")
    whole = json.loads(app.get("vega_lite_chart")[1].proto.spec)
    titles = [part["layer"][0]["encoding"]["y"].get("title") for part in whole["concat"] if "layer" in part]
    assert titles == ["accuracy", "training loss", "training loss"] and whole["resolve"]["scale"]["y"] == "independent"


def test_groups_of_two_runs_say_which_is_right():
    run = made()
    same = charts.cells_of_two(run, run, grouped(run, rows_of(4, 9)), list(run.samples))
    assert set(same["full"]) == {"both right", "neither", charts.NOTHING}


def test_what_was_not_recorded_is_no_part_of_a_group_of_two_runs():
    """Of four samples in one row, 'misses' is recorded in neither run in epoch 2: shares are of the other three."""
    run = made()
    cells = charts.cells_of_two(run, run, grouped(run, np.array([0, 4])), ["all"])
    assert cells["text"].tolist() == ["50%", "67%", "67%", "75%", "75%"]


def test_the_recorded_runs_of_the_project_are_shown():
    app = opened(PAGE)
    assert not app.error and not app.exception and app.selectbox(key="run").value == "world_planted"
    assert app.selectbox(key="world_planted.pictures").value == "world:planted"
    assert "Its picture is not here" not in text(app)


def test_an_uploaded_run_is_shown_until_it_is_taken_away(folder):
    recorded(folder / "runs" / "first.parquet")
    app = opened(PAGE)
    wide = b"id,label,1,2\na,cat,dog,cat\nb,dog,dog,dog\n"
    app.file_uploader(key="run_file").set_value(("mine.csv", wide, "text/csv")).run()
    assert app.selectbox(key="run").value == "Uploaded file" and "mine" in text(app) and app.metric[0].value == "2"
    app.file_uploader(key="run_file").set_value(None).run()
    assert not app.exception and app.selectbox(key="run").value == "first" and app.metric[0].value == "300"
    app.file_uploader(key="run_file").set_value(("mine.csv", b"a,b\n1,2\n", "text/csv")).run()
    assert "is not a recorded run" in app.error[0].value and not app.exception
