"""How the score changes when only the parts of the picture that the map marks are visible."""

from collections.abc import Generator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from xai_core.metrics.faithfulness.substrates import Substrate, substrate_image
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


def mask_of(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The map as a mask in [0, 1]: negative values become 0, the largest value 1. A map without any positive value hides
    everything."""
    positive = np.clip(values, 0, None)
    mask: NDArray[np.float32] = (positive / (positive.max() or 1.0)).astype(np.float32)
    return mask


def average_drop(
    case: Case, candidate: Candidate, *, substrate: Substrate = "zero", score: ScoreKind = "confidence"
) -> MetricGenerator:
    """The share of the score that is lost when the picture is seen through its map.

    value = max(0, f(x) - f(x m + s (1 - m))) / f(x), m = max(map, 0) / max(map), s the substrate. At least 0. The mean over
    a folder is the average drop (in the paper in percent).
    Deviations: published code multiplies the normalised tensor, which is the substrate "dataset mean" here, and stretches
    maps from their minimum to their maximum, which turns the weakest evidence, or all evidence against, into none.
    Undefined where f(x) is not positive, as may be the case for a similarity.
    """
    original, masked = yield from _masked_score(case, candidate, substrate, score)
    facts = {"plain": original, "masked": masked}
    if original > 0:
        return MetricResult(max(0.0, original - masked) / original, facts=facts)
    return MetricResult(
        float("nan"), facts=facts, note="The score of the picture is not positive: no share of it can be lost."
    )


def increase_in_confidence(
    case: Case, candidate: Candidate, *, substrate: Substrate = "zero", score: ScoreKind = "confidence"
) -> MetricGenerator:
    """Whether the score rises when the picture is seen through its map.

    value = 1 where f(x m + s (1 - m)) > f(x) by more than rounding (1e-5 of f(x)), else 0; mask and substrate as for the
    average drop. The mean over a folder is the share of pictures whose score rises.
    """
    original, masked = yield from _masked_score(case, candidate, substrate, score)
    return MetricResult(float(_rises(original, masked)), facts={"plain": original, "masked": masked})


def average_gain(
    case: Case, candidate: Candidate, *, substrate: Substrate = "zero", score: ScoreKind = "confidence"
) -> MetricGenerator:
    """How much the score rises when the picture is seen through its map, as a share of the rise that is possible.

    value = max(0, f(x m + s (1 - m)) - f(x)) / (1 - f(x)), in [0, 1]; mask and substrate as for the average drop. Only for
    scores from 0 to 1: with score "asked" of a logit it has no meaning, and is undefined from 1 upwards.
    """
    original, masked = yield from _masked_score(case, candidate, substrate, score)
    facts = {"plain": original, "masked": masked}
    if not _rises(original, masked):
        return MetricResult(0.0, facts=facts)
    if original >= 1:
        return MetricResult(float("nan"), facts=facts, note="The score is 1 or above: it cannot rise any further.")
    return MetricResult((masked - original) / (1 - original), facts=facts)


def _masked_score(
    case: Case, candidate: Candidate, substrate: str, score: str
) -> Generator[Sequence[ScoreQuery], list[Scores], tuple[float, float]]:
    """The scores of the picture and of the picture seen through its map."""
    target, covered = case.score_target(score), substrate_image(case, substrate)
    mask = torch.from_numpy(mask_of(candidate.values)).to(case.image)
    key = ("masked", candidate.name, substrate)
    query = ScoreQuery(1, lambda rows: torch.lerp(covered, case.image, mask), target, key=key)
    (original,), (masked,) = yield [case.original(target), query]
    return float(original), float(masked)


def _rises(original: float, masked: float) -> bool:
    return masked - original > 1e-5 * abs(original)


def masked_cost(options: OptionValues) -> PassCost:
    return PassCost(own=1, shared=1)
