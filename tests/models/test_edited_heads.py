"""An edited head is a model of its own: saved, listed, loaded with exactly the logits of the edit, and removed."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.models import edited_heads
from xai_core.models.edited_heads import files, linear_head, remove, save, with_head
from xai_core.models.loading import load_model
from xai_core.models.zoo.catalog import broken_cards, cards, find_card


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    return tmp_path / "weights"


def edit(model, seed=0):
    head, draws = linear_head(model), np.random.default_rng(seed)
    weight = head.weight.double().cpu().numpy() + draws.normal(0, 0.1, head.weight.shape)
    return weight, head.bias.double().cpu().numpy() + 0.5


def pictures(side):
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("id", ["world_planted", "efficientnet_lite0"])
def test_the_saved_model_has_exactly_the_logits_of_the_edit(id):
    """A bundled card of this project's own network, and a network of the catalogue, whose weights come with a package."""
    model = load_model(id)
    weight, bias = edit(model)
    images, here = pictures(model.recipe.input_size), with_head(model, weight, bias)
    new = save(model, weight, bias, "the stamp")
    again = load_model(new)
    assert torch.equal(again.outputs(images).logits, here.outputs(images).logits)
    assert not torch.equal(again.outputs(images).logits, model.outputs(images).logits)
    assert again.title == f"{model.title} without the stamp" == cards()[new].title
    assert (again.class_names, again.wnids, again.recipe) == (model.class_names, model.wnids, model.recipe)
    assert broken_cards() == {}


def test_the_fingerprint_is_that_of_this_head():
    model = load_model("world_planted")
    first, second = (load_model(save(model, *edit(model, seed), "x")) for seed in (0, 1))
    assert len({model.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert [first.id, second.id] == ["world_planted_without_x", "world_planted_without_x_2"]
    assert first.title != second.title
    assert with_head(model, *edit(model)).fingerprint != model.fingerprint


def test_an_edited_head_is_edited_again_on_the_same_base():
    once = load_model(save(load_model("world_planted"), *edit(load_model("world_planted")), "x"))
    weight, bias = edit(once, 1)
    twice = load_model(save(once, weight, bias, "y"))
    assert find_card(twice.id).base == "world_planted" and twice.title.endswith("without x without y")
    images = pictures(128)
    assert torch.equal(twice.outputs(images).logits, with_head(once, weight, bias).outputs(images).logits)


def test_it_is_removed_with_its_files_and_nothing_else_is(folder):
    model = load_model("world_planted")
    new = save(model, *edit(model), "x")
    (folder / "other.txt").write_text("stays")
    assert {path.name for path in folder.iterdir()} == {f"{new}.toml", f"{new}.safetensors", "other.txt"}
    assert set(safetensors.torch.load_file(folder / f"{new}.safetensors")) == {"weight", "bias"}
    remove(new)
    assert [path.name for path in folder.iterdir()] == ["other.txt"] and new not in cards()
    with pytest.raises(UnknownName):
        remove(new)
    with pytest.raises(BadRequest, match="not removed"):
        remove("world_planted")


@pytest.mark.parametrize("cause", ["../../x", "a\nb", "ü" * 500, '"; rm'])
def test_a_cause_from_outside_makes_a_plain_name(folder, cause):
    model = load_model("world_planted")
    new = save(model, *edit(model), cause)
    assert (folder / f"{new}.toml").is_file() and cards()[new].title.startswith(model.title)


def test_what_cannot_be_saved_is_refused_and_writes_nothing(folder):
    model = load_model("world_planted")
    weight, bias = edit(model)
    with pytest.raises(BadRequest, match="weights, not"):
        save(model, weight[:, :3], bias, "x")
    with pytest.raises(BadRequest, match="in a few words"):
        save(model, weight, bias, " \n")
    deep = replace(model, network=replace(model.network, classify=nn.Sequential(nn.Linear(512, 10))))
    with pytest.raises(BadRequest, match="no linear head"):
        save(deep, weight, bias, "x")
    assert not list(folder.glob("*"))


def test_a_card_names_weights_and_classes_that_its_base_has(folder):
    model = load_model("world_planted")
    written = files(model, *edit(model), "x")
    folder.mkdir()
    for name, data in written.items():
        (folder / name).write_bytes(data)
    card = (folder / "world_planted_without_x.toml").read_text()
    (folder / "wrong.toml").write_text(card.replace('weights = "own"', 'weights = "v9"'))
    (folder / "chain.toml").write_text(card.replace('base = "world_planted"', 'base = "world_planted_without_x"'))
    (folder / "loop.toml").write_text(card.replace('base = "world_planted"', 'base = "loop"'))
    broken = broken_cards()
    assert "no weights 'v9'" in broken["wrong.toml"] and {"chain.toml", "loop.toml"} <= set(broken)
    assert not edited_heads.is_edited(cards()["world_planted"])
