"""The page of a training: which runs, which samples and epochs, the picture of them, and the way down to one sample."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st

from xai_core.app.charts import evolution as charts
from xai_core.app.evolution import sections
from xai_core.app.evolution.selection import DIFFER, VERDICT, View
from xai_core.app.shared import session
from xai_core.app.shared.widgets import LINK
from xai_core.core.cache_key import bytes_digest
from xai_core.training.dynamics import readers as recorded
from xai_core.training.dynamics.analysis import Groups, Run, grouped, rows_of, verdicts

UPLOADED, NONE = "Uploaded file", "None"
LIVE_SECONDS = 3


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
        on_change=_take_upload,
    )
    upload = st.session_state.get("run_file")
    names = [*offered, *([UPLOADED] if upload else [])]
    if not names:
        return None
    longest = max(offered, key=lambda name: offered[name].stat().st_size, default=UPLOADED)  # has most to show
    name = st.selectbox("Run", names, names.index(longest), key="run", **LINK)
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


def _take_upload() -> None:
    """A new file is shown at once; one that was taken away is no longer chosen."""
    if st.session_state["run_file"]:
        st.session_state["run"] = UPLOADED
    elif st.session_state.get("run") == UPLOADED:
        st.session_state.pop("run")


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
    names = _names(found, groups)
    _draw(found, groups, names, "overview")
    if sizes.max() == 1:
        return 0, len(run.samples)
    st.caption(
        f"{len(run.samples):,} samples in {len(sizes)} rows of up to {sizes.max()}, neighbours in this order. The colour is "
        "what most samples of a row are, fainter where fewer agree; the bars are means. Click a row, or choose it here, to "
        "see its samples one by one."
    )
    key = f"{run.title}.row"
    session.keep_among(key, names, names[0])
    row = names.index(st.selectbox("Row", names, key=key, **LINK))
    return int(groups.starts[row]), int(groups.starts[row + 1])


def _names(found: View, groups: Groups) -> list[str]:
    """What rows are called: by their sample, or by their group and places in the order."""
    sizes = np.diff(groups.starts)
    if (sizes == 1).all():
        return found.run.samples.tolist()
    places = [
        f"{low + 1}–{low + size}" if size > 1 else f"{low + 1}" for low, size in zip(groups.starts, sizes, strict=False)
    ]
    return [f"{found.kinds[low]} {place}".strip() for low, place in zip(groups.starts, places, strict=False)]


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
        text_title="confidence" if alone and found.colour != DIFFER else "share of the row",
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
        st.session_state[f"{title}.sample" if alone else f"{title}.row"] = names[row]


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
    session.keep_among(key, names, names[0])
    sample = st.selectbox("Sample", names, key=key, help="Or click a row above.", **LINK)
    sections.sample(found, names.index(sample) + low)
