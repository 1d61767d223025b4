"""Every method on every family for every kind of target: what all of them promise. A new entry is tested by being listed.

Maps of one call: a batch equals one by one, and the same seed the same map, to 1e-5 of the largest value. Kernels round
differently for other batch sizes, and a ReLU unit that is nearly zero may then change sides, which moves single pixels of
a ResNet's gradient by up to 5%: there a rank correlation of 0.999 is required. For untrained networks any two pictures have
a similarity of 0.999: maps of a similarity, which are small differences of it, are compared with 1e-5 of the similarity.
The weights of Ablation-CAM are small differences of logits: `ablation_rounding` derives what that does to a map. In batches
of one size, the other pictures of a batch change no bit. `fast` precision, where it is offered, keeps Spearman at 0.98.
"""

import pickle
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import (
    CHEAP,
    NAMES,
    TARGETS,
    TRACED,
    ask,
    difference,
    pair,
    pictures,
    refused,
    small,
    spearman,
    targets,
)

from xai_core.attribution.catalog import EVERYWHERE, METHODS
from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.core.options import options_of
from xai_core.data.samples import load_sample
from xai_core.models.families import FAMILIES

# Every method answers for every kind of target on one network, and for a class and a similarity on the others. What does
# not fit says so in one sentence: that is tested with the families.
FITTING = [(method, name) for method in METHODS for name in NAMES if not refused(method, name)]
ASKED = [
    (method, name, kind)
    for method, name in FITTING
    for kind in TARGETS
    if (name == "custom" or kind in ("logit", "similarity")) and not refused(method, name, kind)
]
TAIL_AGAIN = ("vit", "xcit", "cait")  # where Ablation-CAM runs the tail again, in float32, for each channel
pytestmark = pytest.mark.usefixtures("segmented_once")
every_method = pytest.mark.parametrize("method", METHODS)
every_fitting_method = pytest.mark.parametrize(("method", "name"), FITTING)


def test_every_method_fits_some_network_and_every_network_some_method():
    assert {method for method, _ in FITTING} == set(METHODS) and {name for _, name in FITTING} == set(NAMES)


def ask_why(model, image, method, **given):
    return explain(model, image, method, **{**CHEAP.get(method, {}), **given})


@cache
def explained(method, name, kind):
    """Three different pictures, each with its own target, in one call."""
    found = small(name)
    return ask_why(found.model, list(pictures(3, found.side)), method, target=targets(found, 3)[kind])


@cache
def outputs(name):
    """The network's outputs for these pictures."""
    found = small(name)
    return found.model.outputs(pictures(3, found.side))


def ablation_rounding(model, image, target):
    """How far float32 rounding moves an Ablation-CAM map of a logit, whose weights are small differences of logits. (Where
    only pooling follows the cut, they are computed in float64, and the usual tolerance holds.)

    map = sum_k (f_0 - f_k) A_k, with f_k the logit without channel k. A logit is a sum of products x_i w_i and a bias. In
    another batch size, or with another number of threads, a kernel adds them in another order, and two results differ by
    about the rounding unit of float32, eps = 2^-23, of S = sum_i |x_i w_i| + |b|. The errors of the C + 1 logits are
    independent. That of f_0 is multiplied by sum_k A_k and that of each f_k by its A_k, so that at a position they add up to
    eps S sqrt((sum_k A_k)^2 + sum_k A_k^2).
    """
    question, (index,) = ask(model, target), target.classes
    features, classify = question.outputs_at_cut(image).features[0], model.network.classify
    activations = question.grid(question.trunk(image))[0]
    size = (features * classify.weight[index]).abs().sum() + classify.bias[index].abs()
    spread = (activations.sum(0) ** 2 + (activations**2).sum(0)).sqrt().max()
    return float(torch.finfo(torch.float32).eps * size * spread)


@pytest.mark.parametrize(("method", "name", "kind"), ASKED)
class TestEveryMap:
    def test_is_finite_with_its_grid_and_its_sign(self, method, name, kind):
        found = small(name)
        for one in explained(method, name, kind):
            assert one.heatmap.dtype == np.float32
            assert np.isfinite(one.heatmap).all()
            assert one.to_input().shape == one.input_size == (found.side, found.side)
            assert one.to_picture().shape == (found.side, found.side)
            assert one.to_picture((20, 30)).shape == (30, 20)  # as PIL: width, height
            assert (one.cut == "") == ("cut" not in METHODS[method].needs)
            network = found.model.network
            cut = network.cuts[0] if METHODS[method].family == "attention" else one.cut
            if cut and method != "guided_grad_cam":
                grid = network.grid(network.trunk(pictures(1, found.side), cut), cut)
                assert one.heatmap.shape == tuple(grid.shape[2:])
            else:
                assert one.heatmap.shape == one.input_size
            assert one.signed == (METHODS[method].sign == "signed")
            assert one.signed or one.heatmap.min() >= 0

    def test_target_value_is_the_models(self, method, name, kind):
        expected = targets(small(name), 3)[kind](outputs(name))
        assert difference([one.target_value for one in explained(method, name, kind)], expected) <= 1e-5

    def test_batch_equals_one_by_one(self, method, name, kind):
        found = small(name)
        asked, image = targets(found, 3)[kind].select([1]), pictures(3, found.side)[1]
        together, alone = explained(method, name, kind)[1], ask_why(found.model, image, method, target=asked)
        flipped = name == "resnet" and spearman(together.heatmap, alone.heatmap) >= 0.999
        unit = abs(alone.target_value) if kind == "similarity" else 0.0
        tolerance = 1e-5
        if (method, kind) == ("ablation_cam", "logit") and name in TAIL_AGAIN:
            tolerance = max(tolerance, ablation_rounding(found.model, image[None], asked) / np.abs(alone.heatmap).max())
        assert difference(together.heatmap, alone.heatmap, unit) <= tolerance or flipped
        assert together.key == alone.key


@every_fitting_method
def test_other_pictures_of_the_batch_change_no_bit(method, name):
    found = small(name)
    asked, images = targets(found, 3)["logit"].select([1, 1, 1]), pictures(3, found.side)[[1, 1, 1]]
    again = ask_why(found.model, images, method, target=asked)[1]
    assert np.array_equal(explained(method, name, "logit")[1].heatmap, again.heatmap)


@every_fitting_method
def test_pickles(method, name):
    one = explained(method, name, "logit")[0]
    again = pickle.loads(pickle.dumps(one))
    assert again.key == one.key and np.array_equal(again.heatmap, one.heatmap)


@every_fitting_method
def test_only_random_methods_depend_on_the_seed(method, name):
    found = small(name)
    image = pictures(1, found.side)[0]
    # behind the last stage, a logit's gradient is the same for every noisy copy
    cut = found.model.cuts[0] if method == "smooth_grad_cam_plusplus" else None
    first, other = (ask_why(found.model, image, method, target=1, cut=cut, seed=seed) for seed in (3, 4))
    if METHODS[method].random:
        same = ask_why(found.model, image, method, target=1, cut=cut, seed=3)
        assert difference(first.heatmap, same.heatmap) <= 1e-6
    assert (difference(first.heatmap, other.heatmap) > 1e-3) == METHODS[method].random


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *FITTING,
        *((method, name) for method in ("grad_cam", "guided_backprop", "lrp", "rise") for name in TRACED),
    ],
)
def test_network_is_left_as_it_was(method, name):
    """No hook, no flag, no gradient, no changed value; and the global random state is untouched."""
    found = small(name)
    before = {key: value.clone() for key, value in found.parts.state_dict().items()}
    torch.manual_seed(11)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    ask_why(found.model, pictures(1, found.side)[0], method)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    for part in found.parts.modules():
        assert not part.training and not any(getattr(part, slot) for slot in hooks)
    for parameter in found.parts.parameters():
        assert not parameter.requires_grad and parameter.grad is None
    assert all(torch.equal(value, before[key]) for key, value in found.parts.state_dict().items())
    assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("method", "name"), [(method, name) for method, name in FITTING if name in ("resnet", "efficientnet", "custom")]
)
@pytest.mark.parametrize("size", [(64, 96), (81, 57)])
def test_pictures_need_not_be_square(method, name, size):
    found = small(name)
    one = ask_why(found.model, pictures(1, *size)[0], method, target=1)
    assert np.isfinite(one.heatmap).all()
    assert one.input_size == one.to_input().shape == one.to_picture().shape == size
    if "cut" in METHODS[method].needs:
        assert (one.heatmap.shape[0] < one.heatmap.shape[1]) == (size[0] < size[1])


@every_method
def test_every_option_takes_the_ends_of_its_range(method):
    """And each value has a key of its own."""
    side = 120 if method == "occlusion" else 64  # its window has up to 112 pixels
    name, side = ("vit", 160) if METHODS[method].family == "attention" else ("custom", side)
    model, image = small(name).model, pictures(1, side)[0]
    fitting = {"window": {"stride": 8}, "stride": {"window": 112}}
    for option in options_of(METHODS[method].run):
        if option.name == "derivative":  # is refused where it changes nothing
            model, image = small("vit").model, pictures(1, 160)[0]
        values = {str: lambda o: o.bounds.values, bool: lambda o: (True, False)}.get(
            option.kind, lambda o: (o.kind(o.bounds.low), o.kind(o.bounds.high))
        )(option)
        if (method, option.name) == ("cls_attention", "head"):
            values = (0, 2)  # as many as this network has
        found = [
            ask_why(model, image, method, target=1, **{option.name: value, **fitting.get(option.name, {})})
            for value in values
        ]
        assert [one.options.get(option.name, option.default) for one in found] == list(values)
        assert all(np.isfinite(one.heatmap).all() for one in found)
        assert len({one.key for one in found}) == len(values)


FAST = [(name, family) for name, method in METHODS.items() for family in sorted(method.fast)]


def test_everywhere_names_every_family():
    """A new family is decided upon: what is not measured on it leaves EVERYWHERE."""
    assert {*FAMILIES, "custom"} == EVERYWHERE


@pytest.mark.parametrize(("method", "name"), [(m, name) for m, name in FITTING if name in ("custom", "efficientnet")])
def test_fast_is_refused_where_it_is_not_offered(method, name):
    found = small(name)
    model, image = found.model, pictures(1, found.side)[0]
    if name in METHODS[method].fast:
        assert ask_why(model, image, method, target=1, precision="fast").precision == "fast"
    else:
        with pytest.raises(BadRequest, match="exact precision"):
            ask_why(model, image, method, target=1, precision="fast")


def test_fast_is_refused_at_other_cuts_than_the_models_own():
    found = small("resnet")
    with pytest.raises(BadRequest, match="16 bits only on networks of the families efficientnet, resnet, at the network's"):
        explain(found.model, pictures(1, found.side)[0], "grad_cam", target=1, cut=found.model.cuts[0], precision="fast")


@pytest.mark.parametrize("method", [name for name, family in FAST if family == "efficientnet"])
@pytest.mark.parametrize("sample", ["astronaut", "coffee"])
def test_fast_keeps_the_map_of_a_trained_network(lite0, method, sample):
    photograph = F.interpolate(lite0.prepare(load_sample(sample)).pixels[None], (128, 128), mode="area")[0]
    exact = ask_why(lite0, photograph, method)
    asked = int(exact.target_key.split()[1])
    fast = ask_why(lite0, photograph, method, target=asked, precision="fast")
    assert spearman(exact.heatmap, fast.heatmap) >= 0.98
    assert fast.key != exact.key and fast.heatmap.dtype == np.float32


@pytest.mark.parametrize(("method", "family"), FAST)
def test_fast_keeps_the_map_of_a_family(method, family):
    """Of a margin, which holds two logits."""
    found = pair("resnet", "resnet18", 128) if family == "resnet" else small(family)
    images, asked = list(pictures(3, found.side)), targets(found, 3)["margin"]
    exact = ask_why(found.model, images, method, target=asked)
    fast = ask_why(found.model, images, method, target=asked, precision="fast")
    for a, b in zip(exact, fast, strict=True):
        assert spearman(a.heatmap, b.heatmap) >= 0.98
