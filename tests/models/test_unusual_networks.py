"""Networks as people have them, on the command line and from Python: each works, or one sentence says what is wrong and what
to do."""

import copy
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import difference, pictures
from torch import nn

from xai_core import explain
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


def any_code(net, keep=5):
    """By functions, so that it is used as it is; `keep`: how many of the five modules of its body."""
    return ExplainableModel.from_stages(
        [("body", lambda images: net.body[:keep](images))], lambda maps: maps.mean((2, 3)), classify=net.head, input_size=32
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
    "weights in 16 bits, as stages": lambda: stages(Net().half()),
    "weights in 64 bits, as stages": lambda: stages(Net().double()),
}
SIZE, CHANNELS = "give recipe=Recipe(input_size=...)", "Put a module in front of it that makes its channels of these"
BITS, NAMES = "leave casts such as .half() out of its forward pass", "Give one for each class, in the order of the logits"
STAYS_ON = "dropout(..., training=self.training)"
ONE_LOGIT = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
UNUSABLE = {  # what is wrong -> how it is made, and what the message says can be done
    "dropout stays on": (lambda: module(Net("dropout")), STAYS_ON),
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
    "one logit": (lambda: ONE_LOGIT, "two.weight.data = torch.tensor([[-0.5], [0.5]])"),
    "stages: too few names": (lambda: stages(Net(), class_names=["ant"]), NAMES),
    "stages: too few names, any code": (lambda: stages(Net(), classify=Net().head.forward, class_names=["ant"]), NAMES),
    "stages: 1 channel": (lambda: stages(Net(channels=1)), CHANNELS),
    "stages: 4 channels, any code": (lambda: any_code(Net(channels=4)), CHANNELS),
    "stages: another size": (lambda: stages(Net(), nn.Flatten()), "If it is made for another size, give input_size"),
    "stages: weights in 16 bits, any code": (lambda: any_code(Net().half()), BITS),
    "stages: weights without values": (lambda: stages(Net().to("meta")), "load them first"),
    "stages: dropout stays on": (lambda: stages(Net(), dropping), STAYS_ON),
    "stages: statistics of the batch, any code": (lambda: any_code(Net().train(), keep=3), STAYS_ON),
    "stages: maps": (lambda: stages(Net(), lambda maps: maps, nn.Identity()), "Give a `pool` that makes features"),
    "stages: one logit": (lambda: stages(Net(), classify=nn.Linear(6, 1)), "nn.Sequential(net, two)"),
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


@pytest.mark.parametrize("kind", UNUSABLE)
def test_every_command_refuses_in_a_line(named, folder, capsys, kind):
    make, remedy = UNUSABLE[kind]
    for command in commands(named(make), folder):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert remedy in said and said.count("\n") == 1, command[0]


def test_a_network_without_classes_serves_a_probe_and_no_question_about_a_class(named, folder, capsys):
    explain, classify, probe = commands(named(lambda: module(Net(), embeds=True)), folder)
    assert main(explain) == 2 and "ask about similarity instead" in capsys.readouterr().err
    assert main(classify) == 2 and "has no classifier" in capsys.readouterr().err
    assert main(probe) == 0


def test_stages_of_an_unstated_size_are_asked_with_tensors_of_theirs():
    head = nn.Linear(75, 2)
    model = ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=head)
    shown = pictures(2, 5)
    torch.testing.assert_close(model.outputs(shown).logits, head(shown.flatten(1)).detach())
    with pytest.raises(BadRequest, match="If it is made for another size, give input_size"):
        ExplainableModel.from_stages([("pixels", nn.Identity())], nn.Flatten(), classify=head, input_size=6)


def test_the_two_classes_that_the_refusal_of_one_logit_names_have_its_sigmoid():
    net, shown = copy.deepcopy(ONE_LOGIT).eval(), pictures(2, 32)
    two = nn.Linear(1, 2, bias=False)
    two.weight.data = torch.tensor([[-0.5], [0.5]])
    model = module(nn.Sequential(net, two), class_names=["no", "yes"])
    with torch.no_grad():
        expected = net(model.network.normalise(shown)).sigmoid()[:, 0]
    torch.testing.assert_close(model.outputs(shown).logits.softmax(1)[:, 1], expected, rtol=1e-5, atol=1e-6)
    assert float((explain(model, shown[0], "grad_cam", target="yes").heatmap ** 2).sum()) > 0
