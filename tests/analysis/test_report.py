"""The report says what the cards say, in every format."""

from dataclasses import replace

import pytest
from opened_pages import opened, text

from xai_core.__main__ import main
from xai_core.analysis.collected_report import Report
from xai_core.analysis.report import CAN, INTERPRETABILITY, appendix, blocks, scope
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown
from xai_core.core.document import to_html, to_markdown, to_pdf
from xai_core.core.errors import BadRequest
from xai_core.models.zoo.catalog import CARDS


def test_everything_that_is_known_is_in_it():
    said = to_markdown(blocks(list(CARDS.values()), list(METHODS.values())))
    for card in CARDS.values():
        assert f"### {card.title}\n" in said and markdown.escape(card.trained_on) in said
    for method in METHODS.values():
        assert f"### {method.title}\n" in said and markdown.escape(method.card["Beware"]) in said
    assert "| Item | Value |" in said and "## How to read a map" in said
    table = [line for line in said.splitlines() if line.startswith("| ") and line.count("|") == 8]
    assert len(table) == 1 + len(METHODS)


def test_every_family_says_what_it_can_and_cannot_tell():
    assert set(CAN) == set(INTERPRETABILITY) == {method.family for method in METHODS.values()}


def test_the_table_names_scope_interpretability_and_cost():
    """CAM and attention are read from the network itself; a random map says nothing; Grad-CAM goes back to its cut alone."""
    names = ("grad_cam", "cam", "attention_rollout", "random_map")
    assert [scope(METHODS[name]).partition(":")[0] for name in names] == [
        "local, post hoc", "local, intrinsic", "local, intrinsic", "none",
    ]  # fmt: skip
    said = to_markdown(appendix([], [METHODS["grad_cam"], METHODS["random_map"]]))
    assert "| Method | Scope | Map | Interpretability | Cost |" in said
    assert "| Grad-CAM | local, post hoc | " in said and "| 1 + 0 passes |" in said
    assert "| {} + {} passes |".format(*METHODS["lime"].usual_cost) in to_markdown(appendix([], [METHODS["lime"]]))


def test_short_cards_say_less_of_the_same():
    """One line for each method and one row for each model."""
    cards, methods = [CARDS["resnet50"], CARDS["efficientnet_lite0"]], [METHODS["grad_cam"], METHODS["lime"]]
    short, whole = (to_markdown(appendix(cards, methods, whole)) for whole in (False, True))
    assert len(short) < 0.6 * len(whole)
    for part in (*(card.title for card in cards), *(markdown.escape(method.card["Beware"]) for method in methods)):
        assert part in short and part in whole


def test_a_models_own_card_stands_below_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    (tmp_path / "resnet50.md").write_text(
        "# Recipe\nTrained with **care**.\n\n- first\n- second by [ours](https://a.test)\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    said = to_markdown(blocks([CARDS["resnet50"]], [METHODS["grad_cam"]]))
    assert "#### Recipe\n\nTrained with care." in said and "| a | b |\n|---|---|\n| 1 | 2 |" in said
    assert "• first\n\n• second by ours (https" in said and "**" not in said.partition("#### Recipe")[2].partition("##")[0]


def test_the_pdf_is_one_and_has_all_letters():
    found = to_pdf(blocks([CARDS["resnet50"]], [METHODS["grad_cam"], METHODS["lime"]], report=Report("Why? · 1 ≥ 0, ρ")))
    assert found.startswith(b"%PDF-") and found.rstrip().endswith(b"%%EOF") and b"/Type /Font" in found


@pytest.mark.parametrize(("cards", "methods"), [([], ["grad_cam"]), (["resnet50"], [])])
def test_nothing_cannot_be_reported(cards, methods):
    with pytest.raises(BadRequest):
        blocks([CARDS[id] for id in cards], [METHODS[id] for id in methods])


@pytest.mark.parametrize("name", ["report.md", "report.pdf", "report.html", "report.tex.zip"])
def test_the_command_writes_it(tmp_path, name):
    assert main(["report", "--methods", "grad_cam,lime", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
    "wrong",
    [
        ["--out", "report.doc"],
        ["--out", "r.md", "--methods", "nonsense"],
        ["--out", "r.md", "--findings", "missing.zip"],
    ],
)
def test_a_mistake_is_one_line(wrong, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *wrong]) == 2 and capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_page_offers_all_formats_and_survives_an_empty_choice():
    app = opened("pages/10_Report.py")
    assert len(app.get("download_button")) == 4 and "EfficientNet-Lite0" in text(app)
    app.multiselect(key="models").set_value([]).run()
    assert not app.exception and app.info


def test_names_from_a_card_are_text_and_load_nothing(tmp_path, monkeypatch):
    """The PDF's maker would fetch pictures and read local files; the page would load pictures from elsewhere."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    hostile = "![leak](http://leak.test/a.png) <img src=/etc/passwd> a | b"
    card = replace(CARDS["resnet50"], title=hostile, remark=hostile, licence=hostile, classes=(hostile, "plain"))
    (tmp_path / "resnet50.md").write_text("![leak](http://leak.test/own.png)\n\n<img src='/etc/passwd'>")
    document = blocks([card], [METHODS["grad_cam"]])
    written = to_markdown(document)
    assert written.count("leak\\](http") == 4 and "![" not in written.replace("\\![", "")
    assert "<img src=/etc/passwd>" not in written and to_pdf(document).startswith(b"%PDF-")
    assert b"<img" not in to_html(document)
