"""Every model of the catalogue reads its authors' files to the last parameter.

Files are made here with the authors' names, nesting and extras, and random numbers. What the loaded model says of a
picture is compared with a forward pass of plain functions from the raw entries (plain_forward.py). Networks are small
where their names stay the same; names and shapes of the whole are checked without memory.
"""

import argparse
import collections
from dataclasses import dataclass, replace
from typing import Any

import official_files as official
import plain_forward as plain
import pytest
import references
import torch
from safetensors.torch import save_file
from torch import Tensor

from xai_core import explain
from xai_core.core.errors import NoClassifier, WeightsUnavailable
from xai_core.explanation.targets import SimilarityTo
from xai_core.models import building, loading
from xai_core.models.loading import load_model
from xai_core.models.weights import checkpoints
from xai_core.models.zoo.catalog import CARDS

OPTIMIZER = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
NAMESPACE = argparse.Namespace(lr=0.1, arch="x")


@dataclass(frozen=True)
class Case:
    """How a card's network is made small, and what its files hold: shapes (small and whole) and what is around them.

    `wrap` puts the filled shapes of each file into the authors' nest; `forward` takes them back out of the files.
    """

    small: Any
    whole: Any
    wrap: Any
    forward: Any
    side: int = 64
    arguments: dict[str, Any] | None = None


def probe(state: dict[str, Tensor], name: str, features: Tensor) -> Tensor:
    return plain.linear(state, name, features)


def wrapped_model(state):
    return [{"model": state[0], "optimizer": OPTIMIZER, "epoch": 299, "args": NAMESPACE}]


def wrapped_modules(state):
    return [
        {
            "epoch": 100,
            "arch": "vit_base",
            "state_dict": collections.OrderedDict(official.prefixed("module.", state[0])),
            "best_acc1": torch.tensor(74.6),
            "optimizer": OPTIMIZER,
        }
    ]


def wrapped_dino(state):
    """A bare backbone, and the probe as the training of it left it."""
    probe = {"epoch": 100, "state_dict": state[1], "optimizer": OPTIMIZER, "scheduler": {"T_max": 100}, "best_acc": 77.8}
    return [state[0], probe]


def resnet_probe(state, x):
    features = plain.resnet(state, x)
    return features, probe(state, "fc", features)


def dino_resnet(state, x):
    features = plain.resnet(state[0], x)
    return features, probe(state[1], "module.linear", features)


def dino_xcit(state, x):
    features = plain.xcit(state[0], x, heads=4)
    return features, probe(state[1], "module.linear", features)


def transformer(forward, **options):
    def run(state, x):
        features = forward(state[0], x, **options)
        return features, probe(state[0], "head", features)

    return run


def simclr(state, x):
    return plain.perceptron(plain.part(state[1], "layers."), plain.simclr(state[0], x), "lbrlbrlb"), None


def barlow(state, x):
    features = plain.resnet(plain.part(state[0], "module.backbone."), x)
    return plain.perceptron(plain.part(state[0], "module.projector."), features, "lbrlbrl"), None


def simsiam(state, x):
    features = plain.resnet(plain.part(state[0], "module.encoder."), x)
    return plain.perceptron(plain.part(state[0], "module.encoder.fc."), features, "lbrlbrlb"), None


def moco_vit(state, x):
    features = plain.vit(state[0], x, heads=12, positions=state[0]["pos_embed"])
    return features, probe(state[0], "head", features)


def dinov2(state, x):
    features = plain.dinov2(state[0], x, heads=4)
    return features, probe(official.prefixed("head.", state[1]), "head", features)


def embedding(forward, **options):
    """Of a transformer without classes."""

    def transformer_embedding(state, x):
        return forward(state[0], x, **options), None

    return transformer_embedding


DINO_PROBE = official.pair("module.linear", 1000, 2048)
XCIT_PROBE = official.pair("module.linear", 1000, 384)
TINY_VIT = {"depth": 2, "img_size": 64}
TINY_XCIT = {"depth": 2, "embed_dim": 48, "num_heads": 4}
TINY_CAIT = {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 4}
TINY = {"depth": 2, "embed_dim": 48, "num_heads": 4}
TINY_SWIN = {"img_size": 112, "embed_dim": 24, "depths": (2, 2, 2), "num_heads": (2, 4, 8)}


def simclr_case(width: int) -> Case:
    layers = (2, 1, 1, 2)
    return Case(
        small=lambda: [official.simclr_resnet(width, layers), official.simclr_head(2048 * width)],
        whole=lambda: [official.simclr_resnet(width), official.simclr_head(2048 * width)],
        wrap=lambda state: [{"resnet": state[0], "head": state[1]}],
        forward=simclr,
        arguments={"width": width, "layers": layers},
    )


CASES = {
    "resnet50": Case(
        small=lambda: [official.resnet(classes=1000)],
        whole=lambda: [official.resnet(classes=1000)],
        wrap=lambda state: state,
        forward=lambda state, x: resnet_probe(state[0], x),
    ),
    "deit_base_patch16_224": Case(
        small=lambda: [official.vit(depth=2, patches=16)],
        whole=lambda: [official.vit()],
        wrap=lambda state: [{"model": state[0]}],
        forward=moco_vit,
        arguments=TINY_VIT,
    ),
    "cait_s24_224": Case(
        small=lambda: [official.cait(dim=48, depth=2, heads=4, patches=16)],
        whole=lambda: [official.cait()],
        wrap=lambda state: wrapped_model([official.prefixed("module.", state[0])]),
        forward=transformer(plain.cait, heads=4),
        arguments=TINY_CAIT,
    ),
    "swin_base_patch4_window7_224": Case(
        small=lambda: [official.swin(dim=24, depths=(2, 2, 2), heads=(2, 4, 8), side=28)],
        whole=lambda: [official.swin()],
        wrap=lambda state: [{"model": state[0]}],
        forward=transformer(plain.swin, heads=(2, 4, 8)),
        side=112,
        arguments=TINY_SWIN,
    ),
    "xcit_small_12_p16_224": Case(
        small=lambda: [official.xcit(dim=48, depth=2, heads=4)],
        whole=lambda: [official.xcit()],
        wrap=wrapped_model,
        forward=transformer(plain.xcit, heads=4),
        arguments=TINY_XCIT,
    ),
    "dino_resnet50": Case(
        small=lambda: [official.resnet(), DINO_PROBE],
        whole=lambda: [official.resnet(), DINO_PROBE],
        wrap=wrapped_dino,
        forward=dino_resnet,
    ),
    "dino_xcit_small_12_p16": Case(
        small=lambda: [official.xcit(dim=48, depth=2, heads=4, classes=0), official.pair("module.linear", 1000, 48)],
        whole=lambda: [official.xcit(classes=0), XCIT_PROBE],
        wrap=wrapped_dino,
        forward=dino_xcit,
        arguments=TINY_XCIT,
    ),
    "mocov3_resnet50": Case(
        small=lambda: [official.resnet(classes=1000)],
        whole=lambda: [official.resnet(classes=1000)],
        wrap=wrapped_modules,
        forward=lambda state, x: resnet_probe(state[0], x),
    ),
    "mocov3_deit_base": Case(
        small=lambda: [official.vit(depth=2, patches=16)],
        whole=lambda: [official.vit()],
        wrap=wrapped_modules,
        forward=moco_vit,
        arguments=TINY_VIT,
    ),
    "simclrv2_r50_1x": simclr_case(1),
    "simclrv2_r50_2x": simclr_case(2),
    "barlow_twins": Case(
        small=lambda: [official.barlow((64, 48, 32))],
        whole=lambda: [official.barlow()],
        wrap=lambda state: [{"epoch": 1000, "model": state[0], "optimizer": OPTIMIZER}],
        forward=barlow,
        arguments={"sizes": (64, 48, 32)},
    ),
    "simsiam": Case(
        small=lambda: [official.simsiam()],
        whole=lambda: [official.simsiam()],
        wrap=lambda state: [{"epoch": 100, "arch": "resnet50", "state_dict": state[0], "optimizer": OPTIMIZER}],
        forward=simsiam,
    ),
    "dinov2_vitb14_reg": Case(
        small=lambda: [official.dinov2(dim=48, depth=2, patches=25), {"weight": (1000, 96), "bias": (1000,)}],
        whole=lambda: [official.dinov2(), {"weight": (1000, 1536), "bias": (1000,)}],
        wrap=lambda state: state,
        forward=dinov2,
        side=56,
        arguments=TINY | {"img_size": 56, "init_values": 1.0},
    ),
    "dinov3_vitb16": Case(
        small=lambda: [official.dinov3(dim=48, depth=2, heads=4)],
        whole=lambda: [official.dinov3()],
        wrap=lambda state: state,
        forward=embedding(plain.dinov3, heads=4),
        arguments=TINY | {"global_pool": "token"},
    ),
    "siglip_base_patch16_224": Case(
        small=lambda: [official.siglip(dim=48, depth=2, patches=16)],
        whole=lambda: [official.siglip()],
        wrap=lambda state: state,
        forward=embedding(plain.siglip, heads=4),
        arguments=TINY | {"img_size": 64, "num_classes": 0, "act_layer": "gelu_tanh"},
    ),
    "convnext_tiny_224": Case(
        small=lambda: [official.convnext((8, 16, 24, 32), (1, 1, 2, 1))],
        whole=lambda: [official.convnext()],
        wrap=lambda state: [{"model": state[0]}],
        forward=transformer(plain.convnext),
        side=128,
        arguments={"dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1)},
    ),
    "eva02_small_patch14_336": Case(
        small=lambda: [official.eva02(dim=48, depth=2, heads=4, patches=16)],
        whole=lambda: [official.eva02()],
        wrap=lambda state: [{"module": state[0]}],
        forward=transformer(plain.eva02, heads=4),
        side=56,
        arguments=TINY | {"img_size": 56},
    ),
}


def test_every_card_has_its_case():
    assert set(CASES) == set(CARDS) - {"efficientnet_lite0"}  # whose real file is here, and right 87.8% of the time


@pytest.fixture
def place(tmp_path, monkeypatch):
    """`place(id)`: the model's card made small, its files written into an empty folder; what was filled in."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("XAI_SHARED_WEIGHTS", raising=False)

    def placed(id, change=lambda contents: contents):
        case, card = CASES[id], CARDS[id]
        files = tuple(replace(file, sha256="") for file in card.checkpoints[0].files)
        recipe = replace(card.checkpoints[0].recipe, input_size=case.side, shorter_side=case.side)
        small = replace(card.checkpoints[0], files=files, recipe=recipe)
        arguments = card.arguments if case.arguments is None else case.arguments
        monkeypatch.setitem(CARDS, id, replace(card, checkpoints=(small,), arguments=arguments))
        state = [official.filled(shapes, seed) for seed, shapes in enumerate(case.small())]
        for file, content in zip(files, change(case.wrap(state)), strict=True):
            (save_file if file.name.endswith(".safetensors") else torch.save)(content, tmp_path / file.name)
        return state

    return placed


def same(found: Tensor, expected: Tensor) -> None:
    assert expected.std(0).mean() > 1e-3, "pictures must matter"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def normalised(images: Tensor, recipe) -> Tensor:
    if recipe.mean is None:
        return images
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (recipe.mean, recipe.std))
    return (images - mean) / std


@pytest.mark.parametrize("id", CASES)
def test_what_the_file_says_is_what_the_model_computes(place, id):
    state, case = place(id), CASES[id]
    model = load_model(id)
    images = torch.rand(2, 3, case.side, case.side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding, logits = case.forward(state, normalised(images, model.recipe))
    outputs = model.outputs(images)
    same(outputs.embedding, embedding)
    if logits is None:
        with pytest.raises(NoClassifier):
            _ = outputs.logits
        assert not model.has_classifier and model.class_names == ()
    else:
        same(outputs.logits, logits)
        assert len(model.class_names) == 1000


@pytest.mark.parametrize("id", CASES)
def test_the_whole_network_has_the_official_names_and_shapes(id, monkeypatch):
    case, card = CASES[id], CARDS[id]
    with torch.device("meta"):
        module = building.built(card)
        state = [{name: torch.empty(shape) for name, shape in shapes.items()} for shapes in case.whole()]
    files = card.checkpoints[0].files
    contents = dict(zip([file.name for file in files], case.wrap(state), strict=True))
    monkeypatch.setattr(checkpoints, "_read", lambda path: checkpoints._flat(contents[path]))
    naming = building.naming(card, module)
    found = checkpoints.gather(card, files, [file.name for file in files], module, naming)
    expected = {name for name in module.state_dict() if not name.endswith(checkpoints.NOT_READ)}
    assert set(found) == expected


INVARIANT = ("proj_l.bias", "k.bias", "k_proj.bias")  # the softmax takes no notice of what is added to all its entries
UNUSED = ("mask_token", "periods", "bias_mask", "freqs_cos", "freqs_sin")  # by pictures without masks; the rest is fixed


@pytest.mark.parametrize("id", [id for id, case in CASES.items() if "transformer" in case.forward.__qualname__])
def test_the_comparison_would_notice_any_entry_in_a_wrong_place(id):
    """With its rows in another order, each entry of a transformer changes the answer by more than is allowed above."""
    case = CASES[id]
    (state,) = (official.filled(shapes) for shapes in case.small())
    images = torch.randn(2, 3, case.side, case.side, generator=torch.Generator().manual_seed(0))

    def answer(state):
        embedding, logits = case.forward([state], images)
        return embedding if logits is None else logits

    expected = answer(state)
    for name, value in state.items():
        if not name.endswith((*checkpoints.NOT_READ, *INVARIANT, *UNUSED)) and not name.startswith(("text_model", "logit_")):
            wrong = value.flip(0) if len(value) > 1 else value * 1.1
            change = answer(state | {name: wrong}) - expected
            assert change.abs().max() > 1e-3 * expected.std(), name


@pytest.mark.parametrize("id", [id for id in CASES if id != "simclrv2_r50_2x"])  # the names of the 1x in larger
def test_an_entry_that_is_missing_or_too_many_is_named(place, id):
    """In every file of every model: also what no question reads (SimSiam's predictor, SimCLRv2's classifier)."""
    state = [official.filled(shapes, seed) for seed, shapes in enumerate(CASES[id].small())]
    for which, entries in enumerate(state):
        last = [name for name in entries if not name.endswith(checkpoints.NOT_READ)][-1]
        less = [dict(one) for one in state]
        value = less[which].pop(last)
        more = [dict(one) for one in state]
        more[which][f"{last}_extra"] = value.clone()
        for changed, says in ((less, "1 missing, such as "), (more, "1 unexpected, such as ")):
            place(id, lambda _, changed=changed: CASES[id].wrap(changed))
            with pytest.raises(WeightsUnavailable) as caught:
                building.filled(CARDS[id], CARDS[id].checkpoints[0], weights_of(id))
            assert says in str(caught.value) and "\n" not in str(caught.value), caught.value


def test_an_entry_that_is_there_twice_is_refused(place):
    """SimSiam's projection is `encoder.fc` in the file: another `encoder.project` would fall onto it."""

    def double(files):
        (file,) = files
        twin = {"module.encoder.project.0.weight": torch.zeros(2048, 2048)}
        return [file | {"state_dict": file["state_dict"] | twin}]

    place("simsiam", double)
    with pytest.raises(WeightsUnavailable, match=r"project\.0\.weight twice"):
        load_model("simsiam")


def weights_of(id):
    return loading.locate.find(CARDS[id].checkpoints[0])


def test_counters_of_training_steps_may_be_missing(place):
    """Files from before 2018 have none. The network computes what the file's other entries say."""
    dropped = []

    def without_counters(files):
        dropped.extend(name for name in files[0] if name.endswith("batches_tracked"))
        return [{name: value for name, value in files[0].items() if name not in dropped}]

    state, case = place("resnet50", without_counters), CASES["resnet50"]
    assert dropped, "the complete file has some"
    images = torch.rand(2, 3, case.side, case.side, generator=torch.Generator().manual_seed(0))
    model = load_model("resnet50")
    with torch.no_grad():
        _, logits = case.forward(state, normalised(images, model.recipe))
    same(model.outputs(images).logits, logits)


def test_fixed_positions_are_made_where_the_file_has_none(place):
    state = place(
        "mocov3_deit_base",
        lambda files: [{"state_dict": {k: v for k, v in files[0]["state_dict"].items() if k != "module.pos_embed"}}],
    )
    positions = plain.sine_positions(4, 768)
    model, images = load_model("mocov3_deit_base"), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = plain.vit(state[0], normalised(images, model.recipe), heads=12, positions=positions)
    same(model.outputs(images).features, expected)


def test_the_published_probe_of_dino_is_read(tmp_path, monkeypatch):
    """The file of the authors, behind a backbone of random numbers: logits are its linear map of the class token.

    All is theirs but the weights of 980 of the 1,000 classes, which are 0, and the optimizer's memory (tests/references.py).
    """
    published = references.unpack_probe(tmp_path / "published")
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XAI_SHARED_WEIGHTS", str(published.parent))
    card = CARDS["dino_xcit_small_12_p16"]
    backbone = official.filled(official.xcit(classes=0))
    torch.save(backbone, tmp_path / card.checkpoints[0].files[0].name)
    model, images = load_model("dino_xcit_small_12_p16"), torch.rand(2, 3, 64, 64)
    raw = torch.load(published, map_location="cpu", weights_only=True)["state_dict"]
    assert raw["module.linear.weight"][:20].all(1).all() and raw["module.linear.bias"].all()
    with torch.no_grad():
        token = plain.xcit(backbone, normalised(images, model.recipe), heads=8)
    outputs = model.outputs(images)
    same(outputs.embedding, token)
    same(outputs.logits, probe(raw, "module.linear", token))


def test_safetensors_are_read(place, tmp_path, monkeypatch):
    (state,) = place("resnet50")
    card = CARDS["resnet50"]
    file = replace(card.checkpoints[0].files[0], name="resnet.safetensors")
    checkpoint = replace(card.checkpoints[0], files=(file,))
    monkeypatch.setitem(CARDS, "resnet50", replace(card, checkpoints=(checkpoint,)))
    save_file(state, tmp_path / file.name)
    model, images = load_model("resnet50"), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        same(model.outputs(images).logits, resnet_probe(state, normalised(images, model.recipe))[1])
    (tmp_path / file.name).write_bytes((tmp_path / file.name).read_bytes()[:-9])
    with pytest.raises(WeightsUnavailable, match="is damaged"):
        load_model("resnet50")


def test_files_of_two_models_are_two_models(place):
    """The probe is part of the name of the weights."""
    place("dino_resnet50")
    first = load_model("dino_resnet50").fingerprint
    place("dino_resnet50", lambda files: [files[0], files[1] | {"epoch": 7}])
    assert load_model("dino_resnet50").fingerprint != first


def test_similarity_is_explained_and_classes_are_refused(place):
    place("simsiam", lambda files: files)
    model = load_model("simsiam", weights="random")
    first, second = torch.rand(2, 3, 64, 64)
    why = explain(model, first, "grad_cam", target=SimilarityTo(model.embed(second)))
    assert why.heatmap.shape == (2, 2)
    with pytest.raises(NoClassifier):
        explain(model, first, "grad_cam", target="tabby")
    with pytest.raises(NoClassifier):
        explain(model, first, "grad_cam")


PATCHES = {"dinov2_vitb14_reg": 14, "dinov3_vitb16": 16, "siglip_base_patch16_224": 16, "eva02_small_patch14_336": 14}
REGISTERS = {"dinov2_vitb14_reg": "register_tokens", "dinov3_vitb16": "storage_tokens"}


@pytest.mark.parametrize("id", PATCHES)
def test_a_grid_holds_the_patches_alone_whatever_the_registers_are(place, id):
    """Class token and registers are no cells: at every cut the grid has as many cells as the picture has patches, and a
    changed patch moves the cell at its place, not one beside it, whatever numbers are in the registers."""
    side, patch = CASES[id].side, PATCHES[id]
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    row, column = 2, 1
    images[1, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] *= -1

    def other_registers(files):
        name = REGISTERS[id]
        return [files[0] | {name: files[0][name] * -2 + 1}, *files[1:]]

    for change in [lambda files: files] + [other_registers] * (id in REGISTERS):
        place(id, change)
        network, cells = load_model(id).network, {}
        for cut in network.cuts:
            grid = network.grid(network.trunk(images, cut), cut)
            assert grid.shape[2:] == (side // patch, side // patch), cut
            moved = (grid[1] - grid[0]).norm(dim=0)
            cells[cut] = divmod(int(moved.argmax()), side // patch)
        assert set(cells.values()) == {(row, column)}, cells


def test_a_convolutional_grid_is_a_thirty_second_of_the_picture(place):
    place("convnext_tiny_224")
    network = load_model("convnext_tiny_224").network
    cut = network.default_cut
    assert network.grid(network.trunk(torch.rand(1, 3, 128, 128), cut), cut).shape == (1, 32, 4, 4)


def test_the_image_tower_of_siglip_equals_that_of_transformers(place):
    """The entries of the file, loaded by transformers itself under its own names, give the same embedding."""
    transformers = pytest.importorskip("transformers")
    (state,) = place("siglip_base_patch16_224")
    sizes = {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
    tower = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**sizes, image_size=64, patch_size=16)).eval()
    missing, _ = tower.load_state_dict(plain.part(state, "vision_model."), strict=False)
    if missing:  # where transformers has the prefix in the tower, too
        tower.load_state_dict({name: value for name, value in state.items() if name in tower.state_dict()})
    model, images = load_model("siglip_base_patch16_224"), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        same(model.outputs(images).embedding, tower(normalised(images, model.recipe)).pooler_output)


@pytest.mark.parametrize("id", ["simclrv2_r50_1x", "barlow_twins", "simsiam"])
def test_a_random_projection_head_is_alive(place, id):
    place(id, lambda files: files)
    images = torch.rand(3, 3, 64, 64) ** torch.tensor([0.5, 1, 3]).view(3, 1, 1, 1)
    embedding = load_model(id, weights="random").outputs(images).embedding
    assert embedding.std(0).mean() > 0.1 * embedding.std()
