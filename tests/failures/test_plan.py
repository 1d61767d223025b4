"""The plan: its documents hold every action, its JSON comes back, and what is no plan is refused with a sentence."""

import csv
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from xai_core.core.document import Figure
from xai_core.core.errors import BadRequest
from xai_core.failures import Plan, PlannedAction
from xai_core.failures.plan import LISTED, identities

RELABEL = PlannedAction(
    "relabel", "Check 2 labels", "A probe contradicts 2 of 9 labels.", "", ("a.png", "=b.png"),
    {"suggested label": ("cat", "dog"), "score": (0.5, 1)}, {"seed": 3},
)  # fmt: skip
COLLECT = PlannedAction(
    "collect", "Collect <b>cars</b>", "3 of 4 are wrong.", "2.5 points", ("a.png", "c.png"), about="cars"
)
PLAN = Plan(
    "What to do", "world", "0123456789abcdef99", "net", "f00", (RELABEL, COLLECT), {"pictures": 9}, ("Causes", "Abstain")
)


def test_a_plan_comes_back_from_json():
    assert Plan.from_json(PLAN.to_json()) == PLAN
    measured = replace(RELABEL, columns={"score": (np.float32(0.5), np.int64(2))})
    (action,) = Plan.from_json(replace(PLAN, actions=(measured,)).to_json()).actions
    assert action.columns == {"score": (0.5, 2)}


def test_every_picture_is_counted_once():
    assert PLAN.paths == ("a.png", "=b.png", "c.png")


def test_the_documents_say_what_the_actions_say_and_which_steps_are_missing():
    page, markdown = PLAN.to_html().decode(), PLAN.to_markdown(level=3)
    for words in ("Causes, Abstain", RELABEL.reason, COLLECT.estimate, "not measured", "f00", "0123456789abcdef"):
        assert words in page and words in markdown
    assert "<b>cars" not in page and "&lt;b&gt;cars" in page
    assert markdown.startswith("### What to do") and "Collect: Collect" in markdown
    assert PLAN.to_pdf().startswith(b"%PDF-")
    assert "There are no actions" in replace(PLAN, actions=()).to_markdown()


def test_the_html_opens_offline_with_the_pictures_inside():
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "JPEG")
    page = PLAN.to_html({"a.png": Figure(file.getvalue(), "a cat")}).decode()
    assert page.count("data:image/jpeg") == 2  # it is of both actions
    assert "http://" not in page and "https://" not in page


def test_a_long_list_is_shortened_in_the_document_and_whole_in_the_zip():
    paths = tuple(f"{number}.png" for number in range(LISTED + 5))
    plan = replace(PLAN, actions=(RELABEL, replace(COLLECT, paths=paths)))
    assert "and 5 more" in plan.to_markdown() and f" {LISTED - 1}.png" in plan.to_markdown()
    with zipfile.ZipFile(io.BytesIO(plan.to_zip())) as archive:
        assert archive.namelist() == ["plan.html", "plan.md", "plan.json", "actions/1.csv", "actions/2.csv"]
        first, second = (list(csv.reader(io.StringIO(archive.read(f"actions/{n}.csv").decode("utf-8-sig")))) for n in (1, 2))
        assert Plan.from_json(archive.read("plan.json")) == plan
    assert first == [["path", "suggested label", "score"], ["a.png", "cat", "0.5"], ["'=b.png", "dog", "1.0"]]
    assert second == [["path"], *([path] for path in paths)]
    assert plan.to_zip() == plan.to_zip()


def test_an_action_is_known_again_when_its_figures_change():
    later = [replace(RELABEL, title="Check 7 labels"), replace(COLLECT, reason="Other words."), COLLECT]
    assert identities(later)[:2] == identities([RELABEL, COLLECT])
    assert len(set(identities(later))) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.update(format="round"), "does not say"),
        (lambda file: file.update(version=2), "version 2"),
        (lambda file: file.update(title=5), "has no title"),
        (lambda file: file.update(actions={}), "no list of actions"),
        (lambda file: file["actions"].append(3), "Action 3"),
        (lambda file: file["actions"][0].update(kind="pay"), "Action 1 of the plan has no known kind"),
        (lambda file: file["actions"][1].update(paths=[1]), "Action 2 of the plan: paths"),
        (lambda file: file["actions"][0]["columns"].update(score=[1]), "each of 2 pictures"),
        (lambda file: file["actions"][0].update(settings={"a": None}), "settings"),
        (lambda file: file.update(not_looked_at="Causes"), "not_looked_at"),
        (lambda file: file["actions"][0].update(step=3), "Action 1 of the plan has no step in words"),
        (lambda file: file["actions"][0].update(reason="a" * 20_001), "has no reason in words"),
        (lambda file: file.update(actions=[file["actions"][0]] * 501), "501 actions; up to 500"),
        (lambda file: file["actions"][0].update(paths=["a.png", "a.png"]), "names a picture twice"),
        (lambda file: file["actions"][0].update(paths=["a.png", "../b.png"]), "no name of a picture inside"),
        (lambda file: file["actions"][0].update(paths=["a.png", "/etc/passwd"]), "no name of a picture inside"),
        (lambda file: file["actions"][0].update(paths=["a.png", "C:/b.png"]), "no name of a picture inside"),
        (lambda file: file["actions"][0].update(paths=["a.png", "a\\..\\..\\b.png"]), "no name of a picture inside"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(change, words):
    file = json.loads(PLAN.to_json())
    change(file)
    with pytest.raises(BadRequest, match=words):
        Plan.from_json(json.dumps(file))


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"[1]", b"null", "[" * 100_000])
def test_what_is_no_json_of_a_plan_is_refused(content):
    with pytest.raises(BadRequest, match="not a plan"):
        Plan.from_json(content)


def test_a_plan_of_before_has_no_steps_and_is_read():
    file = json.loads(replace(PLAN, actions=(replace(RELABEL, step="Labels"), COLLECT)).to_json())
    assert [action.step for action in Plan.from_json(json.dumps(file)).actions] == ["Labels", ""]
    for action in file["actions"]:
        del action["step"]
    assert Plan.from_json(json.dumps(file)) == PLAN


def test_an_action_keeps_the_columns_of_the_pictures_that_are_known():
    action = RELABEL.among({RELABEL.paths[1], "another.png"})
    assert action.paths == RELABEL.paths[1:] and action.table.to_dict("list") == RELABEL.table.iloc[1:].to_dict("list")


def test_what_a_plan_differs_in_is_said():
    same = (PLAN.dataset, PLAN.dataset_digest, PLAN.model, PLAN.fingerprint)
    assert PLAN.differs_from(*same) == "" and PLAN.differs_from("Renamed", same[1], "Renamed", same[3]) == ""
    assert f"for {PLAN.dataset} (digest" in PLAN.differs_from("cats", "f" * 64, *same[2:])
    assert "not for net (ffff)" in PLAN.differs_from(*same[:2], "net", "ffff")
