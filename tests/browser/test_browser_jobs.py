"""Long work on a real server: it goes on without its page, is seen by others, and is resumed after a restart."""

import re
import time

import pytest
from browsing import address_of, check_log, free_port, serving, settled, start_run
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

LONG = 240_000  # ms: eight pictures on a busy machine


def go(page, title):
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=title).click()
    expect(page).to_have_title(re.compile(title))
    return settled(page)


def test_a_run_goes_on_without_its_page_is_seen_by_all_and_opens_at_its_end(visit):
    page = visit("Faithfulness_metrics?view=A+run")
    start_run(page, "left")
    expect(page.get_by_text(re.compile("Run left: [0-7] of 8 pictures"))).to_be_visible(timeout=LONG)
    go(page, "Home")
    expect(page.get_by_role("link", name=re.compile("Jobs: 1 running"))).to_be_visible()
    other = visit("Jobs")
    expect(other.get_by_text(re.compile("Run left: [0-7] of 8 pictures"))).to_be_visible()
    go(page, "Faithfulness metrics")
    page.get_by_role("tab", name="A run").click()
    expect(page.get_by_text(re.compile("Run left: [0-7] of 8 pictures"))).to_be_visible()
    expect(other.get_by_text("Done.")).to_be_visible(timeout=LONG)
    expect(other.get_by_role("link", name="Open result")).to_be_visible()
    expect(page.get_by_text(re.compile("Run left: [0-7] of 8 pictures"))).to_have_count(0)
    expect(page.get_by_role("combobox", name="Run", exact=True)).to_have_value(re.compile("made/left$"))
    expect(page.get_by_text(re.compile("8 pictures of 'samples', 1 model, 4 methods"))).to_be_visible()


def test_a_killed_server_lists_its_run_as_interrupted_and_resumes_it_with_one_click(browser, tmp_path):
    port, log = free_port(), tmp_path / "log"
    with serving(port, log, tmp_path) as process:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{address_of(port)}/Faithfulness_metrics?view=A+run")
        start_run(settled(page), "killed")
        expect(page.get_by_text(re.compile("Run killed: [1-7] of 8 pictures"))).to_be_visible(timeout=LONG)
        process.kill()
        process.wait()
        page.close()
    with serving(port, log, tmp_path) as process:
        page = browser.new_page()
        page.goto(f"{address_of(port)}/Jobs")
        expect(page.get_by_role("link", name="Jobs: 1 interrupted")).to_be_visible()
        settled(page)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_text(re.compile("Run killed: [0-8] of [1-8] pictures"))).to_be_visible(timeout=LONG)
        process.terminate()
        began = time.monotonic()
        process.wait(60)
        assert time.monotonic() - began < 30, "a stopped server waits for a batch, not for the job"
        page.close()
    check_log(log)
    assert not [path for path in (tmp_path / "made" / "killed").rglob(".*") if path.is_file()], "half-written files"
    assert '"state": "interrupted"' in next((tmp_path / "cache" / "jobs").glob("*.json")).read_text()
