"""Predictions of a network in training, and the linear layer fitted on its frozen features."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xai_core.models.outputs import top_classes
from xai_core.training.data import Rows
from xai_core.training.dynamics.recorder import RunRecorder
from xai_core.training.loop import Net


@dataclass(frozen=True)
class LinearReadout:
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float

    def into(self, layer: nn.Linear) -> None:
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))
            layer.bias.copy_(torch.from_numpy(self.bias))


def fit_linear(net: Net, train: Rows, strengths: tuple[float, ...] = (0.01,), held_out: Rows | None = None) -> LinearReadout:
    """Multinomial logistic regression on standardised features, folded into one layer; of several strengths of its penalty
    (the inverse, C) the one that is best on the held-out rows. Two classes keep a row each."""
    from sklearn.linear_model import LogisticRegression

    inputs = net.all_features(train)
    mean, scale = inputs.mean(0, dtype=np.float64), inputs.std(0, dtype=np.float64)
    scale[scale < 1e-12] = 1.0
    others = None if held_out is None else (net.all_features(held_out) - mean) / scale
    fits = []
    for strength in strengths:
        fit = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit((inputs - mean) / scale, train.labels)
        score = 0.0 if held_out is None else float((fit.predict(others) == held_out.labels).mean())
        fits.append((score, strength, fit))
    _, strength, fit = max(fits, key=lambda one: one[0])
    weight, bias = fit.coef_, fit.intercept_
    if len(fit.classes_) == 2:  # one row says both
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    folded = weight / scale
    return LinearReadout(folded, bias - folded @ mean, strength)


def guesses(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n, K) -> (n,): the most probable class of each row."""
    classes: NDArray[np.int64] = top_classes(torch.from_numpy(probabilities))[:, 0].numpy()
    return classes


def validated(net: Net, rows: Rows) -> dict[str, float]:
    """`validation_loss` (mean cross-entropy) and `validation_accuracy` of the rows."""
    probabilities, labels = net.probabilities(rows), rows.labels
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean()
    return {"validation_loss": float(loss), "validation_accuracy": float((guesses(probabilities) == labels).mean())}


def record(net: Net, rows: Rows, recorder: RunRecorder, epoch: int, curves: dict[str, float]) -> float:
    """Record the network's predictions for the test pictures. Returns the share of right ones."""
    probabilities, classes = net.probabilities(rows), np.array(recorder.classes)
    predictions = guesses(probabilities)
    true, predicted = classes[rows.labels].tolist(), classes[predictions].tolist()
    recorder.record(epoch, rows.names.tolist(), true, predicted, probabilities.max(1).tolist(), **curves)
    return float((predictions == rows.labels).mean())
