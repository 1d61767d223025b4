"""Pictures for training: decoded once into one array on the disk, then augmented at random in every epoch."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core import torchvision_compat
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.data.preprocessing import prepare
from xai_core.data.recipe import Recipe
from xai_core.training.plans import TrainingPlan

torchvision_compat.ensure_importable()

from torchvision.transforms import v2

UNFINISHED = re.compile(r"[0-9a-f]{16}\.(?P<process>\d{1,9})\.part")  # as `decoded` names it


@dataclass(frozen=True)
class DecodedImages:
    """Decoded pictures: `pixels` (n, 3, side, side) uint8, mapped from the disk; `labels` (n,) into `classes`."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: NDArray[np.str_]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: NDArray[np.int64]) -> "Rows":
        return Rows(self, rows)


@dataclass(frozen=True)
class Rows:
    """Some of the pictures, in this order."""

    pictures: DecodedImages
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.pictures.labels[self.rows]

    @property
    def names(self) -> NDArray[np.str_]:
        return self.pictures.names[self.rows]

    def batch(self, start: int, size: int) -> Tensor:
        """(size, 3, side, side) float in [0, 1], as a model sees them."""
        return torch.from_numpy(self.pictures.pixels[self.rows[start : start + size]]).float().div_(255)


def decoded(dataset: Dataset, recipe: Recipe, cache: Path, track: Track = iter) -> DecodedImages:
    """All pictures of a dataset as the recipe shows them; from the cache where they were decoded before.

    The array appears under its name only when it is whole. Raises BadRequest where a picture cannot be read: what a
    network was trained on is to be known exactly.
    """
    classes = dataset.classes
    names = [sample.name for sample in dataset.samples]
    size = recipe.input_size
    key = bytes_digest(repr((dataset.digest, recipe)).encode())[:16]
    file, shape = cache / f"{key}.npy", (len(names), 3, size, size)
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(cache)
        unfinished = file.with_suffix(f".{os.getpid()}.part")
        pixels = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        for row, name in enumerate(track(names)):
            try:
                shown = prepare(dataset.open(name), recipe).pixels
            except BadPicture as error:
                unfinished.unlink()
                raise BadRequest(f"{name}: {error} Take it out of the dataset, or repair it.") from error
            pixels[row] = (shown * 255).round().to(torch.uint8).numpy()
        pixels.flush()
        unfinished.replace(file)
    labels = np.array([classes.index(sample.label) for sample in dataset.samples])
    return DecodedImages(np.load(file, mmap_mode="r"), labels, np.array(names), classes)


def _remove_leftovers(cache: Path) -> None:
    """Remove the unfinished arrays of processes that were killed: those whose number no process has."""
    for path in cache.glob("*.part"):
        name = UNFINISHED.fullmatch(path.name)
        if name and path.is_file() and not psutil.pid_exists(int(name["process"])):
            path.unlink(missing_ok=True)


def held_out(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows to train on, rows held out), drawn class by class from the seed."""
    from sklearn.model_selection import train_test_split

    kept, out = train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed)
    return np.sort(kept), np.sort(out)


def batches_in(rows: Rows, plan: TrainingPlan) -> int:
    """Batches in an epoch, all of one size: a small last one would disturb batch normalisation, and is left out."""
    return len(rows) // min(plan.batch, len(rows))


class Augmented:
    """Batches of pictures, each cut, mirrored and coloured at random; draws come from torch's global generator."""

    def __init__(self, rows: Rows, plan: TrainingPlan, side: int) -> None:
        self.rows, self.size = rows, min(plan.batch, len(rows))
        steps = [v2.RandomResizedCrop(side, scale=(plan.crop, 1.0), antialias=True), v2.RandomHorizontalFlip()]
        if plan.jittered:
            steps.append(v2.RandomApply([v2.ColorJitter(*plan.jitter)], plan.jittered))
        if plan.grey:
            steps.append(v2.RandomGrayscale(plan.grey))
        self.change = v2.Compose(steps)

    def __len__(self) -> int:
        return len(self.rows) // self.size

    def batches(self, views: int = 1) -> Iterator[tuple[list[Tensor], Tensor]]:
        """(views, each (n, 3, side, side) in [0, 1]; labels (n,)), in a random order."""
        order = self.rows.rows[torch.randperm(len(self.rows)).numpy()]
        for start in range(0, len(self) * self.size, self.size):
            rows = order[start : start + self.size]
            pictures = [torch.from_numpy(self.rows.pictures.pixels[row].copy()) for row in rows]
            shown = [torch.stack([self.change(one) for one in pictures]).float().div_(255) for _ in range(views)]
            yield shown, torch.from_numpy(self.rows.pictures.labels[rows])
