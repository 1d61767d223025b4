"""The drawing of the floors and the code are the same thing; each check is shown to notice what it is there for.

The contracts stand in pyproject.toml and are checked by import-linter, in a fresh process on a copy where the copy is
made wrong on purpose.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def lint(folder):
    """import-linter's exit code and report for the package in a folder."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copied(tmp_path):
    """The package and its contracts, to be made wrong."""
    shutil.copytree(ROOT / "xai_core", tmp_path / "xai_core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_are_kept():
    code, said = lint(ROOT)
    assert code == 0, said
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in said


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("explanation/question.py", "from xai_core.attribution.explain import explain", "imports only from lower floors"),
        ("attribution/gradient/saliency.py", "from xai_core.attribution import cam", "Inside attribution"),
        ("models/staged.py", "from xai_core.models import loading", "Inside models"),
        ("app/pairs/tiles.py", "from xai_core.app.networks import columns", "Inside app"),
        ("attribution/explain.py", "import streamlit", "Only the app imports streamlit"),
        ("app/__init__.py", "import xai_core.app.shared.cache", None),
    ],
)
def test_contracts_notice_a_wrong_import(copied, file, line, contract):
    """The last case is a right import: the copy alone is not what fails."""
    wrong = copied / "xai_core" / file
    wrong.write_text(f"{wrong.read_text()}\n\n{line}\n")
    code, said = lint(copied)
    said = " ".join(said.split())
    assert (code == 0) == (contract is None), said
    assert contract is None or contract in said.split("Broken contracts")[-1]


def modules_without_a_floor(folder):
    """Modules that no layer of the contracts names: these would be checked by nothing."""
    layers = [layer for one in CONTRACTS for layer in one.get("layers", ())]
    named = {name for layer in layers for name in layer.split(" | ")}
    found = {
        ".".join(file.relative_to(folder).with_suffix("").parts)
        for file in (folder / "xai_core").rglob("*.py")
        if file.name != "__init__.py"
    }
    return {module for module in found if not any(f"{module}.".startswith(f"{name}.") for name in named)}


def test_every_module_has_a_floor(copied):
    assert modules_without_a_floor(ROOT) == set()
    (copied / "xai_core" / "homeless.py").touch()
    assert modules_without_a_floor(copied) == {"xai_core.homeless"}


def streamlit_after(imports):
    """Whether streamlit is loaded after these imports in a fresh process."""
    code = f"import sys\n{imports}\nprint('streamlit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1] == "True"


def test_the_core_runs_without_streamlit():
    """Every module outside the app, imported in one process, loads no streamlit; the app's own modules do."""
    modules = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in (ROOT / "xai_core").rglob("*.py"))
    core = [name.removesuffix(".__init__") for name in modules if ".app" not in name and "__main__" not in name]
    assert "xai_core.attribution.explain" in core
    remedy = "from xai_core.core import torchvision_compat; torchvision_compat.ensure_importable()"
    assert not streamlit_after("\n".join([remedy, *(f"import {name}" for name in core)]))
    assert streamlit_after(f"{remedy}\nimport xai_core.app.shared.widgets")
