"""Error rates of groups of pictures: of each value of an attribute, or of each range of a number."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xai_core.analysis.confusion import calibration

FEW = 12  # distinct numbers up to which each is a group of its own
RANGES = 4  # into which other numbers are cut, of as many pictures each
UNKNOWN = "(unknown)"


def has_numbers(column: "pd.Series[Any]") -> bool:
    """Whether a column holds numbers; truth values are none."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def has_many_numbers(column: "pd.Series[Any]") -> bool:
    """Whether a column holds more than FEW distinct numbers."""
    return has_numbers(column) and column.nunique() > FEW


def values_of(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The group that each picture belongs to, as ordered categories: a text, a truth value, a number, or a range of numbers.

    More than FEW distinct numbers are cut at their quartiles; ranges hold their upper bound. Pictures of which nothing is
    known are in the group UNKNOWN, the last one.
    """
    filled = (column.notna() & (column != "")).to_numpy()
    if has_many_numbers(column):
        edges = np.unique(np.quantile(column[filled], np.linspace(0, 1, RANGES + 1)))
        every = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
        places = np.clip(
            np.searchsorted(edges, column.fillna(edges[0])) - 1, 0, len(every) - 1
        )  # a bound is of the range below
    else:
        distinct = sorted(column[filled].unique())
        every = [in_words(value) for value in distinct]
        places = pd.Index(distinct, dtype=None if distinct else object).get_indexer(column)
    names = [*dict.fromkeys(every)]  # two values may be one in words
    order = [*names, *([] if filled.all() else [UNKNOWN])]
    codes: NDArray[np.int64] = np.array([*map(names.index, every), len(names)], np.int64)[
        np.where(filled, places, len(every))
    ]
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(order, dtype="str"), ordered=True), column.index)


def in_words(value: Any) -> str:
    """One value of an attribute as a text."""
    if pd.isna(value) or value == "":
        return UNKNOWN
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def error_rates(rows: pd.DataFrame, values: "pd.Series[Any]") -> pd.DataFrame:
    """For each group in `values` (aligned with `rows`, which have the columns true and predicted): its pictures, its errors,
    the share of its pictures that are wrong, and the Wilson interval (95%) of that share.

    First comes the group whose interval begins highest: few pictures that are all wrong say less than many that mostly are.
    Groups without a picture are left out.
    """
    from statsmodels.stats.proportion import proportion_confint

    wrong, groups = (rows["true"] != rows["predicted"]).to_numpy(), pd.Categorical(values)
    known = groups.codes >= 0
    of = groups.codes[known]
    size, errors = (np.bincount(of, some, len(groups.categories)).astype(int) for some in (None, wrong[known]))
    present = pd.unique(of)  # in the order in which they occur
    size, errors = size[present], errors[present]
    low, high = proportion_confint(errors, size, alpha=0.05, method="wilson")
    table = pd.DataFrame(
        {
            "value": groups.categories[present].astype(str),
            "pictures": size,
            "errors": errors,
            "error rate": errors / size,
            "low": np.asarray(low),
            "high": np.asarray(high),
        }
    )
    return table.sort_values(["low", "error rate"], ascending=[False, False], kind="stable", ignore_index=True)


def calibrations(rows: pd.DataFrame, values: "pd.Series[Any]") -> pd.DataFrame:
    """For each group in `values` (aligned with `rows`, which have the columns true, predicted and confidence): its pictures,
    the share that is right (`accuracy`) with its Wilson interval (95%), the mean `confidence`, and the expected calibration
    error `ECE` in ten bins. First comes the group whose mean confidence is farthest above its accuracy."""
    table = error_rates(rows, values)
    members = {value: rows[(values.to_numpy(object) == value)] for value in table["value"]}
    found = pd.DataFrame(
        {
            "value": table["value"],
            "pictures": table["pictures"],
            "accuracy": 1 - table["error rate"],
            "low": 1 - table["high"],
            "high": 1 - table["low"],
            "confidence": [float(members[value]["confidence"].mean()) for value in table["value"]],
            "ECE": [calibration(members[value])[1] for value in table["value"]],
        }
    )
    order = (found["confidence"] - found["accuracy"]).sort_values(ascending=False, kind="stable").index
    return found.loc[order].reset_index(drop=True)


def error_rates_of_two(first: pd.DataFrame, second: pd.DataFrame, values: "pd.Series[Any]") -> pd.DataFrame:
    """The error rates of two models on the same pictures, for each group in `values`, which are aligned with `first`: its
    `pictures`, the shares that the `first` and the `second` answers wrongly, how many errors of the first the second has
    `fixed`, and how many `new errors` it makes. Each is judged by the true class of its own table; `second` has the pictures
    of `first` in any order. First comes the group in which the second is worse by most."""
    both = first[["path", "true", "predicted"]].merge(second[["path", "true", "predicted"]], on="path", suffixes=("", "_2"))
    wrong, wrong_too = both["true"] != both["predicted"], both["true_2"] != both["predicted_2"]
    columns = {"first": wrong, "second": wrong_too, "fixed": wrong & ~wrong_too, "new errors": ~wrong & wrong_too}
    groups_of = values.astype(str).set_axis(first["path"]).loc[both["path"]].to_numpy()
    table = pd.DataFrame(columns).groupby(groups_of, sort=True)
    found = table.sum().assign(pictures=table.size())
    for name in ("first", "second"):
        found[name] = found[name] / found["pictures"]
    found = found.rename_axis("value").reset_index()[["value", "pictures", *columns]]
    order = (found["second"] - found["first"]).sort_values(ascending=False, kind="stable").index
    return found.loc[order].reset_index(drop=True)


class Typical(NamedTuple):
    """The value that is more frequent among some pictures than among all of them: `inside` of the `size` pictures have it,
    and `everywhere` of `total`."""

    value: str
    inside: int
    size: int
    everywhere: int
    total: int


def typical(values: "pd.Series[Any]", everywhere: "pd.Series[Any]") -> Typical | None:
    """The value whose share of the pictures in `values` lies farthest above its share of those in `everywhere`; None where
    no value is more frequent than there. A description, not a test: with few pictures any value may be."""
    if not len(values):
        return None
    counts, every = values.astype(str).value_counts(sort=False), everywhere.astype(str).value_counts(sort=False)
    excess = (counts / len(values) - every.reindex(counts.index, fill_value=0) / len(everywhere)).sort_index()
    if not excess.max() > 1e-12:
        return None
    value = str(excess.idxmax())
    return Typical(value, int(counts[value]), len(values), int(every.get(value, 0)), len(everywhere))
