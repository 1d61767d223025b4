"""The step *Labels*: which labels are likely to be wrong, what else a picture may be, near duplicates, and outliers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.failures import plan_entries
from xai_core.app.shared import cache, display, drawer, page_links, round_form, session
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.page_work import Part, counted, stored
from xai_core.app.shared.predictions import alt_text, subject
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.tested_groups import SEED
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset, labels_csv
from xai_core.data.label_matching import first_name
from xai_core.failures.label_triage import BOTH, Triage, triage
from xai_core.failures.relabelling import relabel_action, relabelled
from xai_core.models.explainable import ExplainableModel

A_SECOND = 2_000  # pictures that are judged in a second, about, up to MANY
MANY = 10_000  # from here on the time grows with the square, as each picture is compared with each
ON_A_PAGE = 12  # tiles
MOST_PAIRS = 3  # of classes, named in a sentence
_TICKED = "ticked labels"  # in the session: for each subject, the pictures whose suggestions are taken
HOW = (
    "A linear probe on the model's frozen features is fitted on four fifths of the pictures and judges the last fifth, in "
    "turn, so that no picture is judged by a probe that has seen its label (seed {seed}). A label is flagged where the "
    "probe is confident of another class (confident learning, Northcutt et al. 2021) and more of the ten nearest pictures "
    "have that label than this one. *Wrong* is the probability that the label is wrong; *self confidence* the probe's "
    "probability of the label; *votes* the share of the nearest pictures that have it. A picture that is hard for these "
    "features looks like one whose label is wrong: a flag is a reason to look."
)


class _Listed(NamedTuple):
    """What the parts of the step are about: the judgement, and a row for each judged picture, the flagged ones first, with
    the columns of the judgement and of the predictions."""

    judgement: Triage
    rows: pd.DataFrame
    every: pd.DataFrame
    dataset: Dataset
    of: str


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The judgement in a sentence, its parts, and the action to correct the flagged labels."""
    of = subject(model, dataset)
    judgement = _judged(rows, dataset, model)
    if judgement is None:
        return
    for reason in judgement.reasons:
        st.info(markdown.escape(reason))
    if not judgement.classes:
        return
    ranked = judgement.ranked()
    predictions = rows[["path", "predicted", "confidence"]].iloc[ranked["picture"].to_numpy()]
    judged = pd.concat([ranked.reset_index(drop=True), predictions.reset_index(drop=True)], axis=1)
    listed = _Listed(judgement, judged.assign(true=judged["label"]), rows, dataset, of)
    display.verdict(_sentence(judgement, len(judged)))
    st.caption(
        f"Also: {counted(int(judged['ambiguous'].sum()), 'ambiguous picture')}, "
        f"{counted(len(judgement.duplicates), 'pair')} of near duplicates with different labels, "
        f"{counted(int(judged['outlier'].sum()), 'outlier')}."
    )
    with st.expander("How labels are judged"):
        st.markdown(HOW.format(seed=SEED))
    part = st.segmented_control(
        "Part", list(PARTS), default="Flagged", required=True, key="labels", label_visibility="collapsed", **LINK
    )
    PARTS[part](listed)
    action = relabel_action(rows, judgement, SEED)
    if action is not None:
        plan_entries.offer(of, "Labels", [action])


def _judged(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> Triage | None:
    """The judgement of all labels, made once for these predictions; None while it is not made."""
    key = f"label triage {subject(model, dataset)} {SEED}"

    def compute(track: Track) -> None:
        cache.put(key, triage(np.stack(rows["embedding"].to_list()), rows["true"].to_list(), seed=SEED, track=track))

    seconds = len(rows) / A_SECOND * max(1.0, len(rows) / MANY)
    part = Part("Judging labels", seconds, compute)
    session.begin_work(page_links.BACK in st.query_params)  # a link that asks why leads to the answer, not to a button
    judgement: Triage | None = stored(
        key, [part], f"Labels of {dataset.title}", "Judge the labels", private=is_upload(dataset)
    )
    return judgement


def _sentence(judgement: Triage, count: int) -> str:
    """How many labels are flagged, and how many of the flags and of all labels are expected to be wrong."""
    flags, right = len(judgement.flags), judgement.expected_wrong_flags
    of_all = f"Of all {count:,} judged labels, about {judgement.expected_wrong_labels:.0f} are expected to be wrong."
    if not flags:
        return f"**None of {count:,} labels is flagged.** {of_all}"
    return (
        f"**{flags:,} of {count:,} labels {'is' if flags == 1 else 'are'} flagged**: both a probe and the nearest pictures "
        f"contradict {'it' if flags == 1 else 'them'}. About **{flags - right:.0f}** of the flagged labels are expected to "
        f"be wrong, and **{right:.0f}** to be right. {of_all}"
    )


def _flagged(listed: _Listed) -> None:
    """The flagged pictures ranked, their gallery with a tick for each suggestion, and the table with corrected labels."""
    flags = listed.rows[listed.rows["flagged"]].reset_index(drop=True)
    if not len(flags):
        st.info("No label is flagged: none is contradicted by both the probe and the nearest pictures.")
        return
    group = drawer.group_of("Flagged labels, the most likely wrong first", flags)
    names = ("path", "label", "suggested", "predicted")
    numbers = {"score": "wrong", "self confidence": "self confidence", "votes": "votes"}
    _table(flags, group, {name: name for name in names} | numbers)
    ticked = _ticked(listed.of)

    def tile(row: dict[str, Any]) -> None:
        _words(row, ("label", "suggested", "predicted"))
        st.caption(f"label wrong: {row['score']:.0%}")
        st.checkbox(
            f"Take {markdown.escape(first_name(row['suggested']))}", row["path"] in ticked,
            key=f"tick {listed.of} {row['path']}", on_change=_tick, args=(listed.of, row["path"]),
        )  # fmt: skip

    _gallery(flags, group, listed.dataset, tile)
    _send(group)
    _corrected(listed, flags, ticked)


def _corrected(listed: _Listed, flags: pd.DataFrame, ticked: set[str]) -> None:
    """The downloads of the dataset's labels with all suggestions, and with the ticked ones."""
    suggested = dict(zip(flags["path"], flags["suggested"], strict=True))
    chosen = {path: name for path, name in suggested.items() if path in ticked}

    def content(corrections: dict[str, str]) -> Callable[[], bytes]:
        return lambda: labels_csv(relabelled(listed.dataset.samples, listed.every, corrections))

    files: dict[str, display.File] = {
        f"Corrected labels, all {len(suggested):,} (CSV)": ("relabelled.csv", "text/csv", content(suggested))
    }
    if chosen:
        files[f"Corrected labels, the {len(chosen):,} ticked (CSV)"] = ("relabelled_ticked.csv", "text/csv", content(chosen))
    display.downloads(files)
    st.caption(
        f"A table of the path and the label of all {len(listed.dataset.samples):,} pictures. It opens as a dataset where it "
        "lies beside the pictures, and `classify` reads it. "
        + ("" if chosen else "Tick pictures above for a table with their suggestions alone.")
    )


def _ambiguous(listed: _Listed) -> None:
    """The pictures of which two labels may hold, by pairs of labels."""
    some = listed.rows[listed.rows["ambiguous"]]
    if not len(some):
        st.info(f"No picture is ambiguous: of none have the label and another class a probability of {BOTH:.0%} or more.")
        return
    pairs = [" or ".join(sorted(map(first_name, pair))) for pair in zip(some["label"], some["other"], strict=True)]
    sizes = pd.Series(pairs).value_counts()
    sizes = sizes.iloc[np.lexsort((sizes.index, -sizes.to_numpy()))]
    some = some.assign(pair=pd.Categorical(pairs, sizes.index)).sort_values("pair", kind="stable", ignore_index=True)
    most = ", ".join(f"{markdown.escape(str(pair))} ({count:,})" for pair, count in sizes.head(MOST_PAIRS).items())
    display.verdict(
        f"**{len(some):,} of {counted(len(listed.rows), 'picture')}**: both labels may hold, because the label and another "
        f"class have a probability of {BOTH:.0%} or more each. Most frequent: {most}."
    )
    groups = [drawer.group_of(f"Both may hold: {pair}", some[some["pair"] == pair]) for pair in sizes.index]
    every = drawer.group_of("Both labels may hold", some)
    drawer.offer(groups)
    drawer.table(
        pd.DataFrame({"both may hold": sizes.index, "pictures": sizes.to_numpy()}), "ambiguous pairs",
        lambda row: (groups[row], None), alt="Pairs of labels that may both hold",
    )  # fmt: skip

    def tile(row: dict[str, Any]) -> None:
        _words(row, ("label", "other", "predicted"), {"other": "may also be"})

    _gallery(some, every, listed.dataset, tile)
    _send(every)


def _duplicates(listed: _Listed) -> None:
    """The pairs of near duplicates with different labels."""
    pairs = listed.judgement.duplicates
    if not len(pairs):
        st.info("There are no near duplicates with different labels.")
        return
    display.verdict(
        f"**{counted(len(pairs), 'pair')}** of pictures that are nearly the same for the model's features, with different "
        "labels: at least one of the two labels is wrong, or both hold."
    )
    paths = listed.every["path"].to_numpy(object)
    groups = [
        drawer.Group(f"Near duplicates: {paths[first]} and {paths[second]}", (paths[first], paths[second]))
        for first, second in zip(pairs["first"], pairs["second"], strict=True)
    ]
    drawer.offer(groups)
    shown = pd.DataFrame(
        {"first": paths[pairs["first"]], "first label": pairs["first label"], "second": paths[pairs["second"]],
         "second label": pairs["second label"], "cosine": pairs["cosine"]}
    )  # fmt: skip
    drawer.table(
        shown, "duplicates", lambda row: (groups[row], None),
        columns={"cosine": st.column_config.NumberColumn(format="%.3f")}, alt="Near duplicates with different labels",
    )  # fmt: skip
    every = tuple(dict.fromkeys(path for group in groups for path in group.paths))
    rows = listed.every.set_index("path", drop=False).loc[list(every)].assign(label=lambda table: table["true"])

    def tile(row: dict[str, Any]) -> None:
        _words(row, ("label", "predicted"))

    group = drawer.Group("Near duplicates with different labels", every)
    _gallery(rows, group, listed.dataset, tile)
    _send(group)


def _outliers(listed: _Listed) -> None:
    """The pictures that are far from all others."""
    far = listed.rows[listed.rows["outlier"]].reset_index(drop=True)
    if not len(far):
        st.info("There are no outliers: no picture is far from all others.")
        return
    display.verdict(
        f"**{len(far):,} of {counted(len(listed.rows), 'picture')}** {'is' if len(far) == 1 else 'are'} far from all "
        "others, by the distance from the ten nearest: of another kind, damaged, or rare, so that more like it are needed."
    )
    group = drawer.group_of("Outliers", far)
    columns = {"path": "path", "label": "label", "predicted": "predicted", "confidence": "confidence"}
    _table(far, group, columns)

    def tile(row: dict[str, Any]) -> None:
        _words(row, ("label", "predicted"))

    _gallery(far, group, listed.dataset, tile)
    _send(group)


PARTS: dict[str, Callable[[_Listed], None]] = {
    "Flagged": _flagged, "Ambiguous": _ambiguous, "Near duplicates": _duplicates, "Outliers": _outliers,
}  # fmt: skip


def _table(rows: pd.DataFrame, group: drawer.Group, columns: dict[str, str]) -> None:
    """The pictures of a part, each opened by its row; `columns` are those shown, with their headings."""
    drawer.offer([group])
    percent = {
        columns[name]: st.column_config.NumberColumn(format="percent")
        for name in ("score", "self confidence", "votes", "confidence")
        if name in columns
    }
    drawer.table(
        rows[list(columns)].rename(columns=columns), group.title, lambda row: (group, group.paths[row]), columns=percent,
        alt=group.title,
    )  # fmt: skip


def _gallery(rows: pd.DataFrame, group: drawer.Group, dataset: Dataset, tile: Callable[[dict[str, Any]], None]) -> None:
    """The pictures of a part page by page; `tile(row)` writes below each."""
    drawer.offer([group])
    pages = -(-len(rows) // ON_A_PAGE)
    session.keep_among("labels page", range(1, pages + 1), 1)
    page = st.pagination(pages, key="labels page", **LINK) if pages > 1 else 1
    with st.container(horizontal=True, gap="small"):
        for row in rows.iloc[(page - 1) * ON_A_PAGE : page * ON_A_PAGE].to_dict("records"):
            with st.container(border=True, width=display.THUMBNAIL + 34):
                display.thumbnail(dataset, row["path"], alt_text(row))
                tile({str(name): value for name, value in row.items()})
                display.open_button(row["path"], f"open {row['path']}", drawer.open_group, (group, row["path"]))


def _words(row: dict[str, Any], columns: Sequence[str], titles: dict[str, str] | None = None) -> None:
    """Some classes of a picture, each on a line, and how sure the model is."""
    lines = [f"{(titles or {}).get(name, name)}: {markdown.escape(first_name(row[name]))}" for name in columns]
    st.markdown("  \n".join(lines) + f" {row['confidence']:.0%}")


def _send(group: drawer.Group) -> None:
    round_form.offer(RoundPictures(group.paths, group.title), "labels")


def _ticked(of: str) -> set[str]:
    """The pictures whose suggestions are taken, in this session."""
    every: dict[str, set[str]] = st.session_state.setdefault(_TICKED, {})
    return every.setdefault(of, set())


def _tick(of: str, path: str) -> None:
    _ticked(of).symmetric_difference_update({path})
