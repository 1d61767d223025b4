"""What is left of a score when the picture is seen through its map."""

import numpy as np
import torch
from numpy.typing import NDArray

from xai_core.metrics.faithfulness.substrates import Scored, Substrate, measured, substrate_image
from xai_core.metrics.metric import Asking, Candidate, Case, Cost, Pictures, Score


def mask_of(values: NDArray) -> NDArray[np.float32]:
    """The map as a mask in [0, 1]: evidence against counts as none, and the largest evidence as 1. A map without any
    positive evidence shows nothing."""
    positive = np.clip(values, 0, None)
    return (positive / (positive.max() or 1.0)).astype(np.float32)


def average_drop(case: Case, candidate: Candidate, *, substrate: Substrate = "zero", score: Scored = "confidence") -> Asking:
    """The share of the score that is lost when the picture is seen through its map.

    value = max(0, f(x) - f(x m + s (1 - m))) / f(x), m = max(map, 0) / max(map), s the substrate. Over a folder its mean is
    the average drop (in the paper in percent).
    Deviations: published code multiplies the normalised tensor, which is the substrate "dataset mean" here; and stretches
    maps from their minimum to their maximum, which makes the weakest evidence, or all evidence against, into none.
    Undefined where f(x) is not positive, as a similarity may be.
    """
    plain, seen = yield from _masked(case, candidate, substrate, score)
    return _if_positive(plain, lambda: max(0.0, plain - seen) / plain, seen)


def increase_in_confidence(
    case: Case, candidate: Candidate, *, substrate: Substrate = "zero", score: Scored = "confidence"
) -> Asking:
    """Whether the score rises when the picture is seen through its map.

    value = 1 where f(x m + s (1 - m)) > f(x) by more than rounding (1e-5 of f(x)), else 0; mask and substrate as for the
    average drop. Over a folder its mean is the share of pictures that rise.
    """
    plain, seen = yield from _masked(case, candidate, substrate, score)
    return Score(float(_rises(plain, seen)), facts={"plain": plain, "masked": seen})


def average_gain(case: Case, candidate: Candidate, *, substrate: Substrate = "zero", score: Scored = "confidence") -> Asking:
    """How much of the room above the score is gained when the picture is seen through its map.

    value = max(0, f(x m + s (1 - m)) - f(x)) / (1 - f(x)); mask and substrate as for the average drop. Only for scores
    from 0 to 1: with score "asked" of a logit it means nothing, and is undefined from 1 upwards.
    """
    plain, seen = yield from _masked(case, candidate, substrate, score)
    facts = {"plain": plain, "masked": seen}
    if not _rises(plain, seen):
        return Score(0.0, facts=facts)
    if plain >= 1:
        return Score(float("nan"), facts=facts, note="The score is 1 or above: there is no room to gain.")
    return Score((seen - plain) / (1 - plain), facts=facts)


def _masked(case: Case, candidate: Candidate, substrate: str, score: str):
    target, covered = measured(case, score), substrate_image(case, substrate)
    mask = torch.from_numpy(mask_of(candidate.values)).to(case.image)
    seen = Pictures(1, lambda rows: torch.lerp(covered, case.image, mask), target, key=("masked", candidate.name, substrate))
    (plain,), (masked,) = yield [case.plain(target), seen]
    return float(plain), float(masked)


def _rises(plain: float, seen: float) -> bool:
    return seen - plain > 1e-5 * abs(plain)


def _if_positive(plain: float, compute, seen: float) -> Score:
    facts = {"plain": plain, "masked": seen}
    if plain > 0:
        return Score(compute(), facts=facts)
    return Score(
        float("nan"), facts=facts, note="The score of the plain picture is not positive: no share of it can be lost."
    )


def one_more(options) -> Cost:
    return Cost(own=1, shared=1)
