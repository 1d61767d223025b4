"""Names of files, classes, tags, notes, models, runs and samples that are Markdown or HTML stand on every page as text."""

import pytest
import torch
import torchvision
from noted import put_note, saved
from opened_pages import finished, markdown_sources, opened
from PIL import Image
from small_recordings import recorded

from xai_core.app.metrics import run_tab
from xai_core.app.networks.sections import BUNDLED
from xai_core.app.shared import cache, jobs, predictions
from xai_core.data.datasets import open_dataset
from xai_core.evaluation import runner
from xai_core.review.people import named
from xai_core.review.picture_notes import note

NAME = (
    "![leak](http://leak.test/a.png) [leak](http://leak.test) :material/bolt: :streamlit: :red[leak] $leak$ `leak` *leak* "
    "<script>leak()</script> www.leak.test"
)
FILE = "![leak](www.leak.test) :streamlit: :red[leak] $leak$ `leak` <script>leak()"  # without the stroke, which folders part
# What stands in the text where a name was not escaped.
RAW = (
    "![leak", "[leak](", ":material/bolt", ":streamlit", ":red[leak", "$leak$", "`leak`", "*leak*", "<script>", "://leak",
    "www.leak",
)  # fmt: skip
CLASSES = (NAME, f"second {NAME}", f"third {NAME}")
TITLE = f"{NAME} (hostile)"
DATA = f"{FILE}.csv"


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, a dataset, a run of measurements and a recorded training in which everything has such a name."""
    root = tmp_path_factory.mktemp("hostile")
    weights, data = root / "weights", root / "data"
    weights.mkdir()
    (data / "runs").mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=len(CLASSES)).state_dict(), weights / "hostile.pth")
    card = {"family": "resnet", "architecture": "resnet18", "file": "hostile.pth"}
    card |= dict.fromkeys(("title", "supervision", "trained_on", "licence", "remark"), NAME)
    lines = [f"{key} = {quoted(value)}" for key, value in card.items()]
    lines += [f"classes = [{', '.join(map(quoted, CLASSES))}]", "input_size = 112"]  # small: it is measured on many pages
    (weights / "hostile.toml").write_text("\n".join(lines))
    (weights / "broken.toml").write_text(f"{quoted(NAME)} = 1\nfamily = 'resnet'\narchitecture = 'x'\nfile = 'x.pth'\n")
    rows = [f"path,label,{NAME}"]
    for number in range(6):
        name = f"{number} {FILE}.png"
        Image.new("RGB", (60, 50), (40 * number, 90, 255 - 40 * number)).save(data / name)
        rows.append(f"{name},{CLASSES[number % 3]},{number % 2} {NAME}")
    (data / "broken.png").write_bytes(b"no picture")
    (data / DATA).write_text("\n".join([*rows, f"broken.png,{NAME},", f"0 {FILE}.jpg,no {NAME},"]))
    recorded(data / "runs" / f"{FILE}.parquet", samples=12, epochs=3, classes=(NAME, f"second {NAME}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAI_WEIGHTS", str(weights))
        runner.evaluate(
            ["hostile"], ("grad_cam", "saliency", "layer_cam"), ("deletion", "sparseness"), data / DATA, root / "run" / FILE,
            target="label",
        )  # fmt: skip
    return root


@pytest.fixture(autouse=True)
def hostile(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(made / "weights"))
    monkeypatch.setenv("XAI_DATA", str(made / "data"))
    monkeypatch.setenv("XAI_RUNS", str(made / "run"))
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/review.sqlite")
    monkeypatch.setattr(predictions, "folder", lambda: made / "predictions")
    dataset = open_dataset(made / "data" / DATA)
    for sample in dataset.samples:
        put_note(dataset, sample.name, note([NAME[:60], "![leak](w)"], NAME), named(NAME[:80], "a browser"))


PICTURE = {"picture": "A picture of a dataset", "picture.dataset": DATA, "picture.sample": f"0 {FILE}.png", "model": TITLE}
NETWORKS = {"networks": [TITLE, f"{TITLE}, untrained"], "many": BUNDLED}
VIEWS = ("Confusion", "Groups", "Map", "Clusters", "Calibration", "Per class", "Most confused", "Two models", "Notes")
SINGLE, COMPARED, METRICS = "pages/1_Single_image.py", "pages/3_Model_comparison.py", "pages/4_Faithfulness_metrics.py"
PAGES = [
    (None, {}),
    (SINGLE, PICTURE),
    (SINGLE, PICTURE | {"ask": "A and not B"}),
    (SINGLE, PICTURE | {"picture.sample": NAME}),
    (SINGLE, PICTURE | {"picture.dataset": NAME}),
    (SINGLE, {"picture": "Your own picture", "upload": NAME[:12]}),
    *(("pages/2_Method_comparison.py", PICTURE | {"more": more}) for more in ("Agreement", "Layers", "Download")),
    *((COMPARED, PICTURE | NETWORKS | {"more": more}) for more in ("Agreement", "Difference", "Many pictures", "Download")),
    (METRICS, PICTURE),
    (METRICS, PICTURE | {"evidence": "In a mosaic"}),
    *((METRICS, {"view": "A run", "look": look}) for look in run_tab.SECTIONS),
    *(("pages/5_Pairs.py", PICTURE | {"more": more}) for more in ("Networks", "Metrics")),
    *(("pages/6_Misclassifications.py", {"dataset": DATA, "model": TITLE, "view": view}) for view in VIEWS),
    ("pages/8_Training_evolution.py", {}),
    ("pages/8_Training_evolution.py", {"more": "Table"}),
    ("pages/10_Report.py", {"models": TITLE}),
]


def unescaped(app):
    """Where a name that was not escaped stands on the page: the element, its field and the text around the name."""
    return [
        (kind, field, text[max(0, text.index(raw) - 40) : text.index(raw) + 20])
        for kind, field, text in markdown_sources(app)
        for raw in RAW
        if raw in text
    ]


@pytest.mark.parametrize(
    ("page", "query"), PAGES, ids=[f"{page} {query.get('more') or query.get('view', '')}" for page, query in PAGES]
)
def test_no_page_reads_a_name_as_markdown(page, query):
    app = opened(page, **query)
    sources = markdown_sources(app)
    assert unescaped(app) == []
    assert page is None or any("leak" in text for *_, text in sources) or query.get("view") == "Calibration"


MISSES, JOBS = "pages/6_Misclassifications.py", "pages/11_Jobs.py"


def press(app, start):
    """Press the first button whose key or label begins so; on the page that follows every name is text."""
    buttons = {button.key or button.label: button for button in app.button}
    button = next((button for key, button in buttons.items() if key.startswith(start)), None)
    assert button is not None, (start, list(buttons))
    button.click().run()
    assert not app.exception and unescaped(app) == []


def write(app, tags, note):
    """Write tags and a note into the form of the open picture; while they are not saved, every name is text."""
    next(box for box in app.text_input if box.label.startswith("Tags")).set_value(tags)
    next(box for box in app.text_area if box.label == "Note").set_value(note).run()
    assert not app.exception and unescaped(app) == []


def test_what_the_buttons_of_a_sample_show_is_text(made, monkeypatch, tmp_path):
    """Open a picture, look at the next, write a note, see that of someone else, save both, and export."""
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    app = opened(MISSES, dataset=DATA, model=TITLE, which="All")
    press(app, "open ")
    write(app, f"second {NAME[:40]}", f"first draft {NAME}")
    press(app, "next")
    press(app, "draft ")
    dataset = open_dataset(made / "data" / DATA)
    path = next(sample.name for sample in dataset.samples if sample.name in app.query_params["sample"])
    put_note(dataset, path, note([f"theirs {NAME[:40]}"], f"theirs {NAME}"), named(NAME[:80], "a browser"))
    app.run()
    assert unescaped(app) == []
    press(app, "Save both")
    assert saved(dataset)[path].text == f"theirs {NAME}\nfirst draft {NAME}"
    press(app, "make zip")
    assert unescaped(finished(app)) == []
    assert any(button.proto.label.startswith("ZIP, ") for button in app.get("download_button"))


def test_the_form_of_a_round_and_its_job_show_names_as_text(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    jobs._registry.clear()
    app = opened(MISSES, dataset=DATA, model=TITLE, which="All", classes=[NAME])
    app.session_state["typed name"] = NAME[:80]
    press(app, "round of listed")
    assert any("leak" in box.value for box in app.text_input)
    app.text_input(key="round.title").set_value(NAME[:120]).run()
    press(app, "round.make")
    assert unescaped(finished(app)) == [] and len(app.success) == 1
    app.switch_page(JOBS)
    app.run()
    assert not app.exception and unescaped(app) == []
    jobs._registry.clear()


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("pages/2_Method_comparison.py", PICTURE | {"more": "Sanity check"}),
        (COMPARED, PICTURE | NETWORKS | {"more": "Many pictures"}),
        (METRICS, PICTURE),
    ],
    ids=["sanity check", "many pictures", "self-test"],
)
def test_what_a_pressed_button_computes_is_text_also_as_a_job(page, query, tmp_path, monkeypatch):
    """Every computation is a job here, whose title holds the names; the page Jobs lists it."""
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    cache.clear()
    jobs._registry.clear()
    monkeypatch.setattr("xai_core.app.shared.progress.AT_ONCE_SECONDS", 0)
    app = opened(page, asks=True, **query)
    press(app, "run ")
    assert unescaped(finished(app)) == []
    app.switch_page(JOBS)
    app.run()
    assert not app.exception and unescaped(app) == []
    jobs._registry.clear()


def test_the_results_of_the_sanity_check_are_text():
    app = opened("pages/2_Method_comparison.py", **PICTURE, more="Sanity check")
    assert unescaped(app) == [] and any("explained for" in text for *_, text in markdown_sources(app))
