"""What a new server imports before it answers."""

import asyncio
import logging
import runpy
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamlit.starlette import App
from streamlit.web.server.app_discovery import discover_asgi_app

from xai_core.app.shared import warm_start

HOME = Path(__file__).parents[2] / "Home.py"


def start(check=lambda: None) -> None:
    """What a server does when it starts; `check` is called when it begins to answer. In a thread of its own: it blocks
    signals there, and a test of the browser may have left an event loop in this one."""

    async def run() -> None:
        async with warm_start.lifespan(None):
            check()

    def serve() -> None:
        asyncio.run(run())
        assert {signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with ThreadPoolExecutor(1) as thread:
        thread.submit(serve).result()


def test_streamlit_serves_the_app_with_the_warm_start():
    assert discover_asgi_app(HOME).import_string == "Home:app"
    app = runpy.run_path(str(HOME), run_name="Home")["app"]
    assert isinstance(app, App) and app.script_path == HOME
    assert app._user_lifespan is warm_start.lifespan


def test_the_modules_of_the_pages_are_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "xai_core.app.jobs.job_list", raising=False)
    names = [
        f"xai_core.app.{title}" for title in ("single_image.result", "metrics.image_tab", "failures.steps", "jobs.job_list")
    ]

    def check() -> None:
        """A page that was shown while another thread imports matplotlib could get a part of it."""
        assert {*names, "torch", "altair", *warm_start.LATER} <= sys.modules.keys()

    start(check)


def test_what_cannot_be_imported_hinders_nothing(monkeypatch, caplog):
    monkeypatch.setattr(warm_start, "imported", lambda: ["xai_core.app.no_such_module", "xai_core.app.jobs.job_list"])
    monkeypatch.delitem(sys.modules, "xai_core.app.jobs.job_list", raising=False)
    with caplog.at_level(logging.DEBUG):
        start()
    assert "xai_core.app.jobs.job_list" in sys.modules
    assert "no_such_module cannot be imported" in caplog.text
