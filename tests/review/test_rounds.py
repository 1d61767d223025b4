"""Rounds: frozen, in a random order for each person, blind until voted, settled in a discussion."""

import dataclasses
from pathlib import Path

import pytest
from small_rounds import ANNA, BEN, CHRIS, SETTINGS, made_round, made_rows, made_team
from sqlalchemy import Engine

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.review import consolidation, rounds, votes
from xai_core.review.people import identified, named
from xai_core.review.rounds import Round, VerdictKind
from xai_core.review.votes import Vote


def vote_all(engine: Engine, round: Round, person, verdict: str) -> None:
    items = rounds.items(engine, round)
    for position in votes.to_do(engine, round, items, person):
        votes.cast(engine, round, items, person, position, Vote(verdict))


def test_a_round_is_read_as_it_was_made(engine: Engine) -> None:
    dataset = open_dataset(USUAL_WORLD)
    rows = made_rows(dataset, 5)
    round = rounds.create(engine, ANNA, " A round ", SETTINGS, rows, dataset)
    items = rounds.items(engine, round)
    assert (round.title, round.owner, round.state, round.pictures, round.settings) == (
        "A round",
        ANNA,
        "voting",
        5,
        SETTINGS,
    )
    assert [(item.name, item.label, item.true_class, item.predicted) for item in items] == list(
        rows[["path", "label", "true", "predicted"]].itertuples(index=False, name=None)
    )
    assert [item.confidence for item in items] == rows["confidence"].tolist()
    assert rounds.thumbnail(engine, items[0].sha256)[8:12] == b"WEBP"
    assert rounds.listed(engine) == rounds.listed(engine, ANNA) == [round]
    assert rounds.listed(engine, BEN) == []


def test_what_cannot_be_read_is_left_out_and_said(engine: Engine) -> None:
    dataset = open_dataset(USUAL_WORLD)
    rows = made_rows(dataset, 3)
    rows.loc[1, "path"] = "deleted.png"
    round = rounds.create(engine, ANNA, "A round", SETTINGS, rows, dataset)
    assert round.pictures == 2
    assert list(round.settings.left_out) == ["deleted.png"]
    rows["path"] = [f"deleted {number}" for number in range(3)]
    with pytest.raises(BadRequest, match="None of the 3 pictures can be read"):
        rounds.create(engine, ANNA, "A round", SETTINGS, rows, dataset)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repeats": 0.6}, "between 0 and 0.5"),
        ({"blind": "never"}, "setting of 'blind'"),
        ({"maps": "sometimes"}, "setting of 'maps'"),
        ({"votes_each": -1}, "between 1 and 100"),
        ({"verdicts": (VerdictKind("a", "A", ""),)}, "2 to 9 verdicts"),
        ({"verdicts": (VerdictKind("a", "A", ""), VerdictKind("a", "B", ""))}, "id and a title of its own"),
        ({"verdicts": (VerdictKind("a", "A" * 61, ""), VerdictKind("b", "B", ""))}, "60 characters"),
    ],
)
def test_settings_that_cannot_be_are_refused(engine: Engine, changes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        made_round(engine, 2, **changes)
    assert rounds.listed(engine) == []


def test_a_round_of_nothing_or_of_one_picture_twice_is_refused(engine: Engine) -> None:
    dataset = open_dataset(USUAL_WORLD)
    rows = made_rows(dataset, 2)
    with pytest.raises(BadRequest, match="1 to 5,000 pictures; this selection has 0"):
        rounds.create(engine, ANNA, "", SETTINGS, rows[:0], dataset)
    with pytest.raises(BadRequest, match="in the selection twice"):
        rounds.create(engine, ANNA, "", SETTINGS, rows.iloc[[0, 0]], dataset)
    with pytest.raises(BadRequest, match=r"120 characters; this one has 10,000"):
        rounds.create(engine, ANNA, "x" * 10_000, SETTINGS, rows, dataset)


def test_each_person_has_an_own_order_that_stays(engine: Engine) -> None:
    round = made_team(engine, 12, repeats=0.25)
    items = rounds.items(engine, round)
    assert len(items) == 15
    orders = {person.name: rounds.order(round, items, person) for person in (ANNA, BEN, CHRIS)}
    assert len({tuple(order) for order in orders.values()}) == 3
    assert orders["Ben"] == rounds.order(rounds.load(engine, round.id), rounds.items(engine, round), BEN)
    for order in orders.values():
        assert sorted(order) == list(range(15))
        for item in items[12:]:
            assert order.index(item.repeat_of) < order.index(item.position)
            assert items[item.repeat_of].sha256 == item.sha256


def test_without_a_random_order_pictures_come_as_listed(engine: Engine) -> None:
    round = made_team(engine, 6, random_order=False)
    items = rounds.items(engine, round)
    assert rounds.order(round, items, BEN) == rounds.order(round, items, CHRIS) == list(range(6))


def test_maps_at_random_are_on_half_of_the_pictures_and_on_repeats_as_before(engine: Engine) -> None:
    round = made_team(engine, 10, maps="random", repeats=0.5)
    items = rounds.items(engine, round)
    seen = {person.name: rounds.shows_map(round, items, person) for person in (BEN, CHRIS)}
    assert seen["Ben"] != seen["Chris"]
    for positions in seen.values():
        assert len([position for position in positions if position < 10]) == 5
        assert all((item.position in positions) == (item.repeat_of in positions) for item in items[10:])
    votes.cast(engine, round, items, BEN, 3, Vote("unsure"))
    votes.cast(engine, round, items, BEN, 4, Vote("unsure"))
    table = votes.table(engine, rounds.set_state(engine, round, "discussion", ANNA))
    assert table.set_index("position")["map_shown"].to_dict() == {place: place in seen["Ben"] for place in (3, 4)}


def test_votes_each_ends_a_picture_when_enough_people_have_voted(engine: Engine) -> None:
    round = made_team(engine, 4, votes_each=2, random_order=False)
    items = rounds.items(engine, round)
    for person in (ANNA, BEN):
        votes.cast(engine, round, items, person, 0, Vote("unsure"))
    assert votes.to_do(engine, round, items, CHRIS) == [1, 2, 3]
    assert votes.to_do(engine, round, items, BEN) == [0, 1, 2, 3]


def test_progress_counts_and_says_nothing_of_verdicts(engine: Engine) -> None:
    round = made_team(engine, 4)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, BEN, 0, Vote("unsure"))
    votes.cast(engine, round, items, BEN, 0, Vote("outside"), seen=1)
    assert votes.progress(engine, round, items) == [(ANNA, 0, 4), (BEN, 1, 4), (CHRIS, 0, 4)]


def test_nobody_sees_a_vote_before_the_own_one(engine: Engine) -> None:
    round = made_team(engine, 3)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, ANNA, 0, Vote("shortcut", comment="a secret"))
    with pytest.raises(BadRequest, match="after your own"):
        votes.others(engine, round, BEN, items[0])
    with pytest.raises(BadRequest, match="when its voting is closed"):
        votes.table(engine, round)
    votes.cast(engine, round, items, BEN, 0, Vote("unsure"))
    assert votes.others(engine, round, BEN, items[0]) == [(ANNA, Vote("shortcut", comment="a secret"))]
    with pytest.raises(BadRequest, match="after your own"):
        votes.others(engine, round, BEN, items[1])
    with pytest.raises(BadRequest, match="do not take part"):
        votes.others(engine, round, named("Stranger", "another browser"), items[0])


def test_blind_until_closed_shows_nothing_before(engine: Engine) -> None:
    round = made_team(engine, 2, blind="until closed")
    items = rounds.items(engine, round)
    for person in (ANNA, BEN):
        votes.cast(engine, round, items, person, 0, Vote("shortcut"))
    with pytest.raises(BadRequest, match="closed"):
        votes.others(engine, round, BEN, items[0])
    round = rounds.set_state(engine, round, "discussion", ANNA)
    assert votes.others(engine, round, BEN, items[0]) == [(ANNA, Vote("shortcut"))]


def test_a_vote_changed_after_a_look_does_not_count_for_agreement(engine: Engine) -> None:
    round = made_team(engine, 2)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, ANNA, 0, Vote("shortcut"))
    votes.cast(engine, round, items, BEN, 0, Vote("unsure"))
    votes.cast(engine, round, items, BEN, 0, Vote("outside"), seen=1)
    votes.others(engine, round, BEN, items[0])
    votes.cast(engine, round, items, BEN, 0, Vote("shortcut"), seen=2)
    round = rounds.set_state(engine, round, "discussion", ANNA)
    said = votes.table(engine, round).set_index("person")["verdict"]
    assert (said[ANNA.key], said[BEN.key]) == ("shortcut", "outside")
    assert votes.table(engine, round, blind=False).set_index("person")["verdict"][BEN.key] == "shortcut"


def test_votes_after_the_end_are_refused_and_voting_is_not_opened_again(engine: Engine) -> None:
    round = made_team(engine, 2)
    closed = rounds.set_state(engine, round, "discussion", ANNA)
    items = rounds.items(engine, round)
    with pytest.raises(BadRequest, match=r"closed; 'Unsure' was not counted"):
        votes.cast(engine, round, items, BEN, 0, Vote("unsure"))
    with pytest.raises(BadRequest, match="cannot be opened again"):
        rounds.set_state(engine, closed, "voting", ANNA)


def test_only_those_who_were_invited_take_part(engine: Engine) -> None:
    round = made_round(engine, 2)
    items, stranger = rounds.items(engine, round), named("Eve", "another browser")
    with pytest.raises(BadRequest, match="do not take part"):
        votes.cast(engine, round, items, stranger, 0, Vote("unsure"))
    with pytest.raises(BadRequest, match="do not take part"):
        rounds.invitations(engine, round, stranger)
    with pytest.raises(BadRequest, match="invitation is not valid"):
        rounds.join(engine, round.id, "guessed", stranger)
    tokens = rounds.invitations(engine, round, ANNA)
    rounds.join(engine, round.id, tokens[rounds.READER], stranger)
    assert rounds.role(engine, round, stranger) == "reader"
    with pytest.raises(BadRequest, match="you are a reader"):
        votes.cast(engine, round, items, stranger, 0, Vote("unsure"))
    rounds.join(engine, round.id, tokens[rounds.REVIEWER], stranger)
    votes.cast(engine, round, items, stranger, 0, Vote("unsure"))
    rounds.join(engine, round.id, tokens[rounds.READER], stranger)  # keeps the higher role
    assert rounds.role(engine, round, stranger) == "reviewer"
    rounds.remove(engine, round, stranger, by=ANNA)
    assert rounds.role(engine, round, stranger) is None
    assert rounds.members(engine, round) == [(ANNA, "owner")]


def test_a_name_is_one_persons_in_a_round(engine: Engine) -> None:
    round = made_team(engine, 2)
    with pytest.raises(BadRequest, match="Somebody called anna takes part"):
        rounds.invite(engine, round, named("anna", "another browser"), rounds.REVIEWER, by=ANNA)
    twins = [identified("https://id.example", subject, "Twin") for subject in ("1", "2")]
    for twin in twins:
        rounds.invite(engine, round, twin, rounds.REVIEWER, by=ANNA)
    assert [person for person, _ in rounds.members(engine, round)][-2:] == twins


def test_unanimous_pictures_are_adopted_and_the_others_decided(engine: Engine) -> None:
    round = made_team(engine, 3, random_order=False)
    items = rounds.items(engine, round)
    for person, said in ((ANNA, "label_wrong"), (BEN, "label_wrong"), (CHRIS, "shortcut")):
        votes.cast(engine, round, items, person, 0, Vote("label_wrong", suggested="tent"))
        votes.cast(engine, round, items, person, 1, Vote(said))
    votes.cast(engine, round, items, BEN, 2, Vote("unsure"))  # alone: nobody agrees
    with pytest.raises(BadRequest, match="closed"):
        consolidation.adopt_unanimous(engine, round, ANNA)
    round = rounds.set_state(engine, round, "discussion", ANNA)
    assert consolidation.adopt_unanimous(engine, round, ANNA) == 1
    assert consolidation.adopt_unanimous(engine, round, ANNA) == 0
    settled = consolidation.decisions(engine, round)
    assert (settled[0].verdict, settled[0].suggested, settled[0].unanimous) == ("label_wrong", "tent", True)
    table = votes.table(engine, round)
    assert consolidation.open_questions(items, table, settled) == [items[1], items[2]]
    with pytest.raises(BadRequest, match="needs a reason"):
        consolidation.decide(engine, round, BEN, items[1], "shortcut", " ")
    consolidation.decide(engine, round, BEN, items[1], "shortcut", "The stamp.")
    assert consolidation.open_questions(items, table, consolidation.decisions(engine, round)) == [items[2]]
    consolidation.reopen(engine, round, ANNA, items[1], "Look again.", seen=1)
    assert 1 not in consolidation.decisions(engine, round)
    consolidation.decide(engine, round, ANNA, items[1], "shortcut", "Yes.", seen=2)
    done = rounds.set_state(engine, round, "done", ANNA)
    with pytest.raises(BadRequest, match="in the state 'done'"):
        consolidation.decide(engine, done, ANNA, items[2], "unsure", "late")


def test_names_are_numbers_in_an_anonymous_round(engine: Engine) -> None:
    round = made_team(engine, 2, anonymous=True)
    items = rounds.items(engine, round)
    for person in (ANNA, BEN):
        votes.cast(engine, round, items, person, 0, Vote("unsure"))
    assert "Anna" not in repr(votes.others(engine, round, BEN, items[0]))
    assert set(votes.names(engine, rounds.set_state(engine, round, "discussion", ANNA)).values()) == {
        "Reviewer 1", "Reviewer 2",
    }  # fmt: skip


def test_stored_maps_are_found_for_a_picture_and_its_repeat(engine: Engine) -> None:
    round = made_round(engine, 4, repeats=0.5)
    repeat = rounds.items(engine, round)[-1]
    rounds.add_map(engine, round, repeat.repeat_of or 0, "margin", b"a", "words")
    rounds.add_map(engine, round, repeat.repeat_of or 0, "predicted", b"b", "words")
    rounds.add_map(engine, round, repeat.repeat_of or 0, "predicted", b"c", "later: the first one stays")
    stored = rounds.maps(engine, round, repeat.position)
    assert {kind: picture.picture for kind, picture in stored.items()} == {"predicted": b"b", "margin": b"a"}
    assert rounds.positions_with_maps(engine, round) == {repeat.repeat_of}


def test_hostile_texts_are_stored_as_they_are_and_long_ones_refused(engine: Engine) -> None:
    round = made_team(engine, 2)
    items = rounds.items(engine, round)
    text = "<script>alert(1)</script> **bold** [x](javascript:y) '; DROP TABLE votes; --"
    votes.cast(engine, round, items, BEN, 0, Vote("unsure", suggested=text, comment=text + "\x00\x1b"))
    assert votes.own_votes(engine, round, BEN)[0].vote.comment == text
    with pytest.raises(BadRequest, match="2,000 characters; this one has 10,000"):
        votes.cast(engine, round, items, BEN, 1, Vote("unsure", comment="x" * 10_000))
    with pytest.raises(BadRequest, match="80 characters"):
        named("x" * 10_000, "a browser")
    with pytest.raises(BadRequest, match="name is needed"):
        named(" \n\x00", "a browser")


def test_the_document_lists_the_usual_verdicts() -> None:
    document = (Path(__file__).parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
    for verdict in rounds.VERDICTS:
        assert f"| {verdict.title} | {verdict.definition} |" in document


def test_settings_of_a_round_survive_the_store(engine: Engine) -> None:
    changes = {
        "verdicts": (VerdictKind("a", "A", "one"), VerdictKind("b", "B", "two")),
        "options": {"samples": 3},
        "repeats": 0.5,
    }
    round = made_round(engine, 2, **changes)
    assert rounds.load(engine, round.id).settings == dataclasses.replace(SETTINGS, **changes)
