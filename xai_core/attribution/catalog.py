"""The table of attribution methods. To add one: write a function in its family's file, and add an entry here."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from xai_core.attribution import attention, controls, guided_grad_cam, propagation, xrai
from xai_core.attribution.cam import concepts, gradient_free, gradient_weighted, multi_layer, target_free
from xai_core.attribution.gradient import integrated_gradients, saliency, smooth_grad
from xai_core.attribution.method import Cost, Method
from xai_core.attribution.perturbation import occlusion, random_masks, superpixels
from xai_core.core.errors import UnknownName
from xai_core.models.card import CUSTOM, FAMILIES

SIGNED, UNSIGNED = "signed", "non-negative"
CUT = frozenset({"cut"})
ATTENTION = frozenset({"attention"})

# Families of networks on which a method's map is the same in 16 bits (see `Method.fast`).
CNNS = frozenset({"efficientnet", "resnet"})
EVERYWHERE = frozenset({*FAMILIES, CUSTOM})


Options = Mapping[str, Any]


def of_views(forward: int | Callable[[Options], int], backward: int | Callable[[Options], int] = 0) -> Cost:
    """The cost of a class activation map: numbers, or functions of the options; six times as many with `augment`."""

    def passes(options: Options) -> tuple[int, int]:
        views = 6 if options["augment"] else 1
        ahead, back = (count(options) if callable(count) else count for count in (forward, backward))
        return ahead * views, back * views

    return passes


trunk_only = of_views(1)  # the part behind the cut is nearly free
many_tails = of_views(64)  # ViT-B's 768 channels through one block of twelve; before pooling it is far less


def one_gradient(options: Options) -> tuple[int, int]:
    return 1, 1


def no_pass(options: Options) -> tuple[int, int]:
    """The map needs none; the target's value beside it needs one."""
    return 1, 0


def each_sample(options: Options) -> tuple[int, int]:
    return options["samples"], options["samples"]


def each_step(options: Options) -> tuple[int, int]:
    """One gradient at each step of a path, and the values at both ends."""
    return options["steps"] + 2, options["steps"]


def relevance_passes(options: Options) -> tuple[int, int]:
    """The ordinary passes that take as long: convolutions are computed for positive and negative parts as well."""
    return (3, 1) if options["rule"] == "epsilon" else (8, 4)


def occlusion_passes(options: Options) -> tuple[int, int]:
    """One pass for each window, and one for the picture itself."""
    return 1 + max(1, 1 - (options["window"] - options["side"]) // options["stride"]) ** 2, 0


def segments_expected(options: Options) -> int:
    """The number of superpixels assumed for the estimate. Quickshift and Felzenszwalb find their own number; these are
    typical of a photograph."""
    return {"quickshift": 40, "felzenszwalb": 100, "slic": int(options["segments"])}[options["segmentation"]]


METHODS = {
    method.id: method
    for method in (
        Method("grad_cam", "Grad-CAM", "cam", gradient_weighted.grad_cam, UNSIGNED, trunk_only, CUT, fast=CNNS),
        Method(
            "grad_cam_plusplus", "Grad-CAM++", "cam", gradient_weighted.grad_cam_plusplus, UNSIGNED, trunk_only, CUT,
            fast=CNNS,
        ),
        Method("hires_cam", "HiResCAM", "cam", gradient_weighted.hires_cam, UNSIGNED, trunk_only, CUT, fast=CNNS),
        Method("layer_cam", "LayerCAM", "cam", gradient_weighted.layer_cam, UNSIGNED, trunk_only, CUT, fast=CNNS),
        Method("xgrad_cam", "XGrad-CAM", "cam", gradient_weighted.xgrad_cam, UNSIGNED, trunk_only, CUT, fast=CNNS),
        Method("eigen_cam", "Eigen-CAM", "cam", target_free.eigen_cam, SIGNED, trunk_only, CUT, fast=EVERYWHERE),
        Method("cam", "CAM", "cam", gradient_weighted.cam, UNSIGNED, trunk_only, CUT | {"linear head"}, fast=CNNS),
        Method(
            "elementwise_grad_cam", "Element-wise Grad-CAM", "cam", gradient_weighted.elementwise_grad_cam, UNSIGNED,
            trunk_only, CUT, fast=CNNS,
        ),
        Method(
            "smooth_grad_cam_plusplus", "Smooth Grad-CAM++", "cam", gradient_weighted.smooth_grad_cam_plusplus, UNSIGNED,
            of_views(lambda o: o["samples"] + 1), CUT, fast=CNNS,
        ),
        Method("shapley_cam", "Shapley-CAM", "cam", gradient_weighted.shapley_cam, UNSIGNED, trunk_only, CUT, fast=CNNS),
        Method("finer_cam", "Finer-CAM", "cam", gradient_weighted.finer_cam, UNSIGNED, trunk_only, CUT | {"classifier"}),
        Method(
            "eigen_grad_cam", "EigenGrad-CAM", "cam", gradient_weighted.eigen_grad_cam, SIGNED, trunk_only, CUT, fast=CNNS,
        ),
        Method("kpca_cam", "KPCA-CAM", "cam", target_free.kpca_cam, SIGNED, trunk_only, CUT, fast=CNNS),
        Method("fem", "FEM", "cam", target_free.fem, UNSIGNED, trunk_only, CUT),
        Method("random_cam", "Random-CAM", "cam", target_free.random_cam, UNSIGNED, trunk_only, CUT, fast=CNNS),
        Method(
            "score_cam", "Score-CAM", "cam", gradient_free.score_cam, UNSIGNED,
            of_views(lambda o: 1 + min(o["channels"], 2048)), CUT, fast=CNNS,
        ),
        Method("ablation_cam", "Ablation-CAM", "cam", gradient_free.ablation_cam, UNSIGNED, many_tails, CUT, fast=CNNS),
        Method(
            "refine_cam", "Refine-CAM", "cam", multi_layer.refine_cam, UNSIGNED,
            of_views(lambda o: 1 + o["layers"], lambda o: o["layers"]), fast=CNNS,
        ),
        Method("full_grad", "FullGrad", "cam", multi_layer.full_grad, UNSIGNED, of_views(1, 1), fast=CNNS),
        Method(
            "deep_feature_factorisation", "Deep feature factorisation", "cam", concepts.deep_feature_factorisation,
            UNSIGNED, of_views(3), CUT,
        ),
        Method("saliency", "Saliency", "gradient", saliency.saliency, UNSIGNED, one_gradient),
        Method("input_x_gradient", "Input x gradient", "gradient", saliency.input_x_gradient, SIGNED, one_gradient),
        Method("smooth_grad", "SmoothGrad", "gradient", smooth_grad.smooth_grad, UNSIGNED, each_sample),
        Method(
            "smooth_grad_squared", "SmoothGrad-squared", "gradient", smooth_grad.smooth_grad_squared, UNSIGNED, each_sample,
        ),
        Method("var_grad", "VarGrad", "gradient", smooth_grad.var_grad, UNSIGNED, each_sample),
        Method(
            "integrated_gradients", "Integrated gradients", "gradient", integrated_gradients.integrated_gradients, SIGNED,
            each_step,
        ),
        Method("gradient_shap", "GradientSHAP", "gradient", smooth_grad.gradient_shap, SIGNED, each_sample),
        Method(
            "blur_integrated_gradients", "Blur integrated gradients", "gradient",
            integrated_gradients.blur_integrated_gradients, SIGNED, each_step,
        ),
        Method(
            "guided_integrated_gradients", "Guided integrated gradients", "gradient",
            integrated_gradients.guided_integrated_gradients, SIGNED, each_step,
        ),
        Method(
            "guided_backprop", "Guided backpropagation", "propagation", propagation.guided_backprop, UNSIGNED, one_gradient,
            fast=CNNS,
        ),
        Method("deconvnet", "DeconvNet", "propagation", propagation.deconvnet, UNSIGNED, one_gradient, fast=CNNS),
        Method(
            "guided_grad_cam", "Guided Grad-CAM", "propagation", guided_grad_cam.guided_grad_cam, UNSIGNED, lambda o: (2, 1),
            CUT, fast=CNNS,
        ),
        Method("deep_lift", "DeepLIFT", "propagation", propagation.deep_lift, SIGNED, lambda o: (3, 2), fast=CNNS),
        Method(
            "layerwise_relevance", "LRP", "propagation", propagation.layerwise_relevance, SIGNED, relevance_passes,
        ),
        Method("attn_lrp", "AttnLRP", "propagation", propagation.attn_lrp, SIGNED, lambda o: (8, 4)),
        Method(
            "attention_rollout", "Attention rollout", "attention", attention.attention_rollout, UNSIGNED, lambda o: (2, 0),
            ATTENTION,
        ),
        Method(
            "gradient_rollout", "Gradient-weighted rollout", "attention", attention.gradient_rollout, UNSIGNED,
            one_gradient, ATTENTION,
        ),
        Method("le_grad", "LeGrad", "attention", attention.le_grad, UNSIGNED, lambda o: (2, 1), ATTENTION),
        Method(
            "grad_eclip", "Grad-ECLIP", "attention", attention.grad_eclip, UNSIGNED, lambda o: (2, 1),
            ATTENTION | {"class token"},
        ),
        Method(
            "cls_attention", "Class-token attention", "attention", attention.cls_attention, UNSIGNED, lambda o: (2, 0),
            frozenset({"class token"}),
        ),
        Method(
            "occlusion", "Occlusion sensitivity", "perturbation", occlusion.occlusion, SIGNED, occlusion_passes,
            fast=EVERYWHERE,
        ),
        Method(
            "feature_ablation", "Feature ablation", "perturbation", superpixels.feature_ablation, SIGNED,
            lambda o: (2 + segments_expected(o), 0), fast=EVERYWHERE,
        ),
        Method("rise", "RISE", "perturbation", random_masks.rise, SIGNED, lambda o: (o["samples"] + 1, 0), fast=EVERYWHERE),
        Method("lime", "LIME", "perturbation", superpixels.lime, SIGNED, lambda o: (o["samples"] + 1, 0), fast=EVERYWHERE),
        Method(
            "kernel_shap", "KernelSHAP", "perturbation", superpixels.kernel_shap, SIGNED, lambda o: (o["samples"] + 3, 0),
            fast=EVERYWHERE,
        ),
        Method(
            "sobol", "Sobol indices", "perturbation", random_masks.sobol, UNSIGNED,
            lambda o: (o["designs"] * (o["grid"] ** 2 + 2) + 1, 0), fast=EVERYWHERE,
        ),
        Method("xrai", "XRAI", "perturbation", xrai.xrai, SIGNED, lambda o: (2 * o["steps"] + 6, 2 * o["steps"])),
        Method("random_map", "Random map", "control", controls.random_map, UNSIGNED, no_pass, fast=EVERYWHERE),
        Method("centre_gaussian", "Centre", "control", controls.centre_gaussian, UNSIGNED, no_pass, fast=EVERYWHERE),
        Method("edge_detector", "Edges", "control", controls.edge_detector, UNSIGNED, no_pass, fast=EVERYWHERE),
        Method("uniform_map", "Uniform", "control", controls.uniform_map, UNSIGNED, no_pass, fast=EVERYWHERE),
    )
}  # fmt: skip


def find_method(name: str) -> Method:
    """The method of this id or title, whatever its case and punctuation: grad_cam, Grad-CAM, gradcam. Raises UnknownName."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower().replace("++", "plusplus"))

    for method in METHODS.values():
        if plain(name) in (plain(method.id), plain(method.title)):
            return method
    raise UnknownName("method", name, METHODS)
