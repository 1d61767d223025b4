"""ARCC: three criteria in one number, each easy to satisfy at the cost of the others."""

from typing import Annotated

import numpy as np
import torch

from xai_core.core.options import Choice
from xai_core.explanation import heatmaps
from xai_core.metrics.faithfulness.correlation import correlate
from xai_core.metrics.faithfulness.drops import average_drop, mask_of
from xai_core.metrics.faithfulness.road import road
from xai_core.metrics.faithfulness.substrates import Substrate, substrate_image
from xai_core.metrics.metric import Candidate, Case, MetricGenerator, MetricResult, OptionValues, PassCost, ScoreKind

ROAD_LEVELS = 9


def arcc(
    case: Case,
    candidate: Candidate,
    *,
    faithfulness: Annotated[
        str, Choice(("drop", "road")), "the measure of faithfulness, which is the third part: 1 - average drop, or ROAD"
    ] = "drop",
    substrate: Substrate = "zero",
    score: ScoreKind = "confidence",
) -> MetricGenerator:
    """ARCC: the harmonic mean of coherency, 1 - complexity and faithfulness.

    value = 3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop)), in [0, 1]. With the map as a mask m in [0, 1]:
    coherency = (1 + Pearson(m, mask of the same method's map of the masked picture)) / 2, complexity = mean of m, drop as
    the average drop. With "road" the third part is twice ROAD (both orders combined), clipped to [0, 1], as in later code.
    If one part is 0 the value is 0. Facts: the three parts.
    """
    mask = mask_of(candidate.values)
    masked = torch.lerp(substrate_image(case, substrate), case.image, torch.from_numpy(mask).to(case.image))
    maps, passes = case.recompute(candidate, masked)
    new_mask = mask_of(heatmaps.resize(maps[0], case.size))
    finite = np.isfinite(new_mask).all()
    correlation = correlate(mask.ravel(), new_mask.ravel(), "pearson") if finite else float("nan")
    if faithfulness == "drop":
        drop = yield from average_drop(case, candidate, substrate=substrate, score=score)
        third = 1 - drop.value
    else:
        combined = yield from road(case, candidate, levels=ROAD_LEVELS, score=score)
        third = 2 * combined.value
    parts = {
        "coherency": (1 + correlation) / 2,
        "1 - complexity": 1 - float(mask.mean()),
        "faithfulness": float(np.clip(third, 0, 1)),
    }
    if np.isnan(list(parts.values())).any():
        note = "Coherency is undefined: one of the two maps is the same everywhere."
        if not np.isnan(correlation):
            note = "The average drop is undefined: the score of the picture is not positive."
        return MetricResult(float("nan"), facts=parts, note=note, passes=passes)
    value = 0.0 if min(parts.values()) <= 0 else 3 / sum(1 / part for part in parts.values())
    return MetricResult(float(value), facts=parts, passes=passes)


def arcc_cost(options: OptionValues) -> PassCost:
    return PassCost(own=1 if options["faithfulness"] == "drop" else 2 * ROAD_LEVELS, shared=1, maps=1)
