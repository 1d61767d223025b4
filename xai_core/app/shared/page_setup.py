"""The first call of every page. Imports no torch."""

import streamlit as st
from altair.utils import schemapi

from xai_core.app.shared import job_view, page_links
from xai_core.app.shared.error_text import error_text
from xai_core.core import settings
from xai_core.core.errors import BadRequest

# Altair would validate every part of a chart as it is created, which takes most of the time between two results. The tests
# validate the charts, and Streamlit validates each whole chart.
schemapi.disable_debug_mode()

# Streamlit cuts off a chart that is wider than the window; with this style it scrolls sideways. On a narrow screen the
# controls are hidden behind a button that has only an arrow; with this style it has words.
STYLE = """<style>
[data-testid="stVegaLiteChart"] { overflow: auto hidden; }
@media (max-width: 768px) {
    [data-testid="stExpandSidebarButton"] { width: auto; padding: 0 0.5rem; }
    [data-testid="stExpandSidebarButton"]::after { content: "Pages and settings"; font-size: 0.9rem; margin-left: 0.3rem; }
}
</style>"""
ICON = settings.RESOURCES / "docs" / "icon.png"  # a local file: Streamlit loads named icons from the network


def page(title: str) -> None:
    """Set the page's title, icon and width, and the settings and the way back of the link that opened it.

    Ends the page with a message where an environment variable is wrong.
    """
    st.set_page_config(page_title=f"{title} · Why", page_icon=str(ICON), layout="wide")
    page_links.follow()
    st.html(STYLE)
    st.html(page_links.TIDY_HISTORY, unsafe_allow_javascript=True)
    page_links.back_link()
    try:
        settings.check()
    except BadRequest as error:
        st.error(error_text(error))
        st.stop()
    job_view.indicator()
