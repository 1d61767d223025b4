"""Pictures, ZIPs and tables as nobody writes them: the right result or one sentence, in ten seconds and one gigabyte."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import PNG, good
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import limited, one_sentence

from xai_core.core.errors import XaiError
from xai_core.data.datasets import open_folder, open_table, open_zip
from xai_core.data.image_io import open_picture

# The same files in every run: what fails here fails everywhere.
fixed = settings(
    max_examples=120, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip
PICTURES = {file.name: file.data for file in good() if len(file.data) < 100_000}


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What is imported and set up on first use does not count."""
    open_picture(PNG)


@st.composite
def spoilt(draw, files: dict[str, bytes]) -> bytes:
    """One of the files with a few changes: cut off, bytes changed, a part left out, repeated or taken from another file."""
    data = bytearray(draw(st.sampled_from(list(files.values()))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, min(len(data), 200) - 1)) | st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("cut", "byte", "number", "remove", "repeat", "splice"))):
            case "cut":
                del data[place:]
            case "byte":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":  # lengths, widths and offsets are such numbers
                data[place : place + 4] = draw(
                    st.sampled_from((b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\xff\xff"))
                )
            case "remove":
                del data[place : place + draw(st.integers(1, 64))]
            case "repeat":
                data[place:place] = data[place : place + draw(st.integers(1, 400))] * draw(st.integers(1, 20))
            case "splice":
                other = draw(st.sampled_from(list(files.values())))
                data[place:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


def result(act):
    """What `act` returns; None where it was refused, in one sentence."""
    with limited():
        try:
            return act()
        except XaiError as refusal:
            assert one_sentence(refusal), str(refusal)
            return None


@fixed
@given(spoilt(PICTURES))
def test_pictures(data):
    picture = result(lambda: open_picture(data))
    assert picture is None or (picture.mode == "RGB" and min(picture.size) > 0 and picture.info == {})


NAMES = st.sampled_from(
    (
        "a/1.png", "b/2.png", "3.png", "../4.png", "/5.png", "C:\\6.png", "a//7.png", "a/../../8.png", "a\\9.png", "a/.png",
        "__MACOSX/a.png", "a/10.png/", "x" * 5000 + ".png", "a/\u202egnp.exe.png", "a/\0.png", "con/nul.png", "a/1.PNG",
        "\ud7ff/1.png", "a/b/c/d/11.png", "", "a/1.txt",
    )
)  # fmt: skip
CONTENTS = st.sampled_from((PNG, PNG[:60], b"", b"none", bytes(100), *PICTURES.values()))


@st.composite
def archives(draw) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in draw(st.lists(NAMES, max_size=8, unique=True)):
            entry = zipfile.ZipInfo(name or "x")
            entry.compress_type = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
            entry.external_attr = draw(st.sampled_from((0, 0o120777 << 16, 0o40755 << 16)))  # a file, a link, a folder
            archive.writestr(entry, draw(CONTENTS))
    return buffer.getvalue()


def read_all(dataset):
    """Every picture of a dataset: opened, or refused in one sentence."""
    assert dataset.digest
    for sample in dataset.samples[:6]:
        assert not {"..", ""} & {*sample.name.split("/")}
        result(lambda sample=sample: dataset.open(sample.name))
    return dataset


@fixed
@given(archives() | archives().flatmap(lambda data: spoilt({"": data})) | spoilt({"png": PNG}))
def test_zips(tmp_path_factory, data):
    here = tmp_path_factory.mktemp("zip")
    before = Path.cwd()
    os.chdir(here)
    try:
        result(lambda: read_all(open_zip(io.BytesIO(data), "sent")))
        assert not any(here.iterdir()), "nothing is written"
    finally:
        os.chdir(before)


CELLS = st.sampled_from(
    (
        "1.png", "2.png", "../3.png", "/etc/passwd", "~/4.png", "a\0b.png", "x" * 5000, "", " ", '"', "'", "1,2", "\n",
        "\u202e", "nan", "None",
    )
) | st.text(max_size=8)  # fmt: skip
HEADS = st.sampled_from(
    ("path,label", "label,path", "path", "path,path", "label", "", "path,label,more", "\ufeffpath,label", "path;label")
)


@st.composite
def csv_files(draw) -> bytes:
    rows = draw(st.lists(st.lists(CELLS, max_size=4), max_size=6))
    text = "\n".join([draw(HEADS), *(",".join(row) for row in rows)])
    return text.encode(draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-32"))), "surrogatepass")


@st.composite
def parquet_files(draw) -> bytes:
    count = draw(st.integers(0, 4))
    columns = st.sampled_from(
        (
            [f"{number}.png" for number in range(count)], ["1.png"] * count, ["../1.png"] * count, [None] * count,
            list(range(count)), [float("nan")] * count, [b"\xff"] * count, [["a"]] * count, [{"a": 1}] * count,
            [True] * count, pa.array(["1.png"] * count).dictionary_encode(), pa.array([0] * count, pa.timestamp("ns")),
            pa.array(["x"] * count, pa.large_string()),
        )
    )  # fmt: skip
    names = draw(st.lists(st.sampled_from(("path", "label", "more")), max_size=3, unique=True))
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: draw(columns) for name in names}), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A folder with two pictures; tables are put beside them."""
    folder = tmp_path_factory.mktemp("tables")
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(PNG)
    return folder


@fixed
@given(csv_files() | csv_files().flatmap(lambda data: spoilt({"": data + b"\n"})))
def test_csv_tables(beside, data):
    (beside / "table.csv").write_bytes(data)
    result(lambda: read_all(open_table(beside / "table.csv")))


@fixed
@given(parquet_files() | parquet_files().flatmap(lambda data: spoilt({"": data})))
def test_parquet_tables(beside, data):
    (beside / "table.parquet").write_bytes(data)
    result(lambda: read_all(open_table(beside / "table.parquet")))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Two classes of a picture each; a description of the pictures is put beside them."""
    folder = tmp_path_factory.mktemp("classes")
    for name in ("a/1.png", "b/2.png"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(PNG)
    return folder


@fixed
@given(csv_files() | csv_files().flatmap(lambda data: spoilt({"": data + b"\n"})))
def test_metadata_beside_folders(classes, data):
    (classes / "metadata.csv").write_bytes(data)
    dataset = result(lambda: read_all(open_folder(classes)))
    if dataset is not None:
        assert [sample.label for sample in dataset.samples] == ["a", "b"], "what describes the pictures is no label"
        assert len(dataset.metadata) == 2


def claims(rows: int) -> bytes:
    """A small Parquet file that unpacks to many rows."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"path": pa.array(np.zeros(rows, np.int8)).cast(pa.string()).dictionary_encode()}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.parquet", claims(20_000_000)),
        ("one-cell.csv", b"path,label\n" + b"x" * 50_000_000),
        ("columns.csv", b",".join(b"c%d" % number for number in range(200_000)) + b"\npath"),
        ("lines.csv", b"path\n" + b"\n" * 30_000_000),
        ("open-quote.csv", b'path\n"' + b"a\n" * 10_000_000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_large_tables(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert result(lambda: open_table(tmp_path / name)) is None


def test_a_table_that_is_right_opens(beside):
    pd.DataFrame({"path": ["1.png", "2.png"], "label": ["a", "b"]}).to_csv(beside / "right.csv", index=False)
    assert read_all(open_table(beside / "right.csv")).classes == ("a", "b")
