"""Runs are recorded so that a killed process loses nothing, read from three formats, and counted as defined."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_recordings import NAMES, TABLE, made

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.training.dynamics.analysis import (
    FATES,
    RecordedRun,
    changed,
    class_means,
    fates,
    grouped,
    measures,
    rows_of,
    stable_after,
    together,
    verdicts,
)
from xai_core.training.dynamics.readers import find_run, offered_runs, read_run
from xai_core.training.dynamics.recorder import RunRecorder

ROOT, NAN = Path(__file__).parents[2], float("nan")


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


def paths_at_random(seed=0, samples=60, epochs=17, classes=5):
    """A run at random with a third of its predictions missing, and its paths: name -> (true, [predicted or None])."""
    draw = np.random.default_rng(seed)
    names = [f"class {number}" for number in range(classes)]
    paths = np.where(draw.random((samples, epochs)) < 0.3, -1, draw.integers(0, classes, (samples, epochs)))
    paths[:, 0] = 0
    table = {
        f"s{row}": (names[row % classes], [names[one] if one >= 0 else None for one in path])
        for row, path in enumerate(paths)
    }
    return made(names, table), table


@pytest.mark.parametrize("seed", range(3))
def test_changed_predictions_equal_a_plain_loop(seed):
    run, table = paths_at_random(seed)
    for column, share in enumerate(changed(run)):
        pairs = []
        for _, path in table.values():
            before = [one for one in path[:column] if one]
            if path[column] and before:
                pairs.append(path[column] != before[-1])
        assert share == pytest.approx(np.mean(pairs)) if pairs else np.isnan(share)
    assert changed(made()).tolist()[1:] == [pytest.approx(2 / 3), pytest.approx(2 / 3), 0.5, 0.5]


STABLE = [
    ([NAN, 0.5, 0.06, 0.01, 0.05], 3),  # 5% is not more than 5%
    ([NAN, 0.01, 0.0, 0.02, 0.01], 1),  # it never moved more
    ([NAN, 0.01, 0.01, 0.01, 0.2], None),
    ([NAN, 0.5, NAN, 0.01, 0.01], 3),  # nothing is known of the third
    ([NAN], None),
]


@pytest.mark.parametrize(("shares", "epoch"), STABLE)
def test_stable_after_the_earliest_epoch_behind_which_nothing_moves(shares, epoch):
    epochs = np.arange(1, len(shares) + 1)
    assert stable_after(epochs, np.array(shares)) == epoch
    if epoch is not None:
        assert all(share <= 0.05 for share in shares[epoch:]) and not shares[epoch - 1] <= 0.05


@pytest.mark.parametrize("epoch", [1, 9, 17])
def test_class_means_and_fates_equal_plain_loops(epoch):
    run, table = paths_at_random()
    means, measured = class_means(run, epoch).set_index("class"), measures(run).set_index("sample")
    counts = dict.fromkeys(FATES, 0)
    for name in run.classes:
        mine = {sample: path for sample, (true, path) in table.items() if true == name}
        row = means.loc[name]
        assert row["samples"] == len(mine)
        for column in ("frequency", "variability", "misclassification"):
            assert row[column] == pytest.approx(measured.loc[list(mine), column].mean())
        ends = [[one for one in path[:epoch] if one][-1] == name for path in mine.values()]
        assert row["recall"] == pytest.approx(np.mean(ends))
        for end, path in zip(ends, mine.values(), strict=True):
            right = [one == name for one in path[:epoch] if one]
            counts[FATES[0 if all(right) else 1 if end else 2 if any(right) else 3]] += 1
    assert fates(run, epoch) == counts and sum(counts.values()) == len(table)


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


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_chosen_epoch_is_marked_kept_and_lost_with_its_predictions(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    recorder = RunRecorder(path, NAMES)
    with pytest.raises(BadRequest, match="none is recorded yet"):
        RunRecorder(path, NAMES, chosen=1)
    for epoch in (1, 2, 4):
        recorder.record(epoch, ["a", "b"], ["cat", "dog"], ["cat", "cat"], [0.9, 0.4])
    before = read_run(path.read_bytes(), path.name)
    assert before.chosen is None and "weights" not in before.in_words()
    with pytest.raises(BadRequest, match=r"Epoch 3 cannot be the chosen one .* recorded are 1 to 4"):
        RunRecorder(path, NAMES, chosen=3)
    RunRecorder(path, NAMES, chosen=2)
    run = read_run(path.read_bytes(), path.name)
    assert run.chosen == 2 and "the weights were kept of epoch 2" in run.in_words()
    assert np.array_equal(run.predicted, before.predicted)
    assert run.between(1, 2).chosen == 2 and run.between(4, 4).chosen is None
    assert together(run, before)[0].chosen == 2
    RunRecorder(path, NAMES).record(5, ["a", "b"], ["cat", "dog"], ["cat", "cat"], [0.9, 0.4])
    assert read_run(path.read_bytes(), path.name).chosen == 2, "a later epoch leaves it"
    RunRecorder(path, NAMES).record(2, ["a", "b"], ["cat", "dog"], ["cat", "cat"], [0.9, 0.4])
    assert read_run(path.read_bytes(), path.name).chosen is None, "its predictions were recorded again"


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ("true,true,true,true", "marks 2 epochs as chosen (1, 2): one can be"),
        ("True,False,false,", "marks some rows of epoch 1 as chosen and others not"),
    ],
)
def test_marks_that_name_no_epoch_are_refused(marks, said):
    rows = zip(("1,a", "1,b", "2,a", "2,b"), marks.split(","), strict=True)
    text = "epoch,sample,true,predicted,chosen\n" + "".join(f"{row},x,x,{mark}\n" for row, mark in rows)
    with pytest.raises(BadRequest, match=re.escape(said)):
        read_run(text.encode(), "log.csv")


def test_the_shipped_runs_name_the_epoch_that_their_weights_are_from():
    """The cards of the weights say which; it is the best on the held-out pictures, or with no labels the last."""
    found = 0
    for file in (ROOT / "data" / "runs").glob("*.parquet"):
        run, card = read_run(file.read_bytes(), file.name), (ROOT / "weights" / f"{file.stem}.md").read_text()
        assert run.chosen == int(re.search(r"\*\*Chosen:\*\* epoch (\d+)", card)[1])
        best = run.curves["validation_accuracy"].max()
        at = run.curves.set_index("epoch")["validation_accuracy"][run.chosen]
        assert run.chosen == run.epochs[-1] if "barlow" in file.stem else at == best
        found += 1
    assert found == 6


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
