"""Long work that a page lacks is a job of the server: leaving the page loses nothing, and the page shows it on return."""

import threading

import pytest
from opened_pages import finished, opened, panels, text

from xai_core.app.shared import cache, explanations, jobs, page_links, progress, server_job
from xai_core.app.shared.opened_datasets import SAMPLES
from xai_core.core.errors import BadRequest
from xai_core.data.corrupted_samples import changed_samples

PAGES = {
    "methods": ("Method comparison", "Compare", {"methods": ["Grad-CAM", "LayerCAM"]}),
    "networks": ("Model comparison", "Compare", {"networks": ["EfficientNet-Lite0", "EfficientNet-Lite0, untrained"]}),
    "metrics": ("Faithfulness metrics", "Measure", {"methods": ["Grad-CAM", "LayerCAM"], "metrics": ["Sparseness"]}),
    "pairs": ("Pairs", "Explain", {"pair_methods": ["Grad-CAM for similarity", "Input x gradient for similarity"]}),
}
SECTIONS = {
    "sanity": ("Method comparison", "Check", {"methods": ["Grad-CAM"], "more": "Sanity check"}, "ρ ="),
    "layers": ("Method comparison", "Compute all layers", {"methods": ["Grad-CAM"], "more": "Layers"}, "stem"),
    "metrics of pairs": (
        "Pairs", "Measure", {"pair_methods": "Grad-CAM for similarity", "more": "Metrics", "step": "7168"}, "Grey bars",
    ),
    "networks of pairs": (
        "Pairs", "Compare networks", {"pair_methods": "Grad-CAM for similarity", "more": "Networks"}, "Lite0, untrained",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def everything_is_long(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))  # a list of jobs of its own
    cache.clear()
    jobs._registry.clear()
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 0.0)


def pressed(app, label):
    """The page after a click on the button that starts long work."""
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception and not app.error
    return app


def returned(app, page, query):
    """The same session back on a page, by its address."""
    app.switch_page(page)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error
    return app


def pictures(app):
    return len(app.image) + len(app.dataframe) + len(panels(app))


@pytest.mark.parametrize("name", PAGES)
def test_long_work_goes_on_without_its_page_and_is_there_on_return(name):
    title, button, query = PAGES[name]
    file = page_links.FILES[title]
    app = opened(file, asks=True, **query)
    before = pictures(app)
    assert "This takes about" in text(app)
    pressed(app, button)
    app.switch_page(page_links.FILES[page_links.HOME]).run()
    (job,) = jobs.listed()
    jobs.wait()
    assert job.state == server_job.DONE and job.place.page == title and not job.private and job.stored >= 1
    returned(app, file, query)
    assert pictures(app) > before and button not in [shown.label for shown in app.button]
    assert pictures(opened(file, asks=True, **query)) == pictures(app), "the result is of the server's data, and for all"


@pytest.mark.parametrize("name", SECTIONS)
def test_long_work_of_a_section_is_a_job(name):
    title, button, query, result = SECTIONS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "AT_ONCE_SECONDS", 1e6)
        opened(page_links.FILES[title], asks=True, **(query | {"more": "Download"}))  # what stands above is computed
    app = opened(page_links.FILES[title], asks=True, **query)
    pressed(app, button)
    finished(app)
    assert [job.state for job in jobs.listed()] == [server_job.DONE]
    assert result in text(app) and button not in [shown.label for shown in app.button]


@pytest.fixture
def held(monkeypatch):
    """Layer-CAM stands at its second batch until the event is set, with checks on the way."""
    go, explain = threading.Event(), explanations.explain

    def slow(request, track):
        for batch in track(range(3)) if request.method == "layer_cam" else ():
            while batch == 1 and not go.wait(0.01) and not any(job.cancelling for job in jobs._registry().jobs.values()):
                pass  # the next batch sees that the job was cancelled
        return explain(request, track)

    monkeypatch.setattr(explanations, "explain", slow)
    yield go
    go.set()
    jobs.wait()


def until_stored(job, count):
    for _ in range(3000):
        if job.stored == count and job.words.startswith(f"{count} of 2 parts, now LayerCAM: 1 of 3 batches"):
            return
        threading.Event().wait(0.01)
    raise AssertionError(job.words)


def test_results_are_shown_as_they_come_and_stay_when_the_rest_is_cancelled(held):
    title, button, query = PAGES["methods"]
    app = pressed(opened(page_links.FILES[title], asks=True, **query), button)
    (job,) = jobs.listed()
    until_stored(job, 1)
    app.run()
    assert pictures(app) == 1 and "Waiting to be computed..." in text(app)
    assert "Cancel" in [shown.label for shown in app.button] and button not in [shown.label for shown in app.button]
    next(shown for shown in app.button if shown.label == "Cancel").click().run()
    finished(app)
    assert job.state == server_job.CANCELLED and pictures(app) == 1
    assert "Cancelled after 1 of 2 parts. Finished results are kept." in text(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "AT_ONCE_SECONDS", 1e6)
        app.run()
        assert pictures(app) == 1, "the page does not begin by itself what the visitor has cancelled"
        held.set()
        finished(pressed(app, button))
    assert pictures(app) == 2


def test_a_map_that_cannot_be_made_does_not_end_the_others(monkeypatch):
    def refused(request, track):
        if request.method == "grad_cam":
            raise BadRequest("No map of this.")
        return explain(request, track)

    explain = explanations.explain
    monkeypatch.setattr(explanations, "explain", refused)
    title, button, query = PAGES["metrics"]
    app = opened(page_links.FILES[title], asks=True, **query)
    next(shown for shown in app.button if shown.label == button).click().run()
    finished(app)
    assert [job.state for job in jobs.listed()] == [server_job.DONE]
    assert "Grad-CAM: No map of this." in app.error[0].value
    assert app.dataframe[0].value.Map[0] == "LayerCAM" and button not in [shown.label for shown in app.button]


def test_long_maps_of_the_drawer_are_a_job(monkeypatch):
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 1e-6)  # the samples themselves are classified at once
    path, file = changed_samples().samples[0].name, page_links.FILES["Misclassifications"]
    app = pressed(opened(file, asks=True, dataset=SAMPLES, sample=path), "Explain")
    app.switch_page(page_links.FILES[page_links.HOME]).run()
    jobs.wait()
    (job,) = jobs.listed()
    assert job.state == server_job.DONE and not job.private and "sample=" in job.place.settings
    returned(app, file, {"sample": path})
    assert "Colours:" in text(app) and "Explain" not in [shown.label for shown in app.button]
