"""Repairing the head for the errors of a group: its maps suggest a region, which is hidden to see what the head reads there.

The errors of the group among one half of the predictions give the region and the pairs with and without it, and the labels
of that half the strength of the edit (`xai_core.failures.head_repair`). The other half measures the edit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.data.preprocessing import stack
from xai_core.failures.causes import common_region
from xai_core.failures.halves import halves
from xai_core.failures.head_edits import Head
from xai_core.failures.head_repair import FEWEST, Repair, repair
from xai_core.failures.hiding import hider
from xai_core.models.edited_heads import linear_head
from xai_core.models.explainable import ExplainableModel, Picture

METHOD, SHARE, HIDING = "hires_cam", 0.2, "inpainted"  # chosen on worlds that no figure is of
MOST_PAIRS = 60  # errors that are looked at, drawn at random
SHOWN = 4  # pairs that are kept to be shown
BATCH = 32
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GroupRepair:
    """What the repair for a group found.

    repair     the edited head and what it does; None where nothing is tried
    places     of the errors whose region was hidden, among the predictions
    examples   (picture, picture with the region hidden), each (3, H, W) in [0, 1], as the network sees them
    mended, broken    places of the held-out predictions whose answer the edit turns right, or wrong
    reason     what was found, in one or two sentences
    settings   method, share, hiding, seed
    """

    repair: Repair | None
    places: Places
    examples: tuple[tuple[Tensor, Tensor], ...]
    mended: Places
    broken: Places
    reason: str
    settings: dict[str, str | float] = field(default_factory=dict)


def head_of(model: ExplainableModel) -> Head:
    """The model's linear head, in double precision. Raises BadRequest where it has none, or where the embeddings of its
    predictions are not the features that the head reads."""
    head = linear_head(model)
    if model.network.project is not None:
        raise BadRequest(f"{model.title} has a projection head: stored embeddings are not the features that its head reads.")
    return Head.of(head)


def pairs_looked_at(rows: pd.DataFrame, members: Sequence[int] | Places, seed: int = 0) -> Places:
    """The places of the errors among `members` in the first half of the predictions `rows`, at most MOST_PAIRS at random."""
    first, _ = halves(len(rows), seed)
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    found = np.intersect1d(np.asarray(members, np.int64), first[wrong[first]])
    if len(found) > MOST_PAIRS:
        found = np.sort(np.random.default_rng(seed).choice(found, MOST_PAIRS, replace=False))
    return found


def repair_group(
    model: ExplainableModel,
    dataset: Dataset,
    rows: pd.DataFrame,
    members: Sequence[int] | Places,
    *,
    method: str = METHOD,
    share: float = SHARE,
    hiding: str = HIDING,
    seed: int = 0,
    track: Track = iter,
) -> GroupRepair:
    """Repair the head of `model` for the errors among the predictions `rows` (with embeddings) at the places `members`.

    Maps by `method` of the wrong answers suggest a region of this `share` of the picture; `hiding` is a way of hiding it.
    `track` wraps the batches of pictures. Raises BadRequest where the model's head cannot be edited.
    """
    head = head_of(model)
    settings: dict[str, str | float] = {"method": method, "share": share, "hiding": hiding, "seed": seed}
    features = np.stack(rows["embedding"].to_list()).astype(np.float64)
    looked_at = pairs_looked_at(rows, members, seed)
    nothing = np.zeros(0, np.int64)
    read, pixels = [], []
    for place in looked_at if len(looked_at) >= FEWEST else ():
        try:
            pixels.append(model.prepare(dataset.open(rows["path"].iloc[place])).pixels)
            read.append(int(place))
        except BadPicture:
            continue
    if len(read) < FEWEST:
        reason = (
            f"No edit is tried: {len(read)} errors of the group can be read in the half on which an edit is chosen, and "
            f"{FEWEST} are needed."
        )
        return GroupRepair(None, nothing, (), nothing, nothing, reason, settings)
    answers = rows["predicted_index"].iloc[read].tolist()
    pairs = hidden_pairs(model, pixels, answers, method=method, share=share, hiding=hiding, seed=seed, track=track)
    if not pairs:
        reason = "No edit is tried: nothing in the maps of these errors speaks for their answers."
        return GroupRepair(None, nothing, (), nothing, nothing, reason, settings)
    present, absent = (features_of(model, images) for images in zip(*pairs, strict=True))
    found = repair(
        head, features, rows["true_index"].to_numpy(np.int64), present, absent, model.class_names, places=read, seed=seed
    )
    second = found.measured_on
    true = rows["true_index"].to_numpy(np.int64)[second]
    was, now = (one.predicted(features[second]) == true for one in (head, found.head))
    return GroupRepair(
        found, np.array(read), tuple(pairs[:SHOWN]), second[~was & now], second[was & ~now], found.reason, settings
    )


def hidden_pairs(
    model: ExplainableModel,
    pictures: Sequence[Picture],
    answers: Sequence[int],
    *,
    method: str = METHOD,
    share: float = SHARE,
    hiding: str = HIDING,
    seed: int = 0,
    track: Track = iter,
) -> list[tuple[Tensor, Tensor]]:
    """(picture, picture with the region hidden), each (3, H, W) as the network sees it. The region is the `share` of the
    picture that is highest in the mean of what speaks for the `answers` (numbers of classes) in the maps. Empty where
    nothing does."""
    maps, shown = [], []
    for place in track(range(len(pictures))):
        explanation = explain(model, pictures[place], method, target=int(answers[place]), seed=seed)
        maps.append(torch.from_numpy(explanation.to_input()).float().clamp(min=0))
        shown.append(stack([model.prepare(pictures[place])], model.device))
    if not any(bool(map.any()) for map in maps):
        return []
    region = common_region(torch.stack(maps), share)
    return [(image[0].cpu(), hider(image, hiding)(region[None])[0].cpu()) for image in shown]


def features_of(model: ExplainableModel, images: Sequence[Tensor]) -> NDArray[np.float64]:
    """The features (n, d) that the head reads, of pictures (3, H, W) as the network sees them."""
    parts = [
        model.outputs(torch.stack(list(images[start : start + BATCH]))).features.double().cpu().numpy()
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)
