"""What was collected for a report: its file is read back as it was, damaged ones are refused, every format holds it all."""

import contextlib
import io
import json
import re
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from xai_core.__main__ import main
from xai_core.analysis import collected_report
from xai_core.analysis.collected_report import MOST_ITEMS, Report, ReportItem
from xai_core.analysis.report import FORMATS, blocks
from xai_core.attribution.catalog import METHODS
from xai_core.core.document import TextTable, column_widths, pdf_pages, to_markdown
from xai_core.core.errors import BadRequest
from xai_core.models.zoo.catalog import CARDS

APP = "https://app.test"
SETTINGS = {
    "page": "Single image", "model": "efficientnet_lite0", "method": "grad_cam", "picture": "Astronaut", "cut": "stage 4",
    "class": "football helmet (560)", "precision": "exact", "seed": "0", "opacity": "0.8", "range": "symmetric",
}  # fmt: skip


def picture(seed, size=(900, 640), kind="JPEG"):
    """Coarse blocks, as a map has them, in a file."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(file, kind)
    return file.getvalue()


def six_findings():
    """Three maps, two charts and a table, about one network and three methods, with a sentence between them."""
    ids = ("grad_cam", "lime", "occlusion")
    link = "Single_image?model=efficientnet_lite0&class=football+helmet"
    items = [
        ReportItem(
            "map", f"Map {number}. " + "Target, model and method. " * 8, SETTINGS, link, picture(number), methods=(id,)
        )
        for number, id in enumerate(ids)
    ]
    items.insert(1, ReportItem("text", "The maps agree on the helmet.\n\nLIME does not."))
    for number, size in enumerate([(1100, 460), (900, 860)]):
        chart = json.dumps({"mark": "bar", "data": {"url": "https://elsewhere.test/data.csv"}})
        items.append(ReportItem("figure", f"Chart {number}", SETTINGS, "Pairs", picture(9, size, "PNG"), chart=chart))
    rows = tuple((f"method {number}", f"{number / 7:.3f}", "–") for number in range(30))
    items.append(ReportItem("table", "Scores", SETTINGS, head=("Method", "Deletion", "Control"), rows=rows))
    return Report("Why it is a helmet", tuple(items))


REPORT = six_findings()
CHOSEN = [CARDS["efficientnet_lite0"]], [METHODS[id] for id in REPORT.methods]


def document(report=REPORT):
    """The report with short cards, as the page makes it when something was added."""
    return blocks(*CHOSEN, report=report, app=APP, whole=False)


def test_the_file_is_read_back_as_it_was():
    content = REPORT.to_zip()
    assert Report.from_zip(content) == REPORT and content == REPORT.to_zip()
    assert Report.from_zip(Report().to_zip()) == Report()
    assert REPORT.methods == ("grad_cam", "lime", "occlusion") and REPORT.models == ()


def test_parts_are_numbered_in_their_order_and_say_their_settings():
    said = to_markdown(document())
    places = [said.index(words) for words in ("Figure 1. Map 0", "The maps agree", "LIME does not", "Figure 2. Map 1")]
    assert places == sorted(places) and "Figure 5. Chart 1" in said and "Table 1. Scores. The first 12 of 30 rows." in said
    assert (
        said.count("opacity: 0.8") == 6 and f"(<{APP}/Single_image?model=efficientnet_lite0&class=football+helmet>)" in said
    )
    assert "method 11" in said and "method 12" not in said
    assert f"]({APP}" not in to_markdown(blocks(*CHOSEN, report=REPORT)), "no address is known: no links"


class Loads(HTMLParser):
    """Everything that a browser would fetch, run, or show as a page, and the links."""

    def __init__(self):
        super().__init__()
        self.loads, self.links, self.tags = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "data", "poster", "action") or (name == "href" and tag != "a"):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)


def test_the_html_asks_for_nothing():
    """Pictures are inside; no script, style sheet or font; links lead to the app alone."""
    text = FORMATS["HTML"][2](document()).decode()
    page = Loads()
    page.feed(text)
    assert len(page.loads) == 5 and all(one.startswith("data:image/") for one in page.loads)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert all(one.startswith((APP, "#")) for one in page.links) and any(one.startswith(APP) for one in page.links)
    assert "url(" not in text and "@import" not in text and "default-src 'none'" in text


def pages_of(pdf):
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_six_findings_take_less_than_five_pages():
    assert 1 < pages_of(FORMATS["PDF"][2](document())) < 5
    assert pages_of(FORMATS["PDF"][2](blocks(*CHOSEN, whole=False))) == 1, "the count is one"


@pytest.mark.parametrize(("name", "text"), [("Markdown", "report.md"), ("LaTeX", "report.tex")])
def test_archives_hold_every_picture_they_name(name, text):
    with zipfile.ZipFile(io.BytesIO(FORMATS[name][2](document()))) as archive:
        named = re.findall(r"(?:!\[.*?\]\(|\\includegraphics\[.*?\]\{)(pictures/[^)}]*)", archive.read(text).decode())
        assert sorted(named) == sorted(set(archive.namelist()) - {text}) and len(named) == 5
        sizes = [Image.open(io.BytesIO(archive.read(name))).size for name in named]
    assert sizes == [(900, 640)] * 3 + [(1100, 460), (900, 860)]


def test_hostile_words_stay_words():
    """As a caption, a setting, a cell and a title; the specification of a chart is in the report's own file alone."""
    hostile = "<script>alert(1)</script> ![x](http://leak.test/a.png) \\input{/etc/passwd}"
    table = ReportItem("table", hostile, {hostile: hostile}, head=(hostile,), rows=((hostile,),))
    figure = ReportItem("figure", hostile, picture=picture(1), chart="{}")
    found = {name: write(document(Report(hostile, (table, figure)))) for name, (_, _, write) in FORMATS.items()}
    assert b"<script" not in found["HTML"] and b"elsewhere.test" not in FORMATS["HTML"][2](document())
    with zipfile.ZipFile(io.BytesIO(found["Markdown"])) as archive:
        assert not re.search(r"(?<!\\)\]\(http", archive.read("report.md").decode())
    with zipfile.ZipFile(io.BytesIO(found["LaTeX"])) as archive:
        assert "\\input" not in archive.read("report.tex").decode().replace("\\textbackslash{}input", "")


def changed(name, content):
    """The file of the report with another file in it, or with one removed (None)."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(REPORT.to_zip())) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for one in old.namelist():
            if one != name:
                new.writestr(one, old.read(one))
        if content is not None:
            new.writestr(name, content)
    return file.getvalue()


def described(**values):
    """The report's file with other values in report.json; those of the first item by names that begin with item_."""
    with zipfile.ZipFile(io.BytesIO(REPORT.to_zip())) as archive:
        whole = json.loads(archive.read("report.json"))
    for name, value in values.items():
        (whole["items"][0] if name.startswith("item_") else whole)[name.removeprefix("item_")] = value
    return changed("report.json", json.dumps(whole))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lambda: b"", "not a report"),
        (lambda: b"PK\x03\x04 nothing", "not a report"),
        (lambda: REPORT.to_zip()[:5000], "not a report"),
        (lambda: changed("report.json", None), "report.json is missing"),
        (lambda: changed("report.json", b"{"), "not a report"),
        (lambda: changed("report.json", b"[" * 100_000), "nested too deeply"),
        (lambda: changed("report.json", b"[]"), "does not say"),
        (lambda: changed("report.json", b"\xff\xfe{}"), "not a report"),
        (lambda: changed("pictures/1.jpg", None), "pictures/1.jpg is missing"),
        (lambda: changed("pictures/1.jpg", b"<svg onload='alert(1)'/>"), "not a PNG or JPEG"),
        (lambda: changed("pictures/1.jpg", picture(1, kind="GIF")), "not a PNG or JPEG"),
        (lambda: changed("pictures/1.jpg", bytes(20 * 2**20)), "larger than the 10 MB"),
        (lambda: changed("charts/5.json", b"[]"), "not a specification"),
        (lambda: described(format="xai_core plan"), "does not say"),
        (lambda: described(version=2), "version 2"),
        (lambda: described(title=None), "no title"),
        (lambda: described(items="many"), "no list"),
        (lambda: described(items=[{}] * (MOST_ITEMS + 1)), "up to 100"),
        (lambda: described(items=[1]), "not an object"),
        (lambda: described(item_kind="script"), "no known kind"),
        (lambda: described(item_link="javascript:alert(1)"), "leads out of the app"),
        (lambda: described(item_link="//elsewhere.test/x"), "leads out of the app"),
        (lambda: described(item_settings=[]), "settings"),
        (lambda: described(item_settings={"a": 1}), "settings"),
        (lambda: described(item_caption="x" * 20_001), "caption"),
        (lambda: described(item_picture=""), "needs a picture"),
        (lambda: described(item_picture="../../etc/passwd"), "missing or damaged"),
        (lambda: described(item_head=["a"], item_rows=[["1", "2"]]), "do not fit"),
        (lambda: described(item_rows=[["x"]] * 501), "more than 500"),
        (lambda: described(item_methods=[1]), "methods"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(content, why):
    with pytest.raises(BadRequest, match=re.escape(why)) as refused:
        Report.from_zip(content())
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 250


def test_a_flipped_byte_is_noticed_or_harmless():
    """Somewhere in every part of the file; what is read is then within its bounds, and never anything else than a report."""
    content = REPORT.to_zip()
    for place in range(0, len(content), max(1, len(content) // 60)):
        damaged = content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]
        with contextlib.suppress(BadRequest):
            assert isinstance(Report.from_zip(damaged), Report)


def test_a_report_has_bounds(monkeypatch):
    with pytest.raises(BadRequest, match="up to 100 parts"):
        Report().with_items([ReportItem("text", "x")] * (MOST_ITEMS + 1))
    monkeypatch.setattr(collected_report, "LARGEST_REPORT", 10_000)
    with pytest.raises(BadRequest, match="MB"):
        Report().with_items(REPORT.items)
    with pytest.raises(BadRequest, match="larger than"):
        Report.from_zip(REPORT.to_zip())


def test_the_command_writes_the_findings_too(tmp_path):
    (tmp_path / "parts.zip").write_bytes(REPORT.to_zip())
    out = tmp_path / "report.md"
    assert (
        main(["report", "--methods", "lime", "--findings", str(tmp_path / "parts.zip"), "--short", "--out", str(out)]) == 0
    )
    assert "# Why it is a helmet" in out.read_text() and "The maps agree on the helmet." in out.read_text()


def test_no_word_of_a_table_is_broken_in_the_pdf():
    """The columns of the cards' tables are as wide as their widest word, and together as wide as the page."""
    pdf = pdf_pages()
    pdf.set_font("dejavu", "B", size=7.5)
    tables = [block for block in document() if isinstance(block, TextTable)]
    assert len(tables) >= 3
    for table in tables:
        columns = list(zip(table.head, *table.rows, strict=True))
        widths = column_widths(pdf, columns)
        assert sum(widths) == pytest.approx(pdf.epw)
        for width, column in zip(widths, columns, strict=True):
            assert width > max(pdf.get_string_width(word) for cell in column for word in cell.split()) + 2
    pdf.output()  # closes the files of the fonts
