"""What one rerun of a page costs the server, where nothing has changed: the page Faithfulness metrics with the bundled run.

    python -m benchmarks.rerun [--rounds N] [--out FILE]

Every choice on a page runs its script again. The time is the processor's, of the thread that runs the script, in Streamlit's
own test harness; what the harness itself reads is not in it. The first runs, which read and summarise the run, are left out.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.testing.v1 import AppTest

from benchmarks.paired import machine, spread
from xai_core.app.shared import page_links

ROOT = Path(__file__).parents[1]
GOAL = 0.1  # seconds
FIRST = 3  # runs that are left out


def linked(page: str, **link: str) -> AppTest:
    """A page that a link leads to, before its first run."""
    app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=300)
    app.run()
    app.switch_page(page)
    for name, value in link.items():
        app.query_params[name] = value
    return app


def run_seconds(app: AppTest) -> float:
    """Seconds of the processor for one run of a page."""
    times: list[float] = []
    usual = ScriptRunner._run_script

    def timed(runner: ScriptRunner, *given: Any) -> None:
        start = time.thread_time()
        usual(runner, *given)
        times.append(time.thread_time() - start)

    with patch.object(ScriptRunner, "_run_script", timed):
        app.run()
    assert not app.exception, app.exception
    return sum(times)


def own_folders(kept: str) -> None:
    """From now on this process keeps results, notes and reviews in this folder."""
    os.environ |= {
        "XAI_CACHE": f"{kept}/cache", "XAI_NOTES": f"{kept}/notes", "XAI_REVIEW_DB": f"sqlite:///{kept}/review.sqlite",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "rerun.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        own_folders(kept)
        app = linked(page_links.FILES[page_links.METRICS], view="A run")
        times = [run_seconds(app) for _ in range(FIRST + given.rounds)][FIRST:]
    result = {"rounds": given.rounds, "goal": GOAL, **spread(np.array(times))}
    print(f"a rerun of {page_links.METRICS}: {1000 * result['median']:.0f} ms of the processor (goal {1000 * GOAL:.0f})")
    given.out.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
