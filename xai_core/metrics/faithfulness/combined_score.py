"""ARCC: three weak criteria in one number, so that none can be had at the cost of the others."""

from typing import Annotated

import numpy as np
import torch

from xai_core.core.options import Choice
from xai_core.explanation import heatmaps
from xai_core.metrics.faithfulness.correlation import correlated
from xai_core.metrics.faithfulness.drops import average_drop, mask_of
from xai_core.metrics.faithfulness.road import road
from xai_core.metrics.faithfulness.substrates import Scored, Substrate, substrate_image
from xai_core.metrics.metric import Asking, Candidate, Case, Cost, Score

ROAD_LEVELS = 9


def arcc(
    case: Case,
    candidate: Candidate,
    *,
    faithfulness: Annotated[str, Choice(("drop", "road")), "the third part: 1 - average drop, or ROAD"] = "drop",
    substrate: Substrate = "zero",
    score: Scored = "confidence",
) -> Asking:
    """ARCC: the harmonic mean of coherency, 1 - complexity and faithfulness.

    value = 3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop)), in [0, 1]. With the map as a mask m in [0, 1]:
    coherency = (1 + Pearson(m, mask of the same method's map of the masked picture)) / 2, complexity = mean of m, drop as
    the average drop. With "road" the third part is twice ROAD (both orders combined), kept within [0, 1], as in later code.
    A part that is 0 makes the value 0. Facts: the three parts.
    """
    mask = mask_of(candidate.values)
    masked = torch.lerp(substrate_image(case, substrate), case.image, torch.from_numpy(mask).to(case.image))
    maps, passes = case.remake(candidate.again, masked)
    again = mask_of(heatmaps.resize(maps[0], case.size))
    found = correlated(mask.ravel(), again.ravel(), "pearson") if np.isfinite(again).all() else float("nan")
    if faithfulness == "drop":
        third = yield from average_drop(case, candidate, substrate=substrate, score=score)
        third = 1 - third.value
    else:
        third = yield from road(case, candidate, levels=ROAD_LEVELS, score=score)
        third = 2 * third.value
    parts = {
        "coherency": (1 + found) / 2,
        "1 - complexity": 1 - float(mask.mean()),
        "faithfulness": float(np.clip(third, 0, 1)),
    }
    if np.isnan(list(parts.values())).any():
        note = "No coherency: one of the two maps is the same everywhere."
        return Score(float("nan"), facts=parts, note=note if np.isnan(found) else "No drop.", passes=passes)
    value = 0.0 if min(parts.values()) <= 0 else 3 / sum(1 / part for part in parts.values())
    return Score(float(value), facts=parts, passes=passes)


def arcc_cost(options) -> Cost:
    return Cost(own=1 if options["faithfulness"] == "drop" else 2 * ROAD_LEVELS, shared=1, maps=1)
