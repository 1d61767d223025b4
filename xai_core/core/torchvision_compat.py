"""A remedy for one broken pair of packages; does nothing on every other machine.

Where pip serves a CPU-only torch beside torchvision's CUDA-linked wheel, torchvision's compiled operators cannot
load, and `import torchvision` dies with "operator torchvision::nms does not exist": at import it attaches shape
functions to two operators that were never declared. Declaring these two, before the import, is enough: the operators
themselves stay unusable, and the classifiers of this project use none of them.

`ensure_importable()` is called by the modules that import torchvision or timm, above their import.
"""

import importlib.util
from pathlib import Path

import torch

# The operators whose shape functions torchvision registers without asking whether it could load its library.
SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_declared: list[torch.library.Library] = []  # a Library takes its declarations with it when it is collected


def compiled_operators_load() -> bool:
    """Whether torchvision's compiled library loads into this torch (what torchvision's own import will try)."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # no torchvision: its absence is a better message than ours
    library = next(iter(sorted(Path(spec.origin).parent.glob("_C*.[sp][oy]*"))), None)
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


def ensure_importable() -> bool:
    """Declare the missing operators where, and only where, torchvision's own library cannot. Returns whether it did."""
    if not _declared and not compiled_operators_load():
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, schema in SCHEMAS.items():
            library.define(name + schema)
        _declared.append(library)
    return bool(_declared)
