"""Training without labels: Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230), then a linear probe."""

import time

import torch
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.training.data import Augmented, Rows, batches_in
from xai_core.training.dynamics.recorder import RunRecorder
from xai_core.training.loop import Net, Say, Scheduler, TrainingState, bf16, draws, optimizer_of, scheduler_of
from xai_core.training.plans import TrainingPlan
from xai_core.training.readout import fit_linear, record, validated

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


def loss_of(one: Tensor, other: Tensor, redundancy: float) -> Tensor:
    """Barlow Twins' loss of the projections (n, D) of two views of the same pictures.

    c = the cross-correlation matrix of their columns, each standardised over the batch;
    sum over i of (1 - c_ii)^2 + redundancy * sum over i != j of c_ij^2.
    """
    standard = [(half - half.mean(0)) / (half.var(0, unbiased=False) + 1e-5).sqrt() for half in (one, other)]
    correlation = standard[0].T @ standard[1] / len(one)
    diagonal = torch.diagonal(correlation)
    off = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off


def train(
    net: Net, plan: TrainingPlan, state: TrainingState, parts: dict[str, Rows], recorder: RunRecorder, say: Say, more: bool
) -> None:
    """As `supervised.train`; labels are read by the probes alone. The last epoch counts as the best: without labels there
    is nothing to choose by. Every few epochs a probe on the frozen features is recorded, as the run's predictions."""
    backbone = [value for name, value in net.module.named_parameters() if not name.startswith("fc.")]
    optimizer = optimizer_of(plan, backbone)
    state.load(net.module, optimizer)
    progress = state.progress
    scheduler = scheduler_of(optimizer, progress.epochs * batches_in(parts["train"], plan))
    while more and progress.done < progress.epochs:
        began, epoch = time.time(), progress.done + 1
        with draws(progress.seed, epoch):
            loss = _epoch(net, plan, optimizer, scheduler, parts["train"], epoch, progress.epochs)
        rate = len(parts["train"]) / (time.time() - began)
        probed, curves = "", {"train_loss": loss}
        if epoch % plan.probe_every == 0 or epoch in (1, progress.epochs):
            curves, tested = probe(net, parts, recorder, epoch, loss)
            probed = f", probe: held out {curves['validation_accuracy']:.4f}, test {tested:.4f}"
            progress.best_accuracy = curves["validation_accuracy"]
        progress.done = progress.best = epoch
        progress.seconds += time.time() - began
        progress.curve.append({"epoch": epoch, **curves})
        state.save(net.module, optimizer, best=True)
        say(f"epoch {epoch}/{progress.epochs}: loss {loss:.2f}{probed}, {rate:.0f} pictures/s, {time.time() - began:.0f} s")


def probe(
    net: Net, parts: dict[str, Rows], recorder: RunRecorder, epoch: int, loss: float
) -> tuple[dict[str, float], float]:
    """Fit the classifier on the frozen features and record it: (curves, share of right guesses on the test pictures)."""
    fit_linear(net, parts["shown"], STRENGTHS[1:3], parts["held_out"]).into(net.classifier)
    curves = {"train_loss": loss, **validated(net, parts["held_out"])}
    return curves, record(net, parts["test"], recorder, epoch, curves)


def _epoch(
    net: Net,
    plan: TrainingPlan,
    optimizer: torch.optim.Optimizer,
    scheduler: Scheduler,
    rows: Rows,
    epoch: int,
    epochs: int,
) -> float:
    if net.staged.project is None:
        raise BadRequest(f"{plan.architecture} has no projection head, which training without labels needs.")
    net.module.train()
    batches, losses = Augmented(rows, plan, plan.side(epoch, epochs)), []
    for step, (views, _) in enumerate(batches.batches(views=2)):
        scheduler.step_update((epoch - 1) * len(batches) + step)
        features = [net.features(view) for view in views]
        with bf16(net.where):
            first, second = (net.staged.project(view) for view in features)
        loss = loss_of(first.float(), second.float(), plan.redundancy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)
