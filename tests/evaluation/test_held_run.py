"""What a page holds of a run gives the figures of the whole table, and draws that tables share are those of each alone. A
run's rows as one file are those of its whole table."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from xai_core.core import part_store
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.spreadsheet import csv_bytes
from xai_core.evaluation import ranking, row_files, significance, store, summary
from xai_core.evaluation.store import HELD

METRICS = {"up": "higher", "down": "lower", "plain": ""}
METHODS = ("b", "a", "control:random")


def rows_of(pictures, seed=0, models=("one", "two"), skip=()):
    draw, lines = np.random.default_rng(seed), []
    for number in pictures:
        for model in models:
            for metric in METRICS:
                for method in METHODS:
                    if (number, model, method) in skip:
                        continue
                    value = np.nan if draw.random() < 0.1 else draw.normal() + METHODS.index(method)
                    lines.append(
                        {
                            "run_key": "k", "picture": f"digest {97 * number % 101}", "name": f"n{number}.png", "label": "",
                            "model": model, "target": f"t{number}", "target_key": "logit 1 1", "method": method,
                            "metric": metric, "note": "" if np.isfinite(value) else "failed", "target_value": draw.random(),
                            "value": value, "passes": 1.0, "seconds": 0.1, "facts": "{}", "curve_x": None, "curve_y": None,
                        }
                    )  # fmt: skip
    return lines


@pytest.fixture
def run(tmp_path):
    manifest = {
        "asked": {"data": "made", "target": "predicted", "seed": 0}, "created": "2026-01-01",
        "models": {name: {"title": name, "group": "Other"} for name in ("one", "two")},
        "methods": {"a": {"title": "A"}, "b": {"title": "B"}},
        "metrics": {name: {"title": name, "sentence": "", "direction": way} for name, way in METRICS.items()},
        "software": {"xai_core": "0", "torch": "0"},
    }  # fmt: skip
    folder = tmp_path / "run"
    with store.open_for_writing(folder, manifest) as writer:
        for start in range(0, 30, 7):  # several parts, whose lists of names differ
            rows = rows_of(range(start, min(start + 7, 30)), start, skip={(3, "two", "a")})
            writer.write(store.PARTS, pa.Table.from_pylist(rows, store.ROWS))
    return store.open_run(folder)


def old_values(frame, model, metric):
    """The table as it was made before: by `pivot`, of texts."""
    rows = frame[(frame.model == model) & (frame.metric == metric)]
    texts = {"picture": rows.picture.astype(str), "method": rows.method.astype(str), "value": rows.value}
    table = pd.DataFrame(texts).pivot(index="picture", columns="method", values="value")
    return table[list(table.columns)]


def test_the_columns_that_are_held_are_those_of_the_table(run):
    whole, held = run.table(), run.held()
    assert list(held) == list(HELD) and len(held) == len(whole) > 500
    for name in HELD:
        if name == "value":
            assert np.array_equal(held[name], whole[name], equal_nan=True)
        else:
            assert held[name].astype(str).tolist() == whole[name].astype(str).tolist(), name
    assert held.memory_usage(index=False).sum() < 20 * len(held) + 20_000


def test_tables_of_pictures_and_methods_are_those_of_pivot(run):
    whole, held = run.table(), run.held()
    for model in ("one", "two"):
        for metric in METRICS:
            expected = old_values(whole, model, metric)
            pd.testing.assert_frame_equal(summary.values(held, model, metric), expected, check_exact=True)
            pd.testing.assert_frame_equal(summary.values(whole, model, metric), expected, check_exact=True)
    assert summary.values(held, "one", "none").empty and list(summary.values(held, "one", "up", ["b", "a"])) == ["b", "a"]
    with pytest.raises(ValueError, match="duplicate"):
        summary.values(pd.concat([held, held]), "one", "up")


def test_summaries_are_those_of_each_table_alone(run, monkeypatch):
    """Exactly, whether draws are shared among all tables, some or none."""
    whole = run.table()
    metrics = run.manifest["metrics"]
    alone = []
    for model in whole.model.unique():
        for metric in METRICS:
            table = old_values(whole, model, metric)
            means = significance.estimates(table)
            beats = significance.beats_all(table, ["control:random"], METRICS[metric]) if METRICS[metric] else {}
            alone += [
                (model, metric, name, mean.value, mean.low, mean.high, beats.get(name)) for name, mean in means.items()
            ]
    columns = ["model", "metric", "method", "mean", "low", "high", "beats"]
    for shared, cells in ((5, 10**6), (1, 10**6), (6, 100), (6, 1)):
        monkeypatch.setattr(summary, "SHARED", shared)
        monkeypatch.setattr(significance, "MOST_CELLS", cells)
        found = summary.summary(run.held(), metrics)[columns]
        assert list(found.itertuples(index=False, name=None)) == alone


def test_draws_that_are_shared_are_made_once(monkeypatch):
    made, real = [], significance._resamples
    monkeypatch.setattr(significance, "_resamples", lambda *args: made.append(args) or real(*args))
    draw = np.random.default_rng(0)
    tables = [pd.DataFrame(draw.normal(size=(n, 3))) for n in (20, 20, 30, 1, 20)]
    together = significance.estimates_of(tables)
    assert sorted(made) == [(20, 0), (30, 0)]
    assert [str(one) for one in together] == [str(significance.estimates(table)) for table in tables]


def old_bootstrap(columns, seed):
    """As it was written for one table."""
    is_there = np.isfinite(columns)
    filled, weights = np.where(is_there, columns, 0.0), is_there.astype(float)
    return np.concatenate([(counts @ filled) / (counts @ weights) for counts in significance._resamples(len(columns), seed)])


def test_bootstrap_means_of_several_tables_are_those_of_the_plain_loop():
    draw = np.random.default_rng(1)
    tables = [np.where(draw.random((40, k)) < 0.1, np.nan, draw.normal(size=(40, k))) for k in (1, 3, 8)]
    for found, table in zip(significance.bootstrap_means_of(tables, 7), tables, strict=True):
        assert np.array_equal(found, old_bootstrap(table, 7))


def test_rows_that_are_shown_have_all_columns(run):
    held, whole = run.held(), run.table()
    some = held.iloc[[400, 3, 77, 78]]
    pd.testing.assert_frame_equal(
        run.whole(some).astype(str), whole.loc[[400, 3, 77, 78]].astype(str)[list(run.whole(some))], check_dtype=False
    )
    assert run.whole(held.head(0)).empty


def test_a_run_whose_files_have_changed_is_not_read_by_places(run):
    held = run.held()
    first = part_store.find_parts(run.folder / store.PARTS)[0]
    first.unlink()
    with pytest.raises(BadRequest, match="has changed while it is shown"):
        run.whole(held.iloc[[0, 5]])
    with pytest.raises(BadRequest, match="has changed while it is shown"):
        run.whole(held.iloc[[len(held) - 1]])


def test_a_copied_part_is_noticed(run):
    part = part_store.find_parts(run.folder / store.PARTS)[0]
    part.with_name(f"000099-{part.name.partition('-')[2]}").write_bytes(part.read_bytes())
    for read in (run.held, run.table):
        with pytest.raises(BadRequest, match="holds measurements twice"):
            read()


def test_metrics_of_the_same_pictures_agree_as_two_of_them_alone(monkeypatch):
    """To the last bit, and their draws are made once."""
    draw = np.random.default_rng(2)
    index = [f"p{number}" for number in range(25)]
    tables = {name: pd.DataFrame(draw.normal(size=(25, 4)), index=index, columns=list("abcd")) for name in ("x", "y", "z")}
    alone = {}
    for a, b in (("x", "y"), ("x", "z"), ("y", "z")):
        signs = [ranking._signs(old_bootstrap(tables[name].to_numpy(), 0)) for name in (a, b)]
        alone[a, b] = tuple(np.nanquantile(ranking._tau(*signs), ranking.ENDS))
    made, real = [], significance._resamples
    monkeypatch.setattr(significance, "_resamples", lambda *args: made.append(args) or real(*args))
    found = ranking.agreement(tables)
    assert {pair: (tau.low, tau.high) for pair, tau in found.items()} == alone and len(made) == 1
    tables["z"] = tables["z"].head(20)  # other pictures: each pair has its own
    assert ranking.agreement(tables)["x", "y"] == found["x", "y"]


def old_sign_flips(columns, seed):
    """As it was written for one table: in double precision, from `integers`."""
    filled = np.nan_to_num(columns)
    least = np.abs(filled.sum(0)) - 1e-12 * np.abs(filled).sum(0)
    flips = 2 * np.random.default_rng(seed).integers(0, 2, (significance.FLIPS, len(filled))) - 1
    return (1 + (np.abs(flips.astype(float) @ filled) >= least).sum(0)) / (significance.FLIPS + 1)


@pytest.mark.parametrize("at_once", [700, 2_000_000])
def test_sign_flips_in_single_precision_count_as_those_in_double_precision(monkeypatch, at_once):
    """Sums of tenths tie with what was observed, which single precision cannot tell; and gaps, zeros, tiny numbers."""
    monkeypatch.setattr(significance, "AT_ONCE", at_once)
    draw = np.random.default_rng(4)
    for n in (13, 333):
        tables = [draw.integers(-3, 4, (n, 3)) / 10, draw.normal(0.1, 1, (n, 3)) * 1e-30, draw.normal(0.1, 1, (n, 3))]
        tables[2][draw.random((n, 3)) < 0.2], tables[0][:, 2] = np.nan, 0
        for found, table in zip(significance._sign_flips_of(tables, 5), tables, strict=True):
            assert np.array_equal(found, old_sign_flips(table, 5))


def test_signed_sums_of_many_pictures_are_taken_in_blocks():
    table = np.random.default_rng(6).normal(0.03, 1, (significance.BLOCK + 5, 2)) + np.array([0, 0.02])
    found = significance.sign_flip(table, 7)
    assert np.array_equal(found, old_sign_flips(table, 7)) and 2e-4 < found.min() < 0.9


def test_a_summary_makes_the_draws_of_pictures_once(run, monkeypatch):
    """For the means of all tables of as many pictures; the tests against the controls need none."""
    made, real = [], significance._resamples
    monkeypatch.setattr(significance, "_resamples", lambda *args: made.append(args) or real(*args))
    lines = summary.summary(run.held(), run.manifest["metrics"])
    assert made == [(30, 0)] and lines.beats.notna().any()


@pytest.fixture
def table(run, monkeypatch):
    """The whole table, which cannot be made again."""
    whole = run.table()
    monkeypatch.setattr(store.EvaluationRun, "table", lambda *args: pytest.fail("the whole table is read"))
    return whole


def test_csv_is_that_of_the_whole_table(run, table):
    with row_files.csv_file(run) as file, row_files.csv_file(run, zipped=True) as zipped:
        text = file.read()
        assert text == csv_bytes(table)
        assert gzip.decompress(zipped.read()) == text


def test_parquet_holds_the_rows_of_the_whole_table(run, table):
    with row_files.parquet_file(run) as file:
        again = pd.read_parquet(file)
    plain = table.astype({name: str for name in table if table[name].dtype == "category"})
    pd.testing.assert_frame_equal(again.astype(plain.dtypes), plain)


def test_a_disk_without_space_is_said(run, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(row_files, "csv_bytes", full)
    with pytest.raises(XaiError, match="No space left on device"):
        row_files.csv_file(run)
