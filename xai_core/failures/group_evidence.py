"""What training pictures and features say for the wrong answers of a group, and the actions that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.failures.head_edits import Head, paired_interval
from xai_core.failures.label_triage import Triage
from xai_core.failures.plan import PlannedAction
from xai_core.failures.training_evidence import Evidence, Refit, evidence, fit_probe
from xai_core.models.explainable import ExplainableModel

AGREE = 0.99  # share of the answers that a head must repeat from stored features: these may be rounded
SIGNED = ("influence", "representer", "TracIn")  # measures that are for the answer or against it
COUNT = 20  # training pictures that are left out


@dataclass(frozen=True, eq=False)
class GroupEvidence:
    """The evidence of training pictures for the wrong answers of a group.

    errors     of the group that were asked about, by their places in the predictions
    training   a row for each training picture: path, label, and whether its label is `contradicted` by a probe and by the
               nearest neighbours, with the class that these prefer (`suggested`)
    estimate   what the suggested labels of the strongest evidence change, measured; "" where no label is contradicted
    """

    evidence: Evidence
    errors: NDArray[np.int64]
    training: pd.DataFrame
    estimate: str

    def contradicted(self) -> NDArray[np.int64]:
        """Places of the training pictures whose label is contradicted among those that the refits leave out."""
        return _contradicted(self.evidence.refits, self.training["contradicted"].to_numpy(bool))


def linear_head(model: ExplainableModel, rows: pd.DataFrame) -> Head | None:
    """The model's head on the stored features of predictions, one linear layer; None where it has another head, or reads
    other features (those before a projection)."""
    layer = model.network.classify
    if not isinstance(layer, nn.Linear) or "embedding" not in rows or not len(rows):
        return None
    head, features = Head.of(layer), np.stack(rows["embedding"].to_list())
    if features.shape[1] != head.weight.shape[1]:
        return None
    return head if (head.predicted(features) == rows["predicted_index"].to_numpy()).mean() >= AGREE else None


def group_evidence(
    training: pd.DataFrame,
    rows: pd.DataFrame,
    members: Sequence[int] | NDArray[np.int64],
    judgement: Triage,
    *,
    head: Head | None = None,
    head_classes: Sequence[str] = (),
    count: int = COUNT,
    seed: int = 0,
    track: Track = iter,
) -> GroupEvidence:
    """The evidence for the wrong answers among `members` (places in `rows`).

    `training` and `rows` are judged predictions of one model with embeddings, `judgement` is that of the training labels
    (`triage`). TracIn is of the model's own `head`, with rows of `head_classes`, where that is given. Raises BadRequest
    where the group has no error whose true and predicted class are labels of the training pictures.
    """
    places = np.asarray(members, np.int64)
    chosen, labels = rows.iloc[places], set(training["true"])
    fits = (chosen["true"] != chosen["predicted"]) & chosen["true"].isin(labels) & chosen["predicted"].isin(labels)
    places, chosen = places[fits.to_numpy(bool)], chosen[fits.to_numpy(bool)]
    if not len(places):
        raise BadRequest("No error of this group is between two classes of the training pictures; choose others.")
    features = np.stack(training["embedding"].to_list()).astype(np.float64)
    every = np.stack(rows["embedding"].to_list()).astype(np.float64)
    found = evidence(
        features, training["true"].to_list(), every[places], chosen["predicted"].to_list(), chosen["true"].to_list(),
        heads=[] if head is None else [head], head_classes=head_classes, count=count, seed=seed, track=track,
    )  # fmt: skip
    known = pd.DataFrame(
        {
            "path": training["path"].to_numpy(object),
            "label": training["true"].to_numpy(object),
            "contradicted": judgement.pictures["flagged"].to_numpy(bool),
            "suggested": judgement.pictures["suggested"].to_numpy(object),
        }
    )
    wrong = _contradicted(found.refits, known["contradicted"].to_numpy(bool))
    estimate = _corrected(features, known, wrong, rows, every, places, found) if len(wrong) else ""
    return GroupEvidence(found, places, known, estimate)


def proofs(result: GroupEvidence) -> pd.DataFrame:
    """The proof of each measure, a row for each: how far the margin of the wrong answer falls without its strongest training
    pictures and without random ones, over the tested errors; the paired difference with its interval (95%)."""
    lines = []
    for measure, refit in result.evidence.refits.items():
        falls = refit.falls.mean(numeric_only=True)
        lines.append(
            {
                "measure": measure, "carry the answer": "yes" if refit.proven else "not shown",
                "left out": len(refit.removed), "tested errors": len(refit.falls), "margin": falls["margin"],
                "fall without them": falls["evidence"], "fall without random ones": falls["random"],
                "difference": refit.difference.value, "low": refit.difference.low, "high": refit.difference.high,
                "p corrected": refit.p if refit.held_out else np.nan,
                "labels look wrong": int(result.training["contradicted"].to_numpy(bool)[refit.removed].sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def removed_pictures(result: GroupEvidence) -> pd.DataFrame:
    """The training pictures that the refits leave out, the strongest of each measure first: measure, value, and the columns
    of `training`."""
    parts = [
        result.training.iloc[refit.removed].assign(measure=measure, value=refit.values)
        for measure, refit in result.evidence.refits.items()
    ]
    return pd.concat(parts, ignore_index=True)[["measure", "value", *result.training.columns]]


def _contradicted(refits: Mapping[str, Refit], flagged: NDArray[np.bool_]) -> NDArray[np.int64]:
    places = [place for measure in SIGNED if measure in refits for place in refits[measure].removed if flagged[place]]
    return np.array(list(dict.fromkeys(places)), np.int64)


def _corrected(
    features: NDArray[np.float64],
    known: pd.DataFrame,
    wrong: NDArray[np.int64],
    rows: pd.DataFrame,
    every: NDArray[np.float64],
    errors: NDArray[np.int64],
    found: Evidence,
) -> str:
    """The accuracy of the probe before and after the suggested labels are taken, on pictures that suggested no evidence."""
    classes, codes = np.unique(known["label"].to_numpy(str), return_inverse=True)
    corrected = codes.copy()
    corrected[wrong] = np.searchsorted(classes, known["suggested"].to_numpy(str)[wrong])
    suggesting = np.ones(len(errors), bool)
    for refit in found.refits.values():
        if refit.held_out:
            suggesting[refit.falls["picture"]] = False
    tested = np.ones(len(rows), bool)
    tested[errors[suggesting]] = False
    before = fit_probe(features, codes, classes.tolist())
    after = fit_probe(features, corrected, classes.tolist(), like=before)
    true = rows["true"].to_numpy(str)[tested]
    was, now = (classes[probe.logits(every[tested]).argmax(1)] == true for probe in (before, after))
    mended, broken = int((~was & now).sum()), int((was & ~now).sum())
    low, high = paired_interval(mended, broken, len(true))
    return (
        f"With the suggested labels the probe is right on {now.mean():.1%} of {len(true):,} pictures that did not "
        f"suggest them, before on {was.mean():.1%} (change {100 * (mended - broken) / len(true):+.1f} points, "
        f"{100 * low:+.1f} to {100 * high:+.1f})."
    )


def actions(result: GroupEvidence, group: str, rows: pd.DataFrame, training: str) -> list[PlannedAction]:
    """What to do: correct the labels of the evidence that are contradicted, and collect pictures of the true classes where
    the evidence is proven. `rows` are the predictions that the group is of, `training` the title of the training pictures.

    The pictures whose labels are to be checked are no pictures of the dataset: they are named in the settings of the action.
    """
    found, wrong = result.evidence, result.contradicted()
    settings: dict[str, str | float] = {"seed": found.seed, "training pictures": training}
    planned = []
    if len(wrong):
        known = result.training.iloc[wrong]
        out = len({place for measure in SIGNED if measure in found.refits for place in found.refits[measure].removed})
        share = result.training["contradicted"].mean()
        names = [
            f"{path} ({label}, suggested: {suggested})"
            for path, label, suggested in zip(known["path"], known["label"], known["suggested"], strict=True)
        ]
        planned.append(
            PlannedAction(
                "relabel",
                f"Check the labels of {len(wrong):,} training pictures behind: {group}",
                f"Of the {out:,} training pictures that speak most for these wrong answers, {len(wrong):,} have a label "
                f"that a probe and the nearest neighbours contradict ({len(wrong) / out:.0%}; of all training pictures "
                f"{share:.0%}).",
                result.estimate,
                (),
                settings=settings | {"labels to check": "; ".join(names)},
                about=f"training labels, {group}",
            )
        )
    refit = found.refits.get("influence")
    if refit is not None and refit.proven:
        errors = rows.iloc[result.errors]
        planned.append(
            PlannedAction(
                "collect",
                f"Collect training pictures of the true classes that look like: {group}",
                f"A few training pictures carry these wrong answers. {refit.sentence}",
                "",
                tuple(errors["path"]),
                {"true": tuple(errors["true"]), "predicted": tuple(errors["predicted"])},
                settings,
                group,
            )
        )
    return planned
