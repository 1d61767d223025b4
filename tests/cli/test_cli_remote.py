"""Commands at addresses: the rows are those of this machine, a killed run goes on, and nothing else there is touched."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from remote_places import put, serve_bucket

from xai_core.__main__ import main
from xai_core.core import remote, remote_runs
from xai_core.core.errors import XaiError
from xai_core.data.predictions import read_predictions, settings_of
from xai_core.evaluation import store

ROOT = Path(__file__).parents[2]
MODEL = ["--model", "world_planted"]
pytestmark = pytest.mark.usefixtures("loaded", "memory")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """12 pictures of the planted world, and a file that is none."""
    folder = tmp_path_factory.mktemp("remote") / "pictures"
    assert main(["world", "--out", str(folder), "--count", "12", "--seed", "3"]) == 0
    (next(folder.glob("*/")) / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def memory(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


rows = read_predictions


def there(files) -> set[str]:
    return set(files.find("/bucket/runs"))


def test_classify_reads_and_writes_at_addresses(pictures, memory, tmp_path, capsys):
    local = tmp_path / "local.parquet"
    assert main(["classify", str(pictures), *MODEL, "--out", str(local)]) == 0
    said = capsys.readouterr()
    address = put(pictures, "memory://bucket/pictures")
    assert main(["classify", address, *MODEL, "--out", "memory://bucket/runs/p.parquet"]) == 0
    told = capsys.readouterr()
    assert told.err == said.err and "broken.png" in told.err
    assert "memory://bucket/runs/p.parquet" in told.out and str(tmp_path) not in told.out
    assert there(memory) == {"/bucket/runs/p.parquet"} and not [*(tmp_path / "cache").rglob("*.parquet")]
    assert main(["fetch", "memory://bucket/runs/p.parquet", str(tmp_path)]) == 0
    pd.testing.assert_frame_equal(rows(tmp_path / "p.parquet"), rows(local))
    assert settings_of(tmp_path / "p.parquet") == settings_of(local)
    before = memory.info("/bucket/runs/p.parquet")["created"]
    assert main(["classify", address, *MODEL, "--out", "memory://bucket/runs/p.parquet"]) == 0  # nothing is left to do
    assert memory.info("/bucket/runs/p.parquet")["created"] == before


def test_evaluate_reads_and_writes_at_addresses(pictures, memory, tmp_path, capsys):
    asked = ["--models", "world_planted", "--methods", "saliency", "--metrics", "sparseness", "--images", "4"]
    assert main(["evaluate", str(pictures), *asked, "--out", str(tmp_path / "local")]) == 0
    address = put(pictures, "memory://bucket/pictures")
    assert main(["evaluate", address, *asked, "--out", "memory://bucket/runs/first"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("memory://bucket/runs/first")
    more = [*asked[:-1], "6"]
    assert main(["evaluate", str(pictures), *more, "--out", str(tmp_path / "local")]) == 0
    assert main(["evaluate", address, *more, "--out", "memory://bucket/runs/first"]) == 0  # goes on with what is there
    assert main(["fetch", "memory://bucket/runs/first", str(tmp_path / "runs")]) == 0
    local, copied = (store.open_run(folder).table() for folder in (tmp_path / "local", tmp_path / "runs" / "first"))
    order = ["name", "method", "metric"]
    one, other = (table.astype({name: str for name in order}).sort_values(order, ignore_index=True).drop(columns="seconds")
                  for table in (local, copied))  # fmt: skip
    pd.testing.assert_frame_equal(one, other, check_categorical=False)
    assert len(one) and not any("lock" in name for name in there(memory))


def test_explain_many_and_one_at_addresses(pictures, memory, tmp_path):
    address = put(pictures, "memory://bucket/pictures")
    assert main(["explain", address, *MODEL, "--method", "saliency", "--count", "2", "--out", str(tmp_path / "many")]) == 0
    assert len(pd.read_csv(tmp_path / "many" / "pictures_saliency.csv")) == 2
    one = next(name for name in memory.find("/bucket/pictures") if "broken" not in name)
    assert main(["explain", f"memory:/{one}", *MODEL, "--method", "saliency", "--out", str(tmp_path / "one")]) == 0
    assert len([*(tmp_path / "one").glob("*.npz")]) == 1


KILLED = """
import sys
import time
from pathlib import Path
sys.path.insert(0, "tests")
from remote_places import serve_bucket
from xai_core.analysis import prediction_parts
from xai_core.core import remote, remote_runs
serve_bucket(Path(sys.argv[1]))
prediction_parts.PART, remote_runs.SECONDS, send = 4, 0.05, remote.send
def send_one_part(file, place):
    send(file, place)
    if "/parts/" in place.path:
        time.sleep(60)
remote.send = send_one_part
from xai_core.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def test_a_killed_command_goes_on_from_what_is_there(pictures, tmp_path, monkeypatch):
    """SIGKILL once parts are at the address; then its work folder is gone, as on another machine."""
    local = tmp_path / "local.parquet"
    assert main(["classify", str(pictures), *MODEL, "--out", str(local)]) == 0
    bucket = tmp_path / "bucket"
    command = ["classify", str(pictures), *MODEL, "--out", "s3://runs/p.parquet"]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(bucket), *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    parts = bucket / "runs" / ".p.parquet.parts" / "parts"
    while process.poll() is None and not [*parts.glob("*")]:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (part,) = parts.glob("*")
    shutil.rmtree(tmp_path / "cache")
    serve_bucket(bucket)
    fetched, fetch = [], remote.fetch
    monkeypatch.setattr(remote, "fetch", lambda place, *more: (fetched.append(place.name), fetch(place, *more)))
    assert main(command) == 0
    assert part.name in fetched  # its pictures are not classified again
    assert [path.name for path in (bucket / "runs").rglob("*") if path.is_file()] == ["p.parquet"]
    pd.testing.assert_frame_equal(rows(bucket / "runs" / "p.parquet"), rows(local))


def test_what_cannot_be_written_stays_and_goes_on(pictures, memory, tmp_path, monkeypatch, capsys):
    command = ["classify", str(pictures), *MODEL, "--out", "memory://bucket/runs/p.parquet"]

    def fails(*_, **__):
        raise OSError("https://key:SECRET@host")

    with monkeypatch.context() as broken:
        broken.setattr(type(memory), "put_file", fails)
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "cannot be written" in said and "run the same command again" in said and "SECRET" not in said
    assert [*(tmp_path / "cache").rglob("p.parquet")] and not there(memory)
    assert main(command) == 0 and there(memory) == {"/bucket/runs/p.parquet"}


def store_at(work: Path, name: str, manifest: str) -> Path:
    (work / "parts").mkdir(parents=True, exist_ok=True)
    (work / "manifest.json").write_text(manifest)
    (work / "parts" / name).write_bytes(name.encode())
    return work


def test_the_address_is_what_counts(memory, tmp_path):
    """A work folder that lacks a part of another machine is made anew; one that has more goes on."""
    with pytest.raises(KeyError), remote_runs.written("memory://bucket/runs/a") as work:
        store_at(work, "000001-aa.parquet", "{}")
        raise KeyError  # whatever ends a command, what is finished is sent
    assert there(memory) == {"/bucket/runs/a/manifest.json", "/bucket/runs/a/parts/000001-aa.parquet"}
    memory.pipe_file("/bucket/runs/a/parts/000002-bb.parquet", b"other")
    with remote_runs.written("memory://bucket/runs/a") as work:
        assert sorted(path.name for path in work.glob("parts/*")) == ["000001-aa.parquet", "000002-bb.parquet"]
        assert (work / "parts/000002-bb.parquet").read_bytes() == b"other"
        (work / "parts" / "000001-aa.parquet").unlink()
        (work / "lock").write_bytes(b"")
        (work / "parts" / "000001-aa.parquet.damaged").write_bytes(b"")
        store_at(work, "000003-cc.parquet", '{"rows": 1}')
    assert there(memory) == {
        "/bucket/runs/a/manifest.json", "/bucket/runs/a/parts/000002-bb.parquet", "/bucket/runs/a/parts/000003-cc.parquet",
    }  # fmt: skip
    assert memory.cat_file("/bucket/runs/a/manifest.json") == b'{"rows": 1}'


def test_what_is_no_run_is_not_touched(pictures, memory, capsys):
    address = put(pictures, "memory://bucket/pictures")
    before = memory.find("/bucket")
    assert main(["evaluate", str(pictures), "--out", address]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert main(["fetch", address]) == 2
    assert "neither a file nor the folder of a run" in capsys.readouterr().err
    assert memory.find("/bucket") == before


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--out", "s3://key:SECRET@bucket/p.parquet"], "leave it out"),
     (["--out", "memory://bucket.parquet"], "a whole bucket"),
     (["--out", "memory://bucket/p.parquet", "--shard", "1/2"], "written on this machine"),
     (["--out", "p.parquet", "--mapping", "s3://bucket/m.csv"], "mapping is a path of this machine")],
)  # fmt: skip
def test_mistakes_are_one_sentence(pictures, capsys, more, words):
    assert main(["classify", str(pictures), *MODEL, *more]) == 2
    said = capsys.readouterr().err
    assert words in said and "SECRET" not in said and len(said.splitlines()) <= 2


def test_two_commands_do_not_write_to_one_address(memory):
    with remote_runs.written("memory://bucket/runs/a"), pytest.raises(XaiError, match="Another command"):
        remote_runs.written("memory://bucket/runs/a").__enter__()
