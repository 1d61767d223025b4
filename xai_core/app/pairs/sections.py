"""What stands under the tiles of the pairs page: matching patches, metrics, networks, invariance, downloads."""

import io
import json
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st
import torch
import torch.nn.functional as F

from xai_core.app.charts import pairs
from xai_core.app.pairs.tiles import Asked, both_maps, title
from xai_core.app.pairs.views import TILE, Two
from xai_core.app.shared import cache, display, loaded_models, network_choice, network_outputs, progress, turns
from xai_core.app.shared.widgets import LINK
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.explanation import export, rendering
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs import reference
from xai_core.pairs.augment import TRANSFORMS
from xai_core.pairs.catalog import CLASS, PAIR_METHODS
from xai_core.pairs.evaluate import CONTROLS, evaluate_pair
from xai_core.pairs.explain import PairExplanation, ask_pair, explain_pair
from xai_core.pairs.geometry import AREA, CENTRE, GEOMETRY_METRICS, cell_similarities, centres, matching_errors
from xai_core.pairs.metrics import BOTH, PAIR_METRICS

SIDE = 330
Results = Mapping[str, PairExplanation | XaiError]
CONTROL_TITLES = dict(zip(CONTROLS, ("Control: random", "Control: centre", "Control: edges"), strict=True))
CONTROL_TITLES |= {AREA: "Baseline: area", CENTRE: "Baseline: centre prior"}


def _pick_patch() -> None:
    """A click on a patch sets the two numbers beside it."""
    picked = st.session_state["patches"]["selection"].get("patch")
    if picked:
        st.session_state["row"], st.session_state["column"] = int(picked[0]["row"]), int(picked[0]["column"])


def _place(label: str, count: int) -> int:
    """A number from 1 to `count`, in the link under its label.

    Written by hand: once a click has set it, Streamlit's own binding no longer follows what is typed.
    """
    key = label.lower()
    asked = st.session_state.get(key, st.query_params.get(key, ""))
    st.session_state[key] = min(int(asked), count) if str(asked).isdecimal() and int(asked) else (count + 1) // 2
    found = st.number_input(label, 1, count, key=key, width=120)
    st.query_params[key] = str(found)
    return found


def matching(model: ExplainableModel, two: Two, asked: Asked) -> None:
    """A patch of view 1, and the places of view 2 whose activations are most like it."""
    name = f"pair cells {model.fingerprint} {two.key} {asked.cut}"
    every = cache.get_or_compute(
        name, lambda: cell_similarities(ask_pair(model, two.first, two.second, cut=asked.cut)).numpy().astype(np.float16)
    ).astype(np.float32)
    rows, columns = every.shape[:2]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row, column = _place("Row", rows), _place("Column", columns)
        st.caption(f"The cut {asked.cut} has {rows} x {columns} patches. Click one in view 1, or give its row and column.")
    cell, (first, second) = (row - 1, column - 1), two.shown()
    values, truth, words = every[cell], None, ""
    if two.geometry is not None:
        there = two.geometry.in_other(1, centres((rows, columns))[cell])
        truth = tuple(there.tolist()) if bool(((there >= 0) & (there <= 1)).all()) else None
        words = _truth_in_words(every, two, cell)
    best = np.unravel_index(int(values.argmax()), values.shape)
    with st.container(horizontal=True, gap="medium"):
        with st.container(width=SIDE):
            st.markdown("**View 1**: the chosen patch")
            st.altair_chart(
                pairs.patch_picker(first, (rows, columns), cell, SIDE), width="content", key="patches",
                on_select=_pick_patch, selection_mode="patch", alt=f"View 1 with patch {row}, {column} outlined",
            )  # fmt: skip
        with st.container(width=SIDE):
            st.markdown("**View 2**: how alike each patch is")
            st.altair_chart(
                pairs.patch_matches(second, values, truth, SIDE), width="content", key="answers",
                alt=f"View 2: the best match is row {best[0] + 1}, column {best[1] + 1}, cosine {values.max():.2f}",
            )  # fmt: skip
    st.caption(f"Best match: row {best[0] + 1}, column {best[1] + 1} (cosine {values.max():.3f}). {words}")


def _truth_in_words(every: np.ndarray, two: Two, cell: tuple[int, int]) -> str:
    """How far off the match is, for this patch and on average."""
    errors = matching_errors(torch.from_numpy(every), two.geometry, 1)
    overall = (
        f"Over all patches of view 1 that view 2 shows, the best match is off by {errors.nanmean():.2f} sides of view 2."
    )
    if not bool(errors.isfinite().any()):
        return "The views do not overlap: there is no right answer."
    if math.isnan(errors[cell]):
        return f"View 2 does not show this patch. {overall}"
    return f"The white cross is where it really is: off by {errors[cell]:.2f} sides of view 2. {overall}"


def metrics(model: ExplainableModel, two: Two, asked: Asked, found: Results) -> None:
    """Every metric of every method, beside the controls."""
    maps = {name: one for name, one in found.items() if not isinstance(one, XaiError)}
    if not maps:
        st.info("There is no map to measure.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        step = st.select_slider(
            "Pixels a step", [224, 448, 896, 1792, 3584, 7168], 1792, key="step", width=320, help=STEP, **LINK
        )
        sensitivity = st.toggle("With max-sensitivity", False, key="ms", help=MS, **LINK)
    wanted = [one for one in PAIR_METRICS if one != "MS" or sensitivity]
    wanted += list(GEOMETRY_METRICS) if two.geometry else []
    names = sorted(maps)
    name = f"pair metrics {model.fingerprint} {two.key} {asked} {asked.similarity.key} {names} {step} {wanted}"
    rows = cache.get(name)
    points = math.ceil(two.first[0].numel() / step) + 1
    passes = (len(maps) + len(CONTROLS)) * 4 * points + (20 * len(maps) if sensitivity else 0)
    if rows is None and progress.should_start(name, passes * network_outputs.pass_seconds(model.id), button="Measure"):
        with progress.bar(name) as bar:
            rows = turns.in_turn(
                lambda track: evaluate_pair(
                    model, two.first, two.second, maps, wanted, geometry=two.geometry, similarity=asked.similarity,
                    cut=asked.cut, step=step, controls=True, track=track,
                ),
                bar, "Metrics",
            )  # fmt: skip
            cache.put(name, rows)
    if rows is None:
        return
    titles = {one: title(one) for one in maps} | CONTROL_TITLES
    arrows = {one: f"{one} {'↑' if _metric(one).up else '↓'}" for one in wanted}
    shown = st.selectbox(
        "Metric", wanted, format_func=lambda id: f"{arrows[id]} {_metric(id).title}", key="metric", help=ARROWS, **LINK
    )
    chart = pairs.metric_bars(rows, _metric(shown), titles)
    values = {titles[row.method]: row.value for row in rows if row.metric == shown and row.view == BOTH}
    alt = f"{_metric(shown).title}: " + ", ".join(f"{one} {value:.3f}" for one, value in values.items())
    st.altair_chart(chart, width="stretch", key="metric_chart", alt=alt)
    dots = " Dots: each view." if any(row.metric == shown and row.view != BOTH for row in rows) else ""
    st.caption(f"{_metric(shown).words}. Grey bars: controls that know nothing of the network.{dots}")
    table = pd.DataFrame([row._asdict() for row in rows])
    table["map"] = [titles[one] for one in table["method"]]
    wide = table[table["view"] == BOTH].pivot(index="map", columns="metric", values="value")
    wide = wide[[one for one in wanted if one in wide]]
    told = {arrows[one]: st.column_config.NumberColumn(help=f"{_metric(one).title}: {_metric(one).words}") for one in wide}
    st.dataframe(wide.rename(columns=arrows).round(4), column_config=told)
    if AREA in set(table["method"]):
        st.caption("The baselines are of where the views overlap alone: their other cells are empty.")
    undefined = int(table["value"].isna().sum())
    if undefined:
        st.caption(
            f"{undefined} values are not defined and left empty: a drop from a similarity that is not positive, a map that "
            "prefers no place, views that do not overlap, or a row that is only a baseline."
        )
    display.downloads({"Every value (CSV)": (f"{two.name}_metrics.csv", "text/csv", table.to_csv(index=False))})


STEP = "Pixels that change from one point of a curve to the next. The published tables take 224; more is quicker."
ARROWS = "↑ higher is better, ↓ lower is better."
MS = "Computes every map again for ten noisy copies of the views."


def _metric(id: str):
    return (PAIR_METRICS | GEOMETRY_METRICS)[id]


def networks(two: Two, asked: Asked, smooth: bool) -> None:
    """The same two views before several networks: supervised and self-supervised ones side by side."""
    wanted = network_choice.choose()
    fine = [name for name in asked.methods if not name.startswith(CLASS)] or ["grad_cam"]
    method = st.selectbox("Method of the comparison", fine, format_func=title, key="network_method", **LINK)
    if len(wanted) < 2:
        st.info("Choose at least two networks.")
        return
    options = asked.methods.get(method, {})
    keys = {
        network: f"pair network {network} {two.key} {method} {sorted(options.items())} {asked.seed}" for network in wanted
    }
    found = {network: cache.get(key) for network, key in keys.items()}
    missing = [network for network, one in found.items() if one is None]
    name = f"pair networks {missing} {two.key} {method}"
    if missing and progress.should_start(name, _seconds(missing, method, options), button="Compare networks"):
        with progress.bar(name) as bar:
            for network in missing:
                bar.progress(0.0, text=f"{network.title}: loading")

                def work(track: Track, network=network) -> PairExplanation | XaiError:
                    try:
                        model = loaded_models.model(network.id, network.checkpoint)
                        views = _sized(two, model)
                        return explain_pair(model, *views, method, seed=asked.seed, track=track, **options)
                    except XaiError as error:
                        return error

                found[network] = turns.in_turn(work, bar, network.title)
                cache.put(keys[network], found[network])
    with st.container(horizontal=True, gap="small"):
        for network, result in found.items():
            if result is None:
                continue
            with st.container(border=True, width=2 * TILE + 60):
                if isinstance(result, XaiError):
                    st.markdown(f"**{network.title}**")
                    st.error(str(result))
                else:
                    st.markdown(f"**{network.title}**: cosine **{result[0].target_value:.3f}**")
                    both_maps([one for one in result if one is not None], two, smooth)
    st.caption("Cosines of different networks are not on one scale: look where each lies among its own random pairs.")


def _seconds(missing, method: str, options: Mapping) -> float:
    """To load networks and ask each of them."""
    forward, backward = PAIR_METHODS[method].cost(PAIR_METHODS[method].checked(options))
    return sum(0.5 + (forward + 2 * backward) * network_outputs.pass_seconds(network.id) for network in missing)


def _sized(two: Two, model: ExplainableModel):
    """The views as they are, or resized for a network that takes one size only."""
    size = model.network.input_size
    views = (two.first, two.second)
    if size is None or tuple(two.first.shape[1:]) == tuple(size):
        return views
    return tuple(F.interpolate(one[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1) for one in views)


def invariance(model: ExplainableModel, two: Two, asked: Asked, smooth: bool) -> None:
    """How alike view 1 stays to itself as each augmentation grows, and the map at each strength of one of them."""
    name = f"pair strengths {model.fingerprint} {two.key} {asked.similarity.key}"
    rows = cache.get_or_compute(
        name, lambda: reference.similarity_by_strength(model, two.first, similarity=asked.similarity)
    )
    chart = pairs.strength_lines(rows, asked.similarity.words)
    least = min(rows, key=lambda row: row["similarity"])
    alt = f"Similarity of view 1 to itself after each augmentation; least alike after {least['augmentation']}"
    st.altair_chart(chart, width="stretch", key="strengths", alt=alt)
    with st.container(horizontal=True):
        every = [reference.CROP, *TRANSFORMS]
        chosen = st.selectbox("Augmentation", every, format_func=str.capitalize, key="augmentation", **LINK)
        quick = [one for one in PAIR_METHODS if "cam" in one or one.startswith("input_x")]
        method = st.selectbox("Map", quick, format_func=title, key="strength_method", **LINK)
    maps = cache.get_or_compute(
        f"{name} {chosen} {method}",
        lambda: list(reference.maps_by_strength(model, two.first, chosen, method, similarity=asked.similarity)),
    )
    scale = rendering.scale_of(*(one for at in maps for one in at.maps if one is not None))
    with st.container(horizontal=True, gap="small"):
        for at in maps:
            changed = at.maps[1] or at.first
            view = rendering.to_pil(at.view)
            with st.container(width=TILE):
                st.image(
                    rendering.with_bar(rendering.overlay(changed, view, scale, smooth=smooth, size=(392, 392)), scale),
                    width="stretch", output_format="PNG", alt=rendering.alt_text(changed, f"Strength {at.strength:g}"),
                )  # fmt: skip
                st.caption(f"Strength {at.strength:g}: {at.similarity:.3f}")
    st.caption(
        f"The changed view's map at each strength, all on one scale: {scale.words}. At strength 0 the two are one picture: "
        "nothing can make them more alike, so that the gradients of a cosine vanish."
    )


def downloads(two: Two, asked: Asked, found: Results) -> None:
    """Raw maps and views, settings, and one sheet."""
    maps = {
        f"{name}/{view}": one
        for name, result in found.items()
        if not isinstance(result, XaiError)
        for view, one in enumerate(result, start=1)
        if one is not None
    }
    if not maps:
        st.info("There is no map to download.")
        return

    def arrays() -> bytes:
        buffer = io.BytesIO()
        held = {key: one.heatmap for key, one in maps.items()} | {"view1": two.first.numpy(), "view2": two.second.numpy()}
        np.savez_compressed(buffer, **held)
        return buffer.getvalue()

    def sheet() -> bytes:
        views = dict(zip(("View 1", "View 2"), two.shown(), strict=True))
        shown = dict(zip((1, 2), two.shown(), strict=True))
        drawn = {f"{one.title}, view {key[-1]}": _drawn(one, shown[int(key[-1])], maps) for key, one in maps.items()}
        return export.png_bytes(rendering.sheet(views | drawn, 2), next(iter(maps.values())))

    settings = json.dumps({key: json.loads(export.json_text(one)) for key, one in maps.items()}, indent=2)
    kinds = {
        "One sheet (PNG)": (f"{two.name}_pair.png", "image/png", sheet),
        "Views and raw maps (NPZ)": (f"{two.name}_pair.npz", "application/octet-stream", arrays),
        "Settings (JSON)": (f"{two.name}_pair.json", "application/json", settings),
    }
    display.downloads(kinds)


def _drawn(one: Explanation, view, maps: Mapping[str, Explanation]):
    """A map on the scale of its method's two maps."""
    scale = rendering.scale_of(*(other for other in maps.values() if other.method == one.method))
    return rendering.with_bar(rendering.overlay(one, view, scale), scale)
