"""Scores while the pixels of a picture go or come in the order of a map."""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from xai_core.core.options import Range
from xai_core.explanation.targets import Target
from xai_core.metrics.faithfulness.pixel_ranking import ranks, ties
from xai_core.metrics.faithfulness.substrates import Scored, Substrate, measured, mixed, substrate_image
from xai_core.metrics.metric import Asking, Candidate, Case, Cost, Pictures, Score

Steps = Annotated[int, Range(2, 1000), "equal steps from the first pixel to the last"]
PixelsAStep = Annotated[int, Range(0, 50000), "pixels a step; 0 takes equal steps instead"]
FLAT = "The map is the same everywhere: the order of its pixels is the tie rule's alone."


def step_counts(pixels: int, steps: int, a_step: int) -> NDArray[np.int64]:
    """How many pixels are changed at each point of a curve, 0 and all of them included."""
    if a_step:
        return np.unique(np.r_[np.arange(0, pixels, a_step), pixels])
    return np.unique(np.round(np.linspace(0, pixels, steps + 1)).astype(np.int64))


def area(curve: NDArray) -> float:
    """The area under a curve (n, 2) by trapezoids, over the width that it covers."""
    return float(np.trapezoid(curve[:, 1], curve[:, 0]) / (curve[-1, 0] - curve[0, 0]))


def deletion(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "zero",
    steps: Steps = 16,
    pixels: PixelsAStep = 0,
    score: Scored = "confidence",
) -> Asking:
    """The score while the most relevant pixels are taken away, as the area under its curve.

    value = area by trapezoids under f(x with its k most relevant pixels replaced by the substrate), over k / (H W) from 0
    to 1. Substrates are in pixel space: the paper's code writes zeros into the normalised tensor, which is "dataset mean"
    here, with 224 pixels a step.
    Facts: `ties` is the share of pixels that have an equal in the map, `tied points` the share of points that depend on the
    tie rule, `tie effect` the value minus what it would be with straight lines past those points.
    """
    return _played(case, candidate, "plain", substrate, steps, pixels, score)


def insertion(
    case: Case,
    candidate: Candidate,
    *,
    substrate: Substrate = "blur",
    steps: Steps = 16,
    pixels: PixelsAStep = 0,
    score: Scored = "confidence",
) -> Asking:
    """The score while the most relevant pixels come back, as the area under its curve.

    value = area by trapezoids under f(substrate with the picture's k most relevant pixels), over k / (H W) from 0 to 1.
    The paper's code starts from a light blur ("published blur") and has 224 pixels a step; through that blur much can
    still be recognised, hence the stronger default. Facts as for deletion.
    """
    return _played(case, candidate, substrate, "plain", steps, pixels, score)


def _played(case: Case, candidate: Candidate, start: str, end: str, steps: int, a_step: int, score: str) -> Asking:
    order = ranks(candidate.values, case.seed)
    counts = step_counts(order.size, steps, a_step)
    scores = yield from followed(case, start, end, order, counts, measured(case, score))
    curve = np.column_stack([counts / order.size, scores])
    return Score(area(curve), curve, tie_facts(candidate.values, counts, curve), flat_note(candidate))


def followed(case: Case, start: str, end: str, order: NDArray, counts: NDArray, target: Target):
    """The target's values (n,) while `start` becomes `end`, each "plain" or a substrate: at point i the places below
    counts[i] of the order (H, W) are changed. Several pixels may have one place; counts begin at 0."""
    images = [case.image if kind == "plain" else substrate_image(case, kind) for kind in (start, end)]
    places, amounts = (torch.from_numpy(array).to(case.image.device) for array in (order, counts))
    whole = counts[-1] > order.max()  # the last point is the end itself: as the first, the same for all maps
    asked = [(kind, image) for kind, image in zip((start, end)[: 1 + whole], images, strict=False)]
    ends = [Pictures(1, lambda rows, image=image: image, target, key=("substrate", kind)) for kind, image in asked]
    ends = [case.plain(target) if kind == "plain" else ask for (kind, _), ask in zip(asked, ends, strict=True)]
    inner = amounts[1 : len(amounts) - whole]
    between = Pictures(len(inner), lambda rows: mixed(*images, places, inner[rows.start : rows.stop]), target)
    first, *last, middle = yield [*ends, between]
    return np.concatenate([first, middle, *last])


def tie_facts(values: NDArray, counts: NDArray, curve: NDArray) -> dict[str, float]:
    """What ties do to a curve: see `deletion`."""
    share, tied = ties(values, counts)
    straight = np.column_stack([curve[:, 0], np.interp(curve[:, 0], *curve[~tied].T)])
    return {"ties": share, "tied points": float(tied.mean()), "tie effect": area(curve) - area(straight)}


def flat_note(candidate: Candidate) -> str:
    """What is to be said of a map without an order."""
    return "" if np.ptp(candidate.values) > 0 else FLAT


def curve_cost(options) -> Cost:
    """For a picture of 224 x 224 where steps are counted in pixels."""
    points = len(step_counts(224 * 224, options["steps"], options["pixels"]))
    return Cost(own=points - 2, shared=2)
