"""The compact list of a dataset's pictures: as the plain list of the same pictures, in a fraction of its memory."""

import numpy as np
import pytest

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import Dataset, open_folder
from xai_core.data.sample_list import CHUNK, FEW, Labelled, SampleList

NAMES = [f"class {place % 7}/{place * 7919 % 30011:05}, é.png" for place in range(20_000)]
PLAIN = tuple(Labelled(name, name.partition("/")[0]) for name in NAMES)
LIST = SampleList.of(PLAIN)


def test_it_is_the_plain_list():
    assert len(PLAIN) > 2 * CHUNK and tuple(LIST) == PLAIN and LIST == PLAIN and SampleList.of(list(PLAIN)) == LIST
    for place in (0, 5, -1, len(PLAIN) - 1, CHUNK, np.int64(3)):
        assert LIST[place] == PLAIN[place]
    for part in (slice(3, 9), slice(None, None, 977), slice(-4, None), slice(9, 3)):
        assert isinstance(LIST[part], SampleList) and tuple(LIST[part]) == PLAIN[part]
    assert PLAIN[1] != PLAIN[0] and PLAIN[1:] != LIST and (*PLAIN[:-1], Labelled("other", "")) != LIST
    assert PLAIN[5] in LIST and Labelled(PLAIN[5].name, "other") not in LIST and LIST.index(PLAIN[5]) == 5
    with pytest.raises(IndexError):
        LIST[len(PLAIN)]
    assert tuple(SampleList.of(())) == ()


def test_a_name_is_found_in_any_order_and_no_other():
    assert [LIST.place(name) for name in NAMES] == [*range(len(NAMES))]  # one after the other
    drawn = np.random.default_rng(0).permutation(len(NAMES))
    assert [LIST.place(NAMES[place]) for place in drawn] == drawn.tolist()
    for some in (drawn[:FEW], drawn):  # few are looked for one by one, many at once
        assert LIST.places([NAMES[place] for place in some]).tolist() == some.tolist()
        with pytest.raises(KeyError, match="nowhere"):
            LIST.places([*(NAMES[place] for place in some), "nowhere"])
    for name in ("", "class 0", "class 9/1.png", "ü"):
        assert LIST.place(name) is None and name not in LIST.names
    assert LIST.names == {*NAMES} and len(LIST.names) == len(NAMES) and 5 not in LIST.names
    assert LIST.names & {NAMES[9], "nowhere"} == {NAMES[9]}


def test_labels_are_counted():
    assert LIST.labels() == [sample.label for sample in PLAIN]
    assert LIST.counts() == {f"class {number}": len(range(number, len(PLAIN), 7)) for number in range(7)}
    assert LIST[:3].counts() == {"class 0": 1, "class 1": 1, "class 2": 1}  # no class without a picture
    dataset = Dataset("made", (Labelled("a", "x"), Labelled("b", ""), Labelled("c", "")), str.encode)
    assert (dataset.classes, dataset.unlabelled) == (("x",), 2)


def test_names_that_are_twice_are_told_in_their_order():
    assert LIST.twice() == []
    again = SampleList.of([*PLAIN, PLAIN[8], PLAIN[3], PLAIN[8]])
    assert again.twice() == [PLAIN[3].name, PLAIN[8].name]


def test_a_million_pictures_take_a_few_bytes_each():
    """1,281,167 as objects of Python take 0.8 GB; this is a list of a twentieth of them."""
    names = SampleList.of(Labelled(f"n{place % 1000:08}/{place:07}.png", f"n{place % 1000:08}") for place in range(64_000))
    names.place("none")  # makes the order in which names are found
    texts = sum(len(sample.name) for sample in names)
    held = names.column.nbytes + names._labels.indices.nbytes + names._order.nbytes
    assert held <= texts + 64_000 * (8 + 4 + 4) + 64


def test_a_name_that_is_no_unicode_is_one_sentence(tmp_path):
    (tmp_path / "cat").mkdir()
    try:
        (tmp_path / "cat" / "a\udcff.png").touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(BadRequest, match=r"cat/a\\udcff.png is no text of Unicode"):
        open_folder(tmp_path)
