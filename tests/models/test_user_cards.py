"""A model of one's own is a checkpoint and a card in the weights folder; a card that is wrong says so in one sentence,
and stops nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from changed_fields import assert_key_sees_each_field
from PIL import Image
from streamlit.testing.v1 import AppTest

from xai_core import explain
from xai_core.__main__ import main
from xai_core.core import settings
from xai_core.core.errors import BadCard, UnknownName, WeightsUnavailable, XaiError
from xai_core.data.recipe import Recipe
from xai_core.models import card, families, loading
from xai_core.models.loading import load_model
from xai_core.models.zoo import catalog
from xai_core.models.zoo.catalog import CARDS, broken_cards, cards

SCENES = ["buildings", "forest", "glacier", "mountain", "sea", "street"]
CARD = {
    "title": "Scenes",
    "family": "resnet",
    "architecture": "resnet18",
    "file": "scenes.pth",
    "classes": SCENES,
    "input_size": 64,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    monkeypatch.setattr(settings, "RESOURCES", tmp_path)  # without the networks of this project
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def write(folder, name="scenes", **changes):
    """A card; JSON is written as TOML is. A change to None leaves the key out."""
    given = {key: value for key, value in (CARD | changes).items() if value is not None}
    names = given.pop("names", None)
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    if names:
        lines += ["[names]", *(f"{json.dumps(theirs)} = {json.dumps(ours)}" for theirs, ours in names.items())]
    (folder / f"{name}.toml").write_text("\n".join(lines))


@pytest.fixture
def network(folder):
    """A ResNet for six scenes, as its owner saved it."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=6).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    torch.save(net.state_dict(), folder / "scenes.pth")
    return net


def expected(network, images):
    mean, std = (torch.tensor(CARD[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return network((images - mean) / std)


IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_fine_tuned_resnet_is_a_model_like_the_others(folder, network):
    write(folder)
    assert list(cards()) == [*CARDS, "scenes"] and broken_cards() == {}
    model = load_model("scenes")
    torch.testing.assert_close(model.outputs(IMAGES).logits.cpu(), expected(network, IMAGES), rtol=1e-4, atol=1e-4)
    assert (model.title, model.class_names, model.wnids) == ("Scenes (scenes)", tuple(SCENES), ())
    assert model.class_index("sea") == 4
    with pytest.raises(UnknownName, match="buildings, forest"):
        model.class_index("tabby")
    why = explain(model, Image.new("RGB", (90, 70), "green"), "grad_cam", target="forest", rival="sea")
    assert why.heatmap.shape == (2, 2) and "forest" in why.target


def test_a_nest_and_a_prefix_are_declared(folder, network):
    state = {f"net.{name}": value for name, value in network.state_dict().items()}
    torch.save({"epoch": 3, "weights": state, "optimizer": {"state": {}}}, folder / "scenes.pth")
    write(folder, names={"weights/net.": ""})
    torch.testing.assert_close(load_model("scenes").outputs(IMAGES).logits.cpu(), expected(network, IMAGES))


def test_classes_from_a_text_file(folder, network):
    (folder / "scenes.txt").write_text("\n".join(SCENES) + "\n\n")
    write(folder, classes="scenes.txt")
    assert load_model("scenes").class_names == tuple(SCENES)


def test_a_transformer_of_timm_without_classes(folder):
    """A backbone: it answers questions about similarity."""
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=0).eval()
    torch.save(net.state_dict(), folder / "vit.pth")
    write(folder, family="vit", architecture="test_vit", file="vit.pth", classes=None, input_size=160)
    model, images = load_model("scenes"), torch.rand(1, 3, 160, 160)
    assert not model.has_classifier
    torch.testing.assert_close(model.outputs(images).embedding.cpu(), expected(net, images), rtol=1e-4, atol=1e-4)


def test_a_resnet_without_classes(folder, network):
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}
    torch.save(state, folder / "scenes.pth")
    write(folder, classes=None)
    model = load_model("scenes")
    assert not model.has_classifier and model.outputs(IMAGES).embedding.shape == (2, 512)


def test_the_card_in_the_documentation(folder):
    """It works as it stands, for a file as torch.nn.DataParallel makes one."""
    text = (Path(__file__).parents[2] / "docs" / "own-checkpoint.md").read_text()
    (folder / "scenes.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    state = torchvision.models.resnet50(num_classes=6).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / "scenes.pth")
    assert load_model("scenes").class_names == tuple(SCENES)
    assert cards()["scenes"].checkpoints[0].recipe == CARDS["resnet50"].checkpoints[1].recipe


def test_a_licence_may_be_stated(folder, network):
    write(folder, licence="CC-BY-4.0")
    write(folder, name="silent")
    assert cards()["scenes"].licence == "CC-BY-4.0" and cards()["silent"].licence == ""


def test_what_a_card_leaves_out_is_usual(folder, network):
    write(folder, title=None, mean=None, std=None, input_size=None)
    recipe = cards()["scenes"].checkpoints[0].recipe
    assert recipe == CARDS["resnet50"].checkpoints[1].recipe and cards()["scenes"].title == "scenes"


WRONG_CARDS = {  # what is changed -> what is said
    "no TOML": ("= = =", "is not TOML"),
    "not text": (b"\xff\xfe", "is not TOML"),
    "file missing": ({"file": None}, "does not state its file"),
    "all missing": ({"file": None, "family": None, "architecture": None}, "does not state its architecture, file"),
    "unknown key": ({"colour": "red"}, "'colour' is not a key of a card; the keys are title, base, family"),
    "unknown family": ({"family": "transformer"}, "family must be one of resnet, efficientnet, vit, swin, xcit, cait"),
    "family is a list": ({"family": ["resnet"]}, "family must be one of"),
    "architecture elsewhere": (
        {"architecture": "hf-hub:somebody/resnet50"},
        "architecture must be the name of a network of timm",
    ),
    "file outside": ({"file": "../secret.pth"}, "'../secret.pth' lies outside the folder"),
    "no file name": ({"file": "a\x00b"}, "'a\\x00b' is not a file name"),
    "file absolute": ({"file": "/etc/passwd"}, "'/etc/passwd' lies outside the folder"),
    "classes outside": ({"classes": "../classes.txt"}, "'../classes.txt' lies outside the folder"),
    "classes not there": ({"classes": "none.txt"}, "its list of classes none.txt cannot be read"),
    "classes are numbers": ({"classes": [1, 2]}, "classes must be a list of at least two names"),
    "one class": ({"classes": ["sea"]}, "classes must be a list of at least two names"),
    "two numbers": ({"mean": [0.5, 0.5]}, "mean must be three numbers"),
    "zero deviation": ({"std": [0, 1, 1]}, "std must be three numbers above 0"),
    "size": ({"input_size": 0}, "input_size must be a number of pixels"),
    "size is text": ({"input_size": "224"}, "input_size must be a number of pixels"),
    "interpolation": ({"interpolation": "nearest"}, "interpolation must be one of bilinear, bicubic"),
    "names": ({"names": {"a.": 3}}, "names must be a table"),
}


@pytest.mark.parametrize("wrong", WRONG_CARDS)
def test_a_wrong_card_is_listed_with_its_problem_beside_the_right_ones(folder, network, wrong):
    write(folder)
    change, says = WRONG_CARDS[wrong]
    if isinstance(change, dict):
        write(folder, "wrong", **change)
    else:
        (folder / "wrong.toml").write_bytes(change if isinstance(change, bytes) else change.encode())
    assert list(cards()) == [*CARDS, "scenes"]
    (problem,) = broken_cards().values()
    assert says in problem and str(folder / "wrong.toml") in problem and "\n" not in problem
    with pytest.raises(BadCard) as caught:
        load_model("wrong")
    assert str(caught.value) == problem


def test_a_link_does_not_lead_out_of_the_folder(folder, tmp_path):
    torch.save({}, tmp_path / "outside.pth")
    (folder / "scenes.pth").symlink_to(tmp_path / "outside.pth")
    write(folder)
    assert "lies outside the folder" in broken_cards()["scenes.toml"]


def test_links_in_a_circle(folder):
    (folder / "scenes.pth").symlink_to(folder / "scenes.pth")
    write(folder)
    with pytest.raises(XaiError, match=r"is not a file name|is not on this machine"):  # Python tells them apart since 3.13
        load_model("scenes")


@pytest.mark.parametrize("name", ["resnet50", "my model"])
def test_a_name_that_is_taken_or_strange(folder, name):
    write(folder, name)
    assert list(cards()) == list(CARDS) and len(broken_cards()) == 1


WRONG_FILES = {  # what is changed -> what is said when the model is loaded
    "no such architecture": ({"architecture": "resnet5"}, BadCard, "'resnet5' is no architecture of the family resnet"),
    "another family's": ({"family": "vit"}, BadCard, "'resnet18' is no architecture of the family vit"),
    "a relative": (
        {"family": "vit", "architecture": "deit_tiny_distilled_patch16_224"},
        BadCard,
        "is no architecture of the family vit",
    ),
    "another side": (
        {"family": "vit", "architecture": "test_vit"},
        BadCard,
        "test_vit takes pictures of 160 pixels, not 64",
    ),
    "fewer classes": ({"classes": SCENES[:5]}, WeightsUnavailable, "it has 6 classes, but the model's card has 5"),
    "more classes": ({"classes": [*SCENES, "moon"]}, WeightsUnavailable, "it has 6 classes, but the model's card has 7"),
    "another network": ({"architecture": "resnet34"}, WeightsUnavailable, "missing, such as layer1.2.conv1.weight"),
    "another nest": ({"names": {"model/": ""}}, WeightsUnavailable, "the first is model/conv1.weight (64 x 3 x 7 x 7)"),
    "no file": ({"file": "none.pth"}, WeightsUnavailable, "none.pth is not on this machine. Put it at"),
}


@pytest.mark.parametrize("wrong", WRONG_FILES)
def test_a_card_that_does_not_fit_is_refused_in_one_sentence(folder, network, wrong):
    change, error, says = WRONG_FILES[wrong]
    write(folder, **change)
    with pytest.raises(error) as caught:
        load_model("scenes")
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 20_000_000])
def test_a_truncated_file_is_refused(folder, network, keep):
    data = (folder / "scenes.pth").read_bytes()
    (folder / "scenes.pth").write_bytes(data[:keep])
    write(folder)
    with pytest.raises(WeightsUnavailable, match="is damaged"):
        load_model("scenes")
    assert (folder / "scenes.pth").stat().st_size == keep


def test_no_card_makes_timm_fetch_or_unpickle(folder, network):
    """Arguments of constructors are not the card's to give: timm has some that load files."""
    for key in ("arguments", "pretrained", "checkpoint_path"):
        write(folder, "wrong", **{key: True})
        assert f"'{key}' is not a key of a card" in broken_cards()["wrong.toml"]


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("timm/test_convnext", {}), ("test_convnext", {}), ("torchvision/squeezenet1_1", {}), ("shufflenet_v2_x0_5", {})],
)
def test_any_architecture_of_timm_or_torchvision_needs_no_family(folder, architecture, arguments):
    torch.manual_seed(0)
    name = architecture.rpartition("/")[2]
    make = timm.create_model if timm.is_model(name) else torchvision.models.get_model
    net = make(name, num_classes=6).eval()
    torch.save(net.state_dict(), folder / "scenes.pth")
    write(folder, family=None, architecture=architecture)
    model = load_model("scenes")
    pictures = torch.rand(2, 3, 64, 64)
    shift, scale = (torch.tensor(CARD[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        assert torch.allclose(model.outputs(pictures).logits, net((pictures - shift) / scale), atol=1e-4)
    assert model.class_names == tuple(SCENES) and len(model.cuts) > 2


def test_a_card_without_classes_and_family_answers_about_similarity(folder):
    torch.manual_seed(0)
    torch.save(timm.create_model("test_convnext", num_classes=0).state_dict(), folder / "scenes.pth")
    write(folder, family=None, architecture="test_convnext", classes=None)
    assert not load_model("scenes").has_classifier
    write(folder, family=None, architecture="torchvision/squeezenet1_1", classes=None)
    with pytest.raises(BadCard, match="cannot be built without classes"):
        load_model("scenes")


def test_a_file_of_another_size_names_the_tensors_without_a_family(folder):
    torch.save(timm.create_model("test_convnext", num_classes=5).state_dict(), folder / "scenes.pth")
    write(folder, family=None, architecture="test_convnext")
    with pytest.raises(WeightsUnavailable, match="it has 5 classes, but the model's card has 6"):
        load_model("scenes")


def test_every_family_can_be_named():
    assert set(card.FAMILIES) == set(families.FAMILIES)


def test_the_shared_folder_may_hold_cards(folder, network, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    folder.rename(shared)
    monkeypatch.setenv("XAI_SHARED_WEIGHTS", str(shared))
    write(shared)
    assert load_model("scenes").class_names == tuple(SCENES)


def test_the_command_line_lists_and_explains(folder, network, tmp_path, capsys):
    write(folder)
    write(folder, "wrong", family="x")
    assert main(["models"]) == 0
    said = capsys.readouterr()
    assert "scenes" in said.out and "wrong.toml" in said.err
    asked = ["explain", "coffee", "--model", "scenes", "--target", "street", "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def home():
    from xai_core.app import home

    home.status()


def test_home_lists_both_kinds(folder, network):
    write(folder)
    write(folder, "wrong", family="x")
    page = AppTest.from_function(home).run()
    assert not page.exception
    said = " ".join(one.value for one in page.markdown)
    assert "**Scenes (scenes)**: ready" in said and "wrong.toml" in said


def test_errors_have_one_root():
    assert issubclass(BadCard, XaiError) and catalog.find_card("resnet50") is CARDS["resnet50"]


def test_the_fingerprint_sees_the_normalisation_of_a_card(folder, network):
    """It changes the answers of the same weights. The other fields choose pixels, whose digest is in the keys of results."""
    without = ("input_size", "shorter_side", "interpolation", "squash")

    def fingerprint(recipe):
        write(folder, mean=list(recipe.mean), std=list(recipe.std))
        return load_model("scenes").fingerprint

    others = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    assert_key_sees_each_field(fingerprint, Recipe(), others, without)
    assert_key_sees_each_field(fingerprint, Recipe(mean=(0.1, 0.2, 0.3)), others, without)


def test_the_fingerprint_sees_the_network_of_a_card(folder):
    """The same file answers otherwise in a network that pads otherwise, or where two tensors are exchanged."""
    torch.manual_seed(0)
    net = timm.create_model("efficientnet_lite0", num_classes=6)
    torch.nn.init.normal_(net.bn1.bias)
    torch.save(net.state_dict(), folder / "scenes.pth")
    exchanged = {"bn1.weight": "bn1.bias", "bn1.bias": "bn1.weight", "": ""}
    models = []
    for architecture, names in (("efficientnet_lite0", {"": ""}), ("tf_efficientnet_lite0", {"": ""}),
                                ("efficientnet_lite0", exchanged), ("tf_efficientnet_lite0", exchanged)):  # fmt: skip
        write(folder, family="efficientnet", architecture=architecture, names=names)
        models.append(load_model("scenes"))
    noise = torch.rand(1, 3, 64, 64)
    logits = [tuple(model.outputs(noise).logits[0].tolist()) for model in models]
    assert len(set(logits)) == len(models), "the answers differ"
    assert len({model.fingerprint for model in models}) == len(models)


def test_the_fingerprint_sees_each_part_of_a_card_that_changes_its_answers(folder, network):
    write(folder)
    card = catalog.find_card("scenes")
    (checkpoint,) = card.checkpoints
    (file,) = checkpoint.files
    told = {"title", "supervision", "trained_on", "paper", "licence", "page", "remark"}  # what visitors are told
    elsewhere = {
        "id",
        "classes",
        "arguments",
        "base",
        "prompts",
        "pairs",
        "renaming",
    }  # in keys by themselves, or in the shapes of tensors
    assert_key_sees_each_field(
        lambda card: loading._own_parts(card, checkpoint), card,
        {"family": "efficientnet", "architecture": "resnet34", "library": "timm"}, {*told, *elsewhere, "checkpoints"},
    )  # fmt: skip
    assert_key_sees_each_field(
        lambda file: loading._own_parts(card, replace(checkpoint, files=(file,))), file,
        {"names": {"module.": ""}}, {"name", "url", "megabytes", "sha256", "package", "ordered", "optional", "hub"},
    )  # fmt: skip


def test_the_base_of_an_untrained_probe_is_part_of_its_fingerprint(folder):
    fingerprints = set()
    for base in ("efficientnet_lite0", "resnet50"):
        write(folder, "probe", title=None, family=None, architecture=None, input_size=None, mean=None, std=None, base=base)
        fingerprints.add(load_model("probe", "random").fingerprint)
    assert len(fingerprints) == 2


OF_THIS_PROJECT = {
    "scenes_supervised": "196978c0", "scenes_barlow": "4016f5a8", "scenes_finetuned": "77b58822 6cb94bec",
}  # fmt: skip


@pytest.mark.parametrize("id", OF_THIS_PROJECT)
def test_the_networks_of_this_project_keep_their_fingerprints(monkeypatch, id):
    """Stored rows and predictions name them."""
    monkeypatch.undo()
    assert load_model(id).fingerprint == OF_THIS_PROJECT[id]
