"""`--engine ray` on a Ray of two workers: what one process writes, also where workers are killed, and again after an end."""

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import pytest
from browsing import free_port

from xai_core.__main__ import main
from xai_core.analysis import predict
from xai_core.core.errors import BadRequest, XaiError
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import settings_of
from xai_core.data.thumbnail_file import file_beside
from xai_core.evaluation import store
from xai_core.evaluation.runner import evaluate, load_named
from xai_core.models import ray_workers
from xai_core.models.loading import load_model
from xai_core.models.ray_workers import RayWorkers
from xai_core.pairs.benchmark_runs import open_benchmark

ray = pytest.importorskip("ray")
MODEL, PICTURES = "world_planted", 24
ROOT = Path(__file__).parents[2]
RAY = ["--engine", "ray", "--workers", "2"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, for two workers, with little memory of its own, and silent."""
    ray.init(
        "local", num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Pictures of the planted world in a folder, and two files that are no pictures."""
    folder = tmp_path_factory.mktemp("ray") / "pictures"
    assert main(["world", "--out", str(folder), "--count", str(PICTURES), "--seed", "3"]) == 0
    first = sorted(folder.glob("*/*.png"))[0]
    for number in range(2):
        (first.parent / f"broken{number}.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def workers(pictures) -> RayWorkers:
    return RayWorkers(partial(open_dataset, str(pictures)), load_named, 2, pictures=1)


def in_both(command: list[str], tmp_path: Path, file: str, *more: str) -> tuple[Path, Path]:
    """What a command writes without and with Ray."""
    outs = tmp_path / "single" / file, tmp_path / "ray" / file
    assert main([*command, "--out", str(outs[0])]) == 0
    assert main([*command, "--out", str(outs[1]), *RAY, *more]) == 0
    return outs


def as_text(table: pd.DataFrame) -> list[list[str]]:
    """A table's rows; texts compare numbers exactly, and NaN with NaN."""
    return table.astype(object).map(str).to_numpy().tolist()


def test_classify_in_tasks_of_a_batch_writes_the_very_same_rows(cluster, pictures, tmp_path, capsys):
    command = ["classify", str(pictures), "--model", MODEL, "--embeddings", "--thumbnails"]
    one, other = in_both(command, tmp_path, "predictions.parquet", "--per-task", "16")
    assert settings_of(one) == settings_of(other) and len(settings_of(one)["unreadable"]) == 2
    assert as_text(pd.read_parquet(one)) == as_text(pd.read_parquet(other))
    assert file_beside(one).read_bytes() == file_beside(other).read_bytes()
    said = capsys.readouterr()
    assert said.err.count("left out:") == 2 * 2 and f"{PICTURES + 2} of {PICTURES + 2} pictures" in said.out


MODELS = (MODEL, f"{MODEL}/random")
METHODS, METRICS = ("grad_cam", "saliency"), ("sparseness",)
ROWS = [name for name in store.ROWS.names if name != "seconds"]


def rows_of(folder: Path) -> list[list[str]]:
    """Everything that a run measured, in its order."""
    return as_text(store.open_run(folder).table(ROWS))


@pytest.fixture(scope="module")
def measured(pictures, tmp_path_factory) -> list[list[str]]:
    """What one process measures."""
    folder = tmp_path_factory.mktemp("measured")
    command = [
        "evaluate",
        str(pictures),
        "--models",
        ",".join(MODELS),
        "--methods",
        ",".join(METHODS),
        "--metrics",
        ",".join(METRICS),
    ]
    assert main([*command, "--out", str(folder / "run")]) == 0
    return rows_of(folder / "run")


def worker_processes() -> list[psutil.Process]:
    """The workers of this process's Ray that live."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "MapWorker" in "".join(process.cmdline()[:1]):
                found.append(process)
    return found


def end_of_workers(seconds: float = 30) -> bool:
    """Whether all workers end within this time."""
    deadline = time.monotonic() + seconds
    while worker_processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not worker_processes()


def killing(moments: dict[int, int], killed: list[psutil.Process]) -> Callable[[Iterable], Iterable]:
    """When so many tasks are done, so many workers are killed (SIGKILL)."""

    def track(tasks: Iterable) -> Iterator:
        for number, task in enumerate(tasks):
            for process in worker_processes()[: moments.get(number, 0)]:
                process.kill()
                killed.append(process)
            yield task

    return track


def test_evaluate_measures_the_same_while_workers_are_killed(cluster, pictures, workers, measured, tmp_path):
    """One worker, and later all that are there."""
    killed: list[psutil.Process] = []
    track = killing({3: 1, 20: 2}, killed)
    evaluate(MODELS, METHODS, METRICS, open_dataset(pictures), tmp_path / "run", workers=workers, track=track)
    assert len(killed) >= 2 and not {one.pid for one in killed} & {one.pid for one in worker_processes()}
    assert rows_of(tmp_path / "run") == measured
    run = store.open_run(tmp_path / "run")
    assert len(run.manifest["left_out"]) == 2 and run.thumbnail(run.table().picture[0])


def test_a_cancelled_run_keeps_what_is_done_and_goes_on_from_there(cluster, pictures, workers, measured, tmp_path):
    dataset, tasks = open_dataset(pictures), []

    def interrupted(given: Iterable) -> Iterator:
        for number, task in enumerate(given):
            if number == 10:
                raise KeyboardInterrupt
            yield task

    def counted(given: Iterable) -> Iterable:
        tasks.extend(given)
        return tasks

    with pytest.raises(KeyboardInterrupt):
        evaluate([MODEL], METHODS, METRICS, dataset, tmp_path / "run", workers=workers, track=interrupted)
    assert end_of_workers()
    expected = measured[: len(measured) // len(MODELS)]  # those of the first model
    kept = len(rows_of(tmp_path / "run")) / (len(expected) / PICTURES)
    assert 8 <= kept <= 10  # blocks; one picture is none, and has no rows
    evaluate([MODEL], METHODS, METRICS, dataset, tmp_path / "run", workers=workers, track=counted)
    assert len(tasks) == PICTURES + 1 - kept
    assert sorted(rows_of(tmp_path / "run")) == sorted(expected)


def test_pairs_benchmark_measures_the_same(cluster, pictures, tmp_path, capsys):
    """To 1e-5: this process has other memory and threads than a worker, and sums may end in other digits."""
    command = [
        "pairs-benchmark", "--model", MODEL, "--data", str(pictures), "--images", "6", "--methods", "input_x_gradient",
        "--metrics", "SI", "--step", "9000", "--seed", "2",
    ]  # fmt: skip
    outs = in_both(command, tmp_path, "table.csv", "--per-task", "2")
    one, other = (open_benchmark(out.with_name("table.csv.parts")) for out in outs)
    assert one.plan == other.plan and {*one.rows} == {*other.rows} and len(one.rows) >= 4
    pd.testing.assert_frame_equal(one.table(), other.table(), rtol=0, atol=1e-5)
    pd.testing.assert_frame_equal(*(pd.read_csv(out) for out in outs), rtol=0, atol=1e-5)


def test_a_worker_with_other_weights_is_refused(cluster, pictures, tmp_path, workers):
    other = replace(workers, count=1, load=partial(load_model, weights="random"))
    steps = predict.classify(load_model(MODEL), open_dataset(pictures), tmp_path / "predictions.parquet", workers=other)
    with pytest.raises(XaiError, match=f"A worker on {platform.node()} has other weights of"):
        list(steps)


def end_every_worker() -> Callable[[object], object]:
    return lambda task: os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_ends_every_worker_is_given_up(cluster, workers, monkeypatch):
    monkeypatch.setattr(ray_workers, "TRIES", 0)
    with pytest.raises(XaiError, match=r"^Ray gave up: "):
        list(workers.results(end_every_worker, ["a task"]))


def test_what_is_wrong_is_said_before_any_work(cluster, pictures, tmp_path, capsys):
    command = ["classify", str(pictures), "--model", MODEL, "--out", str(tmp_path / "out.parquet"), "--engine", "ray"]
    for more, said in [
        (["--workers", "3"], "Ray has room for 2 workers of 1 CPU, not for 3: give fewer, or smaller ones."),
        (["--worker-gpus", "0.5"], "Ray has room for 0 workers of 1 CPU and 0.5 GPU, not for 1"),
        (["--worker-gpus", "1.5"], "A worker has a share of one GPU, such as 0.5, or whole GPUs, not 1.5."),
        (["--worker-gpus", "nan"], "A worker has a share of one GPU, such as 0.5, or whole GPUs, not nan."),
        (["--worker-cpus", "0"], "The number of CPUs is at least 1, not 0."),
        (["--per-task", "0"], "The number of pictures in a task is at least 1, not 0."),
        (["--workers", "0"], "The number of workers is at least 1, not 0."),
    ]:
        assert main([*command, *more]) == 2
        assert said in capsys.readouterr().err
    assert main(["audit", str(pictures), "--model", MODEL, "--out", str(tmp_path), "--shard", "1/2", "--engine", "ray"]) == 2
    assert not (tmp_path / "out.parquet").exists()


def test_an_address_at_which_nobody_answers_is_told_at_once(workers):
    port = free_port()
    for address, said in [
        (f"127.0.0.1:{port}", f"No Ray cluster answers at 127.0.0.1:{port}: Connection refused."),
        ("127.0.0.1:99999", "No Ray cluster answers at 127.0.0.1:99999: "),
        ("cluster", "The address of a Ray cluster is HOST:PORT, such as 10.0.0.1:6379, not 'cluster'."),
    ]:
        with pytest.raises(BadRequest, match=re.escape(said)):
            list(replace(workers, address=address).results(end_every_worker, ["a task"]))


def test_without_ray_a_sentence_says_how_to_install_it(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["classify", str(pictures), "--model", MODEL, "--out", str(tmp_path / "out.parquet"), "--engine", "ray"]
    assert main(command) == 2
    assert capsys.readouterr().err.strip() == "error: Ray is not installed: pip install 'xai-core[ray]'."


def test_workers_are_sent_a_folder_without_its_list_and_open_an_archive_themselves(pictures, tmp_path):
    dataset, again = open_dataset(pictures), partial(open_dataset, str(pictures))
    sent = ray_workers.opener(dataset, again)()
    name = next(sample.name for sample in dataset.samples if "broken" not in sample.name)
    assert sent.samples == () and sent.open(name).tobytes() == dataset.open(name).tobytes()
    archive = shutil.make_archive(str(tmp_path / "pictures"), "zip", pictures)
    again = partial(open_dataset, archive)
    assert ray_workers.opener(open_dataset(archive), again) is again


def test_ctrl_c_stops_the_command_and_its_own_ray(pictures, tmp_path):
    """In a process of its own, which starts Ray; nothing of it lives on, and the file is written by the next command."""
    out = tmp_path / "run"
    command = [
        "evaluate",
        str(pictures),
        "--models",
        MODEL,
        "--methods",
        "grad_cam",
        "--metrics",
        "deletion",
        "--out",
        str(out),
    ]
    words = [sys.executable, "-m", "xai_core", *command, "--engine", "ray"]
    with subprocess.Popen(
        words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # The signal is ignored in a shell's background jobs, and so in the tests that run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not [one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == "raylet"]:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and "error: Stopped. The measurements so far are stored" in errors, said + errors
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not [one for one in alive if one.name() == "raylet"]
