"""What every page starts with. Imports no torch."""

import streamlit as st
from altair.utils import schemapi

from xai_core.core import settings
from xai_core.core.errors import BadRequest

# Every part of a chart would be checked against Vega-Lite's schema as it is made; the tests do that, and Streamlit once
# more with the whole chart. On a page it is most of the time between two results.
schemapi.disable_debug_mode()

# Streamlit cuts off a chart that is wider than the window; here one can move it sideways.
WIDE_CHARTS = '<style>[data-testid="stVegaLiteChart"] { overflow: auto hidden; }</style>'
ICON = settings.RESOURCES / "docs" / "icon.png"  # a file of ours: Streamlit fetches named icons from elsewhere


def page(title: str) -> None:
    """Set the page's title, icon and width. Ends the page with a message where an environment variable is wrong."""
    st.set_page_config(page_title=f"{title} · Why", page_icon=str(ICON), layout="wide")
    st.html(WIDE_CHARTS)
    try:
        settings.check()
    except BadRequest as error:
        st.error(str(error))
        st.stop()
