"""Networks of the user's own: copied as they stand, left as they were, cut wherever there is a grid."""

import copy
import functools

import pytest
import torch
from small_models import MEAN, STD, ask, difference, pictures
from torch import nn

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.explanation.targets import ClassLogit, SimilarityTo
from xai_core.models.explainable import ExplainableModel


class Tokens(nn.Module):
    """Patches of 8 pixels as tokens (n, prefix + h w, 6), the prefix in front."""

    def __init__(self, prefix):
        super().__init__()
        self.patch, self.prefix = nn.Conv2d(3, 6, 8, stride=8), nn.Parameter(torch.randn(1, prefix, 6))

    def forward(self, images):
        patches = self.patch(images).flatten(2).mT
        return torch.cat([self.prefix.expand(len(images), -1, -1), patches], 1)


def mean_of_tokens(tokens):
    return tokens.mean(1)


def users_network():
    torch.manual_seed(0)
    return nn.ModuleDict({
        "body": nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Hardtanh(inplace=True)
        ),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "head": nn.Linear(4, 5),
    })  # fmt: skip


def another_picture(model):
    return SimilarityTo(model.embed(pictures(1, 16, seed=1)[0]))


def wrap(net, **given):
    return ExplainableModel.from_stages([("body", net["body"])], net["pool"], classify=net["head"], **given)


def test_the_users_network_is_left_as_it_was():
    net = users_network().train()
    before = copy.deepcopy(net.state_dict())
    model = wrap(net)
    explain(model, pictures(1, 16)[0], "grad_cam", target=1)
    assert all(part.training for part in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert [part.inplace for part in net["body"] if hasattr(part, "inplace")] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_happens_to_the_users_network_later_does_not_reach_the_model():
    net, images = users_network(), pictures(2, 16)
    model = wrap(net)
    before = model.outputs(images).logits
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    net.train()
    assert torch.equal(model.outputs(images).logits, before)


def test_the_model_is_in_eval_mode_and_frozen_without_anything_in_place():
    model = wrap(users_network().train())
    body = model.network.stages[0].run
    assert not any(part.training or getattr(part, "inplace", False) for part in body.modules())
    assert not any(parameter.requires_grad for parameter in body.parameters())
    images = pictures(1, 16)
    assert torch.equal(model.outputs(images).logits, model.outputs(images).logits)  # no dropout


def test_bound_methods_are_copied_with_their_module():
    net, images = users_network().eval(), pictures(2, 16)
    model = ExplainableModel.from_stages([("body", net["body"].forward)], net["pool"], classify=net["head"].forward)
    with torch.no_grad():
        expected = net["head"](net["pool"](net["body"](images)))
        net["head"].weight.zero_()
    assert difference(model.outputs(images).logits, expected) <= 1e-6


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_tokens_of_a_square_grid_are_seen_as_a_grid(prefix):
    """A bright patch stands in the cell where it is; prefix tokens are no cells."""
    torch.manual_seed(0)
    model = ExplainableModel.from_stages([("tokens", Tokens(prefix))], mean_of_tokens, classify=nn.Linear(6, 3))
    images = torch.zeros(1, 3, 48, 48)
    images[:, :, 8:16, 24:32] = 1
    question = ask(model, ClassLogit((0,)))
    change = question.grid(question.trunk(images)) - question.grid(question.trunk(torch.zeros_like(images)))
    assert change.shape == (1, 6, 6, 6)
    assert change[0].norm(dim=0).argmax() == 1 * 6 + 3
    assert explain(model, images[0], "grad_cam", target=0).heatmap.shape == (6, 6)


@pytest.mark.parametrize(
    ("stage", "shape"),
    [(nn.Flatten(), r"\(1, 768\)"), (Tokens(3), r"\(1, 7, 6\)"), (nn.Unflatten(1, (1, 3)), r"\(1, 1, 3, 16, 16\)")],
)
def test_activations_without_a_grid_are_refused_with_their_shape(stage, shape):
    model = ExplainableModel.from_stages([("here", stage)], nn.Flatten())
    for method in ("grad_cam", "eigen_cam"):
        with pytest.raises(BadRequest, match=f"shape {shape} have no grid at this cut"):
            explain(model, pictures(1, 16)[0], method, target=another_picture(model))
    assert explain(model, pictures(1, 16)[0], "saliency", target=another_picture(model)).heatmap.shape == (16, 16)


@pytest.mark.parametrize("stages", [[], [("a", nn.ReLU()), ("a", nn.ReLU())]])
def test_stages_need_names_of_their_own(stages):
    with pytest.raises(BadRequest, match="each with a name of its own"):
        ExplainableModel.from_stages(stages, nn.Flatten())


def test_fingerprint_names_the_weights_and_the_structure_around_them():
    """Whatever changes the numbers changes the fingerprint, and so the key under which results are kept."""
    net = users_network()
    other = copy.deepcopy(net)
    other["head"].weight.data[0, 0] += 1e-6
    gelu = copy.deepcopy(net)
    gelu["body"][2] = nn.GELU()
    models = [
        wrap(net),
        wrap(other),
        wrap(gelu),
        wrap(net, mean=MEAN, std=STD),
        wrap(net, mean=MEAN),
        wrap(net).in_normalised_space(),
        ExplainableModel.from_stages([("body", net["body"])], net["pool"], net["head"]),  # a head, no classifier
    ]
    assert wrap(net).fingerprint == wrap(copy.deepcopy(net)).fingerprint
    assert len({model.fingerprint for model in models}) == len(models)


def test_plain_callables_get_a_fingerprint_of_their_own():
    """What a function computes cannot be read from it, so that no two models of functions count as the same."""
    net = users_network().eval()
    for stage in (lambda images: net["body"](images), functools.partial(net["body"])):
        first, second = (ExplainableModel.from_stages([("body", stage)], net["pool"]) for _ in range(2))
        assert first.fingerprint != second.fingerprint


def test_a_target_that_does_not_depend_on_the_picture_has_no_gradient():
    """A stage that cuts the graph cannot be explained by gradients; occlusion still can."""
    detached = ExplainableModel.from_stages([("body", lambda images: images.detach())], nn.Flatten())
    with pytest.raises(BadRequest, match="does not depend on the picture"):
        explain(detached, pictures(1, 16)[0], "saliency", target=another_picture(detached))
    assert explain(detached, pictures(1, 16)[0], "occlusion", target=another_picture(detached), window=8).heatmap.any()
