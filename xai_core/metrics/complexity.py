"""How much a reader has to look at: measures of the map alone, of its magnitude |m| at the network's resolution.

Nothing here says whether a map is true.
"""

import numpy as np

from xai_core.metrics.metric import Candidate, Case, Cost, Score

EMPTY = "The map is zero everywhere."


def sparseness(case: Case, candidate: Candidate) -> Score:
    """The Gini index of |m|.

    value = sum_k (2 k - n - 1) |m|_(k) / (n sum |m|), |m|_(k) the k-th smallest of n values. 0 for a uniform map, near 1
    where a single pixel has it all.
    """
    values = np.sort(np.abs(candidate.values), axis=None)
    n, total = values.size, values.sum()
    if not total > 0:
        return Score(float("nan"), note=EMPTY)
    return Score(float(((2 * np.arange(1, n + 1) - n - 1) * values).sum() / (n * total)))


def entropy(case: Case, candidate: Candidate) -> Score:
    """The entropy of |m| as shares.

    value = -sum p log p / log n, p = |m| / sum |m|: 1 for a uniform map, 0 where a single pixel has it all.
    Deviation: divided by its largest value log n, so that maps of networks with different inputs compare; the fact
    `nats` is the paper's number.
    """
    shares = _shares(candidate)
    if shares is None:
        return Score(float("nan"), note=EMPTY)
    nats = float(-(shares * np.log(shares)).sum())
    return Score(min(1.0, max(0.0, nats / np.log(candidate.values.size))), facts={"nats": nats})


def effective_pixels(case: Case, candidate: Candidate) -> Score:
    """How many pixels of equal weight would be as spread out.

    value = (sum |m|)^2 / sum m^2, the participation ratio: n for a uniform map of n pixels, 1 for a single pixel. It does
    not depend on the map's unit, as counting pixels above a fixed threshold does. Fact `share`: of all pixels.
    """
    shares = _shares(candidate)
    if shares is None:
        return Score(float("nan"), note=EMPTY)
    count = float(1 / (shares**2).sum())
    return Score(count, facts={"share": count / candidate.values.size})


def _shares(candidate: Candidate):
    values = np.abs(candidate.values).ravel()
    values = values[values > 0]
    return values / values.sum() if values.size else None


def no_pass(options) -> Cost:
    return Cost()
