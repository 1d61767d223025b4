"""An audit as files: one document (HTML that opens offline, Markdown), a CSV for each table and list, and pictures."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core import document
from xai_core.core.document import Block, Figure, FigureRow, Heading, Paragraph, TermList, TextTable
from xai_core.core.errors import XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.core.version import __version__
from xai_core.explanation import rendering
from xai_core.failures.audited import SHOWN, AuditedPredictions, PictureList, Section
from xai_core.failures.error_maps import METHOD
from xai_core.failures.plan import Plan

MOST_ROWS = 30  # of a table in the document; the file has all
SIDE = 320  # pixels of the longer side of a picture in the document
FOLDERS = ("tables", "actions", "pictures")  # beside the report
PAGE = "Failure_analysis"  # of the dashboard, in its address


@dataclass(frozen=True)
class Links:
    """Where a dashboard shows these pictures: its address, and the name of the dataset there."""

    address: str
    dataset: str


def pictures_of(
    audited: AuditedPredictions, sections: Sequence[Section], method: str, links: Links | None
) -> dict[str, tuple[Figure, Figure]]:
    """For each picture that the document shows, by its name: the picture, and the map of the predicted class.

    A picture that cannot be opened or explained is left out.
    """
    shown = dict.fromkeys(path for section in sections for some in section.pictures for path in some.paths[:SHOWN])
    places = {path: place for place, path in enumerate(audited.rows["path"])}
    return {path: figures for path in shown if (figures := _figures(audited, places[path], method, links))}


def _figures(audited: AuditedPredictions, place: int, method: str, links: Links | None) -> tuple[Figure, Figure] | None:
    model, row = audited.model, audited.rows.iloc[place]
    path = str(row["path"])
    try:
        picture = audited.dataset.open(path)
        explanation = explain(model, picture, method, target=str(row["predicted"]), seed=audited.seed)
    except (XaiError, OSError):
        return None
    scale = rendering.scale_of(explanation)
    overlay = rendering.overlay(explanation, picture, scale)
    words = f"{path}: {row['true']}, predicted as {row['predicted']} ({row['confidence']:.0%})"
    link = _address(links, model.title, {"sample": path}) if links else ""
    caption = f"{path}. {rendering.caption(explanation, scale)}"
    return Figure(_small(picture), words, link), Figure(_small(overlay), caption, link)


def _small(picture: Image.Image) -> bytes:
    picture = picture.copy()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def blocks(
    audited: AuditedPredictions,
    sections: Sequence[Section],
    figures: Mapping[str, tuple[Figure, Figure]],
    links: Links | None = None,
) -> list[Block]:
    """The document: settings, each section, and the actions in one list."""
    model, dataset = audited.model, audited.dataset
    parts: list[Block] = [
        Heading(1, f"Why {model.title} is wrong on {dataset.title}"),
        TermList(
            [
                ("Model", f"{model.title}, weights {model.fingerprint}"),
                ("Dataset", f"{dataset.in_words()} Digest {dataset.digest[:16]}"),
                ("Seed", f"{audited.seed}: of halves, samples and clusters"),
                ("Groups looked into", f"{audited.groups} at most, with {audited.pictures} pictures each at most"),
                ("Maps of errors", f"{METHODS[METHOD].title}, where it fits" if audited.by_maps else "left out"),
                ("Training pictures", _training(audited)),
                ("Written by", f"xai_core {__version__}"),
            ]
        ),
        *_link_back(model.title, links),
        Paragraph(
            "Groups were suggested by one half of the pictures and tested on the other half. A group that has more errors "
            "need not have them because of what its pictures share."
        ),
    ]
    for section in sections:
        parts.append(Heading(2, section.title))
        parts += [Paragraph(sentence) for sentence in section.sentences]
        for name, table in section.tables.items():
            parts += [Heading(3, name[0].upper() + name[1:]), _table(name, table)]
            if len(table) > MOST_ROWS:
                parts.append(Paragraph(f"The first {MOST_ROWS} of {len(table):,} rows; {file_name(section, name)} has all."))
        if section.maps:
            maps = [Figure(_map_picture(map), words) for words, map in section.maps.items()]
            parts += [Heading(3, "Mean maps, each on its own colours"), FigureRow(maps)]
        for some in section.pictures:
            parts += _gallery(some, figures)
    small = {path: picture for path, (picture, _) in figures.items()}
    return [*parts, *plan_of(audited, sections).blocks(small, level=2)]


def _training(audited: AuditedPredictions) -> str:
    if audited.training is None:
        return "none given"
    return f"{audited.training.title}, {len(audited.training.rows):,} of which the label is known to the model"


def _link_back(model: str, links: Links | None) -> list[Block]:
    """A line that leads to the step Plan in a dashboard that offers the dataset; nothing where none does."""
    if links is None:
        return []
    words = "Open these pictures in the dashboard; its step Plan opens plan.json, which lies beside this report"
    return [Paragraph(words, _address(links, model, {"step": "Plan"}))]


def _address(links: Links, model: str, further: Mapping[str, str]) -> str:
    """Of the page Failure analysis of a dashboard with these settings."""
    return f"{links.address.rstrip('/')}/{PAGE}?{urlencode({'dataset': links.dataset, 'model': model, **further})}"


def _map_picture(map: NDArray[np.float32]) -> bytes:
    return rendering.encoded(rendering.coloured_map(map).resize((SIDE, SIDE), Image.Resampling.NEAREST), "PNG")


def plan_of(audited: AuditedPredictions, sections: Sequence[Section]) -> Plan:
    """The actions of all sections, each with the title of its section as its step."""
    model, dataset = audited.model, audited.dataset
    actions = tuple(replace(action, step=section.title) for section in sections for action in section.actions)
    settings = {"pictures": len(dataset.samples), "seed": audited.seed}
    missing = tuple(section.title for section in sections if not section.done)
    return Plan("What to do", dataset.title, dataset.digest, model.title, model.fingerprint, actions, settings, missing)


def _gallery(some: PictureList, figures: Mapping[str, tuple[Figure, Figure]]) -> list[Block]:
    shown = [figures[path] for path in some.paths[:SHOWN] if path in figures]
    if not shown:
        return []
    title = some.title if len(shown) == len(some.paths) else f"{some.title}: {len(shown)} of {len(some.paths):,}"
    return [Heading(3, title), FigureRow([figure for pair in shown for figure in pair])]


def _table(name: str, table: pd.DataFrame) -> TextTable:
    rows = [[_cell(value) for value in row] for row in table.head(MOST_ROWS).itertuples(index=False)]
    return TextTable(name, [str(column) for column in table.columns], rows)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def file_name(section: Section, table: str) -> str:
    """'tables/groups-tested-groups.csv': the name of a table's file; letters and digits of any script, nothing else."""
    words = re.sub(r"\W+", "-", f"{section.title} {table}".lower()).strip("-")
    return f"tables/{words[:80]}.csv"


def files(
    audited: AuditedPredictions,
    sections: Sequence[Section],
    figures: Mapping[str, tuple[Figure, Figure]],
    links: Links | None = None,
) -> dict[str, bytes]:
    """All files of an audit by their names in its folder."""
    parts = blocks(audited, sections, figures, links)
    written = {"report.html": document.to_html(parts), "report.md": document.to_markdown(parts).encode()}
    for section in sections:
        for name, table in section.tables.items():
            written[file_name(section, name)] = csv_bytes(table)
    plan = plan_of(audited, sections)
    written["plan.json"] = plan.to_json()
    for number, action in enumerate(plan.actions, 1):
        written[f"actions/{number}.csv"] = csv_bytes(action.table)
    for number, (picture, overlay) in enumerate(figures.values(), 1):
        written[f"pictures/{number:03}.jpg"], written[f"pictures/{number:03}-map.jpg"] = picture.picture, overlay.picture
    return written
