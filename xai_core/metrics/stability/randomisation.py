"""Whether a map changes with what it claims to explain: the network's parameters, and the class."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from xai_core.core.options import Range
from xai_core.explanation import heatmaps
from xai_core.explanation.targets import ClassContrast, ClassLogit, ClassMargin, ClassProbability
from xai_core.metrics.metric import Candidate, Case, MetricResult, OptionValues, PassCost
from xai_core.metrics.stability.map_similarity import NO_COMPARISON, map_similarity
from xai_core.models.explainable import ExplainableModel

Seeds = Annotated[int, Range(1, 10), "number of untrained networks over which the value is averaged"]
ClassTarget = ClassLogit | ClassProbability | ClassMargin | ClassContrast
BINS = 100


def parameter_randomisation(
    case: Case,
    candidate: Candidate,
    *,
    steps: Annotated[
        int, Range(1, 60), "number of times that the map is computed again, the last time with all parameters random"
    ] = 5,
    seeds: Seeds = 3,
) -> MetricResult:
    """MPRT: how similar the map stays while the network is randomised from the output backwards.

    value = mean over steps and seeds of the rank correlation (on 28 x 28 cells) between the map and that of the network
    whose last k stages, with the classifier, are those of an untrained one; k grows in equal steps to all of them. In
    [-1, 1]: near 0 where the map depends on the trained parameters. The curve holds the mean correlation for each share of
    stages. Every parameter of a stage is random, including class tokens, positions and others without an initialiser of
    their own; each seed has a network of its own. BatchNorm statistics are those of noise in the untrained network.
    Deviation: stages (blocks) in place of single layers, and the mean over the curve as one number; the comparison of the
    original map with itself is not part of it.
    """
    stages = len(case.model.network.stages)
    counts = np.unique(np.round(np.linspace(0, stages, steps + 1)[1:]).astype(int))
    similarities, passes = np.full((seeds, len(counts)), np.nan), 0.0
    for seed in range(seeds):
        twin = case.twin(case.seed + seed)
        for step, count in enumerate(counts):
            maps, spent = case.recompute(candidate, case.image, model=cascaded(case.model, twin, count))
            similarities[seed, step] = map_similarity(case, candidate, maps[0])
            passes += spent
    return _averaged(similarities, counts / stages, passes)


def efficient_parameter_randomisation(case: Case, candidate: Candidate, *, seeds: Seeds = 3) -> MetricResult:
    """Efficient MPRT: how much more disordered the map becomes when all parameters are random.

    value = mean over seeds of (H(random) - H(trained)) / H(trained), H the entropy of the map's histogram of 100 bins
    between its smallest and largest value at the network's resolution. At least -1; positive where the map owes its order to
    the trained parameters.
    Source: Hedström et al. 2024, arXiv:2401.06465.
    """
    before, passes = histogram_entropy(candidate.values), 0.0
    if not before > 0:
        return MetricResult(float("nan"), note=NO_COMPARISON)
    after = []
    for seed in range(seeds):
        maps, spent = case.recompute(candidate, case.image, model=case.twin(case.seed + seed))
        after.append(histogram_entropy(heatmaps.resize(maps[0], case.size)))
        passes += spent
    facts = {"trained": before, "random": float(np.mean(after))}
    return MetricResult(float((np.mean(after) - before) / before), facts=facts, passes=passes)


def random_logit(
    case: Case,
    candidate: Candidate,
    *,
    classes: Annotated[int, Range(1, 20), "number of other classes over which the value is averaged"] = 3,
) -> MetricResult:
    """How similar the maps of this class and of other classes are.

    value = mean over other classes of the rank correlation (on 28 x 28 cells) between the map and that of the other class,
    in [-1, 1]: near 1 for a map that says nothing about the class. The other classes are spread evenly over the list of all,
    the first one half the list away: for ImageNet another kind of object.
    Deviation: rank correlation in place of SSIM, and classes far from the explained one instead of random ones.
    """
    target = case.target
    if not isinstance(target, ClassTarget):
        return MetricResult(float("nan"), note="The target is not a class: there is no other class to compare with.")
    total = len(case.model.class_names) or case.model.outputs(case.image).logits.shape[1]
    others = other_classes(target, total, classes)
    if not others:
        return MetricResult(float("nan"), note="The network has no other class to compare with.")
    similarities, passes = [], 0.0
    for other in others:
        maps, spent = case.recompute(candidate, case.image, target=replace(target, classes=(other,)))
        similarities.append(map_similarity(case, candidate, maps[0]))
        passes += spent
    return _averaged(np.array([similarities]), None, passes)


def cascaded(model: ExplainableModel, twin: ExplainableModel, count: int) -> ExplainableModel:
    """The model with its last `count` stages, and what follows them, from its untrained twin."""
    trained = len(model.network.stages) - count
    stages = (*model.network.stages[:trained], *twin.network.stages[trained:])
    network = replace(
        model.network,
        stages=stages,
        pool=twin.network.pool,
        project=twin.network.project,
        classify=twin.network.classify,
        inside=None,  # it is made of the trained parts
    )
    return replace(model, network=network, fingerprint=f"{model.fingerprint}, {count} stages of {twin.fingerprint}")


def other_classes(target: ClassTarget, total: int, count: int) -> list[int]:
    """Up to `count` classes that are neither the target's own nor its rival, spread evenly over the list of `total` classes
    from half the list away; where such a class is the target's own or its rival, one of those that follow the own class."""
    own = target.classes[0]
    excluded = {own, *getattr(target, "rivals", ())}
    places = [own + total // 2 + round(step * total / count) for step in range(count)]
    candidates = dict.fromkeys(place % total for place in [*places, *range(own, own + total)])
    return [index for index in candidates if index not in excluded][:count]


def histogram_entropy(values: NDArray[np.floating]) -> float:
    """The entropy in nats of the histogram of a map in 100 bins; 0 for a map that is the same everywhere."""
    if not np.isfinite(values).all() or not np.ptp(values) > 0:
        return 0.0
    shares = np.histogram(values, BINS)[0] / values.size
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _averaged(similarities: NDArray[np.float64], shares: NDArray[np.float64] | None, passes: float) -> MetricResult:
    """The mean of correlations (seeds, steps) without those that are undefined; NaN where all are."""
    known = np.isfinite(similarities)
    if not known.any():
        return MetricResult(float("nan"), note=NO_COMPARISON, passes=passes)
    facts = {"compared": float(known.sum()), "spread": float(similarities[known].std())}
    curve = None
    if shares is not None:
        steps = zip(similarities.T, known.T, strict=True)
        means = [column[defined].mean() if defined.any() else np.nan for column, defined in steps]
        curve = np.column_stack([shares, means])
    note = "" if known.all() else f"{(~known).sum()} of {known.size} maps are the same everywhere, and are left out."
    return MetricResult(float(similarities[known].mean()), curve, facts, note, passes)


def cascade_cost(options: OptionValues) -> PassCost:
    return PassCost(maps=options["steps"] * options["seeds"])


def twin_cost(options: OptionValues) -> PassCost:
    return PassCost(maps=options["seeds"])


def logit_cost(options: OptionValues) -> PassCost:
    return PassCost(maps=options["classes"])
