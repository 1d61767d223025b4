"""What every page starts with. Imports no torch."""

from pathlib import Path

import streamlit as st

ICON = Path(__file__).parents[2] / "docs" / "icon.png"  # a file of ours: Streamlit fetches named icons from elsewhere


def page(title: str) -> None:
    """Set the page's title, icon and width."""
    st.set_page_config(page_title=f"{title} · Why", page_icon=str(ICON), layout="wide")
