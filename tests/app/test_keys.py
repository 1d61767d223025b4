"""Keys of the pages' caches: every argument and every field that can change an answer changes its key.

The keys of single results are those of their requests (tests/explanation/test_keys.py); here are the keys that pages make
from more, or without loading a network.
"""

import os
from dataclasses import replace

import pytest
from changed_fields import assert_key_sees_each_argument, assert_key_sees_each_field
from small_models import pictures, small

from xai_core.app.metrics import new_run, opened_run
from xai_core.app.metrics.measurement_settings import MeasurementSettings
from xai_core.app.metrics.new_run import NewRun
from xai_core.app.misclassifications import clusters
from xai_core.app.networks import columns, scores
from xai_core.app.networks import sections as networks_sections
from xai_core.app.networks.columns import NetworkQuestion
from xai_core.app.pairs import sections, synthesis
from xai_core.app.pairs.tiles import PairSettings
from xai_core.app.pairs.views import Views
from xai_core.app.shared import cache, loaded_models, network_outputs, predictions, server_job
from xai_core.app.shared.network_choice import Network
from xai_core.app.shared.widgets import Chosen
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import request_for, with_method
from xai_core.data.datasets import Dataset
from xai_core.data.sample_list import Labelled
from xai_core.data.world.planted import clean, picture
from xai_core.explanation import rendering
from xai_core.explanation.similarity import COSINE, DotProduct
from xai_core.explanation.targets import ClassLogit
from xai_core.metrics.catalog import METRICS
from xai_core.models.zoo.catalog import find_card
from xai_core.pairs.augment import Augmentation
from xai_core.pairs.catalog import PAIR_METHODS
from xai_core.pairs.geometry import Geometry
from xai_core.pairs.parts import parts_of_views

MODEL, SIDE = small("custom").model, small("custom").side
FIRST, SECOND, THIRD = pictures(3, SIDE)
ONE, OTHER = (Chosen(rendering.to_pil(picture), "name", None, "") for picture in (FIRST, SECOND))
NETWORK, TWIN = Network("efficientnet_lite0", "tf_in1k"), Network("efficientnet_lite0", loaded_models.RANDOM)
OTHER_MODEL, OTHER_WEIGHTS = replace(MODEL, id="another"), replace(MODEL, fingerprint="another")


# --- Networks that are not loaded yet


@pytest.fixture
def own_card(tmp_path, monkeypatch):
    """A model of one's own: its card, and a file beside it."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    (tmp_path / "mine.pth").write_bytes(b"weights")
    card = tmp_path / "mine.toml"
    card.write_text('family = "resnet"\narchitecture = "resnet18"\nfile = "mine.pth"\nclasses = ["cat", "dog"]\n')
    return card


def test_weights_are_known_by_their_file_and_their_card(own_card):
    """Replaced under the same name: another file, or another list of classes."""
    file, checkpoint = own_card.with_name("mine.pth"), find_card("mine").checkpoints[0].id
    keys = [loaded_models.weights_of("mine", checkpoint)]
    assert loaded_models.weights_of("mine", checkpoint) == keys[0]
    file.write_bytes(b"longer weights")
    keys.append(loaded_models.weights_of("mine", checkpoint))
    state = file.stat()
    file.write_bytes(b"other, as long")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    keys.append(loaded_models.weights_of("mine", checkpoint))
    own_card.write_text(own_card.read_text().replace("cat", "bird"))
    keys.append(loaded_models.weights_of("mine", checkpoint))
    file.unlink()
    keys += [loaded_models.weights_of("mine", checkpoint), loaded_models.weights_of("mine", loaded_models.RANDOM)]
    assert len(set(keys)) == len(keys)


def test_half_precision_is_part_of_the_weights(monkeypatch):
    exact = loaded_models.weights_of(*NETWORK)
    monkeypatch.setenv("XAI_HALF", "1")
    assert loaded_models.weights_of(*NETWORK) != exact


@pytest.fixture
def other_weights(monkeypatch):
    """A function after whose call every network has other weights."""
    real = loaded_models.weights_of
    return lambda: monkeypatch.setattr(loaded_models, "weights_of", lambda *network: f"other than {real(*network)}")


QUESTION = NetworkQuestion("grad_cam", None, None, "words")
OTHER_QUESTIONS = {"method": "layer_cam", "target": "n02123045", "reference": "coffee"}


def other_question(field: str) -> NetworkQuestion:
    return QUESTION._replace(**{field: OTHER_QUESTIONS[field]})


def test_an_answer_of_the_model_comparison(other_weights):
    arguments = {"network": NETWORK, "chosen": ONE, "question": QUESTION}
    others = {"network": TWIN, "chosen": OTHER, "question": other_question("method")}
    assert_key_sees_each_argument(columns.answer_key, arguments, others)
    assert_key_sees_each_field(
        lambda question: columns.answer_key(NETWORK, ONE, question), QUESTION, OTHER_QUESTIONS, without={"words"}
    )
    before = columns.answer_key(**arguments)
    other_weights()
    assert columns.answer_key(**arguments) != before


def test_a_score_of_the_model_comparison(other_weights):
    settings = scores.Scoring({"deletion": {"steps": 4}, "insertion": {"steps": 4}}, 0)
    arguments = {"network": NETWORK, "chosen": ONE, "question": QUESTION, "settings": settings, "metric": "deletion"}
    others = {
        "network": TWIN, "chosen": OTHER, "question": other_question("target"), "settings": settings._replace(seed=1),
        "metric": "insertion",
    }  # fmt: skip
    assert_key_sees_each_argument(scores.key, arguments, others)
    changed = {"metrics": {"deletion": {"steps": 5}}, "seed": 1}
    assert_key_sees_each_field(lambda one: scores.key(NETWORK, ONE, QUESTION, one, "deletion"), settings, changed)
    before = scores.key(**arguments)
    other_weights()
    assert scores.key(**arguments) != before


def test_the_table_of_the_model_comparison(other_weights):
    arguments = {"networks": [NETWORK, TWIN], "sources": {"a": ONE.picture}, "question": QUESTION}
    others = {"networks": [NETWORK], "sources": {"a": OTHER.picture}, "question": other_question("target")}
    key_of = networks_sections._table_key
    assert_key_sees_each_argument(key_of, arguments, others)
    assert_key_sees_each_field(
        lambda question: key_of([NETWORK], {"a": ONE.picture}, question), QUESTION, OTHER_QUESTIONS | {"words": "others"}
    )
    before = key_of(**arguments)
    other_weights()
    assert key_of(**arguments) != before


def test_one_networks_maps_of_a_pair(other_weights):
    arguments = {"network": NETWORK, "views": VIEWS, "method": "grad_cam", "options": {"relu": True}, "seed": 0}
    others = {
        "network": TWIN,
        "views": VIEWS._replace(second=THIRD),
        "method": "interaction_cam_mean",
        "options": {"relu": False},
        "seed": 1,
    }
    assert_key_sees_each_argument(sections._network_key, arguments, others)
    before = sections._network_key(**arguments)
    other_weights()
    assert sections._network_key(**arguments) != before


def test_a_model_whose_file_has_changed_is_loaded_again(monkeypatch):
    loads = []
    monkeypatch.setattr("xai_core.models.loading.load_model", lambda *given, **more: loads.append(given) or MODEL)
    state, loaded = ["first"], loaded_models._Loaded()
    monkeypatch.setattr(loaded_models, "weights_of", lambda *network: state[0])
    monkeypatch.setattr(loaded_models, "_loaded", lambda: loaded)
    cleared = []
    monkeypatch.setattr(cache, "clear", lambda: cleared.append(len(loads)))
    for state[0] in ("first", "first", "second", "second"):
        loaded_models.model(*NETWORK)
    assert len(loads) == 2 and len(loaded_models.in_memory()) == 1
    assert cleared == [2], "results of the first are removed: their keys do not hold the card's classes and normalisation"
    assert loaded_models.loaded(*NETWORK) is MODEL
    state[0] = "third"
    assert loaded_models.loaded(*NETWORK) is None


# --- Pairs

GEOMETRY = Geometry(((0.0, 0.0, 30.0, 30.0), (10.0, 10.0, 40.0, 40.0)), (False, True))
VIEWS = Views(FIRST, SECOND, GEOMETRY, ("", ""), ONE.picture, "name")
PAIR_SETTINGS = PairSettings({"grad_cam": PAIR_METHODS["grad_cam"].checked({})}, COSINE, MODEL.cuts[-1], 0)


def test_the_metrics_of_a_pair():
    arguments = {
        "model": MODEL, "views": VIEWS, "settings": PAIR_SETTINGS,
        "methods": ["grad_cam"], "metrics": ["SI", "CE"], "step": 224,
    }  # fmt: skip
    others = {
        "model": OTHER_MODEL, "views": VIEWS._replace(first=THIRD), "settings": PAIR_SETTINGS._replace(seed=1),
        "methods": [], "metrics": ["SI", "OS"], "step": 448,
    }  # fmt: skip
    assert_key_sees_each_argument(sections._metrics_key, arguments, others)


def test_the_views_of_the_metrics_of_a_pair():
    """Also their places in the picture: OS and CE depend on them; and what a drawn picture is drawn from."""
    scenes = [picture(clean(), 0, "test", index).scene for index in (0, 1)]
    parts = [
        parts_of_views(scene, Augmentation(), seed, (48, 48))
        for scene, seed in ((scenes[0], 0), (scenes[0], 1), (scenes[1], 0))
    ]
    others = {
        "first": THIRD, "second": THIRD, "geometry": replace(GEOMETRY, mirrored=(False, False)), "parts": parts[0],
    }  # fmt: skip
    words = {"changes", "source", "name"}

    def key_of(views):
        return sections._metrics_key(MODEL, views, PAIR_SETTINGS, ["grad_cam"], ["OS"], 224)

    assert_key_sees_each_field(key_of, VIEWS, others, without=words)
    boxes = replace(GEOMETRY, boxes=(GEOMETRY.boxes[1], GEOMETRY.boxes[0]))
    assert key_of(VIEWS._replace(geometry=boxes)) != key_of(VIEWS)
    keys = [key_of(VIEWS._replace(parts=one)) for one in parts]
    assert len({*keys}) == 3, "another cut of the views, another scene"


@pytest.mark.parametrize("method", ["grad_cam", "input_x_gradient"])
def test_the_settings_of_the_metrics_of_a_pair(method):
    """The cut too where the method does not depend on it: CE compares the activations there."""
    options = PAIR_METHODS[method].checked({})
    settings = PAIR_SETTINGS._replace(methods={method: options})
    others = {
        "methods": {"class:saliency": {}}, "similarity": DotProduct(), "cut": MODEL.cuts[0], "seed": 1, "normalised": True
    }  # fmt: skip

    def key_of(settings):
        return sections._metrics_key(MODEL, VIEWS, settings, list(settings.methods), ["CE"], 224)

    assert_key_sees_each_field(key_of, settings, others)


def test_a_synthesis():
    climb = synthesis.Climb(
        (FIRST,), ClassLogit((1,)), 2, MODEL.cuts[0], {"octaves": 3, "iterations": 20, "regularisation": "blur"}
    )
    others = {
        "views": (FIRST, THIRD), "target": ClassLogit((2,)), "channel": 3, "depth": MODEL.cuts[1],
        "settings": {"octaves": 4, "iterations": 20, "regularisation": "blur"}, "mean": True, "seed": 1,
    }  # fmt: skip
    assert_key_sees_each_field(lambda one: one.key(MODEL), climb, others)
    assert climb.key(OTHER_WEIGHTS) != climb.key(MODEL)
    assert climb._replace(views=(THIRD, FIRST)).key(MODEL) != climb._replace(views=(FIRST, THIRD)).key(MODEL)


# --- Metrics


def test_a_measurement_of_the_tab_one_image():
    metric = "pointing_game"
    settings = MeasurementSettings(MODEL, ONE, ClassLogit((1,)), {metric: {"tolerance": 15}}, (1.0, 2.0, 30.0, 30.0), 0)
    others = {
        "model": OTHER_WEIGHTS, "chosen": OTHER, "target": ClassLogit((2,)), "metrics": {metric: {"tolerance": 3}},
        "box": (1.0, 2.0, 30.0, 31.0), "seed": 1,
    }  # fmt: skip

    def of_a_method(settings):
        question = request_for(settings.model, [settings.chosen.picture], target=settings.target)
        return settings.request(with_method(question, "grad_cam"), metric).key

    def of_a_control(settings):
        return settings.request(settings.request_without_method("control:random_map"), metric).key

    assert_key_sees_each_field(of_a_method, settings, others)
    assert_key_sees_each_field(of_a_control, settings, others)
    assert of_a_method(settings) != of_a_control(settings)


def test_a_measurement_of_other_versions(monkeypatch):
    settings = MeasurementSettings(MODEL, ONE, ClassLogit((1,)), {"sparseness": {}}, None, 0)

    def key():
        question = request_for(MODEL, [ONE.picture], target=settings.target)
        return settings.request(with_method(question, "grad_cam"), "sparseness").key

    keys = [key()]
    monkeypatch.setitem(METRICS, "sparseness", replace(METRICS["sparseness"], version=99))
    keys.append(key())
    monkeypatch.setitem(METHODS, "grad_cam", replace(METHODS["grad_cam"], version=99))
    keys.append(key())
    assert len(set(keys)) == 3


def test_the_plan_of_a_new_run():
    new = NewRun("name", "samples", 8, ("a",), ("grad_cam",), ("deletion",), "predicted", 0)
    others = {
        "name": "other", "pictures": "others", "count": 9, "networks": ("a", "b"), "methods": ("saliency",),
        "metrics": ("insertion",), "target": "label", "seed": 1,
    }  # fmt: skip
    assert_key_sees_each_field(repr, new, others)


# --- Outputs, predictions, clusters, jobs


def test_logits_and_embeddings(monkeypatch):
    """Of other pictures, models and weights, and of each other; each is computed once."""
    stored = {}

    def get_or_compute(key, compute):
        return stored.setdefault(key, compute())

    monkeypatch.setattr(network_outputs.cache, "get_or_compute", get_or_compute)
    for model in (MODEL, OTHER_MODEL, OTHER_WEIGHTS):
        for chosen in (ONE, OTHER, ONE):
            network_outputs.logits(model, model.prepare(chosen.picture))
            network_outputs.embedding(model, chosen.picture)
    assert len(stored) == 12


def dataset(content: bytes = b"one", label: str = "cat") -> Dataset:
    return Dataset("title", (Labelled("cat/a.png", label),), {"cat/a.png": content}.__getitem__)


def test_the_file_of_predictions():
    arguments = {"model": MODEL, "dataset": dataset()}
    assert_key_sees_each_argument(predictions.file_of, arguments, {"model": OTHER_MODEL, "dataset": dataset(b"two")})
    normalised = replace(MODEL, recipe=replace(MODEL.recipe, mean=(0.1, 0.1, 0.1)))
    models = [MODEL, OTHER_WEIGHTS, normalised, replace(MODEL, class_names=("cat", "dog"))]
    files = {predictions.file_of(model, dataset()) for model in models} | {predictions.file_of(MODEL, dataset(label="dog"))}
    assert len(files) == 5


def test_the_maps_of_clusters():
    arguments = {
        "model": MODEL, "dataset": dataset(), "paths": ["cat/a.png"], "method": "grad_cam", "column": "true"
    }  # fmt: skip
    others = {
        "model": OTHER_WEIGHTS, "dataset": dataset(b"two"), "paths": [], "method": "layer_cam", "column": "predicted"
    }  # fmt: skip
    assert_key_sees_each_argument(clusters.key_of, arguments, others)
    assert clusters.key_of(**arguments | {"model": OTHER_MODEL}) != clusters.key_of(**arguments)


def test_a_stored_job():
    arguments = {"kind": "run", "settings": {"seed": 0, "name": "a"}}
    assert_key_sees_each_argument(server_job.key_of, arguments, {"kind": "classify", "settings": {"seed": 1, "name": "a"}})
    assert server_job.key_of("run", {"name": "a", "seed": 0}) == server_job.key_of(**arguments), "their order does not count"


def test_the_job_of_a_new_run():
    new = NewRun("name", "samples", 8, ("a",), ("grad_cam",), ("deletion",), "predicted", 0)
    arguments, others = {"new": new, "minutes": 10.0}, {"new": replace(new, seed=1), "minutes": 11.0}
    assert_key_sees_each_argument(new_run._job_key, arguments, others)
    changes = {
        "name": "other", "pictures": "others", "count": 9, "networks": ("a", "b"), "methods": ("saliency",),
        "metrics": ("insertion",), "target": "label", "seed": 1,
    }  # fmt: skip
    assert_key_sees_each_field(lambda new: new_run._job_key(new, 10.0), new, changes)


@pytest.mark.parametrize("change", ["size", "time", "name", "number"])
def test_the_parts_of_a_run(change, tmp_path):
    """Tables of a run are made again when a part is added, renamed or replaced."""
    part = tmp_path / "parts" / "0-abc.parquet"
    part.parent.mkdir()
    part.write_bytes(b"rows")
    before, state = opened_run._parts(tmp_path), part.stat()
    assert opened_run._parts(tmp_path) == before
    if change == "number":
        part.with_name("1-def.parquet").write_bytes(b"rows")
    elif change == "name":
        part.rename(part.with_name("0-abd.parquet"))
    else:
        part.write_bytes(b"more rows" if change == "size" else b"sowr")
        os.utime(part, ns=(state.st_atime_ns, state.st_mtime_ns + (change == "time")))
    assert opened_run._parts(tmp_path) != before
