"""The tab "A run" of the metrics page: measurements of many pictures, from a run under the allowed folders."""

import streamlit as st

from xai_core.app.metrics import ground_truth, new_run, opened_run, run_sections
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK
from xai_core.core.errors import BadRequest

SECTIONS = {
    "Overview": run_sections.overview,
    "Methods": run_sections.methods,
    "Spread": run_sections.spread,
    "Curves": run_sections.curves,
    "Pictures": run_sections.pictures,
    "Agreement of metrics": run_sections.agreement,
    "Ground truth": ground_truth.ground_truth,
    "Stability": run_sections.stability,
    "Groups of models": run_sections.groups,
    "Download": run_sections.downloads,
}


def show() -> None:
    """The form of a new run, the choice of a run, and one section of it."""
    new_run.section()
    opened = opened_run.choose()
    if opened is None:
        return
    section = st.segmented_control("Look at", list(SECTIONS), default="Overview", required=True, key="look", **LINK)
    try:
        SECTIONS[section](opened)
    except BadRequest as error:
        st.info(error_text(error))
