"""Evidence for a group: whose head it is, wrong training labels behind wrong answers, and the actions."""

import numpy as np
import pandas as pd
import pytest

from xai_core.core.errors import BadRequest
from xai_core.failures.group_evidence import actions, group_evidence, linear_head
from xai_core.failures.label_triage import triage
from xai_core.failures.training_evidence import fit_probe
from xai_core.models.loading import load_model

CENTRES = np.random.default_rng(0).normal(size=(3, 8)) * 1.2
CLASSES = np.array(["ape", "bee", "cat"])


def table(codes, features, predicted, prefix):
    return pd.DataFrame(
        {"path": [f"{prefix}/{place}.png" for place in range(len(codes))], "true": CLASSES[codes],
         "predicted": CLASSES[predicted], "predicted_index": predicted, "embedding": list(features.astype(np.float32))}
    )  # fmt: skip


def planted(noise=0.0, seed=1):
    """Training pictures, of which a share of the bees is labelled ape, and test pictures answered by a probe of them."""
    draws = np.random.default_rng(seed)
    codes = np.arange(450) % 3
    features = CENTRES[codes] + draws.normal(size=(450, 8))
    labels = codes.copy()
    wrong = (codes == 1) & (draws.random(450) < noise)
    labels[wrong] = 0
    probe = fit_probe(features, labels, CLASSES.tolist())
    true = np.arange(600) % 3
    tests = CENTRES[true] + draws.normal(size=(600, 8))
    training = table(labels, features, probe.logits(features).argmax(1), "train")
    return training, table(true, tests, probe.logits(tests).argmax(1), "test"), np.flatnonzero(wrong)


def evidence_of(training, rows, true="bee", predicted="ape"):
    members = np.flatnonzero((rows["true"] == true) & (rows["predicted"] == predicted))
    judgement = triage(np.stack(training["embedding"].to_list()), training["true"].to_list())
    return group_evidence(training, rows, members, judgement, count=15), members, judgement


def test_wrong_training_labels_are_found_behind_the_answers_that_they_cause():
    training, rows, wrong = planted(noise=0.25)
    result, members, judgement = evidence_of(training, rows)
    found = result.contradicted()
    assert np.isin(found, wrong).mean() > 0.8  # of the training pictures, a twelfth has a wrong label
    assert (result.training["contradicted"].to_numpy() == judgement.pictures["flagged"].to_numpy(bool)).all()
    assert result.errors.tolist() == members.tolist()
    relabel = next(action for action in actions(result, "bees", rows, "train") if action.kind == "relabel")
    out = set().union(*(result.evidence.refits[name].removed for name in ("influence", "representer", "TracIn")))
    assert f"{len(found)} have a label" in relabel.reason and f"Of the {len(out)} training" in relabel.reason
    assert relabel.settings["labels to check"].count(";") == len(found) - 1 and relabel.paths == ()


def test_the_estimate_is_that_of_a_probe_with_the_corrected_labels():
    training, rows, _ = planted(noise=0.45)
    result, members, _ = evidence_of(training, rows)
    labels, wrong = training["true"].to_numpy(str).copy(), result.contradicted()
    labels[wrong] = result.training["suggested"].to_numpy(str)[wrong]
    features, tests = (np.stack(part["embedding"].to_list()).astype(float) for part in (training, rows))
    assert result.evidence.refits["influence"].held_out
    suggesting = np.delete(members, result.evidence.refits["influence"].falls["picture"].to_numpy())
    tested = np.setdiff1d(np.arange(600), suggesting)
    shares = []
    for given in (training["true"].to_numpy(str), labels):
        probe = fit_probe(features, np.searchsorted(CLASSES, given), CLASSES.tolist())
        shares.append((CLASSES[probe.logits(tests[tested]).argmax(1)] == rows["true"].to_numpy(str)[tested]).mean())
    assert f"right on {shares[1]:.1%} of {len(tested)} pictures" in result.estimate
    assert f"before on {shares[0]:.1%}" in result.estimate and shares[1] > shares[0]


def test_right_labels_give_nothing_to_relabel_but_their_flags():
    training, rows, _ = planted()
    result, _, judgement = evidence_of(training, rows)
    wrong = result.contradicted()
    assert len(wrong) <= len(judgement.flags)
    for action in actions(result, "bees", rows, "train"):
        assert action.kind == "collect" or len(wrong)
    collect = [action for action in actions(result, "bees", rows, "train") if action.kind == "collect"]
    assert len(collect) == result.evidence.refits["influence"].proven


def test_a_group_without_errors_between_training_classes_is_refused():
    training, rows, _ = planted()
    judgement = triage(np.stack(training["embedding"].to_list()), training["true"].to_list())
    right = np.flatnonzero(rows["true"] == rows["predicted"])
    with pytest.raises(BadRequest, match="No error of this group"):
        group_evidence(training, rows, right, judgement)


def test_a_head_is_used_only_where_it_repeats_the_answers():
    model = load_model("world_planted")
    weight = model.network.classify.weight.double().numpy()
    draws = np.random.default_rng(0)
    features = draws.normal(size=(50, weight.shape[1])).astype(np.float32)
    predicted = (features @ weight.T + model.network.classify.bias.double().numpy()).argmax(1)
    rows = pd.DataFrame({"predicted_index": predicted, "embedding": list(features)})
    head = linear_head(model, rows)
    assert head is not None and (head.weight == weight).all()
    assert linear_head(model, rows.assign(predicted_index=(predicted + 1) % 10)) is None
    assert linear_head(model, rows.assign(embedding=list(features[:, :5]))) is None
    assert linear_head(model, rows.drop(columns="embedding")) is None
    assert linear_head(model, rows[:0]) is None
