"""Models that functions of the owner's make: by name, once, in words where they fail; nothing else is ever called."""

import sys
import textwrap
import threading

import pytest
import torch
from small_models import pictures
from torch import nn

from xai_core.__main__ import main
from xai_core.app.shared import loaded_models
from xai_core.core.errors import BadCard, BadRequest, UnknownName
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.models.random_init import untrained
from xai_core.models.zoo import own_code
from xai_core.models.zoo.catalog import broken_cards, cards, find_card

CODE = """
    import threading
    import torch
    from torch import nn
    from xai_core import ExplainableModel
    from xai_core.data.recipe import Recipe

    calls, gate, scale = [], threading.Event(), [1.0]

    def network():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        with torch.no_grad():
            net[0].weight.mul_(scale[0])
        return net

    def plain():
        calls.append("plain")
        return network()

    def wrapped():
        return ExplainableModel.from_module(network(), ["ant", "bee", "cat"], Recipe(32, 32))

    def several():
        return {"first": network(), "second": wrapped()}

    def late():
        gate.wait(60)
        return wrapped()

    def needs(path):
        return network()

    def falls():
        raise ValueError("no weights\\nhere")

    def leaves():
        raise SystemExit(3)

    def number():
        return 7

    def nothing():
        pass

    def grey():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    net = network()
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """name(function) -> the id of a model that this function of a new module makes."""
    (tmp_path / "my_models.py").write_text(textwrap.dedent(CODE))
    (tmp_path / "broken.py").write_text("x = 1\nimport not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("XAI_MODELS", "")

    def name(function: str, module: str = "my_models") -> str:
        monkeypatch.setenv("XAI_MODELS", f"{module}:{function}")
        return f"{module}:{function}"

    yield name
    for state in (own_code._made, own_code._problems, own_code._making):
        state.clear()
    for module in ("my_models", "broken"):
        sys.modules.pop(module, None)
    loaded_models._loaded.clear()


def test_a_function_makes_its_model_when_it_is_first_asked_for(code):
    id = code("plain")
    card = cards()[id]
    assert (card.id, card.title, card.classes) == (id, id, ())
    assert "my_models" not in sys.modules, "listing a model calls no code"
    model = load_model(id)
    module = sys.modules["my_models"]
    assert (model.id, model.title, model.class_names) == (id, id, ("class 0", "class 1", "class 2"))
    shown = pictures(2, 40)
    torch.testing.assert_close(
        model.outputs(shown).logits, module.network()(model.network.normalise(shown)).detach(), rtol=1e-5, atol=1e-6
    )
    assert find_card(id).classes == model.class_names
    assert loaded_models.model(id, "own") is loaded_models.model(id, "own"), "the app keeps it"
    assert module.calls == ["plain", "plain"], "called by load_model, and once by the app"


def test_other_weights_have_another_key(code):
    id = code("plain")
    first = load_model(id)
    key = loaded_models.weights_of(id, "own")
    assert load_model(id).fingerprint == first.fingerprint and loaded_models.weights_of(id, "own") == key
    sys.modules["my_models"].scale[0] = 2.0
    assert load_model(id).fingerprint != first.fingerprint
    assert loaded_models.weights_of(id, "own") != key


def test_a_dict_gives_several_models(code):
    id = code("several")
    assert load_model(id).title == f"{id}#first"
    assert [one for one in cards() if one.startswith(id)] == [id, f"{id}#second"]
    second = load_model(f"{id}#second")
    assert (second.id, second.class_names) == (f"{id}#second", ("ant", "bee", "cat"))
    with pytest.raises(BadCard, match="returns no model 'third'; it returns first, second"):
        load_model(f"{id}#third")


def test_the_untrained_twin_has_other_weights(code):
    id = code("wrapped")
    model, shown = load_model(id), pictures(2, 32)
    for twin in (load_model(id, "random", seed=1), untrained(model, 1)):
        assert twin.class_names == model.class_names and twin.fingerprint != model.fingerprint
        assert not torch.allclose(twin.outputs(shown).logits, model.outputs(shown).logits)


def test_one_that_takes_long_keeps_nobody_waiting(code, monkeypatch):
    id = code("late")
    monkeypatch.setattr(loaded_models, "PATIENCE", 0.05)
    with pytest.raises(BadCard, match="still making its model, for 0 s so far"):
        loaded_models.model(id, "own")
    other = loaded_models.model("efficientnet_lite0", "tf_in1k")
    assert other.id == "efficientnet_lite0", "another model is loaded meanwhile"
    sys.modules["my_models"].gate.set()
    monkeypatch.setattr(loaded_models, "PATIENCE", 60)
    found = []
    waiting = [threading.Thread(target=lambda: found.append(loaded_models.model(id, "own"))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert len(found) == 3 and all(model is found[0] for model in found)


@pytest.mark.parametrize(
    ("module", "function", "words"),
    [
        ("no_such_module", "make", "There is no module no_such_module to make the model"),
        (
            "broken",
            "make",
            r"importing broken raised ModuleNotFoundError: No module named 'not_installed_anywhere' \(broken.py, line 2",
        ),
        (
            "my_models",
            "plane",
            "has no function 'plane' to make the model my_models:plane; its functions are network, plain",
        ),
        ("my_models", "falls", r"The function my_models:falls raised ValueError: no weights here \(my_models.py, line 35\)"),
        ("my_models", "leaves", "my_models:leaves raised SystemExit: 3"),
        ("my_models", "needs", r"raised TypeError: needs\(\) missing 1 required positional argument: 'path'"),
        ("my_models", "number", "my_models:number gave an object of type int: it must return a torch module"),
        ("my_models", "calls", "my_models:calls gave an object of type list: it must return"),
        ("my_models", "nothing", r"gave nothing \(None\): it must return"),
        ("my_models", "grey", "The network of my_models:grey cannot be used: The network takes pictures of 1 channel"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(code, module, function, words):
    id = code(function, module)
    with pytest.raises(BadCard, match=words) as problem:
        loaded_models.model(id, "own")
    assert "\n" not in str(problem.value)
    assert broken_cards()[id] == str(problem.value)
    assert load_model("efficientnet_lite0").id == "efficientnet_lite0", "other models go on"


def test_a_network_that_the_module_holds_is_taken_as_it_is(code):
    assert load_model(code("net")).class_names == ("class 0", "class 1", "class 2")


def test_no_other_code_is_called(code):
    code("plain")
    for id in ("my_models:falls", "os:getcwd", "my_models:plain.x"):
        with pytest.raises(UnknownName):
            load_model(id)
        assert id not in cards()


@pytest.mark.parametrize("text", ["my_models", "a:b c", ":f", "a:", "../a:f", "a/b:f", "world:planted:x"])
def test_a_name_that_is_no_function_is_refused(monkeypatch, capsys, text):
    monkeypatch.setenv("XAI_MODELS", text)
    assert main(["models"]) == 2
    assert "XAI_MODELS must be written package.module:function" in capsys.readouterr().err
    monkeypatch.setenv("XAI_MODELS", "")
    assert main(["app", "--model", text]) == 2
    assert "package.module:function" in capsys.readouterr().err


def test_the_command_line_explains_with_a_model_of_ones_own(code, tmp_path, capsys):
    code("wrapped")
    out = ["--out", str(tmp_path / "maps")]
    assert main(["explain", "chelsea", "--model", "my_models:wrapped", "--method", "grad_cam", "--target", "bee", *out]) == 0
    assert list((tmp_path / "maps").iterdir())
    assert main(["explain", "chelsea", "--model", "my_models:falls", "--method", "grad_cam", *out]) == 2
    assert "raised ValueError: no weights here" in capsys.readouterr().err


def test_a_script_gives_models_under_names(code):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ExplainableModel.from_module(net)
    own_code.give({"Mine": model})
    try:
        assert next(iter(cards())) == "Mine" and load_model("Mine").title == "Mine"
        for name in ("", "a/b", "x" * 81, "a,b", "<b>"):
            with pytest.raises(BadRequest, match="of a model must begin with"):
                own_code.give({name: model})
    finally:
        own_code.withdraw(("Mine",))
    assert "Mine" not in cards()
