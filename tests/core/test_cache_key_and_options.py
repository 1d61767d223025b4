"""A run's name changes with each thing that goes in and with nothing else; an option takes what it declares."""

import math

import numpy as np
import pytest
from changed_fields import assert_key_sees_each_argument

from xai_core.attribution.catalog import METHODS
from xai_core.core.cache_key import array_digest, bytes_digest, run_key
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.options import Choice, Range, check_options, options_of

PARTS = {
    "picture": "a" * 64,
    "model": "resnet50",
    "weights": "11ad3fa6",
    "cut": "layer4.2",
    "target": "logit 281",
    "method": "occlusion",
    "version": 1,
    "options": {"window": 64, "fill": "black", "relu": True},
    "seed": 0,
    "precision": "exact",
}
OTHERWISE = {
    "picture": "b" * 64,
    "model": "resnet51",
    "weights": "0676ba61",
    "cut": "layer4.1",
    "target": "logit 282",
    "method": "saliency",
    "version": 2,
    "options": {"window": 64, "fill": "black", "relu": False},
    "seed": 1,
    "precision": "fast",
}


def test_the_key_changes_with_each_part():
    assert_key_sees_each_argument(run_key, PARTS, OTHERWISE)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": 64, "fill": "black"},
        {"window": 64.5, "fill": "black", "relu": True},
        {"window": "64", "fill": "black", "relu": True},
        {"window": 64, "fill": "black", "relu": 1},
        {"window": 64, "fill": "white", "relu": True},
        {"stride": 64, "fill": "black", "relu": True},
    ],
    ids=str,
)
def test_the_key_changes_with_each_option(options):
    assert run_key(**PARTS) != run_key(**PARTS | {"options": options})


def test_the_key_changes_with_nothing_else():
    backwards = dict(reversed(PARTS.items())) | {"options": dict(reversed(PARTS["options"].items()))}
    assert list(backwards) != list(PARTS)
    assert run_key(**PARTS) == run_key(**backwards)
    assert len(run_key(**PARTS)) == 64 and set(run_key(**PARTS)) <= set("0123456789abcdef")


def test_text_does_not_wander_from_one_part_to_the_next():
    assert run_key(**PARTS | {"model": "a", "weights": "bc"}) != run_key(**PARTS | {"model": "ab", "weights": "c"})


def test_every_part_is_asked_for():
    for part in PARTS:
        with pytest.raises(TypeError, match=part):
            run_key(**{name: value for name, value in PARTS.items() if name != part})


@pytest.mark.parametrize("place", [0, 1_234_567, 2_999_999])
def test_one_pixel_of_a_large_picture_is_seen(place):
    """Streamlit's own hash samples large arrays, and would not see it."""
    picture = np.zeros((1000, 1000, 3), np.uint8)
    changed = picture.copy()
    changed.flat[place] = 1
    assert array_digest(picture) != array_digest(changed)
    assert array_digest(picture) == array_digest(picture.copy())


def test_equal_bytes_of_other_shape_or_type_have_other_names():
    values = np.arange(12, dtype=np.float32)
    arrays = [values, values.reshape(3, 4), values.reshape(4, 3), values.view(np.int32), values[:0], values.byteswap()]
    assert len({array_digest(array) for array in arrays}) == len(arrays)


def test_the_layout_in_memory_does_not_count():
    values = np.arange(12.0).reshape(3, 4)
    assert array_digest(values) == array_digest(np.asfortranarray(values)) == array_digest(np.tile(values, 2)[:, :4])


def test_bytes_have_their_sha_256():
    assert bytes_digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


OPTIONS = [(method, option) for method in METHODS.values() for option in options_of(method.run)]
EVERY_OPTION = pytest.mark.parametrize(
    ("method", "option"), OPTIONS, ids=[f"{method.id} {option.name}" for method, option in OPTIONS]
)
SPELT = {True: ("true", "1", "yes", "On", "TRUE"), False: ("false", "0", "no", "off")}


def test_there_are_options_to_test():
    kinds = {option.kind for _, option in OPTIONS}
    assert {bool, int, float, str} <= kinds
    assert {type(option.bounds) for _, option in OPTIONS} == {Range, Choice, type(None)}


@EVERY_OPTION
def test_every_default_is_of_its_type_within_its_bounds_and_explained(method, option):
    assert option.check(option.default) == option.default
    assert type(option.check(option.default)) is option.kind
    assert option.help and "\n" not in option.help
    assert option.bounds is not None or option.kind is bool
    described = option.described()
    assert described["name"] == option.name and described["default"] == option.default


@EVERY_OPTION
def test_text_is_read_as_from_a_link(method, option):
    if option.kind is bool:
        for value, spellings in SPELT.items():
            assert all(option.check(text) is value for text in spellings)
        return
    within = option.bounds.values if option.kind is str else (option.bounds.low, option.bounds.high, option.default)
    for value in within:
        read = option.check(str(option.kind(value)))
        assert read == value and type(read) is option.kind


@EVERY_OPTION
def test_other_values_are_refused_in_one_line(method, option):
    wrong = [None, "", "two\nlines", [], {}]
    if isinstance(option.bounds, Range):
        low, high = option.bounds.low, option.bounds.high
        wrong += [low - 1, high + 1, str(high + 1), math.nan, "nan", math.inf, "-inf", 10**400, "12abc", "9" * 5000]
    if option.kind is int:
        wrong += [option.default + 0.5, "1.5"]
    if option.kind is bool:
        wrong += [2, "maybe"]
    for value in wrong:
        with pytest.raises(BadRequest) as refusal:
            check_options(method.run, {option.name: value})
        message = str(refusal.value)
        assert option.name in message and "\n" not in message and message.endswith(".") and len(message) < 300


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_missing_options_take_their_defaults(method):
    """What was added later is left out at its default, given or not, so that older results keep their keys."""
    options = options_of(method.run)
    defaults = {option.name: option.default for option in options}
    expected = {option.name: option.default for option in options if not option.added_later}
    assert check_options(method.run, {}) == check_options(method.run, defaults) == expected


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", ["windoww", "seed", "track", "question"])
def test_unknown_options_are_refused_with_those_that_exist(method, name):
    """Also what the function takes but does not declare as an option: a link must not set the seed this way."""
    with pytest.raises(UnknownName, match=f"no option '{name}'") as refusal:
        check_options(method.run, {name: 1})
    assert "\n" not in str(refusal.value)


def test_a_whole_number_may_come_as_a_float():
    """A slider's value is one; a fraction is not cut off in silence."""
    assert check_options(METHODS["occlusion"].run, {"window": 32.0})["window"] == 32
    with pytest.raises(BadRequest, match=r"whole number from 8 to 112, not 32\.7"):
        check_options(METHODS["occlusion"].run, {"window": 32.7})
