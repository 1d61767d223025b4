"""The sections under the tiles of the page Method comparison: agreement, consensus, sanity check, layers, downloads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from xai_core.analysis import findings, sanity_check
from xai_core.app.charts import common
from xai_core.app.methods.tiles import LINKED, Explanations
from xai_core.app.shared import (
    display,
    explanations,
    loaded_models,
    page_links,
    page_work,
    picture_viewer,
    report_items,
    widgets,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.explanations import name_of
from xai_core.app.shared.widgets import LINK, Chosen, method_title
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, settings
from xai_core.core.errors import XaiError
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import agreement as map_agreement
from xai_core.explanation import export, heatmaps, rendering
from xai_core.explanation.request import Request, joint_key
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.models.explainable import ExplainableModel


def agreement(maps: Explanations) -> None:
    """The agreement matrix, clustered."""
    measure = st.segmented_control(
        "Measure", map_agreement.MEASURES, default="spearman", required=True,
        format_func=lambda id: map_agreement.MEASURES[id][0], key="measure", **LINK,
    )  # fmt: skip
    matrix = map_agreement.agreement(list(maps.values()), measure)
    order = map_agreement.clustered(matrix)
    titles = [list(maps.values())[index].title for index in order]
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    pairs = pairs[np.isfinite(pairs)]
    if not len(pairs):
        st.info("There is nothing to compare: at most one of these maps has cells that differ.")
        return
    title = map_agreement.MEASURES[measure][0]
    display.finding(findings.of_agreement([map.title for map in maps.values()], matrix, title))
    chart = common.agreement_matrix(matrix[np.ix_(order, order)], titles, title)
    words = (
        f"{title} of the maps of {', '.join(titles)}: {np.min(pairs):.2f} to {np.max(pairs):.2f}, mean {np.mean(pairs):.2f}."
    )
    with st.container(width=chart.width):
        display.chart(chart, words, width="stretch")
    st.caption(
        f"Maps are compared on {map_agreement.GRID} x {map_agreement.GRID} cells. Methods that agree most are neighbours. "
        "A dash means that all cells of a map are equal."
    )


def consensus(maps: Explanations, chosen: Chosen) -> None:
    """Mean and standard deviation of the cells' ranks over the methods."""
    mean, dissent = map_agreement.consensus(list(maps.values()))
    first = next(iter(maps.values()))
    grids = {
        "Consensus": (mean, "Mean rank of each cell over the methods: 1 is where every method has its strongest cell."),
        "Dissent": (dissent, "Standard deviation of the ranks: high where the methods contradict each other."),
    }
    with st.container(horizontal=True):
        for name, (grid, words) in grids.items():
            explanation = replace(first, heatmap=grid, signed=False, error=None, title=name)
            scale = rendering.scale_of(explanation, mode="full")
            alt = f"{name} of {len(maps)} methods: strongest {heatmaps.centre_of_mass_words(grid - grid.min())}"
            with st.container(width=2 * display.TILE):
                st.markdown(f"**{name}**")
                picture_viewer.overlay(
                    chosen.picture,
                    explanation,
                    scale,
                    alt,
                    name,
                    linked=LINKED,
                    width=2 * display.TILE,
                    smooth=True,
                    said=name,
                    caption=f"{alt}. {words}",
                )
                st.caption(f"{words} Colours: {scale.low:.2f} to {scale.high:.2f}.")


def sanity(requests: Sequence[Request], maps: Explanations, chosen: Chosen, smooth: bool) -> None:
    """The same maps for an untrained network and for another class: a map that stays the same explains neither."""
    st.markdown(
        "Sanity check of Adebayo et al. (2018): a map that hardly changes when the **weights are randomised**, or when "
        "**another class** is explained, shows the picture or the architecture, not what this model learned. "
        "ρ is the rank correlation with the original map: 1 is the same map, 0 an unrelated one."
    )
    originals = [request for request in requests if name_of(request) in maps]
    changes = _changed(originals)
    changed = [request for _, request in changes]
    name = joint_key("sanity check", changed)
    now = page_work.start_now(
        explanations.work(
            changed,
            name,
            f"Sanity check of {page_work.counted(len(originals), 'method')} on {chosen.name}",
            page_links.METHODS,
            private=widgets.is_upload(),
            button="Check",
        )
    )
    bar = st.empty()
    rows = {name_of(request): st.container(horizontal=True, gap="small") for request in originals}
    for request in originals:
        with rows[name_of(request)]:
            _small_map(maps[name_of(request)], chosen, smooth, f"**{explanations.title_of(request)}**")
    words = {request.key: markdown.escape(change.words) for change, request in changes}
    for request, result in explanations.compute_each(changed, name, now, bar):
        with rows[name_of(request)]:
            if isinstance(result, Explanation):
                rho = sanity_check.resemblance(maps[name_of(request)], result)
                verdict = " – **hardly changed**" if abs(rho) > sanity_check.HARDLY_CHANGED else ""
                _small_map(result, chosen, smooth, f"{words[request.key]}: {sanity_check.in_words(rho)}{verdict}")
            elif isinstance(result, XaiError):
                with st.container(width=display.TILE):
                    st.markdown(words[request.key])
                    st.error(error_text(result))


def _changed(originals: Sequence[Request]) -> list[tuple[sanity_check.Change, Request]]:
    """The requests of the sanity check: each of `originals` after each change."""
    model, target = originals[0].model, originals[0].target
    assert isinstance(target, Target)  # the pages name the class
    return [
        (change, replace(request, model=change.model, target=change.target))
        for change in sanity_check.changes(model, target, loaded_models.model(model.id, loaded_models.RANDOM))
        for request in originals
    ]


def layers(model: ExplainableModel, prepared: Prepared, target: Target, chosen: Chosen, smooth: bool) -> None:
    """The maps of one method at all cuts, from the input to the output."""
    with_cut = [id for id, method in METHODS.items() if "cut" in method.needs and method.misfit(model) is None]
    method = st.selectbox("Method", with_cut, format_func=method_title, key="sweep", **LINK)
    (request,) = explanations.requests(model, prepared, target, [method])
    requests = [replace(request, cut=cut) for cut in model.cuts]
    name = joint_key("layers", requests)
    now = page_work.start_now(
        explanations.work(
            requests,
            name,
            f"{method_title(method)} at {page_work.counted(len(requests), 'layer')} on {chosen.name}",
            page_links.METHODS,
            private=widgets.is_upload(),
            button="Compute all layers",
        )
    )
    bar = st.empty()
    row = st.container(horizontal=True, gap="small")
    places = {request.cut: row.container(width=display.TILE) for request in requests}
    for request, result in explanations.compute_each(requests, name, now, bar):
        with places[request.cut]:
            if isinstance(result, Explanation):
                height, width = result.heatmap.shape
                _small_map(result, chosen, smooth, f"**{request.cut}** {height} x {width}")
            elif isinstance(result, XaiError):
                st.markdown(f"**{markdown.escape(request.cut)}**")
                st.error(error_text(result))


def _small_map(explanation: Explanation, chosen: Chosen, smooth: bool, words: str) -> None:
    """A map with words below it, as wide as a tile."""
    with st.container(width=display.TILE):
        alt = rendering.alt_text(explanation, words.replace("*", ""))
        picture_viewer.overlay(
            chosen.picture, explanation, rendering.scale_of(explanation), alt, f"map {explanation.key}",
            linked=LINKED, width=display.TILE, smooth=smooth, said=words.replace("*", ""),
        )  # fmt: skip
        st.markdown(words)


def downloads(requests: Sequence[Request], maps: Explanations, chosen: Chosen) -> None:
    """All maps of the page: one sheet, the raw values, and the settings with the results of the checks."""
    with_map = [request for request in requests if name_of(request) in maps]
    results = {name_of(request): result for request in requests if (result := explanations.find(request)) is not None}
    first = next(iter(maps.values()))
    stem = f"{chosen.name}_{first.model}_methods"

    def sheet() -> bytes:
        return export.png_bytes(rendering.sheet_of_methods(list(maps.values()), chosen.picture), first)

    display.downloads(
        {
            "One sheet (PNG)": (f"{stem}.png", "image/png", sheet),
            "Raw maps (NPZ)": (f"{stem}.npz", "application/octet-stream", lambda: export.npz_of_many(maps)),
            "Settings (JSON)": (
                f"{stem}.json", "application/json", lambda: export.manifest(results, _checks(with_map, maps)),
            ),
        },
        lambda: report_items.add_picture(
            sheet, f"{len(maps)} maps of {chosen.name}, each with its own scale: {first.target}, {first.model}",
            "all maps in one sheet", "sheet",
        ),
    )  # fmt: skip
    st.caption(
        "The sheet shows every map with its scale. The JSON file holds every setting, the score of the quick deletion check "
        f"and, if it was computed, the sanity check. The same on the command line: `{settings.PROGRAM} compare --sanity`."
    )


def _checks(requests: Sequence[Request], maps: Explanations) -> dict[str, dict[str, Any]]:
    """The results of the checks of each map, in the form that the command line writes."""
    scores = explanations.quick_deletion(requests, [maps[name_of(request)] for request in requests])
    checks: dict[str, dict[str, Any]] = {
        name_of(request): {"quick_deletion": score} for request, score in zip(requests, scores, strict=True)
    }
    for change, request in _changed(requests):
        result = explanations.find(request)
        if result is not None:
            rho = result if isinstance(result, XaiError) else sanity_check.resemblance(maps[name_of(request)], result)
            checks[name_of(request)].setdefault("sanity", {})[change.id] = rho
    return checks
