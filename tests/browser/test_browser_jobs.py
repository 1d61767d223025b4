"""Long work on a real server: it goes on without its page, is seen by others, and is resumed after a restart."""

import re
import time
from itertools import chain

import pytest
from browsing import PATIENCE, address_of, check_log, free_port, serving, settled, start_run
from playwright.sync_api import expect

from xai_core.app.shared import page_links

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
    expect(other.get_by_text(re.compile("Run left: [0-7] of 8 pictures"))).to_have_count(0, timeout=LONG)
    expect(other.get_by_text("Done.").first).to_be_visible()
    expect(other.get_by_role("link", name="Open result").first).to_be_visible()
    expect(page.get_by_text(re.compile("Run left: [0-7] of 8 pictures"))).to_have_count(0)
    run = page.get_by_role("combobox", name="Run", exact=True).first  # the old one is there too until the page is whole
    expect(run).to_have_value(re.compile("made/left$"))
    expect(page.get_by_text(re.compile("8 pictures of 'samples', 1 model, 4 methods"))).to_be_visible()


# Every entry that the list of pages ever had, in their order.
NOTE_LISTS = """
window.listed = [];
new MutationObserver(() => {
  for (const link of document.querySelectorAll('[data-testid="stSidebarNavLink"]'))
    if (!window.listed.includes(link.textContent)) window.listed.push(link.textContent);
}).observe(document, {subtree: true, childList: true});
"""


def test_a_killed_server_lists_its_run_as_interrupted_and_resumes_it_with_one_click(browser, tmp_path):
    port, log = free_port(), tmp_path / "log"
    with serving(port, log, tmp_path) as process:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address_of(port)}/Faithfulness_metrics?view=A+run")
        start_run(settled(page), "killed")
        expect(page.get_by_text(re.compile("Run killed: [1-7] of 8 pictures"))).to_be_visible(timeout=LONG)
        process.kill()
        process.wait()
        page.close()
    with serving(port, log, tmp_path) as process:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script(NOTE_LISTS)
        page.goto(f"{address_of(port)}/Jobs")
        expect(page.get_by_role("link", name="Jobs: 1 interrupted")).to_be_visible()
        settled(page)
        assert page.evaluate("window.listed") == [*chain(*page_links.SECTIONS.values())]  # no other one, not for a moment
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


PAIR = "Pairs?pair_methods=RISE+%28a+method+for+classes%29"


# Streamlit shows its Stop button half a second after a run began, when the run of a fast machine may be over.
SHOW_STOP_AT_ONCE = """() => {
  const later = window.setTimeout;
  window.setTimeout = (act, wait, ...values) => later(act, wait === 500 ? 0 : wait, ...values);
}"""
PRESS_STOP = """() => {
  const shown = document.querySelector('[data-stale="false"] [data-testid="stProgress"]');
  const stop = [...document.querySelectorAll("button")].find(button => button.innerText.trim() === "Stop");
  if (shown && stop) stop.click();
  return Boolean(shown && stop);
}"""


def progress_of(page):
    """The words beside the bar of the job that the page follows; they hold the number of batches when it has begun."""
    bar = page.get_by_test_id("stMain").get_by_test_id("stProgress")
    expect(bar).to_contain_text(re.compile(r"[1-9]\d* of \d+ batches"), timeout=LONG)
    return bar, bar.inner_text()


def test_streamlits_stop_ends_the_pages_run_and_not_the_job_whose_progress_goes_on(visit):
    page = visit(PAIR)
    page.get_by_role("button", name="Explain", exact=True).click()
    progress_of(page)
    page.evaluate(SHOW_STOP_AT_ONCE)
    page.get_by_text("Invariance", exact=True).click()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="running"]', state="attached")
    # Now the page waits for its turn to compute these maps itself, below the job's progress, which this run has shown. The
    # button is pressed by the page, as soon as it is there: the mouse would come too late.
    page.wait_for_function(PRESS_STOP)
    bar, words = progress_of(settled(page))
    expect(bar).not_to_have_text(words)
    expect(page.get_by_role("link", name=re.compile("Jobs: 1 running"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^View 1: RISE"))).to_be_visible(timeout=LONG)
    expect(bar).to_have_count(0)


def test_a_job_is_cancelled_by_its_browser_after_a_reload_and_by_no_other(browser, tmp_path):
    """On a server that others can reach."""
    port, log = free_port(), tmp_path / "log"
    with serving(port, log, tmp_path, "0.0.0.0"):
        mine, theirs = browser.new_context(), browser.new_context()
        for context in (mine, theirs):
            context.set_default_timeout(PATIENCE)
        page = mine.new_page()
        page.goto(f"{address_of(port)}/{PAIR}")
        page.get_by_role("button", name="Explain", exact=True).click()
        progress_of(page)
        page.reload()
        progress_of(settled(page))
        other = theirs.new_page()
        other.goto(f"{address_of(port)}/Jobs")
        expect(other.get_by_text("It was started in another browser")).to_be_visible()
        expect(other.get_by_role("button", name="Cancel")).to_have_count(0)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text(re.compile("^Cancelled after"))).to_be_visible(timeout=LONG)
        (cookie,) = [cookie for cookie in mine.cookies() if cookie["name"] == "xai_visitor"]
        assert cookie["expires"] == -1 and cookie["sameSite"] == "Strict" and cookie["value"] not in page.url
        mine.close()
        theirs.close()
    check_log(log)


def test_a_killed_server_lists_a_pages_work_and_starts_it_again_with_one_click(browser, tmp_path):
    port, log = free_port(), tmp_path / "log"
    with serving(port, log, tmp_path) as process:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address_of(port)}/{PAIR}")
        page.get_by_role("button", name="Explain", exact=True).click()
        progress_of(page)
        process.kill()
        process.wait()
        page.close()
    with serving(port, log, tmp_path):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address_of(port)}/Jobs")
        expect(page.get_by_text("Explain the pair astronaut-views-0 by 1 method")).to_be_visible()
        page.get_by_role("button", name="Start again").click()
        expect(page).to_have_title(re.compile("Pairs"))
        progress_of(settled(page))
        assert "RISE" in page.url
        expect(page.get_by_role("link", name="Back to Jobs")).to_be_visible()
        page.close()
    check_log(log)
