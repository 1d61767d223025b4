"""Selective prediction: which error rate is left where a network answers only if it is confident enough.

Coverage is the share of pictures that are answered, risk the share of wrong answers among these. Both are of all pictures
given, whatever is listed elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.failures.halves import halves
from xai_core.failures.plan import PlannedAction


@dataclass(frozen=True)
class RiskCoverage:
    """The risk at every coverage that a threshold can reach.

    points      a row for each distinct confidence, the highest first: `threshold`, `answered` (pictures with at least this
                confidence), `wrong` (of them), `coverage`, `risk`
    area        the mean risk over the pictures, in the order of their confidence (AURC). Pictures of equal confidence share
                their errors evenly, which is the mean over all their orders
    best_area   the least area that any order of these answers has: all right ones before the wrong ones
    """

    points: pd.DataFrame
    area: float
    best_area: float


@dataclass(frozen=True)
class Abstention:
    """A threshold that was chosen on one half of the pictures, and measured on the other one.

    threshold   of the confidence; infinite where no threshold reaches the wanted error rate, so that nothing is answered
    chosen_on, measured_on    the places of the pictures of both halves
    measured    measured on the second half, a row for all pictures ("all") and one for each group: `pictures`, `answered`,
                `wrong`, `coverage`, `risk` with its Wilson interval (95%) `low` to `high`, and `risk without`, where
                everything is answered. A risk of no answer is not a number
    reason      what was found, in one sentence
    seed        of the halves
    """

    wanted: float
    threshold: float
    chosen_on: NDArray[np.int64]
    measured_on: NDArray[np.int64]
    measured: pd.DataFrame
    reason: str
    seed: int


def risk_coverage(
    confidence: Sequence[float] | NDArray[np.floating], right: Sequence[bool] | NDArray[np.bool_]
) -> RiskCoverage:
    """The curve of n answers with these confidences. Raises BadRequest where there are none, or they do not fit together."""
    scores, hits = _checked(confidence, right)
    order = np.argsort(-scores, kind="stable")
    ordered, wrong = scores[order], ~hits[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # the last picture of each confidence
    answered, errors = ends + 1, wrong.cumsum()[ends]
    points = pd.DataFrame(
        {"threshold": ordered[ends], "answered": answered, "wrong": errors, "coverage": answered / len(ordered),
         "risk": errors / answered}
    )  # fmt: skip
    steps = np.arange(1, len(ordered) + 1)
    shared = np.interp(steps, np.append(0, answered), np.append(0, errors))
    best = np.maximum(steps - hits.sum(), 0)
    return RiskCoverage(points, float((shared / steps).mean()), float((best / steps).mean()))


def abstain(
    confidence: Sequence[float] | NDArray[np.floating],
    right: Sequence[bool] | NDArray[np.bool_],
    wanted: float,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Abstention:
    """The lowest threshold whose risk is at most `wanted` on a random half of the pictures, measured on the other half.

    `groups` (a class, a cluster) are measured with this one threshold. The measured risk may be above the wanted one: its
    interval says how far. Raises BadRequest for fewer than two pictures.
    """
    scores, hits = _checked(confidence, right)
    if not 0 <= wanted < 1:
        raise BadRequest(f"The wanted error rate is {wanted}; it is a share, from 0 to less than 1.")
    if groups is not None and len(groups) != len(scores):
        raise BadRequest(f"There are {len(scores):,} answers and {len(groups):,} groups; each answer needs one.")
    if len(scores) < 2:
        raise BadRequest("A threshold is chosen on some pictures and measured on others: it needs at least two.")
    first, second = halves(len(scores), seed)
    points = risk_coverage(scores[first], hits[first]).points
    fitting = points.loc[points["risk"] <= wanted, "threshold"]
    threshold = float(fitting.min()) if len(fitting) else float("inf")
    names = np.array(["all"] * len(second)) if groups is None else np.array([str(group) for group in groups])[second]
    table = pd.DataFrame({"answered": scores[second] >= threshold, "error": ~hits[second], "group": names})
    parts = [_measured("all", table)]
    if groups is not None:
        parts += [_measured(str(name), part) for name, part in table.groupby("group")]
    measured = pd.DataFrame(parts)
    return Abstention(wanted, threshold, first, second, measured, _in_words(wanted, threshold, measured.iloc[0]), seed)


def actions(
    result: Abstention, confidence: Sequence[float] | NDArray[np.floating], paths: Sequence[str]
) -> list[PlannedAction]:
    """The action that follows from a threshold: pictures below it, the least confident first, go to a person. None where the
    threshold answers nothing, asks nobody, or has no lower error rate on the held-out half."""
    scores, row = np.asarray(confidence, np.float64), result.measured.iloc[0]
    below = np.flatnonzero(scores < result.threshold)
    if not np.isfinite(result.threshold) or not len(below) or not row["risk"] < row["risk without"]:
        return []
    order = below[np.argsort(scores[below], kind="stable")]
    reason = (
        f"The threshold was chosen on one half of the pictures for an error rate of {result.wanted:.1%}; "
        f"{len(below):,} of all {len(scores):,} pictures are below it."
    )
    columns = {"confidence": tuple(float(value) for value in scores[order])}
    settings = {"wanted error rate": result.wanted, "threshold": result.threshold, "seed": result.seed}
    title = f"Ask a person where the confidence is below {result.threshold:.3f}"
    return [PlannedAction("abstain", title, reason, result.reason, tuple(paths[i] for i in order), columns, settings)]


def _measured(group: str, rows: pd.DataFrame) -> dict[str, str | int | float]:
    from statsmodels.stats.proportion import proportion_confint

    answered, wrong = int(rows["answered"].sum()), int((rows["answered"] & rows["error"]).sum())
    low, high = proportion_confint(wrong, answered, alpha=0.05, method="wilson") if answered else (np.nan, np.nan)
    return {
        "group": group, "pictures": len(rows), "answered": answered, "wrong": wrong, "coverage": answered / len(rows),
        "risk": wrong / answered if answered else np.nan, "low": float(low), "high": float(high),
        "risk without": float(rows["error"].mean()),
    }  # fmt: skip


def _in_words(wanted: float, threshold: float, row: "pd.Series[float]") -> str:
    if not np.isfinite(threshold):
        return f"No threshold of the confidence has an error rate of {wanted:.1%} or less: nothing would be answered."
    if not row["answered"]:
        return f"No picture of the other half has a confidence of {threshold:.3f}, the threshold for {wanted:.1%} errors."
    return (
        f"With answers from a confidence of {threshold:.3f} on, {row['answered']:,} of {row['pictures']:,} held-out "
        f"pictures are answered ({row['coverage']:.1%}), and {row['risk']:.1%} of the answers are wrong "
        f"({row['low']:.1%} to {row['high']:.1%}); of all, {row['risk without']:.1%} are."
    )


def _checked(
    confidence: Sequence[float] | NDArray[np.floating], right: Sequence[bool] | NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, hits = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if scores.ndim != 1 or scores.shape != hits.shape or not len(scores):
        raise BadRequest(
            f"There are {scores.size:,} confidences and {hits.size:,} answers; each answer needs one; there must be some."
        )
    if not np.isfinite(scores).all():
        raise BadRequest("Some confidences are not finite numbers; compute the predictions again.")
    return scores, hits
