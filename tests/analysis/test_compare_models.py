"""Several networks before one picture: answers, differences in the picture's coordinates, and a table for many pictures."""

from dataclasses import replace

import numpy as np
import pytest
from small_models import pair, pictures, small

from xai_core.analysis import compare_models
from xai_core.analysis.compare_models import ask_model, ask_models, compare_on, difference, explained
from xai_core.core.errors import BadRequest, UnknownName, WeightsUnavailable
from xai_core.explanation import agreement
from xai_core.explanation.rendering import to_pil
from xai_core.explanation.result import Explanation

NETWORKS = {name: small(name).model for name in ("resnet", "vit", "custom")}


def load(id):
    if id == "lost":
        raise WeightsUnavailable("The weights of lost are not here.")
    return replace(NETWORKS[id], id=id)


@pytest.fixture(scope="module")
def picture():
    return to_pil(pictures(1, 120, 200)[0])


@pytest.fixture(scope="module")
def answers(picture):
    return list(ask_models([*NETWORKS, "lost"], picture, "grad_cam", load=load))


def test_every_network_answers_or_says_why_not(answers):
    assert [one.model for one in answers] == [*NETWORKS, "lost"]
    assert [len(one.predictions) for one in answers] == [5, 5, 5, 0]
    assert isinstance(answers[-1].explanation, WeightsUnavailable)
    assert [one.model for one in explained(answers)] == list(NETWORKS)
    assert answers[2].nbytes > 0
    for one in explained(answers):
        assert one.predictions[0].name.split(",")[0] in one.explanation.target


def test_one_class_is_found_by_its_name_in_each_list(picture):
    found = pair("resnet").model
    first = replace(found, class_names=tuple(f"c{index}" for index in range(1000)))
    second = replace(found, class_names=tuple(f"c{999 - index}" for index in range(1000)))
    asked = [ask_model(model, picture, "grad_cam", target="c3").explanation.target_key for model in (first, second)]
    assert asked == ["logit 3", "logit 996"]
    third = replace(found, class_names=("street", "forest"))
    assert isinstance(ask_model(third, picture, "grad_cam", target="c3").explanation, UnknownName)


def test_networks_without_classes_answer_about_similarity(picture):
    bare = replace(NETWORKS["custom"], network=replace(NETWORKS["custom"].network, classify=None))
    assert not isinstance(ask_model(bare, picture, "grad_cam").explanation, Explanation)
    found = ask_model(bare, picture, "grad_cam", reference=to_pil(pictures(1, 90, seed=5)[0]))
    assert found.predictions == () and "similarity" in found.explanation.target


def test_maps_are_compared_over_what_all_networks_saw(picture):
    """The same network with a wider and a narrower crop: on the common part, occlusion-free maps are nearly one."""
    model = NETWORKS["custom"]
    wide, narrow = (replace(model, id=str(side), recipe=replace(model.recipe, shorter_side=side)) for side in (48, 60))
    first, second = (ask_model(one, picture, "edge_detector").explanation for one in (wide, narrow))
    left, top, right, bottom = agreement.common_box([first, second])
    assert (left, top, right, bottom) == second.box and second.box[0] > first.box[0]
    grids = agreement.common_grids([first, second])
    assert agreement.rank_correlation(*grids) > 0.9
    apart = agreement.rank_correlation(agreement.common_grid(first), agreement.common_grid(second))
    assert apart < agreement.rank_correlation(*grids) - 0.1


def test_a_difference_is_signed_symmetric_and_lies_on_the_common_crop(answers):
    a, b = (one.explanation for one in explained(answers)[:2])
    one, other = difference(a, b), difference(b, a)
    assert np.array_equal(one.heatmap, -other.heatmap) and one.signed
    assert np.abs(one.heatmap).max() <= 2 and one.heatmap.shape == (112, 112)
    assert one.box == agreement.common_box([a, b])
    assert not difference(a, a).heatmap.any()


def test_what_networks_say_is_compared_by_name(answers):
    first = answers[0]
    twin = replace(first, model="twin")
    assert compare_models.same_top([first, twin]) == 1
    other = replace(first, model="other", predictions=first.predictions[::-1])  # the same five classes, another one first
    assert compare_models.same_top_matrix([first, twin, other])[0].tolist() == [1, 1, 0]
    assert np.isnan(compare_models.same_top_matrix([first, answers[-1]])[0, 1])
    assert np.isnan(compare_models.same_top([answers[-1]]))


def test_pictures_on_which_networks_differ_come_first(picture):
    every = {f"picture {seed}": to_pil(pictures(1, 100, seed=seed)[0]) for seed in range(4)}
    rows = compare_on([*NETWORKS, "lost"], every, "grad_cam", load=load)
    assert sorted(row["picture"] for row in rows) == sorted(every)
    agreements = [row["map agreement"] for row in rows]
    assert agreements == sorted(agreements) and rows[0]["lost"] is None
    alone = list(ask_models(list(NETWORKS), every[rows[0]["picture"]], "grad_cam", load=load))
    assert compare_models.mean_agreement(alone) == pytest.approx(agreements[0], abs=1e-6)
    assert rows[0]["resnet"] == alone[0].predictions[0].name.split(",")[0]


def test_maps_of_other_pictures_are_refused(answers, picture):
    other = ask_model(NETWORKS["vit"], to_pil(pictures(1, 80, seed=3)[0]), "grad_cam").explanation
    with pytest.raises(BadRequest, match="different pictures"):
        agreement.agreement([answers[0].explanation, other])
