"""Scores while regions go in the order of a map, and what is left where only its best places stay."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from xai_core.attribution.perturbation.segmentation import segment
from xai_core.core.options import Range
from xai_core.metrics.faithfulness.curves import Steps, area, flat_note, followed, step_counts, tie_facts
from xai_core.metrics.faithfulness.pixel_ranking import ranks
from xai_core.metrics.faithfulness.substrates import Scored, Substrate, measured
from xai_core.metrics.metric import Asking, Candidate, Case, Cost, Score

KEPT = (0.05, 0.1, 0.2, 0.5)


def pixel_flipping(
    case: Case, candidate: Candidate, *, substrate: Substrate = "zero", steps: Steps = 16, score: Scored = "asked"
) -> Asking:
    """The mean fall of the score while single pixels are replaced, most relevant first.

    value = mean over k = 0 ... L of f(x) - f(x with its k L-ths most relevant pixels replaced): the area over the curve,
    of the number that the map explains (a logit), in its unit. The paper draws the curve one pixel at a time; here it has
    `steps` steps.
    """
    order = ranks(candidate.values, case.seed)
    counts = step_counts(order.size, steps, 0)
    scores = yield from followed(case, "plain", substrate, order, counts, measured(case, score))
    curve = np.column_stack([counts / order.size, scores])
    facts = tie_facts(candidate.values, counts, curve)
    return Score(float(scores[0] - scores.mean()), curve, facts, flat_note(candidate))


def region_perturbation(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "noise",
    window: Annotated[int, Range(4, 64), "side of a square in pixels"] = 8,
    regions: Annotated[int, Range(5, 1000, 5), "squares that are replaced, one after the other"] = 100,
    score: Scored = "asked",
) -> Asking:
    """AOPC: the mean fall of the score while squares are replaced by noise, most relevant first.

    value = 1 / (L + 1) sum over k = 0 ... L of f(x) - f(x with the k most relevant squares replaced). A square's relevance
    is the mean of the map in it; ties are broken by the seed. Noise is uniform, its draws the same for all maps.
    Deviation: squares lie on a fixed grid, and are cut off at the right and lower edge; the paper averages over noises too.
    """
    height, width = candidate.values.shape
    across = -(-width // window)
    labels = (np.arange(height) // window)[:, None] * across + np.arange(width) // window
    return _by_region(case, candidate, labels, substrate, score, lambda total: np.arange(min(regions, total) + 1), _fall)


def irof(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "mean",
    segments: Annotated[int, Range(20, 300, 10), "superpixels (SLIC)"] = 100,
    steps: Steps = 16,
    score: Scored = "confidence",
) -> Asking:
    """IROF: the area over the relative score while superpixels are replaced by the mean colour, most relevant first.

    value = 1 - mean over k of f(x without its k most relevant superpixels) / f(x), over the whole curve by trapezoids.
    Deviation: the curve has `steps` steps instead of one for each superpixel. Undefined where f(x) is not positive.
    """

    def labels() -> NDArray:
        return segment(case.image[0], "slic", segments).numpy()

    found = case.remembered(("segments", segments), labels)
    points = lambda total: step_counts(total, min(steps, total), 0)  # noqa: E731
    return _by_region(case, candidate, found, substrate, score, points, _relative)


def _by_region(case: Case, candidate: Candidate, labels: NDArray, substrate: str, score: str, points, value) -> Asking:
    flat = labels.ravel()
    means = np.bincount(flat, candidate.values.ravel()) / np.bincount(flat)
    counts = points(len(means))
    order = ranks(means, case.seed)[labels]
    scores = yield from followed(case, "plain", substrate, order, counts, measured(case, score))
    curve = np.column_stack([counts / len(means), scores])
    return value(curve, tie_facts(means, counts, curve) | {"regions": float(len(means))}, flat_note(candidate))


def _fall(curve: NDArray, facts: dict[str, float], note: str) -> Score:
    return Score(float(curve[0, 1] - curve[:, 1].mean()), curve, facts, note)


def _relative(curve: NDArray, facts: dict[str, float], note: str) -> Score:
    if not curve[0, 1] > 0:
        return Score(float("nan"), curve, facts, "The plain picture's score is not positive.")
    return Score(1 - area(curve) / curve[0, 1], curve, facts, note)


def sufficiency(case: Case, candidate: Candidate, *, substrate: Substrate = "blur", score: Scored = "confidence") -> Asking:
    """How much of the score is lost when only the most relevant pixels stay.

    value = f(x) - mean of f(x with only its most relevant 5%, 10%, 20% and 50% left), the rest replaced by the substrate.
    This is the sufficiency of DeYoung et al. The one of Dasgupta et al. (2022, arXiv:2202.00734), the share of pictures with
    alike maps that get the same class, says nothing of one picture and depends on which others are there.
    """
    order = ranks(candidate.values, case.seed)
    counts = np.round(np.r_[0, KEPT] * order.size).astype(np.int64)
    target = measured(case, score)
    scores = yield from followed(case, substrate, "plain", order, counts, target)
    ((plain,),) = yield [case.plain(target)]
    curve = np.column_stack([counts / order.size, scores])
    facts = tie_facts(candidate.values, counts, curve) | {"plain": float(plain)}
    return Score(float(plain - scores[1:].mean()), curve, facts, flat_note(candidate))


def flipping_cost(options) -> Cost:
    return Cost(own=options["steps"] - 1, shared=2)


def region_cost(options) -> Cost:
    """For pictures of 224 x 224."""
    total = (-(-224 // options["window"])) ** 2
    return Cost(own=options["regions"], shared=1) if options["regions"] < total else Cost(own=total - 1, shared=2)


def irof_cost(options) -> Cost:
    return Cost(own=options["steps"] - 1, shared=2)


def sufficiency_cost(options) -> Cost:
    return Cost(own=len(KEPT), shared=2)
