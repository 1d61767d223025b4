"""The dashboard that a script opens on its own network and pictures: in its process, as a user would write it."""

import os
import re
import signal
import subprocess
import sys

import pytest
from browsing import ROOT, USUAL, check_log, settled, start_where_asked
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
SCRIPT = """
import pickle
import sys
import numpy as np
import torch
from torch import nn
import xai_core

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

torch.manual_seed(0)
draw = np.random.default_rng(0)
pictures = [(draw.integers(0, 256, (64, 64, 3), np.uint8), number % 3) for number in range(9)]
session = xai_core.launch({"My network": Own()}, pictures, class_names=["ant", "bee", "cat"])
print(session.url, flush=True)
session.wait()
assert pickle.loads(pickle.dumps(Own())).head.out_features == 3, "the main module is the script's own"
print("closed", session.models, flush=True)
"""


def reset_interrupt() -> None:
    """A shell's background job, as this suite may be one, passes on that Ctrl+C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_script_opens_the_dashboard_on_its_own_network_and_pictures(browser, tmp_path):
    script, log = tmp_path / "mine.py", tmp_path / "log"
    script.write_text(SCRIPT)
    settings = {"XAI_REVIEW_DB": f"sqlite:///{tmp_path}/review.sqlite", "XAI_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=reset_interrupt,
        )
    try:
        url = next((line.strip() for line in process.stdout if line.startswith("http")), None)
        assert url, log.read_text()
        page = browser.new_context(**USUAL).new_page()
        page.goto(url)
        settled(page)
        expect(page.get_by_role("combobox", name="Pictures", exact=True)).to_have_value("Your pictures")
        start_where_asked(page, "Classify")
        expect(page.get_by_role("img", name=re.compile("cat, predicted as (ant|bee|cat)")).first).to_be_visible()
        settled(page)
        page.locator('[data-testid="stSidebarNavLink"]', has_text="Single image").click()
        settled(page)
        expect(page.get_by_role("heading", name=re.compile("^My network says (ant|bee|cat)"))).to_be_visible()
        overlay = page.get_by_role("img", name=re.compile("^Overlay: .*Grad-CAM for the logit of (ant|bee|cat)")).first
        expect(overlay).to_be_visible()
        page.context.close()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0 and "closed ('My network',)" in said, log.read_text()
    check_log(log)
