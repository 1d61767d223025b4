"""The page of a training: which runs, which samples and epochs, the picture of them, and the way down to one sample."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from xai_core import charts_evolution as charts
from xai_core import recorded_runs as recorded
from xai_core.app import evolution_sections
from xai_core.app.pickers import LINK
from xai_core.errors import BadRequest
from xai_core.evolution import MISSING, Groups, Run, grouped, measures, rows_of, together, verdicts
from xai_core.keys import bytes_digest

UPLOADED, NONE = "Uploaded file", "None"
CLASS, VERDICT, DIFFER = "Predicted class", "Right or wrong", "Where the runs differ"
MEASURES = {
    "Misclassification rate": "misclassification",
    "Frequency of changes": "frequency",
    "Variability": "variability",
    "Confidence at the end": "confidence",
    "Sample id": "sample",
}
GROUPS = {"Nothing": None, "True class": "true", "Class at the end": "last"}
SAMPLES = (
    "All",
    "Wrong at the end",
    "Wrong at any time",
    "Changed at any time",
    "Forgotten: right before, wrong at the end",
)
LIVE_SECONDS = 3
MEASURES_HELP = (
    "Frequency: share of epochs in which the prediction is another than in the epoch before. Variability: distinct classes "
    "predicted. Misclassification rate: share of epochs in which the prediction is wrong. All over the chosen epochs."
)


@st.cache_data(max_entries=4, show_spinner="Reading the run")
def _read(name: str, digest: str, _data: bytes) -> Run:
    return recorded.read_run(_data, name)


@dataclass(frozen=True)
class Chosen:
    """The run, and the second one if there is any; the file of the first where it can be read again."""

    run: Run
    other: Run | None
    file: Path | None


def runs() -> Chosen | None:
    """The controls that choose a run; None where there is none to show."""
    offered = recorded.offered_runs()
    st.file_uploader(
        "Open a run",
        type=["parquet", "csv", "json"],
        key="run_file",
        help="What RunRecorder writes (Parquet or CSV), a table with a column for each epoch, or InstanceFlow's JSON. It "
        "stays in this session's memory.",
        on_change=lambda: st.session_state.update(run=UPLOADED) if st.session_state["run_file"] else None,
    )
    upload = st.session_state.get("run_file")
    names = [*offered, *([UPLOADED] if upload else [])]
    if not names:
        return None
    name = st.selectbox("Run", names, key="run", **LINK)
    file = offered.get(name)
    run = _opened(upload.name, upload.getvalue()) if file is None else _opened(file.name, file.read_bytes())
    other = None
    rest = [NONE, *(one for one in offered if one != name)]
    if len(rest) > 1:
        second = st.selectbox("Second run", rest, key="second", help="Overlaid: its curves dashed.", **LINK)
        if second != NONE:
            other = _opened(offered[second].name, offered[second].read_bytes())
    if file is not None and st.toggle("Live", key="live", help="Reads the run again while it is being written.", **LINK):
        _watch(file, file.stat().st_mtime_ns)
    return Chosen(run, other, file)


def _opened(name: str, data: bytes) -> Run:
    return _read(name, bytes_digest(data), data)


@st.fragment(run_every=LIVE_SECONDS)
def _watch(file: Path, seen: int) -> None:
    """Look at the file every few seconds; the page runs again when it was written."""
    now = file.stat().st_mtime_ns if file.exists() else seen
    st.caption(f":material/sync: read every {LIVE_SECONDS} s while it is written")
    if now != seen:
        st.rerun()


def nothing_yet() -> None:
    st.info(
        "There is no recorded run yet. Upload one on the left, or put files into data/runs/. "
        "In your training, once an epoch:"
    )
    st.code(
        'recorder = RunRecorder("data/runs/mine.parquet", classes=names)\n'
        "recorder.record(epoch, samples, true, predicted, confidence, train_loss=..., validation_accuracy=...)",
        language="python",
    )


@dataclass(frozen=True)
class View:
    """What is looked at: the chosen epochs of the chosen samples in the chosen order, and what was counted of them.

    `table` has a row for each sample, in the same order; `kinds` the value by which it is grouped. `other` holds the same
    samples and epochs of the second run, in the same order.
    """

    whole: Run
    run: Run
    table: pd.DataFrame
    kinds: np.ndarray
    grouping: str
    second: Run | None
    other: Run | None
    colour: str


def view(chosen: Chosen) -> View:
    """The controls that choose samples, epochs and order."""
    run, second = chosen.run, chosen.other
    first, last = int(run.epochs[0]), int(run.epochs[-1])
    if first < last:
        first, last = st.slider("Epochs", first, last, (first, last), key=f"{run.title}.epochs", **LINK)
    classes = st.multiselect("True classes", run.classes, key=f"{run.title}.classes", placeholder="all", **LINK)
    which = st.selectbox("Samples", SAMPLES, key="which", **LINK)
    order = st.selectbox("Sort by", MEASURES, key="sort", help=MEASURES_HELP, **LINK)
    grouping = st.selectbox("Group by", GROUPS, index=1, key="group", **LINK)
    part, other = run.between(first, last), None
    ways = [CLASS, VERDICT, *([DIFFER] if second is not None else [])]
    usual = CLASS if len(run.classes) <= charts.COLOURS else VERDICT  # of more classes most would share one grey
    colour = st.selectbox("Colour", ways, index=ways.index(usual), key=f"{run.title}.colour", **LINK)
    if colour == DIFFER:
        part, other = together(part, second)
    kept = _kept(part, classes, which)
    if not kept.any():
        raise BadRequest("No sample fits these filters: choose other classes, samples or epochs on the left.")
    part = part.rows(kept)
    table = measures(part)
    table["true"], table["last"] = part.true, part.last
    confidence = part.confidence[:, -1]
    table["confidence"] = np.where(np.isnan(confidence), -1.0, confidence)
    by = [*([GROUPS[grouping]] if GROUPS[grouping] else []), MEASURES[order], "sample"]
    up = [True] * (len(by) - 2) + [MEASURES[order] in ("sample", "confidence"), True]
    place = table.sort_values(by, ascending=up, kind="stable").index.to_numpy()
    part, table = part.rows(place), table.loc[place].reset_index(drop=True)
    kinds = table[GROUPS[grouping]].to_numpy() if GROUPS[grouping] else np.zeros(len(table), int)
    shared = other.rows(kept).rows(place) if other is not None else None
    return View(run, part, table, kinds, grouping, second, shared, colour)


def _kept(run: Run, classes: list[str], which: str) -> np.ndarray:
    wanted = np.isin(run.true, [run.classes.index(name) for name in classes]) if classes else np.full(len(run.true), True)
    known = run.predicted != MISSING
    right = (run.predicted == run.true[:, None]) & known
    wrong_now = (run.last != run.true) & known.any(1)
    if which == SAMPLES[1]:
        wanted &= wrong_now
    elif which == SAMPLES[2]:
        wanted &= (~right & known).any(1)
    elif which == SAMPLES[3]:
        wanted &= measures(run)["changes"].to_numpy() > 0
    elif which == SAMPLES[4]:
        wanted &= wrong_now & right.any(1)
    return wanted & known.any(1)


def facts(found: View) -> None:
    """What the run is, and its figures at the end of the chosen epochs."""
    st.caption(f"**{found.whole.title}**: {found.whole.in_words()}")
    table = found.table
    columns = st.columns(4)
    right = float((found.run.last == found.run.true).mean())
    columns[0].metric("Samples shown", f"{len(table):,}", help=f"of {len(found.whole.samples):,}")
    columns[1].metric(f"Right at epoch {found.run.epochs[-1]}", f"{right:.1%}")
    columns[2].metric("Changes a sample", f"{table['changes'].mean():.2f}", help="mean number of changed predictions")
    never = float((table["misclassification"] == 1).mean())
    columns[3].metric("Never right", f"{never:.1%}", help="in none of the chosen epochs")


def overview(found: View) -> tuple[int, int]:
    """The picture of all samples; returns which of them, from and to, are shown one by one below: those of one row."""
    run = found.run
    groups = grouped(run, rows_of(len(run.samples), charts.ROWS, found.kinds))
    sizes = np.diff(groups.starts)
    names = [_name(found, groups, index) for index in range(len(sizes))]
    _draw(found, groups, names, "overview")
    if sizes.max() == 1:
        return 0, len(run.samples)
    st.caption(
        f"{len(run.samples):,} samples in {len(sizes)} rows of up to {sizes.max()}, neighbours in this order. The colour is "
        "what most samples of a row are, fainter where fewer agree; the bars are means. Click a row, or choose it here, to "
        "see its samples one by one."
    )
    key = f"{run.title}.row"
    if st.session_state.get(key, 0) >= len(names):
        st.session_state[key] = 0
    row = st.selectbox("Row", range(len(names)), format_func=names.__getitem__, key=key, **LINK)
    return int(groups.starts[row]), int(groups.starts[row + 1])


def _name(found: View, groups: Groups, index: int) -> str:
    low, high = groups.starts[index], groups.starts[index + 1]
    kind = "" if found.grouping == "Nothing" else found.run.classes[found.kinds[low]]
    if high - low == 1:
        return f"{found.run.samples[low]}"
    return f"{kind} {low + 1}–{high}".strip()


def _draw(found: View, groups: Groups, names: list[str], key: str) -> None:
    """The heatmap with its bars and curves. A click writes the row into the select box of the same name."""
    run, table = found.run, found.table
    starts, sizes = groups.starts[:-1], np.diff(groups.starts)
    alone = bool((sizes == 1).all())

    def means(column: str) -> np.ndarray:
        return np.add.reduceat(table[column].fillna(0).to_numpy(float), starts) / sizes

    def shares(title: str, column: str) -> charts.Bars:
        return charts.Bars(title, means(column), [f"{mean:.1%} of the epochs" for mean in means(column)])

    counts = means("distinct")
    said = [f"{count:.3g} of {len(run.classes)} classes ({count / len(run.classes):.1%})" for count in counts]
    distinct = charts.Bars("variability", counts, said, top=max(2.0, float(np.ceil(counts.max()))), form="d")
    bars = [shares("frequency", "frequency"), distinct, shares("wrong", "misclassification")]
    if found.colour == DIFFER:
        cells, colours = charts.cells_of_two(run, found.other, groups, names), charts.STATES
    elif found.colour == VERDICT:
        judged = verdicts(run)
        cells, colours = (
            charts.cells_of_classes(judged, grouped(judged, groups.starts), names, charts.VERDICTS),
            charts.VERDICTS,
        )
    else:
        colours = charts.colours_of(run)
        cells = charts.cells_of_classes(run, groups, names, colours)
    colours = {name: colour for name, colour in colours.items() if name in set(cells["colour"])}
    both = [run] + ([found.second] if found.second is not None else [])
    drawn = charts.heatmap(
        cells,
        colours,
        bars,
        [charts.curves(both, "accuracy"), charts.curves(both, "loss")],
        said="confidence" if alone and found.colour != DIFFER else "share of the row",
        width=560,
    )
    st.altair_chart(
        drawn,
        key=f"{key}_chart",
        on_select=lambda: _take_row(f"{key}_chart", run.title, names, alone),
        selection_mode="row",
        alt=f"Predicted classes of {len(run.samples):,} samples over {len(run.epochs)} epochs, with how often they changed, "
        "how many classes they were given and how often they were wrong. The select box below chooses a row.",
    )


def _take_row(chart: str, title: str, names: list[str], alone: bool) -> None:
    """A click on a row chooses it; on one that is a single sample, the sample."""
    picked = st.session_state[chart]["selection"].get("row")
    if picked:
        row = int(picked[0]["row"])
        st.session_state[f"{title}.sample" if alone else f"{title}.row"] = names[row] if alone else row


def detail(found: View, low: int, high: int) -> None:
    """Some of the samples one by one, and the one that is chosen."""
    names = found.run.samples[low:high].tolist()
    if high - low < len(found.run.samples):
        st.markdown(f"#### The {high - low} samples of this row")
        part = replace(
            found,
            run=found.run.rows(np.arange(low, high)),
            table=found.table.iloc[low:high].reset_index(drop=True),
            kinds=found.kinds[low:high],
            other=found.other.rows(np.arange(low, high)) if found.other is not None else None,
        )
        _draw(part, grouped(part.run, rows_of(high - low, high - low)), names, "detail")
    key = f"{found.run.title}.sample"
    if st.session_state.get(key) not in names:
        st.session_state.pop(key, None)
    sample = st.selectbox("Sample", names, key=key, help="Or click a row above.", **LINK)
    evolution_sections.sample(found, names.index(sample) + low)
