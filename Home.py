"""The app's script: the server, and the frame of every page, with the list of pages at the left; the pages are in `pages/`.
Imports no torch, so that it opens fast."""

from streamlit.starlette import App

from xai_core.app.shared import page_setup, warm_start

if __name__ == "__main__":  # Streamlit runs it for a visitor
    page_setup.frame()
else:  # the server imports it
    app = App(__file__, lifespan=warm_start.lifespan)
