"""Links between pages: every page is known by its title, a link carries its settings and leads to nothing else."""

from pathlib import Path

import pytest
from opened_pages import ROOT, followed, opened

from xai_core.app.shared import widgets
from xai_core.app.shared.opened_datasets import SAMPLES
from xai_core.app.shared.page_links import BACK, FILES, HOME, ICONS, SECTIONS, SINGLE

PAGE = FILES[SINGLE]


def test_every_page_is_known_by_its_title():
    names = {title: Path(file).stem.lstrip("0123456789_").replace("_", " ") for title, file in FILES.items()}
    assert names.pop(HOME) == "Start"
    assert all(title == name for title, name in names.items())
    assert {*FILES.values()} == {str(file.relative_to(ROOT)) for file in (ROOT / "pages").glob("*.py")}
    listed = [title for titles in SECTIONS.values() for title in titles]
    assert sorted(listed) == sorted(FILES) == sorted(ICONS)


def test_a_link_leaves_no_setting_of_an_earlier_visit():
    app = opened(PAGE, picture="Rocket", method="LayerCAM")
    app.switch_page(FILES[HOME]).run()
    followed(app, "What makes two views of the astronaut similar?")
    assert app.selectbox(key="picture").value == "Astronaut"
    followed(app, "Back to Home")
    followed(app, "How coarse is a map really? The native grid")
    assert app.selectbox(key="picture").value == "Rocket" and app.selectbox(key="method").value == "grad_cam"


@pytest.mark.parametrize("place", ["Nowhere?a=b", "../Home", "https://example.org", "Home"])
def test_the_way_back_leads_to_pages_of_this_app_only(place):
    app = opened(PAGE, **{BACK: place})
    back = [link.proto.page for link in app.get("page_link") if link.proto.label.startswith("Back to")]
    assert back == (["Start"] if place == "Home" else [])


@pytest.mark.parametrize(
    ("dataset", "sample"), [("no such dataset", "a.png"), (SAMPLES, "no such picture"), (SAMPLES, "../../etc/passwd")]
)
def test_a_link_to_a_picture_that_is_not_there_is_one_sentence(dataset, sample):
    app = opened(PAGE, **widgets.dataset_picture(dataset, sample))
    assert len(app.error) + len(app.info) == 1 and not app.get("imgs")
