"""The measurements of one picture: bars beside controls, a table, curves with the image at each step, downloads."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from xai_core.analysis import findings
from xai_core.app.charts import common, metrics
from xai_core.app.metrics.measurement_settings import MeasurementSettings
from xai_core.app.shared import display
from xai_core.app.shared.metric_choice import metric_title, plain_title
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution import variants
from xai_core.core import markdown
from xai_core.core.spreadsheet import csv_bytes
from xai_core.explanation import export, rendering
from xai_core.explanation.result import Explanation
from xai_core.metrics import tables
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.curve_images import curve_image, has_images
from xai_core.metrics.measure import CONTROLS, Measurement, beats_controls, unbeaten_controls
from xai_core.metrics.metric import HIGHER
from xai_core.metrics.self_test import Verdict

PANEL = 300  # width of a metric's panel in pixels
MAP = 136  # width of a map in pixels
Measurements = Mapping[tuple[str, str], Measurement]  # by map and metric
Maps = Mapping[str, Explanation]


def map_title(name: str) -> str:
    """A map's title, with "(control)" for a control."""
    title = variants.title_of(name.removeprefix("control:"))
    return f"{title} (control)" if name in CONTROLS else title


def tiles(maps: Maps, chosen: Chosen, slot: DeltaGenerator) -> None:
    """The maps in small size, each on its own colour scale."""
    if not maps:
        return
    with slot.container(horizontal=True, gap="small"):
        for name, one in maps.items():
            with st.container(width=MAP):
                scale = rendering.scale_of(one)
                display.map_picture(one, chosen, scale, True, rendering.alt_text(one, "Overlay"), width=MAP)
                st.caption(map_title(name))


def results(settings: MeasurementSettings, measurements: Measurements, verdicts: Mapping[str, Verdict]) -> None:
    """What the bars show in a sentence, a panel of bars for each metric, then all numbers in a table."""
    display.finding(_finding(settings, measurements))
    st.caption(
        "Dashed lines are the four controls: maps that do not depend on the network. An orange bar is a map that beats all "
        f"of them; a blue bar with {common.LOST} one that does not. A control without a value is left out; where none has a "
        "value, bars are grey. ↑ higher is better, ↓ lower is better."
    )
    with st.container(horizontal=True, gap="small"):
        for metric, options in settings.metrics.items():
            with st.container(border=True, width=PANEL):
                st.markdown(f"**{METRICS[metric].variant_title(options)}** {METRICS[metric].arrow}")
                _badge(verdicts.get(metric))
                _panel(metric, measurements)
                st.caption(METRICS[metric].sentence)
    _table(settings, measurements)


def _finding(settings: MeasurementSettings, measurements: Measurements) -> str:
    values = {
        METRICS[metric]: {
            map_title(name): one.value for name, one in _of_metric(measurements, metric).items() if name not in CONTROLS
        }
        for metric in settings.metrics
    }
    beats = {map_title(name): of_map for name, of_map in _beats(settings, measurements).items()}
    return findings.of_measurements(values, beats)


def _beats(settings: MeasurementSettings, measurements: Measurements) -> dict[str, list[bool | None]]:
    """Of each map that is no control, whether it beats all controls by each metric; None where it cannot be compared."""
    beats: dict[str, list[bool | None]] = {name: [] for name, _ in measurements if name not in CONTROLS}
    for name, of_map in beats.items():
        of_map += [
            beats_controls(METRICS[metric], measurements[name, metric])
            for metric in settings.metrics
            if (name, metric) in measurements
        ]
    return beats


def _badge(verdict: Verdict | None) -> None:
    """The result of the self-test."""
    if verdict is None:
        return
    if verdict.trusted:
        st.markdown(":green-badge[:material/check: self-test passed]", help=markdown.escape(verdict.message))
    elif verdict.trusted is False:
        st.markdown(":orange-badge[:material/warning: self-test failed]", help=markdown.escape(verdict.message))
        st.caption(markdown.escape(verdict.message))
    else:
        st.markdown(":gray-badge[not tested]", help=markdown.escape(verdict.message))


def _panel(metric: str, measurements: Measurements) -> None:
    """Bars of one metric, and the maps that have no value for it with the reason."""
    rows = []
    for name, measurement in _of_metric(measurements, metric).items():
        better = ", ".join(map_title(control) for control in unbeaten_controls(METRICS[metric], measurement))
        note = measurement.note or (f"no better than {better}" if better else "")
        beats = None if name in CONTROLS else beats_controls(METRICS[metric], measurement)
        row = {"name": map_title(name), "value": measurement.value, "control": name in CONTROLS, "beats": beats}
        rows.append(row | {"note": note})
    if not rows:  # other metrics are measured first
        return
    scores = pd.DataFrame(rows)
    finite = scores[np.isfinite(scores.value)]
    maps = finite[~finite.control]
    if len(maps):
        alt = f"{METRICS[metric].title}: {_extent(maps, METRICS[metric].direction)}."
        chart = display.kept_chart(lambda: metrics.score_bars(finite), "score bars", finite.to_json(double_precision=15))
        display.chart(chart, alt=alt, key=f"bars-{metric}")
    notes = scores[~np.isfinite(scores.value)]
    for note, names in notes.groupby("note")["name"]:
        st.caption(f":gray[No value for {', '.join(names)}: {markdown.escape(str(note))}]")


def _extent(maps: pd.DataFrame, direction: str) -> str:
    """The best of several maps' values in words; the lowest and the highest of a metric of which neither is better."""
    values = maps.value
    if not direction:
        return f"{values.min():.3f} to {values.max():.3f} over {len(maps)} maps; neither higher nor lower is better"
    best = values.max() if direction == HIGHER else values.min()
    names = list(maps.name[values == best])
    if len(names) > 1:
        return f"{len(names)} of {len(maps)} maps are equally good, with {best:.3f}"
    return f"best is {names[0]} with {best:.3f} of {len(maps)} maps"


def _of_metric(measurements: Measurements, metric: str) -> dict[str, Measurement]:
    return {name: measurement for (name, key), measurement in measurements.items() if key == metric}


def _table(settings: MeasurementSettings, measurements: Measurements) -> None:
    """All numbers: one row for each map, one column for each metric."""
    names = list(dict.fromkeys(name for name, _ in measurements))
    rows, words, beats = [], [], _beats(settings, measurements)
    for name in sorted(names, key=lambda name: name in CONTROLS):
        of_map = {metric: measurements[name, metric] for metric in settings.metrics if (name, metric) in measurements}
        row: dict[str, Any] = {"Map": map_title(name)} | {metric: one.value for metric, one in of_map.items()}
        beaten = beats.get(name, [])
        score = "" if name in CONTROLS else f"{beaten.count(True)} of {len(beaten) - beaten.count(None)}"
        rows.append(row | {"Beats all controls": score})
        if score:
            words.append(f"{map_title(name)} beats all controls in {score}")
    columns = {
        metric: st.column_config.NumberColumn(metric_title(metric), format="%.3f", help=METRICS[metric].sentence)
        for metric in settings.metrics
    }
    alt = f"All measurements. {'; '.join(words)}."
    display.table(pd.DataFrame(rows), hide_index=True, column_config=columns, key="scores", alt=alt)
    _definitions(settings, measurements)


@st.fragment
def _definitions(settings: MeasurementSettings, measurements: Measurements) -> None:
    """What each metric is, and the details of its values. They are sent when the expander is opened: a browser takes half a
    second for so many tables and blocks of code."""
    expander = st.expander(
        "Definitions and sources of the metrics, and details of each value", key="definitions", on_change="rerun"
    )
    if not expander.open:
        return
    with expander:
        for metric in settings.metrics:
            st.markdown(f"**{METRICS[metric].title}**: {METRICS[metric].source}")
            st.code(METRICS[metric].definition, language=None, wrap_lines=True)
            facts = {map_title(name): one.facts for name, one in _of_metric(measurements, metric).items() if one.facts}
            if facts:
                display.table(pd.DataFrame(facts).T, key=f"facts-{metric}", alt=f"Details of {METRICS[metric].title}")


@st.fragment
def curves(settings: MeasurementSettings, maps: Maps, measurements: Measurements) -> None:
    """Curves of one metric, and the image at the point that is chosen on a curve or by the slider."""
    with_curves = [metric for metric in settings.metrics if METRICS[metric].axes and _curves_of(measurements, metric)]
    if not with_curves:
        return
    st.markdown("##### Curves")
    if len(with_curves) == 1:
        metric = with_curves[0]
    else:
        metric = st.segmented_control(
            "Curve of", with_curves, default=with_curves[0], format_func=plain_title, required=True, key="curve", **LINK
        )
    axes = METRICS[metric].axes
    if axes is None:
        return
    values, curve_of = _of_metric(measurements, metric), _curves_of(measurements, metric)
    order = sorted(curve_of, key=lambda name: name in CONTROLS)
    labels = {name: f"{map_title(name)}: {values[name].value:.3f}" for name in order}
    controls = [labels[name] for name in order if name in CONTROLS]
    points = metrics.curve_points({labels[name]: curve_of[name] for name in order}, controls)
    left, right = st.columns([3, 2])
    last = max(map(len, curve_of.values())) - 1
    with right:
        name = st.selectbox("Map", order, format_func=map_title, key="curve-map", **LINK)
        step = st.slider("Step", 0, last, min(last, last // 4), key=f"step-{last}", help=STEP, **LINK)
        step = min(step, len(curve_of[name]) - 1)
        share, value = curve_of[name][step]
        _curve_image(
            settings, maps, name, metric, step, f"{share:.0%} {axes[0].removeprefix('share of ')}: {axes[1]} {value:.4f}"
        )
        tied = values[name].facts.get("tied points")
        if tied and has_images(metric):
            st.caption(f"{tied:.0%} of the points depend on the random order of tied pixels.")
    with left:
        chosen = labels[name], step
        display.chart(
            display.kept_chart(
                lambda: metrics.curves(points, axes, chosen), "curves", points.to_json(double_precision=15), axes, chosen
            ),
            key=f"curves-{metric}",
            on_select=lambda: _take_point(f"curves-{metric}", labels, last),
            selection_mode="pick",
            alt=f"{METRICS[metric].title}: {axes[1]} against {axes[0]}. {', '.join(labels.values())}",
        )
        st.caption(
            "The number after each name is the value of the metric. To see the image at a point, click it or move the step."
        )
    _curve_downloads(settings, points, metric, axes)


STEP = "The point of the curve whose image is shown. A click on a point does the same."


def _curves_of(measurements: Measurements, metric: str) -> dict[str, NDArray[np.float64]]:
    """The curves (n, 2) of a metric, by map."""
    measured = _of_metric(measurements, metric)
    return {name: measurement.curve for name, measurement in measured.items() if measurement.curve is not None}


def _take_point(key: str, labels: Mapping[str, str], last: int) -> None:
    """After a click on a point, choose its map and its step."""
    points = st.session_state[key]["selection"].get("pick")
    if points:
        by_label = {label: name for name, label in labels.items()}
        st.session_state["curve-map"] = by_label[points[0]["name"]]
        st.session_state[f"step-{last}"] = int(points[0]["step"])


def _curve_image(settings: MeasurementSettings, maps: Maps, name: str, metric: str, step: int, words: str) -> None:
    """The image that the network was given at this point; `words` say where the point is."""
    if not has_images(metric):
        st.markdown(words)
        st.caption("A point of this curve stands for several images, so none is shown.")
        return
    image = curve_image(
        settings.model, settings.chosen.picture, name if name in CONTROLS else maps[name], metric, step, settings.target,
        settings.metrics[metric], settings.seed,
    )  # fmt: skip
    pixels = (image.clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    alt = f"The picture at step {step} of {map_title(name)}: {words}"
    display.picture(rendering.encoded(Image.fromarray(pixels), "PNG"), alt, key=f"step of {metric}", width=300)
    st.markdown(words)


def _curve_downloads(settings: MeasurementSettings, points: pd.DataFrame, metric: str, axes: tuple[str, str]) -> None:
    title = f"{METRICS[metric].variant_title(settings.metrics[metric])}, {settings.chosen.name}, {settings.model.title}"

    def chart_file(kind: str) -> bytes:
        return common.chart_bytes(metrics.curves(points, axes, None).properties(title=title, width=640), kind)

    stem = f"{settings.chosen.name}_{metric}"
    display.downloads(
        {
            "Curves (PNG)": (f"{stem}.png", "image/png", lambda: chart_file("png")),
            "Curves (SVG)": (f"{stem}.svg", "image/svg+xml", lambda: chart_file("svg")),
        }
    )


def downloads(settings: MeasurementSettings, measurements: Measurements) -> None:
    """Buttons that save all numbers."""
    rows = [(name, metric, measurement) for (name, metric), measurement in measurements.items()]
    stem, chosen = f"{settings.chosen.name}_{settings.model.id}_metrics", settings.metrics

    def parquet() -> bytes:
        buffer = io.BytesIO()
        tables.table(rows, chosen).to_parquet(buffer, index=False)
        return buffer.getvalue()

    st.caption("To share exactly this view, copy the address of this page. To keep the numbers, download them:")
    display.downloads(
        {
            "Numbers (CSV)": (f"{stem}.csv", "text/csv", lambda: csv_bytes(tables.table(rows, chosen))),
            "Numbers (Parquet)": (f"{stem}.parquet", "application/vnd.apache.parquet", parquet),
            "Everything with curves (JSON)": (
                f"{stem}.json", "application/json", lambda: export.strict_json(tables.records(rows, chosen)),
            ),
        }
    )  # fmt: skip
