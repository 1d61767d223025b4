"""The group of pictures that a step of the page Failure analysis is about."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import pair_words
from xai_core.app.shared.tested_groups import tested_groups
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.failures.error_groups import ErrorGroups
from xai_core.models.explainable import ExplainableModel

MOST_CONFUSIONS = 10  # offered, the most frequent ones


class PictureGroup(NamedTuple):
    """Pictures that a step is about.

    title      in words
    members    their places in the table of predictions, errors first
    errors     how many of them are predicted wrongly
    confirmed  whether a test on held-out pictures says that the group has more errors than the others
    """

    title: str
    members: NDArray[np.int64]
    errors: int
    confirmed: bool

    @property
    def words(self) -> str:
        """The title with the figures. All steps share the choice, so all write a group in these words."""
        tested = ", confirmed" if self.confirmed else ""
        return f"{self.title} ({counted(self.errors, 'error')} of {counted(len(self.members), 'picture')}{tested})"


def offered(rows: pd.DataFrame, tested: ErrorGroups) -> list[PictureGroup]:
    """The confirmed groups, all errors, the most frequent confusions, and the groups that were tested but not confirmed."""
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    found = of_tests(tested, wrong)
    places = np.flatnonzero(wrong)
    every = [PictureGroup("all errors", places, len(places), False)] if len(places) else []
    errors = rows.iloc[places]
    words = pd.Series([pair_words(*pair) for pair in zip(errors["true"], errors["predicted"], strict=True)], dtype=object)
    confusions = [
        PictureGroup(str(title), places[(words == title).to_numpy()], int(count), False)
        for title, count in words.value_counts().head(MOST_CONFUSIONS).items()
    ]
    return [*(g for g in found if g.confirmed), *every, *confusions, *(g for g in found if not g.confirmed)]


def of_tests(tested: ErrorGroups, wrong: NDArray[np.bool_]) -> list[PictureGroup]:
    """The tested groups, in their order; `wrong` (n,) says of each picture whether it is an error."""
    return [
        PictureGroup(str(title), members, int(wrong[members].sum()), bool(confirmed))
        for title, members, confirmed in zip(tested.table["group"], tested.members, tested.table["confirmed"], strict=True)
    ]


def choose(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> PictureGroup | None:
    """The group that the visitor chooses, in the address (`group`); None, with a sentence, where there are no errors."""
    choices = {group.title: group for group in offered(rows, tested_groups(rows, dataset, model))}
    if not choices:
        st.info("All pictures are predicted correctly: there are no errors to explain.")
        return None
    title = st.selectbox(
        "Group of pictures", list(choices), format_func=lambda title: markdown.escape(choices[title].words),
        key="group", width=520, **LINK,
    )  # fmt: skip
    return choices[title]
