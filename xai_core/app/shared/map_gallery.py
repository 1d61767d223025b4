"""The maps of the pictures of a list, many at once: wrong and right side by side, on one scale, shown as they are computed.

Maps are explained several pictures in one sweep, and are held in the cache of results under the key that each has alone: the
drawer and other pages find them there.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from xai_core.analysis import map_sheet
from xai_core.analysis.map_sheet import BATCH, PREDICTED, TRUE, Half, Result
from xai_core.app.shared import (
    display,
    explanations,
    opened_datasets,
    page_links,
    page_work,
    progress,
    report_items,
    session,
    turns,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_work import PageWork, counted
from xai_core.app.shared.predictions import alt_text
from xai_core.app.shared.widgets import LINK
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown
from xai_core.core.errors import BadPicture, BadRequest, XaiError
from xai_core.core.options import check_options
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import export, rendering
from xai_core.explanation.rendering import Scale
from xai_core.explanation.request import Request, joint_key
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel

PICTURES = 24  # at once
WIDTH = 132  # pixels of a map
Row = Mapping[Hashable, Any]
Whole = Callable[[pd.DataFrame], pd.DataFrame]
BelowTile = Callable[[Row], None]  # draws what a page has below each picture: a button that opens it, a box that selects it


class Asked(NamedTuple):
    """What is asked of the pictures on a page: one request about those that can be opened (None: no such picture), their
    names in its order, and why the others cannot."""

    request: Request | None
    paths: tuple[str, ...]
    faults: dict[str, XaiError]

    def keys(self) -> dict[str, str]:
        """The key of each picture's own request."""
        if self.request is None:
            return {}
        return {path: self.request.rows([place]).key for place, path in enumerate(self.paths)}


def show(
    halves: list[Half], dataset: Dataset, model: ExplainableModel, title: str, key: str, below: BelowTile, whole: Whole
) -> list[str]:
    """The controls, the maps of one page of the halves, their scale, and the sheet to download; returns the names of the
    pictures shown.

    `title` names the list in words, `key` begins the keys of the controls; `whole` gives rows with all their columns.
    Raises subclasses of XaiError.
    """
    method, target = _controls(model, key)
    pages = map_sheet.pages(halves, PICTURES)
    session.keep_among(f"{key}.page", range(1, pages + 1), 1)
    page = st.pagination(pages, key=f"{key}.page", **LINK) if pages > 1 else 1
    shown = [half._replace(rows=whole(half.rows)) for half in map_sheet.page_of(halves, page - 1, PICTURES)]
    asked = _asked(shown, dataset, model, method, target)
    work = _work(asked, method, title, private=opened_datasets.is_upload(dataset))
    now, bar = page_work.start_now(work), st.empty()
    scale_slot = st.empty()
    slots = _tiles(shown, key, below)
    sheet = st.empty()
    heading = f"{METHODS[method].title} for the {target} class: {title}"
    _draw(shown, asked, dataset, slots, scale_slot)
    if work.parts and now:
        with progress.bar(work.key, bar) as moving:
            for part in work.parts:
                turns.in_turn(part.compute, moving, part.title)
                _draw(shown, asked, dataset, slots, scale_slot)
    with sheet.container():
        _download(shown, asked, dataset, model, heading, key)
    return [path for half in shown for path in half.rows["path"]]


def _controls(model: ExplainableModel, key: str) -> tuple[str, str]:
    """The method of the maps, and which class of each picture is explained."""
    fitting = [id for id, method in METHODS.items() if method.misfit(model) is None and method.family != "control"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "Method of the maps", fitting, fitting.index("hires_cam") if "hires_cam" in fitting else 0,
            format_func=lambda id: METHODS[id].title, key=f"{key}.method", width=260, **LINK,
        )  # fmt: skip
        target = st.segmented_control(
            "Explained class", [PREDICTED, TRUE], default=PREDICTED, required=True, format_func=str.capitalize,
            key=f"{key}.target", help="Of each picture: the class that is predicted, or the class of its label.", **LINK,
        )  # fmt: skip
    return method, target


def _asked(shown: list[Half], dataset: Dataset, model: ExplainableModel, method: str, target: str) -> Asked:
    """The request for all maps on the page; with evidence against the class where the method can show it, as the drawer."""
    options = check_options(METHODS[method].run, {})
    prepared: dict[str, tuple[Prepared, int]] = {}
    faults: dict[str, XaiError] = {}
    for row in (row for half in shown for row in half.rows.to_dict("records")):
        try:
            prepared[row["path"]] = model.prepare(_picture(dataset, row["path"])), int(row[f"{target}_index"])
        except (BadPicture, BadRequest) as error:
            faults[row["path"]] = error
    if not prepared:
        return Asked(None, (), faults)
    pictures, classes = zip(*prepared.values(), strict=True)
    request = map_sheet.request_of(
        model, pictures, classes, method, options | ({"relu": False} if "relu" in options else {})
    )
    return Asked(request, tuple(prepared), faults)


def _picture(dataset: Dataset, path: str) -> Image.Image:
    """A dataset's picture, held in the session. Raises BadPicture."""
    return session.picture(f"picture {dataset.content(path)}", lambda: dataset.open(path))


def _work(asked: Asked, method: str, title: str, *, private: bool) -> PageWork:
    """The sweeps over the pictures whose maps are not stored yet."""
    keys = asked.keys()
    missing = [place for place, path in enumerate(asked.paths) if explanations.stored(keys[path]) is None]
    parts = []
    if asked.request is not None:
        for start in range(0, len(missing), BATCH):
            parts.append(explanations.sweep(asked.request.rows(missing[start : start + BATCH])))
    name = joint_key("maps of a list", [asked.request] if asked.request else [])
    words = f"{METHODS[method].title} of {counted(len(asked.paths), 'picture')}: {title}"
    return PageWork(name, parts, words, page_links.shown(), private, button="Compute the maps")


def _results(asked: Asked) -> dict[str, Result]:
    """What there is so far, by the pictures' names."""
    found: dict[str, Result] = dict(asked.faults)
    for path, key in asked.keys().items():
        result = explanations.stored(key)
        if result is not None:
            found[path] = result
    return found


def _tiles(shown: list[Half], key: str, below: BelowTile) -> dict[str, DeltaGenerator]:
    """The halves with the words under each picture, and the place of each picture's map."""
    slots: dict[str, DeltaGenerator] = {}
    for column, half in zip(st.columns(len(shown), gap="medium"), shown, strict=True):
        with column:
            st.markdown(f"**{markdown.escape(half.title)}**")
            with st.container(horizontal=True, gap="small"):
                for row in half.rows.to_dict("records"):
                    path = row["path"]
                    with st.container(width=WIDTH, key=f"tile of {key} {path}"):
                        slots[path] = st.empty()
                        true, predicted = (markdown.escape(first_name(row[name])) for name in ("true", "predicted"))
                        st.caption(f"true: {true}  \npredicted: {predicted} {row['confidence']:.0%}")
                        below(row)
    return slots


def _draw(
    shown: list[Half], asked: Asked, dataset: Dataset, slots: Mapping[str, DeltaGenerator], scale_slot: DeltaGenerator
) -> None:
    """The maps that there are, all on one scale; for the others the pictures."""
    results = _results(asked)
    scale = map_sheet.scale_of(list(results.values()))
    total = sum(len(half.rows) for half in shown)
    maps = sum(isinstance(result, Explanation) for result in results.values())
    for row in (row for half in shown for row in half.rows.to_dict("records")):
        path = row["path"]
        result, slot = results.get(path), slots[path]
        if result is None:
            with slot.container():
                display.thumbnail(dataset, path, alt_text(row))
        elif isinstance(result, XaiError):
            slot.error(error_text(result))
        elif scale is not None:
            _draw_map(slot, result, dataset, path, scale)
    if scale is None:
        scale_slot.caption("No map is computed yet.")
        return
    with scale_slot.container():
        bar = rendering.colour_bar(scale, 300, 10)
        st.image(rendering.encoded(bar, "PNG"), width=300, output_format="PNG", alt=f"Colour bar: {scale.words}")
        st.caption(f"Colours: {scale.words}. {maps} of {total} pictures have a map.")


def _draw_map(slot: DeltaGenerator, result: Explanation, dataset: Dataset, path: str, scale: Scale) -> None:
    try:
        picture = _picture(dataset, path)
    except BadPicture as error:
        slot.error(error_text(error))
        return
    image = rendering.encoded(map_sheet.map_picture(result, picture, scale, 2 * WIDTH))
    slot.image(image, width=WIDTH, output_format="JPEG", alt=rendering.alt_text(result, f"Map of {path}"))


def _download(shown: list[Half], asked: Asked, dataset: Dataset, model: ExplainableModel, heading: str, key: str) -> None:
    """The sheet of what is shown, made when it is asked for."""
    results = _results(asked)
    maps = [result for result in results.values() if isinstance(result, Explanation)]
    if not maps:
        return
    first = maps[0]

    def made() -> bytes:
        tiles = {half.title: map_sheet.tiles(dataset, half.rows, results) for half in shown}
        page = map_sheet.sheet(tiles, heading, map_sheet.scale_of(maps), [_settings(first, model, dataset, len(maps))])
        return export.png_bytes(page, first)

    file = f"{key.replace(' ', '_')}_{first.method}.png"
    said = f"{heading}. {_settings(first, model, dataset, len(maps))}"
    display.downloads(
        {"Sheet (PNG)": (file, "image/png", made)},
        lambda: report_items.add_picture(made, said, f"the maps of {heading}", f"sheet {key}"),
    )


def _settings(map: Explanation, model: ExplainableModel, dataset: Dataset, total: int) -> str:
    options = ", ".join(f"{name} {value}" for name, value in map.options.items()) or "no options"
    cut = f" at {map.cut}" if map.cut else ""
    return (
        f"Model: {model.title} ({map.model}, {map.weights}). Dataset: {dataset.title}. Method: {map.title} ({options}){cut}"
        f", {map.precision} precision, seed {map.seed}. Maps: {total:,}."
    )
