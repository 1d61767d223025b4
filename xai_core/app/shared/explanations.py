"""Explanations for the pages: found in the cache, estimated, or computed with a progress bar."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from xai_core.analysis import sanity_check
from xai_core.app.shared import cache, progress, turns
from xai_core.app.shared.network_outputs import pass_seconds
from xai_core.app.shared.widgets import Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain, request_for
from xai_core.attribution.method import Method
from xai_core.core.cache_key import bytes_digest, run_key
from xai_core.core.errors import XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.models.explainable import ExplainableModel


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


def runs(model: ExplainableModel, chosen: Chosen, target: Target, methods: Sequence[str]) -> list[Run]:
    """One run for each method, with its default options, at the model's default cut."""
    prepared, cut = model.prepare(chosen.picture), model.network.cut_name(None)
    return [
        Run(model, chosen.picture, prepared, target, METHODS[id], cut, check_options(METHODS[id].run, {}), "exact", 0)
        for id in methods
    ]


def find(run: Run) -> Explanation | XaiError | None:
    """The stored result, or the error that the computation ended with; None if it was not computed."""
    result: Explanation | XaiError | None = cache.get(run.key)
    return result


def missing_seconds(runs: Sequence[Run]) -> float:
    """Estimated seconds to compute those runs that have no result yet."""
    return sum(run.estimate for run in runs if find(run) is None)


def compute(run: Run, bar: DeltaGenerator) -> Explanation | XaiError:
    """Compute an explanation and store it, moving `bar`.

    A cancelled computation stops within one inner batch and stores nothing; a failed one stores and returns its error.
    """

    def work(track: Track) -> Explanation:
        asked = {"target": run.target, "cut": run.cut, "precision": run.precision, "seed": run.seed}
        return explain(run.model, run.picture, run.method.id, **asked, track=track, **run.options)

    result: Explanation | XaiError
    try:
        result = turns.in_turn(work, bar, run.method.title)
    except XaiError as error:
        result = error
    cache.put(run.key, result)
    return result


def compute_each(
    runs: Sequence[Run], name: str, now: bool, slot: DeltaGenerator
) -> Iterator[tuple[Run, Explanation | XaiError | None]]:
    """Yield each run with its result: stored results first, then, if `now`, the others as they are computed.

    Without `now` the result of what is not stored is None. The bar stands in `slot`, an `st.empty()` that the page
    creates in any case, so that nothing below it moves; its button cancels under `name`.
    """
    missing = [run for run in runs if find(run) is None]
    yield from ((run, find(run)) for run in runs if run not in missing or not now)
    if missing and now:
        with progress.bar(name, slot) as bar:
            yield from ((run, compute(run, bar)) for run in missing)


def name_of(kind: str, runs: Sequence[Run]) -> str:
    """The name under which these runs are cancelled; other runs still start on their own."""
    return f"{kind} {bytes_digest(' '.join(run.key for run in runs).encode())[:12]}"


def quick_deletion(runs: Sequence[Run], maps: Sequence[Explanation]) -> list[float]:
    """`sanity_check.quick_deletion` of several maps of one picture and one target; stored for each map."""
    keys = [f"quick deletion {run.key}" for run in runs]
    scores: list[float | None] = [cache.get(key) for key in keys]
    if None not in scores:
        return [score for score in scores if score is not None]
    first = runs[0]
    request = request_for(first.model, [first.prepared], target=first.target, cut=first.cut, precision=first.precision)
    computed = sanity_check.quick_deletion(request.activate(), maps)
    for key, score in zip(keys, computed, strict=True):
        cache.put(key, score)
    return computed
