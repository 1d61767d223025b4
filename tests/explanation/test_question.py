"""The question and the chain below it: the law at every cut, places at every cut, targets, counted passes.

question(x) == question.tail(question.trunk(x)), and the chain equals the library's own module behind a normalisation,
to 1e-5 of the largest value; whether a grid shows the right place is tested with a bright patch.
"""

import pytest
import timm
import torch
from small_models import ARCHITECTURES, NAMES, ask, assembled, custom, difference, pair, pictures, small, targets
from torch import nn

from xai_core.attribution.explain import explain, explain_methods
from xai_core.core.errors import BadRequest, NoClassifier, UnknownName
from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability, SimilarityTo
from xai_core.models.card import FAMILIES
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import Outputs

LARGE = {
    "resnet50": ("resnet", "resnet50", 64),
    "efficientnet_lite0": ("efficientnet", "tf_efficientnet_lite0", 96),
    "vit_tiny": ("vit", "vit_tiny_patch16_224", 224),
    "vit_average_and_register": ("vit", "test_vit2", 160),
    "vit_attention_pool": ("vit", "test_vit3", 160),
}


def with_registers():
    """A vision transformer with a class token and four registers before its patches."""
    torch.manual_seed(0)
    return assembled("vit", timm.create_model("test_vit", reg_tokens=4), 160)


NETWORKS = {
    **{name: lambda name=name: small(name) for name in NAMES},
    **{name: lambda given=given: pair(*given) for name, given in LARGE.items()},
    "vit_registers": with_registers,
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]()


def test_every_family_has_a_small_network():
    assert set(ARCHITECTURES) == set(FAMILIES)


def test_the_tail_of_the_trunk_equals_the_question_at_every_cut(network):
    images, target = pictures(2, network.side), ClassMargin((1, 2), (3, 4))
    with torch.no_grad():
        whole = ask(network.model, target)(images)
        for cut in network.model.cuts:
            question = ask(network.model, target, cut)
            activations = question.trunk(images)
            assert difference(question.tail(activations), whole) <= 1e-5
            assert question.grid(activations).ndim == 4


def test_every_way_to_compute_the_target_gives_the_same_value(network):
    images = pictures(2, network.side)
    question = ask(network.model, ClassMargin((1, 2), (3, 4)))
    whole, at = question(images), question.at_cut(images)
    assert at.activations.shape == at.gradient.shape == question.grid(question.trunk(images)).shape
    fresh = ask(network.model, question.target)
    for found in (question.scores(images), question.values(images), fresh.values(images), fresh.gradient(images)[0]):
        assert difference(found, whole) <= 1e-5
        assert difference(at.values, whole) <= 1e-5


def test_the_chain_of_stages_equals_the_library_module(network):
    images = pictures(2, network.side)
    with torch.no_grad():
        expected = network.plain(images)
    assert difference(network.model.outputs(images).logits, expected) <= 1e-5


def test_model_in_normalised_space_is_the_same_chain(network):
    images = pictures(2, network.side)
    normalised = network.plain[0](images)
    inside = network.model.in_normalised_space()
    assert difference(inside.outputs(normalised).logits, network.model.outputs(images).logits) <= 1e-5
    assert inside.fingerprint != network.model.fingerprint
    inside.prepare(normalised[0])  # any range is taken
    with pytest.raises(BadRequest, match=r"is in \[0, 1\]"):
        network.model.prepare(normalised[0])


@pytest.mark.parametrize(("row", "column"), [(0, 3), (2, 1)])
def test_grid_shows_the_right_place_at_every_cut(network, row, column):
    """A bright patch in one cell of a 4 x 4 board: what changes most at the cut lies there.

    The centre of the change must be in that cell or within a quarter of it, wherever the grid is fine enough and the fields
    of view are small (8 x 8 or more). In a transformer every patch sees every other, but in an untrained one the residual
    path dominates.
    """
    side = network.side
    dark = torch.full((1, 3, side, side), 0.5)
    bright, cell = dark.clone(), side // 4
    bright[:, :, row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 1.0
    tested = 0
    for cut in network.model.cuts:
        question = ask(network.model, ClassLogit((0,)), cut)
        change = (question.grid(question.trunk(bright)) - question.grid(question.trunk(dark)))[0].norm(dim=0)
        height, width = change.shape
        if min(height, width) < 8:
            continue
        share = change**2 / (change**2).sum()
        centre = (
            (share.sum(1) * (torch.arange(height) + 0.5)).sum() / height * 4,
            (share.sum(0) * (torch.arange(width) + 0.5)).sum() / width * 4,
        )
        assert abs(centre[0] - (row + 0.5)) < 0.75 and abs(centre[1] - (column + 0.5)) < 0.75, cut
        tested += 1
    assert tested >= 2


@pytest.mark.parametrize("name", NAMES)
def test_targets_equal_plain_formulas(name):
    model, plain, side, _ = small(name)
    images = pictures(3, side)
    asked = targets(small(name), 3)
    with torch.no_grad():
        logits = plain(images)
    index, reference = torch.arange(3), asked["similarity"].reference
    embedding = model.outputs(images).embedding
    expected = {
        "logit": logits[index, index + 1],
        "probability": logits.softmax(1)[index, index + 1],
        "margin": logits[index, index + 1] - logits[index, index + 4],
        "similarity": (embedding * reference).sum(1) / embedding.norm(dim=1) / reference.norm(dim=1),
    }
    for kind, target in asked.items():
        assert difference(ask(model, target).scores(images), expected[kind]) <= 1e-5


def test_rows_choose_the_target_of_each_picture():
    model, _, side, _ = small("custom")
    images, rows = pictures(2, side), torch.tensor([0, 0, 1, 0, 1])
    for target in targets(small("custom"), 2).values():
        question = ask(model, target)
        one_by_one = torch.stack([ask(model, target.select([row])).scores(images[[row]])[0] for row in rows.tolist()])
        assert difference(question.scores(images[rows], rows), one_by_one) <= 1e-5
        values, gradients = question.gradient(images[rows], rows)
        assert difference(values, one_by_one) <= 1e-5
        assert difference(gradients, question.gradient(images)[1][rows]) <= 1e-5


def test_one_value_serves_any_number_of_pictures():
    model, _, side, _ = small("custom")
    images = pictures(3, side)
    single, written_out = ask(model, ClassLogit((2,))), ask(model, ClassLogit((2, 2, 2)))
    assert difference(single.scores(images), written_out.scores(images)) == 0
    assert difference(single.scores(images, torch.arange(3)), written_out.scores(images)) == 0
    assert difference(single.gradient(images)[1], written_out.gradient(images)[1]) == 0


@pytest.mark.parametrize("read", ["scores", "gradient", "at_cut", "values", "__call__"])
def test_wrong_number_of_values_is_refused_even_where_inner_batches_would_fit(read):
    """Ten pictures in inner batches of five, five values: each inner batch alone would look right."""
    model = small("custom").model
    question = ask(model, ClassLogit((0, 1, 2, 3, 4)))
    with pytest.raises(BadRequest, match="holds 5 values for 10 pictures"):
        getattr(question, read)(pictures(10, 224))


def test_impossible_classes_are_refused():
    model, images = small("custom").model, pictures(1, 48)
    for target in (ClassLogit((10,)), ClassProbability((10,)), ClassMargin((1,), (10,))):
        with pytest.raises(BadRequest, match="There is no class 10; this model's classes are 0 to 9"):
            ask(model, target).scores(images)
    with pytest.raises(BadRequest, match="There is no class -1"):
        ask(model, ClassLogit((-1,))).scores(images)
    with pytest.raises(BadRequest, match="own rival"):
        ClassMargin((1, 2), (3, 2))
    with pytest.raises(BadRequest, match="2 classes have 1 rivals"):
        ClassMargin((1, 2), (3,))
    with pytest.raises(BadRequest, match="one embedding in each row"):
        SimilarityTo(torch.zeros(4))
    with pytest.raises(BadRequest, match="The reference has 5 dimensions and this model's embedding 4"):
        ask(model, SimilarityTo(torch.ones(1, 5))).scores(images)


def test_a_model_without_classifier_refuses_class_targets():
    model, images = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten()), pictures(1, 8)
    for ask_it in (
        lambda: explain(model, images[0], "saliency"),
        lambda: explain(model, images[0], "saliency", target=3),
        lambda: explain(model, images[0], "grad_cam", target=ClassProbability((3,))),
        lambda: model.top_k(images[0]),
    ):
        with pytest.raises(NoClassifier, match="no classifier"):
            ask_it()
    reference = SimilarityTo(model.embed(pictures(1, 8, seed=1)[0]))
    assert explain(model, images[0], "saliency", target=reference).heatmap.any()


def test_outputs_compute_only_what_is_read():
    ran = []

    def noted(name):
        return lambda features: ran.append(name) or features

    outputs = Outputs(torch.zeros(1, 2), noted("project"), noted("classify"))
    assert ran == []
    ClassLogit((0,))(outputs)
    ClassProbability((0,))(outputs)
    assert ran == ["classify"]
    SimilarityTo(torch.ones(1, 2))(outputs)
    assert ran == ["classify", "project"]


def test_cut_names():
    network = pair("resnet").model.network
    assert network.cut_name(None) == network.cut_name("layer4") == "layer4.1"
    assert network.cut_name("layer1.0") == "layer1.0"
    assert pair("vit").model.network.cut_name(None) == "blocks.4"
    assert custom().model.network.cut_name(None) == "late"
    with pytest.raises(UnknownName, match="layer4"):
        network.cut_name("layer5")


PASSES = {  # (forward, backward, tail) of one picture at the last cut, for a given class
    "grad_cam": (1, 0, 1),
    "eigen_cam": (1, 0, 1),
    "saliency": (1, 1, 0),
    "smooth_grad": (6, 5, 1),
    "integrated_gradients": (7, 5, 1),
    "occlusion": (37, 0, 1),
}
CHEAP = {"smooth_grad": {"samples": 5}, "integrated_gradients": {"steps": 5}, "occlusion": {"window": 8, "stride": 8}}


@pytest.mark.parametrize("method", PASSES)
@pytest.mark.parametrize("count", [1, 3])
def test_passes_are_counted(method, count):
    model, _, side, _ = small("custom")
    for one in explain(model, list(pictures(count, side)), method, target=1, **CHEAP.get(method, {})):
        assert (one.passes.forward, one.passes.backward, one.passes.tail) == PASSES[method]


def test_methods_share_one_trunk_pass_with_the_search_for_the_class():
    model, _, side, _ = small("custom")
    found = dict(explain_methods(model, pictures(1, side)[0], {"grad_cam": {}, "layer_cam": {}, "eigen_cam": {}}))
    assert [(one.passes.forward, one.passes.tail) for one in found.values()] == [(1, 2), (0, 0), (0, 0)]


def test_select_keeps_the_target_and_clears_the_memory():
    model, _, side, _ = small("custom")
    question, images = ask(model, ClassLogit((1, 2, 3))), pictures(3, side)
    question.at_cut(images)
    chosen, passes = question.select([2, 0]), question.tally.forward
    chosen.trunk(images)
    assert chosen.target == ClassLogit((3, 1)) and question.tally.forward == passes + 3  # passes are counted together
    assert difference(chosen.scores(images[[2, 0]]), question.scores(images)[[2, 0]]) <= 1e-6
