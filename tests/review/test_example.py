"""The example round: in a database once, readable by servers that store nothing, and what its file says of itself."""

from collections import Counter
from pathlib import Path

import pytest
from small_rounds import ANNA
from sqlalchemy import Engine

from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.data.predictions import settings_of
from xai_core.review import agreement, consolidation, example, rounds, votes
from xai_core.review.minutes import minutes
from xai_core.review.minutes_document import to_html


def test_the_example_is_imported_once(engine: Engine) -> None:
    store, first = example.open_example(engine)
    assert example.open_example(engine) == (store, first)
    assert store is engine and rounds.listed(engine) == [first]
    assert (first.id, first.state, first.pictures) == (example.ID, "discussion", example.ERRORS + example.CONTROLS)
    assert first.title.startswith("Example: ") and first.owner.name == "Example"
    assert rounds.role(engine, first, ANNA) is None


def test_a_server_that_stores_nothing_shows_it_from_a_database_of_its_own(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_READONLY", "1")
    store, round = example.open_example(engine)
    assert store is not engine and rounds.listed(engine) == []
    assert rounds.items(store, round) and rounds.listed(store) == [round]
    assert example.open_example(engine)[0] is store


def test_a_missing_file_is_a_sentence(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(example, "FILE", tmp_path / "example.json")
    with pytest.raises(BadRequest, match="not in this installation"):
        example.open_example(engine)


def test_votes_are_the_true_verdicts_with_the_stated_noise(engine: Engine) -> None:
    _, round = example.open_example(engine)
    dataset, items = open_dataset(USUAL_WORLD), rounds.items(engine, round)
    table, names = votes.table(engine, round), votes.names(engine, round)
    wrong: Counter[str] = Counter()
    for row in table.itertuples():
        true, _, _ = example.true_verdict(dataset, items[int(str(row.position))])
        assert row.verdict == true or row.verdict in example.CONFUSED[true]
        wrong[names[str(row.person)]] += row.verdict != true
    assert len(table) == len(example.NOISE) * len(items)
    for letter, noise in example.NOISE.items():
        assert abs(wrong[f"Example reviewer {letter} (not verified)"] / len(items) - noise) < 0.15


def test_it_has_everything_that_the_page_shows(engine: Engine) -> None:
    """Errors and controls, disputes, settled and open pictures, repeats, maps."""
    _, round = example.open_example(engine)
    items, table = rounds.items(engine, round), votes.table(engine, round)
    originals = [item for item in items if item.repeat_of is None]
    assert sum(item.true_class == item.predicted for item in originals) == example.CONTROLS
    settled = consolidation.decisions(engine, round)
    assert len(consolidation.open_questions(originals, table, settled)) == example.LEFT_OPEN
    assert {decision.unanimous for decision in settled.values()} == {True, False}
    assert len(agreement.disputed(table)) >= 5
    assert {statistic.n for statistic in agreement.consistency(table).values()} == {len(items) - len(originals)}
    assert all("predicted" in rounds.maps(engine, round, item.position) for item in originals)
    assert {"label_wrong", "also_valid", "shortcut", "unusual", "plain_failure"} <= set(table["verdict"])
    overall = agreement.agreement(table).krippendorff.value
    assert overall is not None and 0.3 < overall < 0.95
    assert to_html(minutes(engine, round)).count(b"<img ") >= 3 * example.ERRORS + example.CONTROLS


def test_the_file_is_of_the_network_and_pictures_that_come_with_the_app(engine: Engine) -> None:
    """Asks for `python -m xai_core.review.example` where these have changed."""
    _, round = example.open_example(engine)
    stored = settings_of(settings.RESOURCES / "data" / "predictions" / f"{example.MODEL}.parquet")
    assert (round.settings.fingerprint, round.settings.dataset) == (stored["weights"], stored["dataset_digest"])
    assert example.FILE.stat().st_size <= example.MOST_BYTES
