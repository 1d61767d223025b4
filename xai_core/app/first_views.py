"""The results that come with the app: `python -m xai_core.app.first_views` writes data/first_views.npz.

Each page is opened as its first visitor opens it, with nothing computed, and does all its work at once; what it has stored
then, other than tables, is what its first view needs.
"""

import platform
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from streamlit.testing.v1 import AppTest

from xai_core.app.shared import cache, page_links, progress, shipped_results
from xai_core.core import settings

FILE = cache.SHIPPED
PAGES = [
    page_links.SINGLE,
    page_links.METHODS,
    page_links.MODELS,
    page_links.METRICS,
    page_links.PAIRS,
    page_links.FAILURES,
    page_links.EVOLUTION,
]


def computed() -> dict[str, Any]:
    """What the pages store for their first views, by key."""
    progress.AT_ONCE_SECONDS, cache.SHIPPED = 1e6, Path("none")
    for title in PAGES:
        app = AppTest.from_file(
            str(settings.RESOURCES / "Home.py"), default_timeout=1200
        )  # what one page keeps, others show
        app.switch_page(page_links.FILES[title]).run()
        assert not app.exception and not app.error, title
        print(f"{title}: {len(cache.stored())} results so far", flush=True)
    return {key: result for key, result in cache.stored().items() if not isinstance(result, pd.DataFrame)}


def made() -> str:
    """Where and when this runs, in words."""
    return f"on {date.today():%d %B %Y} with torch {torch.__version__} on {platform.machine()} ({platform.system()})"


if __name__ == "__main__":
    results = computed()
    shipped_results.write(FILE, made(), results)
    print(f"{len(results)} results written to {FILE}, {FILE.stat().st_size / 1e6:.2f} MB")
