"""Make the reduced references again: `python tests/data/references/make.py SHARED`, where SHARED is the folder with the full
files (`reference/pair_reference.npz`, `reference/published_pairs.csv`, `data/dino_xcit_small_12_p16_linearweights.pth`).

README.md, beside this file, says what is reduced and by how much.
"""

import lzma
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from xai_core.core import torchvision_compat

torchvision_compat.ensure_importable()

import references

ROUNDED = (  # maps of the input's size: compared with a tolerance of 1e-4 of their largest value
    "input_x_gradient_blurred", "input_x_gradient_guided", "input_x_gradient_guided_blurred", "smooth_grad",
    "smooth_grad_guided", "averaged_transforms", "averaged_transforms_guided", "pairwise_occlusion",
)  # fmt: skip
PROBE_CLASSES = 20


def encode(key: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """(name of the member, its bytes): what `references.decode` reads."""
    if key in ("x1", "x2"):
        return f"{key}|picture", np.round(values * 255).astype(np.uint8)
    if key.split("/")[0] in ROUNDED or key == "pixel_invariance/views64":
        lowest = float(values.min())
        step = (float(values.max()) - lowest) / 65535
        levels = np.round((values.astype(np.float64) - lowest) / step).astype(np.uint16)
        return f"{key}|levels|{lowest!r}|{step!r}", references.planes(levels)
    if values.dtype == np.float32 and values.ndim:
        return f"{key}|float32", references.planes(values)
    return key, values


def reduce_pair_reference(full: Path, out: Path) -> None:
    with np.load(full, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    kept = {key: values for key, values in arrays.items() if key not in references.COMPUTED}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for key, values in kept.items():
            name, stored = encode(key, values)
            member = zipfile.ZipInfo(f"{name.replace('/', ':')}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_LZMA
            with archive.open(member, "w") as target:
                np.lib.format.write_array(target, stored, allow_pickle=False)
    reduced = references.pair_reference(out)
    assert set(reduced) == set(arrays)
    for key, values in arrays.items():
        assert reduced[key].dtype == values.dtype and reduced[key].shape == values.shape, key
        if values.dtype.kind != "f":
            assert np.array_equal(reduced[key], values), key
        elif values.size:
            gap = np.abs(reduced[key].astype(np.float64) - values).max() / max(np.abs(values).max(), 1e-30)
            assert gap <= 1e-5, (key, gap)
            if gap:
                print(f"{key:40} changed by {gap:.1e} of the largest value")


def reduce_probe(full: Path, out: Path) -> None:
    state = torch.load(full, map_location="cpu", weights_only=True)
    state["state_dict"]["module.linear.weight"][PROBE_CLASSES:] = 0
    for buffers in state["optimizer"]["state"].values():
        buffers["momentum_buffer"].zero_()
    with lzma.open(out, "wb") as file:
        torch.save(state, file)


if __name__ == "__main__":
    shared = Path(sys.argv[1])
    reduce_pair_reference(shared / "reference" / "pair_reference.npz", HERE / references.PAIR_REFERENCE.name)
    reduce_probe(shared / "data" / references.PROBE.stem, HERE / references.PROBE.name)
    shutil.copyfile(shared / "reference" / "published_pairs.csv", HERE / references.PUBLISHED_PAIRS.name)
    print(f"{sum(file.stat().st_size for file in HERE.iterdir()) / 1e6:.2f} MB in {HERE}")
