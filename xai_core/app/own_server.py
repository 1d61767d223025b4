"""The dashboard on a script's or notebook's own models and data, served by a thread of the same process: `xai_core.launch`.

Models and pictures stay where they are, in memory: nothing is written, pickled or copied to another process. Streamlit knows
one server for each process, so that a second call adds to the one that runs.
"""

import asyncio
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from streamlit import config, runtime
from streamlit.runtime import Runtime
from streamlit.web import bootstrap
from streamlit.web.server import Server
from torch import nn

from xai_core.app.shared import loaded_models, opened_datasets, page_links, page_setup
from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.data import datasets
from xai_core.data.datasets import Dataset
from xai_core.data.picture_lists import dataset_of
from xai_core.data.recipe import Recipe
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import cards

ONE = "Your model"  # the name of a model that is given without one
START_SECONDS = 120.0
HEIGHT = 900  # pixels of the frame in a notebook

Given = nn.Module | ExplainableModel
Pictures = str | Path | Dataset | Iterable[tuple[Any, object]]


@dataclass
class _Served:
    """The server of this process: its thread, event loop and address, and the sessions that are open."""

    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    server: Server
    address: str
    sessions: "list[Session]" = field(default_factory=list)


_lock = threading.RLock()
_served: _Served | None = None


class Session:
    """An open dashboard on models and data of one's own. Made by `launch`."""

    def __init__(self, address: str, models: tuple[str, ...], dataset: str, given: bool):
        self.models, self.dataset = models, dataset
        self._address, self._given, self._closed = address, given, threading.Event()

    @property
    def url(self) -> str:
        """The page *Misclassifications* with the dataset and the first model; without a dataset *Single image*."""
        page = page_links.MISSES if self.dataset else page_links.SINGLE
        query = {"model": self.models[0], **({"dataset": self.dataset} if self.dataset else {})}
        return f"{self._address}/{page.replace(' ', '_')}?{urlencode(query, quote_via=quote)}"

    def close(self) -> None:
        """Take the models and the dataset back; the last open session stops the server. A second call does nothing."""
        _close(self)

    def wait(self) -> None:
        """Wait until the session is closed, or end it by Ctrl+C. For scripts: the dashboard ends with their process."""
        try:
            while not self._closed.wait(0.5):
                pass
        except KeyboardInterrupt:
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed.is_set() else self.url
        return f"<dashboard of {', '.join(self.models)}: {state}>"


def launch(
    model: Given | Mapping[str, Given],
    dataset: Pictures | None = None,
    class_names: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    port: int | None = None,
    address: str = "localhost",
) -> Session:
    """Open the dashboard on models and pictures of your own, and return at once.

    model        a torch module (n,3,H,W) -> logits (n,K), an ExplainableModel, or a dict of these by name
    dataset      a folder with one subfolder for each class, a ZIP, a table, or the name of a world; a Dataset; or a list of
                 (picture, label): a picture is a path, a PIL picture, an array (H,W,3) or a tensor (3,H,W), and a label a
                 name or a number (see `data.picture_lists.dataset_of`)
    class_names  the names of the classes of torch modules, and of numbers that are labels
    recipe       how pictures are prepared for torch modules; None: 224 pixels, ImageNet's mean and spread
    port         None: a free one
    address      "localhost": this machine alone; "0.0.0.0" opens the dashboard to the network

    The models stand first on every page, and the dataset is the chosen one. In a notebook the dashboard is shown below the
    cell; in a script `session.wait()` keeps it open. A second call adds to the dashboard that is open; what has the same
    name is replaced. Modules are copied as they are now. Raises BadRequest with what is wrong.
    """
    names = tuple(class_names or ())
    given = _by_name(model)
    models = {name: _explainable(name, one, names, recipe) for name, one in given.items()}
    taken = [name for name in models if name in cards().keys() - own_code.given().keys()]
    if taken:
        raise BadRequest(f"There is a model {taken[0]} already: choose another name for yours.")
    opened = None if dataset is None else _opened(dataset, names or next(iter(models.values())).class_names)
    with _lock:
        served = _serving(address, port)
        own_code.give(models)
        name, is_given = _give(dataset, opened)
        session = Session(served.address, tuple(models), name, is_given)
        served.sessions.append(session)
    _show(session)
    return session


def _by_name(model: Given | Mapping[str, Given]) -> dict[str, Given]:
    found = {str(name): one for name, one in model.items()} if isinstance(model, Mapping) else {ONE: model}
    if not found:
        raise BadRequest("Give at least one model.")
    own_code.check_names(found)
    for name, one in found.items():
        if not isinstance(one, nn.Module | ExplainableModel):
            raise BadRequest(
                f"{name} is an object of type {type(one).__name__}: give a torch module or an ExplainableModel."
            )
    return found


def _explainable(name: str, one: Given, class_names: tuple[str, ...], recipe: Recipe | None) -> ExplainableModel:
    if isinstance(one, ExplainableModel):
        return one
    try:
        return ExplainableModel.from_module(one, class_names, recipe)
    except BadRequest as error:
        raise BadRequest(f"{name}: {error}") from error


def _opened(dataset: Pictures, class_names: tuple[str, ...]) -> Dataset:
    if isinstance(dataset, Dataset):
        return dataset
    return (
        datasets.open_dataset(dataset) if isinstance(dataset, str | Path) else dataset_of(dataset, class_names=class_names)
    )


def _give(dataset: Pictures | None, opened: Dataset | None) -> tuple[str, bool]:
    """Offer the dataset on the pages. Returns its name there, and whether it must be taken back."""
    if opened is None:
        return "", False
    if isinstance(dataset, str) and dataset in datasets.offered():
        return dataset, False
    name = opened.title
    while name in {opened_datasets.SAMPLES, opened_datasets.UPLOADED, *datasets.offered()} - {*datasets.given()}:
        name = f"{name} (yours)"
    datasets.withdraw(name)
    datasets.give(name, opened)
    return name, True


def _serving(address: str, port: int | None) -> _Served:
    """The server of this process, started where none runs. Raises BadRequest."""
    global _served
    if _served is not None and _served.thread.is_alive():
        return _served
    if runtime.exists():
        raise BadRequest("This process serves a Streamlit app already; open the dashboard from another one.")
    page_setup.keep_main_module()
    started: Future[tuple[asyncio.AbstractEventLoop, Server]] = Future()
    thread = threading.Thread(target=_serve, args=(address, port, started), name="dashboard", daemon=True)
    thread.start()
    try:
        loop, server = started.result(START_SECONDS)
    except TimeoutError:
        raise BadRequest(f"The dashboard has not started within {START_SECONDS:.0f} s.") from None
    shown = "localhost" if address in ("", "0.0.0.0", "::") else address
    _served = _Served(thread, loop, server, f"http://{shown}:{config.get_option('server.port')}")
    return _served


def _serve(address: str, port: int | None, started: "Future[tuple[asyncio.AbstractEventLoop, Server]]") -> None:
    """Serve until the server is stopped: what `streamlit run` does, without the signals, which are the script's own."""
    script = str(settings.RESOURCES / "Home.py")

    async def serve() -> None:
        config._main_script_path = script  # where Streamlit looks for the app's config.toml
        options = {"server_address": address, "server_port": port or 0, "server_headless": True}
        bootstrap.load_config_options(options)
        server = Server(script, is_hello=False)
        await server.start()
        bootstrap.prepare_streamlit_environment(script)
        started.set_result((asyncio.get_running_loop(), server))
        await server.stopped

    try:
        asyncio.run(serve())
    except BaseException as error:  # Streamlit leaves the process where a port is taken
        if not started.done():
            why = f"port {port} is taken" if isinstance(error, SystemExit) else str(error) or type(error).__name__
            started.set_exception(BadRequest(f"The dashboard cannot be served at {address}: {why}."))
    finally:
        bootstrap.load_config_options({})  # the address and port were this server's own
        Runtime._instance = None  # Streamlit never forgets it; there is no other one in this process (`_serving`)


def _close(session: Session) -> None:
    global _served
    with _lock:
        if session._closed.is_set():
            return
        session._closed.set()
        served = _served
        if served is None or session not in served.sessions:
            return
        served.sessions.remove(session)
        others = served.sessions
        gone = tuple(name for name in session.models if not any(name in other.models for other in others))
        own_code.withdraw(gone)
        if session._given and not any(session.dataset == other.dataset for other in others):
            datasets.withdraw(session.dataset)
        if others:
            return
        _served = None
        loaded_models.forget(gone)
    served.loop.call_soon_threadsafe(served.server.stop)
    served.thread.join(START_SECONDS)


def _show(session: Session) -> None:
    """In a notebook the dashboard itself, else its address."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import IFrame, display

        display(IFrame(session.url, width="100%", height=HEIGHT))
    print(f"The dashboard is open at {session.url}")
