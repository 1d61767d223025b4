"""What stands under the tiles of the comparison page: agreement, consensus, sanity check, layers, downloads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from xai_core.analysis import sanity_check
from xai_core.app.charts import common
from xai_core.app.methods.tiles import Results
from xai_core.app.shared import display, explanations, loaded_models, progress
from xai_core.app.shared.widgets import LINK, Chosen, method_title
from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import XaiError
from xai_core.explanation import agreement as map_agreement
from xai_core.explanation import export, heatmaps, rendering
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.models.explainable import ExplainableModel


def agreement(found: Results) -> None:
    """The agreement matrix, clustered."""
    measure = st.segmented_control(
        "Measure", map_agreement.MEASURES, default="spearman", required=True,
        format_func=lambda id: map_agreement.MEASURES[id][0], key="measure", **LINK,
    )  # fmt: skip
    matrix = map_agreement.agreement(list(found.values()), measure)
    order = map_agreement.clustered(matrix)
    names = [list(found.values())[index].title for index in order]
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    pairs = pairs[np.isfinite(pairs)]
    if not len(pairs):
        st.info("No two of these maps prefer any place, so that there is nothing to compare.")
        return
    said = map_agreement.MEASURES[measure][0]
    chart = common.agreement_matrix(matrix[np.ix_(order, order)], names, said)
    st.container(width=chart.width).altair_chart(
        chart,
        width="stretch",
        alt=f"{said} of {len(names)} maps: {np.min(pairs):.2f} to {np.max(pairs):.2f}, mean {np.mean(pairs):.2f}.",
    )
    st.caption(
        f"Maps are compared on {map_agreement.GRID} x {map_agreement.GRID} cells; neighbours in the chart agree most. "
        "A dash: a map that prefers no place."
    )


def consensus(found: Results, chosen: Chosen) -> None:
    """Where the methods agree, and where they do not."""
    mean, dissent = map_agreement.consensus(list(found.values()))
    one = next(iter(found.values()))
    told = {
        "Consensus": (mean, "Mean rank of each cell over the methods: 1 is where every method has its strongest cell."),
        "Dissent": (dissent, "Standard deviation of the ranks: high where the methods contradict each other."),
    }
    with st.container(horizontal=True):
        for name, (grid, words) in told.items():
            map_of = replace(one, heatmap=grid, signed=False, error=None, title=name)
            scale = rendering.scale_of(map_of, mode="full")
            place = heatmaps.centre_of_mass_words(grid - grid.min())
            with st.container(width=2 * display.TILE):
                st.markdown(f"**{name}**")
                display.map_picture(
                    map_of, chosen, scale, True, f"{name} of {len(found)} methods: strongest {place}", "stretch"
                )
                st.caption(f"{words} Colours: {scale.low:.2f} to {scale.high:.2f}.")


def sanity(wanted: Sequence[explanations.Run], found: Results, chosen: Chosen) -> None:
    """The same maps for an untrained network and for another class: a map that stays the same explains neither."""
    st.markdown(
        "Adebayo et al. (2018): if the map hardly changes when the **weights are randomised**, or when **another class** is "
        "asked for, it shows the picture, or the architecture, rather than what this model learned. "
        "ρ is the rank correlation with the original map: 1 is the same map, 0 a different one."
    )
    originals, changed = [run for run in wanted if run.method.id in found], _changed(wanted, found)
    every = [run for _, run in changed]
    seconds = sum(run.estimate for run in every if explanations.find(run) is None)
    name = explanations.name_of("sanity", every)
    now = progress.should_start(name, seconds, button="Check")
    bar = st.empty()
    rows = {run.method.id: st.container(horizontal=True, gap="small") for run in originals}
    for run in originals:
        with rows[run.method.id]:
            _small(found[run.method.id], chosen, f"**{run.method.title}**")
    words = {id(run): change.words for change, run in changed}
    for run, result in explanations.compute_each(every, name, now, bar):
        with rows[run.method.id]:
            if result is None:
                continue
            if isinstance(result, Explanation):
                rho = sanity_check.resemblance(found[run.method.id], result)
                same = " – **hardly changed**" if abs(rho) > sanity_check.HARDLY_CHANGED else ""
                _small(result, chosen, f"{words[id(run)]}: {sanity_check.in_words(rho)}{same}")
            elif isinstance(result, XaiError):
                with st.container(width=display.TILE):
                    st.markdown(words[id(run)])
                    st.error(str(result))


def _changed(wanted: Sequence[explanations.Run], found: Results) -> list[tuple[sanity_check.Change, explanations.Run]]:
    """The runs of the sanity check: each method that gave a map, after each change."""
    originals = [run for run in wanted if run.method.id in found]
    model, target = originals[0].model, originals[0].target
    return [
        (change, replace(run, model=change.model, target=change.target))
        for change in sanity_check.changes(model, target, loaded_models.model(model.id, "random"))
        for run in originals
    ]


def layers(model: ExplainableModel, chosen: Chosen, target: Target) -> None:
    """One method over all cuts, from the picture to the output."""
    with_cut = [id for id, method in METHODS.items() if "cut" in method.needs and method.misfit(model) is None]
    method = st.selectbox("Method", with_cut, format_func=method_title, key="sweep", **LINK)
    base = explanations.runs(model, chosen, target, [method])[0]
    sweep = [replace(base, cut=cut) for cut in model.cuts]
    seconds = sum(run.estimate for run in sweep if explanations.find(run) is None)
    name = explanations.name_of("sweep", sweep)
    now = progress.should_start(name, seconds, button="Sweep")
    bar = st.empty()
    strip = st.container(horizontal=True, gap="small")
    places = {run.cut: strip.container(width=display.TILE) for run in sweep}
    for run, result in explanations.compute_each(sweep, name, now, bar):
        with places[run.cut]:
            if isinstance(result, Explanation):
                rows, columns = result.heatmap.shape
                _small(result, chosen, f"**{run.cut}** {rows} x {columns}")
            elif isinstance(result, XaiError):
                st.markdown(f"**{run.cut}**")
                st.error(str(result))


def _small(found: Explanation, chosen: Chosen, words: str) -> None:
    """A map on its native grid, and words below it, so that the maps of one row stand side by side."""
    with st.container(width=display.TILE):
        display.map_picture(
            found, chosen, rendering.scale_of(found), False, rendering.alt_text(found, words.replace("*", ""))
        )
        st.markdown(words)


def downloads(wanted: Sequence[explanations.Run], found: Results, chosen: Chosen) -> None:
    """Everything on the page: one sheet, the raw maps, the settings with what the checks found."""
    runs = [run for run in wanted if run.method.id in found]
    everything = {run.method.id: result for run in wanted if (result := explanations.find(run)) is not None}
    first = next(iter(found.values()))
    stem = f"{chosen.name}_{first.model}_methods"
    kinds = {
        "One sheet (PNG)": (
            f"{stem}.png",
            "image/png",
            lambda: export.png_bytes(rendering.sheet_of_methods(list(found.values()), chosen.picture), first),
        ),
        "Raw maps (NPZ)": (f"{stem}.npz", "application/octet-stream", lambda: export.npz_of_many(found)),
        "Settings (JSON)": (
            f"{stem}.json",
            "application/json",
            lambda: export.manifest(everything, _checks(runs, found)),
        ),
    }
    display.downloads(kinds)
    st.caption(
        "The sheet has every map with its scale; the JSON every setting, the quick deletion score, and the sanity check "
        "where it was made. The same on the command line: `python -m xai_core compare --sanity`."
    )


def _checks(runs: Sequence[explanations.Run], found: Results) -> dict[str, dict[str, Any]]:
    """What is known of each map beside itself, as the command line writes it."""
    scores = explanations.quick_deletion(runs, [found[run.method.id] for run in runs])
    checks: dict[str, dict[str, Any]] = {
        run.method.id: {"quick_deletion": score} for run, score in zip(runs, scores, strict=True)
    }
    for change, run in _changed(runs, found):
        result = explanations.find(run)
        if result is not None:
            said = result if isinstance(result, XaiError) else sanity_check.resemblance(found[run.method.id], result)
            checks[run.method.id].setdefault("sanity", {})[change.id] = said
    return checks
