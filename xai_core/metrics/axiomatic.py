"""Whether a map keeps what its kind of method promises."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from xai_core.core.options import Choice
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.metrics.metric import Asking, Candidate, Case, Cost, Pictures, Score
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import Stage

AS_METHOD = "as the method"
WRITING = 3  # passes that writing a network differently takes


def completeness_error(
    case: Case,
    candidate: Candidate,
    *,
    baseline: Annotated[
        str, Choice((AS_METHOD, *BASELINES)), "what the map is complete against; the method's own baseline, else black"
    ] = AS_METHOD,
) -> Asking:
    """How far the map's sum is from the score's change between baseline and picture.

    value = |sum of the raw map - (f(x) - f(x0))| / |f(x) - f(x0)|, f the number that the map explains. 0 for a complete map.
    Only methods that share the score out among the pixels promise this (integrated gradients, DeepLIFT, Shapley values,
    LRP); of any other map the value says nothing. Facts: the sum, and the change.
    """
    kind = baseline
    if kind == AS_METHOD:
        kind = candidate.again.options.get("baseline", "black") if candidate.again else "black"
    start = Pictures(1, lambda rows: baseline_images(case.image, kind), case.asked, key=("baseline", kind))
    (plain,), (empty,) = yield [case.plain(case.asked), start]
    total, change = float(candidate.raw.astype(np.float64).sum()), float(plain - empty)
    facts = {"sum": total, "change": change}
    if not change:
        return Score(float("nan"), facts=facts, note="The score of the baseline is that of the picture.")
    return Score(abs(total - change) / abs(change), facts=facts)


def implementation_invariance(case: Case, candidate: Candidate) -> Score:
    """How much the map changes when the network is written differently and computes the same.

    value = |m'(x) - m(x)| / |m(x)|, Euclidean norms of raw maps. m' is of the network behind each of whose stages stands
    relu(a + B) - B, with B four times the largest |a| of this picture there: the identity, with derivative 1. 0 for methods
    that depend on the function alone; gradients do, rules that look at single layers (guided backpropagation, LRP) do not.
    Source: the axiom of Sundararajan et al. 2017, arXiv:1703.01365, here as a check on one pair of networks. About 1e-4 is
    rounding. Fact `output`: how far the two networks' scores are apart, relatively.
    """
    twin, change = case.remembered("rewritten", lambda: rewritten(case.model, case.image))
    maps, passes = case.remake(candidate.again, case.image, of=twin)
    length = np.linalg.norm(candidate.raw.astype(float))
    if not length > 0:
        return Score(float("nan"), note="The map is zero everywhere: its change has no scale.", passes=passes + WRITING)
    moved = np.linalg.norm((maps[0] - candidate.raw).astype(float))
    return Score(float(moved / length), facts={"output": change}, passes=passes + WRITING)


def rewritten(model: ExplainableModel, image: Tensor) -> tuple[ExplainableModel, float]:
    """The same function with a rectifier that never cuts behind every stage, and the relative change of its features."""
    network, stages = model.network, []
    with torch.no_grad():
        activations = network.normalise(image) if network.normalise else image
        for stage in network.stages:
            activations = stage.run(activations)
            stages.append(_behind(stage, 4 * float(activations.abs().max())))
    twin = replace(model, network=replace(network, stages=tuple(stages)), fingerprint=f"{model.fingerprint} rewritten")
    before, after = (one.outputs(image).features for one in (model, twin))
    return twin, float((after - before).norm() / before.norm().clamp(min=1e-12))


def _behind(stage: Stage, shift: float) -> Stage:
    return replace(stage, run=lambda activations: torch.relu(stage.run(activations) + shift) - shift)


def completeness_cost(options) -> Cost:
    return Cost(shared=2)


def invariance_cost(options) -> Cost:
    return Cost(maps=1, shared=WRITING)
