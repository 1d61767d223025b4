"""Whether a map has the properties that its kind of method guarantees."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from xai_core.core.options import Choice
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.metrics.metric import Candidate, Case, MetricGenerator, MetricResult, OptionValues, PassCost, ScoreQuery
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import Stage

AS_METHOD = "as the method"
REWRITE_PASSES = 3  # passes that rewriting a network takes


def completeness_error(
    case: Case,
    candidate: Candidate,
    *,
    baseline: Annotated[
        str,
        Choice((AS_METHOD, *BASELINES)),
        "the image to compare with; as the method: its own baseline, or black if it has none",
    ] = AS_METHOD,
) -> MetricGenerator:
    """How far the sum of the map is from the difference between the scores of the picture and of a baseline image.

    value = |sum of the raw map - (f(x) - f(x0))| / |f(x) - f(x0)|, f the number that the map explains, x0 the baseline. 0
    for a complete map. Only methods that distribute the score over the pixels guarantee this (integrated gradients,
    DeepLIFT, Shapley values, LRP); for any other map the value says nothing. Facts: the sum, and the change of the score.
    """
    kind = baseline
    if kind == AS_METHOD:
        kind = candidate.origin.options.get("baseline", "black") if candidate.origin else "black"
    start = ScoreQuery(1, lambda rows: baseline_images(case.image, kind), case.target, key=("baseline", kind))
    (original,), (empty,) = yield [case.original(case.target), start]
    total, change = float(candidate.raw.astype(np.float64).sum()), float(original - empty)
    facts = {"sum": total, "change": change}
    if not change:
        return MetricResult(float("nan"), facts=facts, note="The picture and the baseline have the same score.")
    return MetricResult(abs(total - change) / abs(change), facts=facts)


def implementation_invariance(case: Case, candidate: Candidate) -> MetricResult:
    """How much the map changes when the network is implemented differently and computes the same function.

    value = |m'(x) - m(x)| / |m(x)|, Euclidean norms of raw maps. m' is the map of a network that has relu(a + B) - B after
    each stage, with B four times the largest |a| of this picture there: the identity, with derivative 1. 0 for methods that
    depend on the function alone; gradients do, methods with rules for single layers (guided backpropagation, LRP) do not.
    Source: the axiom of Sundararajan et al. 2017, arXiv:1703.01365, here as a check on one pair of networks. Values around
    1e-4 are rounding. Fact `output`: the relative difference between the features of the two networks.
    """
    twin, change = case.cached("rewritten", lambda: rewritten(case.model, case.image))
    maps, passes = case.recompute(candidate, case.image, model=twin)
    length = np.linalg.norm(candidate.raw.astype(float))
    if not length > 0:
        note = "The map is zero everywhere: its change has no scale."
        return MetricResult(float("nan"), note=note, passes=passes + REWRITE_PASSES)
    difference = np.linalg.norm((maps[0] - candidate.raw).astype(float))
    return MetricResult(float(difference / length), facts={"output": change}, passes=passes + REWRITE_PASSES)


def rewritten(model: ExplainableModel, image: Tensor) -> tuple[ExplainableModel, float]:
    """The same function with a rectifier after every stage that never cuts anything off, and the relative change of the
    features of `image` (1, 3, H, W), which is rounding."""
    network, stages = model.network, []
    with torch.no_grad():
        activations = network.normalise(image) if network.normalise else image
        for stage in network.stages:
            activations = stage.run(activations)
            stages.append(_with_rectifier(stage, 4 * float(activations.abs().max())))
    twin = replace(model, network=replace(network, stages=tuple(stages)), fingerprint=f"{model.fingerprint} rewritten")
    before, after = (either.outputs(image).features for either in (model, twin))
    return twin, float((after - before).norm() / before.norm().clamp(min=1e-12))


def _with_rectifier(stage: Stage, shift: float) -> Stage:
    return replace(stage, run=lambda activations: torch.relu(stage.run(activations) + shift) - shift)


def completeness_cost(options: OptionValues) -> PassCost:
    return PassCost(shared=2)


def invariance_cost(options: OptionValues) -> PassCost:
    return PassCost(maps=1, shared=REWRITE_PASSES)
