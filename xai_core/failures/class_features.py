"""Which features carry an answer, where the head is linear: a logit is the sum of w_c * f over the features f, and a bias.

The features that carry the wrong answers of a group are chosen on one half of the pictures and tested on the other. Pictures
that reason unusually are found as in PCX (Dreyer et al. 2024, arXiv:2311.16681): the contributions w * f of the right
pictures of a class are described by a mixture of Gaussians, and a picture is unusual where it is improbable under it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.evaluation.significance import holm
from xai_core.failures.halves import halves
from xai_core.failures.head_edits import Head, checked

if TYPE_CHECKING:
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

LEVEL = 0.05
TESTED = 5  # features of a group
FEWEST = 5  # errors in each half
DRAWS = 50  # of random features
FEWEST_RIGHT = 20  # right pictures of a class in each half
DIMENSIONS = 10  # principal components of w * f that a mixture describes
COMPONENTS = 5  # of a mixture at most; BIC chooses
RIDGE = 1e-3  # of the mean variance, added to every variance
UNUSUAL = 0.1  # the share of the right pictures that counts as unusual
Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CarryingFeatures:
    """The features that carry the wrong answers of a group: those with the largest difference on one half of the pictures.

    table   a row for each tested feature, all figures of the other half: feature (its number), speaks for ("the answer", or
            "the true class" where errors lack it), errors and right (mean contributions to the margin of the wrong answer
            over the true class, logits), difference (errors - right), its interval low to high (95%), p (one-sided t test),
            p corrected (Holm), share (of the difference of the whole margin), carries
    errors  of the group in the half that is tested; right: pictures that are compared with them
    margin  difference of the whole margin between errors and right pictures, logits
    mended  how many of the errors become right when the features that carry are set to their mean over the right pictures;
            random mended: the same for as many random features, mean of 50 draws. `low` and `high`: 95%, Wilson
    """

    table: pd.DataFrame
    errors: int
    right: int
    margin: float
    mended: int
    mended_low: float
    mended_high: float
    random_mended: float
    reasons: tuple[str, ...]
    seed: int

    @property
    def sentence(self) -> str:
        """The result in words."""
        if not len(self.table):
            return self.reasons[0]
        carry, features = self.table[self.table["carries"].astype(bool)], len(self.table)
        if not len(carry):
            return f"None of the {features} tested features is shown to carry the wrong answers."
        what = "1 feature carries" if len(carry) == 1 else f"{len(carry)} features carry"
        return (
            f"{what} {carry['share'].sum():.0%} of the {self.margin:.2f} logits by which the margins of {self.errors} "
            f"held-out errors differ from those of {self.right} right pictures of their classes. Set to the mean of the "
            f"right pictures, they mend {self.mended} of the {self.errors} errors ({self.mended_low:.0f} to "
            f"{self.mended_high:.0f}); as many random features mend {self.random_mended:.1f}."
        )


@dataclass(frozen=True, eq=False)
class UnusualReasoning:
    """How probable the contributions to the answer are in each picture, under a mixture that was fitted to right pictures of
    the other half with the same answer.

    pictures    a row for each picture: picture (its place), predicted, wrong, log likelihood (nats), p (the share of the
                right pictures with this answer, itself counted in, that are as improbable or more; not a number where the
                answer has too few), component (of the mixture, from 0; -1 where there is none)
    prototypes  a row for each component of the mixture of the first half: class, component, share (its weight), picture (the
                place of the most probable picture of that component)
    """

    pictures: pd.DataFrame
    prototypes: pd.DataFrame
    reasons: tuple[str, ...]
    seed: int

    @property
    def ranked(self) -> pd.DataFrame:
        """The pictures with a p, the most unusual first; of equal ones, the least probable."""
        return self.pictures.dropna(subset=["p"]).sort_values(["p", "log likelihood"], kind="stable")

    @property
    def sentence(self) -> str:
        """How many errors reason unusually, and how many right pictures do."""
        from statsmodels.stats.proportion import proportion_confint

        judged = self.pictures.dropna(subset=["p"])
        errors, right = (judged.loc[judged["wrong"].to_numpy(bool) == wrong, "p"] <= UNUSUAL for wrong in (True, False))
        if not len(judged):
            return self.reasons[0]
        if not len(errors):
            return f"There are no errors whose reasoning could be unusual; {len(right)} right pictures were judged."
        low, high = proportion_confint(int(errors.sum()), len(errors), method="wilson")
        return (
            f"{errors.sum()} of {len(errors)} errors reason unusually ({errors.mean():.0%}, {low:.0%} to {high:.0%}): as no "
            f"more than {UNUSUAL:.0%} of the right pictures with the same answer do."
        )


def contributions(head: Head, features: NDArray[np.floating], classes: Places) -> Floats:
    """(n, d): w_c * f, what each feature adds to the logit of the class of each picture; with the bias they add up to it."""
    added: Floats = checked(head, features) * head.weight[classes]
    return added


def margin_contributions(head: Head, features: NDArray[np.floating], answers: Places, rivals: Places) -> Floats:
    """(n, d): (w_a - w_b) * f, what each feature adds to the logit of the answer a beyond that of its rival b."""
    added: Floats = checked(head, features) * (head.weight[answers] - head.weight[rivals])
    return added


def most_activating(features: NDArray[np.floating], feature: int, count: int) -> Places:
    """The places of the pictures in which the feature is largest, the largest first."""
    places: Places = np.argsort(-np.asarray(features)[:, feature], kind="stable")[:count]
    return places


def carrying_features(
    head: Head,
    features: NDArray[np.floating],
    true: Sequence[int] | Places,
    predicted: Sequence[int] | Places,
    members: Sequence[int] | Places,
    *,
    seed: int = 0,
) -> CarryingFeatures:
    """Which features carry the wrong answers of the group `members` (places; right pictures among them are left out).

    `true` and `predicted` are the classes of all n pictures with these `features` (n, d), as rows of the head. Each error is
    compared with the right pictures of its true class, in the same half, by what they add to the margin of its answer.
    """
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    inputs, labels, answers = checked(head, features), np.asarray(true, np.int64), np.asarray(predicted, np.int64)
    if not len(inputs) == len(labels) == len(answers):
        raise BadRequest(f"There are {len(inputs)} pictures, {len(labels)} true and {len(answers)} predicted classes.")
    chosen = np.zeros(len(inputs), bool)
    chosen[np.asarray(members, np.int64)] = True
    chosen &= labels != answers
    parts = []
    for places in halves(len(inputs), seed):
        right = places[labels[places] == answers[places]]
        errors = places[chosen[places] & np.isin(labels[places], labels[right])]  # with something to compare
        parts.append((errors, right))
    fewest = min(len(errors) for errors, _ in parts)
    if fewest < FEWEST:
        reason = (
            f"Features are not compared: of these errors, {fewest} in one half of the pictures have right pictures of their "
            f"class beside them, and {FEWEST} are needed."
        )
        return CarryingFeatures(pd.DataFrame(), 0, 0, np.nan, 0, np.nan, np.nan, np.nan, (reason,), seed)
    found = _difference(head, inputs, labels, answers, *parts[0])[0]
    tested = np.argsort(-found, kind="stable")[:TESTED]
    errors, right = parts[1]
    right = right[np.isin(labels[right], labels[errors])]
    difference, deviation, of_errors = _difference(head, inputs, labels, answers, errors, right)
    p = stats.t.sf(difference[tested] / np.maximum(deviation[tested], 1e-300), len(errors) - 1)
    corrected, wide = holm(p), stats.t.ppf(1 - LEVEL / 2, len(errors) - 1) * deviation[tested]
    weights = (head.weight[answers[errors]] - head.weight[labels[errors]]).mean(0)[tested]
    table = pd.DataFrame(
        {
            "feature": tested,
            "speaks for": np.where(weights > 0, "the answer", "the true class"),
            "errors": of_errors[tested],
            "right": of_errors[tested] - difference[tested],
            "difference": difference[tested],
            "low": difference[tested] - wide,
            "high": difference[tested] + wide,
            "p": p,
            "p corrected": corrected,
            "share": difference[tested] / difference.sum(),
            "carries": corrected < LEVEL,
        }
    )
    carry = tested[corrected < LEVEL]
    means = _means(inputs, labels, right)[labels[errors]]

    def mended(some: Places) -> int:
        changed = inputs[errors].copy()
        changed[:, some] = means[:, some]
        return int((head.predicted(changed) == labels[errors]).sum())

    draws = np.random.default_rng(seed)
    random = [mended(draws.choice(inputs.shape[1], len(carry), replace=False)) for _ in range(DRAWS)] if len(carry) else [0]
    count = mended(carry)
    low, high = proportion_confint(count, len(errors), method="wilson")
    return CarryingFeatures(
        table, len(errors), len(right), float(difference.sum()), count, low * len(errors), high * len(errors),
        float(np.mean(random)), (), seed,
    )  # fmt: skip


def unusual_reasoning(
    head: Head,
    features: NDArray[np.floating],
    true: Sequence[int] | Places,
    predicted: Sequence[int] | Places,
    *,
    seed: int = 0,
) -> UnusualReasoning:
    """How usual w * f is in each picture, w being the weights of its predicted class: among right pictures with this answer.

    The pictures are halved; each is scored by the mixture of the other half, beside the right pictures of its own half, so
    that of right pictures a tenth or less have a p of 0.1 or less.
    """
    from scipy.special import logsumexp

    inputs, labels, answers = checked(head, features), np.asarray(true, np.int64), np.asarray(predicted, np.int64)
    if not len(inputs) == len(labels) == len(answers):
        raise BadRequest(f"There are {len(inputs)} pictures, {len(labels)} true and {len(answers)} predicted classes.")
    right, parts = labels == answers, halves(len(inputs), seed)
    likelihood, p = np.full((2, len(inputs)), np.nan)
    component = np.full(len(inputs), -1)
    prototypes, left_out = [], []
    for number in np.unique(answers):
        added = inputs * head.weight[number]
        own = [places[answers[places] == number] for places in parts]
        fewest = min(int(right[places].sum()) for places in own)
        if fewest < FEWEST_RIGHT:
            left_out.append(int(number))
            continue
        for scored, fitted in ((own[0], own[1]), (own[1], own[0])):
            usual = fitted[right[fitted]]
            described = _mixture(added[usual], seed)
            of_scored = described.weighed(added[scored])
            likelihood[scored] = logsumexp(of_scored, axis=1)
            component[scored] = of_scored.argmax(1)
            calibration = np.sort(likelihood[scored[right[scored]]])
            below = np.searchsorted(calibration, likelihood[scored], side="right")
            beside = len(calibration) - right[scored]  # a right picture is not compared with itself
            p[scored] = (1 + below - right[scored]) / (1 + beside)
            if fitted is own[0]:
                best = described.weighed(added[usual]).argmax(0)
                prototypes += [
                    {"class": int(number), "component": place, "share": float(share), "picture": int(usual[best[place]])}
                    for place, share in enumerate(described.mixture.weights_)
                ]
    reasons = []
    if left_out:
        reasons.append(
            f"{len(left_out)} of {len(np.unique(answers))} answers are not judged: they have fewer than {FEWEST_RIGHT} "
            "right pictures in a half."
        )
    pictures = pd.DataFrame(
        {"picture": np.arange(len(inputs)), "predicted": answers, "wrong": ~right, "log likelihood": likelihood, "p": p,
         "component": component}
    )  # fmt: skip
    return UnusualReasoning(
        pictures, pd.DataFrame(prototypes, columns=["class", "component", "share", "picture"]), tuple(reasons), seed
    )


class _Described(NamedTuple):
    """A mixture of Gaussians of the first principal components of contributions."""

    projection: "PCA"
    mixture: "GaussianMixture"

    def weighed(self, added: Floats) -> Floats:
        """(n, components): the logarithm of the density of each component, times its weight."""
        projected = self.projection.transform(added)
        shares = np.log(np.maximum(self.mixture.predict_proba(projected), 1e-300))
        weighed: Floats = self.mixture.score_samples(projected)[:, None] + shares
        return weighed


def _mixture(added: Floats, seed: int) -> _Described:
    """The mixture of the contributions (n, d) of right pictures; BIC chooses the number of its components."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    projection = PCA(min(DIMENSIONS, len(added) // 2, added.shape[1]), svd_solver="full").fit(added)
    projected = projection.transform(added)
    ridge = RIDGE * float(projected.var(0).mean()) + 1e-12
    fits = [
        GaussianMixture(count, reg_covar=ridge, random_state=seed).fit(projected)
        for count in range(1, COMPONENTS + 1)
        if count == 1 or len(projected) >= 2 * count * projected.shape[1]
    ]
    return _Described(projection, min(fits, key=lambda fit: fit.bic(projected)))


def _difference(
    head: Head, inputs: Floats, labels: Places, answers: Places, errors: Places, right: Places
) -> tuple[Floats, Floats, Floats]:
    """(d,) each: the mean over errors of (w_a - w_t) * (f - mean of f over the right pictures of class t), its standard
    deviation as an estimate, and the mean over errors of (w_a - w_t) * f."""
    weights = head.weight[answers[errors]] - head.weight[labels[errors]]
    means = _means(inputs, labels, right)
    apart = weights * (inputs[errors] - means[labels[errors]])
    variance = apart.var(0, ddof=1) / len(errors)
    for label in np.unique(labels[errors]):  # the means are estimates, too
        some = inputs[right[labels[right] == label]]
        pull = weights[labels[errors] == label].sum(0) / len(errors)
        spread = some.var(0, ddof=1) if len(some) > 1 else inputs[right].var(0)
        variance += pull**2 * spread / len(some)
    return apart.mean(0), np.sqrt(variance), (weights * inputs[errors]).mean(0)


def _means(inputs: Floats, labels: Places, right: Places) -> Floats:
    """(k, d): the mean features of the right pictures of each class; zeros where there are none."""
    sums, counts = np.zeros((int(labels.max()) + 1, inputs.shape[1])), np.bincount(labels[right], minlength=labels.max() + 1)
    np.add.at(sums, labels[right], inputs[right])
    means: Floats = sums / np.maximum(counts, 1)[:, None]
    return means
