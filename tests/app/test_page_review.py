"""The page Review: who may open what, votes by buttons, drafts, progress, and nothing of others before one's own vote."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from opened_pages import markdown_sources, text, with_state
from small_rounds import SETTINGS, made_rows, webp
from sqlalchemy import Engine
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from xai_core.app.shared import jobs
from xai_core.app.shared.page_links import FILES, REVIEW
from xai_core.core.cache_key import text_digest
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.review import example, invitees, rounds, votes
from xai_core.review.database import StoreUnavailable, open_database
from xai_core.review.people import Person, named
from xai_core.review.rounds import Round
from xai_core.review.votes import Vote

HOME = str(Path(__file__).parents[2] / "Home.py")
SECRET = "<b>a secret</b> of **Anna**"


@pytest.fixture(autouse=True)
def public_server():
    """A server for many; `own_computer` makes it one's own."""
    with patch.object(jobs, "is_own_computer", return_value=False):
        yield


@pytest.fixture
def own_computer(public_server):
    with patch.object(jobs, "is_own_computer", return_value=True):
        yield


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("XAI_REVIEW_DB", f"sqlite:///{tmp_path}/review.sqlite")
    return open_database()


def person_of(name: str) -> Person:
    """The person whose browser has the token of `opened`."""
    return named(name, text_digest(token_of(name))[:32])


def token_of(name: str) -> str:
    return text_digest(name)[:32]


def opened(name: str | None, **query: str) -> AppTest:
    app = AppTest.from_file(HOME, default_timeout=60)
    if name:
        app.session_state["visitor token"] = token_of(name)
        app.session_state["typed name"] = name
    app.run()
    app.switch_page(FILES[REVIEW])
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def pressed(app: AppTest, key: str) -> AppTest:
    next(button for button in app.button if button.key == key).click().run()
    assert not app.exception, app.exception
    return app


def form(app: AppTest) -> dict[str, Any]:
    """What the component with the picture and the keys was given."""
    (component,) = app.get("bidi_component")
    return json.loads(component.proto.json)


def sent(app: AppTest, *events: dict[str, object], first: int = 0, browser: str = "a browser") -> AppTest:
    """The page after its component has sent events, with numbers from `first`, by default the next ones."""
    (component,) = app.get("bidi_component")
    first = first or form(app)["done"] + 1
    numbered = [{"number": number, **event} for number, event in enumerate(events, first)]
    message = {"event": "events", "value": {"instance": browser, "events": numbered}}
    id = f"$$STREAMLIT_INTERNAL_KEY_{component.proto.id}__events"
    return with_state(app, WidgetState(id=id, json_trigger_value=json.dumps([message])))


def seen(app: AppTest, **event: object) -> dict[str, object]:
    """An event about the picture that the component shows."""
    return {"position": form(app)["position"], "version": form(app)["version"], **event}


def said_by_key(app: AppTest, **event: object) -> AppTest:
    """The page after a key of the component, for the picture that it shows."""
    return sent(app, seen(app, **event))


def made_team(store: Engine, pictures: int = 4, **settings) -> Round:
    """A round of Anna, with Ben."""
    dataset = open_dataset(USUAL_WORLD)
    changed = {**SETTINGS.__dict__, **settings}
    round = rounds.create(
        store, person_of("Anna"), "Errors of Anna", type(SETTINGS)(**changed), made_rows(dataset, pictures), dataset
    )
    rounds.invite(store, round, person_of("Ben"), rounds.REVIEWER, by=person_of("Anna"))
    return round


def said(app: AppTest) -> str:
    """Everything that the page holds."""
    component = [element.proto.json for element in app.get("bidi_component")]
    return " ".join(words for _, _, words in markdown_sources(app)) + repr(
        [element.value for element in app.get("text")] + component
    )


def test_a_newcomer_is_told_what_to_do(store: Engine) -> None:
    app = opened(None)
    assert "Say who you are" in app.info[0].value
    app = opened("Ben")
    assert "You take part in no round yet" in app.info[0].value


def test_a_digit_is_a_vote_and_the_next_picture_follows(store: Engine) -> None:
    round = made_team(store)
    app = opened("Ben", round=round.id)
    items = rounds.items(store, round)
    order = votes.to_do(store, round, items, person_of("Ben"))
    assert app.query_params["picture"] == str(order[0] + 1)
    assert form(app)["verdicts"][5 - 1][0] == "shortcut"
    app = said_by_key(app, verdict="shortcut")
    app = said_by_key(app, severity=2)
    assert votes.own_votes(store, round, person_of("Ben"))[order[0]].vote == Vote("shortcut", 2)
    app = said_by_key(app, go="on")
    assert app.query_params["picture"] == str(order[1] + 1)
    assert form(app)["heading"] == "Picture 2 of 4; you have judged 1"
    app = opened("Ben", round=round.id)  # comes back: goes on where it was
    assert app.query_params["picture"] == str(order[1] + 1)


def test_what_is_entered_before_the_verdict_is_saved_with_it(store: Engine) -> None:
    round = made_team(store)
    app = opened("Ben", round=round.id, picture="2")
    app.text_area[0].set_value("not **bold**").run()
    app.selectbox[0].set_value("tent").run()
    assert votes.own_votes(store, round, person_of("Ben")) == {}
    assert "Not saved yet" in text(app)
    app = said_by_key(app, go="next" if form(app)["to"]["next"] else "previous")
    app.query_params["picture"] = "2"
    app.run()
    assert app.text_area[0].value == "not **bold**"
    app = said_by_key(app, verdict="label_wrong")
    assert votes.own_votes(store, round, person_of("Ben"))[1].vote == Vote("label_wrong", None, "tent", "not **bold**")
    assert "Saved" in text(app)


def test_a_vote_that_cannot_be_saved_is_said_and_kept(store: Engine) -> None:
    round = made_team(store)
    app = opened("Ben", round=round.id, picture="1")
    rounds.set_state(store, round, rounds.DISCUSSION, person_of("Anna"))
    app = said_by_key(app, verdict="unsure")
    assert "The voting of this round is closed; 'Unsure' was not counted" in " ".join(e.value for e in app.error)


def test_two_tabs_of_one_person(store: Engine) -> None:
    round = made_team(store)
    first, second = (opened("Ben", round=round.id, picture="1") for _ in range(2))
    said_by_key(first, verdict="unsure")
    second = said_by_key(second, verdict="shortcut")
    assert any("Ben (not verified) has changed the vote of Ben" in element.value for element in second.error)
    assert votes.own_votes(store, round, person_of("Ben"))[0].vote.verdict == "unsure"
    second = said_by_key(second, verdict="shortcut")  # now it follows what was seen
    assert votes.own_votes(store, round, person_of("Ben"))[0].vote.verdict == "shortcut"


@pytest.mark.parametrize("section", ["Vote", "Progress"])
@pytest.mark.parametrize("blind", rounds.BLIND)
def test_nothing_of_a_vote_is_on_the_page_before_the_own_one(store: Engine, section: str, blind: str) -> None:
    round = made_team(store, blind=blind)
    items = rounds.items(store, round)
    empty = said(opened("Ben", round=round.id, picture="1", section="Vote")) if section == "Vote" else ""
    for position in range(4):
        vote = Vote("outside", 3, "windmill of Anna", SECRET)
        votes.cast(store, round, items, person_of("Anna"), position, vote)
    page = said(opened("Ben", round=round.id, picture="1", section=section))
    for words in ("secret", "windmill of Anna", "outside'"):
        assert words not in page
    if section == "Vote":
        assert page == empty


def test_others_votes_are_shown_as_text_after_the_own_one(store: Engine) -> None:
    round = made_team(store)
    items = rounds.items(store, round)
    votes.cast(store, round, items, person_of("Anna"), 0, Vote("outside", comment=SECRET))
    app = opened("Ben", round=round.id, picture="1")
    assert not [button for button in app.button if "Others' votes" in button.label]
    app = said_by_key(app, verdict="unsure")
    app = pressed(app, f"show others {round.id} 0")
    assert SECRET in [element.value for element in app.get("text")]
    assert "Anna" in text(app)
    app = said_by_key(app, verdict="outside")
    closed = rounds.set_state(store, round, rounds.DISCUSSION, person_of("Anna"))
    assert votes.table(store, closed).set_index("person")["verdict"][person_of("Ben").key] == "unsure"


def test_a_prediction_is_hidden_until_the_vote_where_the_round_says_so(store: Engine) -> None:
    round = made_team(store, reveal_after_vote=True)
    item = rounds.items(store, round)[0]
    rounds.add_map(store, round, 0, "predicted", rounds.thumbnail(store, item.sha256), f"caption with {item.predicted}")
    app = opened("Ben", round=round.id, picture="1")
    assert item.predicted not in {form(app)["predicted"], form(app)["label"]}
    assert item.predicted not in said(app).replace(item.label, "")
    assert "Top five" not in said(app)
    assert "caption with" not in said(app)
    assert len(form(app)["pictures"]) == len(form(app)["ahead"]["pictures"]) == 1 and not form(app)["ahead"]["predicted"]
    app = said_by_key(app, verdict="unsure")
    assert form(app)["predicted"].startswith(f"{item.predicted} (")
    assert [picture["caption"] for picture in form(app)["pictures"]] == ["The picture", "Map of the predicted class"]


def test_strangers_are_kept_out_and_invitations_let_in(store: Engine) -> None:
    round = made_team(store)
    app = opened("Eve", round=round.id)
    assert "You do not take part" in app.info[0].value
    assert "Errors of Anna" not in said(app)
    assert "Errors of Anna" not in said(opened("Eve"))
    app = opened("Eve", round=round.id, invite="guessed")
    assert "invitation is not valid" in app.error[0].value
    token = rounds.invitations(store, round, person_of("Anna"))[rounds.REVIEWER]
    app = opened("Eve", round=round.id, invite=token)
    assert "invite" not in app.query_params
    said_by_key(app, verdict="unsure")
    assert votes.progress(store, round, rounds.items(store, round))[-1] == (person_of("Eve"), 1, 4)
    app = opened(None, round=round.id, invite=token)
    assert "Say who you are" in app.info[0].value


def test_progress_is_that_of_the_rows(store: Engine) -> None:
    round = made_team(store, repeats=0.25)
    items = rounds.items(store, round)
    for position in (0, 2, 4):
        votes.cast(store, round, items, person_of("Anna"), position, Vote("unsure"))
    page = text(opened("Ben", round=round.id, section="Progress"))
    assert "**0** of 2 people have judged their part of 4 pictures" in page
    bars = [element.proto.text for element in opened("Ben", round=round.id, section="Progress").get("progress")]
    assert bars == ["Anna (not verified): 3 of 5", "Ben (not verified): 0 of 5"]


def test_only_the_owner_sees_invitations(store: Engine) -> None:
    round = made_team(store)
    tokens = rounds.invitations(store, round, person_of("Anna"))
    for name, sees in (("Anna", True), ("Ben", False)):
        codes = " ".join(element.value for element in opened(name, round=round.id, section="Progress").code)
        assert [token in codes for token in tokens.values()] == [sees, sees]


def test_on_the_own_computer_all_rounds_are_listed_and_one_click_takes_part(store: Engine, own_computer: None) -> None:
    round = made_team(store)
    app = opened("Eve")
    app = pressed(app, f"round {round.id}")
    (button,) = [button for button in app.button if button.label.startswith("Vote as")]
    button.click().run()
    assert rounds.role(store, round, person_of("Eve")) == rounds.REVIEWER


def test_a_public_demonstration_writes_nothing(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    round = made_team(store)
    monkeypatch.setenv("XAI_READONLY", "1")
    app = opened("Ben", round=round.id, picture="1")
    assert "nothing that you enter is stored" in app.info[0].value
    app = said_by_key(app, verdict="unsure")
    assert "stores nothing" in app.error[0].value
    assert votes.own_votes(store, round, person_of("Ben")) == {}


@pytest.mark.parametrize("address", [{"round": "none"}, {"picture": "x" * 5000}, {"picture": "99"}, {"section": "none"}])
def test_odd_addresses_are_answered(store: Engine, address: dict[str, str]) -> None:
    round = made_team(store)
    app = opened("Ben", **({"round": round.id} | address))
    assert app.error or form(app)["heading"].startswith("Picture 1 of 4")


def test_a_database_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_REVIEW_DB", "postgresql://somebody:secret@127.0.0.1:9/reviews")
    app = opened("Ben")
    assert "cannot be reached" in app.error[0].value
    assert "secret" not in app.error[0].value


def test_the_example_is_open_to_everybody(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    app = pressed(opened(None), "example round")
    assert app.query_params["round"] == example.ID
    assert "Example: the most confident errors" in said(app)
    assert [round.id for round in rounds.listed(store)] == [example.ID]
    app = opened("Ben", round=example.ID, section="Agreement")
    assert not app.error and "Krippendorff" in said(app)


def test_the_example_is_shown_where_nothing_may_be_written(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_READONLY", "1")
    app = pressed(opened(None), "example round")
    assert "Example: the most confident errors" in said(app)
    assert rounds.listed(store) == []


def test_a_key_that_reaches_the_buttons_of_an_earlier_picture_changes_no_vote(store: Engine) -> None:
    """A browser that is busy keeps the buttons of the picture before for a moment, and a key presses them too."""
    round = made_team(store)
    app = said_by_key(opened("Ben", round=round.id, picture="1"), verdict="unsure")
    late = seen(app, verdict="shortcut")
    app.query_params["picture"] = "2"
    app = sent(app, late)
    assert "The picture changed while a key was pressed, so that the key was not counted" in app.error[0].value
    assert {
        position: stored.vote.verdict for position, stored in votes.own_votes(store, round, person_of("Ben")).items()
    } == {0: "unsure"}


def verdicts_of_ben(store: Engine, round: Round) -> dict[int, str]:
    return {position: stored.vote.verdict for position, stored in votes.own_votes(store, round, person_of("Ben")).items()}


def test_keys_that_are_faster_than_the_page_are_all_counted_once(store: Engine) -> None:
    """Events come again until they are confirmed, and several at once; a severity follows a vote that is not yet shown."""
    round = made_team(store)
    app = opened("Ben", round=round.id, picture="1")
    vote, severity, correction = (
        seen(app, **change) for change in ({"verdict": "unsure"}, {"severity": 2}, {"verdict": "shortcut"})
    )
    sent(app, vote)
    sent(app, vote, severity, correction, first=1)
    assert not app.error
    stored = votes.own_votes(store, round, person_of("Ben"))[0]
    assert (stored.vote, stored.version) == (Vote("shortcut", 2), 3)
    sent(app, vote, severity, correction, first=1)
    assert votes.own_votes(store, round, person_of("Ben"))[0] == stored


def test_a_vote_and_enter_in_one_message(store: Engine) -> None:
    round = made_team(store, random_order=False)
    app = opened("Ben", round=round.id)
    app = sent(app, seen(app, verdict="unsure"), seen(app, go="on"), seen(app, verdict="outside"))
    assert verdicts_of_ben(store, round) == {0: "unsure"}, "what follows Enter is about no picture that was seen"
    assert (form(app)["position"], app.query_params["picture"]) == (1, "2")


def test_after_a_vote_that_cannot_be_saved_enter_does_not_leave_its_picture(store: Engine) -> None:
    round = made_team(store, random_order=False)
    app = opened("Ben", round=round.id)
    votes.cast(store, round, rounds.items(store, round), person_of("Ben"), 0, Vote("outside"))  # in another tab
    app = sent(app, seen(app, verdict="unsure"), seen(app, go="on"))
    assert any("has changed the vote of Ben" in element.value for element in app.error)
    assert form(app)["position"] == 0 and verdicts_of_ben(store, round) == {0: "outside"}


@pytest.mark.parametrize(
    "event",
    [{}, {"verdict": 5}, {"verdict": "brilliant"}, {"severity": True}, {"severity": 99, "verdict": "unsure"}, {"go": "away"},
     {"position": "1", "verdict": "unsure"}, {"position": 99, "verdict": "unsure"}, {"version": 7, "verdict": "unsure"},
     {"comment": "x", "person": "Anna"}],
)  # fmt: skip
def test_messages_that_no_component_sends_change_no_vote(store: Engine, event: dict[str, object]) -> None:
    round = made_team(store)
    app = opened("Ben", round=round.id, picture="1")
    sent(app, {**seen(app), **event})
    assert verdicts_of_ben(store, round) == {}
    assert rounds.items(store, round) and votes.own_votes(store, round, person_of("Anna")) == {}


def test_only_what_the_person_will_see_is_loaded_ahead(store: Engine) -> None:
    """The picture and its maps; no map before the vote where the round hides the prediction, none where it shows none."""
    for settings, loaded in (({}, 2), ({"reveal_after_vote": True}, 1), ({"maps": rounds.NEVER}, 1)):
        round = made_team(store, random_order=False, **settings)
        for position in range(4):
            rounds.add_map(store, round, position, "predicted", webp(("red", "green", "blue", "gold")[position]), "")
        app = opened("Ben", round=round.id)
        ahead = form(app)["ahead"]
        assert len(ahead["pictures"]) == loaded
        app = said_by_key(app, verdict="unsure")
        app = said_by_key(app, go="on")
        following = form(app)
        assert ahead["heading"] in following["heading"]
        same = {name: value for name, value in ahead.items() if name not in ("by", "heading")}
        assert {name: following[name] for name in same} == same, "it is what is shown next"


def test_keys_for_the_next_picture_count_before_the_page_shows_it(store: Engine) -> None:
    """The component shows it at once; its events come with those of the picture before, or after them."""
    round = made_team(store, random_order=False)
    app = opened("Ben", round=round.id, picture="1")
    first, following = seen(app), {"position": 1, "version": 0}
    app = sent(app, {**first, "verdict": "unsure"}, {**first, "go": "on"}, {**following, "verdict": "shortcut"})
    assert verdicts_of_ben(store, round) == {0: "unsure", 1: "shortcut"}
    assert form(app)["position"] == 1 and form(app)["saved"] and not app.error
    app = sent(app, {**seen(app), "go": "on"}, {**following, "position": 1, "verdict": "unusual"})
    assert verdicts_of_ben(store, round) == {0: "unsure", 1: "shortcut"}, "a late key counts for no picture"
    assert "not counted" in app.error[0].value


def test_nobody_goes_on_from_a_picture_that_the_page_has_not_shown(store: Engine) -> None:
    round = made_team(store, random_order=False)
    app = opened("Ben", round=round.id, picture="1")
    app = sent(app, {**seen(app), "go": "on"}, {"position": 1, "version": 0, "go": "on"})
    assert form(app)["position"] == 1 and verdicts_of_ben(store, round) == {}


def test_where_a_vote_cannot_be_saved_the_next_picture_gets_none(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    round = made_team(store, random_order=False)
    app = opened("Ben", round=round.id, picture="1")
    first = seen(app)
    monkeypatch.setattr(votes, "cast", refused)
    app = sent(
        app, {**first, "verdict": "unsure"}, {**first, "go": "on"}, {"position": 1, "version": 0, "verdict": "unsure"}
    )
    assert form(app)["position"] == 0 and "away" in app.error[0].value
    monkeypatch.undo()
    assert verdicts_of_ben(store, round) == {}


def refused(*_: object) -> None:
    raise StoreUnavailable("The database is away.")


def test_an_invitation_lets_its_holder_read_where_nothing_is_written(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    round, other = made_team(store), made_team(store)
    tokens = rounds.invitations(store, round, person_of("Anna"))
    monkeypatch.setenv("XAI_READONLY", "1")
    for name in (None, "Eve"):
        for token in tokens.values():
            app = opened(name, round=round.id, invite=token)
            assert "Errors of Anna" in said(app) and "invite" not in app.query_params
            assert any("You read this round; you have no vote in it" in element.value for element in app.info)
            app.run()
            assert "Errors of Anna" in said(app), "it lasts as long as the session"
            app.query_params["round"] = other.id
            app.run()
            assert "Errors of Anna" not in said(app), "it is of one round"
        for token in ("guessed", "", next(iter(rounds.invitations(store, other, person_of("Anna")).values()))):
            assert "Errors of Anna" not in said(opened(name, round=round.id, invite=token))
    assert rounds.role(store, round, person_of("Eve")) is None


def test_who_is_invited_by_name_takes_part_and_a_stranger_does_not(store: Engine) -> None:
    round = made_team(store)
    app = opened("Anna", round=round.id, section="Progress")
    app.text_input(key="who is invited").set_value("Dora *x*")
    next(button for button in app.button if button.label == "Invite").click().run()
    assert "Dora" not in [person.name for person, _ in rounds.members(store, round)]
    assert invitees.listed(store, round) == {"dora *x*": rounds.REVIEWER}
    assert "Errors of Anna" not in said(opened("Eve", round=round.id))
    assert form(opened("Dora *x*", round=round.id))["heading"] == "Picture 1 of 4; you have judged 0"
    assert rounds.role(store, round, person_of("Dora *x*")) == rounds.REVIEWER
    app = opened("Anna", round=round.id, section="Progress")
    pressed(app, "take back dora *x*")
    assert invitees.listed(store, round) == {}
    app.text_input(key="who is invited").set_value("dora@example.org")
    next(button for button in app.button if button.label == "Invite").click().run()
    assert "Nobody signs in at this server" in app.error[0].value
