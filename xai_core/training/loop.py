"""What all trainings share: the network, its optimizer and learning rate, and the state that a later process resumes."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xai_core.core import runtime, torchvision_compat
from xai_core.core.errors import BadRequest
from xai_core.core.files import open_regular, parse_json, write_atomically
from xai_core.data.recipe import Recipe
from xai_core.models.families import staged
from xai_core.models.staged import StagedNetwork, normalisation
from xai_core.training.data import Rows
from xai_core.training.plans import TrainingPlan

torchvision_compat.ensure_importable()

from timm.scheduler.cosine_lr import CosineLRScheduler

Scheduler = CosineLRScheduler
# What a file that is cut off, empty, of another kind or of another network ends in.
DAMAGED = (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError)
WARMING = 0.1  # share of all steps in which the learning rate rises


def bf16(where: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where the device computes in it; else float32."""
    here = torch.cpu.get_capabilities() if where.type == "cpu" else {}
    able = here.get("amx_bf16") or here.get("avx512_bf16") or (where.type == "cuda" and torch.cuda.is_bf16_supported())
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=bool(able))


class Net:
    """A module in training with its chain of stages; pictures in [0, 1] are normalised as the recipe says."""

    def __init__(self, module: nn.Module, family: str, recipe: Recipe, where: torch.device) -> None:
        self.module = runtime.channels_last(module.to(where))
        self.where = where
        self.staged: StagedNetwork = staged(family, self.module)
        self.normalise = normalisation(recipe.mean, recipe.std, where)

    def features(self, images: Tensor, frozen: int = 0, exact: bool = False) -> Tensor:
        """(n, D) of pictures in [0, 1]; the first `frozen` stages without a graph."""
        images = images.to(self.where)
        maps = self.normalise(images) if self.normalise else images
        maps = maps.contiguous(memory_format=runtime.MEMORY_FORMAT)
        with torch.no_grad(), bf16(self.where):
            for stage in self.staged.stages[:frozen]:
                maps = stage.run(maps)
        single = exact or (
            frozen and self.where.type == "cpu"
        )  # depthwise convolutions go backward slowly in bfloat16 there
        with contextlib.nullcontext() if single else bf16(self.where):
            for stage in self.staged.stages[frozen:]:
                maps = stage.run(maps if frozen == 0 else maps.float())
            return self.staged.pool(maps).float()

    def all_features(self, rows: Rows, exact: bool = False, size: int = 128) -> NDArray[np.float32]:
        """(n, D) of all rows, in eval mode, without a graph; `exact` in single precision whatever the device has."""
        self.module.eval()
        with torch.inference_mode():
            parts = [self.features(rows.batch(start, size), exact=exact).cpu() for start in range(0, len(rows), size)]
        return torch.cat(parts).numpy()

    @property
    def classifier(self) -> nn.Linear:
        """The last layer, which reads the features."""
        if not isinstance(self.staged.classify, nn.Linear):
            raise BadRequest("Only networks whose classifier is one linear layer can be trained.")
        return self.staged.classify

    def probabilities(self, rows: Rows, exact: bool = False) -> NDArray[np.float64]:
        """(n, K) softmax of the classifier, in eval mode."""
        with torch.inference_mode():
            features = torch.from_numpy(self.all_features(rows, exact)).to(self.where)
            probabilities: NDArray[np.float64] = self.classifier(features).double().softmax(1).cpu().numpy()
            return probabilities


def optimizer_of(plan: TrainingPlan, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Weight decay for matrices and filters; none for biases and normalisation."""
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if plan.optimizer == "AdamW":
        return torch.optim.AdamW(groups, lr=plan.learning_rate)
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9, nesterov=True)


def scheduler_of(optimizer: torch.optim.Optimizer, steps: int) -> Scheduler:
    """The learning rate over so many steps: up in a line, down to 0 by half a cosine.

    `step_update(step)` sets it from the step's number alone, so that a resumed training needs nothing of the earlier ones.
    """
    warming = round(WARMING * steps)
    return Scheduler(optimizer, steps - warming, warmup_t=warming, warmup_prefix=True, t_in_epochs=False)


@contextlib.contextmanager
def draws(seed: int, epoch: int) -> Iterator[None]:
    """All random draws of one epoch come from (seed, epoch) alone: an epoch that is run again is the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield


@dataclass
class TrainingProgress:
    """How far a training is, in plain numbers: what is kept beside its tensors.

    `curve` holds of each epoch loss and accuracy; `best` the epoch that is best on the held-out pictures.
    """

    plan: str
    seed: int
    epochs: int
    done: int = 0
    best: int = 0
    best_accuracy: float = -1.0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


class TrainingState:
    """What a later process resumes: one file, whole or not there, with the network, its optimizer and the progress."""

    def __init__(self, folder: Path, progress: TrainingProgress) -> None:
        self.file, self.best_file, self.progress = folder / "state.safetensors", folder / "best.safetensors", progress

    def load(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Resume where an earlier process stopped, if there was one. Raises BadRequest where it was another training, or the
        file is damaged."""
        if not os.path.lexists(self.file):
            return
        try:
            open_regular(self.file).close()
            with safetensors.safe_open(self.file, "pt") as file:
                earlier = TrainingProgress(**parse_json(file.metadata()["progress"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not iterable)
            if not (type(earlier.done) is type(earlier.best) is int and isinstance(earlier.curve, list)):
                raise ValueError("its progress is none")
        except DAMAGED as error:
            raise self._damaged(self.file) from error
        new = self.progress
        if (earlier.plan, earlier.seed, earlier.epochs) != (new.plan, new.seed, new.epochs):
            raise BadRequest(
                f"{self.file.parent} holds another training ({earlier.plan}, seed {earlier.seed}, "
                f"{earlier.epochs} epochs): name another folder with --state, or remove it."
            )
        try:
            module.load_state_dict({name[7:]: value for name, value in tensors.items() if name.startswith("module.")})
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith("optimizer."):
                    _, index, slot = name.split(".")
                    slots.setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        except DAMAGED as error:
            raise self._damaged(self.file) from error
        self.progress = earlier

    def _damaged(self, file: Path) -> BadRequest:
        return BadRequest(f"{file} is damaged: remove the folder {file.parent} to train from the beginning.")

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, best: bool) -> None:
        """After an epoch. The best network is kept apart, before the state says that it is the best."""
        tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
        if best:
            write_atomically(self.best_file, _packed({name[7:]: value for name, value in tensors.items()}))
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
        write_atomically(self.file, _packed(tensors, progress=json.dumps(vars(self.progress))))

    def best_tensors(self) -> dict[str, Tensor]:
        """The network after its best epoch. Raises BadRequest where the file is damaged or missing."""
        try:
            open_regular(self.best_file).close()
            return safetensors.torch.load_file(self.best_file)
        except DAMAGED as error:
            raise self._damaged(self.best_file) from error


def _packed(tensors: dict[str, Tensor], **metadata: str) -> bytes:
    return safetensors.torch.save({name: value.contiguous().cpu() for name, value in tensors.items()}, metadata)


Say = Callable[[str], Any]
