"""The step of an audit that asks for causes, group by group: hidden regions, what-ifs, evidence from training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xai_core.failures import class_features, group_causes, group_evidence, tested_changes
from xai_core.failures.audited import NO_ERRORS, AuditedPredictions, PictureList, Section, SectionDraft
from xai_core.failures.group_causes import group_cause
from xai_core.failures.group_changes import group_what_ifs
from xai_core.failures.group_pictures import GroupPictures

NO_TRAINING = "No predictions of training pictures were given, so that no training picture is named."


def causes(audited: AuditedPredictions) -> Sequence[Section]:
    """Three sections, found group by group: the pictures of one group are in memory at a time, and are read once."""
    hidden, changed, evidence = SectionDraft("Hidden region"), SectionDraft("What-ifs"), SectionDraft("Evidence")
    looked_into = audited.looked_into
    for title, members in looked_into:
        read = audited.pictures_of(members)
        with hidden.about(title):
            _hide(audited, hidden, title, read)
        with changed.about(title):
            _change(audited, changed, title, read)
        with evidence.about(title):
            _find_training(audited, evidence, title, members)
        with evidence.about(title):
            _find_features(audited, evidence, title, members)
    if audited.training is None and looked_into:
        evidence.sentences.append(NO_TRAINING)
    with evidence.about("Unusual reasoning"):
        _find_unusual(audited, evidence)
    return [draft.section(NO_ERRORS) for draft in (hidden, changed, evidence)]


def _hide(audited: AuditedPredictions, draft: SectionDraft, title: str, read: GroupPictures) -> None:
    cause = group_cause(audited.model, read.pixels, read.classes, seed=audited.seed, track=audited.track)
    if cause.test is None:
        draft.sentences += [f"{title}: {reason}" for reason in cause.reasons]
        return
    draft.sentences.append(f"{title}: {cause.test.sentence} {cause.place}")
    if cause.mean_map is not None:
        words = f"{title}: mean map of the {len(cause.found)} errors that suggested the region"
        draft.maps[words] = cause.mean_map.numpy()
    draft.tables[f"hidden region of {title}"] = cause.test.effects
    if len(cause.mended):
        names = tuple(read.paths[place] for place in cause.mended)
        draft.pictures.append(PictureList(f"{title}: errors that hiding the region mends", names))
    draft.actions += group_causes.actions(cause, title, read.paths)


def _change(audited: AuditedPredictions, draft: SectionDraft, title: str, read: GroupPictures) -> None:
    result = group_what_ifs(audited.model, audited.dataset, audited.rows, read, seed=audited.seed, track=audited.track)
    draft.sentences += [f"{title}: {reason}" for reason in (*result.reasons, *result.left_out)]
    if not len(result.changes):
        return
    best, confirmed = result.changes.iloc[0], len(result.confirmed)
    draft.sentences.append(
        f"{title}: {best['change']} mends {best['mended']} of {best['errors']} held-out errors "
        f"({best['low']:.0%} to {best['high']:.0%}), the most of {len(result.changes)} changes. Chosen on the other "
        f"half, and mending more than a change at random: {confirmed or 'none'}."
    )
    draft.tables[f"what-ifs of {title}"] = result.changes
    draft.actions += tested_changes.actions(result, title, read.paths)


def _find_training(audited: AuditedPredictions, draft: SectionDraft, title: str, members: NDArray[np.int64]) -> None:
    """The training pictures that speak for the wrong answers of a group, and the proof."""
    training, judgement = audited.training, audited.training_judgement
    if training is None or judgement is None:
        return
    result = group_evidence.group_evidence(
        training.rows, audited.rows, members, judgement, head=audited.training_head,
        head_classes=audited.model.class_names, seed=audited.seed, track=audited.track,
    )  # fmt: skip
    found, errors = result.evidence, len(result.errors)
    draft.sentences.append(
        f"{title}: a probe of {len(training.rows):,} training pictures ({training.title}) gives the network's wrong "
        f"answer to {round(found.agreement * errors):,} of {errors:,} errors, and speaks for the network as far as that."
    )
    draft.sentences += [f"{title}: {words}" for words in found.reasons]
    if "influence" in found.refits:
        draft.sentences.append(f"{title}: {found.refits['influence'].sentence}")
        draft.tables[f"proof of the evidence for {title}"] = group_evidence.proofs(result)
        draft.tables[f"training pictures behind {title}"] = group_evidence.removed_pictures(result)
    draft.actions += group_evidence.actions(result, title, audited.rows, training.title)


def _find_features(audited: AuditedPredictions, draft: SectionDraft, title: str, members: NDArray[np.int64]) -> None:
    """The features that carry the wrong answers of a group, where the network's head is linear."""
    head, rows = audited.head, audited.rows
    if head is None:
        return
    true, predicted = rows["true_index"].to_numpy(), rows["predicted_index"].to_numpy()
    result = class_features.carrying_features(head, audited.features, true, predicted, members, seed=audited.seed)
    draft.sentences.append(f"{title}: {result.sentence}")
    if len(result.table):
        draft.tables[f"features that carry {title}"] = result.table


def _find_unusual(audited: AuditedPredictions, draft: SectionDraft) -> None:
    """The errors that reason unusually, where the network's head is linear."""
    head, rows = audited.head, audited.rows
    if head is None or not audited.wrong.any():
        return
    true, predicted = rows["true_index"].to_numpy(), rows["predicted_index"].to_numpy()
    result = class_features.unusual_reasoning(head, audited.features, true, predicted, seed=audited.seed)
    draft.sentences += dict.fromkeys([result.sentence, *result.reasons])
    found = result.ranked
    found = found[found["wrong"].astype(bool) & (found["p"] <= class_features.UNUSUAL)]
    if len(found):
        named = rows[["path", "true", "predicted"]].iloc[found["picture"]].reset_index(drop=True)
        draft.tables["errors that reason unusually"] = named.assign(
            p=found["p"].to_numpy(), **{"log likelihood": found["log likelihood"].to_numpy()}
        )
        draft.pictures.append(PictureList("Errors that reason unusually", tuple(named["path"])))
