"""The step *Groups*: which errors belong together, tested on pictures that did not suggest them."""

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.failures import plan_entries
from xai_core.app.shared import drawer, round_form
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import subject
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.tested_groups import tested_groups
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.failures.error_groups import FEWEST
from xai_core.failures.plan import PlannedAction
from xai_core.models.explainable import ExplainableModel

SHOWN = [
    "group", "confirmed", "tested pictures", "tested errors", "error rate", "low", "high", "rate outside", "p corrected",
    "at stake", "pictures", "errors", "differs",
]  # fmt: skip
HOW = (
    "The pictures are halved at random (seed {seed}). {candidates:,} groups were searched on the first half: values and "
    "pairs of values of the attributes, the label and the predicted class, and clusters of the features. The best were "
    "tested on the other half by Fisher's exact test against all pictures outside the group; p is corrected for all tested "
    "groups (Holm), and fewer than {fewest} held-out pictures confirm nothing. Error rate, its 95% interval and the rate "
    "outside are of the held-out half; *at stake* is of all pictures: the points of accuracy that are gained at most if the "
    "whole group became right. A confirmed group has more errors; that does not say that what its pictures share is the "
    "cause."
)


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The tested groups, the pictures of the chosen one, and the actions for those that are confirmed."""
    of = subject(model, dataset)
    result = tested_groups(rows, dataset, model)
    for reason in result.reasons:
        st.info(reason)
    table = result.table
    if not len(table):
        return
    confirmed = len(result.confirmed)
    words = f"**{confirmed} of {counted(len(table), 'tested group')}** {'is' if confirmed == 1 else 'are'} confirmed"
    stake = ""
    if confirmed:
        errors = np.unique(np.concatenate(result.members[:confirmed]))
        wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
        stake = f" Together they hold {int(wrong[errors].sum()):,} of all {int(wrong.sum()):,} errors."
    st.markdown(f"{words} on the held-out half.{stake}")
    offered = [
        drawer.group_of(f"{name}: errors first", rows.iloc[members])
        for name, members in zip(table["group"], result.members, strict=True)
    ]
    drawer.offer(offered)
    percent = {
        name: st.column_config.NumberColumn(format="percent") for name in ("error rate", "low", "high", "rate outside")
    }
    small = {name: st.column_config.NumberColumn(format="%.2g") for name in ("p corrected", "at stake")}
    drawer.table(table[SHOWN], "tested groups", lambda row: (offered[row], None), columns=percent | small)
    st.caption("*Open* shows the group's pictures, errors first. *Differs*, at the right: what they have more often.")
    with st.expander("How groups are found and tested"):
        st.markdown(HOW.format(seed=result.seed, candidates=result.candidates, fewest=FEWEST))
    actions = []
    for place in range(confirmed):
        row = table.iloc[place]
        actions.append(
            PlannedAction(
                "collect",
                f"Collect more pictures like: {row['group']}",
                f"On the held-out half {row['tested errors']} of {row['tested pictures']} are wrong "
                f"({row['error rate']:.0%}, {row['low']:.0%} to {row['high']:.0%}; outside {row['rate outside']:.0%}; "
                f"corrected p {row['p corrected']:.2g}). At stake: at most {row['at stake']:.1f} points of accuracy."
                + (f" More often than outside: {row['differs']}." if row["differs"] else ""),
                "",
                offered[place].paths,
                settings={"seed": result.seed, "groups searched": result.candidates, "groups tested": len(table)},
                about=str(row["group"]),
            )
        )
    if actions:
        plan_entries.offer(of, "Groups", actions)
        names = table["group"].head(confirmed).tolist()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox("A group to review", names, format_func=markdown.escape, key="confirmed group", width=360)
            round_form.offer(RoundPictures(offered[names.index(name)].paths, name), "confirmed group")
