"""Every metric of the registry, by being listed: its range, its cost, its direction where the truth is known, its words."""

import math
import re

import numpy as np
import pytest
import torch
from quadrants import BOX, INVERTED, RANDOM, SIDE, TRUE, UNIFORM, convolutions, picture, reader
from small_models import pictures, small

from xai_core.attribution.explain import explain_methods
from xai_core.core.errors import UnknownName
from xai_core.core.options import check_options, options_of
from xai_core.explanation.targets import ClassLogit
from xai_core.metrics.catalog import METRICS, PUBLISHED_PRESET, QUICK, find_metric
from xai_core.metrics.measure import CONTROLS, measure, measure_all, passes
from xai_core.metrics.metric import HIGHER, LOWER, NEEDS

CHEAP = {  # options that make the slow metrics quick, and that fit pictures of 48 pixels
    "region_perturbation": {"window": 4, "regions": 20},
    "irof": {"segments": 30, "steps": 5},
    "faithfulness_correlation": {"samples": 20},
    "sensitivity_n": {"samples": 25},
    "infidelity": {"samples": 20},
    "road": {"levels": 3},
    "road_most_relevant_first": {"levels": 3},
    "road_least_relevant_first": {"levels": 3},
    "max_sensitivity": {"samples": 2},
    "average_sensitivity": {"samples": 2},
    "local_lipschitz": {"samples": 2},
    "relative_input_stability": {"samples": 2},
    "relative_output_stability": {"samples": 2},
    "parameter_randomisation": {"steps": 2, "seeds": 2},
    "efficient_parameter_randomisation": {"seeds": 2},
    "random_logit": {"classes": 2},
}
NEED_METHOD = [name for name, metric in METRICS.items() if "method" in metric.needs]
TELLING = [name for name, metric in METRICS.items() if metric.family in ("faithfulness", "localisation")]


def explained(model, image, *methods, target=0):
    return dict(explain_methods(model, image, {name: {} for name in methods}, target=target))


@pytest.mark.parametrize("kind", ["custom", "vit"])
def test_every_metric_is_in_its_range_costs_what_it_says_and_stands_beside_controls(kind):
    found = small(kind)
    image = pictures(1, found.side)[0]
    maps = explained(found.model, image, "grad_cam", "saliency", target=1)
    maps["an array"] = np.random.default_rng(1).normal(size=(7, 7))
    metrics = {name: CHEAP.get(name, {}) for name in METRICS}
    rows = list(measure_all(found.model, image, maps, metrics, box=(5, 5, 30, 30)))
    assert {(name, metric) for name, metric, _ in rows} == {(m, n) for m in (*CONTROLS, *maps) for n in METRICS}
    for name, key, one in rows:
        metric = METRICS[key]
        low, high = metric.range
        assert type(one.value) is float and (math.isnan(one.value) or low <= one.value <= high), (name, key, one.value)
        assert not math.isnan(one.value) or one.note, (name, key)
        assert math.isnan(one.value) or (one.curve is None) == (metric.axes is None)
        assert set(one.controls) == (set() if name in CONTROLS else set(CONTROLS))
        assert all(isinstance(fact, float) for fact in one.facts.values()), (key, one.facts)
        if name == "an array" and "method" in metric.needs:
            assert math.isnan(one.value) and NEEDS["method"] in one.note
        elif name in maps and not one.note:
            again = maps[name] if name != "an array" else None
            assert one.passes == passes(key, metrics[key], again and again.method, again and again.options), (name, key)


def test_the_order_of_maps_and_what_else_is_measured_change_nothing():
    model, image = reader(), picture()
    maps = {"true": TRUE, "random": RANDOM}
    metrics = {name: CHEAP.get(name, {}) for name in METRICS if name not in NEED_METHOD}
    together = {(name, key): one.value for name, key, one in measure_all(model, image, maps, metrics, box=BOX)}
    for key, options in metrics.items():
        alone = measure(model, image, RANDOM, key, box=BOX, controls=False, **options)
        assert alone.value == pytest.approx(together["random", key], abs=1e-6, nan_ok=True), key


@pytest.mark.parametrize("name", [name for name in TELLING if name not in NEED_METHOD])
def test_the_true_map_of_a_network_that_reads_one_quadrant_is_ranked_first(name):
    model, image, metric = reader(), picture(), METRICS[name]
    maps = {"true": TRUE, "inverted": INVERTED, "random": RANDOM, "uniform": UNIFORM}
    options = CHEAP.get(name, {}) if name != "region_perturbation" else {"regions": 30}
    rows = measure_all(model, image, maps, {name: options}, box=BOX, controls=False, target=ClassLogit((0,)))
    values = {which: one.value for which, _, one in rows}
    sign = {HIGHER: 1, LOWER: -1}[metric.direction]
    true = sign * values.pop("true")
    blind_to_all = name in ("average_gain", "increase_in_confidence")  # seen through the true map this score does not rise
    blind_to_uniform = blind_to_all or name == "average_drop"  # a map that shows everything loses nothing
    for which, value in values.items():
        if blind_to_all or (which == "uniform" and blind_to_uniform):
            assert true >= sign * value - 1e-6, (which, true, value)
        else:
            assert math.isnan(value) or true > sign * value + 1e-4, (which, true, value)


def test_metrics_that_make_maps_again_know_a_method_that_does_not_depend_on_the_network():
    model, image = convolutions(), picture()
    maps = explained(model, image, "saliency", "edge_detector", "random_map", "input_x_gradient")
    metrics = {name: CHEAP.get(name, {}) for name in NEED_METHOD}
    rows = measure_all(model, image, maps, metrics, controls=False)
    found = {(name, key): one.value for name, key, one in rows}
    for name in ("parameter_randomisation", "random_logit"):
        assert found["edge_detector", name] == pytest.approx(1)
        assert found["saliency", name] < 0.999
    assert found["edge_detector", "efficient_parameter_randomisation"] == pytest.approx(0)
    for name in ("max_sensitivity", "average_sensitivity", "local_lipschitz", "relative_input_stability"):
        assert found["random_map", name] == 0 < found["saliency", name]
    assert found["edge_detector", "flip_consistency"] == pytest.approx(1, abs=1e-3)
    assert found["edge_detector", "flip_consistency"] > found["random_map", "flip_consistency"]


def test_a_gradient_depends_on_the_function_alone_and_guided_backpropagation_does_not():
    model, image = convolutions(), picture()
    maps = explained(model, image, "saliency", "guided_backprop", "integrated_gradients")
    rows = measure_all(model, image, maps, ["implementation_invariance", "completeness_error"], controls=False)
    found = {(name, key): one for name, key, one in rows}
    assert found["saliency", "implementation_invariance"].value < 1e-3
    assert found["guided_backprop", "implementation_invariance"].value > 0.1
    assert found["saliency", "implementation_invariance"].facts["output"] < 1e-5
    assert found["integrated_gradients", "completeness_error"].value < 0.05
    assert found["saliency", "completeness_error"].value > 0.1


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_says_what_it_is(metric):
    assert re.search(r"(arXiv:\d{4}\.\d{4,5}|doi:10\.\S+)$", metric.source), metric.source
    assert metric.sentence.endswith(".") and metric.sentence.count(". ") == 0
    assert metric.definition and "value" in metric.definition
    assert metric.direction in (HIGHER, LOWER, "") and metric.needs <= set(NEEDS)
    families = ("faithfulness", "robustness", "localisation", "complexity", "randomisation", "axioms", "ground truth")
    assert metric.family in families
    assert all(option.help for option in options_of(metric.run))
    assert metric.range[0] < metric.range[1]


def test_names_presets_and_variants():
    assert find_metric("Energy pointing game").id == find_metric("energy-pointing-game").id == "energy_pointing_game"
    assert find_metric("deletion@blur") is METRICS["deletion"]
    with pytest.raises(UnknownName, match="There is no metric 'delation'"):
        find_metric("delation")
    assert sum(passes(name) for name in QUICK) < 60
    for name, options in PUBLISHED_PRESET.items():
        check_options(METRICS[name].run, options)
    assert METRICS["deletion"].variant_title({"substrate": "dataset mean", "pixels": 224}) == (
        "Deletion (dataset mean, 16 steps, 224 pixels, confidence)"
    )
    assert METRICS["entropy"].variant_title({}) == "Entropy"


def test_two_variants_of_a_metric_in_one_run():
    metrics = {"deletion@zero": {}, "deletion@blur": {"substrate": "blur"}}
    rows = {key: one for _, key, one in measure_all(reader(), picture(), {"m": RANDOM}, metrics, controls=False)}
    assert set(rows) == set(metrics) and rows["deletion@zero"].value != rows["deletion@blur"].value


def test_a_uniform_map_scores_what_chance_would_in_localisation():
    found = {
        name: measure(reader(), picture(), UNIFORM, name, box=BOX, controls=False).value
        for name in TELLING
        if "box" in METRICS[name].needs
    }
    tolerated = ((SIDE / 2 + 15) / SIDE) ** 2
    assert found.pop("pointing_game") == pytest.approx(tolerated, abs=0.03)
    assert set(np.round(list(found.values()), 9)) == {0.25}


def test_every_random_number_comes_from_the_seed():
    metrics = {name: CHEAP.get(name, {}) for name in METRICS if name not in NEED_METHOD}
    model, image, map_with_ties = reader(), picture(), {"map": np.round(3 * RANDOM)}
    state = torch.random.get_rng_state()
    first, again, other = (
        [one.value for _, _, one in measure_all(model, image, map_with_ties, metrics, seed=seed, box=BOX)]
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again, equal_nan=True) and not np.array_equal(first, other, equal_nan=True)
    assert torch.equal(state, torch.random.get_rng_state())
