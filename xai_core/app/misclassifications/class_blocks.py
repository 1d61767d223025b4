"""The confusion matrix of many classes: blocks of similar classes, smaller ones inside a block, and a search."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from xai_core.analysis import class_order
from xai_core.analysis import confusion as confusions
from xai_core.analysis.class_order import Order
from xai_core.analysis.confusion import Confusion, PairCounts
from xai_core.app.charts.confusion import MOST_ROWS
from xai_core.app.shared import drawer, predictions, session
from xai_core.app.shared.predictions import FilteredRows
from xai_core.app.shared.widgets import LINK
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.models.explainable import ExplainableModel

ALL = "(all classes)"
FIND = "find class"  # the key of the search


@st.cache_resource(max_entries=16, show_spinner="Ordering the classes")
def _order(subject: str, _rows: FilteredRows) -> Order:
    return class_order.similar_order(confusions.pair_counts(_rows.every))


def choose(pairs: PairCounts, rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> Confusion:
    """The controls that zoom to a block, and the matrix of its blocks or classes; what it stands for is said above it."""
    order = _order(predictions.subject(model, dataset), rows)
    names = pairs.classes
    searched = sorted(names[place] for place in order)
    session.keep_among(FIND, ["", *searched], "")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Find a class", ["", *searched], key=FIND, width=280, format_func=lambda name: first_name(name) or "(none)",
            on_change=_find, args=(order, names), help=SEARCH,
        )  # fmt: skip
        shown, level = order, 1
        parts = class_order.blocks(shown, MOST_ROWS)
        while len(shown) > MOST_ROWS:
            titles = [_title(number, part, names) for number, part in enumerate(parts, 1)]
            session.keep_among(_key(level), [ALL, *titles], ALL)
            chosen = st.selectbox(f"Block, level {level}", [ALL, *titles], key=_key(level), width=280, **LINK)
            if chosen == ALL:
                break
            shown, level = parts[titles.index(chosen)], level + 1
            parts = class_order.blocks(shown, MOST_ROWS)
    groups: NDArray[np.int64] = np.full(len(names), -1)
    for number, part in enumerate(parts):
        groups[part] = number
    single = len(shown) <= MOST_ROWS
    titles = [names[part[0]] if single else _title(number, part, names) for number, part in enumerate(parts, 1)]
    matrix = pairs.over(groups, titles)
    what = f"{len(parts)} blocks of similar classes, " if not single else ""
    st.caption(
        f"The matrix shows {what}{len(shown):,} of {len(order):,} classes: {int(matrix.counts.sum()):,} of the "
        f"{pairs.total:,} pictures listed. Classes that are confused with each other lie together, in an order made of all "
        f"predictions. {'' if single else 'A click on a cell of the diagonal shows the classes of its block.'}"
    )
    return matrix


SEARCH = "Shows the block of the class, so that you see what it is confused with."


def _key(level: int) -> str:
    return f"block {level}"


def _title(number: int, part: Order, names: tuple[str, ...]) -> str:
    first, last = (first_name(names[place]) for place in (part[0], part[-1]))
    return f"{number}: {first}" if len(part) == 1 else f"{number}: {first} to {last} ({len(part)})"


def _find(order: Order, names: tuple[str, ...]) -> None:
    """Zoom to the block of the class that is searched. For callbacks."""
    wanted, shown, level = st.session_state[FIND], order, 1
    while wanted and len(shown) > MOST_ROWS:
        parts = class_order.blocks(shown, MOST_ROWS)
        number = next(number for number, part in enumerate(parts) if wanted in {names[place] for place in part})
        st.session_state[_key(level)] = _title(number + 1, parts[number], names)
        shown, level = parts[number], level + 1


def open_block(key: str) -> bool:
    """Zoom to the block whose cell of the diagonal was clicked; False where cells are of classes. For callbacks."""
    cell = drawer.picked(key, "cell")
    level = 1
    while st.session_state.get(_key(level), ALL) != ALL:
        level += 1
    if not cell or _key(level) not in st.session_state:
        return False
    if cell["true"] == cell["predicted"]:
        st.session_state[_key(level)] = cell["true"]
    return True
