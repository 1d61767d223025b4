"""The part "A run" of the metrics page: measurements of many pictures, from any run under the allowed folders."""

import streamlit as st

from xai_core.app import run_orders, run_parts, run_sections, run_start
from xai_core.app.pickers import LINK
from xai_core.errors import BadRequest

SECTIONS = {
    "Overview": run_sections.overview,
    "Methods": run_sections.methods,
    "Spread": run_sections.spread,
    "Curves": run_sections.curves,
    "Pictures": run_sections.pictures,
    "Agreement of metrics": run_orders.agreement,
    "Stability": run_orders.stability,
    "Groups of models": run_orders.groups,
    "Download": run_sections.downloads,
}


def show() -> None:
    """The whole part."""
    run_start.section()
    shown = run_parts.chosen()
    if shown is None:
        return
    section = st.segmented_control("Look at", list(SECTIONS), default="Overview", required=True, key="look", **LINK)
    try:
        SECTIONS[section](shown)
    except BadRequest as error:
        st.info(str(error))
