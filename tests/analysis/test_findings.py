"""The sentences above the figures are true: planted cases, and a recount from the numbers."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from xai_core.analysis import confusion, findings
from xai_core.metrics.catalog import METRICS

NAN = float("nan")


def matrix(*pairs: float) -> np.ndarray:
    """A symmetric matrix with these values above its diagonal, row by row."""
    size = round((1 + np.sqrt(1 + 8 * len(pairs))) / 2)
    whole = np.eye(size)
    whole[np.triu_indices(size, 1)] = pairs
    return np.where(whole, whole, whole.T) if not np.isnan(whole).any() else whole + np.triu(whole, 1).T


AGREEMENT = [
    ([0.97, 0.12, 0.10], "ρ: most alike are A and B (0.97); least like the others is C (0.11 on average)."),
    ([-0.2, 0.5, 0.9], "ρ: most alike are B and C (0.90); least like the others is A (0.15 on average)."),
    ([0.5, 0.5, 0.1], "ρ: 2 pairs are equally alike, such as A and B (0.50); least like the others is B (0.30 on average)."),
    ([0.9, 0.2, -0.201], "ρ: most alike are A and B (0.90); least like the others is C (0.00 on average)."),
    ([0.25], "ρ of A and B: 0.25."),
    ([NAN, 0.4, NAN], "ρ of A and C: 0.40."),
    ([NAN, NAN, NAN], ""),
]


@pytest.mark.parametrize(("pairs", "sentence"), AGREEMENT)
def test_agreement_of_maps(pairs, sentence):
    values = matrix(*pairs)
    assert findings.of_agreement("ABC"[: len(values)], values, "ρ") == sentence


def test_agreement_names_the_largest_of_any_matrix():
    values = np.random.default_rng(0).uniform(-1, 1, (8, 8))
    values = (values + values.T) / 2
    names = [f"map {place}" for place in range(8)]
    sentence = findings.of_agreement(names, values, "IoU")
    pairs = {(a, b): values[a, b] for a in range(8) for b in range(a + 1, 8)}
    (first, second), value = max(pairs.items(), key=lambda item: item[1])
    means = [np.mean([values[a, b] for b in range(8) if a != b]) for a in range(8)]
    assert f"IoU: most alike are map {first} and map {second} ({value:.2f})" in sentence
    assert f"is map {np.argmin(means)} ({min(means):.2f} on average)" in sentence


DELETION, INSERTION = METRICS["deletion"], METRICS["insertion"]
MEASURED = [
    (
        {DELETION: {"A": 0.1, "B": 0.4}, INSERTION: {"A": 0.3, "B": 0.6}}, {"A": [True, False], "B": [True, True]},
        "Deletion favours A (0.100); Insertion favours B (0.600). "
        "Better than all controls: A in 1 of 2 metrics, B in 2 of 2 metrics.",
    ),
    (
        {DELETION: {"A": 0.2, "B": 0.2, "C": 0.3}}, {"A": [None], "B": [None], "C": [None]},
        "Deletion favours A and B (0.200).",
    ),
    (
        {DELETION: {"A": 0.2, "B": 0.2}}, {"A": [None], "B": [None]},
        "Deletion is the same for all (0.200).",
    ),
    (
        {DELETION: {"A": NAN, "B": 0.2}, INSERTION: {"A": 0.5, "B": NAN}}, {"A": [None, False], "B": [True, None]},
        "Better than all controls: A in 0 of 1 metrics, B in 1 of 1 metrics.",
    ),
    ({DELETION: {"A": NAN}}, {"A": [None]}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("values", "beats", "sentence"), MEASURED)
def test_measurements_of_maps(values, beats, sentence):
    assert findings.of_measurements(values, beats) == sentence


def test_a_metric_without_a_direction_favours_none():
    neutral = replace(DELETION, direction="")
    assert findings.of_measurements({neutral: {"A": 0.1, "B": 0.2}}, {"A": [None], "B": [None]}) == ""


def predictions(*pairs: tuple[str, str]) -> pd.DataFrame:
    rows = pd.DataFrame(pairs, columns=["true", "predicted"])
    return rows.assign(path=[f"{row}.png" for row in range(len(rows))], confidence=0.5)


ERRORS = [
    (
        [("cat", "dog")] * 3 + [("dog", "cat")] * 2 + [("cat", "cat")] * 5,
        "5 of the 10 predictions listed are wrong; the most frequent error is cat predicted as dog, 3 of the 5.",
    ),
    (
        [("cat", "dog")] * 2 + [("dog", "cat")] * 2 + [("cat", "cow")],
        "5 of the 5 predictions listed are wrong; 2 errors are the most frequent, such as cat predicted as dog, 2 of the 5.",
    ),
    ([("cat", "dog"), ("dog", "cat"), ("cow", "cow")], "2 of the 3 predictions listed are wrong, no two in the same way."),
    ([("cat", "dog"), ("cow", "cow")], "1 of the 2 predictions listed is wrong: cat predicted as dog."),
    ([("cow", "cow")], ""),
]


@pytest.mark.parametrize(("pairs", "sentence"), ERRORS)
def test_errors(pairs, sentence):
    rows = predictions(*pairs)
    assert findings.of_errors(confusion.pair_counts(rows), confusion.most_confused(rows, 1)) == sentence


def confident(*rows: tuple[float, bool]) -> pd.DataFrame:
    """Predictions with these confidences, right or wrong."""
    table = pd.DataFrame(rows, columns=["confidence", "right"])
    return table.assign(true="cat", predicted=np.where(table["right"], "cat", "dog"))


CALIBRATION = [
    (
        [(0.95, True)] * 19 + [(0.95, False)] + [(0.55, False)] * 5,
        "Expected calibration error: 11.0% over 25 pictures, of which 76.0% are right, with a mean confidence of 87.0%. "
        "Accuracy and confidence differ most at a confidence of 50% to 60%: 5 pictures, 0% right.",
    ),
    (
        [(0.15, True), (0.95, True), (0.95, True), (0.95, True)],
        "Expected calibration error: 25.0% over 4 pictures, of which 100.0% are right, with a mean confidence of 75.0%. "
        "Accuracy and confidence differ most at a confidence of 10% to 20%: 1 picture, 100% right.",
    ),
    (
        [(0.75, True)] * 3 + [(0.75, False)],
        "Expected calibration error: 0.0% over 4 pictures, of which 75.0% are right, with a mean confidence of 75.0%.",
    ),
    ([], ""),
]


@pytest.mark.parametrize(("rows", "sentence"), CALIBRATION)
def test_calibration(rows, sentence):
    assert findings.of_calibration(*confusion.calibration(confident(*rows))) == sentence


CLASSES = [
    (
        [("cat", "cat")] * 3 + [("cat", "dog")] + [("dog", "dog")] * 4 + [("cow", "dog")] * 2 + [("cow", "cow")] * 2,
        "Lowest recall: cow, 50% and lowest precision: dog, 57%.",
    ),
    (
        [("cat", "dog"), ("dog", "cat"), ("cow", "cow")],
        "Lowest recall: cat and dog, 0% and lowest precision: cat and dog, 0%.",
    ),
    ([("cat", "cat")] * 2 + [("dog", "cat")] * 2, "Lowest recall: dog, 0%."),  # dog was never predicted
    ([("cat", "cat"), ("dog", "dog")], ""),
]


@pytest.mark.parametrize(("pairs", "sentence"), CLASSES)
def test_classes(pairs, sentence):
    assert findings.of_classes(confusion.per_class(predictions(*pairs))) == sentence


def means(**methods: list[tuple[float, bool | None]]) -> pd.DataFrame:
    """The lines of a run's summary: of each method, its rank and whether it beats every control, metric by metric."""
    return pd.DataFrame(
        {"method": name, "metric": f"m{place}", "rank": rank, "beats": beats, "control": False, "direction": "higher"}
        for name, of_method in methods.items()
        for place, (rank, beats) in enumerate(of_method)
    ).astype({"beats": object})


MEANS = [
    (
        means(a=[(1, True), (2, True)], b=[(3, True), (3, False)], c=[(2, False), (1, True)]),
        "By the mean rank over 2 metrics, first is A and C (1.5) and last is B (3.0). "
        "1 of 3 methods beat every control by all 2 metrics: A.",
    ),
    (
        means(a=[(2, False)], b=[(1, False)]),
        "By the mean rank over 1 metric, first is B (1.0) and last is A (2.0). "
        "0 of 2 methods beat every control by 1 metric.",
    ),
    (
        means(a=[(1, None), (3, None)], b=[(2, None), (1, None)]),  # too few pictures to compare with controls
        "By the mean rank over 2 metrics, first is B (1.5) and last is A (2.0).",
    ),
    (means(a=[(1, True)]), "1 of 1 methods beat every control by 1 metric: A."),
    (means(a=[(1, True)]).assign(direction="", beats=None), ""),
]


@pytest.mark.parametrize(("lines", "sentence"), MEANS)
def test_means_of_a_run(lines, sentence):
    assert findings.of_means(lines, {"a": "A", "b": "B", "c": "C"}) == sentence


TOPS = [
    ({"A": "cat", "B": "cat", "C": "cat"}, "All 3 networks with classes predict cat."),
    ({"A": "dog", "B": "cat", "C": "cat"}, "2 different answers of 3 networks: B and C predict cat; A predicts dog."),
    ({"A": "dog", "B": "cat"}, "2 different answers of 2 networks: A predicts dog; B predicts cat."),
    ({"A": "cat"}, ""),
]


@pytest.mark.parametrize(("tops", "sentence"), TOPS)
def test_top_classes(tops, sentence):
    assert findings.of_top_classes(tops) == sentence
    assert all(name in sentence for name in tops) or not sentence or re.match(r"All \d+ ", sentence)


TRAINED = [
    (([1, 2, 3], [0.4, 0.8, 0.9], 3, 3),
     "40.0% of the samples are right at epoch 1, 90.0% at epoch 3, whose weights were kept: the most of all "
     "recorded epochs."),
    (([1, 2, 3], [0.4, 0.95, 0.9], 3, None),
     "40.0% of the samples are right at epoch 1, 90.0% at epoch 3; the most, 95.0%, at epoch 2."),
    (([1, 2, 3, 9], [0.4, 0.95, 0.95, 0.9], 9, 2),
     "40.0% of the samples are right at epoch 1, 90.0% at epoch 9; the most, 95.0%, at 2 epochs, the first of them 2."),
    (([4], [0.5], 4, 4), "50.0% of the samples are right at epoch 4, whose weights were kept."),
    (([4], [NAN], 4, None), ""),
]  # fmt: skip


@pytest.mark.parametrize(("given", "sentence"), TRAINED)
def test_a_training(given, sentence):
    assert findings.of_training(*given) == sentence


CHANGES = [
    (([1, 2, 3, 4], [NAN, 0.5, 0.04, 0.01], 2),
     "Stable after epoch 2: the 2 recorded epochs behind it change at most 5% of the predictions each; the most, 50.0%, "
     "change at epoch 2."),
    (([1, 5], [NAN, 0.02], 1),
     "Stable after epoch 1: the one recorded epoch behind it changes at most 5% of the predictions each; the most, 2.0%, "
     "change at epoch 5."),
    (([1, 2, 3], [NAN, 0.5, 0.2], None),
     "Not stable: epoch 3 still changes 20.0% of the predictions, more than 5%; the most, 50.0%, change at epoch 2."),
    (([1], [NAN], None), ""),
]  # fmt: skip


@pytest.mark.parametrize(("given", "sentence"), CHANGES)
def test_changed_predictions(given, sentence):
    assert findings.of_changes(*given, 0.05) == sentence


CLASS_MEANS = [
    ({"cat": (0.9, 0.1), "dog": (0.5, 0.3), "owl": (0.7, 0.2)},
     "The lowest recall at epoch 8 is that of dog (50.0%); dog changes most, in 30.0% of the steps."),
    ({"cat": (0.5, 0.3), "dog": (0.5, 0.1), "owl": (0.7, 0.3)},
     "The lowest recall at epoch 8 is that of cat and dog (50.0%); cat and owl change most, in 30.0% of the steps."),
    ({"cat": (1.0, 0.0), "dog": (1.0, 0.0)},
     "All 2 classes have the same recall at epoch 8, 100.0%; no prediction changed."),
    ({"cat": (0.2, NAN), "dog": (NAN, NAN), "owl": (0.7, NAN)}, "The lowest recall at epoch 8 is that of cat (20.0%)."),
    ({"cat": (0.5, 0.1)}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("classes", "sentence"), CLASS_MEANS)
def test_class_means(classes, sentence):
    table = pd.DataFrame([{"class": name, "recall": one, "frequency": other} for name, (one, other) in classes.items()])
    assert findings.of_class_means(table, 8) == sentence


FATES = [
    ((5, 3, 1, 1), "Of 10 samples up to epoch 4: 5 always right, 3 right in the end after a wrong prediction, 1 wrong in "
     "the end after a right one, 1 never right."),
    ((0, 0, 0, 1200), "Of 1,200 samples up to epoch 4: 0 always right, 0 right in the end after a wrong prediction, 0 wrong "
     "in the end after a right one, 1,200 never right."),
    ((1, 0, 0, 0), "Of 1 sample up to epoch 4: 1 always right, 0 right in the end after a wrong prediction, 0 wrong in the "
     "end after a right one, 0 never right."),
    ((0, 0, 0, 0), ""),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "sentence"), FATES)
def test_fates_of_samples(counts, sentence):
    assert findings.of_fates(dict(zip("abcd", counts, strict=True)), 4) == sentence


PART = "The part that both views show is {} of them. {}"
OVERLAP = [
    ({"A": 0.71, "B": 0.52}, 0.43, PART.format("43%", "A has most of the positive values there (71%), B has least (52%).")),
    ({"A": 0.2, "B": NAN, "C": 0.2}, 0.5, PART.format("50%", "A and C have 20% of the positive values there.")),
    (
        {"A": 1.0, "B": 0.1, "C": 0.1}, 0.9,
        PART.format("90%", "A has most of the positive values there (100%), B and C have least (10%)."),
    ),
    ({"A": NAN}, 0.5, ""),
    ({"A": 0.4}, 0.0, ""),  # the views have nothing in common
    ({"A": 1.0}, 1.0, ""),  # or all
]  # fmt: skip


@pytest.mark.parametrize(("shares", "area", "sentence"), OVERLAP)
def test_the_overlap_of_two_views(shares, area, sentence):
    assert findings.of_overlap(shares, area) == sentence


def pair_lines(*rows, up=("SI",)):
    """Lines of a benchmark from (method, metric, mean, published); methods that begin with "control" are controls."""
    names = ["method", "metric", "mean", "published"]
    table = pd.DataFrame(rows, columns=names).assign(pairs="crops")
    return table.assign(
        control=table["method"].str.startswith("control"), better=["up" if one in up else "down" for one in table["metric"]],
        low=table["mean"] - 0.1, high=table["mean"] + 0.1,
    )  # fmt: skip


BENCHMARKS = [
    (
        pair_lines(("A", "SI", 0.8, 0.75), ("B", "SI", 0.6, 0.9), ("A", "SD", 0.2, NAN), ("B", "SD", 0.3, NAN),
                   ("control 1", "SI", 0.7, NAN), ("control 1", "SD", 0.9, NAN)),
        "Best mean most often, crops: A (2 of 2 metrics). 3 of 4 means are better than those of all controls. "
        "1 of 2 published figures lies within the 95% interval here.",
    ),
    (
        pair_lines(("A", "SI", 0.5, NAN), ("B", "SI", 0.5, NAN), ("control 1", "SI", 0.1, NAN),
                   ("control 2", "SI", 0.5, NAN)),
        "Best mean most often, crops: A and B (1 of 1 metric). 0 of 2 means are better than those of all controls.",
    ),
    (
        pair_lines(("A", "SD", 0.1, 0.15), ("B", "SD", NAN, 0.3), ("control 1", "SD", 0.3, NAN)),
        "1 of 1 mean is better than those of all controls. 1 of 1 published figure lies within the 95% interval here.",
    ),
    (pair_lines(("A", "SI", NAN, 0.1)), ""),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "sentence"), BENCHMARKS)
def test_the_benchmark_of_pairs(lines, sentence):
    assert findings.of_pair_benchmark(lines) == sentence


def test_controls_of_other_pairs_are_not_compared_with():
    lines = pair_lines(("A", "SI", 0.5, NAN), ("control 1", "SI", 0.1, NAN))
    lines.loc[1, "pairs"] = "whole"
    assert findings.of_pair_benchmark(lines) == ""
