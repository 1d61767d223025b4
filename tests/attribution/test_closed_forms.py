"""Networks so small that the right map is known: by a formula, or by hand.

Tolerance 1e-5 of the largest value unless a test says otherwise; integrated gradients of a linear network is exact to
rounding, because quadrature of a constant is.
"""

import pytest
import torch
from small_models import ask, pictures
from torch import nn

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.targets import ClassLogit, ClassMargin
from xai_core.models.explainable import ExplainableModel

SIDE = 12
CAMS = [name for name, method in METHODS.items() if method.family == "cam"]
GRADIENT_CAMS = ("grad_cam", "hires_cam", "xgrad_cam")


def close(found, expected, tolerance=1e-5):
    expected = torch.as_tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(float(expected.abs().max()), 1e-30))


def run(method, question, images, **options):
    return METHODS[method](question, images, **options).heatmap


def linear(classes=3, bias=True):
    """logits = W x + b: every attribution is known."""
    torch.manual_seed(1)
    layer = nn.Linear(3 * SIDE * SIDE, classes, bias=bias)
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=layer)
    return model, layer.weight.detach().view(classes, 3, SIDE, SIDE)


def conv_gap_linear(bias=True):
    """A convolution, a ReLU, global average pooling and one linear layer: the network CAM was made for."""
    torch.manual_seed(2)
    conv, classify = nn.Conv2d(3, 6, 3), nn.Linear(6, 4, bias=bias)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_stages([("conv", nn.Sequential(conv, nn.ReLU()))], pool, classify=classify)
    return model, classify


def at_the_input(weights):
    """logit = sum of weights times pixels; the cut shows the pixels, so that g are the weights and A is the image."""
    layer = nn.Linear(weights.numel(), 1, bias=False)
    layer.weight.data = weights.flatten()[None]
    return ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=layer)


def test_linear_network_gradients():
    model, weights = linear()
    images, question = pictures(2, SIDE), ask(model, ClassLogit((0, 2)))
    chosen = weights[[0, 2]]
    close(run("saliency", question, images), chosen.abs().amax(1))
    close(run("input_x_gradient", question, images), (chosen * images).sum(1))
    close(run("smooth_grad", question, images, samples=3), chosen.abs().amax(1))


def test_input_x_gradient_of_a_linear_network_without_bias_sums_to_the_target():
    model, _ = linear(bias=False)
    images, question = pictures(2, SIDE), ask(model, ClassLogit((0, 2)))
    close(run("input_x_gradient", question, images).sum((1, 2)), question(images).detach())


@pytest.mark.parametrize("baseline", BASELINES)
def test_linear_network_integrated_gradients(baseline):
    model, weights = linear()
    images, question = pictures(2, SIDE), ask(model, ClassMargin((0, 2), (1, 1)))
    chosen, start = weights[[0, 2]] - weights[[1, 1]], baseline_images(images, baseline)
    found = METHODS["integrated_gradients"](question, images, steps=5, baseline=baseline)
    close(found.heatmap, (chosen * (images - start)).sum(1))
    close(found.heatmap.sum((1, 2)), (question(images) - question(start)).detach(), 1e-4)
    assert found.facts["completeness gap"].max() < 1e-4


def test_integrated_gradients_is_complete_on_a_smooth_network():
    torch.manual_seed(3)
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_stages([("conv", conv)], pool, classify=nn.Linear(4, 2))
    found = METHODS["integrated_gradients"](ask(model, ClassMargin((0,), (1,))), pictures(1, SIDE), steps=50)
    assert found.facts["completeness gap"].max() < 1e-4


@pytest.mark.parametrize("fill", BASELINES)
@pytest.mark.parametrize(("window", "stride"), [(4, 4), (4, 2), (5, 3), (3, 1), (SIDE, 4)])
def test_linear_network_occlusion(window, stride, fill):
    """A covered square takes away the sum of w (x - cover) in it; the reference is a plain loop over squares, the last of
    which is moved to the edge. The drop is a difference of logits, so that rounding is 1e-4 of it."""
    model, weights = linear()
    images, question = pictures(2, SIDE), ask(model, ClassLogit((0, 2)))
    terms = (weights[[0, 2]] * (images - baseline_images(images, fill))).sum(1)
    expected, counts = torch.zeros_like(terms), torch.zeros_like(terms)
    starts = sorted({min(start, SIDE - window) for start in range(0, SIDE - window + stride, stride)})
    for top in starts:
        for left in starts:
            inside = (slice(None), slice(top, top + window), slice(left, left + window))
            expected[inside] += terms[inside].sum((1, 2), keepdim=True)
            counts[inside] += 1
    assert counts.min() >= 1
    close(run("occlusion", question, images, window=window, stride=stride, fill=fill), expected / counts, 1e-4)


@pytest.mark.parametrize("method", GRADIENT_CAMS)
def test_class_activation_map(method):
    """Where the gradient is the same everywhere: CAM = sum_k w_ck A_k, and these are CAM / (h w).

    XGrad-CAM's quotient has 1e-7 in its denominator, so that it is held to 1e-4.
    """
    model, classify = conv_gap_linear()
    images, question = pictures(2, SIDE), ask(model, ClassLogit((1, 3)))
    activations = question.grid(question.trunk(images))
    cam = torch.einsum("nk,nkhw->nhw", classify.weight.detach()[[1, 3]], activations)
    expected = cam / cam[0].numel()
    close(run(method, question, images, relu=False), expected, 1e-4 if method == "xgrad_cam" else 1e-5)
    close(run(method, question, images), expected.relu(), 1e-4 if method == "xgrad_cam" else 1e-5)


def test_hires_cam_sums_to_the_logit_without_its_bias():
    model, classify = conv_gap_linear()
    images, question = pictures(2, SIDE), ask(model, ClassLogit((1, 3)))
    found = run("hires_cam", question, images, relu=False).sum((1, 2))
    close(found, question(images).detach() - classify.bias.detach()[[1, 3]])


def test_grad_cam_plusplus_by_hand():
    """One channel, A = (1, 2, 3, 4), g = (1, -1, 2, 0), S = 10: a = g^2 / (2 g^2 + S g^3) = (1/12, 1/-8, 4/88, 0), and the
    weight is sum a ReLU(g) = 1/12 + 8/88. Other channels have no gradient and no say."""
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0], images[0, 1] = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 7.0
    weights = torch.zeros(3, 2, 2)
    weights[0] = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
    question = ask(at_the_input(weights), ClassLogit((0,)))
    close(run("grad_cam_plusplus", question, images, epsilon=0), (1 / 12 + 8 / 88) * images[:, 0])


def test_grad_cam_plusplus_without_epsilon_scales_as_its_formula():
    """With epsilon = 0, a_k depends on g only through S g: larger activations and smaller gradients in the same ratio
    leave a_k, and the map scales by 1 exactly. (With the default epsilon it does not.)"""
    images, weights = pictures(1, 4) + 0.1, torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    one = run("grad_cam_plusplus", ask(at_the_input(weights), ClassLogit((0,))), images, epsilon=0)
    scaled = run("grad_cam_plusplus", ask(at_the_input(weights / 1024), ClassLogit((0,))), images * 1024, epsilon=0)
    close(scaled, one)


def test_layer_cam_by_hand():
    images = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]]])
    weights = torch.tensor([[[1.0, -1.0]], [[-2.0, 3.0]], [[0.0, 0.5]]])
    question = ask(at_the_input(weights), ClassLogit((0,)))
    close(run("layer_cam", question, images), [[[1.0, 12.0 + 3.0]]])
    close(run("hires_cam", question, images, relu=False), [[[1.0 - 6.0, -2.0 + 12.0 + 3.0]]])
    close(run("grad_cam", question, images, relu=False), [[[0.5 * 3 + 0.25 * 5, 0.5 * 4 + 0.25 * 6]]])


@pytest.mark.parametrize("sign", [1, -1])
def test_eigen_cam_of_rank_one_activations(sign):
    """A_k = 1 + u_k m: the map is m without its mean, times |u|, and positive where the activations are strong."""
    places = torch.rand(1, 1, 5, 4, generator=torch.Generator().manual_seed(4))
    channels = torch.tensor([0.5, 1.0, 2.0]).view(1, 3, 1, 1)
    images = 3 + sign * channels * places
    question = ask(at_the_input(torch.ones(3, 5, 4)), ClassLogit((0,)))
    expected = sign * (places - places.mean()) * channels.norm()
    close(run("eigen_cam", question, images), expected[0])


def test_eigen_cam_is_the_same_from_either_gram_matrix():
    """More channels than positions takes the small matrix of positions: the projection is the same, held to 1e-4."""
    activations = torch.rand(2, 40, 5, 5, generator=torch.Generator().manual_seed(6))
    for channels in (40, 10):
        part = activations[:, :channels]
        stage = [("made", lambda images, part=part: part[: len(images)] + 0 * images.mean((1, 2, 3), keepdim=True))]
        found = run("eigen_cam", ask(ExplainableModel.from_stages(stage, nn.Flatten()), ClassLogit((0,))), pictures(2, 8))
        positions = part.flatten(2).mT.double()
        centred = positions - positions.mean(1, keepdim=True)
        projection = (centred @ torch.linalg.svd(centred).Vh[:, :1].mT)[..., 0]
        strength = positions.norm(dim=2)
        covariance = (projection * (strength - strength.mean(1, keepdim=True))).sum(1, keepdim=True)
        close(found.flatten(1), projection * covariance.sign(), 1e-4)


def test_smooth_grad_without_noise_is_saliency():
    model, _ = conv_gap_linear()
    images, question = pictures(2, SIDE), ask(model, ClassLogit((1, 3)))
    silent = torch.zeros(4, 3, SIDE, SIDE)
    close(run("smooth_grad", question, images, noise=silent), run("saliency", question, images))


REGIONS = ("feature_ablation", "rise", "lime", "kernel_shap", "xrai")  # soft or ragged edges: in tests of their own
EVIDENCE = [  # attention has no place in a convolutional network
    name for name, method in METHODS.items() if name not in REGIONS and method.family not in ("control", "attention")
]


@pytest.mark.parametrize("method", EVIDENCE)
def test_all_evidence_lies_in_the_quadrant_that_the_network_reads(method):
    """Only the upper left quadrant reaches the output. Nothing may lie outside; a square that covers both may spill by
    its width, so that occlusion is asked with squares that fit. Eigen-CAM sees activations only: its cut is masked."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    torch.manual_seed(7)
    conv = nn.Conv2d(3, 8, 1)
    stages = [("read", lambda images: conv(images).relu().square() * mask)]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_stages(stages, pool, classify=nn.Linear(8, 2))
    options = {"occlusion": {"window": 8, "stride": 8}, "sobol": {"grid": 4, "designs": 8}}.get(method, {})
    found = abs(explain(model, pictures(1, 16)[0], method, target=1, rival=0, **options).heatmap)
    if method in ("eigen_cam", "eigen_grad_cam", "kpca_cam"):  # the mean is taken off: outside, the map is one constant
        found = abs(found - found[-1, -1])
    assert found[:8, :8].sum() > 0
    assert found.sum() - found[:8, :8].sum() <= 1e-5 * found.sum()
