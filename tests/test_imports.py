"""What importing does and does not do: the public names, Home without torch, and the remedy for torchvision."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import xai_core
from xai_core import failures, review
from xai_core.core import machine, torchvision_compat

ROOT = Path(__file__).parents[1]


def in_fresh_python(code: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Runs the code without this process's OpenMP variables, with those given."""
    others = {name: value for name, value in os.environ.items() if name not in (SPINS, POLICY, THREADS, "MKL_NUM_THREADS")}
    environment = others | (variables or {})
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def answer(code: str, variables: dict[str, str] | None = None) -> str:
    done = in_fresh_python(code, variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LIGHT = (
    "xai_core",
    "xai_core.models.zoo.catalog",
    "xai_core.models.weights.locate",
    "xai_core.data.samples",
    "xai_core.data.image_io",
)
HEAVY = "import sys; print([name for name in ('torch', 'torchvision', 'timm', 'streamlit') if name in sys.modules])"


def test_home_lists_models_weights_and_samples_without_torch():
    assert answer(f"import {', '.join(LIGHT)}; {HEAVY}") == "[]"


def test_finding_weights_loads_nothing_either():
    """Home says of every checkpoint whether it is here."""
    code = "from xai_core.models.weights import locate\nfrom xai_core.models.zoo import catalog\n"
    code += "found = [locate.find(one) for card in catalog.CARDS.values() for one in card.checkpoints]\n"
    assert answer(code + HEAVY) == "[]"


WAITING = "import os, xai_core; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in __import__('sys').modules)"
SPINS, POLICY, THREADS = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"


@pytest.mark.parametrize(("chosen", "policy"), [({}, "PASSIVE"), ({POLICY: "active"}, "active"), ({SPINS: "2000"}, "None")])
def test_threads_sleep_while_they_wait_unless_the_user_chose_otherwise(chosen, policy):
    """The package says so before torch, and with it libgomp, is loaded."""
    assert answer(WAITING, chosen) == f"{policy} False"


def test_libgomp_itself_sees_the_policy():
    """libgomp prints how it is set up when it is loaded."""
    process = in_fresh_python("import xai_core; xai_core.load_sample; import torch", {"OMP_DISPLAY_ENV": "true"})
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in process.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_a_users_number_of_threads_is_kept(threads):
    code = "from xai_core.core import runtime; import torch; runtime.device(); print(torch.get_num_threads())"
    assert int(answer(code, {THREADS: str(threads)})) == min(threads, machine.available_cpus())


def test_torch_would_be_seen():
    """The check above can fail."""
    assert "torch" in answer(f"import xai_core.explanation.question; {HEAVY}")


@pytest.mark.parametrize("package", [xai_core, failures, review], ids=lambda package: package.__name__)
def test_the_public_names_are_those_of_the_stub_and_each_is_there(package):
    stub = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text())
    names = [alias.asname for node in stub.body for alias in node.names]
    assert all(alias.asname == alias.name for node in stub.body for alias in node.names)
    assert sorted(names) == dir(package) and len(set(names)) == len(names)
    for name in names:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="explian"):
        _ = package.explian


def test_star_import_works():
    assert answer("from xai_core import *; print(load_model.__name__)") == "load_model"


def test_torchvision_imports_bare_exactly_where_its_operators_load_and_always_with_the_remedy():
    """True on every machine: on one with a matching pair of packages, and on one with the broken pair."""
    ops = "from xai_core.core import runtime, torchvision_compat as ops; "
    loads = answer(f"{ops}print(ops.compiled_operators_load())") == "True"
    bare = in_fresh_python("import torchvision")
    assert (bare.returncode == 0) == loads
    if not loads:
        assert "torchvision::nms does not exist" in bare.stderr
    models = "import torchvision; print(torchvision.models.resnet18().fc.out_features)"
    assert answer(f"{ops}print(ops.ensure_importable()); {models}").split() == [str(not loads), "1000"]


@pytest.fixture
def declared(monkeypatch):
    """The names of what is declared, recorded instead of done; as in a process that has declared nothing yet."""
    names = []

    class Recorder:
        def __init__(self, namespace, kind):
            assert (namespace, kind) == ("torchvision", "FRAGMENT")

        def define(self, schema):
            names.append(schema.split("(")[0])

    monkeypatch.setattr(torchvision_compat, "_declared", [])
    monkeypatch.setattr(torch.library, "Library", Recorder)
    return names


def test_nothing_is_declared_where_the_operators_load(declared, monkeypatch):
    monkeypatch.setattr(torchvision_compat, "compiled_operators_load", lambda: True)
    assert torchvision_compat.ensure_importable() is False
    assert declared == []


def test_the_missing_operators_are_declared_once_where_they_do_not(declared, monkeypatch):
    monkeypatch.setattr(torchvision_compat, "compiled_operators_load", lambda: False)
    assert torchvision_compat.ensure_importable() is True
    assert torchvision_compat.ensure_importable() is True
    assert declared == list(torchvision_compat.SCHEMAS) == ["nms", "qnms"]


def test_without_torchvision_nothing_is_declared(declared, monkeypatch):
    """Its absence gives a better message than ours could."""
    monkeypatch.setattr(torchvision_compat.importlib.util, "find_spec", lambda name: None)
    assert torchvision_compat.ensure_importable() is False and declared == []
