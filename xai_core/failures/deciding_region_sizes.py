"""How large the regions are that decide the answers to many pictures: a small one says that little decides.

The passes of one picture fill the network's batches by themselves (each step tries every segment), so pictures are searched
one after the other: on a CPU a pass takes as long as in any batch.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from xai_core.attribution.perturbation.segmentation import Count, Segmentation
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.runtime import Track
from xai_core.failures.deciding_regions import Passes, flip_region, keep_region
from xai_core.failures.hiding import Hiding
from xai_core.models.explainable import ExplainableModel, Picture

GOALS = ("flip", "keep")
COLUMNS = ("path", "segments", "of", "share", "found", "passes", "reason")


def check_goal(goal: str) -> None:
    """Raises UnknownName for what is no goal."""
    if goal not in GOALS:
        raise UnknownName("goal", goal, GOALS)


def region_sizes(
    model: ExplainableModel,
    pictures: Sequence[Picture],
    true_classes: Sequence[int | str | None],
    paths: Sequence[str] | None = None,
    *,
    goal: str = "flip",
    hiding: Hiding = "blur",
    segmentation: Segmentation = "slic",
    segments: Count = 50,
    passes: Passes = 500,
    seed: int = 0,
    track: Track = iter,
    within: Track = iter,
) -> pd.DataFrame:
    """One row for each picture: the size of its region, by `flip_region` (goal 'flip') or `keep_region` ('keep').

    path      of the picture: from `paths`, else its place in `pictures`
    segments, of    how many segments the region has, and the picture; `segments` is missing where no region was found
    share     size of the region as a share of the picture; not a number where none was found
    found     whether there is a region; `reason` says in a sentence why not, or whether it is the smallest
    passes    number of pictures that the network was shown

    Goal 'keep' needs no true class (None). As attributes of `groups`, take sizes of this goal: every picture has one. Sizes
    of goal 'flip' exist for wrong answers alone, so that having one already tells an error. `track` goes over the pictures,
    `within` over the batches of each. Raises BadRequest for what cannot be asked (UnknownName, NoClassifier).
    """
    check_goal(goal)
    names = [str(place) for place in range(len(pictures))] if paths is None else list(paths)
    for what, given in (("true classes", true_classes), ("paths", names)):
        if len(given) != len(pictures):
            raise BadRequest(f"There are {len(pictures)} pictures and {len(given)} {what}; each picture needs one.")
    options: dict[str, Any] = {"hiding": hiding, "segmentation": segmentation, "segments": segments, "passes": passes}
    rows = []
    for place in track(range(len(pictures))):
        true, picture = true_classes[place], pictures[place]
        if goal == "keep":
            region = keep_region(model, picture, true, **options, seed=seed, track=within)
        elif true is not None:
            region = flip_region(model, picture, true, **options, seed=seed, track=within)
        else:
            raise BadRequest(f"{names[place]} has no true class, to which its answer could be turned.")
        found = region.state == "found"
        size = (len(region.segments), region.of, region.share) if found else (None, region.of, None)
        rows.append((names[place], *size, found, region.passes, region.reason))
    types = {"segments": "Int64", "of": "int64", "share": "float64", "found": "bool", "passes": "int64"}
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)
