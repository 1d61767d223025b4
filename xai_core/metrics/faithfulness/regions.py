"""The score while regions are removed in the order of a map, and while only the most relevant pixels are visible."""

from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from xai_core.attribution.perturbation.segmentation import segment
from xai_core.core.options import Range
from xai_core.metrics.faithfulness.curves import ORIGINAL, Steps, area, scores_along, step_counts, tie_facts, uniform_note
from xai_core.metrics.faithfulness.pixel_ranking import ranks
from xai_core.metrics.faithfulness.substrates import Substrate
from xai_core.metrics.metric import Candidate, Case, MetricGenerator, MetricResult, OptionValues, PassCost, ScoreKind

VISIBLE_SHARES = (0.05, 0.1, 0.2, 0.5)


def pixel_flipping(
    case: Case, candidate: Candidate, *, substrate: Substrate = "zero", steps: Steps = 16, score: ScoreKind = "asked"
) -> MetricGenerator:
    """The mean fall of the score while single pixels are replaced, most relevant first.

    value = mean over k = 0 ... L of f(x) - f(x with its most relevant k / L of the pixels replaced): the area over the
    curve, of the number that the map explains (a logit), in its unit. The paper draws the curve one pixel at a time; here it
    has `steps` steps.
    """
    order = ranks(candidate.values, case.seed)
    counts = step_counts(order.size, steps, 0)
    scores = yield from scores_along(case, ORIGINAL, substrate, order, counts, case.score_target(score))
    curve = np.column_stack([counts / order.size, scores])
    return _mean_fall(curve, tie_facts(candidate.values, counts, curve), uniform_note(candidate))


def region_perturbation(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "noise",
    window: Annotated[int, Range(4, 64), "side of a square in pixels"] = 8,
    regions: Annotated[int, Range(5, 1000, 5), "number of squares that are replaced, one after the other"] = 100,
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """AOPC: the mean fall of the score while squares are replaced by noise, most relevant first.

    value = 1 / (L + 1) sum over k = 0 ... L of f(x) - f(x with the k most relevant squares replaced), in the unit of the
    score. A square's relevance is the mean of the map in it; ties are broken by the seed. Noise is uniform, its draws the
    same for all maps.
    Deviation: squares lie on a fixed grid, and are cut off at the right and lower edge; the paper averages over noises too.
    """
    height, width = candidate.values.shape
    columns = -(-width // window)
    labels = (np.arange(height) // window)[:, None] * columns + np.arange(width) // window

    def counts(total: int) -> NDArray[np.int64]:
        return np.arange(min(regions, total) + 1)

    return _by_region(case, candidate, labels, substrate, score, counts, _mean_fall)


def irof(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "mean",
    segments: Annotated[int, Range(20, 300, 10), "number of superpixels (SLIC)"] = 100,
    steps: Steps = 16,
    score: ScoreKind = "confidence",
) -> MetricGenerator:
    """IROF: the area over the relative score while superpixels are replaced by the mean colour, most relevant first.

    value = 1 - mean over k of f(x without its k most relevant superpixels) / f(x), over the whole curve by trapezoids; at
    most 1.
    Deviation: the curve has `steps` steps instead of one for each superpixel. Undefined where f(x) is not positive.
    """
    labels = case.cached(("segments", segments), lambda: segment(case.image[0], "slic", segments).numpy())

    def counts(total: int) -> NDArray[np.int64]:
        return step_counts(total, min(steps, total), 0)

    return _by_region(case, candidate, labels, substrate, score, counts, _relative_area)


def _by_region(
    case: Case,
    candidate: Candidate,
    labels: NDArray[np.integer],
    substrate: str,
    score: str,
    counts_of: Callable[[int], NDArray[np.int64]],
    summarise: Callable[[NDArray[np.float64], dict[str, float], str], MetricResult],
) -> MetricGenerator:
    """Replace whole regions, labels (H, W), in the order of the map's mean in them; `counts_of` turns the number of
    regions into the points of the curve, `summarise` the curve into a MetricResult."""
    flat = labels.ravel()
    means = np.bincount(flat, candidate.values.ravel()) / np.bincount(flat)
    counts = counts_of(len(means))
    order = ranks(means, case.seed)[labels]
    scores = yield from scores_along(case, ORIGINAL, substrate, order, counts, case.score_target(score))
    curve = np.column_stack([counts / len(means), scores])
    facts = tie_facts(means, counts, curve) | {"regions": float(len(means))}
    return summarise(curve, facts, uniform_note(candidate))


def _mean_fall(curve: NDArray[np.float64], facts: dict[str, float], note: str) -> MetricResult:
    return MetricResult(float(curve[0, 1] - curve[:, 1].mean()), curve, facts, note)


def _relative_area(curve: NDArray[np.float64], facts: dict[str, float], note: str) -> MetricResult:
    if not curve[0, 1] > 0:
        return MetricResult(
            float("nan"), curve, facts, "The score of the picture is not positive: no share of it can be lost."
        )
    return MetricResult(1 - area(curve) / float(curve[0, 1]), curve, facts, note)


def sufficiency(
    case: Case, candidate: Candidate, *, substrate: Substrate = "blur", score: ScoreKind = "confidence"
) -> MetricGenerator:
    """How much of the score is lost when only the most relevant pixels are visible.

    value = f(x) - mean of f(x with only its most relevant 5%, 10%, 20% and 50%), the rest replaced by the substrate; in the
    unit of the score.
    This is the sufficiency of DeYoung et al. The one of Dasgupta et al. (2022, arXiv:2202.00734), the share of pictures with
    similar maps that get the same class, says nothing about one picture and depends on which other pictures there are.
    """
    order = ranks(candidate.values, case.seed)
    counts = np.round(np.r_[0, VISIBLE_SHARES] * order.size).astype(np.int64)
    target = case.score_target(score)
    scores = yield from scores_along(case, substrate, ORIGINAL, order, counts, target)
    ((original,),) = yield [case.original(target)]
    curve = np.column_stack([counts / order.size, scores])
    facts = tie_facts(candidate.values, counts, curve) | {"plain": float(original)}
    return MetricResult(float(original - scores[1:].mean()), curve, facts, uniform_note(candidate))


def flipping_cost(options: OptionValues) -> PassCost:
    return PassCost(own=options["steps"] - 1, shared=2)


def region_cost(options: OptionValues) -> PassCost:
    """For pictures of 224 x 224."""
    total = (-(-224 // options["window"])) ** 2
    return PassCost(own=options["regions"], shared=1) if options["regions"] < total else PassCost(own=total - 1, shared=2)


def irof_cost(options: OptionValues) -> PassCost:
    return PassCost(own=options["steps"] - 1, shared=2)


def sufficiency_cost(options: OptionValues) -> PassCost:
    return PassCost(own=len(VISIBLE_SHARES), shared=2)
