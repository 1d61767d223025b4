"""An audit: why a model is wrong on a dataset, and what to do, from its predictions to a list of actions.

It takes the steps of the page *Failure analysis* one after another. Each step is a function from the audited predictions to
a `Section`: sentences, tables, lists of pictures, and actions. A step that finds nothing says so in a sentence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from xai_core.analysis.confusion import most_confused
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.failures import abstention, error_groups, group_causes, group_pictures, head_repair, tested_changes
from xai_core.failures.abstention import abstain, risk_coverage
from xai_core.failures.candidate_groups import FEWEST
from xai_core.failures.error_groups import ErrorGroups, groups
from xai_core.failures.group_causes import group_cause
from xai_core.failures.group_pictures import GroupPictures
from xai_core.failures.group_repair import repair_group
from xai_core.failures.label_triage import triage
from xai_core.failures.plan import PlannedAction
from xai_core.failures.relabelling import relabel_action
from xai_core.failures.tested_changes import mending_changes
from xai_core.models.explainable import ExplainableModel

SHOWN = 8  # pictures of a list that a document shows
WANTED_RISK = 0.5  # of the error rate without abstaining: the threshold of the section Abstain halves it


@dataclass(frozen=True)
class PictureList:
    """Some pictures, by their names in the dataset, the most telling one first."""

    title: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """What one step found.

    sentences   what was found, with its figures; or why nothing was
    tables      by what they hold; each is written as a file, too
    pictures    lists of pictures
    actions     what follows from it
    """

    title: str
    sentences: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    pictures: tuple[PictureList, ...] = ()
    actions: tuple[PlannedAction, ...] = ()


@dataclass(frozen=True, eq=False)
class AuditedPredictions:
    """What the steps work on: the judged predictions of `model` for `dataset` (`rows`, as `classify` writes them with
    embeddings), and the settings.

    groups     groups of errors that are looked into, at most
    pictures   pictures of a group that the network is asked about again, at most; drawn at random by `seed`
    """

    model: ExplainableModel
    dataset: Dataset
    rows: pd.DataFrame
    groups: int = 3
    pictures: int = 200
    seed: int = 0

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        return (self.rows["true"] != self.rows["predicted"]).to_numpy(bool)

    @cached_property
    def features(self) -> NDArray[np.float32]:
        return np.stack(self.rows["embedding"].to_list())

    @cached_property
    def error_groups(self) -> ErrorGroups:
        return groups(self.rows, self.dataset.attributes(self.rows["path"]), self.features, seed=self.seed)

    def paths(self, places: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(self.rows["path"].iloc[list(places)])

    def pictures_of(self, members: NDArray[np.int64]) -> GroupPictures:
        """The pictures of a group that the network is asked about again, `pictures` at most."""
        chosen = group_pictures.sample(self.rows, members, self.seed)
        if len(chosen) > self.pictures:
            places = np.random.default_rng(self.seed).choice(len(chosen), self.pictures, replace=False)
            chosen = chosen.iloc[np.sort(places)].reset_index(drop=True)
        return group_pictures.read(chosen, self.dataset, self.model)


Step = Callable[[AuditedPredictions, Track], Section]


def audit(audited: AuditedPredictions, track: Track = iter) -> Iterator[Section]:
    """The sections, each as soon as it is found. `track` wraps the batches of the steps that ask the network.

    A step that cannot be taken for these predictions is a section with the reason. Raises BadRequest without predictions or
    embeddings.
    """
    if not len(audited.rows):
        raise BadRequest("There are no predictions to audit: none of the pictures has a label that the model knows.")
    if "embedding" not in audited.rows:
        raise BadRequest("The predictions have no embeddings; classify the pictures again with embeddings.")
    for title, step in STEPS.items():
        try:
            yield step(audited, track)
        except XaiError as error:
            yield Section(title, (f"Not done: {error}",))


def _overview(audited: AuditedPredictions, track: Track) -> Section:
    rows, wrong = audited.rows, audited.wrong
    low, high = proportion_confint(int((~wrong).sum()), len(rows), alpha=0.05, method="wilson")
    sentence = (
        f"{(~wrong).sum():,} of {len(rows):,} pictures are predicted correctly ({(~wrong).mean():.1%}, 95% interval "
        f"{low:.1%} to {high:.1%}); {wrong.sum():,} are not."
    )
    table = most_confused(rows)
    first = rows[wrong].sort_values("confidence", ascending=False, kind="stable")
    pictures = (PictureList("The most confident errors", tuple(first["path"])),) if len(first) else ()
    return Section("Overview", (sentence,), {"most frequent confusions": table}, pictures)


def _labels(audited: AuditedPredictions, track: Track) -> Section:
    rows = audited.rows
    judgement = triage(audited.features, rows["true"].to_list(), seed=audited.seed)
    flags, action = judgement.flags, relabel_action(rows, judgement, audited.seed)
    if action is None:
        return Section("Labels", judgement.reasons)
    table = flags.assign(path=action.paths)[["path", "label", "suggested", "score", "self confidence", "votes"]]
    return Section(
        "Labels",
        (action.reason, *judgement.reasons),
        {"flagged labels": table},
        (PictureList("Flagged labels", action.paths),),
        (action,),
    )


def _groups(audited: AuditedPredictions, track: Track) -> Section:
    result = audited.error_groups
    if not len(result.table):
        return Section("Groups", result.reasons)
    confirmed = len(result.confirmed)
    sentence = (
        f"{result.candidates:,} groups were searched on one half of the pictures; {len(result.table):,} were tested on the "
        "other half against other pictures of which the model is as sure (exact test, p corrected for all of them, at least "
        f"{FEWEST} pictures), and {confirmed:,} are confirmed."
    )
    actions = tuple(error_groups.actions(result, audited.rows["path"].to_list()))
    lists = tuple(PictureList(f"{action.about}, errors first", action.paths) for action in actions)
    return Section("Groups", (sentence, *result.reasons), {"tested groups": result.table}, lists, actions)


def _looked_into(audited: AuditedPredictions) -> list[tuple[str, NDArray[np.int64]]]:
    """The groups that the next steps are about, by their titles: the first confirmed ones, and all errors."""
    result = audited.error_groups
    count = min(audited.groups, len(result.confirmed))
    named = zip(result.table["group"].head(count), result.members[:count], strict=True)
    every = [("all errors", np.flatnonzero(audited.wrong))] if audited.wrong.any() else []
    return [*((str(title), members) for title, members in named), *every]


NO_ERRORS = "There are no errors to explain."


def _hidden_region(audited: AuditedPredictions, track: Track) -> Section:
    sentences, parts, lists, actions = [], {}, [], []
    for title, members in _looked_into(audited):
        read = audited.pictures_of(members)
        cause = group_cause(audited.model, read.pixels, read.classes, seed=audited.seed, track=track)
        if cause.test is None:
            sentences += [f"{title}: {reason}" for reason in cause.reasons]
            continue
        sentences.append(f"{title}: {cause.test.sentence}")
        parts[f"hidden region of {title}"] = cause.test.effects
        if len(cause.mended):
            names = tuple(read.paths[place] for place in cause.mended)
            lists.append(PictureList(f"{title}: errors that hiding the region mends", names))
        actions += group_causes.actions(cause, title, read.paths)
    return Section("Hidden region", tuple(sentences) or (NO_ERRORS,), parts, tuple(lists), tuple(actions))


def _what_ifs(audited: AuditedPredictions, track: Track) -> Section:
    sentences, parts, actions = [], {}, []
    for title, members in _looked_into(audited):
        read = audited.pictures_of(members)
        result = mending_changes(audited.model, read.pixels, read.classes, seed=audited.seed, track=track)
        if not len(result.changes):
            sentences += [f"{title}: {reason}" for reason in result.reasons]
            continue
        best, confirmed = result.changes.iloc[0], len(result.confirmed)
        sentences.append(
            f"{title}: {best['change']} mends {best['mended']} of {best['errors']} held-out errors "
            f"({best['low']:.0%} to {best['high']:.0%}), the most of {len(result.changes)} changes. Chosen on the other "
            f"half, and mending more than a change at random: {confirmed or 'none'}."
        )
        parts[f"what-ifs of {title}"] = result.changes
        actions += tested_changes.actions(result, title, read.paths)
    return Section("What-ifs", tuple(sentences) or (NO_ERRORS,), parts, (), tuple(actions))


def _head_edit(audited: AuditedPredictions, track: Track) -> Section:
    sentences, parts, actions = [], {}, []
    for title, members in _looked_into(audited):
        result = repair_group(audited.model, audited.dataset, audited.rows, members, seed=audited.seed, track=track)
        sentences.append(f"{title}: {result.reason}")
        if result.repair is not None:
            parts[f"edit of the head for {title}"] = result.repair.table
            actions += head_repair.actions(result.repair, f"the region of {title}", audited.paths(result.places), title)
    return Section("Edit the head", tuple(sentences) or (NO_ERRORS,), parts, (), tuple(actions))


def _abstain(audited: AuditedPredictions, track: Track) -> Section:
    right, confidence = ~audited.wrong, audited.rows["confidence"].to_numpy()
    if right.all():
        return Section("Abstain", ("There are no errors to avoid.",))
    wanted = WANTED_RISK * float(audited.wrong.mean())
    chosen = abstain(confidence, right, wanted, groups=audited.rows["true"].to_list(), seed=audited.seed)
    curve = risk_coverage(confidence, right)
    sentences = (
        chosen.reason,
        f"The area under the risk-coverage curve is {curve.area:.4f}; the best is {curve.best_area:.4f}.",
    )
    parts = {"risk and coverage": curve.points, "by true class": chosen.measured}
    actions = tuple(abstention.actions(chosen, confidence, audited.rows["path"].to_list()))
    return Section("Abstain", sentences, parts, (), actions)


STEPS: Mapping[str, Step] = {
    "Overview": _overview,
    "Labels": _labels,
    "Groups": _groups,
    "Hidden region": _hidden_region,
    "What-ifs": _what_ifs,
    "Edit the head": _head_edit,
    "Abstain": _abstain,
}
