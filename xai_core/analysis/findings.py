"""What a figure shows, in a sentence: facts computed from its numbers, and no judgement. "" where there is nothing to say.

Of a class's names the first is used; a page escapes the whole sentence.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.analysis.confusion import PairCounts
from xai_core.data.label_matching import first_name

if TYPE_CHECKING:
    from xai_core.metrics.metric import Metric


def of_agreement(names: Sequence[str], matrix: NDArray[np.floating], measure: str) -> str:
    """Which maps are most alike, and which is least like the others, by a symmetric matrix (n, n) of agreement; NaN where
    there is nothing to compare."""
    rows, columns = np.triu_indices(len(names), 1)
    values = matrix[rows, columns]
    compared = np.isfinite(values)
    if not compared.any():
        return ""
    first = np.nanargmax(values)
    alike = f"{names[rows[first]]} and {names[columns[first]]}"
    if compared.sum() == 1:
        return f"{measure} of {alike}: {_decimal(values[first])}."
    ties = int((values == values[first]).sum())
    most = f"{ties} pairs are equally alike, such as {alike}" if ties > 1 else f"most alike are {alike}"
    others = np.where(np.eye(len(names), dtype=bool), np.nan, matrix)
    means = np.array([np.nan if np.isnan(row).all() else np.nanmean(row) for row in others])
    least, mean = names[int(np.nanargmin(means))], _decimal(np.nanmin(means))
    return f"{measure}: {most} ({_decimal(values[first])}); least like the others is {least} ({mean} on average)."


def of_measurements(values: "Mapping[Metric, Mapping[str, float]]", beats: Mapping[str, Sequence[bool | None]]) -> str:
    """Which map each metric favours, and how often each beats all controls.

    `values`: of each metric, the value of each map that is no control (NaN: none). `beats`: of each map, whether it beats
    all controls by each metric; None where there is nothing to compare.
    """
    from xai_core.metrics.metric import HIGHER  # imports torch, which the other sentences do not wait for

    favours = []
    for metric, of_map in values.items():
        finite = {name: value for name, value in of_map.items() if np.isfinite(value)}
        if not metric.direction or len(finite) < 2:
            continue
        best = (max if metric.direction == HIGHER else min)(finite.values())
        names = [name for name, value in finite.items() if value == best]
        same = len(names) == len(finite)
        favours.append(f"{metric.title} {'is the same for all' if same else f'favours {_and(names)}'} ({best:.3f})")
    compared = {name: [beaten for beaten in of_map if beaten is not None] for name, of_map in beats.items()}
    scores = [f"{name} in {sum(of_map)} of {len(of_map)} metrics" for name, of_map in compared.items() if of_map]
    sentences = [f"{'; '.join(favours)}."] if favours else []
    sentences += [f"Better than all controls: {', '.join(scores)}."] if scores else []
    return " ".join(sentences)


def of_errors(counts: PairCounts, pairs: pd.DataFrame) -> str:
    """How many of the predictions listed are wrong, and the most frequent error: the first of `pairs`, what
    `confusion.most_confused` returns for the same predictions."""
    wrong, largest = counts.wrong, counts.most_frequent_error
    if not wrong:
        return ""
    total = f"{wrong:,} of the {counts.total:,} predictions listed {'is' if wrong == 1 else 'are'} wrong"
    most = pairs.iloc[0]
    often = int((counts.counts[counts.true != counts.predicted] == largest).sum())
    pair = f"{first_name(most['true'])} predicted as {first_name(most['predicted'])}"
    if most["pictures"] == 1:
        return f"{total}, no two in the same way." if wrong > 1 else f"{total}: {pair}."
    words = f"the most frequent error is {pair}" if often == 1 else f"{often} errors are the most frequent, such as {pair}"
    return f"{total}; {words}, {most['pictures']:,} of the {wrong:,}."


def of_calibration(bins: pd.DataFrame, error: float) -> str:
    """How far confidence and accuracy lie apart, over all pictures and in the bin where they do most: what
    `confusion.calibration` returns."""
    if not len(bins):
        return ""
    pictures = int(bins["pictures"].sum())
    accuracy, confidence = ((bins[name] * bins["pictures"]).sum() / pictures for name in ("accuracy", "confidence"))
    gap = bins["accuracy"] - bins["confidence"]
    far = bins.iloc[int(np.argmax(np.abs(gap)))]
    whole = (
        f"Expected calibration error: {error:.1%} over {pictures:,} {_plural('picture', pictures)}, of which {accuracy:.1%} "
        f"are right, with a mean confidence of {confidence:.1%}."
    )
    if len(bins) == 1:
        return whole
    count = int(far["pictures"])
    return (
        f"{whole} Accuracy and confidence differ most at a confidence of {far['low']:.0%} to {far['high']:.0%}: {count:,} "
        f"{_plural('picture', count)}, {far['accuracy']:.0%} right."
    )


def of_classes(scores: pd.DataFrame) -> str:
    """The classes with the lowest recall and the lowest precision: what `confusion.per_class` returns."""
    lowest = [_lowest(scores, measure) for measure in ("recall", "precision")]
    return f"Lowest {' and lowest '.join(filter(None, lowest))}." if any(lowest) else ""


def _lowest(scores: pd.DataFrame, measure: str) -> str:
    finite = scores[np.isfinite(scores[measure])]
    if len(finite) < 2 or finite[measure].nunique() == 1:
        return ""
    least = finite[measure].min()
    names = [first_name(name) for name in finite["class"][finite[measure] == least]]
    of = f"{_and(names)}, " if len(names) <= NAMED else f"{len(names)} classes, such as {names[0]}, "
    return f"{measure}: {of}{least:.0%}"


NAMED = 3  # classes or methods that are equal and all named


def of_means(lines: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Which method has the best and which the worst mean rank over the metrics of one model, and which beat every control by
    every metric. `lines` are those of `evaluation.summary` of one model, without controls; `titles` are the methods'."""
    directed = lines[(lines["direction"] != "") & ~lines["control"].astype(bool)]
    ranks = directed.groupby("method", sort=False)["rank"].mean().dropna()
    count, sentences = directed["metric"].nunique(), []
    by = f"{count} {_plural('metric', count)}"
    if len(ranks) > 1 and ranks.nunique() > 1:
        ends = [(word, [titles[name] for name in ranks.index[ranks == end]], end) for word, end in _ends(ranks)]
        parts = [f"{word} is {_and(names)} ({end:.1f})" for word, names, end in ends if len(names) <= NAMED]
        sentences += [f"By the mean rank over {by}, {' and '.join(parts)}."] if parts else []
    known = directed[directed["beats"].notna()]
    if len(known):
        beats = known["beats"].astype(bool).groupby(known["method"], sort=False).agg(["sum", "size"])
        every = [titles[name] for name in beats.index[(beats["sum"] == beats["size"]) & (beats["size"] == count)]]
        names = f": {_and(every)}" if 0 < len(every) <= NAMED else ""
        sentences.append(
            f"{len(every)} of {len(beats)} methods beat every control by {'all ' if count > 1 else ''}{by}{names}."
        )
    return " ".join(sentences)


def _ends(ranks: pd.Series) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("first", float(ranks.min())), ("last", float(ranks.max()))


def of_top_classes(tops: Mapping[str, str]) -> str:
    """Which networks predict the same class: their most probable classes by their titles."""
    if len(tops) < 2:
        return ""
    groups = [(top, [name for name in tops if tops[name] == top]) for top, _ in Counter(tops.values()).most_common()]
    if len(groups) == 1:
        return f"All {len(tops)} networks with classes predict {first_name(groups[0][0])}."
    parts = [f"{_and(names)} {'predicts' if len(names) == 1 else 'predict'} {first_name(top)}" for top, names in groups]
    return f"{len(groups)} different answers of {len(tops)} networks: {'; '.join(parts)}."


def of_training(epochs: Sequence[int], right: Sequence[float], final: int, chosen: int | None) -> str:
    """How many samples were right at the first epoch and at the final one, and when most were. `right`: of each epoch the
    share of right predictions, NaN where none was recorded; `chosen`: the epoch whose weights were kept, if known."""
    known = {epoch: share for epoch, share in zip(epochs, right, strict=True) if np.isfinite(share)}
    if not known:
        return ""
    first = min(known)
    kept = ", whose weights were kept" if final == chosen else ""
    if final not in known or final == first:
        return f"{known[first]:.1%} of the samples are right at epoch {first}{kept if final == first else ''}."
    most = max(known.values())
    found = f"{known[first]:.1%} of the samples are right at epoch {first}, {known[final]:.1%} at epoch {final}{kept}"
    if known[final] == most:
        return f"{found}: the most of all recorded epochs."
    best = [epoch for epoch, share in known.items() if share == most]
    where = f"epoch {best[0]}" if len(best) == 1 else f"{len(best)} epochs, the first of them {best[0]}"
    return f"{found}; the most, {most:.1%}, at {where}."


def of_changes(epochs: Sequence[int], changed: Sequence[float], stable: int | None, most: float) -> str:
    """When the predictions became stable, and which epoch changed most. `changed`: of each epoch the share of predictions
    that are others than in the recorded epoch before (NaN: nothing to compare with); `stable`: the epoch behind which none
    changes more than `most`, None where there is none."""
    known = {epoch: share for epoch, share in zip(epochs, changed, strict=True) if np.isfinite(share)}
    if not known:
        return ""
    largest = max(known, key=lambda epoch: known[epoch])
    peak = f"the most, {known[largest]:.1%}, change at epoch {largest}"
    if stable is None:
        last = max(known)
        return f"Not stable: epoch {last} still changes {known[last]:.1%} of the predictions, more than {most:.0%}; {peak}."
    later = sum(epoch > stable for epoch in known)
    behind = f"the {later} recorded epochs behind it change" if later > 1 else "the one recorded epoch behind it changes"
    return f"Stable after epoch {stable}: {behind} at most {most:.0%} of the predictions each; {peak}."


def of_class_means(table: pd.DataFrame, epoch: int) -> str:
    """Which class has the lowest recall at `epoch`, and which changes most. Columns: `class`, `recall` and `frequency`, the
    mean share of steps that change a sample's prediction; NaN where nothing is known."""
    recalls, steps = (table.set_index("class")[name].dropna() for name in ("recall", "frequency"))
    if len(recalls) < 2:
        return ""
    lowest = [first_name(name) for name in recalls.index[recalls == recalls.min()]]
    if len(lowest) == len(recalls):
        sentence = f"All {len(recalls)} classes have the same recall at epoch {epoch}, {recalls.min():.1%}"
    else:
        sentence = f"The lowest recall at epoch {epoch} is that of {_and(lowest)} ({recalls.min():.1%})"
    if not steps.max() > 0:
        return f"{sentence}; no prediction changed." if len(steps) else f"{sentence}."
    most = [first_name(name) for name in steps.index[steps == steps.max()]]
    verb = "changes" if len(most) == 1 else "change"
    return f"{sentence}; {_and(most)} {verb} most, in {steps.max():.1%} of the steps."


def of_fates(fates: Mapping[str, int], epoch: int) -> str:
    """How many samples were always right, are right or wrong in the end, or were never right. `fates`: the counts in this
    order, over the recorded epochs up to `epoch`."""
    always, learned, lost, never = fates.values()
    total = always + learned + lost + never
    if not total:
        return ""
    return (
        f"Of {total:,} {'sample' if total == 1 else 'samples'} up to epoch {epoch}: {always:,} always right, {learned:,} "
        f"right in the end after a wrong prediction, {lost:,} wrong in the end after a right one, {never:,} never right."
    )


def of_overlap(shares: Mapping[str, float], area: float) -> str:
    """Which map lies most, and which least, in the part that two views of a picture have in common: of each map the share
    of its positive values there (NaN: it has none), and the share of the views that this part is."""
    finite = {name: share for name, share in shares.items() if np.isfinite(share)}
    if not finite or not 0 < area < 1:
        return ""
    most, least = max(finite.values()), min(finite.values())
    part = f"The part that both views show is {area:.0%} of them"

    def have(share: float) -> str:
        names = [name for name, own in finite.items() if own == share]
        return f"{_and(names)} {'has' if len(names) == 1 else 'have'}"

    if most == least:
        return f"{part}. {have(most)} {most:.0%} of the positive values there."
    return f"{part}. {have(most)} most of the positive values there ({most:.0%}), {have(least)} least ({least:.0%})."


def of_pair_benchmark(lines: pd.DataFrame) -> str:
    """Which method has the best mean by most metrics on each kind of pairs, how many means are better than those of all
    controls on the same pairs, and how many published figures lie within the intervals. Columns: `method`, `pairs`,
    `metric`, `control`, `better` ("up" or "down"), `mean`, `low`, `high`, `published`; NaN where there is no value."""
    oriented = lines["mean"].where(lines["better"] == "up", -lines["mean"])
    means = lines.assign(oriented=oriented).dropna(subset="mean")
    controls, methods = means[means["control"]], means[~means["control"]]
    best = []
    for kind, of_kind in methods.groupby("pairs"):
        counts = Counter[str]()
        metrics = [own for _, own in of_kind.groupby("metric") if own["method"].nunique() > 1]
        for own in metrics:
            counts.update(own["method"][own["oriented"] == own["oriented"].max()])
        if counts:
            most = max(counts.values())
            names = _and([name for name, count in counts.items() if count == most])
            best.append(f"{kind}: {names} ({most} of {len(metrics)} {_plural('metric', len(metrics))})")
    sentences = [f"Best mean most often, {'; '.join(best)}."] if best else []
    highest = controls.groupby(["pairs", "metric"])["oriented"].max().rename("highest")
    compared = methods.join(highest, on=["pairs", "metric"]).dropna(subset="highest")
    if len(compared):
        beaten = int((compared["oriented"] > compared["highest"]).sum())
        means_in_all = f"{len(compared)} {_plural('mean', len(compared))}"
        sentences.append(f"{beaten} of {means_in_all} {_are(beaten)} better than those of all controls.")
    known = methods.dropna(subset=["published", "low"])
    if len(known):
        within = int(known["published"].between(known["low"], known["high"]).sum())
        figures = f"{len(known)} {_plural('published figure', len(known))}"
        sentences.append(f"{within} of {figures} {_are(within, 'lies', 'lie')} within the 95% interval here.")
    return " ".join(sentences)


def _are(count: int, one: str = "is", several: str = "are") -> str:
    return one if count == 1 else several


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _decimal(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:.2f}"  # no "-0.00"
