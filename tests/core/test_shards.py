"""Which pictures belong to a shard: each to one, evenly, and few move when there are more shards."""

import hashlib

import pytest
from scipy.stats import chisquare

from xai_core.core.errors import BadRequest
from xai_core.core.shards import MOST, Shard, bucket, parse

NAMES = [f"class{number % 7}/{number:05}.jpg" for number in range(4_000)]


def jump(key: int, buckets: int) -> int:
    """The loop of the paper's figure 1, on the 64 bits of a key, as it stands there."""
    found, jumped = -1, 0
    while jumped < buckets:
        found = jumped
        key = (key * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        jumped = int(float(found + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return found


def test_a_shard_is_the_bucket_of_the_papers_hash():
    for name in NAMES[:200]:
        key = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16)
        assert all(bucket(name, count) == jump(key, count) for count in (1, 2, 3, 10, MOST))


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_each_picture_is_in_one_shard_and_they_are_of_like_size(count):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    held = [[name for name in NAMES if shard.holds(name)] for shard in shards]
    assert sorted(name for names in held for name in names) == sorted(NAMES)
    assert count == 1 or chisquare([len(names) for names in held]).pvalue > 0.001


@pytest.mark.parametrize("count", [1, 3, 9])
def test_one_more_shard_takes_its_share_and_nothing_else_moves(count):
    before, after = ([bucket(name, number) for name in NAMES] for number in (count, count + 1))
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {count}
    share = 1 / (count + 1)
    assert abs(len(moved) / len(NAMES) - share) < 4 * (share * (1 - share) / len(NAMES)) ** 0.5


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "1/0", "-1/4", "1.5/4", "a/b", "1/4/4", f"1/{MOST + 1}", "²/4"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(BadRequest):
        parse(text)


def test_a_shard_in_words():
    assert parse(" 2/4 ") == Shard(2, 4) and str(Shard(2, 4)) == "2/4"
