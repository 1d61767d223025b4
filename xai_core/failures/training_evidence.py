"""Which training pictures speak for an answer and which against it; proven by refitting the probe without them.

A probe (multinomial logistic regression, L2 penalty) is fitted on frozen features and labels of training pictures. Four
measures of each training picture, for the answers to some test pictures:

- similarity: the cosine of the centred features, for the nearest training pictures;
- representer points (Yeh et al. 2018, arXiv:1811.09720): the penalty makes the weights of the probe a sum over the training
  pictures, W = sum over i of alpha_i z_i with alpha_i = -1 / (2 lambda n) dL_i/dlogits, so that each training picture has a
  share in every logit, and these shares add up to it;
- last-layer TracIn (Pruthi et al. 2020, arXiv:2002.08484): by how much a step of training on the picture lowers the loss of
  the answer, to first order; in closed form for a linear head;
- influence (Koh and Liang 2017, arXiv:1703.04730): by how much the margin of the answer falls when the probe is fitted
  without the picture, to first order. Of the four it alone knows that other pictures make up for one that is left out.

All of this is about the last layer on fixed features. What a training picture did to the layers below is not seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.evaluation.significance import LEVEL, Estimate, estimates, holm, pictures_needed, sign_flip
from xai_core.failures.halves import halves
from xai_core.failures.head_edits import Head

PENALTY = 0.01  # of the probe, the inverse strength C = 1 / (2 lambda n), on standardised features: as in label triage
TOLERANCE, ROUGHLY = 1e-8, 1e-6  # the largest entry of the gradient of the mean loss; the second for refits
ITERATIONS = 5_000
DRAWS = 5  # of random pictures
MEASURES = ("influence", "representer", "TracIn", "similarity")
FEWEST = 2 * pictures_needed(len(MEASURES))  # test pictures of which one half suggests the evidence and the other tests it
Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PenalisedProbe:
    """The probe on standardised features with a constant one behind them: logits = inputs(features) @ weight.T.

    weight  (k, d + 1): the last column is the bias. It is penalised too, so that the shares of the training pictures add up
            to the whole logit
    alpha   (n, k): alpha_i of every training picture and class
    classes the names of the k classes
    penalty of the fit: the inverse strength C = 1 / (2 lambda n)
    """

    weight: Floats
    alpha: Floats
    mean: Floats
    scale: Floats
    classes: tuple[str, ...]
    penalty: float

    def inputs(self, features: NDArray[np.floating]) -> Floats:
        """(n, d) -> (n, d + 1)."""
        return _with_one((np.asarray(features, np.float64) - self.mean) / self.scale)

    def logits(self, features: NDArray[np.floating]) -> Floats:
        """(n, d) -> (n, k)."""
        logits: Floats = self.inputs(features) @ self.weight.T
        return logits


@dataclass(frozen=True)
class Refit:
    """What the margin of the answer loses when the probe is refitted without the strongest training pictures by one measure.

    removed      their places, the strongest first; `values` are those of the measure, by the pictures that suggested them
    random       (draws, k): places of as many random other pictures, with the same labels
    falls        a row for each tested picture: picture (its place), margin (before), evidence (by how much it falls without
                 the removed ones), random (without random ones, mean over the draws); logits of the probe
    difference   mean of evidence - random, with its interval (95%, paired) over the tested pictures
    p            of the paired sign-flip test, corrected for all measures (Holm)
    held_out     whether the tested pictures are others than those that suggested the evidence
    """

    removed: Places
    values: Floats
    random: Places
    falls: pd.DataFrame
    difference: Estimate
    p: float
    held_out: bool

    @property
    def proven(self) -> bool:
        """Whether the removed pictures carry the answer: pictures that did not suggest them lose more margin without them
        than without random ones."""
        return self.held_out and self.difference.value > 0 and self.p < 1 - LEVEL

    @property
    def sentence(self) -> str:
        """The result in words."""
        means, count, tested = self.falls.mean(numeric_only=True), len(self.removed), len(self.falls)
        pictures = f"{tested:,} pictures that did not suggest them" if self.held_out else f"{tested:,} test pictures"
        words = (
            f"Without these {count} training pictures the margin of the answer, {means['margin']:.2f} logits on average "
            f"over {pictures}, {_moves(means['evidence'])}; without {count} random ones with the same labels it "
            f"{_moves(means['random'])}"
        )
        if self.difference.why:
            return f"{words}."
        words += f": {self.difference.value:.2f} apart ({self.difference.low:.2f} to {self.difference.high:.2f})."
        if not self.held_out:
            return f"{words} That is no proof: with fewer than {FEWEST} test pictures, none are left to test them on."
        return words if self.proven else f"{words} They are not shown to carry the answer."


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the training pictures say for the answers to test pictures.

    pictures   a row for each training picture: picture (its place), label, and the MEASURES, each a mean over the test
               pictures. Positive is for the answer and negative against it: influence (by how much the margin falls without
               the picture, logits), representer (its share in the margin, logits), TracIn (no unit); similarity is a cosine
    answers, rivals    of each test picture; margins: the logit of the answer minus that of the rival, by the probe
    agreement  the share of the test pictures to which the probe gives the answer, too
    checkpoints        how many heads TracIn sums over; 1: the head at the end of training alone
    refits     for each measure, the proof; empty where `reasons` say why there is none
    """

    pictures: pd.DataFrame
    answers: tuple[str, ...]
    rivals: tuple[str, ...]
    margins: Floats
    agreement: float
    checkpoints: int
    refits: Mapping[str, Refit]
    reasons: tuple[str, ...]
    seed: int

    def strongest(self, measure: str = "influence", count: int = 20, *, against: bool = False) -> pd.DataFrame:
        """The rows of the training pictures that speak most for the answer, or against it: the strongest first. None that
        speaks for the other side, where the measure has signs."""
        rows = self.pictures.sort_values(measure, ascending=against, kind="stable")
        if measure != "similarity":
            rows = rows[rows[measure] < 0] if against else rows[rows[measure] > 0]
        return rows.head(count)


def evidence(
    features: NDArray[np.floating],
    labels: Sequence[str],
    tests: NDArray[np.floating],
    answers: Sequence[str],
    rivals: Sequence[str] | None = None,
    *,
    heads: Sequence[Head] = (),
    head_classes: Sequence[str] = (),
    rates: Sequence[float] = (),
    count: int = 20,
    draws: int = DRAWS,
    penalty: float = PENALTY,
    seed: int = 0,
    track: Track = iter,
) -> Evidence:
    """The evidence of training pictures with `features` (n, d) and `labels` for the `answers` to pictures with features
    `tests` (t, d): one picture, or a group of them.

    `rivals` are the classes that the answers are compared with, such as the true classes of errors; by default the best
    other class of the probe. TracIn is taken of `heads` on these features, whose rows are of `head_classes`: checkpoints of
    a training with their learning `rates`, or its end alone (rate 1); by default of the probe. For each measure the probe
    is refitted without the `count` strongest pictures, and without as many random ones in each of `draws` draws: one half
    of the test pictures suggests them, the other half is tested.

    Raises BadRequest where features, labels and answers do not fit together, or there are fewer than two labels.
    """
    inputs, codes, classes = _checked(features, labels)
    asked = np.asarray(tests, np.float64)
    if asked.ndim != 2 or not len(asked) or asked.shape[1] != inputs.shape[1]:
        raise BadRequest(f"Test features must be (pictures, {inputs.shape[1]}) as in training; these are {asked.shape}.")
    if not np.isfinite(asked).all():
        raise BadRequest("Some test features are not finite numbers; compute them again.")
    numbers = {name: number for number, name in enumerate(classes)}
    answered = _codes(answers, numbers, len(asked))
    probe = fit_probe(inputs, codes, classes, penalty)
    logits, rows = probe.logits(asked), np.arange(len(asked))
    others = logits.copy()
    others[rows, answered] = -np.inf
    compared = others.argmax(1) if rivals is None else _codes(rivals, numbers, len(asked))
    if (answered == compared).any():
        raise BadRequest("An answer is its own rival; a margin needs two classes.")
    signs = np.eye(len(classes))[answered] - np.eye(len(classes))[compared]
    tracin = _tracin_inputs(probe, inputs, labels, asked, answers, heads, head_classes, rates)

    def measured(some: Places) -> dict[str, Floats]:
        return {
            "influence": influences(probe, inputs, codes, asked[some], signs[some]),
            "representer": representer_shares(probe, inputs, asked[some], signs[some]),
            "TracIn": last_layer_tracin(*tracin[:4], tracin[4][some], tracin[5][some]),
            "similarity": _cosines(inputs, asked[some]),
        }

    held_out = len(asked) >= FEWEST
    found, tested = halves(len(asked), seed) if held_out else (rows, rows)
    pictures = pd.DataFrame(
        {"picture": np.arange(len(inputs)), "label": np.asarray(classes, object)[codes], **measured(rows)}
    )
    refits: dict[str, Refit] = {}
    reasons = []
    if len(inputs) <= 2 * count:
        reasons.append(f"The probe is not refitted: of {len(inputs)} training pictures, {count} are too many to leave out.")
    else:
        removed = {}
        for measure, values in measured(found).items():
            first = np.argsort(-values, kind="stable")[:count]
            first = first if measure == "similarity" else first[values[first] > 0]
            removed[measure] = first, values[first]
        refits = _refits(probe, inputs, codes, removed, asked[tested], signs[tested], tested, held_out, draws, seed, track)
        if not refits:
            reasons.append("The probe is not refitted: the labels of the evidence have too few other training pictures.")
    return Evidence(
        pictures, tuple(map(str, answers)), tuple(classes[number] for number in compared), (logits * signs).sum(1),
        float((logits.argmax(1) == answered).mean()), max(len(heads), 1), refits, tuple(reasons), seed,
    )  # fmt: skip


def fit_probe(
    features: NDArray[np.floating],
    codes: Places,
    classes: Sequence[str],
    penalty: float = PENALTY,
    *,
    like: PenalisedProbe | None = None,
) -> PenalisedProbe:
    """The probe with the least (1/n) sum of cross-entropies + lambda |W|^2, lambda = 1 / (2 n penalty): one convex problem,
    solved by L-BFGS in double precision. A refit on some of the pictures is `like` the whole fit: it begins there, with the
    same standardisation, and is solved to 1e-6 of the gradient instead of 1e-8, which moves logits by about 0.001."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    inputs = np.asarray(features, np.float64)
    mean, scale = (like.mean, like.scale) if like else (inputs.mean(0), inputs.std(0))
    scale = np.where(scale < 1e-12, 1.0, scale)
    given, rows = _with_one((inputs - mean) / scale), np.arange(len(inputs))
    shape, strength = (len(classes), given.shape[1]), 1 / (2 * len(inputs) * penalty)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weight = flat.reshape(shape)
        logs = log_softmax(_times(given, weight.T), axis=1)
        apart = np.exp(logs)
        apart[rows, codes] -= 1
        gradient = _times(apart.T, given) / len(given) + 2 * strength * weight
        return float(-logs[rows, codes].mean() + strength * (weight**2).sum()), gradient.ravel()

    first = like.weight if like else np.zeros(shape)
    options = {
        "maxiter": ITERATIONS,
        "maxfun": ITERATIONS,
        "gtol": ROUGHLY if like else TOLERANCE,
        "ftol": 0.0,
        "maxcor": 30,
    }
    weight = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
    alpha = -penalty * softmax(given @ weight.T, axis=1)
    alpha[rows, codes] += penalty
    return PenalisedProbe(weight, alpha, mean, scale, tuple(classes), penalty)


def representer_shares(
    probe: PenalisedProbe, features: NDArray[np.floating], tests: NDArray[np.floating], signs: NDArray[np.floating]
) -> Floats:
    """(n,): the share of each training picture in sum over c of signs_c * logit_c, a mean over the test pictures. `signs`
    are (t, k): 1 at the answer and -1 at its rival for the margin. The shares add up to it."""
    return _summed(probe.inputs(features), probe.alpha, probe.inputs(tests), signs)


def influences(
    probe: PenalisedProbe,
    features: NDArray[np.floating],
    codes: Places,
    tests: NDArray[np.floating],
    signs: NDArray[np.floating],
) -> Floats:
    """(n,): by how much sum over c of signs_c * logit_c, a mean over the test pictures, falls when the probe is fitted
    without a training picture, to first order: the gradient of its loss, times the inverse Hessian of the whole loss, times
    the gradient of the sum. Arguments as in `representer_shares`; conjugate gradients solve for the product."""
    from scipy.sparse.linalg import LinearOperator, cg
    from scipy.special import softmax

    given, asked = probe.inputs(features), probe.inputs(tests)
    shares = softmax(given @ probe.weight.T, axis=1)
    apart = shares.copy()
    apart[np.arange(len(codes)), codes] -= 1
    shape = probe.weight.shape

    def hessian(flat: Floats) -> Floats:
        direction = flat.reshape(shape)
        moved = shares * _times(given, direction.T)
        moved -= shares * moved.sum(1, keepdims=True)
        curved: Floats = (_times(moved.T, given) + direction / probe.penalty).ravel()
        return curved

    size = probe.weight.size
    wanted = (signs.T @ asked / len(asked)).ravel()
    solved, _ = cg(LinearOperator((size, size), matvec=hessian, dtype=float), wanted, rtol=1e-6, maxiter=ITERATIONS)
    fall: Floats = -((given @ solved.reshape(shape).T) * apart).sum(1)
    return fall


def last_layer_tracin(
    heads: Sequence[Head],
    rates: Sequence[float],
    features: NDArray[np.floating],
    codes: Places,
    tests: NDArray[np.floating],
    answers: Places,
) -> Floats:
    """(n,): the sum over checkpoints of rate * (gradient of the training picture's loss) . (gradient of the loss of the
    answer), over weights and biases of the head; a mean over the test pictures. Positive: training on the picture lowers the
    loss of the answer. `codes` and `answers` are numbers of the rows of the heads."""
    given, asked = (_with_one(np.asarray(part, np.float64)) for part in (features, tests))
    total = np.zeros(len(given))
    for head, rate in zip(heads, rates, strict=True):
        weight = np.column_stack([head.weight, head.bias])
        total += rate * _summed(given, _apart(given @ weight.T, codes), asked, _apart(asked @ weight.T, answers))
    return total


def _summed(given: Floats, of_given: NDArray[np.floating], asked: Floats, of_asked: NDArray[np.floating]) -> Floats:
    """(n,): mean over t of sum over c of of_given[i, c] * of_asked[t, c] * (given[i] . asked[t]), without a table (n, t)."""
    sums: Floats = ((given @ (of_asked.T @ asked).T) * of_given).sum(1) / len(asked)
    return sums


def _apart(logits: Floats, codes: Places) -> Floats:
    """(n, k): the gradient of the cross-entropy by the logits."""
    from scipy.special import softmax

    apart: Floats = softmax(logits, axis=1)
    apart[np.arange(len(codes)), codes] -= 1
    return apart


def _times(one: Floats, other: Floats) -> Floats:
    """The matrix product, by torch: its threads sleep while they wait for each other (`core/settings.py`), and NumPy's spin.
    On a busy machine a fit takes seconds instead of a minute."""
    product: Floats = (torch.from_numpy(one) @ torch.from_numpy(other)).numpy()
    return product


def _with_one(inputs: Floats) -> Floats:
    return np.column_stack([inputs, np.ones(len(inputs))])


def _cosines(features: Floats, tests: Floats) -> Floats:
    mean = features.mean(0)
    given, asked = (
        part / np.maximum(np.linalg.norm(part, axis=1), 1e-12)[:, None] for part in (features - mean, tests - mean)
    )
    cosines: Floats = given @ asked.mean(0)
    return cosines


def _refits(
    probe: PenalisedProbe,
    inputs: Floats,
    codes: Places,
    removed: Mapping[str, tuple[Places, Floats]],
    tests: Floats,
    signs: Floats,
    tested: Places,
    held_out: bool,
    draws: int,
    seed: int,
    track: Track,
) -> dict[str, Refit]:
    """For each measure, the probe refitted without the places it names (with their values), and without random ones."""
    random = {measure: _like(codes, places, draws, seed) for measure, (places, _) in removed.items()}
    measures = [measure for measure in removed if len(random[measure])]
    if not measures:
        return {}
    before = (probe.logits(tests) * signs).sum(1)
    falls: dict[str, list[Floats]] = {measure: [] for measure in measures}
    for measure, left_out in track([(one, places) for one in measures for places in (removed[one][0], *random[one])]):
        kept = np.ones(len(inputs), bool)
        kept[left_out] = False
        fit = fit_probe(inputs[kept], codes[kept], probe.classes, probe.penalty, like=probe)
        falls[measure].append(before - (fit.logits(tests) * signs).sum(1))
    tables = {
        measure: pd.DataFrame({"picture": tested, "margin": before, "evidence": some[0], "random": np.mean(some[1:], 0)})
        for measure, some in falls.items()
    }
    apart = pd.DataFrame({measure: table["evidence"] - table["random"] for measure, table in tables.items()})
    means, p = estimates(apart, seed), holm(sign_flip(apart.to_numpy(float), seed))
    return {
        measure: Refit(*removed[measure], random[measure], tables[measure], means[measure], float(one), held_out)
        for measure, one in zip(measures, p, strict=True)
    }


def _tracin_inputs(
    probe: PenalisedProbe,
    inputs: Floats,
    labels: Sequence[str],
    tests: Floats,
    answers: Sequence[str],
    heads: Sequence[Head],
    head_classes: Sequence[str],
    rates: Sequence[float],
) -> tuple[Sequence[Head], Sequence[float], Floats, Places, Floats, Places]:
    """The arguments of `last_layer_tracin`: of the given heads on plain features, or of the probe on standardised ones."""
    if not heads:
        heads, head_classes = [Head(probe.weight[:, :-1], probe.weight[:, -1])], probe.classes
        inputs, tests = (probe.inputs(part)[:, :-1] for part in (inputs, tests))
    rates = rates or [1.0] * len(heads)
    shape = len(head_classes), inputs.shape[1]
    if len(rates) != len(heads) or any(head.weight.shape != shape for head in heads):
        raise BadRequest(f"Each checkpoint needs a rate, and a head of {shape[0]} classes and {shape[1]} features.")
    numbers = {str(name): number for number, name in enumerate(head_classes)}
    return heads, rates, inputs, _codes(labels, numbers, len(inputs)), tests, _codes(answers, numbers, len(tests))


def _moves(fall: float) -> str:
    return f"falls by {fall:.2f}" if fall >= 0 else f"rises by {-fall:.2f}"


def _like(codes: Places, removed: Places, draws: int, seed: int) -> Places:
    """(draws, k): random other pictures with the same labels; (0, k) where there are none, or a label has too few others."""
    generator, free = np.random.default_rng(seed), np.ones(len(codes), bool)
    free[removed] = False
    wanted = {int(code): int(number) for code, number in zip(*np.unique(codes[removed], return_counts=True), strict=True)}
    pools = {code: np.flatnonzero(free & (codes == code)) for code in wanted}
    if not wanted or any(len(pools[code]) < number for code, number in wanted.items()):
        return np.empty((0, len(removed)), np.int64)
    chosen = [
        np.concatenate([generator.choice(pools[code], number, replace=False) for code, number in wanted.items()])
        for _ in range(draws)
    ]
    return np.array(chosen, np.int64)


def _checked(features: NDArray[np.floating], labels: Sequence[str]) -> tuple[Floats, Places, tuple[str, ...]]:
    inputs = np.asarray(features, np.float64)
    if inputs.ndim != 2 or len(inputs) != len(labels):
        raise BadRequest(
            f"Evidence takes one row of training features for each label; the features are {inputs.shape}, the labels "
            f"{len(labels):,}."
        )
    if not np.isfinite(inputs).all():
        raise BadRequest("Some training features are not finite numbers; compute them again.")
    if any(pd.isna(label) or str(label) == "" for label in labels):
        raise BadRequest("Some training pictures have no label; leave them out.")
    classes, codes = np.unique(np.array([str(label) for label in labels]), return_inverse=True)
    if len(classes) < 2:
        raise BadRequest("The training pictures have fewer than two labels: nothing speaks for one answer and not another.")
    return inputs, codes.astype(np.int64), tuple(classes.tolist())


def _codes(names: Sequence[str], numbers: dict[str, int], count: int) -> Places:
    if len(names) != count:
        raise BadRequest(f"There are {count:,} pictures and {len(names):,} classes of them; each picture needs one.")
    missing = sorted({str(name) for name in names} - set(numbers))
    if missing:
        raise BadRequest(
            f"No training picture is of the class {missing[0]}; choose training pictures of the model's classes."
        )
    return np.array([numbers[str(name)] for name in names], np.int64)
