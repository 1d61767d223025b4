"""What-ifs of a group with other backgrounds: a network that is misled by the background is mended by another one."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from xai_core.attribution.explain import explain
from xai_core.data.datasets import Dataset
from xai_core.data.sample_list import Labelled
from xai_core.failures import group_pictures, group_what_ifs, tested_changes
from xai_core.failures.group_changes import BLURRED, GROUP_CHANGES, STAYS, SWAPPED, map_regions, other_pictures
from xai_core.failures.picture_changes import CHANGES
from xai_core.models.explainable import ExplainableModel

SIDE, NAMES = 8, ("sea", "bird", "stone")
INSIDE = torch.zeros(SIDE, SIDE, dtype=torch.bool)
INSIDE[2:6, 2:6] = True  # a quarter of the picture: the share that stays


def network():
    """'bird' by red in the middle, 'sea' by blue around it, 'stone' a little in every picture."""
    layer = nn.Linear(3 * SIDE * SIDE, 3)
    weight = torch.zeros(3, 3, SIDE, SIDE)
    weight[0, 2, ~INSIDE], weight[1, 0, INSIDE] = 3 / 48, 1 / 16
    with torch.no_grad():
        layer.weight.copy_(weight.flatten(1))
        layer.bias.copy_(torch.tensor([0.0, 0.0, 0.2]))
    stages = [("pixels", nn.Identity())]
    return ExplainableModel.from_stages(
        stages, nn.Flatten(), classify=layer, class_names=NAMES, input_size=SIDE, mean=(0, 0, 0), std=(1, 1, 1)
    )


def picture(middle, around):
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[~INSIDE.numpy(), 2], pixels[INSIDE.numpy(), 0] = round(255 * around), round(255 * middle)
    return Image.fromarray(pixels)


def made(errors=14, right=4, third=5):
    """Birds over blue, which are answered as sea; birds without it; stones, which are dark."""
    draws = np.random.default_rng(0)
    kinds = [("bird", "sea")] * errors + [("bird", "bird")] * right + [("stone", "stone")] * third
    files = {}
    for number, (true, predicted) in enumerate(kinds):
        blue = draws.uniform(0.6, 0.9) if predicted == "sea" else 0.0
        file = io.BytesIO()
        picture(draws.uniform(0.8, 0.95) if true == "bird" else 0.0, blue).save(file, "PNG")
        files[f"{true}/{number}.png"] = file.getvalue()
    samples = tuple(Labelled(name, true) for name, (true, _) in zip(files, kinds, strict=True))
    rows = pd.DataFrame(kinds, columns=["true", "predicted"]).assign(path=list(files))
    rows["true_index"] = [NAMES.index(name) for name in rows["true"]]
    return Dataset("made", samples, files.__getitem__), rows


def read_of(dataset, rows, model):
    return group_pictures.read(rows[rows["true"] == "bird"].reset_index(drop=True), dataset, model)


@pytest.fixture
def marks_the_middle(monkeypatch):
    """Maps of the answer 'sea' would mark the sea; here a map marks the bird."""
    monkeypatch.setattr(
        "xai_core.failures.group_changes.map_regions", lambda model, pictures, *_, **__: [INSIDE] * len(pictures)
    )


def test_another_background_mends_what_the_background_causes(marks_the_middle):
    dataset, rows = made()
    model = network()
    result = group_what_ifs(model, dataset, rows, read_of(dataset, rows, model), seed=1)
    assert not result.reasons and not result.left_out
    assert set(result.changes["change"]) == {change.title for change in GROUP_CHANGES}
    row = result.changes.set_index("change").loc[SWAPPED.title]
    assert (row["errors"], row["mended"], row["right"], row["broken"]) == (7, 7, 4, 0)
    assert row["confirmed"]
    (action,) = (a for a in tested_changes.actions(result, "birds", rows["path"].tolist()) if "swapped" in a.title)
    assert action.settings["share that stays"] == STAYS and "mends 7 of 7 held-out errors" in action.reason


def test_answers_are_those_of_pictures_put_together_by_hand():
    """Masks and other pictures are made again, and the network is asked directly."""
    dataset, rows = made()
    model = network()
    read = read_of(dataset, rows, model)
    result = group_what_ifs(model, dataset, rows, read, seed=3)
    others = other_pictures(dataset, rows, read, model, 3)
    assert others is not None
    for change in (BLURRED, SWAPPED):
        after = []
        for pixels, other in zip(read.pixels, others, strict=True):
            heat = explain(model, pixels, str(result.settings["method"])).to_input()
            stays = np.zeros(SIDE * SIDE, bool)
            stays[np.argsort(-heat.ravel(), kind="stable")[: round(STAYS * SIDE * SIDE)]] = True
            outside = CHANGES["blur"](pixels[None], sigma=0.05)[0] if change is BLURRED else other
            mixed = torch.where(torch.from_numpy(stays.reshape(SIDE, SIDE)), pixels, outside)
            after.append(int(model.outputs(mixed[None]).logits.argmax()))
        mine = result.rows[result.rows["change"] == change.title].sort_values("picture")
        assert mine["after"].tolist() == after


def test_other_backgrounds_are_of_a_third_class():
    dataset, rows = made()
    model = network()
    read = read_of(dataset, rows, model)
    others = other_pictures(dataset, rows, read, model)
    assert others is not None and len(others) == len(read.pixels)
    assert all(not other.any() for other in others)  # a stone is dark
    dataset, rows = made(third=0)
    result = group_what_ifs(model, dataset, rows, read, seed=0)
    assert "not swapped" in result.left_out[0] and SWAPPED.title not in set(result.changes["change"])
    assert BLURRED.title in set(result.changes["change"])


def test_a_map_that_is_zero_everywhere_marks_some_place():
    layer = nn.Linear(3 * SIDE * SIDE, 2)
    nn.init.zeros_(layer.weight)
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=layer, input_size=SIDE)
    (region,) = map_regions(model, [torch.rand(3, SIDE, SIDE)], "saliency", STAYS)
    assert region.sum() == round(STAYS * SIDE * SIDE)


def test_too_few_errors_are_told():
    dataset, rows = made(errors=3)
    result = group_what_ifs(network(), dataset, rows, read_of(dataset, rows, network()))
    assert "3 errors" in result.reasons[0] and not len(result.changes)
