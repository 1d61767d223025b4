"""How concentrated a map is, whether it is right or wrong: computed from |m| at the network's resolution, without passes."""

import numpy as np
from numpy.typing import NDArray

from xai_core.metrics.metric import Candidate, Case, MetricResult, OptionValues, PassCost

EMPTY = "The map is zero everywhere."


def sparseness(case: Case, candidate: Candidate) -> MetricResult:
    """The Gini index of |m|.

    value = sum_k (2 k - n - 1) |m|_(k) / (n sum |m|), |m|_(k) the k-th smallest of n values, in [0, 1]. 0 for a uniform map,
    near 1 where a single pixel holds everything.
    """
    values = np.sort(np.abs(candidate.values), axis=None)
    n, total = values.size, values.sum()
    if not total > 0:
        return MetricResult(float("nan"), note=EMPTY)
    return MetricResult(float(((2 * np.arange(1, n + 1) - n - 1) * values).sum() / (n * total)))


def entropy(case: Case, candidate: Candidate) -> MetricResult:
    """The entropy of |m|, normalised to a sum of 1.

    value = -sum p log p / log n, p = |m| / sum |m|, in [0, 1]: 1 for a uniform map, 0 where a single pixel holds everything.
    Deviation: divided by its largest value log n, so that maps of networks with different input sizes can be compared; the
    fact `nats` is the number as the paper defines it.
    """
    shares = _shares(candidate)
    if shares is None:
        return MetricResult(float("nan"), note=EMPTY)
    nats = float(-(shares * np.log(shares)).sum())
    return MetricResult(min(1.0, max(0.0, nats / np.log(candidate.values.size))), facts={"nats": nats})


def effective_pixels(case: Case, candidate: Candidate) -> MetricResult:
    """The number of pixels of equal weight that would be as spread out as the map.

    value = (sum |m|)^2 / sum m^2, the participation ratio, in pixels: n for a uniform map of n pixels, 1 for a single pixel.
    Unlike a count of the pixels above a fixed threshold it does not depend on the map's unit. Fact `share`: the value as a
    share of all pixels.
    """
    shares = _shares(candidate)
    if shares is None:
        return MetricResult(float("nan"), note=EMPTY)
    count = float(1 / (shares**2).sum())
    return MetricResult(count, facts={"share": count / candidate.values.size})


def _shares(candidate: Candidate) -> NDArray[np.float64] | None:
    """The positive values of |m| as shares of their sum; None for a map that is zero everywhere."""
    values = np.abs(candidate.values).ravel()
    values = values[values > 0]
    return values / values.sum() if values.size else None


def no_cost(options: OptionValues) -> PassCost:
    return PassCost()
