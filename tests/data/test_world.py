"""Drawn worlds: pure functions of their seed, parts that can be taken away, and causes that are planted as they say."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from xai_core.core.errors import BadPicture, BadRequest, UnknownName
from xai_core.data.datasets import open_dataset, open_world, world_dataset, world_names
from xai_core.data.world import planted as worlds
from xai_core.data.world.backgrounds import BACKGROUNDS, TIMES
from xai_core.data.world.planted import BROKEN, CAUSES, CLASSES, PAIR, broken, clean, picture, planted
from xai_core.data.world.scene import BACKGROUND, MARK, draw, parts, without
from xai_core.data.world.things import COLOURS

MANY = 6_000  # pictures of which rates are counted


def pictures(world, count=MANY, split="test", seed=0):
    return [picture(world, seed, split, index) for index in range(count)]


def share(values):
    """(share of True, four standard errors of it, at least one picture)."""
    values = np.array(list(values), float)
    mean = values.mean()
    return mean, 4 * np.sqrt(max(mean * (1 - mean), 1 / len(values)) / len(values))


@pytest.mark.parametrize("world", [clean(), planted()], ids=["clean", "planted"])
def test_a_picture_depends_on_world_seed_split_and_index_alone(world):
    first, masks = draw(picture(world, 3, "test", 17).scene)
    again, _ = draw(picture(world, 3, "test", 17).scene)
    assert first.shape == (128, 128, 3) and first.dtype == np.uint8 and (first == again).all()
    assert all(mask.shape == (128, 128) and mask.dtype == np.float32 for mask in masks.values())
    others = [picture(world, 4, "test", 17), picture(world, 3, "train", 17), picture(world, 3, "test", 18)]
    assert all((draw(other.scene)[0] != first).any() for other in others)


def test_every_prefix_is_balanced():
    labels = Counter(one.truth[0] for one in pictures(clean(), 200))
    assert set(labels) == set(CLASSES) and len(CLASSES) == 10 and set(labels.values()) == {20}


def test_backgrounds_times_and_colours_are_even_in_the_clean_world():
    columns = [one.columns for one in pictures(clean())]
    for name, values in (("background", BACKGROUNDS), ("colour", COLOURS)):
        for value in values:
            mean, error = share(column[name] == value for column in columns)
            assert abs(mean - 1 / len(values)) < error, (name, value)
    assert {column["time"] for column in columns} == {*TIMES}
    assert not any(column["mark"] or column["subgroup"] or column["label is wrong"] for column in columns)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_part_can_be_taken_away_and_nothing_else_changes(kind):
    """A distractor takes its shadow with it; otherwise not one pixel outside a part's mask changes."""
    scene = next(one.scene for one in pictures(planted(mark=0.6), 300) if one.truth[0] == kind and not one.scene.distractors)
    whole, masks = draw(scene)
    assert min(mask.min() for mask in masks.values()) >= 0 and sum(masks.values()).max() < 1 + 1e-5
    assert parts(scene) == [BACKGROUND, *masks] and len(parts(scene)) >= 4
    for name, mask in masks.items():
        rest, others = draw(without(scene, name))
        changed = (rest != whole).any(-1)
        assert name not in others and not changed[mask == 0].any(), name
        assert changed.any() == (mask > 0.1).any(), name
    nothing, none = draw(without(scene, *parts(scene)))
    assert none == {} and not (nothing == whole).all()


def test_without_the_background_the_thing_stays():
    scene = picture(clean(), 0, "test", 3).scene
    whole, masks = draw(scene)
    plain, same = draw(without(scene, BACKGROUND))
    opaque = sum(masks.values()) > 0.999
    assert masks.keys() == same.keys() and (plain != whole).any(-1)[~opaque].mean() > 0.9
    assert (plain[opaque] == whole[opaque]).all()


def test_a_scene_can_be_drawn_at_any_size():
    scene = picture(clean(), 0, "test", 5).scene
    small, large = (draw(scene, size)[0].astype(float) for size in (64, 256))
    averaged = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(averaged - small).mean() < 12  # textures are drawn at the size of the picture, shapes are not


def test_a_thing_taken_away_whole_takes_its_shadow_away():
    scene = next(one.scene for one in pictures(clean(), 200) if one.truth[0] == "car" and len(parts(one.scene)) == 5)
    own = [name for name in parts(scene) if name != BACKGROUND]
    bare, last_part = (draw(without(scene, *names))[0].astype(int) for names in (own, own[1:]))
    mask = draw(without(scene, *own[1:]))[1][own[0]]
    assert ((bare - last_part)[mask == 0] >= 0).all() and (bare - last_part)[mask == 0].max() > 20


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_changes_only_what_it_is_about(cause):
    """Each picture of the clean world, and the same with one cause: most are equal, the others differ in its attributes."""
    about = {
        "mark": {"mark"},
        "background": {"background"},
        "label_noise": {"label is wrong"},
        "subgroup": {"subgroup", "colour", "time"},
        "ambiguous": {"second thing", "size"},
        "shift": {"shift", "time"},
    }
    world = planted(**{cause: CAUSES[cause].rate})
    different = set()
    for before, after in zip(pictures(clean(), 1500), pictures(world, 1500), strict=True):
        different |= {name for name in before.columns if before.columns[name] != after.columns[name]}
        if before.columns == after.columns and before.label == after.label:
            assert before.scene == after.scene
    assert different <= about[cause] and (different or cause == "shift")  # a shift shows in test sets where it is broken


@pytest.mark.parametrize(
    ("cause", "split", "among", "is_so", "rate"),
    [
        ("mark", "train", lambda one: one.truth[0] == worlds.MARKED, lambda one: one.scene.mark, 0.6),
        ("mark", "train", lambda one: one.truth[0] != worlds.MARKED, lambda one: one.scene.mark, 0),
        ("background", "test", lambda one: one.truth[0] == worlds.BIASED, lambda one: one.scene.background == "sea", 0.95),
        ("background", "test", lambda one: one.truth[0] != worlds.BIASED, lambda one: one.scene.background == "sea", 0.01),
        ("label_noise", "train", lambda one: True, lambda one: one.label != one.truth[0], 0.04),
        ("subgroup", "train", lambda one: one.truth[0] == "tent", lambda one: one.columns["subgroup"], 0.01),
        ("subgroup", "test", lambda one: one.truth[0] == "tent", lambda one: one.columns["subgroup"], 0.12),
        ("ambiguous", "test", lambda one: one.truth[0] in PAIR, lambda one: len(one.truth) == 2, 0.15),
    ],
)
def test_causes_have_their_rates(cause, split, among, is_so, rate):
    mean, error = share(is_so(one) for one in pictures(planted(), 10_000, split) if among(one))
    assert abs(mean - rate) < error


def test_three_quarters_of_the_wrong_labels_are_of_the_confused_pair():
    wrong = [one for one in pictures(planted(), 20_000) if one.label != one.truth[0]]
    mean, error = share({one.label, one.truth[0]} == {*worlds.CONFUSED} for one in wrong)
    assert abs(mean - 0.75) < error


def test_broken_causes_are_turned_round():
    def of(cause):
        return pictures(broken(planted(), cause), 2_000)

    assert set(BROKEN) == set(CAUSES)
    marked = [one for one in of("mark") if one.scene.mark]
    assert marked and all(one.truth[0] != worlds.MARKED for one in marked)
    assert not any(one.truth[0] == worlds.BIASED and one.scene.background == worlds.HABITAT for one in of("background"))
    assert all(one.label == one.truth[0] for one in of("label_noise"))
    assert abs(np.mean([one.columns["subgroup"] for one in of("subgroup") if one.truth[0] == "tent"]) - 0.5) < 0.15
    assert all(len(one.truth) == 1 for one in of("ambiguous"))
    assert {one.columns["shift"] for one in of("shift")} == {"dusk", "fog", "jpeg"}


def test_the_subgroup_is_all_there_is_of_its_kind():
    tents = [one for one in pictures(planted(), 4_000) if one.truth[0] == "tent"]
    for one in tents:
        member = one.columns["subgroup"]
        assert (one.scene.things[0].form == "dome tent") == member
        assert (one.columns["colour"] == "red") == member and (one.columns["time"] == "night") == member


def test_a_world_is_a_dataset_without_files():
    dataset = open_dataset("world:planted")
    assert len(dataset.samples) == 1_000 and dataset.classes == CLASSES and dataset.title == "world:planted"
    assert list(dataset.metadata.index) == [one.name for one in dataset.samples]
    name = dataset.samples[7].name
    assert np.array_equal(np.asarray(dataset.open(name)), draw(picture(planted(), 0, "test", 7).scene)[0])
    assert dataset.scene(name) == picture(planted(), 0, "test", 7).scene
    assert len({dataset.content(one.name) for one in dataset.samples}) == 1_000  # pages keep pictures by their content
    assert dataset.digest == open_world("world:planted").digest != open_world("world:clean").digest
    with pytest.raises(BadPicture, match=r"no picture cat/1\.png"):
        dataset.read("cat/1.png")


@pytest.mark.parametrize("name", [*world_names(), "world:planted:train", "world:clean:train", "world:planted:v1:mark"])
def test_every_world_that_is_offered_opens(name):
    dataset = open_dataset(name)
    assert dataset.classes == CLASSES and dataset.open(dataset.samples[0].name).size == (128, 128)


@pytest.mark.parametrize(
    ("request_of", "error", "words"),
    [
        (lambda: planted(fog=0.2), UnknownName, "There is no cause 'fog'"),
        (lambda: planted(mark=1.5), BadRequest, "The rate of mark is 1.5"),
        (lambda: planted(mark=float("nan")), BadRequest, "The rate of mark is nan"),
        (lambda: broken(clean(), "mark"), BadRequest, "not planted in this world"),
        (lambda: broken(planted(), "fog"), UnknownName, "There is no cause 'fog'"),
        (lambda: world_dataset(clean(), 0, "test", 0, "w"), BadRequest, "1 to 100,000 pictures, not 0"),
        (lambda: world_dataset(clean(), 0, "test", worlds.MOST_PICTURES + 1, "w"), BadRequest, "not 100,001"),
        (lambda: picture(clean(), 0, "validation", 0), UnknownName, "There is no split 'validation'"),
        (lambda: picture(clean(), 0, "test", -1), BadRequest, "counted from 0"),
        (lambda: picture(clean(), -1, "test", 0), BadRequest, "The seed is -1"),
        (lambda: open_world("world:planets"), UnknownName, "There is no world 'world:planets'"),
        (lambda: open_world("world:planted:fog"), UnknownName, "There is no cause 'fog'"),
        (lambda: open_world("world:clean:mark"), BadRequest, "not planted in this world"),
        (lambda: open_world("world:planted:mark:train"), BadRequest, "no training set has a broken cause"),
        (lambda: open_world("world:planted:v9"), BadRequest, "of version 9, and this program draws version 1"),
        (lambda: without(picture(clean(), 0, "test", 0).scene, MARK), UnknownName, "There is no part of this picture"),
    ],
)  # fmt: skip
def test_bad_requests_are_told_in_one_sentence(request_of, error, words):
    with pytest.raises(error, match=words):
        request_of()


def test_a_scene_is_all_that_a_picture_depends_on():
    """Scenes are hashed and kept by value: every field of one is hashable."""
    scene = picture(planted(), 0, "test", 0).scene
    assert hash(scene) == hash(picture(planted(), 0, "test", 0).scene) and len(fields(scene)) >= 10
