"""The form "Make a review round" of the page Misclassifications: from where errors are found to a round of votes."""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from opened_pages import ROOT, finished, followed, text, with_state
from sample_predictions import folders  # noqa: F401  (an autouse fixture)
from sqlalchemy import Engine
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from xai_core.app.shared import job_records, jobs, opened_datasets, page_links, progress, round_job, server_job
from xai_core.core import settings
from xai_core.core.cache_key import text_digest
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.models.loading import load_model
from xai_core.models.zoo.catalog import cards
from xai_core.review import rounds
from xai_core.review.database import open_database
from xai_core.review.people import named
from xai_core.review.rounds import Round

PAGE = page_links.FILES[page_links.MISSES]
ANNA = text_digest("Anna")[:32]  # the token of her browser


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/review.sqlite")
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    jobs._registry.clear()
    return open_database()


def raw() -> pd.DataFrame:
    """The predictions that come with the app, straight from their file."""
    return pd.read_parquet(settings.RESOURCES / "data" / "predictions" / "world_planted.parquet")


def largest_cell() -> tuple[str, str, pd.DataFrame]:
    """The cell of the matrix with the most errors: its true and its predicted class, and its raw rows."""
    rows = raw()
    wrong = rows[rows["true"] != rows["predicted"]]
    true, predicted = wrong.groupby(["true", "predicted"]).size().idxmax()
    return true, predicted, wrong[(wrong["true"] == true) & (wrong["predicted"] == predicted)]


def page_of(name: str | None = "Anna", **query: str | list[str]) -> AppTest:
    """The page as somebody opens it who has said their name."""
    app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=120)
    app.session_state["visitor token"] = ANNA
    if name:
        app.session_state["typed name"] = name
    app.run()
    app.switch_page(PAGE)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def pressed(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception, app.exception
    return app


def chosen(app: AppTest, kind: str, key: str, value: object) -> AppTest:
    getattr(app, kind)(key=key).set_value(value).run()
    assert not app.exception, app.exception
    return app


def the_round(store: Engine) -> Round:
    (round,) = rounds.listed(store)
    return round


def names(store: Engine, round: Round) -> list[str]:
    return [item.name for item in rounds.items(store, round) if item.repeat_of is None]


def test_a_round_of_a_cell_holds_exactly_its_pictures_with_the_settings_chosen(store: Engine) -> None:
    true, predicted, cell = largest_cell()
    app = pressed(page_of(true=true, predicted=predicted), "round of cell")
    count = len(cell)
    assert f"**{count} pictures**: {count} wrong, 0 right. Their {3 * count} maps take about" in text(app)
    for kind, key, value in (
        ("text_input", "round.title", "Why these?"), ("number_input", "round.votes", 2), ("slider", "round.repeats", 25),
        ("selectbox", "round.maps", "On half of the pictures, at random"), ("selectbox", "round.method", "grad_cam"),
        ("selectbox", "round.blind", "Until the voting is closed"), ("toggle", "round.order", False),
        ("toggle", "round.reveal", True), ("toggle", "round.anonymous", True), ("number_input", "round.seed", 7),
    ):  # fmt: skip
        chosen(app, kind, key, value)
    pressed(app, "round.make")
    app = finished(app)
    repeats = round(count * 0.25)
    made_round, model = the_round(store), load_model("world_planted")
    assert sorted(names(store, made_round)) == sorted(cell["path"])
    assert {(item.true_class, item.predicted) for item in rounds.items(store, made_round)} == {(true, predicted)}
    made = made_round.settings
    assert (made_round.title, made_round.owner) == ("Why these?", named("Anna", text_digest(ANNA)[:32]))
    assert (made.model, made.fingerprint, made.dataset_title) == (model.id, model.fingerprint, USUAL_WORLD)
    assert (made.votes_each, made.repeats, made.maps, made.blind) == (2, 0.25, "random", "until closed")
    assert (made.random_order, made.reveal_after_vote, made.anonymous, made.seed) == (False, True, True, 7)
    assert made.method == "grad_cam" and made.verdicts == rounds.VERDICTS and made.classes == model.class_names
    assert f"{count} pictures of {len(raw()):,}: {true} predicted as {predicted}" in made.source
    assert len(rounds.items(store, made_round)) == count + repeats
    assert rounds.positions_with_maps(store, made_round) == set(range(count))
    assert f"{count} of {count} have maps" in success(app)
    opens = next(link.proto for link in app.get("page_link") if link.proto.label == "Open the round")
    assert opens.page == "Review" and f"round%3D{made_round.id}%26section%3DVote" in opens.query_string
    assert made_round.title in text(followed(app, "Open the round")) + " ".join(each.value for each in app.subheader)


def success(app: AppTest) -> str:
    return " ".join(element.value for element in app.success)


def offered(app: AppTest) -> dict[str, str]:
    """The labels of the buttons that make rounds, by their keys."""
    return {element.key: element.label for element in app.button if (element.key or "").startswith("round of ")}


def made_at_once(store: Engine, app: AppTest, key: str) -> Round:
    """The newest round, of the pictures that the button `key` offers, with the form as it opens but without maps."""
    pressed(app, key)
    chosen(app, "selectbox", "round.maps", "Never")
    pressed(app, "round.make")
    finished(app)
    return rounds.listed(store)[0]


def test_the_pictures_listed_and_the_most_confident_errors_make_rounds(store: Engine) -> None:
    rows = raw()
    wrong = rows[rows["true"] != rows["predicted"]].sort_values("confidence", ascending=False)
    label = wrong["true"].iloc[0]
    listed = wrong[(wrong["true"] == label) & (wrong["confidence"] >= 0.5)]
    app = page_of(which="Wrong", classes=[label], confidence=["0.5", "1.0"])
    assert offered(app)["round of listed"] == f"Review the {len(listed)} pictures listed"
    of_filter = made_at_once(store, app, "round of listed")
    assert sorted(names(store, of_filter)) == sorted(listed["path"])
    words = f"Pictures listed (wrong predictions; confidence 50% to 100%; true class {label})"
    assert words in of_filter.settings.source and of_filter.title == words and of_filter.settings.maps == "never"
    assert offered(app)["round of confident errors"] == f"Review the {min(50, len(wrong))} most confident errors"
    confident = made_at_once(store, app, "round of confident errors")
    assert set(names(store, confident)) == set(wrong["path"].head(50))  # of all pictures, whatever the filters
    assert f"of the {len(wrong)} errors" in confident.settings.source


def test_a_group_and_the_list_in_the_drawer_make_rounds(store: Engine) -> None:
    rows, world = raw(), open_dataset(USUAL_WORLD)
    app = page_of(view="Groups", **{"group by": "background"})
    place = app.selectbox(key="group to review").value
    members = rows[(world.metadata.loc[rows["path"], "background"] == place).to_numpy()]
    assert offered(app)["round of group"] == f"Review these {len(members)} pictures"
    of_group = made_at_once(store, app, "round of group")
    assert sorted(names(store, of_group)) == sorted(members["path"])
    assert f"background: {place}" in of_group.settings.source
    true, predicted, cell = largest_cell()
    app = page_of(true=true, predicted=predicted, sample=cell["path"].iloc[0], list=f"{true} predicted as {predicted}")
    pressed(app, "round of the list")
    assert "sample" not in app.query_params  # the drawer makes way for the form
    assert (
        f"**{len(cell)} pictures**" in text(app)
        and app.text_input(key="round.title").value == f"{true} predicted as {predicted}"
    )


def test_a_cluster_makes_a_round(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 1e6)
    app = page_of(view="Clusters", asked="True", **{"clusters of true": "boat", "which": "Wrong"})
    members = next(element.value for element in app.dataframe if "confidence" in element.value)["path"].tolist()
    assert offered(app)["round of cluster 0"] == f"Review these {len(members)} pictures"
    of_cluster = made_at_once(store, app, "round of cluster 0")
    assert names(store, of_cluster) == members
    assert "Cluster 1 of the HiResCAM maps of the true class" in of_cluster.settings.source


def test_a_sample_with_a_control_is_mixed_and_says_of_how_many_it_is(store: Engine) -> None:
    true, predicted, cell = largest_cell()
    rows = raw()
    app = pressed(page_of(true=true, predicted=predicted), "round of cell")
    chosen(app, "selectbox", "round.which", "A random sample")
    chosen(app, "number_input", "round.count of A random sample", 2)
    chosen(app, "number_input", "round.controls", 5)
    chosen(app, "selectbox", "round.maps", "Never")
    assert "**7 pictures**: 2 wrong, 5 right." in text(app) and "maps take" not in text(app)
    pressed(app, "round.make")
    finished(app)
    made = the_round(store)
    found = rows[rows["path"].isin(names(store, made))]
    wrong = found[found["true"] != found["predicted"]]
    assert len(found) == 7 and len(wrong) == 2 and set(wrong["path"]) <= set(cell["path"])
    right = int((rows["true"] == rows["predicted"]).sum())
    assert f"2 of {len(cell)} pictures with a true class, drawn by chance" in made.settings.source
    assert f"5 of the {right} rightly predicted pictures" in made.settings.source
    assert made.settings.verdicts == (*rounds.VERDICTS, rounds.NOTHING_WRONG)


def test_the_verdict_of_right_pictures_is_offered_with_them_and_may_be_left_out(store: Engine) -> None:
    true, predicted, _ = largest_cell()
    app = pressed(page_of(true=true, predicted=predicted), "round of cell")
    assert not [toggle for toggle in app.toggle if toggle.key == "round.nothing_wrong"]
    chosen(app, "selectbox", "round.maps", "Never")
    chosen(app, "number_input", "round.controls", 1)
    chosen(app, "toggle", "round.nothing_wrong", False)
    pressed(app, "round.make")
    finished(app)
    assert the_round(store).settings.verdicts == rounds.VERDICTS


def edited(app: AppTest, **changes: object) -> AppTest:
    """The page after an edit of the table of verdicts, which the harness cannot do by itself."""
    (table,) = (each for each in app.dataframe if each.proto.editing_mode)
    state = {"edited_rows": {}, "added_rows": [], "deleted_rows": []} | changes
    return with_state(app, WidgetState(id=table.proto.id, string_value=json.dumps(state)))


def test_verdicts_of_ones_own(store: Engine) -> None:
    true, predicted, _ = largest_cell()
    app = pressed(page_of(true=true, predicted=predicted), "round of cell")
    chosen(app, "selectbox", "round.maps", "Never")
    edited(app, deleted_rows=list(range(1, 8)))
    assert "2 to 9 verdicts" in app.error[0].value and app.button(key="round.make").disabled
    edited(
        app,
        deleted_rows=list(range(2, 8)),
        edited_rows={"0": {"title": "Not a <b>boat</b>"}},
        added_rows=[{"id": "other", "title": "Other", "definition": ""}],
    )
    assert not app.error
    edited_round = finished(pressed(app, "round.make"))
    assert not edited_round.error
    verdicts = the_round(store).settings.verdicts
    assert [verdict.id for verdict in verdicts] == ["label_wrong", "also_valid", "other"]
    assert verdicts[0] == rounds.VERDICTS[0]._replace(title="Not a <b>boat</b>")


def test_who_has_not_said_their_name_is_asked_for_it_first() -> None:
    true, predicted, _ = largest_cell()
    app = pressed(page_of(None, true=true, predicted=predicted), "round of cell")
    assert "round.make" not in {element.key for element in app.button}
    app.text_input(key="name to use").set_value("Ben")
    next(element for element in app.button if element.label == "Use this name").click().run()
    assert "You are **Ben (not verified)**" in text(app) and not app.button(key="round.make").disabled


def test_a_public_demonstration_says_that_it_stores_nothing(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_READONLY", "1")
    true, predicted, _ = largest_cell()
    app = pressed(page_of(true=true, predicted=predicted), "round of cell")
    assert "public demonstration" in " ".join(element.value for element in app.info)
    assert "round.make" not in {element.key for element in app.button} and rounds.listed(store) == []


def test_a_selection_without_pictures_makes_no_round(store: Engine) -> None:
    rows = raw()
    classes = sorted(set(rows["true"]))
    full = set(zip(rows["true"], rows["predicted"], strict=True))
    true, predicted = next((a, b) for a in classes for b in classes if (a, b) not in full and b in set(rows["predicted"]))
    app = page_of(true=true, predicted=predicted)
    assert "No picture is in this cell" in app.info[0].value and "round of cell" not in offered(app)


# --- What goes wrong


@pytest.fixture
def own_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of six drawn pictures, which the page offers as `mine`."""
    world = open_dataset(USUAL_WORLD)
    for number, sample in enumerate(world.samples[:6]):
        file = tmp_path / "data" / "mine" / sample.label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        world.open(sample.name).save(file)
    monkeypatch.setenv("XAI_DATA", str(tmp_path / "data"))
    opened_datasets._open.clear()
    return tmp_path / "data" / "mine"


def form_of_own_pictures() -> AppTest:
    return pressed(page_of(dataset="mine", model=cards()["world_planted"].title), "round of listed")


def test_a_dataset_that_is_deleted_meanwhile_leaves_the_round_and_is_resumed(
    store: Engine, own_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, real, away = form_of_own_pictures(), round_job.round_maps.compute, own_pictures.with_name("away")

    def deleted_first(*arguments: object) -> dict[str, str]:
        if own_pictures.exists():
            own_pictures.rename(away)
        return real(*arguments)

    monkeypatch.setattr(round_job.round_maps, "compute", deleted_first)
    finished(pressed(app, "round.make"))
    round, (message,) = the_round(store), [element.value for element in app.error]
    assert message.startswith("Failed") and "No maps could be computed for the 6 pictures" in message
    assert str(own_pictures) not in message and "0 of 6 have maps" in success(app)
    assert "The round and the maps made so far are kept." in text(app)
    assert any(link.proto.label == "Open the round" for link in app.get("page_link"))
    away.rename(own_pictures)
    monkeypatch.setattr(round_job.round_maps, "compute", real)
    finished(next(element for element in app.button if element.label == "Resume").click().run())
    assert not app.error and "6 of 6 have maps" in success(app)
    assert the_round(store) == round and not list((Path(settings.cache_folder()) / "rounds").glob("*.json"))


def test_a_dataset_that_is_gone_before_the_round_is_made_is_said(
    store: Engine, own_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = form_of_own_pictures()
    make = rounds.create
    away = own_pictures.with_name("away")

    def deleted_first(*arguments: object) -> Round:
        own_pictures.rename(away)
        return make(*arguments)

    monkeypatch.setattr(rounds, "create", deleted_first)
    finished(pressed(app, "round.make"))
    (message,) = [element.value for element in app.error]
    assert "None of the 6 pictures can be read" in message and str(own_pictures) not in message
    assert "The round was not made" in text(app) and rounds.listed(store) == []


def test_a_restarted_server_goes_on_with_the_maps_that_are_missing(
    store: Engine, own_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, real = form_of_own_pictures(), round_job.round_maps.compute

    def stopped_after_two(*arguments: Any) -> dict[str, str]:
        *others, track, within = arguments

        def first_two(items: Iterable[Any]) -> Iterator[Any]:
            for number, item in enumerate(track(items)):
                if number == 2:
                    raise CancelledError
                yield item

        return real(*others, first_two, within)

    monkeypatch.setattr(round_job.round_maps, "compute", stopped_after_two)
    finished(pressed(app, "round.make"))
    (job,) = jobs._registry().jobs.values()
    assert "2 of 6 have maps" in success(app) and job.state == server_job.CANCELLED
    job.state = server_job.RUNNING  # as its record says after the server was killed
    job_records.store(job, job_records.ThisServer("another", object()))
    monkeypatch.setattr(round_job.round_maps, "compute", real)
    jobs._registry.clear()
    token = app.session_state["visitor token"]
    jobs_page = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=120)
    jobs_page.session_state["visitor token"] = token
    jobs_page.run()
    jobs_page.switch_page(page_links.FILES[page_links.JOBS])
    jobs_page.run()
    assert "Interrupted" in text(jobs_page)
    finished(next(element for element in jobs_page.button if element.label == "Resume").click().run())
    assert rounds.positions_with_maps(store, the_round(store)) == set(range(6))


def test_a_round_of_a_visitors_own_zip_is_made_by_a_private_job(store: Engine, own_pictures: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in own_pictures.rglob("*.png"):
            archive.write(file, file.relative_to(own_pictures))
    app = page_of(model=cards()["world_planted"].title)
    app.file_uploader(key="zip").set_value(("mine.zip", packed.getvalue(), "application/zip")).run()
    pressed(app, "round of listed")
    finished(pressed(app, "round.make"))
    assert not app.error and "6 of 6 have maps" in success(app)
    (job,) = jobs._registry().jobs.values()
    assert job.private and not list((Path(settings.cache_folder()) / "rounds").glob("*.json"))
    with zipfile.ZipFile(packed) as archive:
        assert sorted(names(store, the_round(store))) == sorted(archive.namelist())
