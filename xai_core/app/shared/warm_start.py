"""What a new server does before it answers: it imports what the pages need. Imports no torch itself.

So no visitor waits for the second or two that torch and the libraries of charts and tables take. A page must not be shown
meanwhile: where two threads import modules of one library that import each other, as those of matplotlib do, Python gives
one of them a module that is not complete, and the import fails.
"""

import ast
import asyncio
import contextlib
import logging
import pkgutil
import signal
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
    """Import the pages' modules before the server answers. For `streamlit.starlette.App`."""
    await asyncio.to_thread(_import_modules)
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
