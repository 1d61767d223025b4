"""The mutator of `benchmarks/mutation.py`: what it changes, what it leaves alone, and that each change is real."""

import ast

import pytest

from benchmarks.mutants import mutants_of, sample
from benchmarks.mutation import all_mutants, reasons, summary

CHANGES = [
    ("return a < b", "comparison", "a < b", "(a <= b)"),
    ("return a is None", "comparison", "a is None", "(a is not None)"),
    ("return a - b * 2", "arithmetic", "b * 2", "(b / 2)"),
    ("a += b\n    return a", "arithmetic", "a += b", "a -= b"),
    ("return a[3]", "constant", "3", "(4)"),
    ("return a * 0.5", "constant", "0.5", "(1.0)"),
    ("return a if a and b else b", "boolean", "a and b", "(a or b)"),
    ("return b if a else 2", "boolean", "a", "(not a)"),
    ("return a.sum(b, keepdim=True)", "argument", "a.sum(b, keepdim=True)", "(a.sum(b))"),
    ("return max(a, b)", "min/max", "max", "(min)"),
    ("return a.clamp(min=b)", "min/max", "a.clamp(min=b)", "(a.clamp(max=b))"),
    ("return a", "return", "a", "(-a)"),
    ("return a[1:b]", "slice", "1:b", "1:b - 1"),
    ("return a[b:]", "slice", "b:", ":"),
    ("return -a", "sign", "-a", "(a)"),
]


@pytest.mark.parametrize(("body", "operator", "original", "mutated"), CHANGES)
def test_a_change_of_each_operator(body, operator, original, mutated):
    head = "def f(a: Tensor, b: int) -> Tensor:\n    "
    source = f"{head}{body}\n"
    one = next(one for one in mutants_of(source, "x.py") if (one.operator, one.mutated) == (operator, mutated))
    assert (one.original, one.place, one.line, one.lines[0]) == (original, "f", 2, 2)
    assert one.applied(source) == f"{head}{body.replace(original, mutated, 1)}\n" != source
    ast.parse(one.applied(source))


def test_a_default_runs_with_its_functions_body():
    source = "def f(a, *, steps: int = 10, centred: bool = True):\n    '''Text.'''\n    return g(a,\n        steps)\n"
    found = {(one.mutated, one.lines) for one in mutants_of(source, "x.py") if one.operator == "default"}
    assert found == {("(11)", (2, 4)), ("(9)", (2, 4)), ("(20)", (2, 4)), ("(False)", (2, 4))}


def test_what_people_read_and_types_are_left_alone():
    source = '''
from typing import TYPE_CHECKING, Annotated
if TYPE_CHECKING:
    LIMIT = 4
@cache(maxsize=3)
def f(a: Annotated[int, 1] = None) -> "Tensor[2]":
    """Text, 3 < 4."""
    b: Annotated[int, 5]
    assert isinstance(a, int) and a > 3
    log.warning("more than %d", 3)
    if g():
        raise ValueError(f"{a + 1} is more than {max(3, 4)}")
    print("one" + name, 7)
    return "text" + name
'''
    assert [(one.operator, one.original) for one in mutants_of(source, "x.py")] == [("boolean", "g()")]


def test_letters_of_several_bytes_before_a_change_do_not_move_it():
    source = 'def f(a):\n    return "μ", a < 2\n'
    (one, *_) = [one for one in mutants_of(source, "x.py") if one.operator == "comparison"]
    assert one.applied(source) == 'def f(a):\n    return "μ", (a <= 2)\n'


def test_a_sample_is_seeded_and_stays_when_lines_move():
    source = "def f(a, b):\n" + "".join(f"    a = a * {value} + b\n" for value in range(2, 40)) + "    return a\n"
    mutants = list(mutants_of(source, "x.py"))
    moved = list(mutants_of(f"import os\n\n\n{source}", "x.py"))
    drawn = sample(mutants, 0, 20)
    assert len(drawn) == 20 == len({(one.start, one.operator) for one in drawn})
    assert (
        [one.key for one in drawn]
        == [one.key for one in sample(moved, 0, 20)]
        != [one.key for one in sample(mutants, 1, 20)]
    )


def test_the_package_offers_thousands_of_places_and_every_mutant_drawn_is_python():
    mutants = all_mutants()
    assert len({one.key for one in mutants}) == len(mutants) > 3000
    assert {"attribution", "metrics", "pairs", "explanation", "evaluation"} == {one.file.split("/")[1] for one in mutants}


def test_shares_are_of_what_was_run():
    result = {"key": "a key", "where": "x.py:1", "operator": "sign", "original": "-a", "mutated": "(a)", "ran": 2, "of": 3}
    noticed = result | {"room": "pairs", "noticed": True, "end": "failed"}
    late = result | {"room": "pairs", "noticed": True, "end": "timeout"}
    survived = result | {"room": "metrics", "noticed": False, "end": "passed"}
    lines = [line.split() for line in summary([noticed, late, survived, None]).splitlines()]
    assert lines[1][:4] == ["metrics", "1", "0", "0.0%"]
    assert lines[2] == ["pairs", "2", "2", "100.0%", "0,", "1,", "0"]
    assert lines[3][:4] == ["all", "3", "2", "66.7%"]
    assert lines[4][:4] == ["1", "of", "4", "are"]
    assert len(lines) == 6 and lines[5][0] == "x.py:1"


def test_every_reason_is_of_a_change_that_can_be_made_today():
    """A reason is taken out, or looked at again, when its code changes."""
    mutants = {one.key: one for one in all_mutants()}
    for key, known in reasons().items():
        one = mutants[key]
        assert (one.file, one.place) == (known["file"], known["place"]), key
        assert (one.original, one.mutated) == (known["original"], known["mutated"]), key
        assert known["reason"].endswith(".") and known["reason"].split(":")[0] in ("Equivalent", "No fault"), key


def test_a_survivor_stands_with_its_reason():
    key, known = next(iter(reasons().items()))
    survived = {"key": key, "where": "x.py:1", "operator": "sign", "original": "-a", "mutated": "(a)", "ran": 2, "of": 3}
    lines = summary([survived | {"room": "pairs", "noticed": False, "end": "passed"}]).splitlines()
    assert lines[-1].strip() == known["reason"] and lines[-2].startswith("x.py:1")
