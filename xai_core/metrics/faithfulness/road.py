"""ROAD: the score when pixels are removed and the gaps filled in, so that the shape of a gap reveals nothing."""

from collections.abc import Generator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Range
from xai_core.metrics.faithfulness.curves import uniform_note
from xai_core.metrics.faithfulness.imputation import imputed
from xai_core.metrics.faithfulness.pixel_ranking import ranks, ties
from xai_core.metrics.metric import (
    Candidate,
    Case,
    MetricGenerator,
    MetricResult,
    OptionValues,
    PassCost,
    ScoreKind,
    ScoreQuery,
    Scores,
)

Levels = Annotated[
    int, Range(1, 19), "number of shares of removed pixels, evenly spaced from 10% to 90%; a single one is 50%"
]
Noise = Annotated[float, Range(0.0, 0.5, 0.01), "standard deviation of the noise that is added to filled-in pixels"]
Order = Literal["most", "least"]
_NOISE = 3  # first number of the draws


def shares_of(levels: int) -> NDArray[np.float64]:
    """The shares of removed pixels (levels,)."""
    return np.linspace(0.1, 0.9, levels) if levels > 1 else np.array([0.5])


def road(
    case: Case, candidate: Candidate, *, levels: Levels = 9, noise: Noise = 0.01, score: ScoreKind = "confidence"
) -> MetricGenerator:
    """ROAD, both orders combined.

    value = mean over shares p of (f(x without its least relevant p) - f(x without its most relevant p)) / 2, where removed
    pixels are estimated from their neighbours, with a little noise (`imputation.py`); in the unit of the score.
    Exactly round(p H W) pixels are removed, ties broken by the seed; a threshold on a map full of zeros would remove all of
    them at once. Noise is in pixel space, its draws the same for all maps. The value is the change for each picture, as in
    other code; the paper reports the accuracy over a data set.
    """
    original, (most, least) = yield from _scores_without(case, candidate, levels, noise, score, ("most", "least"))
    values, shares = (least - most) / 2, shares_of(levels)
    return MetricResult(float(values.mean()), np.column_stack([shares, values]), *_facts(candidate, levels, original))


def road_most_relevant_first(
    case: Case, candidate: Candidate, *, levels: Levels = 9, noise: Noise = 0.01, score: ScoreKind = "confidence"
) -> MetricGenerator:
    """ROAD, most relevant first: value = mean over shares p of f(x without its most relevant p) - f(x). See `road`."""
    original, (most,) = yield from _scores_without(case, candidate, levels, noise, score, ("most",))
    return _mean_change(candidate, levels, most, original)


def road_least_relevant_first(
    case: Case, candidate: Candidate, *, levels: Levels = 9, noise: Noise = 0.01, score: ScoreKind = "confidence"
) -> MetricGenerator:
    """ROAD, least relevant first: value = mean over shares p of f(x without its least relevant p) - f(x). See `road`."""
    original, (least,) = yield from _scores_without(case, candidate, levels, noise, score, ("least",))
    return _mean_change(candidate, levels, least, original)


def _scores_without(
    case: Case, candidate: Candidate, levels: int, noise: float, score: str, orders: Sequence[Order]
) -> Generator[Sequence[ScoreQuery], list[Scores], tuple[float, list[Scores]]]:
    """The score of the picture, and for each order those of the picture without each share of its pixels, (levels,)."""
    target, size = case.score_target(score), candidate.values.size
    counts = np.round(shares_of(levels) * size).astype(int)
    places = ranks(candidate.values, case.seed)

    def query(order: Order) -> ScoreQuery:
        def make(rows: range) -> Tensor:
            removed = np.stack(
                [places < count if order == "most" else places >= size - count for count in counts[rows.start : rows.stop]]
            )
            images = imputed(case.image, removed)
            draws = torch.stack([runtime.normal_draw(case.seed, _NOISE + row, tuple(images.shape[1:])) for row in rows])
            return images + noise * draws.to(images) * torch.from_numpy(removed)[:, None].to(images)

        return ScoreQuery(levels, make, target, key=("road", candidate.name, order, levels, noise))

    original, *by_order = yield [case.original(target), *map(query, orders)]
    return float(original[0]), by_order


def _mean_change(candidate: Candidate, levels: int, scores: Scores, original: float) -> MetricResult:
    curve = np.column_stack([np.r_[0, shares_of(levels)], np.r_[original, scores]])
    return MetricResult(float((scores - original).mean()), curve, *_facts(candidate, levels, original))


def _facts(candidate: Candidate, levels: int, original: float) -> tuple[dict[str, float], str]:
    counts = np.round(shares_of(levels) * candidate.values.size).astype(int)
    share, tied = ties(candidate.values, np.r_[counts, candidate.values.size - counts])
    return {"ties": share, "tied points": float(tied.mean()), "plain": original}, uniform_note(candidate)


def one_order_cost(options: OptionValues) -> PassCost:
    return PassCost(own=options["levels"], shared=1)


def both_orders_cost(options: OptionValues) -> PassCost:
    return PassCost(own=2 * options["levels"], shared=1)
