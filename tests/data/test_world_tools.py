"""The figures of what tools find in drawn worlds, on made-up predictions whose figures are known."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import world, world_tools


def rows(**columns) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    usual = {
        "true": ["tent"] * count, "predicted": ["tent"] * count, "confidence": np.linspace(0.9, 0.5, count),
        "label is wrong": [False] * count, "planted": [False] * count, "mark": [False] * count,
        "background": ["sea"] * count, "time": ["day"] * count, "colour": ["blue"] * count, "size": [0.2] * count,
        "mirrored": [False] * count, "occluded": [False] * count, "distractors": [0] * count,
    }  # fmt: skip
    return pd.DataFrame(usual | columns)


def test_the_cluster_of_the_mark_is_the_one_that_fits_it_best():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    marks = np.array([0, 0, 0, 1, 1, 1, 0, 1], bool)
    assert world_tools.best_cluster(labels, marks) == (1, pytest.approx(2 / 3), pytest.approx(2 / 4))
    assert world_tools.f_score(0, 0) == 0


def test_the_precision_of_the_triage_is_of_the_first_errors(monkeypatch):
    monkeypatch.setattr(world_tools, "FIRST", 2)
    table = rows(predicted=["bird", "tent", "bird", "bird"], **{"label is wrong": [True, False, False, True]})
    figures = world_tools.label_triage(None, table, [])
    assert figures == {
        "wrong labels among all": 0.5, "errors": 3, "looked at": 2, "precision": 0.5, "precision of all errors": 2 / 3,
    }  # fmt: skip
    assert world_tools.label_triage(None, rows(true=["tent"] * 3), []) == {"errors": 0}


def test_the_precision_of_the_flags_is_of_the_first_ones(monkeypatch):
    draws = np.random.default_rng(0)
    true = np.arange(200) % 4
    labels, wrong = true.copy(), np.arange(200) < 10
    labels[wrong] = (true[wrong] + 1) % 4
    features = 8 * np.eye(16)[true] + draws.normal(size=(200, 16))
    table = rows(true=labels.astype(str), features=list(features), **{"label is wrong": wrong})
    figures = world_tools.probe_triage(None, table, [])
    assert figures["wrong labels among all"] == 0.05 and figures["precision"] == figures["precision of all flags"] == 1
    assert figures["flags"] == figures["looked at"] == 10 * figures["share of the wrong labels that is flagged"] > 5
    assert figures["wrong flags"] == 0 <= figures["wrong flags, as expected by the triage"] < 3
    table["label is wrong"] = False
    false_alarms = world_tools.probe_triage(None, table, [])
    assert false_alarms["wrong flags"] == figures["flags"] and false_alarms["precision"] == 0
    monkeypatch.setattr(world_tools, "FIRST", 3)
    assert world_tools.probe_triage(None, table, [])["looked at"] == 3
    perfect = rows(true=true.astype(str), features=list(features))
    assert world_tools.probe_triage(None, perfect, []) == {
        "wrong labels among all": 0, "flags": 0, "looked at": 0, "wrong flags": 0,
        "wrong flags, as expected by the triage": 0, "near duplicates with different labels": 0, "outliers": 0,
    }  # fmt: skip


def test_the_estimate_of_relabelling_stands_beside_the_truth():
    draws = np.random.default_rng(0)
    true = np.arange(200) % 4
    labels, wrong = true.copy(), np.arange(200) < 10
    labels[wrong] = (true[wrong] + 1) % 4
    features = 8 * np.eye(16)[true] + draws.normal(size=(200, 16))
    answers = np.where(np.arange(200) < 180, true, (true + 2) % 4)
    table = rows(
        true=labels.astype(str), predicted=answers.astype(str), features=list(features), **{"right label": true.astype(str)}
    )
    figures = world_tools.relabelling(None, table, [])
    assert figures["accuracy on right labels, %"] == 90 and figures["accuracy against the labels, %"] == 85
    assert 85 < figures["accuracy against the suggested labels, %"] <= 90 and figures["wrong labels, %"] == 5
    gained = figures["accuracy against the suggested labels, %"] - 85
    assert figures["wrong labels with the suggestions taken, %"] == pytest.approx(5 - gained)
    assert figures["the interval of the change holds the true one"] == 1
    assert figures["accuracy expected on right labels, %"] == pytest.approx(90, abs=1)


def test_the_group_that_holds_the_planted_subgroup_is_found():
    night, red = np.arange(200) % 2 == 0, np.arange(200) % 4 == 0
    planted = night & red & (np.arange(200) < 100)
    table = rows(
        time=np.where(planted, "night", "day"), colour=np.where(planted, "red", "blue"), planted=planted,
        predicted=np.where(planted, "bird", "tent"),
    )  # fmt: skip
    figures = world_tools.error_groups(None, table, [])
    assert figures["one attribute: rank"] == 1 and figures["two attributes: found"] == 1
    assert figures["one attribute: share above the rate of all"] == 2 / figures["one attribute: groups"], "night, and red"
    nothing = world_tools.error_groups(None, rows(true=["tent"] * 30), [])
    assert nothing["one attribute: share above the rate of all"] == 0 and "one attribute: rank" not in nothing


def test_the_tested_groups_of_the_stamp_and_of_the_subgroup_are_ranked():
    """Of 600 pictures, 60 with the stamp and 60 of the subgroup are wrong, and a few others at random."""
    draws = np.random.default_rng(0)
    mark, planted = np.arange(600) < 60, np.arange(600) >= 540
    wrong = mark | planted | (draws.random(600) < 0.03)
    features = draws.normal(size=(600, 8)) + 8 * mark[:, None] * (np.arange(8) == 2)
    true = np.where(planted, "tent", "bird")
    table = rows(
        true=true, predicted=np.where(mark, "car", np.where(wrong, "boat", true)), mark=mark, planted=planted,
        time=np.where(planted, "night", "day"), features=list(features), confidence=draws.uniform(0.5, 1, 600),
    )  # fmt: skip
    figures = world_tools.confirmed_groups(None, table, [])
    assert {figures["the stamp: rank"], figures["red dome tents: rank"]} == {1, 2}
    assert all(figures[f"{name}: among the first three, and confirmed"] for name in ("the stamp", "red dome tents"))
    assert 2 <= figures["confirmed"] <= figures["groups tested"] and "labels at random: confirmed" not in figures
    nothing = world_tools.confirmed_groups(None, table.assign(mark=False, planted=False), [])
    assert nothing["groups tested"] == figures["groups tested"] and "the stamp: rank" not in nothing
    names = draws.choice(["bird", "tent"], (2, 600))
    guesses = table.assign(mark=False, planted=False, true=names[0], predicted=names[1], time="day")
    assert world_tools.confirmed_groups(None, guesses, [])["labels at random: confirmed"] == 0


def test_the_summary_is_of_the_worlds_that_have_a_figure():
    place = {"tool": "t", "where": "planted", "network": "n", "world": "w", "split": "test"}
    lines = [{**place, "seed": seed, "figures": figures} for seed, figures in enumerate(({"a": 1.0}, {"a": 3.0}, {}))]
    (row,) = world_tools.summary(lines)
    assert (row["mean"], row["min"], row["max"], row["count"]) == (2, 1, 3, 2)
    assert "| t | a | 2.00 (1.00 to 3.00, 2 worlds) | – |" in world_tools.document([row], 3, 10)


def test_at_most_one_tested_group_in_twenty_is_confirmed_where_nothing_is_planted():
    """Counted over all worlds of the last run; and the stamp's and the subgroup's group are found in each."""
    worlds = [
        line for line in json.loads(world.TOOLS_FILE.read_text())["worlds"] if line["tool"].startswith("Tested groups")
    ]
    clean, planted = ([line["figures"] for line in worlds if line["where"] == where] for where in ("clean", "planted"))
    assert len(clean) == len(planted) == world.SEEDS
    for prefix in ("", "labels at random: "):
        tested, confirmed = (sum(one[prefix + what] for one in clean) for what in ("groups tested", "confirmed"))
        assert tested > 40 and confirmed <= 0.05 * tested
    for name in ("the stamp", "red dome tents"):
        assert all(one[f"{name}: among the first three, and confirmed"] for one in planted)


def test_the_document_is_made_of_the_results():
    results = json.loads(world.TOOLS_FILE.read_text(encoding="utf-8"))
    assert results["summary"] == world_tools.summary(results["worlds"])
    written = world_tools.document(results["summary"], results["seeds"], results["pictures"])
    assert world.TOOLS_DOCUMENT.read_text(encoding="utf-8") == written
