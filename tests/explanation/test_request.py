"""A request holds everything a result depends on, and its key is the key of the result."""

from dataclasses import replace

import pytest
import torch
from small_models import pictures, small

from xai_core.attribution.explain import answer, explain, request_for, requests_for, with_method
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.explanation.request import PredictedClass, Request, joint_key
from xai_core.explanation.similarity import DotProduct
from xai_core.explanation.targets import ClassLogit, ClassMargin
from xai_core.pairs.explain import pair_request

MODEL, SIDE = small("custom").model, small("custom").side


def request(method="grad_cam", number=1, **changes):
    question = request_for(MODEL, list(pictures(number, SIDE)), **{"target": 1, **changes})
    return with_method(question, method)


def test_the_key_of_a_request_is_the_key_of_its_explanation():
    for method in ("grad_cam", "saliency", "smooth_grad"):
        asked = request(method)
        ((answered, explanation),) = answer([asked])
        assert asked.key == answered.key == explanation.key


def test_a_predicted_class_gets_its_key_when_it_is_known():
    asked = request(target=None)
    ((answered, explanation),) = answer([asked])
    assert isinstance(asked.target, PredictedClass) and isinstance(answered.target, ClassLogit)
    assert asked.key != answered.key == explanation.key


def test_the_rival_of_a_predicted_class_is_part_of_the_question():
    ((answered, explanation),) = answer([request(target=None, rival=3)])
    assert isinstance(answered.target, ClassMargin) and answered.target.rivals == (3,)
    assert explanation.target_key == answered.target.key(0)


CHANGES = {
    "model": lambda one: replace(one, model=replace(MODEL, id="other")),
    "weights": lambda one: replace(one, model=replace(MODEL, fingerprint="other")),
    "pictures": lambda one: replace(one, pictures=(MODEL.prepare(pictures(1, SIDE, seed=5)[0]),)),
    "target": lambda one: replace(one, target=ClassLogit((2,))),
    "kind of target": lambda one: replace(one, target=ClassMargin((1,), (2,))),
    "rival": lambda one: replace(one, target=ClassMargin((1,), (3,))),
    "method": lambda one: replace(one, method="layer_cam"),
    "options": lambda one: replace(one, options={**one.options, "relu": not one.options["relu"]}),
    "cut": lambda one: replace(one, cut="early"),
    "precision": lambda one: replace(one, precision="fast"),
    "seed": lambda one: replace(one, seed=1),
    "version": lambda one: replace(one, version=one.version + 1),
    "computation": lambda one: one.computing("quick deletion"),
    "option of a computation": lambda one: one.computing("quick deletion", blur=3),
}


def test_every_part_changes_the_key():
    keys = {name: change(request()).key for name, change in CHANGES.items()} | {"itself": request().key}
    assert len(set(keys.values())) == len(keys)
    assert request().key == request().key


def test_rows_are_the_requests_of_the_single_pictures():
    three = request(number=3, target=[1, 2, 3])
    assert [three.rows([row]).target for row in range(3)] == [ClassLogit((label,)) for label in (1, 2, 3)]
    assert [explanation.key for _, explanation in answer([three])] == [three.rows([row]).key for row in range(3)]
    shared = replace(three, target=ClassLogit((1,)))
    assert shared.rows([2]).target == ClassLogit((1,))


def test_a_prepared_picture_is_not_prepared_again(monkeypatch):
    image = pictures(1, SIDE)[0]
    prepared = MODEL.prepare(image)
    expected = explain(MODEL, image, "grad_cam", target=1)
    monkeypatch.setattr(type(MODEL), "prepare", lambda *_: pytest.fail("prepared again"))
    assert explain(MODEL, prepared, "grad_cam", target=1).key == expected.key


def test_methods_share_one_trunk_pass():
    requests = requests_for(MODEL, [pictures(1, SIDE)[0]], {name: {} for name in ("grad_cam", "layer_cam", "eigen_cam")})
    passes = [explanation.passes for _, explanation in answer(requests)]
    assert sum(each.forward for each in passes) == 1


def test_a_method_that_does_not_look_at_a_cut_has_none_in_its_key():
    early, late = (
        with_method(request_for(MODEL, [pictures(1, SIDE)[0]], target=1, cut=cut), "saliency") for cut in MODEL.cuts
    )
    assert early.cut == "" and early.key == late.key


def test_a_request_about_no_output_cannot_be_answered():
    embedding = Request(MODEL, request().pictures, None, "embedding")
    assert embedding.key != replace(embedding, method="logits").key
    with pytest.raises(BadRequest, match="give it a target"):
        embedding.activate()


REFUSED = [
    ({"seed": 1.5}, BadRequest),
    ({"precision": "slow"}, BadRequest),
    ({"cut": "nowhere"}, UnknownName),
    ({"target": "cat"}, UnknownName),
]


@pytest.mark.parametrize(("given", "error"), REFUSED, ids=str)
def test_what_cannot_be_asked_is_refused_before_any_pass(given, error):
    with pytest.raises(error):
        request(**given)


def test_a_joint_key_depends_on_order_and_purpose():
    first, second = request(), request("saliency")
    keys = {joint_key("tiles", [first, second]), joint_key("tiles", [second, first]), joint_key("clusters", [first, second])}
    assert len(keys) == 3 and joint_key("tiles", [first, second]) in keys


def test_the_key_of_a_pair_tells_views_similarity_and_method_apart():
    one, two = pictures(2, SIDE)
    keys = {
        pair_request(MODEL, one, two, "grad_cam").key,
        pair_request(MODEL, two, one, "grad_cam").key,
        pair_request(MODEL, one, two, "class:grad_cam").key,
        pair_request(MODEL, one, two, "grad_cam", similarity=DotProduct()).key,
        pair_request(MODEL, one, two, "grad_cam", seed=1).key,
        pair_request(MODEL, one, two, "grad_cam", cut="early").key,
        pair_request(MODEL, one, two).key,
    }
    assert len(keys) == 7


def test_a_batch_on_the_device_is_what_the_question_sees():
    active = request(number=2, target=[1, 2]).activate()
    assert active.images.shape == (2, 3, SIDE, SIDE)
    assert torch.equal(active.question.values(active.images), active.question.scores(active.images))
