"""What a new server does before its first visitor comes: it imports what the pages need. Imports no torch itself.

A browser loads Streamlit's own files for about a second before it asks for a page. Meanwhile the server would be idle, and
only then begin with the second or two that torch and the libraries of charts and tables take.
"""

import ast
import contextlib
import logging
import pkgutil
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any

from xai_core.app.shared import page_links
from xai_core.core import settings

PACKAGE = "xai_core.app"
# What most pages import while they are shown: colours of maps, bundled pictures, tables on disk, notes.
LATER = ("matplotlib", "skimage.data", "pyarrow.parquet", "alembic.script")
_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    """Import the pages' modules in a thread as soon as the server starts. For `streamlit.starlette.App`."""
    threading.Thread(target=_import_modules, name="warm start", daemon=True).start()
    yield
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        # The server raises the signal that stopped it once more at its end. That would end the process at once; its jobs
        # still have to write what they have, and temporary folders to be removed.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def imported() -> list[str]:
    """What the files of the pages import of the app, by whole names: modules, and a few functions."""
    names = []
    for file in page_links.FILES.values():
        for node in ast.parse((settings.RESOURCES / file).read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
    return list(dict.fromkeys(names))


def _import_modules() -> None:
    for name in (*imported(), *LATER):
        try:
            pkgutil.resolve_name(name)
        except Exception:  # the page that needs it says what is wrong
            _log.debug("%s cannot be imported before a page is opened", name, exc_info=True)
