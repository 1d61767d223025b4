"""Predictions read as pages read them say what plain pandas says of the whole table, and read no more than they must."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from xai_core.analysis import confusion, groups
from xai_core.analysis.prediction_parts import schema_of
from xai_core.core import tables
from xai_core.core.errors import BadRequest
from xai_core.data.held_predictions import hold_file, hold_frame
from xai_core.data.predictions import ENTRY


def drawn(seed: int, count: int, classes: int) -> pd.DataFrame:
    """A table of predictions as `classify` writes it; some pictures have no true class."""
    draws = np.random.default_rng(seed)
    names = np.array([f"class {place}" for place in draws.permutation(classes)])
    true, top = draws.integers(-1, classes, count), draws.integers(0, classes, (count, 2))
    top[:, 0] = np.where(draws.random(count) < 0.5, np.maximum(true, 0), top[:, 0])
    confidence = draws.random(count).astype(np.float32)
    return pd.DataFrame(
        {
            "path": [f"{number}.png" for number in draws.permutation(count)], "label": "x",
            "true": [names[place] if place >= 0 else None for place in true], "true_index": true.astype(np.int32),
            "predicted": names[top[:, 0]], "predicted_index": top[:, 0].astype(np.int32), "confidence": confidence,
            "margin": confidence * draws.random(count).astype(np.float32),
            "true_probability": draws.random(count).astype(np.float32), "top5": [[*names[row]] for row in top],
            "top5_probability": [*draws.random((count, 2)).astype(np.float32)],
            "embedding": [*draws.normal(size=(count, 3)).astype(np.float32)],
        }
    )  # fmt: skip


def written(file, table: pd.DataFrame, group: int):
    schema = schema_of(embeddings=True).with_metadata({ENTRY: json.dumps({"unreadable": []})})
    pq.write_table(pa.Table.from_pandas(table, schema, preserve_index=False), file, row_group_size=group)
    return file


def attributes(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    draws = np.random.default_rng(seed)
    count = len(table)
    found = pd.DataFrame(
        {
            "light": pd.Series(draws.choice(["day", "night", ""], count), dtype="str"),
            "size": np.where(draws.random(count) < 0.1, np.nan, draws.normal(size=count)),
            "few": draws.integers(0, 3, count).astype(float),
        }
    )
    return found.set_axis(table["path"]).iloc[draws.permutation(count)]


@pytest.fixture(params=[(0, 400, 7, 64), (1, 60, 30, 1000), (2, 1, 1, 1), (3, 0, 2, 5)], ids=str)
def made(request, tmp_path):
    """A table, its judged rows as pandas has them, what the dataset says of its pictures, and the held predictions."""
    seed, count, classes, group = request.param
    table = drawn(seed, max(count, 1), classes).head(count)
    known = attributes(table, seed)
    judged = table[table["true_index"] >= 0].reset_index(drop=True)
    return judged, known, hold_file(written(tmp_path / "p.parquet", table, group), known)


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Classes as texts, lists as lists: to compare values and not kinds of columns."""
    return frame.map(lambda cell: list(cell) if isinstance(cell, np.ndarray) else cell).astype(object)


def test_rows_names_and_all_columns_are_those_of_the_file(made):
    judged, known, held = made
    order = np.random.default_rng(5).permutation(len(judged))[: len(judged) // 2 + 1]
    some = held.rows.iloc[order]
    named = held.named(some)
    for column in ("path", "true", "predicted", "confidence", "margin"):
        assert named[column].tolist() == judged[column].iloc[order].tolist(), column
    pd.testing.assert_frame_equal(plain(held.whole(some)), plain(judged.iloc[order]), check_names=False)
    assert held.whole(some, ["path"]).columns.tolist() == ["path"]
    names = held.names(some)
    assert list(names) == judged["path"].iloc[order].tolist() and len(names) == len(order)
    assert all(names[place] == name and names.index(name) == place for place, name in enumerate(names))
    assert "none" not in names and [*names[1:3]] == [*names][1:3]
    with pytest.raises(ValueError, match="not in the list"):
        names.index("none")
    pd.testing.assert_frame_equal(held.of_names([*names]), some)
    pd.testing.assert_frame_equal(held.of_names(names), some)
    assert [*held.places(["none", *names])] == sorted(names, key=judged["path"].tolist().index)
    for column in known:
        assert held.attribute(some, column).equals(known[column].loc[judged["path"].iloc[order]].set_axis(some.index))


def test_pictures_without_a_true_class_are_not_there(tmp_path):
    table = drawn(0, 50, 3)
    held = hold_file(written(tmp_path / "p.parquet", table, 20), attributes(table, 0))
    without = table.loc[table["true_index"] < 0, "path"].tolist()
    assert without and not held.places(without) and not any(name in held.names(held.rows) for name in without)


def test_views_over_held_rows_equal_those_over_plain_tables(made):
    judged, known, held = made
    listed, counted = held.rows[held.rows["confidence"] > 0.3], held.rows
    plainly = judged[judged["confidence"] > 0.3]
    pairs, matrix = confusion.pair_counts(listed, counted), confusion.confusion(plainly, counted=judged)
    every = sorted({*plainly["true"], *plainly["predicted"]})
    expected = pd.DataFrame(0, every, every)
    for one in plainly.itertuples():
        expected.loc[one.true, one.predicted] += 1
    assert matrix.classes == tuple(every) and (matrix.counts == expected.to_numpy()).all()
    assert pairs.total == len(plainly) and pairs.wrong == int((plainly["true"] != plainly["predicted"]).sum())
    assert pairs.most_frequent_error == max((matrix.counts - np.diag(np.diag(matrix.counts))).max(initial=0), 0)
    assert [pairs.classes[place] for place in pairs.occurring()] == every
    of_all = pairs.of(pairs.occurring())
    assert (of_all.counts == matrix.counts).all() and (of_all.pictures == matrix.pictures).all()
    for most in (2, 5, 40):
        ours, theirs = pairs.worst(most), confusion.worst_classes(matrix, most)
        assert ours.classes == theirs.classes
        assert (ours.counts == theirs.counts).all() and (ours.pictures == theirs.pictures).all()
    pd.testing.assert_frame_equal(confusion.most_confused(listed, 9, counted), confusion.most_confused(plainly, 9, judged))
    if len(judged):
        names = sorted({*judged["true"]})
        scores = metrics.precision_recall_fscore_support(
            judged["true"], judged["predicted"], labels=names, zero_division=np.nan
        )
        found = confusion.per_class(held.rows)
        assert found["class"].tolist() == names
        np.testing.assert_allclose(found[["precision", "recall", "F1", "pictures"]].to_numpy().T, np.array(scores, float))
        pd.testing.assert_frame_equal(confusion.calibration(listed)[0], confusion.calibration(plainly)[0])
        for column in known:
            values = groups.values_of(held.attribute(held.rows, column))
            slowly = groups.values_of(known[column].loc[judged["path"]].reset_index(drop=True))
            assert values.tolist() == slowly.tolist()
            rates = groups.error_rates(held.rows, values).set_index("value")
            for value in set(values.astype(str)):
                members = judged[(slowly == value).to_numpy()]
                wrong = int((members["true"] != members["predicted"]).sum())
                assert rates.loc[value, ["pictures", "errors"]].tolist() == [len(members), wrong]


def test_the_groups_of_values_are_those_of_each_single_value():
    values = pd.Series([True, False, None, True], dtype=object)
    assert groups.values_of(values).tolist() == ["yes", "no", "(unknown)", "yes"]
    numbers = pd.Series([*np.linspace(0, 1, 41), np.nan])
    edges = np.quantile(numbers.dropna(), np.linspace(0, 1, 5))
    for number, found in zip(numbers[:-1], groups.values_of(numbers)[:-1], strict=True):
        low, high = (float(end) for end in found.split(" to "))
        assert low - 1e-3 <= number <= high + 1e-3 and (number > low or number == edges[0])


def test_a_frame_in_memory_is_held_alike():
    table = drawn(4, 80, 5)
    judged = table[table["true_index"] >= 0].reset_index(drop=True)
    held = hold_frame(judged, attributes(table, 4))
    assert held.named(held.rows)[["path", "true", "predicted"]].equals(
        judged[["path", "true", "predicted"]].astype({"path": "str"}).astype(held.rows.dtypes[["true", "predicted"]])
    )
    assert held.whole(held.rows.iloc[[3, 1]]).equals(judged.iloc[[3, 1]])


def test_of_a_large_file_only_what_is_shown_is_read(tmp_path, monkeypatch):
    """200,000 predictions: 16 bytes and a name for each are held, and 24 rows read no more than the groups they are in."""
    count, group = 200_000, 5_000
    table = drawn(6, 2_000, 100)
    table = pd.concat([table] * (count // len(table)), ignore_index=True)
    table["path"] = [f"{number:06d}.png" for number in range(count)]
    file = written(tmp_path / "p.parquet", table, group)
    before = pa.total_allocated_bytes()
    held = hold_file(file, pd.DataFrame(index=table["path"]))
    judged = len(held.rows)
    assert held.rows.memory_usage(index=False).sum() < 17 * judged
    assert pa.total_allocated_bytes() - before < 40 * count, "names of ten letters, and nothing of the rest"
    read, real = [], pq.ParquetFile.read_row_group

    def counting(self, number, columns=None, **more):
        read.append((number, columns))
        return real(self, number, columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    cell = held.rows[(held.rows["true"] == "class 1") & (held.rows["predicted"] == "class 2")]
    matrix, page = confusion.pair_counts(held.rows), held.named(held.rows.iloc[100_000:100_024])
    assert matrix.total == judged and len(page) == 24 and len(held.names(cell)) == len(cell)
    assert not read, "counts, filters and names need no row of the file"
    rows = held.whole(page)
    assert rows["path"].tolist() == page["path"].tolist() and len(read) <= 2
    with pytest.raises(BadRequest, match="lacks the columns none"):
        tables.read_places(file, np.array([0]), ["none"])
