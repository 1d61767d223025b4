"""The drawing of the floors and the code are the same thing; each check is shown to notice what it is there for.

The contracts stand in pyproject.toml and are checked by import-linter, in a fresh process on a copy where the copy is
made wrong on purpose.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
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
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
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


SOURCES = [ROOT / "Home.py", *sorted((ROOT / "pages").glob("*.py")), *sorted((ROOT / "xai_core").rglob("*.py"))]
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def paths_named_in(text):
    """Paths in backticks, as written: whatever ends in a file's suffix or a slash, without blanks and placeholders."""
    return re.findall(r"`([\w./-]*?(?:\.(?:pyi?|md|toml|csv|parquet|json)|/))`", text)


def missing_paths(text):
    """Named paths that are neither below the repository nor below the package."""
    return [path for path in paths_named_in(text) if not any((start / path).exists() for start in (ROOT, ROOT / "xai_core"))]


def test_every_path_in_the_architecture_exists():
    assert len(paths_named_in(DOCUMENT)) >= 25
    assert missing_paths(DOCUMENT) == []
    assert missing_paths("`xai_core/data/` `data/selection.py` `data/nowhere.py` `xai_core/nowhere/`") == [
        "data/nowhere.py", "xai_core/nowhere/",
    ]  # fmt: skip


def test_the_architecture_answers_where_25_wishes_are_met():
    table = DOCUMENT.split("## I want to change")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 25
    assert [row for row in rows if not paths_named_in(row)] == [], "every row names a file"


def imports_of(code):
    """The top-level packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


# Benchmarks of the app itself: one speaks Streamlit's protocol to a server, as a browser does; one times a page's script.
OF_THE_APP = {Path("benchmarks/visitors.py"), Path("benchmarks/rerun.py")}


def test_only_the_app_and_its_pages_import_streamlit():
    """import-linter sees the package alone; this sees functions that import late, and the files around the package."""
    files = [*SOURCES, *(ROOT / "benchmarks").glob("*.py")]
    with_streamlit = {file.relative_to(ROOT) for file in files if "streamlit" in imports_of(file.read_text())}
    assert Path("pages/0_Start.py") in with_streamlit and Path("xai_core/app/shared/widgets.py") in with_streamlit
    outside = {file for file in with_streamlit if file.parts[0] not in ("Home.py", "pages")} - OF_THE_APP
    assert not {file for file in outside if file.parts[:2] != ("xai_core", "app")}
    assert "streamlit" in imports_of("def f():\n    from streamlit.testing.v1 import AppTest")


PUBLIC_IN_SPITE_OF_THE_UNDERSCORE = {"_asdict", "_fields", "_make", "_replace"}  # of named tuples
PRIVATE_OF_LIBRARIES = {
    "_pos_embed": "timm adds a ViT's positions and class token in it, and has no public name for that step",
    "_main_script_path": "`streamlit run` puts the app's path there, beside which Streamlit looks for its settings",
    "_instance": "Streamlit never forgets the server of a process: another one could not be started when it has ended",
}


def private_attributes(code):
    """Attributes `x._name` of others: x is neither self nor cls, and nothing in the file defines the name."""
    tree = ast.parse(code)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    of_self = {id(node) for node in attributes if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")}
    own |= {node.attr for node in attributes if id(node) in of_self and isinstance(node.ctx, ast.Store)}
    allowed = own | PUBLIC_IN_SPITE_OF_THE_UNDERSCORE | PRIVATE_OF_LIBRARIES.keys()
    return [
        ast.unparse(node)
        for node in attributes
        if id(node) not in of_self and re.fullmatch(r"_[^_]\w*", node.attr) and node.attr not in allowed
    ]


def test_no_module_touches_what_is_private_to_another():
    touched = {str(file.relative_to(ROOT)): private_attributes(file.read_text()) for file in SOURCES}
    assert {file: names for file, names in touched.items() if names} == {}
    code = (
        "class A:\n    def f(self, b):\n        self._memory = b._memory\n        return b._hidden, other._f, b._replace()"
    )
    assert private_attributes(code) == ["b._hidden", "other._f"]


def test_no_two_public_classes_have_one_name():
    files = defaultdict(list)
    for file in SOURCES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(str(file.relative_to(ROOT)))
    assert len(files) > 50
    assert {name: where for name, where in files.items() if len(where) > 1} == {}
