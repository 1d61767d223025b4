"""The frame of every page, with the list of pages at the left; the pages are in `pages/`. Imports no torch, so that it opens
fast."""

from xai_core.app.shared import page_setup

page_setup.frame()
