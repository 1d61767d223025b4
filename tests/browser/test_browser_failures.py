"""The whole way on the real server: in six clicks from the errors of a model to an exported plan, then to a review round."""

import json
import re
import zipfile

import pytest
from browsing import settled
from playwright.sync_api import Page, expect

from xai_core.failures.plan import Plan

pytestmark = pytest.mark.browser


def test_six_clicks_lead_from_the_errors_to_an_exported_plan_and_on_to_a_round(visit) -> None:
    page: Page = visit("Misclassifications")
    page.get_by_role("link", name="Why are these wrong?").click()
    expect(page.get_by_text(re.compile("labels are flagged")).first).to_be_visible()
    for step, found in (
        ("Groups", re.compile("tested groups.* confirmed on the held-out half")),
        ("Causes", re.compile("Tests whether what stands at one place")),
        ("What to do", re.compile("No edit helps|mends")),
        ("Plan", re.compile(r"actions in the plan")),
    ):
        page.get_by_role("button", name=f"Next: {step}").click()
        expect(page.get_by_text(found).first).to_be_visible()
        settled(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="ZIP with all lists").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        plan = Plan.from_json(archive.read("plan.json"))
        assert {action.kind for action in plan.actions} >= {"relabel", "collect"}
        lists = [name for name in archive.namelist() if name.startswith("actions/")]
        assert len(lists) == len(plan.actions) and json.loads(archive.read("plan.json"))["dataset"] == "world:planted"
    page.get_by_role("button", name="Send to a review round").click()
    form = page.get_by_role("dialog")
    form.get_by_role("textbox", name="Your name").fill("Anna")
    form.get_by_role("button", name="Use this name").click()
    form.get_by_role("spinbutton", name="How many").fill("2")
    form.get_by_role("textbox", name="Title").fill("Two of the plan")
    form.get_by_role("button", name="Make the round").click()
    form.get_by_role("link", name="Open the round").click()
    settled(page)
    expect(page.get_by_role("heading", name="Two of the plan")).to_be_visible()
