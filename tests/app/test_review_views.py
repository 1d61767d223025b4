"""Discussion, agreement and minutes of a review, as its page shows them; figures are computed again from the raw rows."""

import io
import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
import pytest
from small_rounds import ANNA, BEN, CHRIS, made_team
from sqlalchemy import Engine, select
from streamlit.testing.v1 import AppTest

from xai_core.analysis.collected_report import Report
from xai_core.app.charts import review as charts
from xai_core.app.review import agreement_view, closed_votes, minutes_view
from xai_core.app.shared import cache, page_links, report_items
from xai_core.data import image_io
from xai_core.review import agreement, consolidation, minutes, round_files, rounds, tables, votes
from xai_core.review.database import open_database, reading
from xai_core.review.minutes_document import COEFFICIENTS
from xai_core.review.people import Person, named
from xai_core.review.rounds import Round
from xai_core.review.votes import Vote


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    cache.clear()
    engine = open_database(f"sqlite:///{tmp_path}/review.sqlite")
    yield engine
    engine.dispose()


def script(section, engine, id, person):  # without types: it runs on its own
    import importlib

    import streamlit as st

    from xai_core.app.shared import session
    from xai_core.review import rounds

    complaint = session.complaint()  # the page shows it above all sections
    if complaint:
        st.error(complaint)
    round = rounds.load(engine, id)
    view = importlib.import_module(f"xai_core.app.review.{section}")
    view.show(engine, round, person, rounds.role(engine, round, person) or "reader")


def opened(section: str, engine: Engine, round: Round, person: Person, **query: str) -> AppTest:
    kwargs = {"section": section, "engine": engine, "id": round.id, "person": person}
    app = AppTest.from_function(script, default_timeout=60, kwargs=kwargs)
    for name, value in query.items():
        app.query_params[name] = value
    return ran(app.run())


def ran(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    (button,) = (button for button in app.button if button.label == label)
    return ran(button.click().run())


def enter(app: AppTest, verdict: str, reason: str) -> AppTest:
    app.selectbox[0].set_value(verdict)
    return ran(app.text_area[0].set_value(reason).run())


def text(app: AppTest) -> str:
    kinds = ("markdown", "text", "caption", "info", "warning", "error", "success")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))


def number(app: AppTest) -> str:
    """The picture's number in the address."""
    value = app.query_params["picture"]
    return value if isinstance(value, str) else value[0]


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


READERS = {"Previous", "Next", "Add to report **picture 3 with its votes**"}  # what changes nothing of the round
SPLIT = {  # votes of Anna, Ben and Chris by position
    0: ("label_wrong", "label_wrong", "label_wrong"),
    1: ("shortcut", "shortcut", "unusual"),
    2: ("shortcut", "unusual", "plain_failure"),
    3: ("unsure", None, None),
    4: ("outside", "outside", None),
}


def voted(engine: Engine, spread: dict[int, tuple[str | None, ...]] = SPLIT, **settings: Any) -> Round:
    """A round of six pictures, with these votes, whose voting is closed."""
    round = made_team(engine, 6, **settings)
    items = rounds.items(engine, round)
    for position, verdicts in spread.items():
        for person, verdict in zip((ANNA, BEN, CHRIS), verdicts, strict=True):
            if verdict:
                votes.cast(engine, round, items, person, position, Vote(verdict, comment=f"{person.name} on {position}"))
    return rounds.set_state(engine, round, rounds.DISCUSSION, ANNA)


# --- discussion


def test_while_a_round_is_voted_on_there_is_progress_and_nothing_else(engine: Engine) -> None:
    round = made_team(engine)
    items = rounds.items(engine, round)
    votes.cast(engine, round, items, BEN, 0, Vote("shortcut", comment="a secret"))
    app = opened("discussion", engine, round, CHRIS)
    assert "a secret" not in text(app) and "1 of 1 votes" not in text(app)
    assert "Close the voting for good" not in labels(app)
    app = opened("discussion", engine, round, ANNA)
    assert "17** votes are still missing" in text(app) and "cannot be opened again" in text(app)
    press(app, "Close the voting for good")
    assert rounds.load(engine, round.id).state == rounds.DISCUSSION and "Adopt" not in text(app)


def test_disputed_pictures_come_first_and_unanimous_ones_are_adopted_at_once(engine: Engine) -> None:
    round = voted(engine)
    app = opened("discussion", engine, round, BEN)
    assert "**0** of 6 pictures are settled; **3** to be discussed; on **2** all votes agree" in text(app)
    assert "without a vote: 1" in text(app) and number(app) == "3"  # all three disagree on it
    assert "**Shortcut**: 1 of 3 votes" in text(app) and "Chris on 2" in text(app) and "Chris (not verified)" in text(app)
    press(app, "Next")
    assert number(app) == "2" and "**Shortcut**: 2 of 3 votes" in text(app)
    press(app, "Next")
    assert number(app) == "4" and app.button(key="next question").disabled
    press(app, "Adopt all 2 unanimous")
    settled = consolidation.decisions(engine, round)
    assert {position: decision.verdict for position, decision in settled.items()} == {0: "label_wrong", 4: "outside"}
    assert "**2** of 6 pictures are settled; **3** to be discussed" in text(app)


def test_a_decision_needs_a_verdict_and_a_reason_and_goes_on_to_the_next_question(engine: Engine) -> None:
    round = voted(engine)
    app = opened("discussion", engine, round, BEN)
    press(app, "Save")
    assert "Choose the final verdict first." in text(app)
    enter(app, "unusual", " ")
    press(app, "Save")
    assert "A decision needs a reason" in text(app) and app.selectbox[0].value == "unusual"
    app.selectbox[1].set_value("tent")
    enter(app, "unusual", "Seen from *above*")
    press(app, "Save")
    decision = consolidation.decisions(engine, round)[2]
    assert (decision.verdict, decision.suggested, decision.reason) == ("unusual", "tent", "Seen from *above*")
    assert decision.person.name == "Ben" and number(app) == "2"
    (table,) = app.dataframe
    assert table.value[["picture", "verdict", "why", "by"]].values.tolist() == [
        [3, "Unusual picture", "Seen from *above*", "Ben (not verified)"]
    ]


def test_a_picture_goes_to_the_report_with_its_verdict_votes_and_comments(engine: Engine, monkeypatch: Any) -> None:
    reports = [Report()]
    monkeypatch.setattr(report_items, "collected", lambda: reports[-1])
    monkeypatch.setattr(report_items, "keep", reports.append)
    monkeypatch.setattr(page_links, "shown", lambda: page_links.REVIEW)
    round = voted(engine)
    press(enter(opened("discussion", engine, round, BEN), "unusual", "Seen from *above*"), "Save")
    app = opened("discussion", engine, round, BEN, picture="3")
    ran(app.button(key="to report verdict 2").click().run())
    (item,) = reports[-1].items
    picture = rounds.items(engine, round)[2]
    assert item.kind == "figure" and item.caption.startswith(f"{picture.name}: label {picture.label}, predicted ")
    assert "Settled: Unusual picture, by Ben (not verified), 20" in item.caption and "Seen from *above*" in item.caption
    for verdict, person in (("Shortcut", "Anna"), ("Unusual picture", "Ben"), ("Plain failure", "Chris")):
        assert f"{verdict}: 1 of 3 votes. {person} (not verified): “{person} on 2”." in item.caption
    assert image_io.open_picture(item.picture).width > 300 and item.settings["picture"] == "3"
    app = opened("discussion", engine, voted(engine, anonymous=True), BEN, picture="3")
    ran(app.button(key="to report verdict 2").click().run())
    assert "Reviewer 1: “" in reports[-1].items[-1].caption and "(not verified)" not in reports[-1].items[-1].caption


def test_what_is_left_open_comes_last_and_what_is_settled_is_opened_again_with_a_reason(engine: Engine) -> None:
    round = voted(engine)
    app = opened("discussion", engine, round, BEN)
    ran(app.text_area[0].set_value("Ask the photographer").run())
    press(app, "Leave open")
    assert number(app) == "2" and "(1 left open)" in text(app)
    app = opened("discussion", engine, round, CHRIS, picture="3")
    assert "Question **3** of 3" in text(app) and "Ask the photographer" in text(app)
    press(enter(app, "unusual", "It is a kite"), "Save")
    app = opened("discussion", engine, round, ANNA, picture="3")
    assert "This picture is settled." in text(app) and "It is a kite" in text(app)
    press(app, "Reopen")
    assert "Write the reason first" in text(app) and 2 in consolidation.decisions(engine, round)
    ran(app.text_area[0].set_value("Look again").run())
    press(app, "Reopen")
    assert 2 not in consolidation.decisions(engine, round) and "Look again" in text(app)
    assert number(app) == "3"


def test_somebody_who_was_faster_is_named_and_nothing_typed_is_lost(engine: Engine) -> None:
    round = voted(engine)
    slow = enter(opened("discussion", engine, round, BEN), "unusual", "Mine")
    press(enter(opened("discussion", engine, round, CHRIS), "shortcut", "Theirs"), "Save")
    press(slow, "Save")
    assert consolidation.decisions(engine, round)[2].reason == "Theirs"
    (warning,) = slow.warning
    assert warning.value.startswith("Chris (not verified) has decided on this picture at 20") and "Theirs" in text(slow)
    assert (slow.selectbox[0].value, slow.text_area[0].value) == ("unusual", "Mine")
    press(slow, "Save instead")
    assert consolidation.decisions(engine, round)[2].reason == "Mine" and not slow.warning


def test_what_is_typed_stays_while_other_pictures_are_looked_at(engine: Engine) -> None:
    app = opened("discussion", engine, voted(engine), BEN)
    ran(app.text_area[0].set_value("half a reason").run())
    press(app, "Next")
    assert app.text_area[0].value == "" and "Not saved yet on other pictures" in text(app)
    press(app, "Picture 3")
    assert app.text_area[0].value == "half a reason" and number(app) == "3"
    press(app, "Discard")
    assert app.text_area[0].value == ""


def test_a_reader_reads_and_the_owner_ends_the_round(engine: Engine) -> None:
    round = voted(engine)
    app = opened("discussion", engine, round, named("A stranger", "another browser"))
    assert not app.text_area and set(labels(app)) == READERS
    assert "End the round now" not in labels(opened("discussion", engine, round, BEN))
    app = opened("discussion", engine, round, ANNA)
    assert "**5** pictures are not settled" in text(app)
    press(app, "End the round now")
    assert rounds.load(engine, round.id).state == rounds.DONE and not app.text_area and "is done" in text(app)
    press(app, "Go back to the discussion")
    assert rounds.load(engine, round.id).state == rounds.DISCUSSION


def test_a_public_demonstration_shows_the_discussion_and_offers_no_change(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    round, voting = voted(engine), made_team(engine)
    monkeypatch.setenv("XAI_READONLY", "1")
    app = opened("discussion", engine, round, ANNA)
    assert "Question **1** of 3" in text(app) and not app.text_area and set(labels(app)) == READERS
    assert "Close the voting for good" not in labels(opened("discussion", engine, voting, ANNA))


def test_votes_changed_after_a_look_at_others_are_discussed_and_not_measured(engine: Engine) -> None:
    round = made_team(engine)
    items = rounds.items(engine, round)
    for person, verdict in ((ANNA, "unsure"), (BEN, "shortcut"), (CHRIS, "shortcut")):
        votes.cast(engine, round, items, person, 0, Vote(verdict))
    same = rounds.set_state(engine, made_team(engine), rounds.DISCUSSION, ANNA)
    assert closed_votes.table(engine, same, blind=True) is closed_votes.table(engine, same, blind=False)
    votes.others(engine, round, ANNA, items[0])
    votes.cast(engine, round, items, ANNA, 0, Vote("shortcut"), seen=1)
    round = rounds.set_state(engine, round, rounds.DISCUSSION, ANNA)
    assert "on **1** all votes agree" in text(opened("discussion", engine, round, ANNA))
    assert "they agree on **33%** of 3 pairs of votes" in text(opened("agreement_view", engine, round, ANNA))


def test_anonymous_votes_have_numbers_and_texts_are_shown_as_they_are(engine: Engine) -> None:
    spread: dict[int, tuple[str | None, ...]] = {0: ("shortcut", "unusual", None)}
    round = made_team(engine, 6, anonymous=True)
    items = rounds.items(engine, round)
    hostile = "<script>alert(1)</script> **bold** [x](javascript:alert(1))"
    for person, verdict in zip((ANNA, BEN), spread[0], strict=False):
        votes.cast(engine, round, items, person, 0, Vote(str(verdict), 2, "*tent*", hostile, True))
    round = rounds.set_state(engine, round, rounds.DISCUSSION, ANNA)
    app = opened("discussion", engine, round, BEN)
    boxes = [element.value for element in app.markdown if element.value.startswith("Reviewer")]
    assert sorted(boxes) == [f"Reviewer {n}: severity major, label **\\*tent\\***, the map helped" for n in (1, 2)]
    assert "Anna" not in text(app) and [element.value for element in app.text] == [hostile, hostile]


def test_nothing_to_discuss_and_an_address_of_nothing(engine: Engine) -> None:
    round = voted(engine, {})
    app = opened("discussion", engine, round, ANNA)
    assert "There is nothing left to discuss." in text(app) and "without a vote: 6" in text(app)
    for picture in ("0", "7", "-1", "x", "9" * 40):
        assert "There is nothing" in text(opened("discussion", engine, round, ANNA, picture=picture))
    assert "Nobody has voted on this picture." in text(opened("discussion", engine, round, ANNA, picture="6"))


# --- agreement


VERDICTS = [kind.id for kind in rounds.VERDICTS]
TITLES = {kind.id: kind.title for kind in rounds.VERDICTS}


def judged(engine: Engine, pictures: int = 12, seed: int = 0, **settings: Any) -> Round:
    """A round with votes by chance: some are missing, and people agree more often than not."""
    draw = random.Random(seed)
    round = made_team(engine, pictures, **settings)
    items = rounds.items(engine, round)
    truth = [draw.choice(VERDICTS[:4]) for _ in items]
    for item in items:
        original = item.position if item.repeat_of is None else item.repeat_of
        for person in (ANNA, BEN, CHRIS):
            if draw.random() < 0.85:
                verdict = truth[original] if draw.random() < 0.6 else draw.choice(VERDICTS[:4])
                helped = draw.choice([True, False, None])
                votes.cast(engine, round, items, person, item.position, Vote(verdict, map_helped=helped))
    return rounds.set_state(engine, round, rounds.DISCUSSION, ANNA)


def raw_votes(engine: Engine, round: Round) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        rows = connection.execute(select(tables.votes).where(tables.votes.c.round == round.id)).mappings()
        return [dict(row) for row in rows]


def by_picture(engine: Engine, round: Round) -> dict[int, dict[str, str]]:
    """The verdicts on the pictures of a round by person, without the repeats."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for row in raw_votes(engine, round):
        if row["position"] < round.pictures:
            found[row["position"]][row["person"]] = row["verdict"]
    return found


def test_the_sentence_and_the_table_tell_what_the_raw_votes_tell(engine: Engine) -> None:
    round = judged(engine)
    pictures = by_picture(engine, round)
    pairs = [a == b for said in pictures.values() for a, b in itertools.combinations(said.values(), 2)]
    several = sum(len(said) > 1 for said in pictures.values())
    numbers = [[VERDICTS.index(said[p.key]) if p.key in said else np.nan for said in pictures.values()]
               for p in (ANNA, BEN, CHRIS)]  # fmt: skip
    alpha = krippendorff.alpha(numbers, level_of_measurement="nominal")
    app = opened("agreement_view", engine, round, BEN)
    first = next(element.value for element in app.markdown if element.value.startswith("On **"))
    assert f"On **{several}** of 12 pictures at least two people voted" in first
    assert f"they agree on **{sum(pairs) / len(pairs):.0%} [" in first and f"of {len(pairs)} pairs of votes" in first
    assert f"Krippendorff's alpha is **{alpha:.2f} [" in first
    assert f"3 people cast {sum(map(len, pictures.values()))} votes on 12 pictures" in text(app)
    table = app.dataframe[0].value.set_index("verdict")
    assert list(table.index) == ["All verdicts", *sorted((TITLES[v] for v in VERDICTS[:4]), key=list(TITLES.values()).index)]
    assert table.loc["All verdicts", "Krippendorff's alpha"].startswith(f"{alpha:.2f} [")
    for verdict in VERDICTS[:4]:
        binary = [[np.nan if np.isnan(v) else float(v == VERDICTS.index(verdict)) for v in row] for row in numbers]
        expected = krippendorff.alpha(binary, level_of_measurement="nominal")
        assert table.loc[TITLES[verdict], "Krippendorff's alpha"].startswith(f"{expected:.2f} [")
    assert set(table["Cohen's kappa"]) == {"–"}
    assert "Cohen's kappa (all rows): Cohen's kappa is for exactly two people, and 3 voted." in text(app)


def test_who_agrees_with_whom_and_what_is_disputed_most(engine: Engine) -> None:
    round = judged(engine)
    pictures = by_picture(engine, round)
    app = opened("agreement_view", engine, round, BEN)
    table = next(frame.value for frame in app.dataframe if "pictures of both" in frame.value)
    keys = {person.in_words(): person.key for person in (ANNA, BEN, CHRIS)}
    assert len(table) == 3
    for row in table.to_dict("records"):
        first, second = keys[row["first"]], keys[row["second"]]
        both = [said for said in pictures.values() if {first, second} <= set(said)]
        assert row["pictures of both"] == len(both)
        assert row["agree"] == pytest.approx(sum(said[first] == said[second] for said in both) / len(both))
    disputed = next(frame.value for frame in app.dataframe if "disagreement (bits)" in frame.value)
    entropies = {}
    for position, said in pictures.items():
        shares = np.array(list(Counter(said.values()).values())) / len(said)
        if len(shares) > 1:
            entropies[position + 1] = float(-(shares * np.log2(shares)).sum())
    assert dict(zip(disputed["picture"], disputed["disagreement (bits)"], strict=True)) == pytest.approx(entropies)
    assert list(disputed["disagreement (bits)"]) == pytest.approx(sorted(entropies.values(), reverse=True))
    chosen = int(disputed["picture"].iloc[1])
    ran(app.selectbox(key="disputed picture").set_value(1).run())
    assert number(app) == str(chosen) and app.session_state["section"] == "Discussion"


def test_both_sections_call_the_same_pictures_the_most_disputed(engine: Engine) -> None:
    round = judged(engine, pictures=20)
    items, table = rounds.items(engine, round), votes.table(engine, round)
    disputed = [entry.position for entry in agreement.disputed(table)]
    questions = [item.position for item in consolidation.open_questions(items, table, {})]
    assert len(disputed) > 5 and questions[: len(disputed)] == disputed


def test_consistency_and_whether_maps_helped(engine: Engine) -> None:
    round = judged(engine, repeats=0.5, maps="random", seed=3)
    consolidation.adopt_unanimous(engine, round, ANNA)
    final = {position: decision.verdict for position, decision in consolidation.decisions(engine, round).items()}
    rows, of_repeat = raw_votes(engine, round), {item.position: item.repeat_of for item in rounds.items(engine, round)}
    originals = [row for row in rows if of_repeat[row["position"]] is None]
    first = {(row["person"], row["position"]): row["verdict"] for row in originals}
    app = opened("agreement_view", engine, round, BEN)
    table = next(frame.value for frame in app.dataframe if "same verdict" in frame.value).set_index("name")
    for person in (ANNA, BEN, CHRIS):
        same = [
            row["verdict"] == first[person.key, of_repeat[row["position"]]]
            for row in rows
            if row["person"] == person.key and (person.key, of_repeat[row["position"]]) in first
        ]
        assert table.loc[person.in_words(), "repeats"] == len(same)
        assert table.loc[person.in_words(), "same verdict"].startswith(f"{sum(same) / len(same):.0%} [")
    answers = [row["map_helped"] for row in originals if row["map_shown"] and row["map_helped"] is not None]
    assert f"of {len(answers)} answers say that the map helped" in text(app)
    for shown, words in ((True, "with maps **"), (False, "without maps **")):
        said: dict[int, list[str]] = defaultdict(list)
        for row in originals:
            if row["map_shown"] == shown:
                said[row["position"]].append(row["verdict"])
        pairs = [a == b for verdicts in said.values() for a, b in itertools.combinations(verdicts, 2)]
        line = next(element.value for element in app.markdown if element.value.startswith("Pairs of votes that agree"))
        assert f"{words}{sum(pairs) / len(pairs):.0%}" in line and f"** of {len(pairs)}" in line
        known = [row["verdict"] == final[row["position"]] for row in originals
                 if row["map_shown"] == shown and row["position"] in final]  # fmt: skip
        line = next(element.value for element in app.markdown if element.value.startswith("Votes that are the final"))
        assert f"{words}{sum(known) / len(known):.0%}" in line and f"** of {len(known)}" in line


def test_what_cannot_be_measured_is_said(engine: Engine) -> None:
    round = voted(engine, {0: ("shortcut", None, None)})
    app = opened("agreement_view", engine, round, BEN)
    assert "There is no agreement to measure: only one person has voted." in text(app)
    assert "Only one person voted." in text(app) and "No picture has two different verdicts." in text(app)
    app = opened("agreement_view", engine, voted(engine, {}), BEN)
    assert "There is no agreement to measure: nobody has voted." in text(app) and not app.dataframe
    app = opened("agreement_view", engine, voted(engine, {0: ("shortcut",) * 3, 1: ("shortcut",) * 3}), BEN)
    assert "A value that is corrected for chance cannot be computed: all votes that count here are the same" in text(app)
    app = opened("agreement_view", engine, made_team(engine), ANNA)
    assert text(app) == "How far people agree is shown when the owner has closed the voting."


def test_people_of_one_name_are_told_apart() -> None:
    assert agreement_view.unique_names({"a": "Anna", "b": "Anna", "c": "Ben"}) == {"a": "Anna", "b": "Anna (2)", "c": "Ben"}


def test_the_charts_have_every_value(engine: Engine) -> None:
    round = judged(engine)
    figures = agreement_view.results(engine, round)
    lines = agreement_view.coefficient_lines(round, figures)
    verdicts, names = list(dict.fromkeys(lines["verdict"])), list(COEFFICIENTS.values())
    spec = charts.coefficients(lines, verdicts, names).to_dict()
    (rows,) = (rows for rows in spec["datasets"].values() if "coefficient" in rows[0])
    assert len(rows) == lines["value"].notna().sum() == 5 * 4
    for kappa in (False, True):
        people = agreement_view.pair_lines(figures.pairs, {p.key: p.name for p in (ANNA, BEN, CHRIS)}, kappa)
        spec = charts.people(people, ["Anna", "Ben", "Chris"], "measure", signed=kappa).to_dict()
        (rows,) = spec["datasets"].values()
        assert len(rows) == 6 and {row["text"] for row in rows} == set(people["text"])
    nothing = pd.DataFrame([{"first": "Anna", "second": "Ben", "value": None, "text": "–", "pictures": 0}])
    assert charts.people(nothing, ["Anna", "Ben"], "measure", signed=True).to_dict()


# --- minutes


def test_files_are_made_when_their_button_is_pressed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    round = voted(engine)
    consolidation.adopt_unanimous(engine, round, ANNA)
    made: list[str] = []
    whole = minutes.minutes
    monkeypatch.setattr(minutes, "minutes", lambda engine, round: made.append(round.id) or whole(engine, round))
    app = opened("minutes_view", engine, round, BEN)
    assert "**2** of 6 pictures are settled. The other **4** are in the minutes as open questions." in text(app)
    assert [button.proto.label for button in app.get("download_button")] == [
        "HTML", "PDF", "Markdown", "Votes (CSV)", "Verdicts (CSV)", "Corrected labels (CSV)", "Whole round (JSON)"
    ]  # fmt: skip
    assert made == []
    files = {
        **minutes_view.documents(engine, round), **minutes_view.tables(engine, round),
        **minutes_view.whole_round(engine, round),
    }  # fmt: skip
    contents = {}
    for label, (_, _, content) in files.items():
        assert callable(content)
        contents[label] = content()
    assert made == [round.id] * 3 and contents["PDF"][:4] == b"%PDF" and b"<html" in contents["HTML"][:200]
    assert "Round of a test" in contents["Markdown"]
    votes_table = pd.read_csv(io.BytesIO(contents["Votes (CSV)"]))
    assert len(votes_table) == sum(verdict is not None for verdicts in SPLIT.values() for verdict in verdicts)
    assert len(pd.read_csv(io.BytesIO(contents["Verdicts (CSV)"]))) == 6
    assert json.loads(contents["Whole round (JSON)"])


def test_a_round_that_is_too_large_for_a_file_says_so_before_its_button_is_pressed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    round = voted(engine)
    monkeypatch.setattr(round_files, "MOST_BYTES", 1000)
    app = opened("minutes_view", engine, round, BEN)
    assert "take more than the 0 MB that a file may have" in text(app)
    assert "Whole round (JSON)" not in [button.proto.label for button in app.get("download_button")]


def test_there_are_no_minutes_while_a_round_is_voted_on(engine: Engine) -> None:
    app = opened("minutes_view", engine, made_team(engine), ANNA)
    assert text(app) == "The minutes can be downloaded when the owner has closed the voting."
    assert not app.get("download_button")
