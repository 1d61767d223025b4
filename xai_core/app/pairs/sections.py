"""The sections under the tiles of the page Pairs: matching patches, metrics, networks, invariance, downloads."""

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xai_core.app.charts import pairs
from xai_core.app.pairs.tiles import PairSettings, Results, asked, both_maps, requests, title
from xai_core.app.pairs.views import TILE, Views, is_upload
from xai_core.app.shared import (
    cache,
    display,
    loaded_models,
    network_choice,
    network_outputs,
    page_links,
    page_work,
    picture_viewer,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.network_choice import Network
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.estimates import forward_passes
from xai_core.core import markdown
from xai_core.core.cache_key import run_key, text_digest
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.core.spreadsheet import csv_bytes
from xai_core.explanation import export, rendering
from xai_core.explanation.request import Request, joint_key
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs import reference
from xai_core.pairs.augment import TRANSFORMS
from xai_core.pairs.catalog import CLASS, PAIR_METHODS
from xai_core.pairs.evaluate import CONTROLS, evaluate_pair
from xai_core.pairs.explain import PairExplanation, PairSimilarity, ask_pair, explain_pair, pair_request
from xai_core.pairs.geometry import (
    AREA,
    CENTRE,
    GEOMETRY_METRICS,
    Geometry,
    cell_similarities,
    centres,
    matching_errors,
)
from xai_core.pairs.metrics import BOTH, PAIR_METRICS, PairMetric, Row
from xai_core.pairs.parts import PART_METRICS

SIDE = 330  # pixels: width of a view with patches
CONTROL_TITLES = dict(zip(CONTROLS, ("Control: random", "Control: centre", "Control: edges"), strict=True))
CONTROL_TITLES |= {AREA: "Baseline: area", CENTRE: "Baseline: centre prior"}


def _pick_patch() -> None:
    """Callback of the chart: a click on a patch sets the two numbers beside it."""
    picked = st.session_state["patches"]["selection"].get("patch")
    if picked:
        st.session_state["row"], st.session_state["column"] = int(picked[0]["row"]), int(picked[0]["column"])


def _patch_number(label: str, count: int) -> int:
    """A number from 1 to `count`, held in the page's address under its label.

    The address is written here: after a click has set the number, Streamlit's own binding no longer follows what is typed.
    """
    key = label.lower()
    value = st.session_state.get(key, st.query_params.get(key, ""))
    st.session_state[key] = min(int(value), count) if str(value).isdecimal() and int(value) else (count + 1) // 2
    number = st.number_input(label, 1, count, key=key, width=120)
    st.query_params[key] = str(number)
    return number


def matching(model: ExplainableModel, views: Views, settings: PairSettings) -> None:
    """A patch of view 1, and the patches of view 2 whose activations are most similar to it."""
    request = pair_request(model, views.first, views.second, cut=settings.cut).computing("cell similarities")
    stored = cache.get_or_compute(request.key, lambda: _cell_similarities(model, views, settings.cut))
    similarities = stored.astype(np.float32)
    rows, columns = similarities.shape[:2]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row, column = _patch_number("Row", rows), _patch_number("Column", columns)
        st.caption(
            f"The cut {markdown.escape(settings.cut)} has {rows} x {columns} patches. Click one in view 1, or "
            "enter its row and column."
        )
    cell, (first, second) = (row - 1, column - 1), views.images()
    values, truth, words = similarities[cell], None, ""
    if views.geometry is not None:
        x, y = views.geometry.in_other(1, centres((rows, columns))[cell]).tolist()
        truth = (x, y) if 0 <= x <= 1 and 0 <= y <= 1 else None
        words = _truth_in_words(similarities, views.geometry, cell)
    best_row, best_column = (int(index) + 1 for index in np.unravel_index(int(values.argmax()), values.shape))
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=SIDE):
            st.markdown("**View 1**: the chosen patch")
            display.chart(
                pairs.patch_picker(first, (rows, columns), cell, SIDE), width="content", key="patches",
                on_select=_pick_patch, selection_mode="patch", alt=f"View 1 with patch {row}, {column} outlined",
            )  # fmt: skip
        with st.container(width=SIDE):
            st.markdown("**View 2**: similarity of each patch")
            display.chart(
                pairs.patch_matches(second, values, truth, SIDE), width="content", key="answers",
                alt=f"View 2: the best match is row {best_row}, column {best_column}, cosine {values.max():.2f}",
            )  # fmt: skip
    st.caption(f"Best match: row {best_row}, column {best_column} (cosine {values.max():.3f}). {words}")


def _cell_similarities(model: ExplainableModel, views: Views, cut: str) -> NDArray[np.float16]:
    similarities = cell_similarities(ask_pair(model, views.first, views.second, cut=cut))
    return similarities.numpy().astype(np.float16)


def _truth_in_words(similarities: NDArray[np.float32], geometry: Geometry, cell: tuple[int, int]) -> str:
    """The error of the match, for this patch and on average."""
    errors = matching_errors(torch.from_numpy(similarities), geometry, 1)
    if not bool(errors.isfinite().any()):
        return "The views do not overlap, so there is no correct match."
    overall = (
        f"Mean error over all patches of view 1 that view 2 shows: {errors.nanmean():.2f} times the side length of view 2."
    )
    if math.isnan(errors[cell]):
        return f"View 2 does not show this patch. {overall}"
    return f"The white cross is the correct place: the error is {errors[cell]:.2f} times the side length. {overall}"


def metrics(model: ExplainableModel, views: Views, settings: PairSettings, results: Results) -> None:
    """Every metric of every method, beside the controls."""
    maps = {method: result for method, result in results.items() if not isinstance(result, XaiError)}
    if not maps:
        st.info("There is no map to measure.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        step = st.select_slider(
            "Pixels in each step", [224, 448, 896, 1792, 3584, 7168], 1792, key="step", width=320, help=STEP, **LINK
        )
        sensitivity = st.toggle("With max-sensitivity", False, key="ms", help=SENSITIVITY, **LINK)
    metrics = [metric for metric in PAIR_METRICS if metric != "MS" or sensitivity]
    metrics += list(GEOMETRY_METRICS) if views.geometry else []
    parts = None if settings.normalised else views.parts  # scenes are drawn anew in [0, 1]
    metrics += parts.metrics if parts else []
    name = _metrics_key(model, views, settings, list(maps), metrics, step)
    points = math.ceil(views.first[0].numel() / step) + 1
    passes = (len(maps) + len(CONTROLS)) * 4 * points + (20 * len(maps) if sensitivity else 0)
    passes += parts.passes if parts else 0

    def measure(track: Track) -> None:
        rows = evaluate_pair(
            *asked(model, views, settings), maps, metrics, geometry=views.geometry, parts=parts,
            similarity=settings.similarity, cut=settings.cut, step=step, controls=True, track=track,
        )  # fmt: skip
        cache.put(name, rows)

    seconds = network_outputs.pass_seconds(model, passes)
    page_work.complete(
        PageWork(
            name, [Part("Metrics", seconds, measure)] if cache.get(name) is None else [],
            f"Measure {page_work.counted(len(maps), 'method')} on the pair {views.name}", page_links.PAIRS, is_upload(),
            "Measure",
        )
    )  # fmt: skip
    rows: list[Row] | None = cache.get(name)
    st.caption(
        f"Changed and measured on: {'values behind the normalisation' if settings.normalised else 'pixels in [0, 1]'}."
        + (" Metrics of parts need pixels in [0, 1]." if settings.normalised and views.parts else "")
    )
    if rows is not None:
        _metric_results(rows, metrics, {method: title(method) for method in maps} | CONTROL_TITLES, views.name)


def _metrics_key(
    model: ExplainableModel,
    views: Views,
    settings: PairSettings,
    methods: Collection[str],
    metrics: Sequence[str],
    step: int,
) -> str:
    """The key of the metrics of these methods' maps. The cut counts also where no method depends on it: the correspondence
    error compares the activations there."""
    measured = [request for method, request in requests(model, views, settings).items() if method in methods]
    parts = f" {views.parts.key}" if views.parts else ""
    return joint_key(f"metrics of pairs {step} {metrics} {views.geometry} {settings.cut}{parts}", measured)


def _metric_results(rows: Sequence[Row], metrics: Sequence[str], titles: dict[str, str], name: str) -> None:
    """A chart of one metric, a table of all, and its download."""
    arrows = {id: f"{id} {'↑' if _metric(id).up else '↓'}" for id in metrics}
    id = st.selectbox(
        "Metric", metrics, format_func=lambda id: f"{arrows[id]} {_metric(id).title}", key="metric", help=ARROWS, **LINK
    )
    metric = _metric(id)
    values = {titles[row.method]: row.value for row in rows if row.metric == id and row.view == BOTH}
    alt = f"{metric.title}: " + ", ".join(
        f"{title} {'undefined' if math.isnan(value) else f'{value:.3f}'}" for title, value in values.items()
    )
    display.chart(pairs.metric_bars(rows, metric, titles), width="stretch", key="metric_chart", alt=alt)
    dots = " Dots: each view." if any(row.metric == id and row.view != BOTH for row in rows) else ""
    st.caption(f"{metric.words}. Grey bars: controls that do not depend on the network.{dots}")
    table = pd.DataFrame([row._asdict() for row in rows])
    table["map"] = [titles[method] for method in table["method"]]
    wide = table[table["view"] == BOTH].pivot(index="map", columns="metric", values="value")
    columns = [id for id in metrics if id in wide]
    help = {arrows[id]: st.column_config.NumberColumn(help=f"{_metric(id).title}: {_metric(id).words}") for id in columns}
    display.table(
        wide[columns].rename(columns=arrows).round(4), "Values of all metrics, over both views", column_config=help
    )
    if AREA in set(table["method"]):
        st.caption(
            "The baselines have values only for metrics that compare a map with the overlap of the views, or with the parts "
            "of a drawn picture; their other cells are empty."
        )
    reasons = [
        "the similarity is not positive, so it cannot drop",
        "all cells of a map are equal",
        "the views do not overlap",
    ]
    reasons += [note[:1].lower() + note[1:].rstrip(".") for note in dict.fromkeys(row.note for row in rows if row.note)]
    undefined = int(table["value"][table["view"] == BOTH].isna().sum())
    if undefined:
        st.caption(
            f"{undefined} {'value is' if undefined == 1 else 'values are'} undefined and left empty. Possible reasons: "
            f"{'; '.join(reasons)}."
        )
    display.downloads({"Every value (CSV)": (f"{name}_metrics.csv", "text/csv", csv_bytes(table))})


STEP = "Pixels that change from one point of a curve to the next. The published tables use 224; larger steps are faster."
ARROWS = "↑ higher is better, ↓ lower is better."
SENSITIVITY = "Computes every map again for ten noisy copies of the views."


def _metric(id: str) -> PairMetric:
    return (PAIR_METRICS | GEOMETRY_METRICS | PART_METRICS)[id]


def networks(views: Views, settings: PairSettings, smooth: bool) -> None:
    """The same two views in several networks, for example supervised and self-supervised ones."""
    networks = network_choice.choose()
    methods = [method for method in settings.methods if not method.startswith(CLASS)] or ["grad_cam"]
    method = st.selectbox("Method of the comparison", methods, format_func=title, key="network_method", **LINK)
    if len(networks) < 2:
        st.info("Choose at least two networks.")
        return
    options = settings.methods.get(method, {})

    def stored(network: Network) -> PairExplanation | XaiError | None:
        result: PairExplanation | XaiError | None = cache.get(_network_key(network, views, method, options, settings.seed))
        return result

    def part(network: Network) -> Part:
        def compute(track: Track) -> None:
            result: PairExplanation | XaiError
            try:
                model = loaded_models.model(network.id, network.checkpoint)
                first, second = _at_input_size(views, model)
                result = explain_pair(model, first, second, method, seed=settings.seed, track=track, **options)
            except XaiError as error:
                result = error
            # The key of the weights that are there after the download.
            cache.put(_network_key(network, views, method, options, settings.seed), result)

        return Part(network.title, _seconds(network, method, options), compute)

    missing = [network for network in networks if stored(network) is None]
    page_work.complete(
        PageWork(
            # Without the weights: a download that is part of the work changes them.
            text_digest(f"networks {views.digest} {[*map(tuple, networks)]} {method} {options} {settings.seed}"),
            [part(network) for network in missing],
            f"Compare {len(networks)} networks on the pair {views.name}",
            page_links.PAIRS,
            is_upload(),
            "Compare networks",
        )
    )
    with st.container(horizontal=True, gap="small"):
        for network in networks:
            result = stored(network)
            if result is None:
                continue
            with st.container(border=True, width=2 * TILE + 60):
                if isinstance(result, XaiError):
                    st.markdown(f"**{markdown.escape(network.title)}**")
                    st.error(error_text(result))
                else:
                    st.markdown(f"**{markdown.escape(network.title)}**: cosine **{result[0].target_value:.3f}**")
                    both_maps(result, views, smooth, network.title)
    if settings.normalised:
        st.caption(NETWORKS_SPACE)
    st.caption(
        "Cosines of different networks cannot be compared directly. Compare where each lies among random pairs of its own "
        "network."
    )


NETWORKS_SPACE = (
    "These maps are made of pixels in [0, 1], also while the space on the left is that of normalised values: each network "
    "has a normalisation of its own, and only pixels are the same for all of them."
)


def _network_key(network: Network, views: Views, method: str, options: Mapping[str, Any], seed: int) -> str:
    """The key of one network's maps; it is made without loading the network."""
    return run_key(
        picture=views.digest,
        model=network.id,
        weights=loaded_models.weights_of(*network),
        cut="",
        target="cosine of two views",
        method=method,
        version=PAIR_METHODS[method].version,
        options=options,
        seed=seed,
        precision="exact",
    )


def _seconds(network: Network, method: str, options: Mapping[str, Any]) -> float:
    """Estimated seconds to load this network and compute its maps."""
    passes = forward_passes(PAIR_METHODS[method].passes(PAIR_METHODS[method].checked(options)))
    return 0.5 + network_outputs.network_seconds(*network, passes)


def _at_input_size(views: Views, model: ExplainableModel) -> tuple[Tensor, Tensor]:
    """The views, resized for a network that accepts a single size."""
    size = model.network.input_size
    if size is None or tuple(views.first.shape[1:]) == tuple(size):
        return views.first, views.second
    first, second = (
        F.interpolate(view[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
        for view in (views.first, views.second)
    )
    return first, second


def invariance(model: ExplainableModel, views: Views, settings: PairSettings, smooth: bool) -> None:
    """The similarity of view 1 to itself under each augmentation of growing strength, and the maps for one of them."""
    similarity, picture = settings.similarity, model.prepare(views.first)
    request = Request(model, (picture,), PairSimilarity(similarity), method="similarity by strength")
    rows = cache.get_or_compute(
        request.key, lambda: reference.similarity_by_strength(model, views.first, similarity=similarity)
    )
    least = min(rows, key=lambda row: float(row["similarity"]))
    alt = f"Similarity of view 1 to itself after each augmentation; lowest after {least['augmentation']}"
    display.chart(pairs.strength_lines(rows, similarity.words), width="stretch", key="strengths", alt=alt)
    with st.container(horizontal=True):
        augmentations = [reference.CROP, *TRANSFORMS]
        name = st.selectbox("Augmentation", augmentations, format_func=str.capitalize, key="augmentation", **LINK)
        quick = [method for method in PAIR_METHODS if "cam" in method or method.startswith("input_x")]
        method = st.selectbox("Map", quick, format_func=title, key="strength_method", **LINK)
    maps_request = request.computing("maps by strength", augmentation=name, map=method)
    maps = cache.get_or_compute(maps_request.key, lambda: _maps_by_strength(model, views, settings, name, method))
    scale = rendering.scale_of(*(explanation for both in maps.values() for explanation in both if explanation is not None))
    with st.container(horizontal=True, gap="small"):
        for strength, (first, second) in maps.items():
            explanation = second or first
            view = rendering.to_pil(reference.changed(views.first, name, strength, 0))
            said = f"strength {strength:g}"
            with st.container(width=TILE):
                st.markdown(f"{said.capitalize()}: **{first.target_value:.3f}**")
                picture_viewer.overlay(
                    view, explanation, scale, rendering.alt_text(explanation, said.capitalize()), said, linked=said,
                    width=TILE, smooth=smooth, said=f"{name}, {said}",
                )  # fmt: skip
    if settings.normalised:
        st.caption(INVARIANCE_SPACE)
    st.caption(
        f"The map of the augmented view at each strength, all on one scale: {scale.words}. At strength 0 both views are the "
        "same picture: they cannot become more similar, so the gradients of the cosine are zero."
    )


INVARIANCE_SPACE = (
    "These maps are made of pixels in [0, 1], also while the space on the left is that of normalised values: the "
    "augmentations are defined for pixels."
)


def _maps_by_strength(
    model: ExplainableModel, views: Views, settings: PairSettings, name: str, method: str
) -> dict[float, PairExplanation]:
    """The maps at each strength, without the views: these are parts of a picture and are drawn again when shown."""
    steps = reference.maps_by_strength(model, views.first, name, method, similarity=settings.similarity)
    return {step.strength: step.maps for step in steps}


def downloads(views: Views, settings: PairSettings, results: Results) -> None:
    """All maps of the page: one sheet, the views and raw maps, the settings."""
    maps = {
        f"{method}/{view}": explanation
        for method, result in results.items()
        if not isinstance(result, XaiError)
        for view, explanation in enumerate(result, start=1)
        if explanation is not None
    }
    if not maps:
        st.info("There is no map to download.")
        return

    def arrays() -> bytes:
        buffer = io.BytesIO()
        content: dict[str, Any] = {key: explanation.heatmap for key, explanation in maps.items()}
        np.savez_compressed(buffer, **content, view1=views.first.numpy(), view2=views.second.numpy())
        return buffer.getvalue()

    def sheet() -> bytes:
        images = dict(zip(("View 1", "View 2"), views.images(), strict=True))
        overlays = {
            f"{explanation.title}, view {key[-1]}": _overlay(explanation, images[f"View {key[-1]}"], maps)
            for key, explanation in maps.items()
        }
        return export.png_bytes(rendering.sheet(images | overlays, 2), next(iter(maps.values())))

    described = {key: json.loads(export.json_text(explanation)) for key, explanation in maps.items()}
    display.downloads(
        {
            "One sheet (PNG)": (f"{views.name}_pair.png", "image/png", sheet),
            "Views and raw maps (NPZ)": (f"{views.name}_pair.npz", "application/octet-stream", arrays),
            "Settings (JSON)": (f"{views.name}_pair.json", "application/json", json.dumps(described, indent=2)),
        }
    )


def _overlay(explanation: Explanation, view: Image.Image, maps: Mapping[str, Explanation]) -> Image.Image:
    """A map over its view, on the scale of its method's two maps."""
    scale = rendering.scale_of(*(other for other in maps.values() if other.method == explanation.method))
    return rendering.with_bar(rendering.overlay(explanation, view, scale), scale)
