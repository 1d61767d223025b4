"""Predictions of a whole dataset are those of the model, picture by picture; a run that was stopped goes on."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from small_models import pair

from xai_core.__main__ import main
from xai_core.analysis import predict, prediction_parts, prefetch
from xai_core.analysis.predict import classify, judged
from xai_core.core import part_store
from xai_core.core.errors import BadRequest, NoClassifier
from xai_core.data.datasets import open_dataset
from xai_core.data.label_matching import match_classes
from xai_core.data.predictions import read_predictions, settings_of
from xai_core.models.pass_times import PassTimes

NAMES = ("red", "green", "blue", "grey")


@pytest.fixture(scope="module")
def model():
    small = pair("efficientnet").model
    return replace(small, class_names=NAMES + tuple(f"other {number}" for number in range(1000 - len(NAMES))), wnids=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty pictures of three labels, one of them unknown to the model, and two files that are no pictures."""
    found, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name in ("blue", "mauve", "red"):
        (found / name).mkdir()
        for number in range(10):
            pixels = draw.integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((70, 90)).save(found / name / f"{number}.png")
    (found / "blue" / "5.png").write_bytes(b"no picture")
    (found / "red" / "9.png").write_bytes(b"")
    return found


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.setattr(prediction_parts, "PART", 8)
    return 8


def test_rows_are_what_the_model_says_of_each_picture(model, folder, tmp_path, parts):
    out = tmp_path / "p.parquet"
    steps = list(classify(model, open_dataset(folder), out, embeddings=True))
    table = read_predictions(out)
    assert len(table) == 28 and steps[0].done == 0 and steps[-1].done == steps[-1].total == 30
    assert sorted(name for name, _ in steps[-1].unreadable) == ["blue/5.png", "red/9.png"]
    for row in table.iloc[[0, 12, 27]].itertuples():
        top = model.top_k(str(folder / row.path), 5)
        assert [one.name for one in top] == list(row.top5) and row.predicted_index == top[0].index
        assert row.top5_probability == pytest.approx([one.probability for one in top], abs=1e-5)
        assert row.confidence == pytest.approx(top[0].probability, abs=1e-5)
        assert row.margin == pytest.approx(top[0].probability - top[1].probability, abs=1e-5)
        assert torch.allclose(torch.tensor(row.embedding), model.embed(str(folder / row.path))[0], atol=1e-4)
    assert list(table["path"]) == [one.name for one in open_dataset(folder).samples if one.name in set(table["path"])]


def test_true_classes_are_those_that_match(model, folder, tmp_path):
    out = tmp_path / "p.parquet"
    list(classify(model, open_dataset(folder), out))
    table = read_predictions(out)
    mauve = table["label"] == "mauve"
    assert (table["true_index"][mauve] == -1).all() and table["true"][mauve].isna().all()
    assert (table["true"][~mauve] == table["label"][~mauve]).all() and table["true_probability"][mauve].isna().all()
    settings = settings_of(out)
    assert list(settings["unmatched"]) == ["mauve"] and settings["matched"] == {"blue": 2, "red": 0}
    assert {name for name, _ in settings["unreadable"]} == {"blue/5.png", "red/9.png"}
    seen = judged(table)
    assert len(seen) == 18 and set(seen["true"]) == {"blue", "red"}
    mapped = match_classes(["blue", "mauve", "red"], model, {"mauve": "grey"})
    list(classify(model, open_dataset(folder), out, matching=mapped))
    assert set(read_predictions(out)["true"]) == {"blue", "red", "grey"}


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_stopped_run_goes_on_and_ends_the_same(model, folder, tmp_path, parts, stop, monkeypatch):
    dataset, whole, out = open_dataset(folder), tmp_path / "whole.parquet", tmp_path / "p.parquet"
    list(classify(model, dataset, whole))
    running = classify(model, dataset, out)
    for _ in range(stop):
        reached = next(running)
    running.close()  # cancelled
    assert not out.exists()
    again = list(classify(model, dataset, out))
    assert again[0].done == reached.done // parts * parts and again[-1].done == 30
    pd.testing.assert_frame_equal(read_predictions(out), read_predictions(whole))
    assert settings_of(out) == settings_of(whole) and sorted(tmp_path.iterdir()) == [out, whole]


def test_parts_with_other_settings_are_not_used(model, folder, tmp_path, parts):
    dataset, out = open_dataset(folder), tmp_path / "p.parquet"
    running = classify(model, dataset, out)
    next(running), next(running)
    running.close()
    (tmp_path / ".p.parquet.parts" / "job.json").touch()  # of an earlier version
    assert next(iter(classify(model, dataset, out, embeddings=True))).done == 0
    list(classify(model, dataset, out))
    assert list(tmp_path.iterdir()) == [out]


def test_a_damaged_part_is_made_again(model, folder, tmp_path, parts):
    dataset, out = open_dataset(folder), tmp_path / "p.parquet"
    running = classify(model, dataset, out)
    for _ in range(3):
        next(running)
    running.close()
    stored = part_store.find_parts(tmp_path / ".p.parquet.parts" / "parts")
    assert len(stored) == 2
    stored[0].write_bytes(b"PAR1 cut")
    again = list(classify(model, dataset, out))
    assert again[0].done == 8, "the second part is intact"
    assert len(read_predictions(out)) == 28
    list(classify(model, dataset, tmp_path / "whole.parquet"))
    pd.testing.assert_frame_equal(read_predictions(out), read_predictions(tmp_path / "whole.parquet"))
    assert settings_of(out) == settings_of(tmp_path / "whole.parquet")


def test_two_processes_do_not_write_the_same_file(model, folder, tmp_path, parts, monkeypatch):
    monkeypatch.setattr(part_store, "WAIT_SECONDS", 0.0)
    dataset, out = open_dataset(folder), tmp_path / "p.parquet"
    running = classify(model, dataset, out)
    next(running)
    with pytest.raises(BadRequest, match=r"Another process is writing .*p\.parquet"):
        next(classify(model, dataset, out))
    list(running)
    assert next(classify(model, dataset, out)).done == 30


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    """Its settings lie in the metadata under one entry; it is built here by hand."""
    row = {"path": "a/1.png", "label": "a", "true": "a", "true_index": 0, "predicted": "b", "predicted_index": 1}
    settings = {"model": "small", "unmatched": {}, "unreadable": [["a/2.png", "no picture"]]}
    table = pa.Table.from_pylist([row, row | {"true": None, "true_index": -1}])
    file = tmp_path / "old.parquet"
    pq.write_table(table.replace_schema_metadata({b"xai_core": json.dumps(settings)}), file)
    assert settings_of(file) == settings and len(judged(read_predictions(file))) == 1


def test_a_complete_file_is_not_computed_again(model, folder, tmp_path, monkeypatch):
    dataset, out = open_dataset(folder), tmp_path / "p.parquet"
    list(classify(model, dataset, out))
    monkeypatch.setattr(predict, "rows_of", None)  # would fail
    steps = list(classify(model, dataset, out))
    assert len(steps) == 1 and steps[0].done == 30 and len(steps[0].unreadable) == 2


def test_parts_that_a_killed_process_left_beside_a_complete_file_are_removed(model, folder, tmp_path, monkeypatch):
    dataset, out = open_dataset(folder), tmp_path / "p.parquet"
    with monkeypatch.context() as killed:
        killed.setattr(predict.part_store, "clear", lambda folder: None)
        list(classify(model, dataset, out))
    assert len(list(tmp_path.iterdir())) == 2
    list(classify(model, dataset, out))
    assert list(tmp_path.iterdir()) == [out]


def test_few_pictures_are_decoded_ahead(model, folder, tmp_path, monkeypatch):
    """Constant memory: however long the dataset, at most three inner batches are alive."""
    dataset, alive, most = open_dataset(folder), [0], []
    many = replace(dataset, samples=tuple(replace(one, name=one.name) for one in (*dataset.samples,) * 10))
    prepared = prefetch._prepared

    def counted(*asked):
        alive[0] += 1
        return prepared(*asked)

    rows = predict.rows_of

    def consumed(model, read, *more):
        most.append(alive[0])
        alive[0] -= 16
        return rows(model, read, *more)

    monkeypatch.setattr(prefetch, "_prepared", counted)
    monkeypatch.setattr(predict, "rows_of", consumed)
    monkeypatch.setattr(predict.runtime, "inner_batch", lambda *_: 16)
    list(classify(model, many, tmp_path / "p.parquet"))
    assert len(most) >= 18 and max(most) <= 3 * 16 + 1


def test_progress_as_text():
    step = predict.ClassificationProgress(1234, 10000, (("a", "b"),), 45.67, 192.0)
    assert step.in_words() == "1,234 of 10,000 pictures, 45.7 a second, about 3 min left; 1 could not be read"


def test_a_model_without_classes_and_a_wrong_name_are_refused(model, folder, tmp_path):
    bare = replace(model, network=replace(model.network, classify=None))
    with pytest.raises(NoClassifier):
        next(classify(bare, open_dataset(folder), tmp_path / "p.parquet"))
    with pytest.raises(BadRequest, match=r"as \.parquet or \.csv"):
        next(classify(model, open_dataset(folder), tmp_path / "p.txt"))
    (tmp_path / "other.parquet").write_bytes(b"nothing")
    with pytest.raises(BadRequest, match="not a file of predictions"):
        read_predictions(tmp_path / "other.parquet")


def test_on_the_command_line(folder, tmp_path, capsys):
    mapping, out = tmp_path / "mapping.json", tmp_path / "p.parquet"
    mapping.write_text(json.dumps({"red": "tabby"}))
    asked = ["classify", str(folder), "--mapping", str(mapping)]
    assert main([*asked, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "1 of 3 labels are classes of the model (1 by mapping)" in said.out and "right (" in said.out
    assert "left out: blue/5.png: " in said.err and "30 of 30 pictures" in said.out
    assert len(read_predictions(out)) == 28
    assert main([*asked, "--out", str(tmp_path / "p.csv")]) == 0
    table = pd.read_csv(tmp_path / "p.csv")
    assert len(table) == 28 and len(json.loads(table["top5"][0])) == 5
    assert main(["classify", str(tmp_path / "missing"), "--out", str(out)]) == 2


def test_the_time_that_is_left_follows_the_latest_batches(model, folder, tmp_path, monkeypatch):
    """Four times as slow from the middle on: three batches later the time that is left is that of the slow machine."""
    now = 0.0
    monkeypatch.setattr(predict.time, "monotonic", lambda: now)
    monkeypatch.setattr(predict, "RECENT", 3)
    monkeypatch.setattr(predict.runtime, "inner_batch", lambda *_: 2)
    rows = predict.rows_of
    speed = 0.1

    def timed_rows(*arguments):
        nonlocal now
        now += 2 * speed
        return rows(*arguments)

    monkeypatch.setattr(predict, "rows_of", timed_rows)
    left = []
    for step in classify(model, open_dataset(folder), tmp_path / "p.parquet"):
        left.append((step.done, step.left))
        now += 100.0  # what the reader does with a step is not counted
        speed = 0.1 if step.done < 16 else 0.4
    assert dict(left)[14] == pytest.approx(16 * 0.1) and dict(left)[24] == pytest.approx(6 * 0.4)


def test_the_estimate_of_a_classification_counts_passes_and_opening_pictures(model, folder):
    class Times(PassTimes):
        def seconds(self, model, passes=1):
            return 0.02

        def measured(self, key, prepare):
            open_next, pictures = prepare()
            open_next()
            return 0.03 / pictures

    assert predict.estimated_seconds(model, open_dataset(folder), Times()) == pytest.approx(30 * 0.05)
