"""Folders of Parquet parts: written once, verified once, one writer at a time, resumed after a kill."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from xai_core.core import part_store
from xai_core.core.errors import BadRequest

ROOT = Path(__file__).parents[2]
SCHEMA = pa.schema([("name", pa.string()), ("value", pa.float64())])


def rows(*names):
    return pa.Table.from_pylist([{"name": name, "value": 0.5} for name in names], SCHEMA)


def names_in(table):
    return part_store.read_rows(table, SCHEMA, ["name"])["name"].to_pylist()


@pytest.fixture
def table(tmp_path):
    return tmp_path / "store" / "parts"


@pytest.fixture
def hashed(monkeypatch):
    """The parts whose bytes are hashed from now on."""
    files, digest = [], hashlib.file_digest
    monkeypatch.setattr(part_store.hashlib, "file_digest", lambda file, kind: files.append(file.name) or digest(file, kind))
    return files


def test_parts_are_numbered_and_named_by_their_checksums(table):
    first, second = part_store.write_part(table, rows("a", "b")), part_store.write_part(table, rows("c"))
    assert part_store.find_parts(table) == (first, second)
    assert second.name == f"000002-{hashlib.sha256(second.read_bytes()).hexdigest()[:16]}.parquet"
    assert names_in(table) == ["a", "b", "c"]
    filtered = part_store.read_rows(table, SCHEMA, ["value"], filters=[("name", "=", "c")])
    assert filtered.num_rows == 1 and filtered.column_names == ["value"]


def test_a_folder_without_parts_is_an_empty_table(table):
    assert part_store.find_parts(table) == () and names_in(table) == []


def test_a_part_is_hashed_once(table, hashed):
    parts = [part_store.write_part(table, rows(name)) for name in "abc"]
    assert names_in(table) == ["a", "b", "c"] and len(hashed) == 3
    assert names_in(table) == ["a", "b", "c"] and part_store.damaged_parts(table) == ()
    assert part_store.repair(table.parent) == () and part_store.is_intact(parts[0])
    assert len(hashed) == 3


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"x" + data[1:]], ids=["shorter", "same size"])
def test_a_part_that_changed_on_the_disk_is_hashed_again_and_found_damaged(table, hashed, damage):
    part_store.write_part(table, rows("a"))
    part = part_store.write_part(table, rows("b"))
    assert names_in(table) == ["a", "b"]
    before = part.stat()
    part.write_bytes(damage(part.read_bytes()))
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # coarse clocks of file systems
    assert part_store.damaged_parts(table) == (part,) and names_in(table) == ["a"]
    assert hashed.count(str(part)) == 2 and len(hashed) == 3


def test_damaged_parts_are_put_aside_and_leftovers_removed(table):
    folder = table.parent
    part_store.write_manifest(folder, {"format": 1})
    part = part_store.write_part(table, rows("a"))
    part_store.write_part(table, rows("b"))
    part.write_bytes(b"PAR1 cut")
    leftovers = [folder / ".manifest.json.abc", table / ".000003-0123.parquet.xyz"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    assert part_store.repair(folder) == (part.name,)
    assert not any(leftover.exists() for leftover in leftovers) and names_in(table) == ["b"]
    assert part.with_name(f"{part.name}.damaged").read_bytes() == b"PAR1 cut"
    assert part_store.write_part(table, rows("c")).name.startswith("000003-")


def test_the_manifest_is_replaced_as_a_whole(tmp_path):
    with pytest.raises(FileNotFoundError):
        part_store.read_manifest(tmp_path)
    part_store.write_manifest(tmp_path, {"title": "Müller", "rows": 1})
    part_store.write_manifest(tmp_path, {"title": "Müller", "rows": 2})
    assert part_store.read_manifest(tmp_path) == {"title": "Müller", "rows": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_second_writer_is_refused_and_the_first_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(part_store, "WAIT_SECONDS", 0.1)
    folder = tmp_path / "store"
    assert not part_store.is_being_written(folder)
    with part_store.locked(folder, "Busy."):
        assert part_store.is_being_written(folder)
        with pytest.raises(BadRequest, match=r"^Busy\.$"), part_store.locked(folder, "Busy."):
            pass
        part_store.write_part(folder / "parts", rows("a"))
    assert not part_store.is_being_written(folder) and (folder / "lock").exists()


def test_a_second_writer_waits_a_moment(tmp_path):
    """Longer than those who only look hold the lock."""
    entered, leave = threading.Event(), threading.Event()

    def write():
        with part_store.locked(tmp_path, "Busy."):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=write)
    thread.start()
    entered.wait(10)
    threading.Timer(0.3, leave.set).start()
    with part_store.locked(tmp_path, "Busy."):
        assert leave.is_set()
    thread.join()


def test_the_lock_of_a_killed_writer_is_free(tmp_path):
    code = "import sys, time; from pathlib import Path; from xai_core.core import part_store\n"
    code += "with part_store.locked(Path(sys.argv[1]), 'Busy.'):\n    print('locked', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    assert part_store.is_being_written(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert not part_store.is_being_written(tmp_path)
    with part_store.locked(tmp_path, "Busy."):
        pass


def test_a_folder_that_stays_empty_is_removed(tmp_path):
    folder = tmp_path / "store"
    with part_store.locked(folder, "Busy."):
        part_store.write_manifest(folder, {})
        part_store.write_part(folder / "parts", rows("a"))
        part_store.clear(folder)
        assert [path.name for path in folder.iterdir()] == ["lock"]
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(BadRequest, match=r"Cannot write to .*file/store"),
        part_store.locked(tmp_path / "file" / "store", ""),
    ):
        pass
