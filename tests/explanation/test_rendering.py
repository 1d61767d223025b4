"""From maps to pictures: honest colours with a stated scale, overlays that lie where they should, captions that tell.

The maps are made by hand, so that every colour and place is known beforehand.
"""

import matplotlib
import numpy as np
import pytest
import torch
from made_maps import LANDSCAPE, made, one_cell
from PIL import Image

from xai_core.explanation import heatmaps, rendering
from xai_core.explanation.rendering import PALETTES, alt_text, caption, figure, heatmap_picture, overlay, scale_of, to_pil
from xai_core.explanation.result import Passes

KINDS = {(kind, name): code for kind, palettes in PALETTES.items() for name, code in palettes.items()}
DIVERGING = list(PALETTES["diverging"])
BOTH = [[-2.0, 0.0], [1.0, 4.0]]
LIMITS = {"custom": (2.0, 5.0)}  # by hand, and without zero
SOLID = Image.new("RGB", (100, 100), (200, 60, 20))
GREY = np.asarray(SOLID.convert("L"))[0, 0]


def lightness(code: str, steps: int = 255) -> np.ndarray:
    """CIE L* of a palette from end to end, from sRGB (IEC 61966-2-1, D65)."""
    encoded = matplotlib.colormaps[code](np.linspace(0, 1, steps))[:, :3]
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


@pytest.mark.parametrize("kind_and_name", KINDS, ids="-".join)
def test_palettes_are_fit_for_data(kind_and_name):
    """Sequential: ever lighter. Diverging: neutral and lightest in the middle, equally dark on both sides."""
    code = KINDS[kind_and_name]
    light = lightness(code)
    assert code.removesuffix("_r") not in {"jet", "rainbow", "gist_rainbow", "hsv", "turbo", "nipy_spectral"}
    if kind_and_name[0] == "sequential":
        assert (np.diff(light) > 0).all() and light[-1] - light[0] > 60
    else:
        assert (np.diff(light[:128]) > 0).all() and (np.diff(light[127:]) < 0).all()
        assert np.abs(light - light[::-1]).max() < 6
        assert np.ptp(np.array(matplotlib.colormaps[code](0.5)[:3])) <= 3 / 255


@pytest.mark.parametrize("palette", DIVERGING)
@pytest.mark.parametrize("mode", heatmaps.RANGE_MODES)
@pytest.mark.parametrize("values", [BOTH, [[1.0, 2.0]], [[-1.0, -2.0]], [[0.0, 0.0]]], ids=str)
def test_zero_of_a_signed_map_is_the_neutral_middle(values, mode, palette):
    """Whatever the limits; evidence for is always on the warm side, evidence against on the cool one."""
    scale = scale_of(made(values), mode=mode, palette=palette, **LIMITS)
    assert scale.palette == palette and scale.low <= 0 <= scale.high
    against, none, in_favour = scale.colours(np.array([[-9.0, 0.0, 9.0]], np.float32))[0].astype(int)
    assert np.ptp(none) <= 3 and none.min() > 215
    assert in_favour[0] > in_favour[2] or scale.high == 0
    assert against[0] < against[2] or scale.low == 0
    assert scale.strength(np.zeros(1)) == 0


def test_signed_maps_are_symmetric_about_zero_and_others_start_there():
    assert (scale_of(made(BOTH)).low, scale_of(made(BOTH)).high) == (-4, 4)
    plain = scale_of(made([[1.0, 3.0]], signed=False))
    assert (plain.low, plain.high) == (0, 3)
    assert np.allclose(scale_of(made(BOTH)).position(np.array([-4, -2, 0, 2, 4, 99])), [0, 0.25, 0.5, 0.75, 1, 1])


def test_a_legend_has_the_colours_of_the_map():
    scale = scale_of(made(BOTH), mode="full")
    colours = scale.hex_colours(7)
    ends = scale.colours(np.array([[scale.low, scale.high]]))[0]
    assert len(colours) == 7
    assert [tuple(bytes.fromhex(colours[end][1:])) for end in (0, -1)] == [tuple(end) for end in ends]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30, np.nan, np.inf], ids=str)
def test_constant_and_broken_maps_show_no_structure(value, signed):
    flat = made(np.full((7, 7), value), signed and value == value)
    assert len(np.unique(np.asarray(heatmap_picture(flat)).reshape(-1, 3), axis=0)) == 1
    drawn = overlay(flat, SOLID)
    assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) == 1
    if value == 0:
        assert (np.asarray(drawn) == GREY).all()
    assert figure(flat, drawn, scale_of(flat)).width == 744


def test_a_scale_can_be_shared():
    small, large = made([[0.0, 1.0]]), made([[-8.0, 2.0]])
    scale = scale_of(small, large)
    assert (scale.low, scale.high) == (-8, 8) and "shared by 2 maps" in scale.words
    assert "this map's own" in scale_of(small).words
    mixed = scale_of(made([[0.0, 5.0]], signed=False), small)
    assert mixed.signed and (mixed.low, mixed.high) == (-5, 5)


def test_the_words_name_the_limits_of_the_colours():
    fine = np.zeros((80, 80), np.float32)
    fine[0, 0], fine[1:3] = 1000, 1
    said = {mode: scale_of(made(BOTH), mode=mode, custom=(-1, 3)).words for mode in heatmaps.RANGE_MODES}
    assert len(set(said.values())) == len(said)
    assert "symmetric about zero" in said["symmetric"] and "-4 to 4" in said["symmetric"]
    assert "set by hand" in said["custom"] and "-1 to 3" in said["custom"]
    assert not any("clipped" in words for words in said.values())
    assert "clipped at the 99th percentile of the magnitude" in scale_of(made(fine)).words and scale_of(made(fine)).high == 1
    assert "clipped" not in scale_of(made(fine), clip=100).words and scale_of(made(fine), clip=100).high == 1000
    assert "97.5th" in scale_of(made(BOTH), clip=97.5).words
    by_hand = scale_of(made(fine), custom=(-1, 3))
    assert (by_hand.low, by_hand.high) == (-1, 3) and "clipped" not in by_hand.words


def test_an_overlay_lies_where_the_evidence_is():
    """Row 1, column 2 of 4 x 4 cells over the middle of a landscape picture: 25 pixels a cell, 50 to the left."""
    found, picture = made(one_cell(1, 2), signed=False, **LANDSCAPE), Image.new("RGB", (200, 100), "gray")
    drawn = np.asarray(overlay(found, picture, smooth=False)).astype(int)
    expected = np.zeros((100, 200), bool)
    expected[25:50, 100:125] = True
    assert (np.ptp(drawn, axis=2) > 0).tolist() == expected.tolist()
    assert (drawn[:, :50] == round(0.25 * 128 + 180)).all() and (drawn[:, 150:] == 212).all()  # unseen: pale
    assert (drawn[60:, 60:90] == 128).all()
    smooth = found.to_picture()
    row, column = np.unravel_index(np.nanargmax(smooth), smooth.shape)
    assert 36 <= row <= 38 and 111 <= column <= 113


@pytest.mark.parametrize("size", [(50, 25), (400, 200), (33, 80), (1, 1), (1, 500)])
def test_an_overlay_in_another_size(size):
    found, picture = made(one_cell(3, 0), signed=False, **LANDSCAPE), Image.new("RGB", (200, 100), "gray")
    drawn = overlay(found, picture, size=size)
    assert drawn.size == size and drawn.mode == "RGB"
    if size == (400, 200):
        strongest = np.ptp(np.asarray(drawn).astype(int), axis=2)
        row, column = np.unravel_index(strongest.argmax(), strongest.shape)
        assert row >= 150 and 100 <= column <= 150


def test_opacity_and_threshold():
    found = made([[0.2, 1.0]], signed=False)
    assert (np.asarray(overlay(found, SOLID, opacity=0)) == GREY).all()
    full = np.asarray(overlay(found, SOLID, opacity=1, smooth=False))
    assert full[50, 90].tolist() == scale_of(found).colours(np.array([[1.0]]))[0, 0].tolist()
    assert np.ptp(full[50, 10]) > 0
    hidden = np.asarray(overlay(found, SOLID, opacity=1, threshold=0.5, smooth=False))
    assert (hidden[:, :50] == GREY).all() and (hidden[:, 50:] == full[:, 50:]).all()


def test_blocks_or_smooth():
    found = made(np.arange(9.0).reshape(3, 3) - 4)
    for draw in (heatmap_picture, lambda one, smooth: overlay(one, SOLID, smooth=smooth)):
        blocks, smooth = (np.asarray(draw(found, smooth=kind)).reshape(-1, 3) for kind in (False, True))
        assert len(np.unique(blocks, axis=0)) == 9 < len(np.unique(smooth, axis=0))


def test_outside_the_crop_a_map_is_grey():
    drawn = np.asarray(heatmap_picture(made(one_cell(0, 0), **LANDSCAPE)))
    assert drawn.shape == (100, 200, 3)
    assert (drawn[:, :50] == 128).all() and (drawn[:, 150:] == 128).all() and not (drawn[:, 50:150] == 128).all()


@pytest.mark.parametrize("palette", DIVERGING)
def test_no_channels_are_swapped(palette, tmp_path):
    """Red stays red: in the picture that is read, in its grey, and in the colours of the map."""
    red = Image.new("RGB", (100, 100), (255, 0, 0))
    red.save(tmp_path / "red.png")
    tensor = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 100, 100)
    for source in (red, tensor, str(tmp_path / "red.png")):
        assert to_pil(source).getpixel((5, 5)) == (255, 0, 0)
        flat = overlay(made([[0.0, 0.0]]), source).getpixel((5, 5))
        assert flat == (76, 76, 76)  # luma of red; that of blue is 29
    warm, cool = (np.asarray(overlay(made([[v, v]]), red, scale_of(made([[v, v]]), palette=palette))) for v in (1, -1))
    assert warm[50, 50, 0] > warm[50, 50, 2] and cool[50, 50, 0] < cool[50, 50, 2]


@pytest.mark.parametrize(("size", "width"), [((400, 200), 720), ((300, 300), 480), ((100, 300), 240)])
def test_a_figure_carries_its_colour_bar_and_caption(size, width):
    found = made(BOTH)
    scale, drawn = scale_of(found), Image.new("RGB", size, (10, 120, 30))
    sheet = np.asarray(figure(found, drawn, scale, width)).astype(int)
    height = round(size[1] * width / size[0])
    assert sheet.shape[1] == width + 24
    assert (sheet[12 : 12 + height, 12 : 12 + width] == (10, 120, 30)).all()
    bar = sheet[height + 20 : height + 34, 12 : 12 + width]
    assert (bar == scale.colours(np.linspace(-4, 4, width)[None]).astype(int)).all()
    text = (sheet[height + 36 :] < 100).all(2)
    assert text[:24, :80].any() and text[:24, -80:].any()  # the limits
    assert text[26:].any(1).sum() > 30  # lines of the caption
    assert not text[:, :12].any() and not text[:, -10:].any() and not text[-3:].any()  # nothing is cut off
    other = np.asarray(figure(made(BOTH, seed=8), drawn, scale, width))
    assert other.shape != sheet.shape or (other != sheet)[height + 60 :].any()


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1)])
def test_a_figure_of_a_strip_stays_small(size):
    found = made(BOTH, picture_size=size, box=(0.0, 0.0, float(size[0]), float(size[1])))
    sheet = figure(found, Image.new("RGB", size), scale_of(found))
    assert sheet.width == 744 and sheet.height < 4 * 744


def test_a_caption_names_target_model_method_and_settings():
    found = made(BOTH, facts={"completeness gap": 0.0123, "samples": 2560.0}, passes=Passes(forward=52, backward=50, tail=1))
    said = caption(found, scale_of(found))
    for words in (
        "logit of tabby, tabby cat = 12.5", "some_model (0123abcd) at layer4.2", "Some-Method (window 64, fill grey)",
        "exact precision", "seed 7", "Grid: 2 x 2", "52 forward, 50 backward, 1 tail", "250 ms",
        "Completeness gap: 1.23%", "Samples: 2,560", scale_of(found).words,
    ):  # fmt: skip
        assert words in said
    assert "\n" not in said
    bare = caption(made(BOTH, cut="", options={}, passes=Passes(), seconds=61.24, precision="fast"), scale_of(found))
    assert "(0123abcd). Method: Some-Method, fast precision" in bare and "Passes: none; 61.2 s" in bare


@pytest.mark.parametrize(
    ("cell", "place"), [((0, 0), "at the upper left"), ((4, 4), "in the centre"), ((8, 4), "at the bottom")]
)
def test_the_alternative_text_names_the_place_of_the_evidence(cell, place):
    said = alt_text(made(one_cell(*cell, side=9)), "Overlay")
    assert said.startswith("Overlay: Some-Method for the logit of tabby") and f"evidence lies {place} (100%" in said
    assert "no evidence for the target. The map is zero everywhere" in alt_text(made(np.zeros((9, 9))), "Map")


def test_an_unknown_palette_falls_back_to_the_first():
    """The palette of a signed map is asked of one without a sign where the two are shown side by side."""
    assert scale_of(made(BOTH), palette="viridis").palette == next(iter(rendering.PALETTES["diverging"]))


def test_what_the_network_saw_and_the_map_over_it_alone():
    """The middle of a landscape, and a map whose cells fall on it as they fall on the whole."""
    picture = Image.fromarray(np.arange(100 * 200 * 3, dtype=np.uint32).reshape(100, 200, 3).astype(np.uint8))
    explanation = made(one_cell(0, 1), **LANDSCAPE)
    part_of, part = rendering.seen_part(explanation, picture, 100)
    assert part.size == part_of.picture_size == (100, 100) and part_of.box == (0, 0, 100, 100)
    np.testing.assert_array_equal(np.asarray(part), np.asarray(picture)[:, 50:150])
    scale = rendering.scale_of(explanation)
    whole = np.asarray(rendering.overlay(explanation, picture, scale))
    np.testing.assert_array_equal(np.asarray(rendering.overlay(part_of, part, scale)), whole[:, 50:150])
    assert rendering.seen_part(explanation, picture, 30)[1].size == (30, 30)


def test_a_bar_below_a_map_runs_from_the_lower_to_the_upper_limit():
    scale = rendering.scale_of(made([[-1, 2]]))
    both = np.asarray(rendering.with_bar(Image.new("RGB", (120, 120), "white"), scale))
    assert both.shape == (120 + 3 + 5, 120, 4) and (both[:120] == 255).all() and not both[121].any()
    ends = scale.colours(np.array([[scale.low, scale.high]]))[0]
    np.testing.assert_array_equal(both[-1, [0, -1], :3], ends)


def test_a_region_is_outlined_inside_its_edge_and_nothing_else_is_changed():
    picture = Image.new("RGB", (40, 30), "navy")
    region = np.zeros((30, 40), bool)
    region[10:20, 0:15] = True
    drawn = np.asarray(rendering.outlined(picture, region, 120)).astype(int)
    large = region.repeat(3, 0).repeat(3, 1)
    line = (drawn == rendering.OUTLINE).all(2)
    assert drawn.shape == (90, 120, 3) and line.any() and not (line & ~large).any()
    assert (drawn[45, :2] == rendering.OUTLINE).all(), "also where the region ends at the picture's edge"
    assert (drawn[45, 20] == (0, 0, 128)).all() and (drawn[80, 100] == (0, 0, 128)).all(), (
        "inside and outside are as they were"
    )
    near = (drawn == 255).all(2)
    assert near.any() and not (near & large).any()
