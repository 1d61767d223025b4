"""One training from beginning to end: pictures in; weights, their card and the recorded run out."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.data.recipe import Recipe
from xai_core.training import contrastive, supervised
from xai_core.training.data import decoded, held_out
from xai_core.training.dynamics.recorder import RunRecorder
from xai_core.training.loop import Net, Say, TrainingProgress, TrainingState
from xai_core.training.plans import TrainingPlan

STORED = 112  # the side in pixels at which pictures to train on are kept, before they are cut at random
HELD_OUT = 0.1
HOW: dict[str, Callable[..., None]] = {"supervised": supervised.train, "barlow": contrastive.train}


def train_plan(
    plan: TrainingPlan,
    train: Dataset,
    test: Dataset,
    *,
    state: Path,
    run: Path,
    seed: int = 0,
    epochs: int | None = None,
    more: bool = True,
    cache: Path | None = None,
    say: Say = print,
    track: Track = iter,
) -> tuple[Net, TrainingState, dict[str, Any]]:
    """Train by the plan, or go on where `state` (a folder) says that an earlier process stopped.

    A tenth of the training pictures, drawn class by class, is held out to choose the best epoch; the test pictures are
    recorded in `run` (.parquet or .csv), with the epoch whose weights are kept, and nothing is chosen by them. `more` False
    takes no further epoch. Returns the network as the last epoch left it, the state, and the rows by their part.
    """
    if train.classes != test.classes:
        raise BadRequest(
            f"{train.title} has the classes {', '.join(train.classes)}, {test.title} {', '.join(test.classes)}."
        )
    cache = cache or Path(tempfile.gettempdir()) / "xai_core_pictures"
    side = max(STORED, max(phase.side for phase in plan.phases))
    pool = decoded(train, Recipe(side, side), cache, track)
    shown = decoded(train, plan.recipe, cache, track)  # as the finished model sees them
    kept, out = held_out(pool.labels, HELD_OUT, seed)
    tested = decoded(test, plan.recipe, cache, track)
    parts = {
        "train": pool.part(kept),
        "shown": shown.part(kept),
        "held_out": shown.part(out),
        "test": tested.part(np.arange(len(tested))),
    }
    where = runtime.device()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = supervised.module_of(plan, len(pool.classes))
    net = Net(module, plan.family, plan.recipe, where)
    kept_state = TrainingState(state, TrainingProgress(plan.id, seed, epochs or plan.epochs))
    recorder = RunRecorder(run, pool.classes)
    HOW[plan.how](net, plan, kept_state, parts, recorder, say, more)
    if kept_state.progress.best in recorder.epochs:  # without labels, the last one reached may not be recorded
        RunRecorder(run, pool.classes, chosen=kept_state.progress.best)
    return net, kept_state, parts
