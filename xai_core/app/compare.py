"""What the method-comparison page is made of: tiles, agreement, consensus, sanity, layers, downloads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from xai_core import charts, comparing, exporting, heatmaps, rendering
from xai_core.app import compute
from xai_core.app.pickers import LINK, Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.errors import XaiError
from xai_core.explanation import Explanation
from xai_core.models.explainable import ExplainableModel
from xai_core.options import check_options
from xai_core.samples import SAMPLES
from xai_core.targets import ClassLogit, Target

TILE = 186  # pixels; four in a row on a laptop's screen
DEFAULT = ["grad_cam", "hires_cam", "layer_cam", "eigen_cam", "saliency", "input_x_gradient"]
Results = Mapping[str, Explanation]


class View(NamedTuple):
    """How the tiles are shown."""

    sort: str
    shared_scale: bool
    smooth: bool
    blind: bool


def methods(model: ExplainableModel) -> list[str]:
    """The methods to compare; those that do not fit the model are named with the reason."""
    fitting = [id for id, method in METHODS.items() if method.misfit(model) is None]
    chosen = st.multiselect(
        "Methods", fitting, [id for id in DEFAULT if id in fitting], format_func=title, key="methods", **LINK
    )
    reasons = [method.misfit(model) for method in METHODS.values() if method.misfit(model)]
    if reasons:
        st.caption("Not for this model: " + " ".join(reasons))
    return chosen


def title(method: str) -> str:
    return METHODS[method].title


def view() -> View:
    sort = st.selectbox("Order", ["Family", "Cost", "Agreement"], key="order", help=ORDER, **LINK)
    scale = st.segmented_control(
        "Colour scale", ["Each its own", "Common"], default="Each its own", required=True, key="scale", help=SCALE, **LINK
    )
    resolution = st.segmented_control(
        "Resolution", ["Smooth", "Native grid"], default="Smooth", required=True, key="resolution", **LINK
    )
    blind = st.toggle("Blind vote: hide the names", key="blind", help=BLIND, **LINK)
    return View(sort, scale == "Common", resolution == "Smooth", blind)


ORDER = "Agreement: the method that agrees most with all others (mean rank correlation) first."
SCALE = (
    "Methods have different units: a common scale compares amounts only among methods of one unit. Signed and unsigned "
    "maps always have scales of their own."
)
BLIND = "Tiles are shuffled and lettered. Mark the best one; only then are the names shown."


def runs(model: ExplainableModel, chosen: Chosen, target: Target, names: Sequence[str]) -> list[compute.Run]:
    """One run for each method, with its default options, at the model's default cut."""
    prepared, cut = model.prepare(chosen.picture), model.network.cut_name(None)
    return [
        compute.Run(
            model, chosen.picture, prepared, target, METHODS[name], cut, check_options(METHODS[name].run, {}), "exact", 0
        )
        for name in names
    ]


def tiles(wanted: Sequence[compute.Run], chosen: Chosen, how: View, name: str, now: bool) -> Results:
    """The grid; each tile is filled as its map is ready. A failed method has its message in its tile."""
    keys = {run.key: compute.known(run) for run in wanted}
    done = {run.method.id: keys[run.key] for run in wanted if isinstance(keys[run.key], Explanation)}
    order = _ordered(wanted, done, how)
    grid = st.container(horizontal=True, gap="small")
    places = {run.key: grid.container(border=True, width=TILE + 34) for run in order}
    letters = {run.key: chr(ord("A") + place) for place, run in enumerate(order)} if how.blind else {}
    found: dict[str, Explanation] = {}
    for run, result in compute.compute_each(order, name, now):
        with places[run.key]:
            st.markdown(f"**{letters.get(run.key) or run.method.title}**")
            if result is None:
                st.caption("Not computed.")
            elif isinstance(result, XaiError):
                st.error(str(result))
            else:
                found[run.method.id] = result
                _tile(run, result, chosen, how, list(done.values()) or [result])
    if how.blind and found:
        _vote(order, letters)
    return {run.method.id: found[run.method.id] for run in order if run.method.id in found}


def _ordered(wanted: Sequence[compute.Run], done: Results, how: View) -> list[compute.Run]:
    order = sorted(wanted, key=lambda run: list(METHODS).index(run.method.id))
    if how.sort == "Cost":
        order.sort(key=lambda run: run.estimate)
    if how.sort == "Agreement" and len(done) == len(wanted) > 1:
        matrix = comparing.agreement(list(done.values()))
        mean = dict(zip(done, np.nanmean(np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix), axis=1), strict=True))
        order.sort(key=lambda run: -np.nan_to_num(mean[run.method.id], nan=-2))
    if how.blind:
        order = [order[index] for index in np.random.default_rng(len(order)).permutation(len(order))]
    return order


def _tile(run: compute.Run, found: Explanation, chosen: Chosen, how: View, all_found: Sequence[Explanation]) -> None:
    alike = [one for one in all_found if one.signed == found.signed] if how.shared_scale else [found]
    scale = rendering.scale_of(*(alike or [found]))
    drawn = rendering.overlay(found, chosen.picture, scale, smooth=how.smooth, size=fitted(chosen.picture.size))
    name = "Overlay" if not how.blind else "Overlay of a hidden method"
    alt = name if how.blind else rendering.alt_text(found, name)
    st.image(drawn, width=TILE, output_format="PNG", alt=alt)
    if how.blind:
        return
    rows, columns = found.heatmap.shape
    seconds = f"{found.seconds:.1f} s" if found.seconds >= 1 else f"{1000 * found.seconds:.0f} ms"
    sign = "signed" if found.signed else "unsigned"
    st.caption(f"{sign}, {rows} x {columns}, {scale.low:.2g} to {scale.high:.2g}; {found.passes}; {seconds}")
    for trouble in found.health:
        st.warning(trouble)
    _link_to_single(found, chosen)


def _link_to_single(found: Explanation, chosen: Chosen) -> None:
    """A deep link, in a tab of its own: inside a session, Streamlit drops settings that both pages have from a link."""
    if chosen.name in SAMPLES:  # an upload lives in this session only
        here = {"methods", "order", "scale", "blind", "more", "measure", "sweep"}
        settings = {name: value for name, value in st.query_params.to_dict().items() if name not in here}
        address = f"Single_image?{urlencode(settings | {'method': found.title})}"
        st.link_button("Open", address, icon=":material/open_in_new:", help=f"{found.title} on the single-image page")


def fitted(size: tuple[int, int]) -> tuple[int, int]:
    return 2 * TILE, max(1, round(2 * TILE * size[1] / size[0]))


def _vote(order: Sequence[compute.Run], letters: Mapping[str, str]) -> None:
    """Mark the best tile; the names are shown once that is done."""
    best = st.segmented_control("Which map explains best?", [letters[run.key] for run in order], key="best")
    if best:
        names = {letters[run.key]: run.method.title for run in order}
        st.success(
            f"You chose **{names[best]}**. " + ", ".join(f"{letter}: {name}" for letter, name in sorted(names.items()))
        )


def agreement(found: Results) -> None:
    """The agreement matrix, clustered."""
    measure = st.segmented_control(
        "Measure", comparing.MEASURES, default="spearman", required=True, format_func=lambda id: comparing.MEASURES[id][0],
        key="measure", **LINK,
    )  # fmt: skip
    matrix = comparing.agreement(list(found.values()), measure)
    order = comparing.clustered(matrix)
    names = [list(found.values())[index].title for index in order]
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    said = comparing.MEASURES[measure][0]
    chart = charts.agreement_matrix(matrix[np.ix_(order, order)], names, said)
    st.container(width=chart.width).altair_chart(
        chart,
        width="stretch",
        alt=f"{said} of {len(names)} maps: {np.nanmin(pairs):.2f} to {np.nanmax(pairs):.2f}, mean {np.nanmean(pairs):.2f}.",
    )
    st.caption(
        f"Maps are compared on {comparing.GRID} x {comparing.GRID} cells; neighbours in the chart agree most. "
        "A dash: a map that prefers no place."
    )


def consensus(found: Results, chosen: Chosen) -> None:
    """Where the methods agree, and where they do not."""
    mean, dissent = comparing.consensus(list(found.values()))
    one = next(iter(found.values()))
    told = {
        "Consensus": (mean, "Mean rank of each cell over the methods: 1 is where every method has its strongest cell."),
        "Dissent": (dissent, "Standard deviation of the ranks: high where the methods contradict each other."),
    }
    with st.container(horizontal=True):
        for name, (grid, words) in told.items():
            map_of = replace(one, heatmap=grid, signed=False, error=None, title=name)
            scale = rendering.scale_of(map_of, mode="full")
            with st.container(width=420):
                st.markdown(f"**{name}**")
                drawn = rendering.overlay(map_of, chosen.picture, scale, size=fitted(chosen.picture.size))
                place = heatmaps.centre_of_mass_words(grid - grid.min())
                st.image(
                    drawn, output_format="PNG", width="stretch", alt=f"{name} of {len(found)} methods: strongest {place}"
                )
                st.caption(f"{words} Colours: {scale.low:.2f} to {scale.high:.2f}.")


def sanity(wanted: Sequence[compute.Run], found: Results, chosen: Chosen) -> None:
    """The same maps for an untrained network and for another class: a map that stays the same explains neither."""
    runs = [run for run in wanted if run.method.id in found]
    if not isinstance(runs[0].target, ClassLogit):
        st.info("The sanity check asks about the logit of one class: choose 'One class' and its logit on the left.")
        return
    st.markdown(
        "Adebayo et al. (2018): if the map hardly changes when the **weights are randomised**, or when **another class** is "
        "asked for, it shows the picture, or the architecture, rather than what this model learned."
    )
    untrained = compute.model(runs[0].model.id, "random")
    other = (runs[0].target.classes[0] + 500) % len(runs[0].model.class_names)
    changed = {
        "weights randomised": [replace(run, model=untrained) for run in runs],
        f"asked for {runs[0].model.class_name(other).split(',')[0]}": [
            replace(run, target=ClassLogit((other,))) for run in runs
        ],
    }
    every = [run for group in changed.values() for run in group]
    seconds = sum(run.estimate for run in every if compute.known(run) is None)
    now = compute.wanted("sanity", seconds, button="Check")
    results = {id(run): result for run, result in compute.compute_each(every, "sanity", now)}
    for place, run in enumerate(runs):
        original = found[run.method.id]
        with st.container(horizontal=True, gap="small"):
            _small(original, chosen, f"**{original.title}**")
            for name, group in changed.items():
                result = results.get(id(group[place]))
                if isinstance(result, Explanation):
                    rho = comparing.rank_correlation(comparing.common_grid(original), comparing.common_grid(result))
                    _small(result, chosen, f"{name}: ρ = {rho:.2f}" + (" – **hardly changed**" if abs(rho) > 0.8 else ""))
                elif isinstance(result, XaiError):
                    st.error(str(result))


def layers(model: ExplainableModel, chosen: Chosen, target: Target) -> None:
    """One method over all cuts, from the picture to the output."""
    with_cut = [id for id, method in METHODS.items() if "cut" in method.needs and method.misfit(model) is None]
    name = st.selectbox("Method", with_cut, format_func=title, key="sweep", **LINK)
    base = runs(model, chosen, target, [name])[0]
    sweep = [replace(base, cut=cut) for cut in model.cuts]
    now = compute.wanted("sweep", sum(run.estimate for run in sweep if compute.known(run) is None), button="Sweep")
    strip = st.container(horizontal=True, gap="small")
    places = {run.cut: strip.container(width=170) for run in sweep}
    for run, result in compute.compute_each(sweep, "sweep", now):
        with places[run.cut]:
            if isinstance(result, Explanation):
                rows, columns = result.heatmap.shape
                _small(result, chosen, f"**{run.cut}** {rows} x {columns}", 160)
            elif isinstance(result, XaiError):
                st.markdown(f"**{run.cut}**")
                st.error(str(result))


def _small(found: Explanation, chosen: Chosen, words: str, width: int = TILE) -> None:
    with st.container(width=width):
        st.markdown(words)
        scale = rendering.scale_of(found)
        drawn = rendering.overlay(found, chosen.picture, scale, smooth=False, size=fitted(chosen.picture.size))
        st.image(drawn, width=width, output_format="PNG", alt=rendering.alt_text(found, words.replace("*", "")))


def downloads(found: Results, chosen: Chosen) -> None:
    """Everything on the page: one sheet, the raw maps, the settings."""

    def sheet() -> bytes:
        one = next(iter(found.values()))
        drawn = {
            f"{result.title}: {rendering.scale_of(result).words}": rendering.overlay(result, chosen.picture)
            for result in found.values()
        }
        head = f"{one.target} = {one.target_value:.4g}, {one.model} ({one.weights})"
        return exporting.png_bytes(rendering.sheet({head: chosen.picture} | drawn), one)

    stem = f"{chosen.name}_{next(iter(found.values())).model}_methods"
    kinds = {
        "One sheet (PNG)": (f"{stem}.png", "image/png", sheet),
        "Raw maps (NPZ)": (f"{stem}.npz", "application/octet-stream", lambda: exporting.npz_of_many(found)),
        "Settings (JSON)": (f"{stem}.json", "application/json", lambda: exporting.manifest(found)),
    }
    with st.container(horizontal=True):
        for label, (name, mime, make) in kinds.items():
            st.download_button(label, make, name, mime, on_click="ignore", icon=":material/download:")
