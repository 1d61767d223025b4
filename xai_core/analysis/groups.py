"""Error rates of groups of pictures: of each value of an attribute, or of each range of a number."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

FEW = 12  # distinct numbers up to which each is a group of its own
RANGES = 4  # into which other numbers are cut, of as many pictures each
UNKNOWN = "(unknown)"


def values_of(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The group that each picture belongs to, as ordered categories: a text, a truth value, a number, or a range of numbers.

    More than FEW distinct numbers are cut at their quartiles; ranges hold their upper bound. Pictures of which nothing is
    known are in the group UNKNOWN, the last one.
    """
    filled = column.notna() & (column != "")
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if is_number and column.nunique() > FEW:
        edges = np.unique(np.quantile(column[filled], np.linspace(0, 1, RANGES + 1)))
        names = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
        places = np.clip(
            np.searchsorted(edges, column.fillna(edges[0])) - 1, 0, len(names) - 1
        )  # a bound is of the range below
        texts = pd.Series([names[place] for place in places], column.index)
    else:
        distinct = sorted(column[filled].unique())
        names = [_text(value) for value in distinct]
        texts = column.map(_text)
    order = [*dict.fromkeys(names), *([] if filled.all() else [UNKNOWN])]
    return pd.Series(pd.Categorical(texts.where(filled, UNKNOWN), order, ordered=True), column.index)


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def error_rates(rows: pd.DataFrame, values: "pd.Series[Any]") -> pd.DataFrame:
    """For each group in `values` (aligned with `rows`, which have the columns true and predicted): its pictures, its errors,
    the share of its pictures that are wrong, and the Wilson interval (95%) of that share.

    First comes the group whose interval begins highest: few pictures that are all wrong say less than many that mostly are.
    Groups without a picture are left out.
    """
    wrong = rows["true"] != rows["predicted"]
    counts = wrong.groupby(values.to_numpy(), observed=True, sort=False).agg(["size", "sum"])
    low, high = proportion_confint(counts["sum"], counts["size"], alpha=0.05, method="wilson")
    table = pd.DataFrame(
        {
            "value": counts.index.astype(str),
            "pictures": counts["size"].to_numpy(),
            "errors": counts["sum"].to_numpy(),
            "error rate": (counts["sum"] / counts["size"]).to_numpy(),
            "low": np.asarray(low),
            "high": np.asarray(high),
        }
    )
    return table.sort_values(["low", "error rate"], ascending=[False, False], kind="stable", ignore_index=True)
