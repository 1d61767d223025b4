"""`merge`: shards that do not fit together are refused with one sentence that says what is wrong, and nothing is written."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from xai_core.__main__ import main
from xai_core.analysis import predict, prediction_parts
from xai_core.core import part_store
from xai_core.core.shards import Shard
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import ENTRY, settings_of
from xai_core.models.loading import load_model

pytestmark = pytest.mark.usefixtures("loaded")
MODEL = ["--model", "world_planted"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes") / "pictures"
    assert main(["world", "--out", str(folder), "--count", "20", "--seed", "3"]) == 0
    return folder


@pytest.fixture(scope="module")
def written(pictures, tmp_path_factory) -> Path:
    """Two shards of predictions, and the one of a division into one."""
    out, dataset = tmp_path_factory.mktemp("written") / "p.parquet", open_dataset(pictures)
    for shard in (Shard(1, 2), Shard(2, 2), Shard(1, 1)):
        shard.place(out).parent.mkdir(exist_ok=True)
        list(predict.classify(load_model("world_planted"), dataset, shard.place(out, ".parquet"), shard=shard))
    Shard(1, 1).place(out, ".parquet").rename(out.with_name("1-of-1.parquet"))
    return out


@pytest.fixture
def out(written, tmp_path) -> Path:
    """A copy of the two shards."""
    shutil.copytree(written.with_name("p.parquet.shards"), tmp_path / "p.parquet.shards")
    return tmp_path / "p.parquet"


def refused(capsys, out: Path, *more: object) -> str:
    """The one sentence; nothing is written."""
    capsys.readouterr()
    before = sorted(out.parent.rglob("*"))
    assert main(["merge", str(out), *map(str, more)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and said.err.startswith("error: ")
    assert sorted(out.parent.rglob("*")) == before
    return said.err


def changed(file: Path, to: Path, **settings: object) -> Path:
    """A copy of a shard with other settings, or without any with other rows."""
    table = pq.read_table(file)
    if not settings:
        table = table.set_column(6, "confidence", pc.multiply(table["confidence"], pa.scalar(0.5, pa.float32())))
    pq.write_table(table.replace_schema_metadata({ENTRY: json.dumps({**settings_of(file), **settings})}), to)
    return to


@pytest.mark.parametrize("shard", ["0/2", "3/2", "one", "1/0"])
@pytest.mark.parametrize("command", ["classify", "evaluate", "audit"])
def test_no_such_shard(pictures, tmp_path, capsys, command, shard):
    assert main([command, str(pictures), "--out", str(tmp_path / "p.parquet"), "--shard", shard]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: argument --shard: ") and len(said.splitlines()) == 1 and not [*tmp_path.iterdir()]


def test_missing(out, capsys):
    one, two = (Shard(number, 2).place(out, ".parquet") for number in (1, 2))
    assert "Shard 2/2 is missing: run the command with --shard for it." in refused(capsys, out, one)
    two.unlink()
    assert "Shard 2/2 is missing" in refused(capsys, out)
    one.unlink()
    assert "There are no shards in " in refused(capsys, out)
    assert f"There is no shard {two}." in refused(capsys, out, two)


def test_twice_with_other_rows(out, tmp_path, capsys):
    one = Shard(1, 2).place(out, ".parquet")
    other = changed(one, tmp_path / "other.parquet")
    every = (one, Shard(2, 2).place(out, ".parquet"), other)
    said = refused(capsys, out, *every)
    assert "Shard 1/2 is there twice, with other rows: " in said and str(one) in said and str(other) in said
    shutil.copy(one, other)  # a copy of one is the same shard
    assert main(["merge", str(out), *map(str, every)]) == 0 and out.exists()


def test_other_divisions_overlap(out, written, capsys):
    shutil.copy(written.with_name("1-of-1.parquet"), Shard(1, 1).place(out, ".parquet"))
    assert "1-of-1.parquet is shard 1/1 and " in (said := refused(capsys, out)) and "is shard 1/2: they overlap." in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"version": "0.0.9"}, "(version: 0.2.0.dev0 and 0.0.9)"),
        ({"weights": "f" * 64, "model": "resnet50"}, "(model: world_planted and resnet50, weights: "),
        ({"precision": "fast"}, "(precision: exact and fast)"),
    ],
)
def test_other_settings_are_named(out, capsys, settings, said):
    changed(Shard(2, 2).place(out, ".parquet"), Shard(2, 2).place(out, ".parquet"), **settings)
    assert f"Shards 1/2 and 2/2 have different settings {said}" in refused(capsys, out)


def test_pictures_of_another_dataset(out, pictures, tmp_path, capsys):
    """A picture more: the shards have the names of different datasets."""
    more = tmp_path / "more" / "pictures"
    shutil.copytree(pictures, more)
    shutil.copy(next(more.glob("*/*.png")), more / "balloon" / "more.png")
    place = Shard(2, 2).place(out, ".parquet")
    list(predict.classify(load_model("world_planted"), open_dataset(more), place, shard=Shard(2, 2)))
    assert "(names of the dataset: " in (said := refused(capsys, out)) and "pictures of the dataset: 20 and 21" in said


def test_unfinished(out, pictures, monkeypatch, capsys):
    monkeypatch.setattr(prediction_parts, "PART", 1)
    place = Shard(2, 2).place(out, ".parquet")
    place.unlink()
    monkeypatch.setattr(predict.runtime, "inner_batch", lambda *_: 1)
    working = predict.classify(load_model("world_planted"), open_dataset(pictures), place, shard=Shard(2, 2))
    for _ in range(3):
        total = next(working).total
    working.close()
    assert f"Shard 2/2 is not finished: 2 of {total} pictures are classified." in refused(capsys, out)


def test_what_is_no_shard(out, pictures, tmp_path, capsys):
    whole = tmp_path / "whole.parquet"
    assert main(["classify", str(pictures), *MODEL, "--out", str(whole)]) == 0
    assert "is no shard: it has the predictions of a whole dataset." in refused(capsys, out, whole)
    (tmp_path / "text.parquet").write_text("no table")
    assert "is not a file of predictions" in refused(capsys, out, tmp_path / "text.parquet")
    (tmp_path / "empty").mkdir()
    one = Shard(1, 2).place(out, ".parquet")
    assert "shards of one command are joined" in refused(capsys, out, one, tmp_path / "empty")
    assert "holds no run" in refused(capsys, out, tmp_path / "empty")
    assert "--run names a folder of pairs-benchmark" in refused(capsys, out, "--run", tmp_path / "x")


def evaluation(pictures: Path, out: Path, number: int, *more: str) -> None:
    command = ["evaluate", str(pictures), "--models", "world_planted", "--methods", "grad_cam", "--metrics", "sparseness"]
    assert main([*command, "--out", str(out), "--shard", f"{number}/2", *more]) == 0


def test_shards_of_evaluate(pictures, tmp_path, capsys):
    out = tmp_path / "run"
    evaluation(pictures, out, 1)
    evaluation(pictures, out, 2, "--budget", "0.000001")
    assert "Shard 2/2 is not finished: 5 of " in (said := refused(capsys, out)) and "rows are measured" in said
    evaluation(pictures, out, 2)
    manifest = part_store.read_manifest(Shard(2, 2).place(out))
    for name, value, words in (("torch", "2.0.0", "torch: "), ("xai_core", "0.0.9", "xai_core: ")):
        other = {**manifest, "software": {**manifest["software"], name: value}}
        part_store.write_manifest(Shard(2, 2).place(out), other)
        assert f"({words}" in refused(capsys, out)
    other = {**manifest, "asked": {**manifest["asked"], "seed": 1}}
    part_store.write_manifest(Shard(2, 2).place(out), other)
    assert "different settings (seed: 0 and 1)" in refused(capsys, out)
    part_store.write_manifest(Shard(2, 2).place(out), manifest)
    (part,) = part_store.find_parts(Shard(2, 2).place(out) / "parts")[-1:]
    data = part.read_bytes()
    part.write_bytes(data[:-1])
    assert f"its part {part.name} is damaged" in refused(capsys, out)
    part.write_bytes(data)
    assert main(["merge", str(out)]) == 0
    shutil.rmtree(Shard(1, 2).place(out))
    assert "Shard 1/2 is missing" in refused(capsys, out)


def test_shards_of_an_audit(pictures, tmp_path, capsys):
    out = tmp_path / "audit"
    for number in (1, 2):
        command = ["audit", str(pictures), *MODEL, "--out", str(out), "--groups", str(number)]
        assert main([*command, "--shard", f"{number}/2"]) == 0
    assert "different settings (groups: 1 and 2)" in refused(capsys, out)
    folder = Shard(2, 2).place(out)
    shutil.rmtree(folder / "parts")
    assert "Shards 1/2 and 2/2 have different settings" in refused(capsys, out)
    manifest = part_store.read_manifest(Shard(1, 2).place(out))
    part_store.write_manifest(folder, {**part_store.read_manifest(folder), "audit": manifest["audit"]})
    assert "Shard 2/2 is not finished: statistics of 0 of " in refused(capsys, out)
