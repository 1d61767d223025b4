"""What every page starts with. Imports no torch."""

from pathlib import Path

import streamlit as st
from altair.utils import schemapi

# Every part of a chart would be checked against Vega-Lite's schema as it is made; the tests do that, and Streamlit once
# more with the whole chart. On a page it is most of the time between two results.
schemapi.disable_debug_mode()

# Streamlit cuts off a chart that is wider than the window; here one can move it sideways.
WIDE_CHARTS = '<style>[data-testid="stVegaLiteChart"] { overflow: auto hidden; }</style>'
ICON = Path(__file__).parents[3] / "docs" / "icon.png"  # a file of ours: Streamlit fetches named icons from elsewhere


def page(title: str) -> None:
    """Set the page's title, icon and width."""
    st.set_page_config(page_title=f"{title} · Why", page_icon=str(ICON), layout="wide")
    st.html(WIDE_CHARTS)
