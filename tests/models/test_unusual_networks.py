"""Networks as people have them, on the command line and from Python: each works, or one sentence says what is wrong and what
to do."""

import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import difference, pictures
from torch import nn

from xai_core.__main__ import main
from xai_core.core.errors import BadCard, BadRequest
from xai_core.data.recipe import Recipe
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.models.zoo import own_code

RECIPE = Recipe(32, 32)


class Net(nn.Module):
    """A small classifier of five classes, with what may be unusual about one."""

    def __init__(self, kind="", channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(), nn.Conv2d(6, 6, 3)
        )
        self.head, self.kind = nn.Linear(6, 5), kind

    def forward(self, images):
        if self.kind == "casts":
            images = images.half()
        if self.kind == "GPU":
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
            )
        maps = self.body(images)
        if self.kind == "branch" and maps.mean() > -torch.inf:
            maps = maps * 2
        if self.kind == "dropout":
            maps = nn.functional.dropout(maps, training=True)
        logits = self.head(maps.mean((2, 3)))
        return {"tuple": (logits, maps), "dict": {"logits": logits}, "maps": maps, "half logits": logits.half()}.get(
            self.kind, logits
        )


def module(net, **given):
    return ExplainableModel.from_module(net, recipe=RECIPE, **given)


def stages(net, pool=lambda maps: maps.mean((2, 3)), classify=True, **given):
    return ExplainableModel.from_stages(
        [("body", net.body)], pool, classify=net.head if classify is True else classify, input_size=32, **given
    )


def dropping(maps):
    return nn.functional.dropout(maps.mean((2, 3)))


USABLE = {
    "training mode": lambda: module(Net().train()),
    "data-dependent branch": lambda: module(Net("branch")),
    "logits in 16 bits": lambda: module(Net("half logits")),
    "weights in 16 bits": lambda: module(Net().half()),
    "weights in 16 bits, another kind": lambda: module(Net().bfloat16()),
    "training mode, as stages": lambda: stages(Net().train()),
}
SIZE, CHANNELS = "give recipe=Recipe(input_size=...)", "Put a module in front of it that makes its channels of these"
BITS, NAMES = "leave casts such as .half() out of its forward pass", "Give one for each class, in the order of the logits"
UNUSABLE = {  # what is wrong -> how it is made, and what the message says can be done
    "dropout stays on": (lambda: module(Net("dropout")), "dropout(..., training=self.training)"),
    "a tuple": (lambda: module(Net("tuple")), "Wrap it in a module whose forward returns that one"),
    "a dict": (lambda: module(Net("dict")), "Wrap it in a module whose forward returns that one"),
    "maps": (lambda: module(Net("maps")), "Wrap it in a module whose forward returns these"),
    "1 channel": (lambda: Net(channels=1), CHANNELS),
    "4 channels": (lambda: Net(channels=4), CHANNELS),
    "another size": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 30 * 30, 5)), SIZE),
    "too few names": (lambda: module(Net(), class_names=["ant", "bee"]), NAMES),
    "numbers for names": (lambda: module(Net(), class_names=range(5)), "Write str(name) for each"),
    "a text for names": (lambda: module(Net(), class_names="abcde"), "Give class_names as a list"),
    "a cast inside": (lambda: module(Net("casts").half()), BITS),
    "two devices": (lambda: module(Net("GPU")), "leave .cuda() and .to(device) out of its forward pass"),
    "weights without values": (lambda: module(Net().to("meta")), "load them first"),
    "stages: too few names": (lambda: stages(Net(), class_names=["ant"]), NAMES),
}
UNUSABLE_STAGES = {  # found when the command asks the model, as their parts may be any code
    "stages: too few names, any code": (
        lambda: stages(Net(), classify=Net().head.forward, class_names=["ant"]),
        "1 class names",
    ),
    "stages: 1 channel": (lambda: stages(Net(channels=1)), CHANNELS),
    "stages: weights in 16 bits": (lambda: stages(Net().half()), BITS),
    "stages: dropout stays on": (lambda: stages(Net(), dropping), "dropout(..., training=self.training)"),
    "stages: maps": (lambda: stages(Net(), lambda maps: maps, nn.Identity()), "Give a `pool` that makes features"),
}


@pytest.fixture
def named(tmp_path, monkeypatch):
    """named(function) -> the id of the model that it makes."""
    holder = types.ModuleType("unusual_networks")
    monkeypatch.setitem(sys.modules, holder.__name__, holder)
    monkeypatch.setenv("XAI_MODELS", f"{holder.__name__}:make")
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))

    def name(make):
        holder.make = make
        return f"{holder.__name__}:make"

    yield name
    for state in (own_code._made, own_code._problems, own_code._making):
        state.clear()


@pytest.fixture
def folder(tmp_path):
    """Two classes of six small pictures."""
    random = np.random.default_rng(0)
    for place in range(12):
        file = tmp_path / "pictures" / f"class {place % 2}" / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)
    return tmp_path / "pictures"


def commands(id, folder):
    """explain, classify and probe with a model."""
    out = folder.parent
    return (
        ["explain", "chelsea", "--model", id, "--method", "rise", "--option", "samples=20", "--out", str(out / "maps")],
        ["classify", str(folder), "--model", id, "--out", str(out / "predictions.csv")],
        ["probe", str(folder), "--model", id, "--name", "probe"],
    )


@pytest.mark.parametrize("kind", USABLE)
def test_a_usable_network_works_with_every_command(named, folder, kind):
    id = named(USABLE[kind])
    assert [main(command) for command in commands(id, folder)] == [0, 0, 0]


@pytest.mark.parametrize("kind", USABLE)
def test_a_usable_network_gives_the_answers_of_the_plain_one(kind):
    factor = 2 if kind == "data-dependent branch" else 1
    plain, shown = Net().eval(), pictures(2, 32)
    model = USABLE[kind]()
    with torch.no_grad():
        maps = plain.body(model.network.normalise(shown) if model.network.normalises else shown)
        expected = plain.head(factor * maps.mean((2, 3)))
    assert difference(model.outputs(shown).logits.float(), expected) <= 0.02


@pytest.mark.parametrize("kind", UNUSABLE)
def test_python_refuses_in_a_sentence(named, kind):
    make, remedy = UNUSABLE[kind]
    with pytest.raises((BadRequest, BadCard)) as problem:
        load_model(named(make))
    assert remedy in str(problem.value) and "\n" not in str(problem.value)
    with pytest.raises(BadRequest) as problem:
        ExplainableModel.from_module(make())
    assert remedy in str(problem.value)


@pytest.mark.parametrize("kind", UNUSABLE | UNUSABLE_STAGES)
def test_every_command_refuses_in_a_line(named, folder, capsys, kind):
    make, remedy = (UNUSABLE | UNUSABLE_STAGES)[kind]
    for command in commands(named(make), folder):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert remedy in said and said.count("\n") == 1, command[0]


def test_a_network_without_classes_serves_a_probe_and_no_question_about_a_class(named, folder, capsys):
    explain, classify, probe = commands(named(lambda: module(Net(), embeds=True)), folder)
    assert main(explain) == 2 and "ask about similarity instead" in capsys.readouterr().err
    assert main(classify) == 2 and "has no classifier" in capsys.readouterr().err
    assert main(probe) == 0


def test_stages_without_rows_of_logits_are_refused_when_they_are_asked():
    with pytest.raises(BadRequest, match="Give a `pool` that makes features"):
        UNUSABLE_STAGES["stages: maps"][0]().top_k(Image.new("RGB", (40, 40)))
