"""The whole way on the real server: in six clicks from the errors of a model to an exported plan, then to a review round."""

import re
import zipfile

import pytest
from browsing import PATIENCE, choose, settled
from playwright.sync_api import Locator, Page, expect

from xai_core.failures.plan import Plan

pytestmark = pytest.mark.browser
# What each step has found before the next is asked for, in the order of the steps.
FOUND = {
    "Labels": r"\d+ of 1,000 labels are flagged",
    "Groups": r"\d+ of \d+ tested groups (is|are) confirmed on the held-out half",
    "Causes": r"hiding it mends \d+ of \d+ errors",
    "What to do": r"No edit helps|mends \d+",
    "Plan": r"\d+ actions in the plan",
}


def test_six_clicks_lead_from_the_errors_to_an_exported_plan_and_on_to_a_round(visit) -> None:
    page: Page = visit("Misclassifications")
    clicks = 0

    def click(button: Locator) -> None:
        nonlocal clicks
        button.click()
        clicks += 1

    click(page.get_by_role("link", name="Why are these wrong?"))
    for step, words in FOUND.items():
        shown = page.get_by_role("radio", name=step, exact=True)
        if step != "Labels":
            click(page.get_by_role("button", name=f"Next: {step}"))
            try:
                expect(shown).to_be_checked(timeout=PATIENCE / 4)
            except AssertionError:  # a run of the page took the button away just then: again, as a person would
                page.get_by_role("button", name=f"Next: {step}").click()
        expect(shown).to_be_checked()
        expect(page.get_by_text(re.compile(words)).first).to_be_visible(timeout=3 * PATIENCE)  # it computes what it shows
        settled(page)
    page.reload()  # nothing is lost
    expect(page.get_by_text(re.compile(FOUND["Plan"]))).to_be_visible()
    settled(page)
    with page.expect_download() as waiting:
        click(page.get_by_role("button", name="ZIP with all lists"))
    assert clicks <= 6
    with zipfile.ZipFile(waiting.value.path()) as archive:
        plan = Plan.from_json(archive.read("plan.json"))
        lists = [name for name in archive.namelist() if name.startswith("actions/")]
    assert plan.dataset == "world:planted" and len(lists) == len(plan.actions)
    assert {action.kind for action in plan.actions} >= {"relabel", "collect"}
    page.get_by_role("button", name="Send to a review round").click()
    form = page.get_by_role("dialog")
    form.get_by_role("textbox", name="Your name").fill("Anna")
    form.get_by_role("button", name="Use this name").click()
    expect(form.get_by_text(re.compile(f"^{len(plan.paths)} pictures: "))).to_be_visible()
    choose(page, f"Of the {len(plan.paths)} pictures", "A random sample")
    form.get_by_role("spinbutton", name="How many").fill("2")
    form.get_by_role("textbox", name="Title").fill("Two of the plan")  # the click comes before it has left the field
    form.get_by_role("button", name="Make the round").click()
    expect(form.get_by_text("2 of 2 have maps")).to_be_visible()
    form.get_by_role("link", name="Open the round").click()
    expect(page).to_have_url(re.compile(r"/Review\?.*round=[0-9a-f]{10}"))
    expect(page.get_by_role("heading", name="Two of the plan")).to_be_visible()
    settled(page)
