"""Guided gradients, DeepLIFT and LRP: against captum on networks that it can take, and closed forms where it cannot.

Tolerance: Spearman at least 0.999, and max |a - b| at most 1e-4 max |b|; guided backpropagation to the last bit. The
networks for captum have a module of its own for every activation, because it puts hooks on modules.
"""

import inspect
import threading
from functools import partial

import captum.attr
import oracles_of_parts as oracles
import pytest
import torch
import torch.nn.functional as F
from oracles_of_parts import CLASSES, SIDE, captum_of, convolutional
from small_models import NAMES, ask, assert_same, difference, pictures, small, targets
from torch import nn

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core.autodiff import deeplift, function_overrides
from xai_core.core.autodiff.libra import Libra
from xai_core.core.autodiff.lrp import LinearRule, Relevance
from xai_core.core.errors import BadRequest
from xai_core.data.preprocessing import baseline_images
from xai_core.explanation.targets import ClassLogit, ClassMargin
from xai_core.models.explainable import ExplainableModel


def run(method, model, images, target=CLASSES, cut=None, **options):
    return METHODS[method](ask(model, target, cut), images, **options)


def of(function, classes=5):
    """A network around one function between two convolutions."""
    torch.manual_seed(4)
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, classes, 3)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExplainableModel.from_stages(
        [("all", lambda x: second(function(first(x))))], pool, classify=nn.Identity()
    )  # fmt: skip


SPELLINGS = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU(inplace)": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu in place by position": lambda x: F.relu(x, True),
    "F.relu, input by name": lambda x: F.relu(input=x),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "Tensor.relu_, result not used": lambda x: (x.relu_(), x)[1],
    "clamp": lambda x: x.clamp(min=0),
    "clamp by position": lambda x: x.clamp(0),
    "clamp_min_": lambda x: x.clamp_min_(0),
    "threshold": lambda x: F.threshold(x, 0, 0),
}

RELATIVES = {
    "ReLU6": (nn.ReLU6(), lambda x: (x > 0) & (x < 6)),
    "F.relu6": (F.relu6, lambda x: (x > 0) & (x < 6)),
    "hardtanh": (lambda x: F.hardtanh(x, 0, 0.2), lambda x: (x > 0) & (x < 0.2)),
    "silu": (F.silu, lambda x: (x > 0) * (x.sigmoid() * (1 + x * (1 - x.sigmoid())))),
    "leaky_relu_": (lambda x: F.leaky_relu_(x, 0.1), lambda x: x > 0),
}


# Each function that a mode answers and that can work in place: (by position, by keyword, by underscore); plain is `by(x)`.
IN_PLACE = {
    "relu": (lambda x: F.relu(x, True), lambda x: F.relu(x, inplace=True), F.relu_),
    "relu6": (lambda x: F.relu6(x, True), lambda x: F.relu6(x, inplace=True), None),
    "hardtanh": (
        lambda x: F.hardtanh(x, 0, 1, True),
        lambda x: F.hardtanh(x, 0, max_val=1, inplace=True),
        lambda x: F.hardtanh_(x, 0, 1),
    ),
    "threshold": (
        lambda x: F.threshold(x, 0, 0, True),
        lambda x: F.threshold(x, 0, value=0, inplace=True),
        lambda x: F.threshold_(x, 0, 0),
    ),
    "clamp": (None, None, lambda x: x.clamp_(0, 1)),
    "clamp_min": (None, None, lambda x: x.clamp_min_(0)),
    "silu": (lambda x: F.silu(x, True), lambda x: F.silu(x, inplace=True), None),
    "mish": (lambda x: F.mish(x, True), lambda x: F.mish(x, inplace=True), None),
    "hardswish": (lambda x: F.hardswish(x, True), lambda x: F.hardswish(x, inplace=True), None),
    "leaky_relu": (
        lambda x: F.leaky_relu(x, 0.1, True),
        lambda x: F.leaky_relu(x, 0.1, inplace=True),
        lambda x: F.leaky_relu_(x, 0.1),
    ),
    "elu": (lambda x: F.elu(x, 1.0, True), lambda x: F.elu(x, 1.0, inplace=True), lambda x: F.elu_(x, 1.0)),
    "celu": (lambda x: F.celu(x, 1.0, True), lambda x: F.celu(x, 1.0, inplace=True), lambda x: F.celu_(x, 1.0)),
    "selu": (lambda x: F.selu(x, True), lambda x: F.selu(x, inplace=True), F.selu_),
    "hardsigmoid": (lambda x: F.hardsigmoid(x, True), lambda x: F.hardsigmoid(x, inplace=True), None),
    "sigmoid": (None, None, torch.sigmoid_),
    "tanh": (None, None, torch.tanh_),
    "square": (None, None, torch.square_),
    "exp": (None, None, torch.exp_),
    "abs": (None, None, torch.abs_),
    "pow": (None, None, lambda x: x.pow_(2)),
    "dropout": (lambda x: F.dropout(x, 0.5, False, True), lambda x: F.dropout(x, training=False, inplace=True), None),
    "alpha_dropout": (
        lambda x: F.alpha_dropout(x, 0.5, False, True),
        lambda x: F.alpha_dropout(x, training=False, inplace=True),
        None,
    ),
    "dropout2d": (lambda x: F.dropout2d(x, 0.5, False, True), lambda x: F.dropout2d(x, training=False, inplace=True), None),
}
PLAIN = {
    "hardtanh": lambda x: F.hardtanh(x, 0, 1),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "clamp": lambda x: x.clamp(0, 1),
    "clamp_min": lambda x: x.clamp_min(0),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "pow": lambda x: x.pow(2),
    **{name: lambda x: x * 1 for name in ("dropout", "alpha_dropout", "dropout2d")},
}


def relevance(rule="gamma", gamma=0.25, epsilon=1e-6, **options):
    """LRP's mode with a rule for convolutions, and the epsilon rule for linear layers."""
    return Relevance(LinearRule(rule, gamma, epsilon), LinearRule("epsilon", 0.0, epsilon), **options)


MODES = {
    "guided": function_overrides.Guided,
    "deconvolving": function_overrides.Deconvolving,
    "relevance": relevance,
    "libra": Libra,
    "rescaling": deeplift.rescaling,
}


class TestInPlace:
    """Whether a function works in place is told by its name or the keyword; a `True` by position can mean anything."""

    @staticmethod
    def derivative(function, mode):
        """(the value, the tensor that was given after the call, the derivative) under a mode."""
        torch.manual_seed(0)
        leaf = torch.randn(2, 3, 8, 8, requires_grad=True)
        given = leaf * 1
        with MODES[mode]():
            value = function(given)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), given.detach(), gradient

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("name", IN_PLACE)
    def test_every_spelling_has_the_value_and_derivative_of_the_plain_function(self, name, mode):
        plain = PLAIN.get(name) or getattr(F, name, None) or getattr(torch, name)
        value, _, gradient = self.derivative(plain, mode)
        for spelling in filter(None, IN_PLACE[name]):
            in_place, overwritten, its_gradient = self.derivative(spelling, mode)
            assert torch.equal(in_place, value) and torch.equal(overwritten, value)
            assert torch.equal(its_gradient, gradient)

    def test_every_function_of_torch_with_such_a_parameter_that_a_mode_answers_is_tried(self):
        functions = {name: function for name, function in vars(F).items() if inspect.isfunction(function)}
        switched = {name for name, function in functions.items() if "inplace" in inspect.signature(function).parameters}
        assert (switched & deeplift.OF_NUMBERS) - {"rrelu"} <= set(IN_PLACE)

    @pytest.mark.parametrize("ceil_mode", [False, True])
    @pytest.mark.parametrize("mode", MODES)
    def test_a_positional_true_of_max_pooling_is_its_ceil_mode(self, mode, ceil_mode):
        spellings = [
            lambda x: torch.max_pool2d(x, 3, 2, 0, 1, ceil_mode),
            lambda x: torch.max_pool2d(x, 3, 2, ceil_mode=ceil_mode),
            lambda x: F.max_pool2d(x, 3, 2, 0, 1, ceil_mode),
            lambda x: F.max_pool2d(x, 3, 2, ceil_mode=ceil_mode),
            nn.MaxPool2d(3, 2, ceil_mode=ceil_mode),
        ]
        side = 4 if ceil_mode else 3
        results = [self.derivative(spelling, mode) for spelling in spellings]
        for value, given, gradient in results:
            assert value.shape[2:] == (side, side) and given.shape[2:] == (8, 8)
            assert torch.equal(value, results[0][0]) and torch.equal(gradient, results[0][2])

    def test_deep_lift_runs_through_max_pooling_with_a_positional_ceil_mode(self):
        network = of(lambda x: torch.max_pool2d(x, 2, 2, 0, 1, True))
        same = of(nn.MaxPool2d(2, ceil_mode=True))
        images = pictures(2, SIDE)
        assert torch.equal(run("deep_lift", network, images).heatmap, run("deep_lift", same, images).heatmap)

    def test_an_input_by_keyword_is_written_over(self):
        given = torch.linspace(-1, 1, 8).requires_grad_() * 1
        with function_overrides.Guided():
            torch.relu_(input=given)
        assert torch.equal(given.detach(), torch.linspace(-1, 1, 8).relu())


class TestGuided:
    @pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
    def test_equals_captum_bit_for_bit(self, method):
        case = oracles.guided(method)
        assert torch.equal(*case.maps())
        assert METHODS[method](case.question, case.images).facts["activations guided"].tolist() == [3, 3]

    def test_guided_grad_cam(self):
        assert_same(*oracles.guided_grad_cam().maps())

    @pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_every_way_to_call_relu_is_guided(self, spelling, method):
        images = pictures(2, SIDE)
        expected = run(method, of(nn.ReLU()), images)
        found = run(method, of(SPELLINGS[spelling]), images)
        assert torch.equal(found.heatmap, expected.heatmap)
        assert found.facts["activations guided"].tolist() == [1, 1]

    @pytest.mark.parametrize("relative", RELATIVES)
    def test_activations_similar_to_relu_are_guided(self, relative):
        """g_in = ReLU(g_out) [x > 0] a'(x), by hand."""
        function, slope = RELATIVES[relative]
        values = torch.linspace(-8, 8, 97).repeat(2, 1)
        gradients = torch.stack([torch.ones(97), -torch.ones(97)])
        leaf = values.clone().requires_grad_()
        with function_overrides.Guided() as mode:
            found = function(leaf * 1)
        torch.testing.assert_close(found, function(values.clone()))
        (back,) = torch.autograd.grad(found, leaf, gradients)
        assert mode.substituted == 1
        torch.testing.assert_close(back, torch.stack([slope(values[0]) * 1.0, torch.zeros(97)]))

    @pytest.mark.parametrize("name", NAMES)
    def test_every_family_is_guided(self, name):
        found, calls = small(name), []
        activations = [part for part in found.plain.modules() if isinstance(part, nn.ReLU | nn.ReLU6 | nn.GELU | nn.SiLU)]
        handles = [one.register_forward_hook(lambda *_: calls.append(1)) for one in activations]
        found.plain(pictures(1, found.side))
        for handle in handles:
            handle.remove()
        given = run("guided_backprop", found.model, pictures(1, found.side), ClassLogit((1,)))
        assert given.facts["activations guided"].tolist() == [len(calls)] and len(calls) >= 2

    @pytest.mark.parametrize("function", [torch.tanh, F.hardtanh, lambda x: x.clamp(min=-1), lambda x: x])
    @pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "guided_grad_cam"])
    def test_a_network_without_activations_is_refused(self, method, function):
        with pytest.raises(BadRequest, match="0 activations were guided"):
            explain(of(function), pictures(1, SIDE)[0], method, target=1)

    def test_calls_that_do_not_depend_on_the_picture_are_unchanged(self):
        constant = torch.ones(1, 6, 1, 1)
        with pytest.raises(BadRequest, match="0 activations"):
            explain(of(lambda x: x * constant.relu()), pictures(1, SIDE)[0], "guided_backprop", target=1)


@pytest.mark.parametrize("method", ["guided_backprop", "deep_lift", "layerwise_relevance"])
def test_gradients_in_another_thread_stay_plain(method):
    """While a run is held inside its mode, another thread asks the same network for a plain gradient, and gets it."""
    entered, done = threading.Event(), threading.Event()
    held, here = [], threading.current_thread()
    relu = nn.ReLU()

    def pausing(x):
        if threading.current_thread() is not here and x.requires_grad:
            entered.set()
            assert done.wait(30)
        return relu(x)

    model, images = of(pausing), pictures(2, SIDE)
    plain, alone = run("saliency", model, images).heatmap, run(method, model, images).heatmap
    thread = threading.Thread(target=lambda: held.append(run(method, model, images).heatmap))
    thread.start()
    assert entered.wait(30)
    meanwhile = run("saliency", model, images).heatmap
    done.set()
    thread.join()
    assert torch.equal(meanwhile, plain) and torch.equal(held[0], alone)
    assert not torch.equal(plain, alone)


class TestDeepLift:
    @pytest.mark.parametrize("baseline", ["black", "grey", "blur"])
    def test_captum(self, baseline):
        assert_same(*oracles.deep_lift(baseline).maps())

    @pytest.mark.parametrize("baseline", ["black", "grey", "blur"])
    def test_captum_with_max_pooling(self, baseline):
        """Between convolutions: beside a ReLU, captum 0.9 loses one of the two slopes; as its own delta shows."""
        torch.manual_seed(8)
        body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten())
        classify = nn.Linear(6 * 9 * 9, 5)
        model = ExplainableModel.from_stages([("body", body[:-1])], body[-1], classify=classify)
        images = pictures(2, SIDE)
        found = run("deep_lift", model, images, baseline=baseline)
        one_by_one = [
            captum_of(captum.attr.DeepLift, nn.Sequential(body, classify), images[[row]], classes=[one], baselines=start)
            for row, one, start in zip((0, 1), CLASSES.classes, baseline_images(images, baseline)[:, None], strict=True)
        ]
        assert_same(found.heatmap, torch.cat(one_by_one).sum(1).detach())

    def test_max_pooling_behind_a_relu_by_hand(self):
        """The picture's winner has 0.7, the baseline's 0.5: 0.2 to the picture's. Then 0.3, 0.5: -0.2 to the baseline's."""
        for best, where, share in ((0.7, (0, 0), 0.2), (0.3, (1, 1), -0.2)):
            both = torch.tensor([[[best, -0.1], [0.1, 0.2]], [[0.1, 0.3], [-0.4, 0.5]]])[:, None].requires_grad_()
            with deeplift.rescaling():
                value = F.max_pool2d(F.relu(both), 2)
            (slopes,) = torch.autograd.grad(value[0].sum(), both)
            shares = (slopes[0] * (both[0] - both[1]))[0]
            expected = torch.zeros(2, 2)
            expected[where] = share
            torch.testing.assert_close(shares.detach(), expected)

    def test_linear_network(self):
        torch.manual_seed(1)
        layer = nn.Linear(3 * SIDE * SIDE, 4)
        model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=layer)
        images = pictures(2, SIDE)
        weights = layer.weight.detach().view(4, 3, SIDE, SIDE)[[1, 3]]
        found = run("deep_lift", model, images, baseline="mean")
        assert difference(found.heatmap, (weights * (images - baseline_images(images, "mean"))).sum(1)) <= 1e-5
        assert found.facts["functions rescaled"].tolist() == [0, 0]

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("kind", ["logit", "margin", "probability", "similarity"])
    def test_it_is_complete_for_every_family_and_target(self, name, kind):
        """Max pooling with overlap, gates, attention, LayerNorm, softmax, cosine: nothing is missed."""
        found = small(name)
        facts = run("deep_lift", found.model, pictures(2, found.side), targets(found, 2)[kind], baseline="blur").facts
        # the gap is a share of a difference, which for an untrained XCiT's probabilities is near float32's rounding
        assert facts["completeness gap"].max() < (2e-2 if (name, kind) == ("xcit", "probability") else 1e-3)

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
    def test_softmax_is_complete_for_distant_logits(self, scale):
        both = (scale * torch.randn(4, 7, generator=torch.Generator().manual_seed(3))).requires_grad_()
        value = deeplift.softmax(both * 1, 1)
        torch.testing.assert_close(value, both.softmax(1))
        for column in range(7):
            (slopes,) = torch.autograd.grad(value[:2, column].sum(), both, retain_graph=True)
            change = (slopes[:2] * (both[:2] - both[2:])).sum(1)
            torch.testing.assert_close(change, (value[:2] - value[2:])[:, column], rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("function", [lambda x: 1 / x, lambda x: 2**x, lambda x: 1 / (1 + (-x).exp()), torch.sigmoid])
    def test_functions_written_as_operators_are_complete(self, function):
        both = torch.tensor([[0.3, 2.0, 5.0], [1.2, 0.4, 4.9]]).requires_grad_()
        with deeplift.rescaling() as mode:
            value = function(both * 1)
        assert mode.substituted >= 1
        (slopes,) = torch.autograd.grad(value[0].sum(), both)
        torch.testing.assert_close(slopes[0] * (both[0] - both[1]), value[0] - value[1])

    def test_equal_picture_and_baseline_give_the_gradient(self):
        """Where nothing differs the slopes are the derivatives, and the map is zero."""
        model, _ = convolutional()
        flat = torch.full((1, 3, SIDE, SIDE), 0.5)
        assert not run("deep_lift", model, flat, ClassLogit((1,)), baseline="grey").heatmap.any()


class TestRelevance:
    @pytest.mark.parametrize("epsilon", [1e-9, 0.05])
    def test_captum_with_the_epsilon_rule(self, epsilon):
        assert_same(*oracles.layerwise_relevance(epsilon).maps())

    def test_without_biases_it_is_input_x_gradient_and_conserved(self):
        model, _ = convolutional(bias=False)
        images = pictures(2, SIDE)
        found = run("layerwise_relevance", model, images, rule="epsilon", epsilon=0)
        assert_same(found.heatmap, run("input_x_gradient", model, images).heatmap)
        assert found.facts["conservation gap"].max() < 1e-4

    @pytest.mark.parametrize("rule", ["epsilon", "gamma", "z+"])
    @pytest.mark.parametrize("target", [CLASSES, ClassMargin((1, 3), (0, 2))])
    def test_every_rule_conserves_without_biases(self, rule, target):
        model, _ = convolutional(bias=False)
        found = run("layerwise_relevance", model, pictures(2, SIDE), target, rule=rule, epsilon=1e-9)
        assert found.facts["conservation gap"].max() < 1e-3

    @pytest.mark.parametrize(("rule", "gamma"), [("z+", 0.0), ("gamma", 0.5)])
    def test_one_convolution_by_hand(self, rule, gamma):
        """R_j = sum_k z_jk / sum_i z_ik R_k, with inputs and weights of both signs, written out over all pairs."""
        torch.manual_seed(5)
        weights, x = torch.randn(4, 3), torch.randn(1, 3)
        y = weights @ x[0]
        z = weights * x
        agreeing = torch.where(y[:, None] >= 0, z.clamp(min=0), z.clamp(max=0))
        shares = z.clamp(min=0) if rule == "z+" else z + gamma * agreeing
        expected = (shares / shares.sum(1, keepdim=True) * y[:, None]).sum(0)
        conv = nn.Conv2d(3, 4, 1, bias=False)
        conv.weight.data = weights[..., None, None]
        pool = nn.Flatten()
        whole = ExplainableModel.from_stages([("conv", conv)], pool, classify=lambda f: f.sum(1, keepdim=True).expand(-1, 2))
        images = x.view(1, 3, 1, 1)
        leaf = images.clone().requires_grad_()
        with relevance(rule, gamma, 1e-9):
            value = whole.network.outputs(leaf).logits
        (derivative,) = torch.autograd.grad(value[:, 0].sum(), leaf)
        torch.testing.assert_close((images * derivative).flatten(), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("rule", ["epsilon", "gamma", "z+"])
    def test_batch_normalisation_is_merged(self, rule):
        """A convolution with normalisation gives the map of the one convolution that does the same."""
        torch.manual_seed(6)
        conv, norm, classify = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 5)
        norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.5, 2), norm.weight.data.uniform_(-1, 2)
        norm.bias.data.uniform_(-1, 1)
        merged = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        images = pictures(2, SIDE)
        bodies = (nn.Sequential(conv, norm, nn.ReLU()), nn.Sequential(merged, nn.ReLU()))
        models = [ExplainableModel.from_stages([("body", body)], pool, classify=classify) for body in bodies]
        maps = [run("layerwise_relevance", model, images, rule=rule) for model in models]
        assert_same(maps[0].heatmap, maps[1].heatmap)

    def test_relevance_is_measured_from_the_colour_that_normalisation_maps_to_zero(self):
        mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
        model, plain = convolutional(bias=False)
        stages = [(stage.name, stage.run) for stage in model.network.stages]
        parts = (model.network.pool, None, model.network.classify)
        normalised = ExplainableModel.from_stages(stages, *parts, mean=mean, std=std)
        images = pictures(2, SIDE)
        seen = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        given = {"rule": "epsilon", "epsilon": 0}
        found = run("layerwise_relevance", normalised, images, **given)
        expected = captum_of(captum.attr.InputXGradient, plain, seen).sum(1).detach()
        assert_same(found.heatmap, expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_the_value_of_the_target_is_unchanged(self, name):
        """Substitutions change derivatives, never values."""
        found = small(name)
        images, target = pictures(2, found.side), targets(found, 2)["logit"]
        question = ask(found.model, target)
        expected = question.scores(images)
        modes = (function_overrides.Guided, function_overrides.Deconvolving, Libra, relevance)
        for mode in (*modes, partial(relevance, through_attention=True)):
            leaf = images.clone().requires_grad_()
            with mode():
                value = question(leaf)
            assert difference(value.detach(), expected) <= 1e-5
        seen, _ = deeplift.twofold(question, images.clone().requires_grad_(), images * 0, torch.arange(2))
        assert difference(seen.detach(), expected) <= 1e-5


def test_resnet_against_captum_where_modules_are_used_once():
    assert_same(*oracles.guided_resnet().maps())
