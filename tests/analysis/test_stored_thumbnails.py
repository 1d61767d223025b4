"""`classify --thumbnails`: small copies that are Pillow's own, one for each row of the predictions, read a few at a time."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_models import pair

from xai_core.__main__ import main
from xai_core.analysis import merged_predictions, predict, prediction_parts
from xai_core.analysis.predict import classify
from xai_core.core.errors import BadRequest
from xai_core.core.shards import Shard
from xai_core.data import thumbnail_file
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.data.thumbnail_file import file_beside

COUNT = 30  # pictures, two of which cannot be read


@pytest.fixture(scope="module")
def model():
    return pair("efficientnet").model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name in ("blue", "red"):
        (found / name).mkdir()
        for number in range(COUNT // 2):
            pixels = draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((300, 200)).save(found / name / f"{number}.png")
    Image.new("RGB", (40, 20), "green").save(found / "red" / "3.png")  # smaller than a thumbnail: it stays as it is
    (found / "blue" / "5.png").write_bytes(b"no picture")
    (found / "red" / "9.png").write_bytes(b"")
    return found


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.setattr(prediction_parts, "PART", 8)
    monkeypatch.setattr(thumbnail_file, "GROUP", 4)


def finish(model, dataset, out, **options):
    return list(classify(model, dataset, out, thumbnails=True, **options))[-1]


def by_pillow(path):
    """A thumbnail by Pillow alone, with the settings that the file states."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((128, 128))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def test_each_row_of_the_predictions_has_the_thumbnail_that_pillow_makes(model, folder, tmp_path):
    out, plain, dataset = tmp_path / "p.parquet", tmp_path / "plain.parquet", open_dataset(folder)
    opened = []
    counted = replace(dataset, read=lambda name: opened.append(name) or dataset.read(name), checksum=dataset.content)
    finish(model, counted, out)
    assert sorted(opened) == sorted(sample.name for sample in dataset.samples)  # each is opened once
    table = pq.read_table(tmp_path / "p.thumbnails.parquet")
    assert table["path"].to_pylist() == read_predictions(out)["path"].tolist() and len(table) == COUNT - 2
    for row in table.to_pylist():
        assert row["thumbnail"] == by_pillow(folder / row["path"]), row["path"]
    groups = pq.ParquetFile(file_beside(out)).metadata
    assert max(groups.row_group(number).num_rows for number in range(groups.num_row_groups)) == 4
    told = thumbnail_file.settings_of(file_beside(out))
    assert (told["side"], told["quality"], told["dataset_digest"]) == (128, 80, dataset.digest)
    list(classify(model, dataset, plain))
    pd.testing.assert_frame_equal(pd.read_parquet(plain), pd.read_parquet(out), check_exact=True)
    assert pq.read_schema(plain).equals(pq.read_schema(out), check_metadata=True)
    assert not file_beside(plain).exists()


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_stopped_run_goes_on_and_has_each_once(model, folder, tmp_path, stop, monkeypatch):
    whole, out, dataset = tmp_path / "whole.parquet", tmp_path / "p.parquet", open_dataset(folder)
    finish(model, dataset, whole)
    monkeypatch.setattr(predict.runtime, "inner_batch", lambda *_: 8)
    with contextlib.closing(classify(model, dataset, out, thumbnails=True)) as steps:
        for _ in range(stop):
            next(steps)
    assert not out.exists() and not file_beside(out).exists()
    opened = []
    counted = replace(dataset, read=lambda name: opened.append(name) or dataset.read(name), checksum=dataset.content)
    finish(model, counted, out)
    assert len(opened) == COUNT - 8 * (stop - 1)  # what was done is not opened again
    assert file_beside(out).read_bytes() == file_beside(whole).read_bytes()


def test_nothing_is_done_again_where_both_files_are_there_and_both_are_made_where_one_is_not(model, folder, tmp_path):
    out, dataset = tmp_path / "p.parquet", open_dataset(folder)
    list(classify(model, dataset, out))
    finish(model, dataset, out)  # the predictions alone do not count as complete
    before = file_beside(out).read_bytes()
    assert len(list(classify(model, dataset, out, thumbnails=True))) == 1
    assert len(list(classify(model, dataset, out))) == 1
    file_beside(out).write_bytes(before[: len(before) // 2])
    assert len(finish(model, dataset, out).unreadable) == 2 and file_beside(out).read_bytes() == before


def test_parts_without_thumbnails_are_not_taken_for_parts_with_them(model, folder, tmp_path, monkeypatch):
    out, dataset = tmp_path / "p.parquet", open_dataset(folder)
    monkeypatch.setattr(predict.runtime, "inner_batch", lambda *_: 8)
    with contextlib.closing(classify(model, dataset, out)) as steps:
        next(steps), next(steps)
    finish(model, dataset, out)
    assert pq.read_table(file_beside(out))["path"].to_pylist() == read_predictions(out)["path"].tolist()


def test_a_few_are_read_without_the_rest(model, folder, tmp_path, monkeypatch):
    out, dataset = tmp_path / "p.parquet", open_dataset(folder)
    finish(model, dataset, out)
    names = read_predictions(out)["path"].tolist()
    stored = thumbnail_file.opened(file_beside(out), dataset.digest)
    groups, real = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda *args, **more: groups.append(args[1]) or real(*args, **more)
    )
    places = [26, 1, 2]
    found = stored.read(places, [names[place] for place in places])
    assert found == {names[place]: by_pillow(folder / names[place]) for place in places}
    assert len(groups) == 2  # of seven
    assert stored.read([0, 99, -1], ["another", "more", "less"]) == {}
    assert thumbnail_file.opened(file_beside(out), "another dataset") is None
    assert thumbnail_file.opened(tmp_path / "none.thumbnails.parquet", dataset.digest) is None


def test_damage_is_one_sentence_and_what_is_no_thumbnail_is_left_out(model, folder, tmp_path):
    out, dataset = tmp_path / "p.parquet", open_dataset(folder)
    finish(model, dataset, out)
    file, names = file_beside(out), read_predictions(out)["path"].tolist()
    intact = file.read_bytes()
    place = intact.index(b"WEBPVP8") + 20  # in the pixels of the first
    file.write_bytes(intact[:place] + bytes([intact[place] ^ 255]) + intact[place + 1 :])
    with pytest.raises(BadRequest, match=r"p\.thumbnails\.parquet cannot be read"):
        thumbnail_file.opened(file, dataset.digest).read([0], names[:1])
    for data in (b"", b"no table", intact[:200], intact[: len(intact) // 2]):
        file.write_bytes(data)
        with pytest.raises(BadRequest, match=r"p\.thumbnails\.parquet cannot be read .*: run `classify --thumbnails` again"):
            thumbnail_file.opened(file, dataset.digest)
    pq.write_table(pa.table({"path": ["a"]}), file)
    with pytest.raises(BadRequest, match="no file of thumbnails"):
        thumbnail_file.opened(file, dataset.digest)
    large = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(large, "WEBP")
    some = pa.table({"path": ["a", "b", "c"], "thumbnail": [large.getvalue(), b"no picture", None]})
    thumbnail_file.write([some], file, {"format": thumbnail_file.FORMAT, "dataset_digest": dataset.digest})
    assert thumbnail_file.opened(file, dataset.digest).read([0, 1, 2], ["a", "b", "c"]) == {}


def test_joined_shards_have_the_file_that_one_process_writes(model, folder, tmp_path):
    out, dataset = tmp_path / "p.parquet", open_dataset(folder)
    finish(model, dataset, out)
    files = [tmp_path / f"{number}-of-3.parquet" for number in (1, 2, 3)]
    for number, file in enumerate(files, 1):
        finish(model, dataset, file, shard=Shard(number, 3))
    merged = tmp_path / "merged.parquet"
    merged_predictions.merge(files, merged)
    one, other = (pq.read_table(file_beside(file)) for file in (out, merged))
    assert one.equals(other) and pq.read_schema(file_beside(out)).metadata == pq.read_schema(file_beside(merged)).metadata


def test_on_the_command_line(folder, tmp_path, capsys):
    """Shards and all; where a shard has no thumbnails, merge says so and joins the predictions."""
    out = tmp_path / "p.parquet"
    command = ["classify", str(folder), "--model", "world_planted", "--thumbnails", "--out"]
    assert main([*command, str(out)]) == 0
    before = file_beside(out).read_bytes()
    joined = tmp_path / "joined.parquet"
    for number in (1, 2):
        assert main([*command, str(joined), "--shard", f"{number}/2"]) == 0
    shards = sorted((tmp_path / "joined.parquet.shards").glob("*.parquet"))
    assert len(shards) == 4 and main(["merge", str(joined), *map(str, shards)]) == 0
    assert pq.read_table(file_beside(joined)).equals(pq.read_table(file_beside(out)))
    file_beside(joined).unlink()
    shards[1].unlink()  # the thumbnails of the first
    capsys.readouterr()
    assert main(["merge", str(joined)]) == 0 and not file_beside(joined).exists()
    assert "1-of-2.parquet has no thumbnails of its pictures beside it" in capsys.readouterr().out
    assert main([*command, "memory://bucket/p.parquet"]) == 2
    assert "give --out a path" in capsys.readouterr().err
    assert file_beside(out).read_bytes() == before
