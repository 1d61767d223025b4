"""The step *Causes*, view *What-ifs*: which changes of the pictures mend a group's errors."""

import pandas as pd
import streamlit as st

from xai_core.app.charts import causes as charts
from xai_core.app.failures import group_choice, plan_entries
from xai_core.app.failures.group_choice import PictureGroup
from xai_core.app.shared import cache, display, drawer, network_outputs
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.page_work import Part, counted, stored
from xai_core.app.shared.predictions import subject
from xai_core.app.shared.tested_groups import SEED
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.failures import group_pictures, tested_changes
from xai_core.failures.group_changes import GROUP_CHANGES, OTHERS, STAYS, group_what_ifs
from xai_core.failures.tested_changes import CHOSEN, MendingChanges
from xai_core.models.explainable import ExplainableModel

VIEW = "What-ifs"  # its name among the views of the page
HOW = (
    "The errors are halved at random (seed {seed}). The {chosen} changes that mend most on the first half are tested on the "
    "other half, of which all figures are. Almost any change mends some errors that lie near the boundary between two "
    "classes, so a change is tested against the others: p is the exact probability that it mends as many errors or more, "
    "were it one of the {changes} changes at random; corrected for those tested (Holm). Intervals are Wilson's, at a level "
    "at which they hold for all {changes} changes together (95%, Bonferroni). Right pictures are of the group, or where it "
    "has none, of the errors' true classes. Changes are made to what the network sees. The background is all but the "
    "{stays:.0%} of the picture where the map of the network's own answer, by {method}, is highest; it is blurred, or "
    "another picture is seen there, of a third class (one of {others}, drawn at random)."
)
MAP_PASSES = 3  # the answer, and a map with its gradients


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """What each change mends and breaks in the chosen group, and the actions that follow from it."""
    group = group_choice.choose(rows, dataset, model)
    if group is None:
        return
    chosen = group_pictures.sample(rows, group.members, SEED)
    key = f"what-ifs of {group.title} {subject(model, dataset)} {SEED}"

    def compute(track: Track) -> None:
        read = group_pictures.read(chosen, dataset, model)
        cache.put(key, (read.paths, group_what_ifs(model, dataset, rows, read, seed=SEED, track=track)))

    seconds = network_outputs.pass_seconds(model, len(chosen) * (MAP_PASSES + len(GROUP_CHANGES)))
    title = f"What-ifs of {counted(len(chosen), 'picture')} of {dataset.title}"
    found = stored(key, [Part("What-ifs", seconds, compute)], title, "Try the changes", private=is_upload(dataset))
    if found is None:
        return
    paths, result = found
    for reason in result.reasons:
        st.info(reason)
    if not result.reasons:
        _result(group, rows.set_index("path", drop=False).loc[list(paths)], result)
    plan_entries.offer(subject(model, dataset), VIEW, tested_changes.actions(result, group.title, paths), group.title)


def _result(group: PictureGroup, rows: pd.DataFrame, result: MendingChanges) -> None:
    table = result.changes
    errors = int(table["errors"].iloc[0])
    display.finding(_sentence(result))
    groups = {}
    for change in table["change"]:
        groups[change, "errors mended"] = drawer.group_of(
            f"{group.title}: mended by {change}", rows.iloc[result.mended(change)]
        )
        broken = result.rows[(result.rows["change"] == change) & result.rows["broken"]]
        groups[change, "right ones broken"] = drawer.group_of(
            f"{group.title}: broken by {change}", rows.iloc[broken["picture"]]
        )
    drawer.offer(groups.values())
    key = drawer.chart_key("what-ifs")

    def open_bar() -> None:
        bar = drawer.picked(key, "change")
        if bar:
            drawer.open_group(groups[bar["change"], bar["what"]])

    display.chart(
        charts.changes(_bars(table)), key=key, on_select=open_bar, selection_mode="change",
        alt=f"Of {counted(errors, 'held-out error')}, the share that each change mends; of right pictures, that it breaks.",
    )  # fmt: skip
    shown = ["change", "mended", "errors", "share mended", "low", "high", "broken", "right", "p corrected", "confirmed"]
    percent = {name: st.column_config.NumberColumn(format="percent") for name in ("share mended", "low", "high")}
    drawer.table(
        table[shown], "changes", lambda row: (groups[table["change"][row], "errors mended"], None),
        openable=[bool(groups[change, "errors mended"].paths) for change in table["change"]],
        columns=percent | {"p corrected": st.column_config.NumberColumn(format="%.2g")},
        alt="What each change mends and breaks on the held-out half",
    )  # fmt: skip
    st.caption("*Open* shows all mended errors of both halves, those of the held-out half first.")
    with st.expander("How changes are chosen and tested"):
        method = METHODS[str(result.settings["method"])].title if "method" in result.settings else "no method"
        st.markdown(HOW.format(seed=SEED, chosen=CHOSEN, changes=len(table), stays=STAYS, method=method, others=OTHERS))
    for reason in result.left_out:
        st.caption(markdown.escape(reason))


def _sentence(result: MendingChanges) -> str:
    """What was found, in one sentence."""
    table, confirmed = result.changes, result.confirmed
    row = (confirmed if len(confirmed) else table).iloc[0]
    counts = (
        f"mends {row['mended']} of {row['errors']} held-out errors ({row['share mended']:.0%}, {row['low']:.0%} to "
        f"{row['high']:.0%})"
    )
    breaks = f" and breaks {row['broken']} of {row['right']} right ones" if row["right"] else ""
    if len(confirmed):
        return f"{row['change'].capitalize()} {counts}{breaks}: more than the other changes do."
    return f"No change mends clearly more errors than the others do. The most, {row['change']}, {counts}{breaks}."


def _bars(table: pd.DataFrame) -> pd.DataFrame:
    """Two rows for each change: what it mends, and what it breaks."""
    parts = []
    for what, part, whole, low, high in (
        ("errors mended", "mended", "errors", "low", "high"),
        ("right ones broken", "broken", "right", "broken low", "broken high"),
    ):
        bars = table[["change", part, whole, f"share {part}", low, high]].set_axis(
            ["change", "count", "whole", "share", "low", "high"], axis=1
        )
        parts.append(bars.assign(what=what, order=range(len(bars))))
    return pd.concat(parts).sort_values(["order", "what"], ignore_index=True).drop(columns="order").dropna(subset="share")
