"""Other libraries' implementations of our methods, on independent copies of the networks: what tests hold ours to, and
what `python -m benchmarks.agreement` measures for docs/methods.md.

The copy is in our memory format. In another format the rounding differs by 1e-7, some of ten million units that are nearly
zero change sign, and single pixels of a ResNet-50's gradient move by up to 5%: in float64 the formulas agree to 1e-14.
Where an oracle had to be bent to our definition, its function says so.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from unittest import mock

import captum.attr
import numpy as np
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget
from small_models import Normalise, ask, assembled, custom, pair, pictures
from torch import Tensor, nn

from xai_core.attribution.catalog import METHODS
from xai_core.core import runtime
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit, ClassMargin, ClassProbability, Target

CLASS, RIVAL = 7, 42
NETWORKS = {"resnet50": ("resnet", "resnet50", 224), "vit": ("vit", "deit_tiny_patch16_224", 224)}
SMALL, LARGE = ("resnet", "resnet18", 64), NETWORKS["resnet50"]
GRAD_CAM, CAPTUM, LIME = "grad-cam 1.5.7", "captum 0.9.0", "lime 0.2.0.1"
DRAWS = torch.randn(5, 3, 224, 224, generator=torch.Generator().manual_seed(5))


class Case(NamedTuple):
    """One method beside its oracle: ours is METHODS[method](question, images, **options), theirs is `expected`.

    `either_sign`: the oracle's sign is arbitrary, and ours is the subject of a test of its own.
    """

    method: str
    library: str
    network: str
    question: Question
    images: Tensor
    expected: Tensor
    options: Mapping[str, Any] = {}
    either_sign: bool = False

    def maps(self) -> tuple[Tensor, Tensor]:
        """(ours, theirs), both (n, h, w)."""
        ours = METHODS[self.method](self.question, self.images, **self.options).heatmap
        signs = (ours * self.expected).sum((1, 2), keepdim=True).sign() if self.either_sign else 1
        return ours, self.expected * signs


def logit(scores):
    return scores[..., CLASS]


def margin(scores):
    return scores[..., CLASS] - scores[..., RIVAL]


def probability(scores):
    return scores.softmax(-1)[..., CLASS]


SCALARS: dict[str, tuple[Target, Callable]] = {
    "logit": (ClassLogit((CLASS,)), logit),
    "margin": (ClassMargin((CLASS,), (RIVAL,)), margin),
}


def ours_and_plain(name, n):
    """Our model, the library's module and n pictures; both of these in our memory format."""
    found = pair(*name)
    return found.model, in_our_format(found.plain), pictures(n, found.side).contiguous(memory_format=runtime.MEMORY_FORMAT)


def in_our_format(module):
    return copy.deepcopy(module).to(memory_format=runtime.MEMORY_FORMAT)


# --- class activation maps: grad-cam, on the native grid before its ReLU, min-max scaling and resizing

CAMS = {
    "grad_cam": pytorch_grad_cam.GradCAM,
    "grad_cam_plusplus": pytorch_grad_cam.GradCAMPlusPlus,
    "hires_cam": pytorch_grad_cam.HiResCAM,
    "layer_cam": pytorch_grad_cam.LayerCAM,
    "xgrad_cam": pytorch_grad_cam.XGradCAM,
    "eigen_cam": pytorch_grad_cam.EigenCAM,
    "elementwise_grad_cam": pytorch_grad_cam.GradCAMElementWise,
    "eigen_grad_cam": pytorch_grad_cam.EigenGradCAM,
    "kpca_cam": pytorch_grad_cam.KPCA_CAM,
    "fem": pytorch_grad_cam.FEM,
}


def raw_map(kind, plain, layer, images, scalars, eigen=False, **given):
    """grad-cam's own map (n, h, w), before its ReLU, min-max scaling and resizing."""
    with kind(model=plain, target_layers=[layer], **given) as cam:
        outputs = cam.activations_and_grads(images)
        sum(scalar(output) for scalar, output in zip(scalars, outputs, strict=True)).backward()
        seen, gradients = (
            found[0].numpy() for found in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
        return torch.from_numpy(np.asarray(cam.get_cam_image(images, layer, scalars, seen, gradients, eigen)))


def without_class_token(tokens):
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)


def layer_and_cut(plain, network, depth):
    """The module whose output is our cut, `depth` blocks from the end (1 is the last), what grad-cam is told of it, and
    the name of the cut."""
    if network == "resnet50":
        return plain[1].layer4[-depth], {}, "layer4"
    return plain[1].blocks[-depth], {"reshape_transform": without_class_token}, f"blocks.{12 - depth}"


def cam(method, network, scalar="logit"):
    """At the last stage of a ResNet-50, and before the last block of a small ViT: behind it patches have no gradient.
    HiResCAM there one block earlier still, because before the last one it is zero (test_oracles)."""
    model, plain, images = ours_and_plain(NETWORKS[network], 2)
    target, read = SCALARS[scalar]
    depth = {"resnet50": 1, "vit": 3 if method == "hires_cam" else 2}[network]
    layer, given, cut = layer_and_cut(plain, network, depth)
    expected = raw_map(CAMS[method], plain, layer, images, [read] * 2, **given)
    signed = METHODS[method].sign == "signed"
    options = {} if signed else {"relu": False}
    return Case(method, GRAD_CAM, network, ask(model, target, cut), images, expected, options, either_sign=signed)


def random_cam(name=LARGE):
    """grad-cam draws from the global state: here it is given the weights that our seed makes."""
    model, plain, images = ours_and_plain(name, 2)
    weights = torch.erf(runtime.normal_draw(5, 0, ({"resnet18": 512, "resnet50": 2048}[name[1]],)) / 2**0.5)
    with mock.patch.object(np.random, "uniform", lambda low, high, size: weights.expand(size).numpy()):
        expected = raw_map(pytorch_grad_cam.RandomCAM, plain, plain[1].layer4[-1], images, [logit] * 2)
    question = ask(model, SCALARS["logit"][0])
    return Case("random_cam", GRAD_CAM, name[1], question, images, expected, {"relu": False, "seed": 5})


def tempered(name, n):
    """As `ours_and_plain`, with logits so near to each other that probabilities are not 0 or 1: fresh weights make them
    huge, and where p is below 1e-9, grad-cam's Finer-CAM is zero by the 1e-9 in its denominator."""
    module = copy.deepcopy(pair(*name).plain[1])
    with torch.no_grad():
        spread = pair(*name).plain(pictures(4, name[2], seed=8)).std()
        module.fc.weight /= spread
        module.fc.bias /= spread
    found = assembled(name[0], module, name[2])
    return found.model, in_our_format(found.plain), ours_and_plain(name, n)[2]


def shapley_cam(name=LARGE):
    """Of a probability: a logit behind mean pooling has no curvature."""
    model, plain, images = tempered(name, 2)
    leaf, layer = images.clone().requires_grad_(), plain[1].layer4[-1]
    with pytorch_grad_cam.ShapleyCAM(model=plain, target_layers=[layer]) as found:
        total = sum(probability(scores) for scores in found.activations_and_grads(leaf))
        torch.autograd.grad(total, leaf, retain_graph=True, create_graph=True)
        seen = found.activations_and_grads.activations[0]
        weights = found.get_cam_weights(leaf, layer, None, seen, found.activations_and_grads.gradients[0])
        expected = (torch.from_numpy(weights)[..., None, None] * seen.detach()).sum(1)
    question = ask(model, ClassProbability((CLASS,)))
    return Case("shapley_cam", GRAD_CAM, name[1], question, images, expected, {"relu": False})


def finer_cam(name=LARGE, similar=3, strength=0.6):
    model, plain, images = tempered(name, 2)
    with torch.no_grad():
        scores = plain(images)
    nearest = (scores - scores[:, [CLASS]]).abs().argsort(1)[:, 1 : similar + 1].tolist()
    scalars = [FinerWeightedTarget(CLASS, others, strength) for others in nearest]
    expected = raw_map(pytorch_grad_cam.GradCAM, plain, plain[1].layer4[-1], images, scalars)
    options = {"similar": similar, "strength": strength, "relu": False}
    return Case("finer_cam", GRAD_CAM, name[1], ask(model, ClassLogit((CLASS,))), images, expected, options)


def score_cam(scalar=logit):
    """grad-cam stretches masks to the corners: here it lays them over cell centres, as ours. On a small network."""
    found = custom()
    plain, images = copy.deepcopy(found.plain), pictures(2, found.side)
    centred = mock.patch.object(nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size=size, mode="bilinear"))
    with centred:
        expected = raw_map(pytorch_grad_cam.ScoreCAM, plain, plain[2], images, [scalar] * 2)
    target = (ClassLogit if scalar is logit else ClassProbability)((CLASS,))
    return Case("score_cam", GRAD_CAM, "two convolutions", ask(found.model, target), images, expected, {"relu": False})


class Large:
    """A logit, ten thousand times as large."""

    def __call__(self, outputs, rows=None):
        return 1e4 * outputs.logits[:, CLASS]

    def __len__(self):
        return 1


def shaken(module):
    """Every batch normalisation as if trained: scales, shifts and statistics of its own."""
    draw = torch.Generator().manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value, low, high in ((part.weight, 0.5, 1.5), (part.running_var, 0.5, 1.5), (part.bias, -0.3, 0.3)):
                value.data.uniform_(low, high, generator=draw)
            part.running_mean.uniform_(-0.3, 0.3, generator=draw)
    return module


def full_grad(name=LARGE):
    """grad-cam is given the network behind the normalisation, as ours looks at it, and a gradient so large that the 1e-7
    in its denominators vanishes."""
    found = assembled("resnet", shaken(copy.deepcopy(pair(*name).plain[1])), name[2])
    plain = in_our_format(found.plain[1])
    images = pictures(1, name[2]).contiguous(memory_format=runtime.MEMORY_FORMAT)
    with pytorch_grad_cam.FullGrad(plain, []) as cam:
        leaf = Normalise()(images).requires_grad_()
        (1e4 * cam.activations_and_grads(leaf)[:, CLASS]).sum().backward()
        expected = torch.from_numpy(cam.compute_cam_per_layer(leaf, None, False))[:, 0]
    return Case("full_grad", GRAD_CAM, name[1], ask(found.model, Large()), images, expected)


# --- gradients: captum, of a scalar of pictures


def strongest(gradients):
    return gradients.detach().abs().amax(1)


def noisy_saliency(scalar, images):
    saliency, draws = captum.attr.Saliency(scalar), DRAWS[:4]
    spread = 0.15 * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    return strongest(sum(saliency.attribute(images + spread * draw, abs=False) for draw in draws) / len(draws))


def integrated(scalar, images, steps=50):
    at_once = runtime.inner_batch(images[0, 0].numel(), images.device, graph=True)
    chosen = {"n_steps": steps, "method": "gausslegendre", "internal_batch_size": at_once}
    return captum.attr.IntegratedGradients(scalar).attribute(images, baselines=0.0, **chosen).sum(1)


GRADIENTS = {
    "saliency": (lambda scalar, x: strongest(captum.attr.Saliency(scalar).attribute(x, abs=False)), {}),
    "input_x_gradient": (lambda scalar, x: captum.attr.InputXGradient(scalar).attribute(x).sum(1), {}),
    "smooth_grad": (noisy_saliency, {"noise": DRAWS[:4]}),
    "integrated_gradients": (integrated, {}),
}


def gradient(method, network, scalar="margin", **options):
    """`options` are those of ours that the oracle takes too."""
    model, plain, images = ours_and_plain(NETWORKS[network], 1 if method == "integrated_gradients" else 2)
    target, read = SCALARS[scalar]
    oracle, given = GRADIENTS[method]
    expected = oracle(lambda x: read(plain(x)), images.clone().requires_grad_(), **options).detach()
    return Case(method, CAPTUM, network, ask(model, target), images, expected, given | options)


def noise_tunnel(method):
    """captum's noise tunnel asks torch.normal for its noise: it gets our draws, times the wanted deviation. Its variance
    is divided by the number of samples, ours by one less."""
    (model, plain, side, _), kind = pair("vit"), {"smooth_grad_squared": "smoothgrad_sq", "var_grad": "vargrad"}[method]
    images, draws = pictures(1, side), DRAWS[..., :side, :side]
    spread = float(0.15 * (images.max() - images.min()))

    def normal(mean, std):
        return mean + std * draws.repeat(len(std) // len(draws), 1, 1, 1).to(std)

    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(lambda x: margin(plain(x))))
    given = {"nt_type": kind, "nt_samples": len(draws), "stdevs": spread, "abs": False}
    with mock.patch.object(torch, "normal", normal):
        expected = tunnel.attribute(images.clone().requires_grad_(), **given).abs().amax(1)
    biased = len(draws) / (len(draws) - 1) if method == "var_grad" else 1
    question = ask(model, SCALARS["margin"][0])
    return Case(method, CAPTUM, "test_vit", question, images, expected * biased, {"noise": draws})
