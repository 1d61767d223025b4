"""The pages of single pictures and of methods in a real browser: links, uploads, clicks, cancelling, downloads."""

import io
import re
import time

import numpy as np
import pytest
from browsing import ROOT, choose, settled, start_where_asked
from PIL import Image
from playwright.sync_api import Page, expect

from xai_core import explain, load_sample
from xai_core.explanation import rendering

pytestmark = pytest.mark.browser
UPLOAD = '[data-testid="stFileUploaderDropzoneInput"]'


def overlay_of(page: Page):
    found = page.get_by_role("img", name=re.compile("^Overlay: ")).first
    found.scroll_into_view_if_needed()
    expect(found).to_have_attribute("aria-busy", "false")
    pixels = np.asarray(Image.open(io.BytesIO(found.screenshot())).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500, "the overlay is blank"
    return found


def a_picture(colour: str = "teal") -> dict:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (320, 240), "white")
    picture.paste(Image.new("RGB", (120, 120), colour), (40, 60))
    picture.save(buffer, "PNG")
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def test_from_home_to_an_explanation_in_one_click(visit):
    page = visit()
    page.get_by_role("link", name="Start: why is this astronaut a football helmet?").click()
    settled(page)
    expect(page.get_by_role("heading", name="EfficientNet-Lite0 says football helmet")).to_be_visible()
    assert "Grad-CAM for the logit of football helmet" in overlay_of(page).get_attribute("aria-label")


def test_every_page_opens_from_the_sidebar(visit):
    page = visit()
    names = page.locator('[data-testid="stSidebarNavLink"]').all_inner_texts()
    assert len(names) == len(list((ROOT / "pages").glob("*.py")))
    for name in names:
        page.locator('[data-testid="stSidebarNavLink"]', has_text=name).click()
        settled(page)
        expect(page.locator("h1")).to_have_count(1)


def test_every_example_on_home_leads_to_a_map_or_a_chart(visit):
    page = visit()
    links = page.locator('[data-testid="stPageLink"] a[href*="?"]').all()
    one_for_each_page = {link.get_attribute("href").split("?")[0]: link.inner_text() for link in links}
    assert len(links) >= 6 and len(one_for_each_page) >= 4
    for label in one_for_each_page.values():
        example = visit()
        example.get_by_role("link", name=label.split("\n")[-1]).click()
        expect(example).to_have_url(re.compile(r"/[A-Z]\w+"))
        settled(example)
        seen = example.locator('[role=img][aria-label^="Overlay: "], [data-testid="stVegaLiteChart"] :is(canvas, svg)').first
        seen.wait_for()


def test_networks_are_compared_on_the_same_picture_whatever_was_open_before(visit):
    """From another page's photograph to the drawn picture; another picture keeps the networks, and so does its address."""
    page = visit("Single_image?picture=Rocket")
    page.locator('[data-testid="stSidebarNavLink"]', has_text="Model comparison").click()
    expect(page.get_by_role("combobox", name="Picture of it")).to_have_value("tree/000210.png")
    settled(page)
    maps = page.get_by_role("img", name=re.compile(r"^Overlay: Drawn world, (causes planted|clean) "))
    expect(maps).to_have_count(2)
    choose(page, "Picture", "Rocket")
    expect(maps).to_have_count(2)
    elsewhere = visit(page.url.split("/", 3)[3])
    expect(elsewhere.get_by_role("combobox", name="Picture", exact=True)).to_have_value("Rocket")
    expect(elsewhere.get_by_role("img", name=re.compile("^Overlay: Drawn world, "))).to_have_count(2)


def test_an_upload_is_explained_and_its_link_restores_the_rest(visit):
    page = visit("Single_image")
    choose(page, "Method", "LayerCAM")
    page.locator(UPLOAD).set_input_files(a_picture())
    page.get_by_text("LayerCAM for the logit of").wait_for()
    settled(page)
    overlay_of(page)
    elsewhere = visit(page.url.split("/", 3)[3])
    expect(elsewhere.get_by_text("This link was made with an uploaded picture")).to_be_visible()
    elsewhere.locator(UPLOAD).set_input_files(a_picture())
    elsewhere.get_by_text("LayerCAM for the logit of").wait_for()
    overlay_of(settled(elsewhere))
    assert elsewhere.url == page.url


def test_a_bad_upload_is_one_sentence_and_the_page_goes_on(visit):
    page = visit("Single_image")
    page.locator(UPLOAD).set_input_files({"name": "fake.png", "mimeType": "image/png", "buffer": b"<svg onload=1>"})
    expect(page.locator('[data-testid="stAlert"]')).to_contain_text("fake.png")
    overlay_of(settled(page))


def test_a_link_opened_elsewhere_shows_the_same(visit):
    page = visit("Single_image?picture=Chelsea+the+cat&method=HiResCAM&opacity=0.5&resolution=Native+grid")
    page.get_by_text("A and not B").click()
    settled(page)
    page.get_by_text("Options", exact=True).click()
    choose(page, "Target layer (cut)", "blocks.4.2")
    said = page.get_by_text("Target: ").inner_text()
    assert "tiger cat and not Egyptian cat" in said and "blocks.4.2" in said and "14 x 14" in said
    elsewhere = visit(page.url.split("/", 3)[3])
    assert elsewhere.get_by_text("Target: ").inner_text() == said
    expect(elsewhere.get_by_role("slider", name="Opacity")).to_have_value("0.5")


def test_a_click_on_a_bar_asks_about_its_class_and_stands_in_the_link(visit):
    page = visit("Single_image")
    page.locator("path[aria-roledescription='bar']").nth(1).click()
    page.get_by_text("for the logit of bobsled").first.wait_for()
    settled(page)
    expect(page).to_have_url(re.compile("class=bobsled"))


def test_a_long_run_shows_progress_and_cancel_stops_it(visit):
    page = visit("Single_image")
    choose(page, "Method", "Occlusion sensitivity")
    page.get_by_role("button", name="Explain", exact=True).click()
    began, progress = time.monotonic(), page.get_by_text(re.compile(r"Occlusion sensitivity: [1-9]\d* of \d+ batches"))
    expect(progress).to_be_visible()
    done, of = map(int, re.search(r"(\d+) of (\d+) batches", progress.inner_text()).groups())
    pressed = time.monotonic()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text(re.compile(r"Cancelled after \d+ of \d+ batches\."))).to_be_visible()
    whole = (pressed - began) * of / done
    assert time.monotonic() - pressed < max(5, whole / 4), "it ends with the batch that it is at, not with the last one"
    choose(page, "Method", "Grad-CAM")
    overlay_of(page)


def test_the_downloads_hold_what_python_computes(visit, lite0):
    page = visit("Single_image?picture=Rocket&method=XGrad-CAM&opacity=0.4")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Raw map (NPZ)").click()
    with np.load(waiting.value.path(), allow_pickle=False) as file:
        ours = explain(lite0, load_sample("rocket"), "xgrad_cam")
        np.testing.assert_allclose(file["heatmap"], ours.heatmap, rtol=1e-4, atol=1e-5)
    for opacity in (0.4, 1.0):  # that of the address, and that which is chosen in the viewer
        if opacity == 1:
            page.get_by_role("slider", name="Opacity").press("End")
            settled(page)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Picture with caption (PNG)").click()
        scale = rendering.scale_of(ours)
        layers = rendering.overlay(ours, load_sample("rocket"), scale, opacity=opacity)
        expected = rendering.figure(ours, layers, scale)
        with Image.open(waiting.value.path()) as picture:
            assert picture.size == expected.size and "XGrad-CAM" in picture.text["xai_core"]
            assert np.abs(np.asarray(picture.convert("RGB"), float) - np.asarray(expected, float)).mean() < 2


def test_methods_are_compared_and_a_tile_opens_on_its_own_page(visit):
    page = visit("Method_comparison?picture=Chelsea+the+cat")
    start_where_asked(page, "Compare")
    tiles = page.get_by_role("img", name=re.compile("^Overlay: "))
    expect(tiles).to_have_count(6)
    settled(page)
    page.get_by_role("button", name="Zoom in").click()
    for place in range(6):
        expect(page.locator(f".st-key-map-{place} .picture-viewer")).to_have_attribute("data-view", "1.5 0.5 0.5")
    page.get_by_role("link", name=re.compile("Open\\s+LayerCAM")).click()
    page.get_by_text("Target: logit of tiger cat").wait_for()
    assert "LayerCAM" in overlay_of(settled(page)).get_attribute("aria-label")
    page.go_back()
    expect(tiles).to_have_count(6)
    settled(page)
    assert page.url.endswith("Method_comparison?picture=Chelsea+the+cat")


def test_a_cancelled_comparison_keeps_what_is_done(visit):
    page = visit()
    page.goto(page.url + "Method_comparison?picture=Retina&methods=Saliency&methods=Occlusion+sensitivity")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text(re.compile(r"Occlusion sensitivity: [1-9]\d* of \d+ batches")).wait_for()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text(re.compile("^Cancelled after 1 of 2 parts"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Overlay: Saliency"))).to_have_count(1)
    expect(page.get_by_text("Not computed.")).to_have_count(1)


def test_two_visitors_at_once_each_get_their_own_map(visit):
    queries = [f"Single_image?picture={name}&method=SmoothGrad" for name in ("Coffee", "Motorcycle")]
    pages = [visit() for _ in queries]
    for page, query in zip(pages, queries, strict=True):
        page.evaluate("address => { window.location.href = address }", f"/{query}")
    expected = ["espresso", "moped"]
    for page, name in zip(pages, expected, strict=True):
        target = page.get_by_text(f"Target: logit of {name}")
        asked = page.get_by_role("button", name="Explain", exact=True)
        expect(target.or_(asked).first).to_be_visible(timeout=120_000)
        start_where_asked(page, "Explain")
        target.wait_for(timeout=120_000)
        overlay_of(settled(page))


@pytest.mark.parametrize(("width", "scheme"), [(380, "dark"), (768, "light"), (1920, "dark")])
@pytest.mark.parametrize("path", ["", "Single_image", "Method_comparison"])
def test_nothing_overflows(visit, path, width, scheme):
    page = visit(path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    main = page.locator('[data-testid="stMain"]')
    assert main.evaluate("main => main.scrollWidth - main.clientWidth") <= 1
    for image in page.locator('[data-testid="stImage"] img').all():
        assert image.get_attribute("alt"), "every picture has a text for those who do not see it"
