"""Runs over many pictures: nothing is computed twice, nothing is lost, and everything that goes wrong is said."""

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import small_runs
from small_runs import CONTROLS, METHODS, METRICS, evaluate, png

from xai_core.attribution.explain import explain, explain_methods
from xai_core.core import files, part_store
from xai_core.core.errors import BadRequest, OutOfMemory, UnknownName, XaiError
from xai_core.data import selection
from xai_core.data.datasets import world_dataset
from xai_core.data.samples import SAMPLES, load_sample
from xai_core.data.world.planted import planted
from xai_core.evaluation import planner, runner, store
from xai_core.evaluation.store import CONTROL
from xai_core.explanation.request import Request
from xai_core.metrics.measure import measure, total_cost
from xai_core.models import random_init
from xai_core.models.explainable import ExplainableModel
from xai_core.models.pass_times import PassTimes

ROOT = Path(__file__).parents[2]
EACH = (len(METHODS) + CONTROLS) * len(METRICS)
KEY = ["picture", "model", "method", "metric"]


def rows_of(run):
    """The table in an order of its own, without what differs from time to time."""
    frame = run.table()
    for name in frame.select_dtypes("category"):
        frame[name] = frame[name].astype(str)
    return frame.drop(columns=["seconds"]).sort_values(KEY).reset_index(drop=True)


@pytest.fixture
def counted(monkeypatch):
    """(picture, method, metric) of everything that is measured from now on."""
    cells = []
    real = runner.measured

    def counting(model, block, *more):
        cells.extend((block.entry.name, *cell) for cell in block.missing)
        return real(model, block, *more)

    monkeypatch.setattr(runner, "measured", counting)
    return cells


def test_one_row_for_each_picture_method_and_metric_and_the_controls(tmp_path):
    run = evaluate(tmp_path / "run", 3)
    frame = run.table()
    assert len(frame) == 3 * EACH and not frame.duplicated(KEY).any() and frame.run_key.is_unique
    assert set(frame.method[frame.method.str.startswith(CONTROL)]) == {
        "control:random_map", "control:centre_gaussian", "control:edge_detector", "control:uniform_map",
    }  # fmt: skip
    assert frame.value.notna().all() and run.manifest["state"] == "finished" and not run.being_written
    assert run.manifest["methods"]["grad_cam"]["version"] >= 1 and run.manifest["models"]["small"]["weights"]


@pytest.mark.parametrize(("precision", "questions"), [("exact", 1), ("fast", 2)])
def test_a_block_prepares_its_picture_once_and_builds_one_question(tmp_path, monkeypatch, precision, questions):
    """Whatever the number of methods and metrics; a second question where "fast" methods stand beside exact ones."""
    prepared, activated = [], []
    prepare, activate = ExplainableModel.prepare, Request.activate
    monkeypatch.setattr(ExplainableModel, "prepare", lambda model, image: prepared.append(image) or prepare(model, image))
    monkeypatch.setattr(Request, "activate", lambda request: activated.append(request) or activate(request))
    methods, metrics = ("grad_cam", "saliency", "layer_cam"), ("deletion", "insertion", "sparseness", "average_drop")
    frame = evaluate(tmp_path / "run", 2, methods=methods, metrics=metrics, precision=precision).table()
    assert frame.groupby(["picture", "model"]).ngroups == 2 and frame.value.notna().all()
    assert len(prepared) == 2 and len(activated) == 2 * questions


def test_a_row_is_what_measure_gives(tmp_path):
    run = evaluate(tmp_path / "run", 1)
    model, picture = small_runs.small_model("small"), small_runs.pictures(1).open("0.png")
    _, explanation = next(explain_methods(model, picture, {"saliency": {}}))
    alone = measure(model, picture, explanation, "deletion")
    frame = run.table()
    stored = frame[(frame.method == "saliency") & (frame.metric == "deletion")].iloc[0]
    assert stored.value == pytest.approx(alone.value, rel=1e-5)
    curves = run.curves("small", "deletion", stored.picture)
    curve = curves[curves.method == "saliency"].iloc[0]
    assert np.stack([curve.curve_x, curve.curve_y], 1) == pytest.approx(alone.curve, rel=1e-4)
    assert not len(run.curves("small", "sparseness"))


def test_untrained_twins_are_made_once_for_all_pictures(tmp_path, monkeypatch):
    made, real = [], random_init.untrained
    monkeypatch.setattr(random_init, "untrained", lambda model, seed: made.append(seed) or real(model, seed))
    metric = "efficient_parameter_randomisation"
    run = evaluate(tmp_path / "run", 3, ["saliency"], [metric])
    assert made == [0, 1, 2]  # not for each picture again
    model, picture = small_runs.small_model("small"), small_runs.pictures(3).open("2.png")
    _, explanation = next(explain_methods(model, picture, {"saliency": {}}))
    frame = run.table()
    stored = frame[(frame.method == "saliency") & (frame.name == "2.png")].value.item()
    assert stored == pytest.approx(measure(model, picture, explanation, metric).value, rel=1e-5)


def test_the_same_again_computes_nothing_and_more_computes_what_is_new(tmp_path, counted):
    out = tmp_path / "run"
    evaluate(out, 2)
    assert len(counted) == 2 * 3 * len(METRICS)
    counted.clear()
    evaluate(out, 2)
    assert not counted
    evaluate(out, 3)
    assert {name for name, _, _ in counted} == {"2.png"}
    counted.clear()
    evaluate(out, 3, methods=("layer_cam",))
    assert {method for _, method, _ in counted} == {"layer_cam"}
    counted.clear()
    run = evaluate(out, 3, methods=(*METHODS, "layer_cam"), metrics=(*METRICS, "entropy"))
    assert {metric for _, _, metric in counted} == {"entropy"} and len(counted) == 3 * 4
    frame = run.table()
    assert len(frame) == 3 * (3 + CONTROLS) * 3 and frame.run_key.is_unique
    assert list(run.manifest["methods"]) == [*METHODS, "layer_cam"] and run.manifest["rows"] == len(frame)


def test_methods_that_do_not_fit_are_left_out_with_the_reason_also_when_going_on(tmp_path):
    out = tmp_path / "run"
    evaluate(out, 1, methods=("saliency", "attention_rollout"))
    run = evaluate(out, 1, methods=("grad_cam", "le_grad"))
    assert set(run.table().method) & {"saliency", "grad_cam", "attention_rollout", "le_grad"} == {"saliency", "grad_cam"}
    misfits = run.manifest["misfits"]["small"]
    assert list(misfits) == ["attention_rollout", "le_grad"] and "needs blocks" in misfits["le_grad"]


def test_a_run_that_ends_before_its_manifest_is_written_can_be_started_again(tmp_path, monkeypatch):
    def end(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.part_store, "write_manifest", end)
        with pytest.raises(KeyboardInterrupt):
            evaluate(tmp_path / "run", 1)
    assert len(rows_of(evaluate(tmp_path / "run", 1))) == EACH


def test_a_run_killed_at_any_moment_resumes_without_lost_or_double_rows(tmp_path):
    """Children are killed until one comes to the end; the table is that of a run that nobody disturbed."""
    script = [sys.executable, str(ROOT / "tests" / "small_runs.py"), str(tmp_path), "6"]
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(script, cwd=ROOT, env=path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 5, "killed often enough to mean something"
    killed = store.open_run(tmp_path / "run")
    assert len(killed.parts) > 1 and not killed.damaged and not list(tmp_path.glob("run/parts/.*"))
    ours, whole = rows_of(killed), rows_of(evaluate(tmp_path / "whole", 6))
    assert len(ours) == 6 * EACH and ours.run_key.is_unique
    assert ours[[*KEY, "run_key", "note"]].equals(whole[[*KEY, "run_key", "note"]])
    assert ours.value.to_numpy() == pytest.approx(whole.value.to_numpy(), rel=1e-5)


def test_the_bundled_run_is_read():
    run = store.open_run(ROOT / "data" / "runs" / "quick")
    frame = run.table()
    assert len(run.parts) == 26 and not run.damaged and not run.being_written
    assert len(frame) == run.manifest["rows"] and frame.run_key.is_unique and frame.value.notna().mean() > 0.9
    assert set(run.manifest["metrics"]) == set(frame.metric) and frame.picture.nunique() == run.manifest["pictures"]
    assert sum(map(len, run.cells().values())) == len(frame[~frame.method.str.startswith(CONTROL)]) + len(
        frame[frame.method == "control:uniform_map"]
    )


def test_a_run_of_an_earlier_version_is_resumed(tmp_path, counted):
    """The folder as it was written before parts had a module of their own, built here without that module."""
    out = tmp_path / "run"
    evaluate(tmp_path / "new", 2)
    new = store.open_run(tmp_path / "new")
    (out / "parts").mkdir(parents=True)
    (out / "lock").touch()
    (out / "manifest.json").write_text(json.dumps(new.manifest, indent=1) + "\n")
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(new.parts[0]), buffer, compression="zstd", compression_level=9)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    (out / "parts" / f"000001-{digest}.parquet").write_bytes(buffer.getvalue())
    counted.clear()
    assert rows_of(store.open_run(out)).equals(rows_of(new))
    run = evaluate(out, 3)
    assert {name for name, _, _ in counted} == {"2.png"} and len(run.table()) == 3 * EACH


def test_a_second_writer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(part_store, "WAIT_SECONDS", 0.0)
    out = tmp_path / "run"
    evaluate(out, 1)
    with store.open_for_writing(out, store.open_run(out).manifest):
        assert store.open_run(out).being_written
        with pytest.raises(BadRequest, match="Another evaluation is writing"):
            evaluate(out, 1)
    assert not store.open_run(out).being_written
    evaluate(out, 2)


def test_a_run_can_be_read_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FLUSH_SECONDS", 0.0)
    out, seen = tmp_path / "run", []

    def look(blocks):
        for block in blocks:
            yield block
            now = store.open_run(out)
            seen.append(len(now.table()))
            assert now.being_written and now.manifest["state"] == "running" and now.manifest["rows"] == 4 * EACH

    evaluate(out, 4, track=look)
    assert seen == [EACH, 2 * EACH, 3 * EACH, 4 * EACH]


@pytest.mark.parametrize(
    ("more", "named"), [({"seed": 1}, "seed 0, not 1"), ({"target": "3"}, "target 'predicted', not '3'")]
)
def test_other_settings_are_another_run(tmp_path, more, named):
    evaluate(tmp_path / "run", 1)
    with pytest.raises(BadRequest, match=named):
        evaluate(tmp_path / "run", 1, **more)


def test_other_options_and_other_weights_are_another_run(tmp_path):
    evaluate(tmp_path / "run", 1)
    with pytest.raises(BadRequest, match="another deletion"):
        evaluate(tmp_path / "run", 1, metrics={"deletion": {"steps": 5}})
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"weights": "', '"weights": "x'))
    with pytest.raises(BadRequest, match="another small"):
        evaluate(tmp_path / "run", 1)


def test_a_run_is_resumed_after_the_words_for_its_metrics_were_rewritten(tmp_path):
    """What a metric is called and how it is described are no settings; the resumed run has the new words."""
    evaluate(tmp_path / "run", 1)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    new = manifest["metrics"]["deletion"]
    manifest["metrics"]["deletion"] = new | {"title": "Removal", "sentence": "An earlier sentence."}
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    run = evaluate(tmp_path / "run", 2)
    assert len(run.table()) == 2 * EACH and run.manifest["metrics"]["deletion"] == new


@pytest.mark.parametrize("change", [{"mean": (0.1, 0.2, 0.3)}, {"shorter_side": 70}], ids=str)
def test_the_same_weights_behind_another_preprocessing_are_another_run(tmp_path, change):
    """A card of one's own may be edited: its numbers are others then."""
    evaluate(tmp_path / "run", 1)
    model = small_runs.small_model("small")
    edited = replace(model, recipe=replace(model.recipe, **change))
    with pytest.raises(BadRequest, match=r"another small \(preprocessing"):
        evaluate(tmp_path / "run", 1, load=lambda name: edited)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    del manifest["models"]["small"]["preprocessing"]  # of an earlier version, which did not write it
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    evaluate(tmp_path / "run", 2)


def test_a_run_of_another_version_is_refused_and_left_alone(tmp_path):
    evaluate(tmp_path / "run", 1)
    file = tmp_path / "run" / "manifest.json"
    changed = json.loads(file.read_text()) | {"format": 99}
    file.write_text(json.dumps(changed))
    for act in (store.open_run, lambda folder: evaluate(folder, 1)):
        with pytest.raises(BadRequest, match="run of format 99; this version reads and writes format 1"):
            act(tmp_path / "run")
    assert json.loads(file.read_text()) == changed


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7"])
def test_a_broken_manifest_is_reported(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadRequest, match=r"cannot be read|format None"):
        store.open_run(tmp_path)
    with pytest.raises(BadRequest, match="holds no run"):
        store.open_run(tmp_path / "nowhere")


def test_a_folder_of_something_else_is_not_written_to(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BadRequest, match="not empty and holds no run"):
        evaluate(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_part_is_noticed_put_aside_and_measured_again(tmp_path):
    out, said = tmp_path / "run", []
    whole = rows_of(evaluate(out, 2))
    (part,) = store.open_run(out).parts
    part.write_bytes(part.read_bytes()[:-100])
    broken = store.open_run(out)
    assert broken.damaged == (part.name,) and len(broken.table()) == 0
    again = evaluate(out, 2, say=said.append)
    assert any("was damaged and is put aside" in words for words in said)
    assert rows_of(again)[[*KEY, "run_key", "value"]].equals(whole[[*KEY, "run_key", "value"]])


def test_broken_and_duplicate_pictures_are_left_out_and_reported(tmp_path):
    read = {"a.png": png(0), "b.png": b"no picture", "c.png": png(0), "d.png": png(1)}
    said = []
    run = evaluate(tmp_path / "run", images=small_runs.dataset(read), say=said.append)
    assert len(run.table()) == 2 * EACH
    left_out = run.manifest["left_out"]
    assert "not an intact picture" in left_out["b.png"] and len(left_out) == 2
    assert set(left_out.values()) & {"the same file as a.png", "the same file as c.png"}
    assert sum(words.startswith("left out: ") for words in said) == 2


def test_a_full_disk_is_reported_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FLUSH_SECONDS", 0.0)
    real, written = files.os.replace, []

    def full(source, target):
        if str(target).endswith(".parquet"):
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(target)
        return real(source, target)

    with monkeypatch.context() as disk:
        disk.setattr(files.os, "replace", full)
        with pytest.raises(XaiError, match="No space left on device"):
            evaluate(tmp_path / "run", 4, thumbnails=False)
    stopped = store.open_run(tmp_path / "run")
    assert len(stopped.table()) == 2 * EACH and not list(tmp_path.glob("run/parts/.*"))
    assert len(evaluate(tmp_path / "run", 4).table()) == 4 * EACH


def test_a_budget_ends_a_run_and_the_next_call_resumes(tmp_path, counted):
    said = []
    stopped = evaluate(tmp_path / "run", 4, budget=1e-9, say=said.append)
    assert len(stopped.table()) == EACH and stopped.manifest["state"] == "stopped"
    assert any("budget" in words and "again to continue" in words for words in said)
    assert len(evaluate(tmp_path / "run", 4).table()) == 4 * EACH and len(counted) == 4 * 3 * len(METRICS)


def test_cancelled_in_the_middle_it_keeps_what_is_measured(tmp_path):
    def stop(blocks):
        for number, block in enumerate(blocks):
            if number == 2:
                raise KeyboardInterrupt
            yield block

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "run", 4, track=stop)
    assert len(store.open_run(tmp_path / "run").table()) == 2 * EACH
    assert len(evaluate(tmp_path / "run", 4).table()) == 4 * EACH


def test_the_plan_is_what_is_done(tmp_path):
    """Passes are reckoned before: within a tenth of those that are counted then. Nothing is written."""
    plan = evaluate(tmp_path / "run", 2, dry=True)
    assert not (tmp_path / "run").exists() and plan.rows == 2 * EACH and plan.todo == {"small": 2}
    frame = evaluate(tmp_path / "run", 1).table()
    single = [row.passes for row in frame.itertuples() if row.metric == "deletion"]
    counted = sum(single) - 2 * (len(single) - 1) + 4  # both ends of the curves are shared; the target and two maps
    assert plan.passes["small"] == pytest.approx(counted, rel=0.1)
    assert "2 pictures, 24 rows" in str(plan) and "passes" in str(plan)


def test_the_time_of_a_plan_counts_backward_passes_and_only_what_is_missing(tmp_path, monkeypatch):
    """With a pass of one second: 1.3 s for a backward pass, and of pictures that are measured in part only the rest."""
    monkeypatch.setattr(PassTimes, "seconds", lambda times, model, passes=1: 1.0)
    plan = evaluate(tmp_path / "run", 2, methods=("saliency",), metrics=("sparseness",), dry=True)
    assert plan.total_passes == 2 * 3 and plan.total_seconds == pytest.approx(2 * (2 + 1.3))
    evaluate(tmp_path / "run", 2, methods=("saliency",), metrics=("sparseness",))
    both = evaluate(tmp_path / "run", 2, methods=("saliency",), metrics=("sparseness", "deletion"), dry=True)
    curves = total_cost({"deletion": {}}, {"saliency": {}})
    assert both.total_seconds == pytest.approx(2 * (2 + 1.3 + curves[0])) and curves[1] == 0
    more = evaluate(tmp_path / "run", 2, methods=("saliency", "grad_cam"), metrics=("sparseness",), dry=True)
    assert more.total_seconds == pytest.approx(2 * (1 + 1)), "one map more, of one pass, and the class that is predicted"


def test_a_method_that_fails_leaves_its_reason_and_the_others_go_on(tmp_path, monkeypatch):
    real = runner.answer_active

    def sometimes(active, request, track):
        if request.method == "grad_cam":
            raise BadRequest("It broke on purpose.")
        return real(active, request, track)

    monkeypatch.setattr(runner, "answer_active", sometimes)
    frame = evaluate(tmp_path / "run", 2, methods=("grad_cam", "saliency", "layer_cam")).table()
    broken = frame[frame.method == "grad_cam"]
    assert len(broken) == 4 and broken.value.isna().all() and set(broken.note) == {"It broke on purpose."}
    assert frame[frame.method != "grad_cam"].value.notna().all()


def test_too_little_memory_stops_it_and_keeps_the_rest(tmp_path, monkeypatch):
    real, last = runner.measured, selection.sample_images(small_runs.pictures(3), None, 0)[-1].name

    def sometimes(model, block, *more):
        if block.entry.name == last:
            raise OutOfMemory("Not even one picture fits into memory.")
        return real(model, block, *more)

    monkeypatch.setattr(runner, "measured", sometimes)
    with pytest.raises(OutOfMemory):
        evaluate(tmp_path / "run", 3)
    assert len(store.open_run(tmp_path / "run").table()) == 2 * EACH


def test_a_run_carries_small_copies_unless_told_not_to(tmp_path):
    run = evaluate(tmp_path / "run", 1)
    (picture,) = run.table().picture.unique()
    assert run.thumbnail(picture)[:4] == b"RIFF" and run.thumbnail("other") is None
    assert evaluate(tmp_path / "none", 1, thumbnails=False).thumbnail(picture) is None


def test_boxes_reach_the_metrics_that_need_them(tmp_path):
    with pytest.raises(BadRequest, match="needs boxes"):
        evaluate(tmp_path / "run", 1, metrics=("energy_pointing_game",))
    boxes = {"0.png": [(0, 0, 60, 50)]}
    frame = evaluate(tmp_path / "run", 2, metrics=("energy_pointing_game",), boxes=boxes).table()
    whole = frame[(frame.name == "0.png") & (frame.method == "saliency")]
    assert whole.value.item() == pytest.approx(1.0)
    without = frame[frame.name == "1.png"]
    assert without.value.isna().all() and without.note.str.contains("needs a box").all()


def test_pictures_of_a_world_have_boxes_and_parts(tmp_path):
    """What a run measures there is what `measure` measures with the scene."""
    world = world_dataset(planted(), 1, "train", 3, "drawn")
    metrics = ("energy_pointing_game", "part_correlation", "evidence_in_what_matters")
    frame = evaluate(tmp_path / "run", metrics=metrics, images=world).table()
    assert len(frame) == 3 * 3 * (len(METHODS) + CONTROLS) and frame.run_key.is_unique
    model, rows = small_runs.small_model("small"), frame[frame.method == "saliency"]
    for row in rows.to_dict("records"):
        picture, scene = world.open(row["name"]), world.scene(row["name"])
        explanation = explain(model, picture, "saliency")
        alone = measure(model, picture, explanation, row["metric"], scene=scene, controls=False)
        assert row["value"] == pytest.approx(alone.value, rel=1e-4, nan_ok=True)


def test_parts_need_a_world(tmp_path):
    with pytest.raises(BadRequest, match=r"needs a picture of a world .*: choose a world, or leave"):
        evaluate(tmp_path / "run", 1, metrics=("part_correlation",))


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"methods": ()}, BadRequest, "at least one method"),
        ({"methods": ("astrology",)}, UnknownName, "no method 'astrology'"),
        ({"metrics": ("beauty",)}, UnknownName, "no metric 'beauty'"),
        ({"metrics": ("deletion@purple",)}, BadRequest, "'purple' is no variant"),
        ({"metrics": ("deletion@depth=3",)}, UnknownName, "no option 'depth'"),
        ({"metrics": ("deletion@steps=1",)}, BadRequest, "steps takes"),
        ({"methods": ("attention_rollout",)}, BadRequest, "No chosen method fits"),
        ({"target": "99"}, BadRequest, "99"),
        ({"precision": "sloppy"}, BadRequest, "Precision is one of"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(tmp_path, counted, more, error, said):
    with pytest.raises(error, match=said):
        evaluate(tmp_path / "run", 1, **more)
    assert not counted and not (tmp_path / "run").exists()


def test_variants_of_a_metric_stand_beside_each_other(tmp_path):
    run = evaluate(tmp_path / "run", 1, metrics=("deletion", "deletion@mean", "Deletion@blur+steps=5"))
    about = run.manifest["metrics"]
    assert list(about) == ["deletion", "deletion@mean", "deletion@blur+steps=5"]
    assert {"substrate": "blur", "steps": 5}.items() <= about["deletion@blur+steps=5"]["options"].items()
    assert len(run.curves("small", "deletion@blur+steps=5").curve_x.iloc[0]) == 6


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "about 1 s"), (80, "about 80 s"), (600, "about 10 min"), (9000, "about 2.5 h")]
)
def test_how_long_in_words(seconds, said):
    assert planner.in_time(seconds) == said


LABELLED = ("3/a.png", "4/b.png", "nonsense/c.png", "d.png", "n01440764_tench.png")


@pytest.mark.parametrize("packed", [False, True])
def test_subfolders_are_classes_and_an_archive_is_as_good(tmp_path, packed):
    """The small network's classes have no names: here they are called by numbers."""
    named = replace(small_runs.small_model("small"), class_names=tuple(map(str, range(10))))
    for number, name in enumerate(LABELLED):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "data" / name).write_bytes(png(number))
    source = tmp_path / "data"
    if packed:
        source = shutil.make_archive(tmp_path / "packed", "zip", source)
    run = evaluate(tmp_path / "run", images=source, target="label", load=lambda name: named)
    frame = run.table()[["name", "target_key"]].astype(str).drop_duplicates()
    assert set(frame.itertuples(index=False, name=None)) == {("3/a.png", "logit 3"), ("4/b.png", "logit 4")}
    left_out = {Path(name).name: why for name, why in run.manifest["left_out"].items()}
    assert "Its class is not known" in left_out["d.png"] and "'nonsense' no class" in left_out["c.png"]
    assert "n01440764" in left_out["n01440764_tench.png"]


def test_pictures_are_drawn_by_name_and_seed_alone():
    few, many = small_runs.pictures(30), small_runs.pictures(40)
    names = [one.name for one in selection.sample_images(few, 10, 0)]
    assert names == [one.name for one in selection.sample_images(few, 20, 0)][:10]
    assert names != [one.name for one in selection.sample_images(few, 10, 1)]
    order = [one.name for one in selection.sample_images(few, None, 0)]
    assert [one.name for one in selection.sample_images(many, None, 0) if one.name in order] == order
    with pytest.raises(BadRequest, match="At least one"):
        selection.sample_images(few, 0, 0)


def test_the_samples_are_a_dataset_whose_files_are_the_same_everywhere():
    found = selection.open_images("samples")
    assert [one.name for one in found.samples] == list(SAMPLES)
    pictures, left_out = selection.unique_images(found, selection.sample_images(found, 2, 0))
    assert len(pictures) == 2 and not left_out
    assert np.array_equal(found.open("chelsea"), load_sample("chelsea"))
