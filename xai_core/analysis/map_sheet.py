"""One method's maps of many classified pictures: computed batch by batch, and drawn on sheets, wrong and right side by side.

All maps of a sheet have one colour scale, which the sheet states, so that a pale map is a weak one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from xai_core.analysis import picture_list
from xai_core.analysis.prefetch import Decoder
from xai_core.attribution.explain import answer, request_for, with_method
from xai_core.core import runtime
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest, XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import Dataset
from xai_core.data.label_matching import first_name
from xai_core.data.preprocessing import Prepared
from xai_core.data.sample_list import Labelled
from xai_core.explanation import heatmaps, rendering
from xai_core.explanation.rendering import Scale
from xai_core.explanation.request import Request
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel

BATCH = 8  # pictures that are explained together: what appears at once, and what a cancelled run still finishes
PREDICTED, TRUE = "predicted", "true"  # which class of each picture is explained
MOST = 2_000  # pictures on one scale: their raw maps are in memory together, 0.4 GB where each has 224 x 224 values
ON_A_SHEET = 96  # pictures
COLUMNS = 8  # of a sheet, shared by its halves
WIDTH = 160  # pixels of a map on a sheet
Result = Explanation | XaiError
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Half(NamedTuple):
    """Pictures of one kind on a sheet: a title, and the rows of a table of predictions. Those `for_comparison` are not of
    the list that the sheet is about."""

    title: str
    rows: pd.DataFrame
    for_comparison: bool = False


class Tile(NamedTuple):
    """One picture of a sheet: the picture (None where it cannot be read), its map or why there is none, lines of text."""

    picture: Image.Image | None
    result: Result
    lines: tuple[str, ...]


def halves(rows: pd.DataFrame, others: pd.DataFrame | None = None) -> list[Half]:
    """The wrong and the right ones of some rows, in their order; a half without pictures is left out.

    Where all are wrong, or all are right, the other half is taken from `others` for comparison: those of the same true
    classes, the most confident first. Its title says so.
    """
    is_wrong = rows["true"] != rows["predicted"]
    parts = {"Wrong": rows[is_wrong], "Right": rows[~is_wrong]}
    titles = {name: f"{name}: {len(part):,}" for name, part in parts.items()}
    missing = [name for name, part in parts.items() if not len(part)] if others is not None else []
    if others is not None and len(missing) == 1:
        same = others[others["true"].isin(rows["true"])].sort_values("confidence", ascending=False, kind="stable")
        wrong = same["true"] != same["predicted"]
        (name,) = missing
        parts[name] = same[wrong if name == "Wrong" else ~wrong]
        titles[name] = f"{name}, of the same true class, for comparison: {len(parts[name]):,}"
    return [Half(titles[name], part, name in missing) for name, part in parts.items() if len(part)]


def page_of(all_halves: Sequence[Half], page: int, pictures: int) -> list[Half]:
    """Page `page` (from 0) of the halves, at most `pictures` of them, as many of each half; halves that have ended are left
    out. Titles say which of how many are shown."""
    each = pictures // max(len(all_halves), 1)
    shown = []
    for half in all_halves:
        part = half.rows.iloc[page * each : (page + 1) * each]
        if len(part) < len(half.rows) and len(part):
            first = page * each + 1
            shown.append(half._replace(title=f"{half.title} (here {first:,} to {first + len(part) - 1:,})", rows=part))
        elif len(part):
            shown.append(half)
    return shown


def pages(all_halves: Sequence[Half], pictures: int) -> int:
    """How many pages of `pictures` the halves fill; those for comparison add none."""
    each = pictures // max(len(all_halves), 1)
    return max((-(-len(half.rows) // each) for half in all_halves if not half.for_comparison), default=1)


def request_of(
    model: ExplainableModel,
    prepared: Sequence[Prepared],
    classes: Sequence[int],
    method: str,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Request:
    """One request about several pictures, each explained for its own class, by index. `settings` are `rival`, `cut`,
    `precision` and `seed` as for `explain`. Raises subclasses of XaiError."""
    return with_method(request_for(model, prepared, target=list(classes), **settings), method, options)


def explain_rows(
    model: ExplainableModel,
    dataset: Dataset,
    rows: pd.DataFrame,
    method: str,
    options: Mapping[str, Any] | None = None,
    *,
    target: str | int = PREDICTED,
    stored: Callable[[str, str], Explanation | None] = lambda path, key: None,
    track: runtime.Track = iter,
    **settings: Any,
) -> Iterator[tuple[str, Result]]:
    """Yield (path, map or the reason why there is none) for each row of a table of predictions, in its order.

    `target` is PREDICTED, TRUE, or the index of a class for all. `stored(path, key)` may return the map that an earlier run
    has made for a request of this key. BATCH pictures are in memory and are explained in one sweep; further ones are
    decoded beside it. `track` wraps the list of batches. Raises BadRequest where the method does not fit the model; what is
    wrong with a single picture is its result.
    """
    with_method(request_for(model, [], **settings), method, options)
    rival = None if settings.get("rival") is None else model.class_index(settings["rival"])
    paths = [str(path) for path in rows["path"]]
    classes = [target] * len(rows) if isinstance(target, int) else rows[f"{target}_index"].tolist()
    faults = {place: _fault(dataset, paths[place], classes[place], rival) for place in range(len(rows))}
    samples = [Labelled(paths[place], "") for place, fault in faults.items() if fault is None]
    with Decoder(model, dataset, samples, ahead=2 * BATCH) as decoder:
        for start in track(range(0, len(rows), BATCH)):
            places = range(start, min(start + BATCH, len(rows)))
            results: dict[int, Result] = {place: fault for place in places if (fault := faults[place])}
            asked = [place for place in places if place not in results]
            taken = {place: picture for place, (_, picture) in zip(asked, decoder.take(len(asked)), strict=True)}
            ready = {place: picture for place, picture in taken.items() if isinstance(picture, Prepared)}
            results |= {place: picture for place, picture in taken.items() if not isinstance(picture, Prepared)}
            if ready:
                own = [classes[place] for place in ready]
                request = request_of(model, list(ready.values()), own, method, options, **settings)
                results |= zip(ready, _answers(request, [paths[place] for place in ready], stored), strict=True)
            yield from ((paths[place], results[place]) for place in places)


def _fault(dataset: Dataset, path: str, target: int, rival: int | None) -> XaiError | None:
    """Why nothing can be asked about a picture, as far as that is known before it is opened."""
    if path not in dataset.names:
        return BadPicture("The dataset has no picture of this name.")
    if target < 0:
        return BadRequest("Its label is no class of this model.")
    return BadRequest("The rival is the class that is explained.") if target == rival else None


def _answers(request: Request, names: Sequence[str], stored: Callable[[str, str], Explanation | None]) -> list[Result]:
    """The results of a request about several pictures: what is stored, and the others in one sweep."""
    keys = [request.rows([place]).key for place in range(len(names))]
    results: list[Result | None] = [stored(name, key) for name, key in zip(names, keys, strict=True)]
    missing = [place for place, result in enumerate(results) if result is None]
    for place, result in zip(missing, attempt(request.rows(missing)) if missing else (), strict=True):
        results[place] = result
    return [result for result in results if result is not None]


def attempt(request: Request, track: runtime.Track = iter) -> list[Result]:
    """The results of a request about several pictures, in one sweep; where that fails, picture by picture, so that what
    one picture ends with is told of that picture alone. `track` wraps the inner batches."""
    try:
        return [explanation for _, explanation in answer([request], track)]
    except XaiError as error:
        if len(request.pictures) == 1:
            return [error]
    return [result for place in range(len(request.pictures)) for result in attempt(request.rows([place]), track)]


def lines_of(row: Mapping[Any, Any]) -> tuple[str, ...]:
    """What stands under a picture: its true and predicted class, the confidence, and its name. `row` is one of a table of
    predictions; a label that is no class of the model is shown as it is."""
    true = first_name(row["true"]) if isinstance(row["true"], str) else row.get("label") or "no label"
    return f"true: {true}", f"predicted: {first_name(row['predicted'])} {row['confidence']:.0%}", str(row["path"])


def scale_of(results: Sequence[Result]) -> Scale | None:
    """The one colour scale of all maps among the results; None without maps."""
    maps = [result for result in results if isinstance(result, Explanation)]
    return rendering.scale_of(*maps) if maps else None


def map_picture(result: Explanation, picture: Image.Image, scale: Scale, width: int = WIDTH) -> Image.Image:
    """A map over the part of the picture that the network saw, in grey, `width` pixels wide."""
    explanation, part = rendering.seen_part(result, picture, width)
    return rendering.overlay(explanation, part, scale)


MARGIN, LINE = 12, 16  # pixels


def sheet(
    halves_of_tiles: Mapping[str, Sequence[Tile]], title: str, scale: Scale | None, notes: Sequence[str]
) -> Image.Image:
    """The halves beside each other, each under its title, with a map, or the reason why there is none, for every tile.

    On top `title`; below the colour bar with its limits, how the colours are scaled, and the `notes`.
    """
    columns = _columns([len(tiles) for tiles in halves_of_tiles.values()])
    cell = WIDTH + MARGIN
    tall = max([WIDTH, *(_height(tile) for tiles in halves_of_tiles.values() for tile in tiles)])
    lines = max([len(tile.lines) for tiles in halves_of_tiles.values() for tile in tiles] or [0])
    row = tall + LINE * lines + MARGIN
    rows = max([-(-len(tiles) // of) for tiles, of in zip(halves_of_tiles.values(), columns, strict=True)] or [0])
    width = COLUMNS * cell + 3 * MARGIN
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    said = [line for note in notes for line in _wrapped(note, small, width - 2 * MARGIN)]
    top, bottom = 62, 60 + 15 * len(said)
    page = Image.new("RGB", (width, top + rows * row + bottom), "white")
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, 10), _fitted(title, font, width - 2 * MARGIN), "black", font)
    left = MARGIN
    for (name, tiles), of in zip(halves_of_tiles.items(), columns, strict=True):
        pen.text((left, 36), _fitted(name, font, of * cell - MARGIN), "black", font)
        if left > MARGIN:
            pen.line((left - MARGIN, 36, left - MARGIN, top + rows * row), "#bbbbbb")
        for place, tile in enumerate(tiles):
            _draw(page, pen, tile, scale, (left + place % of * cell, top + place // of * row), tall, small)
        left += of * cell + MARGIN
    _legend(page, pen, scale, top + rows * row, small)
    for number, line in enumerate(said):
        pen.text((MARGIN, top + rows * row + 50 + 15 * number), line, "black", small)
    return page


def _columns(pictures: Sequence[int]) -> list[int]:
    """The columns of each half of a sheet: of two, in proportion to their pictures, so that both end at about one height."""
    if len(pictures) != 2:
        return [COLUMNS // max(len(pictures), 1)] * len(pictures)
    first = min(max(round(COLUMNS * pictures[0] / max(sum(pictures), 1)), 2), COLUMNS - 2)
    return [first, COLUMNS - first]


def _height(tile: Tile) -> int:
    """Of a tile's map on the sheet; of a very narrow picture no more than two widths."""
    if not isinstance(tile.result, Explanation) or tile.picture is None:
        return WIDTH
    left, top, right, bottom = tile.result.box
    inside = min(bottom, tile.picture.height) - max(top, 0), min(right, tile.picture.width) - max(left, 0)
    return min(2 * WIDTH, max(1, round(WIDTH * inside[0] / inside[1])))


def _draw(
    page: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, scale: Scale | None, at: tuple[int, int], tall: int, font: Font
) -> None:
    left, top = at
    if isinstance(tile.result, Explanation) and tile.picture is not None and scale is not None:
        drawn = map_picture(tile.result, tile.picture, scale)
        drawn.thumbnail((WIDTH, tall))
        page.paste(drawn, at)
    else:
        pen.rectangle((left, top, left + WIDTH - 1, top + tall - 1), "#eeeeee")
        why = str(tile.result) if isinstance(tile.result, XaiError) else "This picture cannot be read any more."
        for number, line in enumerate(_wrapped(why, font, WIDTH - 12)[: (tall - 12) // 15]):
            pen.text((left + 6, top + 6 + 15 * number), line, "black", font)
    for number, line in enumerate(tile.lines):
        pen.text((left, top + tall + 2 + LINE * number), _fitted(line, font, WIDTH), "black", font)


def _legend(page: Image.Image, pen: ImageDraw.ImageDraw, scale: Scale | None, top: int, font: Font) -> None:
    if scale is None:
        pen.text((MARGIN, top + 6), "None of these pictures has a map.", "black", font)
        return
    width = page.width - 2 * MARGIN
    page.paste(rendering.colour_bar(scale, width, 12), (MARGIN, top + 6))
    pen.text((MARGIN, top + 22), f"{scale.low:.3g}", "black", font)
    pen.text((page.width - MARGIN, top + 22), f"{scale.high:.3g}", "black", font, anchor="ra")
    words = _fitted(f"Colours: {scale.words}.", font, width - 160)
    pen.text((page.width // 2, top + 22), words, "black", font, anchor="ma")


def _fitted(text: str, font: Font, width: int) -> str:
    """The text, or as much of its beginning as fits, with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_fitted(line, font, width) for line in lines if line]


def chosen(
    rows: pd.DataFrame,
    *,
    errors: bool = False,
    true: int | None = None,
    predicted: int | None = None,
    count: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The rows of a table of predictions that are asked for: `count` of them drawn at random with the seed (as
    `sample_images` draws), in the order of the table; errors come with the most confident first."""
    if true is not None:
        rows = rows[rows["true_index"] == true]
    if predicted is not None:
        rows = rows[rows["predicted_index"] == predicted]
    if errors:
        rows = rows[(rows["true_index"] >= 0) & (rows["true_index"] != rows["predicted_index"])]
    if count is not None:
        drawn = rows["path"].map(lambda path: bytes_digest(f"{seed} {path}".encode())).sort_values().index[:count]
        rows = rows[rows.index.isin(drawn)]
    if errors:
        rows = rows.sort_values("confidence", ascending=False, kind="stable")
    if len(rows) > MOST:
        raise BadRequest(
            f"{len(rows):,} pictures are more than fit on one scale in memory: choose {MOST:,} at most (--count)."
        )
    if not len(rows):
        raise BadRequest("No picture is as you ask: there is none of this kind among the predictions.")
    return rows.reset_index(drop=True)


def file_name(path: str) -> str:
    """The name of a picture's files, without their ends: inside the folder that they are written to, whatever the picture is
    called."""
    parts = [part for part in PurePosixPath(path).parts if part not in ("..", "/")]
    inside = str(PurePosixPath(*parts))
    return inside if inside == path else f"{inside}-{bytes_digest(path.encode())[:8]}"


def sheets(
    dataset: Dataset,
    rows: pd.DataFrame,
    results: Mapping[str, Result],
    title: str,
    scale: Scale | None,
    notes: Sequence[str],
) -> Iterator[Image.Image]:
    """Sheets of ON_A_SHEET pictures; wrong and right ones in two halves where pictures have labels."""
    unlabelled = rows["true_index"] < 0
    parts = [*halves(rows[~unlabelled])]
    if unlabelled.any():
        parts.append(Half(f"Without a label that the model knows: {int(unlabelled.sum()):,}", rows[unlabelled]))
    for page in range(pages(parts, ON_A_SHEET)):
        shown = page_of(parts, page, ON_A_SHEET)
        yield sheet({half.title: tiles(dataset, half.rows, results) for half in shown}, title, scale, notes)


def tiles(dataset: Dataset, rows: pd.DataFrame, results: Mapping[str, Result]) -> list[Tile]:
    """The pictures of some rows with their maps, and with what stands under them. A picture without a result is left out."""
    made = []
    for row in rows.to_dict("records"):
        result = results.get(row["path"])
        if result is not None:
            picture = opened(dataset, row["path"]) if isinstance(result, Explanation) else None
            made.append(Tile(picture, result, lines_of(row)))
    return made


def opened(dataset: Dataset, path: str) -> Image.Image | None:
    """A picture of a dataset; None where it cannot be read any more."""
    try:
        return dataset.open(path)
    except BadPicture:
        return None


def overlays(dataset: Dataset, results: Mapping[str, Result], scale: Scale | None) -> Iterator[tuple[str, Image.Image]]:
    """Each map over its whole picture, on the common scale."""
    for path, result in results.items():
        picture = opened(dataset, path) if isinstance(result, Explanation) else None
        if isinstance(result, Explanation) and picture is not None:
            yield path, rendering.overlay(result, picture, scale)


def csv(rows: pd.DataFrame, results: Mapping[str, Result], unreadable: Sequence[tuple[str, str]] = ()) -> bytes:
    """One line for each picture: what `picture_list.table` says of it, what is explained, the target's value, the least and
    the largest value of the map, where most evidence lies, the name of its files, and why it has none ("problem").

    `unreadable` are pictures that were not even classified, with the reasons. A picture without a label is neither right nor
    wrong.
    """
    table = picture_list.table(rows, {}).drop(columns="tags").astype({"right": object})
    table.loc[(rows["true_index"] < 0).to_numpy(), "right"] = ""
    facts = pd.DataFrame([_facts(path, results[path]) for path in rows["path"]], columns=FACTS)
    failed = pd.DataFrame([{"path": path, "problem": why} for path, why in unreadable], columns=["path", "problem"])
    return csv_bytes(pd.concat([pd.concat([table.reset_index(drop=True), facts], axis=1), failed], ignore_index=True))


FACTS = ["explained", "target value", "least", "largest", "most evidence", "files", "problem"]


def _facts(path: str, result: Result) -> dict[str, object]:
    if not isinstance(result, Explanation):
        return {"problem": str(result)}
    return {
        "explained": result.target, "target value": result.target_value, "least": float(result.heatmap.min()),
        "largest": float(result.heatmap.max()), "most evidence": heatmaps.centre_of_mass_words(result.heatmap),
        "files": file_name(path), "problem": " ".join(result.health),
    }  # fmt: skip
