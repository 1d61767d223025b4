"""Whether a map lies on an object: needs a box or a mask. No passes.

A map may be right and still lie outside the box, where the network looks at the background; and a map in the middle of the
picture scores well wherever photographers put their subject there: compare with the controls.
"""

from typing import Annotated

import numpy as np

from xai_core.core.options import Range
from xai_core.metrics.metric import Candidate, Case, MetricResult

OUTSIDE_CROP = "The network's crop shows nothing of the box."


def pointing_game(
    case: Case,
    candidate: Candidate,
    *,
    tolerance: Annotated[int, Range(0, 100), "how far outside the box a hit may lie, in pixels of the network's input"] = 15,
) -> MetricResult:
    """Whether the strongest pixel lies in the box.

    value = 1 where the largest value lies at most `tolerance` pixels from the box, else 0. If several pixels share the
    largest value, the value is the share of them that hits: the expectation for one drawn at random, so that a uniform map
    scores the share of the picture that counts as a hit. The paper's tolerance is 15 pixels of the photograph; here they are
    pixels of the network's input. For boxes that touch each other, as in a mosaic, use a tolerance of 0.
    """
    from scipy.ndimage import distance_transform_edt

    inside = case.box_mask()
    if not inside.any():
        return MetricResult(float("nan"), note=OUTSIDE_CROP)
    hits = distance_transform_edt(~inside) <= tolerance
    largest = candidate.values == candidate.values.max()
    return MetricResult(float(hits[largest].mean()), facts={"equal largest": float(largest.sum()), **_facts(case)})


def energy_pointing_game(case: Case, candidate: Candidate) -> MetricResult:
    """The share of the positive evidence that lies in the box.

    value = sum of max(m, 0) in the box / sum of max(m, 0), in [0, 1]. A uniform map scores the share of the picture that
    lies in the box.
    """
    inside = case.box_mask()
    if not inside.any():
        return MetricResult(float("nan"), note=OUTSIDE_CROP)
    positive = np.clip(candidate.values, 0, None)
    if not positive.any():
        return MetricResult(float("nan"), facts=_facts(case), note="The map has no positive evidence.")
    return MetricResult(float(positive[inside].sum() / positive.sum()), facts=_facts(case))


def relevance_rank_accuracy(case: Case, candidate: Candidate) -> MetricResult:
    """The share of the k most relevant pixels that lie in the box, k the number of pixels in the box.

    value = |top k in the box| / k, in [0, 1]. If several pixels are tied for the last of the k places, the value is the
    expectation over a random choice among them, so that a uniform map scores the share of the picture that lies in the box.
    Facts: the lowest and the highest value that such a choice can give.
    """
    return _top(case, candidate, int(case.box_mask().sum()))


def top_k_intersection(
    case: Case,
    candidate: Candidate,
    *,
    share: Annotated[float, Range(0.005, 0.5, 0.005), "share of all pixels, the most relevant ones, that count"] = 0.02,
) -> MetricResult:
    """The share of the k most relevant pixels that lie in the box, k a fixed share of all pixels.

    value = |top k in the box| / k, in [0, 1], k = `share` of all pixels; 0.02 of 224 x 224 is the 1,000 of the paper. Ties
    as in relevance rank accuracy. With a box of fewer than k pixels the value cannot reach 1.
    """
    return _top(case, candidate, max(1, round(share * case.box_mask().size)))


def _top(case: Case, candidate: Candidate, count: int) -> MetricResult:
    """The expected share of the `count` most relevant pixels in the box when ties for the last places are drawn at random;
    as facts the lowest and the highest share that such draws can give."""
    inside = case.box_mask()
    if not inside.any():
        return MetricResult(float("nan"), note=OUTSIDE_CROP)
    last = np.partition(candidate.values, -count, axis=None)[-count]
    above, tied = candidate.values > last, candidate.values == last
    sure, open_places = int((above & inside).sum()), count - int(above.sum())
    tied_count, hits = int(tied.sum()), int((tied & inside).sum())
    lowest, highest = max(0, open_places - (tied_count - hits)), min(open_places, hits)
    facts = {"lowest by ties": (sure + lowest) / count, "highest by ties": (sure + highest) / count}
    return MetricResult((sure + open_places * hits / tied_count) / count, facts=facts | _facts(case))


def _facts(case: Case) -> dict[str, float]:
    return {"share of the picture in the box": float(case.box_mask().mean())}
