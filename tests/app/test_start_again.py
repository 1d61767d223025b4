"""After a restart of the server: long work of the pages is started again by one click on the page Jobs."""

import shutil

import pytest
from opened_pages import finished, opened, text

from xai_core.app.shared import cache, job_records, jobs, page_links, predictions, progress, server_job
from xai_core.app.shared.opened_datasets import SAMPLES
from xai_core.data.samples import load_sample

JOBS_PAGE = page_links.FILES["Jobs"]
WORK = {
    "explanation": ("Single image", "Explain", {"picture": "Coffee", "method": "LayerCAM"}, "Method: LayerCAM"),
    "comparison": ("Method comparison", "Compare", {"methods": ["Grad-CAM", "LayerCAM"], "picture": "Rocket"}, "Passes:"),
    "synthesis": ("Pairs", "Synthesise", {"more": "Synthesis", "octaves": "1", "iterations": "2"}, "after 2 steps"),
    "classify": ("Misclassifications", "Classify", {"dataset": "mine"}, "** right"),
    "ZIP": ("Misclassifications", "Make the ZIP", {"dataset": SAMPLES, "classes": "espresso"}, "The ZIP holds"),
    "clusters": ("Misclassifications", "Find clusters", {"dataset": SAMPLES, "view": "Clusters"}, "clusters of"),
    "map": ("Misclassifications", "Make the map", {"dataset": SAMPLES, "view": "Map"}, "of the variance of the embeddings"),
    "labels": ("Failure analysis", "Judge the labels", {"step": "Labels"}, "labels are flagged"),
}


@pytest.fixture(autouse=True)
def everything_is_long(monkeypatch):
    cache.clear()
    jobs._registry.clear()
    monkeypatch.setattr(progress, "AT_ONCE_SECONDS", 1e-6)


def labels(app):
    return [button.label for button in app.button]


def pressed(app, label):
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception and not app.error
    return app


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """A labelled dataset of the server, and predictions that are kept nowhere else."""
    for label, name in {"espresso": "coffee", "moped": "stereo_motorcycle"}.items():
        (tmp_path / "mine" / label).mkdir(parents=True)
        load_sample(name).resize((64, 64)).save(tmp_path / "mine" / label / "one.png")
    monkeypatch.setenv("XAI_DATA", str(tmp_path))
    monkeypatch.setattr(predictions, "folder", lambda: tmp_path / "predictions")
    return tmp_path


@pytest.mark.parametrize("kind", WORK)
def test_interrupted_work_is_started_again_by_one_click(kind, labelled):
    title, button, query, result = WORK[kind]
    app = opened(page_links.FILES[title], asks=True, **query)
    if kind == "synthesis":  # the maps above are long too
        pressed(app, "Explain")
        finished(app)
    pressed(app, button)
    jobs.wait()
    job = max(jobs._registry().jobs.values(), key=lambda job: job.began)
    job.state, job.result = server_job.INTERRUPTED, None
    cache.clear()
    shutil.rmtree(labelled / "predictions", ignore_errors=True)
    token, app = app.session_state["visitor token"], opened()  # the same browser, and a new session
    app.session_state["visitor token"] = token
    app.switch_page(JOBS_PAGE)
    app.run()
    assert "Interrupted" in text(app) and "Start again" in labels(app)
    pressed(app, "Start again")
    jobs.wait()
    again = jobs._registry().jobs[job.key]
    assert again is not job and again.state == server_job.DONE and again.place.page == title
    app.switch_page(page_links.FILES[title])  # the harness would run the page Jobs again
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert result in text(app) and button not in labels(app)


def test_the_row_of_an_interrupted_job_on_an_upload_says_why_it_cannot_be_started_again():
    app = opened()
    place = jobs.PlaceToReturn("Misclassifications", "")
    job = server_job.ServerJob("", job_records.UPLOAD_TITLE, place, "", True, True, state=server_job.INTERRUPTED)
    job.visitor = jobs.text_digest(app.session_state["visitor token"])[:32]
    job.key = f"{job.visitor} clusters"
    jobs._registry().jobs[job.key] = job
    app.switch_page(JOBS_PAGE).run()
    assert "a restarted server no longer has the file: upload it again on the page Misclassifications." in text(app)
    assert "Start again" not in labels(app) and "Remove" in labels(app)
    assert job_records.UPLOAD_TITLE not in text(opened(JOBS_PAGE)), "another visitor"


def test_the_row_of_a_job_of_another_browser_says_why_it_cannot_be_cancelled():
    place = jobs.PlaceToReturn("Single image", "picture=Coffee")
    job = server_job.ServerJob(
        "theirs", "Explain coffee by RISE", place, "somebody else", state=server_job.RUNNING, done=1, total=4
    )
    jobs._registry().jobs[job.key] = job
    app = opened(JOBS_PAGE)
    assert "It was started in another browser, or in one that keeps no cookies." in text(app)
    assert "Cancel" not in labels(app)
