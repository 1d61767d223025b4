"""`python -m xai_core evaluate`."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import png, small_model

from xai_core.__main__ import main
from xai_core.cli import evaluate
from xai_core.evaluation import runner, store
from xai_core.metrics.catalog import PUBLISHED_PRESET

ROOT = Path(__file__).parents[2]
WHAT = ["--models", "small", "--methods", "grad_cam,saliency,layer_cam", "--metrics", "deletion,sparseness,deletion@mean"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "evaluate", lambda *given, **more: real(*given, **more, load=small_model))
    for number in range(8):
        (tmp_path / "data" / f"{number}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "data" / f"{number}.png").write_bytes(png(number))
    return tmp_path / "data"


real = runner.evaluate


def test_a_folder_is_measured_summed_up_and_gone_on_with(folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["evaluate", str(folder), *WHAT, "--images", "7", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "7 pictures, 147 rows" in said and "To do: " in said and "passes" in said
    assert "Deletion (lower is better), small" in said and "Deletion (mean, 16 steps, confidence)" in said
    assert "control:uniform_map" in said and "n = 7" in said and "does not beat the controls" in said
    assert said.rstrip().endswith(str(out))
    assert len(store.open_run(out).table()) == 147
    assert main(["evaluate", str(folder), *WHAT, "--images", "8", "--out", str(out)]) == 0
    assert "7 of 8 pairs of a picture and a model are measured already" in capsys.readouterr().out
    assert main(["evaluate", str(folder), *WHAT, "--out", str(out)]) == 0
    assert "Nothing is left to do." in capsys.readouterr().out


def test_a_plan_writes_nothing(folder, tmp_path, capsys):
    assert main(["evaluate", str(folder), *WHAT, "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "8 pictures, 168 rows" in capsys.readouterr().out and not (tmp_path / "run").exists()


def test_boxes_come_from_a_table(folder, tmp_path, capsys):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("picture,left,top,right,bottom\n0.png,0,0,60,50\n0.png,1,1,5,5\n3.png,0,0,20,20\n")
    what = ["--models", "small", "--methods", "saliency", "--metrics", "energy_pointing_game", "--boxes", str(boxes)]
    assert main(["evaluate", str(folder), *what, "--out", str(tmp_path / "run")]) == 0
    frame = store.open_run(tmp_path / "run").table()
    assert set(frame.name[frame.value.notna()]) == {"0.png", "3.png"}
    asked = json.loads((tmp_path / "run" / "manifest.json").read_text())["asked"]
    assert asked["boxes"]["0.png"] == [[0, 0, 60, 50], [1, 1, 5, 5]]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--boxes", "nowhere.csv"], "Cannot read nowhere.csv"),
        (["--boxes", "README.md"], "no table of boxes"),
        (["--metrics", "deletion@nonsense"], "no variant of deletion"),
        (["--metrics", "pointing_game"], "needs boxes"),
        (["--methods", "grad_cam,nonsense"], "no method 'nonsense'"),
        (["--images", "0"], "At least one picture"),
        (["--images", "many"], "invalid int"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, capsys, monkeypatch, more, said):
    monkeypatch.chdir(ROOT)
    assert main(["evaluate", str(folder), *WHAT, *more, "--out", str(tmp_path / "run")]) == 2
    wrong = capsys.readouterr().err
    assert said in wrong and wrong.count("\n") == 1 and wrong.startswith("error: ")


def test_a_word_for_all_and_for_the_quick_ones():
    quick, every = evaluate._methods("quick"), evaluate._methods("all")
    assert {"grad_cam", "saliency"} <= set(quick) < set(every)
    assert "occlusion" in every and "occlusion" not in quick and "random_map" not in every
    assert "energy_pointing_game" in evaluate._metrics("quick", True)
    metrics = evaluate._metrics("quick,deletion@blur", False)
    assert "energy_pointing_game" not in metrics and [*metrics][-1] == "deletion@blur"


def test_stopped_by_the_keyboard_it_says_how_to_go_on(tmp_path):
    """The real program, interrupted in the middle: one line, exit status 2, and what is measured is there."""
    command = [
        sys.executable,
        "-m",
        "xai_core",
        "evaluate",
        "samples",
        "--methods",
        "grad_cam",
        "--metrics",
        "deletion@steps=500",
    ]
    process = subprocess.Popen(
        [*command, "--metrics", "deletion@steps=500", "--out", str(tmp_path / "run")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # The signal is ignored in a shell's background jobs, and so in the tests that run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert "passes" in process.stdout.readline(), "the plan comes first"
    while process.poll() is None and not (tmp_path / "run" / "manifest.json").exists():
        time.sleep(0.05)
    for _ in range(10):  # as a person does: Python loses an interrupt that comes while it finalizes an object
        process.send_signal(signal.SIGINT)
        try:
            _, wrong = process.communicate(timeout=30)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.returncode == 0:
        pytest.fail("it was done before it could be interrupted")
    assert process.returncode == 2 and "Stopped. The measurements so far are stored" in wrong and "Traceback" not in wrong
    found = store.open_run(tmp_path / "run").table()
    assert len(found) % 5 == 0 and not found.duplicated(["picture", "method", "metric"]).any()


def test_the_published_metrics_have_the_settings_of_published_code(folder, tmp_path, capsys):
    """The energy pointing game among them needs a box, which these pictures do not have."""
    out = tmp_path / "run"
    what = ["--models", "small", "--methods", "grad_cam", "--metrics", "published,entropy", "--images", "1"]
    assert main(["evaluate", str(folder), *what, "--out", str(out)]) == 0
    metrics = store.open_run(out).manifest["metrics"]
    assert [*metrics] == [*(name for name in PUBLISHED_PRESET if name != "energy_pointing_game"), "entropy"]
    for name in metrics:
        assert PUBLISHED_PRESET.get(name, {}).items() <= metrics[name]["options"].items()
