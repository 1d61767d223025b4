"""A linear probe: it finds the classes that features separate, folds its scaling away, and comes back as a model."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import train_test_split

from xai_core import explain, load_model
from xai_core.__main__ import main
from xai_core.core.errors import BadRequest, WeightsUnavailable
from xai_core.data.datasets import open_dataset
from xai_core.models.random_init import untrained
from xai_core.models.zoo.catalog import broken_cards, cards
from xai_core.training import linear_probe


@pytest.fixture(autouse=True)
def weights_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve pictures of stripes and of blobs, and a file that is no picture."""
    found, draw = tmp_path_factory.mktemp("textures"), np.random.default_rng(0)
    for name in ("blobs", "stripes"):
        (found / name).mkdir()
        for number in range(12):
            small = draw.integers(0, 255, (6, 6, 3) if name == "blobs" else (1, 30, 3), dtype=np.uint8)
            Image.fromarray(small).resize((90, 90), Image.Resampling.BICUBIC).save(found / name / f"{number}.png")
    (found / "blobs" / "broken.png").write_bytes(b"no picture")
    return found


@pytest.fixture(scope="module")
def probe(folder, lite0):
    return linear_probe.train_probe(lite0, folder)


def test_it_finds_classes_that_features_separate(probe):
    assert probe.classes == ("blobs", "stripes") and (probe.trained_on, probe.held_out) == (19, 5)
    assert probe.accuracy >= 0.8 and probe.chance <= 0.6
    assert len(probe.unreadable) == 1 and "broken.png" in probe.unreadable[0]


def test_the_same_seed_gives_the_same_probe(folder, lite0, probe):
    assert np.array_equal(linear_probe.train_probe(lite0, folder).weight, probe.weight)


def test_scaling_is_folded_into_the_layer(folder, lite0, probe):
    """The layer's probabilities on raw features are those of a logistic regression: they sum to 1 and tell the classes."""
    dataset = open_dataset(folder)
    inputs, kept, _ = linear_probe.features(lite0, dataset)
    logits = torch.from_numpy(inputs @ probe.weight.T + probe.bias)
    right = [probe.classes[best] == dataset.samples[place].label for best, place in zip(logits.argmax(1), kept, strict=True)]
    assert np.mean(right) >= 0.95


@pytest.mark.parametrize("counts", [{"a": 60, "b": 15}, {"a": 40, "b": 25, "c": 15}], ids=["two", "three"])
def test_the_probabilities_of_the_training_pictures_sum_to_the_classes_sizes(counts, tmp_path, lite0, monkeypatch):
    """The intercept of a logistic regression is not penalised, so that at the optimum the mean probability of a class is its
    share of the training pictures: to 1e-3 after an optimiser that stops at gradients of 1e-4. Features are far from zero
    and of several scales, so that a wrong sign or scale anywhere in the folded layer breaks it."""
    draw, labels = np.random.default_rng(0), np.repeat(list(counts), list(counts.values()))
    for number, label in enumerate(labels):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / label / f"{number:03}.png")
    inputs = draw.normal(0, 1, (len(labels), 3)) + 1.5 * (labels[:, None] == np.array(["a", "b", "c"]))
    inputs = (inputs * [1, 20, 0.1] + [5, -300, 2]).astype(np.float32)
    monkeypatch.setattr(linear_probe, "features", lambda *given: (inputs, list(range(len(labels))), []))
    probe = linear_probe.train_probe(lite0, tmp_path, seed=3)
    train, _ = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=3)
    logits = torch.from_numpy(inputs[train].astype(float) @ probe.weight.T.astype(float) + probe.bias)
    means = logits.softmax(1).mean(0).numpy()
    assert means == pytest.approx([np.mean(labels[train] == name) for name in probe.classes], abs=1e-3)
    assert np.abs(probe.weight).max() > 0.01, "more than the classes' sizes was learned"


def test_a_saved_probe_is_a_model(folder, lite0, probe, weights_folder):
    linear_probe.save_probe(probe, "efficientnet_lite0", "textures", weights_folder)
    assert broken_cards() == {} and cards()["textures"].base == "efficientnet_lite0"
    model, path = load_model("textures"), str(folder / "stripes" / "3.png")
    assert model.class_names == probe.classes and model.top_k(path, 1)[0].name == "stripes"
    assert model.network.stages is not lite0.network.stages and model.cuts == lite0.cuts
    found = explain(model, path, "grad_cam", target="stripes", rival="blobs")
    assert found.model == "textures" and found.heatmap.any()
    with pytest.raises(BadRequest, match="cannot be the probe's name"):
        linear_probe.save_probe(probe, "efficientnet_lite0", "textures", weights_folder)


def test_the_untrained_twin_of_a_probe_has_another_classifier_for_each_seed(probe, weights_folder):
    linear_probe.save_probe(probe, "efficientnet_lite0", "textures", weights_folder)
    model = load_model("textures")
    first, again, other = (untrained(model, seed).network.classify.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, model.network.classify.weight)


def test_a_probe_of_the_wrong_length_is_refused(probe, weights_folder):
    card = linear_probe.save_probe(probe, "efficientnet_lite0", "textures", weights_folder)
    card.write_text(card.read_text().replace('"stripes"', '"stripes", "dots"'))
    with pytest.raises(WeightsUnavailable, match=r"textures\.safetensors cannot be read"):
        load_model("textures")


def test_a_base_that_nobody_knows_is_named(weights_folder):
    weights_folder.mkdir()
    (weights_folder / "mine.toml").write_text('base = "resnet5"\nfile = "x.safetensors"\nclasses = ["a", "b"]\n')
    assert "base 'resnet5' is not a model" in broken_cards()["mine.toml"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", "resnet50"])
def test_names_that_are_no_file_or_taken_are_refused(probe, weights_folder, name):
    with pytest.raises(BadRequest, match="cannot be the probe's name"):
        linear_probe.save_probe(probe, "efficientnet_lite0", name, weights_folder)


def test_a_folder_without_classes_is_refused(tmp_path, lite0, folder):
    for wrong in (tmp_path / "missing", tmp_path, folder / "blobs"):
        with pytest.raises(BadRequest, match="subfolder"):
            linear_probe.train_probe(lite0, wrong)


def test_on_the_command_line(folder, weights_folder, capsys):
    assert main(["probe", str(folder), "--model", "efficientnet_lite0", "--name", "textures"]) == 0
    said = capsys.readouterr().out
    assert "of 5 held-out ones right" in said and "left out: blobs/broken.png" in said
    assert (weights_folder / "textures.toml").exists()


def test_networks_are_compared_on_the_command_line(folder, tmp_path, capsys):
    models = "efficientnet_lite0,efficientnet_lite0/random"
    assert main(["compare-models", "astronaut", "--models", models, "--out", str(tmp_path / "one")]) == 0
    assert "rank correlation" in capsys.readouterr().out
    assert sorted(path.suffix for path in (tmp_path / "one").iterdir()) == [".json", ".npz", ".png"]
    assert main(["compare-models", str(folder / "stripes"), "--models", models, "--out", str(tmp_path / "many")]) == 0
    table = (tmp_path / "many" / "stripes_networks_grad_cam.csv").read_text().splitlines()
    assert len(table) == 13 and table[0].startswith("picture,map agreement,same top class,efficientnet_lite0")
    assert main(["compare-models", "astronaut", "--models", "resnet50", "--out", str(tmp_path)]) == 2
    assert "at least two" in capsys.readouterr().err
