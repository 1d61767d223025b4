"""Several processes at once, for tests of what they share.

They are forked from a server that has imported the package; new interpreters would import it again, for a second and more.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from unittest.mock import patch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pytest", "alembic.operations", "alembic.script", "psycopg", "xai_core.review.consolidation"]
)


def _work(environment: Mapping[str, str], work: Callable[..., object], parameters: tuple[object, ...]) -> None:
    os.environ.clear()  # the server's environment is that of its first test
    os.environ.update(environment)
    work(*parameters)


def in_processes(work: Callable[..., object], calls: Iterable[tuple[object, ...]]) -> None:
    """Do `work(*parameters)` for all of these parameters at once, each in a process of its own; each must end well."""
    processes = [CONTEXT.Process(target=_work, args=(dict(os.environ), work, parameters)) for parameters in calls]
    # Streamlit's harness leaves the script of a page as the main module, which each process would run again.
    with patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
        for process in processes:
            process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
