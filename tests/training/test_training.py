"""Training on made pictures: one that was killed ends as an unbroken one, the losses are as published, and what is written
is a model."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from changed_fields import assert_key_sees_each_field
from limits import limited, one_sentence
from PIL import Image

from xai_core import load_model
from xai_core.__main__ import main
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import Dataset, open_dataset
from xai_core.data.recipe import Recipe
from xai_core.data.sample_list import Labelled
from xai_core.models import families
from xai_core.models.zoo import user_cards
from xai_core.models.zoo.catalog import cards
from xai_core.training import contrastive, export
from xai_core.training.data import Augmented, decoded, held_out
from xai_core.training.dynamics.readers import read_run
from xai_core.training.export import write_model
from xai_core.training.loop import TrainingProgress, TrainingState, draws, optimizer_of, scheduler_of
from xai_core.training.plans import PLANS, Phase
from xai_core.training.run import train_plan

ROOT = Path(__file__).parents[2]
TINY = {"epochs": 4, "phases": (Phase(0.5, 24), Phase(0.5, 32)), "recipe": Recipe(32, 32), "batch": 8}
SMALL = {
    "scratch": replace(PLANS["scenes_supervised"], id="small_scratch", learning_rate=0.02, **TINY),
    "barlow": replace(PLANS["scenes_barlow"], id="small_barlow", probe_every=2, **TINY),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes that brightness tells apart, to train on and to test."""
    found, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 6)):
        for name, low in (("dark", 20), ("light", 130)):
            (found / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(low, low + 90, (5, 5, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((40, 40)).save(found / part / name / f"{number}.png")
    return found


def trained(plan, pictures, folder, stop_after=None, **more):
    """A training in `folder`; with `stop_after`, one that dies after that epoch was said to be done."""

    def say(line):
        if stop_after and line.startswith(f"epoch {stop_after}/"):
            raise KeyboardInterrupt

    data = {part: open_dataset(pictures / part) for part in ("train", "test")}
    return train_plan(
        plan, **data, state=folder / "state", run=folder / "run.parquet", cache=pictures / "cache", say=say, **more
    )


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):
    """Each small plan trained without a break: (folder, what train_plan returned)."""
    found = {}
    for name, plan in SMALL.items():
        folder = tmp_path_factory.mktemp(name)
        found[name] = (folder, trained(plan, pictures, folder))
    return found


@pytest.mark.parametrize("name", SMALL)
def test_a_killed_training_ends_as_an_unbroken_one(name, pictures, whole, tmp_path):
    for epoch in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            trained(SMALL[name], pictures, tmp_path, stop_after=epoch)
    _, state, _ = trained(SMALL[name], pictures, tmp_path)
    folder, (_, unbroken, _) = whole[name]
    assert state.progress.done == 4 and state.progress.curve == unbroken.progress.curve
    tensors, others = state.best_tensors(), unbroken.best_tensors()
    assert tensors.keys() == others.keys() and all(torch.equal(tensors[one], others[one]) for one in tensors)
    run, other = (read_run((place / "run.parquet").read_bytes(), "run.parquet") for place in (tmp_path, folder))
    assert np.array_equal(run.predicted, other.predicted) and np.array_equal(run.epochs, other.epochs)
    assert np.array_equal(run.confidence, other.confidence)


def spoilt(data: bytes, how: str) -> bytes:
    if how == "progress":
        return safetensors.torch.save(safetensors.torch.load(data), {"progress": "[" * 50_000})
    if how == "no progress":
        return safetensors.torch.save(safetensors.torch.load(data))
    if how == "other network":
        with_metadata = {"progress": json.dumps(vars(TrainingProgress(SMALL["scratch"].id, 0, 4, curve=[])))}
        return safetensors.torch.save({"module.x": torch.zeros(1), "optimizer.a.b": torch.zeros(1)}, with_metadata)
    return {"empty": b"", "cut off": data[:-1000], "text": b"none" * 100, "long header": b"\xff" * 100}[how]


@pytest.mark.parametrize("how", ["empty", "cut off", "text", "long header", "progress", "no progress", "other network"])
def test_a_damaged_state_is_one_sentence(how, pictures, whole, tmp_path):
    plan, folder = SMALL["scratch"], whole["scratch"][0]
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.safetensors").write_bytes(
        spoilt((folder / "state" / "state.safetensors").read_bytes(), how)
    )
    with pytest.raises(BadRequest, match=r"state\.safetensors is damaged: remove the folder") as refusal:
        trained(plan, pictures, tmp_path)
    assert one_sentence(refusal.value)


@pytest.mark.parametrize("how", ["empty", "missing", "folder", "fifo"])
def test_a_damaged_best_network_is_one_sentence(how, tmp_path):
    state = TrainingState(tmp_path, TrainingProgress("x", 0, 1))
    if how == "folder":
        state.best_file.mkdir()
    elif how == "fifo":
        os.mkfifo(state.best_file)
    elif how == "empty":
        state.best_file.touch()
    with limited(), pytest.raises(BadRequest, match=r"best\.safetensors is damaged"):
        state.best_tensors()


def test_it_learns_and_records_what_the_test_pictures_were_taken_for(whole, pictures):
    folder, (_, state, parts) = whole["scratch"]
    run = read_run((folder / "run.parquet").read_bytes(), "run.parquet")
    assert run.samples.tolist() == [one.name for one in open_dataset(pictures / "test").samples]
    assert run.epochs.tolist() == [1, 2, 3, 4] and run.classes == ("dark", "light")
    assert len(parts["train"]) == 36 and len(parts["held_out"]) == 4 and len(parts["test"]) == 12
    assert run.curves["validation_accuracy"].max() == pytest.approx(state.progress.best_accuracy)
    assert {"train_loss", "validation_loss"} <= set(run.curves) and run.curves["train_loss"].notna().all()
    barlow = read_run((whole["barlow"][0] / "run.parquet").read_bytes(), "run.parquet")
    assert barlow.epochs.tolist() == [1, 2, 4] and barlow.accuracies[-1] >= 0.8  # brightness is easy to read


@pytest.mark.parametrize("name", SMALL)
def test_what_is_written_is_a_model_in_half_precision_that_computes_in_single(name, pictures, whole, tmp_path, monkeypatch):
    _, (net, state, parts) = whole[name]
    data = [open_dataset(pictures / part) for part in ("train", "test")]
    weights, card, report = write_model(net, SMALL[name], state, parts, *data, tmp_path)
    kept = safetensors.torch.load_file(weights)
    assert {value.dtype for one, value in kept.items() if value.ndim > 1} == {torch.float16}
    assert weights.stat().st_size < 12e6
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    model = load_model(SMALL[name].id)
    assert model.class_names == ("dark", "light") and model.recipe == SMALL[name].recipe
    assert next(model.network.classify.parameters()).dtype == torch.float32
    right = [model.top_k(str(file), 1)[0].name == file.parent.name for file in (pictures / "test").glob("*/*")]
    assert f"{np.mean(right):.2%} of 12 test pictures" in report.read_text()
    assert "Confusion matrix" in report.read_text() and "| dark |" in report.read_text()
    supervision = cards()[SMALL[name].id].supervision
    if name == "barlow":
        assert supervision == "self-supervised (Barlow Twins) + linear probe"
        assert model.network.project is not None and model.embed(torch.rand(3, 32, 32)).shape == (1, 1024)
    else:
        assert supervision == "supervised" and model.network.project is None
    assert card.read_text().count("\n") >= 10


def test_fine_tuning_leaves_what_is_frozen_as_it_was(pictures, tmp_path):
    plan = replace(PLANS["scenes_finetuned"], epochs=1, phases=(Phase(1.0, 32),), recipe=Recipe(32, 32), batch=8)
    net, state, _ = trained(plan, pictures, tmp_path)
    base = load_model("efficientnet_lite0").network
    first = net.staged.cuts.index("blocks.4.0")
    for place, (ours, theirs) in enumerate(zip(net.staged.stages, base.stages, strict=True)):
        same = all(
            torch.equal(one, other)
            for one, other in zip(ours.run.parameters(), theirs.run.parameters(), strict=True)
        )  # fmt: skip
        assert same == (place < first), ours.name
    assert net.staged.classify.out_features == 2 and state.progress.done == 1


def test_barlow_twins_loss_by_the_formula():
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.randn(50, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    correlation = np.corrcoef(one.numpy().T, other.numpy().T)[:6, 6:]
    expected = (
        ((1 - np.diag(correlation)) ** 2).sum() + 0.3 * (correlation**2).sum() - 0.3 * (np.diag(correlation) ** 2).sum()
    )
    assert contrastive.loss_of(one, other, 0.3).item() == pytest.approx(expected, rel=1e-4)
    same = contrastive.loss_of(one, one * 3 + 1, 0.0)  # standardised: scale and shift do not count
    assert same.item() == pytest.approx(0, abs=1e-6)


def test_the_learning_rate_rises_and_falls():
    plan = PLANS["scenes_supervised"]
    optimizer = optimizer_of(plan, [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))])
    scheduler, rates = scheduler_of(optimizer, steps=200), []
    for step in (0, 10, 20, 110, 200):
        scheduler.step_update(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-12)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-4, 0]


def test_the_card_of_a_training_is_read_again_whatever_its_texts_hold(tmp_path):
    names = ('"quoted"', "back\\slash", "zoë", "\U0001f300 emoji", "tab\there")
    train = Dataset("made", tuple(Labelled(f"{number}.png", name) for number, name in enumerate(names)), lambda name: b"")
    plan = replace(SMALL["scratch"], title='A "title"', remark="Two\nlines.")
    tested = {"accuracy": 0.5, "support": np.array([2, 2])}
    (tmp_path / "small.toml").write_text(export._card(plan, train, 10, tested), encoding="utf-8")
    card = user_cards.card_at(tmp_path / "small.toml", {})
    assert "Apache-2.0" in card.licence and "not known" in card.licence
    assert card.classes == train.classes and set(card.classes) == set(names) and card.title == 'A "title" (small)'
    assert card.remark == "50.0% of 4 test pictures right. Two\nlines." and card.checkpoints[0].recipe == plan.recipe


def test_phases_share_the_epochs():
    plan = PLANS["scenes_supervised"]
    sides = [plan.side(epoch, 48) for epoch in range(1, 49)]
    assert sides == sorted(sides) and set(sides) == {48, 64, 80} and sides.count(48) == 14
    assert plan.epochs >= 46


def test_draws_belong_to_the_epoch(pictures):
    shown = decoded(open_dataset(pictures / "train"), Recipe(32, 32), pictures / "cache")
    batches = Augmented(shown.part(np.arange(len(shown))), SMALL["scratch"], 24)

    def first(epoch):
        with draws(0, epoch):
            return next(batches.batches())[0][0]

    before = torch.random.get_rng_state()
    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's draws are touched
    assert first(1).shape == (8, 3, 24, 24) and first(1).min() >= 0 and first(1).max() <= 1


def test_decoded_pictures_are_what_a_model_sees(pictures):
    dataset, recipe = open_dataset(pictures / "test"), Recipe(24, 32)
    shown = decoded(dataset, recipe, pictures / "cache")
    again = decoded(dataset, recipe, pictures / "cache")
    from xai_core.data.preprocessing import prepare

    expected = prepare(dataset.open(dataset.samples[3].name), recipe).pixels
    assert torch.allclose(shown.part(np.array([3])).batch(0, 1)[0], expected, atol=1e-6)
    assert np.array_equal(shown.pixels, again.pixels) and shown.labels.tolist() == [0] * 6 + [1] * 6


def test_decoded_pictures_are_kept_for_each_dataset_and_recipe(pictures, tmp_path):
    """The arrays are stored under the digest of the dataset and of everything in the recipe."""
    dataset = open_dataset(pictures / "test")

    def file_of(dataset, recipe):
        before = set(tmp_path.iterdir())
        decoded(dataset, recipe, tmp_path)
        (file,) = set(tmp_path.iterdir()) - before
        file.unlink()
        return file.name

    others = {
        "input_size": 20, "shorter_side": 40, "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "squash": True,
    }  # fmt: skip
    recipe = Recipe(24, 32)
    assert_key_sees_each_field(lambda recipe: file_of(dataset, recipe), recipe, others)
    assert file_of(open_dataset(pictures / "train"), recipe) != file_of(dataset, recipe)


def test_what_killed_trainings_left_half_decoded_is_removed(pictures, tmp_path):
    """Only arrays of processes that no longer live, and nothing that has another name."""
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    killed.kill()
    killed.communicate()
    leftover, running = (tmp_path / f"{'0a' * 8}.{process}.part" for process in (killed.pid, os.getpid()))
    others = [tmp_path / f"notes.{killed.pid}.part", tmp_path / "weights.part", tmp_path / f"{'0a' * 8}.{killed.pid}.npy"]
    for path in (leftover, running, *others):
        path.write_bytes(b"half")
    decoded(open_dataset(pictures / "test"), Recipe(24, 24), tmp_path)
    assert not leftover.exists() and all(path.read_bytes() == b"half" for path in (running, *others))


def test_a_tenth_of_each_class_is_held_out():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    kept, out = held_out(labels, 0.1, seed=3)
    assert np.bincount(labels[out]).tolist() == [10, 5, 1] and set(kept) | set(out) == set(range(160))
    assert np.array_equal(held_out(labels, 0.1, seed=3)[1], out) and not np.array_equal(
        held_out(labels, 0.1, seed=4)[1], out
    )


def test_another_training_s_state_is_not_taken(pictures, whole):
    folder, _ = whole["scratch"]
    with pytest.raises(BadRequest, match="holds another training"):
        trained(SMALL["scratch"], pictures, folder, seed=1)


def test_pictures_that_cannot_be_read_and_other_classes_are_refused(pictures, tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(BadRequest, match="Take it out of the dataset"):
        decoded(open_dataset(tmp_path), Recipe(24, 24), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    data = {"train": open_dataset(pictures / "train"), "test": open_dataset(tmp_path)}
    with pytest.raises(BadRequest, match="has the classes"):
        train_plan(SMALL["scratch"], **data, state=tmp_path / "state", run=tmp_path / "run.csv")


def test_both_trainings_share_one_network():
    """Supervised and self-supervised are to differ by their labels alone."""
    supervised, barlow = (
        families.build("resnet", PLANS[id].architecture, num_classes=6) for id in ("scenes_supervised", "scenes_barlow")
    )
    own = {name: value.shape for name, value in barlow.state_dict().items() if not name.startswith("project.")}
    assert own == {name: value.shape for name, value in supervised.state_dict().items()}
    assert families.resnet(supervised).cuts == families.resnet(barlow).cuts
    grid = families.resnet(supervised).trunk(torch.zeros(1, 3, 96, 96), "layer4.1")
    assert grid.shape == (1, 256, 6, 6)


def test_a_process_that_is_killed_goes_on_from_the_command_line(pictures, tmp_path, capsys):
    """SIGKILL in the middle of an epoch, then the same command again."""
    asked = [
        "train", "scenes_supervised", "--train", str(pictures / "train"), "--test", str(pictures / "test"), "--epochs", "5",
        "--out", str(tmp_path / "weights"), "--runs", str(tmp_path / "runs"), "--state", str(tmp_path / "state"),
        "--cache", str(tmp_path / "cache"),
    ]  # fmt: skip
    with subprocess.Popen([sys.executable, "-m", "xai_core", *asked], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        for _ in range(6000):
            if process.poll() is not None or (tmp_path / "state" / "state.safetensors").exists():
                break
            time.sleep(0.05)
        process.kill()
    assert (tmp_path / "state" / "state.safetensors").exists()
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "epoch 1/5" not in said and "epoch 5/5" in said and "scenes_supervised.toml" in said
    run = read_run((tmp_path / "runs" / "scenes_supervised.parquet").read_bytes(), "run.parquet")
    assert run.epochs.tolist() == [1, 2, 3, 4, 5]
    assert main([*asked, "--finish"]) == 0 and "epoch" not in capsys.readouterr().out.replace(str(tmp_path), "")
    assert main(["train", "nothing", *asked[2:]]) == 2 and "scenes_barlow" in capsys.readouterr().err
