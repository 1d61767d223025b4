"""Confusion evolution in one figure: every cell is read back from the picture, and what stands around it is recounted."""

import base64
import io
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from readable_colours import APART, contrast, difference
from small_recordings import NAMES, TABLE, made

from xai_core.attribution.method import CARD
from xai_core.core.errors import BadRequest
from xai_core.training.dynamics import figure
from xai_core.training.dynamics.analysis import RecordedRun, changed, measures
from xai_core.training.dynamics.figure import as_png, by_class, class_colours, confusion_evolution
from xai_core.training.dynamics.readers import read_run

SHIPPED = Path(__file__).parents[2] / "data" / "runs"
SVG = "{http://www.w3.org/2000/svg}"


def shipped(name):
    return read_run((SHIPPED / f"{name}.parquet").read_bytes(), f"{name}.parquet")


def drawn(samples=60, epochs=12, classes=4, seed=0, chosen=None, title="drawn"):
    """A run with predictions at random, 5% of them missing."""
    draw = np.random.default_rng(seed)
    predicted = draw.integers(0, classes, (samples, epochs))
    predicted[draw.random(predicted.shape) < 0.05] = -1
    names = tuple(f"class {number}" for number in range(classes))
    curves = pd.DataFrame({"epoch": np.arange(1, epochs + 1), "train_loss": 500 - np.arange(epochs), "validation_loss": 0.5})
    return RecordedRun(
        title, names, np.arange(1, epochs + 1), np.array([f"s{row}" for row in range(samples)]),
        draw.integers(0, classes, samples), predicted, np.full(predicted.shape, 0.5, np.float32), curves, chosen,
    )  # fmt: skip


def pictures(svg):
    """The embedded pictures: (x, y, width, height) and pixels of each."""
    found = []
    for image in ElementTree.fromstring(svg).iter(f"{SVG}image"):
        place = [float(image.get(name)) for name in ("x", "y", "width", "height")]
        data = base64.b64decode(image.get("href").partition(",")[2])
        found.append((place, np.array(Image.open(io.BytesIO(data)))))
    return found


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def colours(run):
    """(K + 1, 3) of each class, and of what is missing."""
    by_name = class_colours(run)
    listed = [by_name.get(name, figure.GREY) for name in run.classes] + [figure.PALE]
    return np.array([[int(one[place : place + 2], 16) for place in (1, 3, 5)] for one in listed])


def test_every_cell_of_the_shipped_run_is_in_the_png_and_it_takes_under_three_seconds():
    """2,700 x 48 cells, read back from the pixels; the column of the chosen epoch has a line through its middle, so the
    pixels beside it are read."""
    run = by_class(shipped("scenes_supervised"))
    began = time.process_time()
    svg = confusion_evolution(run)
    png = as_png(svg)
    assert time.process_time() - began < 3
    pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
    (x, y, width, height), _ = pictures(svg)[0]
    assert height * figure.SCALE == 2700
    rows = np.round(y * figure.SCALE + (np.arange(2700) + 0.5) - 0.5).astype(int)
    columns = ((x + (np.arange(48) + 0.25) * width / 48) * figure.SCALE).astype(int)
    assert np.array_equal(pixels[np.ix_(rows, columns)], colours(run)[run.predicted])
    (strip_x, _, strip_width, _), _ = pictures(svg)[1]
    strip = pixels[rows, int((strip_x + strip_width / 2) * figure.SCALE)]
    assert np.array_equal(strip, colours(run)[run.true])


def test_rows_come_by_class_and_in_each_the_most_often_wrong_first():
    run = by_class(drawn())
    assert sorted(run.samples) == sorted(drawn().samples) and (np.diff(run.true) >= 0).all()
    wrong = measures(run)["misclassification"].to_numpy()
    for number in range(4):
        assert (np.diff(wrong[run.true == number]) <= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_bars_matrix_and_means_are_those_of_the_samples(seed):
    run = drawn(seed=seed, chosen=9)
    svg = confusion_evolution(run)
    table = measures(run)
    paths = [path.get("d") for path in ElementTree.fromstring(svg).iter(f"{SVG}path")]
    for name, path in zip(("frequency", "variability", "misclassification"), paths, strict=True):
        left = float(re.match(r"M([\d.]+)", path)[1])
        ends = np.array([float(end) for end in re.findall(r"H([\d.]+)V", path)])
        np.testing.assert_allclose((ends - left) / figure.BAR_WIDTH, table[name], atol=0.0002)
    said = words(svg)
    assert "Confusion matrix at epoch 9" in said and "chosen: 9" in said
    last = [next(int(one) for one in row[8::-1] if one >= 0) for row in run.predicted]  # epoch 9, or the recorded one before
    counts = np.zeros((4, 4), int)
    for true, predicted in zip(run.true, last, strict=True):
        counts[true, predicted] += 1
    start = said.index("Confusion matrix at epoch 9")
    numbers = [int(one) for one in said[start : said.index(next(o for o in said if o.startswith("Means")))] if one.isdigit()]
    assert numbers == [count for count in counts.ravel() if count]
    _, shade = pictures(svg)[2]
    assert shade.shape == (4, 4, 3)
    recalls = {run.classes[number]: counts[number, number] / counts[number].sum() for number in range(4)}
    rows = {said[place]: said[place + 1 : place + 6] for place in range(start, len(said)) if said[place] in recalls}
    for name, recall in recalls.items():
        mine = run.true == run.classes.index(name)
        means = [table[column][mine].mean() for column in ("frequency", "variability", "misclassification")]
        assert rows[name] == [str(mine.sum()), *(f"{mean:.1%}" for mean in means), f"{recall:.1%}"]


def test_listed_samples_change_no_curve_and_no_share():
    whole = drawn(chosen=9)
    part = whole.rows(np.flatnonzero(whole.at(9) != whole.true))
    svg, of_all = confusion_evolution(part, of=whole), confusion_evolution(whole)
    assert any(f"rows are {len(part.samples)} of them" in one for one in words(svg))
    assert pictures(svg)[0][1].shape[0] == len(part.samples)
    assert (
        words(svg)[words(svg).index("Confusion matrix at epoch 9") :]
        == words(of_all)[words(of_all).index("Confusion matrix at epoch 9") :]
    )


def test_no_line_crosses_epochs_that_were_not_recorded():
    """Epochs 1, 2, 3, 7, 9: one line, two marks; white gaps between the columns 3 | 7 | 9."""
    kept = [0, 1, 2, 6, 8]
    run = drawn(epochs=9)
    run = RecordedRun(
        "gaps", run.classes, run.epochs[kept], run.samples, run.true, run.predicted[:, kept], run.confidence[:, kept],
        run.curves.iloc[kept],
    )  # fmt: skip
    assert figure.unbroken(run.epochs, np.array([1.0, 1, 1, 1, 1])) == [[0, 1, 2], [3], [4]]
    assert figure.unbroken(run.epochs, np.array([np.nan, 1, 1, 1, np.nan])) == [[1, 2], [3]]
    svg = confusion_evolution(run)
    (x, _, width, height), _ = pictures(svg)[0]
    gaps = [
        float(box.get("x"))
        for box in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if box.get("fill") == figure.PAPER and box.get("height") == f"{height:g}"
    ]
    np.testing.assert_allclose(gaps, [x + width * 3 / 5 - 1.5, x + width * 4 / 5 - 1.5], atol=0.01)
    marks = [box for box in ElementTree.fromstring(svg).iter(f"{SVG}rect") if box.get("width") == "5"]
    assert len(marks) == 4 * 2, "accuracy, two losses and the changed predictions, each at the epochs 7 and 9"
    assert "1, 2, 3, 7, 9" in words(svg)[1] or "not recorded: 4, 5, 6, 8" in words(svg)[1]


def test_losses_stand_on_axes_of_their_own():
    """A loss of 500 and one of 0.5 (as in scenes_barlow): no axis has both."""
    said = words(confusion_evolution(drawn()))
    start, end = said.index("training loss"), said.index("held-out loss")
    numbers = [float(one) for one in said if re.fullmatch(r"[\d.]+", one)]
    assert start < end and {one for one in numbers if one > 400} and "accuracy" in said and "changed" in said


def test_curves_have_the_colour_of_no_class_and_can_be_seen():
    taken = [*figure.PALETTE, figure.GREY, figure.PALE, figure.BAR]
    assert len(set(figure.DASHES.values())) == len(figure.CURVES) == len({*figure.DASHES} | {*figure.CURVES})
    for colour in figure.CURVES.values():
        assert min(difference(colour, one) for one in taken) >= APART, "for people who lack one kind of cone, too"
        assert contrast(colour, "#ffffff") >= 3 and contrast(colour, "#0e1117") >= 3


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(drawn(1, 1, 1), id="one sample, one epoch, one class"),
        pytest.param(drawn(5000, 3), id="more samples than lines"),
        pytest.param(drawn(20, 5000, chosen=4999), id="more epochs than columns"),
        pytest.param(drawn(300, 4, 200), id="two hundred classes"),
        pytest.param(drawn(3, 2, title="<b>&\x00\ud800 ]]>"), id="a hostile name"),
        pytest.param(made(), id="by hand, with holes"),
    ],
)
def test_whatever_is_recorded_makes_a_figure(run):
    svg = confusion_evolution(by_class(run))
    width, height = (float(ElementTree.fromstring(svg).get(name)) for name in ("width", "height"))
    assert width < 2000 and height < 2500, "it can be looked at"
    assert Image.open(io.BytesIO(as_png(svg))).size == (round(width * 3), round(height * 3))
    said = words(svg)[1]
    assert ("mean colour of 2 samples" in said) == (len(run.samples) == 5000)
    assert ("one in 3 epochs is drawn" in said) == (len(run.epochs) == 5000)


def test_more_samples_than_lines_are_means_of_the_colours_of_neighbours():
    run = drawn(5000, 3)
    _, pixels = pictures(confusion_evolution(run))[0]
    pairs = colours(run)[run.predicted].reshape(2500, 2, 3, 3).mean(1)
    assert np.abs(pixels - pairs).max() <= 0.5


def test_what_cannot_be_drawn_is_one_sentence():
    with pytest.raises(BadRequest, match="has no samples to draw"):
        confusion_evolution(drawn().rows(np.zeros(60, bool)))
    with pytest.raises(BadRequest, match="Epoch 45 was not recorded; there are 1 to 12"):
        confusion_evolution(drawn(), epoch=45)


def test_a_run_that_never_changes_says_since_when():
    still = {name: (true, [true] * 5) for name, (true, _) in TABLE.items()}
    run = made(NAMES, still)
    assert np.nanmax(changed(run)) == 0
    assert any("after epoch 1 never more than 5%" in one for one in words(confusion_evolution(run)))


def test_the_card_answers_what_every_card_answers():
    assert tuple(figure.CARD) == CARD and all(text.endswith(".") for text in figure.CARD.values())
