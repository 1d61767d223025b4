"""Training with labels: from scratch, or from another model's weights with its early stages frozen."""

import time

import torch
import torch.nn.functional as F
from torch import nn

from xai_core.models import families
from xai_core.models.building import filled
from xai_core.models.loading import checkpoint_of
from xai_core.models.outputs import top_classes
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import CARDS
from xai_core.training.data import Augmented, Rows, batches_in
from xai_core.training.dynamics.recorder import RunRecorder
from xai_core.training.loop import Net, Say, Scheduler, TrainingState, draws, optimizer_of, scheduler_of
from xai_core.training.plans import TrainingPlan
from xai_core.training.readout import fit_linear, record, validated


def module_of(plan: TrainingPlan, classes: int) -> nn.Module:
    """The plan's network with fresh parameters, or with those of its base and a new classifier."""
    module = families.build(plan.family, plan.architecture, num_classes=classes)
    if plan.base:
        card = CARDS[plan.base]
        checkpoint = checkpoint_of(card, None)
        known = filled(card, checkpoint, [path for path, _ in locate.obtain(card, checkpoint)]).state_dict()
        own = module.state_dict()
        module.load_state_dict(own | {name: value for name, value in known.items() if value.shape == own[name].shape})
    return module


def train(
    net: Net, plan: TrainingPlan, state: TrainingState, parts: dict[str, Rows], recorder: RunRecorder, say: Say, more: bool
) -> None:
    """Epoch by epoch until the plan's last; `more` False: not one, only what was begun is read.

    `parts` are the rows "train" (large, to be cut), "shown" (the same as the finished model sees them), "held_out"
    (choose the best epoch) and "test" (recorded, never looked at).
    """
    frozen = [stage.name for stage in net.staged.stages].index(plan.train_from) if plan.train_from else 0
    net.module.requires_grad_(True)
    trained = _trained(net, frozen)
    optimizer = optimizer_of(plan, trained)
    state.load(net.module, optimizer)
    progress = state.progress
    scheduler = scheduler_of(optimizer, progress.epochs * batches_in(parts["train"], plan))
    if plan.base and progress.done == 0 and more:
        say("the classifier alone, on frozen features")
        fit_linear(net, parts["shown"]).into(net.classifier)
    while more and progress.done < progress.epochs:
        began, epoch = time.time(), progress.done + 1
        with draws(progress.seed, epoch):
            loss, right = _epoch(net, plan, optimizer, scheduler, parts["train"], epoch, progress.epochs, frozen)
        trained_for = time.time() - began
        known = validated(net, parts["held_out"])
        curves = {"train_loss": loss, "train_accuracy": right, **known}
        best = known["validation_accuracy"] > progress.best_accuracy
        if best:
            progress.best, progress.best_accuracy = epoch, known["validation_accuracy"]
        tested = record(net, parts["test"], recorder, epoch, curves)
        progress.done, progress.seconds = epoch, progress.seconds + time.time() - began
        progress.curve.append({"epoch": epoch, **curves})
        state.save(net.module, optimizer, best)
        rate = len(parts["train"]) / trained_for
        say(f"epoch {epoch}/{progress.epochs}: " + ", ".join(f"{k} {v:.4f}" for k, v in curves.items())
            + f", test {tested:.4f}, {rate:.0f} pictures/s, {time.time() - began:.0f} s")  # fmt: skip


def _trained(net: Net, frozen: int) -> list[nn.Parameter]:
    """The parameters behind the frozen stages; those in front require no gradient."""
    early = [stage.run for stage in net.staged.stages[:frozen]]
    ahead = {id(one) for run in early if isinstance(run, nn.Module) for one in run.parameters()}
    for parameter in net.module.parameters():
        parameter.requires_grad_(id(parameter) not in ahead)
    return [parameter for parameter in net.module.parameters() if parameter.requires_grad]


def _epoch(
    net: Net,
    plan: TrainingPlan,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler,
    rows: Rows,
    epoch: int,
    epochs: int,
    frozen: int,
) -> tuple[float, float]:
    """(mean loss, share of right guesses) on the augmented pictures."""
    net.module.train(not plan.base)  # what was trained before keeps its statistics of normalisation
    batches, losses, right, seen = Augmented(rows, plan, plan.side(epoch, epochs)), 0.0, 0, 0
    for step, ((images,), labels) in enumerate(batches.batches()):
        scheduler.step_update((epoch - 1) * len(batches) + step)
        labels = labels.to(net.where)
        logits = net.classifier(net.features(images, frozen))
        loss = F.cross_entropy(logits, labels, label_smoothing=plan.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += float(loss.detach()) * len(labels)
        right += int((top_classes(logits)[:, 0] == labels).sum())
        seen += len(labels)
    return losses / seen, right / seen
