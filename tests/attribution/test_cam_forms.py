"""The rest of the CAM family where the right map is known: by a formula, by a naive loop, or by hand.

Tolerance 1e-5 of the largest value unless a test says otherwise.
"""

import pytest
import torch
import torch.nn.functional as F
from small_cams import SIDE, averaged, close, run
from small_models import ask, difference, pictures, small, targets
from torch import nn

from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import BadRequest
from xai_core.core.options import options_of
from xai_core.explanation.targets import (
    ClassContrast,
    ClassLogit,
    ClassMargin,
    ClassProbability,
    SimilarityTo,
    against_similar,
)
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import Outputs


class TestCam:
    def test_is_the_classifiers_weights_times_the_activations(self):
        model, images = averaged(), pictures(2, SIDE)
        question = ask(model, ClassMargin((1, 3), (0, 0)))
        weights = model.network.classify.weight
        expected = torch.einsum("nk,nkhw->nhw", weights[[1, 3]] - weights[[0, 0]], question.trunk(images))
        close(run("cam", question, images, relu=False), expected)
        close(run("cam", question, images), expected.relu())

    def test_is_grad_cam_times_the_number_of_positions(self):
        for name in ("resnet", "custom"):
            found = small(name)
            images = pictures(2, found.side)
            for target in targets(found, 2).values():
                grad_cam = run("grad_cam", ask(found.model, target), images, relu=False)
                close(run("cam", ask(found.model, target), images, relu=False), grad_cam * grad_cam[0].numel())

    @pytest.mark.parametrize(
        ("pool", "classify"),
        [
            (nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), nn.Linear(6, 4)),
            (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6)), nn.Linear(6, 4)),
            (nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()), nn.Linear(24, 4)),
            (
                nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)),
            ),
            (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), None),
        ],
    )
    def test_needs_mean_pooling_and_one_linear_layer(self, pool, classify):
        model = ExplainableModel.from_stages([("only", nn.Conv2d(3, 6, 3))], pool, classify=classify)
        assert METHODS["cam"].misfit(model) == (
            "CAM needs one linear layer right behind global average pooling, which this model does not have."
        )
        assert METHODS["cam"].misfit(averaged()) is None

    def test_fits_the_families_that_end_so(self):
        assert [METHODS["cam"].misfit(small(name).model) is None for name in ("resnet", "efficientnet", "vit")] == [1, 1, 0]

    def test_pooling_that_expects_channels_last_fits_too(self):
        last = ("last", lambda images: images.permute(0, 2, 3, 1).repeat(1, 1, 1, 2))
        model = ExplainableModel.from_stages([last], lambda a: a.mean((1, 2)), classify=nn.Linear(6, 4))
        assert not model.network.has_linear_head  # the grid of a stage that declares none is (n, C, h, w)

    def test_looks_behind_the_last_stage_only(self):
        with pytest.raises(BadRequest, match="choose the cut 'late'"):
            run("cam", ask(averaged(), ClassLogit((1,)), "early"), pictures(1, SIDE))


class TestScoreCam:
    @pytest.mark.parametrize("fill", ["black", "mean"])
    def test_equals_a_naive_loop(self, fill):
        model, images = averaged(), pictures(2, SIDE)
        question = ask(model, ClassLogit((1, 3)))
        cover = torch.zeros_like(images) if fill == "black" else images.mean((2, 3), keepdim=True)
        expected = []
        for row, target in ((0, 1), (1, 3)):
            channels = question.trunk(images)[row]
            scores = []
            for channel in channels:
                mask = F.interpolate(channel[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
                span = mask.max() - mask.min()
                mask = (mask - mask.min()) / span if span > 0 else torch.zeros_like(mask)
                masked = cover[row] + mask * (images[row] - cover[row])
                scores.append(model.outputs(masked[None]).logits[0, target])
            expected.append((torch.stack(scores).softmax(0)[:, None, None] * channels).sum(0))
        close(run("score_cam", question, images, fill=fill, relu=False), torch.stack(expected))

    def test_with_fewer_channels_takes_those_that_vary_most(self):
        model, images = averaged(channels=40), pictures(1, SIDE)
        question = ask(model, ClassLogit((1,)))
        activations = question.trunk(images)
        chosen = activations.flatten(2).var(2).topk(16).indices[0]
        weights = torch.full((40,), -torch.inf)
        full = run("score_cam", question, images, relu=False, channels=40)
        part = run("score_cam", question, images, relu=False, channels=16)
        assert difference(part, full) > 1e-3
        for channel in chosen:
            mask = F.interpolate(activations[:, channel : channel + 1], (SIDE, SIDE), mode="bilinear")
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            weights[channel] = model.outputs(mask * images).logits[0, 1]
        close(part, (weights.softmax(0)[:, None, None] * activations[0]).sum(0)[None])

    def test_holds_no_more_masked_pictures_than_an_inner_batch(self):
        """A first stage that counts what it is given: sixty-four channels of three pictures, never more than 16 at once."""
        given = []

        def counting(images):
            given.append(len(images))
            return conv(images)

        torch.manual_seed(1)
        conv = nn.Conv2d(3, 64, 3)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        model = ExplainableModel.from_stages([("counting", counting)], pool, classify=nn.Linear(64, 4))
        given.clear()  # the model was asked once when it was made
        run("score_cam", ask(model, ClassLogit((1,))), pictures(3, SIDE))
        assert sum(given) == 3 + 3 * 64 and max(given) <= 16


class TestAblationCam:
    @pytest.mark.parametrize("cut", ["early", "late"])
    @pytest.mark.parametrize("target", [ClassLogit((1, 3)), ClassProbability((2, 0)), ClassMargin((1, 2), (0, 3))])
    def test_equals_the_whole_network_without_each_channel(self, cut, target):
        """The oracle runs every later stage for each channel, in float32: drops of a probability are small beside it, so
        that a thousandth of the largest value is its rounding."""
        model, images = averaged(), pictures(2, SIDE)
        question = ask(model, target, cut)
        activations, weights = question.trunk(images), []
        with torch.no_grad():
            for channel in range(activations.shape[1]):
                without = activations.clone()
                without[:, channel] = 0
                later = model.network.stages[1].run(without) if cut == "early" else without
                outputs = Outputs(model.network.pool(later), None, model.network.classify)
                weights.append(target(model.network.outputs(images)) - target(outputs))
        expected = torch.einsum("kn,nkhw->nhw", torch.stack(weights), activations)
        close(run("ablation_cam", question, images, relu=False), expected, 1e-3)

    def test_short_way_through_the_features_equals_the_long_way_through_the_tail(self, monkeypatch):
        for name in ("resnet", "efficientnet", "custom"):
            found = small(name)
            images = pictures(2, found.side)
            for target in targets(found, 2).values():
                short = run("ablation_cam", ask(found.model, target), images, relu=False)
                with monkeypatch.context() as patch:
                    patch.setattr("xai_core.attribution.cam.gradient_free._by_features", lambda *rest: None)
                    long = run("ablation_cam", ask(found.model, target), images, relu=False)
                close(short, long, 2e-3)  # drops of one channel in hundreds, from values rounded to float32

    def test_pooling_that_mixes_channels_takes_the_long_way(self):
        torch.manual_seed(3)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6))
        model = ExplainableModel.from_stages([("conv", nn.Conv2d(3, 6, 3))], pool, classify=nn.Linear(6, 4))
        images = pictures(2, SIDE)
        question = ask(model, ClassLogit((1, 3)))
        run("ablation_cam", question, images)
        assert question.tally.tail >= 2 * 7

    def test_is_cam_where_the_tail_is_linear(self):
        """f - f without channel k is w_k times the mean of A_k."""
        model, images = averaged(), pictures(2, SIDE)
        question = ask(model, ClassLogit((1, 3)))
        activations = question.trunk(images)
        weights = model.network.classify.weight[[1, 3]] * activations.mean((2, 3))
        close(run("ablation_cam", question, images, relu=False), torch.einsum("nk,nkhw->nhw", weights, activations))

    def test_changes_the_patches_and_not_the_class_token(self):
        model, _, side, _ = small("vit")
        images = pictures(1, side)
        question = ask(model, ClassLogit((1,)))
        activations = question.trunk(images)
        without = activations.clone()
        without[:, model.network.trunk(images, "embed").shape[1] - question.grid(activations)[0, 0].numel() :, 3] = 0
        seen = []

        def change(grid, which, way):
            grid[:, 3] = 0
            seen.append(len(grid))

        with torch.no_grad():
            close(question.tail_sweep(images, change, 1)[0], question.tail(without))
        assert seen == [1]
        assert torch.equal(question.trunk(images), activations)

    def test_a_grid_that_is_a_copy_is_refused(self):
        model = averaged()
        object.__setattr__(model.network.stages[1], "grid", lambda activations: activations.clone())
        with pytest.raises(BadRequest, match="a copy, not a view"):
            ask(model, ClassLogit((1,))).tail_sweep(pictures(1, SIDE), lambda *rest: None, 2)


class TestContrast:
    def outputs(self):
        return Outputs(torch.tensor([[1.0, 2.0, 2.5, 9.0], [4.0, 0.0, 4.5, 3.0]]), None, lambda features: features)

    def test_takes_the_nearest_logits_and_weights_them_by_probability(self):
        outputs = self.outputs()
        contrast = against_similar(ClassLogit((1, 0)), outputs, 2, 0.5)
        assert contrast.similar == ((2, 0), (2, 3))
        p = torch.tensor([2.5, 1.0]).softmax(0)
        assert contrast(outputs)[0] == pytest.approx(2 - 0.5 * (p[0] * 2.5 + p[1] * 1.0).item())
        assert contrast.select([1])(Outputs(outputs.features[1:], None, lambda f: f)) == contrast(outputs)[1]
        assert len({contrast.key(0), contrast.key(1), against_similar(ClassLogit((1, 0)), outputs, 2, 1.0).key(0)}) == 3

    def test_a_rival_is_the_one_it_is_set_against(self):
        found = against_similar(ClassMargin((1, 0), (3, 2)), self.outputs(), 3, 1.0)
        assert found == ClassContrast((1, 0), ((3,), (2,)), 1.0)
        assert torch.equal(found(self.outputs()), ClassMargin((1, 0), (3, 2))(self.outputs()))

    def test_one_class_serves_all_pictures_and_few_classes_are_enough(self):
        found = against_similar(ClassProbability((1,)), self.outputs(), 10, 1.0)
        assert found.classes == (1, 1) and [len(others) for others in found.similar] == [3, 3]

    def test_without_a_class_it_is_refused(self):
        with pytest.raises(BadRequest, match="ask about a class"):
            against_similar(SimilarityTo(torch.ones(1, 4)), self.outputs(), 3, 1.0)


FAMILY = [name for name, method in METHODS.items() if method.family == "cam"]
SUMS = [name for name in FAMILY if "eigen" in {option.name for option in options_of(METHODS[name].run)}]


@pytest.mark.parametrize("method", FAMILY)
def test_augment_is_the_mean_over_six_views(method):
    model, images = averaged(), pictures(1, SIDE)
    assert "augment" in {option.name for option in options_of(METHODS[method].run)}
    maps = []
    for mirrored in (False, True):
        for brightness in (0.9, 1.0, 1.1):
            view = (images.flip(3) if mirrored else images) * brightness
            one = run(method, ask(model, ClassLogit((1,))), view)
            maps.append(one.flip(2) if mirrored else one)
    question = ask(model, ClassLogit((1,)))
    close(run(method, question, images, augment=True), torch.stack(maps).mean(0), 1e-4)
    if "cut" in METHODS[method].needs:
        assert question._memory["trunk"][0] is images  # the picture itself is remembered


@pytest.mark.parametrize("method", SUMS)
def test_the_sign_of_eigen_smoothing_is_that_of_the_sum(method):
    model, images = averaged(), pictures(2, SIDE)
    if method == "refine_cam":
        return
    plain, eigen = (run(method, ask(model, ClassLogit((1, 3))), images, relu=False, eigen=eigen) for eigen in (False, True))
    covariance = ((plain - plain.mean((1, 2), keepdim=True)) * eigen).sum((1, 2))
    assert (covariance >= 0).all()


@pytest.mark.parametrize("method", ["random_cam", "smooth_grad_cam_plusplus"])
def test_draws_depend_on_the_seed_alone(method):
    """Asked behind the first stage: behind the last one the gradient of a logit is the same for every picture."""
    question, images = ask(averaged(), ClassLogit((1,)), "early"), pictures(3, SIDE)
    first, again, other = (run(method, question, images, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and difference(first, other) > 1e-3
    close(run(method, question, images[1:2].clone(), seed=1), first[1:2])


def test_smooth_grad_cam_plusplus_without_noise_is_grad_cam_plusplus():
    model, images = averaged(), pictures(2, SIDE)
    question = ask(model, ClassProbability((1, 3)), "early")
    found = run("smooth_grad_cam_plusplus", question, images, noise=torch.zeros(3, 3, SIDE, SIDE))
    close(found, run("grad_cam_plusplus", question, images))


def test_fem_by_hand():
    """A channel of 24 zeros and a one: mean 0.04, deviation 0.196, so that the one alone is kept, 1/25 of the places."""
    images = torch.zeros(1, 3, 5, 5)
    images[0, 0, 2, 3] = 1.0
    images[0, 1] = 0.7
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=nn.Linear(75, 2))
    question = ask(model, ClassLogit((0,)))
    close(run("fem", question, images), images[:, 0] / 25)
    close(run("fem", question, images, kept="places"), images[:, 0] / 25)


def test_kpca_cam_of_a_nearly_linear_kernel_is_eigen_cam():
    """With a small coefficient tanh is linear where it is used: the same component, up to a factor."""
    found = small("custom")
    images = pictures(1, found.side)
    kernel = run("kpca_cam", ask(found.model, ClassLogit((1,))), images, scale=0.1)
    linear = run("eigen_cam", ask(found.model, ClassLogit((1,))), images)
    close(kernel / kernel.abs().max(), linear / linear.abs().max(), 0.02)
    with pytest.raises(BadRequest, match="choose a later one"):
        run("kpca_cam", ask(averaged(), ClassLogit((1,)), "early"), pictures(1, 64))
