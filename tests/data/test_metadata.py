"""Metadata of pictures: further columns of a table, or a metadata.csv beside folders or in a ZIP."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xai_core.core.errors import BadRequest
from xai_core.data import datasets, metadata

NAMES = ("cat/1.png", "cat/2.png", "dog/1.png")
CSV = "path,place,age,indoors\ncat/1.png,garden,3,yes\n./dog/1.png,street,,no\nbird/9.png,air,1,no\n"


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def as_folder(tmp_path, csv):
    for name in NAMES:
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(png())
    (tmp_path / "pets" / "metadata.csv").write_text(csv)
    return tmp_path / "pets"


def as_zip(tmp_path, csv):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for name in NAMES:
            archive.writestr(f"deep/pets/{name}", png())
        archive.writestr("deep/pets/metadata.csv", csv)
    return tmp_path / "pets.zip"


@pytest.mark.parametrize("make", [as_folder, as_zip])
@pytest.mark.parametrize("key", ["path", "file_name"])
def test_a_file_beside_the_folders_describes_the_pictures(tmp_path, make, key):
    dataset = datasets.open_dataset(make(tmp_path, CSV.replace("path", key)))
    expected = pd.DataFrame(
        {"place": ["garden", "", "street"], "age": [3, np.nan, np.nan], "indoors": ["yes", "", "no"]}, index=list(NAMES)
    )
    pd.testing.assert_frame_equal(dataset.metadata, expected, check_names=False)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_further_columns_of_a_table_describe_the_pictures(tmp_path, suffix):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    table = pd.DataFrame({"path": NAMES, "label": ["cat", "cat", "dog"], "size": [1.5, 2, 3], "place": ["a", None, "b"]})
    if suffix == ".parquet":
        table["embedding"] = [[0.0, 1.0]] * 3
    file = tmp_path / f"table{suffix}"
    table.to_parquet(file) if suffix == ".parquet" else table.to_csv(file, index=False)
    described = datasets.open_dataset(file).metadata
    assert list(described) == ["size", "place"] and described["size"].tolist() == [1.5, 2, 3]
    assert described["place"].tolist() == ["a", "", "b"] and list(described.index) == list(NAMES)


def test_a_dataset_without_metadata_has_a_table_without_columns(tmp_path):
    folder = as_folder(tmp_path, CSV)
    (folder / "metadata.csv").unlink()
    assert datasets.open_dataset(folder).metadata.shape == (3, 0)


def test_metadata_is_no_part_of_the_digest(tmp_path):
    folder = as_folder(tmp_path, CSV)
    before = datasets.open_dataset(folder).digest
    (folder / "metadata.csv").write_text(CSV.replace("garden", "house"))
    assert datasets.open_dataset(folder).digest == before


@pytest.mark.parametrize(
    ("csv", "words"),
    [
        ("name,place\ncat/1.png,garden\n", "metadata.csv needs a column path or file_name.*; it has name, place"),
        (CSV + "cat/1.png,street,2,no\n", "names cat/1.png more than once"),
        ("", "cannot be read as a table"),
    ],
)
@pytest.mark.parametrize("make", [as_folder, as_zip])
def test_what_is_wrong_with_a_file_is_told_in_one_sentence(tmp_path, make, csv, words):
    with pytest.raises(BadRequest, match=words):
        datasets.open_dataset(make(tmp_path, csv))


def test_no_more_than_the_first_columns_are_read():
    table = pd.DataFrame({"path": ["a"], **{f"c{number}": ["1"] for number in range(metadata.MOST_COLUMNS + 5)}})
    assert metadata.from_texts("t", table, ["a"]).shape == (1, metadata.MOST_COLUMNS)


@pytest.mark.parametrize(
    ("cells", "kind"), [(["1", "2.5", ""], "float64"), (["01", "x", ""], "object"), (["", "", ""], "object")]
)
def test_only_columns_of_numbers_become_numbers(cells, kind):
    table = pd.DataFrame({"path": list("abc"), "x": cells})
    column = metadata.from_texts("t", table, list("abc"))["x"]
    assert (column.dtype == "float64") == (kind == "float64")
    assert kind == "float64" or column.tolist() == cells


def test_columns_of_numbers_stay_numbers_and_empty_ones_are_texts():
    names = pd.Index(["a", "b"])
    rows = pd.DataFrame({"whole": [2, 3], "gap": [0.5, None], "none": [None, None], "bits": [True, False]})
    rows["none"] = rows["none"].astype(float)
    known = metadata.typed(rows, names)
    assert known["whole"].tolist() == [2.0, 3.0] and known["gap"].isna().tolist() == [False, True]
    assert known["none"].tolist() == ["", ""] and known["bits"].tolist() == ["True", "False"]
    assert [str(kind) for kind in known.dtypes] == ["float64", "float64", "str", "str"] and known.index.equals(names)


def test_a_text_below_many_numbers_makes_the_column_texts():
    cells = pd.DataFrame({"age": ["3"] * (metadata.FEW + 1) + ["old"], "place": ["garden"] * metadata.FEW + ["1", "2"]})
    typed = metadata.typed(cells, pd.Index([f"{row}.png" for row in range(len(cells))]))
    assert typed["age"].tolist() == cells["age"].tolist() and typed["place"].tolist() == cells["place"].tolist()
    numbers = metadata.typed(cells.head(metadata.FEW + 1), typed.index[: metadata.FEW + 1])
    assert numbers["age"].dtype == float and (numbers["age"] == 3).all()
