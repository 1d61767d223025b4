"""What metrics and maps of one picture share never mixes up two of them: measured together, each value is what it is alone.

Every metric is measured with its usual options and, for each of its options, with another value, all in one stream: a
shared result whose key leaves an option out would be taken for that of another option.
"""

import numpy as np
import pytest
from small_models import pictures, small

from xai_core.attribution.explain import explain
from xai_core.core.options import Choice, options_of
from xai_core.metrics.catalog import METRICS
from xai_core.metrics.measure import measure_all

MODEL, (PICTURE,) = small("custom").model, pictures(1, small("custom").side)
BOX = (5.0, 5.0, 30.0, 30.0)
FEW = {  # options that make a metric quick on a small picture, and another value of each
    "samples": (10, 20), "steps": (4, 6), "regions": (5, 10), "segments": (20, 30), "levels": (3, 4), "seeds": (1, 2),
    "classes": (1, 2), "cells": (4, 6), "window": (16, 24), "pixels": (300, 500), "radius": (0.02, 0.1),
}  # fmt: skip


def usual(metric):
    return {option.name: FEW.get(option.name, (option.default,))[0] for option in options_of(metric.run)}


def other_value(option):
    if option.name in FEW:
        return FEW[option.name][1]
    if isinstance(option.bounds, Choice):
        return next(value for value in option.bounds.values if value != option.default)
    if option.kind is bool:
        return not option.default
    step = option.bounds.step or 1
    return option.default + step if option.default + step <= option.bounds.high else option.default - step


VARIANTS = {id: usual(metric) for id, metric in METRICS.items()} | {
    f"{id}@{option.name}": usual(metric) | {option.name: other_value(option)}
    for id, metric in METRICS.items()
    for option in options_of(metric.run)
}
MAPS = {name: explain(MODEL, PICTURE, name, target=1) for name in ("grad_cam", "saliency")}


def measured(metrics, maps=MAPS):
    rows = measure_all(MODEL, PICTURE, maps, metrics, target=1, box=BOX, controls=False)
    return {(metric, name): measurement.value for name, metric, measurement in rows}


@pytest.fixture(scope="module")
def together():
    return measured(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_metric_is_what_it_is_alone(variant, together):
    alone = measured({variant: VARIANTS[variant]})
    expected = [together[key] for key in alone]
    assert np.allclose(list(alone.values()), expected, rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("name", MAPS)
def test_each_map_is_what_it_is_alone(name, together):
    alone = measured({id: usual(metric) for id, metric in METRICS.items()}, {name: MAPS[name]})
    expected = [together[key] for key in alone]
    assert np.allclose(list(alone.values()), expected, rtol=1e-5, atol=1e-7, equal_nan=True)


def test_most_options_change_the_value(together):
    """So that the tests above tell options apart at all."""
    variants = [key for key in together if "@" in key[0]]
    same = [key for key in variants if together[key] == together[key[0].partition("@")[0], key[1]]]
    assert len(same) < 0.35 * len(variants), same
