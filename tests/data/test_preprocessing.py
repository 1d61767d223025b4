"""What the network sees is what timm and torchvision would show it, and every pixel and cell is found again in the
picture: the crop, the box, the maps on top, and the pictures that stand for nothing."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torchvision.models import ResNet50_Weights
from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data.preprocessing import BASELINES, Prepared, baseline_images, prepare, stack
from xai_core.data.samples import load_sample
from xai_core.explanation.result import Explanation, Passes
from xai_core.models.zoo.catalog import CARDS

RECIPES = {(card.id, one.id): one.recipe for card in CARDS.values() for one in card.checkpoints}
LITE0 = RECIPES["efficientnet_lite0", "tf_in1k"]
EXACT = 2e-6  # after normalisation; one of the 255 steps of a channel is 0.016 there
# Landscape, portrait, odd, small, square, and smaller than the crop. The last three differ by a pixel, each for one of
# the recipes, where the longer side is computed as length * (shorter / side) instead of shorter * length / side.
SIZES = (
    (451, 300),
    (300, 451),
    (333, 500),
    (97, 61),
    (256, 256),
    (31, 200),
    (45, 5),
    (453, 906),
    (492, 861),
    (498, 747),
)


def photograph(size) -> Image.Image:
    return load_sample("chelsea").resize(size, Image.Resampling.LANCZOS)


BICUBIC = {"interpolation": InterpolationMode.BICUBIC}
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
EVALUATED = {  # how the authors of self-supervised models, and of ConvNeXt, tested them: sides 256 and 224, and this
    "dino_resnet50": BICUBIC,
    "dino_xcit_small_12_p16": BICUBIC,
    "mocov3_resnet50": {},
    "mocov3_deit_base": {},
    "simclrv2_r50_1x": PLAIN,
    "simclrv2_r50_2x": PLAIN,
    "barlow_twins": {},
    "simsiam": {},
    "dinov2_vitb14_reg": BICUBIC,
    "dinov3_vitb16": BICUBIC,
    "convnext_tiny_224": BICUBIC,
}


def published_transform(model: str, checkpoint: str):
    if model in EVALUATED:
        return ResNet50_Weights.IMAGENET1K_V1.transforms(**EVALUATED[model])
    if model == "resnet50":
        return ResNet50_Weights[checkpoint].transforms()
    if model == "siglip_base_patch16_224":  # as the settings of its processor say: squashed
        half = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        return Compose([Resize((224, 224), InterpolationMode.BICUBIC), ToTensor(), half])
    architecture = CARDS[model].architecture.removeprefix("timm/")
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(architecture).to_dict())
    return timm.data.create_transform(**config, is_training=False)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("model", "checkpoint"), RECIPES)
def test_preprocessing_equals_the_published_one(model, checkpoint, size):
    recipe, picture = RECIPES[model, checkpoint], photograph(size)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (recipe.mean or (0.0,) * 3, recipe.std or (1.0,) * 3))
    ours = (prepare(picture, recipe).pixels - mean) / std
    theirs = published_transform(model, checkpoint)(picture)
    assert (ours - theirs).abs().max() <= EXACT


@pytest.mark.parametrize("size", [(3, 400), (400, 3), (1, 500)], ids=str)
def test_a_very_thin_picture_is_nearly_the_same_without_its_ends(size):
    """Beyond a ratio of 1 to 100 only the part that is seen is resized: it may differ by Pillow's rounding between its
    two passes, and by the neighbours that a cut-off edge lacks."""
    thin, recipe = photograph(size), replace(LITE0, interpolation="bilinear")
    whole = ResNet50_Weights.IMAGENET1K_V1.transforms(resize_size=256, mean=(0, 0, 0), std=(1, 1, 1))(thin)
    assert (prepare(thin, recipe).pixels - whole).abs().max() < 0.03


def test_an_extremely_thin_picture_takes_no_memory():
    """Resized in full it would have 256 x 15 million pixels."""
    assert prepare(Image.new("RGB", (60_000, 1), "red"), LITE0).pixels.mean((1, 2)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("size", [(640, 480), (480, 641), (200, 150), (1500, 301)], ids=str)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=map(" ".join, RECIPES))
def test_a_marked_square_is_found_where_it_was_put(recipe, size):
    """Found among the pixels, mapped back by the box: within two of the picture's pixels, or of the network's."""
    marked = np.array([size[0] // 2 - 30, size[1] // 2 - 20, size[0] // 2 + 40, size[1] // 2 + 35])
    picture = Image.new("RGB", size)
    picture.paste("white", tuple(int(edge) for edge in marked))
    prepared = prepare(picture, recipe)
    rows, columns = np.nonzero(prepared.pixels[0].numpy() > 0.5)
    seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    left, top, right, bottom = prepared.box
    across, down = (right - left) / recipe.input_size, (bottom - top) / recipe.input_size
    back = seen * np.tile((across, down), 2) + np.tile((left, top), 2)
    assert np.abs(back - marked).max() <= 2 * max(1, across, down)
    assert prepared.size == size


def test_files_pictures_and_bytes_are_prepared_alike(tmp_path):
    path = tmp_path / "cat.png"
    photograph((320, 240)).save(path)
    ways = [path, str(path), path.read_bytes(), Image.open(path)]
    assert len({prepare(way, LITE0).digest for way in ways}) == 1


def test_transparent_pictures_are_laid_on_white():
    assert prepare(Image.new("RGBA", (50, 50), (255, 0, 0, 0)), LITE0).pixels.min() == 1


def test_tensors_are_taken_as_they_are():
    pixels = torch.rand(3, 20, 30, dtype=torch.float64)
    prepared = prepare(pixels, LITE0)
    assert torch.equal(prepared.pixels, pixels.float())
    assert prepared.box == (0, 0, 30, 20) and prepared.size == (30, 20)


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(1, 8, 8), "float \\(3, H, W\\)"),
        (torch.zeros(1, 3, 8, 8), "float \\(3, H, W\\)"),
        (torch.zeros(3, 0, 8), "float \\(3, H, W\\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((3, 8, 8), 1.01), "Normalisation happens inside"),
        (torch.full((3, 8, 8), -0.5), "runs from -0.5"),
        (torch.full((3, 8, 8), torch.nan), "runs from nan"),
    ],
)
def test_tensors_that_are_no_pictures_are_refused(tensor, says):
    with pytest.raises(BadRequest, match=says):
        prepare(tensor, LITE0)


def test_pictures_of_one_call_have_one_size():
    several = [Prepared(torch.zeros(3, side, 8), (0, 0, 8, side), (8, side), "") for side in (8, 9)]
    with pytest.raises(BadRequest, match="one size"):
        stack(several, torch.device("cpu"))
    assert stack(several[:1] * 2, torch.device("cpu")).shape == (2, 3, 8, 8)


def explanation(heatmap: np.ndarray, prepared: Prepared) -> Explanation:
    words = dict.fromkeys(("picture", "model", "weights", "cut", "target", "target_key", "method", "title"), "")
    return Explanation(
        heatmap=heatmap.astype(np.float32),
        signed=True,
        box=prepared.box,
        picture_size=prepared.size,
        input_size=tuple(prepared.pixels.shape[1:]),
        **words,
        target_value=0.0,
        version=1,
        options={},
        seed=0,
        precision="exact",
        passes=Passes(),
        seconds=0.0,
    )


@pytest.mark.parametrize("size", [(640, 480), (300, 700)], ids=str)
@pytest.mark.parametrize("scale", [1, 0.37, 2])
@pytest.mark.parametrize("cell", [(0, 0), (2, 5), (6, 6)], ids=str)
def test_a_marked_cell_lies_where_it_should_in_the_picture(size, scale, cell):
    prepared = prepare(Image.new("RGB", size), LITE0)
    heatmap = np.zeros((7, 7))
    heatmap[cell] = 1
    shown = tuple(round(length * scale) for length in size)
    full = explanation(heatmap, prepared).to_picture(shown, smooth=False)
    assert full.shape == shown[::-1] and full.dtype == np.float32
    left, top, right, bottom = np.array(prepared.box) * np.tile(np.divide(shown, size), 2)
    rows, columns = np.nonzero(np.isfinite(full))
    extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(extent, (left, top, right, bottom))).max() <= 0.5, "NaN exactly outside the crop"
    rows, columns = np.nonzero(full == 1)
    wide, high = (right - left) / 7, (bottom - top) / 7
    expected = (left + cell[1] * wide, top + cell[0] * high, left + (cell[1] + 1) * wide, top + (cell[0] + 1) * high)
    assert np.abs(np.subtract((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), expected)).max() <= 1


def test_from_a_spot_in_the_picture_to_a_map_and_back():
    """A map of brightness, as coarse as a CAM's, is brightest on the spot that was bright in the picture."""
    picture = Image.new("RGB", (500, 333))
    picture.paste("white", (140, 60, 190, 110))
    prepared = prepare(picture, LITE0)
    brightness = torch.nn.functional.avg_pool2d(prepared.pixels.mean(0)[None], 32)[0].numpy()
    full = explanation(brightness, prepared).to_picture()
    row, column = np.unravel_index(np.nanargmax(full), full.shape)
    assert 140 <= column < 190 and 60 <= row < 110


def test_what_stands_for_nothing_to_see():
    images = torch.stack([prepare(load_sample(name), LITE0).pixels for name in ("chelsea", "coffee")])
    made = {kind: baseline_images(images, kind) for kind in BASELINES}
    for kind, value in (("black", 0), ("white", 1), ("grey", 0.5)):
        assert (made[kind] == value).all()
    assert torch.allclose(made["mean"], images.mean((2, 3), keepdim=True).expand_as(images))
    assert (made["blur"].mean((2, 3)) - images.mean((2, 3))).abs().max() < 0.05, "colours stay"
    assert made["blur"].diff(dim=3).abs().mean() < images.diff(dim=3).abs().mean() / 10, "edges go"
    for kind in BASELINES:
        assert made[kind].shape == images.shape and made[kind].min() >= 0 and made[kind].max() <= 1
        alone = baseline_images(images[1:], kind)
        assert torch.allclose(alone, made[kind][1:], atol=1e-6), "a picture's baseline does not depend on its batch"
    with pytest.raises(UnknownName, match="blur"):
        baseline_images(images, "noise")


def test_blurring_a_flat_picture_changes_nothing():
    flat = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 40, 60)
    assert torch.allclose(baseline_images(flat, "blur"), flat, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40)])
def test_the_blurred_baseline_is_a_gaussian_of_a_tenth_of_the_shorter_side(height, width):
    """Scipy's, cut at three sigma and with the edge continued; to float32's rounding."""
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    theirs = gaussian_filter(image.double().numpy(), (0, 0, 4, 4), mode="nearest", truncate=3)
    assert np.abs(baseline_images(image, "blur").numpy() - theirs).max() < 1e-6


def test_the_digest_tells_pictures_apart_whose_middle_is_the_same():
    """A map of the one would be laid over the other in the wrong place."""
    middle = photograph((256, 256))
    framed = Image.new("RGB", (256, 300))
    framed.paste(middle, (0, 22))
    recipe = replace(LITE0, input_size=224, shorter_side=256)
    small, large = prepare(middle, recipe), prepare(framed, recipe)
    assert torch.equal(small.pixels, large.pixels) and small.box != large.box
    assert small.digest != large.digest
