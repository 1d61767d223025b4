"""The attribution methods of this project. To add one: a function in its family's file, and an entry here."""

import re

from xai_core.attribution import cam, cam_channels, cam_layers, cam_search, gradient, perturbation
from xai_core.attribution.method import Method
from xai_core.errors import UnknownName

SIGNED, UNSIGNED = "signed", "non-negative"
CUT = frozenset({"cut"})


def of_views(forward, backward=0):
    """The passes of a class activation map: numbers, or functions of the options; six times as many with `augment`."""

    def passes(options):
        counts = (count(options) if callable(count) else count for count in (forward, backward))
        return tuple(count * (6 if options["augment"] else 1) for count in counts)

    return passes


trunk_only = of_views(1)  # the part behind the cut is nearly free
many_tails = of_views(64)  # ViT-B's 768 channels through one block of twelve; before pooling it is far less


def one_gradient(options):
    return 1, 1


def occlusion_passes(options):
    return 1 + (1 - (options["window"] - 224) // options["stride"]) ** 2, 0


METHODS = {
    method.id: method
    for method in (
        Method("grad_cam", "Grad-CAM", "cam", cam.grad_cam, UNSIGNED, trunk_only, CUT),
        Method("grad_cam_plusplus", "Grad-CAM++", "cam", cam.grad_cam_plusplus, UNSIGNED, trunk_only, CUT),
        Method("hires_cam", "HiResCAM", "cam", cam.hires_cam, UNSIGNED, trunk_only, CUT),
        Method("layer_cam", "LayerCAM", "cam", cam.layer_cam, UNSIGNED, trunk_only, CUT),
        Method("xgrad_cam", "XGrad-CAM", "cam", cam.xgrad_cam, UNSIGNED, trunk_only, CUT),
        Method("eigen_cam", "Eigen-CAM", "cam", cam.eigen_cam, SIGNED, trunk_only, CUT, fast=True),
        Method("cam", "CAM", "cam", cam_channels.cam, UNSIGNED, trunk_only, CUT | {"linear head"}),
        Method(
            "elementwise_grad_cam", "Element-wise Grad-CAM", "cam", cam_channels.elementwise_grad_cam, UNSIGNED,
            trunk_only, CUT,
        ),
        Method(
            "smooth_grad_cam_plusplus", "Smooth Grad-CAM++", "cam", cam_channels.smooth_grad_cam_plusplus, UNSIGNED,
            of_views(lambda o: o["samples"] + 1), CUT,
        ),
        Method("shapley_cam", "Shapley-CAM", "cam", cam_channels.shapley_cam, UNSIGNED, trunk_only, CUT),
        Method("finer_cam", "Finer-CAM", "cam", cam_channels.finer_cam, UNSIGNED, trunk_only, CUT | {"classifier"}),
        Method("eigen_grad_cam", "EigenGrad-CAM", "cam", cam_channels.eigen_grad_cam, SIGNED, trunk_only, CUT),
        Method("kpca_cam", "KPCA-CAM", "cam", cam_channels.kpca_cam, SIGNED, trunk_only, CUT),
        Method("fem", "FEM", "cam", cam_channels.fem, UNSIGNED, trunk_only, CUT),
        Method("random_cam", "Random-CAM", "cam", cam_channels.random_cam, UNSIGNED, trunk_only, CUT),
        Method(
            "score_cam", "Score-CAM", "cam", cam_search.score_cam, UNSIGNED,
            of_views(lambda o: 1 + min(o["channels"], 2048)), CUT,
        ),
        Method("ablation_cam", "Ablation-CAM", "cam", cam_search.ablation_cam, UNSIGNED, many_tails, CUT),
        Method(
            "refine_cam", "Refine-CAM", "cam", cam_layers.refine_cam, UNSIGNED,
            of_views(lambda o: 1 + o["layers"], lambda o: o["layers"]),
        ),
        Method("full_grad", "FullGrad", "cam", cam_layers.full_grad, UNSIGNED, of_views(1, 1)),
        Method(
            "deep_feature_factorisation", "Deep feature factorisation", "cam", cam_layers.deep_feature_factorisation,
            UNSIGNED, of_views(3), CUT,
        ),
        Method("saliency", "Saliency", "gradient", gradient.saliency, UNSIGNED, one_gradient),
        Method("input_x_gradient", "Input x gradient", "gradient", gradient.input_x_gradient, SIGNED, one_gradient),
        Method(
            "smooth_grad", "SmoothGrad", "gradient", gradient.smooth_grad, UNSIGNED,
            lambda o: (o["samples"], o["samples"]),
        ),
        Method(
            "integrated_gradients", "Integrated gradients", "gradient", gradient.integrated_gradients, SIGNED,
            lambda o: (o["steps"] + 2, o["steps"]),
        ),
        Method(
            "occlusion", "Occlusion sensitivity", "perturbation", perturbation.occlusion, SIGNED, occlusion_passes,
            fast=True,
        ),
    )
}  # fmt: skip


def find_method(name: str) -> Method:
    """A method by its id or its title, however it is spelt: grad_cam, Grad-CAM, gradcam. Raises UnknownName."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower().replace("++", "plusplus"))

    for method in METHODS.values():
        if plain(name) in (plain(method.id), plain(method.title)):
            return method
    raise UnknownName("method", name, METHODS)
