"""Editing a linear head, so that a network's answer no longer depends on a cause of errors. Nothing is trained again.

Two edits, and the measure of both on pictures that chose nothing:

- `without_component` is SpuFix (Neuhaus et al., arXiv:2212.04871): a principal component of f * w over the features f of one
  class, w being the weights of that class (class-wise neural PCA), no longer adds to the logit of that class.
- `without_direction` takes the mean change of the features between pictures with the cause and the same pictures without it
  (a region hidden, a mark painted over). It differs from SpuFix in three ways: the direction is an intervention's and not a
  component's, so that it is of the cause and of nothing that comes with it; all logits are edited; and the change is the
  smallest one on the discovery pictures, in the sense of least squares (as in LEACE, arXiv:2306.03819), where a projection
  at right angles would also remove what the features of the class share with the cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from xai_core.core.errors import BadRequest

RIDGE = 1e-3  # of the mean variance of a feature, added to each: features that never vary are not divided by zero
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Head:
    """logits = features @ weight.T + bias, for weight (k, d) and bias (k,)."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, layer: nn.Linear) -> "Head":
        """The head that a layer is, in double precision; a bias of zero where it has none."""
        weight = layer.weight.detach().double().cpu().numpy()
        return cls(weight, np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().double().cpu().numpy())

    def predicted(self, features: Floats) -> NDArray[np.int64]:
        """The numbers of the classes with the largest logits (n,)."""
        predicted: NDArray[np.int64] = (np.asarray(features, np.float64) @ self.weight.T + self.bias).argmax(1)
        return predicted


@dataclass(frozen=True)
class ClassComponents:
    """The principal components of f * w over the pictures of one class, w being its weights.

    mean        (d,) of f * w; its sum and the bias are the mean logit of the class
    vectors     (m, d), unit length, the component with the largest variance first
    shares      (m,) of the variance
    values      (n, m): what each component adds to the class's logit of each picture, beyond the mean. A component is turned
                so that its sum is not negative: the largest values are of the pictures that it speaks for the class most
    """

    class_index: int
    mean: NDArray[np.float64]
    vectors: NDArray[np.float64]
    shares: NDArray[np.float64]
    values: NDArray[np.float64]

    def most_activating(self, component: int, count: int) -> NDArray[np.int64]:
        """The pictures to whose logit the component adds most, by their places among those of the class."""
        places: NDArray[np.int64] = np.argsort(-self.values[:, component], kind="stable")[:count]
        return places


@dataclass(frozen=True)
class HeadComparison:
    """Two heads on the same pictures: a row for all ("all") and for each class.

    class, pictures, right before, right after, mended, broken, accuracy before, accuracy after, change, and its interval
    `low` to `high` (95%, paired: Agresti and Min, 2005). `reason` says in one sentence what was found.
    """

    table: pd.DataFrame
    reason: str


def class_components(head: Head, features: Floats, class_index: int, count: int = 10) -> ClassComponents:
    """The first `count` components over the `features` (n, d) of pictures of one class. Raises BadRequest for fewer than
    three pictures."""
    from scipy import linalg

    inputs = checked(head, features)
    if not 0 <= class_index < len(head.weight):
        raise BadRequest(f"The head has the classes 0 to {len(head.weight) - 1}; there is no class {class_index}.")
    if len(inputs) < 3:
        raise BadRequest(f"Components of a class need at least three of its pictures; there are {len(inputs)}.")
    products = inputs * head.weight[class_index]
    mean = products.mean(0)
    _, sizes, vectors = linalg.svd(products - mean, full_matrices=False)
    some = sizes > sizes[0] * 1e-10 if sizes[0] else np.zeros(len(sizes), bool)
    vectors, variances = vectors[some][:count], sizes[some] ** 2
    vectors = np.where(vectors.sum(1, keepdims=True) < 0, -vectors, vectors)
    values = (products - mean) @ vectors.T * vectors.sum(1)
    return ClassComponents(class_index, mean, vectors, (variances / max(variances.sum(), 1e-300))[:count], values)


def without_component(head: Head, components: ClassComponents, component: int) -> Head:
    """SpuFix: the head whose logit of the class lacks what this component adds to it beyond its mean. All other logits, and
    the mean logit of the class on the pictures of the components, stay as they are."""
    if not 0 <= component < len(components.vectors):
        raise BadRequest(f"There are {len(components.vectors)} components, counted from 0; there is no {component}.")
    vector, row = components.vectors[component], components.class_index
    weight, bias = head.weight.copy(), head.bias.copy()
    weight[row] -= vector.sum() * vector * head.weight[row]
    bias[row] += vector.sum() * float(vector @ components.mean)
    return Head(weight, bias)


def without_direction(head: Head, features: Floats, with_cause: Floats, without_cause: Floats) -> Head:
    """The head on whose logits the mean change `with_cause - without_cause` (both (m, d), the same pictures) has no effect.

    Of all such heads it is the one whose logits differ least from those of `head` on `features` (n, d), pictures of the
    usual kind: W' = W - W u u'S / (u'S u), where u is the mean change and S the inverse of their covariance. Their mean
    logits stay as they are. Choose all three without the pictures on which the edit is measured. Raises BadRequest where
    nothing changes.
    """
    from scipy import linalg

    inputs, present, absent = (checked(head, part) for part in (features, with_cause, without_cause))
    if present.shape != absent.shape:
        raise BadRequest(f"There are {len(present)} pictures with the cause and {len(absent)} without; they must be pairs.")
    if len(inputs) < 2 or not len(present):
        raise BadRequest("A direction needs at least two pictures of the usual kind and one pair.")
    change = (present - absent).mean(0)
    if not np.abs(change).max() > 0:
        raise BadRequest("The features with and without the cause are the same, so that there is no direction to remove.")
    mean = inputs.mean(0)
    covariance = np.cov(inputs.T).reshape(len(mean), len(mean))
    strength = RIDGE * (np.trace(covariance) / len(mean) or 1.0)
    weighed = linalg.solve(covariance + strength * np.eye(len(mean)), change, assume_a="pos")
    removed = np.outer(head.weight @ change, weighed) / float(change @ weighed)
    return Head(head.weight - removed, head.bias + removed @ mean)


def compare_heads(
    before: Head, after: Head, features: Floats, true: Sequence[int] | NDArray[np.int64], classes: Sequence[str]
) -> HeadComparison:
    """Both heads on pictures with these `features` and true classes (numbers). Raises BadRequest where there are none."""
    inputs, numbers = checked(before, features), np.asarray(true, np.int64)
    if not len(inputs) or len(inputs) != len(numbers):
        raise BadRequest(f"There are {len(inputs):,} pictures and {len(numbers):,} true classes; each picture needs one.")
    was, now = before.predicted(inputs) == numbers, after.predicted(inputs) == numbers
    parts = [("all", np.ones(len(numbers), bool)), *((classes[one], numbers == one) for one in np.unique(numbers))]
    rows = [_compared(name, was[part], now[part]) for name, part in parts]
    table, row = pd.DataFrame(rows), rows[0]
    if np.array_equal(before.predicted(inputs), after.predicted(inputs)):
        return HeadComparison(table, f"The edit changes no answer on {len(numbers):,} held-out pictures.")
    reason = (
        f"The edit mends {row['mended']:,} and breaks {row['broken']:,} of {len(numbers):,} held-out pictures: accuracy "
        f"{row['accuracy before']:.1%} before, {row['accuracy after']:.1%} after (change {100 * float(row['change']):+.1f} "
        f"points, {100 * float(row['low']):+.1f} to {100 * float(row['high']):+.1f})."
    )
    return HeadComparison(table, reason)


def _compared(name: str, was: NDArray[np.bool_], now: NDArray[np.bool_]) -> dict[str, str | int | float]:
    count, mended, broken = len(was), int((~was & now).sum()), int((was & ~now).sum())
    low, high = paired_interval(mended, broken, count)
    return {
        "class": name, "pictures": count, "right before": int(was.sum()), "right after": int(now.sum()), "mended": mended,
        "broken": broken, "accuracy before": float(was.mean()), "accuracy after": float(now.mean()),
        "change": (mended - broken) / count, "low": low, "high": high,
    }  # fmt: skip


def paired_interval(mended: int, broken: int, count: int) -> tuple[float, float]:
    """The 95% interval of (mended - broken) / count by Agresti and Min (2005): half a picture is added to each of the four
    cells, so that it has a width where nothing changed."""
    up, down, total = mended + 0.5, broken + 0.5, count + 2
    middle = (up - down) / total
    width = NormalDist().inv_cdf(0.975) * np.sqrt((up + down) / total - middle**2) / np.sqrt(total)
    return max(middle - float(width), -1.0), min(middle + float(width), 1.0)


def checked(head: Head, features: Floats) -> NDArray[np.float64]:
    """Features (n, d) that the head can read, in double precision. Raises BadRequest for others."""
    inputs = np.asarray(features, np.float64)
    if inputs.ndim != 2 or inputs.shape[1] != head.weight.shape[1]:
        raise BadRequest(f"The head reads {head.weight.shape[1]} features; these are {inputs.shape}.")
    if not np.isfinite(inputs).all():
        raise BadRequest("Some features are not finite numbers; compute them again.")
    return inputs
