"""The cards of models and methods of the report: which of them, and how they look on the page."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import streamlit as st

from xai_core.analysis import report as report_document
from xai_core.analysis.collected_report import Report
from xai_core.app.shared.widgets import LINK, linked_despite_label, presence_label
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.method import Method
from xai_core.core import document
from xai_core.core.document import Block, TextTable
from xai_core.models.card import Card
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards

DEFAULT_METHODS = ["grad_cam", "integrated_gradients", "occlusion", "lime", "random_map"]
WHOLE = "On: the cards as they are. Off: what is needed to read the figures, for a report of a few pages."


class Appendix(NamedTuple):
    """The cards that the report has, and whether they are whole."""

    models: list[Card]
    methods: list[Method]
    whole: bool


def choose(report: Report) -> Appendix:
    """The controls. At first those are chosen that the report's parts are about, or else those that are ready."""
    models_by_id = cards()
    ready = [id for id, card in models_by_id.items() if locate.is_here(card)]
    labels = {id: presence_label(card.title, id in ready) for id, card in models_by_id.items()}
    linked = linked_despite_label("models", {card.title: id for id, card in models_by_id.items()}, [*labels.values()])
    if linked:
        st.session_state["models"] = linked
    used = [id for id in report.models if id in models_by_id]
    # Without "Select all", which would choose those that are not on this machine too.
    models = st.multiselect(
        "Models", sorted(models_by_id, key=lambda id: id not in ready), None if linked else used or ready,
        format_func=lambda id: labels[id], select_all=False, key="models", **LINK,
    )  # fmt: skip
    methods = st.multiselect(
        "Methods", METHODS, [id for id in report.methods if id in METHODS] or DEFAULT_METHODS,
        format_func=lambda id: METHODS[id].title, key="methods", **LINK,
    )  # fmt: skip
    whole = st.toggle("Whole cards", not report.items, key="whole", help=WHOLE, **LINK)
    return Appendix([models_by_id[id] for id in models], [METHODS[id] for id in methods], whole)


def show(blocks: Sequence[Block]) -> None:
    """The cards as they are in the document. On a narrow screen a row of a table of more than two columns becomes a block,
    with the name of its column before each cell."""
    wide = [block for block in blocks if isinstance(block, TextTable) and len(block.head) > 2]
    names = "".join(
        f".st-key-{_key(block, number)} td:nth-child({place}):not(:empty)::before {{ content: '{_in_css(name)}: '; }}"
        for number, block in enumerate(wide)
        for place, name in enumerate(block.head, 1)
        if name
    )
    st.html(
        f"""<style>
        .st-key-report table {{ width: 100%; }}
        .st-key-report td {{ overflow-wrap: anywhere; }}
        .st-key-report td:first-child {{ overflow-wrap: normal; }}
        .st-key-report {{ container-type: inline-size; }}
        @container (max-width: 800px) {{ .st-key-report {{
            table:has(th:nth-child(3)) thead {{ display: none; }}
            table:has(th:nth-child(3)) :is(tbody, tr, td) {{ display: block; }}
            table:has(th:nth-child(3)) td {{ border: none; padding: 0.1rem 0.5rem; }}
            table:has(th:nth-child(3)) tr {{ border-bottom: 1px solid; padding: 0.5rem 0; }}
            td::before {{ font-weight: 600; }}
        }} }}
        @container (max-width: 800px) {{ {names} }}
        </style>"""
    )
    with st.container(border=True, key="report"):
        number = 0
        for is_wide, group in groupby(blocks, lambda block: isinstance(block, TextTable) and len(block.head) > 2):
            if not is_wide:
                st.markdown(document.to_markdown([*group]))
                continue
            for block in group:
                with st.container(key=_key(block, number)):
                    st.markdown(document.to_markdown([block]))
                number += 1


def _key(block: Block, number: int) -> str:
    """The key of a wide table's container."""
    compares = isinstance(block, TextTable) and tuple(block.head) == report_document.COLUMNS
    return "approaches" if compares else f"wide-table-{number}"


def _in_css(name: str) -> str:
    """A name inside quotes of a style: every sign but letters and digits by its number, so that it can end nothing."""
    return "".join(sign if sign.isascii() and sign.isalnum() else f"\\{ord(sign):x} " for sign in name)
