"""Which changes of the pictures mend a group's errors: chosen on one half of its errors, tested on the other half.

Almost any change mends a few errors that lie near the boundary between two classes. So a change is tested against the others
on the same pictures, as if it were one of them at random: a change is confirmed where it mends more errors than they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.core.runtime import Track
from xai_core.evaluation.significance import holm
from xai_core.failures.causes import as_many_by_chance
from xai_core.failures.group_causes import FEWEST
from xai_core.failures.halves import halves
from xai_core.failures.picture_changes import PictureChange
from xai_core.failures.plan import PlannedAction
from xai_core.failures.what_ifs import USUAL_CHANGES, Stacked, what_if
from xai_core.models.explainable import ExplainableModel, Picture

LEVEL = 0.05
CHOSEN = 3  # changes at most that the first half chooses
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MendingChanges:
    """What each change mends and breaks.

    rows      of `what_if`, for all pictures
    changes   a row for each change, the one that mends most on the tested half first:

        change, name      in words with its options; the kind of change
        errors, mended, share mended, low, high     of the tested half of the errors, with the Wilson interval that holds for
                                                    all changes together (95%, Bonferroni)
        right, broken, share broken, broken low, broken high     of the pictures that are answered correctly, likewise
        chosen            among the CHOSEN that mend most on the first half
        p, p corrected    of the chosen ones: exact test that the change is as one of all changes at random, on the tested
                          half; corrected for all chosen (Holm). Otherwise not a number
        confirmed         p corrected is below 0.05

    tested    places of the tested errors
    reasons   sentences: why nothing is tested
    left_out  sentences: changes that could not be tried
    """

    rows: pd.DataFrame
    changes: pd.DataFrame
    tested: Places
    reasons: tuple[str, ...]
    settings: dict[str, str | float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def confirmed(self) -> pd.DataFrame:
        return self.changes[self.changes["confirmed"].astype(bool)] if len(self.changes) else self.changes

    def mended(self, change: str) -> Places:
        """Places of the errors that a change mends, those of the tested half first."""
        rows = self.rows[(self.rows["change"] == change) & self.rows["mended"]]
        places = rows["picture"].to_numpy(np.int64)
        inside = np.isin(places, self.tested)
        return np.concatenate([places[inside], places[~inside]])


def mending_changes(
    model: ExplainableModel,
    pictures: Sequence[Picture],
    true_classes: Sequence[int | str],
    changes: Sequence[PictureChange] = USUAL_CHANGES,
    *,
    masks: Stacked | None = None,
    backgrounds: Stacked | None = None,
    seed: int = 0,
    track: Track = iter,
) -> MendingChanges:
    """Try all changes on a group's pictures, choose on one half of the errors, test on the other half.

    Changes of the background need `masks` and `backgrounds`, as `what_if` takes them. The seed halves the errors and draws
    the noise. Raises BadRequest for what cannot be asked.
    """
    from statsmodels.stats.proportion import proportion_confint

    settings: dict[str, str | float] = {"changes": len(changes), "seed": seed}
    rows = what_if(model, pictures, true_classes, changes, masks=masks, backgrounds=backgrounds, seed=seed, track=track)
    wrong = (rows["before"] != rows["true"]).to_numpy(bool)
    errors = np.unique(rows["picture"].to_numpy(np.int64)[wrong])
    if len(errors) < 2 * FEWEST:
        have = "no errors" if not len(errors) else "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        why = (
            f"Nothing is tested: there are {have}; {FEWEST} are needed to choose changes, and {FEWEST} others to test them."
        )
        return MendingChanges(rows, pd.DataFrame(), errors[:0], (why,), settings)
    first, second = (errors[part] for part in halves(len(errors), seed))
    mends = rows.pivot(index="picture", columns="change", values="mended")
    titles = [change.title for change in changes]
    found = mends.loc[first, titles].sum()
    best = found[found > 0].sort_values(ascending=False, kind="stable").head(CHOSEN).index
    held_out = mends.loc[second, titles].to_numpy(float)
    ps = {}
    for title in best:
        own = held_out[:, titles.index(title)]
        others = (held_out.sum(1) - own) / max(len(titles) - 1, 1)
        ps[title] = as_many_by_chance(own, others, len(titles) - 1)
    corrected = dict(zip(ps, holm(np.array(list(ps.values()))), strict=True)) if ps else {}
    right_rows = rows[~wrong]
    lines = []
    for change in changes:
        title, right = change.title, right_rows[right_rows["change"] == change.title]
        shares = []
        for count, whole in ((int(mends.loc[second, title].sum()), len(second)), (int(right["broken"].sum()), len(right))):
            ends = proportion_confint(count, whole, LEVEL / len(changes), "wilson") if whole else (np.nan, np.nan)
            shares.append((whole, count, count / whole if whole else np.nan, *ends))
        lines.append(
            (title, change.name, *shares[0], *shares[1], title in ps, ps.get(title, np.nan), corrected.get(title, np.nan),
             corrected.get(title, 1.0) < LEVEL)
        )  # fmt: skip
    table = pd.DataFrame(
        lines,
        columns=["change", "name", "errors", "mended", "share mended", "low", "high", "right", "broken", "share broken",
                 "broken low", "broken high", "chosen", "p", "p corrected", "confirmed"],
    )  # fmt: skip
    table = table.sort_values(["mended", "broken"], ascending=[False, True], kind="stable", ignore_index=True)
    return MendingChanges(rows, table, second, (), settings)


def actions(result: MendingChanges, group: str, paths: Sequence[str]) -> list[PlannedAction]:
    """An action for each kind of change that is confirmed. `group` is the group's title, and `paths` are the names of the
    pictures that `mending_changes` was given."""
    planned: list[PlannedAction] = []
    if not len(result.confirmed):
        return planned
    for name, part in result.confirmed.groupby("name", sort=False):
        row = part.iloc[0]
        broken = f" It breaks {row['broken']} of {row['right']} right ones." if row["right"] else ""
        planned.append(
            PlannedAction(
                "augment",
                f"Vary {name} while training: {group}",
                f"'{row['change']}' mends {row['mended']} of {row['errors']} held-out errors ({row['share mended']:.0%}, "
                f"{row['low']:.0%} to {row['high']:.0%} for all {len(result.changes)} changes together), more than the "
                f"other changes do (p {row['p corrected']:.2g}, corrected).",
                f"Measured on the model as it is; not on a model trained so.{broken}",
                tuple(paths[place] for place in result.mended(row["change"])),
                settings={**result.settings, "change": str(row["change"])},
                about=f"{name}, {group}",
            )
        )
    return planned
