"""Grad-CAM of networks that took themselves apart beside the library grad-cam's: `python -m benchmarks.any_network_cams`.

Twenty much used architectures with random weights, at the layers that grad-cam's README recommends (where it names none
for the family, the last layer before pooling), on three pictures of blobs and noise: signed maps. Also the CPU time of a
forward pass beside the plain module's (run it with OMP_NUM_THREADS=1). Writes benchmarks/results/any_network_cams.json;
`benchmarks.any_network --table` shows it.
"""

import argparse
import json
import time
import warnings
from typing import Any
from unittest import mock

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from benchmarks.any_network import CAMS, PICTURES, made
from xai_core.attribution.explain import explain
from xai_core.data.recipe import Recipe
from xai_core.models.explainable import ExplainableModel

SIDE, TARGET = 224, 3
LAYERS = {  # (library, architecture) -> the layer that is recommended for it
    ("torchvision", "resnet18"): "layer4.1",
    ("torchvision", "resnet50"): "layer4.2",
    ("torchvision", "resnext50_32x4d"): "layer4.2",
    ("torchvision", "wide_resnet50_2"): "layer4.2",
    ("torchvision", "alexnet"): "features.12",
    ("torchvision", "vgg11_bn"): "features.28",
    ("torchvision", "vgg16"): "features.30",
    ("torchvision", "densenet121"): "features.norm5",
    ("torchvision", "mobilenet_v2"): "features.18",
    ("torchvision", "mobilenet_v3_large"): "features.16",
    ("torchvision", "mnasnet1_0"): "layers.16",
    ("torchvision", "squeezenet1_1"): "features.12",
    ("torchvision", "shufflenet_v2_x1_0"): "conv5",
    ("torchvision", "efficientnet_b0"): "features.8",
    ("torchvision", "convnext_tiny"): "features.7.2",
    ("torchvision", "regnet_y_400mf"): "trunk_output.block4",
    ("timm", "resnet50d"): "layer4.2",
    ("timm", "vit_tiny_patch16_224"): "blocks.11.norm1",
    ("timm", "vit_small_patch16_224"): "blocks.11.norm1",
    ("timm", "swin_tiny_patch4_window7_224"): "layers.3.blocks.1.norm1",
}
Row = dict[str, Any]


def pictures() -> Tensor:
    """(PICTURES, 3, SIDE, SIDE): coarse blobs and fine noise."""
    draw = torch.Generator().manual_seed(0)
    blobs = F.interpolate(torch.randn(PICTURES, 3, 7, 7, generator=draw), (SIDE, SIDE), mode="bicubic")
    return blobs + 0.3 * torch.randn(PICTURES, 3, SIDE, SIDE, generator=draw)


def reshape_of(path: str) -> Any:
    """grad-cam's `reshape_transform`, as its README has it."""
    if path.startswith("blocks."):
        return lambda tokens: tokens[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    return (lambda maps: maps.permute(0, 3, 1, 2)) if "blocks" in path else None


def library_map(net: nn.Module, path: str, image: Tensor) -> np.ndarray:
    """grad-cam's signed map on the layer's own grid. In-place operations behind the layer are off (modules, and the function
    that DenseNet calls): they overwrite what its hook has kept."""
    layer, targets = net.get_submodule(path), [ClassifierOutputTarget(TARGET)]
    with (
        mock.patch.object(F, "relu", lambda maps, inplace=False: torch.relu(maps)),
        GradCAM(net, [layer], reshape_transform=reshape_of(path)) as cam,
    ):
        cam(image, targets)
        seen = cam.activations_and_grads
        activations, gradients = (one[0].detach().numpy() for one in (seen.activations, seen.gradients))
        found: np.ndarray = cam.get_cam_image(image, layer, targets, activations, gradients)[0]
        return found


def measured(library: str, architecture: str) -> Row:
    path = LAYERS[library, architecture]
    net = made(library, architecture)
    for part in net.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]
    model = ExplainableModel.from_module(net, recipe=Recipe(SIDE, SIDE, mean=None, std=None))
    default = model.network.cut_name(None)
    row: Row = {"library": library, "architecture": architecture, "layer": path, "default": default}
    for name, cut in (("rho at the layer", path), ("rho of the default", default)):
        row[name] = [_rho(model, cut, library_map(net, path, image[None]), image) for image in pictures()]
    return row | {"speed": _speed(model, net)}


def _rho(model: ExplainableModel, cut: str, theirs: np.ndarray, image: Tensor) -> float:
    """Spearman's rank correlation; maps of different grids are compared on the finer one."""
    ours = explain(model, image, "grad_cam", target=TARGET, cut=cut, relu=False).heatmap
    side = max(len(ours), len(theirs))
    both = [F.interpolate(torch.as_tensor(one)[None, None].float(), (side, side), mode="bilinear") for one in (ours, theirs)]
    return float(scipy.stats.spearmanr(both[0].flatten(), both[1].flatten()).statistic)


def _speed(model: ExplainableModel, net: nn.Module, pairs: int = 12) -> dict[str, float]:
    """CPU seconds of a forward pass of two pictures through the stages and through the plain module in the same memory
    format, run in turns: the least of each, and their ratio. Other work on the machine only adds to a time."""
    images = pictures()[:2].contiguous(memory_format=torch.channels_last)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    runs: dict[str, Any] = {"plain": net, "stages": lambda images: model.network.outputs(images).logits}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.no_grad():
        for turn in range(pairs):
            for name in sorted(runs, reverse=bool(turn % 2)):
                begin = time.process_time()
                runs[name](images)
                seconds[name].append(time.process_time() - begin)
    plain, stages = min(seconds["plain"]), min(seconds["stages"])
    return {"plain, s": plain, "stages, s": stages, "ratio": stages / plain, "pairs": pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=600)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    end, rows = time.monotonic() + 60 * given.minutes, json.loads(CAMS.read_text()) if CAMS.exists() else []
    done = {(row["library"], row["architecture"]) for row in rows}
    for library, architecture in LAYERS:
        if (library, architecture) not in done and time.monotonic() < end:
            rows.append(measured(library, architecture))
            print(rows[-1], flush=True)
            rows.sort(key=lambda row: [*LAYERS].index((row["library"], row["architecture"])))
            CAMS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
