"""Make the reduced references again: `python tests/data/references/make.py SHARED`, where SHARED is the folder with the full
files (`reference/pair_reference.npz`, `reference/published_pairs.csv`, `data/dino_xcit_small_12_p16_linearweights.pth`).
`python tests/data/references/make.py SHARED PUBLISHED` makes `pair_ties.npz` as well, with the authors' published
`evaluation.py` in the folder PUBLISHED.

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


def make_pair_ties(published: Path, out: Path) -> None:
    """The published insertion and deletion of maps with many equal pixels: as the code stands (`argsort`), and with
    `argsort(stable=True)` in its place, which is all that differs."""
    sys.path.insert(0, str(published))
    import evaluation
    import reference_pair

    from xai_core.data.samples import load_sample
    from xai_core.pairs.explain import explain_pair

    model = reference_pair.read().model
    picture, arrays = load_sample("rocket").convert("RGB").resize((96, 96)), {}
    dark = (np.asarray(picture).astype(np.int16) - 80).clip(0).astype(np.uint8)  # the night sky becomes black
    views = [np.moveaxis(dark[top : top + 64, left : left + 64], -1, 0)[None] for top, left in ((0, 0), (28, 20))]
    tensors = [torch.from_numpy(view.astype(np.float32) / np.float32(255)) for view in views]
    maps = [torch.from_numpy(one.heatmap) for one in explain_pair(model, *tensors, "input_x_gradient")]
    plain, rules = torch.Tensor.argsort, {"fast": {}, "stable": {"stable": True}}
    for number, (view, heatmap) in enumerate(zip(views, maps, strict=True), start=1):
        arrays |= {f"view{number}": view, f"map{number}": heatmap.numpy()}
        order = plain(heatmap.flatten()).flip(0).numpy()
        arrays[f"fast/order{number}"] = order.astype(np.uint16)
    for rule, how in rules.items():
        torch.Tensor.argsort = lambda self, how=how: plain(self, **how)
        for name, mode in (("SI", "ins"), ("SD", "del")):
            figure = evaluation.insertion_deletion_simult_single(embedded(model), *tensors, *maps, mode)
            arrays[f"{rule}/{name}/both"] = np.float64(figure)
        for name, mode in (("CI", "ins"), ("CD", "del")):
            for number in (1, 2):
                own, other = tensors if number == 1 else tensors[::-1]
                figure = evaluation.insertion_deletion_cond_single(embedded(model), own, other, maps[number - 1], mode)
                arrays[f"{rule}/{name}/{number}"] = np.float64(figure)
    torch.Tensor.argsort = plain
    np.savez_compressed(out, **arrays)


def embedded(model):
    return lambda pictures: model.outputs(pictures).embedding


if __name__ == "__main__":
    shared = Path(sys.argv[1])
    reduce_pair_reference(shared / "reference" / "pair_reference.npz", HERE / references.PAIR_REFERENCE.name)
    reduce_probe(shared / "data" / references.PROBE.stem, HERE / references.PROBE.name)
    shutil.copyfile(shared / "reference" / "published_pairs.csv", HERE / references.PUBLISHED_PAIRS.name)
    if len(sys.argv) > 2:
        make_pair_ties(Path(sys.argv[2]), HERE / references.PAIR_TIES.name)
    print(f"{sum(file.stat().st_size for file in HERE.iterdir()) / 1e6:.2f} MB in {HERE}")
