"""Run folders as strangers send them: each opens, or is refused in one sentence; none hangs or fills the memory."""

import hashlib
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import limited, one_sentence
from opened_pages import opened

from xai_core.core import settings as folders
from xai_core.core.errors import XaiError
from xai_core.evaluation import store, summary

QUICK = folders.RESOURCES / "data" / "runs" / "quick"
MANIFEST = json.loads((QUICK / "manifest.json").read_text())


def looked_at(folder):
    """Everything that a page reads of a run; None where it is refused in one sentence."""
    try:
        with limited():
            run = store.open_run(folder)
            table = run.table()
            summary.summary(table[:20], run.manifest["metrics"])
            run.curves("efficientnet_lite0", "deletion")
            run.cells(), run.damaged, run.being_written, run.thumbnail("0")
            return table
    except XaiError as error:
        assert one_sentence(error), str(error)
        return None


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(QUICK, tmp_path / "runs" / "mine")


def part_of(run, table: pa.Table | bytes):
    """Replace the run's parts by one whose name holds its checksum."""
    data = table
    if not isinstance(table, bytes):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
    shutil.rmtree(run / "parts")
    (run / "parts").mkdir()
    (run / "parts" / f"000001-{hashlib.sha256(data).hexdigest()[:16]}.parquet").write_bytes(data)


def rows(count=3, **changes):
    cells = {name: ["x"] * count for name in ("run_key", "label", "target", "target_key", "note", "facts")}
    cells |= {"picture": list(map(str, range(count))), "name": ["a.png"] * count, "model": ["efficientnet_lite0"] * count}
    cells |= {"method": ["grad_cam"] * count, "metric": ["deletion"] * count, "curve_x": [[0.0, 1.0]] * count}
    cells |= {name: [0.5] * count for name in ("target_value", "value", "passes", "seconds")}
    return pa.table(cells | {"curve_y": [[1.0, 0.0]] * count} | changes)


def repeated(text, count):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [text])


def test_the_run_as_it_is_opens(run):
    assert len(looked_at(run)) == MANIFEST["rows"]
    part_of(run, rows())
    assert len(looked_at(run)) == 3


MANIFESTS = {
    "nested 10,000 times": "[" * 10_000 + "]" * 10_000,
    "no JSON": "{",
    "empty": "",
    "zeros": "\0" * 100,
    "not UTF-8": b"\xff\xfe{}",
    "a list": "[1]",
    "a text": '"run"',
    "null": "null",
    "a huge number": "1" * 10_000,
    **{f"format {value!r}": json.dumps(MANIFEST | {"format": value}) for value in ("1", [1], {"a": 1}, None, 1.5, 99)},
    **{f"software {value!r}": json.dumps(MANIFEST | {"format": 2, "software": value}) for value in ("x", [1], None)},
    **{
        f"{entry}: {value!r}": json.dumps(MANIFEST | {entry: value})
        for entry in ("asked", "models", "methods", "metrics", "software")
        for value in (None, 7, "x", [], {"x": None}, {"x": 7}, {"x": {"title": None}})
    },
    **{
        f"without {entry}": json.dumps({k: v for k, v in MANIFEST.items() if k != entry})
        for entry in ("created", "asked", "models")
    },
    **{f"created {value!r}": json.dumps(MANIFEST | {"created": value}) for value in (None, 5)},
    **{f"rows {value!r}": json.dumps(MANIFEST | {"rows": value}) for value in ("many", None, [1], 0.5)},
    **{f"left out {value!r}": json.dumps(MANIFEST | {"left_out": value}) for value in ("x", [1], {"a.png": None})},
    "20 MB": json.dumps(MANIFEST | {"padding": "x" * (20 * 2**20)}),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(run, name):
    text = MANIFESTS[name]
    (run / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert looked_at(run) is None


def fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def dangling(path):
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def circle(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def device(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


NO_FILES = [fifo, folder, dangling, circle, device]


@pytest.mark.parametrize("make", NO_FILES)
def test_a_manifest_that_is_no_file(run, make):
    make(run / "manifest.json")
    assert looked_at(run) is None


@pytest.mark.parametrize("make", NO_FILES)
def test_a_part_or_a_lock_that_is_no_file_is_left_out(run, make):
    make(run / "parts" / "000009-0123456789abcdef.parquet")
    make(run / "parts" / "000010-.parquet")
    make(run / "lock")
    assert len(looked_at(run)) == MANIFEST["rows"]
    assert len(store.open_run(run).damaged) == 2


PARTS = {
    "garbage": lambda: b"garbage" * 99,
    "empty": lambda: b"",
    "cut off": lambda: next((QUICK / "parts").iterdir()).read_bytes()[:-9],
    "no columns": lambda: pa.table({"a": [1]}),
    "a column less": lambda: rows().drop_columns(["value"]),
    "a column twice": lambda: rows().append_column("value", pa.array([1.0] * 3)),
    "values are texts": lambda: rows(value=["high"] * 3),
    "methods are numbers": lambda: rows(method=[1, 2, 3]),
    "methods are null": lambda: rows(method=pa.array([None] * 3, pa.string())),
    "methods are lists": lambda: rows(method=[["grad_cam"]] * 3),
    "unknown model": lambda: rows(model=["other"] * 3),
    "unknown metric": lambda: rows(metric=["beauty"] * 3),
    "unknown method": lambda: rows(method=["guess"] * 3),
    "no picture": lambda: rows(picture=pa.array([None] * 3, pa.string())),
    "the same twice": lambda: rows(picture=["0", "0", "1"]),
    "curves of two lengths": lambda: rows(curve_y=[[1.0]] * 3),
    "billions of rows": lambda: pa.table({"value": pa.array(np.zeros(20_000_000, np.int8))}),
    "long texts, packed": lambda: rows(
        200_000, facts=repeated("x" * 20_000, 200_000), run_key=repeated("x" * 20_000, 200_000)
    ),
    "long curves, packed": lambda: rows(2000, curve_x=pa.array([np.zeros(50_000)] * 2000)),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_whose_names_hold_their_checksums(run, name):
    part_of(run, PARTS[name]())
    table = looked_at(run)
    assert table is None or len(table) == 200_000, "only what is never read may be too large"


NAMES = st.sampled_from(["title", "group", "x", "direction"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)
)


@given(value=VALUES, entry=st.sampled_from([*MANIFEST, "left_out"]))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_a_manifest(tmp_path_factory, value, entry):
    folder = tmp_path_factory.getbasetemp() / "any" / "run"
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST | {entry: value}))
    looked_at(folder)


@pytest.mark.parametrize("spoil", [
    lambda run: (run / "manifest.json").write_text(MANIFESTS["nested 10,000 times"]),
    lambda run: fifo(run / "manifest.json"),
    lambda run: part_of(run, b"garbage"),
    lambda run: part_of(run, rows(method=pa.array([None] * 3, pa.string()))),
], ids=["nested", "fifo", "garbage", "null methods"])  # fmt: skip
def test_the_page_says_what_is_wrong(run, monkeypatch, spoil):
    spoil(run)
    monkeypatch.setenv("XAI_RUNS", str(run.parent))
    with limited():
        app = opened("pages/4_Faithfulness_metrics.py", view="A run", run="runs/mine")
    assert len(app.error) == 1 and one_sentence(Exception(app.error[0].value))
