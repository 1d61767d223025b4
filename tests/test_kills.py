"""Work that is killed at random moments goes on where it was: `benchmarks/kills.py`, with a few kills of each kind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xai_core.core.files import ABANDONED_SECONDS, UNFINISHED, write_atomically

ROOT = Path(__file__).parents[1]
WORKS = (
    "classify", "evaluate", "classify-shards", "evaluate-shards", "pairs-shards", "audit-shards", "train", "download",
    "note",
)  # fmt: skip
KILLS = 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_nothing_is_lost_and_nothing_is_there_twice(tmp_path):
    """In a process of its own: this one has threads, which do not survive a fork. All works in one test: tests of one work
    each, which share this process by a fixture, start it again on every worker that some of them go to."""
    out = tmp_path / "kills.json"
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", str(KILLS), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert out.exists(), done.stdout + done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert {work: (rows[work]["kills"], rows[work]["problems"]) for work in WORKS} == dict.fromkeys(WORKS, (KILLS, []))


def test_what_a_killed_writer_left_is_removed_by_a_later_one(tmp_path):
    old, new, other = (tmp_path / f".{name}{UNFINISHED}" for name in ("a.json.x1", "a.json.x2", "b.json.x1"))
    for file in (old, new, other):
        file.write_bytes(b"unfinished")
    for file in (old, other):
        os.utime(file, (time.time() - 2 * ABANDONED_SECONDS,) * 2)
    write_atomically(tmp_path / "a.json", b"whole")
    assert not old.exists() and new.exists() and other.exists() and (tmp_path / "a.json").read_bytes() == b"whole"
