"""Which errors belong together: groups of pictures that a model gets wrong more often than others of which it is as sure,
each tested on pictures that did not suggest it.

The pictures are halved at random. On one half, candidates are made (`candidate_groups`). Those whose error rate has the
highest lower limit are chosen, each only if a quarter of its errors, or more, are in none of those before, so that one large
cause does not fill the list with its variants. They are tested on the other half against pictures outside of equal
confidence (`group_tests`), with p corrected for all that were tested there (Holm). A group that is only coherent does not
pass: coherence does not make its story true (Johnson et al. 2023, arXiv:2306.08167).

What it cannot tell: a group that passes has more errors than the network's confidence says, which does not say that what its
members share is the cause. A group of hard pictures does not pass where the network is as unsure of them as it should be;
`rate outside` still shows that it has more errors than the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.errors import BadRequest
from xai_core.explanation.clustering import SIDE
from xai_core.failures.candidate_groups import (
    FEWEST,
    FEWEST_ERRORS,
    CandidateGroup,
    Condition,
    Flags,
    known_values,
    lowest_rate,
    reduced,
    search,
    small_maps,
)  # fmt: skip
from xai_core.failures.group_tests import COLUMNS, tested_table
from xai_core.failures.halves import halves
from xai_core.failures.plan import PlannedAction

TESTED = 30  # candidates at most that go to the held-out half
NEW = 0.25  # share of the errors of a candidate that no group chosen before holds, at least


@dataclass(frozen=True)
class ErrorGroups:
    """The groups that were tested, the confirmed ones first, then in the order in which they were chosen.

    `table` has a row for each group:

        group            its conditions in words: 'time: night, label: tent'; or 'cluster 4 of 30 of the features'
        pictures, errors        of all pictures
        found on pictures, found on errors    of the half that suggested it
        tested pictures, tested errors        of the held-out half
        error rate, low, high   the share of the tested pictures that are wrong, with its Wilson interval (95%)
        rate outside     the share of the other pictures of the held-out half that are wrong
        rate expected    the same, of pictures outside of which the network is as sure as of those inside; not a number where
                         there are none
        p, p corrected   of the exact test within ranges of the confidence, one-sided (`group_tests`): has the group more
                         errors than other pictures of which the network is as sure? Corrected for all tested groups
        confirmed        p corrected is below 0.05, there are FEWEST tested pictures or more, and `low` is at least EFFECT
                         above `rate expected`
        at stake         points of accuracy that are gained at most, over all pictures, if all of the group became right
        differs          in words, what its pictures have more often than the others

    Rates of clusters of maps are of the pictures that have a map, inside and outside; their names say so.

    members       the places of each group's pictures, errors first; with features, the most central ones first
    conditions    of each group: attributes with their values; empty for clusters
    mean_maps     of each group: the mean of its errors' maps (16, 16), each divided by its norm; None without maps
    held_out      (n,), which pictures are in the held-out half
    candidates    number of groups that the first half was searched for
    reasons       sentences: why nothing was tested or nothing is confirmed
    """

    table: pd.DataFrame
    members: tuple[NDArray[np.int64], ...]
    conditions: tuple[tuple[Condition, ...], ...]
    mean_maps: tuple[NDArray[np.float32] | None, ...] = field(repr=False)
    held_out: Flags = field(repr=False)
    candidates: int
    reasons: tuple[str, ...]
    seed: int

    @property
    def confirmed(self) -> pd.DataFrame:
        return self.table[self.table["confirmed"].astype(bool)]


def groups(
    rows: pd.DataFrame,
    attributes: pd.DataFrame | None = None,
    features: NDArray[np.floating] | None = None,
    maps: Sequence[NDArray[np.floating] | None] | None = None,
    *,
    seed: int = 0,
) -> ErrorGroups:
    """Find and test groups of errors among the predictions `rows` (n pictures; columns `true` and `predicted`,
    and `confidence`, the probability of the predicted class, where it is known).

    `attributes` (n rows, any columns) is what is known of the pictures: metadata, or `picture_statistics`; numbers are cut
    at their quartiles. `features` (n, d) are the network's. `maps` holds n maps (h, w), or None for pictures without one:
    usually all errors and a random sample of the right ones have one. The seed halves the pictures, within right and wrong
    ones, and draws the first centres of the clusters. Raises BadRequest where the sizes do not fit together.
    """
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    for name, other in (("attributes", attributes), ("features", features), ("maps", maps)):
        if other is not None and len(other) != len(rows):
            raise BadRequest(f"There are {len(rows):,} predictions and {len(other):,} rows of {name}; each needs one.")
    confidence = rows["confidence"].to_numpy(np.float64) if "confidence" in rows else None
    if confidence is not None and not np.isfinite(confidence).all():
        raise BadRequest("Some confidences are not finite numbers; compute the predictions again.")
    held_out = _held_out(wrong, seed)
    reason = _too_little(wrong)
    if reason:
        return _nothing(held_out, 0, reason, seed)
    first = ~held_out
    known = known_values(rows, attributes)
    points = None if features is None else reduced(np.asarray(features, np.float32), first, seed)
    small, mapped = small_maps(maps, len(rows))
    candidates, searched = search(rows, known, first, points, small, mapped, seed)
    chosen = _chosen(candidates, wrong, first, mapped)
    if not chosen:
        return _nothing(held_out, searched, _NO_CANDIDATE.format(searched), seed)
    table = tested_table(chosen, wrong, held_out, mapped, known, confidence)
    order = np.argsort(~table["confirmed"].to_numpy(bool), kind="stable")
    ordered = [chosen[place] for place in order]
    return ErrorGroups(
        table.iloc[order].reset_index(drop=True),
        tuple(_members(one.inside, wrong, points) for one in ordered),
        tuple(one.conditions for one in ordered),
        tuple(_mean_map(one.inside & wrong & mapped, small) for one in ordered),
        held_out, searched,
        () if table["confirmed"].any() else (_none_confirmed(len(chosen)),),
        seed,
    )  # fmt: skip


_NO_CANDIDATE = "None of {:,} groups has more errors than the other pictures on the first half, so none was tested."


def _none_confirmed(tested: int) -> str:
    which = "The one tested group is not" if tested == 1 else f"None of the {tested} tested groups is"
    return (
        f"{which} confirmed: its errors on the held-out half are not clearly more than those of other pictures of which the "
        "model is as sure."
    )


def _held_out(wrong: Flags, seed: int) -> Flags:
    """Which pictures are held out: half of the wrong and half of the right ones."""
    held_out = np.zeros(len(wrong), bool)
    for kind in (wrong, ~wrong):
        places = np.flatnonzero(kind)
        held_out[places[halves(len(places), seed)[1]]] = True
    return held_out


def _too_little(wrong: Flags) -> str:
    """Why there is nothing to search for; "" where there is."""
    errors = int(wrong.sum())
    if not errors:
        return "All pictures are predicted correctly: there are no errors to group."
    if errors == len(wrong):
        return "All pictures are predicted wrongly: no group can have more errors than the others."
    least = 2 * FEWEST_ERRORS
    if errors < least:
        have = "is 1 error" if errors == 1 else f"are {errors} errors"
        return f"There {have}; groups are searched for from {least} on, so that some are left for the test."
    return ""


def _chosen(candidates: Sequence[CandidateGroup], wrong: Flags, first: Flags, mapped: Flags) -> list[CandidateGroup]:
    """At most TESTED candidates, those with the highest lower limit of the error rate on the first half, each with NEW of
    its errors, or more, in none of those before. Of equal ones, the one with the fewest conditions comes first."""
    if not candidates:
        return []
    inside = np.stack([one.inside[first] for one in candidates]).astype(np.float32)
    among_maps = np.array([one.among_maps for one in candidates])
    parts = np.array([one.parts for one in candidates])
    mistaken, has_map = wrong[first], mapped[first]
    sizes, errors = inside.sum(1), inside @ mistaken
    of = np.where(among_maps, has_map.sum(), len(mistaken))
    of_errors = np.where(among_maps, (has_map & mistaken).sum(), mistaken.sum())
    able = (sizes >= FEWEST) & (errors >= FEWEST_ERRORS) & (sizes < of)
    able &= errors / np.maximum(sizes, 1) > (of_errors - errors) / np.maximum(of - sizes, 1)
    low = lowest_rate(errors, sizes)
    bias = _case_control_odds(wrong, mapped)
    low = np.where(among_maps, low * bias / (1 - low + low * bias), low)
    chosen: list[CandidateGroup] = []
    left = mistaken.copy()  # errors that no chosen candidate holds
    for place in np.lexsort((parts, -low)):
        new = float(inside[place] @ left)
        if able[place] and new >= max(FEWEST_ERRORS, NEW * errors[place]):
            chosen.append(candidates[place])
            left &= inside[place] == 0
            if len(chosen) == TESTED:
                break
    return chosen


def _case_control_odds(wrong: Flags, mapped: Flags) -> float:
    """By how much the odds of an error among pictures with a map must be multiplied to be those among all pictures: maps
    are usually made of all errors and of few right ones."""
    right, errors = mapped[~wrong].mean(), mapped[wrong].mean()
    return float(right / errors) if errors else 1.0


def _mean_map(inside: Flags, small: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    if small is None or not inside.any():
        return None
    mean: NDArray[np.float32] = small[inside].mean(0).reshape(SIDE, SIDE)
    return mean


def _members(inside: Flags, wrong: Flags, points: NDArray[np.float32] | None) -> NDArray[np.int64]:
    """Errors first; those nearest to the mean of the group's errors first."""
    places = np.flatnonzero(inside)
    distances = np.zeros(len(places))
    if points is not None and (inside & wrong).any():
        distances = np.linalg.norm(points[places] - points[inside & wrong].mean(0), axis=1)
    return places[np.lexsort((distances, ~wrong[places]))]


def actions(result: ErrorGroups, paths: Sequence[str]) -> list[PlannedAction]:
    """An action for each confirmed group. `paths` are the names of all pictures that `groups` was given."""
    settings = {"seed": result.seed, "groups searched": result.candidates, "groups tested": len(result.table)}
    return [
        PlannedAction(
            "collect",
            f"Collect more pictures like: {row['group']}",
            f"On the held-out half {row['tested errors']} of {row['tested pictures']} are wrong ({row['error rate']:.0%}, "
            f"{row['low']:.0%} to {row['high']:.0%}; of other pictures of which the model is as sure "
            f"{row['rate expected']:.0%}; corrected p {row['p corrected']:.2g}). At stake: at most "
            f"{row['at stake']:.1f} points of accuracy."
            + (f" More often than outside: {row['differs']}." if row["differs"] else ""),
            "",
            tuple(paths[place] for place in members),
            settings=settings,
            about=str(row["group"]),
        )
        for (_, row), members in zip(result.confirmed.iterrows(), result.members[: len(result.confirmed)], strict=True)
    ]


def _nothing(held_out: Flags, candidates: int, reason: str, seed: int) -> ErrorGroups:
    return ErrorGroups(pd.DataFrame(columns=list(COLUMNS)), (), (), (), held_out, candidates, (reason,), seed)
