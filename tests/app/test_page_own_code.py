"""Every page that asks a model works with one that the owner's own code makes (XAI_MODELS)."""

import sys

import pytest
from opened_pages import opened
from PIL import Image

from xai_core.app.shared import loaded_models
from xai_core.app.shared.page_links import FAILURES, FILES, METHODS, METRICS, MISSES, MODELS, PAIRS, SINGLE
from xai_core.core import markdown
from xai_core.models.zoo import own_code

CODE = """
import torch
from torch import nn
from xai_core import ExplainableModel
from xai_core.data.recipe import Recipe

def mine():
    torch.manual_seed(7)  # another one than that of the untrained twin
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return ExplainableModel.from_module(net, ["ant", "bee", "cat"], Recipe(48, 48))
"""
MINE = "made_here:mine"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The model's name; beside it a dataset of twelve pictures of its classes."""
    (tmp_path / "made_here.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("XAI_MODELS", MINE)
    monkeypatch.setenv("XAI_DATA", str(tmp_path / "data"))
    for number in range(12):
        file = tmp_path / "data" / "insects" / ("ant", "bee", "cat")[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_mandelbrot((60, 60), (-2, -1 - number / 9, 1, 1), 20 + number).convert("RGB").save(file)
    yield MINE
    for state in (own_code._made, own_code._problems, own_code._making):
        state.clear()
    sys.modules.pop("made_here", None)
    loaded_models._loaded.clear()


@pytest.mark.parametrize(
    ("title", "link", "words"),
    [
        (SINGLE, {"picture": "Coffee"}, "Why? Grad-CAM"),
        (METHODS, {"picture": "Coffee"}, "Rank correlation"),
        (MODELS, {"picture": "Coffee", "networks": [MINE, f"{MINE}, untrained"]}, "Rank correlation (Spearman) of"),
        (METRICS, {"picture": "Coffee", "metrics": ["Deletion"]}, "Deletion favours"),
        (PAIRS, {}, "#### Cosine similarity"),
        (MISSES, {"dataset": "insects"}, "of the 12 predictions listed are wrong"),
        (FAILURES, {"dataset": "insects"}, "12 pictures of 3 classes"),
    ],
)
def test_a_page_answers_for_it(mine, title, link, words):
    model = {} if "networks" in link else {"model": mine}
    app = opened(FILES[title], **model, **link)
    assert not app.error, [error.value for error in app.error]
    shown = " ".join(markdown.plain(element.value) for element in [*app.title, *app.subheader, *app.markdown])
    assert words in shown, shown[:3000]
