"""Runs are recorded so that a killed process loses nothing, read from three formats, and counted as defined."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from small_recordings import NAMES, TABLE, made

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.training.dynamics.analysis import RecordedRun, grouped, measures, rows_of, together, verdicts
from xai_core.training.dynamics.readers import find_run, offered_runs, read_run
from xai_core.training.dynamics.recorder import RunRecorder


def test_measures_by_hand():
    found = measures(made()).set_index("sample")
    assert found["changes"].to_dict() == {"still": 0, "flips": 4, "learns": 2, "misses": 2}
    assert found["frequency"].to_dict() == {"still": 0, "flips": 1, "learns": 0.5, "misses": 1}
    assert found["distinct"].to_dict() == {"still": 1, "flips": 2, "learns": 3, "misses": 2}
    assert found["variability"].to_dict() == {"still": 0.25, "flips": 0.5, "learns": 0.75, "misses": 0.5}
    assert found["misclassification"].round(4).to_dict() == {"still": 0, "flips": 0.6, "learns": 0.4, "misses": 0.3333}
    assert found["epochs"].to_dict() == {"still": 5, "flips": 5, "learns": 5, "misses": 3}


def test_measures_equal_a_plain_loop():
    draw = np.random.default_rng(0)
    names = [f"class {number}" for number in range(12)]
    paths = draw.integers(-1, 12, (60, 17))
    table = {
        f"s{row}": (names[row % 12], [names[one] if one >= 0 else None for one in path]) for row, path in enumerate(paths)
    }
    found = measures(made(names, table)).set_index("sample")
    for sample, (true, path) in table.items():
        seen = [one for one in path if one]
        changes = sum(one != other for one, other in itertools.pairwise(seen))
        row = found.loc[sample]
        assert (row["changes"], row["distinct"], row["epochs"]) == (changes, len(set(seen)), len(seen))
        assert row["frequency"] == pytest.approx(changes / (len(seen) - 1))
        assert row["misclassification"] == pytest.approx(np.mean([one != true for one in seen]))


def test_one_epoch_has_no_frequency():
    found = measures(made().between(3, 3))
    assert found["frequency"].isna().all() and found["misclassification"].notna().sum() == 3  # one is missing there
    assert made().between(2, 4).epochs.tolist() == [2, 3, 4]
    with pytest.raises(BadRequest, match="No epoch from 8 to 9"):
        made().between(8, 9)


def test_the_last_prediction_and_the_accuracy_of_each_epoch():
    run = made()
    assert [run.classes[index] for index in run.last] == ["cat", "cat", "fox", "owl"]
    assert run.between(1, 3).last[list(run.samples).index("misses")] == NAMES.index("owl")  # the last one that is recorded
    assert run.accuracies.tolist() == [0.5, pytest.approx(2 / 3), pytest.approx(2 / 3), 0.75, 0.75]


def test_groups_hold_everything_once_and_say_how_far_they_agree():
    run = made()
    alone = grouped(run, rows_of(4, 10))
    assert np.array_equal(alone.predicted, run.predicted) and alone.starts.tolist() == [0, 1, 2, 3, 4]
    pairs = grouped(run, rows_of(4, 2))  # still + flips, learns + misses
    assert pairs.starts.tolist() == [0, 2, 4]
    assert pairs.predicted[0].tolist() == [0, 0, 0, 0, 0] and pairs.share[0].tolist() == [1, 0.5, 1, 0.5, 1]
    assert pairs.share[1].tolist() == [1, 1, 1, 0.5, 0.5]  # a missing prediction is nobody's
    assert rows_of(4, 2, of=np.array([0, 1, 1, 1])).tolist() == [0, 1, 3, 4]
    nothing = run.between(2, 3).rows(np.array([3]))
    assert grouped(nothing, rows_of(1, 5)).predicted.tolist() == [[-1, -1]]


def test_verdicts_are_right_wrong_or_missing():
    judged = verdicts(made())
    assert judged.classes == ("right", "wrong")
    assert judged.predicted.tolist() == [[0, 0, 0, 0, 0], [1, 0, 1, 0, 1], [1, 1, 0, 0, 0], [0, -1, -1, 1, 0]]
    assert judged.accuracies.tolist() == made().accuracies.tolist()


def test_a_large_run_is_counted_and_grouped_quickly():
    import time

    draw = np.random.default_rng(0)
    shape, names = (3000, 50), tuple(f"class {number}" for number in range(200))
    predicted = draw.integers(0, 200, shape)
    true = draw.integers(0, 200, 3000)
    ids = np.array([f"s{row}" for row in range(3000)])
    curves = pd.DataFrame({"epoch": range(50)})
    run = RecordedRun("large", names, np.arange(50), ids, true, predicted, np.full(shape, 0.5, np.float32), curves)
    began = time.process_time()
    assert len(measures(run)) == 3000 and len(grouped(run, rows_of(3000, 150)).predicted) == 150
    assert time.process_time() - began < 3


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_what_is_recorded_is_read_again(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    recorder = RunRecorder(path, NAMES)
    for epoch in (1, 2, 5):
        recorder.record(epoch, ["a", "b"], ["cat", "dog"], ["cat", NAMES[epoch % 4]], [0.9, 0.4], train_loss=1 / epoch)
        run = read_run(path.read_bytes(), path.name)  # whole after every epoch
        assert run.epochs[-1] == epoch
    assert run.samples.tolist() == ["a", "b"] and [run.classes[index] for index in run.true] == ["cat", "dog"]
    assert [run.classes[index] for index in run.predicted[1]] == ["dog", "fox", "dog"]
    assert run.confidence[0].tolist() == pytest.approx([0.9] * 3)
    assert run.curves["train_loss"].tolist() == pytest.approx([1, 0.5, 0.2])
    assert run.curves["validation_loss"].isna().all()
    assert run.classes == (NAMES if suffix == ".parquet" else ("cat", "dog", "fox"))  # CSV knows those that occur
    assert "not recorded: 3, 4" in run.in_words()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_recorder_goes_on_after_a_killed_process(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"

    def record(recorder, epochs, guess):
        for epoch in epochs:
            recorder.record(epoch, ["a"], ["cat"], [guess], [0.5])

    record(RunRecorder(path, NAMES), (1, 2, 3), "dog")
    record(RunRecorder(path, NAMES), (3,), "fox")  # back to the checkpoint after epoch 2
    run = read_run(path.read_bytes(), path.name)
    assert run.epochs.tolist() == [1, 2, 3] and [run.classes[index] for index in run.predicted[0]] == ["dog", "dog", "fox"]
    record(RunRecorder(path, NAMES), (2,), "owl")  # what was recorded behind it is gone
    assert read_run(path.read_bytes(), path.name).epochs.tolist() == [1, 2]


def test_a_kill_in_the_middle_of_writing_leaves_the_last_epoch(tmp_path, monkeypatch):
    from xai_core.core import files

    recorder = RunRecorder(tmp_path / "run.parquet", NAMES)
    recorder.record(1, ["a"], ["cat"], ["dog"], [0.5])

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        recorder.record(2, ["a"], ["cat"], ["dog"], [0.5])
    assert read_run(recorder.path.read_bytes(), "run.parquet").epochs.tolist() == [1]


def test_a_recorder_refuses_what_is_no_run(tmp_path):
    recorder = RunRecorder(tmp_path / "run.parquet", NAMES)
    with pytest.raises(BadRequest, match="same id"):
        recorder.record(1, ["a", "a"], ["cat"] * 2, ["cat"] * 2, [1, 1])
    with pytest.raises(BadRequest, match="classes that the run does not have: unicorn"):
        recorder.record(1, ["a"], ["unicorn"], ["cat"], [1])
    with pytest.raises(BadRequest, match="can record the curves"):
        recorder.record(1, ["a"], ["cat"], ["cat"], [1], loss=3)
    with pytest.raises(BadRequest, match=r"\.parquet or \.csv"):
        RunRecorder(tmp_path / "run.txt", NAMES)


def test_instanceflow():
    given = {
        "labels": ["Cat", "Dog"],
        "instances": [{"id": "0000", "actual": 0, "image": "images/0000.png"}, {"id": "0001", "actual": 1, "image": ""}],
        "epochs": [{"id": "1", "classifications": [1, 1]}, {"id": "0", "classifications": [0, 1]}],
    }
    run = read_run(json.dumps(given).encode(), "flow.json")
    assert run.classes == ("Cat", "Dog") and run.epochs.tolist() == [0, 1] and run.true.tolist() == [0, 1]
    assert run.predicted.tolist() == [[0, 1], [1, 1]] and np.isnan(run.confidence).all()
    given["epochs"][0]["classifications"] = [0, 2]
    for wrong in (given, {"labels": []}, [], {**given, "instances": given["instances"][:1]}):
        with pytest.raises(BadRequest, match="not InstanceFlow's JSON"):
            read_run(json.dumps(wrong).encode(), "flow.json")


@pytest.mark.parametrize("header", ["id,label,1,2,10", "sample,true,epoch_1,epoch_2,epoch_10"])
def test_a_wide_table(header):
    run = read_run(f"{header}\na,cat,dog,cat,cat\nb,dog,dog,,dog\n".encode(), "wide.csv")
    assert run.epochs.tolist() == [1, 2, 10] and run.classes == ("cat", "dog")
    assert run.predicted.tolist() == [[1, 0, 0], [1, -1, 1]] and "16.7% of the predictions are missing" in run.in_words()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch,sample,true,predicted\n", "has recorded nothing yet"),
        ("epoch,sample,true,predicted\n1,a,x,x\n1,a,x,y\n", "more than once in epoch 1"),
        ("epoch,sample,true,predicted\n1,a,x,x\n2,a,y,y\n", "different true classes"),
        ("epoch,sample,true,predicted\n1,a,x,\n", "without a sample"),
        ("epoch,sample,true,predicted\nfirst,a,x,x\n", "no whole numbers"),
        ("a,b,c\n1,2,3\n", "is not a recorded run"),
        ("", "cannot be read"),
    ],
)
def test_a_bad_log_says_what_is_wrong(text, said):
    with pytest.raises(BadRequest, match=said):
        read_run(text.encode(), "log.csv")


def test_other_files_are_no_runs():
    for name in ("run.txt", "run.parquet"):
        with pytest.raises(BadRequest):
            read_run(b"something", name)


def test_runs_are_offered_from_the_roots_and_from_nowhere_else(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    for name in ("one.parquet", "two.json", ".hidden.csv", "notes.txt"):
        (tmp_path / "runs" / name).touch()
    monkeypatch.setenv("XAI_DATA", str(tmp_path))
    assert list(offered_runs()) == ["one", "two"] and find_run("two").name == "two.json"
    with pytest.raises(UnknownName):
        find_run("../two")


def test_two_runs_meet_on_what_they_share():
    one = made()
    fewer = {name: (true, path[1:4]) for name, (true, path) in TABLE.items() if name != "learns"}
    other = made(("owl", "fox", "dog", "cat"), fewer)  # epochs 1 to 3, classes in another order
    first, second = together(one, other)
    assert first.samples.tolist() == second.samples.tolist() == ["still", "flips", "misses"]
    assert first.epochs.tolist() == second.epochs.tolist() == [1, 2, 3] and first.classes == second.classes == NAMES
    assert np.array_equal(first.true, second.true)
    assert [NAMES[index] if index >= 0 else None for index in second.predicted[1]] == fewer["flips"][1]
    assert second.predicted[2].tolist() == [-1, -1, NAMES.index("dog")]
    with pytest.raises(BadRequest, match="share no samples"):
        together(one, made(NAMES, {"other": TABLE["still"]}))


def test_class_names_that_are_numbers_stay_names_in_csv_files():
    wide = "sample,true,1,2\na,1,01,1\nb,01,,1\n"
    run = read_run(wide.encode(), "wide.csv")
    assert run.classes == ("01", "1") and run.true.tolist() == [1, 0] and run.predicted.tolist() == [[0, 1], [-1, 1]]


def test_a_recorder_goes_on_with_a_csv_file_whose_class_names_are_numbers(tmp_path):
    for epoch in (1, 2):
        RunRecorder(tmp_path / "run.csv", ["01", "1"]).record(epoch, ["7", "8"], ["01", "1"], ["1", "1"], [0.5, 0.6])
    run = read_run((tmp_path / "run.csv").read_bytes(), "run.csv")
    assert run.classes == ("01", "1") and run.epochs.tolist() == [1, 2] and run.samples.tolist() == ["7", "8"]
    assert run.predicted.tolist() == [[1, 1], [1, 1]] and run.confidence[:, 0].tolist() == pytest.approx([0.5, 0.6])
