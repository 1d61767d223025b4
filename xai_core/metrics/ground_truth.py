"""Whether a map shows what a prediction depends on: for drawn pictures, whose parts can be taken away.

The effect of a part is the fall of the score when it is taken away and the picture is drawn again (`data/scene_parts.py`):
an intervention, as FunnyBirds makes them (Hesse et al. 2023, arXiv:2308.06248); no pixels are covered or blurred. Parts are
those of what the picture shows, other things, the mark, and the background (whose effect is that of plain grey ground). A
part's mass is the sum of the map over it, each pixel by how much of it the part covers.
"""

import itertools
from collections.abc import Generator, Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.options import Choice, Range
from xai_core.data.scene_parts import SceneParts
from xai_core.data.world.scene import MARK
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

USUAL_PARTS = 9  # of a picture, for estimates of costs
PARTS, PAIRS = "parts", "pairs"
Removals = Sequence[tuple[str, ...]]
Effects = Generator[Sequence[ScoreQuery], list[Scores], NDArray[np.float64]]


def part_correlation(
    case: Case,
    candidate: Candidate,
    *,
    sets: Annotated[str, Choice((PARTS, PAIRS)), "what is taken away in one step: each part, or each pair of parts"] = PARTS,
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """How well the map orders the parts by what taking them away does.

    value = Spearman's rank correlation, over the parts (or the pairs of them), of the map's mass and of the effect; tied
    values get their mean rank. 1: the same order. A map of magnitudes cannot tell parts that speak against the target from
    those that speak for it, which counts against it here. NaN where all masses or all effects are equal, or with fewer than
    three parts. Facts: the number of parts, the largest effect.
    """
    parts = case.scene_parts()
    removals = _removals(parts, sets)
    effects = yield from _effects(case, parts, removals, score)
    masses = _masses(parts, candidate)
    sums = np.array([sum(masses[name] for name in names) for names in removals])
    return rank_correlation(sums, effects)._replace(facts=_facts(parts, effects))


def part_mean_correlation(
    case: Case,
    candidate: Candidate,
    *,
    sets: Annotated[str, Choice((PARTS, PAIRS)), "what is taken away in one step: each part, or each pair of parts"] = PARTS,
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """How well the map's means over the parts order them by what taking them away does.

    value = Spearman's rank correlation as in `part_correlation`, of the map's mean over each part (over both of a pair)
    instead of its mass. A mass grows with the size of the part, and large parts tend to have large effects: by masses a map
    that only tells large parts from small ones is above 0. A mean does not grow with the size. NaN for a uniform map too,
    whose means are all equal. Facts: the number of parts, the largest effect.
    """
    parts = case.scene_parts()
    removals = _removals(parts, sets)
    effects = yield from _effects(case, parts, removals, score)
    areas = parts.masks.sum((1, 2), dtype=np.float64)
    masses = np.einsum("khw,hw->k", parts.masks, candidate.values, dtype=np.float64, optimize=True)
    places = [[parts.names.index(name) for name in names] for names in removals]
    means = np.array([masses[part].sum() / areas[part].sum() for part in places])
    means = np.round(means / (np.abs(means).max() or 1.0), 9)  # equal means stay equal whatever the rounding of their sums
    return rank_correlation(means, effects)._replace(facts=_facts(parts, effects))


def top_part(case: Case, candidate: Candidate, *, score: ScoreKind = "asked") -> MetricGenerator:
    """Whether the part with the most mass is the one whose removal lowers the score most.

    value = 1 where it is, else 0; where several parts share the largest mass, the share of them that are it. NaN where no
    removal lowers the score. Over many pictures: how often the map names the right part first. Fact: the largest effect.
    """
    parts = case.scene_parts()
    effects = yield from _effects(case, parts, [(name,) for name in parts.names], score)
    masses = np.array([*_masses(parts, candidate).values()])
    return top_part_found(masses, effects)._replace(facts={"largest effect": float(effects.max())})


def mark_found(
    case: Case,
    candidate: Candidate,
    *,
    used: Annotated[
        float, Range(0.01, 1.0, 0.01), "share of the largest effect that the mark's effect must reach to count as used"
    ] = 0.1,
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """Whether the map shows a mark on which the prediction depends.

    value = 1 where the mean of the map over the mark is higher than over every other part, else 0; where others share the
    highest mean, one over their number. Means, not masses, because a mark is small. NaN without a mark, and where the
    network does not use it: where its effect is below the share `used` of the largest effect of a part. Facts: the effect
    of the mark, the largest effect.
    """
    parts = case.scene_parts()
    if MARK not in parts.names:
        return MetricResult(float("nan"), note="There is no mark in this picture.")
    effects = yield from _effects(case, parts, [(name,) for name in parts.names], score)
    place = parts.names.index(MARK)
    facts = {"effect of the mark": float(effects[place]), "largest effect": float(effects.max())}
    if not effects[place] > 0 or effects[place] < used * effects.max():
        return MetricResult(float("nan"), facts=facts, note="The network does not use the mark here.")
    means = np.array([*_masses(parts, candidate).values()]) / parts.masks.sum((1, 2), dtype=np.float64)
    highest = np.isclose(means, means.max(), rtol=1e-9, atol=0)
    return MetricResult(float(highest[place] / highest.sum()), facts=facts)


def evidence_in_what_matters(
    case: Case,
    candidate: Candidate,
    *,
    share: Annotated[
        float, Range(0.01, 1.0, 0.01), "share of the largest effect that a part's effect must reach for the part to matter"
    ] = 0.1,
    score: ScoreKind = "asked",
) -> MetricGenerator:
    """The share of the map's positive evidence that lies in the parts that matter.

    value = sum of max(m, 0) over the parts whose effect is at least `share` of the largest / sum of max(m, 0), in [0, 1].
    A uniform map scores the share of the picture that these parts cover, which is a fact. NaN where no removal lowers the
    score, or the map has no positive evidence.
    """
    parts = case.scene_parts()
    effects = yield from _effects(case, parts, [(name,) for name in parts.names], score)
    if not effects.max() > 0:
        return MetricResult(float("nan"), note="Taking any part away leaves the score as high as it was.")
    matters = parts.masks[effects >= share * effects.max()].sum(0)
    facts = {"share of the picture that matters": float(matters.mean())}
    positive = np.clip(candidate.values, 0, None)
    if not positive.any():
        return MetricResult(float("nan"), facts=facts, note="The map has no positive evidence.")
    return MetricResult(float((positive * matters).sum() / positive.sum()), facts=facts)


def part_completeness(case: Case, candidate: Candidate, *, score: ScoreKind = "asked") -> MetricGenerator:
    """How far the map's sum is from what taking all parts away does.

    value = |sum of the raw map - effect of taking all away| / |that effect|, as `completeness_error` with the empty scene as
    baseline. 0 for a map that distributes the whole effect. Only maps in units of the score can reach it; for others the
    value says nothing. Facts: the sum, the effect.
    """
    parts = case.scene_parts()
    (effect,) = yield from _effects(case, parts, [parts.names], score)
    total = float(candidate.raw.astype(np.float64).sum())
    facts = {"sum": total, "effect of all": float(effect)}
    if not effect:
        return MetricResult(float("nan"), facts=facts, note="Taking all parts away changes nothing.")
    return MetricResult(abs(total - float(effect)) / abs(float(effect)), facts=facts)


def _removals(parts: SceneParts, sets: str) -> list[tuple[str, ...]]:
    """Every part, or every pair of parts."""
    return list(itertools.combinations(parts.names, 1 if sets == PARTS else 2))


def _facts(parts: SceneParts, effects: NDArray[np.float64]) -> dict[str, float]:
    return {"parts": float(len(parts.names)), "largest effect": float(effects.max())}


def rank_correlation(masses: NDArray[np.float64], effects: NDArray[np.float64]) -> MetricResult:
    """Spearman's rank correlation of what a map gives each part (its mass or its mean) with the parts' effects."""
    from scipy.stats import rankdata

    if len(masses) < 3:
        return MetricResult(float("nan"), note="The network sees fewer than three parts of this picture.")
    if _equal(masses) or _equal(effects):
        what = "The map gives every part the same." if _equal(masses) else "Taking parts away changes nothing."
        return MetricResult(float("nan"), note=what)
    ranks = [rankdata(values) for values in (masses, effects)]
    return MetricResult(float(np.corrcoef(*ranks)[0, 1]))


def top_part_found(masses: NDArray[np.float64], effects: NDArray[np.float64]) -> MetricResult:
    """Whether the part with the most mass is the one with the largest effect; see `top_part`."""
    if not effects.max() > 0:
        return MetricResult(float("nan"), note="Taking any part away leaves the score as high as it was.")
    most = np.isclose(masses, masses.max(), rtol=1e-9, atol=0)
    return MetricResult(float((effects == effects.max())[most].mean()))


def _masses(parts: SceneParts, candidate: Candidate) -> dict[str, float]:
    """The map's mass in each part."""
    masses = (parts.masks * candidate.values).sum((1, 2), dtype=np.float64)
    return dict(zip(parts.names, masses.tolist(), strict=True))


def _effects(case: Case, parts: SceneParts, removals: Removals, kind: str) -> Effects:
    """The fall of the score for each set of parts that is taken away; scored once for all maps of the picture."""
    target = case.score_target(kind)

    def query(names: tuple[str, ...]) -> ScoreQuery:
        def make(rows: range) -> Tensor:
            picture = case.cached(("without", names), lambda: parts.without(names))
            return torch.stack([picture for _ in rows]).to(case.image)

        return ScoreQuery(1, make, target, key=("without", names))

    original, *rest = yield [case.original(target), *(query(names) for names in removals)]
    return np.array([float(original[0] - scores[0]) for scores in rest])


def _equal(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def parts_cost(options: OptionValues) -> PassCost:
    """For a picture of USUAL_PARTS parts."""
    pairs = options.get("sets") == PAIRS
    return PassCost(shared=1 + (USUAL_PARTS * (USUAL_PARTS - 1) // 2 if pairs else USUAL_PARTS))


def whole_cost(options: OptionValues) -> PassCost:
    return PassCost(shared=2)
