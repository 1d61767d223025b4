"""Measuring many maps at once: what is shared, what is refused, where boxes lie; the self-test, untrained twins."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from quadrants import BOX, INVERTED, RANDOM, SIDE, TRUE, Corner, convolutions, picture, reader
from small_models import pair, pictures, small
from torch import nn

from xai_core.attribution.explain import explain, explain_methods
from xai_core.core import runtime
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data.box import inside
from xai_core.explanation.targets import ClassLogit, ClassMargin, SimilarityTo, confidence, target_of_key
from xai_core.metrics import measure as measure_module
from xai_core.metrics import self_test
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.measure import CONTROLS, measure, measure_all
from xai_core.metrics.stability.randomisation import cascaded
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.models.random_init import untrained


def counted(model):
    """The model, and a list of how many pictures each of its passes had."""
    sizes, first = [], model.network.stages[0]

    def run(images):
        sizes.append(len(images))
        return first.run(images)

    stages = (replace(first, run=run), *model.network.stages[1:])
    return replace(model, network=replace(model.network, stages=stages)), sizes


def test_ten_maps_and_the_controls_are_one_stream_of_full_batches():
    model, sizes = counted(reader())
    maps = {str(index): np.random.default_rng(index).random((7, 7)) for index in range(10)}
    metrics = ["insertion", "deletion", "average_drop", "increase_in_confidence", "average_gain"]
    rows = list(measure_all(model, picture(), maps, metrics, target=ClassLogit((0,))))
    assert len(rows) == 14 * 5
    own = 14 * (2 * 15 + 1)  # the ends of the curves, the plain picture and the masked one are shared
    assert sum(sizes) == own + 3
    assert sum(size == 16 for size in sizes) >= len(sizes) - 2


def test_shared_draws_cost_ten_maps_no_more_than_one():
    for count in (1, 10):
        model, sizes = counted(reader())
        maps = {str(index): np.random.default_rng(index).random((7, 7)) for index in range(count)}
        metrics = {"faithfulness_correlation": {"samples": 40}, "infidelity": {"samples": 30}}
        assert len(list(measure_all(model, picture(), maps, metrics, controls=False, target=ClassLogit((0,))))) == 2 * count
        assert sum(sizes) == 40 + 30 + 1


def test_the_robustness_metrics_make_their_maps_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        measure_module, "explain", lambda *given, **more: made.append(len(given[1])) or explain(*given, **more)
    )
    model, image = convolutions(), picture()
    one = explain(model, image, "saliency", target=0)
    metrics = {name: {"samples": 3} for name, metric in METRICS.items() if metric.family == "robustness"}
    metrics["flip_consistency"] = {}
    values = [found.value for _, _, found in measure_all(model, image, {"m": one}, metrics, controls=False)]
    assert made == [3, 1] and np.isfinite(values).all()


def test_batches_and_progress(monkeypatch):
    model, image = reader(), picture()
    maps = {"true": TRUE, "random": RANDOM}
    metrics = {"deletion": {}, "road": {"levels": 3}, "sensitivity_n": {"samples": 10}}
    usual = [one.value for _, _, one in measure_all(model, image, maps, metrics)]
    monkeypatch.setattr(runtime, "inner_batch", lambda *given, **more: 3)
    seen = []

    def track(batches):
        batches = list(batches)
        seen.append(len(batches))
        yield from batches

    tracked = [one.value for _, _, one in measure_all(model, image, maps, metrics, track=track)]
    assert tracked == pytest.approx(usual, abs=1e-5, nan_ok=True)
    assert len(seen) == 1 and seen[0] > 20, "one bar for all"


def test_stopping_in_between_stops_the_passes():
    model, sizes = counted(reader())

    def stop(batches):
        for number, one in enumerate(batches):
            if number == 2:
                raise KeyboardInterrupt
            yield one

    with pytest.raises(KeyboardInterrupt):
        list(measure_all(model, picture(), {"m": RANDOM}, {"deletion": {"steps": 200}}, track=stop))
    assert len(sizes) <= 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((3, 7, 7)), "A map is an array"),
        (np.ones((7, 20)), "the network sees 56 x 56 pixels"),
        (np.array([["a"]]), "A map is an array"),
        (np.zeros((0, 0)), "A map is an array"),
    ],
)
def test_what_is_no_map_of_this_picture_is_refused(given, message):
    with pytest.raises(BadRequest, match=message):
        measure(reader(), picture(), given, "deletion")


def test_a_map_without_numbers_or_without_evidence_says_so():
    for broken in (np.full((7, 7), np.nan), np.array([[1.0, np.inf], [0, 0]])):
        found = measure(reader(), picture(), broken, "deletion", controls=False)
        assert math.isnan(found.value) and "not numbers" in found.note and found.passes == 0
    zero = {name: one for _, name, one in measure_all(reader(), picture(), {"m": np.zeros((7, 7))}, list(METRICS), box=BOX)}
    assert zero["deletion"].note and np.isfinite(zero["deletion"].value), "its order is the tie rule's"
    for name in ("sparseness", "entropy", "energy_pointing_game", "faithfulness_correlation"):
        assert math.isnan(zero[name].value) and zero[name].note


def test_other_wrong_questions():
    model, image = reader(), picture()
    one = explain(model, image, "saliency", target=0)
    other = explain(model, picture(0.5), "saliency", target=0)
    rival = explain(model, image, "saliency", target=1)
    with pytest.raises(BadRequest, match="of another picture"):
        measure(model, image, other, "deletion")
    with pytest.raises(BadRequest, match="different targets"):
        next(measure_all(model, image, {"a": one, "b": rival}, ["deletion"]))
    with pytest.raises(UnknownName, match="no metric 'deleton'"):
        measure(model, image, one, "deleton")
    with pytest.raises(UnknownName, match="no option 'step'"):
        measure(model, image, one, "deletion", step=3)
    with pytest.raises(BadRequest, match="takes a whole number"):
        measure(model, image, one, "deletion", steps=1)
    with pytest.raises(BadRequest, match="name of a control"):
        next(measure_all(model, image, {"control:uniform_map": one}, ["deletion"]))
    assert "needs a box" in measure(model, image, one, "pointing_game").note
    encoder = replace(small("custom").model, network=replace(small("custom").model.network, classify=None))
    reference = SimilarityTo(encoder.embed(pictures(1, 48, seed=3)[0]))
    alike = explain(encoder, pictures(1, 48)[0], "saliency", target=reference)
    with pytest.raises(BadRequest, match="give the target"):
        measure(encoder, pictures(1, 48)[0], alike, "deletion")
    found = measure(encoder, pictures(1, 48)[0], alike, "deletion", reference)
    assert np.isfinite(found.value) and found.curve[0, 1] == pytest.approx(alike.target_value, abs=1e-4)
    assert "classifier" in measure(encoder, pictures(1, 48)[0], alike, "random_logit", reference).note


def test_one_map_that_cannot_be_made_again_does_not_stop_the_others():
    plain = ExplainableModel.from_stages(
        [("corner", lambda images: images)], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), classify=nn.Linear(3, 4)
    )
    one = explain(plain, picture(), "saliency", target=0)
    found = {key: row for _, key, row in measure_all(plain, picture(), {"m": one}, ["parameter_randomisation", "entropy"])}
    assert "plain functions" in found["parameter_randomisation"].note and np.isfinite(found["entropy"].value)


# where boxes lie


def test_boxes_lie_in_the_picture_and_follow_the_crop():
    model = small("custom").model  # 48 pixels; resizes the shorter side, and cuts the middle out
    wide = Image.new("RGB", (96, 48))
    prepared = model.prepare(wide)
    assert prepared.box == (24, 0, 72, 48)
    found = inside((24, 0, 48, 24), prepared)
    assert found[:24, :24].all() and found.sum() == 24 * 24
    mask = np.zeros((48, 96), bool)
    mask[:24, 24:48] = True
    assert np.array_equal(inside(mask, prepared), found)
    two = inside([(24, 0, 48, 24), (48, 24, 200, 99)], prepared)
    assert two[24:, 24:].all() and two.sum() == 2 * 24 * 24, "beyond the edge there is nothing"
    assert not inside((0, 0, 20, 48), prepared).any()
    note = measure(model, wide, np.ones((6, 6)), "energy_pointing_game", box=(0, 0, 20, 48), controls=False).note
    assert note == "The network's crop shows nothing of the box."


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((60, 0, 80, 10), "outside the picture, which has 56 x 56"),
        ((30, 0, 10, 10), "is empty"),
        ((1, 2, 3), "A box is four numbers"),
        (np.ones((10, 10)), "A box is four numbers"),
        ((0, 0, float("nan"), 3), "A box is four numbers"),
        ("abcd", "A box is four numbers"),
    ],
)
def test_what_is_no_box_is_refused(box, message):
    with pytest.raises(BadRequest, match=message):
        measure(reader(), picture(), RANDOM, "pointing_game", box=box)


def test_localisation_with_a_box():
    rows = measure_all(reader(), picture(), {"true": TRUE, "wrong": INVERTED}, list(METRICS), box=BOX)
    found = {(name, key): one.value for name, key, one in rows if "box" in METRICS[key].needs}
    for key in ("energy_pointing_game", "relevance_rank_accuracy", "top_k_intersection", "pointing_game"):
        assert found["true", key] == 1 > found["wrong", key]
        assert {f"{name}" for name, other in found if other == key} == {"true", "wrong", *CONTROLS}


# targets


def test_confidence_is_the_same_question_from_0_to_1():
    model, images = convolutions(), pictures(2, SIDE)
    logits = model.outputs(images).logits
    margin = ClassMargin((1,), (2,))
    between = confidence(margin)(model.outputs(images))
    assert torch.allclose(between, logits[:, 1:3].softmax(1)[:, 0], atol=1e-6)
    assert torch.allclose(confidence(ClassLogit((3,)))(model.outputs(images)), logits.softmax(1)[:, 3])
    assert confidence(confidence(margin)) == confidence(margin) and confidence(margin).key(0) != margin.key(0)
    similarity = SimilarityTo(torch.ones(1, 8))
    assert confidence(similarity) is similarity and target_of_key(similarity.key(0)) is None
    for target in (margin, ClassLogit((3,)), confidence(ClassLogit((3,)))):
        assert target_of_key(target.key(0)) == target


# the self-test


def test_a_metric_that_is_turned_around_fails_the_self_test(monkeypatch):
    model, image = convolutions(3), picture()
    names = ["insertion", "faithfulness_correlation", "energy_pointing_game", "average_drop", "entropy", "max_sensitivity"]
    found = {one.metric: one for one in self_test.self_test(model, image, names)}
    assert [found[name].trusted for name in names[:3]] == [True, True, True], found
    assert found["average_drop"].trusted is False and "uniform" in found["average_drop"].message
    assert found["entropy"].trusted is None and "nothing about its truth" in found["entropy"].message
    assert set(found["insertion"].values) == {"true", "inverted", "random", "uniform"}
    turned = replace(METRICS["insertion"], direction="lower")
    monkeypatch.setitem(METRICS, "insertion", turned)
    (one,) = self_test.self_test(model, image, ["insertion"])
    assert one.trusted is False and "it ranks the inverted" in one.message


def test_the_self_test_blanks_all_but_a_quadrant_and_says_what_it_costs():
    model, sizes = counted(convolutions(3))
    blinded = self_test.with_visible(model, TRUE > 0)
    image = picture()
    black = image * torch.from_numpy(TRUE)
    assert torch.allclose(blinded.outputs(image[None]).logits, model.outputs(black[None]).logits)
    sizes.clear()
    assert len(list(self_test.self_test(model, image, ["insertion", "road"]))) == 2
    assert (
        0.6 * self_test.self_test_passes(["insertion", "road"])
        < sum(sizes)
        <= self_test.self_test_passes(["insertion", "road"])
    )


def test_where_the_network_does_not_respond_nothing_is_told():
    model = reader()
    (one,) = self_test.self_test(model, torch.zeros(3, SIDE, SIDE), ["insertion"])
    assert one.trusted is None and "does not respond" in one.message


def test_randomisation_metrics_are_tested_with_a_method_that_ignores_the_network():
    found = list(self_test.self_test(convolutions(3), picture(), {"random_logit": {"classes": 1}}))
    assert found[0].trusted and found[0].values["edge_detector"] == pytest.approx(1)


# untrained twins


def tensors(model):
    stages = [stage.run for stage in model.network.stages]
    return {
        f"{index}.{name}": value
        for index, part in enumerate([*stages, model.network.classify])
        if isinstance(part, nn.Module)
        for name, value in part.named_parameters()
    }


class Learnt(nn.Module):
    """A parameter without an initialiser of its own, like a class token."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.linspace(-1, 1, 12).view(3, 2, 2))

    def forward(self, images):
        return images + self.token.mean()


def test_every_parameter_of_a_twin_is_another_and_each_seed_has_its_own():
    model = ExplainableModel.from_stages(
        [("corner", Corner()), ("token", Learnt()), ("layer", nn.Conv2d(3, 4, 3))],
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        classify=nn.Linear(4, 3),
    )
    state = torch.random.get_rng_state()
    first, again, other = (tensors(untrained(model, seed)) for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    for name, value in tensors(model).items():
        assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name]), name
        assert not (first[name] == value).any() and not first[name].requires_grad, name


def test_a_twin_of_the_catalogue_is_the_architecture_anew():
    model = load_model("efficientnet_lite0")
    twin = untrained(model, 1)
    ours, theirs = tensors(model), tensors(twin)
    assert twin.recipe == model.recipe and ours.keys() == theirs.keys()
    drawn = [name for name, value in ours.items() if value.ndim > 1]
    assert len(drawn) > 40 and not any(torch.equal(ours[name], theirs[name]) for name in drawn)
    again, other = (tensors(untrained(model, seed)) for seed in (1, 2))
    assert all(torch.equal(again[name], theirs[name]) and not torch.equal(other[name], theirs[name]) for name in drawn)
    assert len({untrained(model, seed).fingerprint for seed in (1, 2)}) == 2


def test_a_cascade_ends_at_the_twin():
    model = pair("resnet", "resnet18", 64).model
    twin, image = untrained(model, 5), pictures(1, 64)
    assert [
        stage.run is theirs.run
        for stage, theirs in zip(cascaded(model, twin, 2).network.stages, twin.network.stages, strict=True)
    ] == [False] * 7 + [True] * 2
    whole = cascaded(model, twin, len(model.network.stages)).outputs(image).logits
    assert torch.equal(whole, twin.outputs(image).logits)
    assert not torch.allclose(whole, model.outputs(image).logits)


def test_a_methods_own_options_and_cut_go_into_the_maps_that_are_made_again():
    model, image = pair("resnet", "resnet18", 64).model, pictures(1, 64)[0]
    one = dict(explain_methods(model, image, {"grad_cam": {"augment": True}}, cut="layer2", target=3))["grad_cam"]
    found = measure(model, image, one, "max_sensitivity", samples=2, controls=False)
    assert found.passes == measure_module.passes("max_sensitivity", {"samples": 2}, "grad_cam", {"augment": True}) == 12
    again = explain(model, image, "grad_cam", target=3, cut="layer2", augment=True)
    assert again.heatmap.shape == one.heatmap.shape
