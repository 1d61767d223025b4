"""Confusion evolution in one figure: the predicted class of every sample in every epoch, with what is counted of it."""

import base64
import html
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_core.core.errors import BadRequest
from xai_core.training.dynamics.analysis import MISSING, STABLE, RecordedRun, changed, class_means, measures, stable_after

CARD = {
    "Why": "To see which samples a network learned early, which it forgot again, which it never got right, and between "
    "which classes it wavered: a final accuracy hides all of this.",
    "Who": "People who train networks and choose when to stop; reviewers who look for wrong labels and hard samples.",
    "What": "The predicted class of each held-out sample in each epoch, and of each sample how often the prediction "
    "changed (frequency), how many classes it took (variability) and how often it was wrong (misclassification).",
    "How": "One pass over the samples after each epoch, recorded by RunRecorder. A row of the picture is a sample, a "
    "column an epoch, a colour a class; curves stand above and below the columns, measures beside the rows.",
    "When": "During training, while the file grows, and afterwards.",
    "Where": "Any classifier, whatever the framework. Up to ten classes have colours of their own.",
    "Beware": "It shows that predictions changed, not why: open a sample and look at its maps. It is of the recorded "
    "samples and epochs only, and of one training: another seed takes another way.",
}
SOURCE = "after InstanceFlow (Pühringer et al. 2020, arXiv:2007.11353), whose measures these are"

COLOURS = 10  # classes that have a colour of their own
# Okabe and Ito's colours and three more, the most common class first: any two also differ for people who lack one kind of
# cone.
PALETTE = ["#0072b2", "#e69f00", "#56b4e9", "#d55e00", "#f0e442", "#009e73", "#cc79a7", "#57606c", "#a0522d", "#550077"]
REST, NOTHING = "(other classes)", "not recorded"
GREY, PALE = "#b8bec5", "#eef0f2"
# Of curves: no colour of a class. Dashes tell them apart in print.
CURVES = {"training": "#807880", "held out": "#806058", "the samples": "#2888f0"}
DASHES = {"training": "2 2", "held out": "6 3", "the samples": ""}
INK, MUTED, FAINT, PAPER, BAR = "#1b1f24", "#56636f", "#d5dade", "#ffffff", "#56789a"
LOSSES = {"train_loss": ("training loss", "training"), "validation_loss": ("held-out loss", "held out")}
ACCURACIES = {"train_accuracy": "training", "validation_accuracy": "held out"}
BARS = {"frequency": "frequency", "variability": "variability", "misclassification": "wrong"}

SCALE = 3  # pixels of the PNG for each unit of the SVG
LINES, COLUMNS = 2700, 2016  # samples and epochs that are drawn one by one at most
MARGIN, LABELS, STRIP, GAP = 18.0, 112.0, 12.0, 4.0
BAR_WIDTH, BAR_STEP, PANEL, TOP, ROW = 90.0, 104.0, 84.0, 110.0, 19.0
SIDE, ROOM = 220.0, 96.0  # of the matrix, and the room for its names
NUMBERED, NAMED = 20.0, 10.0  # the least width of the matrix's cells that have numbers, and names
LISTED = 25  # classes in the table


def class_colours(run: RecordedRun, most: int = COLOURS) -> dict[str, str]:
    """A colour for each class, the most often predicted first; where there are more than `most`, the others share a grey."""
    counts = np.bincount(run.predicted[run.predicted != MISSING], minlength=len(run.classes))
    order = range(len(run.classes)) if len(run.classes) <= most else np.argsort(-counts, kind="stable")
    coloured = [run.classes[index] for index in order][: most if len(run.classes) <= most else most - 1]
    colours = dict(zip(coloured, PALETTE, strict=False))
    holes = (run.predicted == MISSING).any()
    return colours | ({REST: GREY} if len(run.classes) > len(coloured) else {}) | ({NOTHING: PALE} if holes else {})


def by_class(run: RecordedRun) -> RecordedRun:
    """The samples in the usual order of the figure: by their true class, in each the most often wrong first."""
    wrong = measures(run)["misclassification"].to_numpy()
    return run.rows(np.lexsort((run.samples, -np.nan_to_num(wrong, nan=-1.0), run.true)))


def confusion_evolution(run: RecordedRun, *, epoch: int | None = None, of: RecordedRun | None = None) -> str:
    """The figure of a run, as an SVG file's text, on white paper.

    Rows are the samples in the order of `run` (see `by_class`), columns its recorded epochs; each cell has the colour of the
    predicted class, a strip at the left those of the true classes. Where epochs are missing between two columns there is a
    white gap, and no line of a curve crosses it. Beside the rows stand three measures of each sample, above and below the
    columns accuracies, losses (each on an axis of its own, as they may be of different kinds) and the share of changed
    predictions; below them the confusion matrix at `epoch` and the means of each class. `epoch` is one of the recorded
    ones; without it the chosen one is taken, else the last. A line marks the chosen epoch. Where `run` lists some samples
    only, `of` is the run with all of them, of the same epochs: curves, matrix and means are of these.

    More than 2,700 samples are drawn as means of the colours of neighbours, of more than 2,016 epochs every second, third,
    ...; the figure says so. Raises BadRequest where there is no sample, or `epoch` was not recorded.
    """
    epoch = final_epoch(run) if epoch is None else epoch
    if not len(run.samples):
        raise BadRequest(f"{run.title} has no samples to draw.")
    if epoch not in run.epochs:
        raise BadRequest(f"Epoch {epoch} was not recorded; there are {run.epochs[0]} to {run.epochs[-1]}.")
    drawing = _Drawing(run, run if of is None else of, epoch)
    drawing.curves_above()
    drawing.cells()
    drawing.bars()
    drawing.panels_below()
    drawing.matrix()
    drawing.means()
    return drawing.text()


def final_epoch(run: RecordedRun) -> int:
    """The epoch whose weights were kept; where the run does not say, its last one."""
    return int(run.epochs[-1]) if run.chosen is None else run.chosen


def as_png(svg: str) -> bytes:
    """The figure as a PNG file, three pixels for each unit of the SVG: each of up to 2,700 samples has its own pixels."""
    import vl_convert

    data: bytes = vl_convert.svg_to_png(svg, scale=SCALE)
    return data


class _Series(NamedTuple):
    """A curve over the drawn epochs: its name (a key of CURVES), and its values, NaN where there is none."""

    name: str
    values: NDArray[np.float64]


class _Drawing:
    """Where the parts of one figure stand, and the elements that were drawn."""

    def __init__(self, run: RecordedRun, counted: RecordedRun, epoch: int) -> None:
        self.whole, self.counted, self.epoch = run, counted, epoch
        self.step = -(-len(run.epochs) // COLUMNS)
        self.kept = (np.arange(len(run.epochs)) % self.step == 0) | (run.epochs == run.chosen)
        self.run = run if self.step == 1 else _columns(run, self.kept)
        self.colours = class_colours(run)
        self.lines = -(-len(run.samples) // -(-len(run.samples) // LINES))
        count = len(self.run.epochs)  # cells are whole pixels of the PNG
        self.column = min(360, max(1, round(2016 / count))) / SCALE
        self.line = min(54, max(1, round(2100 / self.lines))) / SCALE
        self.width, self.height = self.column * count, self.line * self.lines
        self.left = MARGIN + LABELS + STRIP + GAP
        self.top = MARGIN + 66 + TOP + 16
        self.right = self.left + self.width + 24  # where the bars begin, and the matrix below
        self.end = 0.0  # where the next part at the left begins
        self.parts: list[str] = []

    # -- elements ---------------------------------------------------------------------------------------------------------

    def write(
        self, x: float, y: float, text: str, *, size: float = 12, anchor: str = "start", colour: str = INK,
        bold: bool = False, turned: bool = False,
    ) -> None:  # fmt: skip
        """A text whose baseline begins, is centred, or ends at (x, y); `turned`: read from below upwards."""
        more = ' font-weight="bold"' if bold else ""
        more += f' transform="rotate(-90 {_n(x)} {_n(y)})"' if turned else ""
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size:g}" text-anchor="{anchor}" fill="{colour}"{more}>'
            f"{_plain(text)}</text>"
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str, line: str = "") -> None:
        more = f' stroke="{line}"' if line else ""
        self.parts.append(f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" fill="{colour}"{more}/>')

    def stroke(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1, dash: str = "") -> None:
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        more = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{more}/>')

    def picture(self, x: float, y: float, width: float, height: float, pixels: NDArray[np.uint8]) -> None:
        """An array (h, w, 3) of colours, each a rectangle with sharp edges."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        self.parts.append(
            f'<image x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" preserveAspectRatio="none" '
            f'image-rendering="optimizeSpeed" style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
        )

    # -- places -----------------------------------------------------------------------------------------------------------

    def middle(self, column: int) -> float:
        return self.left + (column + 0.5) * self.column

    def mark_chosen(self, top: float, bottom: float) -> None:
        """A line through what stands in the column of the chosen epoch."""
        if self.run.chosen is not None:
            x = self.middle(int(np.flatnonzero(self.run.epochs == self.run.chosen)[0]))
            self.stroke([(x, top), (x, bottom)], INK, 1.2, "1 3")

    # -- parts ------------------------------------------------------------------------------------------------------------

    def curves_above(self) -> None:
        """The title, and the accuracies."""
        run = self.whole
        words = self.counted.in_words().removesuffix(".")
        if len(run.samples) < len(self.counted.samples):
            words += f"; rows are {len(run.samples):,} of them"
        if self.lines < len(run.samples):
            words += f"; a line has the mean colour of {-(-len(run.samples) // LINES)} samples"
        if self.step > 1:
            words += f"; one in {self.step} epochs is drawn"
        self.write(MARGIN, MARGIN + 16, f"Confusion evolution: {_short(run.title, 60)}", size=18, bold=True)
        self.write(MARGIN, MARGIN + 36, words, colour=MUTED)
        series = [_Series(name, self.curve(column)) for column, name in ACCURACIES.items()]
        series.append(_Series("the samples", self.counted.accuracies[self.kept]))
        self.panel(MARGIN + 66, TOP, "accuracy", series, share=True)

    def curve(self, column: str) -> NDArray[np.float64]:
        """(E,) a recorded curve at the drawn epochs; NaN where it was not recorded."""
        if column not in self.run.curves:
            return np.full(len(self.run.epochs), np.nan)
        known = self.run.curves.set_index("epoch")[column]
        values: NDArray[np.float64] = known.reindex(self.run.epochs).to_numpy(float)
        return values

    def panel(self, top: float, height: float, title: str, series: Sequence[_Series], share: bool = False) -> None:
        """Curves over the columns, on one axis."""
        from matplotlib.ticker import MaxNLocator

        shown = [one for one in series if np.isfinite(one.values).any()]
        values = np.concatenate([one.values[np.isfinite(one.values)] for one in shown])
        low, high = float(values.min()), float(values.max())
        if high - low < 1e-9:
            low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
        low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
        if share:
            low, high = max(0.0, low), min(1.0, high)
        ticks = [tick for tick in MaxNLocator(nbins=4).tick_values(low, high) if low <= tick <= high]

        def place(value: float) -> float:
            return top + height - (value - low) / (high - low) * height

        for tick in ticks:
            y = place(tick)
            self.stroke([(self.left, y), (self.left + self.width, y)], FAINT)
            form = f"{tick:.0%}" if share else f"{tick:g}"
            self.write(self.left - 6, y + 4, form, anchor="end", colour=MUTED)
        self.write(MARGIN, top + height / 2 + 4, title, bold=True)
        self.mark_chosen(top, top + height)
        for one in shown:
            colour = CURVES[one.name]
            for segment in unbroken(self.run.epochs, one.values, self.step):
                points = [(self.middle(column), place(float(one.values[column]))) for column in segment]
                if len(points) > 1:
                    self.stroke(points, colour, 1.8, DASHES[one.name])
                else:
                    self.box(points[0][0] - 2.5, points[0][1] - 2.5, 5, 5, colour)
        x = self.left
        for one in shown if len(series) > 1 else []:
            self.stroke([(x, top - 8), (x + 22, top - 8)], CURVES[one.name], 1.8, DASHES[one.name])
            self.write(x + 26, top - 4, one.name, colour=MUTED)
            x += 44 + 6.2 * len(one.name)

    def cells(self) -> None:
        """The cells, the strip of true classes with their names, and the epochs below."""
        run, rgb = self.run, self.rgb()
        self.picture(self.left, self.top, self.width, self.height, self.in_lines(rgb[run.predicted]))
        strip = self.left - GAP - STRIP
        self.picture(strip, self.top, STRIP, self.height, self.in_lines(rgb[run.true][:, None]))
        per = self.height / len(run.samples)
        edges = [0, *(np.flatnonzero(np.diff(run.true)) + 1).tolist(), len(run.true)]
        for low, high in itertools.pairwise(edges):
            if (high - low) * per >= 11:
                middle = self.top + (low + high) / 2 * per + 4
                self.write(strip - 5, middle, _short(run.classes[run.true[low]], 16), anchor="end")
        self.write(strip + STRIP, self.top - 5, "true", anchor="end", size=11, colour=MUTED)
        if self.column >= 6:
            for column in np.flatnonzero(np.diff(run.epochs) > self.step).tolist():
                self.box(self.left + (column + 1) * self.column - 1.5, self.top, 3, self.height, PAPER)
        self.mark_chosen(self.top, self.top + self.height)
        every = int(np.ceil(max(28, 8 + 6.5 * len(str(run.epochs[-1]))) / self.column))
        bottom = self.top + self.height + 14
        for column in range(0, len(run.epochs), every):
            self.write(self.middle(column), bottom, str(run.epochs[column]), anchor="middle", colour=MUTED)
        self.write(self.left - 8, bottom, "epoch", anchor="end", colour=MUTED)
        if run.chosen is not None:
            x = self.middle(int(np.flatnonzero(run.epochs == run.chosen)[0]))
            self.write(x, bottom + 15, f"chosen: {run.chosen}", anchor="middle", bold=True)
        self.end = bottom + 20

    def rgb(self) -> NDArray[np.uint8]:
        """(K + 1, 3) the colour of each class, and last that of what was not recorded."""
        names = [*self.run.classes]
        hexes = [self.colours.get(name, GREY) for name in names] + [PALE]
        return np.array([[int(one[place : place + 2], 16) for place in (1, 3, 5)] for one in hexes], np.uint8)

    def in_lines(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rows (N, w, 3) as the lines that are drawn: means of neighbours where there are more rows."""
        if self.lines == len(rows):
            return rows
        return self.means_in_lines(rows.astype(float)).round().astype(np.uint8)

    def means_in_lines(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, ...) as (lines, ...): means of the rows of each line that have a value."""
        per = -(-len(rows) // LINES)
        starts = np.arange(0, len(rows), per)
        known = np.add.reduceat(np.isfinite(rows).astype(float), starts)
        sums = np.add.reduceat(np.nan_to_num(rows), starts)
        means: NDArray[np.float64] = np.divide(sums, known, out=np.full(sums.shape, np.nan), where=known > 0)
        return means

    def bars(self) -> None:
        """The three measures of each sample, aligned with the rows, from 0 to 100%."""
        table = measures(self.whole)
        for place, (column, title) in enumerate(BARS.items()):
            x = self.right + place * BAR_STEP
            values = np.nan_to_num(self.means_in_lines(table[column].to_numpy(float)))
            self.box(x, self.top, BAR_WIDTH, self.height, "#f5f6f8")
            edges = [
                f"H{_n(x + value * BAR_WIDTH)}V{_n(self.top + (line + 1) * self.line)}"
                for line, value in enumerate(values.tolist())
            ]
            self.parts.append(f'<path d="M{_n(x)},{_n(self.top)}{"".join(edges)}H{_n(x)}Z" fill="{BAR}"/>')
            self.write(x + BAR_WIDTH / 2, self.top - 8, title, anchor="middle", bold=True)
            for end, words, anchor in ((0.0, "0", "start"), (1.0, "100%", "end")):
                self.write(x + end * BAR_WIDTH, self.top + self.height + 14, words, anchor=anchor, colour=MUTED)

    def panels_below(self) -> None:
        """The losses, each on its axis, and the share of changed predictions."""
        for column, (title, name) in LOSSES.items():
            values = self.curve(column)
            if np.isfinite(values).any():
                self.panel(self.end + 22, PANEL, title, [_Series(name, values)])
                self.end += PANEL + 36
        shares = changed(self.counted)
        if np.isfinite(shares).any():
            self.panel(self.end + 22, PANEL, "changed", [_Series("the samples", shares[self.kept])], share=True)
            self.end += PANEL + 36
            stable = stable_after(self.counted.epochs, shares)
            after = f"after epoch {stable} never" if stable is not None else "in the last epoch still"
            words = f"predictions other than in the recorded epoch before; {after} more than {STABLE:.0%}"
            self.write(self.left, self.end - 2, words, size=11, colour=MUTED)
            self.end += 8

    def matrix(self) -> None:
        """The confusion matrix at the epoch: rows are true classes; a cell is as dark as its share of the row."""
        run, last = self.counted, self.counted.at(self.epoch)
        counts = np.zeros((len(run.classes), len(run.classes)), np.int64)
        recorded = last != MISSING
        np.add.at(counts, (run.true[recorded], last[recorded]), 1)
        present = np.flatnonzero(counts.sum(0) + counts.sum(1))
        counts = counts[np.ix_(present, present)]
        names = [_short(run.classes[number], 14) for number in present]
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        pixels = (255 + shares[..., None] * (np.array([0x1C, 0x3A, 0x57]) - 255)).round().astype(np.uint8)
        cell = SIDE / max(len(present), 1)
        x, top = self.right + ROOM, self.top + self.height + 48
        self.write(self.right, top, f"Confusion matrix at epoch {self.epoch}", size=14, bold=True)
        self.write(self.right, top + 16, "rows: true classes; columns: predicted ones", colour=MUTED, size=11)
        y = top + 28
        if len(present):
            self.picture(x, y, SIDE, SIDE, pixels)
        self.parts.append(f'<rect x="{_n(x)}" y="{_n(y)}" width="{SIDE:g}" height="{SIDE:g}" fill="none" stroke="{MUTED}"/>')
        if cell >= NAMED:
            size = min(12.0, cell)
            for place, name in enumerate(names):
                centre = (place + 0.5) * cell
                self.write(x - 6, y + centre + 4, name, anchor="end", size=size)
                self.write(x + centre + 4, y + SIDE + 6, name, anchor="end", size=size, turned=True)
        else:
            self.write(x, y + SIDE + 16, f"{len(present)} classes, in the order of the file", size=11, colour=MUTED)
        if cell >= NUMBERED:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    middle, ink = y + (row + 0.5) * cell + 4, PAPER if shares[row, column] > 0.5 else INK
                    size = 12 if cell > 7 * len(f"{count:,}") else 9
                    self.write(x + (column + 0.5) * cell, middle, f"{count:,}", anchor="middle", colour=ink, size=size)
        self.end = max(self.end, y + SIDE + (ROOM if cell >= NAMED else 24))

    def means(self) -> None:
        """The table of the classes: the colour, the means of the three measures, the recall."""
        table = class_means(self.counted, self.epoch).sort_values("recall", kind="stable", ignore_index=True)
        shown = table if len(table) <= LISTED else table[: LISTED - 1]
        y = self.end + 24
        self.write(
            MARGIN, y, f"Means of each class, and its recall at epoch {self.epoch}: the lowest first", size=14, bold=True
        )
        titles = ("samples", *BARS.values(), "recall")
        ends = [MARGIN + LABELS + 76 + 84 * place for place in range(len(titles))]
        y += 22
        for x, title in zip(ends, titles, strict=True):
            self.write(x, y, title, anchor="end", colour=MUTED)
        for row in shown.to_dict("records"):
            y += ROW
            self.box(MARGIN, y - 10, 12, 12, self.colours.get(str(row["class"]), GREY))
            self.write(MARGIN + 18, y, _short(str(row["class"]), 16))
            texts = [f"{row['samples']:,}", *(_percent(float(row[name])) for name in (*BARS, "recall"))]
            for x, words in zip(ends, texts, strict=True):
                self.write(x, y, words, anchor="end")
        if len(shown) < len(table):
            y += ROW
            self.write(MARGIN + 18, y, f"and {len(table) - len(shown)} other classes", colour=MUTED)
        for name in [name for name in self.colours if name not in {*table["class"]}]:  # predicted, and true of no sample
            y += ROW
            self.box(MARGIN, y - 10, 12, 12, self.colours[name])
            self.write(MARGIN + 18, y, _short(name, 16), colour=MUTED)
        self.end = y + 10

    def text(self) -> str:
        """The whole file."""
        width, height = np.ceil([self.right + ROOM + SIDE + MARGIN, self.end + MARGIN]).tolist()
        words = _plain(f"Predicted class of {len(self.whole.samples):,} samples in {len(self.whole.epochs)} recorded epochs")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}" '
            f'viewBox="0 0 {_n(width)} {_n(height)}" role="img" '
            f'font-family="Liberation Sans, Arial, Helvetica, sans-serif"><title>{words}</title>'
            f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(self.parts)}</svg>'
        )


def _columns(run: RecordedRun, kept: NDArray[np.bool_]) -> RecordedRun:
    """Some of the epochs, by a mask (E,)."""
    curves = run.curves[run.curves["epoch"].isin(run.epochs[kept])]
    parts = {name: getattr(run, name)[:, kept] for name in ("predicted", "confidence")}
    return replace(run, epochs=run.epochs[kept], curves=curves, **parts)


def unbroken(epochs: NDArray[np.int64], values: NDArray[np.float64], step: int = 1) -> list[list[int]]:
    """The places of values that a line may join: of neighbouring epochs (at most `step` apart) that have a value."""
    segments: list[list[int]] = []
    for place in np.flatnonzero(np.isfinite(values)).tolist():
        joined = segments and segments[-1][-1] == place - 1 and epochs[place] - epochs[place - 1] <= step
        segments[-1].append(place) if joined else segments.append([place])
    return segments


def _n(value: float) -> str:
    """A coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _plain(text: str) -> str:
    """Text from outside as XML takes it: on one line, without the characters that XML forbids."""
    return html.escape(re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text))


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.1%}"
