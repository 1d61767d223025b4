"""The package as users get it: a source distribution, a wheel made from it, and the wheel installed.

All of it without a network: the wheel goes into an empty virtual environment that sees the installed dependencies. Every
command runs in a folder that is not the project's.
"""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import urllib.request
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from xai_core.core.version import __version__
from xai_core.data.samples import SAMPLES
from xai_core.models.zoo.catalog import CARDS, cards

ROOT = Path(__file__).parents[1]
# What git has of the project at its top, as far as a build needs it. `data` and `weights` may hold gigabytes of others.
SOURCES = [
    "pyproject.toml", "setup.py", "MANIFEST.in", "requirements.txt", "*.md", "LICENSE", "NOTICE", "Home.py", "pages/*.py",
    ".streamlit/*", "docs/**/*", "weights/scenes_*", "weights/world_*", "data/runs/scenes_*.parquet",
    "data/runs/world_*.parquet", "data/runs/quick/**/*", "data/runs/truth/**/*", "data/predictions/*",
    "data/review/*", "xai_core/**/*",
]  # fmt: skip


def run(*command, cwd, env=None, timeout=120):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(source, kind, folder):
    """A distribution of these sources: an sdist or a wheel, made by the declared build backend without a network."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    return folder / run(sys.executable, "-W", "ignore", "-c", code, cwd=source).splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source distribution, unpacked: that too must be complete."""
    checkout, dist = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for path in [path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()]:
        target = checkout / path.relative_to(ROOT)
        if "__pycache__" not in target.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    sdist = built(checkout, "sdist", dist)
    with tarfile.open(sdist) as archive:
        archive.extractall(dist, filter="data")
    return built(dist / sdist.name.removesuffix(".tar.gz"), "wheel", dist)


@dataclass(frozen=True)
class Installation:
    bin: Path
    elsewhere: Path  # the folder where commands run
    data: Path  # what the package writes goes there
    env: dict[str, str]

    def python(self, code):
        return run(self.bin / "python", "-c", code, cwd=self.elsewhere, env=self.env).strip()

    def command(self, *arguments):
        return run(self.bin / "xai-core", *arguments, cwd=self.elsewhere, env=self.env)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder, elsewhere, home = (tmp_path_factory.mktemp(name) for name in ("venv", "elsewhere", "home"))
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    run(
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index",
        wheel, cwd=elsewhere,
    )  # fmt: skip
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    unset = ("PYTHONPATH", "XDG_DATA_HOME", *(name for name in os.environ if name.startswith("XAI_")))
    env = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(home)}
    return Installation(folder / "bin", elsewhere, home / ".local" / "share" / "xai-core", env)


def test_the_wheel_holds_the_package_and_what_it_needs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"xai_core-{__version__}.dist-info/METADATA").decode()
    for file in (
        "py.typed", "__init__.pyi", "pairs/published.csv", "bundled/Home.py", "bundled/.streamlit/config.toml",
        "bundled/docs/icon.png", "bundled/data/runs/quick/manifest.json", "bundled/data/runs/truth/manifest.json",
        "bundled/data/runs/scenes_barlow.parquet", "bundled/data/predictions/world_planted.parquet",
        "bundled/data/predictions/training_world_planted.parquet",
        "bundled/data/review/example.json", "failures/__init__.pyi", "review/__init__.pyi",
        "bundled/weights/scenes_barlow.safetensors", "bundled/weights/scenes_barlow.toml",
        "bundled/weights/scenes_barlow.md",
    ):  # fmt: skip
        assert f"xai_core/{file}" in names, file
    pages = {f"xai_core/bundled/pages/{path.name}" for path in (ROOT / "pages").glob("*.py")}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "xai_core").rglob("*.py")}
    python = {name for name in names if name.endswith(".py")}
    assert python == modules | pages | {"xai_core/bundled/Home.py"}
    assert {name.split("/")[0] for name in names} == {"xai_core", f"xai_core-{__version__}.dist-info"}
    assert all(f"xai_core-{__version__}.dist-info/licenses/{name}" in names for name in ("LICENSE", "NOTICE"))
    assert wheel.stat().st_size < 58e6  # 13 MB are the run of the leaderboard, 3 MB features of training pictures
    pins = re.findall(r"^([\w\[\]-]+)==([\w.]+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)) == sorted(f"{a}>={b}" for a, b in pins)


COMPLETE = """
import json, xai_core
from xai_core.core import settings
from xai_core.evaluation.store import find_runs
from xai_core.pairs.benchmark import published
from xai_core.training.dynamics.readers import offered_runs

picture = xai_core.load_sample("astronaut")
names = ["efficientnet_lite0", "scenes_finetuned", "scenes_supervised", "scenes_barlow"]
names += ["world_planted", "world_clean", "world_barlow"]
models = [xai_core.load_model(name) for name in names]
print(json.dumps({
    "top": [model.top_k(picture, 1)[0].name for model in models],
    "published": len(published("barlow_twins")),
    "trainings": list(offered_runs()),
    "runs": [path.name for path in find_runs(settings.runs_folders())],
    "package": xai_core.__file__,
    "program": settings.PROGRAM,
    "weights": [str(path) for path in settings.weights_folders()],
}))
"""


def test_the_installed_package_is_complete(installed):
    """Its networks, its table and its runs are there; it reads nothing of the project and writes to the user's folder."""
    said = json.loads(installed.python(COMPLETE))
    assert len(said["top"]) == 7 and all(said["top"]) and said["published"] > 100
    trainings = ["scenes_barlow", "scenes_finetuned", "scenes_supervised", "world_barlow", "world_clean", "world_planted"]
    assert said["trainings"] == trainings and said["runs"] == ["quick", "truth"]
    package = Path(said["package"]).parent
    assert package.is_relative_to(installed.bin.parent) and said["program"] == "xai-core"
    assert said["weights"] == [str(installed.data / "weights"), str(package / "bundled" / "weights")]


def test_the_command_does_what_the_module_does(installed):
    assert installed.command("--version").strip() == __version__
    said = installed.command("--help")
    assert said.startswith("usage: xai-core ") and "app " in said
    module = run(installed.bin / "python", "-m", "xai_core", "--help", cwd=installed.elsewhere, env=installed.env)
    assert module == said
    assert "scenes_barlow" in installed.command("weights", "list")
    said = installed.command("explain", "astronaut", "--model", "scenes_supervised", "--out", "out")
    assert (installed.elsewhere / "out" / "astronaut_grad_cam.json").is_file(), said


def test_the_dashboard_is_served(installed):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = installed.elsewhere / "log"
    command = [installed.bin / "xai-core", "app", "--port", str(port), "--server.headless", "true"]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=installed.elsewhere, env=installed.env, stdout=file, stderr=file)
    try:
        assert answer(port, "_stcore/health", process, log) == "ok"
        assert "<title>" in answer(port, "Single_image", process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert "Traceback" not in log.read_text()


def answer(port, path, process, log):
    """What the server answers, as soon as it does."""
    for _ in range(150):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as reply:
                return reply.read().decode()
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not start: {log.read_text()}")


def test_the_notice_names_every_network_and_every_sample():
    """With the licence that the card states; what a probe or a network of this project says goes with its card."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for card in CARDS.values():
        assert card.licence, f"{card.id} states no licence"
        stated = re.search(rf"^{card.id.replace('_2x', '_1x')}\b.*$", notice, re.MULTILINE)
        assert card.id == "efficientnet_lite0" or (stated and card.licence in stated[0]), card.id
    assert all(re.search(rf"^{name} ", notice, re.MULTILINE) for name in SAMPLES)
    assert all(card.licence for id, card in cards().items() if id.startswith("scenes_"))


# What Apache-2.0 code may depend on. MPL-2.0 and LGPL-3.0 bind changes of the library alone; NOTICE says what they ask.
ALLOWED = r"Apache|BSD|MIT|PSF|Python Software Foundation|MPL-2\.0|LGPL-3\.0-only|UNKNOWN"


def test_licences_of_dependencies_allow_the_use():
    """Each dependency's own statement; whose metadata state none must have a licence file that NOTICE names."""
    pins = re.findall(r"^([\w-]+)(?:\[[\w,-]+\])?==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in pins:
        metadata = importlib.metadata.metadata(name)
        classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
        stated = metadata.get("License-Expression") or " ".join(classifiers) or metadata.get("License", "")
        assert re.search(ALLOWED, stated), (name, stated)
        assert not re.search(r"GPL|\bMPL-|UNKNOWN", stated) or name in notice, name


def test_installers_take_the_requirements_as_they_are():
    """Streamlit Cloud takes the first of these files that it finds, and reads requirements.txt with uv, then with pip."""
    before = ("uv.lock", "Pipfile", "environment.yml", "environment.yaml", "uv.toml")
    assert [name for name in before if (ROOT / name).exists()] == []
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    assert len(pins) > 20 and all(re.fullmatch(r"[\w-]+(\[\w+\])?==[\w.]+", pin) for pin in pins), pins
    assert not any("://" in line for line in lines), "no line waits to be taken out of a comment"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["uv"]["pip"]["torch-backend"] == "auto"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    uv, pip = re.search(
        r"\$\(BIN\)/python -m uv (pip install .*) \|\| \\\n\t\$\(BIN\)/python -m (pip install .*)", makefile
    ).groups()
    assert uv.endswith("-r $(1)") and pip.endswith("-r $(1)") and "index" not in uv + pip
