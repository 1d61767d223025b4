"""The controls that choose metrics, with their options, the seed, and the published preset; how metrics are called."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from xai_core.app.shared import widgets
from xai_core.app.shared.widgets import LINK
from xai_core.core.options import options_of
from xai_core.metrics.catalog import METRICS, PUBLISHED_PRESET


def plain_title(name: str) -> str:
    """A metric's title, as links have it."""
    return METRICS[name].title


def metric_title(name: str) -> str:
    """A metric's title with an arrow that points to better values."""
    return f"{METRICS[name].title} {METRICS[name].arrow}".strip()


def choose(usual: Sequence[str]) -> tuple[dict[str, dict[str, Any]], int]:
    """The chosen metrics with their options, before a choice the `usual` ones; and the seed of their random numbers."""
    names = st.multiselect("Metrics", list(METRICS), usual, format_func=plain_title, key="metrics", **LINK)
    st.button("As published", on_click=_take_published, help=PUBLISHED)
    metrics: dict[str, dict[str, Any]] = {}
    with st.expander("Options of the metrics"):
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="seed", help=SEED, **LINK)
        for name in names:
            options = options_of(METRICS[name].run)
            if options:
                st.markdown(f"**{METRICS[name].title}**")
            metrics[name] = {option.name: widgets.control(name, option) for option in options}
    return metrics, seed


PUBLISHED = (
    "Chooses the metrics of published code with its settings: " + ", ".join(METRICS[name].title for name in PUBLISHED_PRESET)
    + "."
)  # fmt: skip


def _take_published() -> None:
    st.session_state["metrics"] = list(PUBLISHED_PRESET)
    for name, options in PUBLISHED_PRESET.items():
        for option, value in options.items():
            st.session_state[f"{name}.{option}"] = value  # the key of `widgets.control`


SEED = "For everything random in a metric: the order of equal pixels, noise, random subsets."
