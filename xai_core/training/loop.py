"""What all trainings share: the network, its optimizer, the state that outlives the process, reading predictions."""

import contextlib
import json
import math
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

from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.files import write_atomically
from xai_core.data.recipe import Recipe
from xai_core.models.families import staged
from xai_core.models.staged import StagedNetwork, normalisation
from xai_core.training.data import Rows
from xai_core.training.plans import Plan

WARMING = 0.1  # share of all steps in which the learning rate rises


def bf16(where: torch.device) -> contextlib.AbstractContextManager:
    """Autocast to bfloat16 where the device computes in it; else float32."""
    here = torch.cpu.get_capabilities() if where.type == "cpu" else {}
    able = here.get("amx_bf16") or here.get("avx512_bf16") or (where.type == "cuda" and torch.cuda.is_bf16_supported())
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=bool(able))


class Net:
    """A module in training with its chain of stages; pictures in [0, 1] are normalised as the recipe says."""

    def __init__(self, module: nn.Module, family: str, recipe: Recipe, where: torch.device):
        self.module = module.to(where, memory_format=runtime.MEMORY_FORMAT)
        self.where = where
        self.staged: StagedNetwork = staged(family, self.module)
        self.normalise = normalisation(recipe.mean, recipe.std, where)

    def features(self, images: Tensor, frozen: int = 0, exact: bool = False) -> Tensor:
        """(n, D) of pictures in [0, 1]; the first `frozen` stages without a graph."""
        maps = self.normalise(images.to(self.where)).contiguous(memory_format=runtime.MEMORY_FORMAT)
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

    def probabilities(self, rows: Rows, exact: bool = False) -> NDArray[np.float64]:
        """(n, K) softmax of the classifier, in eval mode."""
        with torch.inference_mode():
            features = torch.from_numpy(self.all_features(rows, exact)).to(self.where)
            return self.staged.classify(features).double().softmax(1).cpu().numpy()


def optimizer_of(plan: Plan, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Weight decay for matrices and filters; none for biases and normalisation."""
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if plan.optimizer == "AdamW":
        return torch.optim.AdamW(groups, lr=plan.learning_rate)
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9, nesterov=True)


def set_rate(optimizer: torch.optim.Optimizer, plan: Plan, done: float) -> None:
    """The learning rate after this share of all steps: up in a line, down by half a cosine."""
    share = done / WARMING if done < WARMING else (1 + math.cos(math.pi * (done - WARMING) / (1 - WARMING))) / 2
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate * share


@contextlib.contextmanager
def draws(seed: int, epoch: int) -> Iterator[None]:
    """All random draws of one epoch come from (seed, epoch) alone: an epoch that is run again is the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield


@dataclass
class Progress:
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


class State:
    """What outlives the process: one file that is whole or not there, with the network, its optimizer and the progress."""

    def __init__(self, folder: Path, progress: Progress):
        self.file, self.best_file, self.progress = folder / "state.safetensors", folder / "best.safetensors", progress

    def load(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Go on where an earlier process stopped, if there was one. Raises BadRequest where it was another training."""
        if not self.file.exists():
            return
        with safetensors.safe_open(self.file, "pt") as file:
            found = Progress(**json.loads(file.metadata()["progress"]))
            asked = self.progress
            if (found.plan, found.seed, found.epochs) != (asked.plan, asked.seed, asked.epochs):
                raise BadRequest(
                    f"{self.file.parent} holds another training ({found.plan}, seed {found.seed}, {found.epochs} epochs): "
                    "name another folder with --state, or remove it."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        self.progress = found
        module.load_state_dict({name[7:]: value for name, value in tensors.items() if name.startswith("module.")})
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, best: bool) -> None:
        """After an epoch. The best network is kept apart, before the state says that it is the best."""
        tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
        if best:
            write_atomically(self.best_file, _packed({name[7:]: value for name, value in tensors.items()}))
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
        write_atomically(self.file, _packed(tensors, progress=json.dumps(vars(self.progress))))

    def best_tensors(self) -> dict[str, Tensor]:
        return safetensors.torch.load_file(self.best_file)


def _packed(tensors: dict[str, Tensor], **metadata: str) -> bytes:
    return safetensors.torch.save({name: value.contiguous().cpu() for name, value in tensors.items()}, metadata)


Say = Callable[[str], Any]
