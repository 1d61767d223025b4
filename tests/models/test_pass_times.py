"""Estimates of time are within a factor of two on an idle and on a busy machine; the clock here is a made one."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from small_models import custom, pair

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import explanation_seconds, forward_passes, method_passes
from xai_core.attribution.explain import answer, request_for, with_method
from xai_core.core import runtime
from xai_core.core.options import options_of
from xai_core.models.explainable import ExplainableModel
from xai_core.models.pass_times import BATCHES, ENOUGH_SECONDS, FRESH_FACTOR, FRESH_SECONDS, PassTimes
from xai_core.models.staged import StagedNetwork


@dataclass
class Machine:
    """A clock that moves when batches are computed: the first one sets things up, every third one is disturbed."""

    per_picture: float
    now: float = 0.0
    batches: int = 0
    sizes: tuple[int, ...] = ()

    def clock(self) -> float:
        return self.now

    def work(self, pictures: int) -> None:
        slower = 20.0 if self.batches == 0 else 5.0 if self.batches % 3 == 2 else 1.0
        self.now += pictures * self.per_picture * slower
        self.batches += 1
        self.sizes += (pictures,)


@pytest.fixture
def timed(monkeypatch) -> Callable[[float], tuple[Machine, PassTimes]]:
    def make(per_picture: float) -> tuple[Machine, PassTimes]:
        machine = Machine(per_picture)
        outputs = ExplainableModel.outputs

        def slow(model: ExplainableModel, images: torch.Tensor):
            machine.work(len(images))
            return outputs(model, images)

        monkeypatch.setattr(ExplainableModel, "outputs", slow)
        return machine, PassTimes(machine.clock)

    return make


@pytest.mark.parametrize("per_picture", [0.001, 0.02, 0.3])  # a small network, the embedded one, and it beside others
@pytest.mark.parametrize("passes", [1, 3, 337, 4001])
def test_an_estimate_is_right_although_one_batch_sets_things_up_and_others_are_disturbed(timed, per_picture, passes):
    machine, times = timed(per_picture)
    model = custom().model
    assert 0.5 <= passes * times.seconds(model, passes) / (passes * per_picture) <= 2
    inner = runtime.inner_batch(48 * 48, model.device)
    assert set(machine.sizes) == {min(passes, inner)}, "batches of the very size that is used"


def test_a_measurement_holds_for_a_while_and_is_then_made_again(timed):
    machine, times = timed(0.01)
    model = custom().model
    assert times.seconds(model, 3) == pytest.approx(0.01)
    machine.per_picture = 0.3  # other processes have begun
    made = machine.batches
    assert times.seconds(model, 3) == pytest.approx(0.01) and machine.batches == made
    machine.now += FRESH_SECONDS + FRESH_FACTOR
    machine.batches = 3
    assert times.seconds(model, 3) == pytest.approx(0.3)
    machine.per_picture, machine.now, machine.batches = 0.01, machine.now + 1000.0, 3
    assert times.seconds(model, 3) == pytest.approx(0.01) and times.latest(model.id) == pytest.approx(0.01)


def test_an_old_measurement_serves_where_nothing_is_to_be_measured_again(timed):
    machine, times = timed(0.01)
    model = custom().model
    times.seconds(model, 3)
    machine.per_picture, machine.now, made = 0.3, machine.now + 1e6, machine.batches
    assert times.seconds(model, 3, again=False) == pytest.approx(0.01) and machine.batches == made
    assert times.seconds(model, 3) == pytest.approx(0.3)


def test_measuring_takes_no_longer_than_needed(timed):
    machine, times = timed(ENOUGH_SECONDS)
    times.seconds(custom().model, 16)
    assert machine.sizes == (16, 16), "of a slow network one batch behind the first one is enough"
    machine, times = timed(0.001)
    times.seconds(custom().model, 16)
    assert machine.sizes == (16,) * (1 + BATCHES)


def test_what_finished_work_took_corrects_the_next_estimate():
    times = PassTimes()
    assert times.corrected("rise", 10.0) == 10.0
    for took in (30.0, 31.0, 500.0):
        times.learn("rise", 10.0, took)
    assert times.corrected("rise", 20.0) == pytest.approx(2 * statistics.median([30, 31, 500]))
    for took in (5.0, 5.0, 5.0):  # only the latest count
        times.learn("rise", 10.0, took)
    assert times.corrected("rise", 10.0) == 5.0 and times.corrected("lime", 10.0) == 10.0


def test_an_explanation_is_estimated_from_its_passes(timed):
    machine, times = timed(0.02)
    question = request_for(custom().model, [torch.rand(3, 48, 48)])
    rise = with_method(question, "rise", {"samples": 400})
    forward, backward = METHODS["rise"].passes(rise.options)
    assert explanation_seconds(rise, times) == pytest.approx((forward + backward) * 0.02, rel=0.01)
    assert len(machine.sizes) <= 1 + BATCHES


IN_OTHER_UNITS = ("ablation_cam", "layerwise_relevance", "attn_lrp")
COUNTED = [id for id in METHODS if id not in IN_OTHER_UNITS]


class OneSecond(PassTimes):
    def seconds(self, model, passes=1, *, again=True):
        return 1.0


def test_score_cam_is_estimated_by_the_channels_of_this_network():
    request = with_method(request_for(custom().model, [torch.rand(3, 48, 48)]), "score_cam")
    ((_, explanation),) = answer([request])
    assert explanation.passes.forward == explanation_seconds(request, OneSecond()) == 17


@pytest.mark.parametrize("method", COUNTED)
def test_estimates_count_the_passes_that_are_made(method):
    """With a pass of one second the estimate is what the answer reports, within a factor of two."""
    attentive = METHODS[method].family == "attention"
    small = pair("vit") if attentive else custom()
    request = request_for(small.model, [torch.rand(3, small.side, small.side, generator=torch.Generator().manual_seed(0))])
    request = with_method(request, method, cheap(method))
    ((_, explanation),) = answer([request])
    made = forward_passes((explanation.passes.forward, explanation.passes.backward))
    assert 0.5 <= (1 + explanation_seconds(request, OneSecond())) / (1 + made) <= 2


def cheap(method: str) -> dict[str, float]:
    """Options with which a method takes fewer passes than with the usual ones."""
    fewer = {"samples": 300 if METHODS[method].family == "perturbation" else 20, "designs": 8, "channels": 16, "steps": 8}
    fewer |= {"window": 16, "stride": 8, "layers": 2}
    names = {option.name for option in options_of(METHODS[method].run)}
    return {name: value for name, value in fewer.items() if name in names}


def test_tails_are_timed_without_the_trunk_and_the_trunk_is_not_run_again(monkeypatch):
    """A tail of one picture takes 5 ms on the made clock, a trunk 70 ms, a whole pass 75 ms; there are 16 channels."""
    now, trunks, model = 0.0, 0, custom().model
    trunk, tail = StagedNetwork.trunk, StagedNetwork.tail

    def slow_trunk(network, images, cut):
        nonlocal now, trunks
        now, trunks = now + 0.07 * len(images), trunks + 1
        return trunk(network, images, cut)

    def slow_tail(network, activations, cut):
        nonlocal now
        now += 0.005 * len(activations)
        return tail(network, activations, cut)

    monkeypatch.setattr(StagedNetwork, "trunk", slow_trunk)
    monkeypatch.setattr(StagedNetwork, "tail", slow_tail)
    times = PassTimes(lambda: now)
    request = with_method(request_for(model, [torch.rand(3, 48, 48)]), "ablation_cam")
    assert explanation_seconds(request, times) == pytest.approx(0.075 + 16 * 0.005, rel=0.01)
    made = trunks
    assert explanation_seconds(request, times) == pytest.approx(0.075 + 16 * 0.005, rel=0.01) and trunks == made


@pytest.mark.parametrize(("family", "part"), [("resnet", 0.43), ("vit", 1.0)])
def test_occlusion_is_cheaper_where_only_what_a_square_reaches_is_computed_again(family, part):
    squares = 1 + ((112 - 64) // 8 + 1) ** 2
    assert method_passes("occlusion", {"window": 64, "stride": 8}, 112, family) == pytest.approx(part * squares)
    assert method_passes("rise", {"samples": 400}, 112, family) == 401
