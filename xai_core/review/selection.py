"""Which pictures of a model's predictions make a round: the selections that the page, the command line and Python share.

Rows are predictions as `xai_core.analysis.predict` writes them; those without a true class are neither right nor wrong and
are in no selection but `chosen`. Every selection says in one sentence where its pictures come from and of how many they are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from xai_core.core.errors import BadRequest


class Selection(NamedTuple):
    """Rows of predictions, and the sentence that says which ones they are (`RoundSettings.source`)."""

    rows: pd.DataFrame
    source: str


def errors(rows: pd.DataFrame) -> Selection:
    """All errors, the most confident first."""
    wrong = _wrong(rows)
    return Selection(_by_confidence(wrong), f"All {len(wrong):,} errors among {_judged(rows)}.")


def most_confident_errors(rows: pd.DataFrame, n: int) -> Selection:
    """The `n` errors with the highest confidence, the most confident first; all of them where there are fewer."""
    wrong = _wrong(rows)
    first = _by_confidence(wrong).head(_count(n))
    return Selection(first, f"The {len(first):,} most confident of the {_errors(len(wrong))} among {_judged(rows)}.")


def cell(rows: pd.DataFrame, true: str, predicted: str) -> Selection:
    """One cell of the confusion matrix: what is `true` and was taken for `predicted`, the most confident first."""
    of_class = rows[rows["true"] == true]
    inside = of_class[of_class["predicted"] == predicted]
    return Selection(
        _by_confidence(inside),
        f"The {len(inside):,} of {_pictures(len(of_class))} of the class '{true}' that are predicted as '{predicted}'.",
    )


def controls(rows: pd.DataFrame, n: int, seed: int) -> Selection:
    """`n` rightly predicted pictures, drawn by chance: what reviewers say of them shows what they say without an error."""
    right = _with_true_class(rows)
    right = right[right["true"] == right["predicted"]]
    return Selection(
        _drawn(right, n, seed),
        f"As a control, {min(_count(n), len(right)):,} of the {len(right):,} rightly predicted pictures, drawn by chance "
        f"(seed {seed}).",
    )


def sample(rows: pd.DataFrame, n: int, seed: int) -> Selection:
    """`n` pictures with a true class, right and wrong ones, drawn by chance."""
    judged = _with_true_class(rows)
    return Selection(
        _drawn(judged, n, seed), f"{min(_count(n), len(judged)):,} of {_judged(rows)}, drawn by chance (seed {seed})."
    )


def chosen(rows: pd.DataFrame, paths: Sequence[str], what: str) -> Selection:
    """The pictures of these paths in their order, such as those that a filter lists; `what` says which ones they are."""
    by_path = rows.drop_duplicates("path").set_index("path", drop=False)
    missing = [path for path in paths if path not in by_path.index]
    if missing:
        raise BadRequest(f"There are no predictions of {len(missing):,} of the pictures, such as {missing[0][:200]}.")
    return Selection(
        by_path.loc[list(paths)].reset_index(drop=True), f"{_pictures(len(paths))} of {len(by_path):,}: {what}."
    )


def combined(
    rows: pd.DataFrame,
    *,
    all_errors: bool = False,
    most_confident: int = 0,
    of_cell: tuple[str, str] | None = None,
    drawn: int = 0,
    control: int = 0,
    seed: int = 0,
) -> Selection:
    """The parts that are asked for as one selection; all errors where only controls are, or nothing."""
    parts = [errors(rows)] if all_errors or not (most_confident or of_cell or drawn) else []
    parts += [most_confident_errors(rows, most_confident)] if most_confident else []
    parts += [cell(rows, *of_cell)] if of_cell else []
    parts += [sample(rows, drawn, seed)] if drawn else []
    parts += [controls(rows, control, seed)] if control else []
    return together(parts, seed)


def together(selections: Sequence[Selection], seed: int) -> Selection:
    """Several selections as one, each picture once.

    They are mixed by the seed where there are several: the place of a picture would tell which are the controls.
    """
    rows = pd.concat([selection.rows for selection in selections]).drop_duplicates("path")
    if len(selections) > 1:
        rows = rows.sample(frac=1, random_state=seed)
    return Selection(rows.reset_index(drop=True), " ".join(selection.source for selection in selections))


def _with_true_class(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["true"].notna() & (rows["true"] != "")]


def _wrong(rows: pd.DataFrame) -> pd.DataFrame:
    judged = _with_true_class(rows)
    return judged[judged["true"] != judged["predicted"]]


def _by_confidence(rows: pd.DataFrame) -> pd.DataFrame:
    """The most confident first; the path decides between equal ones, whatever order the rows came in."""
    return rows.sort_values(["confidence", "path"], ascending=[False, True]).reset_index(drop=True)


def _drawn(rows: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """By chance, the same ones for the same seed whatever order the rows came in."""
    return rows.sort_values("path").sample(min(_count(n), len(rows)), random_state=seed).reset_index(drop=True)


def _count(n: int) -> int:
    if n < 1:
        raise BadRequest(f"A selection has at least one picture, not {n:,}.")
    return n


def _errors(n: int) -> str:
    return "1 error" if n == 1 else f"{n:,} errors"


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n:,} pictures"


def _judged(rows: pd.DataFrame) -> str:
    judged, every = len(_with_true_class(rows)), len(rows)
    return f"{_pictures(judged)} with a true class" + (f" (of {every:,})" if judged < every else "")
