"""One tested group on the page: its most central errors, where it lies among all pictures, and its mean map."""

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.charts import groups as charts_groups
from xai_core.app.failures.group_choice import of_tests
from xai_core.app.shared import display, drawer, embedding_maps, session
from xai_core.app.shared.predictions import alt_text
from xai_core.app.shared.tested_groups import SEED
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.failures.error_groups import ErrorGroups
from xai_core.models.explainable import ExplainableModel

PROTOTYPES = 8
DRAWN = 2_000  # points of pictures outside the group, at most


def show(
    rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel, result: ErrorGroups, groups: list[drawer.Group]
) -> None:
    """The group that the visitor chooses, in the address (`group`). `groups` are those of `result`, for the drawer."""
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    choices = {group.title: group for group in of_tests(result, wrong)}
    names = list(choices)
    session.keep_among("group", names, names[0])
    name = st.selectbox(
        "Look at a group", names, format_func=lambda title: markdown.escape(choices[title].words), key="group", width=520,
        **LINK,
    )  # fmt: skip
    place = names.index(name)
    row, members = result.table.iloc[place], result.members[place]
    display.verdict(f"{markdown.escape(name)}. {in_words(row)}")
    central = members[wrong[members]][:PROTOTYPES]
    st.caption(f"The {len(central)} most central of its {int(row['errors']):,} errors")
    with st.container(horizontal=True, gap="small"):
        for one in rows.iloc[central].to_dict("records"):
            with st.container(width=display.THUMBNAIL):
                display.thumbnail(dataset, one["path"], alt_text(one))
                true, predicted = (markdown.escape(first_name(one[column])) for column in ("true", "predicted"))
                st.caption(f"{true}, predicted as {predicted} {one['confidence']:.0%}")
                display.open_button(one["path"], f"open {one['path']}", drawer.open_group, (groups[place], one["path"]))
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=460):
            _map_of_embeddings(rows, dataset, model, members, wrong)
        mean = result.mean_maps[place]
        if mean is not None:
            with st.container(width=200):
                display.picture(display.grid_image(mean), f"Mean Grad-CAM map of the errors of {name}", width=190)
                st.caption("Mean Grad-CAM map of its errors, of those that have a map")


def in_words(row: "pd.Series") -> str:
    """What was found of a group, as a paragraph."""
    if not row["tested pictures"]:
        tested = "No held-out picture is in it, so that it was not tested."
    else:
        tested = (
            f"On the held-out half {row['tested errors']} of {row['tested pictures']} are wrong ({row['error rate']:.0%}, "
            f"{row['low']:.0%} to {row['high']:.0%})"
        )
        if not np.isnan(row["rate expected"]):
            tested += f"; of other pictures of which the model is as sure, {row['rate expected']:.0%} are"
        tested += f", and {row['rate outside']:.0%} of all others."
    verdict = "**Confirmed.**" if row["confirmed"] else "Not confirmed."
    apart = f" What sets it apart: {markdown.escape(row['differs'])}." if row["differs"] else ""
    return f"{verdict} {tested}{apart}"


def _map_of_embeddings(
    rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel, members: np.ndarray, wrong: np.ndarray
) -> None:
    found = embedding_maps.find(rows, dataset, model, "pca")
    if found is None:
        return
    inside = np.isin(np.arange(len(rows)), members)
    kinds = np.where(~inside, charts_groups.OUTSIDE, np.where(wrong, charts_groups.WRONG, charts_groups.RIGHT))
    table = rows[["path", "true", "predicted"]].assign(x=found.points[:, 0], y=found.points[:, 1], picture=kinds)
    others = table[~inside]
    if len(others) > DRAWN:
        others = others.sample(DRAWN, random_state=SEED)
    display.chart(
        charts_groups.place_of_group(pd.concat([others, table[inside]])),
        key="place of the group",
        alt=f"The pictures of the group among all pictures: {int((inside & wrong).sum())} wrong and "
        f"{int((inside & ~wrong).sum())} right ones.",
    )
    st.caption(
        f"All pictures by the model's features: the first two principal components, which hold {found.shares.sum():.0%} of "
        "their variance."
    )
