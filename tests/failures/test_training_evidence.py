"""Evidence from training: its identities and closed forms, finite retraining, and the planted world."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from xai_core.core.errors import BadRequest
from xai_core.failures.head_edits import Head
from xai_core.failures.training_evidence import (
    FEWEST,
    MEASURES,
    evidence,
    fit_probe,
    influences,
    last_layer_tracin,
    representer_shares,
)

DRAWS = np.random.default_rng(0)
CLASSES = ("ape", "bee", "cat")
CODES = np.arange(90) % 3
CENTRES = DRAWS.normal(size=(3, 6)) * 1.5
FEATURES = CENTRES[CODES] + DRAWS.normal(size=(90, 6)) + 3
LABELS = [CLASSES[code] for code in CODES]
TESTS = CENTRES[0] + DRAWS.normal(size=(40, 6)) + 3
TEST_ANSWERS, RIVALS = ["ape"] * 40, ["bee"] * 40
SIGNS = np.tile([1.0, -1.0, 0.0], (40, 1))
PENALTY = 0.1


def probe_of(places=slice(None), like=None):
    return fit_probe(FEATURES[places], CODES[places], CLASSES, PENALTY, like=like)


def test_the_probe_is_that_of_scikit_learn():
    probe = probe_of()
    peer = LogisticRegression(C=PENALTY, fit_intercept=False, tol=1e-10, solver="newton-cholesky")
    peer.fit(probe.inputs(FEATURES), CODES)
    assert probe.weight == pytest.approx(peer.coef_, abs=1e-5)
    again = probe_of()
    assert (again.weight == probe.weight).all()  # deterministic


def test_the_shares_of_the_training_pictures_add_up_to_every_logit():
    probe = probe_of()
    assert probe.alpha.T @ probe.inputs(FEATURES) == pytest.approx(probe.weight, abs=1e-6)
    for place in range(3):
        signs = np.eye(3)[[place]]
        shares = representer_shares(probe, FEATURES, TESTS[:1], signs)
        assert shares.sum() == pytest.approx(probe.logits(TESTS[:1])[0, place], abs=1e-5)
    margins = representer_shares(probe, FEATURES, TESTS, SIGNS)
    assert margins.sum() == pytest.approx((probe.logits(TESTS) * SIGNS).sum(1).mean(), abs=1e-5)


def test_alpha_is_the_derivative_of_the_loss_by_the_logits():
    """alpha_i = -1 / (2 lambda n) dL_i / dlogits, differentiated by torch; 1 / (2 lambda n) is the penalty's inverse."""
    probe = probe_of()
    logits = torch.from_numpy(probe.logits(FEATURES)).requires_grad_()
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(CODES), reduction="sum").backward()
    assert probe.alpha == pytest.approx(-PENALTY * logits.grad.numpy())


def test_influence_is_what_fitting_without_the_picture_does():
    """Every second training picture is left out in turn. To first order means: nearly, and in the same order."""
    probe = probe_of()
    expected = influences(probe, FEATURES, CODES, TESTS, SIGNS)
    before = (probe.logits(TESTS) * SIGNS).sum(1).mean()
    true = []
    left_out = np.arange(0, 90, 2)  # of all three labels
    for place in left_out:
        kept = np.arange(90) != place
        peer = LogisticRegression(C=PENALTY, fit_intercept=False, tol=1e-10, solver="newton-cholesky")
        peer.fit(probe.inputs(FEATURES[kept]), CODES[kept])
        true.append(before - (probe.inputs(TESTS) @ peer.coef_.T * SIGNS).sum(1).mean())
    expected = expected[left_out]
    assert np.corrcoef(expected, true)[0, 1] > 0.99
    assert np.abs(expected - true).max() < 0.25 * np.abs(true).max()
    shares = representer_shares(probe, FEATURES, TESTS, SIGNS)[left_out]
    assert 0.3 < spearmanr(shares, true).statistic < spearmanr(expected, true).statistic


def test_tracin_is_the_dot_product_of_gradients_and_the_effect_of_a_small_step():
    weights = [DRAWS.normal(size=(3, 6)) * 0.3 for _ in range(2)]
    heads = [Head(weight, DRAWS.normal(size=3) * 0.1) for weight in weights]
    rates, answers = [0.5, 0.1], np.zeros(5, np.int64)
    values = last_layer_tracin(heads, rates, FEATURES, CODES, TESTS[:5], answers)

    def loss(weight, bias, inputs, codes):
        return torch.nn.functional.cross_entropy(torch.from_numpy(inputs) @ weight.T + bias, torch.from_numpy(codes))

    for place in (0, 7, 50):
        total = 0.0
        for head, rate in zip(heads, rates, strict=True):
            own = [torch.from_numpy(part.copy()).requires_grad_() for part in (head.weight, head.bias)]
            mine = torch.autograd.grad(loss(*own, FEATURES[[place]], CODES[[place]]), own)
            theirs = torch.autograd.grad(loss(*own, TESTS[:5], answers), own)
            total += rate * sum(float((one * other).sum()) for one, other in zip(mine, theirs, strict=True))
        assert values[place] == pytest.approx(total)
    step = 1e-6  # one step of training on picture 7: by how much the loss of the answers falls
    (one,) = (last_layer_tracin(heads[:1], [1.0], FEATURES, CODES, TESTS[:5], answers)[[7]],)
    own = [torch.from_numpy(part.copy()).requires_grad_() for part in (heads[0].weight, heads[0].bias)]
    gradient = torch.autograd.grad(loss(*own, FEATURES[[7]], CODES[[7]]), own)
    moved = [(part - step * by).detach() for part, by in zip(own, gradient, strict=True)]
    fallen = (loss(*own, TESTS[:5], answers) - loss(*moved, TESTS[:5], answers)).item() / step
    assert one[0] == pytest.approx(fallen, rel=1e-3)


def test_the_refit_is_that_of_scikit_learn_on_pictures_that_suggested_nothing():
    result = evidence(FEATURES, LABELS, TESTS, TEST_ANSWERS, RIVALS, count=5, draws=2, penalty=PENALTY)
    probe, refit = probe_of(), result.refits["influence"]
    assert refit.held_out and len(refit.falls) == 20
    tested = refit.falls["picture"].to_numpy()
    found = np.setdiff1d(np.arange(40), tested)
    order = np.argsort(-influences(probe, FEATURES, CODES, TESTS[found], SIGNS[found]))
    assert refit.removed.tolist() == order[:5].tolist()

    def margins(left_out):
        kept = np.setdiff1d(np.arange(90), left_out)
        peer = LogisticRegression(C=PENALTY, fit_intercept=False, tol=1e-10, solver="newton-cholesky")
        peer.fit(probe.inputs(FEATURES[kept]), CODES[kept])
        return (probe.inputs(TESTS[tested]) @ peer.coef_.T * SIGNS[tested]).sum(1)

    before = margins([])
    assert refit.falls["margin"].to_numpy() == pytest.approx(before, abs=1e-3)
    assert refit.falls["evidence"].to_numpy() == pytest.approx(before - margins(refit.removed), abs=2e-3)
    by_draws = np.mean([before - margins(draw) for draw in refit.random], axis=0)
    assert refit.falls["random"].to_numpy() == pytest.approx(by_draws, abs=2e-3)
    for draw in refit.random:  # the same labels, and none of the evidence
        assert sorted(CODES[draw]) == sorted(CODES[refit.removed]) and not set(draw) & set(refit.removed)
    assert refit.proven and f"falls by {refit.falls['evidence'].mean():.2f}" in refit.sentence


def test_measures_are_means_over_the_test_pictures_and_signed():
    result = evidence(FEATURES, LABELS, TESTS[:3], TEST_ANSWERS[:3], RIVALS[:3], count=5, draws=1, penalty=PENALTY)
    each = [evidence(FEATURES, LABELS, TESTS[[t]], ["ape"], ["bee"], count=5, draws=1, penalty=PENALTY) for t in range(3)]
    for measure in MEASURES:
        mean = np.mean([one.pictures[measure] for one in each], axis=0)
        assert result.pictures[measure].to_numpy() == pytest.approx(mean, abs=1e-5)
    strongest, against = result.strongest(count=10), result.strongest(count=10, against=True)
    assert (strongest["influence"] > 0).all() and (against["influence"] < 0).all()
    assert strongest["label"].value_counts().idxmax() == "ape" and against["label"].value_counts().idxmax() == "bee"
    assert result.margins.sum() == pytest.approx(3 * result.pictures["representer"].sum(), abs=1e-4)


def test_the_similarity_is_the_cosine_of_centred_features():
    centred, test = FEATURES - FEATURES.mean(0), TESTS[0] - FEATURES.mean(0)
    cosines = [float(row @ test / np.linalg.norm(row) / np.linalg.norm(test)) for row in centred]
    result = evidence(FEATURES, LABELS, TESTS[:1], ["ape"], count=5, draws=1)
    assert result.pictures["similarity"].to_numpy() == pytest.approx(cosines)


def test_planted_causes_of_an_answer_are_its_evidence():
    """A twelfth of the training pictures of one class share a feature with the errors, and nothing else does."""
    draws = np.random.default_rng(5)
    codes = np.arange(600) % 3
    inputs = CENTRES[codes] + draws.normal(size=(600, 6))
    marked = np.flatnonzero(codes == 0)[:50]
    inputs = np.column_stack([inputs, np.isin(np.arange(600), marked) * 3.0])
    tests = np.column_stack([CENTRES[1] + draws.normal(size=(40, 6)), np.full(40, 3.0)])  # bees with the mark
    result = evidence(inputs, [CLASSES[c] for c in codes], tests, ["ape"] * 40, ["bee"] * 40, draws=3)
    for measure in ("influence", "representer", "TracIn"):
        assert np.isin(result.refits[measure].removed, marked).mean() >= 0.9  # of all pictures, 8% are marked
        assert result.refits[measure].proven


def test_a_random_ranking_is_not_proven():
    """Where the features say nothing, leaving out the nearest pictures is like leaving out random ones: at most 1 of 12."""
    proven = 0
    for seed in range(12):
        draws = np.random.default_rng(seed)
        inputs, tests = draws.normal(size=(120, 4)), draws.normal(size=(FEWEST, 4))
        labels = [CLASSES[code] for code in draws.integers(0, 3, 120)]
        result = evidence(inputs, labels, tests, ["ape"] * FEWEST, ["bee"] * FEWEST, count=5, draws=1, seed=seed)
        proven += result.refits["similarity"].proven
    assert proven <= 1


def test_few_pictures_and_few_labels_are_answered_or_refused_with_a_reason():
    result = evidence(FEATURES, LABELS, TESTS[:1], ["ape"], count=5, draws=1)
    refit = result.refits["influence"]
    assert not refit.held_out and not refit.proven and not np.isfinite(refit.difference.low)
    assert "nan" not in refit.sentence
    two = evidence(FEATURES, LABELS, TESTS[:2], ["ape"] * 2, count=5, draws=1).refits["influence"]
    assert f"fewer than {FEWEST} test pictures" in two.sentence
    few = evidence(FEATURES[:30], LABELS[:30], TESTS, TEST_ANSWERS, RIVALS)
    assert few.refits == {} and "too many to leave out" in few.reasons[0]
    scarce = evidence(FEATURES[:60], LABELS[:60], TESTS, TEST_ANSWERS, RIVALS, count=19)
    assert set(scarce.refits) <= set(MEASURES)
    with pytest.raises(BadRequest, match="fewer than two labels"):
        evidence(FEATURES, ["ape"] * 90, TESTS, TEST_ANSWERS)
    with pytest.raises(BadRequest, match="No training picture is of the class dog"):
        evidence(FEATURES, LABELS, TESTS[:1], ["dog"])
    with pytest.raises(BadRequest, match="its own rival"):
        evidence(FEATURES, LABELS, TESTS[:1], ["ape"], ["ape"])
    with pytest.raises(BadRequest, match="as in training"):
        evidence(FEATURES, LABELS, TESTS[:, :4], TEST_ANSWERS)
    with pytest.raises(BadRequest, match="each picture needs one"):
        evidence(FEATURES, LABELS, TESTS, ["ape"])
    with pytest.raises(BadRequest, match="not finite"):
        evidence(FEATURES * np.nan, LABELS, TESTS, TEST_ANSWERS)
    with pytest.raises(BadRequest, match="needs a rate"):
        evidence(FEATURES, LABELS, TESTS, TEST_ANSWERS, heads=[Head(np.eye(3), np.zeros(3))], head_classes=CLASSES)
