"""The model box finds networks of timm and torchvision, says what each takes before anything is fetched, and downloads
one in a job; the hub is a server of this machine."""

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from hub_server import hub
from opened_pages import finished, opened, text

from xai_core.app.shared import cache, jobs, loaded_models, network_search, server_job
from xai_core.app.shared.page_links import FILES
from xai_core.data.samples import SAMPLES
from xai_core.models.zoo import library

TINY = "timm/test_vit.r160_in1k"
FILE = ("timm/test_vit.r160_in1k", "model.safetensors")


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "jobs"))
    monkeypatch.setenv("no_proxy", "*")
    cache.clear()
    jobs._registry.clear()
    ask(monkeypatch, "http://127.0.0.1:9")  # nobody listens there


def ask(monkeypatch, url):
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def button(app, label):
    return next(one for one in app.button if one.label == label)


def test_a_network_is_found_chosen_downloaded_and_used(monkeypatch):
    torch.manual_seed(0)
    state = timm.create_model("test_vit").state_dict()
    app = opened(FILES["Single image"])
    app.text_input(key="network words").set_value("R160 test_vit").run()
    box = app.selectbox(key="network found")
    assert box.options and all("test_vit" in name and "r160" in name for name in box.options) and TINY in box.options
    box.select(TINY).run()
    row = library.rows()[TINY]
    said = text(app)
    assert f"{int(row.parameters) / 1e6:.1f} million parameters" in said and "Licence of the weights: apache" in said
    with hub({FILE: safetensors.torch.save({name: value.contiguous() for name, value in state.items()})}) as served:
        ask(monkeypatch, served.url)
        button(app, "Use this network").click().run()
        assert not app.exception and app.selectbox(key="model").value == TINY and app.query_params["model"] in (TINY, [TINY])
        assert "is not on this machine. The download is about" in text(app) and not served.asked, (
            "nothing is fetched unasked"
        )
        button(app, "Download").click().run()
        app = finished(app)
    assert not app.exception and not app.error and f"{TINY} says" in text(app)
    assert [app.query_params["model"]] in ([TINY], [[TINY]]), "the address is the same as before the download"


def test_offline_the_job_says_where_the_file_belongs():
    app = opened(FILES["Single image"], model=TINY)
    button(app, "Download").click().run()
    app = finished(app)
    assert jobs.find(f"fetch {TINY}").state == server_job.FAILED
    (error,) = [one.value for one in app.error]
    assert "cannot be fetched from the Hugging Face Hub" in error and f"{TINY}/model.safetensors" in error
    assert "EfficientNet-Lite0 says" in text(app) and button(app, "Go on with the download")


@pytest.mark.parametrize(
    ("id", "said"),
    [("timm/no_such_network", "There is no model"), ("hf-hub:some/body", "lets visitors do so with XAI_HUB_CARDS=1")],
)
def test_a_link_to_what_cannot_be_used_says_so(id, said):
    app = opened(FILES["Single image"], model=id)
    assert not app.exception and said in " ".join(one.value for one in app.error)
    assert "EfficientNet-Lite0 says" in text(app)


def test_what_would_not_fit_is_refused(monkeypatch):
    card = library.find("timm/convnext_tiny")
    size = card.checkpoints[0].megabytes
    assert network_search.refusal(card) is None
    monkeypatch.setattr(loaded_models, "budget", lambda: int((size - 1) * 1e6))
    assert f"Its parameters take {size} MB, and this app keeps at most {size - 1} MB" in network_search.refusal(card)
    monkeypatch.setattr(loaded_models, "budget", lambda: int(1e12))

    class Memory:
        available = size * 1e6 * 1.5

    monkeypatch.setattr(network_search.psutil, "virtual_memory", Memory)
    assert "are free" in network_search.refusal(card)
    app = opened(FILES["Single image"], model=card.id)
    assert button(app, "Download").disabled and "of memory, and" in " ".join(one.value for one in app.warning)


def test_the_same_search_adds_a_network_to_model_comparison(monkeypatch):
    """It is chosen under its name and downloaded when that is asked for; a link names it."""
    torch.manual_seed(0)
    state = timm.create_model("test_vit").state_dict()
    app = opened(FILES["Model comparison"], picture=SAMPLES["astronaut"].title)
    before = [network.id for network in app.multiselect(key="networks").value]
    app.text_input(key="network words").set_value("r160 test_vit").run()
    app.selectbox(key="network found").select(TINY).run()
    button(app, "Use this network").click().run()
    assert not app.exception and not app.error
    assert [network.id for network in app.multiselect(key="networks").value] == [*before, TINY]
    assert "is not on this machine. The download is about" in text(app), "nothing is fetched unasked"
    assert f"{TINY} (not on this machine)" in app.query_params["networks"]
    linked = opened(FILES["Model comparison"], networks=["EfficientNet-Lite0", f"{TINY} (not on this machine)"])
    assert [network.id for network in linked.multiselect(key="networks").value] == ["efficientnet_lite0", TINY]
    with hub({FILE: safetensors.torch.save({name: value.contiguous() for name, value in state.items()})}) as served:
        ask(monkeypatch, served.url)
        button(app, "Download").click().run()
        app = finished(app)
    assert not app.exception and not app.error
    assert [network.id for network in app.multiselect(key="networks").value] == [*before, TINY], "also with another label"
    assert f"**{TINY}**" in text(app).replace("\\", ""), "it has a column"
