"""Cuts inside the stages of the families written by hand: the same answers, the maps of a hook at that layer, and nothing
traced or changed before one is asked for."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from small_cams import library_map
from small_models import ARCHITECTURES, ask, assembled, assert_same, difference, pair, pictures, small, spearman

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.explanation.targets import ClassLogit


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_cut_inside_a_stage_the_network_gives_the_same_logits(family):
    found = small(family)
    images = pictures(2, found.side)
    expected = found.plain(images).detach()[range(2), [1, 2]]
    names = [name for name in found.model.network.inside.names if not name.endswith(("drop", "drop_path", "act", "relu"))]
    tried = 0
    for name in names[:: max(1, len(names) // 8)]:
        question = ask(found.model, ClassLogit((1, 2)), name)
        try:
            activations = question.trunk(images)
        except BadRequest:  # windows of several pictures; two outputs
            continue
        assert difference(question.tail(activations).detach(), expected, 1) <= 1e-5, name
        tried += 1
    assert tried >= 4


@pytest.mark.parametrize(
    ("family", "path", "reshape"),
    [
        ("vit", "blocks.{}.norm1", lambda tokens: tokens[:, 1:].unflatten(1, (10, 10)).permute(0, 3, 1, 2)),
        ("swin", "layers.1.blocks.1.norm1", lambda maps: maps.permute(0, 3, 1, 2)),
        ("resnet", "layer4.1.conv2", None),
    ],
)
def test_the_layers_of_grad_cams_examples_give_its_maps(family, path, reshape):
    found = small(family)
    module = found.plain[1]
    path = path.format(len(module.blocks) - 1 if family == "vit" else "")
    images = pictures(1, found.side)
    for target in range(10):
        theirs = library_map(found.plain, module.get_submodule(path), images, target, reshape)
        if theirs.any():
            ours = explain(found.model, images[0], "grad_cam", target=target, cut=path).heatmap
            assert_same(ours[None], theirs[None])
            return
    pytest.fail("no class has a positive map")


def test_short_names_of_stages_stay_and_others_are_refused():
    model = small("resnet").model
    assert model.network.cut_name("layer4") == "layer4.1"
    assert model.network.cut_name("layer4.1.bn2") == "layer4.1.bn2"
    with pytest.raises(UnknownName, match=r"layer4\.1\.bn9"):
        model.network.cut_name("layer4.1.bn9")
    with pytest.raises(BadRequest, match=r"no cut behind 'layer4\.1\.relu': it does not give one tensor, once"):
        explain(model, pictures(1, 96)[0], "grad_cam", target=1, cut="layer4.1.relu")  # runs twice


def test_eight_threads_ask_at_once_while_the_module_is_traced_and_nothing_is_written_to_it():
    found = pair("vit")
    fresh = assembled("vit", found.parts[0], found.side)  # traced by none yet
    attributes = {name: sorted(vars(part)) for name, part in fresh.parts.named_modules()}
    cuts = ["blocks.1.norm1", "blocks.2.norm1", "blocks.2", "blocks.1"]
    images = pictures(8, found.side)

    def map_of(index):
        return explain(fresh.model, images[index], "grad_cam", target=index, cut=cuts[index % 4], relu=False).heatmap

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(map_of, range(8)))
    assert all((one == map_of(index)).all() for index, one in enumerate(together))
    assert spearman(together[0], together[1]) < 0.99
    assert {name: sorted(vars(part)) for name, part in fresh.parts.named_modules()} == attributes
