"""Maps from several layers or concepts, second derivatives, and looking inside stages, where the right answer is known.

Tolerance 1e-5 of the largest value unless a test says otherwise.
"""

import pytest
import torch
import torch.nn.functional as F
from small_cams import SIDE, averaged, close, run
from small_models import ask, pair, pictures, small
from torch import nn

from xai_core.attribution.cam import concepts, multi_layer
from xai_core.attribution.catalog import METHODS
from xai_core.core.autodiff.capture import BiasRecording, ExplicitAttention
from xai_core.core.autodiff.gradients import value_and_curvature, value_and_gradient
from xai_core.core.errors import BadRequest
from xai_core.explanation.targets import ClassLogit, ClassProbability
from xai_core.models.explainable import ExplainableModel


class TestFullGrad:
    @pytest.mark.parametrize("bias", [True, False])
    def test_input_and_bias_terms_sum_to_the_logit(self, bias):
        question = ask(averaged(bias=bias), ClassLogit((1, 3)))
        if bias:
            assert METHODS["full_grad"](question, pictures(2, SIDE)).facts["completeness gap"].max() < 1e-4
        else:
            with pytest.raises(BadRequest, match="no convolution or batch normalisation with a bias"):
                METHODS["full_grad"](question, pictures(2, SIDE))

    def test_is_complete_on_resnet_18_with_its_normalisation(self):
        found = METHODS["full_grad"](ask(pair("resnet", "resnet18", 64).model, ClassLogit((1,))), pictures(1, 64))
        assert found.facts["completeness gap"].max() < 1e-3

    def test_reports_the_completeness_gap_of_networks_that_are_not_piecewise_linear(self):
        for name in ("efficientnet", "vit"):
            found = small(name)
            said = METHODS["full_grad"](ask(found.model, ClassLogit((1,))), pictures(1, found.side)).facts
            assert said["completeness gap"].max() > 0.01

    def test_by_hand(self):
        """One 1x1 convolution with ReLU, summed: f = sum ReLU(w.x + b), so that both gradients are the open places."""
        conv = nn.Conv2d(3, 1, 1)
        conv.weight.data, conv.bias.data = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1), torch.tensor([0.1])
        stages = [("conv", nn.Sequential(conv, nn.ReLU()))]
        classify = nn.ConstantPad1d((0, 1), 0.0)  # the logit of the second class is zero
        model = ExplainableModel.from_stages(stages, lambda maps: maps.sum((2, 3)), classify=classify)
        images = pictures(1, 6)
        open_ = (images[:, 0] - images[:, 1] + 0.1 > 0).float()
        expected = open_.clone()
        for channel in (0, 1):
            term = images[:, channel] * open_
            expected += (term - term.min()) / (term.max() - term.min())
        assert 0 < open_.mean() < 1
        close(run("full_grad", ask(model, ClassLogit((0,))), images), expected)

    def test_recording_is_this_threads_alone_and_ends_with_its_block(self):
        conv, images = nn.Conv2d(3, 2, 1), pictures(1, 4).requires_grad_()
        with BiasRecording() as recording:
            conv(images)
            conv(images.detach()).detach()
        conv(images)
        assert len(recording.layers) == 2  # parameters want gradients here; in a frozen network only the first would be


class TestCurvature:
    def test_of_a_known_function(self):
        """f = sum of a^3: g = 3 a^2, H a = 6 a^2."""
        at = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
        values, gradient, product = value_and_curvature(lambda a: a.pow(3).sum(1), at)
        assert torch.equal(values, at.pow(3).sum(1))
        close(gradient, 3 * at**2)
        close(product, 6 * at**2)

    @pytest.mark.parametrize("name", ["vit", "efficientnet"])
    def test_is_the_gradients_change_along_the_activations(self, name):
        """Central difference of the gradient, step 1e-2; a hundredth of the largest value for its error in float32."""
        found = small(name)
        images = pictures(2, found.side)
        question = ask(found.model, ClassProbability((1, 2)))
        activations = question.trunk(images)
        up, down = (value_and_gradient(question.tail, activations * (1 + step))[1] for step in (1e-2, -1e-2))
        close(question.curvature_at_cut(images), question.grid((up - down) / 2e-2), 1e-2)

    def test_shapley_cam_is_grad_cam_where_the_tail_is_linear_in_pieces(self):
        images = pictures(2, SIDE)
        for cut in ("early", "late"):
            question = ask(averaged(), ClassLogit((1, 3)), cut)
            close(run("shapley_cam", question, images, relu=False), run("grad_cam", question, images, relu=False))

    def test_written_out_attention_equals_the_fused_kernel(self):
        draw = torch.Generator().manual_seed(0)
        query, key, value = (torch.randn(2, 3, 7, 5, generator=draw) for _ in range(3))
        for mask in (None, torch.rand(7, 7, generator=draw) > 0.3, torch.randn(7, 7, generator=draw)):
            expected = F.scaled_dot_product_attention(query, key, value, mask)
            with ExplicitAttention():
                close(F.scaled_dot_product_attention(query, key, value, mask), expected)
        with ExplicitAttention(), pytest.raises(BadRequest):
            F.scaled_dot_product_attention(query, key, value, is_causal=True)


class TestSeveralLayers:
    @pytest.mark.parametrize(("fuse", "together"), [("product", torch.prod), ("mean", torch.mean), ("max", torch.amax)])
    def test_refine_cam_by_hand(self, fuse, together):
        model, images = averaged(), pictures(2, SIDE)
        target = ClassLogit((1, 3))
        maps = []
        for cut in ("early", "late"):
            one = run("hires_cam", ask(model, target, cut), images)
            one = one / one.amax((1, 2), keepdim=True)
            maps.append(F.interpolate(one[:, None], (SIDE, SIDE), mode="bilinear")[:, 0])
        given = {"base": "HiResCAM", "fuse": fuse}
        close(run("refine_cam", ask(model, target), images, **given), together(torch.stack(maps), 0))
        close(run("refine_cam", ask(model, target), images, layers=1, **given), maps[1])

    def test_layers_are_the_last_cuts_of_each_resolution(self):
        def cuts(found):
            return multi_layer._cuts(ask(found.model, ClassLogit((1,))), pictures(1, found.side))

        assert cuts(pair("resnet", "resnet18", 96)) == ["layer1.1", "layer2.1", "layer3.1", "layer4.1"]
        assert cuts(small("vit"))[-2:] == ["blocks.3", "blocks.4"]  # one resolution: every cut up to the default one


class TestConcepts:
    def test_known_concepts_are_found_and_the_most_important_comes_first(self):
        """Three patches of light in three channels; the classifier reads the second channel only."""
        images = torch.zeros(1, 3, 9, 9)
        images[0, 0, :3], images[0, 1, 3:6], images[0, 2, 6:] = 0.9, 0.6, 0.3
        head = nn.Linear(3, 2, bias=False)
        head.weight.data = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        model = ExplainableModel.from_stages([("pixels", nn.Identity())], pool, classify=head)
        found = concepts.concepts(ask(model, ClassLogit((0,))), images, components=3)
        assert found.explained.item() > 0.9999
        close(found.maps[0, 0], images[0, 1], 1e-3)
        close(found.directions[0, 0], torch.tensor([0.0, 1.0, 0.0]), 1e-3)
        assert found.scores[0].tolist() == pytest.approx([0.4, 0.0, 0.0], abs=1e-3)
        method = METHODS["deep_feature_factorisation"](ask(model, ClassLogit((0,))), images, components=3)
        close(method.heatmap[0], images[0, 1], 1e-3)
        assert method.facts["concept's contribution"].item() == pytest.approx(0.4, abs=1e-3)

    def test_is_deterministic_and_non_negative(self):
        found = small("custom")
        images = pictures(2, found.side)
        first, again = (concepts.concepts(ask(found.model, ClassLogit((1, 2))), images) for _ in range(2))
        assert torch.equal(first.maps, again.maps) and torch.equal(first.scores, again.scores)
        assert first.maps.min() >= 0 and first.directions.min() >= 0
        assert (first.scores.diff(dim=1) <= 0).all()
        assert ((first.explained > 0.5) & (first.explained <= 1)).all()
