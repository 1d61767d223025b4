"""Options and numbers of the catalogues are those that were recorded with their versions.

Runs, links and exports name a method or metric with its version and options: its default values, its bounds and its numbers
may change only where the version is raised (numbers), or where it is intended and recorded (options). After such a change
`python tests/test_versions.py` records the present state in `tests/data/references/versions.json`; look at its diff.

The numbers are of a small network with fixed weights. That they are right is shown elsewhere, in closed forms and against
other libraries; here every constant of a metric or a method for pairs stands behind one number.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

FILE = Path(__file__).parent / "data" / "references" / "versions.json"
SIDE = 80

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from xai_core.core import torchvision_compat

    torchvision_compat.ensure_importable()

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range, options_of
from xai_core.data.recipe import Recipe
from xai_core.data.world.planted import picture, planted
from xai_core.data.world.scene import draw
from xai_core.explanation.targets import ClassLogit
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.measure import measure_all
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.catalog import PAIR_METHODS
from xai_core.pairs.explain import explain_pair

CATALOGUES = {"methods": METHODS, "metrics": METRICS, "methods for pairs": PAIR_METHODS}
ENTRIES = [(name, id) for name, catalogue in CATALOGUES.items() for id in catalogue]


def network() -> ExplainableModel:
    """Two convolutions, a projection head and a classifier of four classes, with weights that numpy draws."""
    draws = np.random.default_rng(0)

    def filled(layer):
        for parameter in layer.parameters():
            drawn = draws.normal(size=parameter.shape) / np.sqrt(parameter[0].numel())
            parameter.data = torch.from_numpy(drawn).float()
        return layer

    stages = [
        ("first", nn.Sequential(filled(nn.Conv2d(3, 8, 5, stride=2)), nn.ReLU())),
        ("second", nn.Sequential(filled(nn.Conv2d(8, 12, 3, stride=2)), nn.ReLU())),
    ]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    project, classify = filled(nn.Linear(12, 6)), filled(nn.Linear(12, 4))
    classify.weight.data *= 10
    return ExplainableModel.from_stages(stages, pool, project, classify, input_size=SIDE)


def pictures(count: int) -> torch.Tensor:
    """Soft blobs with noise, (count, 3, H, W) in [0, 1]."""
    draws = np.random.default_rng(1)
    coarse = torch.from_numpy(draws.random((count, 3, 7, 7))).float()
    noise = torch.from_numpy(draws.random((count, 3, SIDE, SIDE))).float()
    return 0.8 * nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear") + 0.2 * noise


def option_record(option) -> dict:
    bounds = option.bounds
    if isinstance(bounds, Range):
        return {"default": option.default, "from": bounds.low, "to": bounds.high}
    return {"default": option.default} | ({"of": list(bounds.values)} if isinstance(bounds, Choice) else {})


def described(catalogue: str, id: str) -> dict:
    """The version and the options of an entry."""
    entry = CATALOGUES[catalogue][id]
    options = entry.options() if catalogue == "methods for pairs" else options_of(entry.run)
    return {"version": entry.version, "options": {option.name: option_record(option) for option in options}}


def summary_of(heatmap: np.ndarray) -> list[float]:
    """The root mean square of a map, and its mean products with three waves, which no shift or turn of it keeps."""
    values = np.asarray(heatmap, float)
    row, column = np.indices(values.shape)
    waves = [np.sin(0.3 * row + 0.7 * column), np.cos(0.9 * row - 0.2 * column), np.sin(0.05 * row * column + 1)]
    return [float(np.sqrt((values**2).mean())), *(float((values * wave).mean()) for wave in waves)]


def numbers(catalogue: str, id: str) -> list[float] | None:
    """What an entry gives with its default options; None where it does not fit the network."""
    model, (first, second) = network(), pictures(2)
    if catalogue == "methods for pairs":
        maps = explain_pair(model, first, second, id)
        return [number for heatmap in maps if heatmap is not None for number in summary_of(heatmap.heatmap)]
    if catalogue == "methods":
        try:
            return summary_of(explain(model, first, id, target=1).heatmap)
        except BadRequest:
            return None
    scene = None
    if "scene" in METRICS[id].needs:
        scene = next(one.scene for one in (picture(planted(), 0, "train", place) for place in range(200)) if one.scene.mark)
        model, first = replace(model, recipe=Recipe(SIDE, SIDE, mean=None, std=None)), Image.fromarray(draw(scene)[0])
    maps = {"map": explain(model, first, "input_x_gradient", target=1)}
    box = (10.0, 5.0, 40.0, 30.0)
    rows = measure_all(model, first, maps, [id], target=ClassLogit((1,)), box=box, scene=scene, controls=False)
    ((_, _, measurement),) = rows
    further = measurement.facts.values() if scene else ()  # here the mark is not used, so that its metric has no value
    return [number for number in (measurement.value, *further) if not np.isnan(number)]


def recorded() -> dict:
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_every_entry_is_recorded_and_no_other():
    assert {name: [*entries] for name, entries in recorded().items()} == {
        name: [*catalogue] for name, catalogue in CATALOGUES.items()
    }


@pytest.mark.parametrize(("catalogue", "id"), ENTRIES, ids=[f"{id} ({name})" for name, id in ENTRIES])
def test_options_are_as_recorded(catalogue, id):
    """Their defaults and bounds, with which links and stored runs are read."""
    record = recorded()[catalogue][id]
    assert described(catalogue, id) == {"version": record["version"], "options": record["options"]}


@pytest.mark.parametrize(("catalogue", "id"), ENTRIES, ids=[f"{id} ({name})" for name, id in ENTRIES])
def test_numbers_are_as_recorded(catalogue, id):
    """Other numbers need another version."""
    record, present = recorded()[catalogue][id], numbers(catalogue, id)
    if record["numbers"] is None or present is None:
        assert record["numbers"] == present
    else:
        assert present == pytest.approx(record["numbers"], rel=2e-3, abs=2e-3 * max(map(abs, present)))


if __name__ == "__main__":
    record = {
        name: {id: described(name, id) | {"numbers": numbers(name, id)} for id in CATALOGUES[name]} for name in CATALOGUES
    }
    FILE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
