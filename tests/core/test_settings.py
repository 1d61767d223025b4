"""The variables of the environment: read in one module, documented in one table, refused where wrong."""

import os
import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from xai_core.__main__ import main
from xai_core.app.shared import loaded_models
from xai_core.core import runtime, settings
from xai_core.core.errors import BadRequest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "Home.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "xai_core").rglob("*.py")]
READS_THE_ENVIRONMENT = re.compile(r"\benviron(b|ment)?\s*[\[.(]|\bimport\b.*\b(environ|getenv)\b|\bgetenv\b")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for setting in settings.SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)


def test_only_one_module_reads_the_environment():
    found = [path for path in SOURCES if READS_THE_ENVIRONMENT.search(path.read_text(encoding="utf-8"))]
    assert found == [Path(settings.__file__)]


def test_the_table_in_the_readme_is_that_of_the_code():
    rows = re.findall(r"^\| `(XAI_\w+)` \| (.+) \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(one.name, one.meaning, one.default) for one in settings.SETTINGS]


def test_no_other_variable_is_named_anywhere():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md"), *SOURCES]
    named = {name for path in documents for name in re.findall(r"\bXAI_[A-Z_]+\b", path.read_text(encoding="utf-8"))}
    assert named == {one.name for one in settings.SETTINGS}


@pytest.mark.parametrize(
    ("name", "wrong", "allowed"),
    [
        ("XAI_DATA", __file__, "a folder, or several with"),
        ("XAI_RUNS", f"{Path(__file__).parent}{os.pathsep}{__file__}", "a folder, or several with"),
        ("XAI_NOTES", __file__, "a folder"),
        ("XAI_REVIEW_DB", "mysql://server/name", "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, not 'mysql:"),
        ("XAI_REVIEW_DB", "sqlite://", "sqlite:///FILE or postgresql"),
        ("XAI_READONLY", "yes", "0 or 1"),
        ("XAI_CACHE", __file__, "a folder"),
        ("XAI_WEIGHTS", __file__, "a folder"),
        ("XAI_SHARED_WEIGHTS", __file__, "a folder"),
        ("XAI_DEVICE", "gpu", "cpu, mps, cuda or cuda:N"),
        ("XAI_MODELS_GB", "much", "a number above 0"),
        ("XAI_MODELS_GB", "nan", "a number above 0"),
        ("XAI_MODELS_GB", "-1", "a number above 0"),
        ("XAI_MODELS", "my_models.py", "written package.module:function"),
        ("XAI_HALF", "yes", "0 or 1"),
        ("XAI_MODEL_UPLOADS", "true", "0 or 1"),
        ("XAI_HUB_CARDS", "on", "0 or 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(monkeypatch, capsys, name, wrong, allowed):
    monkeypatch.setenv(name, wrong)
    with pytest.raises(BadRequest, match=f"{name} must be {allowed}"):
        settings.check()
    assert main(["metrics"]) == 2 and f"{name} must be {allowed}" in capsys.readouterr().err


def test_no_password_is_in_the_message_about_a_wrong_value(monkeypatch):
    monkeypatch.setenv("XAI_REVIEW_DB", "postgres://user:secret@host/name")
    with pytest.raises(BadRequest, match=r"not 'postgres://\.\.\.@host/name'") as refusal:
        settings.check()
    assert "secret" not in str(refusal.value)


def test_every_variable_is_tried_with_a_wrong_value():
    mark = next(one for one in test_a_wrong_value_is_refused_with_what_is_allowed.pytestmark if one.name == "parametrize")
    assert {row[0] for row in mark.args[1]} == {one.name for one in settings.SETTINGS}


def test_a_page_says_which_variable_is_wrong(monkeypatch):
    monkeypatch.setenv("XAI_MODELS_GB", "much")
    app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=60).run()
    assert [one.value for one in app.error] == [
        "The environment variable XAI_MODELS_GB must be a number above 0, not 'much'."
    ]
    assert not app.exception and not app.title


def test_a_value_is_read_when_it_is_asked_for(monkeypatch):
    assert loaded_models.budget() == 800_000_000 and not settings.HALF.value()
    monkeypatch.setenv("XAI_MODELS_GB", "1.5")
    monkeypatch.setenv("XAI_HALF", "1")
    assert loaded_models.budget() == 1_500_000_000 and settings.HALF.value()
    monkeypatch.setenv("XAI_MODELS_GB", " ")
    assert loaded_models.budget() == 800_000_000


@pytest.mark.parametrize(("name", "folders"), [("XAI_DATA", settings.data_folders), ("XAI_RUNS", settings.runs_folders)])
def test_folders_of_datasets_and_of_runs_are_given_alike(monkeypatch, tmp_path, name, folders):
    """Several with a separator, blanks and repetitions left out, missing ones kept; without the variable, `data/`."""
    assert folders() == (ROOT / "data",)
    monkeypatch.setenv(name, os.pathsep.join([f" {tmp_path}", "", str(tmp_path / "missing"), str(tmp_path)]))
    assert folders() == (tmp_path, tmp_path / "missing")
    monkeypatch.setenv(name, os.pathsep)
    assert folders() == (ROOT / "data",)
    monkeypatch.setenv(name, "~/pets")
    assert folders() == (Path.home() / "pets",)


def test_new_runs_and_records_go_to_the_first_folder(monkeypatch, tmp_path):
    assert settings.new_runs_folder() == settings.trainings_folder() == ROOT / "data" / "runs"
    monkeypatch.setenv("XAI_RUNS", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    monkeypatch.setenv("XAI_DATA", os.pathsep.join([str(tmp_path / "c"), str(tmp_path / "d")]))
    assert settings.new_runs_folder() == tmp_path / "a" and settings.trainings_folder() == tmp_path / "c" / "runs"


def test_weights_are_looked_for_in_three_folders(monkeypatch, tmp_path):
    assert settings.weights_folders() == (ROOT / "weights",)
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("XAI_SHARED_WEIGHTS", str(tmp_path / "shared"))
    assert settings.weights_folders() == (tmp_path / "mine", tmp_path / "shared", ROOT / "weights")


def test_an_installed_package_writes_to_the_users_data_folder_and_reads_its_own_beside(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "INSTALLED", True)
    monkeypatch.setattr(settings, "RESOURCES", tmp_path / "bundled")
    monkeypatch.setattr(settings.platformdirs, "user_data_path", lambda name, appauthor: tmp_path / name)
    assert settings.storage() == tmp_path / "xai-core"
    assert settings.data_folders() == settings.runs_folders() == (tmp_path / "xai-core/data", tmp_path / "bundled/data")
    assert settings.weights_folders() == (tmp_path / "xai-core/weights", tmp_path / "bundled/weights")
    assert settings.notes_folder() == tmp_path / "xai-core/data/notes"


def test_a_device_that_this_machine_does_not_have_is_refused(monkeypatch):
    monkeypatch.setenv("XAI_DEVICE", "cuda:99")
    runtime.device.cache_clear()
    try:
        with pytest.raises(BadRequest, match="no device 'cuda:99': set XAI_DEVICE"):
            runtime.device()
        monkeypatch.setenv("XAI_DEVICE", "cpu")
        assert runtime.device().type == "cpu"
    finally:
        runtime.device.cache_clear()


def test_messages_to_visitors_name_no_folder_of_the_server(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "my weights"))
    texts = {
        f"Put it at {tmp_path / 'my weights' / 'deit.pth'}.": "Put it at my weights/deit.pth.",
        f"No run in {settings.RESOURCES / 'data' / 'runs' / 'first'}": "No run in data/runs/first",
        "[Errno 13] '/srv/secret/place/table.csv' cannot be read": "[Errno 13] 'table.csv' cannot be read",
        "https://host/path/file.pth, 24/7, a/b/c.png, ./x/y": "https://host/path/file.pth, 24/7, a/b/c.png, ./x/y",
        "'/srv/my secret/the (old) place/table.csv' is empty": "'table.csv' is empty",
        'No file "/home/jo\'s own/table.csv"': 'No file "table.csv"',
        "/srv/my secret/the place/a b.csv cannot be read": "a b.csv cannot be read",
        "/srv/secret/table.csv is not in data/runs": "table.csv is not in data/runs",
        "width / height / depth": "width / height / depth",
    }
    assert {text: settings.without_folders(text) for text in texts} == texts


def test_pages_show_errors_without_folders():
    """Every message of an error goes through `error_text`; `escape` alone would keep the folders."""
    pages = [*(settings.RESOURCES / "xai_core" / "app").rglob("*.py"), *(settings.RESOURCES / "pages").glob("*.py")]
    escaped = r"escape\((str\((error|stage|result|problem)\)|f\"[^\"]*\{error|\w+\.error\)|f\"[^\"]*\.error)"
    shown = re.compile(escaped + r"|st\.\w+\((f\"[^\"]*\{|str\()(error|message)\b(?!_)|st\.error\(message")
    hits = {page.name: shown.findall(page.read_text()) for page in pages if page.name != "error_text.py"}
    assert not {name for name, texts in hits.items() if texts}
