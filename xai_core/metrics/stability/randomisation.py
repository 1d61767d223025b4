"""Does a map change with what it claims to explain: the network's parameters, and the class that is asked about?"""

from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from xai_core.core.options import Range
from xai_core.explanation.targets import Target
from xai_core.metrics.metric import Candidate, Case, Cost, Score
from xai_core.metrics.stability.map_similarity import NOTHING, alike
from xai_core.models.explainable import ExplainableModel

Seeds = Annotated[int, Range(1, 10), "untrained networks, over which the value is averaged"]
BINS = 100


def parameter_randomisation(
    case: Case,
    candidate: Candidate,
    *,
    steps: Annotated[int, Range(1, 60), "points at which the map is made again, the last with all parameters random"] = 5,
    seeds: Seeds = 3,
) -> Score:
    """MPRT: how alike the map stays while the network is randomised from the output backwards.

    value = mean over steps and seeds of the rank correlation (on 28 x 28 cells) between the map and that of the network
    whose last k stages, with the classifier, are those of an untrained one; k grows in equal steps to all of them. In
    [-1, 1]: near 0 where the map depends on what was learnt. The curve holds the mean correlation for each share of stages.
    Every parameter of a stage is random: class tokens, positions and all that has no initialiser of its own too, each seed
    with a network of its own. BatchNorm statistics are those of noise in the untrained network.
    Deviation: stages (blocks) in place of single layers, and the mean over the curve as one number; the original map does
    not enter it.
    """
    stages = len(case.model.network.stages)
    counts = np.unique(np.round(np.linspace(0, stages, steps + 1)[1:]).astype(int))
    found, passes = np.full((seeds, len(counts)), np.nan), 0.0
    for seed in range(seeds):
        twin = case.twin(case.seed + seed)
        for step, count in enumerate(counts):
            maps, spent = case.remake(candidate.again, case.image, of=cascaded(case.model, twin, count))
            found[seed, step] = alike(case, candidate, maps[0])
            passes += spent
    return _averaged(found, counts / stages, passes)


def efficient_parameter_randomisation(case: Case, candidate: Candidate, *, seeds: Seeds = 3) -> Score:
    """Efficient MPRT: does the map become more disordered when all parameters are random?

    value = mean over seeds of (H(random) - H(trained)) / H(trained), H the entropy of the map's histogram of 100 bins
    between its smallest and largest value at the network's resolution. Positive where what was learnt gives the map its
    order.
    Source: Hedström et al. 2024, arXiv:2401.06465.
    """
    from xai_core.explanation import heatmaps

    before, passes, after = disorder(candidate.values), 0.0, []
    if not before > 0:
        return Score(float("nan"), note=NOTHING)
    for seed in range(seeds):
        maps, spent = case.remake(candidate.again, case.image, of=case.twin(case.seed + seed))
        after.append(disorder(heatmaps.resize(maps[0], case.size)))
        passes += spent
    facts = {"trained": before, "random": float(np.mean(after))}
    return Score(float((np.mean(after) - before) / before), facts=facts, passes=passes)


def random_logit(
    case: Case,
    candidate: Candidate,
    *,
    classes: Annotated[int, Range(1, 20), "other classes, over which the value is averaged"] = 3,
) -> Score:
    """How alike the map stays when another class is asked about.

    value = mean over other classes of the rank correlation (on 28 x 28 cells) between the map and that of the other class,
    in [-1, 1]: near 1 for a map that says nothing about the class. Other classes lie evenly around the list, the first half
    of it away: for ImageNet another kind of thing.
    Deviation: rank correlation in place of SSIM, and classes that are far from the asked one instead of drawn.
    """
    if not hasattr(case.asked, "classes"):
        return Score(float("nan"), note="There is no other class to ask about: the question is not about a class.")
    total = len(case.model.class_names) or case.model.outputs(case.image).logits.shape[1]
    others = other_classes(case.asked, total, classes)
    if not others:
        return Score(float("nan"), note="The network has no other class to ask about.")
    found, passes = [], 0.0
    for other in others:
        maps, spent = case.remake(candidate.again, case.image, target=replace(case.asked, classes=(other,)))
        found.append(alike(case, candidate, maps[0]))
        passes += spent
    return _averaged(np.array([found]), None, passes)


def cascaded(model: ExplainableModel, twin: ExplainableModel, count: int) -> ExplainableModel:
    """The model with its last `count` stages, and what follows them, from its untrained twin."""
    kept = len(model.network.stages) - count
    stages = (*model.network.stages[:kept], *twin.network.stages[kept:])
    parts = {name: getattr(twin.network, name) for name in ("pool", "project", "classify")}
    mixed = replace(model.network, stages=stages, **parts)
    return replace(model, network=mixed, fingerprint=f"{model.fingerprint}, {count} stages of {twin.fingerprint}")


def other_classes(target: Target, total: int, count: int) -> list[int]:
    """Classes that are neither asked about nor the rival, evenly around the list, the first half of it away; where those are
    taken, the next ones after it."""
    own = target.classes[0]
    taken = {own, *getattr(target, "rivals", ())}
    places = [own + total // 2 + round(step * total / count) for step in range(count)]
    found = dict.fromkeys(place % total for place in [*places, *range(own, own + total)])
    return [one for one in found if one not in taken][:count]


def disorder(values: NDArray) -> float:
    """The entropy in nats of the histogram of a map in 100 bins; 0 for a map that is the same everywhere."""
    if not np.isfinite(values).all() or not np.ptp(values) > 0:
        return 0.0
    shares = np.histogram(values, BINS)[0] / values.size
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _averaged(found: NDArray, shares: NDArray | None, passes: float) -> Score:
    """The mean of correlations (seeds, steps), leaving out maps that say nothing; NaN where none says anything."""
    known = np.isfinite(found)
    if not known.any():
        return Score(float("nan"), note=NOTHING, passes=passes)
    facts = {"compared": float(known.sum()), "spread": float(found[known].std())}
    curve = None
    if shares is not None:
        means = [found[:, step][known[:, step]].mean() if known[:, step].any() else np.nan for step in range(len(shares))]
        curve = np.column_stack([shares, means])
    note = "" if known.all() else f"{(~known).sum()} of {known.size} maps say nothing, and are left out."
    return Score(float(found[known].mean()), curve, facts, note, passes)


def cascade_cost(options) -> Cost:
    return Cost(maps=options["steps"] * options["seeds"])


def twin_cost(options) -> Cost:
    return Cost(maps=options["seeds"])


def logit_cost(options) -> Cost:
    return Cost(maps=options["classes"])
