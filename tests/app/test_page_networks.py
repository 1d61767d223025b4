"""The model-comparison page: columns, questions, sections; a network that cannot be loaded leaves its message."""

import itertools

import pytest
from opened_pages import chart_tables, finished, followed, opened, press_row, text
from small_models import custom

from xai_core.app import home
from xai_core.app.networks import sections
from xai_core.app.shared import network_choice, network_outputs
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.data.datasets import open_dataset
from xai_core.data.preprocessing import stack
from xai_core.data.samples import SAMPLES, load_sample
from xai_core.data.scene_parts import scene_parts
from xai_core.data.world.planted import MARKED
from xai_core.metrics.catalog import METRICS, PUBLISHED_PRESET
from xai_core.metrics.measure import measure_all
from xai_core.models.loading import load_model
from xai_core.models.pass_times import PassTimes
from xai_core.models.zoo.catalog import cards

MODELS = "pages/3_Model_comparison.py"


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """Only the embedded network is there, and none can be fetched."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))


PHOTOGRAPH = {
    "picture": SAMPLES["astronaut"].title,
    "networks": ["EfficientNet-Lite0", "EfficientNet-Lite0, untrained"],
    "many": sections.BUNDLED,
}


def test_the_page_begins_with_the_planted_network_beside_the_clean_one_on_a_picture_with_the_mark():
    """Without a click: one takes the marked picture for what bore the mark in its training, the other for what it shows."""
    app = opened(MODELS)
    assert not app.error and not app.warning and not any(button.label == "Compare" for button in app.button)
    assert [network.id for network in app.multiselect(key="networks").value] == ["world_planted", "world_clean"]
    assert app.selectbox(key="picture").value == "A picture of a dataset"
    world, name = network_choice.SHORTCUT
    assert app.selectbox(key="of dataset").value == world and app.selectbox(key="sample of dataset").value == name
    dataset = open_dataset(world)
    label = next(sample.label for sample in dataset.samples if sample.name == name)
    tops = {id: load_model(id).top_k(dataset.open(name), 1)[0] for id in ("world_planted", "world_clean")}
    assert tops["world_planted"].name == MARKED != label and tops["world_clean"].name == label
    assert all(f"**{top.probability:.1%} {top.name}**" in text(app) for top in tops.values())
    assert dataset.metadata.loc[name, "mark"] and f"only pictures of {MARKED}s had it" in text(app)


def test_the_maps_of_the_first_picture_show_the_difference():
    """That of the planted network lies more on the mark than on the thing, that of the clean one the other way round."""
    dataset = open_dataset(network_choice.SHORTCUT[0])
    picture, scene = dataset.open(network_choice.SHORTCUT[1]), dataset.scene(network_choice.SHORTCUT[1])
    near = {}
    for id in ("world_planted", "world_clean"):
        model = load_model(id)
        parts = scene_parts(scene, model.prepare(picture), model.prepare)
        heatmap = explain(model, picture, next(iter(METHODS))).to_input()
        mark, thing = parts.masks[parts.names.index("mark")] > 0.5, parts.thing()
        near[id] = heatmap[mark].mean() / heatmap[thing].mean()
    assert near["world_planted"] > 2 and near["world_clean"] < 0.5


def test_one_class_is_one_of_the_networks_own_classes():
    app = opened(MODELS, ask="One class")
    listed = app.selectbox(key="class").options
    assert listed == list(load_model("world_clean").class_names) and not app.error
    app.selectbox(key="class").set_value("car").run()
    assert text(app).count("car = ") == 2 and not app.error
    app = opened(MODELS, ask="One class", networks=[cards()["world_clean"].title, "EfficientNet-Lite0"])
    assert app.selectbox(key="class").value == "tabby, tabby cat (281)"
    assert app.selectbox(key="class").options[:10] == listed and len(app.selectbox(key="class").options) == 1010


def test_without_the_networks_of_the_worlds_the_page_begins_with_a_photograph(monkeypatch):
    monkeypatch.setattr(network_choice, "PLANTED", "no_such_network")
    app = opened(MODELS)
    assert app.selectbox(key="picture").value == SAMPLES["astronaut"].title
    assert "EfficientNet-Lite0, untrained" in [network.title for network in app.multiselect(key="networks").value]


def test_the_example_on_home_names_its_networks():
    app = followed(opened(), next(label for label in home.EXAMPLES if "untrained twin" in label))
    assert app.selectbox(key="picture").value == "Rocket" and not app.error
    names = [network.title for network in app.multiselect(key="networks").value]
    assert names == ["EfficientNet-Lite0", "EfficientNet-Lite0, untrained"]


def test_a_network_stands_beside_its_untrained_twin():
    app = opened(MODELS, **PHOTOGRAPH)
    said = text(app)
    assert "EfficientNet-Lite0, untrained" in said and "football helmet" in said and "MB of weights" in said
    assert len(app.get("vega_lite_chart")) == 2 and not app.error


@pytest.mark.parametrize(
    ("ask", "says"), [("One class", "tabby"), ("Similarity", "Similarity to"), ("Own top class", "own top class")]
)
def test_each_question_is_answered(ask, says):
    app = opened(MODELS, ask=ask, **PHOTOGRAPH)
    assert says.lower() in text(app).lower() and not app.error


def test_a_network_that_is_not_in_memory_is_measured_by_its_untrained_twin(monkeypatch):
    """Of few passes nothing is measured: loading takes longer. What was measured once is known from then on."""
    loaded: list[tuple[str, str]] = []

    def load(id, weights, half):
        loaded.append((id, weights))
        return custom().model

    times = PassTimes()
    monkeypatch.setattr(network_outputs, "pass_times", lambda: times)
    monkeypatch.setattr(network_outputs, "load_model", load)
    monkeypatch.setattr(network_outputs.loaded_models, "loaded", lambda id, checkpoint: None)
    assert network_outputs.network_seconds("resnet50", "IMAGENET1K_V2", 2) == 2 * network_outputs.UNMEASURED_SECONDS
    assert not loaded
    monkeypatch.setattr(PassTimes, "seconds", lambda times, model, passes=1: 0.25)
    assert network_outputs.network_seconds("resnet50", "IMAGENET1K_V2", 400) == 400 * 0.25
    assert loaded == [("resnet50", "random")]
    monkeypatch.setattr(PassTimes, "latest", lambda times, id: 0.25)
    assert network_outputs.network_seconds("resnet50", "IMAGENET1K_V2", 400) == 400 * 0.25 and len(loaded) == 1


def test_chosen_metrics_stand_under_each_map_beside_the_random_map():
    """The scores are those of `measure_all` for the maps made anew; none is chosen at first."""
    names = ["sparseness", "entropy", "energy_pointing_game"]
    app = opened(MODELS, metrics=[METRICS[name].title for name in names], **PHOTOGRAPH)
    assert not app.error
    picture, found = load_sample("astronaut"), []
    for weights in (None, "random"):
        model = load_model("efficientnet_lite0", weights)
        explanation = explain(model, picture, next(iter(METHODS)))
        scores = {key: one for name, key, one in measure_all(model, picture, {"map": explanation}, names) if name == "map"}
        for name in names[:2]:
            control = scores[name].controls["control:random_map"]
            better = scores[name].value > control if name == "sparseness" else scores[name].value < control
            badge = "" if better else " :orange-badge[no better]"
            arrow = {"sparseness": "↑", "entropy": "↓"}[name]
            found.append(f"{METRICS[name].title} {arrow} **{scores[name].value:.3g}**; random map {control:.3g}{badge}")
    assert all(line in text(app) for line in found), found
    assert "Energy pointing game ↑ **no value** (Energy pointing game needs a box" in text(app)
    app.multiselect(key="metrics").set_value([]).run()
    assert "random map" not in text(app)
    next(button for button in app.button if button.label == "As published").click().run()
    assert app.multiselect(key="metrics").value == list(PUBLISHED_PRESET)
    assert any(button.label == "Measure" for button in app.button) and not app.error


@pytest.mark.parametrize("section", ["Difference", "Many pictures", "Download"])
def test_each_section_opens(section):
    app = opened(MODELS, more=section, **PHOTOGRAPH)
    assert not app.error
    if section == "Difference":
        assert "puts more weight there" in text(app)
    if section == "Download":
        assert len(app.get("download_button")) == 3


def test_uniform_maps_have_no_rank_correlation():
    said = text(opened(MODELS, **PHOTOGRAPH, more="Difference", method=METHODS["uniform_map"].title))
    assert "Rank correlation of the two maps: undefined, because a map is uniform." in said and "nan" not in said


def test_many_pictures_become_a_table():
    app = opened(MODELS, more="Many pictures", **PHOTOGRAPH)
    if app.button and any(one.label == "Compute the table" for one in app.button):
        finished(next(one for one in app.button if one.label == "Compute the table").click().run())
    (table,) = app.dataframe
    assert len(table.value) == 8 and "map agreement" in table.value
    assert list(table.value["map agreement"]) == sorted(table.value["map agreement"])
    name = table.value["picture"][5]
    assert app.selectbox(key="picture").value != name
    assert press_row(app, "many pictures", 5).selectbox(key="picture").value == name


def test_the_same_top_class_is_counted_over_pairs_of_networks():
    """From each network's own logits. The trained network of ImageNet and its untrained twin know the same classes, those of
    scenes others."""
    titles = {
        "efficientnet_lite0": "EfficientNet-Lite0",
        "efficientnet_lite0/random": "EfficientNet-Lite0, untrained",
        "scenes_supervised": cards()["scenes_supervised"].title,
        "scenes_finetuned": cards()["scenes_finetuned"].title,
    }
    tops = []
    for id in titles:
        name, _, checkpoint = id.partition("/")
        model = load_model(name, checkpoint or None)
        logits = model.outputs(stack([model.prepare(load_sample("coffee"))], model.device)).logits[0]
        tops.append(model.class_name(int(logits.argmax())))
    app = opened(MODELS, networks=[*titles.values()], picture=SAMPLES["coffee"].title)
    cells = chart_tables(app, {"method", "other", "agreement"})[1].set_index(["method", "other"])["agreement"]
    pairs = list(itertools.combinations(zip(titles.values(), tops, strict=True), 2))
    for (first, top), (second, other) in pairs:
        assert cells[first, second] == cells[second, first] == (top == other)
    same = sum(top == other for (_, top), (_, other) in pairs)
    assert f"{same} of 6 pairs" in text(app)


def test_one_network_is_not_enough():
    app = opened(MODELS, networks="EfficientNet-Lite0")
    assert "at least two" in app.info[0].value


def test_a_folder_under_data_becomes_a_table(tmp_path, monkeypatch):
    """A broken file leaves empty cells; a link can name a folder, and nothing else."""
    for name in ("rocket", "coffee"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        load_sample(name).resize((64, 64)).save(tmp_path / "mine" / name / "one.png")
    (tmp_path / "mine" / "coffee" / "broken.png").write_bytes(b"no picture")
    monkeypatch.setenv("XAI_DATA", str(tmp_path))
    app = opened(MODELS, **PHOTOGRAPH | {"more": "Many pictures", "many": "mine"})
    for one in app.button:
        if one.label == "Compute the table":
            finished(one.click().run())
            break
    (table,) = app.dataframe
    assert sorted(table.value["picture"]) == ["coffee/broken.png", "coffee/one.png", "rocket/one.png"]
    press_row(app, "many pictures", list(table.value["picture"]).index("rocket/one.png"))
    assert app.selectbox(key="picture").value == "A picture of a dataset"
    assert app.selectbox(key="of dataset").value == "mine"
    assert app.selectbox(key="sample of dataset").value == "rocket/one.png"
    assert not opened(MODELS, asks=True, **PHOTOGRAPH | {"more": "Many pictures", "many": "../../etc"}).exception


def test_pictures_of_a_large_folder_are_evenly_spread(tmp_path, monkeypatch):
    (tmp_path / "mine" / "rocket").mkdir(parents=True)
    for number in range(5):
        load_sample("rocket").resize((64, 64)).rotate(number).save(tmp_path / "mine" / "rocket" / f"{number}.png")
    monkeypatch.setenv("XAI_DATA", str(tmp_path))
    monkeypatch.setattr(sections, "MOST_PICTURES", 3)
    app = opened(MODELS, **PHOTOGRAPH | {"more": "Many pictures", "many": "mine"})
    (table,) = app.dataframe
    assert sorted(table.value["picture"]) == ["rocket/0.png", "rocket/1.png", "rocket/3.png"]
    assert "3 of 5 pictures, evenly spread" in text(app)


def test_networks_that_are_not_here_are_marked_and_come_last():
    app = opened(MODELS)
    labels = next(one for one in app.multiselect if one.key == "networks").options
    marked = [label.endswith("(not on this machine)") for label in labels]
    assert any(marked) and marked == sorted(marked)
    assert labels.index("EfficientNet-Lite0, untrained") < marked.index(True)
    models = next(one for one in opened("pages/1_Single_image.py").selectbox if one.key == "model").options
    marked = [label.endswith("(not on this machine)") for label in models]
    assert not marked[0] and any(marked) and marked == sorted(marked)


@pytest.mark.parametrize("mark", ["", " (not on this machine)"])
def test_a_link_names_a_network_whether_or_not_its_weights_were_there(mark):
    """Both ways: made where the weights were (or were not), opened where they are not (or are)."""
    app = opened(MODELS, networks=[f"EfficientNet-Lite0{mark}", f"EfficientNet-Lite0, untrained{mark}"])
    assert [network.title for network in app.multiselect(key="networks").value] == [
        "EfficientNet-Lite0", "EfficientNet-Lite0, untrained",
    ]  # fmt: skip
    assert not app.error and not app.warning
    app = opened("pages/1_Single_image.py", model=f"DeiT-B/16{mark}")
    assert app.selectbox(key="model").value.startswith("deit")
