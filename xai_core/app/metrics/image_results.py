"""How measurements of one picture are shown: bars beside controls, a table, curves with the picture at each step."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.charts import common, metrics
from xai_core.app.shared import display
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.explanation import export, rendering
from xai_core.explanation.result import Explanation
from xai_core.metrics import tables
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.curve_images import curve_image, has_images
from xai_core.metrics.measure import CONTROLS, Measurement, unbeaten_controls
from xai_core.metrics.metric import HIGHER
from xai_core.metrics.self_test import Verdict

PANEL = 300  # pixels of a metric's panel
MAP = 136  # of a map
Found = Mapping[tuple[str, str], Measurement]
Maps = Mapping[str, Explanation]


def plain_title(name: str) -> str:
    """A metric's name as it stands in links."""
    return METRICS[name].title


def metric_title(name: str) -> str:
    return f"{METRICS[name].title} {METRICS[name].arrow}".strip()


def map_title(name: str) -> str:
    """A map's name for people; controls say that they are."""
    return f"{METHODS[name.removeprefix('control:')].title} (control)" if name in CONTROLS else METHODS[name].title


def tiles(maps: Maps, chosen: Chosen, slot: DeltaGenerator) -> None:
    """The maps themselves, small, each on its own scale."""
    if not maps:
        return
    with slot.container(horizontal=True, gap="small"):
        for name, one in maps.items():
            with st.container(width=MAP):
                scale = rendering.scale_of(one)
                display.map_picture(one, chosen, scale, True, rendering.alt_text(one, "Overlay"), width=MAP)
                st.caption(map_title(name))


def results(asked, maps: Maps, found: Found, verdicts: Mapping[str, Verdict]) -> None:
    """A panel of bars for each metric, then all numbers in a table."""
    st.caption(
        "Dashed lines are the four controls: maps that know nothing of the network. A map whose bar is grey does not beat "
        "them all. ↑ higher is better, ↓ lower is better."
    )
    with st.container(horizontal=True, gap="small"):
        for metric, options in asked.metrics.items():
            with st.container(border=True, width=PANEL):
                st.markdown(f"**{METRICS[metric].variant_title(options)}** {METRICS[metric].arrow}")
                _badge(verdicts.get(metric))
                _panel(metric, found)
                st.caption(METRICS[metric].sentence)
    _table(asked, found)


def _badge(verdict: Verdict | None) -> None:
    if verdict is None:
        return
    if verdict.trusted:
        st.markdown(":green-badge[:material/check: self-test passed]", help=verdict.message)
    elif verdict.trusted is False:
        st.markdown(":orange-badge[:material/warning: not to be trusted here]", help=verdict.message)
        st.caption(verdict.message)
    else:
        st.markdown(":gray-badge[not tested]", help=verdict.message)


def _panel(metric: str, found: Found) -> None:
    rows = []
    for name, one in ((name, one) for (name, key), one in found.items() if key == metric):
        worse = ", ".join(map_title(control) for control in unbeaten_controls(METRICS[metric], one))
        note = one.note or (f"no better than {worse}" if worse else "")
        row = {"name": map_title(name), "value": one.value, "control": name in CONTROLS, "beaten": bool(worse), "note": note}
        rows.append(row)
    scores = pd.DataFrame(rows)
    known = scores[np.isfinite(scores.value)]
    maps = known[~known.control]
    if len(maps):
        best = maps.sort_values("value", ascending=METRICS[metric].direction != HIGHER).iloc[0]
        alt = f"{METRICS[metric].title}: best is {best['name']} with {best.value:.3f} of {len(maps)} maps."
        st.altair_chart(metrics.score_bars(known), alt=alt, key=f"bars-{metric}")
    notes = scores[~scores.control & ~np.isfinite(scores.value)]
    for note, names in notes.groupby("note").name:
        st.caption(f":gray[No value for {', '.join(names)}: {note}]")


def _table(asked, found: Found) -> None:
    """All numbers: one row for each map, one column for each metric."""
    names = list(dict.fromkeys(name for name, _ in found))
    rows = []
    for name in sorted(names, key=lambda name: name in CONTROLS):
        measured = {metric: found[name, metric] for metric in asked.metrics if (name, metric) in found}
        row: dict[str, Any] = {"Map": map_title(name)} | {metric: one.value for metric, one in measured.items()}
        judged = [metric for metric, one in measured.items() if METRICS[metric].direction and not np.isnan(one.value)]
        better = sum(not unbeaten_controls(METRICS[metric], measured[metric]) for metric in judged)
        rows.append(row | {"Beats all controls": "" if name in CONTROLS else f"{better} of {len(judged)}"})
    columns = {
        metric: st.column_config.NumberColumn(metric_title(metric), format="%.3f", help=METRICS[metric].sentence)
        for metric in asked.metrics
    }
    judged_rows = [row for row in rows if row["Beats all controls"]]
    said = "; ".join(f"{row['Map']} beats all controls in {row['Beats all controls']}" for row in judged_rows)
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=columns, key="scores", alt=f"All measurements. {said}.")
    with st.expander("Definitions, sources, and what is known beside each value"):
        for metric in asked.metrics:
            st.markdown(f"**{METRICS[metric].title}**: {METRICS[metric].source}")
            st.code(METRICS[metric].definition, language=None, wrap_lines=True)
            facts = {map_title(name): one.facts for (name, key), one in found.items() if key == metric and one.facts}
            if facts:
                st.dataframe(pd.DataFrame(facts).T, key=f"facts-{metric}", alt=f"Facts beside {METRICS[metric].title}")


@st.fragment
def curves(asked, maps: Maps, found: Found) -> None:
    """Curves of one metric, and the picture at the point that is chosen on a curve or by the slider."""
    drawn = [metric for metric in asked.metrics if METRICS[metric].axes]
    drawn = [metric for metric in drawn if any(key == metric and one.curve is not None for (_, key), one in found.items())]
    if not drawn:
        return
    st.markdown("##### Curves")
    if len(drawn) == 1:
        metric = drawn[0]
    else:
        metric = st.segmented_control(
            "Curve of", drawn, default=drawn[0], format_func=plain_title, required=True, key="curve", **LINK
        )
    of = {name: one for (name, key), one in found.items() if key == metric and one.curve is not None}
    order = sorted(of, key=lambda name: name in CONTROLS)
    labels = {name: f"{map_title(name)}: {of[name].value:.3f}" for name in order}
    points = metrics.curve_points({labels[name]: of[name].curve for name in order}, [labels[n] for n in of if n in CONTROLS])
    left, right = st.columns([3, 2])
    last = max(len(one.curve) for one in of.values()) - 1
    with right:
        name = st.selectbox("Map", order, format_func=map_title, key="curve-map", **LINK)
        step = st.slider("Step", 0, last, min(last, last // 4), key=f"step-{last}", help=STEP, **LINK)
        step = min(step, len(of[name].curve) - 1)
        _frame(asked, maps, of[name], name, metric, step)
    with left:
        st.altair_chart(
            metrics.curves(points, METRICS[metric].axes, (labels[name], step)),
            key=f"curves-{metric}",
            on_select=lambda: _take_point(f"curves-{metric}", labels, last),
            selection_mode="pick",
            alt=f"{METRICS[metric].title}: {METRICS[metric].axes[1]} against {METRICS[metric].axes[0]}. "
            + ", ".join(labels.values()),
        )
        st.caption("The number behind each name is its value. Click a point, or move the step, to see the picture there.")
    _curve_downloads(asked, points, metric)


STEP = "The point of the curve whose picture is shown; clicking a point of a curve does the same."


def _take_point(key: str, labels: Mapping[str, str], last: int) -> None:
    """A click on a point chooses its map and its step."""
    picked = st.session_state[key]["selection"].get("pick")
    if picked:
        by_label = {label: name for name, label in labels.items()}
        st.session_state["curve-map"] = by_label[picked[0]["name"]]
        st.session_state[f"step-{last}"] = int(picked[0]["step"])


def _frame(asked, maps: Maps, one: Measurement, name: str, metric: str, step: int) -> None:
    """The picture that the network was shown at this point."""
    share, value = one.curve[step]
    x, y = METRICS[metric].axes
    said = f"{share:.0%} {x.removeprefix('share of ')}: {y} {value:.4f}"
    if not has_images(metric):
        st.markdown(said)
        st.caption("No single picture stands behind a point of this curve.")
        return
    of = name if name in CONTROLS else maps[name]
    shown = curve_image(asked.model, asked.chosen.picture, of, metric, step, asked.target, asked.metrics[metric], asked.seed)
    pixels = (shown.clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    st.image(pixels, width=300, output_format="PNG", alt=f"The picture at step {step} of {map_title(name)}: {said}")
    st.markdown(said)
    tied = one.facts.get("tied points")
    if tied:
        st.caption(f"{tied:.0%} of this curve's points depend on how equal pixels are ordered (by the seed's draws).")


def _curve_downloads(asked, points: pd.DataFrame, metric: str) -> None:
    title = f"{METRICS[metric].variant_title(asked.metrics[metric])}, {asked.chosen.name}, {asked.model.title}"

    def drawn(kind: str) -> bytes:
        chart = metrics.curves(points, METRICS[metric].axes, None).properties(title=title, width=640)
        return common.chart_bytes(chart, kind)

    stem = f"{asked.chosen.name}_{metric}"
    display.downloads(
        {
            "Curves (PNG)": (f"{stem}.png", "image/png", lambda: drawn("png")),
            "Curves (SVG)": (f"{stem}.svg", "image/svg+xml", lambda: drawn("svg")),
        }
    )


def downloads(asked, found: Found) -> None:
    """All numbers as files."""
    rows = [(name, metric, one) for (name, metric), one in found.items()]
    stem = f"{asked.chosen.name}_{asked.model.id}_metrics"

    def parquet() -> bytes:
        buffer = io.BytesIO()
        tables.table(rows, asked.metrics).to_parquet(buffer, index=False)
        return buffer.getvalue()

    st.caption("To share exactly this view, copy the address of this page; to keep the numbers, download:")
    display.downloads(
        {
            "Numbers (CSV)": (f"{stem}.csv", "text/csv", lambda: tables.table(rows, asked.metrics).to_csv(index=False)),
            "Numbers (Parquet)": (f"{stem}.parquet", "application/vnd.apache.parquet", parquet),
            "Everything with curves (JSON)": (
                f"{stem}.json", "application/json", lambda: export.strict_json(tables.records(rows, asked.metrics)),
            ),
        }
    )  # fmt: skip
