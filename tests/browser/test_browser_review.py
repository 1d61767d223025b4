"""The discussion of a review in a browser, by keys; and the way from the agreement to a picture."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import PATIENCE, USUAL, settled
from playwright.sync_api import Browser, Locator, Page, expect
from small_rounds import BEN, CHRIS, made_round
from sqlalchemy import Engine

from xai_core.app.shared import jobs
from xai_core.core.cache_key import text_digest
from xai_core.review import consolidation, rounds, votes
from xai_core.review.database import open_database
from xai_core.review.people import named
from xai_core.review.rounds import Round, VerdictKind
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
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


def tab_to(page: Page, element: Locator) -> None:
    """Go to an element with the Tab key; a few others may lie before it."""
    for _ in range(8):
        page.keyboard.press("Tab")
        if element.evaluate("element => element === document.activeElement"):
            return
    expect(element).to_be_focused(timeout=1)


NOTED = """() => {
  window.noted = [];
  const now = () => {
    const picture = document.querySelector(".voting .pictures img")?.alt.replace("Picture ", "");
    const field = document.querySelector('[class*="st-key-comment"]').className.match(/st-key-comment-\\w+-(\\d+)/)[1];
    return {busy: !!document.querySelector(".voting[aria-busy]"), picture: Number(picture) - 1, field: Number(field)};
  };
  window.addEventListener("keydown", event => window.noted.push({key: event.key, ...now()}), true);
  new MutationObserver(() => window.noted.push(now())).observe(
    document.querySelector(".voting .pictures"), {childList: true, subtree: true});
}"""


def introduce(anna: Page) -> None:
    """Say the name, unless the server knows it of a test before: the browser has the same token."""
    field, known = anna.get_by_label("Your name"), anna.get_by_text("You are")
    expect(field.or_(known).first).to_be_visible()
    if field.count():
        field.fill("Anna")
        anna.keyboard.press("Enter")


def voting(anna: Page, server: str, round: Round) -> Page:
    """Anna at her first picture."""
    anna.goto(f"{server}/Review?round={round.id}")
    introduce(anna)
    expect(anna.get_by_text("Picture 1 of")).to_be_visible()
    expect(anna.locator(".voting[aria-busy]")).to_have_count(0)
    return settled(anna)


def test_keys_as_fast_as_they_can_be_pressed_count_for_the_picture_on_the_screen(
    store: Engine, anna: Page, server: str
) -> None:
    """Whatever comes while the next picture is loaded is not counted and is said not to be; every other digit is a vote on
    the picture that was painted, and the fields are always those of the painted picture."""
    hostile = (
        VerdictKind("one", "<b>One</b> **x**", "<img src=x>"),
        VerdictKind("two", "Two", ""),
        VerdictKind("three", "Three", ""),
    )
    round = made_round(store, 8, owner=ANNA, verdicts=hostile)
    page = voting(anna, server, round)
    expect(page.get_by_role("button", name="<b>One</b> **x**")).to_be_visible()
    page.evaluate(NOTED)
    number, end = 0, time.monotonic() + 2 * PATIENCE / 1000
    while not page.get_by_text("You have judged every picture of your part").count() and time.monotonic() < end:
        for _ in range(20):
            number += 1
            page.keyboard.press("123"[number % 3])
            page.keyboard.press("Enter")
            page.wait_for_timeout(7 * (number % 5))
    expect(page.get_by_text("You have judged every picture of your part")).to_be_visible()
    settled(page)
    noted = page.evaluate("() => window.noted")
    pressed = {
        note["picture"]: hostile[int(note["key"]) - 1].id for note in noted
        if note.get("key", "").isdecimal() and not note["busy"]
    }  # fmt: skip
    own = votes.own_votes(store, round, ANNA)
    assert {position: stored.vote.verdict for position, stored in own.items()} == pressed
    assert set(pressed) == set(range(8))
    assert any(note["busy"] for note in noted if note.get("key", "").isdecimal()), "some keys came too early"
    assert all(note["picture"] == note["field"] for note in noted if not note["busy"])


def test_a_key_that_comes_too_early_is_said_not_to_be_counted(store: Engine, anna: Page, server: str) -> None:
    round = made_round(store, 3, owner=ANNA, random_order=False)
    page = voting(anna, server, round)
    page.evaluate("""() => { for (const key of ["1", "Enter", "2"])
      document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true})); }""")
    expect(page.get_by_text("Picture 2 of 3; you have judged 1")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="key 2 was not counted")).to_be_visible()
    assert {position: stored.vote.verdict for position, stored in votes.own_votes(store, round, ANNA).items()} == {
        0: "label_wrong"
    }
    page.keyboard.press("3")
    expect(page.get_by_text("you have judged 2")).to_be_visible()
    expect(page.get_by_text("was not counted")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys").get_by_text("Fine-grained, forgivable")).to_be_visible()
    page.keyboard.press("1")  # not a vote while the list is open
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Picture 1 of 3")).to_be_visible()
    button = page.get_by_role("button", name="Shortcut", exact=True)
    button.focus()
    page.keyboard.press("Enter")  # presses the button that has the focus
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("Saved ")).to_be_visible()
    settled(page)
    assert {position: stored.vote.verdict for position, stored in votes.own_votes(store, round, ANNA).items()} == {
        0: "shortcut", 1: "fine_grained"
    }  # fmt: skip


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
    introduce(anna)
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
