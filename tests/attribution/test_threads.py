"""Eight threads ask one shared model at once, each about its own picture, target, method and precision.

Every map must equal the one that was made alone, bit for bit; on processors whose kernels are not so strict, to 1e-5 of
the largest value. The last test lets a method use a hook on the shared network, and sees that the check notices.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from small_models import CHEAP, NAMES, TARGETS, TRACED, difference, pictures, refused, small, targets

from xai_core.attribution.catalog import METHODS, one_gradient
from xai_core.attribution.explain import explain
from xai_core.attribution.method import Method
from xai_core.explanation.targets import Target
from xai_core.models.explainable import ExplainableModel

THREADS = 8


class Job(NamedTuple):
    """One thing to explain."""

    method: str
    image: object
    target: Target
    precision: str


def jobs_for_eight(name, methods, turns=4):
    """Eight lists of jobs; at any moment the threads are busy with different methods and targets."""
    found = small(name)
    images, asked = pictures(THREADS, found.side, seed=7), targets(found, 5)
    every = [method for method in methods if not refused(method, name)]
    return [
        [
            Job(
                method=(method := every[(thread + turn) % len(every)]),
                image=images[thread],
                target=asked[kind_for(method, name, thread + turn)].select([(thread + turn) % 5]),
                precision="fast" if found.model.family in METHODS[method].fast and thread % 2 else "exact",
            )
            for turn in range(turns)
        ]
        for thread in range(THREADS)
    ]


def kind_for(method, name, turn):
    kind = TARGETS[turn % len(TARGETS)]
    return "logit" if refused(method, name, kind) else kind


def do(model: ExplainableModel, jobs):
    return [
        explain(model, job.image, job.method, target=job.target, precision=job.precision, **CHEAP.get(job.method, {}))
        for job in jobs
    ]


def assert_threads_do_not_disturb_each_other(model, lists):
    alone = [do(model, jobs) for jobs in lists]
    start = threading.Barrier(THREADS)

    def together(jobs):
        start.wait()
        return do(model, jobs)

    with ThreadPoolExecutor(THREADS) as pool:
        at_once = list(pool.map(together, lists))
    for one_by_one, found in zip(alone, at_once, strict=True):
        for expected, seen in zip(one_by_one, found, strict=True):
            assert difference(seen.heatmap, expected.heatmap) <= 1e-5
            assert abs(seen.target_value - expected.target_value) <= 1e-5 * abs(expected.target_value)
            assert seen.key == expected.key and seen.passes == expected.passes


@pytest.mark.parametrize("name", [*NAMES, *TRACED])
def test_threads_do_not_disturb_each_other(name):
    assert_threads_do_not_disturb_each_other(small(name).model, jobs_for_eight(name, METHODS))


@pytest.mark.parametrize("method", METHODS)
def test_one_method_in_eight_threads(method):
    name = "vit" if METHODS[method].family == "attention" else "custom"
    assert_threads_do_not_disturb_each_other(small(name).model, jobs_for_eight(name, [method], turns=2))


def test_this_check_notices_a_method_that_hooks_the_network(monkeypatch):
    """Activations kept on the shared module, as libraries with hooks do: all threads then see the last one's."""
    layer, everyone_has_looked = small("custom").parts[1], threading.Barrier(THREADS)

    def hooking(question, images):
        handle = layer.register_forward_hook(lambda module, given, found: setattr(module, "seen", found))
        question.scores(images)
        if threading.current_thread() is not threading.main_thread():
            everyone_has_looked.wait()
        handle.remove()
        return layer.seen.mean(1)

    monkeypatch.setitem(METHODS, "hooking", Method("hooking", "Hooking", "cam", hooking, "signed", one_gradient))
    model = small("custom").model
    with pytest.raises(AssertionError):
        assert_threads_do_not_disturb_each_other(model, jobs_for_eight("custom", ["hooking"]))
    del layer.seen
    assert_threads_do_not_disturb_each_other(model, jobs_for_eight("custom", ["grad_cam"]))
