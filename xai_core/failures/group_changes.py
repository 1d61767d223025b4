"""What-ifs of a group of pictures: the usual changes, and other backgrounds around what each picture's map marks.

The map of a picture explains the answer that the model gives to it, right or wrong: no label says what stays. It is made
before anything is changed. The background is the rest of the picture; it is blurred, or another picture is seen there. That
one is of a third class, neither the true one nor the answer, so that its own object is no reason for either.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.failures import group_pictures
from xai_core.failures.group_causes import own_region, usual_method
from xai_core.failures.group_pictures import GroupPictures
from xai_core.failures.picture_changes import PictureChange
from xai_core.failures.tested_changes import MendingChanges, mending_changes
from xai_core.failures.what_ifs import USUAL_CHANGES
from xai_core.models.explainable import ExplainableModel, Picture

BLURRED, SWAPPED = PictureChange("background blurred"), PictureChange("background swapped")
GROUP_CHANGES = (*USUAL_CHANGES, BLURRED, SWAPPED)
STAYS = 0.25  # share of the picture that stays as it is
OTHERS = 40  # pictures that are seen as a background, at most
_BLOCK = 32  # pictures that are explained at once


def group_what_ifs(
    model: ExplainableModel,
    dataset: Dataset,
    rows: pd.DataFrame,
    read: GroupPictures,
    *,
    seed: int = 0,
    track: Track = iter,
) -> MendingChanges:
    """Try GROUP_CHANGES on the pictures `read` of a group: chosen on one half of its errors, tested on the other half.

    `rows` are all predictions for `dataset`; other backgrounds are of its pictures. What cannot be tried is left out, and
    `left_out` of the result says why. The seed also draws the backgrounds. `track` wraps the blocks of pictures.
    """
    changes: tuple[PictureChange, ...] = USUAL_CHANGES
    left_out: list[str] = []
    masks = others = None
    try:
        method = usual_method(model)
    except BadRequest as error:
        left_out.append(f"Backgrounds are not changed: {error}")
    else:
        masks = map_regions(model, read.pixels, method, STAYS, seed=seed, track=track)
        changes = (*changes, BLURRED)
        others = other_pictures(dataset, rows, read, model, seed)
        if others is None:
            left_out.append("Backgrounds are not swapped: there are no pictures of a third class for each of these.")
        else:
            changes = (*changes, SWAPPED)
    result = mending_changes(
        model, read.pixels, read.classes, changes, masks=masks, backgrounds=others, seed=seed, track=track
    )
    kept: dict[str, str | float] = {} if masks is None else {"method": method, "share that stays": STAYS}
    return replace(result, left_out=tuple(left_out), settings={**result.settings, **kept})


def map_regions(
    model: ExplainableModel, pictures: Sequence[Picture], method: str, share: float, *, seed: int = 0, track: Track = iter
) -> list[Tensor]:
    """For each picture, the `share` of its pixels (H, W) where the map of the model's answer is highest."""
    regions: list[Tensor] = []
    for start in track(range(0, len(pictures), _BLOCK)):
        for one in explain(model, list(pictures[start : start + _BLOCK]), method, seed=seed):
            regions.append(own_region(torch.from_numpy(one.to_input()).float(), share))
    return regions


def other_pictures(
    dataset: Dataset, rows: pd.DataFrame, read: GroupPictures, model: ExplainableModel, seed: int = 0
) -> list[Tensor] | None:
    """For each picture of a group another one (3, H, W) of a third class, as the network sees it; drawn by the seed among at
    most OTHERS of as many classes as possible. None where some picture has none."""
    shuffled = rows.iloc[np.random.default_rng(seed).permutation(len(rows))]
    turn = shuffled.groupby("true", sort=False).cumcount().to_numpy()
    drawn = shuffled.iloc[np.argsort(turn, kind="stable")[:OTHERS]].reset_index(drop=True)
    found = group_pictures.read(drawn, dataset, model)
    classes = found.rows["true"].to_numpy(object)
    draws, chosen = np.random.default_rng(seed), []
    for true, predicted in zip(read.rows["true"], read.rows["predicted"], strict=True):
        fitting = np.flatnonzero((classes != true) & (classes != predicted))
        if not len(fitting):
            return None
        chosen.append(found.pixels[draws.choice(fitting)])
    return chosen
