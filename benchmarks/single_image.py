"""What one picture costs on a ResNet-50 at 224 pixels: `python -m benchmarks.single_image [--out FILE] [--rounds N]`.

Each row stands beside its peer: a plain forward pass of the library's own module in its fastest memory format, or the same
method of grad-cam or captum on that module. Random weights: they cost what trained ones do.
"""

import argparse
from pathlib import Path

import captum.attr
import numpy as np
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr

from benchmarks.paired import report, row, timed
from xai_core import METHODS, explain, explain_methods, load_model
from xai_core.models.catalog import CARDS
from xai_core.models.loading import random_module
from xai_core.models.staged import freeze

CLASS = 281
PEER_CAMS = {
    "grad_cam": pytorch_grad_cam.GradCAM,
    "grad_cam_plusplus": pytorch_grad_cam.GradCAMPlusPlus,
    "hires_cam": pytorch_grad_cam.HiResCAM,
    "layer_cam": pytorch_grad_cam.LayerCAM,
    "xgrad_cam": pytorch_grad_cam.XGradCAM,
    "eigen_cam": pytorch_grad_cam.EigenCAM,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "single_image.json")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()

    model = load_model("resnet50", weights="random")
    picture = torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0)).to(model.device)
    plain = freeze(random_module(CARDS["resnet50"], 0)).to(model.device)
    batch = model.network.normalise(picture[None]).contiguous(memory_format=torch.channels_last)
    peer_module = freeze(random_module(CARDS["resnet50"], 0)).to(model.device)
    for part in peer_module.modules():  # as the peers have it
        part.requires_grad_(True)
    peer_batch = batch.contiguous()

    def forward():
        with torch.no_grad():
            return plain(batch)

    def ours(method, **options):
        return lambda: explain(model, picture, method, target=CLASS, **options)

    def peer_cam(name):
        with PEER_CAMS[name](peer_module, [peer_module.layer4[-1]]) as cam:
            return cam(peer_batch, [ClassifierOutputTarget(CLASS)])

    rows = []
    works = {
        "forward": forward,
        "grad_cam": ours("grad_cam"),
        "family": lambda: list(explain_methods(model, picture, {name: {} for name in PEER_CAMS}, target=CLASS)),
        "peer": lambda: peer_cam("grad_cam"),
    }
    found = timed(works, given.rounds, warm_up=3)
    rows.append(row("Grad-CAM", found["grad_cam"], found["forward"], "a plain forward pass"))
    rows.append(row("Grad-CAM", found["grad_cam"], found["peer"], "grad-cam's Grad-CAM"))
    rows.append(row("grad-cam's Grad-CAM", found["peer"], found["forward"], "a plain forward pass"))
    rows.append(row(f"{len(PEER_CAMS)} CAMs, one trunk pass", found["family"], found["forward"], "a plain forward pass"))
    few = max(3, given.rounds // 6)
    found = timed({"ours": works["family"], "peer": lambda: [peer_cam(name) for name in PEER_CAMS]}, few)
    rows.append(row(f"{len(PEER_CAMS)} CAMs, one trunk pass", found["ours"], found["peer"], "grad-cam, one by one"))

    captums = {
        "saliency": lambda: captum.attr.Saliency(peer_module).attribute(peer_batch.clone().requires_grad_(), CLASS),
        "integrated_gradients": lambda: captum.attr.IntegratedGradients(peer_module).attribute(
            peer_batch, target=CLASS, internal_batch_size=8
        ),
        "smooth_grad": lambda: captum.attr.NoiseTunnel(captum.attr.Saliency(peer_module)).attribute(
            peer_batch, nt_samples=25, nt_samples_batch_size=8, target=CLASS
        ),
        "occlusion": lambda: captum.attr.Occlusion(peer_module).attribute(
            peer_batch, (3, 64, 64), (3, 8, 8), target=CLASS, perturbations_per_eval=16
        ),
    }
    for name, peer in captums.items():
        works = {"ours": ours(name), "peer": peer}
        if METHODS[name].offers_fast(model, model.network.cut_name(None)):
            works["fast"] = ours(name, precision="fast")
        found = timed(works, 3 if name == "occlusion" else max(3, given.rounds // 6))
        rows.append(row(METHODS[name].title, found["ours"], found["peer"], "captum"))
        if "fast" in works:
            agrees = spearman(works["ours"](), works["fast"]())
            rows.append(row(f"{METHODS[name].title}, fast", found["fast"], found["peer"], "captum", spearman=agrees))
    report(rows, given.out)


def spearman(a, b) -> float:
    """Rank correlation of two explanations' maps: how far fast agrees with exact."""
    return float(np.asarray(spearmanr(a.heatmap.ravel(), b.heatmap.ravel()).statistic))


if __name__ == "__main__":
    main()
