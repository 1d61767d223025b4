"""The page of a training on the real server: clicks lead from the picture of all samples to one, fluidly."""

import re
import time

import pytest
from browsing import choose, settled
from playwright.sync_api import expect
from small_recordings import recorded

pytestmark = pytest.mark.browser


def box(page, label):
    return page.get_by_role("combobox", name=label, exact=True)


def value(page, label):
    return box(page, label).input_value()


def cells(chart):
    """The cells of a heatmap, row by row."""
    return chart.locator("g.mark-rect").first.locator("path")


def test_from_the_picture_of_all_samples_to_one(visit):
    began = time.monotonic()
    page = visit("Training_evolution?run=scenes_supervised")
    opening = time.monotonic() - began
    expect(page.get_by_text(re.compile(r"2,700 samples are shown in \d+ rows"))).to_be_visible()
    assert value(page, "Row").startswith("buildings 1–")
    whole = page.get_by_text("The samples, to be opened").locator("xpath=following::*[@data-testid='stVegaLiteChart'][1]")
    settled(page)
    cells(whole).nth(48 * 40 + 20).click()  # 48 epochs a row
    expect(box(page, "Row")).not_to_have_value(re.compile("^buildings 1–"))  # a click on a row chooses it
    settled(page)
    row, sample = value(page, "Row"), value(page, "Sample")
    few = page.get_by_text("samples of this row").locator("xpath=following::*[@data-testid='stVegaLiteChart'][1]")
    cells(few).nth(48 * 8 + 20).click()
    expect(box(page, "Sample")).not_to_have_value(sample)
    settled(page)
    assert value(page, "Row") == row
    began = time.monotonic()
    choose(page, "Sort by", "Variability")
    assert time.monotonic() - began < max(12, 2 * opening), "2,700 samples of 48 epochs answer at once"
    expect(page).to_have_url(re.compile("sort=Variability"))
    assert "scenes_supervised.row" in page.url
    choose(page, "Second run", "scenes_finetuned")
    page.get_by_test_id("stMain").get_by_text("Second run", exact=True).click()  # the other one is in the sidebar
    settled(page)
    expect(page.get_by_text("samples end in different classes")).to_be_visible()
    sample = value(page, "Sample")
    table = page.get_by_test_id("stDataFrame").last  # the first has the means of each class
    table.scroll_into_view_if_needed()
    table.click(position={"x": 42, "y": 35 + 35 * 2 + 17})  # Open, in the third row
    expect(box(page, "Sample")).not_to_have_value(sample)
    settled(page)
    page.wait_for_function("document.querySelector('.st-key-one-sample').getBoundingClientRect().top < 100")


def test_after_a_filter_the_boxes_say_what_is_shown(visit):
    page = visit("Training_evolution?run=scenes_supervised")
    before = value(page, "Row"), value(page, "Sample")
    choose(page, "Samples", "Forgotten: right before, wrong at the end")
    expect(box(page, "Row")).to_have_value("buildings 1–2")
    settled(page)
    row, sample = value(page, "Row"), value(page, "Sample")
    assert before[0] != row and before[1] != sample
    expect(page.get_by_text(f"{sample}: buildings, predicted as")).to_be_visible()


def test_a_run_that_is_being_written_grows_before_one_s_eyes(visit, more_data):
    file = more_data / "runs" / "growing.parquet"
    file.parent.mkdir(exist_ok=True)
    recorded(file, samples=40, epochs=2)
    page = visit("Training_evolution?run=growing&live=true")
    expect(page.get_by_text("Right at epoch 2")).to_be_visible()
    recorded(file, samples=40, epochs=3)
    expect(page.get_by_text("Right at epoch 3")).to_be_visible()  # nobody has touched the page
    settled(page)
    file.unlink()


def test_on_a_telephone_the_picture_can_be_moved_sideways(visit):
    page = visit("Training_evolution?run=scenes_barlow", viewport={"width": 380, "height": 900})
    main = page.locator('[data-testid="stMain"]')
    assert main.evaluate("main => main.scrollWidth - main.clientWidth") <= 1
    expect(page.get_by_text("The samples, to be opened")).to_be_visible()
    chart = page.locator('[data-testid="stVegaLiteChart"]').nth(1)
    figure = page.locator(".st-key-evolution-figure")
    for wide in (chart, figure):
        assert wide.evaluate("wide => { wide.scrollLeft = 9999; return wide.scrollLeft }") > 200
