"""Maps of many pictures: the same as one by one, each picture's fault its own, one scale, and sheets that show it."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from xai_core.analysis import map_sheet
from xai_core.analysis.map_sheet import Half, Tile
from xai_core.analysis.predict import classify
from xai_core.attribution.explain import explain
from xai_core.core.errors import BadPicture, BadRequest, OutOfMemory, XaiError
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import are_predictions, read_table
from xai_core.explanation import export
from xai_core.explanation.result import Explanation
from xai_core.models.loading import load_model

COUNT = 20
RELU = {"relu": False}


@pytest.fixture(scope="module")
def model():
    return load_model("world_planted")


@pytest.fixture(scope="module")
def dataset():
    world = open_dataset("world:planted")
    return replace(world, samples=world.samples[:COUNT])


@pytest.fixture(scope="module")
def file(model, dataset, tmp_path_factory):
    file = tmp_path_factory.mktemp("predictions") / "world.parquet"
    list(classify(model, dataset, file))
    return file


@pytest.fixture(scope="module")
def rows(file):
    return read_table(file)


@pytest.fixture(scope="module")
def results(model, dataset, rows):
    return dict(map_sheet.explain_rows(model, dataset, rows, "hires_cam", RELU))


@pytest.mark.parametrize("target", [map_sheet.PREDICTED, map_sheet.TRUE, 3])
def test_a_sweep_gives_the_maps_of_one_picture_at_a_time(model, dataset, rows, target):
    swept = dict(map_sheet.explain_rows(model, dataset, rows.head(11), "hires_cam", RELU, target=target))
    assert list(swept) == rows["path"].head(11).tolist()
    for row in rows.head(11).to_dict("records"):
        asked = target if isinstance(target, int) else row[f"{target}_index"]
        alone = explain(model, dataset.open(row["path"]), "hires_cam", target=asked, **RELU)
        assert swept[row["path"]].key == alone.key
        np.testing.assert_allclose(swept[row["path"]].heatmap, alone.heatmap, rtol=1e-3, atol=1e-5)


def test_what_is_wrong_with_a_picture_is_the_result_of_that_picture_alone(model, dataset, rows):
    def read(name):
        if name == rows["path"][1]:
            raise BadPicture("It is damaged.")
        return dataset.read(name)

    some = rows.head(5).copy()
    some.loc[2, "path"] = "../../etc/passwd"
    some.loc[3, "true_index"] = -1
    outcome = list(map_sheet.explain_rows(model, replace(dataset, read=read), some, "hires_cam", target=map_sheet.TRUE))
    assert [path for path, _ in outcome] == some["path"].tolist()
    unknown, unlabelled = "The dataset has no picture of this name.", "Its label is no class of this model."
    said = [str(result) if isinstance(result, XaiError) else "a map" for _, result in outcome]
    assert said == ["a map", "It is damaged.", unknown, unlabelled, "a map"]


def test_a_rival_that_is_explained_itself_is_that_picture_s_fault(model, dataset, rows):
    rival = int(rows["predicted_index"][0])
    outcome = dict(map_sheet.explain_rows(model, dataset, rows.head(8), "hires_cam", rival=rival))
    own = rows["predicted_index"].head(8) == rival
    assert own.any() and not own.all()
    assert [isinstance(result, XaiError) for result in outcome.values()] == own.tolist()


def test_a_sweep_that_fails_is_tried_picture_by_picture(model, dataset, rows, monkeypatch):
    real, asked = map_sheet.answer, []

    def answer(requests, track):
        asked.append(len(requests[0].pictures))
        if asked[-1] > 1 or requests[0].target.classes == (int(rows["predicted_index"][0]),):
            raise OutOfMemory("too large")
        return real(requests, track)

    monkeypatch.setattr(map_sheet, "answer", answer)
    outcome = dict(map_sheet.explain_rows(model, dataset, rows.head(4), "hires_cam"))
    failed = [isinstance(result, XaiError) for result in outcome.values()]
    assert failed == (rows["predicted_index"].head(4) == rows["predicted_index"][0]).tolist() and asked == [4, 1, 1, 1, 1]


def test_stored_maps_are_not_computed_again(model, dataset, rows, results, monkeypatch):
    monkeypatch.setattr(map_sheet, "answer", None)  # would fail
    again = map_sheet.explain_rows(
        model, dataset, rows, "hires_cam", RELU, stored=lambda path, key: results[path] if results[path].key == key else None
    )
    assert all(result is results[path] for path, result in again)


def test_a_map_read_back_from_its_file_is_the_same(results):
    first = next(iter(results.values()))
    again = export.read_npz(export.npz_bytes(first))
    np.testing.assert_array_equal(again.heatmap, first.heatmap)
    assert again.key == first.key and replace(again, heatmap=first.heatmap) == first
    for broken in (b"", b"PK\x03\x04", export.npz_of_many(results)):
        with pytest.raises(BadRequest, match="no map"):
            export.read_npz(broken)


def test_wrong_and_right_are_halves_and_the_missing_one_comes_from_the_others(rows):
    wrong = rows["true"] != rows["predicted"]
    both = map_sheet.halves(rows)
    assert [half.title for half in both] == [f"Wrong: {wrong.sum()}", f"Right: {(~wrong).sum()}"]
    assert both[0].rows["path"].tolist() == rows["path"][wrong].tolist()
    cell = rows[wrong].head(1)
    first, other = map_sheet.halves(cell, rows)
    same = rows[~wrong & (rows["true"] == cell["true"].iloc[0])].sort_values("confidence", ascending=False)
    assert first.rows["path"].tolist() == cell["path"].tolist()
    assert other.rows["path"].tolist() == same["path"].tolist() and len(same)
    assert (first.for_comparison, other.for_comparison) == (False, True)
    assert map_sheet.pages([first, other._replace(rows=rows)], 6) == 1  # as many as the list itself needs
    assert other.title == f"Right, of the same true class, for comparison: {len(same)}"
    assert [half.title for half in map_sheet.halves(rows[~wrong])] == [f"Right: {(~wrong).sum()}"]
    assert map_sheet.halves(rows.head(0)) == []


def test_pages_of_halves_hold_every_picture_once(rows):
    wrong = rows["true"] != rows["predicted"]
    parts = [Half("Wrong", rows[wrong]), Half("Right", rows[~wrong])]
    shown = [half for page in range(map_sheet.pages(parts, 6)) for half in map_sheet.page_of(parts, page, 6)]
    assert sorted(path for half in shown for path in half.rows["path"]) == sorted(rows["path"])
    assert max(len(half.rows) for half in shown) == 3 and map_sheet.pages([], 6) == 1
    assert "Right (here 4 to 6)" in [half.title for half in shown]


def test_one_scale_covers_all_maps_and_a_brighter_tile_is_a_larger_value(results, dataset, rows):
    scale = map_sheet.scale_of(list(results.values()))
    assert scale.high == -scale.low == pytest.approx(max(np.abs(one.heatmap).max() for one in results.values()))
    assert f"one scale shared by {COUNT} maps" in scale.words
    path = rows["path"][0]
    weak = replace(results[path], heatmap=results[path].heatmap / 4)
    pixels = [np.asarray(map_sheet.map_picture(one, dataset.open(path), scale), float) for one in (results[path], weak)]
    coloured = [np.ptp(one, axis=2).max() for one in pixels]
    assert coloured[0] > 1.5 * coloured[1] > 0
    assert map_sheet.scale_of([BadPicture("x")]) is None


def test_the_sheet_draws_each_tile_in_its_place(results, dataset, rows):
    scale = map_sheet.scale_of(list(results.values()))
    path = rows["path"][0]
    tile = Tile(dataset.open(path), results[path], ("true: a", "predicted: b"))
    broken = Tile(None, BadPicture("It is damaged."), ("true: a",))
    page = map_sheet.sheet({"Wrong: 1": [broken], "Right: 5": [tile] * 5}, "Title", scale, ["A note"])
    cell, second = map_sheet.WIDTH + map_sheet.MARGIN, map_sheet.MARGIN + 2 * (map_sheet.WIDTH + map_sheet.MARGIN)
    drawn = map_sheet.map_picture(results[path], dataset.open(path), scale)
    for number in range(5):
        left = second + map_sheet.MARGIN + number * cell
        np.testing.assert_array_equal(np.asarray(page.crop((left, 62, left + drawn.width, 62 + drawn.height))), drawn)
    assert page.getpixel((map_sheet.MARGIN + 2, 62 + 150)) == (238, 238, 238)  # no map, and no picture of another
    assert map_sheet.sheet({}, "Nothing", None, []).width == page.width


def test_sheets_are_as_many_as_the_pictures_need(results, dataset, rows, monkeypatch):
    monkeypatch.setattr(map_sheet, "ON_A_SHEET", 8)
    scale = map_sheet.scale_of(list(results.values()))
    larger = max((rows["true"] == rows["predicted"]).sum(), (rows["true"] != rows["predicted"]).sum())
    assert len(list(map_sheet.sheets(dataset, rows, results, "Title", scale, []))) == -(-larger // 4)


def test_chosen_pictures_are_those_asked_for(rows):
    wrong = rows[rows["true"] != rows["predicted"]].sort_values("confidence", ascending=False, kind="stable")
    assert map_sheet.chosen(rows, errors=True)["path"].tolist() == wrong["path"].tolist()
    one = int(rows["predicted_index"][0])
    assert set(map_sheet.chosen(rows, predicted=one)["path"]) == set(rows["path"][rows["predicted_index"] == one])
    some, more = (map_sheet.chosen(rows, count=count, seed=1)["path"].tolist() for count in (5, 9))
    assert len(some) == 5 and set(some) < set(more) and some == [path for path in rows["path"] if path in some]
    assert some != map_sheet.chosen(rows, count=5, seed=2)["path"].tolist()
    with pytest.raises(BadRequest, match="No picture is as you ask"):
        map_sheet.chosen(rows[rows["true"] == rows["predicted"]], errors=True)
    with pytest.raises(BadRequest, match="--count"):
        map_sheet.chosen(pd.concat([rows] * 101))


def test_the_table_has_a_line_for_each_picture_and_says_why_it_has_no_map(results, rows):
    path = rows["path"][0]
    outcome = results | {path: BadPicture("It is damaged.")}
    table = pd.read_csv(io.BytesIO(map_sheet.csv(rows, outcome, [("lost.png", "No such file")])), keep_default_na=False)
    assert table["path"].tolist() == [*rows["path"], "lost.png"]
    assert table["problem"].iloc[0] == "It is damaged." and table["problem"].iloc[-1] == "No such file"
    second = results[rows["path"][1]]
    assert isinstance(second, Explanation) and float(table["largest"][1]) == pytest.approx(float(second.heatmap.max()))
    assert table["files"][1] == rows["path"][1] and table["right"][1] == str(bool(rows["true"][1] == rows["predicted"][1]))
    bare = pd.read_csv(io.BytesIO(map_sheet.csv(rows.assign(true_index=-1, true=None), results)), keep_default_na=False)
    assert set(bare["right"]) == {""}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b"])
def test_no_picture_s_name_leads_out_of_the_folder(name):
    made = map_sheet.file_name(name)
    assert not made.startswith("/") and ".." not in made.split("/") and made != "b"
    assert map_sheet.file_name("cat/1.png") == "cat/1.png"


def test_predictions_are_read_from_csv_as_from_parquet(model, dataset, rows, file, tmp_path):
    list(classify(model, dataset, tmp_path / "world.csv"))
    assert are_predictions(tmp_path / "world.csv") and are_predictions(file)
    read = read_table(tmp_path / "world.csv")
    pd.testing.assert_frame_equal(
        read.drop(columns=["top5", "top5_probability"]), rows.drop(columns=["top5", "top5_probability"]),
        check_dtype=False, rtol=1e-5,
    )  # fmt: skip
    assert read["top5"].map(list).tolist() == rows["top5"].map(list).tolist()
    table = tmp_path / "table.csv"
    table.write_text("path,label\na.png,cat\n")
    assert not are_predictions(table) and not are_predictions(tmp_path / "none.parquet")
    with pytest.raises(BadRequest, match="lacks the columns"):
        read_table(table)
    read.assign(predicted_index="x").to_csv(table, index=False)
    with pytest.raises(BadRequest, match="not a file of predictions"):
        read_table(table)
