"""Work on many pictures by workers of Ray: each holds the model once, opens its pictures itself, and returns their rows.

Ray Data runs the pool of workers (`Dataset.map` with an `ActorPoolStrategy`): it sends a few tasks ahead, starts a lost
worker again, and repeats the task that it was at. A task is a few pictures by their names. What comes back are their rows,
which the process that asked writes to its store, as it does without Ray. So a lost worker or machine costs the tasks it was
at, workers need the pictures and the weights but not the store, and a killed run is resumed from its store.

Ray is the extra `ray` of this package; it is imported when work is given to it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pickle
import platform
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import pandas as pd
import torch

from xai_core.core import settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.machine import available_cpus
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Task], Result]

TRIES = 5  # how often a task is tried again whose worker died: a picture that ends every worker would go round for ever
STORE = 256 * 2**20  # bytes that a Ray of this process's own holds in memory; what is more goes to the disk
SENT = 2**20  # bytes of a dataset that each worker is sent; what is larger, each opens for itself
ANSWER_SECONDS = 10.0  # in which a cluster must answer
LOCAL = "local"


@dataclass(frozen=True)
class RayWorkers:
    """A pool of workers, and what each of them holds.

    open      opens the dataset, in a worker
    load      loads a model by its id, in a worker
    count     how many workers; None: as many as Ray has room for
    cpus      processors of each worker, and its threads
    gpus      GPUs of each worker: 0.5 lets two share one; 0: they compute on the CPU
    pictures  in a task: what a lost worker loses
    address   of a cluster that runs, such as 10.0.0.1:6379; None: a Ray of this process's own, on this machine
    """

    open: Callable[[], Dataset]
    load: Callable[[str], ExplainableModel]
    count: int | None = None
    cpus: int = 1
    gpus: float = 0.0
    pictures: int = 32
    address: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("workers", self.count), ("CPUs", self.cpus), ("pictures in a task", self.pictures)):
            if value is not None and value < 1:
                raise BadRequest(f"The number of {name} is at least 1, not {value}.")
        if not 0 <= self.gpus < math.inf or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise BadRequest(f"A worker has a share of one GPU, such as 0.5, or whole GPUs, not {self.gpus:g}.")

    def tasks(self, places: range) -> list[range]:
        """The places of pictures in tasks, in their order."""
        return [places[start : start + self.pictures] for start in range(0, len(places), self.pictures)]

    def model(self, id: str, fingerprint: str) -> ExplainableModel:
        """In a worker: the model. Raises BadRequest where the worker finds other weights."""
        model = self.load(id)
        if model.fingerprint != fingerprint:
            raise BadRequest(
                f"A worker on {platform.node()} has other weights of {model.title}: give all machines the same."
            )
        return model

    def results(
        self, prepare: Callable[[], Work[Task, Result]], tasks: Sequence[Task], track: Track = iter
    ) -> Iterator[tuple[int, Result]]:
        """The number of each task with its result, as they become ready. `prepare` is called once in each worker and
        returns what does a task there; it, tasks and results are pickled. `track` wraps the tasks.

        Stop iterating to cancel: the workers end. Raises BadRequest where Ray is missing, cannot be reached, or has no room
        for the workers, and XaiError with the sentence of a worker whose task raises one.
        """
        ray = _imported()
        if not tasks:
            return
        with _connected(ray, self.address):
            count = min(self._count(ray), len(tasks))
            named = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
            with warnings.catch_warnings():
                # Ray's own use of what it deprecates, and `max_task_retries`, which has no other place in 2.60
                warnings.simplefilter("ignore", DeprecationWarning)
                context = ray.data.DataContext.get_current().copy()
                context.enable_progress_bars = context.print_on_execution_start = False
                with ray.data.DataContext.current(context):
                    done = ray.data.from_items(named, override_num_blocks=len(named)).map(
                        _Worker,
                        fn_constructor_args=(prepare, self.cpus, self.gpus, settings.MODELS.value(), os.getcwd()),
                        compute=ray.data.ActorPoolStrategy(size=count),
                        num_cpus=self.cpus,
                        num_gpus=self.gpus or None,
                        max_restarts=-1,
                        max_task_retries=TRIES,
                    )
            rows = iter(done.iter_rows())
            try:
                for _ in track(range(len(tasks))):
                    row = next(rows)
                    if row["problem"]:
                        raise XaiError(row["problem"])
                    yield row["number"], pickle.loads(row["result"])
            except ray.exceptions.RayError as error:
                raise XaiError(f"Ray gave up: {_in_a_line(error)}") from error
            finally:
                rows.close()  # ends the workers

    def _count(self, ray: Any) -> int:
        """How many workers there are to be. Raises BadRequest where Ray has no room for as many."""
        room = 0
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            fits = has.get("CPU", 0.0) // self.cpus
            room += int(min(fits, has.get("GPU", 0.0) / self.gpus + 1e-9) if self.gpus else fits)
        each = f"{self.cpus} CPU{'s' * (self.cpus > 1)}" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        if room < (self.count or 1):
            wanted = self.count or 1
            raise BadRequest(f"Ray has room for {room} workers of {each}, not for {wanted}: give fewer, or smaller ones.")
        return self.count or room


class _Worker:
    """A worker: prepares itself at its first task, so that what goes wrong then is told like what goes wrong in a task."""

    def __init__(self, prepare: Callable[[], Work[Any, Any]], cpus: int, gpus: float, functions: Sequence[str], folder: str):
        self.prepare, self.cpus, self.gpus, self.functions, self.folder = prepare, cpus, gpus, functions, folder
        self.work: Work[Any, Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            if self.work is None:
                with contextlib.suppress(OSError):  # paths begin where the command was typed, if that folder is here
                    os.chdir(self.folder)
                settings.add_models(self.functions)
                if not self.gpus:
                    settings.compute_on_cpu()
                torch.set_num_threads(self.cpus)
                self.work = self.prepare()
            result, problem = self.work(pickle.loads(row["task"])), ""
        except XaiError as error:
            result, problem = None, str(error) or type(error).__name__
        return {"number": row["number"], "result": pickle.dumps(result), "problem": problem}


def opener(dataset: Dataset, reopen: Callable[[], Dataset]) -> Callable[[], Dataset]:
    """What opens the dataset in a worker: the dataset itself without the list of its pictures where that is small and can be
    sent, as of a folder, so that not every worker holds a list of a million names; else `reopen`."""
    cloudpickle = _imported().cloudpickle
    try:
        sent = cloudpickle.dumps(replace(dataset, samples=(), metadata=pd.DataFrame()))
    except (TypeError, pickle.PicklingError):  # an open ZIP
        return reopen
    return partial(cloudpickle.loads, sent) if len(sent) <= SENT else reopen


def _imported() -> Any:
    """Ray. Raises BadRequest where it is not installed."""
    settings.keep_ray_silent()
    try:
        import ray
        import ray.data
    except ImportError:
        raise BadRequest("Ray is not installed: pip install 'xai-core[ray]'.") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its import sets it, too
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to Ray, which is ended at the end unless it was there before. Raises BadRequest."""
    if address:
        _check_answers(address)
    if ray.is_initialized():
        yield
        return
    own = {"num_cpus": available_cpus(), "object_store_memory": STORE, "include_dashboard": False}
    try:
        ray.init(address or LOCAL, log_to_driver=False, logging_level="ERROR", **({} if address else own))
    except (ConnectionError, ValueError, RuntimeError, OSError, ray.exceptions.RayError) as error:
        raise BadRequest(f"Ray cannot be reached at {address or 'this machine'}: {_in_a_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises BadRequest where nobody answers: Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise BadRequest(f"The address of a Ray cluster is HOST:PORT, such as 10.0.0.1:6379, not '{address[:80]}'.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BadRequest(f"No Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}.") from None


def _in_a_line(error: Exception) -> str:
    """The cause of what was raised in a worker; else the first line of Ray's own text."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {next(iter(str(cause).strip().splitlines()), '')}"
