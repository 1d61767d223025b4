"""The test of groups of errors on the pictures that did not suggest them.

Some pictures are harder than others without a fault of the network that could be mended: small, dark, between two classes.
Compared with all other pictures, their groups have more errors, so that many groups pass where nothing is planted
(docs/world-tools.md has the figures). Their class does not explain that, but the network's own confidence does: it is unsure
of such pictures, and wrong as often as it says. So a group is compared with other pictures of which the network is as sure.
Where it has more errors than those, the network is wrong and does not know it: an unknown unknown (Lakkaraju et al. 2017,
arXiv:1610.09064).

The held-out pictures are cut into STRATA ranges of the confidence, of as many pictures each. Given how many pictures and how
many errors a range has, the number of errors inside a group that has no more of them than the others is hypergeometric;
over all ranges it is a sum of these, whose distribution is exact: the exact form of the Cochran-Mantel-Haenszel test, and
Fisher's exact test where there is one range.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.evaluation.significance import holm
from xai_core.failures.candidate_groups import FEWEST, LEVEL, CandidateGroup, Condition, Flags

EFFECT = 0.1  # by which the lower limit of a confirmed group's error rate is above the expected rate, at least
STRATA = 10  # ranges of the confidence, of as many held-out pictures each
COLUMNS = (
    "group", "pictures", "errors", "found on pictures", "found on errors", "tested pictures", "tested errors", "error rate",
    "low", "high", "rate outside", "rate expected", "p", "p corrected", "confirmed", "at stake", "differs",
)  # fmt: skip


def tested_table(
    chosen: Sequence[CandidateGroup],
    wrong: Flags,
    held_out: Flags,
    mapped: Flags,
    known: pd.DataFrame,
    confidence: NDArray[np.float64] | None,
) -> pd.DataFrame:
    """A row for each chosen candidate, with COLUMNS (see `ErrorGroups`). `confidence` (n,) is the probability of the
    predicted class; without it all pictures are one range."""
    from statsmodels.stats.proportion import proportion_confint

    inside = np.stack([one.inside for one in chosen])
    among = np.stack([held_out & mapped if one.among_maps else held_out for one in chosen])
    sizes, errors = inside.sum(1), (inside & wrong).sum(1)
    tested, tested_errors = (inside & among).sum(1), (inside & among & wrong).sum(1)
    of, of_errors = among.sum(1), (among & wrong).sum(1)
    p, expected = np.array([_compared(one.inside[some], wrong[some], None if confidence is None else confidence[some])
                            for one, some in zip(chosen, among, strict=True)]).T  # fmt: skip
    corrected = holm(p)
    low, high = proportion_confint(tested_errors, np.maximum(tested, 1), alpha=LEVEL, method="wilson")
    rate = np.divide(tested_errors, tested, out=np.full(len(chosen), np.nan), where=tested > 0)
    return pd.DataFrame(
        {
            "group": [one.words for one in chosen],
            "pictures": sizes,
            "errors": errors,
            "found on pictures": sizes - (inside & held_out).sum(1),
            "found on errors": errors - (inside & held_out & wrong).sum(1),
            "tested pictures": tested,
            "tested errors": tested_errors,
            "error rate": rate,
            "low": np.where(tested > 0, low, np.nan),
            "high": np.where(tested > 0, high, np.nan),
            "rate outside": (of_errors - tested_errors) / np.maximum(of - tested, 1),
            "rate expected": expected,
            "p": p,
            "p corrected": corrected,
            "confirmed": (corrected < LEVEL) & (tested >= FEWEST) & (low >= expected + EFFECT),
            "at stake": 100 * errors / len(wrong),
            "differs": [differences(known, one.inside, one.conditions) for one in chosen],
        },
        columns=list(COLUMNS),
    )


def _compared(inside: Flags, wrong: Flags, confidence: NDArray[np.float64] | None) -> tuple[float, float]:
    """p of the exact test, and the error rate that is expected of the group."""
    ranges = np.zeros(len(inside), np.int64) if confidence is None else confidence_ranges(confidence)
    return exact_p(inside, wrong, ranges), expected_rate(inside, wrong, ranges)


def confidence_ranges(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """The range (n,) of each confidence, from 0: STRATA of them with as many pictures each, fewer where many are equal."""
    limits = np.unique(np.quantile(confidence, np.arange(1, STRATA) / STRATA))
    return np.searchsorted(limits, confidence)


def exact_p(inside: Flags, wrong: Flags, ranges: NDArray[np.int64]) -> float:
    """The probability of as many errors inside as there are, or more, where within each range the errors lie anywhere."""
    from scipy.stats import hypergeom

    every = np.ones(len(ranges), bool)
    counts = [np.bincount(ranges[part], minlength=ranges.max(initial=0) + 1) for part in (every, wrong, inside)]
    shares = np.ones(1)
    for size, mistaken, drawn in zip(*counts, strict=True):
        if most := min(mistaken, drawn):
            shares = np.convolve(shares, hypergeom.pmf(np.arange(most + 1), size, mistaken, drawn))
    return float(min(shares[int((inside & wrong).sum()) :].sum(), 1))


def expected_rate(inside: Flags, wrong: Flags, ranges: NDArray[np.int64]) -> float:
    """The error rate of the pictures outside, with the ranges weighted as the pictures inside are in them. Ranges with none
    outside are left out; not a number where no range is left."""
    outside = np.bincount(ranges[~inside], minlength=ranges.max(initial=0) + 1)
    mistaken = np.bincount(ranges[~inside & wrong], minlength=len(outside))
    weights = np.bincount(ranges[inside], minlength=len(outside)) * (outside > 0)
    return float(weights @ (mistaken / np.maximum(outside, 1)) / weights.sum()) if weights.any() else float("nan")


def differences(known: pd.DataFrame, inside: Flags, conditions: Sequence[Condition] = (), most: int = 3) -> str:
    """What pictures inside a group have more often than those outside: 'time night 88% (outside 30%)', the largest
    differences first, without the group's own conditions."""
    if not inside.any() or inside.all():
        return ""
    own = {name for name, _ in conditions}
    found = []
    for name in known.columns:
        if name in own:
            continue
        values, codes = known[name].cat.categories, known[name].cat.codes.to_numpy()
        within, without = (
            np.bincount(codes[part], minlength=len(values)) / np.count_nonzero(part) for part in (inside, ~inside)
        )
        most_apart = int((within - without).argmax())
        words = f"{name} {values[most_apart]} {within[most_apart]:.0%} (outside {without[most_apart]:.0%})"
        found.append((within[most_apart] - without[most_apart], words))
    return ", ".join(words for difference, words in sorted(found, reverse=True)[:most] if difference > 0)
