"""A whole review in real browsers: an owner and three reviewers, from the errors to the minutes, voting with keys alone."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from browsing import PATIENCE, choose, settled
from playwright.sync_api import Page, Response, expect
from sqlalchemy import Engine

from xai_core.core import settings
from xai_core.review import consolidation, rounds, votes
from xai_core.review.database import open_database
from xai_core.review.people import Person
from xai_core.review.rounds import Round
from xai_core.review.votes import Vote

pytestmark = pytest.mark.browser

OWN_CONTEXT = {"accept_downloads": True}  # an option: each visitor then has a browser of its own
PICTURES = 20


@pytest.fixture
def store(more_data: Path) -> Engine:
    """The server's database."""
    return open_database(f"sqlite:///{more_data}/review.sqlite")


def introduce(page: Page, name: str) -> Page:
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")
    expect(page.get_by_text("You are")).to_be_visible()
    return settled(page)


def newest(store: Engine) -> Round:
    return rounds.listed(store)[0]


def person_of(store: Engine, round: Round, name: str) -> Person:
    return next(person for person, _ in rounds.members(store, round) if person.name == name)


def make_round(owner: Page, pictures: int) -> None:
    """A round of so many of the most confident errors, by the form."""
    owner.get_by_role("button", name=re.compile("most confident errors")).click()
    dialog = owner.get_by_role("dialog")
    introduce(dialog.page, "Olga")
    dialog.get_by_label("How many").fill(str(pictures))
    owner.keyboard.press("Tab")
    settled(owner)
    dialog.get_by_role("button", name="Make the round").click()
    dialog.get_by_role("link", name="Open the round").click()
    expect(owner.get_by_role("heading", name="What do we say of these pictures?")).to_be_visible()
    settled(owner)


def vote_by_keys(page: Page, store: Engine, name: str, digit_of: dict[int, str]) -> None:
    """Judge every picture with a digit and Enter; `digit_of` has the key for each position."""
    round = newest(store)
    order = rounds.order(round, rounds.items(store, round), person_of(store, round, name))
    for number, position in enumerate(order, 1):
        expect(page.get_by_text(f"Picture {number} of {PICTURES};")).to_be_visible()
        expect(page.get_by_alt_text(f"Picture {position + 1}", exact=True)).to_be_visible()
        expect(page.locator(".voting[aria-busy]")).to_have_count(0)
        page.keyboard.press(digit_of[position])
        expect(page.get_by_text(f"you have judged {number}")).to_be_visible()
        if number < PICTURES:
            page.keyboard.press("Enter")
    expect(page.get_by_text("You have judged every picture of your part")).to_be_visible()
    own = votes.own_votes(store, round, person_of(store, round, name))
    verdicts = {position: rounds.VERDICTS[int(digit) - 1].id for position, digit in digit_of.items()}
    assert {position: stored.vote.verdict for position, stored in own.items()} == verdicts


def test_an_owner_and_three_reviewers_from_the_errors_to_the_minutes(visit, store: Engine) -> None:
    owner = visit("Misclassifications", **OWN_CONTEXT)
    make_round(owner, PICTURES)
    round = newest(store)
    errors = pd.read_parquet(settings.RESOURCES / "data" / "predictions" / "world_planted.parquet")
    errors = errors[errors["true"] != errors["predicted"]].nlargest(PICTURES, "confidence")
    assert {item.name for item in rounds.items(store, round)} == set(errors["path"])
    assert round.owner.name == "Olga"

    token = rounds.invitations(store, round, round.owner)[rounds.REVIEWER]
    keys = {position: "5" if position < PICTURES // 2 else "7" for position in range(PICTURES)}
    reviewers = {}
    for number, name in enumerate(("Rita", "Sam", "Tom")):
        page = visit(f"Review?round={round.id}&invite={token}", **OWN_CONTEXT)
        reviewers[name] = introduce(page, name)
        vote_by_keys(page, store, name, keys | {number: "1"})  # each says something else of one picture
    vote_by_keys(owner, store, "Olga", keys)

    owner.get_by_text("Progress", exact=True).click()
    expect(owner.get_by_text("4 of 4 people have judged their part")).to_be_visible()
    owner.get_by_text("Discussion", exact=True).click()
    owner.get_by_role("button", name="Close the voting").click()
    owner.get_by_role("button", name="Close the voting for good").click()
    owner.get_by_role("button", name=f"Adopt all {PICTURES - 3} unanimous").click()
    for left in (3, 2, 1):
        expect(owner.get_by_text(f"{left} to be discussed")).to_be_visible()
        settled(owner)
        choose(owner, "Final verdict", "Shortcut")
        owner.get_by_label("Reason").fill("The stamp, we agree.")
        owner.keyboard.press("Tab")
        settled(owner)
        owner.get_by_role("button", name="Save", exact=True).click()
        settled(owner)
    expect(owner.get_by_text("There is nothing left to discuss.")).to_be_visible()
    final = consolidation.decisions(store, newest(store))
    half = PICTURES // 2
    assert [final[position].verdict for position in range(PICTURES)] == ["shortcut"] * half + ["plain_failure"] * half
    assert sum(decision.unanimous for decision in final.values()) == PICTURES - 3

    owner.get_by_text("Agreement", exact=True).click()
    expect(owner.get_by_text("Krippendorff's alpha").first).to_be_visible()
    owner.get_by_text("Minutes", exact=True).click()
    with owner.expect_download() as download:
        owner.get_by_role("button", name="HTML").click()
    document = Path(download.value.path()).read_text(encoding="utf-8")
    assert "The stamp, we agree." in document and "Rita" in document
    assert not re.search(r"(src|href)=.?https?:", document)

    reviewer = reviewers["Rita"]  # comes back: the discussion is there for her too
    reviewer.reload()
    settled(reviewer)
    reviewer.get_by_text("Discussion", exact=True).click()
    expect(reviewer.get_by_text(f"{PICTURES} of {PICTURES} pictures are settled")).to_be_visible()


def test_nothing_of_a_vote_reaches_another_browser_before_the_own_one(visit, store: Engine) -> None:
    """Everything that a reviewer's browser receives, over the socket too, while somebody else has voted."""
    owner = visit("Misclassifications", **OWN_CONTEXT)
    make_round(owner, 4)
    round = newest(store)
    items = rounds.items(store, round)
    for item in items:
        vote = Vote("outside", 3, "zeppelin-label", "quokka-comment")
        votes.cast(store, round, items, round.owner, item.position, vote)
    token = rounds.invitations(store, round, round.owner)[rounds.REVIEWER]
    page = visit("Review", **OWN_CONTEXT)
    introduce(page, "Rita")
    received: list[bytes] = []

    def note(response: Response) -> None:
        if response.request.resource_type in ("document", "fetch", "xhr"):
            received.append(response.body())

    page.on("response", note)
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(_bytes(frame))))
    page.goto(page.url.split("?")[0] + f"?round={round.id}&invite={token}")
    settled(page)
    expect(page.get_by_text("you have judged")).to_be_visible()
    for section in ("Progress", "Discussion", "Agreement", "Minutes", "Vote"):
        page.get_by_text(section, exact=True).first.click()
        settled(page)
    everything = b"".join(received)
    assert b"have judged" in everything, "the socket was listened to"
    assert b"zeppelin" not in everything and b"quokka" not in everything
    expect(page.locator(".voting:not([aria-busy])")).to_be_visible()
    page.keyboard.press("8")
    expect(page.get_by_text("Saved ")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Others' votes")).to_be_visible()
    page.keyboard.press("o")
    expect(page.get_by_text("quokka-comment")).to_be_visible()
    assert b"quokka" in b"".join(received), "what is shown would have been seen"


def _bytes(frame: str | bytes) -> bytes:
    return frame if isinstance(frame, bytes) else json.dumps(frame).encode()
