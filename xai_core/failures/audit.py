"""An audit: why a model is wrong on a dataset, and what to do, from its predictions to a list of actions.

It takes the steps of the page *Failure analysis* one after another. Each step is a function from the audited predictions to
a `Section`: sentences, tables, lists of pictures, and actions. A step that finds nothing says so in a sentence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from xai_core.analysis.confusion import most_confused
from xai_core.analysis.groups import error_rates, values_of
from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import BadRequest, XaiError
from xai_core.failures import abstention, audit_causes, error_groups, error_maps, head_repair
from xai_core.failures.abstention import abstain, risk_coverage
from xai_core.failures.audited import NO_ERRORS, AuditedPredictions, PictureList, Section, SectionDraft
from xai_core.failures.candidate_groups import FEWEST
from xai_core.failures.group_repair import repair_group
from xai_core.failures.label_triage import triage
from xai_core.failures.relabelling import relabel_action

WANTED_RISK = 0.5  # of the error rate without abstaining: the threshold of the section Abstain halves it


Step = Callable[[AuditedPredictions], Sequence[Section]]


def audit(audited: AuditedPredictions) -> Iterator[Section]:
    """The sections, each as soon as it is found.

    A step that cannot be taken for these predictions is a section with the reason. Raises BadRequest without predictions or
    embeddings.
    """
    if not len(audited.rows):
        raise BadRequest("There are no predictions to audit: none of the pictures has a label that the model knows.")
    if "embedding" not in audited.rows:
        raise BadRequest("The predictions have no embeddings; classify the pictures again with embeddings.")
    for title, step in STEPS.items():
        try:
            yield from step(audited)
        except XaiError as error:
            yield Section(title, (f"Not done: {error}",), done=False)


def _overview(audited: AuditedPredictions) -> Sequence[Section]:
    rows, wrong = audited.rows, audited.wrong
    low, high = proportion_confint(int((~wrong).sum()), len(rows), alpha=0.05, method="wilson")
    sentence = (
        f"{(~wrong).sum():,} of {len(rows):,} pictures are predicted correctly ({(~wrong).mean():.1%}, 95% interval "
        f"{low:.1%} to {high:.1%}); {wrong.sum():,} are not."
    )
    table = most_confused(rows)
    first = rows[wrong].sort_values("confidence", ascending=False, kind="stable")
    pictures = (PictureList("The most confident errors", tuple(first["path"])),) if len(first) else ()
    return [Section("Overview", (sentence,), {"most frequent confusions": table}, pictures)]


def _labels(audited: AuditedPredictions) -> Sequence[Section]:
    rows = audited.rows
    judgement = triage(audited.features, rows["true"].to_list(), seed=audited.seed)
    flags, action = judgement.flags, relabel_action(rows, judgement, audited.seed)
    if action is None:
        return [Section("Labels", judgement.reasons)]
    table = flags.assign(path=action.paths)[["path", "label", "suggested", "score", "self confidence", "votes"]]
    section = Section(
        "Labels",
        (action.reason, *judgement.reasons),
        {"flagged labels": table},
        (PictureList("Flagged labels", action.paths),),
        (action,),
    )
    return [section]


def _groups(audited: AuditedPredictions) -> Sequence[Section]:
    result, tables = audited.error_groups, dict[str, pd.DataFrame]()
    if audited.statistics is not None:
        tables["errors by picture statistics"] = pd.concat(
            [
                error_rates(audited.rows, values_of(audited.statistics[name])).assign(statistic=str(name))
                for name in audited.statistics
            ]
        )[["statistic", "value", "pictures", "errors", "error rate", "low", "high"]]
    if not len(result.table):
        return [Section("Groups", result.reasons, tables)]
    confirmed = len(result.confirmed)
    sentence = (
        f"{result.candidates:,} groups were searched on one half of the pictures; {len(result.table):,} were tested on the "
        "other half against other pictures of which the model is as sure (exact test, p corrected for all of them, at least "
        f"{FEWEST} pictures), and {confirmed:,} are confirmed."
    )
    actions = tuple(error_groups.actions(result, audited.rows["path"].to_list()))
    lists = tuple(PictureList(f"{action.about}, errors first", action.paths) for action in actions)
    named = zip(result.table["group"].head(confirmed), result.mean_maps[:confirmed], strict=True)
    maps = {f"Mean map of the errors of {group}": map for group, map in named if map is not None}
    sentences = (sentence, _searched_by(audited), *result.reasons)
    return [Section("Groups", sentences, {"tested groups": result.table, **tables}, lists, actions, maps)]


def _searched_by(audited: AuditedPredictions) -> str:
    """What groups were made of, in a sentence."""
    own = len(audited.dataset.attributes(audited.rows["path"]).columns)
    parts = ["the label, the predicted class and the model's features"]
    if own:
        parts.append(f"{own} {'attribute' if own == 1 else 'attributes'} of the dataset")
    if audited.statistics is not None:
        known = audited.statistics.notna() & (audited.statistics != "")
        parts.append(
            f"statistics of {int(known.any(axis=1).sum()):,} of {len(audited.rows):,} pictures "
            f"({', '.join(audited.statistics.columns)})"
        )
    if audited.maps is not None:
        mapped = np.array([map is not None for map in audited.maps])
        parts.append(
            f"{METHODS[error_maps.METHOD].title} maps of {(mapped & audited.wrong).sum():,} of {audited.wrong.sum():,} "
            f"errors and of {(mapped & ~audited.wrong).sum():,} of {(~audited.wrong).sum():,} right pictures"
        )
    return f"Searched by: {'; '.join(parts)}."


def _head_edit(audited: AuditedPredictions) -> Sequence[Section]:
    draft = SectionDraft("Edit the head")
    for title, members in audited.looked_into:
        result = repair_group(audited.model, audited.dataset, audited.rows, members, seed=audited.seed, track=audited.track)
        draft.sentences.append(f"{title}: {result.reason}")
        if result.repair is not None:
            paths = audited.paths(result.places)
            draft.tables[f"edit of the head for {title}"] = result.repair.table
            draft.actions += head_repair.actions(result.repair, f"the region of {title}", paths, title)
    return [draft.section(NO_ERRORS)]


def _abstain(audited: AuditedPredictions) -> Sequence[Section]:
    right, confidence = ~audited.wrong, audited.rows["confidence"].to_numpy()
    if right.all():
        return [Section("Abstain", ("There are no errors to avoid.",))]
    wanted = WANTED_RISK * float(audited.wrong.mean())
    chosen = abstain(confidence, right, wanted, groups=audited.rows["true"].to_list(), seed=audited.seed)
    curve = risk_coverage(confidence, right)
    sentences = (
        chosen.reason,
        f"The area under the risk-coverage curve is {curve.area:.4f}; the best is {curve.best_area:.4f}.",
    )
    parts = {"risk and coverage": curve.points, "by true class": chosen.measured}
    actions = tuple(abstention.actions(chosen, confidence, audited.rows["path"].to_list()))
    return [Section("Abstain", sentences, parts, (), actions)]


STEPS: Mapping[str, Step] = {
    "Overview": _overview,
    "Labels": _labels,
    "Groups": _groups,
    "Causes": audit_causes.causes,
    "Edit the head": _head_edit,
    "Abstain": _abstain,
}
