"""Recorded runs as strangers send them: each is read, or refused in one sentence; none hangs or fills the memory."""

import io
import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import limited, one_sentence

from xai_core.core.errors import XaiError
from xai_core.training.dynamics import analysis, figure, readers

LARGE = 10**9
TABLE = pd.DataFrame({"epoch": [1, 2, LARGE], "sample": "a", "true": "x", "predicted": ["x", "y", "x"], "confidence": 0.5})


def looked_at(data, name):
    """The run and what the page computes of it; None where it is refused in one sentence."""
    try:
        with limited():
            run = readers.read_run(data, name)
            run.in_words(), analysis.measures(run), analysis.verdicts(run), run.accuracies, run.last
            epoch = figure.final_epoch(run)
            analysis.changed(run), analysis.class_means(run, epoch), analysis.fates(run, epoch)
            return run
    except XaiError as error:
        assert one_sentence(error), str(error)
        return None


def parquet(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_epochs_up_to_a_billion_take_no_more_than_there_are(suffix):
    data = TABLE.to_csv(index=False).encode() if suffix == "csv" else parquet(TABLE)
    run = looked_at(data, f"run.{suffix}")
    assert run.epochs.tolist() == [1, 2, LARGE] and run.predicted.shape == (1, 3)
    assert "999,999,997 between them not recorded" in run.in_words()


def instanceflow(**changes):
    epochs = [{"id": number, "classifications": [0, 1]} for number in (1, LARGE)]
    samples = [{"id": "a", "actual": 0}, {"id": "b", "actual": 1}]
    return {"labels": ["x", "y"], "instances": samples, "epochs": epochs} | changes


def test_json_with_an_epoch_of_a_billion():
    assert looked_at(json.dumps(instanceflow()).encode(), "run.json").epochs.tolist() == [1, LARGE]


HEAD = b"epoch,sample,true,predicted\n"
REFUSED = {
    "nested.json": b"[" * 100_000,
    "list.json": b"[1]",
    "null.json": b"null",
    "number.json": b"1" * 10_000,
    "empty.json": b"",
    "large.json": b" " * (33 * 2**20) + b"{}",
    "labels.json": json.dumps(instanceflow(labels=None)).encode(),
    "texts.json": json.dumps(instanceflow(epochs="none")).encode(),
    "no-epochs.json": json.dumps(instanceflow(epochs=[])).encode(),
    "far-epoch.json": json.dumps(instanceflow(epochs=[{"id": 10**30, "classifications": [0, 1]}])).encode(),
    "digit.json": json.dumps(instanceflow(epochs=[{"id": "²", "classifications": [0]}])).encode(),
    "infinite.json": json.dumps(instanceflow(instances=[{"id": "a", "actual": float("inf")}])).encode(),
    "empty.csv": b"",
    "zeros.csv": b"\0" * 99,
    "header.csv": HEAD,
    "text.csv": b"hello\n" * 9,
    "many-columns.csv": b"," * 20_000_000,
    "infinite.csv": HEAD + b"inf,a,x,x\n",
    "far.csv": HEAD + b"1e18,a,x,x\n",
    "quote.csv": HEAD + b'1,"a,x,x\n',
    "latin.csv": HEAD + b"1,\xff,x,x\n",
    "wide-far.csv": b"sample,true,epoch_99999999999999999999\na,x,x\n",
    "garbage.parquet": b"PAR1" + b"x" * 99 + b"PAR1",
    "empty.parquet": b"",
    "no-columns.parquet": parquet(pd.DataFrame({"a": [1]})),
    "run.exe": b"MZ",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    assert looked_at(REFUSED[name], name) is None


def test_a_small_parquet_file_of_very_many_rows_is_refused():
    rows = pd.DataFrame({"epoch": np.zeros(20_000_000, np.int8)})
    assert looked_at(parquet(rows), "run.parquet") is None


@given(data=st.binary(max_size=200), suffix=st.sampled_from(["csv", "json", "parquet"]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes(data, suffix):
    looked_at(data, f"run.{suffix}")


CELL = st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.none())


@given(rows=st.lists(st.tuples(CELL, CELL, CELL, CELL), max_size=8))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_cells(rows):
    table = pd.DataFrame(rows, columns=["epoch", "sample", "true", "predicted"], dtype=object)
    looked_at(table.to_csv(index=False).encode(errors="replace"), "run.csv")


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)], ids=["fifo", "folder", "link"]
)
def test_an_offered_run_that_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / "run.csv")
    with limited(), pytest.raises(XaiError) as refusal:
        readers.read_file(tmp_path / "run.csv")
    assert one_sentence(refusal.value) and readers.size_of(tmp_path / "run.csv") >= 0
