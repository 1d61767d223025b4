"""The discussion of a review in a browser, by keys; and the way from the agreement to a picture."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import USUAL, settled
from playwright.sync_api import Browser, Locator, Page, expect
from small_rounds import BEN, CHRIS, made_round
from sqlalchemy import Engine

from xai_core.app.shared import jobs
from xai_core.core.cache_key import text_digest
from xai_core.review import consolidation, rounds, votes
from xai_core.review.database import open_database
from xai_core.review.people import named
from xai_core.review.votes import Vote

pytestmark = pytest.mark.browser
TOKEN = "0123456789abcdef" * 2  # what the server knows Anna's browser by
ANNA = named("Anna", text_digest(TOKEN)[:32])


@pytest.fixture
def store(more_data: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{more_data}/review.sqlite")
    yield engine
    engine.dispose()


@pytest.fixture
def anna(browser: Browser, server: str) -> Iterator[Page]:
    context = browser.new_context(**USUAL)
    context.add_cookies([{"name": jobs.COOKIE, "value": TOKEN, "url": server}])
    yield context.new_page()
    context.close()


def tab_to(page: Page, element: Locator) -> None:
    """Go to an element with the Tab key; a few others may lie before it."""
    for _ in range(8):
        page.keyboard.press("Tab")
        if element.evaluate("element => element === document.activeElement"):
            return
    expect(element).to_be_focused(timeout=1)


def test_what_people_disagree_on_is_settled_with_keys_alone(store: Engine, anna: Page, server: str) -> None:
    round = made_round(store, 4, owner=ANNA, random_order=False)
    items = rounds.items(store, round)
    for person in (BEN, CHRIS):
        rounds.invite(store, round, person, rounds.REVIEWER, by=ANNA)
    for position, verdicts in {0: ("unsure", "unsure", "outside"), 2: ("unsure", "shortcut", "outside")}.items():
        for person, verdict in zip((ANNA, BEN, CHRIS), verdicts, strict=True):
            votes.cast(store, round, items, person, position, Vote(verdict, comment=f"Said by {person.name}"))
    rounds.set_state(store, round, rounds.DISCUSSION, ANNA)
    anna.goto(f"{server}/Review?round={round.id}")
    anna.get_by_label("Your name").fill("Anna")
    anna.keyboard.press("Enter")
    expect(anna.get_by_text("Question 1 of 2")).to_be_visible()
    expect(anna.get_by_text("Said by Chris")).to_be_visible()
    settled(anna)
    anna.locator("body").press("ArrowRight")
    expect(anna.get_by_text("Question 2 of 2")).to_be_visible()
    settled(anna)
    anna.locator("body").press("ArrowLeft")
    expect(anna.get_by_text("Picture 3 · label")).to_be_visible()
    settled(anna)
    verdict = anna.get_by_role("combobox", name="Final verdict")
    verdict.focus()
    anna.keyboard.type("Shortcut")
    anna.keyboard.press("Enter")
    expect(anna.get_by_text("Not saved yet.")).to_be_visible()
    settled(anna)
    verdict.focus()
    tab_to(anna, anna.get_by_label("Reason (needed)"))
    anna.keyboard.type("The stamp")
    anna.keyboard.press("ArrowLeft")  # moves in the text, not to another picture
    anna.keyboard.press("Control+Enter")
    settled(anna)
    expect(anna.get_by_text("Question 1 of 2")).to_be_visible()
    tab_to(anna, anna.get_by_role("button", name="Save"))
    anna.keyboard.press("Enter")
    expect(anna.get_by_text("Question 1 of 1")).to_be_visible()
    decision = consolidation.decisions(store, round)[2]
    assert (decision.verdict, decision.reason, decision.person.key) == ("shortcut", "The stamp", ANNA.key)
    anna.get_by_role("radio", name="Agreement").click()
    chooser = anna.get_by_role("combobox", name="Open a picture in the discussion")
    expect(chooser).to_be_visible()
    settled(anna)
    chooser.focus()
    anna.keyboard.type("3:")
    expect(anna.get_by_role("option", name="3:")).to_be_attached()
    anna.keyboard.press("Enter")
    expect(anna.get_by_text("This picture is settled.")).to_be_visible()
    expect(anna.get_by_text("The stamp").first).to_be_visible()
    assert "picture=3" in anna.url
