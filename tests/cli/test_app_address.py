"""The dashboard is served to its own machine alone, unless one option opens it to the network."""

import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from xai_core.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("options", "address"), [([], "localhost"), (["--address", "0.0.0.0"], "0.0.0.0"), (["--port", "8600"], "localhost")]
)
def test_the_command_serves_on_localhost(monkeypatch, options, address):
    started = []
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(runpy, "run_module", lambda module, **_: started.append((module, sys.argv)))
    assert main(["app", *options]) == 0
    ((module, command),) = started
    assert module == "streamlit" and f"--server.address={address}" in command


@pytest.mark.skipif(shutil.which("make") is None, reason="this machine has no make")
@pytest.mark.parametrize(("options", "address"), [([], "localhost"), (["ADDRESS=0.0.0.0"], "0.0.0.0")])
def test_make_serves_on_localhost(options, address):
    shown = subprocess.run(
        ["make", "--dry-run", "app", *options], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f"streamlit run Home.py --server.address={address}\n" in shown


def test_deployments_choose_the_address_themselves():
    """Streamlit Cloud reads the file of settings: an address there would hide the app from its visitors."""
    assert "address" not in tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["server"]
    assert "make app ADDRESS=0.0.0.0" in (ROOT / "README.md").read_text(encoding="utf-8")
