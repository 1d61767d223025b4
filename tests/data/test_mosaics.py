"""Mosaics: where their parts lie in what networks see, what is drawn, what is read when, and whole runs over them."""

import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from quadrants import INVERTED, TRUE, UNIFORM, reader
from small_models import custom
from small_runs import evaluate as evaluate_small

from xai_core.__main__ import main
from xai_core.attribution.explain import explain
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.data.box import inside
from xai_core.data.datasets import Dataset, open_dataset
from xai_core.data.mosaics import mosaic, mosaic_set
from xai_core.data.preprocessing import prepare
from xai_core.data.recipe import Recipe
from xai_core.data.sample_list import Labelled
from xai_core.data.selection import unique_images
from xai_core.evaluation import runner, store
from xai_core.explanation.targets import ClassLogit
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.measure import measure

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}
PLACES = {"upper left": 0, "upper right": 1, "lower left": 2, "lower right": 3}


def plain(colour, size=(100, 80)):
    return Image.new("RGB", size, colour)


def encoded(colour, number=0):
    """A file of its own for each number, of one colour."""
    buffer = io.BytesIO()
    plain(colour, (60 + number, 40)).save(buffer, "PNG")
    return buffer.getvalue()


def coloured(each=3, read=None):
    """`each` pictures of each colour, in memory, labelled by it."""
    files = {f"{colour}/{number}.png": encoded(colour, number) for colour in COLOURS for number in range(each)}
    samples = tuple(Labelled(name, name.partition("/")[0]) for name in files)
    return Dataset("colours", samples, read or files.__getitem__)


def test_four_pictures_of_any_shape_become_four_squares():
    sizes = [(100, 80), (30, 200), (512, 512), (1, 1)]
    whole, boxes = mosaic([plain(colour, size) for colour, size in zip(COLOURS, sizes, strict=False)])
    assert whole.size == (512, 512) and whole.mode == "RGB"
    assert boxes == [(0, 0, 256, 256), (256, 0, 512, 256), (0, 256, 256, 512), (256, 256, 512, 512)]
    for box, colour in zip(boxes, COLOURS.values(), strict=False):
        assert whole.crop(box).getcolors() == [(256 * 256, colour)]
    with pytest.raises(BadRequest, match="four pictures; these are 3"):
        mosaic([plain("red")] * 3)


def test_a_part_is_the_centre_square_of_its_picture():
    wide = plain("blue", (900, 300))
    wide.paste("red", (300, 0, 600, 300))
    whole, boxes = mosaic([wide] * 4)
    for left, top, right, bottom in boxes:  # resampling mixes in what lies beside the square's edges
        assert whole.crop((left + 2, top, right - 2, bottom)).getcolors() == [(252 * 256, (255, 0, 0))]


@pytest.mark.parametrize(
    ("recipe", "seam"),
    [
        (Recipe(224, 256), (112,)),
        (Recipe(224, 224), (112,)),
        (Recipe(224, 248, "bicubic"), (112,)),
        (Recipe(384, 384), (192,)),
        (Recipe(225, 250), (112, 113)),  # the seam is at 112.5
        (Recipe(224, 235), (111, 112)),  # the crop begins at 6 instead of 5.5: at 111.5
    ],
)
def test_every_network_sees_four_quarters_whatever_it_crops(recipe, seam):
    """By hand: after a centred crop, the seam lies in the middle of the input; after another, beside it."""
    whole, boxes = mosaic([plain(colour) for colour in list(COLOURS)[:4]])
    seen, side = prepare(whole, recipe), recipe.input_size
    masks = [inside(box, seen) for box in boxes]
    middle = int(masks[0][0].sum())
    assert middle in seam
    pixels = seen.pixels.permute(1, 2, 0).numpy() * 255
    halves = (slice(0, middle), slice(middle, side))
    far = np.abs(np.arange(side) - middle) > 3  # resampling mixes what lies at the seam
    for mask, colour, (down, across) in zip(masks, COLOURS.values(), itertools.product(halves, halves), strict=False):
        expected = np.zeros((side, side), bool)
        expected[down, across] = True
        np.testing.assert_array_equal(mask, expected)
        assert abs(mask.mean() - 0.25) <= 1 / side
        assert np.abs(pixels[mask & far[:, None] & far] - colour).max() < 1


def test_a_network_that_reads_one_quarter_is_found_by_its_true_map():
    model = reader()  # of a recipe without a crop: its quarter is the mosaic's
    whole, boxes = mosaic([plain(colour) for colour in ("red", "white", "lime", "blue")])
    how = {"target": ClassLogit((0,)), "controls": False}

    def share(shown, place):
        return measure(model, whole, shown, "energy_pointing_game", box=boxes[place], **how).value

    assert [share(TRUE, place) for place in range(4)] == pytest.approx([1, 0, 0, 0], abs=1e-6)
    assert [share(INVERTED, place) for place in range(4)] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=1e-6)
    assert [share(UNIFORM, place) for place in range(4)] == pytest.approx([0.25] * 4, abs=1e-6)
    found = explain(model, whole, "input_x_gradient", target=0)
    assert share(found, 0) == pytest.approx(1, abs=1e-6)


def test_a_set_has_four_labels_in_each_mosaic_and_the_asked_one_in_its_box():
    found, boxes = mosaic_set(coloured(), 40, seed=3)
    assert found.title == "mosaics of colours, seed 3" and len(found.samples) == 40 == len(boxes)
    asked, places = set(), set()
    for number, entry in enumerate(found.samples, 1):
        assert entry.name == f"{entry.label}/mosaic_{number:04}.bmp"
        whole = found.open(entry.name)
        assert len(whole.getcolors()) == 4, "four labels"
        (box,) = boxes[entry.name]
        assert whole.crop(box).getcolors() == [(256 * 256, COLOURS[entry.label])]
        asked.add(entry.label)
        places.add(box)
    assert asked == set(COLOURS) and len(places) == 4


def test_a_set_is_the_same_again_another_by_another_seed_and_grows():
    def about(count, seed):
        found, boxes = mosaic_set(coloured(), count, seed)
        return found, boxes, [found.read(one.name) for one in found.samples]

    first, boxes, data = about(6, 0)
    again, same, more = about(9, 0)
    assert again.samples[:6] == first.samples and more[:6] == data and {**same, **boxes} == same
    assert about(6, 0)[0].digest == first.digest != about(6, 1)[0].digest
    shuffled = replace(coloured(), samples=coloured().samples[::-1])
    assert mosaic_set(shuffled, 6)[0].samples == first.samples, "the order of the files does not matter"


def test_pictures_are_read_when_a_mosaic_is_and_only_its_four():
    files, read = coloured(), []
    watched = replace(files, read=lambda name: read.append(name) or files.read(name))
    found, _ = mosaic_set(watched, 1000)
    assert read == []
    found.open(found.samples[7].name)
    assert len(read) == 4 and len({name.partition("/")[0] for name in read}) == 4
    found.open(found.samples[7].name)
    assert len(read) == 8, "nothing is kept"


def test_a_broken_part_leaves_its_mosaics_out_with_its_name():
    files = coloured(each=1)
    found, _ = mosaic_set(replace(files, read=lambda name: b"" if name == "red/0.png" else files.read(name)), 20)
    there, left_out = unique_images(found, found.samples)
    assert there and left_out and all("Its part red/0.png: The file is empty" in why for why in left_out.values())
    with pytest.raises(BadPicture):
        found.open(next(iter(left_out)))


def test_names_with_wordnet_ids_are_labels():
    samples = tuple(Labelled(f"n0000000{number}_thing.png", "") for number in range(4))
    found, _ = mosaic_set(Dataset("flat", samples, lambda name: encoded("red")), 3)
    assert {one.label for one in found.samples} <= {f"n0000000{number}" for number in range(4)}


@pytest.mark.parametrize(
    ("dataset", "count", "said"),
    [
        (replace(coloured(), samples=coloured().samples[:9]), 2, "four classes, and colours has pictures of 3:"),
        ("samples", 2, "samples has none with a label"),
        (coloured(), 0, "At least one mosaic is needed, not 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(dataset, count, said):
    with pytest.raises(BadRequest, match=said):
        mosaic_set(dataset, count)


# runs


@pytest.fixture
def folder(tmp_path):
    """Five classes, called as those of the small network are."""
    for number, colour in enumerate(COLOURS):
        for one in range(2):
            file = tmp_path / "data" / f"{number}" / f"{one}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(colour, one))
    return tmp_path / "data"


@pytest.fixture
def evaluated(folder, tmp_path, monkeypatch):
    """`evaluate` of the command line over that folder, with a small network that knows its classes: what it gives back."""
    model, real = replace(custom().model, class_names=tuple("0123456789")), runner.evaluate
    monkeypatch.setattr(runner, "evaluate", lambda *given, **more: real(*given, **more, load=lambda name: model))

    def run(*more, data=folder):
        what = ["--models", "small", "--methods", "grad_cam,saliency", "--out", str(tmp_path / "run")]
        return main(["evaluate", str(data), *what, *more])

    return run


def test_a_run_over_mosaics_needs_no_boxes_says_so_and_goes_on(evaluated, folder, tmp_path, capsys):
    assert evaluated("--mosaics", "5", "--seed", "4", "--metrics", "sparseness") == 0
    run = store.open_run(tmp_path / "run")
    frame, asked = run.table(), run.manifest["asked"]
    assert asked["data"] == "mosaics of data, seed 4" and asked["target"] == "label" and asked["seed"] == 4
    localisation = {name for name, metric in METRICS.items() if "box" in metric.needs} - {"pointing_game"}
    assert set(frame.metric) == {*localisation, "pointing_game@tolerance=0", "sparseness"}
    _, boxes = mosaic_set(folder, 5, 4)
    assert asked["boxes"] == {name: [list(box) for box in one] for name, one in boxes.items()}
    assert set(frame.name) == set(boxes) and len(frame) == 5 * 6 * 5
    assert (frame.target_key == "logit " + frame.label.astype(str)).all(), "each is asked about its label"
    uniform = frame[(frame.method == "control:uniform_map") & (frame.metric != "sparseness")]
    assert uniform.value.tolist() == pytest.approx([0.25] * len(uniform))
    capsys.readouterr()
    assert evaluated("--mosaics", "5", "--seed", "4", "--metrics", "sparseness") == 0
    assert "Nothing is left to do" in capsys.readouterr().out
    assert evaluated("--mosaics", "8", "--seed", "4", "--metrics", "sparseness") == 0
    assert "5 of 8 pairs of a picture and a model are measured already" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "run" / "manifest.json").read_text())["asked"]["boxes"]) == 8
    assert evaluated("--mosaics", "5", "--seed", "5", "--metrics", "sparseness") == 2
    assert "seed 4, not 5" in capsys.readouterr().err


def test_a_measured_picture_gets_no_box_afterwards(tmp_path):
    boxes = {"0.png": [(0, 0, 9, 9)]}
    how = {"methods": ["saliency"], "metrics": ["energy_pointing_game"]}
    evaluate_small(tmp_path / "run", 2, boxes=boxes, **how)
    with pytest.raises(BadRequest, match="boxes of 1 pictures, not of 2 pictures"):
        evaluate_small(tmp_path / "run", 2, boxes=boxes | {"1.png": [(0, 0, 9, 9)]}, **how)
    evaluate_small(tmp_path / "run", 3, boxes=boxes | {"2.png": [(0, 0, 9, 9)]}, **how)
    frame = store.open_run(tmp_path / "run").table()
    assert set(frame.name[frame.value.notna()]) == {"0.png", "2.png"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--boxes", "boxes.csv"], "Mosaics have boxes of their own"),
        (["--images", "3"], "leave --images out"),
        (["--target", "predicted"], "asked about its label"),
        (["--target", "3"], "not '3'"),
        (["--mosaics", "0"], "At least one mosaic"),
    ],
)
def test_what_does_not_go_with_mosaics_is_one_line(evaluated, capsys, tmp_path, more, said):
    assert evaluated("--mosaics", "2", *more) == 2
    wrong = capsys.readouterr().err
    assert said in wrong and wrong.count("\n") == 1 and not (tmp_path / "run").exists()


def test_data_without_four_labels_are_refused(evaluated, folder, capsys):
    assert evaluated("--mosaics", "2", data="samples") == 2
    assert "samples has none with a label" in capsys.readouterr().err
    assert evaluated("--mosaics", "2", data=folder / "0") == 2
    assert "0 has none with a label" in capsys.readouterr().err
    assert len(open_dataset(folder).classes) == 5
    assert evaluated("--mosaics", "2", "--target", "label", "--dry-run") == 0
    assert "2 pictures" in capsys.readouterr().out
