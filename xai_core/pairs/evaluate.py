"""Evaluate the maps of a pair: the metrics of the published tables, the geometry of crops, and controls."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution import variants
from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.result import Explanation
from xai_core.explanation.similarity import COSINE, Similarity
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.pairs.explain import ask_pair, native_maps
from xai_core.pairs.geometry import GEOMETRY_METRICS, Geometry, geometry_rows
from xai_core.pairs.method import tensor_of
from xai_core.pairs.metrics import BOTH, PAIR_METRICS, STEP, Row, curves, find_metrics, full_size, rows_of
from xai_core.pairs.parts import PART_METRICS, PairParts, part_rows
from xai_core.pairs.question import PairQuestion

CONTROLS = ("class:random_map", "class:centre_gaussian", "class:edge_detector")
DRAWS, REACH = 10, 0.2  # of the noise for max-sensitivity
Map = Explanation | NDArray[np.floating[Any]] | Tensor


def evaluate_pair(
    model: ExplainableModel,
    view1: Picture,
    view2: Picture,
    maps: Mapping[str, Map | tuple[Map, Map | None]],
    metrics: Collection[str] | None = None,
    *,
    geometry: Geometry | None = None,
    parts: PairParts | None = None,
    similarity: Similarity = COSINE,
    cut: str | None = None,
    step: int = STEP,
    seed: int = 0,
    noise: Tensor | NDArray[np.floating[Any]] | None = None,
    controls: bool = False,
    track: Track = iter,
) -> list[Row]:
    """The faithfulness of maps of a pair: rows (method, metric, view, value), where the view is 1, 2 or "both".

    maps       for each method two maps, of view 1 and of view 2: what `explain_pair` returns, or arrays (h, w) or (1, h, w)
               of any grid, stretched bilinearly over the view. A single map (alone, or with None beside it) is of view 1
               and has no simultaneous metrics
    metrics    ids of PAIR_METRICS. SI, SD, SAD, SIC and MS have one row ("both"); CI, CD, CAD and CIC have one for each view
               and one for their mean. None is all nine, and with `geometry` also OS and CE of GEOMETRY_METRICS, each with
               one row for each view and one for their mean, and with rows of `baseline:area` and `baseline:centre`; with
               `parts` also PART_METRICS, with the same baselines
    geometry   the places of the views in one picture, if they were cut from one: `Geometry.of(view1, view2)` of drawn views
    parts      the parts of the drawn picture that the views are of: what `parts_of_views` or `parts_of_picture` returns
    step       pixels from one point of a curve to the next
    noise      ten draws (10, 3, H, W) for MS; None draws uniformly within 0.2 from `seed`. MS computes the maps again, by
               the method of that name with the options of the explanation. It is NaN for names that are no method, and
               for pixel invariance, which draws its views from pictures in [0, 1]
    controls   adds a random map, a Gaussian in the centre and edges, as rows `class:random_map` and so on

    SI starts from a blur of 11 pixels, sigma 5; SD ends in zeros. Where the base similarity is not positive, the drops SAD
    and CAD have no meaning and are NaN. For a constant map all metrics that dim the view by the map are NaN.
    Source: Sammani et al. 2022, arXiv:2206.09753; curves after Petsiuk et al. 2018, arXiv:1806.07421; max-sensitivity after
    Yeh et al. 2019, arXiv:1901.09392. Raises subclasses of XaiError.
    """
    known = PAIR_METRICS | (GEOMETRY_METRICS if geometry else {}) | (PART_METRICS if parts else {})
    wanted = list(known) if metrics is None else find_metrics(metrics, PAIR_METRICS | GEOMETRY_METRICS | PART_METRICS)
    if not geometry and not GEOMETRY_METRICS.keys().isdisjoint(wanted):
        raise BadRequest("OS and CE need the true overlap of the views: pass `geometry`, their places in the picture.")
    if not parts and not PART_METRICS.keys().isdisjoint(wanted):
        raise BadRequest(
            f"{', '.join(PART_METRICS)} need views of a picture of a world: pass `parts`, what `parts_of_views` returns."
        )
    if not isinstance(step, int) or step < 1:
        raise BadRequest(f"A step must be a whole number of pixels, at least 1, not {step!r}.")
    pair = ask_pair(model, view1, view2, similarity=similarity, cut=cut)
    raw_maps = {name: _views_of(views) for name, views in maps.items()}
    if controls:
        raw_maps |= {name: tuple(native_maps(pair, name, {}, seed)) for name in CONTROLS if name not in raw_maps}
    size = size_of(pair.views)
    full = {name: [_checked(name, heatmap, size) for heatmap in views] for name, views in raw_maps.items()}
    values = curves(pair, full, wanted, step, track)
    rows: list[Row] = []
    for name, views in full.items():
        rows += rows_of(name, values.get(name, {}), pair.value, wanted, len(views))
        if "MS" in wanted:
            rows.append(Row(name, "MS", BOTH, _max_sensitivity(pair, name, raw_maps[name][0], seed, noise, track)))
    rows += geometry_rows(pair, full, geometry, wanted) if geometry else []
    return rows + (part_rows(pair, full, parts, wanted, track) if parts else [])


def _views_of(views: Map | Sequence[Map | None]) -> tuple[Map, ...]:
    """The one or two maps of a method, without the None beside a single one."""
    maps = tuple(views) if isinstance(views, tuple | list) else (views,)
    present = tuple(heatmap for heatmap in maps if heatmap is not None)
    if not 1 <= len(present) <= 2 or maps[0] is None:
        raise BadRequest("A method needs two maps, of view 1 and of view 2, or one of view 1.")
    return present


def raw(heatmap: Map) -> Tensor:
    """The values of a map on its native grid, (h, w)."""
    values = tensor_of(heatmap.heatmap if isinstance(heatmap, Explanation) else heatmap).float().cpu()
    while values.ndim > 2 and len(values) == 1:
        values = values[0]
    return values


def _checked(name: str, heatmap: Map, size: tuple[int, int]) -> Tensor:
    values = raw(heatmap)
    if values.ndim != 2 or not values.numel():
        raise BadRequest(f"The maps of '{name}' must be (h, w) or (1, h, w); one is {tuple(values.shape)}.")
    if not values.isfinite().all():
        raise BadRequest(f"A map of '{name}' contains values that are not numbers, so its pixels cannot be ordered.")
    return full_size(values, size)


def draws(pair: PairQuestion, seed: int, noise: Any = None) -> Tensor:
    """Noise (draws, 3, H, W) for max-sensitivity: `noise` itself, or ten uniform draws within 0.2 from one seed."""
    shape = tuple(pair.views.shape[1:])
    if noise is None:
        source = np.random.RandomState(seed % 2**32)  # the generator of the published draws
        noise = [source.uniform(-REACH, REACH, size=(1, *shape))[0] for _ in range(DRAWS)]
    values = tensor_of(noise).float()
    values = values.flatten(0, 1) if values.ndim == 5 else values
    if values.ndim != 4 or values.shape[1:] != shape or not len(values):
        raise BadRequest(f"Noise must be (draws, {', '.join(map(str, shape))}); this is {tuple(values.shape)}.")
    return values.to(pair.views)


def _max_sensitivity(pair: PairQuestion, name: str, first: Map, seed: int, noise: Any, track: Track) -> float:
    """max over draws e of |map(v1 + e, v2 + e) - map(v1, v2)| / |map(v1, v2)| for each view, then the mean of the views.

    Norms are over the native grid. A random method keeps its seed, so that only the views change. Options, cut and seed of
    the method are those of the explanation `first`, where it is one.
    """
    options = dict(first.options) if isinstance(first, Explanation) else {}
    if isinstance(first, Explanation) and first.cut:  # a variant may look at another cut
        pair = PairQuestion(pair.model, pair.views, pair.similarity, first.cut)
    name = name.partition(variants.AT)[0]
    seed_of_map = first.seed if isinstance(first, Explanation) else seed
    noises = draws(pair, seed, noise)
    try:
        clean = native_maps(pair, name, options, seed_of_map)
        worst = torch.zeros(len(clean), dtype=torch.float64)
        for draw in track(list(noises)):
            noisy = PairQuestion(pair.model, pair.views + draw, pair.similarity, pair.cut)
            maps = native_maps(noisy, name, options, seed_of_map)
            ratios = [_norm(noised - plain) / (_norm(plain) or math.nan) for noised, plain in zip(maps, clean, strict=True)]
            worst = torch.maximum(worst, torch.tensor(ratios, dtype=torch.float64))
    except BadRequest:  # no such method, or one that draws its views from pictures in [0, 1]
        return math.nan
    return float(worst.mean())


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.double()))
