"""`review`: a round from a file of predictions to its minutes, without the app."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from small_rounds import settled_team

from xai_core.__main__ import main
from xai_core.core import settings
from xai_core.data.predictions import read_predictions
from xai_core.review import from_predictions, rounds, votes
from xai_core.review.database import open_database
from xai_core.review.votes import Vote

PREDICTIONS = str(settings.RESOURCES / "data" / "predictions" / "world_planted.parquet")
NEW = ["review", "new", PREDICTIONS, "--data", "world:planted", "--title", "Errors of the week", "--maps", "never"]


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/review.sqlite")


def words(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines that a command prints; it succeeds."""
    assert main(["review", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out.splitlines()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_a_round_has_exactly_the_pictures_that_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    id, source, *invitations = words(capsys, *NEW[1:], "--most-confident", "5", "--controls", "2", "--repeats", "0.3")
    table = read_predictions(Path(PREDICTIONS))
    wrong = table[(table["true_index"] >= 0) & (table["true"] != table["predicted"])]
    expected = set(wrong.sort_values(["confidence", "path"], ascending=[False, True])["path"][:5])
    round = rounds.load(open_database(), id)
    items = rounds.items(open_database(), round)
    originals = [item for item in items if item.repeat_of is None]
    assert {item.name for item in originals if item.true_class != item.predicted} == expected
    assert (len(originals), len(items), round.title) == (7, 9, "Errors of the week")
    assert source.startswith(f"7 pictures: The 5 most confident of the {len(wrong):,} errors among 1,000 pictures")
    tokens = rounds.invitations(open_database(), round, from_predictions.machine_owner())
    assert invitations == [f"invite a {role}: ?round={id}&invite={token}" for role, token in tokens.items()]


def test_one_cell_with_verdicts_of_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = read_predictions(Path(PREDICTIONS))
    wrong = table[table["true"] != table["predicted"]]
    true, predicted = wrong.groupby(["true", "predicted"]).size().idxmax()
    own = tmp_path / "verdicts.toml"
    tables = [f'[[verdict]]\nid = "{title.lower()}"\ntitle = "{title}"\ndefinition = ""\n' for title in ("Yes", "No")]
    own.write_text("".join(tables))
    id = words(capsys, *NEW[1:], "--true", true, "--predicted", predicted, "--verdicts", str(own), "--anonymous")[0]
    round = rounds.load(open_database(), id)
    assert [verdict.title for verdict in round.settings.verdicts] == ["Yes", "No"]
    expected = wrong[(wrong["true"] == true) & (wrong["predicted"] == predicted)]["path"]
    assert {item.name for item in rounds.items(open_database(), round)} == set(expected)
    assert round.settings.anonymous


def test_a_round_goes_from_votes_to_its_files_and_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    id = words(capsys, *NEW[1:], "--most-confident", "3")[0]
    store = open_database()
    round, owner = rounds.load(store, id), from_predictions.machine_owner()
    items = rounds.items(store, round)
    for item in items:
        votes.cast(store, round, items, owner, item.position, Vote("shortcut"))
    for action in (
        ["agreement", id],
        ["export", id, "--out", str(tmp_path)],
        ["minutes", id, "--out", f"{tmp_path}/m.html"],
    ):
        assert "when its voting is closed" in refusal(capsys, "review", *action)
    assert not list(tmp_path.glob("*.html"))
    assert words(capsys, "state", id, "discussion") == ["discussion"]
    written = words(capsys, "export", id, "--out", str(tmp_path / "out"))
    assert [Path(line).name for line in written if line] == ["round.json", "votes.csv", "verdicts.csv", "relabelled.csv"]
    assert len(pd.read_csv(tmp_path / "out" / "votes.csv")) == 3
    other = words(capsys, "import", str(tmp_path / "out" / "round.json"))[0]
    assert other != id
    listed = json.loads("\n".join(words(capsys, "list", "--json")))
    assert {(row["id"], row["title"]) for row in listed} == {
        (id, "Errors of the week"), (other, "Errors of the week (imported)")
    }  # fmt: skip
    for name in ("minutes.html", "minutes.pdf", "minutes.md"):
        assert words(capsys, "minutes", other, "--out", str(tmp_path / name)) == [str(tmp_path / name)]
        assert (tmp_path / name).stat().st_size > 1000


def test_agreement_is_that_of_the_library_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    from xai_core.review import agreement

    store = open_database()
    round = settled_team(store)
    expected = agreement.agreement(votes.table(store, round))
    lines = words(capsys, "agreement", round.id)
    assert lines[0] == "Round of a test: 24 votes of 3 people on 8 pictures"
    (alpha,) = [line for line in lines if line.startswith("Krippendorff's alpha")]
    assert re.search(r"\d\.\d\d", alpha)[0] == f"{expected.krippendorff.value:.2f}"
    stored = json.loads("\n".join(words(capsys, "agreement", round.id, "--json")))
    assert stored["overall"]["krippendorff"]["value"] == expected.krippendorff.value
    assert set(stored["by_verdict"]) == set(votes.table(store, round).query("repeat_of.isna()")["verdict"])


def test_the_maps_of_a_new_round_are_computed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = words(capsys, *NEW[1:-1], "always", "--most-confident", "1", "--method", "saliency")
    store = open_database()
    maps = rounds.maps(store, rounds.load(store, lines[0]), 0)
    assert list(maps) == ["predicted", "true", "margin"] and lines[-1] == "Computing the maps..."


MISTAKES = {
    "no such round": (["review", "minutes", "nowhere", "--out", "m.html"], "There is no round 'nowhere'"),
    "half a cell": ([*NEW, "--true", "boat"], "needs both --true and --predicted"),
    "an empty cell": ([*NEW, "--true", "boat", "--predicted", "nothing"], "1 to 5,000 pictures"),
    "other pictures": ([*NEW[:4], "world:clean", *NEW[5:]], "are not those of"),
    "no predictions": (["review", "new", __file__, *NEW[3:]], "is not a file of predictions"),
    "too many repeats": ([*NEW, "--repeats", "0.9"], "between 0 and 0.5"),
    "no verdicts": ([*NEW, "--verdicts", __file__], "has no verdicts that can be read"),
    "no such method": ([*NEW, "--method", "grad_cat"], "grad_cam"),
    "not a round": (["review", "import", __file__], "cannot be imported: it is not JSON"),
    "no file": (["review", "import", "nowhere.json"], "cannot be read"),
    "a suffix": (["review", "minutes", "x", "--out", "m.docx"], ".html, .pdf or .md"),
    "no action": (["review"], "required"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_makes_no_round(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = MISTAKES[case]
    assert expected in refusal(capsys, *arguments)
    assert rounds.listed(open_database()) == []


def test_where_nothing_may_be_written_no_round_is_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_READONLY", "1")
    assert "stores nothing" in refusal(capsys, *NEW)
