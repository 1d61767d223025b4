"""Work that is killed at random moments (SIGKILL) and started again: nothing is lost, nothing is there twice.

    python -m benchmarks.kills [--only WORK] [--kills N] [--out FILE]

classify  a small network classifies pictures; what a killed process had written is not computed again
evaluate  two methods and two metrics on a few pictures
train     a small network is trained for some epochs, and the training recorded
download  a file that a server sends in small pieces
classify-shards, evaluate-shards, audit-shards, pairs-shards    each shard of such a work, and joining them
note      notes are stored one after the other in a database of SQLite; each one that was acknowledged must be there

A child is forked, killed after a time that is drawn (of the time of the whole work), and what it left is read. Work that is
complete is compared with the same work undisturbed, and begins anew, until as many children as asked were killed.
"""

import argparse
import contextlib
import hashlib
import http.server
import importlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from PIL import Image
from sqlalchemy import Engine

from benchmarks.paired import machine
from xai_core import load_model
from xai_core.analysis import merged_predictions, predict, prediction_parts
from xai_core.core import part_store, runtime, shards
from xai_core.core.files import UNFINISHED, write_atomically
from xai_core.core.shards import Shard
from xai_core.data.datasets import open_dataset
from xai_core.data.label_matching import match_classes
from xai_core.data.predictions import read_predictions
from xai_core.data.recipe import Recipe
from xai_core.evaluation import merged_runs, runner, store
from xai_core.failures import merged_audit
from xai_core.models.weights import download
from xai_core.pairs import benchmark, merged_benchmark
from xai_core.pairs.benchmark import BenchmarkPlan
from xai_core.pairs.benchmark_runs import open_benchmark
from xai_core.review import picture_notes
from xai_core.review.database import open_database
from xai_core.review.people import named
from xai_core.review.picture_notes import Note
from xai_core.training.dynamics.readers import read_run
from xai_core.training.plans import PLANS, Phase
from xai_core.training.run import train_plan

logging.disable(logging.WARNING)

MODEL = "scenes_supervised"
CLASSES = ("sea", "street")
PICTURES, NOTES = 12, 40
# What the works import when they need it. It is there before the first fork: otherwise each child would import it anew, and
# many kills would fall into that instead of the work.
IMPORTED_BY_WORKS = (
    "alembic.migration", "alembic.operations", "alembic.script", "sklearn.metrics", "sklearn.model_selection",
)  # fmt: skip
SHARDS = 3
FILE = np.random.default_rng(0).bytes(3 * 2**20)
PLAN = replace(
    PLANS[MODEL], id="small", epochs=4, learning_rate=0.02, phases=(Phase(1.0, 32),), recipe=Recipe(32, 32), batch=8
)  # fmt: skip


@dataclass(frozen=True)
class KilledWork:
    """What is killed: `run` does it in a folder, or goes on with it; `read` tells what a reader finds there, at any time.

    `count` of what was found never falls, and the end of all of it is what an undisturbed run leaves.
    """

    run: Callable[[Path], None]
    read: Callable[[Path], Any]
    count: Callable[[Any], int]


def _classify(folder: Path) -> None:
    for _ in predict.classify(load_model(MODEL), open_dataset(_pictures()), folder / "predictions.parquet"):
        pass


def _predictions(folder: Path) -> Any:
    return _rows_of_file(folder / "predictions.parquet")


def _rows_of_file(file: Path) -> list[Any]:
    if not file.exists():
        return []
    table = read_predictions(file, ["path", "true", "predicted", "confidence"])
    return [(*row[:3], round(row[3], 6)) for row in table.itertuples(index=False)]


def _evaluate(folder: Path) -> None:
    runner.evaluate([MODEL], ("grad_cam", "saliency"), ("deletion", "sparseness"), _pictures(), folder / "run", count=2)


def _measurements(folder: Path) -> Any:
    return _rows_of_run(folder / "run")


def _rows_of_run(folder: Path) -> list[Any]:
    if not (folder / "manifest.json").exists():
        return []
    run = store.open_run(folder)
    if run.damaged:
        raise AssertionError(f"damaged: {run.damaged}")
    table = run.table()
    return sorted(
        (*row[:4], round(row[4], 6))
        for row in table[["name", "method", "metric", "model", "value"]].astype({"value": float}).itertuples(index=False)
    )


def _train(folder: Path) -> None:
    data = {part: open_dataset(_pictures()) for part in ("train", "test")}
    train_plan(
        PLAN, **data, state=folder / "state", run=folder / "run.parquet", cache=_pictures().parent / "cache",
        say=lambda words: None,
    )  # fmt: skip


def _training(folder: Path) -> Any:
    """The recorded predictions by epoch, and the network once all epochs are there."""
    file, state = folder / "run.parquet", folder / "state" / "state.safetensors"
    epochs = [] if not file.exists() else read_run(file.read_bytes(), file.name).predicted.T.tolist()
    tensors = safetensors.torch.load_file(state) if state.exists() else {}
    whole = len(epochs) == PLAN.epochs
    digest = hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()
    return [*epochs, digest] if whole else epochs


def _download(folder: Path) -> None:
    with (folder / "address").open() as file:
        download.fetch(file.read(), folder / "weights.pth", len(FILE) / 1e6, hashlib.sha256(FILE).hexdigest())


def _downloaded(folder: Path) -> Any:
    """Whether the file is there, which it is only as a whole; else how much of it has come."""
    file, part = folder / "weights.pth", folder / "weights.pth.part"
    if file.exists():
        return [file.read_bytes() == FILE] * len(FILE)
    received = part.read_bytes() if part.exists() else b""
    if not FILE.startswith(received):
        raise AssertionError("the part is none of the file")
    return [True] * len(received)


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[Engine]:
    """The database of notes. Closed at the end: no connection may be carried over into a fork."""
    engine = open_database(f"sqlite:///{folder}/review.sqlite")
    yield engine
    engine.dispose()


def _note(folder: Path) -> None:
    """Store a note on every picture; each is acknowledged after it was stored."""
    dataset, there, person = open_dataset(_pictures()), _acknowledged(folder), named("Somebody", "a browser")
    with _database(folder) as engine, (folder / "acknowledged").open("a", buffering=1) as file:
        for number in range(len(there), NOTES):
            sample = dataset.samples[number % len(dataset.samples)].name
            stored = picture_notes.find(engine, dataset, sample)
            before, version = (stored.note, stored.version) if stored else (Note(), 0)
            new = picture_notes.note([*before.tags, f"{number:03}"])
            picture_notes.put(engine, dataset, sample, new, person, version)
            file.write(f"{number:03}\n")


def _acknowledged(folder: Path) -> list[str]:
    file = folder / "acknowledged"
    return file.read_text().split() if file.exists() else []


def _tags(folder: Path) -> Any:
    """The tags of all notes: those acknowledged, and at most the one that was stored when its writer was killed."""
    with _database(folder) as engine:
        stored = picture_notes.load(engine, open_dataset(_pictures())).values()
    tags = sorted(tag for one in stored for tag in one.note.tags)
    known = _acknowledged(folder)
    if tags[: len(known)] != known or len(tags) > len(known) + 1:
        raise AssertionError(f"acknowledged {known}, stored {tags}")
    return tags


def _shards() -> list[Shard]:
    return [Shard(number, SHARDS) for number in range(1, SHARDS + 1)]


def _classify_shards(folder: Path) -> None:
    out = folder / "predictions.parquet"
    for shard in _shards():
        for _ in predict.classify(load_model(MODEL), open_dataset(_pictures()), shard.place(out, ".parquet"), shard=shard):
            pass
    merged_predictions.merge(shards.find(out), out)


def _once(rows: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """The rows, each of which must be there once."""
    if len({key(row) for row in rows}) != len(rows):
        raise AssertionError("a picture is there twice")
    return rows


def _shards_or_whole(folder: Path, read: Callable[[Path], list[Any]], key: Callable[[Any], Any]) -> list[Any]:
    """What is there in all shards, until all of it is there in the whole."""
    whole = _once(read(folder), key)
    there = [row for shard in _shards() for row in read(shard.place(folder))]
    return whole if len(whole) >= len(there) else _once(there, key)


def _predictions_of_shards(folder: Path) -> Any:
    out = folder / "predictions.parquet"

    def read(place: Path) -> list[Any]:
        file = place if place == out else place.with_name(f"{place.name}.parquet")
        return _rows_of_file(file)

    return _shards_or_whole(out, read, lambda row: row[0])


def _evaluate_shards(folder: Path) -> None:
    out = folder / "run"
    for shard in _shards():
        runner.evaluate([MODEL], ("grad_cam",), ("sparseness",), _pictures(), shard.place(out), count=6, shard=shard)
    merged_runs.merge(shards.find(out), out)


def _measurements_of_shards(folder: Path) -> Any:
    return sorted(_shards_or_whole(folder / "run", _rows_of_run, lambda row: row[:4]))


PAIRS = BenchmarkPlan(("input_x_gradient",), metrics=("SI",), step=25_000)


def _pairs_shards(folder: Path) -> None:
    out, dataset = folder / "table", open_dataset(_pictures())
    names = benchmark.chosen_pictures(dataset, 4, 0)
    for shard in _shards():
        benchmark.run(load_model(MODEL), dataset, names, PAIRS, shard.place(out), shard=shard)
    merged_benchmark.merge(shards.find(out), out)


def _pairs_of_shards(folder: Path) -> Any:
    def read(place: Path) -> list[Any]:
        if not (place / "manifest.json").exists():
            return []
        return [(number, str(rows)) for number, rows in sorted(open_benchmark(place).rows.items())]

    return sorted(_shards_or_whole(folder / "table", read, lambda row: row[0]))


def _audit_shards(folder: Path) -> None:
    out, dataset, model = folder / "audit", open_dataset(_pictures()), load_model(MODEL)
    for shard in _shards():
        matching = match_classes(dataset.classes, model)
        for _ in merged_audit.measure_shard(model, dataset, shard.place(out), matching, shard, {"seed": 0}):
            pass
    _, measured = merged_audit.merge(shards.find(out), out / merged_audit.PREDICTIONS)
    write_atomically(out / "statistics.csv", measured.to_csv().encode())


def _audited(folder: Path) -> Any:
    """The predictions and, as rows of their own, the statistics."""
    out = folder / "audit"

    def read(place: Path) -> list[Any]:
        rows = _rows_of_file(place / merged_audit.PREDICTIONS)
        if place == out:
            file = out / "statistics.csv"
            tables = [pd.read_csv(file)] if file.exists() else []
        else:
            tables = [pd.read_parquet(part) for part in part_store.intact_parts(place / "parts")]
        return rows + [("statistics", *row) for table in tables for row in table.round(6).itertuples(index=False)]

    return sorted(_shards_or_whole(out, read, lambda row: row[:2]), key=str)


WORKS = {
    "classify": KilledWork(_classify, _predictions, len),
    "evaluate": KilledWork(_evaluate, _measurements, len),
    "classify-shards": KilledWork(_classify_shards, _predictions_of_shards, len),
    "evaluate-shards": KilledWork(_evaluate_shards, _measurements_of_shards, len),
    "pairs-shards": KilledWork(_pairs_shards, _pairs_of_shards, len),
    "audit-shards": KilledWork(_audit_shards, _audited, len),
    "train": KilledWork(_train, _training, len),
    "download": KilledWork(_download, _downloaded, len),
    "note": KilledWork(_note, _tags, len),
}
_folder: list[Path] = []


def _pictures() -> Path:
    return _folder[0] / "pictures"


def _make_pictures(folder: Path) -> None:
    draws = np.random.default_rng(0)
    for number in range(PICTURES):
        name, low = CLASSES[number % 2], 130 * (number % 2)
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(low, low + 90, (40, 40, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")


class _Slowly(http.server.BaseHTTPRequestHandler):
    """Sends FILE, or the rest of it, in pieces."""

    def do_GET(self) -> None:
        first = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(FILE) - first))
        self.send_header("Content-Range", f"bytes {first}-{len(FILE) - 1}/{len(FILE)}")
        self.end_headers()
        for start in range(first, len(FILE), 2**17):
            self.wfile.write(FILE[start : start + 2**17])
            time.sleep(0.005)

    def log_message(self, format: str, *values: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # its reader was killed
            super().handle()


def _child(act: Callable[[], object]) -> int:
    """Do it in a forked process; returns its number."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # makes the pool that the fork has lost, before threads look for it
            act()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return child


def _wait(child: int) -> int | None:
    """The exit status of a child that ended by itself; None for one that was killed."""
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def _new(root: Path, address: str) -> Path:
    folder = Path(tempfile.mkdtemp(dir=root))
    (folder / "address").write_text(address)
    return folder


def killed(name: str, kills: int, root: Path, address: str) -> dict[str, Any]:
    """Kill one kind of work so many times; says what was found."""
    work, draws = WORKS[name], random.Random(f"{name} {kills}")
    whole, seconds = _new(root, address), []
    for folder in (whole, _new(root, address)):
        began = time.perf_counter()
        if _wait(_child(partial(work.run, folder))) != 0:
            raise SystemExit(f"{name} fails undisturbed")
        seconds.append(time.perf_counter() - began)
    expected, left = work.read(whole), sorted(path.name for path in whole.rglob("*") if path.is_file())
    died, rounds, with_more, problems = 0, 0, 0, []
    while died < kills:
        folder, before = _new(root, address), 0
        rounds += 1
        while True:
            child = _child(partial(work.run, folder))
            if died < kills:
                time.sleep(draws.uniform(0.0, 1.1 * min(seconds)))
                os.kill(child, signal.SIGKILL)
            status = _wait(child)
            died += status is None
            try:
                there = work.read(folder)
                if work.count(there) < before:
                    problems.append(f"{before - work.count(there)} lost")
                with_more += work.count(there) > before
                before = work.count(there)
            except Exception as error:  # whatever a reader meets is a finding
                problems.append(f"{type(error).__name__}: {error}"[:300])
            if status is not None:
                break
        files = sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != UNFINISHED)
        if status != 0:
            problems.append("it could not go on")
        elif work.read(folder) != expected:
            problems.append("the end differs from that of undisturbed work")
        elif len(files) > len(left) and not name.startswith("evaluate"):  # the parts of a run are as many as its writers
            problems.append(f"left behind: {files}")
    return {"kills": died, "rounds": rounds, "whole_seconds": min(seconds), "that_wrote": with_more, "problems": problems}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORKS, action="append", metavar="WORK", help=f"one of {', '.join(WORKS)}")
    parser.add_argument("--kills", type=int, default=50, help="of each (default: 50)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kills.json")
    given = parser.parse_args()
    runner.FLUSH_SECONDS, prediction_parts.PART, merged_audit.PART = 0.0, 3, 2  # pictures in a part: one, three, two
    merged_runs.PART_ROWS = 10
    for module in IMPORTED_BY_WORKS:
        importlib.import_module(module)
    runtime.device()  # sets the number of threads, once per process
    torch.set_num_threads(1)  # threads of an OpenMP pool do not survive a fork
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slowly)
    serving = _child(server.serve_forever)
    address = f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
    server.socket.close()
    rows = {}
    try:
        with tempfile.TemporaryDirectory(prefix="kills_") as root:
            _folder.append(Path(root))
            _make_pictures(_pictures())
            for name in given.only or WORKS:
                rows[name] = one = killed(name, given.kills, Path(root), address)
                found = (
                    f"{len(one['problems'])} problems {one['problems'][:3]}" if one["problems"] else "nothing lost or double"
                )
                print(
                    f"{name:<15} {one['kills']} killed in {one['rounds']} rounds of {one['whole_seconds']:.2f} s, "
                    f"{one['that_wrote']} children wrote something: {found}",
                    flush=True,
                )
    finally:
        os.kill(serving, signal.SIGKILL)
        os.waitpid(serving, 0)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    if any(one["problems"] for one in rows.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
