"""Which heavy libraries the first view of a page imports: none but those named here, each of which a visitor waits for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xai_core.app.shared import page_links

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "torch._dynamo",
    "sklearn",
    "statsmodels",
    "skimage",
    "scipy",
    "scipy.stats",
    "matplotlib",
}
TABLES = {"matplotlib", "skimage", "scipy"}  # of the colours of maps; of the bundled pictures
# What the first view of a page needs.
NEEDED = {
    page_links.HOME: set(),
    page_links.JOBS: set(),
    page_links.REVIEW: set(),
    page_links.REPORT: {"torch"},  # of the methods, whose cards it shows
    page_links.MISSES: {"torch"},
    page_links.METRICS: {"torch"} | TABLES,
    page_links.SINGLE: {"torch"} | TABLES,
    page_links.METHODS: {"torch"} | TABLES,
    page_links.MODELS: {"torch", "matplotlib"},
    page_links.PAIRS: {"torch"} | TABLES,
    page_links.FAILURES: {"torch"},
    page_links.EVOLUTION: {"torch", "matplotlib"},
}
OPEN = """
import json, sys
from streamlit.testing.v1 import AppTest
page, heavy = json.loads(sys.argv[1])
app = AppTest.from_file(page[0], default_timeout=300)
if page[1]:
    app.switch_page(page[1])
app.run()
assert not app.exception and not app.error, (app.exception, app.error)
assert app.title, "the page was not shown"
print(json.dumps(sorted(set(heavy) & set(sys.modules))))
"""


@pytest.mark.parametrize("title", NEEDED)
def test_the_first_view_of_a_page_imports_no_library_that_it_does_not_need(title, tmp_path):
    variables = {"XAI_CACHE": f"{tmp_path}/cache", "XAI_NOTES": f"{tmp_path}/notes"}
    variables["XAI_REVIEW_DB"] = f"sqlite:///{tmp_path}/review.sqlite"
    asked = [[str(ROOT / "Home.py"), "" if title == page_links.HOME else page_links.FILES[title]], sorted(HEAVY)]
    done = subprocess.run(
        [sys.executable, "-c", OPEN, json.dumps(asked)],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) == NEEDED[title]
