"""The attribution methods of this project. To add one: a function in its family's file, and an entry here."""

import re

from xai_core.attribution import cam, gradient, perturbation
from xai_core.attribution.method import Method
from xai_core.errors import UnknownName

SIGNED, UNSIGNED = "signed", "non-negative"
CUT = frozenset({"cut"})


def trunk_only(options):
    """One forward pass; the part behind the cut is nearly free."""
    return 1, 0


def one_gradient(options):
    return 1, 1


def occlusion_passes(options):
    return 1 + (1 - (options["window"] - 224) // options["stride"]) ** 2, 0


METHODS = {
    method.id: method
    for method in (
        Method("grad_cam", "Grad-CAM", "cam", cam.grad_cam, UNSIGNED, trunk_only, CUT, fast=True),
        Method("grad_cam_plusplus", "Grad-CAM++", "cam", cam.grad_cam_plusplus, UNSIGNED, trunk_only, CUT, fast=True),
        Method("hires_cam", "HiResCAM", "cam", cam.hires_cam, UNSIGNED, trunk_only, CUT, fast=True),
        Method("layer_cam", "LayerCAM", "cam", cam.layer_cam, UNSIGNED, trunk_only, CUT, fast=True),
        Method("xgrad_cam", "XGrad-CAM", "cam", cam.xgrad_cam, UNSIGNED, trunk_only, CUT, fast=True),
        Method("eigen_cam", "Eigen-CAM", "cam", cam.eigen_cam, SIGNED, trunk_only, CUT, fast=True),
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
