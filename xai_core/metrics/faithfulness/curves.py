"""The score while the pixels of a picture are removed or restored in the order of a map."""

from collections.abc import Generator, Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.options import Range
from xai_core.explanation.targets import Target
from xai_core.metrics.faithfulness.pixel_ranking import ranks, ties
from xai_core.metrics.faithfulness.substrates import Substrate, replaced, substrate_image
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

Steps = Annotated[int, Range(2, 1000), "number of equal steps from the first pixel to the last"]
PixelsPerStep = Annotated[int, Range(0, 50000), "pixels in each step; 0: the number of equal steps counts instead"]
ORIGINAL = "original"  # the picture itself, where a substrate could stand
UNIFORM = "The map is the same everywhere: the order of its pixels is that of the random draws that break ties."


def step_counts(pixels: int, steps: int, pixels_per_step: int) -> NDArray[np.int64]:
    """How many pixels are changed at each point of a curve, 0 and all of them included."""
    if pixels_per_step:
        return np.unique(np.r_[np.arange(0, pixels, pixels_per_step), pixels])
    return np.unique(np.round(np.linspace(0, pixels, steps + 1)).astype(np.int64))


def area(curve: NDArray[np.float64]) -> float:
    """The area under a curve (n, 2) by trapezoids, divided by the width that it covers."""
    return float(np.trapezoid(curve[:, 1], curve[:, 0]) / (curve[-1, 0] - curve[0, 0]))


def deletion(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    steps: Steps = 16,
    pixels: PixelsPerStep = 0,
    score: ScoreKind = "confidence",
) -> MetricGenerator:
    """The score while the most relevant pixels are removed, as the area under its curve.

    value = area by trapezoids under f(x with its k most relevant pixels replaced by the substrate), over k / (H W) from 0
    to 1; in the unit of the score. Substrates are in pixel space: the paper's code writes zeros into the normalised tensor,
    which is "dataset mean" here, with 224 pixels a step.
    Facts: `ties` is the share of pixels whose value occurs more than once in the map, `tied points` the share of points that
    depend on how ties are broken, `tie effect` the value minus what it would be with straight lines past those points.
    """
    return _curve_area(case, candidate, ORIGINAL, substrate, steps, pixels, score)


def insertion(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "blur",
    steps: Steps = 16,
    pixels: PixelsPerStep = 0,
    score: ScoreKind = "confidence",
) -> MetricGenerator:
    """The score while the most relevant pixels are restored, as the area under its curve.

    value = area by trapezoids under f(substrate with the picture's k most relevant pixels), over k / (H W) from 0 to 1; in
    the unit of the score. The paper's code starts from a light blur ("published blur") and has 224 pixels a step; through
    that blur much can still be recognised, hence the stronger default. Facts as for deletion.
    """
    return _curve_area(case, candidate, substrate, ORIGINAL, steps, pixels, score)


def _curve_area(
    case: Case, candidate: Candidate, start: str, end: str, steps: int, pixels_per_step: int, score: str
) -> MetricGenerator:
    order = ranks(candidate.values, case.seed)
    counts = step_counts(order.size, steps, pixels_per_step)
    scores = yield from scores_along(case, start, end, order, counts, case.score_target(score))
    curve = np.column_stack([counts / order.size, scores])
    return MetricResult(area(curve), curve, tie_facts(candidate.values, counts, curve), uniform_note(candidate))


def scores_along(
    case: Case, start: str, end: str, order: NDArray[np.int64], counts: NDArray[np.int64], target: Target
) -> Generator[Sequence[ScoreQuery], list[Scores], Scores]:
    """The target's values (n,) while `start` becomes `end`, each ORIGINAL or a substrate: at point i the pixels whose place
    in the order (H, W) is below counts[i] are replaced. Several pixels may have one place; counts begin at 0."""
    first, last = (case.image if kind == ORIGINAL else substrate_image(case, kind) for kind in (start, end))
    places, amounts = (torch.from_numpy(array).to(case.image.device) for array in (order, counts))
    complete = bool(counts[-1] > order.max())  # then the last point is `end` itself: like the first, the same for all maps
    inner = amounts[1 : len(amounts) - complete]

    def make(rows: range) -> Tensor:
        return replaced(first, last, places, inner[rows.start : rows.stop])

    ends = [_end_query(case, start, first, target)] + [_end_query(case, end, last, target)] * complete
    first_score, *last_score, inner_scores = yield [*ends, ScoreQuery(len(inner), make, target)]
    return np.concatenate([first_score, inner_scores, *last_score])


def _end_query(case: Case, kind: str, image: Tensor, target: Target) -> ScoreQuery:
    """The query for an end of a curve, which all maps share."""
    return case.original(target) if kind == ORIGINAL else ScoreQuery(1, lambda rows: image, target, ("substrate", kind))


def tie_facts(values: NDArray[np.float64], counts: NDArray[np.int64], curve: NDArray[np.float64]) -> dict[str, float]:
    """How ties affect a curve: the facts of `deletion`."""
    share, tied = ties(values, counts)
    straight = np.column_stack([curve[:, 0], np.interp(curve[:, 0], *curve[~tied].T)])
    return {"ties": share, "tied points": float(tied.mean()), "tie effect": area(curve) - area(straight)}


def uniform_note(candidate: Candidate) -> str:
    """The note for a map without an order; empty for any other."""
    return "" if np.ptp(candidate.values) > 0 else UNIFORM


def curve_cost(options: OptionValues) -> PassCost:
    """For a picture of 224 x 224 where steps are counted in pixels."""
    points = len(step_counts(224 * 224, options["steps"], options["pixels"]))
    return PassCost(own=points - 2, shared=2)
