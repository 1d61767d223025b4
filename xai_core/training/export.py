"""Write a trained model: weights in half precision, the card that lists it as a model, and a report."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import tomli_w
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import Tensor

from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.files import write_atomically
from xai_core.core.machine import available_cpus
from xai_core.data.datasets import Dataset
from xai_core.explanation.rendering import duration
from xai_core.training.contrastive import STRENGTHS
from xai_core.training.data import Rows
from xai_core.training.loop import Net, TrainingState
from xai_core.training.plans import TrainingPlan
from xai_core.training.readout import fit_linear, guesses

SUPERVISION = {"supervised": "supervised", "barlow": "self-supervised (Barlow Twins) + linear probe"}


def write_model(
    net: Net, plan: TrainingPlan, state: TrainingState, parts: dict[str, Rows], train: Dataset, test: Dataset, out: Path
) -> list[Path]:
    """The best network of a training (without labels: the last, with a probe fitted on its frozen features) as
    ID.safetensors, its card ID.toml, by which it is a model, and its report ID.md. Returns their paths.

    Matrices and filters are kept in half precision, vectors (normalisation, biases) in single; on loading all become
    single precision again. The report's figures are those of the file: read back, computed in single precision.
    """
    if not state.best_file.exists():
        raise BadRequest(f"{plan.id} has not finished one epoch; there is nothing to write.")
    net.module.load_state_dict(state.best_tensors())
    strength = 0.0
    if plan.how == "barlow":
        probe = fit_linear(net, parts["shown"], STRENGTHS, parts["held_out"])
        probe.into(net.classifier)
        strength = probe.strength
    kept = {name: _halved(value) for name, value in net.module.state_dict().items() if "num_batches" not in name}
    net.module.load_state_dict(net.module.state_dict() | kept)
    figures = {name: _figures(net, parts[name]) for name in ("held_out", "test")}
    texts = {
        f"{plan.id}.safetensors": safetensors.torch.save(kept),
        f"{plan.id}.toml": _card(plan, train, len(parts["train"]), figures["test"]).encode(),
        f"{plan.id}.md": _report(plan, state, strength, len(parts["train"]), train, test, figures).encode(),
    }
    for name, data in texts.items():
        write_atomically(out / name, data)
    return [out / name for name in texts]


def _halved(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return (value.half() if value.ndim > 1 else value).contiguous()


def _figures(net: Net, rows: Rows) -> dict[str, Any]:
    """Accuracy, confusion matrix and what each class gets, in single precision."""
    predictions = guesses(net.probabilities(rows, exact=True))
    everything = np.arange(len(rows.pictures.classes))
    precision, recall, _, support = precision_recall_fscore_support(
        rows.labels, predictions, labels=everything, zero_division=np.nan
    )
    return {
        "accuracy": float((predictions == rows.labels).mean()),
        "matrix": confusion_matrix(rows.labels, predictions, labels=everything),
        "precision": precision,
        "recall": recall,
        "support": support,
    }


def _card(plan: TrainingPlan, train: Dataset, trained: int, tested: dict[str, Any]) -> str:
    recipe = plan.recipe
    base = f"ImageNet-1k (as {plan.base}), then " if plan.base else ""
    without = " without labels; the probe with their labels" if plan.how == "barlow" else ""
    entries = {
        "title": plan.title,
        "family": plan.family,
        "architecture": plan.architecture,
        "file": f"{plan.id}.safetensors",
        "classes": list(train.classes),
        "input_size": recipe.input_size,
        "shorter_side": recipe.shorter_side,
        "interpolation": recipe.interpolation,
        **({"mean": recipe.mean, "std": recipe.std} if recipe.mean and recipe.std else {}),
        "supervision": "fine-tuned" if plan.base else SUPERVISION[plan.how],
        "trained_on": f"{base}{trained:,} pictures of {len(train.classes)} classes{without}",
        "remark": f"{tested['accuracy']:.1%} of {tested['support'].sum():,} test pictures right. {plan.remark}".strip(),
        "licence": plan.licence,
    }
    return tomli_w.dumps(entries)


def _report(
    plan: TrainingPlan,
    state: TrainingState,
    strength: float,
    trained: int,
    train: Dataset,
    test: Dataset,
    figures: dict[str, Any],
) -> str:
    progress, classes, tested = state.progress, train.classes, figures["test"]
    machine = f"{runtime.device()}, {available_cpus()} processor(s)"
    sides = " then ".join(f"{phase.share:.0%} of the epochs at {phase.side} px" for phase in plan.phases)
    head = [
        f"# {plan.title}",
        "",
        f'`load_model("{plan.id}")`. {plan.remark}'.strip(),
        "",
        f"- **Right:** {tested['accuracy']:.2%} of {tested['support'].sum():,} test pictures, "
        f"{figures['held_out']['accuracy']:.2%} of {figures['held_out']['support'].sum():,} held-out ones "
        "(the weights as they are in the file, computed in single precision).",
        f"- **Data:** {train.title}: {trained:,} pictures to train on, a tenth held out class by class; {test.title}: "
        f"{len(test.samples):,} to test. {len(classes)} classes: {', '.join(classes)}.",
        f"- **Network:** {plan.architecture} ({plan.family}), pictures of {plan.recipe.input_size} px"
        + (
            f", from the weights of {plan.base}; trained from stage {plan.train_from} on."
            if plan.base
            else ", from scratch."
        ),
        f"- **Recipe:** {_how(plan, strength)} {progress.done} of {progress.epochs} epochs, batches of {plan.batch}, "
        f"{plan.optimizer}, highest learning rate {plan.learning_rate:g} (up over a tenth of the steps, then half a "
        f"cosine), weight decay {plan.weight_decay:g}; {sides}. Random crops of at least {plan.crop:.0%} of a picture, "
        f"mirroring, brightness, contrast and saturation by {', '.join(f'{one:g}' for one in plan.jitter)} with probability "
        f"{plan.jittered:g}{f', grey with probability {plan.grey:g}' if plan.grey else ''}; bfloat16 where the device has "
        "it.",
        f"- **Chosen:** epoch {progress.best}"
        + (", the last one reached." if plan.how == "barlow" else ", the best on the held-out pictures.")
        + " The test pictures were recorded in every recorded epoch and nothing was chosen by them.",
        f"- **Seed:** {progress.seed}. **Time:** {duration(progress.seconds)} on {machine}, counting only the epochs.",
        f"- **Limits:** it knows {len(classes)} classes. Whatever else a picture shows, it predicts one of them. "
        f"{plan.limits}",
        "",
        "| class | precision | recall | test pictures |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| {name} | {precision:.1%} | {recall:.1%} | {count} |"
        for name, precision, recall, count in zip(
            classes, tested["precision"], tested["recall"], tested["support"], strict=True
        )
    ]
    matrix = [
        "",
        "Confusion matrix of the test pictures (rows: the label; columns: the prediction):",
        "",
        f"| | {' | '.join(classes)} |",
        f"|---{'|---' * len(classes)}|",
        *(
            f"| **{name}** | {' | '.join(map(str, counts))} |"
            for name, counts in zip(classes, tested["matrix"], strict=True)
        ),
        "",
    ]
    return "\n".join([*head, *rows, *matrix])


def _how(plan: TrainingPlan, strength: float) -> str:
    if plan.how == "barlow":
        return (
            f"Barlow Twins (arXiv:2103.03230), redundancy weighed by {plan.redundancy:g}, its projection head kept; then "
            f"multinomial logistic regression on the frozen features (C = {strength:g}, best on the held-out pictures)."
        )
    return f"Cross-entropy with label smoothing {plan.label_smoothing:g}."
