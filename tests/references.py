"""Published results that tests compare with: read from `tests/data/references`, whose README says where they are from."""

import lzma
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.functional import gaussian_blur

FOLDER = Path(__file__).parent / "data" / "references"
PAIR_REFERENCE = FOLDER / "pair_reference.npz"
PAIR_TIES = FOLDER / "pair_ties.npz"
PUBLISHED_PAIRS = FOLDER / "published_pairs.csv"
COMPUTED = ["input_x_gradient/1", "input_x_gradient/2", "averaged_transforms_path"]
PROBE = FOLDER / "dino_xcit_small_12_p16_linearweights.pth.xz"


def planes(values: np.ndarray) -> np.ndarray:
    """The bytes of numbers as (bytes of a number, *shape): the first bytes together compress better than whole numbers."""
    values = np.ascontiguousarray(values)
    return np.moveaxis(values.view(np.uint8).reshape(*values.shape, values.itemsize), -1, 0)


def from_planes(stored: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    return np.frombuffer(np.moveaxis(stored, 0, -1).tobytes(), dtype).reshape(stored.shape[1:]).copy()


def pair_reference(file: Path = PAIR_REFERENCE) -> dict[str, np.ndarray]:
    """Every array of the reference for pairs, by its key."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(decode(name, stored[name]) for name in stored.files)
    return arrays | computed_arrays(arrays)


def pair_keys(file: Path = PAIR_REFERENCE) -> list[str]:
    """The keys of those arrays, without reading the arrays."""
    with np.load(file, allow_pickle=False) as stored:
        return [key_of(name) for name in stored.files] + COMPUTED


def key_of(name: str) -> str:
    return name.split("|")[0].replace(":", "/")


def decode(name: str, stored: np.ndarray) -> tuple[str, np.ndarray]:
    """(key, array) of a member; its name says how it is stored."""
    key = key_of(name)
    match name.split("|")[1:]:
        case ["picture"]:
            return key, stored.astype(np.float32) / np.float32(255)
        case ["levels", lowest, step]:
            values = float(lowest) + float(step) * from_planes(stored, np.uint16)
            return key, values.astype(np.float64 if key.startswith("pairwise_occlusion/") else np.float32)
        case ["float32"]:
            return key, from_planes(stored, np.float32)
    return key, stored


def computed_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What need not be stored: maps that the file holds twice, and the path of the averaged transforms as its note defines
    it, from the first view to its blurred copy."""
    view = torch.from_numpy(arrays["x1"])
    blurred = gaussian_blur(view, [11, 11], [5.0, 5.0])
    path = torch.cat([share * view + (1 - share) * blurred for share in (1 - np.arange(10) / 10).tolist()])
    twice = {f"input_x_gradient/{number}": arrays[f"metrics/input_x_gradient/map{number}"] for number in (1, 2)}
    return twice | {"averaged_transforms_path": path.numpy()}


def unpack_probe(folder: Path) -> Path:
    """Write the published linear probe into a folder, under its published name."""
    folder.mkdir()
    file = folder / PROBE.stem
    file.write_bytes(lzma.decompress(PROBE.read_bytes()))
    return file
