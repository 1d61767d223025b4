"""Methods that cover superpixels: feature ablation, LIME and KernelSHAP. Maps are (n, H, W), constant on every segment.

Every pixel carries the value of its whole segment, as in captum. Each picture has its own segments.
"""

from functools import partial
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.attribution.perturbation.segmentation import Count, Segmentation, mean_colours, painted, segments_of, switched
from xai_core.attribution.repeated_passes import ROUND, PrecisionGoal, good_enough, one_by_one, read, rounds_of, sweep_rounds
from xai_core.core import runtime
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question

Samples = Annotated[int, Range(10, 10_000), "number of pictures with random segments covered"]
Fill = Annotated[str, Choice(BASELINES), "what a covered segment shows"]
PAIRS = 64  # pairs of coalitions between two checks of the standard error
Array = NDArray[np.float64]
Shown = NDArray[np.int64]  # (samples, segments): 1 where a segment is shown


def feature_ablation(
    question: Question,
    images: Tensor,
    *,
    segmentation: Segmentation = "slic",
    segments: Count = 50,
    fill: Fill = "black",
    parts: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """Feature ablation: by how much the target falls when one segment of the picture is covered.

    map on segment S = f(x) - f(x with S covered).
    Source: Zeiler & Fergus 2014, arXiv:1311.2901, with superpixels in place of squares. Sign: signed. Unit: the target's.
    Deviation: none from captum's FeatureAblation with a feature mask. `parts` (n, H, W) passes segments in.

    Why: To find out what each part of the picture does on its own.
    Who: Everyone: one experiment for each part, and the parts follow the edges.
    What: Scores of the picture with one segment covered at a time.
    How: One forward pass for each segment; a signed value for every segment.
    When: After training; before the slower LIME or Shapley values.
    Where: Any model that gives a number.
    Beware: Two segments that can replace each other both seem unimportant, large segments get larger values, and the
    map depends on the segmentation.
    """

    def run(question: Question, image: Tensor, row: int) -> Maps:
        where = segments_of(image[0], segmentation, segments, parts, row)
        number = int(where.max()) + 1
        cover = baseline_images(image, fill)[0]
        on = torch.cat([torch.ones(1, number, dtype=torch.bool), ~torch.eye(number, dtype=torch.bool)])
        scores = _scores(question, image, cover, where, on, track)
        return Maps(painted(scores[0] - scores[1:], where), facts={"segments": torch.tensor([float(number)])})

    return one_by_one(question, images, run)


def lime(
    question: Question,
    images: Tensor,
    *,
    samples: Samples = 1000,
    segmentation: Segmentation = "quickshift",
    segments: Count = 50,
    fill: Annotated[str, Choice(("segment mean", *BASELINES)), "what a covered segment shows"] = "segment mean",
    kernel_width: Annotated[
        float,
        Range(0.1, 5.0, 0.05),
        "width of the kernel: the smaller it is, the faster a sample's weight falls with the covered share",
    ] = 0.25,
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    parts: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """LIME: the weights of a linear model of the target, fitted to pictures with random segments covered.

    map on segment j = b_j, the ridge regression (alpha 1, with intercept) of f on z, the segments shown (each with
    probability 1/2), weighted by exp(-d^2 / (2 width^2)), d the cosine distance of z to all ones.
    Source: Ribeiro et al. 2016, arXiv:1602.04938. Sign: signed. Unit: the target's.
    Computed by `lime_base` of the authors' package, and equal to its LimeImageExplainer for the same seed and segments.
    The error is that of the weights over the random pictures (sandwich estimate, HC3); `fit R2` is the share of the
    target's variance that the linear model explains, weighted.
    Deviation: the target in place of a class probability; the segmentation does not depend on the seed. `parts` (n, H, W)
    passes segments in. With a precision goal the error is checked every 256 samples; a run that stops early equals one with
    that number of samples.

    Why: Gives each region one weight by fitting a simple model around this picture.
    Who: Analysts who know LIME, and readers who want few, large regions.
    What: Scores of the picture with about half of its segments covered.
    How: As many forward passes as samples; a signed weight for every segment, with its error.
    When: After training.
    Where: Any model that gives a number.
    Beware: Another seed or segmentation gives another map: look at the error, and do not read a map whose fit is poor.
    Ridge pulls weights towards zero where samples are few.
    """

    def run(question: Question, image: Tensor, row: int) -> Maps:
        where = segments_of(image[0], segmentation, segments, parts, row)
        cover = mean_colours(image[0], where) if fill == "segment mean" else baseline_images(image, fill)[0]
        shown = _lime_draws(seed, samples, int(where.max()) + 1)
        pictures = partial(_covered, image, cover, where, torch.from_numpy(shown.astype(bool)))
        scores = torch.empty(0, dtype=torch.float64)
        rounds = rounds_of(samples, ROUND if precision_goal else samples)
        for rows, outputs in sweep_rounds(question, pictures, rounds, size_of(image), track):
            scores = torch.cat([scores, read(question.target, outputs)])
            weights, error, fit = lime_weights(shown[: rows.stop], scores.numpy(), kernel_width, seed)
            if good_enough(torch.from_numpy(weights), torch.from_numpy(error), precision_goal):
                break
        facts = {"segments": len(weights), "samples": len(scores), "fit R2": fit}
        return Maps(
            painted(torch.from_numpy(weights), where),
            painted(torch.from_numpy(error), where),
            {name: torch.tensor([float(fact)]) for name, fact in facts.items()},
        )

    return one_by_one(question, images, run)


def kernel_shap(
    question: Question,
    images: Tensor,
    *,
    samples: Samples = 1000,
    segmentation: Segmentation = "slic",
    segments: Count = 50,
    fill: Fill = "black",
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    parts: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """KernelSHAP: the Shapley value of each segment: its mean contribution over all orders of uncovering.

    map on segment j = phi_j, minimising sum_S k(S) (f(S) - f(none) - sum_{j in S} phi_j)^2 over coalitions S of the M
    segments, k(S) = (M - 1) / (C(M, |S|) |S| (M - |S|)), with sum_j phi_j = f(all) - f(none) exactly.
    Source: Lundberg & Lee 2017, arXiv:1705.07874. Sign: signed. Unit: the target's.
    Where `samples` suffices for all 2^M - 2 coalitions, all are scored, and the values are exact. Otherwise coalitions are
    drawn with probability in proportion to k, each with its complement (Covert & Lee 2021, arXiv:2012.01536). The error is
    the standard error of the regression over such pairs (HC3); it is not a number where pairs are fewer than segments.
    Deviation: no feature selection. With fewer pairs than segments the shortest solution is taken. `parts` (n, H, W)
    passes segments in; with a precision goal the error is checked every 64 pairs.

    Why: To distribute the score over the segments by Shapley values, the only rule that satisfies the axioms of fairness.
    Who: Reviewers and researchers who need a method that satisfies an axiom.
    What: Scores of the picture with many combinations of its segments covered.
    How: As many forward passes as samples; a signed value for every segment; the values sum to the change of the score.
    When: After training; when segments act together, so that covering one at a time misleads.
    Where: Any model that gives a number.
    Beware: It depends on what a covered segment shows and on the segmentation. Take at least ten samples for each
    segment.
    """

    def run(question: Question, image: Tensor, row: int) -> Maps:
        where = segments_of(image[0], segmentation, segments, parts, row)
        number = int(where.max()) + 1
        cover = baseline_images(image, fill)[0]
        exact = number <= 30 and 2**number - 2 <= samples
        pairs = 2 ** (number - 1) - 1 if exact else samples // 2
        shown, weights = _all_coalitions(number) if exact else _drawn_coalitions(seed, pairs, number)
        ends = torch.tensor([[False], [True]]).expand(2, number)
        coalitions = torch.cat([ends, torch.stack([shown, ~shown], 1).flatten(0, 1)])  # none, all, then pair after pair
        rounds = [range(0, 2 + 2 * min(PAIRS, pairs))]
        rounds += [range(2 + 2 * part.start, 2 + 2 * part.stop) for part in rounds_of(pairs, PAIRS)[1:]]
        pictures = partial(_covered, image, cover, where, coalitions)
        scores = torch.empty(0, dtype=torch.float64)
        goal = 0.0 if exact else precision_goal
        for _, outputs in sweep_rounds(question, pictures, rounds, size_of(image), track):
            scores = torch.cat([scores, read(question.target, outputs)])
            done = (len(scores) - 2) // 2
            if goal or done == pairs:
                values, error = shapley_regression(shown[:done], weights[:done], scores)
                if good_enough(values, error, goal):
                    break
        error = torch.zeros_like(error) if exact else error
        facts = {"segments": torch.tensor([float(number)]), "samples": torch.tensor([float(len(scores))])}
        return Maps(painted(values, where), painted(error, where), facts)

    return one_by_one(question, images, run)


def _covered(image: Tensor, cover: Tensor, parts: Tensor, on: Tensor, rows: range) -> Tensor:
    return switched(image, cover, parts, on[rows.start : rows.stop])


def _scores(question: Question, image: Tensor, cover: Tensor, parts: Tensor, on: Tensor, track: Track) -> Tensor:
    """The target's values of one picture with the segments of `on` (N, M) shown, float64 (N,)."""
    pictures = partial(_covered, image, cover, parts, on)
    return read(question.target, question.sweep(pictures, len(on), size_of(image), track))


def _lime_draws(seed: int, samples: int, number: int) -> Shown:
    """The draws of LimeImageExplainer(random_state=seed): (samples, number) of 0 and 1, the first row all ones."""
    draw = np.random.RandomState(seed % 2**32)
    draw.randint(0, high=1000)  # LIME draws the seed of its segmentation first
    shown: Shown = draw.randint(0, 2, samples * number).reshape(samples, number)
    shown[0] = 1
    return shown


def lime_weights(shown: Shown, scores: Array, width: float, seed: int) -> tuple[Array, Array, float]:
    """The weights of the linear model, their standard errors, both (M,), and the weighted R^2 of the fit."""
    import sklearn.metrics
    from lime.lime_base import LimeBase

    near = sklearn.metrics.pairwise_distances(shown, shown[:1], metric="cosine").ravel()
    base = LimeBase(lambda distance: np.sqrt(np.exp(-(distance**2) / width**2)), random_state=seed % 2**32)
    intercept, coefficients, fit, _ = base.explain_instance_with_data(shown, scores[:, None], near, 0, 100_000)
    weights = np.zeros(shown.shape[1])
    for segment, weight in coefficients:
        weights[segment] = weight
    importance = base.kernel_fn(near)
    centred = shown.astype(np.float64) - np.average(shown, axis=0, weights=importance)
    inverse = np.linalg.inv(centred.T @ (importance[:, None] * centred) + np.eye(len(weights)))
    residuals = scores - intercept - shown @ weights
    return weights, _sandwich(centred, importance, residuals, inverse), float(fit)


def shapley_regression(shown: Tensor, weights: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Shapley values and their standard errors, (M,), from coalitions (P, M), their weights (P,), and the scores of none,
    all, and pair after pair of coalition and complement, (2 + 2 P,).

    With phi = (f(all) - f(none)) / M + psi the constraint is sum psi = 0, and half of the difference of a pair is
    linear in psi with regressors whose rows sum to 0: least squares of least norm keeps the constraint by itself.
    """
    share, change = shown.double().mean(1), scores[1] - scores[0]
    differences = (scores[2::2] - scores[3::2]) / 2 - (share - 0.5) * change
    regressors = (shown.double() - share[:, None]).numpy()
    root = weights.sqrt().numpy()
    inverse = np.linalg.pinv(regressors * root[:, None], rcond=1e-9)
    psi = inverse @ (root * differences.numpy())
    psi -= psi.mean()
    values = torch.from_numpy(psi + float(change) / len(psi))
    if len(shown) <= len(psi):
        return values, torch.full_like(values, torch.nan)
    residuals = differences.numpy() - regressors @ psi
    return values, torch.from_numpy(_sandwich(regressors, weights.numpy(), residuals, inverse @ inverse.T))


def _sandwich(regressors: Array, weights: Array, residuals: Array, inverse: Array) -> Array:
    """Standard errors of weighted regression coefficients by White's sandwich with residuals / (1 - leverage), HC3."""
    spread = regressors @ inverse
    leverage = np.clip(weights * (spread * regressors).sum(1), 0, 1 - 1e-6)
    errors: Array = np.sqrt(((spread * (weights * residuals / (1 - leverage))[:, None]) ** 2).sum(0))
    return errors


def _all_coalitions(number: int) -> tuple[Tensor, Tensor]:
    """One of each pair of coalition and complement, (2^(M-1) - 1, M), and the Shapley kernel of each."""
    from scipy.special import comb

    codes = torch.arange(1, 2 ** (number - 1))
    shown = (codes[:, None] >> torch.arange(number)) % 2 == 1
    size = shown.sum(1).double()
    return shown, (number - 1) / (torch.from_numpy(comb(number, size.numpy())) * size * (number - size))


def _drawn_coalitions(seed: int, pairs: int, number: int) -> tuple[Tensor, Tensor]:
    """Coalitions (P, M) drawn in proportion to the Shapley kernel, all of weight 1. Pair j depends on (seed, j) alone."""
    draws = torch.stack([runtime.uniform_draw(seed, pair, (number + 1,)) for pair in range(pairs)])
    sizes = torch.arange(1, number, dtype=torch.float64)
    chance = 1 / (sizes * (number - sizes))
    steps = (chance.cumsum(0) / chance.sum())[:-1].contiguous()
    size = 1 + torch.searchsorted(steps, draws[:, 0].double(), right=True)
    rank = draws[:, 1:].argsort(1).argsort(1)
    return rank < size[:, None], torch.ones(pairs, dtype=torch.float64)
