"""Which labels of a dataset are likely to be wrong: confident learning joined with the vote of nearest neighbours.

Two opinions of every picture, neither of which has used its own label: the probabilities of a linear probe on frozen
features that was fitted without the picture's fold, and the labels of its nearest neighbours. A label is flagged where the
probe is confident of another one and more neighbours have that one. Source: Northcutt et al. 2021, arXiv:1911.00068.

What it cannot tell: a picture that is hard for the features looks like one whose label is wrong, and where the probe is less
sure of the other label than usual, nothing is flagged. A flag is a reason to look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track

PENALTY = 0.01  # of the probe, the inverse strength C, on standardised features
ITERATIONS = 200
FACTORS = (-3.0, 3.0)  # bounds of the logarithm of 1 / temperature
BOTH = 0.3  # probability that the label and another class have at least where both may hold
DUPLICATE_COSINE = 0.98  # of the centred features of near duplicates, at least
DUPLICATE_DISTANCE = 0.2  # their distance at most, in median distances of a picture from its nearest neighbour
FAR_OUT = 3.0  # interquartile ranges above the upper quartile: Tukey's outer fence
CHANCE_DEVIATIONS = 3.0  # standard deviations by which the probe must be better than chance
BLOCK = 20_000_000  # cosines in memory at a time


@dataclass(frozen=True)
class Triage:
    """The judgement of the labels of n pictures.

    `pictures` has a row for each, in their order, with the columns

        picture          its place, from 0
        label            the label it has
        suggested        the label that probe and neighbours prefer together; the label itself where it is the preferred one
        score            P(the label is wrong), in [0, 1] (`probability_of_label`); NaN where the picture was not judged
        self confidence  the probe's probability of the label, out of sample
        votes            the share of the nearest neighbours that have the label
        flagged          the label is contradicted by both
        ambiguous        both the label and another one may hold: each has a probability of BOTH or more
        other            where it is ambiguous, the most probable other label that may hold; "" elsewhere
        outlier          the picture is far from all others

    `duplicates` has a row for each pair of near duplicates with different labels: first, second (places), first label,
    second label, cosine. `joint` is the confident joint, counts (k, k) of [label, confident label], by `classes`.
    `reasons` says in sentences what was not judged, and why nothing is flagged where nothing is.
    """

    pictures: pd.DataFrame
    duplicates: pd.DataFrame
    joint: NDArray[np.int64]
    classes: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def flags(self) -> pd.DataFrame:
        """The flagged pictures, the one whose label is most likely wrong first."""
        ranked = self.ranked()
        return ranked.loc[ranked["flagged"].astype(bool)]

    @property
    def expected_wrong_flags(self) -> float:
        """How many flags are expected to be wrong, because the label is right: the sum of P(right) = 1 - score over them."""
        return float((1 - self.flags["score"]).sum())

    @property
    def expected_wrong_labels(self) -> float:
        """How many labels of all judged pictures are expected to be wrong, flagged or not: the sum of their scores."""
        return float(self.pictures["score"].sum())

    def ranked(self) -> pd.DataFrame:
        """All judged pictures: the flagged ones first, then by score; of equal scores, the lowest self confidence first."""
        judged = self.pictures.dropna(subset=["score"])
        return judged.sort_values(["flagged", "score", "self confidence"], ascending=[False, False, True], kind="stable")


def triage(
    features: NDArray[np.floating],
    labels: Sequence[str] | NDArray[np.str_],
    *,
    seed: int = 0,
    folds: int = 5,
    neighbours: int = 10,
    track: Track = iter,
) -> Triage:
    """Judge the `labels` of n pictures by their frozen `features` (n, d). `seed` deals the pictures into `folds`.
    `track` goes over the folds, and then over blocks of pictures whose neighbours are looked up.

    Labels with fewer pictures than folds are not judged. Nothing is flagged, and `reasons` say why, where fewer than two
    labels can be judged, and where the probe is not better than chance. Raises BadRequest where features and labels do not
    fit together, or a label or feature is missing.
    """
    inputs, names = _checked(features, labels, folds, neighbours)
    counts = pd.Series(names, dtype=object).value_counts()
    rare = sorted(counts[counts < folds].index)
    judged = np.flatnonzero(~np.isin(names, rare)) if rare else np.arange(len(names))
    reasons = []
    if rare:
        shown = ", ".join(rare[:5]) + (f" and {len(rare) - 5:,} more" if len(rare) > 5 else "")
        reasons.append(f"Not judged, because they have fewer than {folds} pictures: {shown}.")
    classes, codes = np.unique(names[judged], return_inverse=True)
    if len(classes) < 2:
        return _nothing(
            names, [*reasons, f"Nothing is flagged: labels are compared, and fewer than two have {folds} pictures or more."]
        )
    probabilities = out_of_sample(inputs[judged], codes, folds, seed, track=track)
    if not _better_than_chance(codes, probabilities.argmax(1), len(classes)):
        return _nothing(
            names, [*reasons, "Nothing is flagged: these features do not tell the labels apart better than chance."]
        )
    probabilities = sharpened(probabilities, codes)
    places, cosines, distances = _nearest(inputs[judged], min(neighbours, len(judged) - 1), track)
    votes = _shares(codes[places], len(classes))
    joint, confident = confident_joint(probabilities, codes)
    joined = (probabilities + votes) / 2
    rows = np.arange(len(codes))
    suggested = joined.argmax(1)
    flagged = (
        (confident >= 0) & (confident != codes) & (confident == suggested) & (votes[rows, suggested] > votes[rows, codes])
    )
    rates = label_rates(joint, np.bincount(codes))
    true = true_probabilities(joined, rates)
    score = 1 - probability_of_label(true, codes, rates)
    other = true.copy()
    other[rows, codes] = 0
    ambiguous = (true[rows, codes] >= BOTH) & (other.max(1) >= BOTH)
    if not flagged.any():
        reasons.append("Nothing is flagged: no label is contradicted by both the probe and the nearest neighbours.")
    opinions = pd.DataFrame(
        {"suggested": classes[suggested], "other": np.where(ambiguous, classes[other.argmax(1)], ""), "score": score,
         "self confidence": probabilities[rows, codes], "votes": votes[rows, codes], "flagged": flagged,
         "ambiguous": ambiguous, "outlier": far_from_all(distances)}, judged,
    )  # fmt: skip
    return Triage(
        _table(names, opinions),
        _duplicates(names, judged, codes, places, cosines, distances),
        joint, tuple(classes.tolist()), tuple(reasons),
    )  # fmt: skip


def out_of_sample(
    features: NDArray[np.float32],
    codes: NDArray[np.int64],
    folds: int,
    seed: int,
    penalty: float = PENALTY,
    *,
    track: Track = iter,
) -> NDArray[np.float64]:
    """(n, k): for each picture, the probabilities of a linear probe that was fitted on the other folds. Every class must
    have at least `folds` pictures."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probabilities = np.zeros((len(codes), int(codes.max()) + 1))
    for train, test in track(list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, codes))):
        probe = LogisticRegression(C=penalty, max_iter=ITERATIONS, tol=1e-3)
        probabilities[test] = (
            make_pipeline(StandardScaler(), probe).fit(features[train], codes[train]).predict_proba(features[test])
        )
    return probabilities


def sharpened(probabilities: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, k): the probabilities with one temperature for all, the one with the smallest mean log loss on the labels. A
    penalised probe is less sure than it could be, and the confident joint takes its probabilities at their word."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logs, rows = np.log(np.maximum(probabilities, 1e-12)), np.arange(len(codes))

    def loss(log_factor: float) -> float:
        return -float(log_softmax(np.exp(log_factor) * logs, axis=1)[rows, codes].mean())

    best = float(minimize_scalar(loss, bounds=FACTORS, method="bounded", options={"xatol": 1e-3}).x)
    sharp: NDArray[np.float64] = np.exp(log_softmax(np.exp(best) * logs, axis=1))
    return sharp


def confident_joint(
    probabilities: NDArray[np.float64], codes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The confident joint (k, k), counts of [label, confident class], and the confident class of each picture (-1: none).

    A class is confident where its probability reaches the mean probability that the pictures with its label have of it; of
    several, the most probable one counts. Every class must be the label of a picture.
    """
    classes, rows = probabilities.shape[1], np.arange(len(codes))
    thresholds = np.bincount(codes, probabilities[rows, codes], classes) / np.bincount(codes, minlength=classes)
    reaching = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident = np.where(reaching.max(1) >= 0, reaching.argmax(1), -1)
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (codes[confident >= 0], confident[confident >= 0]), 1)
    return joint, confident


def calibrated_joint(joint: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The expected number of pictures (k, k) by [label, true class]: each row of the confident joint scaled to the number of
    pictures with that label. A row in which no picture is confident stays on the diagonal."""
    sums = joint.sum(1, keepdims=True)
    rows = np.where(sums > 0, joint / np.maximum(sums, 1), np.eye(len(joint)))
    return rows * counts[:, None]


def label_rates(joint: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """r (k, k), r(i, j) = P(label i | true class j): the calibrated joint divided by its column sums. One picture, shared by
    all labels, is added to each column, so that no label is impossible."""
    expected = calibrated_joint(joint, counts) + 1 / len(joint)
    rates: NDArray[np.float64] = expected / expected.sum(0)
    return rates


def true_probabilities(probabilities: NDArray[np.float64], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k): t(j | x), the probabilities of the true class. `probabilities` are p(i | x) of the labels, learned from labels
    with errors: p = r t is solved for t, and negative ones are set to zero."""
    true = np.linalg.lstsq(rates, probabilities.T, rcond=None)[0].T.clip(0)
    shares: NDArray[np.float64] = true / np.maximum(true.sum(1, keepdims=True), 1e-300)
    return shares


def probability_of_label(
    true: NDArray[np.float64], codes: NDArray[np.int64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(the label i is right | picture x), in [0, 1], by Bayes' rule: r(i, i) t(i | x) / sum over j of r(i, j) t(j | x)."""
    weights = rates[codes] * true
    right: NDArray[np.float64] = weights[np.arange(len(codes)), codes] / np.maximum(weights.sum(1), 1e-300)
    return right


def far_from_all(distances: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pictures (n,) are outliers, by their distances (n, m) from their nearest neighbours: those whose mean distance
    has a logarithm above the outer fence. Distances have a long tail above, which the logarithm takes away: of pictures
    that are all drawn alike, hardly one is beyond the fence."""
    logs = np.log(np.maximum(distances.mean(1), 1e-12))
    lower, upper = np.quantile(logs, [0.25, 0.75])
    far: NDArray[np.bool_] = logs > upper + FAR_OUT * (upper - lower)
    return far


def _checked(
    features: NDArray[np.floating], labels: Sequence[str] | NDArray[np.str_], folds: int, neighbours: int
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    inputs = np.asarray(features, np.float32)
    if inputs.ndim != 2 or len(inputs) != len(labels):
        raise BadRequest(
            f"Triage takes one row of features for each label; the features are {inputs.shape}, the labels {len(labels):,}."
        )
    if not np.isfinite(inputs).all():
        raise BadRequest("Some features are not finite numbers; compute them again before the labels are judged.")
    if any(pd.isna(label) or str(label) == "" for label in labels):
        raise BadRequest("Some pictures have no label; leave them out before the labels are judged.")
    if folds < 2 or neighbours < 1:
        raise BadRequest("Triage needs at least two folds and one neighbour.")
    return inputs, np.array([str(label) for label in labels], dtype=np.str_)


def _better_than_chance(codes: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> bool:
    """Whether more predictions hit than when they are dealt out at random: beyond CHANCE_DEVIATIONS of that distribution,
    whose mean and variance are known."""
    count = len(codes)
    first, second = np.bincount(codes, minlength=classes), np.bincount(predicted, minlength=classes)
    mean = float(first @ second) / count
    centred = np.eye(classes) - second[:, None] / count - first[None, :] / count + mean / count
    variance = float(first @ centred**2 @ second) / max(count - 1, 1)
    return bool((codes == predicted).sum() > mean + CHANCE_DEVIATIONS * np.sqrt(variance))


def _nearest(
    features: NDArray[np.float32], count: int, track: Track
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The `count` nearest other pictures of each, by the cosine of centred features, the nearest first: places, cosines, and
    distances (n, count)."""
    centred = features - features.mean(0)
    lengths = np.linalg.norm(centred, axis=1)
    unit = centred / np.maximum(lengths, 1e-12)[:, None]
    places = np.empty((len(unit), count), np.int64)
    cosines = np.empty((len(unit), count))
    step = max(1, BLOCK // len(unit))
    for start in track(range(0, len(unit), step)):
        block = unit[start : start + step] @ unit.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        nearest = np.argpartition(block, -count, axis=1)[:, -count:]
        values = np.take_along_axis(block, nearest, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        places[start : start + step] = np.take_along_axis(nearest, order, 1)
        cosines[start : start + step] = np.take_along_axis(values, order, 1)
    cosines = cosines.clip(-1, 1)
    mine, theirs = lengths[:, None].astype(np.float64), lengths[places].astype(np.float64)
    distances = np.sqrt(np.maximum(mine**2 + theirs**2 - 2 * mine * theirs * cosines, 0))
    return places, cosines, distances


def _shares(codes: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(n, k): the share of each class in a row of codes (n, m)."""
    count, width = codes.shape
    flat = np.arange(count)[:, None] * classes + codes
    shares: NDArray[np.float64] = np.bincount(flat.ravel(), minlength=count * classes).reshape(count, classes) / width
    return shares


def _duplicates(
    names: NDArray[np.str_],
    judged: NDArray[np.int64],
    codes: NDArray[np.int64],
    places: NDArray[np.int64],
    cosines: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> pd.DataFrame:
    """Pairs of near duplicates with different labels, each once, the most similar first."""
    near = (cosines >= DUPLICATE_COSINE) & (distances <= DUPLICATE_DISTANCE * np.median(distances.min(1)))
    rows, columns = np.nonzero(near & (codes[places] != codes[:, None]))
    return _pairs(names, judged[rows], judged[places[rows, columns]], cosines[rows, columns])


def _pairs(
    names: NDArray[np.str_], one: NDArray[np.int64], other: NDArray[np.int64], cosines: NDArray[np.float64]
) -> pd.DataFrame:
    pairs = pd.DataFrame({"first": np.minimum(one, other), "second": np.maximum(one, other), "cosine": cosines})
    pairs = pairs.drop_duplicates(["first", "second"])
    pairs.insert(2, "first label", names[pairs["first"]])
    pairs.insert(3, "second label", names[pairs["second"]])
    return pairs.sort_values("cosine", ascending=False, kind="stable", ignore_index=True)


UNKNOWN: dict[str, str | float | bool] = {
    "suggested": "", "other": "", "score": np.nan, "self confidence": np.nan, "votes": np.nan,
    "flagged": False, "ambiguous": False, "outlier": False,
}  # fmt: skip


def _table(names: NDArray[np.str_], opinions: pd.DataFrame) -> pd.DataFrame:
    """A row for each picture, with the `opinions` of the judged ones, which are indexed by their places and have the columns
    of UNKNOWN; of those that are not judged, only the label is known."""
    places = np.arange(len(names))
    table = pd.DataFrame({"picture": places, "label": names.astype(object)})
    for name, unknown in UNKNOWN.items():
        table[name] = opinions[name].reindex(places, fill_value=unknown).astype(type(unknown))
    table["suggested"] = table["suggested"].where(np.isin(places, opinions.index), table["label"])
    return table


def _nothing(names: NDArray[np.str_], reasons: Sequence[str]) -> Triage:
    """No picture is judged."""
    nowhere = np.zeros(0, np.int64)
    return Triage(
        _table(names, pd.DataFrame(columns=list(UNKNOWN), index=nowhere)), _pairs(names, nowhere, nowhere, np.zeros(0)),
        np.zeros((0, 0), np.int64), (), tuple(reasons),
    )  # fmt: skip
