"""ROAD: what remains of a score when pixels are removed without the removal itself giving anything away."""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.options import Range
from xai_core.metrics.faithfulness.curves import flat_note
from xai_core.metrics.faithfulness.imputation import imputed
from xai_core.metrics.faithfulness.pixel_ranking import ranks, ties
from xai_core.metrics.faithfulness.substrates import Scored, measured
from xai_core.metrics.metric import Candidate, Case, Cost, Pictures, Score

Levels = Annotated[int, Range(1, 19), "shares of removed pixels, evenly from 10% to 90%; one is 50%"]
Noise = Annotated[float, Range(0.0, 0.5, 0.01), "standard deviation of what is added to pixels that were made up"]
_NOISE = 3  # first number of the draws


def shares_of(levels: int):
    return np.linspace(0.1, 0.9, levels) if levels > 1 else np.array([0.5])


def road(case: Case, candidate: Candidate, *, levels: Levels = 9, noise: Noise = 0.01, score: Scored = "confidence"):
    """ROAD, both orders combined.

    value = mean over shares p of (f(x without its least relevant p) - f(x without its most relevant p)) / 2, where missing
    pixels are made up from their neighbours, with a little noise (`imputation.py`).
    Exactly round(p H W) pixels are removed, ties broken by the seed; a threshold on a map full of zeros would remove all of
    them at once. Noise is in pixel space, its draws the same for all maps. The change per picture, as other code has it; the
    paper follows the accuracy over a data set.
    """
    plain, most, least = yield from _removed(case, candidate, levels, noise, score, ("most", "least"))
    values, shares = (least - most) / 2, shares_of(levels)
    return Score(float(values.mean()), np.column_stack([shares, values]), *_facts(case, candidate, levels, plain))


def road_most_relevant_first(
    case: Case, candidate: Candidate, *, levels: Levels = 9, noise: Noise = 0.01, score: Scored = "confidence"
):
    """ROAD, most relevant first: value = mean over shares p of f(x without its most relevant p) - f(x). See `road`."""
    plain, most = yield from _removed(case, candidate, levels, noise, score, ("most",))
    return _one(case, candidate, levels, most, plain)


def road_least_relevant_first(
    case: Case, candidate: Candidate, *, levels: Levels = 9, noise: Noise = 0.01, score: Scored = "confidence"
):
    """ROAD, least relevant first: value = mean over shares p of f(x without its least relevant p) - f(x). See `road`."""
    plain, least = yield from _removed(case, candidate, levels, noise, score, ("least",))
    return _one(case, candidate, levels, least, plain)


def _removed(case: Case, candidate: Candidate, levels: int, noise: float, score: str, orders):
    target, size = measured(case, score), candidate.values.size
    counts = np.round(shares_of(levels) * size).astype(int)
    place = ranks(candidate.values, case.seed)

    def asked(order: str) -> Pictures:
        def make(rows: range) -> Tensor:
            removed = [
                place < count if order == "most" else place >= size - count for count in counts[rows.start : rows.stop]
            ]
            made = imputed(case.image, np.stack(removed))
            drawn = torch.stack([runtime.normal_draw(case.seed, _NOISE + row, tuple(made.shape[1:])) for row in rows])
            return made + noise * drawn.to(made) * torch.from_numpy(np.stack(removed))[:, None].to(made)

        return Pictures(levels, make, target, key=("road", candidate.name, order, levels, noise))

    plain, *found = yield [case.plain(target), *map(asked, orders)]
    return [float(plain[0]), *found]


def _one(case: Case, candidate: Candidate, levels: int, scores, plain: float) -> Score:
    curve = np.column_stack([np.r_[0, shares_of(levels)], np.r_[plain, scores]])
    return Score(float((scores - plain).mean()), curve, *_facts(case, candidate, levels, plain))


def _facts(case: Case, candidate: Candidate, levels: int, plain: float) -> tuple[dict[str, float], str]:
    counts = np.round(shares_of(levels) * candidate.values.size).astype(int)
    share, tied = ties(candidate.values, np.r_[counts, candidate.values.size - counts])
    return {"ties": share, "tied points": float(tied.mean()), "plain": plain}, flat_note(candidate)


def one_order(options) -> Cost:
    return Cost(own=options["levels"], shared=1)


def both_orders(options) -> Cost:
    return Cost(own=2 * options["levels"], shared=1)
