"""Patches of outlying norm: the rule on planted norms, planted tokens in a network, their share of the map, where they are
drawn, and what the command line and the page say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from opened_pages import opened, text
from planted_tokens import COUNT, PLANTED, SIDE, vit_with_planted_tokens
from small_models import assembled, pictures, small

from xai_core.__main__ import main
from xai_core.app.single_image import outlying_view
from xai_core.attribution.explain import explain
from xai_core.attribution.outlying_patches import OutlyingPatches, TokenNorms, outlying, outlying_patches, token_norms
from xai_core.data.samples import SAMPLES, load_sample


def test_planted_norms_are_found_and_nothing_else():
    draws = np.random.default_rng(0)
    for _ in range(200):
        norms = draws.normal(40, 4, (16, 16))
        assert not outlying(norms).any(), "no outliers were planted"
        planted = draws.random((16, 16)) < 0.02
        assert np.array_equal(outlying(np.where(planted, 10 * norms, norms)), planted)


@pytest.mark.parametrize(
    "norms",
    [np.full((8, 8), 30.0), np.zeros((8, 8)), np.where(np.eye(8) > 0, 45.0, 30.0), np.linspace(10, 60, 64).reshape(8, 8)],
    ids=["equal", "zero", "an object on a plain background", "a slope"],
)
def test_differences_that_are_no_second_mode_do_not_count(norms):
    assert not outlying(norms).any()


def test_the_bound_is_the_stated_one():
    """Of norms 8 to 12 the median is 10 and the MAD 1: 5 deviations end at 17.413, twice the median is 20."""
    around = np.array([8.0, 9, 10, 11, 12] * 5)
    for last, counts in ((19.9, False), (20.1, True)):
        assert outlying(np.append(around, last))[-1] == counts
    wide = np.array([2.0, 6, 10, 14, 18] * 5)  # its MAD is 4: 5 deviations end at 39.652
    for last, counts in ((39.6, False), (39.7, True)):
        assert outlying(np.append(wide, last))[-1] == counts


@pytest.fixture(scope="module")
def planted():
    return assembled("vit", vit_with_planted_tokens(), SIDE).model


def test_planted_tokens_are_found_at_their_place_by_the_norms_that_timm_computes(planted):
    prepared = planted.prepare(pictures(1, SIDE)[0])
    found = token_norms(planted, prepared)
    module = vit_with_planted_tokens().eval()
    images = planted.network.normalise(prepared.pixels[None])
    with torch.no_grad():
        theirs = module.forward_intermediates(images, indices=1, intermediates_only=True, norm=False)[-1]
    np.testing.assert_allclose(found.norms, theirs[0].norm(dim=0).numpy(), rtol=1e-4)
    assert sorted(map(tuple, np.argwhere(found.outlying))) == sorted(PLANTED)


@pytest.mark.parametrize("name", ["vit", "test_vit"])
def test_an_untrained_network_has_none(name):
    """The hand-written family, and the same network as it takes itself apart."""
    model = small(name).model
    for one in pictures(3, SIDE):
        found = outlying_patches(model, explain(model, one, "grad_cam", target=0), model.prepare(one))
        assert found.tokens.norms.shape == (10, 10) and found.count == 0
        assert found.words.startswith("No patch of 100 has an outlying norm behind blocks.")
        assert found.settings()["cells"] == [] and found.settings()["share_of_map"] == 0


@pytest.mark.parametrize("name", ["resnet", "efficientnet", "swin", "xcit", "custom", "resnet10t", "convnext_atto"])
def test_networks_without_a_grid_of_tokens_are_not_asked(name):
    found = small(name)
    assert token_norms(found.model, found.model.prepare(pictures(1, found.side)[0])) is None


def test_the_share_is_that_of_the_magnitude_on_these_patches(planted):
    explanation = explain(planted, pictures(1, SIDE)[0], "grad_cam", target=0)
    norms = np.full((10, 10), 10, np.float32)
    norms[0, 3] = norms[7, 7] = 100
    tokens, draws = TokenNorms("blocks.0", norms), np.random.default_rng(0)
    coarse = draws.normal(size=(10, 10)).astype(np.float32)
    found = OutlyingPatches(replace(explanation, heatmap=coarse), tokens)
    assert found.share == pytest.approx((abs(coarse[0, 3]) + abs(coarse[7, 7])) / abs(coarse).sum(), rel=1e-5)
    fine = draws.normal(size=(SIDE, SIDE)).astype(np.float32)  # a map of single pixels
    on_them = abs(fine[:16, 48:64]).sum() + abs(fine[112:128, 112:128]).sum()
    assert OutlyingPatches(replace(explanation, heatmap=fine), tokens).share == pytest.approx(
        on_them / abs(fine).sum(), 1e-4
    )
    nothing = OutlyingPatches(replace(explanation, heatmap=np.zeros_like(coarse)), tokens)
    assert np.isnan(nothing.share) and "the map is zero everywhere" in nothing.words
    assert "2 of 100 (2.0%)" in found.words and f"{found.share:.1%} of the map's total" in found.words


def test_the_outlines_are_drawn_around_their_cells(planted):
    explanation = explain(planted, pictures(1, SIDE)[0], "grad_cam", target=0)
    norms = np.full((10, 10), 10, np.float32)
    plain = np.asarray(OutlyingPatches(explanation, TokenNorms("blocks.0", norms)).picture())
    norms[7, 2] = 100
    outlined = np.asarray(OutlyingPatches(explanation, TokenNorms("blocks.0", norms)).picture())
    assert outlined.shape == plain.shape == (480, 480, 3)
    rows, columns = np.nonzero((outlined != plain).any(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7 * 48, 8 * 48 - 1, 2 * 48, 3 * 48 - 1)
    assert np.array_equal(outlined[7 * 48 + 5 : 8 * 48 - 5, 2 * 48 + 5 : 3 * 48 - 5], plain[341:379, 101:139])


@pytest.fixture
def own_card(tmp_path, monkeypatch):
    """A model of the user's own with the planted tokens, by the title of its card."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("XAI_WEIGHTS", str(folder))
    module = timm.create_model("test_vit", num_classes=3)
    module.load_state_dict(
        {k: v for k, v in vit_with_planted_tokens().state_dict().items() if "head" not in k}, strict=False
    )
    torch.save(module.state_dict(), folder / "planted.pth")
    lines = ['architecture = "test_vit"', 'family = "vit"', 'file = "planted.pth"', 'classes = ["a", "b", "c"]']
    (folder / "planted.toml").write_text("\n".join([*lines, 'title = "Planted"', f"input_size = {SIDE}"]))
    return "Planted (planted)"


def test_the_command_line_and_the_page_say_the_same(own_card, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["explain", "coffee", "--model", "planted", "--target", "a", "--out", str(out)]) == 0
    told = json.loads((out / "coffee_grad_cam.json").read_text())["outlying_patches"]
    assert sorted(map(tuple, told["cells"])) == sorted(PLANTED) and told["count"] == 2 and told["patches"] == COUNT
    said = capsys.readouterr().out
    (tmp_path / "many").mkdir()
    load_sample("coffee").save(tmp_path / "many" / "coffee.png")
    assert main(["explain", str(tmp_path / "many"), "--model", "planted", "--target", "a", "--out", str(out)]) == 0
    (file,) = (out / "many_grad_cam_maps").glob("*.json")
    among = json.loads(file.read_text())["outlying_patches"]
    assert among["share_of_map"] == pytest.approx(told["share_of_map"], rel=1e-3)
    assert among | {"share_of_map": 0} == told | {"share_of_map": 0}
    words = next(line for line in said.splitlines() if line.startswith("Patches with an outlying norm"))
    assert f"2 of 100 (2.0%); {told['share_of_map']:.1%} of the map's total" in words
    page = opened("pages/1_Single_image.py", picture=SAMPLES["coffee"].title, model=own_card, method="Grad-CAM", target="a")
    assert "Patches of outlying norm" in text(page)
    shown = next(one.value for one in page.markdown if one.value.startswith("Patches with an outlying norm"))
    assert shown.split(";")[0].replace("\\", "") == words.split(";")[0]
    alts = [image.alt for element in page.image for image in element.proto.imgs]
    assert any("Patches with an outlying norm" in alt for alt in alts)
    assert outlying_view.for_export(None) == {}
