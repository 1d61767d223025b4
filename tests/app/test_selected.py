"""Several pictures of the gallery: selected, kept, tagged together, reviewed, opened where they are compared."""

import pytest
from noted import saved
from opened_pages import followed, text
from sample_predictions import folders, opened_on_samples  # noqa: F401  (an autouse fixture is among them)

from xai_core.app.shared.opened_datasets import SAMPLES
from xai_core.data.corrupted_samples import changed_samples

PAGE = "pages/6_Misclassifications.py"
ALL = {"true": "(all)", "predicted": "(all)"}


def boxes(app):
    return [element for element in app.checkbox if (element.key or "").startswith("select ")]


def select(app, *places):
    for place in places:
        boxes(app)[place].check().run()
        assert not app.exception
    return [boxes(app)[place].key.removeprefix("select ") for place in places]


def button(app, key):
    return next(element for element in app.button if element.key == key)


def test_a_selection_stays_while_other_pictures_are_listed():
    app = opened_on_samples(PAGE, **ALL)
    paths = select(app, 3, 1)
    assert "**2 pictures selected**" in text(app)
    app.session_state["page"] = 2
    app.run()
    assert "**2 pictures selected**" in text(app) and not any(box.value for box in boxes(app))
    app.session_state["page"] = 1
    app.run()
    assert {box.key.removeprefix("select ") for box in boxes(app) if box.value} == set(paths)
    boxes(app)[3].uncheck().run()
    assert "**1 picture selected**" in text(app)
    button(app, "clear selection").click().run()
    assert "selected" not in text(app) and not any(box.value for box in boxes(app))


def test_the_whole_page_is_one_click():
    app = opened_on_samples(PAGE, **ALL)
    shown = len(boxes(app))
    button(app, "select all").click().run()
    assert not app.exception and f"**{shown} pictures selected**" in text(app) and all(box.value for box in boxes(app))


def test_all_are_tagged_and_keep_the_tags_that_they_have():
    app = opened_on_samples(PAGE, **ALL)
    paths = select(app, 0, 2)
    for tags in ("odd", "blurred, dark"):
        app.text_input(key="tags of the selected").set_value(tags).run()
        button(app, "tag selected").click().run()
        assert not app.exception and not app.error and app.text_input(key="tags of the selected").value == ""
    stored = saved(changed_samples())
    assert set(stored) == set(paths) and {one.tags for one in stored.values()} == {("blurred", "dark", "odd")}
    button(app, "tag selected").click().run()
    assert [element.value for element in app.error] == ["Type a tag first."]


def test_they_go_to_a_review_round():
    app = opened_on_samples(PAGE, **ALL)
    paths = select(app, 0, 1, 2)
    assert button(app, "round of selected").label == "Review these 3 pictures"
    button(app, "round of selected").click().run()
    assert not app.exception and app.session_state["pictures of a round"].paths == tuple(paths)


@pytest.mark.parametrize("label", ["Compare methods on the first", "Compare networks on the first"])
def test_the_first_is_opened_where_pictures_are_compared(label):
    app = opened_on_samples(PAGE, **ALL)
    paths = select(app, 2, 0)
    assert f"take one picture: the first selected, {paths[0]}" in text(app).replace("\\", "").replace("\u2060", "")
    app = followed(app, label)
    source = app.query_params["picture.sample"], app.query_params["picture.dataset"]
    assert [one if isinstance(one, str) else one[0] for one in source] == [paths[0], SAMPLES]


def test_maps_are_selected_as_tiles_are():
    app = opened_on_samples(PAGE, maps="true", **ALL)
    select(app, 0, 13)
    assert "**2 pictures selected**" in text(app)


def test_nothing_is_stored_where_nothing_may_be(monkeypatch):
    monkeypatch.setenv("XAI_READONLY", "1")
    app = opened_on_samples(PAGE, **ALL)
    select(app, 0)
    assert not [element for element in app.button if element.key == "tag selected"]
