"""The step *Groups*: which errors belong together, tested on pictures that did not suggest them."""

import numpy as np
import pandas as pd
import streamlit as st

from xai_core.app.failures import group_detail, plan_entries
from xai_core.app.shared import display, drawer, round_form
from xai_core.app.shared import tested_groups as searched
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import subject
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.tested_groups import tested_groups
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.failures.candidate_groups import FEWEST
from xai_core.failures.error_groups import actions
from xai_core.failures.group_tests import EFFECT, STRATA
from xai_core.models.explainable import ExplainableModel

SHOWN = [
    "group", "confirmed", "tested pictures", "tested errors", "error rate", "low", "high", "rate expected", "rate outside",
    "p corrected", "at stake", "pictures", "errors", "differs",
]  # fmt: skip
HOW = (
    "The pictures are halved at random (seed {seed}). {candidates:,} groups were searched on the first half: values and "
    "pairs of values of the attributes, the label and the predicted class, and clusters of the features: of all "
    "pictures, of what is predicted as one class, and of its errors. Those whose error rate has the highest lower limit "
    "are taken, each only if a quarter of its errors, or more, are in none of those before. They were tested on the "
    "other half, whose pictures are cut into {ranges} ranges of the confidence: has the group more errors than other "
    "pictures of the same range, by the exact test of Cochran, Mantel and Haenszel? p is corrected for all tested groups "
    "(Holm). *Rate expected* is the error rate of pictures outside with as much confidence. *Confirmed*: p is below 5%, "
    "there are {fewest} held-out pictures or more, and the lower limit of the error rate is {effect:.0%} or more above "
    "the expected rate. Error rate, its 95% interval and the rate outside are of the held-out half; *at stake* is of all "
    "pictures: the points of accuracy that are gained at most if the whole group became right. Rates of clusters of maps "
    "are of the pictures with a map: errors, and as many right ones. A confirmed group has more errors; that does not say "
    "that what its pictures share is the cause."
)

AGAINST = "Each is compared with other pictures of which the model is as sure."


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The tested groups, the pictures of the chosen one, and the actions for those that are confirmed."""
    of = subject(model, dataset)
    _search_by_more(rows, dataset, model)
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
    display.verdict(f"{words} on the held-out half.{stake} {AGAINST}")
    offered = [
        drawer.group_of(f"{name}: errors first", rows.iloc[members])
        for name, members in zip(table["group"], result.members, strict=True)
    ]
    drawer.offer(offered)
    percent = {
        name: st.column_config.NumberColumn(format="percent")
        for name in ("error rate", "low", "high", "rate expected", "rate outside")
    }
    small = {name: st.column_config.NumberColumn(format="%.2g") for name in ("p corrected", "at stake")}
    drawer.table(
        table[SHOWN],
        "tested groups",
        lambda row: (offered[row], None),
        columns=percent | small,
        alt="Tested groups of errors",
    )
    st.caption("*Open* shows the group's pictures, errors first. *Differs*, at the right: what they have more often.")
    with st.expander("How groups are found and tested"):
        st.markdown(HOW.format(seed=result.seed, candidates=result.candidates, fewest=FEWEST, effect=EFFECT, ranges=STRATA))
    group_detail.show(rows, dataset, model, result, offered)
    if confirmed:
        plan_entries.offer(of, "Groups", actions(result, rows["path"].to_list()))
        names = table["group"].head(confirmed).tolist()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox("A group to review", names, format_func=markdown.escape, key="confirmed group", width=360)
            round_form.offer(RoundPictures(offered[names.index(name)].paths, name), "confirmed group")


def _search_by_more(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """Has what groups can also be searched by measured, where the visitor wants it: statistics of the pictures, and maps."""
    wrong = rows["true"] != rows["predicted"]
    if not wrong.any() or wrong.all():
        return
    statistics, maps = searched.has_statistics(dataset), searched.has_maps(dataset, model)
    fits = searched.fits_maps(model)
    said = ["the dataset's metadata", "the model's features", *(["picture statistics"] if statistics else []),
            *(["maps"] if maps else [])]  # fmt: skip
    with st.expander(f"Searched by {', '.join(said[:-1])} and {said[-1]}", icon=":material/manage_search:"):
        st.caption(MORE)
        if dataset.truth:
            names = ", ".join(sorted(dataset.truth))
            st.caption(f"Not searched, because nobody would know them of photographs: {names}.")
        done = searched.measure_statistics(dataset)
        made = fits and searched.make_maps(rows, dataset, model)
        if done and made:
            st.caption("Everything is searched.")
        if not fits:
            st.caption("Grad-CAM does not fit this model, so that there are no groups by maps.")
    if (done and not statistics) or (made and not maps):
        st.rerun()


MORE = (
    "Statistics of the pictures: brightness, contrast, sharpness, colourfulness, hue, and, where it is known, size and "
    "place of the object. Maps: Grad-CAM of the predicted class, for the errors and as many right pictures, grouped by "
    "where they lie. They are kept until the server restarts, and searched in all steps."
)
