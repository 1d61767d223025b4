"""The upper part of the training page: the choice of runs, the figures, the heatmap of all samples and that of one row."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.analysis import findings
from xai_core.app.charts import evolution as charts
from xai_core.app.charts.common import AnyChart
from xai_core.app.evolution import sections
from xai_core.app.evolution.selection import DIFFER, MEASURES_HELP, VERDICT, EvolutionView
from xai_core.app.shared import display, report_items, session
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.core.cache_key import array_digest, bytes_digest, text_digest
from xai_core.core.spreadsheet import csv_bytes
from xai_core.training.dynamics import readers
from xai_core.training.dynamics.analysis import (
    STABLE,
    Groups,
    RecordedRun,
    changed,
    class_means,
    fates,
    grouped,
    measures,
    rows_of,
    stable_after,
    verdicts,
)
from xai_core.training.dynamics.figure import CARD, SOURCE, as_png, class_colours, confusion_evolution

UPLOADED, NONE = "Uploaded file", "None"
LIVE_SECONDS = 3


@st.cache_data(max_entries=4, show_spinner="Reading the run")
def _read(name: str, digest: str, _data: bytes) -> RecordedRun:
    return readers.read_run(_data, name)


@dataclass(frozen=True)
class ChosenRuns:
    """The run that is shown, and the second one, if any."""

    run: RecordedRun
    other: RecordedRun | None


USUAL = "world_planted"  # its pictures can be drawn everywhere


def choose() -> ChosenRuns | None:
    """The controls that choose a run and a second one; None where there is no run. Raises BadRequest for a damaged file."""
    offered = readers.offered_runs()
    st.file_uploader(
        "Open a run",
        type=["parquet", "csv", "json"],
        key="run_file",
        help="A file that RunRecorder wrote (Parquet or CSV), a table with one column for each epoch, or InstanceFlow's "
        "JSON. It is held in the server's memory, and no other visitor can see it.",
        on_change=_take_upload,
    )
    upload = st.session_state.get("run_file")
    names = [*offered, *([UPLOADED] if upload else [])]
    if not names:
        return None
    longest = max(offered, key=lambda name: readers.size_of(offered[name]), default=UPLOADED)  # has most to show
    usual = USUAL if USUAL in offered else longest
    name = st.selectbox("Run", names, names.index(usual), key="run", **LINK)
    file = offered.get(name)
    if file is not None:
        run = _opened(file.name, readers.read_file(file))
    elif upload is not None:
        run = _opened(upload.name, upload.getvalue())
    else:
        return None
    other = None
    rest = [NONE, *(title for title in offered if title != name)]
    if len(rest) > 1:
        second = st.selectbox(
            "Second run", rest, key="second", help="Its curves are dashed; its losses have axes of their own.", **LINK
        )
        if second != NONE:
            other = _opened(offered[second].name, readers.read_file(offered[second]))
    if file is not None and st.toggle("Live", key="live", help="Reads the file again when it has changed.", **LINK):
        _watch(file, file.stat().st_mtime_ns)
    return ChosenRuns(run, other)


def _take_upload() -> None:
    """Show a new file at once; a file that was removed is no longer chosen."""
    if st.session_state["run_file"]:
        st.session_state["run"] = UPLOADED
    elif st.session_state.get("run") == UPLOADED:
        st.session_state.pop("run")


def _opened(name: str, data: bytes) -> RecordedRun:
    return _read(name, bytes_digest(data), data)


@st.fragment(run_every=LIVE_SECONDS)
def _watch(file: Path, seen: int) -> None:
    """Look at the file every few seconds; run the page again when it has changed."""
    now = file.stat().st_mtime_ns if file.exists() else seen
    st.caption(f":material/sync: checked for changes every {LIVE_SECONDS} s")
    if now != seen:
        st.rerun()


def no_runs() -> None:
    """How to record a run, where there is none."""
    st.info(
        "There is no recorded run yet. Upload one on the left, or put files into data/runs/. To record a training, call "
        "this once in every epoch:"
    )
    st.code(
        'recorder = RunRecorder("data/runs/mine.parquet", classes=names)\n'
        "recorder.record(epoch, samples, true, predicted, confidence, train_loss=..., validation_accuracy=...)\n"
        'RunRecorder("data/runs/mine.parquet", classes=names, chosen=epoch)  # at the end: whose weights were kept',
        language="python",
    )


def facts(view: EvolutionView) -> None:
    """The run in words, and its figures at the final epoch."""
    st.caption(f"**{markdown.escape(view.whole.title)}**: {markdown.escape(view.whole.in_words())}")
    counted, columns = measures(view.counted), st.columns(4)
    of = f"Of {len(counted):,} samples, including those that the filter by prediction does not list."
    epoch, counted_run = view.epoch, view.counted
    right = counted_run.accuracies[counted_run.epochs == epoch][0]
    columns[0].metric("Samples shown", f"{len(view.table):,}", help=f"Of {len(view.whole.samples):,} samples in the run.")
    columns[1].metric(
        f"Right at epoch {epoch}", _percent(right), help=f"{of} Only samples that were recorded in this epoch count."
    )
    changes = f"{counted['changes'].mean():.2f}"
    columns[2].metric("Changes per sample", changes, help=f"Mean number of changed predictions. {of}")
    never = float((counted["misclassification"] == 1).mean())
    columns[3].metric("Never right", _percent(never), help=f"Wrong in all of the chosen epochs. {of}")


def figure(view: EvolutionView) -> None:
    """Confusion evolution in one figure: each of the listed samples, in their order, with everything that is counted."""
    run, counted = view.run, view.counted
    said = findings.of_training(counted.epochs.tolist(), counted.accuracies.tolist(), view.epoch, run.chosen)
    st.markdown(said)
    svg = confusion_evolution(run, epoch=view.epoch, of=counted)
    shown = (
        f"Confusion evolution of {len(run.samples):,} samples over {len(run.epochs)} epochs: predicted classes, measures, "
        "curves, and the confusion matrix"
    )
    with st.container(key="evolution-figure"):
        st.image(svg, width="stretch", alt=f"{shown}. The charts and tables below hold its numbers.")
    if len(view.run.samples) < len(counted.samples):
        st.caption(
            f"The rows of the figure are the {len(run.samples):,} samples listed; its curves, confusion matrix and means "
            f"are of all {len(counted.samples):,}."
        )
    name = f"{run.title}_confusion_evolution"
    display.downloads(
        {
            "Figure (SVG)": (f"{name}.svg", "image/svg+xml", svg),
            "Figure (PNG)": (f"{name}.png", "image/png", lambda: as_png(svg)),
        },
        lambda: report_items.add_picture(lambda: as_png(svg), f"{shown}. {said}", "confusion evolution", "figure"),
    )
    with st.expander("How to read confusion evolution", icon=":material/menu_book:"):
        card = "\n\n".join(f"**{question}**: {answer}" for question, answer in CARD.items())
        st.markdown(f"{card}\n\n**Source**: {SOURCE}.\n\n**Measures**: {MEASURES_HELP}")


def changes_and_classes(view: EvolutionView) -> None:
    """When the predictions became stable, and the means of each class."""
    run = view.counted
    left, right = st.columns([2, 3])
    with left:
        st.markdown("#### Changed predictions")
        shares = changed(run)
        stable = stable_after(run.epochs, shares)
        said = findings.of_changes(run.epochs.tolist(), shares.tolist(), stable, STABLE)
        st.markdown(said or "Nothing can have changed: no sample is recorded in two of the chosen epochs.")
        if said:
            chart = display.kept_chart(lambda: charts.changes(run), "changes", run.digest)
            display.chart(chart, f"Share of changed predictions in each epoch. {said}")
        st.caption(
            f"Each recorded epoch is compared with the recorded epoch before, over the {len(run.samples):,} samples. A run "
            f"is stable after the earliest epoch behind which no recorded epoch changes more than {STABLE:.0%} of the "
            "predictions."
        )
    with right:
        st.markdown("#### Means of each class")
        table = class_means(run, view.epoch)
        display.finding(findings.of_class_means(table, view.epoch))
        final = f"recall at epoch {view.epoch}"
        columns = table.rename(columns={"misclassification": "wrong", "recall": final})
        columns.insert(2, final, columns.pop(final))
        shown = st.column_config.NumberColumn(format="percent")
        display.table(
            columns,
            hide_index=True,
            key="class means",
            column_config=dict.fromkeys(("frequency", "variability", "wrong", final), shown),
            alt="Means of the measures and the final recall of each true class",
        )
        display.downloads({"Class means (CSV)": (f"{run.title}_classes.csv", "text/csv", csv_bytes(columns))})
        st.caption(
            "Means over the samples of each true class: of the share of steps that change the prediction, of the share of "
            "the classes that it took, and of the share of epochs in which it was wrong."
        )


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.1%}"


def overview(view: EvolutionView) -> tuple[int, int]:
    """The heatmap of all samples; returns the range of those that are shown one by one below: the samples of one row."""
    run = view.run
    groups = grouped(run, rows_of(len(run.samples), charts.ROWS, view.groups))
    sizes, opened = np.diff(groups.starts), sections.opened_sample(run)
    names = _names(view, groups)
    st.markdown("#### The samples, to be opened")
    st.markdown(findings.of_fates(fates(run, view.epoch), view.epoch))
    _draw(view, groups, names, "overview")
    if sizes.max() == 1:
        return 0, len(run.samples)
    st.caption(
        f"The {len(run.samples):,} samples are shown in {len(sizes)} rows of up to {sizes.max()} samples, which are "
        "neighbours in this order. A row has the colour of most of its samples and is fainter where fewer of them agree; "
        "bars are means. Click a row, or choose it here, to see its samples one by one."
    )
    key = f"{run.title}.row"
    session.keep_among(key, names, names[0])
    if opened is not None:
        st.session_state[key] = names[int(np.searchsorted(groups.starts, opened, side="right")) - 1]
    row = names.index(st.selectbox("Row", names, key=key, **LINK))
    return int(groups.starts[row]), int(groups.starts[row + 1])


def _names(view: EvolutionView, groups: Groups) -> list[str]:
    """Names of the rows: their sample, or their group and its places in the order."""
    sizes = np.diff(groups.starts)
    if (sizes == 1).all():
        return [str(sample) for sample in view.run.samples]
    places = [
        f"{low + 1}–{low + size}" if size > 1 else f"{low + 1}" for low, size in zip(groups.starts, sizes, strict=False)
    ]
    return [f"{view.groups[low]} {place}".strip() for low, place in zip(groups.starts, places, strict=False)]


def _draw(view: EvolutionView, groups: Groups, names: list[str], key: str) -> None:
    """The heatmap with its bars and curves. A click chooses the row in the select box below."""
    run = view.run
    single = bool((np.diff(groups.starts) == 1).all())

    def draw() -> AnyChart:
        cells, colours = _cells(view, groups, names)
        colours = {name: colour for name, colour in colours.items() if name in set(cells["colour"])}
        both = [view.counted] + ([view.second] if view.second is not None else [])
        return charts.heatmap(
            cells,
            colours,
            _bars(view, groups),
            [charts.accuracies(both), *charts.losses(both)],
            text_title="confidence" if single and view.colour != DIFFER else "share of the row",
            width=560,
        )

    runs = [part and part.digest for part in (run, view.counted, view.second, view.other)]
    rows = array_digest(groups.starts), text_digest("\0".join(names))
    display.chart(
        display.kept_chart(draw, "samples", runs, rows, view.colour),
        key=f"{key}_chart",
        on_select=lambda: _take_row(f"{key}_chart", run.title, names, single),
        selection_mode="row",
        alt=f"Predicted classes of {len(run.samples):,} samples over {len(run.epochs)} epochs, with the frequency of "
        "changes, the number of different classes and the share of wrong epochs. The select box below chooses a row.",
    )


def _cells(view: EvolutionView, groups: Groups, names: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The cells of the heatmap and the colours of their values."""
    if view.colour == DIFFER and view.other is not None:
        return charts.cells_of_two(view.run, view.other, groups, names), charts.STATES
    if view.colour == VERDICT:
        judged = verdicts(view.run)
        cells = charts.cells_of_classes(judged, grouped(judged, groups.starts), names, charts.VERDICTS)
        return cells, charts.VERDICTS
    colours = class_colours(view.run)
    return charts.cells_of_classes(view.run, groups, names, colours), colours


def _bars(view: EvolutionView, groups: Groups) -> list[charts.Bars]:
    """The measures beside the heatmap: means over the samples of each row."""
    classes = len(view.run.classes)

    def means(column: str) -> NDArray[np.float64]:
        """Of the samples of each row that have a value (a sample recorded once has no frequency); NaN where none has."""
        values, starts = view.table[column].to_numpy(float), groups.starts[:-1]
        known = np.add.reduceat(np.isfinite(values).astype(float), starts)
        sums: NDArray[np.float64] = np.add.reduceat(np.nan_to_num(values), starts)
        quotients: NDArray[np.float64] = np.divide(sums, known, out=np.full(len(known), np.nan), where=known > 0)
        return quotients

    def shares(title: str, column: str, of: str) -> charts.Bars:
        values = means(column)
        texts = ["recorded in one epoch only" if np.isnan(mean) else f"{mean:.1%} of the {of}" for mean in values]
        return charts.Bars(title, values.tolist(), texts)

    counts = means("distinct")
    texts = [f"{count:.3g} of {classes} classes ({count / classes:.1%})" for count in counts]
    distinct = charts.Bars("variability", counts.tolist(), texts, top=max(2.0, float(np.ceil(counts.max()))), form="d")
    return [
        shares("frequency", "frequency", "steps between recorded epochs"),
        distinct,
        shares("wrong", "misclassification", "recorded epochs"),
    ]


def _take_row(chart: str, title: str, names: list[str], single: bool) -> None:
    """After a click on a row, choose it; where rows are single samples, choose the sample."""
    rows = st.session_state[chart]["selection"].get("row")
    if rows:
        st.session_state[f"{title}.sample" if single else f"{title}.row"] = names[int(rows[0]["row"])]


def detail(view: EvolutionView, low: int, high: int) -> None:
    """The samples from `low` up to `high` one by one, and the chosen one of them."""
    names = [str(sample) for sample in view.run.samples[low:high]]
    if high - low < len(view.run.samples):
        st.markdown(f"#### The {high - low} samples of this row")
        part = replace(
            view,
            run=view.run.rows(np.arange(low, high)),
            table=view.table.iloc[low:high].reset_index(drop=True),
            groups=view.groups[low:high],
            other=view.other.rows(np.arange(low, high)) if view.other is not None else None,
        )
        st.markdown(findings.of_fates(fates(part.run, view.epoch), view.epoch))
        _draw(part, grouped(part.run, rows_of(high - low, high - low)), names, "detail")
    key = f"{view.run.title}.sample"
    session.keep_among(key, names, names[0])
    with st.container(key="one-sample"):
        sample = st.selectbox("Sample", names, key=key, help="Or click a row above.", **LINK)
        sections.sample(view, names.index(sample) + low)
