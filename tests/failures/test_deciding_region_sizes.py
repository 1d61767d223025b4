"""Sizes of deciding regions, against the regions themselves; and as attributes of groups."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_models import brightness_model, pictures, small

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.failures import flip_region, groups, keep_region, region_sizes

FEW = {"segments": 8, "passes": 40}


def test_sizes_are_those_of_the_regions():
    model, images = small("resnet").model, list(pictures(4, small("resnet").side))
    ranked = model.outputs(torch.stack(images)).logits.argsort(1, descending=True)
    wanted = [int(ranked[0, 1]), int(ranked[1, 0]), int(ranked[2, 2]), int(ranked[3, 1])]  # the second is right already
    for goal, find in (("flip", flip_region), ("keep", keep_region)):
        table = region_sizes(model, images, wanted, list("abcd"), goal=goal, **FEW).set_index("path")
        for path, image, true in zip("abcd", images, wanted, strict=True):
            region, row = find(model, image, true, **FEW), table.loc[path]
            assert (row["found"], row["passes"], row["of"]) == (region.state == "found", region.passes, region.of)
            assert row["reason"] == region.reason
            if row["found"]:
                assert (row["segments"], row["share"]) == (len(region.segments), region.mask.mean())
            else:
                assert pd.isna(row["segments"]) and np.isnan(row["share"])
        assert table["found"].any()
        assert goal == "keep" or not table.loc["b", "found"]


def test_every_picture_and_every_batch_is_reported():
    model, images = small("resnet").model, list(pictures(2, small("resnet").side))
    seen = {"pictures": 0, "batches": 0}

    def counting(what):
        def track(items):
            for item in items:
                seen[what] += 1
                yield item

        return track

    table = region_sizes(model, images, [0, 0], track=counting("pictures"), within=counting("batches"), goal="keep", **FEW)
    assert seen["pictures"] == 2 and seen["batches"] >= 4 and table["path"].tolist() == ["0", "1"]


def test_sizes_of_kept_answers_are_attributes_of_groups():
    """Pictures whose answer one segment keeps are wrong in this made table, and are found by the size of their region."""
    rng = np.random.default_rng(0)
    segments = rng.integers(1, 4, 400)
    wrong = (segments == 1) & (rng.random(400) < 0.8) | (rng.random(400) < 0.1)
    rows = pd.DataFrame({"true": "a", "predicted": np.where(wrong, "b", "a")})
    sizes = pd.DataFrame({"segments": pd.array(segments, "Int64")})
    sizes.loc[:3, "segments"] = pd.NA
    found = groups(rows, sizes)
    assert found.confirmed["group"].iloc[0] == "segments: 1"


def test_no_picture_and_what_cannot_be_asked():
    assert len(region_sizes(brightness_model(), [], [])) == 0
    with pytest.raises(UnknownName, match="no goal 'turn'"):
        region_sizes(brightness_model(), [], [], goal="turn")
    with pytest.raises(BadRequest, match="first has no true class"):
        region_sizes(brightness_model(), [torch.zeros(3, 8, 8)], [None], ["first"])
    with pytest.raises(BadRequest, match="1 pictures and 0 true classes"):
        region_sizes(brightness_model(), [torch.zeros(3, 8, 8)], [])
    with pytest.raises(BadRequest, match="1 pictures and 2 paths"):
        region_sizes(brightness_model(), [torch.zeros(3, 8, 8)], [0], ["a", "b"])
