"""Networks taken apart by themselves: the law at every cut, layouts that are known, default cuts, cuts inside blocks, and
modules that cannot be followed. Random weights; the plain module is the oracle."""

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import timm
import torch
import torchvision
from small_cams import library_map
from small_models import ask, difference, pictures, small, spearman
from torch import nn

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data.recipe import Recipe
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit, SimilarityTo
from xai_core.models.explainable import ExplainableModel
from xai_core.models.layouts import layout, moved_pictures
from xai_core.models.random_init import untrained
from xai_core.models.tracing import traced

CNN = {"num_classes": 10}
SMALL_SWIN = {"img_size": 56, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "num_classes": 10}
SMALL_XCIT = {"depth": 2, "embed_dim": 48, "num_heads": 4, "num_classes": 10}
SMALL_TOKENS = {"img_size": 64, "patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 10}


def torchvision_vit():
    return torchvision.models.VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=10)


def layers_in_a_row():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(192, 20), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(20, 10),
    )  # fmt: skip


NETWORKS = {  # name -> how it is made, the side of its pictures, its default cut, the size of the grid there
    "basic blocks": (lambda: timm.create_model("resnet10t", **CNN), 64, "layer4.0", (2, 2)),
    "inverted residuals": (lambda: timm.create_model("test_efficientnet", **CNN), 64, "bn2", (2, 2)),
    "dense blocks": (lambda: torchvision.models.DenseNet(8, (2, 2, 2), 16, num_classes=10), 64, "features.norm5", (4, 4)),
    "fire modules, no linear layer": (lambda: torchvision.models.squeezenet1_1(**CNN), 96, "classifier.2", (5, 5)),
    "layers in a row": (layers_in_a_row, 64, "5", (16, 16)),
    "channels last inside": (lambda: timm.create_model("convnext_atto", **CNN), 64, "stages.3.blocks.1", (2, 2)),
    "class token": (lambda: timm.create_model("vit_tiny_patch16_224", **SMALL_TOKENS), 64, "blocks.1", (4, 4)),
    "class token and registers": (
        lambda: timm.create_model("vit_tiny_patch16_224", reg_tokens=4, **SMALL_TOKENS), 64, "blocks.1", (4, 4),
    ),
    "two classifiers": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", **SMALL_TOKENS), 64, "blocks.1", (4, 4),
    ),
    "class token, other library": (torchvision_vit, 32, "encoder.layers.encoder_layer_1", (4, 4)),
    "shifted windows": (lambda: timm.create_model("swin_tiny_patch4_window7_224", **SMALL_SWIN), 56, "norm", (7, 7)),
    "mixed tokens": (
        lambda: timm.models.MlpMixer(10, 128, patch_size=32, embed_dim=48, num_blocks=3),
        128, "norm", (4, 4),
    ),
    "class token at the end": (
        lambda: timm.create_model("xcit_nano_12_p16_224", **SMALL_XCIT), 64, "cls_attn_blocks.0", (4, 4),
    ),
}  # fmt: skip


@cache
def made(name):
    """(model, an untouched plain module with the same weights, the side of its pictures)."""
    build, side, *_ = NETWORKS[name]
    torch.manual_seed(0)
    net = build().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():  # what a fresh network has switched off
                parameter.uniform_(0.5, 1)
    return ExplainableModel.from_module(net, recipe=Recipe(side, side, mean=None, std=None)), net, side


@pytest.mark.parametrize("name", NETWORKS)
def test_cut_anywhere_the_network_gives_the_same_logits(name):
    """question(x) == question.tail(question.trunk(x)) == the plain module."""
    model, net, side = made(name)
    images = pictures(3, side)
    with torch.no_grad():
        expected = net(images)
    assert len(model.cuts) >= 3
    unit = float(expected.abs().max())
    for cut in model.cuts:
        question = ask(model, ClassLogit((1, 2, 3)), cut)
        assert difference(question.tail(question.trunk(images)).detach(), expected[range(3), [1, 2, 3]], unit) <= 1e-5
    assert difference(model.outputs(images).logits, expected, unit) <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_default_cut_is_the_last_grid_that_the_answer_depends_on(name):
    model, _, side = made(name)
    *_, cut, size = NETWORKS[name]
    assert model.network.cut_name(None) == cut
    question = ask(model, ClassLogit((1,)))
    assert question.grid(question.trunk(pictures(1, side))).shape[2:] == size


@pytest.mark.parametrize("name", NETWORKS)
def test_a_grid_is_where_the_picture_changes(name):
    """What moves most behind the first block, where one corner of the picture is changed, is the same corner of the grid."""
    model, _, side = made(name)
    images = pictures(1, side)
    changed = images.clone()
    changed[:, :, : side // 4, -side // 4 :] = 1 - changed[:, :, : side // 4, -side // 4 :]
    question = ask(model, ClassLogit((1, 1)), model.cuts[2])
    grid = question.grid(question.trunk(torch.cat([images, changed])))
    moved = (grid[1] - grid[0]).norm(dim=0)
    height, width = moved.shape
    assert moved[: height // 2, width // 2 :].mean() > moved[height // 2 :, : width // 2].mean()
    row, column = divmod(int(moved.argmax()), width)
    assert row < height / 2 <= column


def test_stages_say_how_their_activations_lie():
    words = {name: {stage.name: stage.layout for stage in made(name)[0].network.stages} for name in NETWORKS}
    assert words["class token"]["blocks.1"] == "tokens (n, N, C) of a square grid with 1 other in front"
    assert words["class token and registers"]["blocks.1"] == "tokens (n, N, C) of a square grid with 5 others in front"
    assert words["two classifiers"]["blocks.1"] == "tokens (n, N, C) of a square grid with 2 others in front"
    assert words["shifted windows"]["norm"] == "channels last (n, h, w, C)"
    assert words["layers in a row"]["6"].startswith("No grid: its tensor, (12, 4, 4) for each picture, has no axes")


def test_what_fails_in_a_part_is_not_written_to_the_log(capfd):
    model, *_ = made("class token")
    with pytest.raises(RuntimeError):
        model.network.stages[-1].run(torch.zeros(1, 17, 3))
    assert capfd.readouterr().err == ""


class TestLayout:
    """Activations whose layout is known: each is found again, and gives the maps (n, C, h, w) that they were made of."""

    maps = nn.functional.avg_pool2d(moved_pictures(48), 4) @ torch.eye(12)  # (10, 3, 12, 12), moved where the picture is
    tokens = maps.flatten(2).mT
    others = torch.randn(10, 40, 3, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize(
        ("activations", "words"),
        [
            (maps, "channels first (n, C, h, w)"),
            (maps.permute(0, 2, 3, 1), "channels last (n, h, w, C)"),
            (maps.transpose(2, 3), "channels first, columns before rows (n, C, w, h)"),
            (maps.permute(0, 3, 2, 1), "channels last, columns before rows (n, w, h, C)"),
            (tokens, "tokens (n, N, C) of a square grid"),
            (torch.cat([others[:, :1], tokens], 1), "tokens (n, N, C) of a square grid with 1 other in front"),
            (torch.cat([others[:, :5], tokens], 1), "tokens (n, N, C) of a square grid with 5 others in front"),
            (torch.cat([tokens, others[:, :5]], 1), "tokens (n, N, C) of a square grid with 5 others behind"),
            (tokens.mT, "tokens (n, C, N) of a square grid"),
            (
                maps.view(10, 3, 3, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(10, 9, 16, 3),
                "blocks of 4 x 4 cells (n, blocks, cells, C)",
            ),
        ],
    )
    def test_known_layouts_are_found(self, activations, words):
        found = layout(activations, None)
        assert found.words == words
        assert torch.equal(found.grid(activations), self.maps)

    @pytest.mark.parametrize(
        ("activations", "why"),
        [
            (
                tokens[:, torch.randperm(144, generator=torch.Generator().manual_seed(0))],
                "do not answer to those of the picture",
            ),
            (torch.rand(10, 3, 12, 12, generator=torch.Generator().manual_seed(0)), "do not answer to those of the picture"),
            (tokens.flatten(1), "no axes that could be a grid"),
            (maps.mean((2, 3), keepdim=True), "no axes that could be a grid"),
            (torch.cat([tokens, tokens]), "one row for each picture"),
        ],
    )
    def test_without_a_grid_the_reason_is_given(self, activations, why):
        found = layout(activations, None)
        assert found.size is None
        with pytest.raises(BadRequest, match=f"no grid at this cut: .*{why}"):
            found.grid(activations)


def tokens_behind(prefix):
    return lambda tokens: tokens[:, prefix:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)


def assert_agree(ours, theirs):
    """Spearman at least 0.999, and max |a - b| at most 1e-4 of the largest value."""
    assert theirs.max() > 0
    ours = torch.as_tensor(ours).clamp_min(0)
    assert spearman(ours, theirs) >= 0.999
    assert difference(ours, theirs) <= 1e-4


@pytest.mark.parametrize(
    ("name", "path", "reshape"),
    [
        ("class token", "blocks.2.norm1", tokens_behind(1)),
        ("class token and registers", "blocks.2.norm1", tokens_behind(5)),
        ("shifted windows", "layers.1.blocks.1.norm1", lambda maps: maps.permute(0, 3, 1, 2)),
        ("basic blocks", "layer4.0.conv2", None),
        ("basic blocks", "layer3.0.conv1", None),
        ("dense blocks", "features.denseblock3.denselayer1", None),
    ],
)
def test_cuts_inside_blocks_agree_with_grad_cam(name, path, reshape):
    model, net, side = made(name)
    layer = net.get_submodule(path)
    question = ask(model, ClassLogit((2,)), path)
    images = pictures(1, side)
    assert difference(question.tail(question.trunk(images)).detach(), question.scores(images), 1.0) <= 1e-5
    for target in range(10):
        theirs = library_map(net, layer, images, target, reshape)
        if theirs.any():
            assert_agree(explain(model, images[0], "grad_cam", target=target, cut=path).heatmap, theirs)
            return
    pytest.fail("no class has a positive map")


def test_the_graph_gives_the_maps_of_the_family_written_by_hand():
    found = small("resnet")
    net, side = found.plain[1], found.side
    recipe = found.model.recipe
    model = ExplainableModel.from_module(net, recipe=recipe)
    assert set(found.model.cuts) - set(model.cuts) == {"stem"}
    for method in ("grad_cam", "layer_cam", "saliency", "lrp"):
        ours, theirs = (explain(one, pictures(1, side)[0], method, target=3) for one in (model, found.model))
        assert difference(ours.heatmap, theirs.heatmap) <= 1e-4, method


class Branching(nn.Module):
    """A residual network whose forward pass depends on a value, so that torch.fx cannot follow it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1))
        self.last = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, 5)

    def forward(self, images):
        maps = self.stem(images)
        if maps.mean() > 100:
            maps = -maps
        maps = self.last((maps + self.block(maps)).relu())
        return self.head(maps.mean((2, 3)))


RECIPE = Recipe(32, 32, mean=None, std=None)


@cache
def branching():
    torch.manual_seed(0)
    return Branching().eval()


class TestUntraceable:
    def test_methods_that_need_scores_only_answer(self):
        model = ExplainableModel.from_module(branching(), recipe=RECIPE)
        images = pictures(2, 32)
        assert difference(model.outputs(images).logits, branching()(images).detach()) <= 1e-6
        assert explain(model, images[0], "occlusion", target=1, window=8).heatmap.any()
        assert explain(model, images[0], "saliency", target=1).heatmap.any()
        with pytest.raises(BadRequest, match=r"torch\.fx cannot follow .* name modules to cut behind"):
            explain(model, images[0], "grad_cam", target=1)

    def test_cuts_by_hand(self):
        net = branching()
        model = ExplainableModel.from_module(net, recipe=RECIPE, cuts=["stem", "last"])
        images = pictures(2, 32)
        expected = net(images).detach()
        for cut in ("stem", "last"):
            question = ask(model, ClassLogit((1, 2)), cut)
            assert difference(question.tail(question.trunk(images)).detach(), expected[range(2), [1, 2]]) <= 1e-5
        assert model.network.cut_name(None) == "last"
        ours = explain(model, images[0], "grad_cam", target=1, cut="last").heatmap
        assert_agree(ours, library_map(net, net.last, images[:1], 1))

    def test_a_module_whose_output_does_not_carry_everything_is_refused(self):
        with pytest.raises(BadRequest, match="'block' does not carry everything"):
            ExplainableModel.from_module(branching(), recipe=RECIPE, cuts=["block"])
        with pytest.raises(UnknownName, match="layer9"):
            ExplainableModel.from_module(branching(), recipe=RECIPE, cuts=["layer9"])

    def test_eight_threads_at_different_cuts_do_not_disturb_each_other(self):
        model = ExplainableModel.from_module(branching(), recipe=RECIPE, cuts=["stem", "last"])
        jobs = [(pictures(1, 32, seed=seed)[0], ("stem", "last")[seed % 2]) for seed in range(16)]

        def map_of(job):
            return explain(model, job[0], "grad_cam", target=1, cut=job[1]).heatmap

        serial = [map_of(job) for job in jobs]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(map_of, jobs))
        assert all((a == b).all() for a, b in zip(serial, together, strict=True))


def test_chosen_cuts_are_the_only_ones_listed():
    _, net, side = made("basic blocks")
    recipe = Recipe(side, side, mean=None, std=None)
    model = ExplainableModel.from_module(net, recipe=recipe, cuts=["layer3", "layer1.0"])
    assert model.cuts == ("layer1.0", "layer3")
    assert model.network.cut_name(None) == "layer3"
    with pytest.raises(BadRequest, match=r"'layer3\.0\.conv1' does not carry everything: the rest .* another tensor"):
        ExplainableModel.from_module(net, recipe=recipe, cuts=["layer3.0.conv1"])


class Branches(nn.Module):
    """Two branches of the picture whose means meet in the classifier: no one tensor carries everything on the way."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(3, 6, 8, 8)
        self.head = nn.Linear(10, 5)

    def forward(self, pictures):
        maps = self.fine(pictures).relu(), self.coarse(pictures).relu()
        return self.head(torch.cat([one.mean((2, 3)) for one in maps], 1))


def test_a_network_of_parallel_branches_is_one_piece_that_can_be_cut_inside():
    torch.manual_seed(0)
    net = Branches()
    model = ExplainableModel.from_module(net, recipe=RECIPE)
    images = pictures(2, 32)
    assert model.cuts == ("picture",)
    for cut in (None, "fine", "coarse"):
        question = ask(model, ClassLogit((1, 2)), cut)
        assert difference(question.tail(question.trunk(images)).detach(), net(images)[range(2), [1, 2]].detach(), 1) <= 1e-6
    maps = net.fine(images[0])  # the gradient of a mean of ReLUs is 1/64 where they let through
    weights = net.head.weight[1, :4] * (maps > 0).float().mean((1, 2)) / 64
    ours = explain(model, images[0], "grad_cam", target=1, cut="fine").heatmap
    np.testing.assert_allclose(ours, (weights[:, None, None] * maps).sum(0).relu().detach(), rtol=1e-4, atol=1e-7)
    with pytest.raises(BadRequest, match="each module's output can be chosen"):
        explain(model, images[0], "grad_cam", target=1)


class Groups(nn.Module):
    """Channels in three groups, each convolved with what the one before gave (Res2Net), and added to what came in."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Linear(12, 5)
        self.convs = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
        self.join = nn.Conv2d(12, 12, 1)

    def forward(self, pictures):
        maps = self.stem(pictures).relu()
        groups = torch.split(maps, 4, 1)
        found = [groups[0]]
        for index, conv in enumerate(self.convs):
            found.append(conv(found[-1] + groups[index + 1]))
        return self.head((self.join(torch.cat(found, 1)) + maps).mean((2, 3)))


def test_parts_of_a_tensor_that_are_needed_behind_a_cut_are_carried_along():
    torch.manual_seed(0)
    net = Groups()
    model, images = ExplainableModel.from_module(net, recipe=RECIPE), pictures(2, 32)
    for cut in ("stem", "convs.0", "convs.1", "join"):
        question = ask(model, ClassLogit((1, 2)), cut)
        assert difference(question.tail(question.trunk(images)).detach(), net(images)[range(2), [1, 2]].detach(), 1) <= 1e-6
    theirs = library_map(net, net.convs[0], images[:1], 1)
    assert_agree(explain(model, images[0], "grad_cam", target=1, cut="convs.0").heatmap, theirs)


def test_sums_are_written_over_their_first_term_only_where_nobody_needs_it():
    """Cut behind the first term, its activations are not changed by what runs behind; gradients are the plain module's."""
    torch.manual_seed(0)
    net = Groups()
    model, images = ExplainableModel.from_module(net, recipe=RECIPE), pictures(2, 32)
    assert "+=" in model.network.pool.code
    activations = model.network.trunk(images, "join")
    before = activations.clone()
    model.network.tail(activations, "join")
    assert torch.equal(activations, before)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    model.network.outputs(ours).logits[:, 1].sum().backward()
    net(theirs)[:, 1].sum().backward()
    assert difference(ours.grad, theirs.grad) <= 1e-5


def test_your_network_is_left_as_it_was():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(3136, 5)
    ).train()
    before, attributes = copy.deepcopy(net.state_dict()), sorted(vars(net))
    model = ExplainableModel.from_module(net, recipe=RECIPE)
    explain(model, pictures(1, 32)[0], "grad_cam", target=1)
    assert all(part.training for part in net.modules())
    assert net[2].inplace
    assert sorted(vars(net)) == attributes
    assert all(one.requires_grad and one.grad is None for one in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    answers = model.outputs(pictures(1, 32)).logits
    with torch.no_grad():
        net[0].weight.zero_()
    assert torch.equal(model.outputs(pictures(1, 32)).logits, answers)


def test_other_threads_run_networks_while_one_is_traced():
    """torch.fx patches nn.Module for the whole process while it traces."""
    _, net, side = made("class token")
    image = pictures(1, side)
    with torch.no_grad():
        expected = net(image)

    def ask_often():
        with torch.no_grad():
            return [net(image) for _ in range(30)]

    with ThreadPoolExecutor(2) as pool:
        answers = pool.submit(ask_often)
        traces = 0
        while not answers.done() or traces < 2:
            traced(copy.deepcopy(net))
            traces += 1
        assert all(torch.equal(one, expected) for one in answers.result())


def test_fingerprint_names_weights_and_graph():
    _, net, side = made("basic blocks")
    recipe = Recipe(side, side, mean=None, std=None)
    other = copy.deepcopy(net)
    other.fc.weight.data[0, 0] += 1e-6
    one, same, changed = (ExplainableModel.from_module(each, recipe=recipe).fingerprint for each in (net, net, other))
    assert one == same != changed


def test_the_untrained_twin_has_other_parameters_and_the_same_cuts():
    model, _, side = made("class token")
    twin = untrained(model, 1)
    images = pictures(1, side)
    assert twin.cuts == model.cuts
    assert spearman(twin.outputs(images).logits, model.outputs(images).logits) < 0.9
    assert torch.isfinite(twin.outputs(images).logits).all()


def test_an_embedding_is_asked_about_similarity():
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", num_classes=0)
    model = ExplainableModel.from_module(net, recipe=Recipe(64, 64), embeds=True)
    assert not model.has_classifier
    target = SimilarityTo(model.embed(pictures(1, 64, seed=1)[0]))
    assert explain(model, pictures(1, 64)[0], "grad_cam", target=target).heatmap.shape == (2, 2)


class Answer(nn.Module):
    """A small network with what may be wrong with one."""

    def __init__(self, kind="", channels=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3))
        self.head, self.kind = nn.Linear(6, 5), kind

    def forward(self, images, mask=None):
        maps = self.body(images)
        if mask is not None:
            maps = maps * mask
        if self.kind == "dropout":
            maps = nn.functional.dropout(maps, 0.5, training=True)
        logits = self.head(maps.mean((2, 3)))
        others = {"tuple": (logits, maps), "dict": {"logits": logits}, "maps": maps, "nan": logits * torch.nan}
        return others.get(self.kind, logits)


@pytest.mark.parametrize(
    ("net", "given", "message"),
    [
        (Answer("dropout"), {}, "another answer to the same picture"),
        (Answer("tuple"), {}, "output is several values"),
        (Answer("dict"), {}, "output is a dict"),
        (Answer("maps"), {}, r"the shape \(2, 6, 28, 28\); \(2, K\) is needed"),
        (Answer("nan"), {}, "not finite"),
        (Answer(channels=1), {}, "takes pictures of 1 channel; here they have 3"),
        (Answer(channels=4), {}, "takes pictures of 4 channels; here they have 3"),
        (Answer(), {"class_names": ["street", "forest"]}, "has 5 classes, but 2 class names"),
        (Answer(), {"class_names": ["street"], "embeds": True}, "no classes to name"),
        (Answer(), {"cuts": []}, "at least one cut"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), {}, r"does not take pictures .* another size"),
        (lambda images: images, {}, "Give a torch module; this is a function"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_sentence(net, given, message):
    with pytest.raises(BadRequest, match=message):
        ExplainableModel.from_module(net, recipe=RECIPE, **given)


@pytest.mark.parametrize("change", [nn.Module.train, nn.Module.half, nn.Module.double, nn.Module.bfloat16])
def test_mode_and_precision_of_the_weights_do_not_matter(change):
    torch.manual_seed(0)
    net = Answer()
    exact = ExplainableModel.from_module(net, recipe=RECIPE).outputs(pictures(1, 32)).logits
    changed = ExplainableModel.from_module(change(net), recipe=RECIPE).outputs(pictures(1, 32)).logits
    assert changed.dtype == torch.float32
    assert difference(changed, exact) <= 0.02


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("architecture", ["resnet10t", "mobilenetv3_small_050"])
def test_the_exact_gradient_is_that_of_the_module_in_64_bits(architecture, format):
    """However the pictures lie in memory. Statistics are other than 0 and 1, so that the norms matter."""
    torch.manual_seed(0)
    net = timm.create_model(architecture, **CNN).eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2.0)
    model = ExplainableModel.from_module(net, recipe=Recipe(64, 64, mean=None, std=None))
    images = pictures(3, 64).contiguous(memory_format=format)
    found = Question(model, ClassLogit((1,)), model.cuts[-1]).gradient(images)[1]
    leaf = images.double().requires_grad_()
    expected = torch.autograd.grad(net.double()(leaf)[:, 1].sum(), leaf)[0]
    assert float((found - expected).norm() / expected.norm()) <= 1e-3  # few units are near enough to zero to change sides
