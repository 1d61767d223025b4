"""Whether a map lies where an object is: needs a box or a mask. No passes.

A map may be true and still lie outside, where the network looks at the background; and a map in the middle scores well
wherever photographers put their subject there: compare with the controls.
"""

from typing import Annotated

import numpy as np
from scipy.ndimage import distance_transform_edt

from xai_core.core.options import Range
from xai_core.metrics.metric import Candidate, Case, Score

UNSEEN = "The network's crop shows nothing of the box."


def pointing_game(
    case: Case,
    candidate: Candidate,
    *,
    tolerance: Annotated[int, Range(0, 100), "pixels of the network's input that a hit may lie beside the box"] = 15,
) -> Score:
    """Whether the strongest pixel lies in the box.

    value = 1 where the largest value lies at most `tolerance` pixels from the box, else 0. Among several equal largest
    values the value is the share of them that hits: what is to be expected of one drawn among them, so that a uniform map
    scores the share of the picture that hits. The paper's tolerance is 15 pixels of the photograph; here they are pixels of
    the network's input. Boxes that touch, as those of a mosaic, want a tolerance of 0.
    """
    if not case.inside.any():
        return Score(float("nan"), note=UNSEEN)
    hits = distance_transform_edt(~case.inside) <= tolerance
    largest = candidate.values == candidate.values.max()
    return Score(float(hits[largest].mean()), facts={"equal largest": float(largest.sum()), **_facts(case)})


def energy_pointing_game(case: Case, candidate: Candidate) -> Score:
    """The share of the positive evidence that lies in the box.

    value = sum of max(m, 0) in the box / sum of max(m, 0). A uniform map scores the share of the picture in the box.
    """
    if not case.inside.any():
        return Score(float("nan"), note=UNSEEN)
    positive = np.clip(candidate.values, 0, None)
    if not positive.any():
        return Score(float("nan"), facts=_facts(case), note="The map has no positive evidence.")
    return Score(float(positive[case.inside].sum() / positive.sum()), facts=_facts(case))


def relevance_rank_accuracy(case: Case, candidate: Candidate) -> Score:
    """The share of the most relevant pixels, as many as the box has, that lie in the box.

    value = |top k in the box| / k, k the number of pixels in the box. Pixels tied with the last of them count as far as is
    to be expected of a draw among them, so that a uniform map scores the share of the picture in the box.
    """
    return _top(case, candidate, int(case.inside.sum()))


def top_k_intersection(
    case: Case,
    candidate: Candidate,
    *,
    share: Annotated[float, Range(0.005, 0.5, 0.005), "of the pixels that are looked at"] = 0.02,
) -> Score:
    """The share of the most relevant pixels that lie in the box.

    value = |top k in the box| / k, k = `share` of all pixels; 0.02 of 224 x 224 is the 1,000 of the paper. Ties as for the
    relevance rank accuracy. A box of fewer than k pixels cannot reach 1.
    """
    return _top(case, candidate, max(1, round(share * case.inside.size)))


def _top(case: Case, candidate: Candidate, count: int) -> Score:
    """What is to be expected where pixels tied with the last are drawn among themselves; and the extremes of such draws."""
    if not case.inside.any():
        return Score(float("nan"), note=UNSEEN)
    last = np.partition(candidate.values, -count, axis=None)[-count]
    above, tied = candidate.values > last, candidate.values == last
    sure, open_places = int((above & case.inside).sum()), count - int(above.sum())
    among, hits = int(tied.sum()), int((tied & case.inside).sum())
    lowest, highest = max(0, open_places - (among - hits)), min(open_places, hits)
    facts = {"lowest by ties": (sure + lowest) / count, "highest by ties": (sure + highest) / count}
    return Score((sure + open_places * hits / among) / count, facts=facts | _facts(case))


def _facts(case: Case) -> dict[str, float]:
    return {"share of the picture in the box": float(case.inside.mean())}
