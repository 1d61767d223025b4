"""What several pages show alike: errors, a map over its picture, thumbnails, what opens a picture, rows of downloads."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from xai_core.analysis.confusion import Confusion
from xai_core.app.charts import confusion as charts_confusion
from xai_core.app.charts.common import AnyChart, Drawn
from xai_core.app.shared import report_items, thumbnails
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import Chosen
from xai_core.core import markdown
from xai_core.core.errors import BadPicture, XaiError
from xai_core.data.datasets import Dataset
from xai_core.explanation import rendering
from xai_core.explanation.result import Explanation

THUMBNAIL = thumbnails.SIDE  # longest side of a dataset's thumbnail in pixels
TILE = 186  # width of a small map in pixels: four fit in a row on a laptop's screen


@contextmanager
def errors() -> Iterator[None]:
    """Show an error of this package as one sentence; the page stays usable."""
    try:
        yield
    except XaiError as error:
        st.error(error_text(error))


def map_image(
    explanation: Explanation, picture: Image.Image, scale: rendering.Scale, *, smooth: bool = True, width: int = TILE
) -> Image.Image:
    """A map over the part of the picture that the network saw, with its colour bar, twice as wide as it is shown."""
    explanation, part = rendering.seen_part(explanation, picture, 2 * width)
    return rendering.with_bar(rendering.overlay(explanation, part, scale, smooth=smooth), scale)


def map_picture(
    explanation: Explanation,
    chosen: Chosen,
    scale: rendering.Scale,
    smooth: bool,
    alt: str,
    width: int = TILE,
) -> None:
    """A map over the part of the picture that the network saw, with its colour bar below, and the button that adds it to the
    report."""
    image = map_image(explanation, chosen.picture, scale, smooth=smooth)
    st.image(rendering.encoded(image, "PNG"), width=width, output_format="PNG", alt=alt)
    large = partial(map_image, explanation, chosen.picture, scale, smooth=smooth, width=2 * TILE)
    report_items.add_map(explanation, large, scale, f"the map by {explanation.title}", f"{alt} {explanation.key}")


def thumbnail(dataset: Dataset, path: str, alt: str, small: bytes | None = None) -> None:
    """Show a small version of a dataset's picture (`small` where it is known); a short text if it cannot be read."""
    try:
        st.image(small or thumbnails.file(dataset, path), output_format="JPEG", alt=alt)
    except BadPicture:
        st.caption("This file can no longer be read.")


def grid_image(grid: NDArray[np.float32]) -> bytes:
    """A small map (h, w) on its own grid and colour scale, as a PNG."""
    return rendering.encoded(rendering.coloured_map(grid).resize((280, 280), Image.Resampling.NEAREST), "PNG")


def open_button(path: str, key: str, on_click: Callable[..., None], args: tuple[object, ...]) -> None:
    """A button that opens a picture. "Open" is seen; its name, which a screen reader says, has the picture's path as well
    (the style of every page hides it). The key begins with "open " or "neighbour "."""
    name = markdown.escape(path)
    st.button(f"Open **{name}**", key=key, help=name, on_click=on_click, args=args)


def kept_chart(draw: Callable[[], AnyChart], *what: object) -> Drawn:
    """A chart that is drawn once for all sessions. `what` tells it from every other chart by its `repr`: the kind of chart,
    digests of what it shows, settings."""
    return _drawn(repr(what), draw)


@st.cache_resource(max_entries=256, show_spinner=False)
def _drawn(what: str, _draw: Callable[[], AnyChart]) -> Drawn:
    return Drawn(_draw())


def confusion_matrix(matrix: Confusion, *, rates: bool, dim_diagonal: bool) -> Drawn:
    """The chart of a confusion matrix, drawn once for all pages: see `charts.confusion.confusion_matrix`."""

    def draw() -> AnyChart:
        return charts_confusion.confusion_matrix(matrix, rates=rates, dim_diagonal=dim_diagonal)

    return kept_chart(draw, "confusion", matrix.digest, rates, dim_diagonal)


def chart(chart: AnyChart | Drawn, alt: str, *, key: str | None = None, **options: Any) -> Any:
    """A chart with its text for screen readers, and the button that adds it to the report; that text is its caption there.

    The options and what it returns are those of `st.altair_chart`.
    """
    shown: Any = chart  # Streamlit asks it for its specification
    state = st.altair_chart(shown, alt=alt, key=key, **options)
    report_items.add_chart(chart.chart if isinstance(chart, Drawn) else chart, alt, key)
    return state


def picture(
    picture: report_items.Picture,
    alt: str,
    *,
    caption: str = "",
    what: str = "",
    key: str | None = None,
    width: int | Literal["stretch", "content"] = "content",
    large: Callable[[], report_items.Picture] | None = None,
) -> None:
    """A picture that is no map, and the button that adds it to the report, there with `caption` (the alt text where that is
    empty). `what` the button is said to add is by default the beginning of that; `large` makes a better picture for it."""
    file = picture if isinstance(picture, bytes) else rendering.encoded(picture)
    st.image(file, width=width, output_format="PNG" if file.startswith(b"\x89PNG") else "JPEG", alt=alt)
    report_items.add_picture(large or file, caption or alt, what, key)


def finding(words: str, *, bold: bool = False) -> None:
    """A sentence that says what a figure shows, or what follows from it; and the button that adds it to the report."""
    escaped = markdown.escape(words)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{escaped}**" if bold else escaped, width="content")
        report_items.add_text(words)


def verdict(written: str) -> None:
    """Sentences in Markdown with bold parts, as `finding` shows them; in the report they are plain words."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(written, width="content")
        report_items.add_text(markdown.plain(written))


def table(rows: pd.DataFrame, alt: str, *, key: str | None = None, **options: Any) -> None:
    """A table with its text for screen readers, and the button that adds it to the report; that text is its caption there.

    The options are those of `st.dataframe`.
    """
    st.dataframe(rows, alt=alt, key=key, **options)
    report_items.add_table(rows, alt, key, options.get("column_config"))


def openable_table(
    rows: pd.DataFrame,
    key: str,
    on_open: Callable[[int], None],
    *,
    openable: Sequence[bool] | None = None,
    columns: Mapping[str, Any] | None = None,
    alt: str,
) -> None:
    """A table with a button in each row (that is `openable`), which calls `on_open` with the number of the row; and the
    button that adds the table to the report, where `alt` is its caption."""
    clicked = f"row of {key}"

    def on_click() -> None:
        on_open(st.session_state[clicked]["row"])

    button = st.column_config.ButtonColumn("", width=84, pinned=True, on_click=on_click, key=clicked)
    labels = pd.Series(["Open" if openable is None or openable[row] else None for row in range(len(rows))], rows.index, str)
    shown = rows.assign(open=labels)[["open", *rows.columns]]
    st.dataframe(shown, hide_index=True, key=key, column_config={"open": button, **(columns or {})}, alt=alt)
    report_items.add_table(rows, alt, key, columns)


File = tuple[str, str, Callable[[], bytes | str | io.RawIOBase] | bytes | str]


def downloads(files: Mapping[str, File], add: Callable[[], None] | None = None) -> None:
    """A row of download buttons; `add` draws the button beside them that adds what they hold to the report.

    `files` maps each button's label to (file name, MIME type, content). The content may be a function, which is called
    when the button is pressed.
    """
    with st.container(horizontal=True):
        for label, (name, mime, content) in files.items():
            st.download_button(
                label, content, name, mime, key=f"download {name}", on_click="ignore", icon=":material/download:"
            )
        if add is not None:
            add()
