"""Everything on the page Misclassifications that names a picture, a pair or a group opens it in the drawer; the address that
a click leaves opens the same picture of the same list again."""

import time
from collections.abc import Sequence

import pandas as pd
from noted import add_notes
from opened_pages import pick_mark, press_row, text
from sample_predictions import first_error, folders, opened_on_samples, raw_rows  # noqa: F401  (an autouse fixture is among them)
from streamlit.testing.v1 import AppTest

from xai_core.app.shared import drawer
from xai_core.data.corrupted_samples import changed_samples
from xai_core.data.label_matching import first_name
from xai_core.review.picture_notes import note

PAGE = "pages/6_Misclassifications.py"


def address(app: AppTest) -> dict[str, list[str]]:
    return {
        name: [value] if isinstance(value, str) else list(value)
        for name in app.query_params
        for value in [app.query_params[name]]
    }


def check_open(app: AppTest, title: str, paths: Sequence[str], place: int = 0) -> None:
    """The drawer shows this picture of the list, and so it does where the address is opened by a new visitor."""
    again = opened_on_samples(PAGE, **address(app))
    for page in (app, again):
        assert address(page)["sample"] == [paths[place]]
        assert f"{title}: **{place + 1}** of {len(paths)}" in text(page)
        assert f"**{paths[place]}**" in text(page)


def pressed(app: AppTest, key: str) -> AppTest:
    return next(element for element in app.button if element.key == key).click().run()


def errors_of(true: str, predicted: str) -> list[str]:
    rows = raw_rows()
    same = rows[(rows["true"] == true) & (rows["predicted"] == predicted)]
    return same.sort_values("confidence", ascending=False, kind="stable")["path"].tolist()


def test_a_row_of_most_confused_opens_its_pictures():
    app = opened_on_samples(PAGE, view="Most confused")
    pair = app.dataframe[0].value.iloc[1]
    title = f"{first_name(pair['true'])} predicted as {first_name(pair['predicted'])}"
    paths = errors_of(pair["true"], pair["predicted"])
    check_open(press_row(app, "pairs", 1), title, paths)


def test_a_cell_of_the_matrix_opens_its_pictures():
    error = first_error()
    app = pick_mark(opened_on_samples(PAGE), "matrix", "cell", true=error["true"], predicted=error["predicted"])
    title = f"{first_name(error['true'])} predicted as {first_name(error['predicted'])}"
    check_open(app, title, errors_of(error["true"], error["predicted"]))


def class_paths(name: str) -> list[str]:
    rows = raw_rows()
    true, predicted = rows["true"] == name, rows["predicted"] == name
    return pd.concat([rows[true & ~predicted], rows[predicted & ~true], rows[true & predicted]])["path"].tolist()


def test_rows_and_points_of_classes_open_their_pictures():
    app = opened_on_samples(PAGE, view="Per class")
    name = app.dataframe[0].value["class"][2]
    check_open(press_row(app, "scores", 2), f"{first_name(name)}: errors first", class_paths(name))
    app = pick_mark(opened_on_samples(PAGE, view="Per class"), "per class", "class", **{"class": name})
    check_open(app, f"{first_name(name)}: errors first", class_paths(name))


def test_rows_and_bars_of_the_calibration_open_their_pictures():
    app = opened_on_samples(PAGE, view="Calibration")
    low, high = app.dataframe[0].value[["low", "high"]].iloc[3]
    rows = raw_rows()
    among = rows[(rows["confidence"] > low) & (rows["confidence"] <= high)]
    wrong = among["true"] != among["predicted"]
    paths = pd.concat([among[wrong], among[~wrong]])["path"].tolist()
    check_open(press_row(app, "bins", 3), f"Confidence {low:.0%} to {high:.0%}", paths)
    app = pick_mark(opened_on_samples(PAGE, view="Calibration"), "calibration", "bin", low=low)
    check_open(app, f"Confidence {low:.0%} to {high:.0%}", paths)


def test_members_of_clusters_open_their_cluster():
    app = opened_on_samples(PAGE, view="Clusters")
    members = app.dataframe[1].value["path"].tolist()
    app = pressed(app, f"open {members[1]}")
    check_open(app, "Cluster 2", members, 1)
    last = len(members) - 1
    check_open(press_row(opened_on_samples(PAGE, view="Clusters"), "members 1", last), "Cluster 2", members, last)


def test_rows_of_notes_open_their_pictures():
    paths = sorted(raw_rows()["path"])[3:6]
    add_notes(changed_samples(), {path: note("odd") for path in paths} | {"gone.png": note("odd")})
    app = opened_on_samples(PAGE, view="Notes")
    labels = app.dataframe[0].value.set_index("path")["open"]
    assert labels[paths].eq("Open").all() and pd.isna(labels["gone.png"])
    place = app.dataframe[0].value["path"].tolist().index(paths[1])
    check_open(press_row(app, "all notes", place), "Pictures with notes", paths, 1)


def test_neighbours_open_beside_the_picture_they_belong_to():
    path = first_error()["path"]
    app = opened_on_samples(PAGE, sample=path)
    near = [element.key.removeprefix("neighbour ") for element in app.button if (element.key or "").startswith("neighbour ")]
    assert len(near) == 5
    check_open(pressed(app, f"neighbour {near[2]}"), f"{path} and its nearest pictures", [path, *near], 3)


def test_names_of_buttons_tell_which_picture_they_open():
    app = opened_on_samples(PAGE, sample=first_error()["path"])
    for key in ("open ", "neighbour "):
        buttons = [element for element in app.button if (element.key or "").startswith(key)]
        assert buttons and all(element.label == f"Open **{element.key.removeprefix(key)}**" for element in buttons)


def test_a_click_sent_before_the_browser_knows_that_the_drawer_is_closed_does_not_open_it_again(monkeypatch):
    """Such a click comes with the address as it was; some seconds later the same address is a visitor's Back."""
    path = first_error()["path"]
    app = opened_on_samples(PAGE, view="Per class", sample=path)
    assert f"**{path}**" in text(app)
    app.session_state[drawer._LAST] = (path, time.monotonic())
    app.run()
    assert f"**{path}**" not in text(app) and not {"sample", "list"} & {*address(app)}
    app.query_params["sample"] = path
    monkeypatch.setattr(drawer, "STALE_SECONDS", 0.0)
    app.run()
    assert f"**{path}**" in text(app)
