"""The pictures that a page lists, to take away: a table, and a ZIP with the pictures and their maps, made by a job."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd
import streamlit as st

from xai_core.analysis import picture_list
from xai_core.analysis.picture_list import Map, ZipContents
from xai_core.app.shared import cache, display, explanations, job_view, jobs, page_links, sample_detail, server_job, session
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.jobs import JobHandle
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.predictions import FilteredRows, list_reasons
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, settings
from xai_core.core.cache_key import bytes_digest, text_digest
from xai_core.core.errors import XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import Dataset
from xai_core.explanation import export
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel

NO_MAPS = "(no maps)"
CHUNK = 20_000  # rows of the table that are in memory with all their columns
MOST_FILES = 8  # ZIPs that the server keeps
ENDS = ("predicted", "true", "margin")  # of the names of the maps' files, in the order of the headings of a sample


def section(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """Downloads of the pictures that pass the filters."""
    listed = rows.listed
    count = f"{len(listed):,} {'picture' if len(listed) == 1 else 'pictures'}"
    with st.expander(f"Export the {count} listed", icon=":material/download:", key="export"):
        display.downloads({"CSV": ("pictures.csv", "text/csv", lambda: _csv(rows))})
        st.caption(
            "Path, true and predicted class, their probabilities, the margin, the five most probable classes, and tags, of "
            "every picture that passes the filters on the left."
        )
        _zip(rows, dataset, model)


def _csv(rows: FilteredRows) -> bytes:
    """The table of all pictures listed, read and written CHUNK rows at a time. No page runs while it is made."""
    written = io.BytesIO()
    for start in range(0, len(rows.listed), CHUNK):
        some = rows.whole(rows.listed.iloc[start : start + CHUNK])
        lines = csv_bytes(picture_list.table(some, rows.tags))
        written.write(lines if not start else lines.partition(b"\n")[2])
    return written.getvalue()


def _zip(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The controls of the ZIP, the progress of the job that makes it, and its download."""
    fitting = [id for id, method in METHODS.items() if method.misfit(model) is None and method.family != "control"]
    tags = rows.tags
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "Maps in the ZIP", [NO_MAPS, *fitting], 1 + fitting.index("hires_cam") if "hires_cam" in fitting else 0,
            format_func=lambda id: id if id == NO_MAPS else METHODS[id].title, key="export.method", width=260, help=MAPS,
        )  # fmt: skip
        key = text_digest(f"zip {model.fingerprint} {dataset.digest} {method} {tags} {_digest(rows)}")
        file, job = _folder() / f"{key}.zip", jobs.find(key)
        if job is not None and session.starts_again(job.key):
            _start(key, file, rows, dataset, model, method)
            job = jobs.find(key)
        ready = job is not None and job.state == server_job.DONE and file.exists()
        if not ready and not (job is not None and job.unfinished):
            st.button(
                "Make the ZIP", key="make zip", icon=":material/folder_zip:",
                on_click=_start, args=(key, file, rows, dataset, model, method),
            )  # fmt: skip
    if job is not None and job.unfinished:
        job_view.show(job)
    elif job is not None and ready:
        _ready(file, job.result)
    elif job is not None and job.error:
        st.error(error_text(job.error))
    elif job is not None and job.state != server_job.DONE:
        st.caption(f"The ZIP was not finished: {markdown.escape(job_view.in_words(job))}.")
    most = picture_list.MOST_ZIP_BYTES // 2**20
    st.caption(f"The ZIP holds the same table, the unchanged pictures, and their maps, up to {most} MB.")


MAPS = (
    "For each picture: a map for the predicted class; where this class is wrong, also a map for the true class and one "
    "for the difference of the two. Each map is stored as a picture (PNG) and as numbers (NPZ)."
)


def _digest(rows: FilteredRows) -> str:
    """A text that tells the pictures listed from others of the dataset."""
    return bytes_digest(rows.listed["place"].to_numpy().tobytes())


def _folder() -> Path:
    """Where the server keeps the ZIPs that were made last."""
    return settings.cache_folder() / "exports"


def _ready(file: Path, contents: ZipContents) -> None:
    name = "pictures_and_maps.zip"
    display.downloads({f"ZIP, {max(file.stat().st_size / 1e6, 0.1):.1f} MB": (name, "application/zip", file.read_bytes)})
    if contents.left_out:
        with st.expander(f"{len(contents.left_out):,} pictures are not in the ZIP"):
            list_reasons(contents.left_out.items())


def _start(
    key: str,
    file: Path,
    rows: FilteredRows,
    dataset: Dataset,
    model: ExplainableModel,
    method: str,
) -> None:
    """Start the job that makes the ZIP. For callbacks."""

    def work(handle: JobHandle) -> ZipContents:
        listed = rows.whole(rows.listed)
        by_path = {row["path"]: row for _, row in listed.iterrows()}

        def maps(path: str) -> Iterator[Map]:
            return iter(()) if method == NO_MAPS else _maps(by_path[path], dataset, model, method, handle)

        with _written_as_a_whole(file) as opened:
            return picture_list.write_zip(
                opened, picture_list.table(listed, rows.tags), dataset.read, maps, handle.pieces("pictures")
            )

    try:
        jobs.start(
            key,
            f"ZIP of {len(rows.listed):,} pictures",
            work,
            page_links.here(page_links.MISSES),
            private=is_upload(dataset),
        )
    except XaiError as error:
        session.complain(str(error))


@contextmanager
def _written_as_a_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when it is complete. The oldest ZIPs leave for it. Raises XaiError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        older = sorted(file.parent.glob("*.zip"), key=lambda path: path.stat().st_mtime)
        for path in older[: max(0, len(older) - MOST_FILES + 1)]:
            path.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part") as part:
            yield part
            part.flush()
            file.unlink(missing_ok=True)
            os.link(part.name, file)
    except OSError as error:
        raise XaiError(f"The ZIP cannot be written ({error.strerror or error}). Export the CSV instead.") from None


def _maps(row: pd.Series[Any], dataset: Dataset, model: ExplainableModel, method: str, handle: JobHandle) -> Iterator[Map]:
    """The files of one picture's maps, as the drawer shows them: on one scale, with their settings inside."""
    picture = dataset.open(row["path"])
    requests = sample_detail.requests_for(row, model, picture, method)
    results: dict[str, Explanation | XaiError] = {}
    for end, request in zip(ENDS, requests.values(), strict=False):
        stored = explanations.find(request)
        if stored is None:
            try:
                stored = explanations.explain(request, handle.within)
            except XaiError as error:
                stored = error
            cache.put(request.key, stored)
        results[end] = stored
    scale_of = sample_detail.scales([result for result in results.values() if isinstance(result, Explanation)])
    for end, result in results.items():
        if isinstance(result, XaiError):
            yield f"{end}.txt", str(result).encode()
            continue
        yield (
            f"{end}.png",
            export.png_bytes(display.map_image(result, picture, scale_of[result.signed], width=sample_detail.WIDTH), result),
        )
        yield f"{end}.npz", export.npz_bytes(result)
