"""Everything the pages compute: each cache, the gate, and progress that can be cancelled.

Results are shared by all visitors and kept by `run_key()`. One run goes on at a time, so that a small machine stays
responsive; this is fairness only, the models themselves may be used by any number of threads.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cachetools
import numpy as np
import streamlit as st
import torch
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from xai_core.analysis import sanity_check
from xai_core.app.shared import session
from xai_core.attribution.explain import explain
from xai_core.attribution.method import Method
from xai_core.core.cache_key import bytes_digest, run_key
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Result, Track
from xai_core.data.image_io import open_picture
from xai_core.data.preprocessing import Prepared, stack
from xai_core.data.samples import load_sample
from xai_core.explanation.question import Question
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.models.explainable import ExplainableModel, Prediction

RESULT_BYTES = 200 * 2**20
AT_ONCE_SECONDS = 3.0  # what is estimated to take less is run without being asked


@dataclass
class _Shared:
    """What all sessions of this process share."""

    results: cachetools.LRUCache = field(default_factory=lambda: cachetools.LRUCache(RESULT_BYTES, _bytes))
    lock: threading.Lock = field(default_factory=threading.Lock)
    gate: threading.BoundedSemaphore = field(default_factory=threading.BoundedSemaphore)
    seconds: dict[str, float] = field(default_factory=dict)


@st.cache_resource(show_spinner=False)
def _shared() -> _Shared:
    return _Shared()


def _bytes(result: Any) -> int:
    """What a result takes, near enough to bound the cache."""
    result = getattr(result, "explanation", result)  # a network's answer
    if isinstance(result, Explanation):
        return result.heatmap.nbytes + 2000
    if hasattr(result, "nbytes"):
        return result.nbytes
    return sum(map(_bytes, result)) if isinstance(result, tuple | list) else 1000


@st.cache_data(max_entries=16, show_spinner=False)
def sample(name: str) -> Image.Image:
    return load_sample(name)


@st.cache_data(max_entries=16, show_spinner=False)
def uploaded(digest: str, _data: bytes) -> Image.Image:
    """The picture in an upload, by the SHA-256 of its bytes. Raises BadPicture."""
    return open_picture(_data)


def logits(model: ExplainableModel, prepared: Prepared) -> np.ndarray:
    """The model's scores for a picture, (K,). Also learns how long one pass takes."""
    key, shared = f"logits {model.id} {model.fingerprint} {prepared.digest}", _shared()
    with shared.lock:
        found = shared.results.get(key)
    if found is None:
        if model.id not in shared.seconds:  # a first pass also sets things up; it says nothing about the next
            model.outputs(prepared.pixels[None])
        began = time.perf_counter()
        found = model.outputs(prepared.pixels[None]).logits[0].cpu().numpy()
        taken = time.perf_counter() - began
        with shared.lock:
            shared.results[key] = found
            shared.seconds[model.id] = min(taken, shared.seconds.get(model.id, taken))
    return found


def embedding(model: ExplainableModel, picture: Image.Image) -> torch.Tensor:
    """The embedding (1, E) of a picture: what a similarity is asked to."""
    prepared = model.prepare(picture)
    key = f"embedding {model.id} {model.fingerprint} {prepared.digest}"
    found = held(key)
    if found is None:
        found = model.embed(prepared.pixels).cpu().numpy()
        hold(key, found)
    return torch.from_numpy(found)


def ranked(model: ExplainableModel, prepared: Prepared) -> list[Prediction]:
    """All classes of the model for a picture, the most probable first; none where it has no classes."""
    if not model.has_classifier:
        return []
    scores = torch.from_numpy(logits(model, prepared))
    return model.predictions(scores, len(scores))


@dataclass(frozen=True, eq=False)
class Run:
    """One computation that a page wants: everything `run_key()` is made of."""

    model: ExplainableModel
    picture: Image.Image
    prepared: Prepared
    target: Target
    method: Method
    cut: str
    options: dict[str, Any]
    precision: str
    seed: int

    @property
    def key(self) -> str:
        return run_key(
            picture=self.prepared.digest,
            model=self.model.id,
            weights=self.model.fingerprint,
            cut=self.cut if "cut" in self.method.needs else "",
            target=self.target.key(0),
            method=self.method.id,
            version=self.method.version,
            options=self.options,
            seed=self.seed,
            precision=self.precision,
        )

    @property
    def estimate(self) -> float:
        """Seconds this will take, from the time of one pass of this model here."""
        forward, backward = self.method.cost(self.options)
        return (forward + 2 * backward) * pass_seconds(self.model.id)


def pass_seconds(model: str) -> float:
    """Seconds of one forward pass of one picture, as measured here; a guess where the model was not seen yet."""
    return _shared().seconds.get(model, 0.1)


def learn(model: str, seconds: float) -> None:
    """Note what one forward pass of one picture took, where it was seen: estimates are made from the shortest."""
    shared = _shared()
    with shared.lock:
        shared.seconds[model] = min(seconds, shared.seconds.get(model, seconds))


def known(run: Run) -> Explanation | XaiError | None:
    """The result, or why there is none, where someone already asked for it."""
    return held(run.key)


def held(key: str) -> Any:
    """What is kept under a key; None where there is nothing."""
    shared = _shared()
    with shared.lock:
        return shared.results.get(key)


def hold(key: str, result: Any) -> None:
    """Keep a result for all sessions."""
    shared = _shared()
    with shared.lock:
        shared.results[key] = result


def kept(key: str, compute: Callable[[], Result]) -> Result:
    """What is kept under a key, computed now where there is nothing: for what takes no longer than drawing the page."""
    found = held(key)
    if found is None:
        found = compute()
        hold(key, found)
    return found


@contextmanager
def progress(name: str, slot: DeltaGenerator | None = None) -> Iterator[DeltaGenerator]:
    """A bar for what is computed inside, with a button that cancels it under `name`; both go when it is done.

    They stand in `slot`, an `st.empty()` that the page has made for them, or here.
    """
    slot = slot or st.empty()
    with slot.container():
        bar = st.progress(0.0, text="Starting")
        st.button("Cancel", key=f"cancel {name}", on_click=session.cancel, args=(name,))
    try:
        yield bar
    except XaiError:
        slot.empty()
        raise
    slot.empty()


def wanted(name: str, seconds: float, at_once: bool = False, button: str = "Explain") -> bool:
    """Whether to compute now: if it is quick, if `at_once`, or if the button that is offered otherwise is pressed."""
    offer = st.empty()  # made in any case: what follows keeps its place on the page
    cancelled = session.cancelled(name)
    if not cancelled and (at_once or seconds < AT_ONCE_SECONDS):
        return True
    with offer.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(button, type="primary", key=f"run {button}", icon=":material/play_arrow:")
        st.markdown(f"{'Cancelled. ' if cancelled else ''}This takes about {max(1, round(seconds))} s.")
    if pressed:
        offer.empty()
        session.cancel(None)
    return pressed


def gated(work: Callable[[Track], Result], bar: DeltaGenerator, title: str) -> Result:
    """`work(track)` when no other visitor's work is going on, moving `bar`; cancelled within one inner batch."""
    bar.progress(0.0, text=f"{title}: starting")
    wait_for_turn(bar, 0.0)
    try:
        return work(lambda batches: _reported(batches, bar, title))
    finally:
        end_turn()


def wait_for_turn(bar: DeltaGenerator, share: float) -> None:
    """Until no other visitor's work is going on; `end_turn` must follow. The bar stays at `share`."""
    while not _shared().gate.acquire(timeout=0.2):
        bar.progress(share, text="Waiting for another visitor's run to end")


def end_turn() -> None:
    _shared().gate.release()


def compute(run: Run, bar: DeltaGenerator) -> Explanation | XaiError:
    """Run, moving `bar`. A cancelled run stops within one inner batch and keeps nothing; a failed one keeps the reason."""

    def work(track: Track) -> Explanation:
        asked = {"target": run.target, "cut": run.cut, "precision": run.precision, "seed": run.seed}
        return explain(run.model, run.picture, run.method.id, **asked, track=track, **run.options)

    try:
        found: Explanation | XaiError = gated(work, bar, run.method.title)
    except XaiError as error:
        found = error
    hold(run.key, found)
    return found


def compute_each(
    runs: Sequence[Run], name: str, now: bool, slot: DeltaGenerator
) -> Iterator[tuple[Run, Explanation | XaiError | None]]:
    """Each run with its result, known ones at once, the others (if `now`) as they are ready. Cancelled under `name`.

    How far it is stands in `slot`, an `st.empty()`: made by the page in any case, so that nothing below it moves.
    """
    missing = [run for run in runs if known(run) is None]
    yield from ((run, known(run)) for run in runs if run not in missing or not now)
    if missing and now:
        with progress(name, slot) as bar:
            yield from ((run, compute(run, bar)) for run in missing)


def name_of(kind: str, runs: Sequence[Run]) -> str:
    """The name under which these very runs are cancelled: others then still start by themselves."""
    return f"{kind} {bytes_digest(' '.join(run.key for run in runs).encode())[:12]}"


def quick_deletion(runs: Sequence[Run], found: Sequence[Explanation]) -> list[float]:
    """`checking.quick_deletion` of several maps of one picture and one target; kept."""
    shared, names = _shared(), [f"quick deletion {run.key}" for run in runs]
    with shared.lock:
        known = [shared.results.get(name) for name in names]
    if None in known:
        one = runs[0]
        question = Question(one.model, one.target, one.cut, one.precision)
        known = sanity_check.quick_deletion(question, stack([one.prepared], one.model.device), found)
        with shared.lock:
            shared.results.update(zip(names, known, strict=True))
    return known


def _reported(batches: Iterable, bar: DeltaGenerator, title: str) -> Iterator:
    """Move the bar with every inner batch. Writing to the page is also where Streamlit stops a cancelled run."""
    batches = list(batches)
    began, total = time.perf_counter(), len(batches)
    for done, batch in enumerate(batches):
        taken = time.perf_counter() - began
        left = f", about {taken / done * (total - done):.0f} s left" if done else ""
        bar.progress(done / total, text=f"{title}: {done} of {total} batches, {taken:.0f} s{left}")
        yield batch
