"""Which heavy libraries the first view of a page imports: none but those named here, each of which a visitor waits for."""

import json
import subprocess
import sys
from pathlib import Path

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
# Each page is opened in a fork of one process, which has imported what every page needs and nothing heavy.
OPEN = """
import json, os, sys, traceback
from pathlib import Path
import altair, pandas
from streamlit.testing.v1 import AppTest

home, files, heavy, out = json.loads(sys.argv[1])
assert not set(heavy) & set(sys.modules), "a page must not find a heavy library imported"

def open_page(file, folder):
    os.environ |= {"XAI_CACHE": f"{folder}/cache", "XAI_NOTES": f"{folder}/notes"}
    os.environ["XAI_REVIEW_DB"] = f"sqlite:///{folder}/review.sqlite"
    app = AppTest.from_file(home, default_timeout=300)
    if file:
        app.switch_page(file)
    app.run()
    assert not app.exception and not app.error, (app.exception, app.error)
    assert app.title, "the page was not shown"
    (folder / "imported.json").write_text(json.dumps(sorted(set(heavy) & set(sys.modules))))

failed = False
for number, file in enumerate(files):
    folder = Path(out, str(number))
    folder.mkdir()
    child = os.fork()
    if child == 0:
        try:
            open_page(file, folder)
            os._exit(0)
        except BaseException:
            print(file or home, traceback.format_exc(), file=sys.stderr, flush=True)
            os._exit(1)
    failed |= os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""


def test_the_first_view_of_a_page_imports_no_library_that_it_does_not_need(tmp_path):
    files = ["" if title == page_links.HOME else page_links.FILES[title] for title in NEEDED]
    asked = json.dumps([str(ROOT / "Home.py"), files, sorted(HEAVY), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", OPEN, asked], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = {
        title: set(json.loads((tmp_path / str(number) / "imported.json").read_text())) for number, title in enumerate(NEEDED)
    }
    assert imported == NEEDED
