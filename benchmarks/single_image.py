"""What one picture costs on a ResNet-50 at 224 pixels: `python -m benchmarks.single_image [--out FILE] [--rounds N]`.

Each row stands beside its peer: a plain forward pass of the library's own module in its fastest memory format, or the same
method of grad-cam or captum on that module. Random weights: they cost what trained ones do.
"""

import argparse
from pathlib import Path

import pytorch_grad_cam
import torch

from benchmarks.paired import report, row, timed
from benchmarks.peers import CLASS, Peers
from xai_core import METHODS, explain, explain_methods, load_model
from xai_core.explanation.agreement import rank_correlation
from xai_core.models.building import random_module
from xai_core.models.staged import freeze
from xai_core.models.zoo.catalog import CARDS

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
    peers = Peers(model)
    picture = torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0)).to(model.device)
    one = picture[None]
    plain = freeze(random_module(CARDS["resnet50"], 0)).to(model.device)
    batch = model.network.normalise(one).contiguous(memory_format=torch.channels_last)

    def forward():
        with torch.no_grad():
            return plain(batch)

    def ours(method, **options):
        return lambda: explain(model, picture, method, target=CLASS, **options)

    rows = []
    works = {
        "forward": forward,
        "grad_cam": ours("grad_cam"),
        "family": lambda: list(explain_methods(model, picture, {name: {} for name in PEER_CAMS}, target=CLASS)),
        "peer": lambda: peers.cam(pytorch_grad_cam.GradCAM, one),
    }
    found = timed(works, given.rounds, warm_up=3)
    rows.append(row("Grad-CAM", found["grad_cam"], found["forward"], "a plain forward pass"))
    rows.append(row("Grad-CAM", found["grad_cam"], found["peer"], "grad-cam's Grad-CAM"))
    rows.append(row("grad-cam's Grad-CAM", found["peer"], found["forward"], "a plain forward pass"))
    rows.append(row(f"{len(PEER_CAMS)} CAMs, one trunk pass", found["family"], found["forward"], "a plain forward pass"))
    few = max(3, given.rounds // 6)
    found = timed({"ours": works["family"], "peer": lambda: [peers.cam(kind, one) for kind in PEER_CAMS.values()]}, few)
    rows.append(row(f"{len(PEER_CAMS)} CAMs, one trunk pass", found["ours"], found["peer"], "grad-cam, one by one"))

    captums = {
        "saliency": lambda: peers.saliency(one),
        "integrated_gradients": lambda: peers.integrated_gradients(one, 50),
        "smooth_grad": lambda: peers.smooth_grad(one, 25),
        "occlusion": lambda: peers.occlusion(one, 64, 8),
    }
    for name, peer in captums.items():
        works = {"ours": ours(name), "peer": peer}
        if METHODS[name].offers_fast(model, model.network.cut_name(None)):
            works["fast"] = ours(name, precision="fast")
        found = timed(works, 3 if name == "occlusion" else few)
        rows.append(row(METHODS[name].title, found["ours"], found["peer"], "captum"))
        if "fast" in works:
            agrees = rank_correlation(works["ours"]().heatmap, works["fast"]().heatmap)
            rows.append(row(f"{METHODS[name].title}, fast", found["fast"], found["peer"], "captum", spearman=agrees))
    report(rows, given.out)


if __name__ == "__main__":
    main()
