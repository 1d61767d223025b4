"""The database of reviews that the app uses, and what pages say of it. Imports no torch."""

import streamlit as st
from sqlalchemy import Engine
from streamlit.errors import StreamlitSecretNotFoundError

from xai_core.core import markdown, settings
from xai_core.review import database


def engine() -> Engine:
    """The database of Streamlit's secrets, `[connections.review]` with a `url`; else that of XAI_REVIEW_DB, else
    `data/review.sqlite`. Raises StoreUnavailable."""
    return database.open_database(_of_secrets())


def _of_secrets() -> str | None:
    try:
        url = st.secrets.get("connections", {}).get("review", {}).get("url")
    except (StreamlitSecretNotFoundError, OSError, ValueError, AttributeError):  # no file, or one that cannot be read
        return None
    return str(url) if url else None


def say_where(store: Engine) -> None:
    """Where reviews are stored, and for how long."""
    place = markdown.escape(database.place_in_words(store))
    if settings.READONLY.value():
        st.info("This is a public demonstration: you can read everything, and nothing that you enter is stored.")
    elif not database.is_durable(store):
        st.warning(
            f"Reviews are stored in {place} on a disk that is emptied when this server starts again. Export what you want "
            "to keep, or give the server a PostgreSQL database (docs/deployment.md)."
        )
    else:
        st.caption(f"Stored in {place} on the server.")
