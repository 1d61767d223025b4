"""The attribution methods of this project. To add one: a function in its family's file, and an entry here."""

import re

from xai_core.attribution import cam, gradient, perturbation
from xai_core.attribution.method import Method
from xai_core.errors import UnknownName

CUT = frozenset({"cut"})
_BLOCKS = "It is as coarse as the grid at the cut; smooth edges in the picture come from the display."
_CLASS_BLIND = "It does not know what was asked: the same map answers every target."


def _once(options):
    return 1, 1


METHODS = {
    method.id: method
    for method in (
        Method(
            "grad_cam", "Grad-CAM", "cam", cam.grad_cam, "non-negative", lambda o: (1, 0), "arXiv:1610.02391",
            tells="Which regions raise the target, through the channels that matter for it on average.",
            beware=f"{_BLOCKS} Channels are averaged first, so that it can highlight places the network did not use.",
            needs=CUT, fast=True,
        ),
        Method(
            "grad_cam_plusplus", "Grad-CAM++", "cam", cam.grad_cam_plusplus, "non-negative", lambda o: (1, 0),
            "arXiv:1710.11063",
            tells="Like Grad-CAM, with more room for several objects of the same class.",
            beware=f"{_BLOCKS} It keeps only positive gradients, and often looks alike for different classes.",
            needs=CUT, fast=True,
        ),
        Method(
            "hires_cam", "HiResCAM", "cam", cam.hires_cam, "non-negative", lambda o: (1, 0), "arXiv:2011.08891",
            tells="Which places the network used, exactly so where only pooling and one linear layer follow the cut.",
            beware=f"{_BLOCKS} Before a transformer's last block its sum cancels out; cut one block earlier.",
            needs=CUT, fast=True,
        ),
        Method(
            "layer_cam", "LayerCAM", "cam", cam.layer_cam, "non-negative", lambda o: (1, 0),
            "doi:10.1109/TIP.2021.3089943",
            tells="Where features are present that would raise the target; finer at shallow cuts.",
            beware=f"{_BLOCKS} Evidence against the target is left out before summing.",
            needs=CUT, fast=True,
        ),
        Method(
            "xgrad_cam", "XGrad-CAM", "cam", cam.xgrad_cam, "non-negative", lambda o: (1, 0), "arXiv:2008.02312",
            tells="Like Grad-CAM, with each channel's weight taken where the channel is active.",
            beware=f"{_BLOCKS} It divides by the sum of activations: unstable where these may be negative.",
            needs=CUT, fast=True,
        ),
        Method(
            "eigen_cam", "Eigen-CAM", "cam", cam.eigen_cam, "signed", lambda o: (1, 0), "arXiv:2008.00299",
            tells="Where the features vary most: usually the salient object.",
            beware=f"{_CLASS_BLIND} {_BLOCKS}", needs=CUT, fast=True,
        ),
        Method(
            "saliency", "Saliency", "gradient", gradient.saliency, "non-negative", _once, "arXiv:1312.6034",
            tells="Which pixels the target is most sensitive to, at this very picture.",
            beware="Sensitivity is not importance: a saturated network has small gradients where it is most certain.",
        ),
        Method(
            "input_x_gradient", "Input x gradient", "gradient", gradient.input_x_gradient, "signed", _once,
            "arXiv:1605.01713",
            tells="What each pixel adds to the target, compared with black, by a first-order estimate.",
            beware="Dark pixels get little whatever they mean, and the estimate is local.",
        ),
        Method(
            "smooth_grad", "SmoothGrad", "gradient", gradient.smooth_grad, "non-negative",
            lambda o: (o["samples"], o["samples"]), "arXiv:1706.03825",
            tells="Which pixels the target is sensitive to over a neighbourhood of the picture: a calmer saliency map.",
            beware="It answers for noisy pictures, which the network may never have seen.",
        ),
        Method(
            "integrated_gradients", "Integrated gradients", "gradient", gradient.integrated_gradients, "signed",
            lambda o: (o["steps"] + 2, o["steps"]), "arXiv:1703.01365",
            tells="How the change of the target from a baseline to the picture is shared out among the pixels.",
            beware="It depends on the baseline: what looks like the baseline gets nothing. "
            "Take more steps where the completeness gap under the map is large.",
        ),
        Method(
            "occlusion", "Occlusion sensitivity", "perturbation", perturbation.occlusion, "signed",
            lambda o: (1 + (1 - (o["window"] - 224) // o["stride"]) ** 2, 0), "arXiv:1311.2901",
            tells="By how much the target falls when a square is covered: a direct experiment on this model.",
            beware="A covered picture is an unusual one, and two objects that replace each other both seem unimportant.",
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
