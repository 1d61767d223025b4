"""A review round on the real server: from the errors on the page Misclassifications to the voting on the page Review."""

import re

import pytest
from browsing import settled
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_a_round_of_the_most_confident_errors_leads_to_its_voting(visit) -> None:
    page: Page = visit("Misclassifications")
    page.get_by_role("button", name="Review the 50 most confident errors").click()
    form = page.get_by_role("dialog")
    form.get_by_role("textbox", name="Your name").fill("Anna")
    form.get_by_role("button", name="Use this name").click()
    expect(form.get_by_text(re.compile("^50 pictures: 50 wrong, 0 right. Their 150 maps take about"))).to_be_visible()
    form.get_by_role("spinbutton", name="How many").fill("3")
    form.get_by_role("textbox", name="Title").fill(
        "Three errors"
    )  # typed last: the click comes before it has left the field
    form.get_by_role("button", name="Make the round").click()
    opens = form.get_by_role("link", name="Open the round")
    expect(opens).to_be_visible()
    expect(form.get_by_text("3 of 3 have maps")).to_be_visible()
    opens.click()
    expect(page).to_have_url(re.compile(r"/Review\?.*round=[0-9a-f]{10}"))
    settled(page)
    expect(page.get_by_role("heading", name="Three errors")).to_be_visible()
    expect(page.get_by_text(re.compile("Label wrong")).first).to_be_visible()  # Anna may vote at once
