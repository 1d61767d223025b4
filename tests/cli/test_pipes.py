"""Commands whose reader leaves before they have printed everything, as `head` does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xai_core.__main__ import CLOSED_PIPE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["methods", "--json"],
        ["metrics"],
        ["models"],
        ["weights", "list"],
        ["--help"],
        ["report", "--out", "{out}/report.md"],
    ],
    ids=" ".join,
)
def test_a_closed_pipe_ends_a_command_quietly(arguments, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "xai_core", *(text.format(out=tmp_path) for text in arguments)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, cwd=ROOT, env=buffered, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (CLOSED_PIPE, "")


def test_what_was_asked_for_reaches_the_reader():
    """More than a pipe holds: the writer is still at work when the reader leaves."""
    command = f"{sys.executable} -m xai_core methods --json | head -n 3"
    done = subprocess.run(command, cwd=ROOT, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("[\n  {\n") and len(done.stdout.splitlines()) == 3
    assert done.stderr == ""
