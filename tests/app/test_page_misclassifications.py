"""The misclassification page in Streamlit's own test harness: from the matrix to the reason, on pictures that are there."""

import io
import json
import re
import shutil
import zipfile
from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from noted import add_notes, put_note, saved
from opened_pages import chart_rows, finished, followed, opened, pick_mark, press_row, text
from PIL import Image
from sample_predictions import first_error, folders, opened_on_samples, raw_rows  # noqa: F401  (an autouse fixture is among them)
from streamlit.testing.v1 import AppTest

from benchmarks.shipped_predictions import FILES
from xai_core.analysis import predict
from xai_core.analysis.predict import classify
from xai_core.app.misclassifications import class_blocks, class_scores, clusters, confusion
from xai_core.app.shared import (
    cache,
    jobs,
    opened_datasets,
    page_links,
    predictions,
    progress,
    review_store,
    server_job,
    thumbnails,
)
from xai_core.core import part_store, settings
from xai_core.core.errors import BeingWritten
from xai_core.data import datasets
from xai_core.data.corrupted_samples import CHANGES, LABELS, changed_samples
from xai_core.data.datasets import open_dataset, open_zip
from xai_core.data.predictions import ENTRY
from xai_core.data.samples import SAMPLES
from xai_core.models.loading import load_model
from xai_core.models.zoo.catalog import cards
from xai_core.review import picture_notes
from xai_core.review.picture_notes import Note, note

PAGE = "pages/6_Misclassifications.py"


def test_the_default_pictures_are_labelled_and_can_be_opened():
    dataset = changed_samples()
    assert len(dataset.samples) == len(LABELS) * len(CHANGES) == 80
    assert set(LABELS) == {id for id, one in SAMPLES.items() if one.true_class is not None}
    assert all(dataset.open(sample.name).mode == "RGB" for sample in dataset.samples[:: len(CHANGES) + 1])


def test_the_page_waits_for_predictions_that_another_process_computes(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "folder", lambda: tmp_path / "predictions")
    monkeypatch.setattr(part_store, "WAIT_SECONDS", 0.05)
    file = predictions.file_of(load_model("efficientnet_lite0"), changed_samples())
    opened_again, real = [], part_store.locked

    def busy_twice(folder, busy):
        opened_again.append(folder)
        if len(opened_again) <= 2:
            raise BeingWritten(busy)
        return real(folder, busy)

    monkeypatch.setattr(part_store, "locked", busy_twice)
    app = opened_on_samples(PAGE)
    assert not app.error and file.exists() and len(opened_again) == 3


@pytest.fixture
def small_world(monkeypatch):
    """world:planted with 120 pictures."""
    monkeypatch.setattr(datasets, "WORLD_TEST", 120)
    opened_datasets._open.clear()
    yield open_dataset("world:planted")
    opened_datasets._open.clear()


def test_the_page_begins_on_a_drawn_world_with_its_network(small_world):
    app = opened(PAGE, view="Groups")
    assert app.selectbox(key="dataset").value == "world:planted" and app.selectbox(key="model").value == "world_planted"
    table = pd.read_parquet(predictions.file_of(load_model("world_planted"), small_world))
    wrong = table["true"] != table["predicted"]
    assert f"{1 - wrong.mean():.1%}** right, {wrong.sum()} wrong" in text(app) and wrong.any()
    choose = {"group by": "background", "and by": "label"}
    for key, value in choose.items():
        app.selectbox(key=key).set_value(value).run()
    rates = next(element.value for element in app.dataframe if "error rate" in element.value)
    background = small_world.metadata.loc[table["path"], "background"].to_numpy()
    for row in rates.to_dict("records"):
        place, label = row["value"].split(", ")
        members = (background == place) & (table["true"] == label).to_numpy()
        assert (row["pictures"], row["errors"]) == (members.sum(), (members & wrong.to_numpy()).sum())


def test_a_test_set_with_a_broken_cause_has_the_same_network(small_world):
    app = opened(PAGE, dataset="world:planted:mark")
    assert app.selectbox(key="model").value == "world_planted" and not app.error


def test_the_first_start_shows_errors_without_a_click(monkeypatch):
    """Its predictions come with the app and are marked as such; nothing is classified."""
    monkeypatch.setattr(predictions, "classify", None)  # would fail
    monkeypatch.setattr(predictions, "estimated_seconds", None)
    app = opened(PAGE, asks=True)
    assert app.selectbox(key="dataset").value == "world:planted" and app.selectbox(key="model").value == "world_planted"
    rows = pd.read_parquet(SHIPPED / "world_planted.parquet")
    wrong = int((rows["true"] != rows["predicted"]).sum())
    assert f"{1 - wrong / 1000:.1%}** right, {wrong} wrong" in text(app) and predictions.COMES_WITH_THE_APP in text(app)
    assert not any("Classify" in element.label for element in app.button)
    app = opened(PAGE, asks=True, view="Two models", second=cards()["world_clean"].title)
    assert not app.error and not any("Classify" in element.label for element in app.button)
    assert text(app).count(predictions.COMES_WITH_THE_APP) == 1


SHIPPED = settings.RESOURCES / "data" / "predictions"


@pytest.mark.parametrize("name", FILES)
def test_the_predictions_that_come_with_the_app_equal_fresh_ones(name, tmp_path):
    model, world = load_model(FILES[name][0]), open_dataset(FILES[name][1])
    file = predictions.shipped(model, world)
    assert file == SHIPPED / f"{name}.parquet"
    shipped = pd.read_parquet(file)
    assert shipped["path"].tolist() == [sample.name for sample in world.samples]
    step = len(world.samples) // 25
    some = replace(world, samples=world.samples[::step])
    list(classify(model, some, tmp_path / "fresh.parquet", embeddings=True))
    fresh = pd.read_parquet(tmp_path / "fresh.parquet")
    pd.testing.assert_frame_equal(
        fresh.drop(columns=LISTS), shipped[::step].drop(columns=LISTS).reset_index(drop=True), rtol=1e-3
    )
    assert fresh["top5"].map(list).tolist() == shipped["top5"][::step].map(list).tolist()
    for column in ("top5_probability", "embedding"):
        np.testing.assert_allclose(np.stack(fresh[column]), np.stack(shipped[column][::step]), rtol=1e-3, atol=1e-4)


LISTS = ["top5", "top5_probability", "embedding"]


def test_other_weights_or_pictures_are_not_answered_by_what_comes_with_the_app(tmp_path, monkeypatch):
    model, world = load_model("world_planted"), open_dataset("world:planted")
    assert predictions.shipped(model, world) and predictions.shipped(replace(model, id="mine", title="Mine"), world)
    others = [
        load_model("world_planted", "random"),
        replace(model, fingerprint="other"),
        replace(model, class_names=model.class_names[::-1]),
        replace(model, recipe=replace(model.recipe, shorter_side=160)),
    ]
    assert not any(predictions.shipped(other, world) for other in others)
    worlds = [*map(open_dataset, ("world:planted:mark", "world:clean")), replace(world, samples=world.samples[1:])]
    assert not any(predictions.shipped(model, other) for other in worlds)
    monkeypatch.setattr(predict, "SHIPPED", tmp_path)
    assert predictions.shipped(model, world) is None
    (tmp_path / "world_planted.parquet").write_bytes(b"none of predictions")
    assert predictions.shipped(model, world) is None
    list(classify(model, replace(world, samples=world.samples[:9]), tmp_path / "few.parquet", embeddings=True))
    assert predictions.shipped(model, world) is None


def button(app: AppTest, key: str):
    return next(element for element in app.button if element.key == key)


def test_a_tile_opens_the_picture_with_its_reason():
    app = opened_on_samples(PAGE)
    assert "wrong" in text(app) and len(app.get("vega_lite_chart")) == 1 and not app.get("dialog")
    true, predicted = app.selectbox(key="true").value, app.selectbox(key="predicted").value
    assert true != predicted  # the pair that is confused most
    path = first_error()["path"]
    button(app, f"open {path}").click().run()
    assert not app.exception and app.query_params["sample"] in (path, [path])
    assert f"Why {predicted.split(',')[0]} and not {true.split(',')[0]}" in text(app)
    assert "cosine" in text(app)  # a neighbour that was right


def test_previous_and_next_step_through_the_pictures_of_the_cell():
    app = opened_on_samples(PAGE)
    rows = raw_rows()
    cell = rows[
        (rows["true"] == app.selectbox(key="true").value) & (rows["predicted"] == app.selectbox(key="predicted").value)
    ]
    paths = cell.sort_values("confidence", ascending=False)["path"].tolist()
    button(app, f"open {paths[0]}").click().run()
    assert button(app, "previous").disabled and f"**1** of {len(paths)}" in text(app)
    button(app, "next").click().run()
    assert app.query_params["sample"] in (paths[1], [paths[1]]) and f"**2** of {len(paths)}" in text(app)
    button(app, "previous").click().run()
    assert app.query_params["sample"] in (paths[0], [paths[0]])


def test_tiles_say_right_or_wrong_and_both_classes():
    row = first_error()
    app = opened_on_samples(PAGE, true="(all)", predicted="(all)")
    tiles = [element.value for element in app.markdown if "margin:" in element.value]
    assert len(tiles) == 24 and all(("✓ Right" in tile) != ("✗ Wrong" in tile) for tile in tiles)
    words = f"true: {row['true'].split(',')[0]}  \npredicted: {row['predicted'].split(',')[0]} {row['confidence']:.0%}"
    assert any(words in tile and "✗ Wrong" in tile for tile in tiles)


def test_a_right_answer_has_one_reason():
    rows = raw_rows()
    path = rows[rows["true"] == rows["predicted"]]["path"].iloc[0]
    app = opened_on_samples(PAGE, sample=path)
    assert "(correct)" in text(app) and "and not" not in text(app).split("Top five")[-1]


def test_a_link_to_a_picture_of_another_dataset_opens_the_page_without_it():
    app = opened_on_samples(PAGE, sample="no/such.png")
    assert not app.error and "sample" not in app.query_params


FILTERS = {
    "none": {},
    "wrong": {"which": "Wrong"},
    "right": {"which": "Right"},
    "confident": {"confidence": "0.5,1.0"},
    "narrow margin": {"margin": "0.0,0.3"},
    "true classes": {"classes": "missile,moped"},
    "wrong of true classes": {"which": "Wrong", "classes": "missile,moped"},
}


def filtered(rows: pd.DataFrame, query: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that shares are of, and those of them that are listed, by the query of the address."""
    counted = rows[rows["true"].isin(query["classes"].split(","))] if "classes" in query else rows
    listed = counted
    for name in ("confidence", "margin"):
        low, high = map(float, query.get(name, "0,1").split(","))
        listed = listed[listed[name].between(low, high)]
    wrong = listed["true"] != listed["predicted"]
    return counted, listed[wrong] if query.get("which") == "Wrong" else listed[~wrong] if "which" in query else listed


def open_filtered(view: str, query: dict[str, str]) -> AppTest:
    """The page with filters. Lists and ranges are repeated in the address, one entry for each part."""
    lists = {"confidence", "margin", "classes"}
    app = opened_on_samples(
        PAGE, view=view, **{name: value.split(",") if name in lists else value for name, value in query.items()}
    )
    assert not app.exception and not app.error
    return app


@pytest.mark.parametrize("query", FILTERS.values(), ids=FILTERS)
def test_shares_of_confused_pairs_are_of_all_pictures_of_the_true_class(query):
    app = open_filtered("Most confused", query)
    counted, listed = filtered(raw_rows(), query)
    wrong = listed[listed["true"] != listed["predicted"]]
    if not len(wrong):
        assert not app.dataframe and "predicted correctly" in app.info[0].value
        return
    (table,) = (element.value for element in app.dataframe)
    assert table["pictures"].sum() == len(wrong)
    for _, pair in table.iterrows():
        same = wrong[(wrong["true"] == pair["true"]) & (wrong["predicted"] == pair["predicted"])]
        total = int((counted["true"] == pair["true"]).sum())
        assert (pair["pictures"], pair["of"]) == (len(same), total)
        assert pair["share"] == pytest.approx(len(same) / total)


def test_a_table_of_pairs_says_of_how_many_it_shows_the_most_frequent(monkeypatch):
    monkeypatch.setattr(class_scores, "MOST_PAIRS", 3)
    app = open_filtered("Most confused", {})
    rows = raw_rows()
    pairs = rows[rows["true"] != rows["predicted"]].groupby(["true", "predicted"]).size().sort_values(ascending=False)
    (table,) = (element.value for element in app.dataframe)
    assert f"The 3 most frequent of {len(pairs)} pairs" in text(app) and table["pictures"].tolist() == pairs[:3].tolist()


@pytest.mark.parametrize("query", FILTERS.values(), ids=FILTERS)
def test_precision_and_recall_are_of_all_pictures(query):
    app = open_filtered("Per class", query)
    rows = raw_rows()
    _, listed = filtered(rows, query)
    (table,) = (element.value for element in app.dataframe)
    assert set(table["class"]) == set(listed["true"])
    for _, row in table.iterrows():
        true, predicted = rows["true"] == row["class"], rows["predicted"] == row["class"]
        assert row["recall"] == pytest.approx((true & predicted).sum() / true.sum())
        assert row["precision"] == pytest.approx((true & predicted).sum() / predicted.sum())


@pytest.mark.parametrize("query", FILTERS.values(), ids=FILTERS)
def test_calibration_is_of_right_and_wrong_predictions_of_every_confidence(query):
    app = open_filtered("Calibration", query)
    counted, _ = filtered(raw_rows(), query)
    gaps = 0.0
    for low in range(10):
        rows = counted[(counted["confidence"] > low / 10) & (counted["confidence"] <= (low + 1) / 10)]
        if len(rows):
            gaps += abs((rows["true"] == rows["predicted"]).mean() - rows["confidence"].mean()) * len(rows)
    assert f"error: {gaps / len(counted):.1%} over {len(counted)} pictures" in text(app)


@pytest.mark.parametrize("query", FILTERS.values(), ids=FILTERS)
def test_shares_of_the_matrix_are_of_all_pictures_of_the_true_class(query):
    app = open_filtered("Confusion", query | {"colour": "Share of the row"})
    counted, listed = filtered(raw_rows(), query)
    cells = chart_rows(app, {"true", "predicted", "pictures", "value"})
    assert cells["pictures"].sum() == len(listed)
    for _, cell in cells.iterrows():
        same = listed[(listed["true"] == cell["true"]) & (listed["predicted"] == cell["predicted"])]
        assert cell["pictures"] == len(same)
        assert cell["value"] == pytest.approx(len(same) / (counted["true"] == cell["true"]).sum())


@pytest.mark.parametrize("query", FILTERS.values(), ids=FILTERS)
def test_the_accuracy_is_of_all_pictures_whatever_is_listed(query):
    rows = raw_rows()
    right = int((rows["true"] == rows["predicted"]).sum())
    said = text(open_filtered("Per class", query))
    assert f"**{right / len(rows):.1%}** right, {len(rows) - right} wrong" in said
    _, listed = filtered(rows, query)
    assert (f"{len(listed)} of {len(rows)} pictures pass the filters" in said) == bool(query)


@pytest.mark.parametrize("column", ["Predicted", "True"])
@pytest.mark.parametrize("which", ["All", "Wrong"])
def test_clusters_count_their_own_members(which, column):
    app = open_filtered("Clusters", {"which": which, "asked": column})
    column = column.lower()
    _, listed = filtered(raw_rows(), {"which": which} if which == "Wrong" else {})
    box = app.selectbox(key=f"clusters of {column}")
    for name, option in zip(sorted_by_errors(listed, column), box.options, strict=True):
        of_class = listed[listed[column] == name]
        wrong = int((of_class["true"] != of_class["predicted"]).sum())
        assert option == f"{name.split(',')[0]} ({len(of_class)} pictures, {wrong} wrong)"
    chosen = listed[listed[column] == box.value].set_index("path")
    members = [element.value for element in app.dataframe]
    if len(chosen) < 8:
        assert not members and f"{len(chosen)} pictures are too few" in app.info[0].value
        return
    assert sorted(path for table in members for path in table["path"]) == sorted(chosen.index)
    for number, table in enumerate(members, 1):
        right = sum(chosen["true"][path] == chosen["predicted"][path] for path in table["path"])
        counts = f"{len(table)} pictures: {right} right, {len(table) - right} wrong"
        assert f"**Cluster {number}**: {counts}" in text(app)


def sorted_by_errors(rows: pd.DataFrame, column: str) -> list[str]:
    """The classes in a column of predictions, those with the most errors first, then those with the most pictures."""
    wrong = rows[rows["true"] != rows["predicted"]]
    return sorted(
        sorted(set(rows[column])), key=lambda name: (-(wrong[column] == name).sum(), -(rows[column] == name).sum())
    )


def test_the_neighbours_of_an_error_are_found_when_only_errors_are_listed():
    app = opened_on_samples(PAGE, which="Wrong", sample=first_error()["path"])
    assert "cosine" in text(app) and "No other picture" not in text(app)


@pytest.mark.parametrize("which", ["All", "Wrong"])
def test_the_neighbours_are_the_right_pictures_of_the_largest_cosines(which):
    rows, own = raw_rows(), first_error()
    others = rows[(rows["true"] == rows["predicted"]) & (rows["path"] != own["path"])]
    cosines = [
        float(np.dot(own["embedding"], other) / np.sqrt(np.dot(own["embedding"], own["embedding"]) * np.dot(other, other)))
        for other in others["embedding"]
    ]
    said = text(opened_on_samples(PAGE, which=which, sample=own["path"]))
    assert re.findall(r"cosine (-?[\d.]+)", said) == [f"{cosine:.2f}" for cosine in sorted(cosines, reverse=True)[:5]]


def test_filters_may_leave_nothing():
    app = opened_on_samples(PAGE, which="Wrong")
    app.slider(key="margin").set_range(0.999, 1.0).run()
    assert not app.exception and "Change or remove" in app.info[0].value


@pytest.mark.parametrize("view", ["Calibration", "Per class", "Most confused", "Clusters", "Two models", "Notes"])
def test_every_view_opens(view):
    app = opened_on_samples(PAGE, view=view)
    assert not app.error and not app.exception


def test_the_view_confusion_counts_pairs_once(monkeypatch):
    """The sentence above the matrix, the matrix and the cell that is shown first are of the same counts."""
    counted, app = [], opened_on_samples(PAGE, view="Confusion")
    for name in ("pair_counts", "most_confused"):
        real = getattr(confusion.confusions, name)
        monkeypatch.setattr(
            confusion.confusions, name, lambda *args, name=name, real=real: counted.append(name) or real(*args)
        )
    app.run()
    assert counted == ["pair_counts", "most_confused"] and not app.exception


def test_tags_survive_and_filter():
    path = first_error()["path"]
    app = opened_on_samples(PAGE, sample=path)
    next(box for box in app.text_input if box.label.startswith("Tags")).set_value("wrong label, blurred")
    app.button[[one.label for one in app.button].index("Save")].click().run()
    again = opened_on_samples(PAGE, tags="blurred")
    assert button(again, f"open {path}") and "blurred, wrong label" in text(again)


def test_two_datasets_of_one_title_share_no_predictions_thumbnails_or_notes():
    first, second = (open_zip(io.BytesIO(zipped(seed=seed, tabby=2, espresso=2)), "mine") for seed in (1, 2))
    assert first.title == second.title and [one.name for one in first.samples] == [one.name for one in second.samples]
    model = load_model("efficientnet_lite0")
    assert predictions.file_of(model, first) != predictions.file_of(model, second)
    assert clusters.key_of(model, first, ["a"], "grad_cam", "true") != clusters.key_of(
        model, second, ["a"], "grad_cam", "true"
    )
    assert thumbnails.file(first, "tabby/0.png") != thumbnails.file(second, "tabby/0.png")
    put_note(first, "tabby/0.png", note("mine"))
    assert saved(first) and not saved(second)


def test_the_view_of_notes_says_who_has_written_each_and_when():
    first, second = sorted(raw_rows()["path"])[:2]
    put_note(changed_samples(), first, note("odd", "too dark"))
    put_note(changed_samples(), second, note("odd"))
    put_note(changed_samples(), second, Note())
    app = opened_on_samples(PAGE, view="Notes")
    (line,) = app.dataframe[0].value.to_dict("records")
    stored = picture_notes.find(review_store.engine(), changed_samples(), first)
    assert (line["path"], line["tags"], line["note"], line["by"]) == (first, "odd", "too dark", "Anna (not verified)")
    assert line["changed (UTC)"] == stored.at.replace(microsecond=0)
    assert "Stored in review.sqlite on the server." in [one.value for one in app.caption]


def test_notes_of_an_earlier_version_that_cannot_be_read_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / f"mine-{changed_samples().digest[:16]}.json").write_text("[")
    monkeypatch.setenv("XAI_NOTES", str(tmp_path / "notes"))
    app = opened_on_samples(PAGE, view="Notes")
    (warning,) = (one.value for one in app.warning)
    assert "Notes of an earlier version were not imported." in warning and str(tmp_path) not in warning


def test_errors_are_shown_while_the_database_of_notes_is_away(tmp_path, monkeypatch):
    (tmp_path / "broken.sqlite").write_bytes(b"no database " * 100)
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/broken.sqlite")
    path = first_error()["path"]
    app = opened_on_samples(PAGE, sample=path)
    assert [one.value for one in app.warning if "Tags and notes cannot be shown" in one.value]
    assert [one.value for one in app.error if "The note on this picture cannot be shown" in one.value]
    assert app.button(key=f"open {path}") and any(one.label.startswith("Export the") for one in app.expander)


def test_a_demonstration_takes_no_notes(monkeypatch):
    put_note(changed_samples(), first_error()["path"], note("odd"))
    monkeypatch.setenv("XAI_READONLY", "1")
    app = opened_on_samples(PAGE, view="Notes")
    assert len(app.dataframe[0].value) == 1 and any("public demonstration" in one.value for one in app.info)
    assert not [one for one in app.get("file_uploader") if "Import notes" in one.proto.label]


def zipped(*, seed: int = 0, **classes: int) -> bytes:
    """A ZIP with a folder of noise for each class."""
    file, draw = io.BytesIO(), np.random.default_rng(seed)
    with zipfile.ZipFile(file, "w") as archive:
        for name, count in classes.items():
            for index in range(count):
                picture = io.BytesIO()
                Image.fromarray(draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(picture, "PNG")
                archive.writestr(f"{name.replace('_', ' ')}/{index}.png", picture.getvalue())
        archive.writestr("tabby/broken.png", b"no picture")
    return file.getvalue()


def test_a_zip_with_unknown_labels_and_a_broken_file_is_reported():
    app = opened_on_samples(PAGE)
    app.file_uploader(key="zip").set_value(("mine.zip", zipped(tabby=2, espresso=2, unheard_of=1), "application/zip")).run()
    assert not app.exception and not app.error
    said = text(app)
    assert "unheard of" in said and "broken.png" in said
    assert "of the 4 that could be read and have a known label." in said


@pytest.mark.parametrize("data", [b"no zip", zipped(unheard_of=2)[:60]], ids=["none", "cut off"])
def test_what_is_no_zip_is_one_sentence(data):
    app = opened_on_samples(PAGE)
    app.file_uploader(key="zip").set_value(("mine.zip", data, "application/zip")).run()
    assert not app.exception and len(app.error) == 1


@pytest.mark.parametrize("link", [{}, {"method": "Grad-CAM"}], ids=["as it opens", "from a link"])
def test_the_way_on_asks_the_same_question_on_the_single_image_page(link):
    app = opened_on_samples(PAGE, **link, sample=first_error()["path"])
    said, true = app.selectbox(key="predicted").value, app.selectbox(key="true").value
    sample = first_error()["path"]
    followed(app, "Open on the page Single image")
    assert app.segmented_control(key="ask").value == "A and not B" and f"{said} and not {true}" in text(app)
    assert app.selectbox(key="picture").value == "A picture of a dataset"
    assert app.selectbox(key="sample of dataset").value == sample
    followed(app, "Back to Misclassifications")
    assert app.query_params["sample"] in (sample, [sample]) and f"**{sample}**" in text(app)
    assert (app.selectbox(key="predicted").value, app.selectbox(key="true").value) == (said, true)


def test_all_errors_are_one_click_whatever_was_filtered():
    app = opened_on_samples(PAGE, view="Per class", which="Right", classes=["missile", "moped"], margin=["0.0", "0.3"])
    rows = raw_rows()
    wrong = rows[rows["true"] != rows["predicted"]]
    click = next(element for element in app.button if element.key == "all errors")
    assert click.label == f"Show all {len(wrong)} errors"
    app = click.click().run()
    assert not app.exception and f"**{len(wrong)} pictures**" in text(app)
    opening = {element.key.removeprefix("open ") for element in app.button if (element.key or "").startswith("open ")}
    assert opening <= set(wrong["path"]) and len(opening) == min(len(wrong), 24)


SCENES = ("buildings", "forest", "glacier", "mountain", "sea", "street")


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """A dataset `mine` whose folders are named as the classes of the scenes networks; returns its folder."""
    monkeypatch.setenv("XAI_DATA", str(tmp_path / "data"))
    for place, name in enumerate(SCENES):
        (tmp_path / "data" / "mine" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (40 * place, 90, 200)).save(tmp_path / "data" / "mine" / name / "1.png")
    return tmp_path / "data" / "mine"


def test_labels_are_checked_before_anything_is_classified(scenes, monkeypatch):
    monkeypatch.setattr(predictions, "classify", lambda *_, **__: pytest.fail("classified although no label fits"))
    app = opened_on_samples(PAGE, dataset="mine")
    assert "None of these 6 labels is known to EfficientNet-Lite0" in app.info[0].value and not app.error
    offers = [element for element in app.button if (element.key or "").startswith("use ")]
    assert offers and all("6 of 6" in offer.label for offer in offers)
    monkeypatch.undo()


def test_a_model_that_fits_the_labels_is_one_click_away(scenes):
    app = opened_on_samples(PAGE, dataset="mine")
    app = next(element for element in app.button if element.key == "use scenes_supervised").click().run()
    assert not app.exception and not app.info and app.selectbox(key="model").value == "scenes_supervised"
    assert "6 pictures of 6 classes" in text(app)


def test_few_known_labels_are_said_and_better_models_named(scenes):
    (scenes / "tabby").mkdir()
    (scenes / "sea" / "1.png").rename(scenes / "tabby" / "1.png")
    app = opened_on_samples(PAGE, dataset="mine")
    assert "Only 1 of these 7 labels are known" in app.info[0].value or "Only 1 of these 6" in app.info[0].value
    assert any("of 6" in element.label and element.key == "use scenes_supervised" for element in app.button)


def test_pictures_without_folders_get_advice_on_folders_not_on_models(scenes):
    for name in SCENES:
        (scenes / name / "1.png").rename(scenes / f"{name}.png")
    (scenes / "sea" / "empty").mkdir()
    file = scenes.parent / "flat.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in SCENES:
            archive.write(scenes / f"{name}.png", f"{name}.png")
    app = opened_on_samples(PAGE, dataset="flat.zip")
    assert "one folder for each class" in app.info[0].value and "model" not in app.info[0].value
    assert not [element for element in app.button if (element.key or "").startswith("use ")]


@pytest.fixture
def noisy_scenes(scenes):
    """Three pictures of noise more in each class, on which the networks differ."""
    draw = np.random.default_rng(0)
    for name in SCENES:
        for number in range(2, 5):
            pixels = draw.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((48, 48)).save(scenes / name / f"{number}.png")
    return scenes


@pytest.mark.parametrize("which", ["All", "Wrong", "Right"])
def test_two_models_are_compared_on_all_pictures_whatever_is_listed(noisy_scenes, which):
    ids = ("scenes_supervised", "scenes_finetuned")
    titles = [cards()[id].title for id in ids]
    app = opened_on_samples(PAGE, dataset="mine", model=titles[0], second=titles[1], view="Two models", which=which)
    assert not app.error and not app.exception
    dataset = open_dataset(noisy_scenes)
    first, second = (pd.read_parquet(predictions.file_of(load_model(id), dataset)).set_index("path") for id in ids)
    right = [(rows["true"] == rows["predicted"]) for rows in (first, second)]
    fixed, broken = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    assert f"**{right[0].mean():.1%}** right" in text(app) and f"**{right[1].mean():.1%}**, on 24 pictures" in text(app)
    assert f"fixes {fixed} errors and makes {broken} new ones" in text(app)
    differ = first["predicted"] != second["predicted"]
    listed = {"All": differ, "Wrong": differ & ~right[0], "Right": differ & right[0]}[which]
    assert sorted(app.dataframe[0].value["path"]) == sorted(first.index[listed])


def test_two_models_are_compared_although_they_name_one_class_differently(noisy_scenes, monkeypatch):
    ids = ("scenes_supervised", "scenes_finetuned")
    titles = [cards()[id].title for id in ids]
    query = {"dataset": "mine", "model": titles[0], "second": titles[1], "view": "Two models"}
    app, real = opened(PAGE, **query), predictions.table

    def renamed(*args, second=False, **more):
        rows = real(*args, second=second, **more)
        return rows.assign(**{name: rows[name] + ", of scenes" for name in ("true", "predicted")}) if second else rows

    monkeypatch.setattr(predictions, "table", renamed)
    other = opened(PAGE, **query)
    sentence = next(element.value for element in app.markdown if "The second fixes" in element.value)
    assert sentence in [element.value for element in other.markdown]
    pd.testing.assert_frame_equal(app.dataframe[0].value, other.dataframe[0].value)


def test_rows_and_cells_of_two_models_open_their_pictures(noisy_scenes):
    ids = ("scenes_supervised", "scenes_finetuned")
    titles = [cards()[id].title for id in ids]
    query = {"dataset": "mine", "model": titles[0], "second": titles[1], "view": "Two models"}
    app = opened_on_samples(PAGE, **query)
    dataset = open_dataset(noisy_scenes)
    first, second = (pd.read_parquet(predictions.file_of(load_model(id), dataset)).set_index("path") for id in ids)
    table = app.dataframe[0].value
    row, same = table.iloc[-1], table["change"] == table["change"].iloc[-1]
    words = f"{titles[1]} against {titles[0]}: {row['change']}: **{same.sum()}** of {same.sum()}"
    app = press_row(app, "changes", len(table) - 1)
    assert f"**{row['path']}**" in text(app) and words in text(app)

    cells = [set(zip(rows.index, rows["true"], rows["predicted"], strict=True)) for rows in (first, second)]
    _, true, predicted = min(cells[1] - cells[0])
    for title, listed in ((titles[1], cells[1]), ("Second minus first", cells[0] ^ cells[1])):
        app = pick_mark(opened_on_samples(PAGE, **query), f"matrix of {title}", "cell", true=true, predicted=predicted)
        count = sum((true, predicted) == cell[1:] for cell in listed)
        assert f"{title}: {true} predicted " in text(app) and f"**1** of {count}" in text(app)


def test_shares_under_a_tag_are_of_the_pictures_with_the_tag():
    rows = raw_rows()
    tagged = rows.iloc[::3]
    add_notes(changed_samples(), {path: note("dim") for path in tagged["path"]})
    for which in ("All", "Wrong"):
        app = opened_on_samples(PAGE, view="Most confused", tags="dim", which=which)
        wrong = tagged[tagged["true"] != tagged["predicted"]]
        (table,) = (element.value for element in app.dataframe)
        assert table["pictures"].sum() == len(wrong)
        for _, pair in table.iterrows():
            assert pair["of"] == (tagged["true"] == pair["true"]).sum()


def test_errors_that_are_all_different_are_listed_instead_of_a_matrix(tmp_path, monkeypatch):
    """One picture of each of 14 classes, drawn so that no two errors are of one pair."""
    monkeypatch.setenv("XAI_DATA", str(tmp_path))
    names = [name.split(",")[0] for name in load_model("efficientnet_lite0").class_names[400:414]]
    for place, name in enumerate(names):
        (tmp_path / "mine" / name).mkdir(parents=True)
        pixels = np.random.default_rng(place).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(tmp_path / "mine" / name / "1.png")
    app = opened_on_samples(PAGE, dataset="mine")
    file = predictions.file_of(load_model("efficientnet_lite0"), open_dataset(tmp_path / "mine"))
    rows = pd.read_parquet(file)
    wrong = rows[rows["true"] != rows["predicted"]]
    assert not wrong.duplicated(["true", "predicted"]).any() and len(wrong) > 5
    assert f"these {len(wrong)} errors" in text(app) and not app.get("vega_lite_chart")
    listed = app.dataframe[0].value["path"].tolist()
    assert sorted(listed) == sorted(wrong["path"])
    app = press_row(app, "errors", 1)
    assert f"**{listed[1]}**" in text(app) and f"Errors: **2** of {len(wrong)}" in text(app)


@pytest.fixture
def slow(monkeypatch):
    """A machine on which all work is above the limit, and nothing is stored."""
    cache.clear()
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 1e-6)


def test_long_classifying_is_a_job_whose_result_is_there_on_return(slow, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "folder", lambda: tmp_path / "predictions")
    model = "Slim ResNet-18, scenes from scratch (scenes_supervised)"
    app = opened_on_samples(PAGE, asks=True, dataset="mine", model=model)
    assert "This takes about" in text(app) and not app.dataframe
    app.button(key="run Classify").click().run()
    app.switch_page(page_links.FILES[page_links.HOME]).run()  # the visitor leaves
    job = next(job for job in jobs.listed() if job.title == f"Classify mine with {model}")
    jobs.wait()
    assert job.state == server_job.DONE and job.total == 6 and job.place.page == "Misclassifications"
    app.switch_page(PAGE)
    app.query_params["dataset"], app.query_params["model"] = "mine", model
    app.run()
    assert not app.exception and not app.error and "6 pictures" in text(app) and "right" in text(app)


def test_long_clusters_are_a_job_that_can_be_cancelled_and_started_again(slow, monkeypatch):
    app = opened_on_samples(PAGE, asks=True, view="Clusters")
    real = jobs.JobHandle.report

    def cancelled(handle, done, total, words):
        real(handle, done, total, words)
        if done == 1:
            raise CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(jobs.JobHandle, "report", cancelled)
        finished(app.button(key="run Find clusters").click().run())
    assert "Cancelled after 1 of" in text(app) and not [b for b in app.button if b.label == "Cancel"]
    finished(app.button(key="run Find clusters").click().run())
    assert "**Cluster 1**" in text(app) and not app.error


def test_the_listed_errors_are_exported_with_their_pictures_and_maps(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    rows = raw_rows()
    wrong = rows[(rows["true"] != rows["predicted"]) & (rows["true"] == "missile")]
    put_note(changed_samples(), wrong["path"].iloc[0], note("odd"))
    app = opened_on_samples(PAGE, which="Wrong", classes=["missile"])
    assert {f"Export the {len(wrong)} {'picture' if len(wrong) == 1 else 'pictures'} listed"} & {
        element.label for element in app.expander
    }
    button(app, "make zip").click().run()
    assert not app.exception and not app.error
    jobs.wait()
    app.run()
    assert any(element.proto.label.startswith("ZIP, ") for element in app.get("download_button"))
    (file,) = (tmp_path / "cache" / "exports").glob("*.zip")
    with zipfile.ZipFile(file) as archive:
        listed = pd.read_csv(io.BytesIO(archive.read("pictures.csv")), keep_default_na=False)
        assert list(listed["path"]) == list(wrong["path"]) and listed["tags"][0] == "odd"
        np.testing.assert_allclose(listed["p(predicted)"], wrong["confidence"])
        np.testing.assert_allclose(listed["p(true)"], wrong["true_probability"])
        path = wrong["path"].iloc[0]
        assert Image.open(io.BytesIO(archive.read(f"pictures/{path}"))).size == changed_samples().open(path).size
        maps = [name for name in archive.namelist() if name.startswith(f"maps/{path}-")]
        assert len(maps) == 6
        first, other, margin = (
            np.load(io.BytesIO(archive.read(f"maps/{path}-{end}.npz")))["heatmap"] for end in ("predicted", "true", "margin")
        )
        np.testing.assert_allclose(first - other, margin, atol=1e-4)  # HiResCAM is linear in the target


def test_groups_have_the_error_rates_of_counting():
    app = opened_on_samples(PAGE, view="Groups", **{"group by": "change"})
    assert not app.exception and not app.error
    rows = raw_rows().assign(change=lambda table: changed_samples().metadata.loc[table["path"], "change"].to_numpy())
    rates = next(element.value for element in app.dataframe if "error rate" in element.value)
    assert set(rates["value"]) == set(rows["change"])
    for _, row in rates.iterrows():
        members = rows[rows["change"] == row["value"]]
        errors = (members["true"] != members["predicted"]).sum()
        assert (row["pictures"], row["errors"], row["error rate"]) == (len(members), errors, errors / len(members))


def test_groups_of_two_attributes_are_their_combinations():
    app = opened_on_samples(PAGE, view="Groups", **{"group by": "photograph", "and by": "label"})
    rates = next(element.value for element in app.dataframe if "error rate" in element.value)
    assert rates["pictures"].sum() == len(raw_rows()) and all(", " in value for value in rates["value"])


def test_a_filter_by_attribute_changes_what_shares_are_of():
    app = opened_on_samples(PAGE, view="Most confused", attributes=["change"], **{"is change": ["dark", "negative"]})
    assert not app.exception and not app.error
    changes = changed_samples().metadata["change"]
    counted = raw_rows()[lambda table: changes.loc[table["path"]].isin(["dark", "negative"]).to_numpy()]
    pairs = next(element.value for element in app.dataframe if "share" in element.value)
    assert pairs["pictures"].sum() == (counted["true"] != counted["predicted"]).sum()
    for _, pair in pairs.iterrows():
        assert pair["of"] == (counted["true"] == pair["true"]).sum()


def left_out():
    from xai_core.app.shared import predictions

    predictions.list_reasons((f"*{number}*.png", "The file /srv/here/a.png is empty.") for number in range(53))


def test_lists_of_what_was_left_out_say_how_many_more_there_are():
    app = AppTest.from_function(left_out).run()
    lines = [element.value for element in app.markdown]
    assert len(lines) == 51 and lines[-1] == "And 3 more."
    assert "*0*" not in lines[0] and "a.png" in lines[0] and "srv" not in lines[0]


def test_many_classes_are_shown_as_blocks_of_similar_ones(monkeypatch):
    """Every matrix says how many classes and pictures it is of; a block opens by its box, and by the search of a class."""
    for module in (confusion, class_blocks):
        monkeypatch.setattr(module, "MOST_ROWS", 4)
    rows = raw_rows()
    names = sorted({*rows["true"], *rows["predicted"]})
    app = opened_on_samples(PAGE, order="Similar together")
    cells = chart_rows(app, {"true", "predicted", "pictures"})
    assert cells["true"].nunique() <= 4 and cells["pictures"].sum() == len(rows)
    assert (
        f"4 blocks of similar classes, {len(names)} of {len(names)} classes: {len(rows)} of the {len(rows)} pictures"
        in text(app)
    )
    wanted = rows["true"].iloc[0]
    app.selectbox(key="find class").set_value(wanted).run()
    cells = chart_rows(app, {"true", "predicted", "pictures"})
    shown = {*cells["true"], *cells["predicted"]}
    assert not app.exception and wanted in shown and shown <= {*names} and len(shown) <= 4
    inside = rows["true"].isin(shown) & rows["predicted"].isin(shown)
    assert cells["pictures"].sum() == inside.sum() and f"{inside.sum()} of the {len(rows)} pictures listed" in text(app)


def test_a_file_that_classify_wrote_into_a_folder_of_runs_is_shown(tmp_path, monkeypatch):
    """Nothing is classified again; a file of a shard, or of other pictures, is not taken for it."""
    model, dataset, runs = load_model("efficientnet_lite0"), changed_samples(), tmp_path / "runs"
    runs.mkdir()
    raw = raw_rows()
    whole = predictions.file_of(model, dataset)
    shutil.copy(whole, runs / "mine.parquet")
    monkeypatch.setenv("XAI_RUNS", str(runs))
    monkeypatch.setattr(predictions, "folder", lambda: tmp_path / "none")
    monkeypatch.setattr(predictions, "classify", None)  # would fail
    app = opened_on_samples(PAGE)
    assert not app.exception and "written by `classify`: mine.parquet" in text(app).replace("\\", "")
    wrong = int((raw["true"] != raw["predicted"]).sum())
    assert f"{1 - wrong / len(raw):.1%}** right, {wrong} wrong" in text(app)
    described = predictions.settings_of(whole)
    rows = pq.read_table(whole)
    for change in ({"shard": {"number": 1, "count": 2}}, {"dataset_digest": "0" * 64}, {"weights": "another"}):
        pq.write_table(rows.replace_schema_metadata({ENTRY: json.dumps(described | change)}), runs / "mine.parquet")
        assert predictions.written(model, dataset) is None, change
