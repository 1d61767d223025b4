"""The oracles of `oracles.py` for propagation and for covering parts of a picture; and the list of all of them.

captum puts hooks on modules, so that its networks have a module of their own for every activation.
"""

import contextlib
import io
import warnings
from functools import partial

import captum.attr
import torch
from captum.attr._utils.lrp_rules import EpsilonRule
from lime import lime_image
from oracles import (
    CAMS,
    CAPTUM,
    GRADIENTS,
    LIME,
    SCALARS,
    Case,
    cam,
    finer_cam,
    full_grad,
    gradient,
    in_our_format,
    noise_tunnel,
    random_cam,
    score_cam,
    shapley_cam,
    strongest,
)
from small_models import ask, pair, pictures, small
from torch import nn

from xai_core.attribution.perturbation import segmentation
from xai_core.core import runtime
from xai_core.data.preprocessing import baseline_images
from xai_core.explanation.targets import ClassLogit, ClassMargin
from xai_core.models.explainable import ExplainableModel

SIDE = 24
CLASSES = ClassLogit((1, 3))
MARGIN = ClassMargin((1,), (4,))


def convolutional(bias=True, pool=nn.MaxPool2d):
    """Two convolutions, ReLUs of their own, pooling without overlap, two linear layers; as ours, and as captum takes it."""
    torch.manual_seed(2)
    body = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=bias), nn.ReLU(), pool(2), nn.Conv2d(6, 8, 3, padding=1, bias=bias), nn.ReLU()
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 12 * 12, 16, bias=bias), nn.ReLU())
    classify = nn.Linear(16, 5, bias=bias)
    model = ExplainableModel.from_stages([("body", body)], head, classify=classify)
    return model, in_our_format(nn.Sequential(body, head, classify))


def captum_of(kind, plain, images, classes=CLASSES.classes, **options):
    images = images.contiguous(memory_format=runtime.MEMORY_FORMAT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum announces its hooks
        return kind(plain).attribute(images.clone().requires_grad_(), target=list(classes), **options)


def of_convolutions(method, expected, images, model, **options):
    return Case(method, CAPTUM, "two convolutions", ask(model, CLASSES), images, expected.detach(), options)


def guided(method):
    model, plain = convolutional()
    kind = {"guided_backprop": captum.attr.GuidedBackprop, "deconvnet": captum.attr.Deconvolution}[method]
    images = pictures(2, SIDE)
    return of_convolutions(method, strongest(captum_of(kind, plain, images)), images, model)


def network(family):
    """The small network of a family; of ResNets the library's own, which the documents name."""
    return pair(family, "resnet18", 96) if family == "resnet" else small(family)


def guided_resnet():
    """torchvision's blocks use one ReLU twice: captum needs copies of it, ours does not."""
    found = network("resnet")
    plain = in_our_format(found.plain)
    for block in [block for layer in (1, 2, 3, 4) for block in getattr(plain[1], f"layer{layer}")]:
        block.relu = nn.ReLU()
    images = pictures(2, found.side).contiguous(memory_format=runtime.MEMORY_FORMAT)
    expected = strongest(captum_of(captum.attr.GuidedBackprop, plain, images))
    return Case("guided_backprop", CAPTUM, "resnet18", ask(found.model, CLASSES), images, expected)


def guided_grad_cam():
    model, plain = convolutional()
    images = pictures(2, SIDE)
    product = partial(captum.attr.GuidedGradCam, layer=plain[0])
    expected = strongest(captum_of(product, plain, images, interpolate_mode="bilinear"))
    return of_convolutions("guided_grad_cam", expected, images, model)


def deep_lift(baseline="black"):
    """With average pooling: beside a ReLU, captum's max pooling loses one of two slopes (test_propagation)."""
    model, plain = convolutional(pool=nn.AvgPool2d)
    images = pictures(2, SIDE)
    expected = captum_of(captum.attr.DeepLift, plain, images, baselines=baseline_images(images, baseline)).sum(1)
    return of_convolutions("deep_lift", expected, images, model, baseline=baseline)


def layerwise_relevance(epsilon=0.05):
    model, plain = convolutional()
    images = pictures(2, SIDE)
    for part in plain.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.rule = EpsilonRule(epsilon)
        elif isinstance(part, nn.MaxPool2d | nn.Flatten):
            part.rule = EpsilonRule(1e-9)
    expected = captum_of(captum.attr.LRP, plain, images).sum(1)
    return of_convolutions("layerwise_relevance", expected, images, model, rule="epsilon", epsilon=epsilon)


def occlusion(family="resnet", side=96, window=64, stride=8, scalar="logit"):
    model, plain, *_ = network(family)
    (target, read), images = SCALARS[scalar], pictures(1, side)
    shape = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride)}
    with torch.no_grad():
        oracle = captum.attr.Occlusion(lambda x: read(plain(x)))
        expected = oracle.attribute(images, baselines=0.0, perturbations_per_eval=8, **shape)[:, 0]
    options = {"window": window, "stride": stride}
    return Case("occlusion", CAPTUM, small_name(family), ask(model, target), images, expected, options)


def small_name(family):
    return {"resnet": "resnet18", "vit": "test_vit", "efficientnet": "test_efficientnet"}[family]


def feature_ablation(family="resnet", kind="slic"):
    found = network(family)
    image = pictures(1, found.side)
    parts = segmentation.segment(image[0], kind, 20)
    with torch.no_grad():
        oracle = captum.attr.FeatureAblation(lambda x: found.plain(x)[:, 1] - found.plain(x)[:, 4])
        expected = oracle.attribute(image, feature_mask=parts[None, None], perturbations_per_eval=8)[:, 0]
    options = {"segmentation": kind, "segments": 20}
    return Case("feature_ablation", CAPTUM, small_name(family), ask(found.model, MARGIN), image, expected, options)


def blocks(side, count):
    """count x count square segments, (side, side)."""
    cell = torch.arange(side) * count // side
    return cell[:, None] * count + cell


def kernel_shap():
    """Over all coalitions of four squares, where it is the Shapley value."""
    found, image, parts = network("resnet"), pictures(1, 96), blocks(96, 2)
    with torch.no_grad():
        oracle = captum.attr.ShapleyValues(lambda x: found.plain(x)[:, 1])
        expected = oracle.attribute(image, feature_mask=parts[None, None].repeat(1, 3, 1, 1), perturbations_per_eval=8)
    question = ask(found.model, ClassLogit((1,)))
    return Case("kernel_shap", CAPTUM, "resnet18", question, image, expected[:, 0], {"parts": parts})


def lime_package(question, image, parts, samples, seed):
    """The lime package's weights of segments, and its fit."""

    def values(batch):
        return question.scores(torch.from_numpy(batch).permute(0, 3, 1, 2).float()).numpy()[:, None]

    explainer = lime_image.LimeImageExplainer(random_state=seed)
    pixels = image[0].permute(1, 2, 0).double().numpy()
    given = {"labels": (0,), "top_labels": None, "num_samples": samples, "segmentation_fn": lambda _: parts.numpy()}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        done = explainer.explain_instance(pixels, values, **given)
    return done.local_exp[0], done.score


def lime():
    found = small("efficientnet")
    image, options = pictures(1, found.side), {"samples": 150, "segmentation": "slic", "segments": 30, "seed": 3}
    parts, question = segmentation.segment(image[0], "slic", 30), ask(found.model, MARGIN)
    weights, _ = lime_package(question, image, parts, 150, 3)
    expected = torch.zeros(parts.shape)
    for part, weight in weights:
        expected[parts == part] = weight
    return Case("lime", LIME, "test_efficientnet", question, image, expected[None], options)


ONES = {
    "random_cam": (random_cam,),
    "shapley_cam": (shapley_cam,),
    "finer_cam": (finer_cam,),
    "score_cam": (score_cam,),
    "full_grad": (full_grad,),
    "smooth_grad_squared": (partial(noise_tunnel, "smooth_grad_squared"),),
    "var_grad": (partial(noise_tunnel, "var_grad"),),
    "guided_backprop": (partial(guided, "guided_backprop"), guided_resnet),
    "deconvnet": (partial(guided, "deconvnet"),),
    "guided_grad_cam": (guided_grad_cam,),
    "deep_lift": (deep_lift,),
    "layerwise_relevance": (layerwise_relevance,),
    "occlusion": (occlusion, partial(occlusion, "vit", 160)),
    "feature_ablation": (feature_ablation, partial(feature_ablation, "vit")),
    "kernel_shap": (kernel_shap,),
    "lime": (lime,),
}

# What each method is measured beside, for docs/methods.md.
CASES = {
    **{method: (partial(cam, method, "resnet50"), partial(cam, method, "vit")) for method in CAMS},
    **{method: (partial(gradient, method, "resnet50"), partial(gradient, method, "vit")) for method in GRADIENTS},
    **ONES,
}

# Where the right map is known: by a formula, by a loop that is written out, or by the authors' own algorithm.
CLOSED_FORMS = {
    "cam": ("the classifier's weights times the activations", "attribution/test_cam_forms.py::TestCam"),
    "grad_cam": ("CAM divided by the number of places", "attribution/test_closed_forms.py::test_class_activation_map"),
    "grad_cam_plusplus": ("one channel by hand", "attribution/test_closed_forms.py::test_grad_cam_plusplus_by_hand"),
    "smooth_grad_cam_plusplus": (
        "Grad-CAM++ where there is no noise",
        "attribution/test_cam_forms.py::test_smooth_grad_cam_plusplus_without_noise_is_grad_cam_plusplus",
    ),
    "score_cam": ("a loop over channels", "attribution/test_cam_forms.py::TestScoreCam"),
    "ablation_cam": ("the whole network without each channel, in a loop", "attribution/test_cam_forms.py::TestAblationCam"),
    "refine_cam": ("two layers by hand", "attribution/test_cam_layers.py::TestSeveralLayers"),
    "full_grad": ("completeness; one convolution by hand", "attribution/test_cam_layers.py::TestFullGrad"),
    "deep_feature_factorisation": ("three known parts are found", "attribution/test_cam_layers.py::TestConcepts"),
    "integrated_gradients": (
        "a linear network; completeness", "attribution/test_closed_forms.py::test_linear_network_integrated_gradients",
    ),
    "gradient_shap": (
        "its formula, on captum's gradients with the same draws",
        "attribution/test_gradient.py::test_gradient_shap_by_its_formula",
    ),
    "blur_integrated_gradients": (
        "a linear network; completeness; scipy's blur",
        "attribution/test_gradient.py::test_completeness_on_a_smooth_network",
    ),
    "guided_integrated_gradients": (
        "the published algorithm as a plain loop",
        "attribution/test_gradient.py::test_guided_integrated_gradients_against_the_published_algorithm",
    ),
    "deep_lift": (
        "completeness for every family and target", "attribution/test_propagation.py::TestDeepLift",
    ),
    "layerwise_relevance": ("one convolution by hand; conservation", "attribution/test_propagation.py::TestRelevance"),
    "attn_lrp": (
        "one transformer block by hand", "attribution/test_libra.py::test_attn_lrp_on_one_block_is_as_the_paper_writes_it",
    ),
    "occlusion": ("a linear network in a plain loop", "attribution/test_closed_forms.py::test_linear_network_occlusion"),
    "kernel_shap": (
        "the exhaustive Shapley value",
        "attribution/test_perturbation.py::test_kernel_shap_over_all_coalitions_is_the_exhaustive_shapley_value",
    ),
    "rise": ("all masks of a linear network; its formula", "attribution/test_random_masks.py::test_rise_by_its_formula"),
    "sobol": ("known indices; scipy's estimator", "attribution/test_random_masks.py::test_sobol_indices_of_a_product"),
    "xrai": ("the ranking by hand; the sum of integrated gradients", "attribution/test_perturbation.py::test_xrai_ranking"),
    "random_map": (
        "uniform noise of its seed", "attribution/test_controls.py::test_random_map_is_uniform_noise_of_its_seed",
    ),
    "centre_gaussian": ("the formula", "attribution/test_controls.py::test_centre_is_a_gaussian_of_its_width"),
    "edge_detector": ("scikit-image's Sobel filter", "attribution/test_controls.py::test_edges_are_those_of_scikit_image"),
    "uniform_map": ("one everywhere", "attribution/test_controls.py::test_uniform_is_one_everywhere"),
    "attention_rollout": ("hooks on a copy, multiplied out", "attribution/test_attention.py::test_attention_rollout"),
    "gradient_rollout": ("hooks on a copy, multiplied out", "attribution/test_attention.py::test_gradient_rollout"),
    "le_grad": ("hooks on a copy, written out", "attribution/test_attention.py::test_le_grad"),
    "grad_eclip": ("hooks on a copy, written out", "attribution/test_attention.py::test_grad_eclip"),
    "cls_attention": ("hooks on a copy", "attribution/test_attention.py::test_class_token_attention_of_each_head"),
}  # fmt: skip

# Why another library's version is not taken as an oracle, or only in part: faults found by reading its source.
NOT_ORACLES = {
    "grad_cam_plusplus": "torchcam: the weights are never divided, and the denominator has sum(A g^3) for (sum A) g^3.",
    "smooth_grad_cam_plusplus": "torchcam: the last ReLU(g) is that of the last noisy sample alone; same denominator.",
    "hires_cam": "grad-cam before the last block of a ViT: rounding noise, where the map is zero.",
    "score_cam": "grad-cam stretches masks to the corners of the picture; given masks over cell centres.",
    "ablation_cam": "grad-cam: an offset adds up over batch positions, a ratio above 0.5 repeats channels.",
    "refine_cam": "grad-cam: the loop that normalises the layers has no effect.",
    "full_grad": "grad-cam adds 1e-7 to a denominator; given a gradient that makes it vanish.",
    "finer_cam": "grad-cam adds 1e-9 to a denominator, and gives zero for improbable classes.",
    "smooth_grad": "captum's default noise of 1.0 is unusable for pictures; given ours.",
    "smooth_grad_squared": "captum's default noise of 1.0 is unusable for pictures; given ours.",
    "var_grad": "captum's default noise of 1.0 is unusable for pictures; given ours. Its variance is divided by n.",
    "guided_backprop": "grad-cam: modules of nn.ReLU only, one picture only, gradients add up over calls.",
    "deep_lift": "captum: max pooling beside a ReLU loses one of two slopes.",
}
