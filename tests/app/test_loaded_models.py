"""The models in memory: which stay by bytes, on the CPU and on a GPU that is full."""

from types import SimpleNamespace

import pytest
import torch

from xai_core.app.shared import loaded_models
from xai_core.core import runtime
from xai_core.core.errors import OutOfMemory

GB, NETWORKS = 10**9, ("resnet50", "efficientnet_lite0", "scenes_supervised")


@pytest.fixture
def device(monkeypatch):
    """A faked device: `total` and `free` bytes (None: no GPU), models of `sizes` bytes; `held` is what they take there."""
    state, loaded = SimpleNamespace(total=None, sizes=dict.fromkeys(NETWORKS, GB), loads=[]), loaded_models._Loaded()

    def held():
        return loaded.models.currsize

    def memory(where):
        return None if state.total is None else runtime.Memory(state.total - held(), state.total)

    def load(id, checkpoint, half):
        state.loads.append(id)
        if state.total is not None and held() + state.sizes[id] > state.total:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return SimpleNamespace(id=id, nbytes=state.sizes[id])

    card = SimpleNamespace(title="A network", base="", checkpoints=[SimpleNamespace(id="default", megabytes=1000)])
    monkeypatch.setattr(loaded_models, "_loaded", lambda: loaded)
    monkeypatch.setattr(loaded_models, "find_card", lambda id: card)
    monkeypatch.setattr(loaded_models, "weights_of", lambda *network: "same")
    monkeypatch.setattr("xai_core.models.loading.load_model", load)
    monkeypatch.setattr(runtime, "gpu_memory", memory)
    monkeypatch.setattr(runtime, "RELEASES", [])
    return state


def ids():
    return [id for id, _, _ in loaded_models.in_memory()]


def ask(*networks):
    for id in networks:
        loaded_models.model(id, "default")


def test_without_a_gpu_the_budget_decides_and_a_model_above_it_stays_alone(device, monkeypatch):
    assert loaded_models.budget() == 800_000_000
    ask(*NETWORKS)
    assert ids() == ["scenes_supervised"]
    monkeypatch.setenv("XAI_MODELS_GB", "2")
    ask("resnet50", "scenes_supervised", "efficientnet_lite0")
    assert ids() == ["scenes_supervised", "efficientnet_lite0"], "the least recently used left"


def test_a_model_that_takes_more_than_its_card_says_makes_others_leave(device, monkeypatch):
    monkeypatch.setenv("XAI_MODELS_GB", "2.5")
    device.sizes["efficientnet_lite0"] = 2 * GB
    ask("resnet50", "efficientnet_lite0")
    assert ids() == ["efficientnet_lite0"]


def test_on_a_gpu_several_models_stay_as_long_as_as_much_is_left_for_passes(device):
    device.total = 24 * GB
    assert loaded_models.budget() == 12 * GB
    ask(*NETWORKS)
    assert ids() == list(NETWORKS)
    device.total = 4 * GB
    assert loaded_models.budget() == 2 * GB
    loaded_models.forget(["scenes_supervised"])
    ask("resnet50", "scenes_supervised")  # used last: the other one leaves
    assert ids() == ["resnet50", "scenes_supervised"]


def test_a_gpu_that_others_fill_keeps_fewer_models_than_its_budget(device, monkeypatch):
    device.total = 3 * GB
    monkeypatch.setenv("XAI_MODELS_GB", "100")
    ask("resnet50")
    assert ids() == ["resnet50"]
    ask("efficientnet_lite0")
    assert ids() == ["resnet50", "efficientnet_lite0"]  # 2 GB were free: one for it, one for passes
    ask("scenes_supervised")
    assert ids() == ["efficientnet_lite0", "scenes_supervised"]


def test_a_model_that_does_not_fit_is_loaded_without_the_least_used_ones_or_refused(device, monkeypatch):
    device.total = 8 * GB
    ask("resnet50", "efficientnet_lite0")
    device.sizes["scenes_supervised"] = 7 * GB  # its card says 1
    ask("scenes_supervised")
    assert ids() == ["scenes_supervised"] and device.loads.count("scenes_supervised") == 2
    loaded_models.forget(NETWORKS)
    device.sizes["resnet50"] = 9 * GB
    with pytest.raises(OutOfMemory, match="A network does not fit into the memory of cpu"):
        ask("resnet50")
    assert ids() == []


def test_a_run_that_finds_no_memory_gets_that_of_the_least_used_model(device, monkeypatch):
    device.total = 100 * GB
    ask(*NETWORKS)
    tried = []

    def run(rows):
        tried.append(ids())
        if len(ids()) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return rows

    assert runtime.each_batch(run, 1, 1) == [range(1)]
    assert tried == [list(NETWORKS), list(NETWORKS[1:]), ["scenes_supervised"]]
    assert not loaded_models.release(), "what is computed with stays"
