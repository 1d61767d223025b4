"""A linear probe: the one linear layer that makes a classifier of a network that has none, trained on its frozen features.

So a self-supervised network, or one trained on other classes, can be asked "why this class?".
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import tomli_w
import torch
from numpy.typing import NDArray

from xai_core.core import runtime
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.files import write_atomically
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset, open_dataset, with_classes
from xai_core.data.preprocessing import stack
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import check_new_name

STRENGTHS = tuple(10.0**power for power in range(-4, 3))  # of the penalty's inverse, tried by cross-validation


@dataclass(frozen=True)
class Probe:
    """logits = features @ weight.T + bias; what it was trained on, and how well it does on pictures it has not seen.

    `accuracy` is the share of right first guesses on the held-out pictures, `chance` that of always saying the commonest
    class there. `unreadable` names the files that were no pictures.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    classes: tuple[str, ...]
    trained_on: int
    held_out: int
    accuracy: float
    chance: float
    seed: int
    unreadable: tuple[str, ...]


def features(
    model: ExplainableModel, dataset: Dataset, track: Track = iter
) -> tuple[NDArray[np.float32], list[int], list[str]]:
    """(features (n, D), which of the pictures they are of, names of those that could not be read), a few at a time."""
    batches, places, unreadable, names = [], [], [], [sample.name for sample in dataset.samples]
    side = model.recipe.input_size
    size = runtime.inner_batch(side * side, model.device)
    for start in track(range(0, len(names), size)):
        prepared = []
        for place in range(start, min(start + size, len(names))):
            try:
                prepared.append(model.prepare(dataset.open(names[place])))
                places.append(place)
            except BadPicture as error:
                unreadable.append(f"{names[place]}: {error}")
        if prepared:
            batches.append(model.outputs(stack(prepared, model.device)).features.float().cpu().numpy())
    if not batches:
        raise BadRequest("No file in this list can be read as a picture.")
    return np.concatenate(batches), places, unreadable


def train_probe(
    model: ExplainableModel, folder: str | Path, *, held_out: float = 0.2, seed: int = 0, track: Track = iter
) -> Probe:
    """Train on a labelled folder, or what else `open_dataset` takes: multinomial logistic regression on standardised
    features, its L2 penalty chosen by cross-validation on the training part; then measured once on the held-out share,
    drawn class by class from `seed`.

    The standardisation is folded into the layer, so that it reads the features as they are.
    """
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dataset = with_classes(open_dataset(folder))
    inputs, kept, unreadable = features(model, dataset, track)
    names = np.array([dataset.samples[place].label for place in kept])
    classes, counts = np.unique(names, return_counts=True)
    if len(classes) < 2 or counts.min() < 5:
        raise BadRequest("A probe needs at least two classes with five readable pictures each.")
    train, test = train_test_split(np.arange(len(names)), test_size=held_out, stratify=names, random_state=seed)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    fit = LogisticRegressionCV(
        Cs=STRENGTHS, cv=folds, max_iter=2000, l1_ratios=(0.0,), use_legacy_attributes=False, scoring="accuracy"
    )
    pipeline = make_pipeline(StandardScaler(), fit).fit(inputs[train], names[train])
    scaler = pipeline[0]
    weight, bias = fit.coef_, fit.intercept_
    if len(classes) == 2:  # one row says both
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    folded = weight / scaler.scale_
    common = np.unique(names[test], return_counts=True)[1].max() / len(test)
    return Probe(
        weight=folded.astype(np.float32),
        bias=(bias - folded @ scaler.mean_).astype(np.float32),
        classes=tuple(classes.tolist()),
        trained_on=len(train),
        held_out=len(test),
        accuracy=float((pipeline.predict(inputs[test]) == names[test]).mean()),
        chance=float(common),
        seed=seed,
        unreadable=tuple(unreadable),
    )


def save_probe(probe: Probe, base: str, name: str, folder: Path) -> Path:
    """Write the probe and its card into a folder of weights; `load_model(name)` then loads it. Returns the card.

    Raises BadRequest where the name is taken, or no name for a file.
    """
    check_new_name(name, folder, "the probe's")
    card, file = folder / f"{name}.toml", folder / f"{name}.safetensors"
    tensors = {"weight": torch.from_numpy(probe.weight).contiguous(), "bias": torch.from_numpy(probe.bias)}
    entries = {
        "base": base,
        "file": file.name,
        "classes": list(probe.classes),
        "remark": f"Linear probe: {in_words(probe)}.",
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, safetensors.torch.save(tensors))
    write_atomically(card, tomli_w.dumps(entries).encode())
    return card


def in_words(probe: Probe) -> str:
    return (
        f"{len(probe.classes)} classes, trained on {probe.trained_on} pictures: {probe.accuracy:.1%} of {probe.held_out} "
        f"held-out ones right (the most common class alone: {probe.chance:.1%}); seed {probe.seed}"
    )
