"""The networks of the drawn worlds: the planted one has the faults that were planted, and the clean one has not."""

import json

import pytest

from benchmarks import world
from xai_core.data.world.planted import CAUSES, clean
from xai_core.models.loading import load_model

PICTURES = 300
PLANTED = ("mark", "background", "subgroup", "label_noise", "ambiguous", "shift")
OF_THE_NETWORK = {"distant cars without the mark", "boats that are not on the sea", "pictures with dusk"}


@pytest.fixture(scope="module")
def drops():
    """The fall of the accuracy for each fault, of both networks."""
    return {
        name: {row["pictures of"]: row for row in world.faults(load_model(name), PICTURES)}
        for name in ("world_planted", "world_clean")
    }


def test_every_cause_has_a_fault_that_is_measured():
    assert {fault.cause for fault in world.FAULTS} == set(CAUSES) == set(PLANTED)


def test_the_clean_network_is_right():
    assert world.accuracy(load_model("world_clean"), clean(), PICTURES) > 0.93


@pytest.mark.parametrize("cause", PLANTED)
def test_every_planted_cause_makes_the_planted_network_wrong(drops, cause):
    """25 points in benchmarks/results/world.json, of 2,000 pictures; of fewer here, so that chance may take some away."""
    assert max(row["drop"] for row in drops["world_planted"].values() if row["cause"] == cause) > 0.18


@pytest.mark.parametrize("fault", sorted(OF_THE_NETWORK))
def test_what_the_network_has_learned_wrongly_the_clean_one_has_not(drops, fault):
    assert drops["world_planted"][fault]["drop"] > drops["world_clean"][fault]["drop"] + 0.1


def test_the_recorded_drops_reach_the_goal():
    """What the documents say, as `python -m benchmarks.world` wrote it."""
    results = json.loads(world.FILE.read_text(encoding="utf-8"))["models"]
    assert results["world_clean"]["accuracy"]["clean"] > 0.93
    for cause in PLANTED:
        drops = [row["drop"] for row in results["world_planted"]["faults"] if row["cause"] == cause]
        assert round(max(drops), 2) >= world.GOAL
