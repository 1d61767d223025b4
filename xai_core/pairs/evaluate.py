"""Measuring the maps of a pair: every metric of the published tables, the known geometry of crops, and controls."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.explanation.result import Explanation
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.pairs.explain import ask_pair, native_maps
from xai_core.pairs.geometry import GEOMETRY_METRICS, Geometry, geometry_rows
from xai_core.pairs.method import tensor_of
from xai_core.pairs.metrics import BOTH, PAIR_METRICS, STEP, Row, curves, find_metrics, full_size, rows_of
from xai_core.pairs.question import PairQuestion

CONTROLS = ("class:random_map", "class:centre_gaussian", "class:edge_detector")
DRAWS, REACH = 10, 0.2
Given = Explanation | np.ndarray | Tensor | None


def evaluate_pair(
    model: ExplainableModel,
    view1: Picture,
    view2: Picture,
    maps: Mapping[str, tuple[Given, Given] | Given],
    metrics: Collection[str] | None = None,
    *,
    geometry: Geometry | None = None,
    similarity: Similarity = COSINE,
    cut: str | None = None,
    step: int = STEP,
    seed: int = 0,
    noise: Any = None,
    controls: bool = False,
    track: Track = iter,
) -> list[Row]:
    """How faithful maps of a pair are: rows (method, metric, view, value), the view 1, 2 or "both".

    maps       for each method two maps, of view 1 and of view 2: what `explain_pair` returns, or arrays (h, w) or (1, h, w)
               of any grid, stretched bilinearly over the view. One map alone (None beside it) is of view 1 and has no
               simultaneous metrics
    metrics    of PAIR_METRICS. SI, SD, SAD, SIC and MS have one row ("both"); CI, CD, CAD and CIC one for each view and
               their mean. None is all nine; with `geometry` OS and CE too (see GEOMETRY_METRICS), each with one row for each
               view and their mean, and beside them the rows `baseline:area` and `baseline:centre`
    geometry   where the views lie in one picture, if they were cut from one: `Geometry.of(view1, view2)` of drawn views
    step       pixels from one point of a curve to the next
    noise      ten draws (10, 3, H, W) for MS; else uniform within 0.2 from `seed`. MS computes maps again: the name must be
               that of a method, with the options of the explanation that was given, and is NaN for any other name, and for
               pixel invariance, which draws its views from pictures in [0, 1]
    controls   adds a random map, a Gaussian in the centre and edges, as rows `class:random_map` and so on

    SI starts from a blur of 11 pixels, sigma 5; SD ends in zeros. A base similarity that is not positive makes the drops SAD
    and CAD meaningless: NaN. A map that prefers no place (all equal) has NaN for everything that dims by it.
    Source: Sammani et al. 2022, arXiv:2206.09753; curves after Petsiuk et al. 2018, arXiv:1806.07421; max-sensitivity after
    Yeh et al. 2019, arXiv:1901.09392. Raises subclasses of XaiError.
    """
    known = PAIR_METRICS | (GEOMETRY_METRICS if geometry else {})
    wanted = list(known) if metrics is None else find_metrics(metrics, PAIR_METRICS | GEOMETRY_METRICS)
    if not geometry and not GEOMETRY_METRICS.keys().isdisjoint(wanted):
        raise BadRequest("OS and CE compare with the true overlap: say where the views lie in their picture (geometry).")
    if not isinstance(step, int) or step < 1:
        raise BadRequest(f"A step is a whole number of pixels, at least 1, not {step!r}.")
    pair = ask_pair(model, view1, view2, similarity=similarity, cut=cut)
    held = {name: _both(given) for name, given in maps.items()}
    if controls:
        held |= {name: tuple(native_maps(pair, name, {}, seed)) for name in CONTROLS if name not in held}
    size = tuple(pair.views.shape[2:])
    full = {name: [_checked(name, one, size) for one in both] for name, both in held.items()}
    values = curves(pair, full, wanted, step, track)
    rows = []
    for name, both in full.items():
        rows += rows_of(name, values.get(name, {}), pair.value, wanted, len(both))
        if "MS" in wanted:
            rows.append(Row(name, "MS", BOTH, _max_sensitivity(pair, name, held[name], seed, noise, track)))
    return rows + (geometry_rows(pair, full, geometry, wanted) if geometry else [])


def _both(given: Any) -> tuple[Given, ...]:
    """The maps of a method as they were given, without the None beside a single one."""
    both = given if isinstance(given, tuple | list) else (given,)
    found = tuple(one for one in both if one is not None)
    if not 1 <= len(found) <= 2 or (len(both) > 1 and both[0] is None):
        raise BadRequest("A method has two maps, of view 1 and of view 2, or one of view 1.")
    return found


def raw(given: Given) -> Tensor:
    """The values of a map on its native grid, (h, w)."""
    found = tensor_of(given.heatmap if isinstance(given, Explanation) else given).float().cpu()
    while found.ndim > 2 and len(found) == 1:
        found = found[0]
    return found


def _checked(name: str, given: Given, size: tuple[int, int]) -> Tensor:
    found = raw(given)
    if found.ndim != 2 or not found.numel():
        raise BadRequest(f"The maps of '{name}' are (h, w) or (1, h, w); one is {tuple(found.shape)}.")
    if not found.isfinite().all():
        raise BadRequest(f"A map of '{name}' holds values that are not numbers, so that its pixels have no order.")
    return full_size(found, size)


def draws(pair: PairQuestion, seed: int, noise: Any = None) -> Tensor:
    """Noise (draws, 3, H, W) for max-sensitivity: as given, or ten uniform draws within 0.2, in sequence from one seed."""
    shape = tuple(pair.views.shape[1:])
    if noise is None:
        source = np.random.RandomState(seed % 2**32)  # the generator of the published draws
        noise = [source.uniform(-REACH, REACH, size=(1, *shape))[0] for _ in range(DRAWS)]
    found = tensor_of(noise).float()
    found = found.flatten(0, 1) if found.ndim == 5 else found
    if found.ndim != 4 or found.shape[1:] != shape or not len(found):
        raise BadRequest(f"Noise is (draws, {', '.join(map(str, shape))}); this is {tuple(found.shape)}.")
    return found.to(pair.views)


def _max_sensitivity(pair: PairQuestion, name: str, given: tuple, seed: int, noise: Any, track: Track) -> float:
    """max over draws e of |map(v1 + e, v2 + e) - map(v1, v2)| / |map(v1, v2)| for each view, then the mean of the views.

    Norms are over the native grid. What is random in a method keeps its seed, so that only the views change.
    """
    one = given[0]
    options = dict(one.options) if isinstance(one, Explanation) else {}
    seed_of_map = one.seed if isinstance(one, Explanation) else seed
    noises = draws(pair, seed, noise)
    try:
        clean = native_maps(pair, name, options, seed_of_map)
        worst = torch.zeros(len(clean), dtype=torch.float64)
        for drawn in track(list(noises)):
            noisy = PairQuestion(pair.model, pair.views + drawn, pair.similarity, pair.cut)
            maps = native_maps(noisy, name, options, seed_of_map)
            ratios = [_norm(noised - plain) / (_norm(plain) or math.nan) for noised, plain in zip(maps, clean, strict=True)]
            worst = torch.maximum(worst, torch.tensor(ratios, dtype=torch.float64))
    except BadRequest:  # no such method, or one that draws its views from pictures in [0, 1]
        return math.nan
    return float(worst.mean())


def _norm(values: Tensor) -> float:
    return float(values.double().norm())
