"""What is recorded of the project's networks is what they are, and a network that is built later answers the same.

`python tests/models/test_known_networks.py` writes the records anew, for the networks whose weights are on this machine and
come with the project or its packages.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.data.imagenet_info import ImageNetInfo

from xai_core.core import settings
from xai_core.core.cache_key import bytes_digest
from xai_core.models import building, families, known_networks, loading
from xai_core.models.card import Card
from xai_core.models.known_networks import KnownNetwork
from xai_core.models.staged import freeze, normalisation
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import cards

BUNDLED = (
    "efficientnet_lite0", "scenes_barlow", "scenes_finetuned", "scenes_supervised", "world_barlow", "world_clean",
    "world_planted",
)  # fmt: skip


def recorded_anew(card: Card) -> tuple[str, KnownNetwork]:
    checkpoint = card.checkpoints[0]
    ((path, digest),) = locate.obtain(card, checkpoint)
    module = freeze(building.filled(card, checkpoint, [path]))
    recipe = checkpoint.recipe
    normalise = normalisation(recipe.mean, recipe.std, torch.device("cpu"))
    network = replace(families.staged(card.family, module), normalise=normalise)
    record = known_networks.record_of(network, sum(one.nbytes for one in (*module.parameters(), *module.buffers())))
    assert record is not None
    return known_networks.key(card, checkpoint, digest), record


@pytest.mark.parametrize("id", BUNDLED)
def test_a_record_is_what_the_built_network_is(id):
    key, record = recorded_anew(cards()[id])
    assert known_networks._records().get(key) == record, "Write the records anew: python tests/models/test_known_networks.py"


def test_a_network_is_built_when_it_is_first_asked_and_then_answers_as_ever():
    model = loading.load_model("world_clean", device="cpu")
    assert model.cuts and model.has_classifier and model.network.has_linear_head and not model.network.projects
    assert model.network.cut_name(None) == "layer4.1" and model.nbytes > 10_000_000
    picture = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert not model.network.is_built
    plain = replace(model.network, normalise=None)
    assert type(plain) is not type(model.network) and model.network.is_built and not plain.normalises
    card = cards()["world_clean"]
    module = building.filled(card, card.checkpoints[0], [locate.locate(card.checkpoints[0].files[0])]).eval()
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.recipe.mean, model.recipe.std))
    with torch.no_grad():
        expected = module((picture - shift) / scale)
    torch.testing.assert_close(model.outputs(picture).logits, expected, atol=1e-4, rtol=1e-4)


def test_other_weights_are_not_taken_for_those_on_record(tmp_path, monkeypatch):
    card = cards()["world_clean"]
    file = card.checkpoints[0].files[0]
    state = locate.locate(file).read_bytes()
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    changed = state[:-1] + bytes([state[-1] ^ 1])
    (tmp_path / file.name).write_bytes(changed)
    assert known_networks.find(card, card.checkpoints[0], bytes_digest(state)) is not None
    assert known_networks.find(card, card.checkpoints[0], bytes_digest(changed)) is None
    other = replace(card, architecture="slim_resnet18_barlow")
    assert known_networks.find(other, card.checkpoints[0], bytes_digest(state)) is None


def test_the_names_of_the_classes_are_those_of_timm():
    info = ImageNetInfo("imagenet-1k")
    names, wnids = loading.imagenet_classes()
    assert wnids == tuple(info.label_names())
    theirs = info.label_descriptions()
    differ = {index: names[index] for index in range(1000) if names[index] != theirs[index]}
    assert differ == {134: "crane (bird)", 517: "crane (machine)"}  # nothing else tells these two apart


def test_a_model_is_loaded_without_the_libraries_that_build_it():
    code = (
        "import sys; from xai_core.models.loading import load_model; model = load_model('efficientnet_lite0');"
        "model.prepare(__import__('PIL.Image').Image.new('RGB', (300, 300))); print(model.class_name(281));"
        "assert not {'torch._dynamo', 'timm', 'torchvision'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=settings.RESOURCES)
    assert done.returncode == 0 and done.stdout.strip() == "tabby, tabby cat", done.stderr


def write() -> None:
    """Write the records anew."""
    file = Path(str(known_networks.FILE))
    file.write_text(known_networks.as_json(dict(recorded_anew(cards()[id]) for id in BUNDLED)), "utf-8")


if __name__ == "__main__":
    write()
